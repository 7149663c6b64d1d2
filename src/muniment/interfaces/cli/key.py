"""`muniment key`: the log's signing keys, from the first to the last."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.errors import Conflict, NotFound
from muniment.interfaces.cli.server import folder_option, json_option

if TYPE_CHECKING:
    from muniment.evidence.keys import LogKey, LogKeys
    from muniment.evidence.note import VerifierKey
    from muniment.evidence.store import LogStore
    from muniment.operations.take_in import ProposedRetirement
    from muniment.runtime.key_files import KeyFolder

_NEXT = "the next start, or `muniment reload`"


@click.group("key")
def key_command() -> None:
    """List, add and retire the keys that sign the log."""


@key_command.command("list")
@folder_option
@json_option
def key_list(folder: Path, *, as_json: bool) -> None:
    """Every key that the log ever had, and what the files ask for."""
    place = _Place.of(folder)
    rows = list(place.rows())
    if as_json:
        click.echo(json.dumps({"size": place.size, "keys": rows}, indent=2))
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['state']}")
        for line in row["notes"]:
            click.echo(f"          {line}")
        click.echo(f"          {row['key']}")


@key_command.command("add")
@folder_option
@json_option
def key_add(folder: Path, *, as_json: bool) -> None:
    """
    Make a further key. From the next start or reload on it signs beside the others.

    Safe to repeat: while a new key waits for that, no other is made.
    """
    place = _Place.of(folder)
    waiting = [(path, key) for path, key in place.files.items() if place.keys.of(key) is None]
    if waiting:
        path, key = waiting[0]
    else:
        path, made = place.folder.add()
        key = made.verifier
    if as_json:
        click.echo(json.dumps({"file": str(path), "id": key.key_id.hex(), "key": key.vkey}))
        return
    click.echo(f"{'made' if not waiting else 'there is already'} {path}, which does not sign yet")
    click.echo(f"its public key: {key.vkey}")
    click.echo("\nwhat is left to do:")
    click.echo("1. give the public key to every witness (`muniment witness add`) and auditor")
    click.echo(f"2. {_NEXT}: the log records the key, and from then on both sign")
    click.echo("3. when all of them have it: `muniment key retire` the old one")


@key_command.command("retire")
@click.argument("which", metavar="VKEY_OR_ID")
@click.option("--compromised", is_flag=True, help="Others may have the key.")
@click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="SIZE",
    help="Size of the log up to which the key was yours alone, as far as you know.",
)
@folder_option
@json_option
def key_retire(
    which: str, folder: Path, *, compromised: bool, since: int | None, as_json: bool
) -> None:
    """
    Have a key sign no more: the log records it, its file is set aside and not deleted.

    Safe to repeat. A retired key never comes back.
    """
    from muniment.evidence.keys import COMPROMISED, ROTATED
    from muniment.operations.take_in import ProposedRetirement

    if since is not None and not compromised:
        raise click.UsageError("--since goes with --compromised")
    place = _Place.of(folder)
    key = place.find(which)
    known = place.keys.of(key)
    done = known is not None and known.retired is not None
    if not done:
        place.check_others_sign(key, overlap=not compromised)
        reason = COMPROMISED if compromised else ROTATED
        place.folder.retire(ProposedRetirement(key=key, reason=reason, since=since))
        if compromised:
            place.folder.new_sealing()
    if as_json:
        click.echo(json.dumps({"id": key.key_id.hex(), "key": key.vkey, "recorded": done}))
        return
    for line in _left_to_do(key, done=done, compromised=compromised):
        click.echo(line)


def _left_to_do(key: "VerifierKey", *, done: bool, compromised: bool) -> Iterator[str]:
    id_ = key.key_id.hex()
    if done:
        yield f"the log has retired {id_} already"
        return
    yield f"{id_} is to be retired; it still signs"
    yield ""
    yield "what is left to do:"
    if compromised:
        yield "1. restart the service at once: the log records it, and seals with another secret"
        yield "2. tell witnesses and auditors to drop the key: what it alone signs is worth nothing"
        yield "3. compare the heads that they kept with the log: `muniment audit --head`"
        return
    yield f"1. {_NEXT}: one last checkpoint has its line"
    yield "2. tell auditors with which key to verify from now on: `muniment key list`"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What files and log say of keys, side by side."""

    folder: "KeyFolder"
    files: "dict[Path, VerifierKey]"
    #: in another process, or none
    remote: "VerifierKey | None"
    retirements: "dict[VerifierKey, ProposedRetirement]"
    keys: "LogKeys"
    size: int

    @classmethod
    def of(cls, path: Path) -> "_Place":
        from muniment.runtime.key_files import KeyFolder
        from muniment.runtime.log_stores import reading
        from muniment.runtime.settings import read_settings

        settings = read_settings(path)
        folder = KeyFolder(path / settings.paths.key, settings.installation.origin)
        with reading(path, settings) as log:
            keys, size = _recorded(log)
        return cls(
            folder=folder,
            files={file: key.verifier for file, key in folder.keys().items()},
            remote=settings.signer.verifier if settings.signer is not None else None,
            retirements={each.key: each for each in folder.retirements()},
            keys=keys,
            size=size,
        )

    @property
    def at_hand(self) -> "list[VerifierKey]":
        return [*self.files.values(), *([self.remote] if self.remote is not None else [])]

    def find(self, which: str) -> "VerifierKey":
        everything = dict.fromkeys((*self.keys.known, *self.at_hand))
        found = [key for key in everything if which == key.vkey]
        found = found or [key for key in everything if key.key_id.hex().startswith(which)]
        if len(found) != 1:
            raise NotFound(f"{len(found)} keys begin with `{which:.80}`; see `muniment key list`")
        return found[0]

    def check_others_sign(self, key: "VerifierKey", *, overlap: bool) -> None:
        """Raises `Conflict` if nobody, or with `overlap` nobody known, would sign afterwards."""
        signing = self.keys.signers(self.size)
        others = [k for k in self.at_hand if k != key and k not in self.retirements]
        if not others:
            raise Conflict("this is the only key that signs; `muniment key add` first")
        if overlap and key in signing and not any(other in signing for other in others):
            raise Conflict(f"the other key does not sign yet; that begins with {_NEXT}")

    def rows(self) -> Iterator[dict[str, Any]]:
        places = {key: str(path) for path, key in self.files.items()}
        if self.remote is not None:
            places.setdefault(self.remote, "in the process of `[signer]`")
        for known in self.keys.all:
            yield self._row(known.key, _state(known), places.get(known.key))
        for key in self.at_hand:
            if self.keys.of(key) is None:
                yield self._row(key, f"does not sign yet; that begins with {_NEXT}", places[key])

    def _row(self, key: "VerifierKey", state: str, place: str | None) -> dict[str, Any]:
        known, wanted = self.keys.of(key), self.retirements.get(key)
        retired = known is not None and known.retired is not None
        notes = [place] if place is not None else []
        if place is None and not retired:
            notes.append("its file is not here: without it the log cannot be written")
        if wanted is not None and not retired:
            notes.append(f"to be retired ({wanted.reason}) with {_NEXT}")
        return {"id": key.key_id.hex(), "key": key.vkey, "state": state, "notes": notes}


def _state(known: "LogKey") -> str:
    if known.retired is None:
        return f"signs since entry {known.added}"
    since = "" if known.since is None else f", not to be believed above size {known.since}"
    return f"retired by entry {known.retired} ({known.reason}{since})"


def _recorded(log: "LogStore") -> "tuple[LogKeys, int]":
    """What the log's own case says of keys; not proved, as nothing is decided on it."""
    from muniment.evidence.keys import LogKeys
    from muniment.evidence.store import entry_of

    tail = log.tail()
    size = tail.size if tail is not None else 0
    first = [entry_of(*found) for found in log.entries(0, min(size, 1))]
    entries = [
        entry_of(index, data)
        for entry in first
        for index, data in log.case(entry.header.case, size)
    ]
    return LogKeys().after(entries), size
