"""Receipts: the proof that one entry is in a log, as a c2sp.org/tlog-proof@v1 file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from muniment.errors import ProofInvalid
from muniment.evidence.checkpoint import MAX_SIZE, Checkpoint, from_decimal, open_cosigned
from muniment.evidence.merkle import HASH_SIZE, verify_inclusion
from muniment.evidence.note import MAX_NOTE_BYTES, Note, VerifierKey, from_base64

#: What stands above the checkpoint: 63 hashes and the extra data.
MAX_HASHES: Final = 63
MAX_EXTRA_BYTES: Final = 64 * 1024
MAX_RECEIPT_BYTES: Final = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@dataclass(frozen=True)
class Receipt:
    """Index, inclusion proof and checkpoint of one entry; nothing is verified before `verify`."""

    index: int
    #: sibling hashes, the leaf's first, 32 bytes each
    hashes: tuple[bytes, ...]
    #: the signed note, verbatim, with whatever cosignatures it carries
    checkpoint: bytes
    #: unauthenticated: anybody may have put it there
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise ProofInvalid(f"{self.index} is not the index of an entry")
        if len(self.hashes) > MAX_HASHES or any(len(each) != HASH_SIZE for each in self.hashes):
            raise ProofInvalid("the hashes of the receipt are too many or not 32 bytes long")
        if self.extra is not None and not 0 < len(self.extra) <= MAX_EXTRA_BYTES:
            raise ProofInvalid("the extra data of the receipt is empty or too long")

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """The receipt in this file; raises ProofInvalid unless it reads back to the same bytes."""
        if len(data) > MAX_RECEIPT_BYTES:
            raise ProofInvalid(f"a receipt of {len(data)} bytes is too long")
        # C2SP tlog-proof: none of our lines is empty, so the first empty line ends them
        head, empty_line, checkpoint = data.partition(b"\n\n")
        try:
            header, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise ProofInvalid("the receipt is not ASCII above its checkpoint") from None
        if header != _HEADER or not empty_line:
            raise ProofInvalid(f"the file is not a receipt of the form {_HEADER}")
        extra = _take_extra(lines)
        index = _take_index(lines)
        return cls(index, tuple(_hash(line) for line in lines), checkpoint, extra)

    def format(self) -> bytes:
        """The bytes of the `.tlog-proof` file."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(_EXTRA + base64.b64encode(self.extra).decode())
        lines.append(f"{_INDEX}{self.index}")
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    def verify(
        self, leaf_hash: bytes, origin: str, keys: Sequence[VerifierKey]
    ) -> tuple[Checkpoint, Note]:
        """
        Check that the log `origin` holds the entry with this leaf hash at our index.

        1. The checkpoint is of `origin` and signed by a key of the log among `keys`, and no
           signature of a key among `keys` fails (else NoteInvalid).
        2. The hashes lead from the leaf to the root of the checkpoint (else ProofInvalid).

        Returns the checkpoint and the note that tells which keys verified; whether enough witnesses
        are among them is for the caller to judge. Source: C2SP tlog-proof.
        """
        checkpoint, note = open_cosigned(self.checkpoint, origin, keys)
        verify_inclusion(leaf_hash, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint, note


def _take_extra(lines: list[str]) -> bytes | None:
    if not lines or not lines[0].startswith(_EXTRA):
        return None
    extra = from_base64(lines.pop(0).removeprefix(_EXTRA))
    if extra is None:
        raise ProofInvalid("the extra data of the receipt is not canonical base64")
    return extra


def _take_index(lines: list[str]) -> int:
    line = lines.pop(0) if lines else ""
    index = from_decimal(line.removeprefix(_INDEX)) if line.startswith(_INDEX) else None
    if index is None:
        raise ProofInvalid("the receipt does not state the index of its entry")
    return index


def _hash(line: str) -> bytes:
    hashed = from_base64(line)
    if hashed is None or len(hashed) != HASH_SIZE:
        raise ProofInvalid("a hash of the receipt is not 32 bytes in canonical base64")
    return hashed
