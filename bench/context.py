"""What a benchmark is handed: where it may write, how large it is to be, and shared logs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.installation import Installation, install
from bench.requests import Requests, fill, opened


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything."""

    #: seconds that each load runs
    seconds: float
    #: times that competitors take turns
    rounds: int
    #: records of the log that is audited and grown to
    records: int
    #: grants that expire, and the seconds over which they are due
    grants: int
    spread: float


SMOKE = Sizes(seconds=0.5, rounds=1, records=20_000, grants=10, spread=2.0)
QUICK = Sizes(seconds=3.0, rounds=3, records=100_000, grants=100, spread=6.0)
FULL = Sizes(seconds=6.0, rounds=3, records=1_000_000, grants=1000, spread=60.0)


@dataclass(kw_only=True)
class Bench:
    """One run of `python -m bench`."""

    work: Path
    sizes: Sizes
    _grown: list[Requests] = field(default_factory=list)
    _installation: Installation | None = None
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    def folder(self, name: str) -> Path:
        """A new folder."""
        number = sum(path.name.startswith(name) for path in self.work.iterdir())
        made = self.work / f"{name}-{number}"
        made.mkdir()
        return made

    async def grown(self, size: int) -> tuple[Installation, Requests]:
        """The one large log of this run, filled to `size` records; it only grows."""
        if self._installation is None:
            self._installation = install(self.folder("grown") / "muniment")
            self._grown.append(await self._open.enter_async_context(opened(self._installation)))
        await fill(self._grown[0], size)
        return self._installation, self._grown[0]

    @asynccontextmanager
    async def closing(self) -> AsyncIterator["Bench"]:
        async with self._open:
            yield self
