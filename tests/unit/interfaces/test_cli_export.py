"""`muniment evidence export` and `head` write one new file, or none."""

import json
from pathlib import Path

import pytest
from fake_service import CASE, FakeService, case, problem

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run

_EXPORT = f"/v1/cases/{CASE}/evidence"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    fake.on("GET", f"/v1/cases/{CASE}", case())
    fake.on("POST", _EXPORT, {"a": "bundle"}).on("GET", "/v1/log/key", {"a": "key"})
    return fake


def test_the_file_is_for_its_owner_alone(service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    assert run(["evidence", "export", CASE, "-o", str(path)]) == 0
    assert path.read_bytes() == b'{"a":"bundle"}'
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_file_is_never_written_over_and_nothing_is_asked(
    service: FakeService, tmp_path: Path
) -> None:
    path = tmp_path / "case.json"
    path.write_text("mine")
    assert run(["evidence", "export", CASE, "-o", str(path)]) == 1
    assert path.read_text() == "mine"
    assert service.asked == []


def test_a_refused_export_leaves_no_file(service: FakeService, tmp_path: Path) -> None:
    service.on("POST", _EXPORT, problem(403, "no"))
    assert run(["evidence", "export", CASE, "-o", str(tmp_path / "case.json")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_head_goes_along_as_it_was_kept(service: FakeService, tmp_path: Path) -> None:
    head = tmp_path / "head"
    head.write_text("log\n1\nx\n\n— log abc\n")
    run(["evidence", "export", CASE, "-o", str(tmp_path / "case.json"), "--head", str(head)])
    assert ("POST", _EXPORT, {"heads": [head.read_text()]}) in service.asked


def test_a_folder_that_is_not_there_is_wrong_usage(service: FakeService, tmp_path: Path) -> None:
    assert run(["evidence", "export", CASE, "-o", str(tmp_path / "no/case.json")]) == 2
    assert service.asked == []


_NOTE = "muniment.example/log\n1234\ncm9vdA==\n\n— muniment.example/log c2lnbmF0dXJl\n"


def test_a_head_is_kept_byte_for_byte_in_a_new_file(
    service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/log/checkpoint", _NOTE)
    path = tmp_path / "head"
    assert run(["evidence", "head", "-o", str(path)]) == 0
    assert path.read_bytes() == _NOTE.encode()
    assert "`muniment.example/log` at size 1,234" in capsys.readouterr().out
    assert run(["evidence", "head", "-o", str(path)]) == 1, "an older head is never written over"


def test_a_head_without_a_file_is_printed_as_it_is(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/log/checkpoint", _NOTE)
    assert run(["evidence", "head"]) == 0
    assert capsys.readouterr().out == _NOTE
    assert run(["evidence", "head", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["checkpoint"], answer["size"], answer["file"]) == (_NOTE, 1234, None)


def test_what_is_no_checkpoint_is_not_kept_as_a_head(service: FakeService, tmp_path: Path) -> None:
    service.on("GET", "/v1/log/checkpoint", "<html>somebody else's proxy</html>")
    assert run(["evidence", "head", "-o", str(tmp_path / "head")]) == 3
    assert list(tmp_path.iterdir()) == []
