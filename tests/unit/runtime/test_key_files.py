"""The folder of signing keys, and a rotation as the files propose it and the log decides it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from folders import TOML, install, make_installation

from muniment.access import records
from muniment.errors import ConfigInvalid, Conflict, LogUnavailable
from muniment.evidence.note import SigningKey, VerifierKey, parse_note
from muniment.operations.heartbeat import beat
from muniment.operations.take_in import Change, ProposedRetirement, differences, take_in
from muniment.runtime import clock
from muniment.runtime.backup import make_backup
from muniment.runtime.key_files import KeyFolder
from muniment.runtime.restore import restore
from muniment.runtime.wiring import Opened, open_service, reload, settle_keys
from muniment.testing.fake_target import FakeTarget

ORIGIN = "muniment.example/runtime"


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    target = FakeTarget(clock.now, endpoints=("fake",))
    install(monkeypatch, target)
    return target


async def start(folder: Path) -> Opened:
    opened = open_service(folder)
    await take_in(opened.service, opened.proposed, records.SERVICE)
    settle_keys(opened.service.log, opened.keys, opened.remote)
    return opened


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = await start(make_installation(tmp_path))
    yield opened
    await opened.close()


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys" / "log.key", ORIGIN)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "keys").iterdir())


def lines(opened: Opened) -> int:
    return len(parse_note(opened.service.log.checkpoint)[1])


def retirement(key: SigningKey, **more: Any) -> ProposedRetirement:
    return ProposedRetirement(key=key.verifier, **{"reason": "rotated", **more})


async def change_something(opened: Opened, folder: Path) -> None:
    toml = folder / "muniment.toml"
    toml.write_text(toml.read_text().replace('mail = "', 'mail = "x'))
    assert await reload(opened, folder, records.SERVICE)


# --- a rotation -----------------------------------------------------------------------------------


async def test_a_rotation_with_overlap_by_reloads(
    opened: Opened, tmp_path: Path, keys: KeyFolder
) -> None:
    log, first = opened.service.log, opened.service.log.verifier
    path, second = keys.add()
    assert path.name == "log-2.key"
    assert path.stat().st_mode & 0o777 == 0o600
    id_ = second.verifier.key_id.hex()
    assert await reload(opened, tmp_path, records.SERVICE) == [f"+ signing key {id_}"]
    assert await reload(opened, tmp_path, records.SERVICE) == []
    assert lines(opened) == 2
    assert log.verifier == first

    keys.retire(ProposedRetirement(key=first, reason="rotated"))
    gone = f"- signing key {first.key_id.hex()} (rotated)"
    assert [each.text for each in _differences(tmp_path)] == [gone]
    assert await reload(opened, tmp_path, records.SERVICE) == [gone]
    assert lines(opened) == 2
    assert await reload(opened, tmp_path, records.SERVICE) == []
    await change_something(opened, tmp_path)
    assert lines(opened) == 1
    assert log.verifier == second.verifier
    assert "log.key.retired" in names(tmp_path)
    assert "log.key" not in names(tmp_path)
    assert VerifierKey.parse((tmp_path / "keys" / "log.vkey").read_text().strip()) == log.verifier


def _differences(folder: Path) -> list[Change]:
    beside = open_service(folder, looking=True)
    try:
        return list(differences(beside.service, beside.proposed, records.SERVICE))
    finally:
        beside.service.log.close()
        beside.stores.close()


async def test_a_backup_after_a_rotation_is_held_against_the_key_that_signs(
    opened: Opened, tmp_path: Path, keys: KeyFolder
) -> None:
    keys.add()
    await reload(opened, tmp_path, records.SERVICE)
    keys.retire(ProposedRetirement(key=opened.service.log.verifier, reason="rotated"))
    await reload(opened, tmp_path, records.SERVICE)
    await beat(opened.service)
    made = make_backup(tmp_path, tmp_path / "backup")
    assert made.size == opened.service.log.size
    restored = restore(tmp_path / "elsewhere", backup=tmp_path / "backup")
    assert restored.size == made.size
    assert [path.name for path in restored.missing] == ["log.key", "erasures"]
    (tmp_path / "keys" / "log-2.key").rename(tmp_path / "elsewhere" / "keys" / "log-2.key")
    assert KeyFolder(restored.missing[0], ORIGIN).has_keys()


async def test_a_rotation_by_restarts(tmp_path: Path, keys: KeyFolder) -> None:
    opened = await start(make_installation(tmp_path))
    first = opened.service.log.verifier
    sealed = opened.service.sealing_key
    await opened.close()
    keys.add()
    keys.retire(ProposedRetirement(key=first, reason="rotated"))
    opened = await start(tmp_path)  # both at once: there is no overlap, and nothing breaks
    assert lines(opened) == 2
    await opened.close()
    opened = await start(tmp_path)
    assert opened.service.sealing_key == sealed
    await change_something(opened, tmp_path)
    assert lines(opened) == 1
    await opened.close()


async def test_a_crash_before_the_file_was_set_aside_is_made_good_by_the_next_start(
    tmp_path: Path, keys: KeyFolder
) -> None:
    opened = await start(make_installation(tmp_path))
    first = opened.service.log.verifier
    keys.add()
    await reload(opened, tmp_path, records.SERVICE)
    keys.retire(ProposedRetirement(key=first, reason="rotated"))
    proposed = opened.proposed

    await take_in(opened.service, replace(proposed, retired=keys.retirements()), records.SERVICE)
    await opened.close()
    assert "log.key" in names(tmp_path)
    opened = open_service(tmp_path)
    assert "log.key" not in names(tmp_path)
    await take_in(opened.service, opened.proposed, records.SERVICE)
    await opened.close()


async def test_a_retired_key_that_is_put_back_is_refused(
    opened: Opened, tmp_path: Path, keys: KeyFolder
) -> None:
    first = opened.service.log.verifier
    keys.add()
    await reload(opened, tmp_path, records.SERVICE)
    keys.retire(ProposedRetirement(key=first, reason="rotated"))
    await reload(opened, tmp_path, records.SERVICE)
    (tmp_path / "keys" / "log.key.retired").rename(tmp_path / "keys" / "log.key")
    (tmp_path / "keys" / "retired.toml").unlink()
    with pytest.raises(ConfigInvalid, match="signs never again: put its file away"):
        await reload(opened, tmp_path, records.SERVICE)
    await change_something_else(opened)
    assert lines(opened) == 1


async def change_something_else(opened: Opened) -> None:

    await beat(opened.service)


async def test_the_only_key_is_not_retired(opened: Opened, tmp_path: Path, keys: KeyFolder) -> None:
    keys.retire(ProposedRetirement(key=opened.service.log.verifier, reason="rotated"))
    with pytest.raises(ConfigInvalid, match="is the only key that signs"):
        await reload(opened, tmp_path, records.SERVICE)
    await change_something_else(opened)


async def test_a_key_that_has_to_sign_and_is_gone_is_missed(
    opened: Opened, tmp_path: Path, keys: KeyFolder
) -> None:
    path, second = keys.add()
    await reload(opened, tmp_path, records.SERVICE)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigInvalid, match="is not here: put its file back"):
        await reload(opened, tmp_path, records.SERVICE)
    await change_something_else(opened)  # it is still in memory
    keys.retire(retirement(second, reason="compromised", since=3))
    assert await reload(opened, tmp_path, records.SERVICE) == [
        f"- signing key {second.verifier.key_id.hex()} (compromised)"
    ]
    known = opened.service.log.keys.of(second.verifier)
    assert known is not None
    assert known.since == 3


async def test_a_key_that_was_retired_before_it_was_ever_taken_in_never_signs(
    opened: Opened, tmp_path: Path, keys: KeyFolder
) -> None:
    _, second = keys.add()
    keys.retire(retirement(second))
    assert await reload(opened, tmp_path, records.SERVICE) == []
    await change_something_else(opened)
    assert lines(opened) == 1


# --- its files ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    (tmp_path / "keys").mkdir()
    return KeyFolder(tmp_path / "keys" / "log.key", ORIGIN)


def test_a_place_is_never_taken_twice(folder: KeyFolder) -> None:
    paths = [folder.add()[0] for _ in range(2)]
    assert [path.name for path in paths] == ["log-2.key", "log-3.key"]
    folder.set_aside(paths[0])
    assert folder.add()[0].name == "log-4.key"
    left = folder.keys()
    assert [path.name for path in left] == ["log-3.key", "log-4.key"]


def test_what_was_asked_for_once_stays_as_it_was(folder: KeyFolder) -> None:
    one, two = SigningKey.generate(ORIGIN), SigningKey.generate(ORIGIN)
    folder.retire(retirement(one, reason="compromised", since=7))
    folder.retire(retirement(one))
    folder.retire(retirement(two))
    assert folder.retirements() == (
        retirement(one, reason="compromised", since=7),
        retirement(two),
    )


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        '["no key"]\nreason = "rotated"',
        "[\n",
        f'["{SigningKey.generate(ORIGIN).verifier.vkey}"]\nreason = "bored"',
        f'["{SigningKey.generate(ORIGIN).verifier.vkey}"]\nreason = "rotated"\nsince = 3',
        f'["{SigningKey.generate(ORIGIN).verifier.vkey}"]\nreason = "compromised"\nmore = 3',
    ],
    ids=range(6),
)
def test_a_file_of_retirements_that_does_not_hold_is_refused(folder: KeyFolder, text: str) -> None:
    (folder.path / "retired.toml").write_text(text)
    with pytest.raises(ConfigInvalid):
        folder.retirements()


def test_a_key_is_not_set_aside_over_another(folder: KeyFolder) -> None:
    path, _ = folder.add()
    path.with_name(path.name + ".retired").write_text("another")
    with pytest.raises(Conflict):
        folder.set_aside(path)


def test_the_secret_that_seals_outlives_the_key_that_it_came_from(folder: KeyFolder) -> None:
    key = SigningKey.generate(ORIGIN)
    folder.first.write_text(key.skey)
    folder.first.chmod(0o600)
    assert folder.sealing() == key.derive("sealing")
    folder.set_aside(folder.first)
    assert folder.sealing() == key.derive("sealing")
    assert (folder.path / "sealing.key").stat().st_mode & 0o777 == 0o600
    folder.new_sealing()
    assert folder.sealing() != key.derive("sealing")
    (folder.path / "sealing.key").chmod(0o644)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        folder.sealing()
    (folder.path / "sealing.key").chmod(0o600)
    (folder.path / "sealing.key").write_text("zz")
    with pytest.raises(ConfigInvalid, match="32 bytes in hex"):
        folder.sealing()


def test_without_any_key_file_the_secret_that_seals_is_random(folder: KeyFolder) -> None:
    assert folder.sealing() == folder.sealing()
    assert len(folder.sealing()) == 32


# --- a key in another process ---------------------------------------------------------------------


async def test_a_service_starts_while_its_signer_is_down(tmp_path: Path) -> None:
    make_installation(tmp_path)
    remote = SigningKey.generate(ORIGIN).verifier
    section = f'[signer]\nsocket = "run/socket"\nkey = "{remote.vkey}"\n'
    (tmp_path / "muniment.toml").write_text(section + TOML)
    opened = open_service(tmp_path)

    with pytest.raises(LogUnavailable, match=r"the signer of .* does not sign: No such file"):
        await take_in(opened.service, opened.proposed, records.SERVICE)
    await opened.close()


def test_a_signer_of_another_log_is_refused(tmp_path: Path) -> None:
    make_installation(tmp_path)
    remote = SigningKey.generate("other.example/log").verifier
    section = f'[signer]\nsocket = "run/socket"\nkey = "{remote.vkey}"\n'
    (tmp_path / "muniment.toml").write_text(section + TOML)
    with pytest.raises(ConfigInvalid, match="keys of one name"):
        open_service(tmp_path)


@pytest.mark.parametrize("key", ["", "no key", "example.com+00000000+AA=="])
def test_a_signer_needs_the_public_key_of_a_log(tmp_path: Path, key: str) -> None:
    make_installation(tmp_path)
    section = f'[signer]\nsocket = "run/socket"\nkey = "{key}"\n'
    (tmp_path / "muniment.toml").write_text(section + TOML)
    with pytest.raises(ConfigInvalid, match=r"signer\.key"):
        open_service(tmp_path)
