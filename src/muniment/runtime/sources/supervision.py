"""
Keep the transports of all sources running: what fails is begun anew, and takes nothing down.

What is to be fetched is fetched by one of several nodes; what is sent to us comes to any of them.
Who fetches says with each piece from which cursor it went on: a node that was taken for dead, and
was not, is refused, and begins anew where the other one is.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from muniment.errors import MunimentError, NotFound, Unavailable
from muniment.oversight.event import Reader
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources import Intake, Pause, Taken, Transport, pause
from muniment.runtime.sources.posted import Door
from muniment.runtime.sources.signatures import signature_of
from muniment.runtime.sources.transports import LISTENING, transport_of

#: seconds between two looks at which sources are this node's
LOOK: Final = 1.0
#: seconds until a transport is begun anew: doubled each time, at most the second
FIRST_WAIT, LONGEST_WAIT = 0.75, 60.0
#: seconds after which a transport that ran is held to be well
STEADY: Final = 60.0
#: seconds that a stop waits for what is being kept
LAST_WORDS: Final = 10.0
_log = logging.getLogger(__name__)

#: what is told of each source, and of what kind the figure is
_METRICS: Final = {
    "running": "gauge",
    "failing": "gauge",
    "restarts_total": "counter",
    "kept_total": "counter",
    "rejected_total": "counter",
    "missed_total": "counter",
    "refused_total": "counter",
}

MakeTransport: TypeAlias = Callable[[str, SourceSection, Path], Transport | None]


@dataclass
class _Watched:
    """The intake of one source: what comes of it says how the source is."""

    intake: Intake
    counts: Counter[str] = field(default_factory=Counter)
    #: why nothing comes at the moment; empty while all is well
    failing: str = ""
    #: where its transport is by our knowledge, empty at the very beginning; None: it never asked
    _at: str | None = None

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Taken:
        try:
            taken = await self.intake.take(
                source, records, cursor, after=self._at if after is None else after
            )
        except Unavailable as error:
            self.failing = str(error)
            raise
        self.failing = ""
        if self._at is not None and cursor is not None:
            self._at = cursor
        self.counts["kept"] += taken.kept
        self.counts["rejected"] += taken.rejected
        return taken

    def cursor(self, source: str) -> str | None:
        found = self.intake.cursor(source)
        self._at = found or ""
        return found

    async def missed(self, source: str, why: str, *, count: int | None = None) -> None:
        self.counts["missed"] += 1
        _log.warning("source `%s`: something was missed (%s)", source, why)
        await self.intake.missed(source, why, count=count)

    def reader(self, source: str) -> Reader:
        return self.intake.reader(source)


@dataclass(kw_only=True)
class _Source:
    """One source as it is declared."""

    section: SourceSection
    watched: _Watched
    transport: Transport | None
    door: Door | None


@dataclass(kw_only=True)
class _Running:
    source: _Source
    stop: asyncio.Event
    task: asyncio.Task[None]


class Sources:
    """All sources of this installation, on this node."""

    def __init__(
        self,
        sections: Mapping[str, SourceSection],
        intake: Intake,
        leads: Callable[[str], bool],
        folder: Path,
        *,
        make: MakeTransport = transport_of,
        pause: Pause = pause,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        `leads` says whether this node is to fetch the source of this name.

        Raises `ConfigInvalid` saying what to do.
        """
        self._intake = intake
        self._leads = leads
        self._folder = folder
        self._make = make
        self._pause = pause
        self._elapsed = elapsed
        self._sources: dict[str, _Source] = {}
        self._running: dict[str, _Running] = {}
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self.change(sections)

    def change(self, sections: Mapping[str, SourceSection]) -> None:
        """
        These are the sources from now on; those that stay as they are go on undisturbed.

        Raises `ConfigInvalid` saying what to do, and leaves everything as it was.
        """
        made = {}
        for name, section in sections.items():
            known = self._sources.get(name)
            unchanged = known is not None and known.section == section
            made[name] = known if known is not None and unchanged else self._made(name, section)
        self._sources = made

    def door(self, source: str, kind: str) -> Door:
        """Where it is posted to a source of this kind. Raises `NotFound`."""
        known = self._sources.get(source)
        if known is None or known.door is None or known.section.kind != kind:
            raise NotFound(f"no source of kind `{kind}` is called `{source}`")
        return known.door

    async def start(self) -> None:
        self._stop.clear()
        self._task = asyncio.create_task(self._run(), name="sources")

    async def stop(self) -> None:
        """What is being kept at this moment is kept."""
        self._stop.set()
        if self._task is not None:
            await self._task
            self._task = None

    @property
    def failing(self) -> dict[str, str]:
        """Why nothing comes, by source."""
        return {name: why for name, each in self._sources.items() if (why := each.watched.failing)}

    def metrics(self) -> Iterator[str]:
        """Prometheus text. Counts only."""
        figures = {name: self._figures(name) for name in sorted(self._sources)}
        for name, kind in _METRICS.items() if figures else ():
            yield f"# TYPE muniment_source_{name} {kind}"
            for source, values in figures.items():
                yield f'muniment_source_{name}{{source="{source}"}} {values[name]}'

    def _figures(self, name: str) -> dict[str, int]:
        source = self._sources[name]
        counts = source.watched.counts
        return {
            "running": int(name in self._running or source.door is not None),
            "failing": int(bool(source.watched.failing)),
            "restarts_total": counts["restarts"],
            "kept_total": counts["kept"],
            "rejected_total": counts["rejected"],
            "missed_total": counts["missed"],
            "refused_total": source.door.refused if source.door is not None else 0,
        }

    # --- which of them run here -------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._stop.is_set():
                await self._look()
                await self._pause(self._stop, LOOK)
        finally:
            await self._end(list(self._running))

    async def _look(self) -> None:
        wanted = {name: each for name, each in self._sources.items() if self._is_ours(name, each)}
        over = [name for name, each in self._running.items() if wanted.get(name) is not each.source]
        await self._end(over)
        for name, source in wanted.items():
            if name not in self._running and source.transport is not None:
                stop = asyncio.Event()
                work = self._keep_running(name, source, source.transport, stop)
                task = asyncio.create_task(work, name=f"source {name}")
                self._running[name] = _Running(source=source, stop=stop, task=task)

    def _is_ours(self, name: str, source: _Source) -> bool:
        if source.transport is None or source.section.kind in LISTENING:
            return source.transport is not None
        try:
            leads = self._leads(name)
        except MunimentError as error:
            if str(error) != self._trouble:
                _log.warning("sources wait: %s", error)
            self._trouble = str(error)
            return False
        self._trouble = ""
        return leads

    async def _end(self, names: Sequence[str]) -> None:
        ending = [self._running.pop(name) for name in names]
        for each in ending:
            each.stop.set()
            each.source.watched.failing = ""
        if not ending:
            return
        _, late = await asyncio.wait([each.task for each in ending], timeout=LAST_WORDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _keep_running(
        self, name: str, source: _Source, transport: Transport, stop: asyncio.Event
    ) -> None:
        attempts, said = 0, ""
        while not stop.is_set():
            began = self._elapsed()
            try:
                await transport.run(source.watched, stop)
                why, known = "it ended by itself", True
            except Exception as error:  # noqa: BLE001 (a bug in one must not stop the others)
                why, known = str(error) or type(error).__name__, isinstance(error, MunimentError)
                if why != said:
                    _log.error("source `%s`: %s", name, why, exc_info=not known)
            if stop.is_set():
                return
            said, source.watched.failing = why, why
            source.watched.counts["restarts"] += 1
            attempts = 1 if self._elapsed() - began >= STEADY else attempts + 1
            await self._pause(stop, min(FIRST_WAIT * 2 ** min(attempts - 1, 16), LONGEST_WAIT))

    def _made(self, name: str, section: SourceSection) -> _Source:
        watched = _Watched(self._intake)
        transport = self._make(name, section, self._folder)
        if transport is not None:
            return _Source(section=section, watched=watched, transport=transport, door=None)
        hook = section.kind == "webhook"
        door = Door(
            source=name,
            intake=watched,
            posts_per_minute=section.posts_per_minute,
            signature=signature_of(name, section, self._folder) if hook else None,
            elapsed=self._elapsed,
        )
        return _Source(section=section, watched=watched, transport=None, door=door)
