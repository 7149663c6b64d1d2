"""`[store]` in `muniment.toml`."""

from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, field_validator

from muniment.runtime.setting_values import Length, Reference

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(minutes=1)
#: the names of the databases, as `setup_sql` knows them
LOG: Final = "log"
HEADS: Final = "heads"
EVENTS: Final = "events"


class StoreSection(BaseModel):
    """The log in PostgreSQL, for one node or several; without it, it lies in files (`[paths]`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the database: a connection string, `host=… dbname=… user=…`, by reference as it may hold a
    #: password
    log: Reference
    #: a database on another server, that remembers the newest head and what was erased; likewise
    heads: Reference
    #: a database for what `sources` say, on whichever server; likewise
    events: Reference | None = None
    #: how long a node that was stopped or cut off may hold up the others
    lease: Length = timedelta(seconds=5)

    @field_validator("lease")
    @classmethod
    def _within_reason(cls, lease: timedelta) -> timedelta:
        if not SHORTEST <= lease <= LONGEST:
            raise ValueError("a lease is between 1s and 1m")
        return lease
