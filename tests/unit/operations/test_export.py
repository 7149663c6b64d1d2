"""What a bundle is made of, and what stops it from being made."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.access import check, records
from muniment.errors import Conflict, LogInvalid, Malformed, NotFound
from muniment.evidence.bundle import Bundle, Withheld
from muniment.evidence.verdict import Verdict
from muniment.operations import export
from muniment.testing.cases import WrittenCase, WrittenLog, new_case


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written).whole()


def planned(case: WrittenCase, *sizes: int) -> export.Plan:
    written = case.written
    return export.plan(
        written.log, written.registry, written.erasures, case.id,
        give=lambda _entry, _section: True, sizes=sizes,
    )  # fmt: skip


def test_it_holds_the_case_all_that_it_rests_on_and_the_first_entry(case: WrittenCase) -> None:
    plan = planned(case)
    expected = {0, case.activated.index, case.role.index, case.ana.enrolled.index}
    expected |= {case.cy.enrolled.index, *(entry.index for entry in plan.entries)}
    assert plan.included.keys() == expected
    assert plan.follows == (plan.entries[-1].leaf,)


def test_it_proves_the_heads_that_first_covered_each_record(case: WrittenCase) -> None:
    plan = planned(case)
    assert case.entries["access:requested"].index + 1 in plan.sizes
    assert case.entries["case:closed"].index + 1 in plan.sizes
    # the look at the target and the closing were one batch
    assert case.entries["removal:verified"].index + 1 not in plan.sizes


def test_a_size_that_the_log_never_had_is_refused(case: WrittenCase) -> None:
    for size in (0, case.written.log.size + 1):
        with pytest.raises(Malformed, match="never had"):
            planned(case, size)


def test_an_unknown_case_is_not_found(written: WrittenLog) -> None:
    with pytest.raises(NotFound):
        written.export(new_case("mun"))


def test_a_reader_gets_only_what_he_may_see(case: WrittenCase) -> None:
    data = case.written.export(case.id, give=lambda _entry, name: name == "decision")
    states = {
        name: isinstance(section, Withheld)
        for record in Bundle.parse(data).records
        for name, section in record.sections.items()
    }
    assert states == {"decision": False, "reason": True, "note": True, "identity": True}
    assert b"orders are stuck" not in data
    assert check.verify(data, case.written.key.verifier).verdict is Verdict.UNANCHORED


def test_a_case_that_goes_on_before_the_export_makes_it_stale(written: WrittenLog) -> None:
    case = WrittenCase(written)
    case.requested()
    plan = planned(case)
    case.approved()
    assert plan.reads[case.id] != written.log.head(case.id)


def test_a_section_erased_between_plan_and_bundle_asks_for_another_export(
    case: WrittenCase,
) -> None:
    written, plan = case.written, planned(case)
    exported = plan.record(records.SERVICE).draft(
        new_case("exp"), written.now, follows=plan.follows
    )
    entry = written.propose(exported).entries[0]
    written.erase(case.entries["access:requested"], "reason", "retention")
    with pytest.raises(Conflict, match="export again"):
        export.assemble(written.log, plan, entry)


def test_a_section_that_is_gone_without_a_tombstone_is_not_exported(case: WrittenCase) -> None:
    index = case.entries["access:requested"].index
    with case.written.store.transaction() as transaction:
        transaction._connection.execute("DELETE FROM sections WHERE idx = ?", (index,))
    with pytest.raises(LogInvalid, match="gone without a trace"):
        case.written.export(case.id)


def test_a_review_takes_the_record_along_that_it_is_about(case: WrittenCase) -> None:
    written, review = case.written, new_case("rev")
    opened = records.ReviewOpened(
        actor=records.SERVICE, about=case.id, due=written.now + timedelta(days=1),
        persons=(case.ana.facts.person,),
    )  # fmt: skip
    written.append(review, opened, follows=[case.entries["case:closed"]])
    data = written.export(review)
    checked = check.verify(data, written.key.verifier)
    assert checked.state == "`review:opened`, not folded"
    kinds = {entry.header.kind for entry in checked.proved.entries}
    assert {"review:opened", "case:closed"} <= kinds


def test_records_that_speak_about_the_case_can_be_taken_along(case: WrittenCase) -> None:
    written, review = case.written, new_case("rev")
    opened = records.ReviewOpened(
        actor=records.SERVICE, about=case.id, due=written.now, persons=(case.ana.facts.person,)
    )
    entry = written.append(review, opened, follows=[case.entries["access:requested"]])
    checked = check.verify(written.export(case.id, follows=[entry]), written.key.verifier)
    assert entry.leaf in {each.leaf for each in checked.proved.entries}


def test_an_export_of_an_export_holds(case: WrittenCase) -> None:
    first = check.verify(case.written.export(case.id), case.written.key.verifier)
    about = first.proved.export.header.case
    again = check.verify(case.written.export(about), case.written.key.verifier)
    assert again.proved.case_id == about
    assert again.proved.closed_at == first.proved.export.index + 1
