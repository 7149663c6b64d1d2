"""
A log whose disk fails on command, and of which every byte is checked after each step.

Every step of a write can be told to fail in two ways: it *failed*, or it failed but was *kept*:
what it was to do is done, and only the answer got lost. A step can also be held until a test lets
it go.
"""

# ruff: noqa: S101 - `check` is made of asserts

import base64
import contextlib
import errno
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.audit import audit
from muniment.evidence.clock import SteadyClock
from muniment.evidence.index import CASE_CLOSED
from muniment.evidence.log import Log, found_log
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Draft, Header, Sealed, digest
from muniment.evidence.signer import KeyAtHand, Keyring, Signer
from muniment.evidence.store import (
    Batch,
    Entry,
    HeadStore,
    LogStore,
    Published,
    Tail,
    Transaction,
    entry_of,
)
from muniment.evidence.tree import Tree
from muniment.ports import Projections
from muniment.stores.head_file import HeadFile
from muniment.stores.sqlite import SQLiteStore

ORIGIN = "muniment.example/log"
START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)

#: every step of one append, in its order; `commit` is leaving the transaction
WRITE_STEPS = ("read head", "begin", "tail", "add", "read back", "commit", "write head")
_PATIENCE = 20


@dataclass
class _Fault:
    kept: bool
    times: int
    after: int
    error: Callable[[], Exception]


class Disk:
    """What the next steps come to. Everything goes well until a test says otherwise."""

    def __init__(self) -> None:
        #: how often each step was tried
        self.tried: Counter[str] = Counter()
        #: turns what `read back` finds into something else
        self.lie: Callable[[list[bytes]], list[bytes]] = list
        self._faults: dict[str, _Fault] = {}
        self._holds: dict[str, _Hold] = {}

    def fail(
        self,
        step: str,
        *,
        kept: bool = False,
        times: int = 1,
        after: int = 0,
        error: Callable[[], Exception] = lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    ) -> None:
        """
        Let tries of a step fail: the next `times`, once it has succeeded `after` times.

        `kept` does what they were to do all the same.
        """
        self._faults[step] = _Fault(kept, times, after, error)

    def heal(self) -> None:
        """From now on everything goes well."""
        self._faults.clear()

    @contextlib.contextmanager
    def hold(self, step: str) -> Iterator[threading.Event]:
        """While the block runs the step waits; the event says that it was reached."""
        hold = self._holds[step] = _Hold()
        try:
            yield hold.reached
        finally:
            del self._holds[step]
            hold.released.set()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.before(name)
        with self.after(name):
            yield

    def before(self, name: str) -> None:
        """The step begins; it fails here unless what it does is to be kept."""
        self.tried[name] += 1
        if (hold := self._holds.get(name)) is not None:
            hold.reached.set()
            assert hold.released.wait(_PATIENCE), f"nobody let `{name}` go on"
        self._fall(name, kept=False)

    @contextlib.contextmanager
    def after(self, name: str) -> Iterator[None]:
        """What the block does is the step's own doing, and is kept."""
        yield
        self._fall(name, kept=True)

    def _fall(self, name: str, *, kept: bool) -> None:
        fault = self._faults.get(name)
        if fault is None or fault.kept != kept:
            return
        if fault.after:
            fault.after -= 1
            return
        fault.times -= 1
        if fault.times == 0:
            del self._faults[name]
        raise fault.error()


@dataclass
class _Hold:
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


class FaultyStore:
    """`LogStore` over another one, on a disk that may fail."""

    def __init__(self, store: LogStore, disk: Disk) -> None:
        self._store = store
        self._disk = disk

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        # what fails before the inner block is left takes it back; afterwards everything is kept
        with self._disk.after("commit"), contextlib.ExitStack() as stack:
            with self._disk.step("begin"):
                inner = stack.enter_context(self._store.transaction())
            yield FaultyTransaction(inner, self._disk)
            self._disk.before("commit")

    def reopen(self) -> None:
        with self._disk.step("reopen"):
            self._store.reopen()

    def settle(self) -> None:
        with self._disk.step("settle"):
            self._store.settle()

    def found(self, batch: Batch) -> None:
        self._store.found(batch)

    def tail(self) -> Tail | None:
        return self._store.tail()

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        return self._store.entries(start, stop)

    def case(self, case: str, size: int) -> list[tuple[int, bytes]]:
        return self._store.case(case, size)

    def leaves(self, start: int, stop: int) -> bytes:
        return self._store.leaves(start, stop)

    def tile(self, level: int, index: int) -> bytes | None:
        return self._store.tile(level, index)

    def sections(self, index: int) -> dict[str, Sealed]:
        return self._store.sections(index)

    def erased(self, index: int) -> dict[str, str]:
        return self._store.erased(index)

    def document(self, digest: bytes) -> bytes | None:
        return self._store.document(digest)

    def checkpoint(self, size: int) -> bytes | None:
        return self._store.checkpoint(size)

    def checkpoint_at_or_after(self, size: int) -> tuple[int, bytes] | None:
        return self._store.checkpoint_at_or_after(size)

    def publish(self, published: Published) -> None:
        with self._disk.step("publish"):
            self._store.publish(published)

    def published(self) -> Published | None:
        return self._store.published()

    def published_at_or_after(self, size: int) -> Published | None:
        return self._store.published_at_or_after(size)

    def erase(self, index: int, section: str, rule: str) -> None:
        self._store.erase(index, section, rule)


class FaultyTransaction:
    """`Transaction` over another one."""

    def __init__(self, transaction: Transaction, disk: Disk) -> None:
        self._transaction = transaction
        self._disk = disk

    def tail(self) -> Tail:
        with self._disk.step("tail"):
            return self._transaction.tail()

    def case(self, case: str) -> list[tuple[int, bytes]]:
        with self._disk.step("case"):
            return self._transaction.case(case)

    def add(self, batch: Batch) -> None:
        with self._disk.step("add"):
            self._transaction.add(batch)

    def read_back(self, start: int, stop: int) -> list[bytes]:
        with self._disk.step("read back"):
            return self._disk.lie(self._transaction.read_back(start, stop))


class FaultyHeads:
    """`HeadStore` over another one."""

    def __init__(self, heads: HeadStore, disk: Disk) -> None:
        self._heads = heads
        self._disk = disk

    def lock(self) -> AbstractContextManager[None]:
        return self._heads.lock()

    def read(self) -> bytes | None:
        with self._disk.step("read head"):
            return self._heads.read()

    def write(self, checkpoint: bytes, size: int) -> None:
        with self._disk.step("write head"):
            self._heads.write(checkpoint, size)


# --- data to be stored -----------------------------------------------------------------------


def new_case(prefix: str = "mun") -> str:
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


class Growing:
    """Makes the batches of a small log, one after the other; nothing in it is signed."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.entries: list[Entry] = []

    def batch(
        self,
        count: int = 1,
        *,
        case: str | None = None,
        sections: dict[str, bytes] | None = None,
        documents: Sequence[bytes] = (),
        companions: Sequence[Any] = (),
    ) -> Batch:
        """So many new cases of one record; or so many more records of one case."""
        self.tree.forget_changes()
        first = len(self.entries)
        for _ in range(count):
            self._push(case or new_case())
        new = self.entries[first:]
        return Batch(
            entries=new,
            sections={
                (entry.index, name): Sealed.seal(content)
                for entry in new
                for name, content in (sections or {}).items()
            },
            documents={digest(document): document for document in documents},
            tiles=self.tree.changed_tiles(),
            size=self.tree.size,
            peaks=self.tree.peaks_before_last,
            checkpoint=b"checkpoint of %d" % self.tree.size,
            companions=companions,
        )

    def _push(self, case: str) -> None:
        before = [entry for entry in self.entries if entry.header.case == case]
        header = Header(
            kind="test:written", fold=1, case=case, position=len(before), at=START,
            body={"n": len(self.entries)}, prev=before[-1].leaf if before else None,
        )  # fmt: skip
        entry = entry_of(len(self.entries), header.encode())
        self.tree.push(entry.leaf)
        self.entries.append(entry)


def add(store: LogStore, batch: Batch) -> None:
    with store.transaction() as transaction:
        transaction.add(batch)


# --- a log to be tried ------------------------------------------------------------------------


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
