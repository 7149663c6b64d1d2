"""`muniment.toml`: what is wrong is said with what to write instead, and secrets are not repeated."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from folders import TOML

from muniment.errors import ConfigInvalid
from muniment.runtime.settings import Calendar, Settings, read_secret, read_settings


def settings(folder: Path, *more: str, toml: str = TOML) -> Settings:
    (folder / "muniment.toml").write_text("\n".join([toml, *more]))
    return read_settings(folder)


def trouble(folder: Path, *more: str, toml: str = TOML) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        settings(folder, *more, toml=toml)
    return str(caught.value)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    read = settings(tmp_path)
    assert read.limits.approval_window == timedelta(hours=8)
    assert read.installation.prefix == "mun"
    assert read.people["ana"].active
    assert read.resources["db"].options == {}


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ("[limits]\napproval_windows = '1h'", "did you mean `approval_window`?"),
        ("[peolpe.zoe]\ngroups = []", "did you mean `people`?"),
        ("[people.zoe]\ngroup = []", "did you mean `groups`?"),
        (
            "[agents.zoe]\nsponsor = 'ana'\nnonsense = 1",
            "there are: sponsor, groups, active, identities",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(tmp_path: Path, more: str, hint: str) -> None:
    said = trouble(tmp_path, more)
    assert "is no setting" in said
    assert hint in said


def test_each_trouble_has_a_line_of_its_own(tmp_path: Path) -> None:
    said = trouble(tmp_path, "[limits]\nasks_per_minute = 0\norder_timeout = 'soon'")
    assert len(said.splitlines()) == 2
    assert "`limits.asks_per_minute`" in said
    assert "write for example 30m" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[log]\nreserve = 'much'", "write for example `64MiB`"),
        ("[calendar]\ntimezone = 'Europe/Nowhere'", "no time zone `Europe/Nowhere`"),
        ("[people.'Not A Login']", "people"),
        ("[agents.zoe]\nsponsor = 'nobody'", "`agents.zoe.sponsor` names `nobody`"),
        ("[workloads.cd]\nowner = 'robo'", "`workloads.cd.owner` names `robo`"),
        ("[people.ana2]\nperson = 'zoe'", "`people.ana2.person` names `zoe`"),
        ("[agents.ana]\nsponsor = 'cy'", "share one set of names"),
        ("[server]\ntls_key = 'k.pem'", "go together"),
        ("[resources.x]\nconnector = 'fake'\ntier = 'big'\nenvironment = 'e'\nroles = {}", "tier"),
    ],
)
def test_a_wrong_value_says_what_to_write(tmp_path: Path, more: str, words: str) -> None:
    assert words in trouble(tmp_path, more)


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="`muniment init` makes one"):
        read_settings(tmp_path)


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    assert "is not TOML" in trouble(tmp_path, toml="[installation")


def test_sizes_and_lengths_are_read_as_people_write_them(tmp_path: Path) -> None:
    read = settings(tmp_path, "[log]\nreserve = '2 GiB'\nheartbeat = '90m'")
    assert read.log.reserve == 2 << 30
    assert read.log.heartbeat == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        (datetime(2026, 11, 20, 6, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 7, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 20, 16, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 20, 17, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 21, 10, 0, tzinfo=UTC), False),  # Saturday
    ],
)
def test_business_hours_are_local(at: datetime, open_: bool) -> None:
    calendar = Calendar(timezone="Europe/Berlin", hours=(time(8), time(18)))
    assert calendar.open_at(at) is open_


# --- secrets ----------------------------------------------------------------------------------


def test_a_secret_is_read_from_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "from the environment")
    (tmp_path / "pw").write_text("from a file\n")
    assert read_secret("env:DB_PASSWORD", "here", tmp_path).reveal() == "from the environment"
    assert read_secret("file:pw", "here", tmp_path).reveal() == "from a file"


@pytest.mark.parametrize(
    "value", ["hunter2", "hunter2:x", "env:", "file:", ":hunter2", 42, None, ["hunter2"]]
)
def test_what_is_no_reference_may_be_the_secret_and_is_not_repeated(
    tmp_path: Path, value: object
) -> None:
    with pytest.raises(ConfigInvalid, match="write a reference") as caught:
        read_secret(value, "resources.db.password", tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "42" not in str(caught.value)


def test_a_reference_to_nothing_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no variable `NOT_THERE`"):
        read_secret("env:NOT_THERE", "here", tmp_path)
    with pytest.raises(ConfigInvalid, match="not-there"):
        read_secret("file:not-there", "here", tmp_path)


def test_a_secret_shows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    secret = read_secret("env:DB_PASSWORD", "here", tmp_path)
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
