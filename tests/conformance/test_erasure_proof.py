"""Erasure is proven: nothing erased is left in any file, and every proof stands as it stood."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from judging import JUDGES, export_log, judge_directory, need_judge

from muniment.access import check
from muniment.evidence.audit import audit
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Sealed
from muniment.evidence.store import Published
from muniment.operations.erase import finish
from muniment.operations.mirror import copy
from muniment.operations.service import Limits
from muniment.oversight.retention import Rules
from muniment.stores.backup import copy_database
from muniment.stores.read_only import ReadOnlyStore
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.cases import START, WrittenCase, WrittenLog
from muniment.testing.scenario import Scenario

pytestmark = pytest.mark.deep

#: three records and two sections each
ASKED = 700
PROGRAM = Path(__file__).parent / "killed_erasure.py"


@dataclass
class Erasable:
    """A section, and what would betray that it is still somewhere."""

    record: str
    name: str
    sealed: Sealed
    #: a part of the content that stands nowhere else
    text: bytes


def left(folder: Path, sections: Iterable[Erasable]) -> list[str]:
    """The files below a folder in which a content or a salt of these sections is found."""
    needles = [needle for each in sections for needle in (each.sealed.salt, each.text)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = {path.name: path.read_bytes() for path in files}
    return [name for name, data in contents.items() if any(needle in data for needle in needles)]


@dataclass
class Erased:
    """What was found, while the service ran and afterwards."""

    folder: Path
    key: SigningKey
    chosen: list[Erasable]
    #: where each of them was found before
    found: list[list[str]]
    #: where any of them was found afterwards, beside a running service
    left: list[str]
    #: a backup and a mirror that were made then
    copies: Path
    #: a few of the affected cases, as they were exported then
    bundles: dict[str, bytes]


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Erased:
    return asyncio.run(erase_a_tenth(tmp_path_factory.mktemp("erasing")))


async def erase_a_tenth(folder: Path) -> Erased:
    """Two thousand records of requests that were denied, and then erasures, by the operations."""
    home, copies = folder / "home", folder / "copies"
    home.mkdir()
    copies.mkdir()
    limits = Limits(asks_per_minute=10 * ASKED)
    async with Scenario(home, limits=limits, checking=False) as scenario:
        scenario.service.erasures.rules = Rules(two_people_above=ASKED)
        for number in range(ASKED):
            await scenario.ask("ana", ticket="", text=text_of(number))
        chosen = erasable(scenario)
        found = [left(home, [each]) for each in chosen]
        for each in chosen:
            await scenario.erase("pia", each.record, each.name, "gdpr-17")
        log = scenario.service.log
        copy_database(home / "muniment.db", copies / "copy.db")
        await copy(log, TileDirectory(copies / "mirror"), Published(log.size, log.checkpoint))
        bundles = {
            each.record: await scenario.export("aud", each.record.partition("/")[0])
            for each in chosen[::20]
        }
        beside = left(home, chosen)
    return Erased(home, scenario.key, chosen, found, beside, copies, bundles)


def text_of(number: int) -> str:
    return f"because of her illness no. {number:06}"


def erasable(scenario: Scenario) -> list[Erasable]:
    """A tenth of all sections: the reason of every fifth request."""
    log, found = scenario.service.log, []
    entries = (log.read_entry(index) for index in range(log.size))
    reasons = [entry for entry in entries if "reason" in entry.header.sections]
    for number in range(0, len(reasons), 5):
        entry, text = reasons[number], text_of(number).encode()
        sealed = scenario.store.sections(entry.index)["reason"]
        assert text in sealed.content
        found.append(Erasable(entry.header.id, "reason", sealed, text))
    return found


def test_the_search_finds_every_one_of_them_before(erased: Erased) -> None:
    """Else it would prove nothing afterwards."""
    assert len(erased.chosen) == ASKED // 5
    assert all(erased.found)


def test_nothing_is_left_in_any_file_of_the_service(erased: Erased) -> None:
    assert erased.left == []
    assert left(erased.folder, erased.chosen) == []


def test_nothing_comes_into_a_backup_or_a_mirror_made_afterwards(erased: Erased) -> None:
    assert (erased.copies / "copy.db").stat().st_size > 500_000
    assert (erased.copies / "mirror" / "checkpoint").exists()
    assert left(erased.copies, erased.chosen) == []


def test_what_was_not_erased_is_still_there(erased: Erased) -> None:
    for database in (erased.folder / "muniment.db", erased.copies / "copy.db"):
        data = database.read_bytes()
        kept = [number for number in range(ASKED) if text_of(number).encode() in data]
        assert kept == [number for number in range(ASKED) if number % 5]


def test_every_affected_case_verifies_and_answers_erased(erased: Erased) -> None:
    assert len(erased.bundles) == len(erased.chosen) // 20
    for record, bundle in erased.bundles.items():
        checked = check.verify(bundle, erased.key.verifier)
        assert (record, "reason", "ERASED under rule `gdpr-17`") in list(checked.unseen)


def test_a_full_audit_explains_every_erasure(erased: Erased) -> None:
    for database in (erased.folder / "muniment.db", erased.copies / "copy.db"):
        with closing(ReadOnlyStore(database)) as store:
            found = audit(store, erased.key.verifier, full=True)
        assert found.holds
        assert found.checkpoint is not None
        assert found.checkpoint.size > 2000
        assert (found.erased, found.unfinished, found.lost) == (len(erased.chosen), (), 0)


@pytest.mark.parametrize("name", JUDGES)
def test_judges_that_others_wrote_see_no_difference(
    name: str, erased: Erased, tmp_path: Path
) -> None:
    need_judge(name)
    with closing(ReadOnlyStore(erased.folder / "muniment.db")) as store:
        tail = store.tail()
        assert tail is not None
        export_log(store, tail.checkpoint, tmp_path, proofs=range(0, tail.size, 97))
    verdict = judge_directory(tmp_path, erased.key.verifier.vkey, [name])[name]
    assert verdict.accepted, verdict.said


@pytest.mark.parametrize("point", ["recorded", "in-the-ledger", "deleted"])
def test_an_erasure_that_was_killed_is_finished_at_the_next_start(
    point: str, tmp_path: Path
) -> None:
    written = WrittenLog(tmp_path)
    case = WrittenCase(written).whole()
    entry = case.entries["access:requested"]
    sealed = written.store.sections(entry.index)["reason"]
    section = Erasable(entry.header.id, "reason", sealed, b"orders are stuck")
    (tmp_path / "key").write_text(written.key.skey)
    key = written.key
    written.close()
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), point, section.record, section.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert left(tmp_path, [section]) != [], "the crash left it behind"
    again = WrittenLog(tmp_path, key=key, now=START + timedelta(days=2))
    finish(again.log, again.ledger, again.erasures)
    assert left(tmp_path, [section]) == []
    assert audit(again.store, key.verifier, full=True).erased == 1
    again.close()
