"""What those who watch over accounts tell us, what follows from it, and what forged signals gain."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from delegations import STAGING, Acting
from vouching import FOREIGN, ISSUER, US, Line, believe, sign

from muniment.access import records
from muniment.errors import Unauthenticated
from muniment.interfaces.http.app import make_app
from muniment.operations import request, sign_in, signals
from muniment.operations.facts import Reason
from muniment.operations.providers import ProviderRules
from muniment.operations.request import AccessAsk
from muniment.operations.take_in import ProposedPrincipal
from muniment.ports import Secret
from muniment.runtime.settings import Settings
from muniment.testing.cast import policy_with
from muniment.testing.scenario import Scenario

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
ASK = AccessAsk(
    resource="orders-staging", role="readwrite", seconds=600, reason=Reason(ticket="T-1")
)
RULES = ProviderRules(
    name="watch",
    kind="signals",
    issuer=ISSUER,
    audience=US,
    workload="watcher",
    speaks_of=frozenset((ISSUER,)),
)
MAY_REVOKE = policy_with(
    """
@id("operate.signals")
@title("Whoever watches over accounts may end access")
permit (
  principal is Muniment::Workload in Muniment::Group::"watchers",
  action == Muniment::Action::"operate",
  resource
)
when { context.operation == Muniment::Operation::"revoke" };
"""
)


@pytest.fixture
async def line(scenario: Scenario) -> Line:
    scenario.principals["watcher"] = ProposedPrincipal(
        login="watcher", type="workload", groups=("watchers",), sponsor="admin"
    )
    known = [{"issuer": ISSUER, "subject": "sub-ana"}]
    ana = scenario.principals["ana"]
    scenario.principals["ana"] = replace(ana, identity={**ana.identity, "accounts": known})
    await scenario.activate(MAY_REVOKE)
    return believe(scenario, RULES)


def event(scenario: Scenario, uri: str = f"{CAEP}session-revoked", **changed: Any) -> str:
    """A good security event token about ana, with these claims changed; None takes one away."""
    said = changed.pop("said", {})
    claims = {
        "iss": ISSUER,
        "aud": US,
        "iat": int(scenario.clock.wall.timestamp()),
        "jti": "set-1",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "sub-ana"},
        "events": {uri: said},
        **changed,
    }
    typ, key = claims.pop("typ", "secevent+jwt"), claims.pop("key", None)
    claims = {name: value for name, value in claims.items() if value is not None}
    return sign(claims, typ, key) if key is not None else sign(claims, typ)


def received(scenario: Scenario) -> list[records.SignalReceived]:
    entries = [
        records.parse(entry.header)
        for index in range(scenario.service.log.size)
        if (entry := scenario.service.log.read_entry(index)).header.kind == "signal:received"
    ]
    return [each for each in entries if isinstance(each, records.SignalReceived)]


async def take(scenario: Scenario, token: str) -> records.SignalReceived:
    await signals.receive(scenario.service, "watch", token)
    await scenario.work()
    return received(scenario)[-1]


# --- what follows -------------------------------------------------------------------------------


async def test_a_revoked_session_ends_sessions_and_access(scenario: Scenario, line: Line) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana", "robo")
    await acting.sign_in("ana")
    picked = await scenario.granted("ana")
    agents = await acting.granted("robo")
    held = scenario.login(picked)
    taken = await take(scenario, event(scenario))
    assert (taken.event, taken.action, taken.about) == (
        "session-revoked",
        "end",
        scenario.ids["ana"],
    )
    assert scenario.last(picked, records.GrantRevoked).reason == "signal"
    assert scenario.last(agents, records.GrantRevoked).reason == "signal"
    assert not held.alive
    assert scenario.service.registry.sessions == {}
    assert line.posted == []


async def test_what_it_brings_about_follows_its_record(scenario: Scenario, line: Line) -> None:
    picked = await scenario.granted("ana")
    await take(scenario, event(scenario))
    [*_, entry] = [e for e in scenario.entries(picked) if e.header.kind == "grant:revoked"]
    index = scenario.service.registry.indexes[entry.header.follows[0]]
    signal = scenario.service.log.read_entry(index)
    assert signal.header.kind == "signal:received"
    sealed = scenario.service.section(signal, "set")
    assert sealed is not None
    assert sealed["set"].count(".") == 2
    assert b"set-1" not in signal.data


async def test_a_lesser_signal_only_asks_for_a_fresh_sign_in(
    scenario: Scenario, line: Line
) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana")
    await acting.sign_in("ana")
    picked = await scenario.granted("ana")
    token = event(scenario, f"{CAEP}risk-level-change", said={"current_level": "MEDIUM"})
    assert (await take(scenario, token)).action == "close-sessions"
    assert scenario.service.registry.sessions == {}
    assert scenario.read(picked).state == "issued"


async def test_a_static_token_from_before_a_signal_that_ends_access_is_worth_nothing(
    scenario: Scenario, line: Line
) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana", "bo")
    before = acting.caller("ana")
    await take(scenario, event(scenario))
    with pytest.raises(Unauthenticated, match="a new token has to be enrolled"):
        acting.caller("ana")
    with pytest.raises(Unauthenticated):
        await request.request(scenario.service, before, ASK)
    acting.caller("bo")
    await scenario.restart()
    with pytest.raises(Unauthenticated, match="a new token has to be enrolled"):
        acting.caller("ana")
    await acting.enrol("ana")
    assert acting.caller("ana").principal.id == scenario.ids["ana"]


async def test_a_static_token_survives_a_lesser_signal(scenario: Scenario, line: Line) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana")
    await take(
        scenario, event(scenario, f"{CAEP}risk-level-change", said={"current_level": "MEDIUM"})
    )
    acting.caller("ana")


async def test_a_signal_about_its_sponsor_ends_what_an_agent_asked_for_itself(
    scenario: Scenario, line: Line
) -> None:
    """Until the sponsor is seen again, the agent acts for nobody."""
    acting = Acting(scenario)
    await acting.enrol("ana", "robo")
    agents = await acting.granted("robo")
    await take(scenario, event(scenario, f"{RISC}account-disabled"))
    assert scenario.last(agents, records.GrantRevoked).reason == "signal"
    with pytest.raises(Unauthenticated, match="he signs in anew"):
        await acting.ask("robo")
    await acting.enrol("ana")
    assert (await acting.ask("robo")).case.state == "approved"


async def test_access_from_after_the_signal_stands(scenario: Scenario, line: Line) -> None:
    await take(scenario, event(scenario))
    picked = await scenario.granted("ana", STAGING)
    await scenario.change("ana", groups=("engineering", "sre-leads"))
    await scenario.work()
    assert scenario.read(picked).state == "issued"


@pytest.mark.parametrize(
    ("uri", "said", "action"),
    [
        (f"{CAEP}session-revoked", {}, "end"),
        (f"{RISC}account-disabled", {"reason": "hijacking"}, "end"),
        (f"{RISC}account-purged", {}, "end"),
        (f"{RISC}credential-compromise", {}, "end"),
        (f"{CAEP}credential-change", {"change_type": "revoke"}, "end"),
        (f"{CAEP}credential-change", {"change_type": "create"}, "close-sessions"),
        (f"{CAEP}credential-change", {"change_type": ["delete"]}, "none"),
        (f"{CAEP}risk-level-change", {"current_level": "HIGH"}, "end"),
        (f"{CAEP}risk-level-change", {"current_level": "LOW"}, "none"),
        (f"{CAEP}device-compliance-change", {"current_status": "not-compliant"}, "end"),
        (f"{CAEP}device-compliance-change", {"current_status": "compliant"}, "none"),
        (f"{CAEP}assurance-level-change", {"change_direction": "decrease"}, "close-sessions"),
        (f"{SSF}verification", {"state": "x"}, "none"),
        ("https://elsewhere.example/session-revoked", {}, "none"),
    ],
)
def test_the_table_says_what_an_event_means(uri: str, said: dict[str, Any], action: str) -> None:
    assert signals.consequence(uri, said) == action


async def test_without_a_rule_for_it_a_signal_is_recorded_and_nothing_follows(
    scenario: Scenario, line: Line
) -> None:
    await scenario.change("watcher", groups=())
    picked = await scenario.granted("ana")
    taken = await take(scenario, event(scenario))
    assert (taken.action, taken.why) == ("none", "not-permitted")
    assert scenario.read(picked).state == "issued"


async def test_a_signal_about_nobody_known_is_recorded_and_nothing_follows(
    scenario: Scenario, line: Line
) -> None:
    by_mail = {"format": "email", "email": "ana@example.com"}
    taken = await take(scenario, event(scenario, sub_id=by_mail))
    assert (taken.about, taken.action, taken.why) == (None, "none", "unknown-subject")


async def test_the_user_of_a_complex_subject_counts(scenario: Scenario, line: Line) -> None:
    user = {"format": "iss_sub", "iss": ISSUER, "sub": "sub-ana"}
    taken = await take(scenario, event(scenario, sub_id={"format": "complex", "user": user}))
    assert taken.action == "end"


async def test_the_same_subject_of_another_issuer_is_somebody_else(
    scenario: Scenario, line: Line
) -> None:
    subject = {"format": "iss_sub", "iss": "https://other.example", "sub": "sub-ana"}
    assert (await take(scenario, event(scenario, sub_id=subject))).about is None


async def test_a_source_speaks_of_nobody_but_the_people_it_was_trusted_with(
    scenario: Scenario, line: Line
) -> None:
    believe(scenario, replace(RULES, speaks_of=frozenset(("https://other.example",))))
    taken = await take(scenario, event(scenario))
    assert (taken.action, taken.why, taken.about) == ("none", "unknown-subject", None)


async def test_a_crash_before_the_effect_is_made_good_after_the_restart(
    scenario: Scenario, line: Line
) -> None:
    picked = await scenario.granted("ana")
    await signals.receive(scenario.service, "watch", event(scenario))
    await scenario.restart()
    await scenario.work()
    assert scenario.last(picked, records.GrantRevoked).reason == "signal"


async def test_a_signal_counts_once_also_after_a_restart(scenario: Scenario, line: Line) -> None:
    await take(scenario, event(scenario))
    await take(scenario, event(scenario))
    await scenario.restart()
    believe(scenario, RULES)
    await take(scenario, event(scenario))
    assert len(received(scenario)) == 1
    await take(scenario, event(scenario, jti="set-2"))
    assert len(received(scenario)) == 2


# --- attacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"typ": "JWT"}, "invalid_request"),
        ({"sub": "ana"}, "invalid_request"),
        ({"exp": 1_900_000_000}, "invalid_request"),
        ({"iss": "https://foreign.example"}, "invalid_issuer"),
        ({"aud": "https://elsewhere.example"}, "invalid_audience"),
        ({"key": FOREIGN}, "authentication_failed"),
        ({"jti": None}, "authentication_failed"),
        ({"events": {}}, "authentication_failed"),
    ],
)
async def test_a_signal_that_does_not_hold_is_refused_and_not_recorded(
    scenario: Scenario, line: Line, changed: dict[str, Any], code: str
) -> None:
    size, token = scenario.service.log.size, event(scenario, **changed)
    with pytest.raises(Unauthenticated):
        await signals.receive(scenario.service, "watch", token)
    assert signals.code(scenario.service, "watch", token) == code
    assert scenario.service.log.size == size


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "e30.e30.", "W10.W10.x", "\x00" * 50])
async def test_what_is_no_token_is_an_invalid_request(
    scenario: Scenario, line: Line, token: str
) -> None:
    with pytest.raises(Unauthenticated):
        await signals.receive(scenario.service, "watch", token)
    assert signals.code(scenario.service, "watch", token) == "invalid_request"


async def test_a_session_that_a_signal_closed_is_not_opened_again_by_its_token(
    scenario: Scenario, line: Line
) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana")
    session = await acting.sign_in("ana")
    await take(scenario, event(scenario))
    assert session.opened.token in scenario.service.registry.spent
    with pytest.raises(Unauthenticated):
        await sign_in.by_platform_token(scenario.service, acting.tokens["ana"])


async def test_a_token_from_before_the_signal_opens_no_session_for_its_person(
    scenario: Scenario, line: Line
) -> None:
    known = {"issuer": ISSUER, "kind": "workload", "claims": {"sub": "robo-7"}}
    await scenario.change("robo", identity={"identities": [known]})
    believe(scenario, RULES, replace(RULES, name="platform", kind="workload", workload=None))

    def acting_for_ana() -> str:
        at = int(scenario.clock.wall.timestamp())
        said = {"iss": ISSUER, "aud": US, "iat": at, "exp": at + 300, "sub": "sub-ana"}
        return sign({**said, "act": {"sub": "robo-7"}})

    kept = acting_for_ana()
    await scenario.advance(timedelta(seconds=2))
    await take(scenario, event(scenario))
    with pytest.raises(Unauthenticated, match="a signal"):
        await sign_in.by_platform_token(scenario.service, kept)
    await scenario.advance(timedelta(seconds=2))
    await sign_in.by_platform_token(scenario.service, acting_for_ana())


# --- pushed (RFC 8935) --------------------------------------------------------------------------


async def push(scenario: Scenario, folder: Path, body: str, **headers: str) -> httpx.Response:
    settings = Settings.model_validate({"installation": {"origin": "muniment.example/scenario"}})
    opened: Any = SimpleNamespace(service=scenario.service, settings=settings, sign_ins={})
    transport = httpx.ASGITransport(make_app(opened, folder, work=False))
    sent = {"Content-Type": "application/secevent+jwt", **headers}
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.post("/v1/signals/watch", content=body, headers=sent)


async def test_rfc8935_2_2_what_was_recorded_is_accepted_with_an_empty_body(
    scenario: Scenario, line: Line, tmp_path: Path
) -> None:
    for _ in range(2):
        response = await push(scenario, tmp_path, event(scenario))
        assert (response.status_code, response.content) == (202, b"")
    assert len(received(scenario)) == 1


async def test_rfc8935_2_3_a_refusal_says_which_and_why(
    scenario: Scenario, line: Line, tmp_path: Path
) -> None:
    response = await push(scenario, tmp_path, event(scenario, aud="https://elsewhere.example"))
    assert response.status_code == 400
    assert response.json()["err"] == "invalid_audience"
    assert response.headers["content-language"] == "en"
    other = await push(scenario, tmp_path, event(scenario), **{"Content-Type": "application/json"})
    assert other.json()["err"] == "invalid_request"


async def test_a_bearer_token_that_was_agreed_upon_has_to_be_there(
    scenario: Scenario, line: Line, tmp_path: Path
) -> None:
    believe(scenario, replace(RULES, push_token=Secret("agreed")))
    without = await push(scenario, tmp_path, event(scenario))
    assert (without.status_code, without.json()["err"]) == (400, "authentication_failed")
    assert received(scenario) == []
    shown = await push(scenario, tmp_path, event(scenario), Authorization="Bearer agreed")
    assert shown.status_code == 202


# --- fetched (RFC 8936) -------------------------------------------------------------------------


async def test_rfc8936_what_is_fetched_is_acknowledged_once_it_stands(
    scenario: Scenario, line: Line
) -> None:
    line = believe(
        scenario, replace(RULES, poll="https://issuer.example/poll", poll_token=Secret("t"))
    )
    bad = event(scenario, jti="set-2", aud="https://elsewhere.example")
    sets = {"sets": {"set-1": event(scenario), "set-2": bad}}
    line.answers = [json.dumps(sets).encode()]
    await scenario.work()
    assert [each.event for each in received(scenario)] == ["session-revoked"]
    first, second = line.posted
    assert first == {"maxEvents": 50, "returnImmediately": True}
    assert second["ack"] == ["set-1"]
    assert second["setErrs"]["set-2"]["err"] == "invalid_audience"
    assert line.headers[0]["Authorization"] == "Bearer t"


async def test_rfc8936_what_could_not_be_recorded_is_not_acknowledged(
    scenario: Scenario, line: Line
) -> None:
    line = believe(scenario, replace(RULES, poll="https://issuer.example/poll"))
    answer = json.dumps({"sets": {"set-1": event(scenario)}}).encode()
    line.answers = [answer]
    scenario.break_log()
    await scenario.work()
    assert all("ack" not in body for body in line.posted)
    scenario.mend_log()
    line.answers = [answer]
    await scenario.advance(timedelta(minutes=2))
    assert len(received(scenario)) == 1


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"sets": 1}', b"[" * 5000])
async def test_an_answer_that_is_none_brings_nothing(
    scenario: Scenario, line: Line, answer: bytes
) -> None:
    line = believe(scenario, replace(RULES, poll="https://issuer.example/poll"))
    line.answers = [answer]
    await scenario.work()
    assert received(scenario) == []


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        ({"kind": "signals", "workload": "nobody"}, "names no workload"),
        ({"kind": "workload", "poll": "https://issuer.example/poll"}, "are for signals"),
        ({"kind": "workload", "push_token": "env:T"}, "are for signals"),
    ],
)
def test_settings_of_signals_that_do_not_hold_are_refused(
    provider: dict[str, str], why: str
) -> None:
    settings = {
        "installation": {"origin": "muniment.example/scenario"},
        "providers": {"watch": {"issuer": ISSUER, "audience": US, **provider}},
    }
    with pytest.raises(ValueError, match=why):
        Settings.model_validate(settings)
