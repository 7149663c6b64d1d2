"""`[witnesses]` in `muniment.toml`."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from muniment.runtime.setting_values import Length


class WitnessesSection(BaseModel):
    """Who remembers the heads of this log for others, and cosigns them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: a file of witnesses, groups and a quorum, as C2SP tlog-policy has it; those with a URL are
    #: asked
    policy: Path
    #: how long one of them may take
    timeout: Length = timedelta(seconds=2)
    #: origins on an internal network, or without TLS, that may be called: `http://10.0.0.7:8418`
    allow: tuple[str, ...] = ()
