"""
The keys of a log, as its own records name them: who signs a checkpoint, from which size to which.

Entry 0 names the first key, `key:added` a further one, and `key:retired` says that one signs no
more. All have the name of the log; a checkpoint has a line of each key that signs at its size. So a
new key signs the very checkpoint that covers its own record, and whoever holds none but the old one
sees by the old line that its holder let the new one in.

A key that was retired never comes back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from muniment.errors import LogInvalid, NoteInvalid
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, open_cosigned
from muniment.evidence.note import KeyType, Signature, VerifierKey, parse_note
from muniment.evidence.record import Header
from muniment.evidence.store import Entry

LOG_STARTED: Final = "log:started"
KEY_ADDED: Final = "key:added"
KEY_RETIRED: Final = "key:retired"
KINDS: Final = (LOG_STARTED, KEY_ADDED, KEY_RETIRED)

COMPROMISED: Final = "compromised"
ROTATED: Final = "rotated"

#: at once; each adds a line to every checkpoint, and a slot of the head store holds 8 KiB
MAX_SIGNERS: Final = 8

#: the public key of a log, as a reader names it; or several: it had others before, or has them now
ReadersKeys: TypeAlias = VerifierKey | Sequence[VerifierKey]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogKey:
    """One key of a log, and what was recorded of it."""

    key: VerifierKey
    #: log index of the record that names it
    added: int
    #: log index of the record that says that it signs no more
    retired: int | None = None
    #: `rotated`, `compromised`; empty while it signs
    reason: str = ""
    #: of a compromised one: above this size of the log its word alone is worth nothing
    since: int | None = None

    def signs(self, size: int) -> bool:
        """Whether a checkpoint of this size has its line."""
        return self.added < size and (self.retired is None or size <= self.retired)


@dataclass(frozen=True, slots=True)
class LogKeys:
    """All keys that a log ever had, the oldest first: a fold over its records."""

    all: tuple[LogKey, ...] = ()

    def after(self, entries: Iterable[Entry]) -> "LogKeys":
        """The keys once these entries are taken in, too; raises `LogInvalid`."""
        keys = self
        for entry in entries:
            if entry.header.kind in KINDS:
                keys = keys._take(entry.index, entry.header)
        return keys

    def signers(self, size: int) -> tuple[VerifierKey, ...]:
        """Whose lines a checkpoint of this size has, the oldest key first."""
        return tuple(each.key for each in self.all if each.signs(size))

    def shown(self, size: int) -> VerifierKey:
        """
        Whose line a reader is shown on a checkpoint of this size: of the oldest that still signs.

        Where none of those who signed it does so any more, of the oldest of them.
        """
        signers = [each for each in self.all if each.signs(size)]
        return next((each.key for each in signers if each.retired is None), signers[0].key)

    @property
    def known(self) -> tuple[VerifierKey, ...]:
        return tuple(each.key for each in self.all)

    def of(self, key: VerifierKey) -> LogKey | None:
        return next((each for each in self.all if each.key == key), None)

    def open(self, note: bytes) -> Checkpoint:
        """
        A checkpoint that this log wrote itself: every key that signs at its size did.

        Raises `NoteInvalid`.
        """
        checkpoint, opened = open_cosigned(note, self._name, self.known)
        for key in self.signers(checkpoint.size):
            if key not in opened.verified:
                raise NoteInvalid(f"the key {key.key_id.hex()} of the log did not sign it")
        return checkpoint

    def recognise(self, note: bytes) -> Checkpoint:
        """
        A checkpoint of this log that somebody kept: a key that signs at its size did.

        What comes from outside may have fewer lines than we wrote. A key that was retired vouches
        for nothing that came afterwards. Raises `NoteInvalid`.
        """
        size = Checkpoint.parse(parse_note(note)[0]).size
        return open_checkpoint(note, self._name, self.signers(size))

    def check_signer(self, note: bytes, keys: Sequence[VerifierKey]) -> None:
        """
        That one of these keys signed, and that it signs at this size by the records taken in.

        Raises `NoteInvalid` saying what a reader can do.
        """
        checkpoint, opened = open_cosigned(note, self._name, keys)
        signed = [key for key in opened.verified if key.type is KeyType.LOG]
        if any(key in self.signers(checkpoint.size) for key in signed):
            return
        known = self.of(signed[0])
        if known is None:
            raise NoteInvalid("entry 0 names another key than yours, and no record adds yours")
        raise NoteInvalid(
            f"the key {known.key.key_id.hex()}, which alone signed it, did not sign at size "
            f"{checkpoint.size} any more: the log has it as retired ({known.reason}); if somebody "
            "else may have it, what it signs is worth nothing"
        )

    def _take(self, index: int, header: Header) -> "LogKeys":
        try:
            key = VerifierKey.parse(_text(header, "key"))
        except NoteInvalid as error:
            raise LogInvalid(f"`{header.id}` names no key: {error}") from error
        known = self.of(key)
        if header.kind == KEY_RETIRED:
            return self._retire(index, header, key, known)
        if key.type is not KeyType.LOG or (self.all and key.name != self._name):
            raise LogInvalid(f"`{header.id}` adds a key of another log, or of another type")
        if known is not None or any(each.key.key_id == key.key_id for each in self.all):
            raise LogInvalid(f"`{header.id}` adds a key that the log had before, or one of its id")
        if len(self.signers(index)) == MAX_SIGNERS:
            raise LogInvalid(f"`{header.id}` adds a key to {MAX_SIGNERS} that sign")
        return LogKeys((*self.all, LogKey(key=key, added=index)))

    def _retire(
        self, index: int, header: Header, key: VerifierKey, known: LogKey | None
    ) -> "LogKeys":
        if known is None or known.retired is not None:
            raise LogInvalid(f"`{header.id}` retires a key that does not sign")
        if not any(each.retired is None for each in self.all if each is not known):
            raise LogInvalid(f"`{header.id}` retires the only key")
        since = header.body.get("since")
        retired = replace(
            known,
            retired=index,
            reason=_text(header, "reason"),
            since=since if isinstance(since, int) else None,
        )
        return LogKeys(tuple(retired if each.key == key else each for each in self.all))

    @property
    def _name(self) -> str:
        return self.all[0].key.name if self.all else ""


def named(keys: ReadersKeys) -> tuple[VerifierKey, ...]:
    """As a tuple; raises `NoteInvalid` unless they are of one log."""
    several = (keys,) if isinstance(keys, VerifierKey) else tuple(dict.fromkeys(keys))
    if len({key.name for key in several}) != 1:
        raise NoteInvalid("the keys that you named are not of one log")
    return several


def only(note: bytes, keys: Sequence[VerifierKey]) -> bytes:
    """The note with the lines of these keys alone, in their order. Verifies nothing."""
    text, signatures = parse_note(note)
    lines: dict[tuple[str, bytes], Signature] = {
        (each.name, each.key_id): each for each in signatures
    }
    kept = [lines[place].line for key in keys if (place := (key.name, key.key_id)) in lines]
    return f"{text}\n{''.join(kept)}".encode()


def _text(header: Header, name: str) -> str:
    value = header.body.get(name)
    return value if isinstance(value, str) else ""
