"""Checkpoints: size and root of a log at one moment, written and signed as C2SP tlog-checkpoint."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from muniment.errors import NoteInvalid
from muniment.evidence.merkle import EMPTY_ROOT, HASH_SIZE
from muniment.evidence.note import KeyType, Note, SigningKey, VerifierKey, from_base64, open_note

MAX_SIZE: Final = 2**63 - 1

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE: Final = re.compile(r"[^\x00-\x1f]+")
_LINES: Final = 3


@dataclass(frozen=True)
class Checkpoint:
    """
    The head of a log; raises NoteInvalid for one that no checkpoint can state.

    NOTE: C2SP tlog-checkpoint advises against extension lines: no monitor can audit them. They are
    read, and signed if given, but mean nothing here.
    """

    #: which log; often, but not always, the name of the key that signs
    origin: str
    size: int
    #: the root of the RFC 6962 tree of that size, 32 bytes
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # C2SP tlog-checkpoint: lines are not empty, so neither are origin and extensions
        if any(_LINE.fullmatch(line) is None for line in (self.origin, *self.extensions)):
            raise NoteInvalid("a line of the checkpoint is empty or holds a control character")
        if not 0 <= self.size <= MAX_SIZE:
            raise NoteInvalid(f"{self.size} is not the size of a tree")
        if len(self.root) != HASH_SIZE:
            raise NoteInvalid("the root of the checkpoint is not 32 bytes long")
        if self.size == 0 and self.root != EMPTY_ROOT:  # RFC 6962 section 2.1
            raise NoteInvalid("the root of an empty tree is not the hash of nothing")

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint of this note text; raises NoteInvalid unless it reads back the same."""
        if not text.endswith("\n"):
            raise NoteInvalid("the checkpoint does not end in a newline")
        lines = text[:-1].split("\n")
        if len(lines) < _LINES:
            raise NoteInvalid("the checkpoint has fewer than three lines")
        origin, size, root, *extensions = lines
        parsed_size, parsed_root = from_decimal(size), from_base64(root)
        if parsed_size is None or parsed_root is None:
            raise NoteInvalid("the size or the root of the checkpoint is not written canonically")
        return cls(origin, parsed_size, parsed_root, tuple(extensions))

    def format(self) -> str:
        """The text that is signed."""
        root = base64.b64encode(self.root).decode()
        lines = (self.origin, str(self.size), root, *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def sign(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """
    The checkpoint as a signed note.

    Whoever calls this has made sure that it continues every checkpoint signed before: C2SP
    tlog-checkpoint forbids a log to sign two that are inconsistent, and nothing here can tell.
    """
    return key.sign(checkpoint.format())


def open_checkpoint(data: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint of `open_cosigned`, for those who do not ask for witnesses."""
    return open_cosigned(data, origin, keys)[0]


def open_cosigned(data: bytes, origin: str, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, Note]:
    """
    The checkpoint of the log `origin` in this note, and the note with the keys that verified.

    `keys` are those of the log and of the witnesses whose word counts. A witness alone does not
    make a checkpoint: a key of the log (type 0x01) has to have signed. Raises NoteInvalid.
    """
    note = open_note(data, keys)
    if all(key.type is not KeyType.LOG for key in note.verified):
        raise NoteInvalid("the checkpoint is cosigned, but no known key of the log signed it")
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise NoteInvalid(f"the checkpoint is of the log `{checkpoint.origin}`, not of `{origin}`")
    return checkpoint, note


def from_decimal(text: str) -> int | None:
    """The number of ASCII digits without leading zeros, up to `MAX_SIZE`; None for any other."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number <= MAX_SIZE else None
