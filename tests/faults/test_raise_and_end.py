"""
A crash, or a fault, at every step from a finding to the end of the access that it ends.

Struck before each effect and after it. Whatever struck: there is one finding, what was acknowledged
stands, access that a finding says has to end does end, and none ends without the finding.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.access import records
from muniment.errors import LogUnavailable, MunimentError, TargetUnavailable
from muniment.operations import cascade, end, findings
from muniment.operations.answer_finding import close_finding
from muniment.operations.raise_finding import raise_finding
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.detector import Hit, Rule
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario
from muniment.testing.stand_ins import Crash

APPEND = ["log:commit", "log:committed", "head:write", "head:written"]
REMOVE = ["target:revoke", "target:revoked", "target:probe", "target:probed"]
#: the finding; the end that follows it; its outcome
STEPS = [*APPEND, *APPEND, *REMOVE, *APPEND]
RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


@dataclass
class Struck:
    """Strikes at one step, and remembers the steps it saw."""

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


def scenario_at(folder: Path) -> Scenario:
    scenario = Scenario(folder)
    scenario.principals["sec"] = human("sec", "security")
    scenario.principals["eye"] = ProposedPrincipal(
        login="eye", type="workload", groups=("detectors",), sponsor="admin"
    )
    return scenario


async def found(scenario: Scenario, case: str) -> str:
    hit = Hit(
        rule=RULE.id,
        at=scenario.service.now(),
        key="k",
        summary="it was done",
        severity="high",
        cases=(case,),
    )
    eye = scenario.caller("eye")
    return await raise_finding(scenario.service, RULE, {}, hit, detector=eye, ends=True)


async def strike(scenario: Scenario, hook: Struck, *acts: Callable[[], Awaitable[object]]) -> None:
    """One act after the other, until one is struck."""
    scenario.hook = hook
    try:
        for act in acts:
            await act()
    except (Crash, MunimentError):
        pass
    finally:
        scenario.hook = lambda _: None


def ending(scenario: Scenario, case: str) -> tuple[Callable[[], Awaitable[object]], ...]:
    """What the worker does once a finding says that access has to end."""
    service = scenario.service
    return lambda: cascade.settle(service), lambda: end.finish(service, case)


def all_findings(scenario: Scenario) -> list[str]:
    return [row.case for row in scenario.store.cases(kind="finding", limit=1000)]


async def afterwards(scenario: Scenario, case: str, known: list[str]) -> None:
    """What must be soon after: also where the detector sees it again, as it does after a start."""
    await scenario.advance(timedelta(minutes=2))
    ended = scenario.read(case).state == "revoked"
    assert ended == bool(all_findings(scenario))
    again = await found(scenario, case)
    assert all_findings(scenario) == [again]
    assert not known or known == [again]
    await scenario.advance(timedelta(minutes=2))
    assert scenario.read(case).closed
    assert scenario.last(case, records.GrantRevoked).reason == "finding"
    assert findings.read(scenario.service, again)[0].ends == (case,)
    assert scenario.target("orders-staging").accounts == {}
    scenario.check()


async def test_the_steps_are_those_that_are_struck(tmp_path: Path) -> None:
    async with scenario_at(tmp_path) as scenario:
        case = (await scenario.granted("ana", "orders-staging/readwrite")).case.id
        hook = Struck(1 << 30, Crash)
        await strike(scenario, hook, lambda: found(scenario, case), *ending(scenario, case))
        assert hook.steps == STEPS
        await afterwards(scenario, case, all_findings(scenario))


#: struck in every run: the finding stands and nothing ended, the end stands and nothing is gone
FEW = (1, 3, 5, 7, 9)


@pytest.mark.parametrize(
    "number",
    [
        number if number in FEW else pytest.param(number, marks=pytest.mark.deep)
        for number in range(len(STEPS))
    ],
)
@pytest.mark.parametrize("error", [Crash, fault])
async def test_after_a_strike_at_any_step_all_is_well(
    tmp_path: Path, number: int, error: Callable[[str], BaseException]
) -> None:
    async with scenario_at(tmp_path) as scenario:
        case = (await scenario.granted("ana", "orders-staging/readwrite")).case.id
        known: list[str] = []

        async def finds() -> None:
            known.append(await found(scenario, case))

        await strike(scenario, Struck(number, error), finds, *ending(scenario, case))
        if error is Crash:
            await scenario.restart()
        await afterwards(scenario, case, known)


@pytest.mark.parametrize("number", range(len(APPEND)))
@pytest.mark.parametrize("error", [Crash, fault])
async def test_a_finding_whose_closing_was_struck_is_closed_or_open_and_never_between(
    tmp_path: Path, number: int, error: Callable[[str], BaseException]
) -> None:
    async with scenario_at(tmp_path) as scenario:
        case = (await scenario.granted("ana", "orders-staging/readwrite")).case.id
        first = await found(scenario, case)
        await scenario.work()
        await found(scenario, case)  # counted, and recorded with the answer

        async def closes() -> None:
            sec = scenario.caller("sec")
            await close_finding(scenario.service, sec, first, "remedied", "it is gone")

        await strike(scenario, Struck(number, error), closes)
        if error is Crash:
            await scenario.restart()
        await scenario.advance(timedelta(minutes=1))
        if findings.read(scenario.service, first)[0].state != "closed":
            await closes()
        finding = findings.read(scenario.service, first)[0]
        assert (finding.state, finding.closed) == ("closed", True)
        assert finding.count == (1 if error is Crash and finding.length == 3 else 2)
        assert await found(scenario, case) != first
        scenario.check()
