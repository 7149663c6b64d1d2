"""`[stamps.NAME]` in `muniment.toml`."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from muniment.runtime.setting_values import Length


class StampSection(BaseModel):
    """A time-stamp authority (RFC 3161): it says that the log's checkpoints existed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: where it is asked; `https`, at a public address. Plain `http`, which many of them have, takes
    #: `internal`: what comes back is signed
    url: str
    #: PEM file with the certificate of its root; without one its time stamps are kept unverified
    root: Path | None = None
    #: how often the newest checkpoint is stamped
    every: Length = timedelta(hours=1)
    #: it may lie inside your own network, and be without TLS
    internal: bool = False
