"""Signing keys come and go while access is asked for, and the process dies wherever it may."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.access import records
from muniment.errors import ConfigInvalid, LogUnavailable, MunimentError
from muniment.evidence.keys import only
from muniment.evidence.note import Signature, SigningKey, parse_note
from muniment.evidence.signer import Extension, KeyAtHand, Keyring
from muniment.operations.heartbeat import beat
from muniment.operations.take_in import ProposedRetirement
from muniment.testing.scenario import ORIGIN, Scenario
from muniment.testing.stand_ins import Crash

STEPS = ("log:commit", "log:committed", "head:write", "head:written")


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as scenario:
        yield scenario


async def add_key(scenario: Scenario) -> SigningKey:
    """Put the file of another key there, and reload."""
    scenario.keys.append(SigningKey.generate(ORIGIN))
    await scenario.take_in()
    return scenario.keys[-1]


async def retire(scenario: Scenario, key: SigningKey, reason: str = "rotated") -> list[str]:
    """Ask for a key to be retired, and reload; then its file is set aside."""
    scenario.retired.append(ProposedRetirement(key=key.verifier, reason=reason))
    changes = await scenario.take_in()
    scenario.keys = [each for each in scenario.keys if each is not key]
    return changes


def lines(scenario: Scenario) -> int:
    return len(parse_note(scenario.service.log.checkpoint)[1])


async def test_keys_are_recorded_in_the_case_of_the_log(scenario: Scenario) -> None:
    second = await add_key(scenario)
    case = scenario.service.registry.log_case
    added = scenario.last(case, records.KeyAdded)
    assert (added.key, added.actor) == (second.verifier.vkey, records.SERVICE)
    changes = await retire(scenario, scenario.key, "compromised")
    assert changes == [f"- signing key {scenario.key.verifier.key_id.hex()} (compromised)"]
    gone = scenario.last(case, records.KeyRetired)
    assert (gone.key, gone.reason, gone.since) == (
        scenario.key.verifier.vkey,
        "compromised",
        None,
    )
    await beat(scenario.service)
    assert lines(scenario) == 1
    await scenario.restart()
    assert await scenario.take_in() == []


async def test_heads_of_every_stage_may_be_shown_at_an_export(scenario: Scenario) -> None:
    heads = [scenario.service.log.checkpoint]
    case = await scenario.ask("ana", "orders-staging/readwrite")
    second = await add_key(scenario)
    both = scenario.service.log.checkpoint
    heads += [both, only(both, [scenario.key.verifier]), only(both, [second.verifier])]
    await retire(scenario, scenario.key)
    await beat(scenario.service)
    heads.append(scenario.service.log.checkpoint)
    assert await scenario.export("ana", case, heads)


async def test_the_files_may_not_leave_the_log_without_a_key(scenario: Scenario) -> None:
    scenario.retired.append(ProposedRetirement(key=scenario.key.verifier, reason="rotated"))
    with pytest.raises(ConfigInvalid, match="muniment key add"):
        await scenario.take_in()
    scenario.retired.clear()
    await beat(scenario.service)


class Down(KeyAtHand):
    """A key in another process that does not answer."""

    def sign(self, extension: Extension) -> Signature:
        raise LogUnavailable(f"no answer at size {extension.size}")


async def test_while_a_signer_is_down_nothing_is_granted_and_access_ends_all_the_same(
    scenario: Scenario,
) -> None:
    picked, other = await scenario.granted(), await scenario.ask("dan", "orders-staging/readwrite")
    session = scenario.login(picked)
    scenario.service.log.hold(Keyring([Down(scenario.key)]))
    with pytest.raises(LogUnavailable):
        await scenario.pick_up("dan", other)
    await scenario.advance(timedelta(hours=1))
    assert not session.alive
    assert scenario.target().accounts == {}
    scenario.service.log.hold(scenario.keyring)
    await scenario.advance(timedelta(minutes=6))
    assert scenario.service.spool.waiting() == []
    assert "grant:expired" in scenario.kinds(picked)


@pytest.mark.parametrize("retiring", [False, True], ids=["add", "retire"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_of_a_rotation_leaves_a_log_that_starts(
    scenario: Scenario, step: str, retiring: bool
) -> None:
    if retiring:
        await add_key(scenario)
        scenario.retired.append(ProposedRetirement(key=scenario.key.verifier, reason="rotated"))
    else:
        scenario.keys.append(SigningKey.generate(ORIGIN))

    def die(point: str) -> None:
        if point == step:
            raise Crash(point)

    scenario.hook = die
    with pytest.raises((MunimentError, Crash)):
        await scenario.take_in()
    scenario.hook = lambda _: None
    await scenario.restart()
    await scenario.take_in()  # as every start does
    await beat(scenario.service)
    assert len(scenario.service.log.keys.signers(scenario.service.log.size)) == 2 - retiring
    assert lines(scenario) == 2 - retiring
    scenario.keys = scenario.keys[-1:] if retiring else scenario.keys
    await scenario.restart()
    await beat(scenario.service)
