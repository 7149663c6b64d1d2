"""Production was approved at night or at the weekend, and nothing explains it (rule 13)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.calendars import local
from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors.examples import approval, on
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, day
from muniment.oversight.fact import Fact

_SATURDAY: Final = 6
_KEPT: Final = timedelta(days=90)


class OffHoursApproval(Plain):
    """
    By the approver's own clock. Nights and weekends alone would be one approval in six: it takes
    that nobody has them on call, and that no incident is open.
    """

    rule = Rule(
        id="off-hours-approval",
        title="Production was approved off hours",
        advice="Ask the approver whether it was they, and what was urgent. A calendar of who is on "
        "call explains most of it by itself.",
        severity="medium",
        kind="deterministic",
        needs=("approval.given",),
        thresholds={
            "from": Threshold(default=22, unit="hours", meaning="the night begins"),
            "until": Threshold(default=6, unit="hours", meaning="the night ends"),
        },
        horizon=_KEPT,
        expected=100,  # some people do answer on a Sunday
        references=("ATT&CK T1078",),
        examples=(
            Example(says="at 22:00 in Berlin", facts=(approval(on(2, "21:00")),), hits=1),
            Example(says="at 21:59 in Berlin", facts=(approval(on(2, "20:59")),), hits=0),
            Example(says="at 5:59 in Berlin", facts=(approval(on(2, "04:59")),), hits=1),
            Example(says="at 6:00 in Berlin", facts=(approval(on(2, "05:00")),), hits=0),
            Example(says="on Saturday", facts=(approval(on(7)),), hits=1),
            Example(
                says="Friday evening in UTC is Saturday in Sydney",
                facts=(approval(on(6, "20:00"), zone="Australia/Sydney"),),
                hits=1,
            ),
            Example(says="on call", facts=(approval(on(7), on_call=True),), hits=0),
            Example(says="in an incident", facts=(approval(on(7), incident=True),), hits=0),
            Example(says="on staging", facts=(approval(on(7), tier="staging"),), hits=0),
            Example(says="whose zone nobody knows", facts=(approval(on(7), zone=""),), hits=0),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._nowhere: dict[str, datetime] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.text("tier") != "prod" or fact.flag("on_call") or fact.flag("incident"):
            return
        approver, here = fact.text("approver"), local(fact.at, fact.text("zone"))
        if here is None:
            self._nowhere[approver] = fact.at
            return
        self._nowhere.pop(approver, None)
        if here.isoweekday() >= _SATURDAY or self._is_night(here.hour):
            yield self.hit(
                fact,
                f"{approver}:{day(here)}",
                f"{approver} approved `{fact.text('resource')}` off hours, and is not on call",
                subjects=(fact.text("approver_person"),),
            )

    def _is_night(self, hour: int) -> bool:
        start, end = self.threshold["from"], self.threshold["until"]
        return start <= hour < end if start <= end else hour >= start or hour < end

    def tick(self, now: datetime) -> Iterable[Hit]:
        if not self.is_new_day(now):
            return ()
        for who in [who for who, last in self._nowhere.items() if last < now - _KEPT]:
            del self._nowhere[who]
        return ()

    def silences(self) -> Iterable[Silence]:
        for who in list(self._nowhere)[:MOST_SILENCES]:
            yield Silence(rule=self.rule.id, about=f"time zone of {who}", seen=0, needed=1)
