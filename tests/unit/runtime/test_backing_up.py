"""A backup holds what a log needs and nothing that would undo it; a restored one never forks."""

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from folders import TOML, install, make_installation

from muniment.access import records
from muniment.errors import ConfigInvalid, Conflict, LogInvalid, LogUnavailable, MunimentError
from muniment.evidence.append import Proposal
from muniment.evidence.note import CosigningKey, SigningKey, parse_note
from muniment.evidence.record import digest
from muniment.evidence.store import Published
from muniment.operations import observe
from muniment.operations.erase import erase_section
from muniment.operations.mirror import copy
from muniment.operations.take_in import take_in
from muniment.runtime import clock
from muniment.runtime.backup import MANIFEST, make_backup, read_manifest
from muniment.runtime.restore import restore
from muniment.runtime.wiring import Opened, open_service
from muniment.stores.events import SQLiteEventStore
from muniment.stores.read_only import ReadOnlyStore
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.fake_target import FakeTarget

MAIL = b"ana@example.com"


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    target = FakeTarget(clock.now, endpoints=("fake",))
    install(monkeypatch, target)
    return target


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Opened]:
    """A service on this folder, which has taken in what the files say."""
    opened = open_service(folder)
    try:
        await take_in(opened.service, opened.proposed, records.SERVICE)
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """An installation that has served, and is stopped."""
    folder = tmp_path / "home"
    folder.mkdir()
    make_installation(folder)
    (folder / "tokens.toml").write_text(f"[{'ab' * 32}]\nfor = 'ana'\n")
    async with serving(folder):
        pass
    return folder


def hire(folder: Path, login: str) -> None:
    """Somebody more in the files: records, and a sealed section, once they are taken in."""
    with (folder / "muniment.toml").open("a") as toml:
        toml.write(f'\n[people.{login}]\nmail = "{login}@example.com"\ngroups = ["engineering"]\n')


async def erase(opened: Opened, login: str) -> None:
    """Recorded, in the ledger, out of the database."""
    service = opened.service
    principal = service.registry.principals[service.names[login]]
    entry = service.log.read_entry(principal.index)
    case = service.new_case()
    record = records.RecordErased(
        actor=records.SERVICE, record=entry.header.id, section="identity", rule="gdpr-17"
    )
    draft = record.draft(case, service.now(), follows=(entry.leaf,))
    await service.append(Proposal(drafts=(draft,), reads={case: None}))
    erase_section(service.log, service.ledger, entry, "identity", "gdpr-17")


def size_of(folder: Path) -> int:
    with closing(ReadOnlyStore(folder / "data" / "muniment.db")) as store:
        tail = store.tail()
    assert tail is not None
    return tail.size


def lose_database(folder: Path) -> None:
    for file in (folder / "data").glob("muniment.db*"):
        file.unlink()


def put_back_by_hand(home: Path, folder: Path) -> None:
    """What no backup has: the key out of its safe, the head store with its ledger."""
    for name in ("keys", "head"):
        shutil.copytree(home / name, folder / name)


async def mirror(opened: Opened, to: Path) -> None:
    """A mirror of the whole log, with a checkpoint that a witness has cosigned."""
    log = opened.service.log
    witness = CosigningKey.generate("muniment.example/witness")
    line = witness.cosign(parse_note(log.checkpoint)[0], 1_800_000_000).line
    published = Published(log.size, log.checkpoint + line.encode())
    await copy(log, TileDirectory(to), published)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# --- backup -----------------------------------------------------------------------------------


async def test_a_backup_is_made_while_the_service_appends(home: Path, tmp_path: Path) -> None:
    async with serving(home) as opened:
        before = opened.service.log.size
        made = make_backup(home, tmp_path / "copy")
        hire(home, "eve")
    assert made.size == before
    assert read_manifest(tmp_path / "copy") == made
    names = {"muniment.toml", "muniment.db", "log.vkey", "tokens.toml"}
    assert names <= made.files.keys()
    assert any(name.startswith("policy/") for name in made.files)


async def test_only_its_owner_may_read_a_backup(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    for path in ((tmp_path / "copy"), *(tmp_path / "copy").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_key_head_and_ledger_are_not_in_a_backup(home: Path, tmp_path: Path) -> None:
    async with serving(home) as opened:
        hire(home, "eve")
        await take_in(opened.service, opened.proposed, records.SERVICE)
    make_backup(home, tmp_path / "copy")
    copied = everything_in(tmp_path / "copy")
    assert MAIL in copied
    assert b"PRIVATE+KEY" not in copied
    assert not {"head", "erasures", "log.key"} & {p.name for p in (tmp_path / "copy").rglob("*")}


async def test_a_backup_made_after_an_erasure_has_nothing_of_it(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "before")
    async with serving(home) as opened:
        await erase(opened, "ana")
        make_backup(home, tmp_path / "after")
    assert MAIL in (tmp_path / "before" / "muniment.db").read_bytes()
    assert MAIL not in (tmp_path / "after" / "muniment.db").read_bytes()


async def test_a_backup_is_never_written_over(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    before = everything_in(tmp_path / "copy")
    with pytest.raises(Conflict, match="is there already"):
        make_backup(home, tmp_path / "copy")
    assert everything_in(tmp_path / "copy") == before


async def test_a_backup_that_fails_leaves_nothing(home: Path, tmp_path: Path) -> None:
    there = names_in(tmp_path)
    with sqlite3.connect(home / "data" / "muniment.db") as connection:
        connection.execute("DROP TRIGGER entries_stay")
        connection.execute("UPDATE entries SET header = x'00' WHERE idx = 3")
    connection.close()
    with pytest.raises(LogInvalid, match="entry 3"):
        make_backup(home, tmp_path / "copy")
    assert names_in(tmp_path) == there


# --- restore ----------------------------------------------------------------------------------


async def test_a_backup_becomes_an_installation_again(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    put_back_by_hand(home, tmp_path / "new")
    found = restore(tmp_path / "new", backup=tmp_path / "copy")
    assert (found.behind, found.missing, found.size) == (0, (), size_of(home))
    assert (tmp_path / "new" / "policy" / "schema.cedarschema").exists()
    async with serving(tmp_path / "new") as opened:
        assert "ana" in opened.service.names
        assert opened.service.log.size == found.size


async def test_what_a_backup_does_not_hold_is_named(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    found = restore(tmp_path / "new", backup=tmp_path / "copy")
    assert found.remembered is None
    assert [path.name for path in found.missing] == ["log.key", "erasures"]
    assert found.key == "the backup's own"
    with pytest.raises(ConfigInvalid, match="the signing key"):
        open_service(tmp_path / "new")


async def test_an_installation_gets_its_database_back_and_keeps_its_files(
    home: Path, tmp_path: Path
) -> None:
    make_backup(home, tmp_path / "copy")
    hire(home, "eve")
    toml = (home / "muniment.toml").read_bytes()
    lose_database(home)
    found = restore(home, backup=tmp_path / "copy")
    assert found.written == (home / "data" / "muniment.db",)
    assert (home / "muniment.toml").read_bytes() == toml
    async with serving(home) as opened:
        assert "eve" in opened.service.names


@pytest.mark.parametrize("end", ["", "-wal"])
async def test_a_database_that_is_there_is_never_written_over(
    end: str, home: Path, tmp_path: Path
) -> None:
    make_backup(home, tmp_path / "copy")
    lose_database(home)
    (home / "data" / f"muniment.db{end}").write_bytes(b"the only copy of something")
    with pytest.raises(Conflict, match="move it aside"):
        restore(home, backup=tmp_path / "copy")
    assert (home / "data" / f"muniment.db{end}").read_bytes() == b"the only copy of something"


async def test_beside_a_running_service_nothing_is_restored(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    async with serving(home):
        with pytest.raises(Conflict, match="another `muniment serve`"):
            restore(home, backup=tmp_path / "copy")


async def test_a_folder_with_something_else_in_it_is_left_alone(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.tex").write_text("mine")
    with pytest.raises(Conflict, match=r"holds `thesis\.tex`"):
        restore(tmp_path / "new", backup=tmp_path / "copy")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["thesis.tex"]


async def test_a_backup_of_another_log_is_refused(home: Path, tmp_path: Path) -> None:
    make_backup(home, tmp_path / "copy")
    other = tmp_path / "other"
    other.mkdir()
    make_installation(other, TOML.replace("muniment.example/runtime", "muniment.example/other"))
    lose_database(other)
    with pytest.raises(Conflict, match=r"is of the log `muniment\.example/runtime`"):
        restore(other, backup=tmp_path / "copy")
    (tmp_path / "twin").mkdir()
    twin = make_installation(tmp_path / "twin")  # the same name, another key
    lose_database(twin)
    with pytest.raises(LogInvalid):
        restore(twin, backup=tmp_path / "copy")
    assert not (twin / "data" / "muniment.db").exists()


async def test_a_backup_in_which_anything_was_changed_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    files = make_backup(home, copy).files
    for name in (*list(files)[:4], "muniment.db"):
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(LogInvalid, match="is not what was backed up"):
            restore(tmp_path / "new", backup=copy)
        (copy / name).write_bytes(kept)
        assert not (tmp_path / "new").exists()


async def test_whoever_changes_backup_and_manifest_together_is_caught_by_the_audit(
    home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    make_backup(home, copy)
    for statement in (
        "UPDATE sections SET content = x'00' WHERE idx = (SELECT max(idx) FROM sections)",
        "DELETE FROM sections WHERE idx = (SELECT max(idx) FROM sections)",
        "DELETE FROM documents",
    ):
        shutil.copytree(copy, tmp_path / "forged")
        forge(tmp_path / "forged", statement)
        with pytest.raises(LogInvalid, match="does not hold"):
            restore(tmp_path / "new", backup=tmp_path / "forged")
        shutil.rmtree(tmp_path / "forged")
        assert not (tmp_path / "new" / "data" / "muniment.db").exists()
        assert not (tmp_path / "new" / "muniment.toml").exists()


def forge(copy: Path, statement: str) -> None:
    with sqlite3.connect(copy / "muniment.db") as connection:
        connection.execute(statement)
    connection.close()
    manifest = json.loads((copy / "manifest.json").read_bytes())
    files = dict(manifest["files"])
    files["muniment.db"] = digest((copy / "muniment.db").read_bytes()).hex()
    manifest["files"] = list(files.items())
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (copy / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "policy/../../outside", "policy//x", "", "policy/./x"]
)
async def test_a_manifest_that_leads_out_of_its_backup_is_refused(
    name: str, home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    make_backup(home, copy)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest["files"].append([name, "00" * 32])
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ConfigInvalid, match="does not lie in the backup"):
        restore(tmp_path / "new", backup=copy)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format":"muniment-backup/v2"}', "\x00"])
async def test_what_is_no_backup_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="is no backup"):
        restore(tmp_path / "new", backup=tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigInvalid, match="damaged"):
        restore(tmp_path / "new", backup=tmp_path)


# --- an old backup ----------------------------------------------------------------------------


@pytest.fixture
async def old(home: Path, tmp_path: Path) -> Path:
    """A backup, after which somebody was hired, somebody left, and the database was lost."""
    make_backup(home, tmp_path / "old")
    hire(home, "eve")
    async with serving(home) as opened:
        await erase(opened, "cy")
        await mirror(opened, tmp_path / "mirror")
    lose_database(home)
    return tmp_path / "old"


async def test_an_old_backup_is_put_in_place_and_never_signed_on(home: Path, old: Path) -> None:
    found = restore(home, backup=old)
    assert found.behind > 0
    with pytest.raises(LogInvalid, match="this is an older copy of the database"):
        open_service(home)


async def test_a_mirror_brings_an_old_backup_to_the_remembered_head(
    home: Path, old: Path, tmp_path: Path
) -> None:
    found = restore(home, backup=old, mirror=TileDirectory(tmp_path / "mirror"))
    assert (found.behind, found.size) == (0, found.remembered)
    assert found.mirrored > 0
    async with serving(home) as opened:
        names = opened.service.names
        assert "eve" in names
        assert opened.service.log.size > found.size


async def test_a_mirror_may_come_later(home: Path, old: Path, tmp_path: Path) -> None:
    behind = restore(home, backup=old).behind
    found = restore(home, mirror=TileDirectory(tmp_path / "mirror"))
    assert found.mirrored == behind
    assert found.behind == 0
    assert restore(home, mirror=TileDirectory(tmp_path / "mirror")).mirrored == 0


async def test_sections_that_no_mirror_has_are_counted_as_lost(
    home: Path, old: Path, tmp_path: Path
) -> None:
    """The old backup has what was sealed before; what was erased since is shown as erased."""
    found = restore(home, backup=old, mirror=TileDirectory(tmp_path / "mirror"))
    assert found.audited.lost == 1  # whom we hired
    assert found.audited.sections > 5


async def test_who_was_erased_since_an_old_backup_is_erased_before_anybody_is_served(
    home: Path, old: Path, tmp_path: Path
) -> None:
    cy = b'"login":"cy"'
    restore(home, backup=old, mirror=TileDirectory(tmp_path / "mirror"))
    assert cy in (home / "data" / "muniment.db").read_bytes()
    opened = open_service(home)
    assert "cy" not in opened.service.names
    await opened.close()
    assert cy not in everything_in(home / "data")


async def test_a_log_comes_back_from_a_mirror_alone_without_sections(
    home: Path, old: Path, tmp_path: Path
) -> None:
    found = restore(home, mirror=TileDirectory(tmp_path / "mirror"))
    assert found.behind == 0
    assert (found.audited.lost, found.audited.erased) == (found.audited.sections - 1, 1)
    async with serving(home) as opened:
        service = opened.service
        active = {p.id for p in service.registry.principals.values() if p.active}
        known = {service.names[login] for login in ("admin", "ana", "cy", "ci", "robo", "eve")}
        # nobody knows any more who they were: they are disabled, and the files enrol everybody anew
        assert active == known
        assert not service.troubles()


async def test_a_mirror_has_no_settings(tmp_path: Path, home: Path, old: Path) -> None:
    with pytest.raises(ConfigInvalid, match="put settings, policy and keys back first"):
        restore(tmp_path / "new", mirror=TileDirectory(tmp_path / "mirror"))


def refused(home: Path, old: Path, mirror: Path) -> None:
    """Nothing is in place, nothing is left, and the true mirror still works."""
    with pytest.raises(MunimentError):
        restore(home, backup=old, mirror=TileDirectory(mirror))
    assert [path.name for path in (home / "data").iterdir() if path.suffix != ".lock"] == []
    restore(home, backup=old)
    before = size_of(home)
    with pytest.raises(MunimentError):
        restore(home, mirror=TileDirectory(mirror))
    assert size_of(home) == before


async def test_a_mirror_that_changed_a_record_is_refused(
    home: Path, old: Path, tmp_path: Path
) -> None:
    forged = shutil.copytree(tmp_path / "mirror", tmp_path / "forged")
    (bundle,) = [path for path in (forged / "tile/entries").rglob("*") if path.is_file()]
    data = bundle.read_bytes()
    assert data.count(b"gdpr-17") == 1
    bundle.chmod(0o600)
    bundle.write_bytes(data.replace(b"gdpr-17", b"gdpr-18"))
    refused(home, old, forged)


async def test_a_mirror_that_ends_early_or_late_is_refused(
    home: Path, old: Path, tmp_path: Path
) -> None:
    forged = shutil.copytree(tmp_path / "mirror", tmp_path / "forged")
    (bundle,) = [path for path in (forged / "tile/entries").rglob("*") if path.is_file()]
    data = bundle.read_bytes()
    bundle.chmod(0o600)
    bundle.write_bytes(data[:-3])
    refused(home, old, forged)
    lose_database(home)
    bundle.write_bytes(data + data[: 2 + int.from_bytes(data[:2], "big")])
    refused(home, old, forged)


async def test_a_mirror_with_another_key_or_without_a_checkpoint_is_refused(
    home: Path, old: Path, tmp_path: Path
) -> None:
    forged = shutil.copytree(tmp_path / "mirror", tmp_path / "forged")
    (forged / "checkpoint").chmod(0o600)
    text = (forged / "checkpoint").read_text().split("\n\n")[0] + "\n"
    other = SigningKey.generate("muniment.example/runtime")
    (forged / "checkpoint").write_bytes(other.sign(text))
    refused(home, old, forged)
    lose_database(home)
    (forged / "checkpoint").unlink()
    refused(home, old, forged)
    lose_database(home)
    (forged / "checkpoint").write_bytes(b"x" * 10_000_000)
    refused(home, old, forged)


async def test_a_mirror_of_a_fork_by_the_keys_owner_is_refused(home: Path, tmp_path: Path) -> None:
    """Two histories under one key: the one that the head store remembers is the log."""
    make_backup(home, tmp_path / "old")
    shutil.copytree(home, tmp_path / "fork")
    for folder, login in ((home, "eve"), (tmp_path / "fork", "fay")):
        hire(folder, login)
        async with serving(folder) as opened:
            await mirror(opened, tmp_path / f"mirror-{login}")
    lose_database(home)
    refused(home, tmp_path / "old", tmp_path / "mirror-fay")
    assert restore(home, mirror=TileDirectory(tmp_path / "mirror-eve")).behind == 0


async def test_a_mirror_without_its_documents_is_refused(
    home: Path, old: Path, tmp_path: Path
) -> None:
    lacking = shutil.copytree(tmp_path / "mirror", tmp_path / "lacking")
    shutil.rmtree(lacking / "documents")
    with pytest.raises(LogInvalid, match="nobody gave the document"):
        restore(home, mirror=TileDirectory(lacking))
    assert names_in(home / "data") == {"muniment.lock"}
    # the old backup has them all: what came since names no others
    assert restore(home, backup=old, mirror=TileDirectory(lacking)).behind == 0


# --- the erasure ledger -----------------------------------------------------------------------


async def test_without_its_ledger_nothing_is_served(home: Path) -> None:
    (home / "head" / "erasures").unlink()
    with pytest.raises(LogInvalid, match=r"the erasure ledger .* is missing: put it back"):
        open_service(home)


async def test_an_old_copy_with_its_own_old_head_is_betrayed_by_the_ledger(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home, tmp_path / "copy")
    async with serving(home) as opened:
        await erase(opened, "ana")
    ledger = (home / "head" / "erasures").read_bytes()
    lose_database(home)
    shutil.rmtree(home / "head")
    for name in ("data", "head"):
        shutil.copytree(tmp_path / "copy" / name, home / name, dirs_exist_ok=True)
    (home / "head" / "erasures").write_bytes(ledger)
    with pytest.raises(LogInvalid, match="this is an older copy of the log"):
        open_service(home)


async def test_a_ledger_that_was_put_back_too_is_filled_from_the_log(home: Path) -> None:
    before = (home / "head" / "erasures").read_bytes()
    async with serving(home) as opened:
        await erase(opened, "ana")
    after = (home / "head" / "erasures").read_bytes()
    (home / "head" / "erasures").write_bytes(before)
    async with serving(home):
        pass
    assert (home / "head" / "erasures").read_bytes() == after != before


async def test_a_new_log_has_an_empty_ledger_for_its_owner_only(home: Path) -> None:
    ledger = home / "head" / "erasures"
    assert ledger.read_bytes() == b""
    assert ledger.stat().st_mode & 0o077 == 0


# --- faults -----------------------------------------------------------------------------------


class Breaking:
    """The disk fails at the nth time that something is synced or renamed, and works again then."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self._left = at
        for owner, name in ((os, "fsync"), (Path, "rename")):
            patch.setattr(owner, name, self._breaking(getattr(owner, name)))

    @property
    def broke(self) -> bool:
        return self._left <= 0

    def _breaking(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise OSError(errno.EIO, "Input/output error", "a file")
            return call(*arguments)

        return broken


async def test_a_restore_that_breaks_anywhere_can_be_made_again(
    home: Path, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, 200):
        folder = tmp_path / f"new-{at}"
        put_back_by_hand(home, folder)
        given = {"backup": old, "mirror": TileDirectory(tmp_path / "mirror")}
        with monkeypatch.context() as patch:
            disk = Breaking(patch, at)
            try:
                restore(folder, **given)  # type: ignore[arg-type]
            except LogUnavailable:
                assert disk.broke
        database = folder / "data" / "muniment.db"
        if not disk.broke:
            break
        if not database.exists():
            restore(folder, **given)  # type: ignore[arg-type]
        # what has its place is whole, also where the restore broke just after
        assert restore(folder, mirror=TileDirectory(tmp_path / "mirror")).behind == 0
    assert at > 20


async def test_a_backup_that_breaks_anywhere_leaves_nothing_or_all(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, 200):
        target = tmp_path / "copies" / f"copy-{at}"
        target.parent.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            disk = Breaking(patch, at)
            try:
                make_backup(home, target)
            except LogUnavailable:
                assert disk.broke
        if not disk.broke:
            break
        if target.exists():
            restore(tmp_path / f"new-{at}", backup=target)
        assert names_in(target.parent) <= {target.name}
        shutil.rmtree(target, ignore_errors=True)
    assert at > 15


@pytest.mark.parametrize("place", ["../home/.ssh/authorized_keys", "{home}/.ssh/authorized_keys"])
def test_a_backup_writes_nowhere_but_into_the_folder(place: str, tmp_path: Path) -> None:
    """Its settings say where its files go, and nobody signed those."""
    here, backup = tmp_path / "here", tmp_path / "bk"
    here.mkdir()
    make_installation(here)
    make_backup(here, backup)
    text = (backup / "muniment.toml").read_text()
    where = place.format(home=tmp_path / "home")
    forged = {
        "muniment.toml": text.replace("[paths]\n", f'[paths]\ntokens = "{where}"\n', 1)
        if "[paths]\n" in text
        else f'{text}\n[paths]\ntokens = "{where}"\n',
        "tokens.toml": "ssh-ed25519 AAAA attacker\n",
    }
    manifest = read_manifest(backup)
    files = dict(manifest.files)
    for name, content in forged.items():
        (backup / name).write_text(content)
        files[name] = sha256(content.encode()).digest()
    (backup / MANIFEST).write_bytes(replace(manifest, files=files).encode())
    with pytest.raises(MunimentError, match="outside"):
        restore(tmp_path / "there", backup=backup)
    assert not (tmp_path / "home").exists()


# --- events --------------------------------------------------------------------------------------


async def test_what_sources_said_comes_back_with_the_log(home: Path, tmp_path: Path) -> None:
    with (home / "muniment.toml").open("a") as toml:
        toml.write('[sources.builds]\nkind = "push"\nreader = "deployments"\n')
    said = json.dumps({"id": "7", "service": "orders", "at": "2026-11-22T10:00:00Z"}).encode()
    async with serving(home) as opened:
        await observe.take(opened.service, "builds", [said])
        await observe.seal(opened.service)
        make_backup(home, tmp_path / "backup")
        await observe.take(opened.service, "builds", [said])
    elsewhere = tmp_path / "elsewhere"
    restore(elsewhere, backup=tmp_path / "backup")
    shutil.copytree(home / "keys", elsewhere / "keys", dirs_exist_ok=True)
    shutil.copytree(home / "head", elsewhere / "head", dirs_exist_ok=True)
    store = SQLiteEventStore(elsewhere / "data/events.db")
    with closing(store):
        raw = store.raw("builds", 0)
        assert raw is not None
        assert (raw.raw, store.state("builds").sealed) == (said, 1)
        assert store.raw("builds", 1) is None  # it came after the copy


async def test_lost_events_are_put_back_and_those_that_are_there_stay(
    home: Path, tmp_path: Path
) -> None:
    with (home / "muniment.toml").open("a") as toml:
        toml.write('[sources.builds]\nkind = "push"\nreader = "deployments"\n')
    async with serving(home) as opened:
        await observe.take(opened.service, "builds", [b"{}"])
    make_backup(home, tmp_path / "backup")
    for ending in ("", "-wal", "-shm"):
        (home / f"data/events.db{ending}").unlink(missing_ok=True)
        (home / f"data/muniment.db{ending}").unlink(missing_ok=True)
    restore(home, backup=tmp_path / "backup")
    assert (home / "data/events.db").exists()
