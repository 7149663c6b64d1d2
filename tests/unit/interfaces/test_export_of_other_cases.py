"""Findings and scans of targets are carried away with the same command as access cases."""

from pathlib import Path

import pytest
from fake_service import FakeService, problem
from scenario_api import ScenarioApi

from muniment.access import check
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run
from muniment.operations import drift
from muniment.testing.scenario import Scenario

FOUND = "fnd_x3kq"


def test_what_is_no_access_case_goes_by_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake, path = FakeService(), tmp_path / "finding.json"
    monkeypatch.setattr(Api, "from_environment", fake.api)
    fake.on("GET", f"/v1/cases/{FOUND}", problem(404, "there is no access case"))
    fake.on("POST", f"/v1/cases/{FOUND}/evidence", {"a": "bundle"})
    fake.on("GET", "/v1/log/key", "key")
    assert run(["evidence", "export", FOUND, "-o", str(path)]) == 0
    assert path.read_bytes() == b'{"a":"bundle"}'
    fake.on("POST", f"/v1/cases/{FOUND}/evidence", problem(404, "no case begins with it"))
    assert run(["evidence", "export", FOUND, "-o", str(tmp_path / "other.json")]) == 1
    assert not (tmp_path / "other.json").exists()


async def test_a_scan_and_a_finding_are_handed_out_over_http(tmp_path: Path) -> None:
    async with Scenario(tmp_path, checking=False) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("ana", "aud")
        await drift.scan(scenario.service, "orders-prod")
        scenario.target().make_foreign_account("backdoor")
        scan = await drift.scan(scenario.service, "orders-prod")
        (finding,) = scan.findings.values()
        for case in (scan.case, finding, finding[:12]):
            answer = await api.post("aud", f"/v1/cases/{case}/evidence")
            assert answer.status_code == 200, answer.text
            assert check.verify(answer.content, scenario.key.verifier).state
        refused = await api.post("ana", f"/v1/cases/{scan.case}/evidence")
        assert refused.status_code == 403
        unknown = await api.post("aud", f"/v1/cases/drf_{'a' * 26}/evidence")
        assert unknown.status_code == 404
