"""
Whole lives of access cases and of a finding, with the state after each record, and the script that wrote them.

`python golden_lives.py` writes what is missing, and never over a file that is there: the records
of a life are read for ever, and fold for ever to the states beside them.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from muniment.access import finding, lifecycle
from muniment.access.case import AccessCase
from muniment.access.fields import to_json
from muniment.access.finding import Finding
from muniment.errors import TargetUnavailable
from muniment.evidence.record import Header
from muniment.operations.answer_finding import acknowledge, assign, close_finding
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.testing.scenario import Scenario

HERE = Path(__file__).parent
MINUTE = timedelta(minutes=1)


async def case(scenario: Scenario) -> str:
    """Approved, picked up twice, extended, expired while its target was away, and seen gone."""
    asked = await scenario.ask("ana", seconds=1800)
    await scenario.approve("cy", asked)
    await scenario.pick_up("ana", asked)
    await scenario.advance(5 * MINUTE)
    await scenario.pick_up("ana", asked)
    await scenario.extend("ana", asked, 2400)
    await scenario.approve("cy", asked)
    scenario.clock.advance(35 * MINUTE)
    scenario.target().down = True
    await scenario.work()
    scenario.target().down = False
    await scenario.advance(5 * MINUTE)
    return asked.case.id


async def undone_grant(scenario: Scenario) -> str:
    """A first order that failed, was seen gone and picked up anew; given back before its time."""
    asked = await scenario.ask("ana", seconds=1800)
    await scenario.approve("cy", asked)
    scenario.target().fail("issued")
    try:
        await scenario.pick_up("ana", asked)
    except TargetUnavailable:
        await scenario.advance(MINUTE)
    await scenario.pick_up("ana", asked)
    await scenario.end("ana", asked)
    return asked.case.id


async def of_a_finding(scenario: Scenario) -> str:
    """Raised, seen again about somebody else, read, assigned, and adopted for a while."""
    rule = Rule(
        id="too-much",
        title="More than usual",
        advice="Ask who did it.",
        severity="high",
        kind="deterministic",
        needs=("activity",),
    )
    asked = await scenario.granted("ana")
    service, case = scenario.service, ""
    for login in ("ana", "bo"):
        hit = Hit(
            rule=rule.id,
            at=service.now(),
            key="orders-prod",
            summary="it was done 7 times",
            severity="high",
            cases=(asked.case.id,),
            subjects=(scenario.caller(login).principal.person,),
            resource="orders-prod",
        )
        case = await raise_finding(service, rule, {}, hit)
        await scenario.advance(60 * MINUTE)
    await acknowledge(service, scenario.caller("aud"), case)
    await assign(service, scenario.caller("aud"), case, "admin")
    until, admin = service.now() + timedelta(days=30), scenario.caller("admin")
    await close_finding(service, admin, case, "adopted", "ours", owner="cy", until=until)
    return case


def start(log_id: bytes, first: Header) -> AccessCase | Finding:
    """What a life begins with, by its first record."""
    return Finding() if first.kind == "finding:raised" else AccessCase(log_id=log_id)


def advance(state: AccessCase | Finding, header: Header, leaf: bytes) -> AccessCase | Finding:
    """One record further."""
    if isinstance(state, Finding):
        return finding.advance(state, header, leaf)
    return lifecycle.advance(state, header, leaf)


LIVES: dict[str, Callable[[Scenario], Awaitable[str]]] = {
    "life-of-a-case.v1.json": case,
    "life-of-an-undone-grant.v1.json": undone_grant,
    "life-of-a-finding.v1.json": of_a_finding,
}


async def write(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Scenario(Path(folder)) as scenario:
            entries = scenario.entries(await LIVES[name](scenario))
            log_id = scenario.service.log.log_id
    state, states = start(log_id, entries[0].header), []
    for entry in entries:
        state = advance(state, entry.header, entry.leaf)
        states.append(to_json(state))
    life = {
        "headers": [entry.data.decode() for entry in entries],
        "log_id": log_id.hex(),
        "states": states,
    }
    (HERE / name).write_text(json.dumps(life, indent=1, sort_keys=True) + "\n", "utf-8")


def main() -> None:
    for name in LIVES:
        if not (HERE / name).exists():
            asyncio.run(write(name))


if __name__ == "__main__":
    main()
