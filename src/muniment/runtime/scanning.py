"""
Targets are held against the log on a schedule, by one of several nodes.

What the log says of the newest scan decides what is due, so that no two nodes look one after the
other. A target that cannot be looked at holds up no other, and says so in the metrics.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from muniment.errors import MunimentError
from muniment.operations.drift import scan
from muniment.operations.service import Service
from muniment.runtime.drift_section import DriftSection

#: the duty to look
DRIFT: Final = "drift"
#: seconds after the start before the first look, and after one that failed before the next
SETTLE, REST = 60.0, 300.0
#: how many targets are looked at together
TOGETHER: Final = 4
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Scanning:
    """One per service: a piece of its upkeep."""

    service: Service
    #: the settings in force
    settings: Callable[[], DriftSection]
    #: in elapsed seconds, by resource; and of all of them
    _not_before: dict[str, float] = field(default_factory=dict)
    _begins: float = field(init=False)

    def __post_init__(self) -> None:
        self._begins = self.service.log.clock.elapsed() + SETTLE

    def is_due(self) -> bool:
        return any(True for _ in self._due())

    def _due(self) -> Iterator[str]:
        settings, elapsed = self.settings(), self.service.log.clock.elapsed()
        if elapsed < self._begins:
            return
        now = self.service.now()
        for resource in list(self.service.connectors):
            if resource in settings.skip or elapsed < self._not_before.get(resource, 0.0):
                continue
            newest = self.service.registry.scans.of(resource)
            if newest is None or now - newest.entry.header.at >= settings.every:
                yield resource

    async def look(self) -> None:
        """At every target that is due, a few at a time."""
        room = asyncio.Semaphore(TOGETHER)

        async def look_at(resource: str) -> None:
            async with room:
                await self._look_at(resource)

        await asyncio.gather(*(look_at(resource) for resource in list(self._due())))

    async def _look_at(self, resource: str) -> None:
        failing, name = self.service.publishing.failing, f"{DRIFT}/{resource}"
        try:
            found = await scan(self.service, resource)
        except MunimentError as error:
            if failing.get(name) != str(error):
                _log.error("`%s` is not held against the log: %s", resource, error)
            failing[name] = str(error)
            self._not_before[resource] = self.service.log.clock.elapsed() + REST
            return
        failing.pop(name, None)
        if found.findings:
            _log.warning("`%s` differs from the log: %d findings", resource, len(found.findings))
