"""
A review of a year of grants: made from the log's records, decided, closed, and verified offline.

Each run is a process of its own, so that the most memory it ever had is its own, too. What the
lines of the items are made of is what a service would have written; people decide through the
operations, on a log of their own.
"""

import asyncio
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.context import FULL, SMOKE, Bench
from bench.figures import Figure, at_most
from muniment.access.campaign_grounds import seed_of
from muniment.access.check import verify
from muniment.operations import campaigns, sign_review
from muniment.operations.campaign_population import Made, Past, lay_out, without_collecting
from muniment.operations.decide_review import MOST, Verdict, decide
from muniment.operations.open_campaign import record
from muniment.operations.service import Grounds
from muniment.oversight.campaigns import Reviewer, grant_drafts, rule_of
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario
from muniment.testing.written_year import WrittenYear

SMALL, LARGE = 2000, 100_000
#: verdicts that are handed in one by one
ALONE = 150
#: seconds that are enough to open the large one, and to verify its bundle
_OPEN, _VERIFY = 30, 10
_REVIEWERS = 10
_MIB = 1 << 20
RULE: dict[str, Any] = {
    "name": "year",
    "what": "grants",
    "reviewers": "reviewers",
    "fallback": "reviewers",
    "sign_off": "managers",
    "days": 30,
    "silence": "none",
    "period_days": 3660,
}


@dataclass(frozen=True)
class Taken:
    items: int
    records: int
    #: seconds
    opening: float
    #: for one verdict that is handed in by itself
    alone: float
    decisions: float
    verifying: float
    #: bytes
    bundle: int
    #: most memory, in MiB
    memory: float


async def run(bench: Bench) -> list[Figure]:
    small = SMALL // 10 if bench.sizes is SMOKE else SMALL
    sizes = (small, LARGE) if bench.sizes is FULL else (small,)
    return [
        figure
        for grants in sizes
        for figure in _figures(await _alone(bench.folder("review"), grants))
    ]


def _figures(taken: Taken) -> list[Figure]:
    of = f"{taken.items:,} grants"
    return [
        Figure(
            what=f"open a review of {of}, from {taken.records:,} records",
            value=taken.opening,
            unit="s",
            goal=at_most(_OPEN, of="value"),
        ),
        Figure(what=f"one verdict by itself, of {of}", value=1000 * taken.alone, unit="ms"),
        Figure(what=f"decide all {of}", value=taken.decisions, unit="s"),
        Figure(
            what=f"verify its bundle ({taken.bundle / _MIB:.1f} MiB)",
            value=taken.verifying,
            unit="s",
            goal=at_most(_VERIFY, of="value"),
        ),
        Figure(what=f"most memory, {of}", value=taken.memory, unit="MiB"),
    ]


async def _alone(folder: Path, grants: int) -> Taken:
    """What makes the records has no part in what is measured."""
    records = folder / "records"
    await _in_a_process(_write, records, grants)
    taken: Taken = await _in_a_process(_measure, records)
    return taken


async def _in_a_process(work: Callable[..., Any], *given: Any) -> Any:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)


def _write(records: Path, grants: int) -> None:
    with records.open("wb") as file:
        file.writelines(entry + b"\n" for entry in WrittenYear(grants=grants).entries())


def _measure(records: Path) -> Taken:
    return asyncio.run(_reviewed(records))


async def _reviewed(records: Path) -> Taken:
    folder = records.parent / "log"
    folder.mkdir()
    scenario = Scenario(folder, campaigns=[RULE], checking=False)
    for number in range(_REVIEWERS):
        scenario.principals[f"r{number}"] = human(f"r{number}", "reviewers")
    scenario.principals["boss"] = human("boss", "managers")
    async with scenario:
        return await _measured(scenario, records)


async def _measured(scenario: Scenario, records: Path) -> Taken:
    service = scenario.service
    began = time.perf_counter()
    with without_collecting():
        made, read = _made(scenario, records)
    case = await record(service, rule_of(RULE), made, Grounds())
    campaigns.read(service, case)
    opened = time.perf_counter()
    alone = await _decide_some(scenario, case, "r0")
    single = time.perf_counter()
    for number in range(_REVIEWERS):
        await _decide_all(scenario, case, f"r{number}")
    decided = time.perf_counter()
    scenario.clock.advance(timedelta(minutes=1))
    await sign_review.sign(service, scenario.caller("boss"), case)
    await sign_review.close_campaign(service, scenario.caller("boss"), case)
    data = await scenario.export("boss", case)
    exported = time.perf_counter()
    checked = verify(data, scenario.key.verifier)
    verified = time.perf_counter()
    if checked.campaign is None or checked.campaign.state != "closed":
        raise RuntimeError("the bundle is not that of a closed review")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Taken(
        items=made.items,
        records=read,
        opening=opened - began,
        alone=(single - opened) / max(1, alone),
        decisions=decided - single,
        verifying=verified - exported,
        bundle=len(data),
        # bytes on macOS, kibibytes elsewhere
        memory=most / _MIB if sys.platform == "darwin" else most / 1024,
    )


def _made(scenario: Scenario, records: Path) -> tuple[Made, int]:
    """
    The population of the year, its items given to people of this log, and of how many records.

    It says that it is over this log, as its bundle is: that is proved.
    """
    past, rule = Past(), rule_of(RULE)
    with records.open("rb") as file:
        for index, line in enumerate(file):
            past.take(index, line.rstrip(b"\n"))
    root = past.tree.root()
    principals = [scenario.caller(f"r{number}").principal for number in range(_REVIEWERS)]
    reviewers = [Reviewer(principal=each.id, persons=(each.person,)) for each in principals]
    drafts = grant_drafts(rule, past.population, past.enrolled, seed_of(root, rule.name))
    made = lay_out((replace(each, live=False) for each in drafts), reviewers, ())
    shown = scenario.service.log.keys.recognise(scenario.service.log.checkpoint)
    population = Made(
        size=shown.size,
        root=shown.root,
        sheets=made.sheets,
        items=made.items,
        items_root=made.root,
        completeness=b"[]",
        targets=0,
        unseen=0,
        seed=None,
        reviewers=_REVIEWERS,
    )
    return population, past.tree.size


async def _decide_some(scenario: Scenario, case: str, login: str) -> int:
    """One after the other, as on a page; returns how many."""
    service, caller = scenario.service, scenario.caller(login)
    items = campaigns.glance(service, case).items.items
    mine = [item.number for item in items if item.reviewer == caller.principal.id][:ALONE]
    for number in mine:
        await decide(service, caller, case, [Verdict(item=number, verdict="keep")])
    return len(mine)


async def _decide_all(scenario: Scenario, case: str, login: str) -> None:
    service, caller = scenario.service, scenario.caller(login)
    found, _ = campaigns.read(service, case)
    mine = [item.number for item in found.items.items if item.reviewer == caller.principal.id]
    for start in range(0, len(mine), MOST):
        verdicts = [Verdict(item=each, verdict="keep") for each in mine[start : start + MOST]]
        await decide(service, caller, case, verdicts)
