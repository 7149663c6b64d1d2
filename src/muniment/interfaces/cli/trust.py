"""Whom a reader trusts beside the log's key: as `verify` and `audit` are told it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from cryptography import x509

from muniment.errors import ConfigInvalid, EvidenceError, StampInvalid
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import KeyType, VerifierKey
from muniment.evidence.stamp import read_roots
from muniment.evidence.verdict import Cosigned, Reader, Stamped, Vouched
from muniment.evidence.witness_policy import MAX_POLICY_CHARACTERS, WitnessPolicy

_Command = TypeVar("_Command", bound=Callable[..., Any])

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_MAX_KEY: Final = 1024
_MAX_PEM: Final = 1024 * 1024


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
        raise click.BadParameter(f"neither a public key nor a file with one: {error}") from error


def trusting(command: _Command) -> _Command:
    """The options with which a reader names whom he trusts."""
    for option in (_TSA_ROOT, _OWN_WITNESS, _WITNESSES):
        command = option(command)
    return command


def reader(
    log_key: ReadersKeys,
    witnesses: WitnessPolicy | None,
    own_witnesses: tuple[VerifierKey, ...],
    tsa_roots: tuple[x509.Certificate, ...],
) -> Reader:
    """From the options. A policy that lists logs has to list this one."""
    logs = () if witnesses is None else witnesses.logs
    if logs and not {log.key for log in logs}.intersection(named(log_key)):
        raise click.BadParameter("it lists other logs than yours", param_hint="--witnesses")
    return Reader(policy=witnesses, own=own_witnesses, roots=tsa_roots)


def _policy(
    _ctx: click.Context, _param: click.Parameter, value: Path | None
) -> WitnessPolicy | None:
    if value is None:
        return None
    # C2SP tlog-policy: a file of octets
    text = read(value, 4 * MAX_POLICY_CHARACTERS).decode("utf-8", "surrogateescape")
    try:
        policy = WitnessPolicy.parse(text)
    except ConfigInvalid as error:
        raise click.BadParameter(str(error)) from error
    if policy.quorum is None:
        raise click.BadParameter("it has `quorum none`: say whose word you ask for")
    return policy


def _witness_keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[VerifierKey, ...]:
    keys = tuple(parse_key(value) for value in values)
    if any(each.type is not KeyType.COSIGNER for each in keys):
        raise click.BadParameter("this is the key of a log, not of a witness")
    return keys


def _roots(
    _ctx: click.Context, _param: click.Parameter, values: tuple[Path, ...]
) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(root for path in values for root in read_roots(read(path, _MAX_PEM)))
    except StampInvalid as error:
        raise click.BadParameter(str(error)) from error


_WITNESSES: Final = click.option(
    "--witnesses",
    type=FILE,
    callback=_policy,
    metavar="POLICY",
    help="Witnesses that you trust, and your quorum: a C2SP tlog-policy file.",
)
_OWN_WITNESS: Final = click.option(
    "--own-witness",
    "own_witnesses",
    multiple=True,
    callback=_witness_keys,
    metavar="VKEY|PATH",
    help="A witness that whoever runs the log runs, too: it never counts for the quorum.",
)
_TSA_ROOT: Final = click.option(
    "--tsa-root",
    "tsa_roots",
    multiple=True,
    type=FILE,
    callback=_roots,
    metavar="PEM",
    help="Root certificate of a time-stamp authority that you trust.",
)


# --- as JSON ----------------------------------------------------------------------------------


def vouched_json(vouched: Vouched) -> dict[str, Any]:
    stamp = vouched.stamp
    return {
        "witnesses": {
            "cosigned": [_cosigned_json(each) for each in vouched.cosigned],
            "unknown": vouched.unknown,
            "yours": {"cosigned": vouched.k, "counted": vouched.n, "quorum": vouched.quorum},
        },
        "stamps": [_stamped_json(each) for each in vouched.stamps],
        "existed_before": None if stamp is None else stamp.before.isoformat(),
    }


def _cosigned_json(each: Cosigned) -> dict[str, Any]:
    return {"witness": each.key.vkey, "at": each.time, "standing": each.standing}


def _stamped_json(each: Stamped) -> dict[str, Any]:
    stamp = each.stamp
    return {
        "authority": None if stamp is None else stamp.authority,
        "at": None if stamp is None else stamp.at.isoformat(),
        "before": None if stamp is None else stamp.before.isoformat(),
        "verified": stamp is not None and not each.doubt,
        "doubt": each.doubt,
    }
