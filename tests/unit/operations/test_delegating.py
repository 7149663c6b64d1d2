"""A person's agent acts for him, and may do less: never more, never longer, never for another."""

import json
from datetime import timedelta

import pytest
from delegations import STAGING, Acting

from muniment.access import records
from muniment.access.check import verify
from muniment.errors import (
    BundleInvalid,
    Conflict,
    Malformed,
    NotFound,
    NotPermitted,
    Unauthenticated,
)
from muniment.operations import (
    carry_away,
    delegate,
    delegation,
    end,
    explain,
    extend,
    request,
    sign_in,
)
from muniment.operations.delegate import LONGEST, Handed, Origin
from muniment.operations.facts import Reason
from muniment.operations.request import AccessAsk
from muniment.testing.scenario import Scenario

PROD = "orders-prod/readwrite"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def acting(scenario: Scenario) -> Acting:
    made = Acting(scenario)
    await made.enrol("ana", "dan", "robo", "ci")
    return made


async def test_the_agent_acts_in_a_session_that_names_everybody(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo", roles=(STAGING,), max_seconds=900)
    opened = session.opened
    assert (opened.principal, opened.method) == (scenario.ids["robo"], "delegation")
    assert opened.delegation is not None
    assert opened.delegation.chain == (scenario.ids["ana"], scenario.ids["robo"])
    assert opened.delegation.roles == (STAGING,)
    asked = await acting.ask("acting")
    assert asked.case.requested.actor.sign_in is not None
    assert asked.case.requested.actor.sign_in.session == session.case


async def test_what_started_it_is_sealed_and_in_no_header(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo", task="INC-7 of Dr. Who")
    [entry] = scenario.service.log.read_case(session.case)
    assert b"Who" not in entry.data
    assert scenario.service.section(entry, "task") == {"task": "INC-7 of Dr. Who"}


async def test_the_evidence_of_a_delegated_case_carries_the_delegation(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo")
    asked = await acting.ask("acting")
    data = await carry_away.export(scenario.service, scenario.caller("aud"), asked.case.id, ())
    verify(data, scenario.key.verifier)
    kinds = [json.loads(record["header"])["id"] for record in json.loads(data)["records"]]
    assert f"{session.case}/0" in kinds


async def test_evidence_of_more_than_was_delegated_is_invalid(
    scenario: Scenario, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acting.hand_on("ana", "robo", roles=(PROD,))
    monkeypatch.setattr(delegation, "within", lambda *_, **__: None)
    asked = await acting.ask("acting")
    data = await carry_away.export(scenario.service, scenario.caller("aud"), asked.case.id, ())
    with pytest.raises(BundleInvalid, match="more than was delegated") as refused:
        verify(data, scenario.key.verifier)
    assert refused.value.step == 11


async def test_evidence_of_a_longer_extension_than_was_delegated_is_invalid(
    scenario: Scenario, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acting.hand_on("ana", "robo", max_seconds=600)
    picked = await acting.granted("acting")
    monkeypatch.setattr(delegation, "within", lambda *_, **__: None)
    await extend.extend(scenario.service, acting.caller("acting"), picked.case.id, 700, Reason())
    data = await carry_away.export(scenario.service, scenario.caller("aud"), picked.case.id, ())
    with pytest.raises(BundleInvalid, match="more than was delegated"):
        verify(data, scenario.key.verifier)


async def test_an_agent_cannot_claim_a_sponsor_that_its_token_does_not_name(
    acting: Acting,
) -> None:
    with pytest.raises(Unauthenticated, match="does not name the sponsor"):
        await acting.hand_on("dan", "robo")


async def test_an_agents_own_token_hands_nothing_on(acting: Acting) -> None:
    with pytest.raises(Unauthenticated, match="does not name the sponsor"):
        await acting.hand_on("robo", "robo")


async def test_only_an_agent_acts_for_somebody(acting: Acting) -> None:
    with pytest.raises(Unauthenticated, match="not that of an agent"):
        await acting.hand_on("ana", "ci")


async def test_a_delegated_token_does_not_show_who_the_agent_is(acting: Acting) -> None:
    await acting.hand_on("ana", "robo")
    with pytest.raises(Unauthenticated, match="itself delegated"):
        await acting.hand_on("ana", "acting", "again")


async def test_a_delegated_session_opens_no_wider_one(scenario: Scenario, acting: Acting) -> None:
    await acting.hand_on("ana", "robo")
    with pytest.raises(Conflict):
        await sign_in.by_token(scenario.service, acting.caller("acting"), timedelta(hours=8))
    with pytest.raises(Conflict):
        await sign_in.beside(scenario.service, acting.caller("acting"))


async def test_another_agent_than_the_one_meant_gets_nothing(acting: Acting) -> None:
    with pytest.raises(Unauthenticated, match="another agent"):
        await acting.hand_on("ana", "robo", agent="helper")
    await acting.hand_on("ana", "robo", agent="robo")


async def test_a_chain_has_at_most_four_links(acting: Acting) -> None:
    giver = "ana"
    for name in ("one", "two", "three"):
        await acting.enrol_agent(name, "ana")
        await acting.hand_on(giver, name, f"as-{name}")
        giver = f"as-{name}"
    await acting.enrol_agent("four", "ana")
    with pytest.raises(Unauthenticated, match="at most 4"):
        await acting.hand_on(giver, "four")


async def test_handing_on_only_narrows(acting: Acting) -> None:
    await acting.enrol_agent("helper", "ana")
    await acting.hand_on("ana", "robo", roles=(STAGING,), max_seconds=600)
    with pytest.raises(NotPermitted, match="no role"):
        await acting.hand_on("acting", "helper", "h", roles=(STAGING, PROD))
    with pytest.raises(NotPermitted, match="no longer window"):
        await acting.hand_on("acting", "helper", "h", max_seconds=601)
    handed = (await acting.hand_on("acting", "helper", "h")).opened.delegation
    assert handed is not None
    assert (handed.roles, handed.max_seconds) == ((STAGING,), 600)


async def test_a_role_that_is_not_there_is_not_handed_on(acting: Acting) -> None:
    with pytest.raises(NotFound):
        await acting.hand_on("ana", "robo", roles=("orders-staging/superuser",))


async def test_it_lasts_no_longer_than_what_it_rests_on(scenario: Scenario, acting: Acting) -> None:
    now = scenario.service.now()
    usual = await acting.hand_on("ana", "robo")
    assert usual.opened.expires == now + 15 * MINUTE
    longest = await acting.hand_on("ana", "robo", length=timedelta(days=1))
    assert longest.opened.expires == now + LONGEST
    session = await acting.sign_in("ana", hours=1)
    await scenario.advance(50 * MINUTE)
    short = await acting.hand_on("ana", "robo", length=timedelta(hours=1))
    assert short.opened.expires == session.opened.expires


async def test_a_delegated_caller_asks_for_no_other_role_and_no_longer_window(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.hand_on("ana", "robo", roles=(STAGING,), max_seconds=300)
    size = scenario.service.log.size
    with pytest.raises(NotPermitted, match="not among the roles"):
        await acting.ask("acting", PROD, 300)
    with pytest.raises(NotPermitted, match="at most 300 seconds"):
        await acting.ask("acting", STAGING, 301)
    assert scenario.service.log.size == size
    assert scenario.service.unrecorded["not-permitted"] == 2
    assert (await acting.ask("acting", STAGING, 300)).case.state == "approved"


async def test_a_delegated_caller_picks_up_nothing_that_was_not_delegated(
    acting: Acting,
) -> None:
    asked = await acting.ask("robo")
    await acting.hand_on("ana", "robo", roles=(PROD,))
    with pytest.raises(NotFound):
        await acting.pick_up("acting", asked)


async def test_an_extension_stays_within_the_delegated_window(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.hand_on("ana", "robo", max_seconds=600)
    picked = await acting.granted("acting")
    with pytest.raises(NotPermitted):
        await extend.extend(
            scenario.service, acting.caller("acting"), picked.case.id, 700, Reason()
        )


async def test_the_agents_own_token_stretches_nothing_that_it_asked_for_under_a_delegation(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.hand_on("ana", "robo", max_seconds=600)
    picked = await acting.granted("acting")
    with pytest.raises(NotPermitted, match="at most 600 seconds"):
        await extend.extend(scenario.service, acting.caller("robo"), picked.case.id, 700, Reason())


async def test_evidence_of_such_a_stretch_is_invalid(
    scenario: Scenario, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acting.hand_on("ana", "robo", max_seconds=600)
    picked = await acting.granted("acting")
    monkeypatch.setattr(delegation, "within", lambda *_, **__: None)
    await extend.extend(scenario.service, acting.caller("robo"), picked.case.id, 700, Reason())
    data = await carry_away.export(scenario.service, scenario.caller("aud"), picked.case.id, ())
    with pytest.raises(BundleInvalid, match="more than was delegated"):
        verify(data, scenario.key.verifier)


async def test_a_delegated_caller_sees_and_ends_nothing_that_was_not_delegated(
    scenario: Scenario, acting: Acting
) -> None:
    picked = await acting.granted("robo")
    await acting.hand_on("ana", "robo", roles=(PROD,))
    service, caller, case = scenario.service, acting.caller("acting"), picked.case.id
    with pytest.raises(NotFound):
        explain.show(service, caller, case)
    with pytest.raises(NotFound):
        await end.end(service, caller, case)
    with pytest.raises(NotFound):
        await carry_away.export(service, caller, case, ())
    assert explain.mine(service, caller, everyone=False, states=(), before=None) == []
    assert scenario.read(picked).state == "issued"
    await acting.hand_on("ana", "robo", roles=(STAGING,))
    assert (await end.end(service, acting.caller("acting"), case)).state == "ended"


async def test_the_policy_still_asks_about_the_sponsor(scenario: Scenario, acting: Acting) -> None:
    await scenario.change("ana", groups=("marketing",))
    await acting.hand_on("ana", "robo")
    assert (await acting.ask("acting")).case.state == "denied"


async def test_a_disabled_sponsor_is_noticed_before_any_record_of_the_end(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.hand_on("ana", "robo")
    caller = acting.caller("acting")
    await scenario.change("ana", active=False)
    with pytest.raises(Unauthenticated):
        delegation.check_stands(scenario.service, caller)


async def test_a_request_names_whoever_stands_behind_the_agent_when_it_is_recorded(
    scenario: Scenario, acting: Acting
) -> None:
    """Whoever called was looked up before: the directory may have moved since."""
    before = acting.caller("robo")
    await scenario.change("robo", sponsor="dan")
    ask = AccessAsk(
        resource="orders-staging", role="readwrite", seconds=600, reason=Reason(ticket="T-1")
    )
    asked = await request.request(scenario.service, before, ask)
    assert asked.case.requested.actor.sponsor == scenario.ids["dan"]


async def test_a_session_that_lost_its_ground_asks_for_nothing_though_it_stood_when_it_was_shown(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.hand_on("ana", "robo")
    before = acting.caller("acting")
    await scenario.change("robo", sponsor="dan")
    ask = AccessAsk(
        resource="orders-staging", role="readwrite", seconds=600, reason=Reason(ticket="T-1")
    )
    with pytest.raises(Unauthenticated):
        await request.request(scenario.service, before, ask)


@pytest.mark.parametrize("what", ["disabled", "revoked"])
async def test_nothing_is_handed_on_by_who_was_disabled_or_lost_his_token_meanwhile(
    scenario: Scenario, acting: Acting, what: str
) -> None:
    before, given, shown = acting.caller("ana"), acting.tokens["ana"], acting.tokens["robo"]
    if what == "disabled":
        await scenario.change("ana", active=False)
    else:
        await acting.revoke_token("ana")
    size = scenario.service.log.size
    with pytest.raises(Unauthenticated):
        await delegate.delegate(
            scenario.service, before, given, acting.caller("robo"), shown, Handed()
        )
    assert scenario.service.log.size == size


async def test_an_agents_session_shows_as_much_as_the_agent_did(acting: Acting) -> None:
    session = await acting.hand_on("ana", "robo")
    assert session.sign_in.attested is False
    assert (session.opened.mfa, session.opened.amr) == ("", ())


@pytest.mark.parametrize(
    "wrong",
    [{"prompt_hash": "abc"}, {"prompt_hash": "A" * 64}, {"task": "x" * 201}, {"task": "a\nb"}],
)
def test_an_origin_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        Origin(**wrong)


def test_more_roles_than_anybody_means_are_refused() -> None:
    with pytest.raises(Malformed):
        Handed(roles=tuple(f"r/{n}" for n in range(51)))


async def test_a_delegation_survives_a_restart(scenario: Scenario, acting: Acting) -> None:
    await acting.hand_on("ana", "robo")
    await scenario.restart()
    caller = acting.caller("acting")
    delegation.check_stands(scenario.service, caller)
    assert isinstance(caller.session and caller.session.opened, records.SessionOpened)
