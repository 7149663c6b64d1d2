"""Whom a reader trusts beside the log's key: as `verify` and `audit` are told it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from cryptography import x509

from muniment.errors import Malformed
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.note import VerifierKey
from muniment.evidence.verdict import Reader
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.interfaces.verifier import given

_Command = TypeVar("_Command", bound=Callable[..., Any])

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@contextlib.contextmanager
def as_parameter(hint: str | None = None) -> Iterator[None]:
    """What cannot be understood is a wrong parameter of the command."""
    try:
        yield
    except Malformed as error:
        raise click.BadParameter(str(error), param_hint=hint) from error


def parse_key(value: str) -> VerifierKey:
    """A verifier key as text (`name+id+key`), or the path of a file with it."""
    with as_parameter():
        return given.parse_key(value)


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
    with as_parameter("--witnesses"):
        return given.trusted(log_key, witnesses, own_witnesses, tsa_roots)


def _policy(
    _ctx: click.Context, _param: click.Parameter, value: Path | None
) -> WitnessPolicy | None:
    with as_parameter():
        return None if value is None else given.read_witnesses(value)


def _witness_keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[VerifierKey, ...]:
    with as_parameter():
        return given.witness_keys(values)


def _roots(
    _ctx: click.Context, _param: click.Parameter, values: tuple[Path, ...]
) -> tuple[x509.Certificate, ...]:
    with as_parameter():
        return given.authority_roots(values)


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
