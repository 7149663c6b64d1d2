"""A small log whose clocks, disk and free space are a test's to move; and where it may lie."""

# ruff: noqa: S101 - its check is made of asserts

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.audit import audit
from muniment.evidence.clock import SteadyClock
from muniment.evidence.founding import found_log
from muniment.evidence.index import CASE_CLOSED
from muniment.evidence.log import Log
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Draft, Header
from muniment.evidence.signer import KeyAtHand, Keyring, Signer
from muniment.evidence.store import Entry, HeadStore, LogStore, Tail
from muniment.ports import Projections
from muniment.stores.head_file import HeadFile
from muniment.stores.sqlite import SQLiteStore
from muniment.testing.faulty import ORIGIN, START, Disk, FaultyHeads, FaultyStore, new_case

_PATIENCE = 20


def counted(header: Header) -> Iterable[str]:
    """The counters of a `TrialLog`: whatever the record names itself."""
    counts: list[str] = header.body.get("counts", [])
    return counts


class ClosingStore(LogStore, Projections, Protocol):
    def close(self) -> None: ...


class ClosingHeads(HeadStore, Protocol):
    def close(self) -> None: ...


class Place(Protocol):
    """Where a log lies: each call opens the same data anew, as another process would."""

    def open_store(self) -> ClosingStore: ...

    def open_heads(self) -> ClosingHeads: ...


@dataclass(frozen=True)
class Files:
    """A log in a folder."""

    database: Path
    head: Path

    def open_store(self) -> SQLiteStore:
        return SQLiteStore(self.database)

    def open_heads(self) -> HeadFile:
        return HeadFile(self.head)


@dataclass
class TrialLog:
    """A small log; tests move its clocks and its free space, and fail its disk."""

    folder: Path
    key: SigningKey = field(default_factory=lambda: SigningKey.generate(ORIGIN))
    #: who else is at hand to sign, once the records say so
    others: Sequence[Signer] = ()
    #: what the wall clock says
    now: datetime = START
    #: seconds that never step
    ticks: float = 0.0
    #: free bytes, of which `reserve` are kept for what is urgent
    free: int = 1 << 40
    reserve: int = 1 << 20
    #: where the head store lies, if not in the folder
    head_path: Path | None = None
    #: where all of it lies, if not in the folder
    place: Place | None = None
    #: other nodes write to it as well: each is a `TrialLog` of its own with the same key
    shared: bool = False
    #: why nothing may be signed any more
    contradicted: str | None = None

    def __post_init__(self) -> None:
        self.path, self.head = self.folder / "muniment.db", self.head_path or self.folder / "head"
        self.disk = Disk()
        #: every entry that somebody has a receipt for
        self.acknowledged: list[Entry] = []
        #: what a listener was told, from the last opening on
        self.told: list[Entry] = []
        #: the listener
        self.listen: Callable[[Entry], None] = self.told.append
        self._place = self.place or Files(self.path, self.head)
        with self._opened() as (store, heads):
            if heads.read() is None:
                found_log(store, heads, self.keyring, self._started)
        self.open()

    @property
    def keyring(self) -> Keyring:
        return Keyring([KeyAtHand(self.key), *self.others])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[ClosingStore, ClosingHeads]]:
        with (
            contextlib.closing(self._place.open_heads()) as heads,
            contextlib.closing(self._place.open_store()) as store,
        ):
            yield store, heads

    def _started(self, key: VerifierKey) -> Draft:
        body = {"key": key.vkey, "nonce": secrets.token_hex(16), "origin": ORIGIN}
        return self.draft(new_case("log"), kind="log:started", body=body)

    def open(self) -> None:
        """Raises what `Log.open` raises; then there is nothing to close."""
        self._heads = self._place.open_heads()
        self._store = self._place.open_store()
        self._closed = False
        self.store = FaultyStore(self._store, self.disk)
        self.told.clear()
        self.log = Log(
            self.store,
            FaultyHeads(self._heads, self.disk),
            self.keyring,
            SteadyClock(lambda: self.now, lambda: self.ticks),
            counters=counted,
            space=lambda: self.free,
            reserve=self.reserve,
            contradicted=lambda: self.contradicted,
            shared=self.shared,
        )
        try:
            self.log.open(self.listen)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.log.close()
            self._store.close()
            self._heads.close()

    @property
    def closed(self) -> bool:
        return self._closed

    def reopen(self) -> None:
        self.close()
        self.open()

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds

    def step_clock(self, seconds: float) -> None:
        """The wall clock alone moves."""
        self.now += timedelta(seconds=seconds)

    # --- appending

    def draft(
        self,
        case: str,
        *,
        kind: str = "test:written",
        body: Mapping[str, Any] | None = None,
        late: float = 0,
        sections: Mapping[str, bytes] | None = None,
        documents: tuple[bytes, ...] = (),
        follows: tuple[bytes | int, ...] = (),
    ) -> Draft:
        """`late` is by how many seconds its time lies before now."""
        return Draft(
            case=case, kind=kind, fold=1, at=self.now - timedelta(seconds=late),
            body=dict(body or {}), sections=dict(sections or {}), documents=documents,
            follows=follows,
        )  # fmt: skip

    def closing(self, case: str) -> Draft:
        return self.draft(case, kind=CASE_CLOSED)

    def queue(
        self,
        *drafts: Draft,
        reads: Mapping[str, bytes | None] | None = None,
        **options: Any,
    ) -> Future[Appended]:
        """A proposal that read the heads of its own cases as they are now."""
        if reads is None:
            reads = {draft.case: self.log.head(draft.case) for draft in drafts}
        return self.log.append(Proposal(drafts=drafts, reads=reads, **options))

    def conclude(self, *drafts: Draft) -> Future[Appended]:
        """An outcome in the case of the first draft."""
        build = Outcome(case=drafts[0].case, build=lambda _: (drafts, lambda _: ()))
        return self.log.append(build)

    def receipt(self, future: Future[Appended]) -> tuple[Entry, ...]:
        """Wait for an append; what it returns is acknowledged from then on."""
        appended = future.result(timeout=_PATIENCE)
        self.acknowledged += appended.entries
        return appended.entries

    def append(self, *drafts: Draft, **options: Any) -> tuple[Entry, ...]:
        return self.receipt(self.queue(*drafts, **options))

    def fill(self, count: int, **options: Any) -> list[Entry]:
        """So many cases of one record, in as few batches as may be."""
        futures = [self.queue(self.draft(new_case(), **options)) for _ in range(count)]
        return [entry for future in futures for entry in self.receipt(future)]

    # --- checking

    def check(self) -> None:
        """
        Read everything anew and verify it; nothing acknowledged may be lost or changed.

        Entries, cases, tree, tiles, every checkpoint, sections and documents (a full audit), the
        head store, and what the listeners were told.
        """
        with self._opened() as (store, heads):
            head, tail = heads.read(), store.tail()
            assert tail is not None
            assert head is not None
            found = audit(store, self.log.keys.known, [head], full=True)
            assert found.holds, found
            assert head == tail.checkpoint == self.log.checkpoint
            entries = dict(store.entries(0, tail.size))
            assert sorted(entries) == list(range(tail.size)), "entries are gap-free"
            for entry in self.acknowledged:
                assert entries[entry.index] == entry.data, f"{entry.header.id} was acknowledged"
            assert [entry.data for entry in self.told] == list(entries.values())
            self._check_appended(store, tail)

    def _check_appended(self, store: LogStore, tail: Tail) -> None:
        """Every case can be read with its proofs, and ends where the log thinks that it does."""
        cases = {entry.header.case for entry in self.told}
        for case in cases:
            entries = self.log.read_case(case)
            assert entries[-1].leaf == self.log.head(case)
        assert sum(len(store.case(case, tail.size)) for case in cases) == tail.size
