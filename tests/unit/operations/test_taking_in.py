"""Files propose, the log decides: what changed is said, recorded, and in force; or nothing is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from muniment.access import records
from muniment.errors import ConfigInvalid, PolicyInvalid, Unauthenticated
from muniment.identity.tokens import authenticate, new_token, token_hash
from muniment.operations.take_in import ProposedPrincipal, ProposedToken, differences
from muniment.policy import starter
from muniment.testing.cast import human, policy_with, role
from muniment.testing.scenario import Scenario


async def test_what_has_not_changed_is_not_recorded(scenario: Scenario) -> None:
    size = scenario.service.log.size
    assert await scenario.take_in() == []
    await scenario.restart()
    assert await scenario.take_in() == []
    assert scenario.service.log.size == size


async def test_each_difference_is_one_line_and_one_record(scenario: Scenario) -> None:
    scenario.principals["zoe"] = human("zoe", "engineering")
    scenario.principals["dan"] = replace(scenario.principals["dan"], groups=())
    del scenario.principals["pia"]
    scenario.roles["orders-prod", "readonly"] = role("orders-prod", "readonly")
    scenario.roles["orders-prod", "readwrite"] = role("orders-prod", "readwrite", grants="all")
    del scenario.roles["orders-prod", "personal"]
    size = scenario.service.log.size
    lines = await scenario.take_in()
    assert lines == [
        "~ configuration",
        "+ role orders-prod/readonly",
        "~ role orders-prod/readwrite",
        "- role orders-prod/personal",
        "~ human dan",
        "+ human zoe",
        "- human pia (disabled)",
    ]
    assert scenario.service.log.size == size + len(lines)


async def test_a_look_at_the_differences_changes_nothing(scenario: Scenario) -> None:
    scenario.principals["zoe"] = human("zoe", "engineering")
    size = scenario.service.log.size
    changes = differences(scenario.service, scenario.proposed(), records.SERVICE)
    assert [change.text for change in changes] == ["+ human zoe"]
    assert scenario.service.log.size == size
    assert "zoe" not in scenario.service.names


async def test_whoever_is_gone_from_the_files_is_disabled_and_kept(scenario: Scenario) -> None:
    del scenario.principals["dan"]
    assert await scenario.take_in() == ["- human dan (disabled)"]
    assert not scenario.caller("dan").principal.active
    assert await scenario.take_in() == []
    assert (await scenario.ask("dan")).case.state == "denied"
    scenario.principals["dan"] = human("dan", "engineering")
    assert await scenario.take_in() == ["~ human dan"]
    assert scenario.service.names["dan"] == scenario.ids["dan"]  # the same principal again


async def test_a_person_keeps_his_id_whatever_changes(scenario: Scenario) -> None:
    before = scenario.caller("dan").principal.person
    await scenario.change("dan", groups=("x",), identity={"name": "Daniel"})
    assert scenario.caller("dan").principal.person == before


async def test_an_invalid_policy_leaves_the_old_state(scenario: Scenario) -> None:
    scenario.principals["zoe"] = human("zoe", "engineering")
    before, size = scenario.service.registry.policy, scenario.service.log.size
    with pytest.raises(PolicyInvalid):
        await scenario.activate({**starter.files(), "policies/99.cedar": b"permit (whoever);"})
    assert scenario.service.registry.policy == before
    assert scenario.service.log.size == size
    assert "zoe" not in scenario.service.names
    assert (await scenario.ask("ana")).case.state == "pending"


async def test_another_policy_is_in_force_once_it_stands(scenario: Scenario) -> None:
    before = scenario.service.registry.policy
    assert before is not None
    lines = await scenario.activate(
        policy_with(
            '@id("t.no")\n@title("nobody")\nforbid (principal, action == '
            'Muniment::Action::"request", resource);'
        )
    )
    after = scenario.service.registry.policy
    assert after is not None
    assert lines == [f"~ policy {after.digest.hex()[:12]}"]
    activated = scenario.last(after.case, records.PolicyActivated)
    assert activated.previous == before.digest
    assert (await scenario.ask("ana")).case.state == "denied"
    await scenario.restart()
    assert (await scenario.ask("ana")).case.state == "denied"


async def test_the_first_policy_says_that_it_was_the_first(scenario: Scenario) -> None:
    policy = scenario.service.registry.policy
    assert policy is not None
    assert scenario.last(policy.case, records.PolicyActivated).previous is None


# --- tokens -----------------------------------------------------------------------------------


async def enrol(
    scenario: Scenario, login: str, expires: datetime | None = None
) -> tuple[str, list[str]]:
    token = new_token()
    scenario.tokens[token_hash(token)] = ProposedToken(
        hash=token_hash(token), login=login, expires=expires, label="laptop"
    )
    return token, await scenario.take_in()


def who(scenario: Scenario, token: str) -> str:
    found = authenticate(scenario.service.registry, token, scenario.clock.wall)
    assert found is not None
    return found.principal.id


async def test_a_token_is_good_until_its_line_is_gone(scenario: Scenario) -> None:
    token, lines = await enrol(scenario, "ana")
    assert lines == ["+ token of ana"]
    assert who(scenario, token) == scenario.ids["ana"]
    assert await scenario.take_in() == []
    scenario.tokens.clear()
    assert await scenario.take_in() == ["- token"]
    with pytest.raises(Unauthenticated):
        who(scenario, token)


async def test_a_token_whose_end_is_moved_ends_then(scenario: Scenario) -> None:
    token, _ = await enrol(scenario, "ana")
    end = datetime(2026, 11, 21, 11, 0, 0, 123456, tzinfo=UTC)
    hash_ = token_hash(token)
    scenario.tokens[hash_] = replace(scenario.tokens[hash_], expires=end)
    assert await scenario.take_in() == ["~ token of ana"]
    assert await scenario.take_in() == []
    assert who(scenario, token)
    await scenario.advance(timedelta(hours=1, seconds=1))
    with pytest.raises(Unauthenticated):
        who(scenario, token)


async def test_the_token_of_somebody_disabled_is_worth_nothing(scenario: Scenario) -> None:
    token, _ = await enrol(scenario, "dan")
    await scenario.change("dan", active=False)
    with pytest.raises(Unauthenticated, match="disabled"):
        who(scenario, token)


async def test_a_token_for_nobody_is_refused(scenario: Scenario) -> None:
    with pytest.raises(ConfigInvalid, match="`zoe`, who is not in the directory"):
        await enrol(scenario, "zoe")


async def test_whoever_was_erased_is_not_enrolled_beside_himself(scenario: Scenario) -> None:
    """An erased identity that is still active is disabled, and its token acts for it no more."""
    token, _ = await enrol(scenario, "dan")
    id_ = scenario.ids["dan"]
    entry = scenario.service.log.read_entry(scenario.caller("dan").principal.index)
    scenario.service.log.store.erase(entry.index, "identity", "by hand")
    scenario.checking = False  # an erasure by hand is one that no record explains
    await scenario.restart()
    lines = await scenario.take_in()
    assert f"- human {id_} (disabled)" in lines
    assert {"+ human dan", "~ token of dan"} <= set(lines)
    assert who(scenario, token) == scenario.ids["dan"] != id_


async def test_somebody_who_is_not_there_is_named(scenario: Scenario) -> None:
    scenario.principals["bot"] = ProposedPrincipal(
        login="bot", type="agent", groups=(), sponsor="nobody"
    )
    with pytest.raises(ConfigInvalid, match="`bot` names `nobody`"):
        await scenario.take_in()


async def test_two_who_name_one_another_are_refused(scenario: Scenario) -> None:
    scenario.principals["a"] = human("a", person_of="b")
    scenario.principals["b"] = human("b", person_of="a")
    with pytest.raises(ConfigInvalid):
        await scenario.take_in()


# --- open grants ------------------------------------------------------------------------------


async def test_a_resource_with_an_open_grant_stays(scenario: Scenario) -> None:
    picked = await scenario.granted()
    kept = dict(scenario.roles)
    for key in [key for key in kept if key[0] == "orders-prod"]:
        del scenario.roles[key]
    with pytest.raises(ConfigInvalid, match=f"still has an open grant .{picked.case.id}"):
        await scenario.take_in()
    await scenario.end("ana", picked)
    assert "- role orders-prod/readwrite" in await scenario.take_in()
    assert "orders-prod" not in scenario.service.connectors


async def test_a_resource_whose_removal_is_not_seen_stays(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.target().down = True
    await scenario.end("ana", picked)
    for key in [key for key in scenario.roles if key[0] == "orders-prod"]:
        del scenario.roles[key]
    with pytest.raises(ConfigInvalid, match="open grant"):
        await scenario.take_in()


async def test_an_endpoint_with_an_open_grant_stays(scenario: Scenario) -> None:
    await scenario.granted()
    scenario.target().endpoints = ("fake", "replica")
    with pytest.raises(ConfigInvalid, match="lose or change endpoints"):
        await scenario.take_in()


async def test_a_withdrawn_role_is_not_asked_for_and_not_picked_up(scenario: Scenario) -> None:
    from muniment.errors import NotFound

    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    del scenario.roles["orders-prod", "readwrite"]
    await scenario.take_in()
    with pytest.raises(NotFound):
        await scenario.ask("ana")
    with pytest.raises(NotFound):
        await scenario.pick_up("ana", asked)
    await scenario.withdraw("ana", asked)
