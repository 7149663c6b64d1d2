"""From a folder of files to a service on an open log; and what does not open, with the reason."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from folders import TOML, install, make_folder, make_installation

from muniment.access import records
from muniment.errors import ConfigInvalid, Conflict, LogInvalid, LogUnavailable, PolicyInvalid
from muniment.operations.take_in import take_in
from muniment.runtime import clock
from muniment.runtime.files import read_policy, read_proposed
from muniment.runtime.key_files import read_key
from muniment.runtime.wiring import Opened, hold_back, open_service, reload
from muniment.testing.fake_target import FakeTarget


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    target = FakeTarget(clock.now, endpoints=("fake",))
    install(monkeypatch, target)
    return target


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = open_service(make_installation(tmp_path))
    await take_in(opened.service, opened.proposed, records.SERVICE)
    yield opened
    await opened.close()


def rewrite(folder: Path, old: str, new: str) -> None:
    toml = folder / "muniment.toml"
    assert old in toml.read_text()
    toml.write_text(toml.read_text().replace(old, new))


async def test_what_the_files_say_is_known_once_it_is_taken_in(opened: Opened) -> None:
    names = opened.service.names
    assert set(names) == {"admin", "ana", "cy", "ci", "robo"}
    registry = opened.service.registry
    robo = registry.principals[names["robo"]]
    assert (robo.type, robo.sponsor) == ("agent", names["ana"])
    assert registry.role("db", "readwrite") is not None


async def test_nothing_personal_stands_in_the_configuration(opened: Opened) -> None:
    in_force = opened.service.registry.configuration
    assert in_force is not None
    document = opened.service.document(in_force.digest)
    assert b"ana" not in document
    assert b"readwrite" in document


async def test_files_that_did_not_change_change_nothing(opened: Opened, tmp_path: Path) -> None:
    assert await reload(opened, tmp_path, records.SERVICE) == []


async def test_a_changed_file_is_in_force_after_a_reload(opened: Opened, tmp_path: Path) -> None:
    rewrite(tmp_path, '"engineering", "sre-leads"', '"sre-leads"')
    assert await reload(opened, tmp_path, records.SERVICE) == ["~ human cy"]
    assert opened.service.registry.principals[opened.service.names["cy"]].groups == {"sre-leads"}


async def test_limits_are_in_force_after_a_reload(opened: Opened, tmp_path: Path) -> None:
    rewrite(tmp_path, "[people.admin]", "[limits]\nasks_per_minute = 3\n[people.admin]")
    assert await reload(opened, tmp_path, records.SERVICE) == ["~ configuration"]
    assert opened.service.limits.asks_per_minute == 3


async def test_an_invalid_file_leaves_the_old_state(opened: Opened, tmp_path: Path) -> None:
    connectors, size = opened.service.connectors, opened.service.log.size
    rewrite(tmp_path, 'sponsor = "ana"', 'sponsor = "nobody"')
    with pytest.raises(ConfigInvalid, match="names `nobody`"):
        await reload(opened, tmp_path, records.SERVICE)
    assert opened.service.connectors is connectors
    assert opened.service.log.size == size


async def test_a_policy_that_does_not_load_leaves_the_old_state(
    opened: Opened, tmp_path: Path
) -> None:
    connectors = opened.service.connectors
    (tmp_path / "policy" / "policies" / "99.cedar").write_text("permit (whoever);")
    with pytest.raises(PolicyInvalid):
        await reload(opened, tmp_path, records.SERVICE)
    assert opened.service.connectors is connectors


async def test_an_installation_does_not_change_its_name(opened: Opened, tmp_path: Path) -> None:
    rewrite(tmp_path, "muniment.example/runtime", "muniment.example/other")
    with pytest.raises(ConfigInvalid):
        await reload(opened, tmp_path, records.SERVICE)


async def test_a_second_service_on_one_folder_is_refused(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="another `muniment serve`"):
        open_service(tmp_path)
    assert not opened.service.log.trouble


async def test_one_may_look_beside_a_running_service(opened: Opened, tmp_path: Path) -> None:
    beside = open_service(tmp_path, looking=True)
    assert beside.service.log.size == opened.service.log.size
    assert beside.service.names == opened.service.names
    await beside.close()


async def test_a_stopped_service_opens_again(tmp_path: Path) -> None:
    folder = make_installation(tmp_path)
    for _ in range(2):
        opened = open_service(folder)
        await take_in(opened.service, opened.proposed, records.SERVICE)
        await opened.close()


# --- what does not open -----------------------------------------------------------------------


PROVIDER = """
[providers.corp]
kind = "people"
issuer = "https://id.example.com"
audience = "muniment"
enrol = true
[limits]
asks_per_minute = 1000
[people.admin]"""


async def opened_anew(folder: Path, opened: Opened) -> Opened:
    await opened.close()
    return open_service(folder)


async def test_what_refused_files_alone_say_is_not_in_force(tmp_path: Path) -> None:
    """Else whoever breaks a rule on purpose could have his provider believed, on no record."""
    opened = open_service(make_installation(tmp_path))
    await take_in(opened.service, opened.proposed, records.SERVICE)
    rewrite(tmp_path, "[people.admin]", PROVIDER.lstrip())
    (tmp_path / "policy" / "policies" / "broken.cedar").write_text("permit (nonsense")
    opened = await opened_anew(tmp_path, opened)
    try:
        with pytest.raises(PolicyInvalid):
            await take_in(opened.service, opened.proposed, records.SERVICE)
        assert list(opened.service.providers.rules) == ["corp"]
        hold_back(opened)
        assert opened.service.providers.rules == {}
        assert opened.sign_ins == {}
        assert opened.service.limits.asks_per_minute == 60
    finally:
        await opened.close()


async def test_where_only_the_policy_is_refused_the_settings_stay(tmp_path: Path) -> None:
    rewritten = make_installation(tmp_path)
    rewrite(rewritten, "[people.admin]", PROVIDER.lstrip())
    opened = open_service(tmp_path)
    await take_in(opened.service, opened.proposed, records.SERVICE)
    (tmp_path / "policy" / "policies" / "broken.cedar").write_text("permit (nonsense")
    opened = await opened_anew(tmp_path, opened)
    try:
        hold_back(opened)
        assert list(opened.service.providers.rules) == ["corp"]
    finally:
        await opened.close()


async def test_a_log_that_was_contradicted_signs_nothing_until_somebody_has_looked(
    tmp_path: Path,
) -> None:
    opened = open_service(make_installation(tmp_path))
    assert opened.service.halted is not None
    opened.service.halted.keep("the witness `w` remembers another history", b"a note\n")
    opened = await opened_anew(tmp_path, opened)
    try:
        assert "the witness `w` remembers another history" in (opened.service.log.trouble or "")
        with pytest.raises(LogUnavailable):
            await take_in(opened.service, opened.proposed, records.SERVICE)
    finally:
        await opened.close()
    (tmp_path / "head" / "contradicted").unlink()
    opened = open_service(tmp_path)
    assert opened.service.log.trouble is None
    await opened.close()


def test_a_folder_without_a_log_says_how_to_make_one(tmp_path: Path) -> None:
    make_installation(tmp_path)
    (tmp_path / "data" / "muniment.db").unlink()
    with pytest.raises(ConfigInvalid, match="`muniment init` makes one"):
        open_service(tmp_path)


def test_a_database_that_was_put_back_is_refused(tmp_path: Path) -> None:
    make_installation(tmp_path)
    (tmp_path / "head" / "head").unlink()
    with pytest.raises(LogInvalid, match="head store is empty"):
        open_service(tmp_path)


def test_a_log_is_not_made_twice(tmp_path: Path) -> None:
    make_installation(tmp_path)
    with pytest.raises(FileExistsError):
        make_installation(tmp_path)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make_installation(tmp_path)
    key = tmp_path / "keys" / "log.key"
    assert key.stat().st_mode & 0o077 == 0
    key.chmod(0o640)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        read_key(key, "muniment.example/runtime")


@pytest.mark.parametrize("text", ["", "not a key", "PRIVATE+KEY+x"])
def test_a_file_without_a_key_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    key = tmp_path / "key"
    key.write_text(text)
    key.chmod(0o600)
    with pytest.raises(ConfigInvalid, match="holds no signing key"):
        read_key(key, "muniment.example/runtime")
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_key(tmp_path / "nothing", "muniment.example/runtime")


def test_the_key_of_another_log_is_refused(tmp_path: Path) -> None:
    make_installation(tmp_path)
    with pytest.raises(ConfigInvalid, match=r"is of `muniment\.example/runtime`"):
        read_key(tmp_path / "keys" / "log.key", "muniment.example/other")


def test_a_folder_without_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no policy"):
        read_policy(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('connector = "fake"', 'connector = "oracle"', "there is no connector `oracle`; installed"),
        ('grants = ["app_rw"]', "grants = []", "`grants` is missing"),
        ('grants = ["app_rw"]', 'grant = ["app_rw"]', "unknown option `grant`"),
        ('tier = "staging"', 'tier = "staging"\nport = 1', "unknown option `port`"),
    ],
)
def test_a_connector_says_what_is_wrong_with_its_part(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    make_folder(tmp_path, TOML.replace(old, new))
    with pytest.raises(ConfigInvalid, match=words):
        read_proposed(tmp_path)


@pytest.mark.parametrize(
    "text", ["[", "a = 1", "[abc]\nfor = 'ana'", f"[{'a' * 64}]\nexpires = 'never'", "['ab']"]
)
def test_a_damaged_file_of_tokens_says_what_writes_it(tmp_path: Path, text: str) -> None:
    make_folder(tmp_path)
    (tmp_path / "tokens.toml").write_text(text)
    with pytest.raises(ConfigInvalid, match="`muniment token create` writes it"):
        read_proposed(tmp_path)


def test_tokens_are_read_with_their_ends(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "tokens.toml").write_text(
        f"[{'ab' * 32}]\nfor = 'ana'\nexpires = 2026-12-01T00:00:00+01:00\nlabel = 'laptop'\n"
    )
    _, proposed = read_proposed(tmp_path)
    (token,) = proposed.tokens
    assert (token.login, token.label) == ("ana", "laptop")
    assert token.expires == datetime(2026, 11, 30, 23, 0, tzinfo=UTC)


def test_the_two_clocks_go_on() -> None:
    assert clock.now().tzinfo is UTC
    assert clock.elapsed() <= clock.elapsed()
