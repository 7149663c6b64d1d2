"""
The log: group commit of records under a signed tree head, and reading them back with proof.

One thread writes. It takes everything that waits, places it in one transaction with the tree and
the signed checkpoint, makes the new head durable in the head store, and only then answers. Nothing
in a batch is believed because a database says so:

1. the last checkpoint carries our own signature;
2. the frontier, the size and the last row give that checkpoint's root;
3. the checkpoint is the one this process wrote or checked last;
4. every head that a decision read is still the head, in an index built from checked entries;
5. the bytes read back after the insert equal the bytes that were handed in.

If a commit fails or its outcome is unknown, the log stops, reopens and checks what is there before
it signs again. If a check fails, it never signs again.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from muniment.errors import (
    Conflict,
    DiskFull,
    EvidenceError,
    LogInvalid,
    LogUnavailable,
    MunimentError,
    Stale,
)
from muniment.evidence import merkle, moment
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.clock import TOLERANCE, SteadyClock
from muniment.evidence.index import Index
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Draft, Header, Sealed, digest
from muniment.evidence.store import Batch, Entry, HeadStore, LogStore, Tail, Transaction
from muniment.evidence.tree import Tree, reader

MAX_BATCH = 512
#: from the records in their places to the writes that go with them (projections, due work); what
#: it raises refuses the records
Companions = Callable[[Sequence[Entry]], Iterable[Any]]
_log = logging.getLogger(__name__)


def _nothing(_entries: Sequence[Entry]) -> Iterable[Any]:
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """
    Records of a decision. They stand only if everything that the decision read still stands.

    `reads` names the head (leaf hash, None for "no such case yet") of every case and counter that
    was read, the drafts' own cases included. One that has moved gives `Stale`: evaluate again.
    """

    drafts: tuple[Draft, ...]
    reads: Mapping[str, bytes | None]
    #: gives or widens access: refused while the clock is unsteady or the reading is old
    gives: bool = True
    #: may append below the reserve of disk
    urgent: bool = False
    companions: Companions = _nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """
    Records of an end, or of something already done. Never refused; built on whatever head is there.

    `build` is given the case's entries and returns drafts and their companions; no drafts if the
    case has nothing left to record.
    """

    case: str
    build: Callable[[Sequence[Entry]], tuple[Sequence[Draft], Companions]]


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append returns once it is durable: the entries and the checkpoint over them."""

    entries: tuple[Entry, ...]
    checkpoint: bytes = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class _Staged:
    """One proposal's part of a batch."""

    future: "Future[Appended]"
    entries: tuple[Entry, ...]
    sections: Mapping[tuple[int, str], Sealed]
    documents: Mapping[bytes, bytes]
    companions: tuple[Any, ...]


def found_log(
    store: LogStore, heads: HeadStore, key: SigningKey, drafted: Callable[[VerifierKey], Draft]
) -> Entry:
    """
    Write entry 0, `log:started`. Its leaf hash is the log id.

    Raises `Conflict` where the store or the head store has a log already.
    """
    draft = drafted(key.verifier)
    header = Header(
        kind=draft.kind, fold=draft.fold, case=draft.case, position=0,
        at=moment.whole(draft.at), body=draft.body, prev=None,
    )  # fmt: skip
    data = header.encode()
    entry = Entry(0, data, merkle.leaf_hash(data), header)
    note = sign(Checkpoint(key.name, 1, merkle.root([entry.leaf])), key)
    with heads.lock():
        if heads.read() is not None:
            raise Conflict("the head store remembers a log already; it belongs to another data set")
        store.found(Batch((entry,), {}, {}, {}, 1, (), note, ()))
        heads.write(note, 1)
    return entry


class Log:
    """An open log. Construct with `open`; every method may be called from any thread."""

    def __init__(
        self,
        store: LogStore,
        heads: HeadStore,
        key: SigningKey,
        clock: SteadyClock,
        *,
        counters: Callable[[Header], Iterable[str]] = lambda _: (),
        space: Callable[[], int] = lambda: 1 << 62,
        reserve: int = 0,
    ) -> None:
        self.store = store
        self.clock = clock
        self.origin = key.name
        self.verifier = key.verifier
        self._heads = heads
        self._key = key
        self._space = space
        self._reserve = reserve
        self._index = Index(counters)
        self._tree = Tree()
        self._checkpoint = b""
        self._listeners: list[Callable[[Entry], None]] = []
        self._queue: queue.SimpleQueue[tuple[Proposal | Outcome, Future[Appended]] | None] = (
            queue.SimpleQueue()
        )
        self._stopped: str | None = None
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def open(self, *listeners: Callable[[Entry], None]) -> None:
        """
        Check every entry, the tree, the signature and the head store; then accept appends.

        Each listener is called with every entry, in order: with those already there now, and with
        new ones once they are durable. Raises `LogInvalid` saying what contradicts what.
        """
        self._listeners = list(listeners)
        with self._heads.lock():
            self._catch_up(self.store.tail())
        self.clock.start(self._index.latest)
        self._thread.start()

    def close(self) -> None:
        """Finish what was queued, then stop."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def log_id(self) -> bytes:
        return self._tree.first

    @property
    def trouble(self) -> str | None:
        """Why nothing can be appended at the moment; None when all is well."""
        return self._stopped

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint: a signed note."""
        return self._checkpoint

    @property
    def size(self) -> int:
        return self._tree.size

    def head(self, key: str) -> bytes | None:
        """Leaf hash of the newest record of a case or counter, as the checked index has it."""
        return self._index.head(key)

    def append(self, item: Proposal | Outcome) -> "Future[Appended]":
        """
        Queue records for the next batch.

        The future gives `Stale`, `ClockUnsteady`, `DiskFull` or `NotCanonical` for this item alone,
        `LogUnavailable` if nothing could be written; then nothing of it is known to stand.
        """
        future: Future[Appended] = Future()
        if self._stopped is not None and self._broken:
            future.set_exception(LogUnavailable(self._stopped))
        else:
            self._queue.put((item, future))
        return future

    def read_case(self, case: str) -> list[Entry]:
        """
        Every record of a case, each proved to be under our newest checkpoint, without a gap.

        Raises `LogInvalid` if the database shows anything else; an unknown case is empty.
        """
        note, size = self._checkpoint, self._tree.size
        root = self._open_own(note).root
        node = reader(self.store, size).node
        entries: list[Entry] = []
        for index, data in self.store.case(case, size):
            entry = _entry(index, data)
            _check_follows_in_case(entry, entries, case)
            proof = merkle.inclusion_proof(index, size, node)
            merkle.verify_inclusion(entry.leaf, index, size, proof, root)
            entries.append(entry)
        return entries

    def read_entry(self, index: int) -> Entry:
        """One record, proved to be under our newest checkpoint."""
        note, size = self._checkpoint, self._tree.size
        found = list(self.store.entries(index, index + 1))
        if not found:
            raise LogInvalid(f"entry {index} is missing")
        entry = _entry(*found[0])
        proof = merkle.inclusion_proof(index, size, reader(self.store, size).node)
        merkle.verify_inclusion(entry.leaf, index, size, proof, self._open_own(note).root)
        return entry

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return merkle.inclusion_proof(index, size, reader(self.store, size).node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, reader(self.store, new).node)

    def read_sections(self, entry: Entry) -> dict[str, bytes]:
        """The content of each section that is still there, checked against its commitment."""
        found: dict[str, bytes] = {}
        for name, sealed in self.store.sections(entry.index).items():
            committed = entry.header.sections.get(name)
            if committed != sealed.commitment(self.log_id, entry.header.id, name):
                raise LogInvalid(f"section `{name}` of `{entry.header.id}` is not what was sealed")
            found[name] = sealed.content
        return found

    # --- the writer thread -----------------------------------------------------------------

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting = [first]
            last = False
            while len(waiting) < MAX_BATCH and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    last = True
                    break
                waiting.append(item)
            self._write(waiting)
            if last:
                break

    def _write(self, waiting: list[tuple[Proposal | Outcome, "Future[Appended]"]]) -> None:
        try:
            if self._stopped is not None:
                self._recover()
            appended = self._commit(waiting)
        except Exception as error:  # noqa: BLE001 (whatever it was, the outcome is unknown)
            self._stop(error)
            for _, future in waiting:
                if not future.done():
                    future.set_exception(
                        LogUnavailable(f"the log cannot be written: {self._stopped}")
                    )
            return
        for staged in appended:
            staged.future.set_result(Appended(staged.entries, self._checkpoint, self._tree.size))

    def _stop(self, error: Exception) -> None:
        self._stopped = str(error) if isinstance(error, MunimentError) else type(error).__name__
        # evidence that contradicts itself is for a person to look at; all else may pass
        self._broken = isinstance(error, EvidenceError)
        _log.critical("the log stopped: %s", self._stopped)

    def _recover(self) -> None:
        """After an unknown outcome: whatever was persisted is checked and taken in."""
        if self._broken:
            raise LogInvalid(self._stopped)
        self.store.reopen()
        with self._heads.lock():
            self._catch_up(self.store.tail())
        self._stopped = None
        _log.warning("the log goes on at size %d", self._tree.size)

    def _commit(
        self, waiting: list[tuple[Proposal | Outcome, "Future[Appended]"]]
    ) -> Sequence[_Staged]:
        with self._heads.lock():
            staged: list[_Staged] = []
            with self.store.transaction() as transaction:
                self._check_tail(transaction.tail())
                tree, index = self._tree.copy(), self._index.overlay()
                for item, future in waiting:
                    try:
                        part = self._stage(item, future, transaction, index, tree.size)
                    except (LogInvalid, LogUnavailable):
                        raise
                    except Exception as refusal:  # noqa: BLE001 (this item's own trouble)
                        future.set_exception(refusal)
                        continue
                    for entry in part.entries:
                        tree.push(entry.leaf)
                    staged.append(part)
                if tree.size == self._tree.size:
                    self._answer_empty(staged)
                    return ()
                note = sign(Checkpoint(self.origin, tree.size, tree.root()), self._key)
                self._add(transaction, staged, tree, note)
            # Crash here: the database is ahead of the head store by a checkpoint of our own, which
            # extends the head and is taken in at the next start. Nobody has a receipt yet.
            self._heads.write(note, tree.size)
        self._tree, self._checkpoint = tree, note
        index.settle()
        for part in staged:
            for entry in part.entries:
                self._tell(entry)
        return staged

    def _answer_empty(self, staged: Sequence[_Staged]) -> None:
        for part in staged:
            part.future.set_result(Appended((), self._checkpoint, self._tree.size))

    def _add(
        self, transaction: Transaction, staged: Sequence[_Staged], tree: Tree, note: bytes
    ) -> None:
        entries = [entry for part in staged for entry in part.entries]
        transaction.add(
            Batch(
                entries=entries,
                sections={k: v for part in staged for k, v in part.sections.items()},
                documents={k: v for part in staged for k, v in part.documents.items()},
                tiles=tree.changed_tiles(),
                size=tree.size,
                peaks=tree.peaks_before_last,
                checkpoint=note,
                companions=[write for part in staged for write in part.companions],
            )
        )
        # A bit that flips between hashing and storing is fatal for a tree: look before signing off.
        if transaction.read_back(entries[0].index, tree.size) != [entry.data for entry in entries]:
            raise LogInvalid("the database gives back other bytes than it was given")

    def _stage(
        self,
        item: Proposal | Outcome,
        future: "Future[Appended]",
        transaction: Transaction,
        index: Index,
        size: int,
    ) -> _Staged:
        if isinstance(item, Outcome):
            before = [_entry(i, data) for i, data in transaction.case(item.case)]
            before += [entry for entry in index.staged if entry.header.case == item.case]
            self._check_whole_case(before, item.case, index)
            drafts, companions = item.build(before)
        else:
            self._check_proposal(item, index)
            drafts, companions = item.drafts, item.companions
        placed = self._place_all(drafts, size, index)
        entries = tuple(entry for entry, _ in placed)
        staged = _Staged(
            future,
            entries,
            {(e.index, name): sealed for e, seals in placed for name, sealed in seals.items()},
            {digest(doc): doc for draft in drafts for doc in draft.documents},
            tuple(companions(entries)),
        )
        for entry in entries:
            index.add(entry)
        return staged

    def _check_proposal(self, proposal: Proposal, index: Index) -> None:
        for key, leaf in proposal.reads.items():
            if index.head(key) != leaf:
                raise Stale(f"`{key}` has moved since the decision read it")
        if any(draft.case not in proposal.reads for draft in proposal.drafts):
            raise RuntimeError("a proposal must name the head of each case that it adds to")
        if not proposal.urgent and self._space() < self._reserve:
            raise DiskFull
        if proposal.gives:
            self.clock.check_steady()
            now = self.clock.now()
            for draft in proposal.drafts:
                if abs(now - draft.at) > TOLERANCE:
                    raise Stale("the decision is more than 5 s away from the log's own clock")

    def _place_all(
        self, drafts: Sequence[Draft], size: int, index: Index
    ) -> list[tuple[Entry, Mapping[str, Sealed]]]:
        """Drafts of one item build on one another; the index learns of them only if all stand."""
        trial = index.overlay()
        placed: list[tuple[Entry, Mapping[str, Sealed]]] = []
        for draft in drafts:
            follows = tuple(
                placed[leaf][0].leaf if isinstance(leaf, int) else leaf for leaf in draft.follows
            )
            placed.append(self._place(draft, follows, size + len(placed), trial))
            trial.add(placed[-1][0])
        return placed

    def _place(
        self, draft: Draft, follows: tuple[bytes, ...], place: int, index: Index
    ) -> tuple[Entry, Mapping[str, Sealed]]:
        last = index.last_of(draft.case)
        if last is not None and last.closed:
            raise Conflict(f"case `{draft.case}` is closed; nothing follows")
        position = 0 if last is None else last.position + 1
        reading = moment.whole(draft.at)
        # §4: the later of reading and predecessor, and it says so
        at = reading if last is None else max(reading, last.at)
        record_id = f"{draft.case}/{position}"
        seals = {name: Sealed.seal(content) for name, content in draft.sections.items()}
        header = Header(
            kind=draft.kind,
            fold=draft.fold,
            case=draft.case,
            position=position,
            at=at,
            body=draft.body,
            prev=None if last is None else last.leaf,
            follows=follows,
            documents=tuple(digest(doc) for doc in draft.documents),
            sections={n: s.commitment(self.log_id, record_id, n) for n, s in seals.items()},
            observed=None if at == reading else reading,
        )
        data = header.encode()
        return Entry(place, data, merkle.leaf_hash(data), header), seals

    def _check_tail(self, tail: Tail) -> None:
        """What stands in the database is exactly what this process wrote or checked last."""
        checked = self._open_own(tail.checkpoint)
        before_last = merkle.Frontier(tail.size - 1, tail.peaks)
        before_last.push(merkle.leaf_hash(tail.last_data))
        if not tail.size == tail.last_index + 1 == checked.size:
            raise LogInvalid(
                f"the database has {tail.last_index + 1} entries, its state says {tail.size}, "
                f"and the signed checkpoint covers {checked.size}"
            )
        if before_last.root() != checked.root:
            raise LogInvalid("the entries in the database do not give the signed root")
        if tail.checkpoint != self._checkpoint:
            raise LogInvalid("another process has written to this log")

    def _open_own(self, note: bytes) -> Checkpoint:
        return open_checkpoint(note, self.origin, [self.verifier])

    def _check_whole_case(self, entries: Sequence[Entry], case: str, index: Index) -> None:
        seen: list[Entry] = []
        for entry in entries:
            _check_follows_in_case(entry, seen, case)
            seen.append(entry)
        last = index.last_of(case)
        if (seen[-1].leaf if seen else None) != (last.leaf if last else None):
            raise LogInvalid(f"the database does not have case `{case}` as it was written")

    # --- start and recovery: the same walk over the entries ----------------------------------

    def _catch_up(self, tail: Tail | None) -> None:
        """Take in every entry that is not yet known, and hold the result against the head store."""
        if tail is None:
            raise LogInvalid("there is no log in this database; `muniment init` makes one")
        head = self._heads.read()
        if head is None:
            raise LogInvalid("the head store is empty, but the database has a log")
        remembered = self._open_own(head)
        tree, index = self._tree.copy(), self._index.overlay()
        root_at_head = tree.root() if tree.size == remembered.size else None
        new: list[Entry] = []
        for place, data in self.store.entries(tree.size, tail.last_index + 1):
            entry = _entry(place, data)
            self._check_new(entry, tree.size, index)
            tree.push(entry.leaf)
            index.add(entry)
            new.append(entry)
            if tree.size == remembered.size:
                root_at_head = tree.root()
        signed = self._open_own(tail.checkpoint)
        if not tail.size == tree.size == signed.size or tree.root() != signed.root:
            raise LogInvalid(
                f"the {tree.size} entries in the database are not those that the checkpoint of "
                f"size {signed.size} was signed over"
            )
        if remembered.size > tree.size:
            raise LogInvalid(
                f"the database has {tree.size} entries, but the head store remembers "
                f"{remembered.size}: this is an older copy of the database"
            )
        if root_at_head != remembered.root:
            raise LogInvalid(
                f"the first {remembered.size} entries are not those that the head store remembers: "
                "this is another history"
            )
        for (level, number), hashes in tree.changed_tiles().items():
            if self.store.tile(level, number) != hashes:
                raise LogInvalid(f"tile {level}/{number} does not hold the hashes of its entries")
        if remembered.size < tree.size:
            self._heads.write(tail.checkpoint, tree.size)
        tree.changed_tiles(forget=True)
        self._tree, self._checkpoint = tree, tail.checkpoint
        index.settle()
        for entry in new:
            self._tell(entry)

    def _check_new(self, entry: Entry, size: int, index: Index) -> None:
        if entry.index != size:
            raise LogInvalid(f"entry {size} is missing")
        header, last = entry.header, index.last_of(entry.header.case)
        if size == 0 and header.kind != "log:started":
            raise LogInvalid("entry 0 is not `log:started`")
        expected = (0, None) if last is None else (last.position + 1, last.leaf)
        if (header.position, header.prev) != expected or (last is not None and last.closed):
            raise LogInvalid(f"entry {size} (`{header.id}`) does not continue its case")

    def _tell(self, entry: Entry) -> None:
        for listener in self._listeners:
            listener(entry)


def _entry(index: int, data: bytes) -> Entry:
    return Entry(index, data, merkle.leaf_hash(data), Header.parse(data))


def _check_follows_in_case(entry: Entry, before: Sequence[Entry], case: str) -> None:
    header = entry.header
    prev = before[-1].leaf if before else None
    if (header.case, header.position, header.prev) != (case, len(before), prev):
        raise LogInvalid(f"entry {entry.index} is not record {len(before)} of case `{case}`")
