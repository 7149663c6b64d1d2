"""A log of a few entries in memory, for tests of witnesses: it signs whatever it is told to."""

import base64
from collections.abc import Sequence

from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey


class SmallLog:
    """
    A history of entries, and its key.

    Two logs with one key are two histories of one log: they are the same up to entry `forked_at`.
    """

    def __init__(
        self,
        origin: str = "log.example/1",
        *,
        key: SigningKey | None = None,
        forked_at: int | None = None,
    ) -> None:
        self.origin = origin
        self.key = key or SigningKey.generate(origin)
        self._forked_at = forked_at

    def other_history(self, forked_at: int) -> "SmallLog":
        """What the same log tells somebody else: the same, up to that entry."""
        return SmallLog(self.origin, key=self.key, forked_at=forked_at)

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.origin, size, merkle.root(self._leaf(n) for n in range(size)))

    def signed(self, size: int) -> bytes:
        """The checkpoint as a signed note."""
        return sign(self.checkpoint(size), self.key)

    def proof(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self._node)

    def request(self, old: int, new: int) -> bytes:
        """What an honest log sends to a witness that has cosigned `old`."""
        return add_checkpoint(old, self.proof(old, new), self.signed(new))

    def _leaf(self, index: int) -> bytes:
        forked = self._forked_at is not None and index >= self._forked_at
        return merkle.leaf_hash(f"{'forked ' * forked}{index}".encode())

    def _node(self, level: int, index: int) -> bytes:
        return merkle.root(self._leaf(n) for n in range(index << level, index + 1 << level))


def add_checkpoint(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of a request as C2SP tlog-witness has it."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof), "", ""]
    return "\n".join(lines).encode() + note
