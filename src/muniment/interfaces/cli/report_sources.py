"""Where a report takes the log from: a database beside its service, a mirror, or an address."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from muniment.errors import EvidenceError, LogInvalid, NoteInvalid
from muniment.evidence.checkpoint import Checkpoint, open_cosigned
from muniment.evidence.excerpt import Heading
from muniment.evidence.keys import only
from muniment.evidence.merkle import Node
from muniment.evidence.note import MAX_SIGNATURES, KeyType, VerifierKey, parse_note
from muniment.evidence.record import Header
from muniment.evidence.stamp import open_token
from muniment.evidence.store import LogStore
from muniment.evidence.tree import StoredTree
from muniment.interfaces.cli.tile_sources import Source


@dataclass(frozen=True, kw_only=True)
class LogAsRead:
    """A log at one size, and how to read on in it. Nothing of it is believed."""

    name: str
    note: bytes
    size: int
    #: RFC 3161 tokens over the note's text, unchecked
    stamps: Sequence[bytes]
    entries: Callable[[int, int], Iterator[tuple[int, bytes]]]
    node: Node
    #: a document by its digest; None where it is not at hand
    document: Callable[[bytes], bytes | None]

    def entry(self, index: int) -> bytes:
        for _, data in self.entries(index, index + 1):
            return data
        raise LogInvalid(f"entry {index} is missing")

    def first_since(self, since: datetime) -> int:
        """Index of the first entry that is not older: times of a log hardly ever go back."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            if Header.parse(self.entry(middle)).at < since:
                low = middle + 1
            else:
                high = middle
        return low

    def heading(
        self, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey]
    ) -> tuple[Heading, Checkpoint]:
        """
        What the excerpt begins with: of the note the lines that the reader can check.

        Raises `NoteInvalid` where none of his keys signed it.
        """
        text, signatures = parse_note(self.note)
        names = {(line.name, line.key_id) for line in signatures}
        signers = [key for key in keys if (key.name, key.key_id) in names]
        if not signers:
            raise NoteInvalid(f"{self.name} has no checkpoint that a key of yours signed")
        cosigners = self._holding(text, [key for key in witnesses if key.type is KeyType.COSIGNER])
        heading = Heading(
            checkpoint=only(self.note, [signers[0], *cosigners]),
            witnesses=tuple(cosigners),
            stamps=tuple(sorted(each for each in self.stamps if _holds(each, text))),
        )
        checkpoint, _ = open_cosigned(heading.checkpoint, signers[0].name, [signers[0], *cosigners])
        return heading, checkpoint

    def _holding(self, text: str, witnesses: Sequence[VerifierKey]) -> list[VerifierKey]:
        """Those whose cosignature stands there and holds, in the order of their vkeys."""
        lines = {(line.name, line.key_id): line for line in parse_note(self.note)[1]}
        found = []
        for key in sorted(dict.fromkeys(witnesses), key=lambda each: each.vkey):
            line = lines.get((key.name, key.key_id))
            if line is None:
                continue
            with contextlib.suppress(NoteInvalid):
                key.verify(text, line.signature)
                found.append(key)
        return found[: MAX_SIGNATURES - 1]


def of_store(store: LogStore, name: str, stop: datetime) -> LogAsRead:
    """
    A database: its newest checkpoint, or the newest that others saw if that reaches far enough.

    Raises `LogInvalid` where there is no log.
    """
    tail = store.tail()
    if tail is None:
        raise LogInvalid(f"{name} holds no log")
    newest = _of_store(store, name, tail.checkpoint, tail.size, ())
    published = store.published()
    if published is None or published.size > tail.size:
        return newest
    shown = _of_store(
        store, name, published.note, published.size, [each.token for each in published.stamps]
    )
    reaches = published.size == tail.size or newest.first_since(stop) < published.size
    return shown if reaches else newest


def _of_store(
    store: LogStore, name: str, note: bytes, size: int, stamps: Sequence[bytes]
) -> LogAsRead:
    return LogAsRead(
        name=name,
        note=note,
        size=size,
        stamps=stamps,
        entries=store.entries,
        node=StoredTree(store).at(size).node,
        document=store.document,
    )


def of_tiles(source: Source) -> LogAsRead:
    """Tiles, wherever they lie. Raises `LogInvalid` where there is no checkpoint."""
    note = source.log.newest()
    if note is None:
        raise LogInvalid(f"{source.name} has no checkpoint")
    size = Checkpoint.parse(parse_note(note)[0]).size
    return LogAsRead(
        name=source.name,
        note=note,
        size=size,
        stamps=(),
        entries=lambda start, stop: source.log.entries(start, stop, size),
        node=source.log.at(size).node,
        document=source.log.document,
    )


@contextlib.contextmanager
def opened(log: str, stop: datetime) -> Iterator[LogAsRead]:
    """What LOG names, as `muniment audit` takes it."""
    from muniment.interfaces.cli.audit import database_file, in_postgresql, tiles_at
    from muniment.stores.read_only import ReadOnlyStore

    source, folder = tiles_at(log), Path(log)
    if source is not None:
        with contextlib.closing(source):
            yield of_tiles(source)
    elif folder.is_dir() and (section := in_postgresql(folder)) is not None:
        from muniment.runtime.log_stores import open_postgresql

        with contextlib.closing(open_postgresql(folder, section)) as stores:
            yield of_store(stores.database, f"the database of `store.log` in {log}", stop)
    else:
        path = database_file(folder)
        with contextlib.closing(ReadOnlyStore(path)) as store:
            yield of_store(store, str(path), stop)


def _holds(token: bytes, text: str) -> bool:
    try:
        open_token(token, text.encode())
    except EvidenceError:
        return False
    return True
