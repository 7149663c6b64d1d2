"""A bundle that verifies, and every way to change it, none of which does."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from one_value import alternatives, at, changed, paths

from muniment.access import check
from muniment.errors import BundleInvalid
from muniment.evidence import canonical
from muniment.evidence.bundle import MAX_BUNDLE, MAX_DEPTH, Bundle
from muniment.evidence.note import SigningKey
from muniment.evidence.verdict import Verdict
from muniment.evidence.verify import verify
from muniment.testing.cases import ORIGIN, WrittenCase, WrittenLog


@dataclass
class Fixture:
    written: WrittenLog
    case: WrittenCase
    #: one section withheld, one erased, the others given; a head of size 3 asked for
    data: bytes

    @property
    def value(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data)
        return found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    written = WrittenLog(tmp_path_factory.mktemp("log"))
    case = WrittenCase(written).whole()
    written.erase(case.ana.enrolled, "identity", "retention.people")
    data = written.export(
        case.id, give=lambda entry, _: entry.header.kind != "approval:given", sizes=[3]
    )
    yield Fixture(written, case, data)
    written.close()


def encoded(value: Any) -> bytes:
    return canonical.encode(value)


def refused(good: Fixture, data: bytes, head: bytes | None = None) -> BundleInvalid:
    with pytest.raises(BundleInvalid) as caught:
        check.verify(data, good.written.key.verifier, [] if head is None else [head])
    return caught.value


def test_a_whole_bundle_passes_every_step(good: Fixture) -> None:
    checked = check.verify(good.data, good.written.key.verifier)
    assert [step.number for step in checked.steps] == list(range(1, 13))
    assert checked.verdict is Verdict.UNANCHORED
    assert checked.completeness == f"COMPLETE, closed at {checked.proved.closed_at}"
    assert checked.state.startswith("expired")
    assert checked.state.endswith("removal verified")
    assert Bundle.parse(good.data).encode() == good.data


def test_withheld_and_erased_sections_answer_so_and_fail_nothing(good: Fixture) -> None:
    checked = check.verify(good.data, good.written.key.verifier)
    answers = {(name, answer) for _, name, answer in checked.unseen}
    assert answers == {("note", "WITHHELD"), ("identity", "ERASED under rule `retention.people`")}
    assert any("withheld and erased" in phrase for phrase in checked.not_proved)


def test_the_same_plan_and_export_give_the_same_bytes(good: Fixture) -> None:
    first = verify(good.data, good.written.key.verifier)
    good.written.append(good.case.cy.facts.id, _revoked())  # the log goes on
    assert verify(good.data, good.written.key.verifier).checkpoint == first.checkpoint


def _revoked() -> Any:
    from muniment.access import records

    return records.TokenRevoked(actor=records.SERVICE, token=b"\7" * 32)


# --- no value is decoration -------------------------------------------------------------------


def accepts(good: Fixture, data: bytes) -> bool:
    try:
        check.verify(data, good.written.key.verifier)
    except BundleInvalid:
        return False
    return True


def test_changing_dropping_or_adding_any_one_value_fails_verification(good: Fixture) -> None:
    original, count = good.value, 0
    for path in paths(original):
        for new in alternatives(at(original, path)):
            data = encoded(changed(original, path, new))
            if data != good.data:
                count += 1
                assert not accepts(good, data), f"{path}: {new!r:.80}"
    assert count > 5000


def test_changing_any_one_byte_fails_verification(good: Fixture) -> None:
    for place in range(0, len(good.data), 97):
        data = bytearray(good.data)
        data[place] ^= 1
        refused(good, bytes(data))


def test_every_section_state_is_fixed_by_the_export(good: Fixture) -> None:
    value = good.value
    for number, record in enumerate(value["records"]):
        for name, old in record["sections"].items():
            for new in ("withheld", {"erased": "retention.people"}):
                if new != old:
                    data = encoded(changed(value, ("records", number, "sections", name), new))
                    assert refused(good, data).step == 7


# --- step by step ---------------------------------------------------------------------------------


def test_bytes_that_are_not_canonical_fail_step_1(good: Fixture) -> None:
    assert refused(good, json.dumps(good.value).encode()).step == 1
    assert refused(good, good.data + b"\n").step == 1
    assert refused(good, b"").step == 1
    assert refused(good, b"[" * 1000).step == 1


def test_a_file_that_is_too_large_or_too_deep_fails_step_1(good: Fixture) -> None:
    assert refused(good, b" " * (MAX_BUNDLE + 1)).step == 1
    deep = changed(good.value, ("heads",), [[[[[[[1]]]]]]])
    assert refused(good, canonical.encode(deep, max_depth=MAX_DEPTH + 3)).step == 1


def test_another_key_fails_step_2(good: Fixture) -> None:
    other = SigningKey.generate(ORIGIN).verifier
    with pytest.raises(BundleInvalid) as caught:
        verify(good.data, other)
    assert caught.value.step == 2


def test_a_signature_that_nobody_checks_fails_step_2(good: Fixture) -> None:
    line = f"— somebody.example {base64.b64encode(bytes(68)).decode()}\n"
    data = changed(good.value, ("checkpoint",), good.value["checkpoint"] + line)
    assert refused(good, encoded(data)).step == 2


def test_a_missing_first_entry_fails_step_3(good: Fixture) -> None:
    data = changed(good.value, ("records",), good.value["records"][1:])
    assert refused(good, encoded(data)).step == 3


def test_an_approval_forged_without_the_key_fails_step_4(good: Fixture) -> None:
    approval = next(
        number
        for number, record in enumerate(good.value["records"])
        if '"kind":"approval:given"' in record["header"]
    )
    forged = good.value["records"][approval]["header"].replace("sre-leads", "all-comers")
    error = refused(good, encoded(changed(good.value, ("records", approval, "header"), forged)))
    assert error.step == 4
    assert "leads to another root" in str(error)


def test_records_of_another_log_fail_step_4(good: Fixture, tmp_path: Path) -> None:
    other = WrittenLog(tmp_path, key=good.written.key)
    theirs = json.loads(other.export(WrittenCase(other).whole().id))
    value = {**good.value, "records": [*good.value["records"][:1], *theirs["records"][1:]]}
    assert refused(good, encoded(value)).step == 4
    other.close()


def without(good: Fixture, kind: str) -> bytes:
    records = [r for r in good.value["records"] if f'"kind":"{kind}"' not in r["header"]]
    assert len(records) == len(good.value["records"]) - 1
    return encoded(changed(good.value, ("records",), records))


def test_a_record_dropped_from_the_middle_fails_step_5(good: Fixture) -> None:
    error = refused(good, without(good, "approval:given"))
    assert (error.step, "record 3 of the case is missing" in str(error)) == (5, True)


@pytest.mark.parametrize("kind", ["case:closed", "evidence:exported"])
def test_a_dropped_end_fails_step_5(good: Fixture, kind: str) -> None:
    records = good.value["records"]
    if kind == "evidence:exported":
        records = records[:-1]
    else:
        records = [r for r in records if r["index"] != good.case.entries["case:closed"].index]
    assert refused(good, encoded(changed(good.value, ("records",), records))).step == 5


def test_a_followed_record_that_is_missing_fails_step_6(good: Fixture) -> None:
    assert refused(good, without(good, "role:defined")).step == 6


def test_a_proved_record_that_nothing_leads_to_fails_step_6(good: Fixture) -> None:
    log, bundle = good.written.log, Bundle.parse(good.data)
    size = verify(good.data, good.written.key.verifier).checkpoint.size
    taken = {record.index for record in bundle.records}
    index = next(index for index in range(size) if index not in taken)
    entry = log.read_entry(index)
    extra = replace(
        bundle.records[0],
        index=index,
        header=entry.data,
        proof=tuple(log.inclusion(index, size)),
        sections={},
    )
    records = tuple(sorted((*bundle.records, extra), key=lambda record: record.index))
    assert refused(good, replace(bundle, records=records).encode()).step == 6


def test_a_section_of_other_content_fails_step_7(good: Fixture) -> None:
    for number, record in enumerate(good.value["records"]):
        for name, section in record["sections"].items():
            if isinstance(section, dict) and "content" in section:
                path = ("records", number, "sections", name, "content")
                data = encoded(changed(good.value, path, base64.b64encode(b"lies").decode()))
                assert refused(good, data).step == 7


def test_an_erasure_without_a_record_fails_step_6_or_7(good: Fixture) -> None:
    error = refused(good, without(good, "record:erased"))
    assert error.step == 6


def test_documents_are_exactly_those_named(good: Fixture) -> None:
    names = list(good.value["documents"])
    fewer = {name: text for name, text in good.value["documents"].items() if name != names[0]}
    assert refused(good, encoded(changed(good.value, ("documents",), fewer))).step == 8
    more = {
        **good.value["documents"],
        "e3b0c44298fc1c149afbf4c8996fb924" + "27ae41e4649b934ca495991b7852b855": "",
    }
    assert refused(good, encoded(changed(good.value, ("documents",), more))).step == 8


def test_a_head_of_another_history_fails_step_9(good: Fixture) -> None:
    for number in range(len(good.value["heads"])):
        data = encoded(changed(good.value, ("heads", number, "root"), "00" * 32))
        assert refused(good, data).step == 9


# --- the reader's own heads -----------------------------------------------------------------------


def head_at(written: WrittenLog, size: int) -> bytes:
    found = written.store.checkpoint(size)
    assert found is not None
    return found


def test_agreeing_with_a_head_that_the_reader_kept_is_self_witnessed(good: Fixture) -> None:
    proved = verify(good.data, good.written.key.verifier, [head_at(good.written, 3)])
    assert proved.verdict is Verdict.SELF_WITNESSED
    own = head_at(good.written, proved.checkpoint.size)
    assert verify(good.data, good.written.key.verifier, [own]).verdict is Verdict.SELF_WITNESSED


def test_a_head_of_a_size_that_is_not_in_the_bundle_is_not_shown(good: Fixture) -> None:
    sizes = {head.size for head in Bundle.parse(good.data).heads}
    size = next(size for size in range(1, 30) if size not in sizes)
    proved = verify(good.data, good.written.key.verifier, [head_at(good.written, size)])
    assert proved.verdict is Verdict.UNANCHORED
    assert [head.size for head in proved.not_shown] == [size]


def test_a_kept_head_of_another_log_fails_step_10(good: Fixture) -> None:
    assert refused(good, good.data, head=b"not a note").step == 10


def test_a_history_signed_anew_is_unanchored_alone_and_diverged_against_a_kept_head(
    good: Fixture, tmp_path: Path
) -> None:
    rewritten = WrittenLog(tmp_path, key=good.written.key)
    data = rewritten.export(WrittenCase(rewritten).whole().id, sizes=[3])
    key = good.written.key.verifier
    assert check.verify(data, key).verdict is Verdict.UNANCHORED
    proved = verify(data, key, [head_at(good.written, 3)])
    assert proved.verdict is Verdict.DIVERGED
    assert proved.compared[0].shown != proved.compared[0].kept.root
    assert 10 not in [step.number for step in proved.steps]
    rewritten.close()


# --- an open case -----------------------------------------------------------------------------------


def test_a_case_without_its_end_is_open_as_of_the_export(tmp_path: Path) -> None:
    written = WrittenLog(tmp_path)
    case = WrittenCase(written)
    case.requested()
    data = written.export(case.id)
    checked = check.verify(data, written.key.verifier)
    assert checked.completeness == f"OPEN as of log size {checked.proved.export.index + 1}"
    assert checked.state == "pending"
    case.approved()
    assert check.verify(data, written.key.verifier).completeness == checked.completeness
    written.close()


def test_an_export_that_tells_of_fewer_records_than_it_carries_fails_step_5(
    tmp_path: Path,
) -> None:
    written = WrittenLog(tmp_path)
    case = WrittenCase(written)
    case.requested()
    data = written.export(case.id, changed=lambda record: replace(record, last=0))
    with pytest.raises(BundleInvalid, match="step 5"):
        verify(data, written.key.verifier)
    data = written.export(case.id, changed=lambda record: replace(record, records=bytes(32)))
    with pytest.raises(BundleInvalid, match="step 5"):
        verify(data, written.key.verifier)
    data = written.export(case.id, changed=lambda record: replace(record, disclosed=bytes(32)))
    with pytest.raises(BundleInvalid, match="step 7"):
        verify(data, written.key.verifier)
    written.close()
