"""`[[campaigns]]` in `muniment.toml`."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from muniment.errors import Malformed
from muniment.oversight.campaigns import LONGEST_DAYS, rule_of
from muniment.runtime.schedule import check_schedule
from muniment.runtime.setting_values import Name

_Campaign = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
_Trigger = Annotated[str, StringConstraints(pattern=r"^(break-glass|finding:[a-z0-9-]{1,64})$")]


class CampaignSection(BaseModel):
    """A review of access: of who may ask for what and approves it, or of what was granted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: what it is called where it is opened and listed
    name: _Campaign
    #: `eligibility`: who may ask, who approves, and each rule of the policy; `grants`: those that
    #: broke glass, those with findings, and of the others all or a sample
    what: Literal["eligibility", "grants"]
    #: the group whose people look at the items
    reviewers: Name
    #: the group that looks at what none of the reviewers may look at
    fallback: Name
    #: the group of which somebody signs who reviewed nothing
    sign_off: Name
    #: how long people have
    days: int = Field(default=14, ge=1, le=LONGEST_DAYS)
    #: what becomes of items that nobody looked at in time. They are not reviewed either way
    silence: Literal["revoke", "none"] = "revoke"
    #: only on these resources; without it on all
    resources: tuple[Name, ...] = ()
    #: of grants: those that were asked for within so many days
    period_days: int = Field(default=90, ge=1, le=10 * LONGEST_DAYS)
    #: of grants that nothing speaks against so many, by a lot that the log itself draws; 0: all
    sample: int = Field(default=0, ge=0, le=1_000_000)
    #: when it is opened: an RRULE (RFC 5545) as in `FREQ=MONTHLY;INTERVAL=3`; without it by hand
    schedule: str = Field(default="", max_length=200)
    #: the first day of the schedule; a day that has passed already opens one at once
    starts: date | None = None
    #: what else opens it: `break-glass`, `finding:<severity>` or `finding:<rule>`
    triggers: tuple[_Trigger, ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _is_a_rule(self) -> Self:
        if bool(self.schedule) != (self.starts is not None):
            raise ValueError("`schedule` and `starts` go together")
        try:
            rule_of(self.model_dump(mode="json"))
            if self.starts is not None:
                check_schedule(self.schedule, self.starts)
        except Malformed as error:
            raise ValueError(str(error)) from error
        return self


def _named_apart(sections: tuple[CampaignSection, ...]) -> tuple[CampaignSection, ...]:
    names = [section.name for section in sections]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two campaigns are called `{twice[0]}`")
    return sections


Campaigns = Annotated[
    tuple[CampaignSection, ...], Field(max_length=100), AfterValidator(_named_apart)
]
