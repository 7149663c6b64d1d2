"""Erased means: in no file of the database, also after a crash, also from an older copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.access import check, records
from muniment.errors import LogInvalid, LogUnavailable, NotFound
from muniment.evidence.bundle import Bundle, Erased
from muniment.evidence.record import Sealed
from muniment.evidence.store import Entry
from muniment.operations.erase import erase_section, finish
from muniment.testing.cases import WrittenCase, WrittenLog, new_case

CONTENT = b'{"text":"orders are stuck","ticket":"OPS-12"}'


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written).whole()


def sealed(case: WrittenCase) -> Sealed:
    return case.written.store.sections(case.entries["access:requested"].index)["reason"]


def files_with(written: WrittenLog, needle: bytes) -> list[str]:
    return [
        file.name
        for file in written.folder.iterdir()
        if file.name.startswith("muniment.db") and needle in file.read_bytes()
    ]


def test_no_byte_is_left_in_any_file_of_the_database(case: WrittenCase) -> None:
    written, section = case.written, sealed(case)
    assert files_with(written, CONTENT)
    assert files_with(written, section.salt)
    written.erase(case.entries["access:requested"], "reason", "retention")
    assert files_with(written, CONTENT) == []
    assert files_with(written, section.salt) == []
    assert files_with(written, b'"text":"go"') != []  # and nothing else went


def test_everything_still_verifies_and_answers_erased(case: WrittenCase) -> None:
    written = case.written
    before = written.export(case.id)
    written.erase(case.entries["access:requested"], "reason", "retention.free-text")
    checked = check.verify(written.export(case.id), written.key.verifier)
    record = case.entries["access:requested"].header.id
    assert list(checked.unseen) == [(record, "reason", "ERASED under rule `retention.free-text`")]
    # what was carried away before holds as well: it was given then
    assert list(check.verify(before, written.key.verifier).unseen) == []


def recorded(written: WrittenLog, entry: Entry, section: str, rule: str) -> None:
    """The intent, and then the process dies."""
    erased = records.RecordErased(
        actor=records.SERVICE, record=entry.header.id, section=section, rule=rule
    )
    written.append(new_case("ers"), erased, follows=[entry])


def test_the_ledger_knows_of_it_before_the_database_does(
    case: WrittenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, entry = case.written, case.entries["access:requested"]
    recorded(written, entry, "reason", "retention")

    def crash(*_: object) -> None:
        raise LogUnavailable("the lights went out")

    with monkeypatch.context() as patch:
        patch.setattr(written.store, "erase", crash)
        with pytest.raises(LogUnavailable):
            erase_section(written.log, written.ledger, entry, "reason", "retention")
    assert written.ledger.erasures() == [(entry.header.id, "reason", "retention")]
    assert finish(written.log, written.ledger, written.erasures) == 1
    assert files_with(written, CONTENT) == []


def test_what_was_recorded_and_no_more_is_finished_at_the_next_start(case: WrittenCase) -> None:
    written, entry = case.written, case.entries["access:requested"]
    recorded(written, entry, "reason", "retention")
    assert files_with(written, CONTENT)
    assert finish(written.log, written.ledger, written.erasures) == 1
    assert written.ledger.erasures() == [(entry.header.id, "reason", "retention")]
    assert files_with(written, CONTENT) == []
    assert written.store.erased(entry.index) == {"reason": "retention"}
    assert finish(written.log, written.ledger, written.erasures) == 0


def test_a_ledger_that_lost_its_end_learns_it_again_from_the_log(case: WrittenCase) -> None:
    written = case.written
    for kind, name in (("access:requested", "reason"), ("approval:given", "note")):
        written.erase(case.entries[kind], name, "retention")
    path = written.folder / "erasures"
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    assert finish(written.log, written.ledger, written.erasures) == 0
    assert len(written.ledger.erasures()) == 2


def test_what_a_restored_copy_brings_back_is_erased_again(case: WrittenCase) -> None:
    written, entry, section = case.written, case.entries["access:requested"], sealed(case)
    written.erase(entry, "reason", "retention")
    with written.store.transaction() as transaction:
        run = transaction._connection.execute
        run("INSERT INTO sections VALUES (?, 'reason', ?, ?)", (entry.index, *_parts(section)))
        run("DELETE FROM tombstones")
    assert files_with(written, CONTENT)
    assert finish(written.log, written.ledger, written.erasures) == 1
    assert files_with(written, CONTENT) == []
    assert written.store.erased(entry.index) == {"reason": "retention"}
    assert finish(written.log, written.ledger, written.erasures) == 0


def _parts(section: Sealed) -> tuple[bytes, bytes]:
    return section.salt, section.content


def test_a_ledger_that_knows_more_than_the_log_betrays_an_older_copy(case: WrittenCase) -> None:
    """Head store and database may both have been put back: the ledger was not."""
    written, entry = case.written, case.entries["access:requested"]
    written.ledger.add(entry.header.id, "reason", "retention")
    with pytest.raises(LogInvalid, match="this is an older copy of the log"):
        finish(written.log, written.ledger, written.erasures)


def test_erasing_twice_is_erasing_once(case: WrittenCase) -> None:
    written, entry = case.written, case.entries["access:requested"]
    written.erase(entry, "reason", "retention")
    erase_section(written.log, written.ledger, entry, "reason", "retention")
    assert len(written.ledger.erasures()) == 1
    states = [record.sections for record in Bundle.parse(written.export(case.id)).records]
    assert Erased("retention") in [section for each in states for section in each.values()]


def test_a_section_that_a_record_never_had_is_not_found(case: WrittenCase) -> None:
    written, entry = case.written, case.entries["grant:authorized"]
    with pytest.raises(NotFound):
        erase_section(written.log, written.ledger, entry, "reason", "retention")
    assert written.ledger.erasures() == []
