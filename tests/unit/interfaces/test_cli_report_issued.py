"""`muniment report --issued` as a person runs it, against a service that is a script."""

import json
from typing import Any

import pytest
from fake_service import ANA, BO, NAMES, START, FakeService

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def made(name: str, by: str, **more: Any) -> dict[str, Any]:
    return {
        "report": f"rpt_{name * 26}", "framework": "soc2", "since": "2026-01-01T00:00:00.000Z",
        "until": "2027-01-01T00:00:00.000Z", "resources": [], "by": by, "at": START,
        "size": 4711, "root": "ab" * 32, "digest": "cd" * 32, **more,
    }  # fmt: skip


def test_reports_are_listed_with_period_maker_and_log(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on(
        "GET", "/v1/reports",
        {"reports": [made("a", ANA)], "next": "rpt_x", "names": NAMES},
        {
            "reports": [made("b", BO, framework="x\x1b[31m", until="2026-07-01T09:30:00.000Z")],
            "next": None, "names": NAMES,
        },
    )  # fmt: skip
    assert run(["report", "--issued"]) == 0
    out = capsys.readouterr().out
    assert "rpt_aaaaaaaa  soc2" in out
    assert "2026-01-01..2026-12-31  ana" in out
    assert "2026-01-01..2026-07-01  bo" in out
    assert "4,711" in out
    assert "abababababababab" in out
    assert "\x1b[31m" not in out
    assert service.count("GET", "/v1/reports") == 2


def test_that_there_is_none_is_said(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/reports", {"reports": [], "next": None, "names": {}})
    assert run(["report", "--issued"]) == 0
    assert "no report was made" in capsys.readouterr().out


def test_as_json_nothing_is_shortened(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/reports", {"reports": [made("a", ANA)], "next": None, "names": NAMES})
    assert run(["report", "--issued", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["reports"]
    assert told["root"] == "ab" * 32


def test_listing_reports_and_making_one_are_two_commands(service: FakeService) -> None:
    assert run(["report", "--issued", "--framework", "soc2"]) == 2
    assert not service.asked
