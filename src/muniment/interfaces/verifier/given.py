"""What a reader gives beside a file: keys, heads that he kept, and whom he trusts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from muniment.errors import ConfigInvalid, EvidenceError, Malformed, StampInvalid
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import MAX_NOTE_BYTES, KeyType, VerifierKey
from muniment.evidence.proof import MAX_RECEIPT_BYTES, Receipt
from muniment.evidence.stamp import read_roots
from muniment.evidence.verdict import Reader
from muniment.evidence.witness_policy import MAX_POLICY_CHARACTERS, WitnessPolicy

_MAX_KEY: Final = 1024
_MAX_PEM: Final = 1024 * 1024
_RECEIPT: Final = b"c2sp.org/tlog-proof@"


def read(path: Path, most: int) -> bytes:
    """A file of the arguments; one byte too many is enough to see that it is too large."""
    with path.open("rb") as file:
        return file.read(most + 1)


def parse_key(value: str) -> VerifierKey:
    """A verifier key as text (`name+id+key`), or the path of a file with it."""
    path = Path(value)
    try:
        text = value
        if path.is_file():
            text = read(path, _MAX_KEY).decode("utf-8", "replace").strip()
        return VerifierKey.parse(text)
    except (EvidenceError, OSError) as error:
        raise Malformed(f"neither a public key nor a file with one: {error}") from error


def read_head(path: Path) -> bytes:
    """A checkpoint, or the one inside a receipt that came with a credential."""
    data = read(path, max(MAX_NOTE_BYTES, MAX_RECEIPT_BYTES))
    if not data.startswith(_RECEIPT):
        return data
    try:
        return Receipt.parse(data).checkpoint
    except EvidenceError as error:
        raise Malformed(f"`{path}` is a receipt that cannot be read: {error}") from error


def read_witnesses(path: Path) -> WitnessPolicy:
    """Witnesses whom the reader trusts, and his quorum: a C2SP tlog-policy file."""
    # C2SP tlog-policy: a file of octets
    text = read(path, 4 * MAX_POLICY_CHARACTERS).decode("utf-8", "surrogateescape")
    try:
        policy = WitnessPolicy.parse(text)
    except ConfigInvalid as error:
        raise Malformed(str(error)) from error
    if policy.quorum is None:
        raise Malformed("it has `quorum none`: say whose word you ask for")
    return policy


def witness_keys(values: Iterable[str]) -> tuple[VerifierKey, ...]:
    keys = tuple(parse_key(value) for value in values)
    if any(each.type is not KeyType.COSIGNER for each in keys):
        raise Malformed("this is the key of a log, not of a witness")
    return keys


def authority_roots(paths: Iterable[Path]) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(root for path in paths for root in read_roots(read(path, _MAX_PEM)))
    except StampInvalid as error:
        raise Malformed(str(error)) from error


def trusted(
    log_key: ReadersKeys,
    witnesses: WitnessPolicy | None,
    own_witnesses: tuple[VerifierKey, ...] = (),
    roots: Sequence[x509.Certificate] = (),
) -> Reader:
    """All of it as one reader. A policy that lists logs has to list this one."""
    logs = () if witnesses is None else witnesses.logs
    if logs and not {log.key for log in logs}.intersection(named(log_key)):
        raise Malformed("it lists other logs than yours")
    return Reader(policy=witnesses, own=own_witnesses, roots=tuple(roots))
