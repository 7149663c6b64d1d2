"""`[detect]` in `muniment.toml`."""

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from muniment.runtime.setting_values import Name


class RuleSection(BaseModel):
    """How one rule is to be here. What is not listed is a threshold of the rule, a whole number."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: false: it raises nothing
    enabled: bool = True
    #: access that it finds something wrong with ends, as far as the policy lets `detect.workload`
    #: revoke it
    ends_access: bool = False

    @model_validator(mode="after")
    def _whole_numbers(self) -> "RuleSection":
        for name, value in self.thresholds.items():
            if type(value) is not int:
                raise ValueError(f"`{name}` is a threshold: a whole number")
        return self

    @property
    def thresholds(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DetectSection(BaseModel):
    """What is watched for, and how. `muniment detect --list` names the rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the workload as which detectors act: rules with `ends_access` need one that may `revoke`
    workload: Name | None = None
    #: days on which nobody works, beside those that `calendar.days` leaves out
    holidays: tuple[date, ...] = ()
    #: iCalendar files that say who is on call; an event names its people by login or mail
    on_call: tuple[Path, ...] = ()
    #: a folder of Sigma rules of your own, over the facts that `docs/how-to/detectors.md` lists
    sigma: Path | None = None
    #: by the id of a rule, what is otherwise here
    rules: dict[str, RuleSection] = Field(default={}, max_length=500)
