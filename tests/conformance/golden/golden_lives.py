"""
Whole lives of access cases, with the state after each record, and the script that wrote them.

`python golden_lives.py` writes what is missing, and never over a file that is there: the records
of a life are read for ever, and fold for ever to the states beside them.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from muniment.access import lifecycle
from muniment.access.case import AccessCase
from muniment.access.fields import to_json
from muniment.errors import TargetUnavailable
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


LIVES: dict[str, Callable[[Scenario], Awaitable[str]]] = {
    "life-of-a-case.v1.json": case,
    "life-of-an-undone-grant.v1.json": undone_grant,
}


async def write(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Scenario(Path(folder)) as scenario:
            entries = scenario.entries(await LIVES[name](scenario))
            log_id = scenario.service.log.log_id
    state, states = AccessCase(log_id=log_id), []
    for entry in entries:
        state = lifecycle.advance(state, entry.header, entry.leaf)
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
