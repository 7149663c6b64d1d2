"""A shared service account is used, and nobody was ever granted it: findings, and no case at all."""

import json
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from acceptance.conftest import RESOURCE
from acceptance.incident_stage import Stage, by_hand, said, staged

pytestmark = [pytest.mark.target, pytest.mark.deep]

_PASSWORD: Final = "kept in a browser by several people"
#: of the form of a grant's account, and of no grant
_FORGED: Final = "mun_" + "a" * 26


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("service-account")) as made:
        made.json("drift", RESOURCE, as_="admin")  # what stood there before is no incident
        yield made


@pytest.fixture(scope="module")
def granted(stage: Stage) -> str:
    """An ordinary case, so that a search does not find nothing because there is nothing."""
    case: str = stage.json("credential", stage.approved())["case"]
    stage.json("end", case)
    return case


@pytest.fixture(scope="module")
def differences(stage: Stage, granted: str) -> dict[str, Any]:
    """Two accounts are made by hand, and used; what a look at the target says of each."""
    for name in ("reports", _FORGED):
        by_hand(stage.server, f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}' IN ROLE app_rw")
        with psycopg.connect(stage.server.address, user=name, password=_PASSWORD) as session:
            session.execute("TABLE orders")
    done = stage.muniment("drift", RESOURCE, "--json", as_="admin")
    assert done.returncode == 1, done.stderr
    (seen,) = json.loads(done.stdout)["resources"]
    return {each["account"]: each for each in seen["differences"]}


def test_the_account_is_found_at_the_target_as_nobodys_grant(
    stage: Stage, differences: dict[str, Any]
) -> None:
    told = {name: (each["what"], each["severity"]) for name, each in differences.items()}
    assert told["reports"] == ("out-of-band", "high")
    assert told[_FORGED] == ("unknown-grant", "critical")
    finding = stage.json("findings", "show", differences["reports"]["finding"], as_="aud")
    assert (finding["rule"], finding["state"]) == ("access-without-grant", "open")
    assert finding["about"] == []
    assert said(finding)["detail"] == "account reports"


def test_the_targets_log_says_whose_account_gave_it_out(
    stage: Stage, differences: dict[str, Any]
) -> None:
    (finding,) = stage.findings("role-written-by-others")
    told = said(finding)
    assert told["detail"] == "postgres CREATE ROLE reports"
    (event,) = told["evidence"]
    source, _, number = event.partition("#")
    (proved,) = stage.proved_events(source, number)
    line = json.loads(proved["text"])
    assert line["user"] == "postgres"
    assert "CREATE ROLE reports LOGIN" in line["message"]


def test_the_use_of_an_id_that_no_grant_has_is_a_finding_of_its_own(
    stage: Stage, differences: dict[str, Any]
) -> None:
    (finding,) = stage.findings("use-outside-window")
    assert (finding["severity"], finding["about"]) == ("critical", [])
    assert _FORGED in said(finding)["detail"]


def test_no_case_of_the_whole_log_gave_it_out(
    stage: Stage, granted: str, differences: dict[str, Any]
) -> None:
    cases = stage.json("list", "--all", "--limit", "1000", as_="aud")
    assert cases["next"] is None  # that was all of them
    stories = stage.json("show", "--resource", RESOURCE, "--limit", "1000", as_="aud")
    assert stories["next"] is None
    assert {each["case"] for each in stories["stories"]} == {
        each["case"] for each in cases["cases"]
    }
    assert {each["account"] for each in stories["stories"]} == {granted}
    for name in differences:
        assert stage.muniment("whois", name, as_="aud").returncode == 1
    audit = ("audit", str(stage.folder), "--full", "--log-key", str(stage.log_key))
    whole = stage.json(*audit)
    assert whole["holds"]
    assert whole["indexes"] == 1  # made again from the log, and it leaves no case out


def test_that_no_approval_exists_is_proved_offline(stage: Stage, granted: str) -> None:
    """Not by a row that is not there: by the neighbours between which it would have to stand."""
    stage.json("completeness", "prove", _FORGED, "-o", "absent.json", as_="aud")
    check = ("completeness", "check", "absent.json", "--log-key", str(stage.log_key))
    shown = stage.json(*check)
    assert (shown["case"], shown["present"]) == (_FORGED, False)
    assert "anything about what was appended after it" in shown["not_proved"]
    told = stage.muniment(*check)
    assert f"ABSENT as of log size {shown['as_of']}" in told.stdout
    file = stage.desk / "absent.json"
    requester = stage.json("show", granted)["requester"]
    file.write_text(file.read_text().replace(_FORGED, requester))
    assert stage.muniment(*check).returncode == 1  # of a case that there is nobody can show it
