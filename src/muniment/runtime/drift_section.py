"""`[drift]` in `muniment.toml`."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from muniment.runtime.setting_values import Length, Name

#: more often is no better: what a target's own log tells is known at once
_LEAST = timedelta(minutes=1)


def _not_too_often(every: timedelta) -> timedelta:
    if every < _LEAST:
        raise ValueError("`every` is at least 1m")
    return every


class DriftSection(BaseModel):
    """How often targets are held against the log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: how often each target is looked at; the first time a minute after the service starts
    every: Annotated[Length, AfterValidator(_not_too_often)] = timedelta(hours=1)
    #: resources that are looked at only when somebody asks for it
    skip: tuple[Name, ...] = ()
