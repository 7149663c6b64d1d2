"""
What a reader gives beside a file: keys, heads that he kept, and whom he trusts; and how files are
opened that somebody else made.

What is no plain file is refused before anything is read of it: a pipe lets wait for ever, and a
device never ends.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from cryptography import x509

from muniment.errors import ConfigInvalid, EvidenceError, Malformed, StampInvalid
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import MAX_NOTE_BYTES, KeyType, VerifierKey
from muniment.evidence.proof import MAX_RECEIPT_BYTES, Receipt
from muniment.evidence.stamp import read_roots
from muniment.evidence.verdict import Reader
from muniment.evidence.witness_policy import MAX_POLICY_CHARACTERS, WitnessPolicy

_MAX_KEY: Final = 1024
_PIECE: Final = 1 << 16
_MAX_PEM: Final = 1024 * 1024
_RECEIPT: Final = b"c2sp.org/tlog-proof@"
#: not every system has each of them
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)


def read(path: Path, most: int) -> bytes:
    """A file of the arguments; one byte too many is enough to see that it is too large."""
    try:
        with plain(path, links=True) as file:
            return file.read(most + 1)
    except OSError as error:
        raise Malformed(f"`{path}` cannot be read: {error.strerror}") from error


def pieces(path: Path) -> Iterator[bytes]:
    """A file of the arguments, piece by piece, however long it is."""
    try:
        with plain(path, links=True) as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise Malformed(f"`{path}` cannot be read: {error.strerror}") from error


def plain(path: Path, *, links: bool = False, most: int | None = None) -> BinaryIO:
    """
    A plain file, to read: not what a link leads to, unless `links`, and not larger than `most`.

    Raises `OSError`. Whoever reads it counts by himself: it may grow.
    """
    # looked at before, as a device may do something when it is opened, and after, as it may change
    _check(path, path.stat(follow_symlinks=links), most)
    descriptor = os.open(path, _FLAGS | (0 if links else _NO_LINKS))
    try:
        _check(path, os.fstat(descriptor), most)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check(path: Path, found: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))


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
