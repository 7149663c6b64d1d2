"""
A crash, or a fault, at every step towards the outside of every verb that gives or takes access.

Each step is struck twice: before its effect (it failed) and after it (it failed, but persisted).
A crash ends the process there and then; a fault is an error that the process has to live with.
Whatever struck, afterwards: no account without a record, no acknowledged record lost, unfinished
ends finished, unfinished issues undone, and `Scenario.check` finds nothing wrong at any step.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogUnavailable, MunimentError, TargetUnavailable
from muniment.operations import end
from muniment.testing.scenario import Scenario
from muniment.testing.stand_ins import Crash

STAGING = "orders-staging/readwrite"
APPEND = ["log:commit", "log:committed", "head:write", "head:written"]
REMOVE = ["target:revoke", "target:revoked", "target:probe", "target:probed"]
ORDER = ["target:now", *APPEND, "target:issue", "target:issued", *APPEND]
#: every step of every verb, in order
STEPS: dict[str, list[str]] = {
    "ask": APPEND,
    "break glass": APPEND,
    "pick up": ORDER,
    "pick up again": ORDER,
    "pick up after a failure": ORDER,
    "take back a failure": [*REMOVE, *APPEND],
    "extend": [*APPEND, "target:now", *APPEND, "target:extend", "target:extended"],
    "end": [*APPEND, *REMOVE, *APPEND],
    "revoke": [*APPEND, *REMOVE, *APPEND],
    "revoke what was approved": APPEND,
    "expire": [*REMOVE, *APPEND],
    "finish": [*REMOVE, *APPEND],
    "undo": APPEND,
    "withdraw": APPEND,
}
EVERY = [(verb, number) for verb, steps in STEPS.items() for number in range(len(steps))]


@dataclass
class Struck:
    """Strikes at one step of a verb, and remembers the steps it saw."""

    number: int
    error: Callable[[str], BaseException]
    steps: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        self.steps.append(point)
        if len(self.steps) == self.number + 1:
            raise self.error(point)


def fault(point: str) -> BaseException:
    kind = TargetUnavailable if point.startswith("target:") else LogUnavailable
    return kind(f"struck at `{point}`")


STRIKES: list[Callable[[str], BaseException]] = [Crash, fault]


async def prepare(scenario: Scenario, verb: str) -> Callable[[], Awaitable[Any]]:
    """Bring things to where the verb can begin; returns what does it."""
    if verb == "ask":
        return lambda: scenario.ask("ana")
    if verb == "break glass":
        return lambda: scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    case = (await scenario.ask("ana", STAGING, seconds=1800)).case.id
    if verb == "undo":
        return await _interrupted(scenario, case)
    if verb in ("pick up after a failure", "take back a failure"):
        await _failed(scenario, case)
    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "pick up": lambda: scenario.pick_up("ana", case),
        "pick up again": lambda: scenario.pick_up("ana", case),
        "pick up after a failure": lambda: scenario.pick_up("ana", case),
        "take back a failure": lambda: end.finish(scenario.service, case),
        "withdraw": lambda: scenario.withdraw("ana", case),
        "revoke what was approved": lambda: scenario.revoke("admin", case),
        "extend": lambda: scenario.extend("ana", case, 2400),
        "end": lambda: scenario.end("ana", case),
        "revoke": lambda: scenario.revoke("admin", case),
        "expire": lambda: end.expire(scenario.service, case),
        "finish": lambda: end.finish(scenario.service, case),
    }
    if verb == "pick up after a failure":
        await scenario.work()
        assert scenario.read(case).state == "approved"
    if verb in ("pick up again", "extend", "end", "revoke", "expire", "finish"):
        scenario.login(await scenario.pick_up("ana", case))
    if verb == "expire":
        scenario.clock.advance(timedelta(minutes=30))
    if verb == "finish":
        scenario.target("orders-staging").down = True
        await scenario.end("ana", case)
        scenario.target("orders-staging").down = False
    return acts[verb]


async def _failed(scenario: Scenario, case: str) -> None:
    """A first order that failed, and can no longer come: what it left is to be taken back."""
    scenario.target("orders-staging").fail("issued")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", case)
    scenario.clock.advance(timedelta(minutes=1))


async def _interrupted(scenario: Scenario, case: str) -> Callable[[], Awaitable[Any]]:
    from muniment.operations import issue

    hold = scenario.target("orders-staging").hold("issued")
    task = asyncio.create_task(scenario.pick_up("ana", case))
    await hold.reached.wait()
    await scenario.restart()
    assert task.cancelled()
    scenario.clock.advance(timedelta(seconds=20))
    return lambda: issue.undo(scenario.service, case)


async def strike(scenario: Scenario, act: Callable[[], Awaitable[Any]], hook: Struck) -> Any:
    """The verb, struck; what it answered, or None if it did not."""
    scenario.hook = hook
    try:
        return await act()
    except (Crash, MunimentError):
        return None
    finally:
        scenario.hook = lambda _: None


def everything(scenario: Scenario) -> list[bytes]:
    return [data for _, data in scenario.store.entries(0, 1 << 40)]


async def afterwards(scenario: Scenario, known: list[bytes], answer: Any) -> None:
    """What must be, soon after, and once every window is over."""
    case = getattr(answer, "case", answer)
    if answer is not None:
        assert scenario.read(case).length >= case.length  # what was acknowledged stands
    await scenario.advance(timedelta(minutes=2))
    assert everything(scenario)[: len(known)] == known
    assert scenario.service.log.trouble is None
    assert scenario.service.spool.waiting() == []
    rows = scenario.store.cases(limit=1000)
    assert not [row.case for row in rows if scenario.read(row.case).order_open and not row.closed]
    await scenario.advance(timedelta(hours=9))
    assert [row.state for row in scenario.store.cases(limit=1000) if not row.closed] == []
    assert scenario.target("orders-staging").accounts == {}
    assert not [each for each in scenario.target("orders-staging").sessions if each.alive]


@pytest.mark.parametrize("verb", STEPS)
async def test_the_steps_of_a_verb_are_those_that_are_struck(tmp_path: Path, verb: str) -> None:
    async with Scenario(tmp_path) as scenario:
        act = await prepare(scenario, verb)
        hook = Struck(1 << 30, Crash)
        await strike(scenario, act, hook)
        assert hook.steps == STEPS[verb]
        await afterwards(scenario, [], None)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("verb", "number"), EVERY, ids=[f"{v}: {n} {STEPS[v][n]}" for v, n in EVERY]
)
async def test_after_a_crash_at_any_step_all_is_well(
    tmp_path: Path, verb: str, number: int
) -> None:
    async with Scenario(tmp_path) as scenario:
        act, known = await prepare(scenario, verb), everything(scenario)
        answer = await strike(scenario, act, Struck(number, Crash))
        assert answer is None or number == len(STEPS[verb]) - 1 or verb == "undo"
        await scenario.restart()
        await afterwards(scenario, known, answer)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("verb", "number"), EVERY, ids=[f"{v}: {n} {STEPS[v][n]}" for v, n in EVERY]
)
async def test_after_a_fault_at_any_step_all_is_well(
    tmp_path: Path, verb: str, number: int
) -> None:
    async with Scenario(tmp_path) as scenario:
        act, known = await prepare(scenario, verb), everything(scenario)
        answer = await strike(scenario, act, Struck(number, fault))
        await afterwards(scenario, known, answer)


#: the steps at which most goes wrong when it goes wrong: struck in every run
FEW = [
    ("pick up", 4),  # the intent stands, the target was not asked
    ("pick up", 6),  # the account is there, and nobody knows
    ("pick up", 8),  # its outcome is persisted, and nobody was told
    ("pick up again", 6),
    ("extend", 8),
    ("end", 3),  # declared, and nothing done
    ("end", 5),  # gone, and nobody has looked
    ("expire", 1),
    ("expire", 5),
    ("revoke", 7),
    ("undo", 1),
    ("take back a failure", 1),  # gone, and nobody has looked
    ("take back a failure", 6),  # approved again, and nobody was told
    ("pick up after a failure", 6),
]


@pytest.mark.parametrize(("verb", "number"), FEW)
@pytest.mark.parametrize("error", STRIKES)
async def test_after_a_strike_at_the_worst_steps_all_is_well(
    tmp_path: Path, verb: str, number: int, error: Callable[[str], BaseException]
) -> None:
    async with Scenario(tmp_path) as scenario:
        act, known = await prepare(scenario, verb), everything(scenario)
        answer = await strike(scenario, act, Struck(number, error))
        if error is Crash:
            await scenario.restart()
        await afterwards(scenario, known, answer)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(12))
async def test_after_crash_upon_crash_all_is_well(tmp_path: Path, seed: int) -> None:
    """Many verbs, each struck somewhere or nowhere, also while the last crash is made good."""
    chance = random.Random(seed)
    async with Scenario(tmp_path) as scenario:
        known: list[bytes] = []
        for _ in range(8):
            act = await prepare(scenario, chance.choice(sorted(STEPS)))
            await strike(scenario, act, Struck(chance.randrange(14), chance.choice(STRIKES)))
            await scenario.restart()
            now = everything(scenario)
            assert now[: len(known)] == known
            known = now
            scenario.clock.advance(timedelta(seconds=chance.choice([0, 5, 30, 400])))
        await afterwards(scenario, known, None)


@pytest.mark.deep
@pytest.mark.parametrize("point", [*APPEND, *REMOVE])
async def test_a_crash_of_the_worker_while_it_makes_good_a_crash_is_made_good(
    tmp_path: Path, point: str
) -> None:
    async with Scenario(tmp_path) as scenario:
        act = await prepare(scenario, "end")
        await strike(scenario, act, Struck(3, Crash))
        await scenario.restart()
        known = everything(scenario)
        case = scenario.store.cases()[0].case
        number = [*REMOVE, *APPEND].index(point)
        await strike(scenario, lambda: end.finish(scenario.service, case), Struck(number, Crash))
        await scenario.restart()
        await afterwards(scenario, known, None)
        assert scenario.read(case).closed
