"""
The log: group commit of records under a signed tree head, and reading them back with proof.

One thread writes. It takes everything that waits, places it in one transaction with the tree and
the signed checkpoint, makes the new head durable in the head store, and only then answers. Nothing
in a batch is believed because a database says so:

1. the last checkpoint carries the signature of every key that signs;
2. the frontier, the size and the last row give that checkpoint's root;
3. the checkpoint is the one this process wrote or checked last;
4. every head that a decision read is still the head, in an index built from checked entries;
5. the bytes read back after the insert equal the bytes that were handed in.

If a commit fails or its outcome is unknown, the log stops, reopens and checks what is there before
it signs again. If a check fails, it never signs again.

Where several nodes share a database and a head store, 3. reads: what this process does not know yet
was signed with the log's keys, and leads from what it knows to the checkpoint: it is taken in.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from muniment.errors import (
    ConfigInvalid,
    EvidenceError,
    LogInvalid,
    LogUnavailable,
    MunimentError,
)
from muniment.evidence import merkle, reading, recovery
from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.clock import SteadyClock
from muniment.evidence.index import Index, Last
from muniment.evidence.keys import COMPROMISED, LogKeys
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header
from muniment.evidence.sequencer import Sequencer, Staged, batch_of
from muniment.evidence.signer import Extension, Keyring
from muniment.evidence.store import (
    Entry,
    HeadStore,
    LogStore,
    Transaction,
)
from muniment.evidence.tree import StoredTree, Tree

MAX_BATCH = 512
#: how long whoever asks for what we do not know waits for what other nodes wrote
FOLLOW_SECONDS = 1.0
#: seconds between two looks whether a database to which nothing is new is the one that we know
LOOK_BACK_EVERY = 1.0
_Append = tuple[Proposal | Outcome, Future[Appended]]
_log = logging.getLogger(__name__)


class Log:
    """An open log. Construct with `open`; every method may be called from any thread."""

    def __init__(
        self,
        store: LogStore,
        heads: HeadStore,
        keyring: Keyring,
        clock: SteadyClock,
        *,
        counters: Callable[[Header], Iterable[str]] = lambda _: (),
        space: Callable[[], int] = lambda: 1 << 62,
        reserve: int = 0,
        give_way: Callable[[], None] = lambda: None,
        contradicted: Callable[[], str | None] = lambda: None,
        shared: bool = False,
    ) -> None:
        """
        `contradicted` says why nothing may be signed any more, on whatever node that was seen.
        `shared` is a log that other nodes write to as well.
        """
        self.store = store
        self.clock = clock
        self.origin = keyring.name
        self._heads = heads
        self._keyring = keyring
        self._keys = LogKeys()
        self._sequencer = Sequencer(clock, space, reserve)
        self._give_way = give_way
        self._contradicted = contradicted
        self._shared = shared
        self._index = Index(counters)
        self._tree = Tree()
        self._stored = StoredTree(store)
        self._signed = _Signed(b"", Checkpoint(self.origin, 0, merkle.EMPTY_ROOT))
        self._listeners: list[Callable[[Entry], None]] = []
        #: a bare future waits for what others wrote; None ends the thread
        self._queue: queue.SimpleQueue[_Append | Future[int] | None] = queue.SimpleQueue()
        #: the last look at what others wrote that somebody waited for
        self._look: Future[int] | None = None
        #: in elapsed seconds
        self._next_look_back = 0.0
        self._stopped: str | None = None
        self._broken = False
        self._closed = False
        #: guards what readers see of the newest batch, and the order of appends and the closing
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def open(self, *listeners: Callable[[Entry], None]) -> None:
        """
        Check every entry, the tree, the signature and the head store; then accept appends.

        Each listener is called with every entry, in order: with those already there now, and with
        new ones once they are durable, before `head` shows them. Whoever reads a head first, and
        then what a listener holds, never decides on less than that head.

        Raises `LogInvalid` saying what contradicts what.
        """
        self._listeners = list(listeners)
        self._catch_up()
        self.clock.start(self._index.latest)
        self._next_look_back = self.clock.elapsed() + LOOK_BACK_EVERY
        self._thread.start()

    def close(self) -> None:
        """Finish what was queued, then stop."""
        with self._mutex:
            self._closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def log_id(self) -> bytes:
        return self._tree.first

    @property
    def keys(self) -> LogKeys:
        """Every key that the log ever had, as its records name them."""
        return self._keys

    @property
    def verifier(self) -> VerifierKey:
        """The key to verify receipts and bundles with: the oldest of those that sign."""
        return self._keys.signers(self.size)[0]

    @property
    def keyring(self) -> Keyring:
        """What is at hand to sign with."""
        return self._keyring

    def hold(self, keyring: Keyring) -> None:
        """
        Sign with these from the next batch on, as far as the records have them sign.

        Raises `ConfigInvalid` if they are of another log.
        """
        if keyring.name != self.origin:
            raise ConfigInvalid(f"the signing key is of `{keyring.name}`, not of `{self.origin}`")
        self._keyring = keyring

    @property
    def trouble(self) -> str | None:
        """Why nothing can be appended at the moment; None when all is well."""
        return self._stopped

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint: a signed note."""
        return self._signed.note

    @property
    def size(self) -> int:
        """How many entries the newest signed checkpoint covers."""
        return self._signed.checkpoint.size

    def head(self, key: str) -> bytes | None:
        """Leaf hash of the newest record of a case or counter, as the checked index has it."""
        return self._index.head(key)

    def append(self, item: Proposal | Outcome) -> Future[Appended]:
        """
        Queue records for the next batch.

        The future gives `Stale`, `ClockUnsteady`, `DiskFull` or `NotCanonical` for this item alone,
        `LogUnavailable` if nothing could be written; then nothing of it is known to stand. What is
        queued will be written: the future cannot be cancelled.
        """
        future: Future[Appended] = Future()
        # a caller who goes away must not take the writer, or the outcome of something done, along
        future.set_running_or_notify_cancel()
        with self._mutex:
            if self._closed or self._broken:
                why = "the log is closed" if self._closed else self._stopped
                future.set_exception(LogUnavailable(f"the log cannot be written: {why}"))
            else:
                self._queue.put((item, future))
        return future

    def follow(self) -> Future[int]:
        """
        Take in what other nodes have written, as far as the head store vouches for it.

        The future gives the size that is known then, or `LogUnavailable`.
        """
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()
        with self._mutex:
            if self._closed or self._broken:
                future.set_exception(LogUnavailable(self._stopped or "the log is closed"))
            else:
                self._queue.put(future)
        return future

    @property
    def is_late(self) -> bool:
        """Whether a look at what other nodes wrote takes too long: they may have written more."""
        return self._look is not None and not self._look.done()

    def look_again(self) -> None:
        """
        Wait a moment for what other nodes have written, where there are others.

        Nobody waits behind a look that took too long: some are on an event loop, and whatever
        holds it up holds up the others, one after the other.
        """
        if self._shared and not self.is_late:
            look = self.follow()
            wait([look], FOLLOW_SECONDS)
            self._look = look

    def lasts(self) -> tuple[int, dict[str, Last]]:
        """The newest record of every case, and the size of the log that this is the state of."""
        with self._mutex:
            return self._signed.checkpoint.size, self._index.lasts()

    def halt(self, why: str) -> None:
        """Sign nothing any more: somebody else remembers another history. For a person to see."""
        with self._mutex:
            self._broken, self._stopped = True, why
        _log.critical("the log stopped: %s", why)

    def read_case(self, case: str) -> list[Entry]:
        """
        Every record of a case, each proved to be under our newest checkpoint, without a gap.

        Raises `LogInvalid` if the database shows anything else; an unknown case is empty.
        """
        if self.head(case) is None:
            self.look_again()  # another node may just have opened it
        with self._mutex:
            signed, last = self._signed.checkpoint, self._index.last_of(case)
        return reading.case(self.store, case, last, signed, self.nodes(signed.size))

    def read_entry(self, index: int) -> Entry:
        """One record, proved to be under our newest checkpoint."""
        signed = self._signed.checkpoint
        return reading.entry(self.store, index, signed, self.nodes(signed.size))

    def read_checked(self, index: int, leaf: bytes) -> Entry:
        """
        The record that a listener was handed, by its leaf hash: its place was checked then.

        It may lie above the newest checkpoint for a moment, and costs no proof.
        """
        return reading.known_entry(self.store, index, leaf)

    def nodes(self, size: int) -> merkle.Node:
        """The nodes of the tree at a size, as the store has them: not checked."""
        return self._stored.at(size).node

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return merkle.inclusion_proof(index, size, self.nodes(size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self.nodes(new))

    def read_sections(self, entry: Entry) -> dict[str, bytes]:
        """The content of each section that is still there, checked against its commitment."""
        return reading.sections(self.store, entry, self.log_id)

    # --- the writer thread -----------------------------------------------------------------

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting, before = [first], 0
            # never an artificial wait: others get a turn for as long as they use it to append
            while before < len(waiting) < MAX_BATCH:
                before = len(waiting)
                self._give_way()
                while len(waiting) < MAX_BATCH and not self._queue.empty():
                    if (item := self._queue.get()) is None:
                        self._write(waiting)
                        return
                    waiting.append(item)
            self._write(waiting)

    def _write(self, waiting: Sequence[_Append | Future[int]]) -> None:
        appends = [each for each in waiting if not isinstance(each, Future)]
        follows = [each for each in waiting if isinstance(each, Future)]
        appended: list[tuple[Future[Appended], Staged]] = []
        try:
            if self._stopped is not None:
                self._recover()
            if appends:
                appended = self._commit(appends)
            else:
                self._follow()
        except Exception as error:  # noqa: BLE001 (whatever it was, the outcome is unknown)
            self._stop(error)
            futures: list[Future[Any]] = [*(future for _, future in appends), *follows]
            why = f"the log cannot be written: {self._stopped}"
            for future in futures:
                if not future.done():
                    future.set_exception(LogUnavailable(why))
            return
        note, size = self._signed.note, self._signed.checkpoint.size
        for answer, part in appended:
            answer.set_result(Appended(part.entries, note, size))
        for follow in follows:
            follow.set_result(size)

    def _stop(self, error: Exception) -> None:
        why = str(error) if isinstance(error, MunimentError) else type(error).__name__
        with self._mutex:
            if self._broken:
                return  # whatever failed besides, it stays stopped for the reason that it has
            known = self._stopped == why
            # evidence that contradicts itself is for a person to look at; all else may pass
            self._stopped, self._broken = why, isinstance(error, EvidenceError)
        if not known:  # whoever is cut off tries again and again
            _log.critical("the log stopped: %s", why)

    def _recover(self) -> None:
        """After an unknown outcome: whatever was persisted is checked and taken in."""
        if self._broken:
            raise LogInvalid(self._stopped)
        self.store.reopen()
        self._catch_up()
        with self._mutex:
            if self._broken:  # halted while we looked
                raise LogInvalid(self._stopped)
            self._stopped = None
        _log.warning("the log goes on at size %d", self._tree.size)

    def _commit(self, appends: Sequence[_Append]) -> list[tuple[Future[Appended], Staged]]:
        with self._heads.lock():
            if (why := self._contradicted()) is not None:
                raise LogInvalid(why)
            head = self._heads.read()
            if head != self._signed.note and not self._shared:
                raise LogInvalid(
                    "the head store has moved on: another process, or a copy, writes to this log"
                )
            with self.store.transaction() as transaction:
                tail = transaction.tail()
                if self._shared and not head == tail.checkpoint == self._signed.note:
                    self._take_in(head)  # nobody adds to it while we hold the lock
                recovery.check_tail(
                    tail, self._open_own(tail.checkpoint, "the database"), self._signed.note
                )
                tree, index = self._tree.copy(), self._index.overlay()
                staged = self._stage_all(appends, transaction, tree, index)
                if tree.size == self._tree.size:
                    return staged
                signed = Checkpoint(self.origin, tree.size, tree.root())
                keys, note = self._sign(signed, [part for _, part in staged])
                self._add(transaction, [part for _, part in staged], tree, note)
            # Crash here: the database is ahead of the head store by a checkpoint of our own, which
            # extends the head and is taken in at the next start, or by the next node that writes.
            # Nobody has a receipt yet.
            self._heads.write(note, tree.size)
        self._believe(tree, index, _Signed(note, signed), index.staged, keys)
        return staged

    def _sign(self, signed: Checkpoint, staged: Sequence[Staged]) -> tuple[LogKeys, bytes]:
        """The note, and the keys as they are once the batch stands."""
        entries = [entry for part in staged for entry in part.entries]
        keys = self._keys.after(entries)
        extension = Extension(
            size=self._tree.size,
            peaks=self._tree.peaks,
            leaves=tuple(entry.leaf for entry in entries),
            text=signed.format(),
        )
        # A key that is retired here signs this checkpoint once more: it vouches for its own end.
        # One that others may have vouches for nothing, and may be gone.
        before = [keys.of(key) for key in self._keys.signers(self._tree.size)]
        leaving = [each.key for each in before if each is not None and each.reason != COMPROMISED]
        return keys, self._keyring.sign(extension, keys.signers(signed.size), leaving)

    def _stage_all(
        self, appends: Sequence[_Append], transaction: Transaction, tree: Tree, index: Index
    ) -> list[tuple[Future[Appended], Staged]]:
        staged = []
        for item, future in appends:
            try:
                part = self._sequencer.stage(item, transaction, index, tree.size, self.log_id)
            except (LogInvalid, LogUnavailable):
                raise
            except Exception as refusal:  # noqa: BLE001 (this item's own trouble)
                future.set_exception(refusal)
                continue
            for entry in part.entries:
                tree.push(entry.leaf)
            staged.append((future, part))
        return staged

    def _add(
        self, transaction: Transaction, staged: Sequence[Staged], tree: Tree, note: bytes
    ) -> None:
        batch = batch_of(staged, tree, note)
        transaction.add(batch)
        # A bit that flips between hashing and storing is fatal for a tree: look before signing off.
        found = transaction.read_back(batch.entries[0].index, tree.size)
        if found != [entry.data for entry in batch.entries]:
            raise LogInvalid("the database gives back other bytes than it was given")

    def _open_own(self, note: bytes, place: str) -> Checkpoint:
        return recovery.opened(self._keys.open, note, place)

    def _open_held(self, note: bytes, place: str) -> Checkpoint:
        """What records say of keys is believed once a key that we hold vouches for the records."""
        ours = self._keyring.verifiers
        return recovery.opened(lambda note: open_checkpoint(note, self.origin, ours), note, place)

    def _catch_up(self) -> None:
        if self._shared:
            self._follow()  # others go on meanwhile: little is left to be done under the lock
        with self._heads.lock():
            self._take_in(self._heads.read())

    def _follow(self) -> None:
        head = self._heads.read()
        if head is None and self._tree.size:
            raise LogInvalid(
                f"the head store is empty, but this node knows {self._tree.size} entries"
            )
        if head is None or head == self._signed.note:
            self._look_back()
            return
        self._believe_known(
            recovery.take_in_to_head(
                self.store, self._tree, self._index, self._keys, head, self._open_held
            )
        )

    def _look_back(self) -> None:
        """An older copy that took over shows also while nobody writes: ends hang on it."""
        if (elapsed := self.clock.elapsed()) >= self._next_look_back:
            self._next_look_back = elapsed + LOOK_BACK_EVERY
            size = tail.size if (tail := self.store.tail()) is not None else 0
            recovery.check_not_older(size, self._tree.size, "this node knows")

    def _take_in(self, head: bytes | None) -> None:
        """All that is in the database; for whoever holds the lock."""
        known = recovery.take_in(
            self.store, self._tree, self._index, self._keys, head, self._open_held
        )
        if known.ahead:
            self.store.settle()  # it was committed by somebody who did not finish
        # after an error what can be read in the head store need not be on its disk
        if known.ahead or self._stopped is not None:
            self._heads.write(known.checkpoint, known.tree.size)
        self._believe_known(known)

    def _believe_known(self, known: recovery.Known) -> None:
        known.tree.forget_changes()
        signed = _Signed(known.checkpoint, known.signed)
        self._believe(known.tree, known.index, signed, known.new, known.keys)

    def _believe(
        self, tree: Tree, index: Index, signed: "_Signed", new: Sequence[Entry], keys: LogKeys
    ) -> None:
        """Durable and checked: from now on this is the log; the listeners are told."""
        for entry in new:
            for listener in self._listeners:
                try:
                    listener(entry)
                except Exception as error:
                    # what it holds is no longer what the log says: nothing may rest on it
                    raise LogInvalid(
                        f"entry {entry.index} (`{entry.header.id}`) cannot be taken in: {error}"
                    ) from error
        with self._mutex:
            index.settle()
            self._tree = tree
            self._keys = keys
            self._signed = signed


@dataclass(frozen=True, slots=True)
class _Signed:
    """The newest checkpoint: one value, so that a reader never sees half of a change."""

    note: bytes
    checkpoint: Checkpoint
