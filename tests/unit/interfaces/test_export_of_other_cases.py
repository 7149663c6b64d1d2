"""Findings, scans of targets and holds are carried away with the same command as access cases."""

from pathlib import Path

import pytest
from fake_service import FakeService, problem
from scenario_api import ScenarioApi

from muniment.access import check
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run
from muniment.operations import drift, hold
from muniment.operations.hold import Scope
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


async def test_a_hold_is_handed_out_by_as_much_of_its_id_as_lists_show(tmp_path: Path) -> None:
    async with Scenario(tmp_path, checking=False) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("ana", "aud")
        scope = Scope(resources=("orders-prod",))
        placed = await hold.place(scenario.service, scenario.caller("admin"), scope, "m", "")
        for case in (placed.id, screen.short(placed.id)):
            answer = await api.post("aud", f"/v1/cases/{case}/evidence")
            assert answer.status_code == 200, answer.text
            assert "hold of 1 resource" in check.verify(answer.content, scenario.key.verifier).state
        unknown = f"hld_{'a' * 26}"
        for case in (placed.id, screen.short(placed.id), unknown):
            assert (await api.post("ana", f"/v1/cases/{case}/evidence")).status_code == 403
        assert (await api.post("aud", f"/v1/cases/{unknown}/evidence")).status_code == 404
