"""What watches over one service: its sources of events, and its detectors."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from muniment.operations import observe
from muniment.operations.detect import Detection
from muniment.operations.service import Service
from muniment.runtime.detecting import read_detection, read_rota, rule_sets
from muniment.runtime.duties import Duties
from muniment.runtime.observing import ServiceIntake, observe_with, open_events, read_sources
from muniment.runtime.settings import Settings
from muniment.runtime.sources.supervision import Sources
from muniment.runtime.sources.transports import transport_of

#: the piece of upkeep that watches
DETECT = "detect"
Piece = tuple[str, Callable[[], bool], Callable[[], Awaitable[object]]]


def check_oversight(settings: Settings, folder: Path) -> None:
    """Raises `ConfigInvalid` for a source, its secret, or a rule that cannot be so."""
    read_sources(settings)
    for name, section in settings.sources.items():
        transport_of(name, section, folder)
    rule_sets(settings, folder)
    read_rota(settings, folder)


@dataclass(kw_only=True)
class Overseeing:
    """One per service. Nothing is begun before it is asked for."""

    service: Service
    sources: Sources
    detection: Detection
    _folder: Path = field(repr=False)

    @classmethod
    def of(cls, service: Service, settings: Settings, folder: Path) -> "Overseeing":
        """Raises `ConfigInvalid` saying what to do."""
        duties = Duties(service=service)
        sources = Sources(
            settings.sources,
            ServiceIntake(service=service),
            lambda name: duties.has(f"observe/{name}"),
            folder,
        )
        detection = read_detection(service, settings, folder)
        return cls(service=service, sources=sources, detection=detection, _folder=folder)

    def change(self, settings: Settings) -> None:
        """Raises `ConfigInvalid` saying what to do, and leaves everything as it was."""
        known = read_sources(settings)
        detection = read_detection(self.service, settings, self._folder)
        self.sources.change(settings.sources)
        if self.service.observing.store is None:
            observe_with(self.service, settings, open_events(self._folder, settings))
        self.service.observing.sources = known
        # it sees once more what lies within its horizon: what it knew was known by other rules
        self.detection = detection

    def pieces(self) -> Iterator[Piece]:
        """What is to be done beside the worker: name, whether it is due, and doing it."""
        if self.service.observing.store is not None:
            yield "observe", partial(observe.is_due, self.service), self._keep_up
        yield DETECT, lambda: True, self._detect

    def stand_by(self) -> None:
        """Another node watches: what it sees again is for it to count."""
        self.detection.forget_counted()

    async def _keep_up(self) -> None:
        await observe.keep_up(self.service)

    async def _detect(self) -> None:
        await self.detection.look()
