"""Every record as an OCSF event: valid by the official schema, with its place in the log."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pytest
from ocsf_json_schema import (  # type: ignore[import-untyped]  # it brings no types
    OcsfJsonSchemaEmbedded,
    get_ocsf_schema,
)

from muniment.access import records
from muniment.access.records import Record
from muniment.evidence import moment
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.oversight.siem import SiemEvent
from muniment.sinks.siem import ocsf
from muniment.sinks.siem.ocsf import ALONE, KINDS, MAPPER, OCSF, OcsfDescriber

ORIGIN = "muniment.example/log"
LOG_ID = bytes(range(32))
GOLDEN = Path(__file__).parents[2] / "conformance/golden/golden_records.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_records_for_siem", GOLDEN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


golden = load()
RECORDS: dict[str, Record] = {record.KIND: record for record in golden.RECORDS}
CASE = "mun_" + "a2" * 13


@cache
def schema_of(name: str, *profiles: str) -> Any:
    """The official one, as it is published for 1.8.0."""
    embedded = OcsfJsonSchemaEmbedded(get_ocsf_schema(OCSF))
    schema = embedded.get_class_schema(name, list(profiles))
    return jsonschema.Draft202012Validator(schema)


def entry_of(record: Record, position: int, index: int = 4711, **changes: Any) -> Entry:
    header: Header = golden.header_of(record)
    header = replace(header, position=position, prev=header.prev if position else None, **changes)
    data = header.encode()
    return Entry(index, data, leaf_hash(data), header)


def nothing(_: str) -> Sequence[Entry]:
    raise AssertionError("this case was not to be read")


def told(record: Record, *before: Record, previous: int | None = 4710, **changes: Any) -> SiemEvent:
    """The event of a record that comes after these in its case."""
    case = [entry_of(each, n, 4000 + n) for n, each in enumerate(before)]
    return OcsfDescriber(ORIGIN).event(
        entry_of(record, len(before), **changes),
        log_id=LOG_ID,
        previous=previous,
        read_case=lambda _: case,
    )


def body(event: SiemEvent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.body)
    return found


def troubles(event: SiemEvent) -> list[str]:
    said = body(event)
    schema = schema_of(event.schema, *said["metadata"]["profiles"])
    return [
        f"{'/'.join(map(str, each.absolute_path))}: {each.message}"
        for each in schema.iter_errors(said)
    ]


ASKED = RECORDS["access:requested"]
RAISED = RECORDS["finding:raised"]


def test_every_kind_of_record_has_words_in_ocsf() -> None:
    missing = {kind for kind, cls in records.KINDS.items() if cls not in KINDS}
    assert missing == set()
    assert {cls.KIND for cls in KINDS} == RECORDS.keys()


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("before", ["nothing", "a request", "a finding", "its own kind"])
def test_every_record_becomes_a_valid_event_whatever_its_case_was(kind: str, before: str) -> None:
    record = RECORDS[kind]
    case = {"nothing": (), "a request": (ASKED,), "a finding": (RAISED,), "its own kind": (record,)}
    event = told(record, *case[before])
    assert troubles(event) == []
    assert event.schema != "base_event"


@pytest.mark.parametrize("kind", RECORDS)
def test_an_event_names_the_place_of_its_record(kind: str) -> None:
    event = told(RECORDS[kind], ASKED)
    said, entry = body(event), entry_of(RECORDS[kind], 1)
    assert said["metadata"]["uid"] == event.id == f"{CASE}/1"
    assert said["metadata"]["correlation_uid"] == event.case == CASE
    assert said["metadata"]["sequence"] == event.index == 4711
    assert said["metadata"]["event_code"] == event.kind == kind
    assert said["metadata"]["product"]["name"] == "Muniment"
    assert said["unmapped"]["muniment"]["mapper"] == MAPPER
    assert said["unmapped"]["muniment"]["log"] == {
        "origin": ORIGIN,
        "id": LOG_ID.hex(),
        "index": 4711,
        "leaf": entry.leaf.hex(),
        "previous": 4710,
    }
    assert said["unmapped"]["muniment"]["record"] == RECORDS[kind].body()
    assert said["severity_id"] == event.severity


@pytest.mark.parametrize("kind", RECORDS)
def test_an_event_is_one_line_of_ascii_and_the_same_every_time(kind: str) -> None:
    event = told(RECORDS[kind], ASKED)
    assert event.body.isascii()
    assert b"\n" not in event.body
    assert event == told(RECORDS[kind], ASKED)


@pytest.mark.parametrize(
    ("kind", "uid", "activity", "severity"),
    [
        ("access:requested", 3004, "Create", 1),
        ("decision:evaluated", 3004, "Update", 1),
        ("grant:authorized", 3005, "Assign Privileges", 2),
        ("grant:extended", 3005, "Assign Privileges", 2),
        ("grant:expired", 3005, "Revoke Privileges", 1),
        ("grant:revoked", 3005, "Revoke Privileges", 3),
        ("credential:issued", 3001, "Create", 2),
        ("removal:verified", 3001, "Delete", 1),
        ("removal:unverified", 3001, "Delete", 4),
        ("session:opened", 3002, "Logon", 1),
        ("session:closed", 3002, "Logoff", 1),
        ("finding:raised", 2004, "Create", 4),
        ("events:missed", 1008, "Lose", 4),
        ("evidence:exported", 1008, "Export", 2),
        ("drift:scanned", 2003, "Create", 2),
        ("session:observed", 3003, "Assign Privileges", 1),
    ],
)
def test_a_kind_has_the_class_that_a_siem_looks_for(
    kind: str, uid: int, activity: str, severity: int
) -> None:
    said = body(told(RECORDS[kind], ASKED))
    got = (said["class_uid"], said["activity_name"], said["severity_id"])
    assert got == (uid, activity, severity)
    assert said["type_uid"] == uid * 100 + said["activity_id"]


def test_broken_glass_is_loud_from_the_request_to_the_account() -> None:
    assert isinstance(ASKED, records.AccessRequested)
    glass = replace(ASKED, emergency=True)
    assert told(glass).severity == 4
    assert told(RECORDS["grant:authorized"], glass).severity == 4
    assert told(RECORDS["credential:issued"], glass).severity == 4
    assert told(RECORDS["grant:authorized"], ASKED).severity == 2
    assert told(ASKED).severity == 1


def test_an_end_that_cannot_be_seen_worries_and_one_that_did_not_happen_alarms() -> None:
    unverified = RECORDS["removal:unverified"]
    assert isinstance(unverified, records.RemovalUnverified)
    for reason, severity in (("target-unavailable", 3), ("blind", 3), ("still-there", 4)):
        event = told(replace(unverified, reason=reason), ASKED)
        assert (event.severity, body(event)["status"]) == (severity, "Failure")


@pytest.mark.parametrize(
    ("word", "severity"),
    [("info", 1), ("low", 2), ("medium", 3), ("high", 4), ("critical", 5)],
)
def test_a_finding_keeps_its_severity_and_its_id_to_the_end(word: str, severity: int) -> None:
    assert isinstance(RAISED, records.FindingRaised)
    raised = replace(RAISED, severity=word)
    case = [raised, RECORDS["finding:seen"], RECORDS["finding:acknowledged"]]
    steps = [told(raised), *(told(case[n], *case[:n]) for n in (1, 2))]
    steps.append(told(RECORDS["finding:closed"], *case))
    said = [body(event) for event in steps]
    assert [each["activity_name"] for each in said] == ["Create", "Update", "Update", "Close"]
    assert {each["severity_id"] for each in said} == {severity}
    assert {each["finding_info"]["uid"] for each in said} == {CASE}
    assert {each["finding_info"]["analytic"]["uid"] for each in said} == {raised.rule}


def test_an_end_says_how_long_access_really_lasted() -> None:
    granted = RECORDS["grant:authorized"]
    assert isinstance(granted, records.GrantAuthorized)
    ended = granted.starts + timedelta(minutes=7)
    event = told(RECORDS["grant:ended"], ASKED, granted, observed=ended, at=ended)
    assert body(event)["duration"] == 7 * 60 * 1000
    assert body(event)["time_dt"] == moment.text(ended)
    assert troubles(event) == []


def test_a_denial_is_a_failure_and_says_which_rules_it_was() -> None:
    decided = RECORDS["decision:evaluated"]
    assert isinstance(decided, records.DecisionEvaluated)
    said = body(told(replace(decided, outcome="deny"), ASKED))
    assert (said["status"], said["action"]) == ("Failure", "Denied")
    assert said["authorizations"][0]["policy"]["data"]["rules"] == list(decided.rules)


def test_a_second_pick_up_is_a_new_secret_for_the_same_account() -> None:
    issued = RECORDS["credential:issued"]
    assert body(told(issued, ASKED))["activity_name"] == "Create"
    assert body(told(issued, ASKED, issued))["activity_name"] == "Password Reset"


def test_who_is_enrolled_changed_disabled_and_enabled_again_is_told_apart() -> None:
    enrolled = RECORDS["principal:enrolled"]
    assert isinstance(enrolled, records.PrincipalEnrolled)
    off, on = replace(enrolled, active=False), replace(enrolled, active=True)
    steps = [told(on), told(on, on), told(off, on), told(on, off)]
    names = [body(each)["activity_name"] for each in steps]
    assert names == ["Create", "Update", "Disable", "Enable"]


def test_the_requester_is_named_in_what_others_do_to_the_case() -> None:
    assert isinstance(ASKED, records.AccessRequested)
    said = body(told(RECORDS["grant:revoked"], ASKED, RECORDS["credential:issued"]))
    issued = RECORDS["credential:issued"]
    assert isinstance(issued, records.CredentialIssued)
    assert said["user"]["uid"] == ASKED.requester
    assert said["user"]["credential_uid"] == issued.account
    assert said["privileges"] == [f"{ASKED.resource}/{ASKED.role}"]
    assert said["unmapped"]["muniment"]["access"]["requester"] == ASKED.requester


def test_a_case_is_read_once_and_then_followed() -> None:
    reads: list[str] = []
    case = [entry_of(each, n, n) for n, each in enumerate([ASKED, RECORDS["approval:given"]])]

    def read(name: str) -> Sequence[Entry]:
        reads.append(name)
        return case

    describer = OcsfDescriber(ORIGIN)
    for position, kind in enumerate(("grant:authorized", "credential:issued", "grant:ended"), 2):
        entry = entry_of(RECORDS[kind], position)
        describer.event(entry, log_id=LOG_ID, previous=None, read_case=read)
    assert reads == [CASE]
    # told again from further back: what was remembered is of later, and is not used
    again = entry_of(RECORDS["grant:authorized"], 2)
    event = describer.event(again, log_id=LOG_ID, previous=None, read_case=read)
    assert reads == [CASE, CASE]
    assert body(event) == body(told(RECORDS["grant:authorized"], *(
        records.parse(each.header) for each in case), previous=None))  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ALONE))
def test_cases_that_never_end_are_not_read(kind: str) -> None:
    entry = entry_of(RECORDS[kind], 70_000)
    event = OcsfDescriber(ORIGIN).event(entry, log_id=LOG_ID, previous=None, read_case=nothing)
    assert troubles(event) == []


def test_of_many_cases_only_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocsf, "MOST_CASES", 3)
    describer = OcsfDescriber(ORIGIN)
    for letter in "abcdefg":
        entry = entry_of(ASKED, 0, case="mun_" + letter * 26)
        describer.event(entry, log_id=LOG_ID, previous=None, read_case=nothing)
    assert len(describer._cases) == 3


def test_a_record_that_the_words_fail_on_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(ocsf, "KINDS", {records.GrantEnded: broken})
    event = told(RECORDS["grant:ended"], ASKED)
    assert (event.schema, body(event)["activity_name"]) == ("base_event", "grant:ended")
    assert troubles(event) == []
    assert "has no words" in caplog.text
    other = told(RECORDS["grant:expired"], ASKED)
    assert troubles(other) == []
