"""The worker as it runs: it wakes when something is due, and rests otherwise."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.errors import LogUnavailable
from muniment.runtime import worker as module
from muniment.testing.scenario import Scenario


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as opened:
        yield opened


async def until(scenario: Scenario, holds: Callable[[], bool]) -> None:
    """Wait until it holds: woken by whatever the service does."""
    async with asyncio.timeout(20):
        while not holds():
            scenario.service.wake.set()
            await asyncio.sleep(0.005)


async def test_it_wakes_for_what_comes_due_and_stops_when_cancelled(scenario: Scenario) -> None:
    picked = await scenario.granted()
    running = asyncio.create_task(scenario.worker.run())
    scenario.clock.advance(timedelta(minutes=30))
    await until(scenario, lambda: scenario.read(picked).closed)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    scenario.check()


async def test_it_goes_on_while_the_database_cannot_be_read(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)

    def gone(*_: object, **__: object) -> list[str]:
        raise LogUnavailable("the disk is gone")

    running = asyncio.create_task(scenario.worker.run())
    with monkeypatch.context() as patch:
        for query in ("due", "next_due", "cases"):
            patch.setattr(scenario.store, query, gone)
        scenario.clock.advance(timedelta(minutes=30))
        await until(scenario, lambda: not session.alive)
        assert not running.done()
    await until(scenario, lambda: scenario.read(picked).closed)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_rests_until_the_next_moment_and_never_spins(scenario: Scenario) -> None:
    worker = scenario.worker
    await scenario.work()
    assert worker.next_look() is None
    assert worker._longest_rest() == worker.rest
    picked = await scenario.granted(seconds=600)
    assert worker.next_look() == 600
    scenario.target().down = True
    await scenario.advance(timedelta(minutes=10))
    assert worker._not_before
    scenario.target().down = False
    # somebody else settles it: its next attempt is forgotten
    from muniment.operations import end

    await end.finish(scenario.service, picked.case.id)
    scenario.clock.advance(timedelta(minutes=5))
    await scenario.work()
    assert worker._not_before == {}
    assert worker.next_look() is None


async def test_a_case_that_meets_a_bug_stops_no_other(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await scenario.granted("ana"), await scenario.granted("dan")
    attend = module.attend

    async def buggy(service: object, case: str) -> bool:
        if case == first.case.id:
            raise ValueError("a bug")
        return await attend(service, case)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "attend", buggy)
    scenario.checking = False
    await scenario.advance(timedelta(minutes=30))
    assert scenario.read(second).closed
    assert not scenario.read(first).closed
    monkeypatch.setattr(module, "attend", attend)
    await scenario.advance(timedelta(minutes=1))
    assert scenario.read(first).closed


async def test_draining_takes_on_nothing_new(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.clock.advance(timedelta(minutes=30))
    await scenario.worker.drain()
    await scenario.work()
    assert scenario.read(picked).state == "issued"


async def test_more_is_due_than_is_worked_on_at_once(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONCURRENCY", 2)
    picked = [await scenario.granted(seconds=600) for _ in range(5)]
    scenario.clock.advance(timedelta(minutes=10))
    hold = scenario.target().hold("revoke")
    working = asyncio.create_task(scenario.work())
    await hold.reached.wait()
    assert len(scenario.worker._running) <= 2
    assert scenario.worker._longest_rest() <= scenario.worker.rest
    hold.release()
    await working
    assert all(scenario.read(each).closed for each in picked)
