"""An archive on disk: whole, checked by a bare Python, restartable, and caught when altered."""

import csv
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bare_python import BarePython
from little_history import Desk, History, cast_with_security, live
from scenario_api import ScenarioApi

from muniment.errors import Conflict, Malformed, NotFound, Unavailable
from muniment.evidence.verdict import NOBODY
from muniment.interfaces.cli.archive import TAKING
from muniment.interfaces.cli.period import whole_days
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import folder_check
from muniment.operations import archive as archive_operation
from muniment.operations.open_campaign import open_campaign
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

REVIEW: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "service").mkdir()
    async with cast_with_security(Scenario(tmp_path / "service", checking=False)) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("ana", "dan", "aud", "pia")
        yield Desk(scenario, api, tmp_path)


@pytest.fixture
async def history(desk: Desk) -> History:
    return await live(desk.scenario)


def bare(desk: Desk, archive: Path) -> BarePython:
    (desk.folder / "bare").mkdir(exist_ok=True)
    shutil.rmtree(desk.folder / "bare")
    (desk.folder / "bare").mkdir()
    return BarePython(desk.folder / "bare", archive / "muniment-verify.pyz")


def check(desk: Desk, archive: Path, *more: str) -> subprocess.CompletedProcess[str]:
    key = desk.scenario.key.verifier.vkey
    return bare(desk, archive).run("verify", str(archive), "--log-key", key, *more)


def coreutils(archive: Path) -> str:
    """What `sha256sum` finds wrong."""
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"],
        cwd=archive,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


async def test_a_bare_python_checks_the_whole_archive(desk: Desk, history: History) -> None:
    _, opened = await desk.take("aud")
    assert (opened.record.cases, opened.record.beyond) == (8, 0)
    archive = desk.folder / "archive"
    done = check(desk, archive)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "THE ARCHIVE HOLDS: 8 cases (8 UNANCHORED)" in done.stdout
    assert "✗" not in done.stdout
    assert "·" not in done.stdout
    assert f"cases/{history.granted}.json" in (archive / "SHA256SUMS").read_text()
    assert coreutils(archive) == ""
    assert not (archive / TAKING).exists()
    assert {path.stat().st_mode & 0o077 for path in archive.rglob("*")} == {0}


def with_sums(archive: Path) -> None:
    """Whoever alters a file alters the list of digests, too."""
    digests = {
        path: places.digest_in(archive, path)
        for path in places.paths_in(archive)
        if path != places.SUMS
    }
    (archive / places.SUMS).write_bytes(places.sums(digests))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


async def test_every_change_of_an_archive_is_found_though_its_sums_were_made_again(
    desk: Desk, history: History
) -> None:
    await desk.take("aud")
    good = desk.folder / "archive"
    case, other = history.granted, history.denied

    def changes(archive: Path) -> dict[str, Callable[[], object]]:
        (policy,) = (archive / f"policy/{history.first_policy[:16]}").rglob("30-require.cedar")
        return {
            "3 is not here": (archive / f"cases/{case}.json").unlink,
            "3 another case": lambda: shutil.copy(
                archive / f"cases/{case}.json", archive / f"cases/{other}.json"
            ),
            "3 INVALID": lambda: rewrite(
                archive / f"cases/{case}.json", "orders-prod", "orders-dead"
            ),
            "4 ": lambda: rewrite(archive / f"events/{case}.json", '"number":1', '"number":7'),
            "5 ": lambda: (archive / places.EXCERPT).write_bytes(
                (archive / places.EXCERPT).read_bytes()[:-20]
            ),
            "6 not what the bundles say": lambda: rewrite(policy, "permit", "forbid"),
            "6 of no record": lambda: (archive / "keys/mine.vkey").write_text("key"),
            "7 not what the bundles say": lambda: rewrite(
                archive / f"pages/{case}.html", ">ana<", ">bo<"
            ),
            "7 no page of this archive": partial((archive / "pages/extra.html").write_text, "<p>"),
            "7 `cases.csv`": lambda: rewrite(archive / "cases.csv", "denied", "expired"),
            "7 `index.html`": lambda: rewrite(archive / "index.html", "<h1>", "<h1>All is well "),
        }

    for name in changes(good):
        archive = desk.folder / "altered"
        shutil.rmtree(archive, ignore_errors=True)
        shutil.copytree(good, archive)
        changes(archive)[name]()
        assert coreutils(archive) != "" or "no page" in name or "no record" in name
        with_sums(archive)
        found = folder_check.check(archive, desk.scenario.key.verifier, NOBODY)
        step, _, words = name.partition(" ")
        assert not found.holds, name
        assert [each for each in found.wrong[int(step)] if words in each], (name, found.wrong)
        assert not found.wrong[1]


async def test_what_changed_since_it_was_written_shows_without_any_key(
    desk: Desk, history: History
) -> None:
    await desk.take("aud")
    archive = desk.folder / "archive"
    rewrite(archive / "README.txt", "cryptography", "anything")
    (archive / "extra").write_text("")
    (archive / "index.html").unlink()
    done = check(desk, archive)
    assert done.returncode == 1
    for wrong in ("`README.txt` was changed", "`extra` is here and in no list",
                  "`index.html` is not here", "THE ARCHIVE DOES NOT HOLD"):  # fmt: skip
        assert wrong in done.stdout
    assert history.granted not in done.stdout


async def test_a_case_that_was_left_out_of_the_list_shows_in_the_log(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that hides a case can leave it out of its list, and not out of its log."""
    rows = archive_operation._rows
    monkeypatch.setattr(
        archive_operation,
        "_rows",
        lambda *asked: (row for row in rows(*asked) if row.case != history.revoked),
    )
    _, opened = await desk.take("aud")
    assert opened.record.cases == 7
    done = check(desk, desk.folder / "archive")
    assert done.returncode == 1
    assert "1 cases of the period are not in the list, and the record says 0" in done.stdout


async def test_a_run_that_was_broken_off_goes_on_where_it_was(desk: Desk, history: History) -> None:
    desk.transport.breaks_at = 5
    with pytest.raises(Unavailable):
        await desk.take("aud")
    archive = desk.folder / "archive"
    assert (archive / TAKING).is_file()
    begun = len(desk.transport.asked)
    desk.transport.breaks_at = None
    exported = desk.scenario.service.log.size
    now = json.loads((archive / TAKING).read_text())["wanted"]
    with pytest.raises(Conflict, match="another archive"):
        await desk.take("aud", resources=["orders-prod"])
    await desk.take(
        "aud",
        since=datetime.fromisoformat(now["since"]),
        until=datetime.fromisoformat(now["until"]),
    )
    again = desk.transport.asked[begun:]
    assert "POST /v1/archives" not in again
    assert not [each for each in again if each.startswith("POST /v1/archives/")]
    assert desk.scenario.service.log.size <= exported + 2 * 8
    assert check(desk, archive).returncode == 0
    assert history.granted in (archive / "cases.csv").read_text()


async def test_a_bundle_that_was_damaged_on_the_way_is_fetched_again(
    desk: Desk, history: History
) -> None:
    desk.transport.breaks_at = 5
    with pytest.raises(Unavailable):
        await desk.take("aud")
    archive = desk.folder / "archive"
    damaged = archive / f"cases/{history.granted}.json"
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"{}")
    desk.transport.breaks_at = None
    wanted = json.loads((archive / TAKING).read_text())["wanted"]
    await desk.take(
        "aud",
        since=datetime.fromisoformat(wanted["since"]),
        until=datetime.fromisoformat(wanted["until"]),
    )
    assert check(desk, archive).returncode == 0


async def test_a_folder_with_something_in_it_is_not_written_into(
    desk: Desk, history: History
) -> None:
    (desk.folder / "archive").mkdir()
    (desk.folder / "archive" / "mine").write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        await desk.take("aud")
    assert desk.transport.asked == []
    assert history.granted


async def test_what_was_erased_is_called_erased_and_the_archive_holds(desk: Desk) -> None:
    scenario = desk.scenario
    asked = await scenario.ask("ana", text="orders are stuck")
    await scenario.withdraw("ana", asked)
    await scenario.erase("pia", f"{asked.case.id}/0", "reason", "gdpr-17")
    await desk.take("aud")
    archive = desk.folder / "archive"
    assert check(desk, archive).returncode == 0
    page = (archive / f"pages/{asked.case.id}.html").read_text("utf-8")
    assert "(erased under rule gdpr-17)" in page
    assert "section `reason`" in page
    for path in archive.rglob("*"):
        assert path.is_dir() or b"orders are stuck" not in path.read_bytes()


async def test_a_review_of_many_items_is_in_the_archive_of_its_time(desk: Desk) -> None:
    scenario = desk.scenario
    scenario.principals["boss"] = human("boss", "managers")
    scenario.campaigns = [REVIEW]
    await scenario.take_in()
    await scenario.granted()
    review = await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    _, opened = await desk.take("aud")
    assert opened.record.cases == 2
    done = check(desk, desk.folder / "archive")
    assert done.returncode == 0, done.stdout
    page = (desk.folder / "archive" / f"pages/{review}.html").read_text("utf-8")
    assert "review of 1 items by the rule grants" in page


async def test_somebodys_own_cases_are_an_archive_without_the_log_and_it_says_so(
    desk: Desk, history: History
) -> None:
    taking, opened = await desk.take("dan")
    assert (opened.record.cases, opened.record.beyond) == (3, 5)
    assert taking.notes == ["the log itself is not here: whoever took this may not audit it"]
    done = check(desk, desk.folder / "archive")
    assert done.returncode == 0, done.stdout
    assert "no excerpt of the log is here" in done.stdout
    assert "5 cases that whoever took it may not read" in done.stdout
    readme = (desk.folder / "archive" / "README.txt").read_text()
    assert "the log itself is not here" in readme
    assert "5 more that the reader may not see" in readme
    with pytest.raises(NotFound):
        await desk.take("pia", "other")
    assert history.granted not in (desk.folder / "archive" / "index.html").read_text()


async def test_what_somebody_typed_does_nothing_in_pages_and_spreadsheets(
    desk: Desk, history: History
) -> None:
    await desk.take("aud")
    archive = desk.folder / "archive"
    page = (archive / f"pages/{history.withdrawn}.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    with (archive / "cases.csv").open(newline="", encoding="utf-8") as file:
        (row,) = (row for row in csv.DictReader(file) if row["case"] == history.withdrawn)
    assert row["reason"].startswith("'=HYPERLINK")


async def test_heads_that_the_reader_kept_are_proved_by_the_archive_itself(
    desk: Desk, history: History
) -> None:
    head = desk.scenario.service.log.checkpoint
    (desk.folder / "head").write_bytes(head)
    await desk.take("aud", heads=[head.decode()])
    keys = desk.scenario.keys
    found = folder_check.check(
        desk.folder / "archive",
        [key.verifier for key in keys],
        NOBODY,
        heads=[desk.folder / "head"],
    )
    assert found.holds, found.wrong
    other = desk.folder / "other"
    origin, size, rest = head.split(b"\n", 2)
    other.write_bytes(b"\n".join([origin, size, (b"B" if rest[:1] != b"B" else b"C") + rest[1:]]))
    found = folder_check.check(desk.folder / "archive", keys[0].verifier, NOBODY, heads=[other])
    assert not found.holds
    assert history.granted


def test_a_period_is_whole_days_with_the_last_one_included() -> None:
    since, until = whole_days("2026-01-01..2026-06-30")
    assert (since.isoformat(), until.isoformat()) == (
        "2026-01-01T00:00:00+00:00",
        "2026-07-01T00:00:00+00:00",
    )
    for wrong in (
        "2026-01-01",
        "2026-06-30..2026-01-01",
        "2026-02-30..2026-03-01",
        "9999-12-31..9999-12-31",
        "..",
    ):
        with pytest.raises(Malformed):
            whole_days(wrong)
