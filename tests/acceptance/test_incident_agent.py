"""An agent asks to write in a freeze, then may look; what it says is beside what the log says."""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from acceptance.conftest import PROGRAM, RESOURCE
from acceptance.incident_stage import Stage, lines_of, log_in, staged, until

pytestmark = [pytest.mark.target, pytest.mark.deep]

_TASK: Final = "INC-7"
_CLAIM: Final = "I only look, and I change nothing"
_RULE: Final = """// Nobody's agent writes to production until the release is out.
@id("forbid.freeze")
@title("No agent writes to production in the freeze")
forbid (
  principal is Muniment::Agent,
  action == Muniment::Action::"request",
  resource == Muniment::Role::"my-database/readwrite"
)
when { context.now >= datetime("2020-01-01") && context.now < datetime("2120-01-01") };
"""
_AGENT: Final = """
[agents.fixer]
sponsor = "ana"

[resources.my-database.roles.readonly]
grants = ["app_ro"]
"""
_READERS: Final = (
    "CREATE ROLE app_ro NOLOGIN",
    "GRANT SELECT ON orders TO app_ro",
    "GRANT app_ro TO muniment_connector WITH ADMIN OPTION",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """`acting` is the token by which the agent works on its task for ana."""
    with staged(
        tmp_path_factory.mktemp("agent"),
        before=_READERS,
        settings=_AGENT,
        rules={"25-freeze.cedar": _RULE},
        logins=["fixer"],
    ) as made:
        roles = f"{RESOURCE}/readwrite,{RESOURCE}/readonly"
        handed = subprocess.run(
            [PROGRAM, "delegate", "fixer", "--roles", roles, "--task", _TASK, "--json"],
            env=made.environment("ana") | {"MUNIMENT_AGENT_TOKEN": made.tokens["fixer"]},
            capture_output=True,
            text=True,
            check=True,
        )
        made.tokens["acting"] = json.loads(handed.stdout)["access_token"]
        yield made


@pytest.fixture(scope="module")
def denied(stage: Stage) -> Any:
    """The agent asks to write."""
    return ask(stage, "readwrite", "delete the test orders")


@pytest.fixture(scope="module")
def worked(stage: Stage, denied: Any) -> str:
    """It may look; it tries to delete all the same, and says that it changed nothing."""
    case: str = ask(stage, "readonly", _CLAIM)["case"]
    stage.json("approve", case, as_="bo")
    credential = stage.json("credential", case, as_="acting")
    with log_in(credential) as session:
        session.execute("SELECT count(*) FROM orders")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM orders")
    stage.json("end", case, as_="acting")
    return case


def ask(stage: Stage, role: str, reason: str) -> Any:
    words = ("--reason", reason, "--ticket", _TASK, "--for", "10m", "--json")
    done = stage.muniment("request", RESOURCE, role, *words, as_="acting")
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["state"] == "denied" else 0), done.stderr
    return told


def test_the_freeze_denies_by_a_rule_with_its_place(stage: Stage, denied: Any) -> None:
    assert denied["state"] == "denied"
    first = denied["decision"]["rules"][0]
    assert (first["id"], first["file"]) == ("forbid.freeze", "policies/25-freeze.cedar")
    assert _RULE.splitlines()[first["line"] - 1] == '@id("forbid.freeze")'
    shown = stage.muniment("show", denied["case"], as_="ana").stdout
    assert "policies/25-freeze.cedar:2" in shown


def test_the_denial_is_a_record_under_the_policy_as_it_was(stage: Stage, denied: Any) -> None:
    story = stage.json("show", denied["case"], as_="aud")
    _, decided, closed = story["timeline"]
    assert closed["kind"] == "case:closed"
    assert decided["record"]["outcome"] == "deny"
    assert "forbid.freeze" in decided["record"]["rules"]
    (activated,) = stage.headers(b'"policy:activated"')
    assert decided["record"]["bundle"] == json.loads(activated)["body"]["bundle"]


def test_the_denial_can_be_recomputed_from_the_evidence_alone(stage: Stage, denied: Any) -> None:
    stage.json("evidence", "export", denied["case"], "-o", "denied.mun", as_="aud")
    check = ("denied.mun", "--log-key", str(stage.log_key))
    assert stage.muniment("verify", *check, "--require", "complete").returncode == 0
    replayed = stage.muniment("replay", *check, "--require", "replay")
    assert replayed.returncode == 0, replayed.stdout
    assert "1 of 1 decisions" in replayed.stdout


def test_human_agent_and_task_stand_behind_what_was_asked(stage: Stage, denied: Any) -> None:
    story = stage.json("show", denied["case"], as_="aud")
    actor, names = story["timeline"][0]["record"]["actor"], story["names"]
    assert (actor["type"], names[actor["principal"]]) == ("agent", "fixer")
    assert names[actor["sponsor"]] == "ana"
    shown = stage.muniment("show", denied["case"], as_="aud").stdout
    assert any(line.split() == ["acts", "for", "ana"] for line in shown.splitlines())
    stage.json("evidence", "export", denied["case"], "-o", "chain.mun", as_="aud")
    assert handed_on(stage, "chain.mun", actor["sign_in"]["session"]) == {"task": _TASK}


def handed_on(stage: Stage, bundle: str, session: str) -> Any:
    """What the evidence has, under seal, of the delegation that the agent worked under."""
    held = json.loads((stage.desk / bundle).read_bytes())
    (record,) = [
        each for each in records_of(held) if json.loads(each["header"])["id"] == f"{session}/0"
    ]
    return json.loads(base64.b64decode(record["sections"]["task"]["content"]))


def records_of(value: Any) -> Iterator[dict[str, Any]]:
    """Every record in a bundle, wherever it stands."""
    if isinstance(value, dict):
        if "header" in value and "sections" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from records_of(each)


def test_what_the_agent_says_stands_beside_what_the_target_says(stage: Stage, worked: str) -> None:
    def is_whole(answer: Any) -> bool:
        return any(line["type"] == "session.closed" for line in lines_of(answer))

    story = until(lambda: stage.json("show", worked, as_="aud"), is_whole)
    assert story["timeline"][0]["sections"]["reason"]["text"] == _CLAIM
    deletes = [line for line in lines_of(story) if "DELETE" in line["detail"]]
    assert {(line["type"], line["failed"]) for line in deletes} == {
        ("statement", False),
        ("error", True),
    }
    assert {line["standing"] for line in lines_of(story)} == {"within"}
    shown = stage.muniment("show", worked, as_="ana").stdout
    assert _CLAIM in shown
    assert "permission denied for table orders: DELETE FROM orders" in shown


def test_what_it_was_allowed_is_in_the_record(stage: Stage, worked: str) -> None:
    story = stage.json("show", worked, as_="aud")
    assert (story["role"], story["seconds"]) == ("readonly", 600)
    definitions = {each["record"].get("definition") for each in story["timeline"]} - {None}
    (defined,) = [each for each in stage.headers(b'"role:defined"') if '"readonly"' in each]
    assert definitions == {json.loads(defined)["body"]["definition"]}
