"""Somebody asks for what neither they nor any of their peers has used before (rule 16)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings
from muniment.oversight.detectors.examples import Flat, on, request
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=90)
_GROUPS: Final = " engineering "


def _asked(count: int, *others: Flat, resource: str = "payroll-prod") -> tuple[Flat, ...]:
    """For the usual, so often; then what others ask; then for something else."""
    usual = [request(on(2 + n), case=f"mun_{n}", groups=_GROUPS) for n in range(count)]
    last = request(on(3 + count), case="mun_last", resource=resource, groups=_GROUPS)
    return (*usual, *others, last)


class NewResource(Plain):
    """Peers are those who share a group. Of somebody without groups nothing can be said."""

    rule = Rule(
        id="new-resource",
        title="Somebody asks for what none of their peers uses",
        advice="See whether their work has changed. A stolen account asks for what its owner never "
        "would.",
        severity="low",
        kind="baseline",
        needs=("request.made",),
        samples=20,
        horizon=_SPAN,
        expected=100,
        references=("ATT&CK T1078",),
        examples=(
            Example(says="after 20 requests for other things", facts=_asked(20), hits=1),
            Example(says="after 19 it is too early to say", facts=_asked(19), hits=0),
            Example(
                says="that a peer has used",
                facts=_asked(
                    20,
                    request(
                        on(22), "bo", "mun_bo", resource="payroll-prod", groups=" sre engineering "
                    ),
                ),
                hits=0,
            ),
            Example(
                says="that somebody in no common group has used",
                facts=_asked(
                    20, request(on(22), "bo", "mun_bo", resource="payroll-prod", groups=" hr ")
                ),
                hits=1,
            ),
            Example(says="for the usual", facts=_asked(20, resource="orders-prod"), hits=0),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._made: Recent[None] = Recent(_SPAN, most=self.rule.samples)
        #: when a group, or a person, last asked for a resource
        self._last: dict[tuple[str, str], datetime] = {}
        self._ungrouped: dict[str, datetime] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        who, where = fact.text("requester"), fact.text("resource")
        groups = fact.text("groups").split()
        if not groups:
            self._ungrouped[who] = fact.at
            return
        self._ungrouped.pop(who, None)
        made = len(self._made.of(who, fact.at))
        behind = [fact.text("person"), *groups]
        if made >= self.rule.samples and not self._is_known(behind, where, fact.at):
            yield self.hit(
                fact,
                f"{who}:{where}",
                f"{who} asked for `{where}`, which none of their peers used in 90 days",
            )
        self._made.add(who, fact.at, None)
        for each in behind:
            self._last[each, where] = max(fact.at, self._last.get((each, where), fact.at))

    def _is_known(self, behind: Iterable[str], where: str, at: datetime) -> bool:
        lasts = [self._last.get((each, where)) for each in behind]
        return any(last is not None and last > at - _SPAN for last in lasts)

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._made.forget(now)
        if self.is_new_day(now):
            self._last = {key: last for key, last in self._last.items() if last > now - _SPAN}
            self._ungrouped = {k: last for k, last in self._ungrouped.items() if last > now - _SPAN}
        return ()

    def silences(self) -> Iterable[Silence]:
        for who in list(self._ungrouped)[:MOST_SILENCES]:
            yield Silence(rule=self.rule.id, about=f"groups of {who}", seen=0, needed=1)
        few = [(str(who), len(made)) for who, made in self._made]
        for who, seen in [each for each in few if each[1] < self.rule.samples][:MOST_SILENCES]:
            yield Silence(
                rule=self.rule.id, about=f"requests of {who}", seen=seen, needed=self.rule.samples
            )
