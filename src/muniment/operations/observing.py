"""What is known of sources of events, and where what they say is kept."""

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

from muniment.errors import Unavailable
from muniment.operations.surveyed import Surveyed
from muniment.oversight.event import Reader
from muniment.oversight.event_store import EventStore

T = TypeVar("T")
#: begins the ids of the cases of sources
SOURCES: Final = "src"
#: events that wait to be seen once more
MOST_RELINKED: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of events, as an administrator declared it."""

    name: str
    #: what it speaks of; empty where its events say so themselves
    resource: str
    reader: Reader
    #: another one of the same kind: what cuts records out of a stream remembers where it is in it
    make_reader: Callable[[], Reader]
    #: silence for longer than this is recorded; None: it may be silent for ever
    heartbeat: timedelta | None = None
    #: accounts that are meant to be there without a grant: patterns as in a shell
    standing_accounts: tuple[str, ...] = ()
    #: accounts with which Muniment itself works there
    own_accounts: tuple[str, ...] = ()
    #: types of events that have to come from it: what never came is said
    expects: tuple[str, ...] = ()

    def is_standing(self, account: str) -> bool:
        return any(fnmatchcase(account, pattern) for pattern in self.standing_accounts)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the records that a source sent."""

    kept: int
    rejected: int


class TakesIn(Protocol):
    """See `operations.intake`."""

    def take(
        self, source: Source, sent: Sequence[bytes], cursor: str | None, after: str | None = None
    ) -> Taken: ...


def _one_thread() -> Executor:
    return ThreadPoolExecutor(1, "muniment-observe")


def _one_that_looks() -> Executor:
    return ThreadPoolExecutor(1, "muniment-look")


@dataclass(kw_only=True)
class Observing:
    """The sources of this installation. Without a store nothing is observed."""

    store: EventStore | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    intake: TakesIn | None = None
    #: whatever numbers events does so here, one after the other
    thread: Executor = field(default_factory=_one_thread)
    #: whatever looks at all events does so here: each thread holds some of the store in memory
    looking: Executor = field(default_factory=_one_that_looks)
    #: when this process began to listen; a source that was silent before may have spoken then
    began: datetime | None = None
    #: when what was kept was last recorded, in elapsed seconds
    kept_up: float = 0.0
    #: rows of events that came to be linked after they were kept, for whoever has seen them already
    relinked: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_RELINKED))
    #: what evidence health has read of the log
    surveyed: Surveyed = field(default_factory=Surveyed)

    def close(self) -> None:
        """What is being taken in is finished first."""
        self.thread.shutdown(wait=True)
        self.looking.shutdown(wait=True)
        if self.store is not None:
            self.store.close()


async def in_thread(thread: Executor, work: Callable[..., T], *given: Any) -> T:
    """In a thread of `Observing`. Raises `Unavailable` once that is closed."""
    try:
        begun = asyncio.get_running_loop().run_in_executor(thread, work, *given)
    except RuntimeError:  # it takes on nothing new
        raise Unavailable("nothing more is observed here: the service is stopping") from None
    return await begun


def case_of(log_id: bytes, source: str) -> str:
    """The case in which it is recorded what came from a source."""
    digest = sha256(b"muniment-source/v1\0" + log_id + source.encode()).digest()[:16]
    return f"{SOURCES}_{base64.b32encode(digest).decode().rstrip('=').lower()}"
