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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from muniment.evidence.record import Header, Sealed, digest
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

    def erase_many(self, erasures: Sequence[tuple[int, str, str]]) -> None:
        self._store.erase_many(erasures)


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
