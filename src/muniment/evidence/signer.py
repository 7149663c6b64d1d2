"""
Who signs: the port behind which a log's private keys lie, and the keys that are in this process.

A signer is handed more than the text to be signed. It is shown how the log comes from the last
checkpoint to this one, so that one in another process need not believe the log.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from muniment.errors import ConfigInvalid, LogUnavailable
from muniment.evidence.note import Signature, SigningKey, VerifierKey, parse_note


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What is to be signed, and from where it goes on."""

    #: size of the log at the last checkpoint that is durable, and the peaks of its tree
    size: int
    peaks: tuple[bytes, ...] = field(repr=False)
    #: leaf hashes of the entries since
    leaves: tuple[bytes, ...] = field(repr=False)
    #: the new checkpoint: C2SP tlog-checkpoint
    text: str


class Signer(Protocol):
    """One private key of a log, wherever it lies."""

    @property
    def verifier(self) -> VerifierKey: ...

    def sign(self, extension: Extension) -> Signature:
        """
        Our line below this checkpoint.

        Whoever calls this has made sure that it continues every checkpoint whose signature anybody
        may have seen. Raises `LogUnavailable` if there is no signature to be had.
        """
        ...

    def close(self) -> None: ...


class KeyAtHand:
    """A private key in this process's memory. It signs whatever it is asked to."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def verifier(self) -> VerifierKey:
        return self._key.verifier

    def sign(self, extension: Extension) -> Signature:
        return parse_note(self._key.sign(extension.text))[1][0]

    def close(self) -> None:
        """There is nothing to close."""


class Keyring:
    """The signers that a log has at hand. Which of them sign is its records' to say."""

    def __init__(self, signers: Iterable[Signer]) -> None:
        """Raises `ConfigInvalid` unless they are of one name, at least one, and none twice."""
        self.signers = tuple(signers)
        names = {each.verifier.name for each in self.signers}
        if len(names) != 1:
            raise ConfigInvalid(f"a log signs with keys of one name, not of {len(names)}")
        self._by_key = {each.verifier: each for each in self.signers}
        if len({key.key_id for key in self._by_key}) < len(self.signers):
            raise ConfigInvalid("two of the signing keys are one, or share a key id")

    @classmethod
    def of(cls, *keys: SigningKey) -> "Keyring":
        return cls(KeyAtHand(key) for key in keys)

    def joined(self, others: "Keyring") -> "Keyring":
        """These, and those of the others that are not among them."""
        more = [each for each in others.signers if each.verifier not in self._by_key]
        return Keyring([*self.signers, *more])

    @property
    def name(self) -> str:
        return self.signers[0].verifier.name

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        return tuple(self._by_key)

    def sign(
        self, extension: Extension, keys: Sequence[VerifierKey], leaving: Sequence[VerifierKey] = ()
    ) -> bytes:
        """
        The checkpoint as a note with a line of each of `keys`.

        Those that are `leaving` sign it, too, if they are still there to do so. Raises
        `LogUnavailable` if one of `keys` does not sign: then nothing is written.
        """
        missing = [key.key_id.hex() for key in keys if key not in self._by_key]
        if missing:
            raise LogUnavailable(
                f"the signing key {missing[0]} is not here: put its file back, or retire it with "
                "`muniment key retire`"
            )
        due = [*(key for key in leaving if key in self._by_key and key not in keys), *keys]
        lines = [self._by_key[key].sign(extension).line for key in due]
        return f"{extension.text}\n{''.join(lines)}".encode()

    def close(self) -> None:
        for signer in self.signers:
            signer.close()
