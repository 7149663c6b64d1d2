"""A report as OSCAL assessment results: of one form, with ids that lead somewhere."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from muniment.interfaces.cli.report import report_command
from muniment.interfaces.cli.report_oscal import assessment_results, token
from muniment.oversight import control_map
from muniment.oversight.controls import TESTS
from muniment.testing.written_year import WrittenYear

#: OSCAL 1.2.1, datatype token, for ASCII
TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
#: OSCAL 1.2.1, datatype dateTime-with-timezone
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
KNOWN = control_map.parse(control_map.shipped(), TESTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("oscal")
    mirror, key, out = base / "mirror", base / "log.vkey", base / "report"
    year = WrittenYear(grants=20, days=20, faults=frozenset(("differences",)))
    mirror.mkdir()
    year.tiles(mirror)
    key.write_text(year.key.verifier.vkey)
    made = CliRunner().invoke(
        report_command,
        [
            "--framework", "pci", "--period", "2026", "-o", str(out), "--oscal",
            "--log", str(mirror), "--log-key", str(key),
        ],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    return out


@pytest.fixture
def oscal(folder: Path) -> Any:
    return json.loads((folder / "oscal.json").read_bytes())["assessment-results"]


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield name, member
            yield from walk(member)
    elif isinstance(value, list):
        for member in value:
            yield from walk(member)


def test_every_id_is_a_derived_uuid_and_stands_for_one_thing(oscal: Any) -> None:
    ids = [value for name, value in walk(oscal) if name == "uuid"]
    assert len(set(ids)) == len(ids)
    assert {UUID(each).version for each in ids} == {5}


def test_whatever_is_referred_to_is_there(oscal: Any) -> None:
    ids = {value for name, value in walk(oscal) if name == "uuid"}
    referred = [value for name, value in walk(oscal) if name == "observation-uuid"]
    hrefs = [value for name, value in walk(oscal) if name == "href"]
    assert set(referred) <= ids
    assert {each[1:] for each in hrefs if each.startswith("#")} <= ids
    assert oscal["import-ap"]["href"][1:] in ids


def test_files_are_named_with_their_digests(oscal: Any, folder: Path) -> None:
    for each in oscal["back-matter"]["resources"]:
        link = each["rlinks"][0]
        content = (folder / link["href"]).read_bytes()
        assert link["hashes"] == [{"algorithm": "SHA-256", "value": sha256(content).hexdigest()}]


def test_ids_and_moments_are_of_their_forms(oscal: Any) -> None:
    tokens = [value for name, value in walk(oscal) if name in ("control-id", "target-id")]
    moments = [
        value
        for name, value in walk(oscal)
        if name in ("start", "end", "collected", "last-modified")
    ]
    assert tokens
    assert all(TOKEN.fullmatch(each) for each in tokens)
    assert all(MOMENT.fullmatch(each) for each in moments)


def test_no_two_controls_have_one_token() -> None:
    for framework in KNOWN.frameworks.values():
        tokens = [token(framework.id, each.id) for each in framework.controls]
        assert len(set(tokens)) == len(tokens)
        assert all(TOKEN.fullmatch(each) for each in tokens)


def test_what_was_not_tested_has_no_finding_and_nothing_is_said_to_be_met(
    oscal: Any, folder: Path
) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    result = oscal["results"][0]
    states = {each["title"]: each["target"]["status"]["state"] for each in result["findings"]}
    expected = {"satisfied": "satisfied", "exceptions": "not-satisfied"}
    assert states == {
        each["id"]: expected[each["state"]]
        for each in report["controls"]
        if each["state"] in expected
    }
    assert "10.5.1" in result["remarks"]
    assert report["statement"] == oscal["metadata"]["remarks"]


def test_what_was_tested_in_part_has_no_finding_and_the_remarks_say_what_was_not(
    folder: Path,
) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    control = next(each for each in report["controls"] if each["state"] == "satisfied")
    left = control["tests"][:1]

    def results(state: str) -> Any:
        control.update(state=state, untested=left)
        return json.loads(assessment_results(report, "0" * 64))["assessment-results"]["results"][0]

    partly = results("partly")
    assert control["id"] not in {each["title"] for each in partly["findings"]}
    assert f"{control['id']} (nothing to test: {left[0]})" in partly["remarks"]
    failed = results("exceptions")
    (found,) = (each for each in failed["findings"] if each["title"] == control["id"])
    assert f"nothing to test: {left[0]}." in found["target"]["status"]["remarks"]


def test_a_report_that_was_tested_of_nothing_has_no_findings(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    for each in report["controls"]:
        each["state"] = "not-tested"
    made = json.loads(assessment_results(report, "0" * 64))
    assert "findings" not in made["assessment-results"]["results"][0]


def test_it_is_checked_with_the_report(folder: Path) -> None:
    key = folder.parent / "log.vkey"

    def check() -> Any:
        arguments = ["--check", str(folder), "--log-key", str(key), "--json"]
        return json.loads(CliRunner().invoke(report_command, arguments).output)

    assert check()["holds"]
    path = folder / "oscal.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b'"not-satisfied"', b'"satisfied"', 1))
        assert check()["failed_step"] == 10
    finally:
        path.write_bytes(whole)
