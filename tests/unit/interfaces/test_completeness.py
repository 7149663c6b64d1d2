"""A proof out of the daily index: over HTTP, on the command line, and offline."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_service import CASE, FakeService, problem
from test_http_api import Api as HttpApi

from muniment.errors import ProofInvalid
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.case_index import completeness_command
from muniment.interfaces.cli.main import run
from muniment.operations import index_cases
from muniment.operations.service import new_id
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[HttpApi]:
    async with Scenario(tmp_path) as scenario:
        made = HttpApi(scenario, tmp_path)
        await made.enrol("ana", "dan", "aud")
        yield made


@pytest.fixture
async def desk(api: HttpApi, tmp_path: Path) -> Path:
    """An auditor's files: the key, a bundle, and the proofs of two cases, one of which never was."""
    scenario, folder = api.scenario, tmp_path / "desk"
    folder.mkdir()
    case = await scenario.ask("ana")
    await scenario.withdraw("ana", case)
    (folder / "case.json").write_bytes(await scenario.export("aud", case))
    (folder / "key").write_text(scenario.key.verifier.vkey)
    await index_cases.index(scenario.service)
    for name, asked in (("present", case.case.id), ("absent", new_id("mun"))):
        answer = await api.get("aud", f"/v1/evidence/index/{asked}")
        assert answer.status_code == 200
        (folder / name).write_bytes(answer.content)
    return folder


def check(folder: Path, name: str, *arguments: str) -> Result:
    command = ["check", str(folder / name), "--log-key", str(folder / "key"), *arguments]
    return CliRunner().invoke(completeness_command, command, catch_exceptions=False)


async def test_who_may_not_look_is_told_nothing(api: HttpApi) -> None:
    case = (await api.scenario.ask("ana")).case.id
    await index_cases.index(api.scenario.service)
    assert (await api.get("ana", f"/v1/evidence/index/{case}")).status_code == 200
    assert (await api.get("dan", f"/v1/evidence/index/{case}")).status_code == 404
    assert (await api.get("dan", f"/v1/evidence/index/{new_id('mun')}")).status_code == 403
    assert (await api.get("aud", "/v1/evidence/index/nonsense")).status_code == 404
    assert (await api.get(None, f"/v1/evidence/index/{case}")).status_code == 401


async def test_a_complete_bundle_is_called_complete_with_size_and_time(desk: Path) -> None:
    done = check(desk, "present", "--bundle", str(desk / "case.json"))
    assert done.exit_code == 0, done.output
    assert "the bundle has every record that the case had then" in done.output
    assert "COMPLETE as of log size" in done.output
    assert "Not proved: that the index leaves out no record" in done.output


async def test_a_case_that_never_was_is_called_absent(desk: Path) -> None:
    done = check(desk, "absent", "--json")
    value = json.loads(done.output)
    assert done.exit_code == 0
    assert (value["present"], value["position"], value["bundle"]) == (False, None, None)
    assert "ABSENT as of log size" in check(desk, "absent").output


async def test_a_bundle_that_lacks_records_is_called_cut_off(api: HttpApi, desk: Path) -> None:
    case = (await api.scenario.ask("ana")).case.id
    (desk / "early.json").write_bytes(await api.scenario.export("aud", case))
    await api.scenario.withdraw("ana", case)
    await index_cases.index(api.scenario.service)
    (desk / "later").write_bytes((await api.get("aud", f"/v1/evidence/index/{case}")).content)
    done = check(desk, "later", "--bundle", str(desk / "early.json"))
    assert done.exit_code == 1
    assert "CUT OFF as of log size" in done.output


async def test_a_bundle_of_another_case_is_refused(desk: Path) -> None:
    with pytest.raises(ProofInvalid, match="the proof about"):
        check(desk, "absent", "--bundle", str(desk / "case.json"))


def test_the_check_needs_no_service_and_no_database(desk: Path) -> None:
    program = (
        "import sys; from muniment.interfaces.cli.main import run; code = run(sys.argv[1:]);"
        "print({'sqlite3', 'httpx', 'fastapi', 'asyncio', 'pydantic'} & set(sys.modules) or 'none',"
        " file=sys.stderr); sys.exit(code)"
    )
    arguments = ["completeness", "check", str(desk / "present"), "--log-key", str(desk / "key")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--bundle", str(desk / "case.json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (done.returncode, done.stderr.strip()) == (0, "none"), done.stdout


# --- what asks for it ---------------------------------------------------------------------------


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def test_the_proof_is_written_byte_for_byte_into_a_new_file(
    service: FakeService, tmp_path: Path
) -> None:
    service.on("GET", f"/v1/evidence/index/{CASE}", '{"a":"proof"}')
    path = tmp_path / "proof"
    assert run(["completeness", "prove", CASE, "-o", str(path)]) == 0
    assert path.read_bytes() == b'{"a":"proof"}'
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(["completeness", "prove", CASE, "-o", str(path)]) == 1


def test_a_beginning_of_an_id_is_no_case(service: FakeService, tmp_path: Path) -> None:
    for case in (CASE[:12], "../../log/key", "mun_", ""):
        assert run(["completeness", "prove", case, "-o", str(tmp_path / "proof")]) == 2
    assert service.asked == []


def test_a_refused_proof_leaves_no_file(service: FakeService, tmp_path: Path) -> None:
    service.on("GET", f"/v1/evidence/index/{CASE}", problem(404, "no"))
    assert run(["completeness", "prove", CASE, "-o", str(tmp_path / "proof")]) == 1
    assert list(tmp_path.iterdir()) == []
