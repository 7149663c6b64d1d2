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
#: what happened longer ago opens nothing any more
FRESH: Final = timedelta(days=1)
#: findings and reviews of broken glass that are looked at
_NEWEST: Final = 200
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
        _log.info("the review `%s` is open: %s", rule.name, case)

    def _due(self) -> Iterator[tuple[Rule, str, str]]:
        """One occasion of each rule at the most; none of one that is open for what happened."""
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
        known, since = self.service.registry.campaigns, moment.text(now - FRESH)
        newest = known.newest.get(rule.name)
        since = since if newest is None else max(since, moment.text(newest))
        projections = self.service.projections
        if "break-glass" in rule.triggers:
            for row in projections.cases(kind="review", limit=_NEWEST):
                if row.opened_at > since:
                    yield rule, "break-glass", row.case
        wanted = {each.removeprefix("finding:") for each in rule.triggers}
        if wanted - {"break-glass"}:
            for row in projections.cases(kind="finding", limit=_NEWEST):
                if row.opened_at > since and wanted & {row.role, *row.groups}:
                    yield rule, "finding", row.case


def _day(rule: Rule, now: datetime) -> str:
    """The newest day of its schedule that has come."""
    if rule.starts is None:
        return ""
    found = latest(rule.schedule, date.fromisoformat(rule.starts), now)
    return "" if found is None else moment.text(found)
