"""
Reviews of access come round: opened on their day or by what happened, told of, carried out.

What the log says decides what is due, so that nothing is opened twice. One of several nodes does
it. A rule that cannot be opened holds up no other, and says so in the metrics.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from muniment.access.campaigns_seen import Happened
from muniment.errors import MunimentError
from muniment.evidence import moment
from muniment.operations import apply_reviews, campaigns
from muniment.operations.open_campaign import open_by_itself
from muniment.operations.service import Service
from muniment.oversight.campaigns import Rule
from muniment.runtime.schedule import latest

#: the duty to do so
REVIEWS: Final = "reviews"
#: seconds between two looks, and after one rule could not be opened
EVERY, REST = 2.0, 300.0
#: what happened longer ago, when there was no such rule yet, opens nothing
FRESH: Final = timedelta(days=1)
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Reviewing:
    """One per service: a piece of its upkeep."""

    service: Service
    _next: float = 0.0
    #: in elapsed seconds, by rule
    _not_before: dict[str, float] = field(default_factory=dict)

    def is_due(self) -> bool:
        service = self.service
        if service.log.clock.elapsed() < self._next:
            return False
        return bool(service.registry.campaigns.open or campaigns.rules(service))

    async def look(self) -> None:
        """Open what is due, and do what was decided."""
        clock = self.service.log.clock
        for rule, started, occasion in list(self._due()):
            await self._open(rule, started, occasion)
        try:
            await apply_reviews.settle(self.service)
        finally:
            self._next = clock.elapsed() + EVERY

    async def _open(self, rule: Rule, started: str, occasion: str) -> None:
        failing, name = self.service.publishing.failing, f"{REVIEWS}/{rule.name}"
        try:
            case = await open_by_itself(self.service, rule, started, occasion)
        except MunimentError as error:
            if failing.get(name) != str(error):
                _log.error("the review `%s` cannot be opened: %s", rule.name, error)
            failing[name] = str(error)
            self._not_before[rule.name] = self.service.log.clock.elapsed() + REST
            return
        failing.pop(name, None)
        if case in self.service.registry.campaigns.open:
            _log.info("the review `%s` is open: %s", rule.name, case)
        elif case is not None:
            _log.warning("the review `%s` had nothing to review: %s", rule.name, case)

    def _due(self) -> Iterator[tuple[Rule, str, str]]:
        """One occasion of each rule at the most; for what happened, when no other of it is open."""
        elapsed, now = self.service.log.clock.elapsed(), self.service.now()
        known = self.service.registry.campaigns
        running = {each.record.rule for each in known.open.values()}
        for rule in campaigns.rules(self.service).values():
            if elapsed < self._not_before.get(rule.name, 0.0):
                continue
            day = _day(rule, now)
            if day and (rule.name, day) not in known.started:
                yield rule, "schedule", day
            elif rule.triggers and rule.name not in running:
                yield from list(self._triggered(rule, now))[:1]

    def _triggered(self, rule: Rule, now: datetime) -> Iterator[tuple[Rule, str, str]]:
        """What its newest review was not made of yet, and a review that is made now would be."""
        known, seen = self.service.registry.campaigns, self.service.log.size
        covered = known.covered.get(rule.name)
        for word in rule.triggers:
            happened = known.happened.get(word)
            if happened is None or happened.index >= seen:
                continue
            counts = self._counts(happened, now) if covered is None else happened.index >= covered
            if counts:
                yield rule, word.partition(":")[0], happened.case

    def _counts(self, happened: Happened, now: datetime) -> bool:
        """Of a rule that never was opened: the rule was there by then, or it is not long ago."""
        in_force = self.service.registry.configuration
        ruled = in_force is not None and happened.index > in_force.index
        return ruled or happened.at > now - FRESH


def _day(rule: Rule, now: datetime) -> str:
    """The newest day of its schedule that has come."""
    if rule.starts is None:
        return ""
    found = latest(rule.schedule, date.fromisoformat(rule.starts), now)
    return "" if found is None else moment.text(found)
