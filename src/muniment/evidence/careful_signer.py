"""
A signer that remembers: it never signs two histories, whoever asks.

It sees no records. It is told the tree of the last checkpoint by its peaks and the hashes of the
entries since, and makes the new root itself. It remembers two heads, durably and before it answers:

- the *newest* one that it signed, of which it cannot know whether anybody has seen it;
- the *confirmed* one before it: whoever came to ask goes on from there, so it is stored.

What goes on from the newest one confirms it. What goes on from the confirmed one gives the newest
one up: its signature was made, and the log could not keep what it was over. Whatever goes on from
anywhere else is refused. So a copy of the log that was put back gets no signature on another
history, but for the last batch that was never confirmed; there the log's own head store decides.

NOTE: one that never signed goes on from wherever it is first asked to.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from muniment.errors import Conflict, LogInvalid, Malformed, NoteInvalid
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.merkle import EMPTY_ROOT, Frontier
from muniment.evidence.note import Signature, SigningKey, VerifierKey, parse_note
from muniment.evidence.signer import Extension


@dataclass(frozen=True, slots=True)
class SignedHead:
    """Size and root of a tree that was signed."""

    size: int
    root: bytes


NOTHING: Final = SignedHead(0, EMPTY_ROOT)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a signer remembers."""

    confirmed: SignedHead = NOTHING
    newest: SignedHead = NOTHING


class MemoryStore(Protocol):
    """Where it is kept."""

    def read(self) -> Memory:
        """Raises `LogInvalid` if it is gone or damaged."""
        ...

    def write(self, memory: Memory) -> None:
        """Returns once it is durable. Raises `LogUnavailable`."""
        ...


class CarefulSigner:
    """One private key, and the memory that goes with it."""

    def __init__(self, key: SigningKey, memory: MemoryStore) -> None:
        self._key = key
        self._memory = memory

    @property
    def verifier(self) -> VerifierKey:
        return self._key.verifier

    def sign(self, extension: Extension) -> Signature:
        """
        Our line below this checkpoint, once it is remembered.

        Raises `Malformed` for what is no extension of this log, `Conflict` for what does not go on
        from where we are, and `LogUnavailable` if it cannot be remembered.
        """
        signed = self._checkpoint(extension)
        before, after = _heads(extension)
        if after != SignedHead(signed.size, signed.root) or after.size == before.size:
            raise Malformed("the entries do not lead to this checkpoint")
        memory = self._memory.read()
        if memory.newest != NOTHING and before not in (memory.newest, memory.confirmed):
            raise Conflict(
                f"this goes on from size {before.size}, but what was signed last has size "
                f"{memory.newest.size}: it is an older copy of the log, or another history"
            )
        if memory != Memory(before, after):
            # Crash after this: it is remembered as signed, and was not. Who asked has no answer and
            # goes on from where it was, which is what is confirmed now.
            self._memory.write(Memory(before, after))
        return parse_note(self._key.sign(extension.text))[1][0]

    def _checkpoint(self, extension: Extension) -> Checkpoint:
        try:
            signed = Checkpoint.parse(extension.text)
        except NoteInvalid as error:
            raise Malformed(f"this is no checkpoint: {error}") from error
        if signed.origin != self.verifier.name:
            raise Malformed("this is a checkpoint of another log")
        if signed.extensions:
            raise Malformed("this log signs no extension lines")
        return signed


def _heads(extension: Extension) -> tuple[SignedHead, SignedHead]:
    """Where it goes on from, and where that leads."""
    try:
        tree = Frontier(extension.size, extension.peaks)
    except LogInvalid as error:
        raise Malformed(str(error)) from error
    before = SignedHead(tree.size, tree.root())
    for leaf in extension.leaves:
        tree.push(leaf)
    return before, SignedHead(tree.size, tree.root())
