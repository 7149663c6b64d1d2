"""A full audit makes every index of cases anew, and counts what a restored copy came without."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.access import check, records
from muniment.evidence import inspection
from muniment.evidence.audit import Audited, audit
from muniment.evidence.audit_tiles import audit_tiles
from muniment.evidence.case_index import CaseIndex
from muniment.evidence.publishing import read_published
from muniment.evidence.store import LOST, Entry, Published
from muniment.evidence.tile_log import TileLog
from muniment.operations.erase import finish
from muniment.testing.cases import WrittenCase, WrittenLog, new_case


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written).whole()


def indexed(written: WrittenLog) -> records.LogIndexed:
    """What an honest log would record at this moment."""
    size, lasts = written.log.lasts()
    index = CaseIndex(lasts)
    return records.LogIndexed(actor=records.SERVICE, size=size, cases=index.count, root=index.root)


def append(written: WrittenLog, record: records.LogIndexed) -> Entry:
    return written.append(written.registry.log_case, record)


def full(written: WrittenLog) -> Audited:
    return audit(written.store, written.key.verifier, full=True)


def test_every_honest_index_is_counted(written: WrittenLog, case: WrittenCase) -> None:
    append(written, indexed(written))
    late = indexed(written)
    # others append between the taking of an index and its record
    written.enrol("eve")
    written.append(new_case("hbt"), records.LogHeartbeat(actor=records.SERVICE, unrecorded={}))
    append(written, late)
    found = full(written)
    assert found.holds, found.bad
    assert found.indexes == 2
    assert case.state.closed


@pytest.mark.parametrize(
    "change", [{"size": -1}, {"size": 1}, {"size": 10_000}, {"cases": -1}, {"root": bytes(32)}]
)
def test_an_index_that_is_wrong_in_anything_is_named(
    change: dict[str, int | bytes], written: WrittenLog, case: WrittenCase
) -> None:
    honest = indexed(written)
    if change == {"cases": -1}:
        change = {"cases": honest.cases - 1}
    if change == {"size": -1}:
        change = {"size": honest.size - 1}
    forged = append(written, replace(honest, **change))  # type: ignore[arg-type]
    found = full(written)
    assert found.bad is not None
    assert found.bad.index == forged.index
    assert case.state.closed


def test_an_index_that_hides_a_case_is_named(written: WrittenLog, case: WrittenCase) -> None:
    size, lasts = written.log.lasts()
    del lasts[case.id]
    index = CaseIndex(lasts)
    forged = append(
        written,
        records.LogIndexed(actor=records.SERVICE, size=size, cases=index.count, root=index.root),
    )
    found = full(written)
    assert found.bad is not None
    assert found.bad.index == forged.index
    assert "is not the index of the cases" in found.bad.what


def test_an_index_that_hides_the_end_of_a_case_is_named(
    written: WrittenLog, case: WrittenCase
) -> None:
    size, lasts = written.log.lasts()
    last = lasts[case.id]
    lasts[case.id] = replace(last, position=last.position - 1)
    index = CaseIndex(lasts)
    append(
        written,
        records.LogIndexed(actor=records.SERVICE, size=size, cases=index.count, root=index.root),
    )
    assert not full(written).holds


# --- what a copy came without ---------------------------------------------------------------------


def lose(written: WrittenLog, entry: Entry, name: str) -> None:
    written.store.erase(entry.index, name, LOST)


def test_a_section_that_a_copy_came_without_is_counted_apart(
    written: WrittenLog, case: WrittenCase
) -> None:
    lose(written, case.entries["access:requested"], "reason")
    written.erase(case.entries["approval:given"], "note", "gdpr-17")
    found = full(written)
    assert found.holds, found.bad
    assert (found.lost, found.erased) == (1, 1)


def test_a_bundle_withholds_what_the_copy_came_without(
    written: WrittenLog, case: WrittenCase
) -> None:
    entry = case.entries["access:requested"]
    lose(written, entry, "reason")
    checked = check.verify(written.export(case.id), written.key.verifier)
    answers = {(record, name): answer for record, name, answer in checked.unseen}
    assert answers[entry.header.id, "reason"].startswith("WITHHELD")


def test_what_is_lost_can_still_be_erased(written: WrittenLog, case: WrittenCase) -> None:
    entry = case.entries["access:requested"]
    lose(written, entry, "reason")
    written.erase(entry, "reason", "gdpr-17")
    assert finish(written.log, written.ledger, written.erasures) == 0
    found = full(written)
    assert found.holds, found.bad
    assert (found.lost, found.unfinished) == (1, ())


# --- who has only the tiles, and who only so much memory ------------------------------------------


def tiles(written: WrittenLog) -> TileLog:
    published = Published(written.log.size, written.log.checkpoint)
    return TileLog(read_published(written.store, published))


def test_whoever_has_only_the_tiles_makes_each_index_anew_too(
    written: WrittenLog, case: WrittenCase
) -> None:
    append(written, indexed(written))
    found = audit_tiles(tiles(written), written.key.verifier, full=True)
    assert found.holds, found.bad
    assert found.indexes == 1
    forged = append(written, replace(indexed(written), root=bytes(32)))
    found = audit_tiles(tiles(written), written.key.verifier, full=True)
    assert found.bad is not None
    assert found.bad.index == forged.index
    assert case.state.closed


def test_an_index_from_too_long_before_its_record_is_refused(
    written: WrittenLog, case: WrittenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = indexed(written)
    written.enrol("eve")
    append(written, late)
    for lag, holds in ((2, True), (1, False)):
        monkeypatch.setattr(inspection, "MAX_LAG", lag)
        assert full(written).holds is holds
    assert case.state.closed
