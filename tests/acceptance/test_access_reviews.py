"""A review of access by several people on a real PostgreSQL: from its opening to its bundle."""

import base64
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.conftest import (
    LOGINS,
    RESOURCE,
    Installation,
    _operate,
    _prepare,
    _serving,
    _token,
)
from acceptance.incident_stage import log_in
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.target, pytest.mark.deep]

_CAMPAIGN = """
[people.cy]
groups = ["team-leads"]

[people.dan]
groups = ["team-leads"]

[people.boss]
groups = ["managers"]

[people.aud]
groups = ["auditors"]

[people.sec]
groups = ["security"]

[[campaigns]]
name = "grants"
what = "grants"
reviewers = "team-leads"
fallback = "security"
sign_off = "managers"
days = 10

[[campaigns]]
name = "eligible"
what = "eligibility"
reviewers = "team-leads"
fallback = "security"
sign_off = "managers"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A service in front of a real target, with a review in its configuration."""
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    base = tmp_path_factory.mktemp("reviews")
    with PostgresServer.start(base / "target") as server:
        password = secrets.token_urlsafe(16)
        _prepare(server, password)
        folder, desk = base / "conf", base / "desk"
        desk.mkdir()
        _operate("init", str(folder), "--postgres", server.address)
        path = folder / "muniment.toml"
        # at the end stand tables: what follows them is theirs
        path.write_text(path.read_text() + _CAMPAIGN)
        people = (*LOGINS, "cy", "dan", "boss", "aud", "sec")
        tokens = {login: _token(folder, login) for login in people}
        environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": password}
        with _serving(folder, environment, base / "serve.log") as url:
            yield Installation(folder=folder, url=url, tokens=tokens, server=server, desk=desk)


def until_applied(stage: Installation, case: str) -> Any:
    for _ in range(150):
        found = stage.json("reviews", "show", case, as_="sec")
        if not found["outstanding"]:
            return found
        time.sleep(0.1)
    raise AssertionError("what was revoked is outstanding still")


def test_two_people_review_what_was_granted_and_a_third_signs_it(stage: Installation) -> None:
    first, second = stage.approved(), stage.approved()
    kept, revoked = stage.json("credential", first), stage.json("credential", second)
    session = log_in(revoked)
    assert stage.muniment("reviews", "open", "grants", as_="ana").returncode == 1
    opened = stage.json("reviews", "open", "grants", as_="sec")
    case = opened["campaign"]
    assert opened["items"] == 2

    by_case: dict[str, tuple[str, int]] = {}
    for login in ("cy", "dan"):
        page = stage.json("reviews", "show", case, "--mine", as_=login)
        (item,) = page["items"]
        by_case[item["case"]] = (login, item["item"])
    assert by_case.keys() == {first, second}

    keeper, item = by_case[first]
    stage.json("reviews", "decide", case, str(item), "--keep", as_=keeper)
    other = next(login for login in ("cy", "dan") if login != keeper)
    assert stage.muniment("reviews", "decide", case, str(item), "--keep", as_=other).returncode == 1
    revoker, item = by_case[second]
    no_reason = stage.muniment("reviews", "decide", case, str(item), "--revoke", as_=revoker)
    assert "takes a reason" in no_reason.stderr
    done = ("decide", case, str(item), "--revoke", "--reason", "the work is over")
    stage.json("reviews", *done, as_=revoker)

    found = until_applied(stage, case)
    assert found["applied"] == 1
    with pytest.raises(psycopg.Error):
        session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        log_in(revoked)
    with log_in(kept) as still:
        still.execute("SELECT 1")

    assert stage.muniment("reviews", "sign", case, as_="sec").returncode == 1
    stage.json("reviews", "sign", case, "--note", "seen", as_="boss")
    stage.json("reviews", "close", case, as_="boss")
    again = stage.muniment("reviews", "show", case, "--recompute", as_="sec")
    assert again.returncode == 0, again.stdout + again.stderr
    _prove(stage, case)
    stage.json("end", first)


def _prove(stage: Installation, case: str) -> None:
    bundle = stage.desk / "review.json"
    done = stage.muniment("evidence", "export", case, "-o", str(bundle), as_="boss")
    assert done.returncode == 0, done.stderr
    verified = verify(stage, bundle)
    assert verified["holds"]
    assert [step["step"] for step in verified["steps"]][-5:] == [13, 14, 15, 16, 17]
    assert verified["steps"][-1]["detail"] == "1 ended"
    value = json.loads(bundle.read_bytes())
    for name in value["documents"]:
        document = bytearray(base64.b64decode(value["documents"][name]))
        document[len(document) // 2] ^= 1
        changed = {**value["documents"], name: base64.b64encode(document).decode()}
        tampered = stage.desk / "tampered.json"
        tampered.write_bytes(
            json.dumps(
                {**value, "documents": changed}, sort_keys=True, separators=(",", ":")
            ).encode()
        )
        assert not verify(stage, tampered)["holds"]


def verify(stage: Installation, file: Path) -> Any:
    done = stage.muniment("verify", str(file), "--log-key", str(stage.log_key), "--json")
    return json.loads(done.stdout)


def test_what_a_review_takes_nobody_can_ask_for_until_it_is_given_back(
    stage: Installation,
) -> None:
    case = stage.json("reviews", "open", "eligible", as_="sec")["campaign"]
    page = stage.json("reviews", "show", case, "--items", as_="sec")
    ana = stage.json("whoami")["principal"]
    (item,) = [
        each
        for each in page["items"]
        if each["what"] == "access" and each["principal"] == ana and each["role"] == "readwrite"
    ]
    names = page["names"]
    who = names[item["reviewer"]]
    done = ("decide", case, str(item["item"]), "--revoke", "--reason", "changed teams")
    stage.json("reviews", *done, as_=who)
    until_applied(stage, case)
    asked = stage.muniment(
        "request", RESOURCE, "readwrite", "--reason", "again", "--ticket", "OPS-2", "--json"
    )
    assert asked.returncode == 1
    assert "muniment:review" in asked.stdout
    back = ("restore", "ana", RESOURCE, "readwrite", "--reason", "and back")
    assert stage.muniment("reviews", *back, as_="ana").returncode == 1
    stage.json("reviews", *back, as_="sec" if who != "sec" else "admin")
    stage.json("withdraw", stage.request())
