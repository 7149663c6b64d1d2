"""Whoever lets go of a hold, or wants something erased, says of which: a guess will not do."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.errors import Malformed, NotFound, NotPermitted
from muniment.interfaces.cli import screen
from muniment.operations import erase_run, hold
from muniment.operations.hold import Scope
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    people = cast()
    people["dan"] = replace(people["dan"], groups=("privacy-officers",))
    async with Scenario(tmp_path, principals=people, checking=False) as found:
        yield found


async def test_a_hold_is_looked_at_by_any_beginning_and_released_by_a_long_one(
    scenario: Scenario,
) -> None:
    service = scenario.service
    admin, aud = scenario.caller("admin"), scenario.caller("aud")
    scope = Scope(resources=("orders-prod",))
    placed = (await hold.place(service, admin, scope, "matter 7", "")).id
    assert hold.find(service, "hld_").id == placed
    for short in ("", "hld", "hld_", placed[:11]):
        with pytest.raises(Malformed, match="too short to act on"):
            await hold.ask_release(service, admin, short, "over")
    await hold.ask_release(service, admin, screen.short(placed), "over")
    for short in ("hld_", placed[:11]):
        with pytest.raises(Malformed, match="name the hold by its whole id"):
            await hold.release(service, aud, short)
    assert hold.find(service, placed).stands()
    released = await hold.release(service, aud, screen.short(placed))
    assert released.state == "released"
    with pytest.raises(NotFound, match="no hold begins with `hld_aaaaaaaa`"):
        await hold.release(service, aud, "hld_aaaaaaaa")


async def test_nobody_learns_by_an_act_which_holds_there_are(scenario: Scenario) -> None:
    service, admin = scenario.service, scenario.caller("admin")
    scope = Scope(resources=("orders-prod",))
    placed = (await hold.place(service, admin, scope, "matter 7", "")).id
    for named in (placed, "hld_aaaaaaaa", "hld_"):
        with pytest.raises(NotPermitted):
            await hold.ask_release(service, scenario.caller("bo"), named, "over")


async def test_a_run_is_approved_by_a_long_beginning_alone(scenario: Scenario) -> None:
    service = scenario.service
    asked = await scenario.ask("ana", text="words")
    await scenario.withdraw("ana", asked)
    ceiling = Class(name="c", kinds=frozenset({"access:requested"}), ceiling=DAY)
    service.erasures.rules = Rules(classes=(ceiling,), two_people_above=0)
    scenario.clock.advance(10 * DAY)
    run = (await erase_run.propose(service, scenario.caller("pia"))).run
    assert run is not None
    assert erase_run.find(service, "ers_").id == run.id
    for short in ("ers_", run.id[:11]):
        with pytest.raises(Malformed, match="name the run by its whole id"):
            await erase_run.approve(service, scenario.caller("dan"), short)
    assert erase_run.find(service, run.id).state == "proposed"
    begun = await erase_run.approve(service, scenario.caller("dan"), screen.short(run.id))
    assert begun.state == "begun"
