"""Detectors see what is recorded and observed, and raise what they find: once, restart or not."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muniment.operations import (
    answer_finding,
    detect,
    findings,
    heartbeat,
    observe,
    past,
    story,
)
from muniment.operations.around import Around
from muniment.operations.detect import SETTLES, Detection, RuleSet
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.intake import Intake
from muniment.operations.issue import PickedUp
from muniment.operations.observing import Observing, Source
from muniment.operations.request import Asked
from muniment.operations.watched import metrics
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import thresholds
from muniment.oversight.detectors import BUILT_IN, SCANNED
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.event_store import EventStore
from muniment.oversight.link import Correlator
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import Watch, replay
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as scenario:
        observing(scenario, EventsInMemory())
        yield scenario


def observing(scenario: Scenario, store: EventStore) -> None:
    source = Source(
        name="orders-log",
        resource="orders-prod",
        reader=PlainReader(ReaderSettings(prefix="mun")),
        make_reader=partial(PlainReader, ReaderSettings(prefix="mun")),
        own_accounts=("muniment_connector",),
        standing_accounts=("app_*",),
    )
    scenario.service.observing = Observing(
        store=store,
        sources={"orders-log": source},
        intake=Intake(service=scenario.service, store=store),
    )


def detection(scenario: Scenario, **ends: bool) -> Detection:
    """As a service begins it; `ends` are rules, with underscores, by which access ends."""
    service = scenario.service
    store = service.observing.store
    assert store is not None
    live = [each for each in BUILT_IN if each.rule.id not in SCANNED]
    windows = GrantWindows(service=service, store=store)
    around = Around(service=service, correlator=Correlator(service.prefix, windows))
    return Detection(
        service=service,
        watch=Watch(live, {}, WorkingDays()),
        rules={
            each.rule.id: RuleSet(
                rule=each.rule,
                thresholds=thresholds(each.rule, {}),
                ends=ends.get(each.rule.id.replace("-", "_"), False),
            )
            for each in live
        },
        around=around,
        recorded=Recorded(world=around),
        workload="ci",
    )


def raised(scenario: Scenario) -> dict[str, str]:
    """Every finding, by its rule, and how it stands; without those about changes of controls."""
    service = scenario.service
    found = [
        findings.read(service, row.case)[0] for row in service.projections.cases(kind="finding")
    ]
    return {each.raised.rule: each.state for each in found if each.raised.rule != "control-changed"}


async def broken(scenario: Scenario) -> Asked:
    case = await scenario.ask("bo", emergency=True, incident="INC-1", text="the orders are stuck")
    await scenario.pick_up("bo", case)
    return case


async def granted(scenario: Scenario) -> PickedUp:
    """After a while, as people are."""
    case = await scenario.ask("ana", text="the nightly import is to be repeated")
    await scenario.advance(5 * MINUTE)
    await scenario.approve("cy", case)
    return await scenario.pick_up("ana", case)


async def send(scenario: Scenario, type: str, account: str, **said: Any) -> None:
    said = {"at": scenario.service.now(), "session": "s1", **said}
    event = Event(type=type, account=account, **said)
    await observe.take(scenario.service, "orders-log", [plain(event)])


async def test_broken_glass_raises_a_finding_at_once(watched: Scenario) -> None:
    watching = detection(watched)
    await watching.look()
    assert watched.service.projections.cases(kind="finding") == []  # nor for the first policy
    case = await broken(watched)
    await watching.look()
    assert raised(watched) == {"break-glass-used": "open"}
    (row,) = watched.service.projections.cases(kind="finding", about=case.case.id)
    finding, _ = findings.read(watched.service, row.case)
    assert finding.subjects == case.case.requested.actor.persons


async def test_what_was_seen_before_a_restart_is_no_news(watched: Scenario) -> None:
    await broken(watched)
    await detection(watched).look()
    size = watched.service.log.size
    await detection(watched).look()
    assert (watched.service.log.size, raised(watched)) == (size, {"break-glass-used": "open"})


async def test_what_somebody_has_closed_is_not_raised_again_by_a_restart(watched: Scenario) -> None:
    await broken(watched)
    await detection(watched).look()
    (row,) = [
        row
        for row in watched.service.projections.cases(kind="finding")
        if findings.read(watched.service, row.case)[0].raised.rule == "break-glass-used"
    ]
    await answer_finding.close_finding(
        watched.service, watched.caller("aud"), row.case, "explained", "the outage of that day"
    )
    await detection(watched).look()
    assert raised(watched) == {"break-glass-used": "closed"}


async def test_a_long_past_is_seen_to_its_end_before_it_is_judged(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await broken(watched)
    await watched.end("bo", case.case.id)
    await watched.advance(HOUR)
    await watched.answer_review("aud", case.case.id, note="the outage of that day")
    for _ in range(5 * 24):
        watched.clock.advance(HOUR)
        await heartbeat.beat(watched.service)
    monkeypatch.setattr(detect, "MOST_ENTRIES", 10)
    await detection(watched).look()
    rows = watched.service.projections.cases(kind="finding")
    assert {row.role for row in rows} == {"break-glass-used"}


async def test_use_after_the_end_of_a_grant_raises_a_finding_about_it(watched: Scenario) -> None:
    watching = detection(watched)
    picked = await granted(watched)
    account = picked.issued.account if picked.issued is not None else ""
    await send(watched, "session.opened", account, client="192.0.2.7")
    await watching.look()
    assert raised(watched) == {}
    await watched.end("ana", picked)
    await watched.advance(5 * MINUTE)
    await send(watched, "statement", account)
    await watching.look()
    assert raised(watched) == {"use-outside-window": "open"}


async def test_use_that_is_linked_only_later_is_found_then(watched: Scenario) -> None:
    watching = detection(watched)
    picked = await granted(watched)
    account = picked.issued.account if picked.issued is not None else ""
    await watched.end("ana", picked)
    await watched.advance(5 * MINUTE)
    key = Key("access-key", "AKIA7")
    await send(watched, "call", "", keys=(key,))
    await watching.look()
    assert raised(watched) == {}
    await send(watched, "credential.issued", account, keys=(key,), at=picked.case.starts)
    await watching.look()
    assert raised(watched) == {"use-outside-window": "open"}
    size = watched.service.log.size
    await watching.look()
    assert watched.service.log.size == size


async def test_a_finding_stands_in_the_story_of_each_case_that_it_is_about(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    cases = [(await broken(watched)).case for _ in range(3)]
    await watching.look()
    for case in cases:
        told = story.observed(watched.service, watched.service.read(case.id)[0])
        rules = {each["rule"] for each in told["findings"]}
        assert rules >= {"break-glass-used", "break-glass-repeated"}
    figures = "\n".join(metrics(watched.service))
    assert 'muniment_findings_open{severity="medium"} 3' in figures


async def test_a_role_that_somebody_else_makes_is_found_and_our_own_work_is_not(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    ours = (await granted(watched)).case.id
    await send(watched, "access.changed", "muniment_connector", action="CREATE ROLE", object=ours)
    await watching.look()
    assert raised(watched) == {}
    await send(watched, "access.changed", "postgres", action="CREATE ROLE", object="backdoor")
    await watching.look()
    assert raised(watched) == {"role-written-by-others": "open"}


async def test_what_came_while_nobody_looked_is_seen_though_older_events_came_after_it(
    watched: Scenario,
) -> None:
    await send(watched, "access.changed", "postgres", action="CREATE ROLE", object="backdoor")
    at = watched.service.now() - timedelta(days=3)
    await send(watched, "statement", "app_orders", at=at)
    await detection(watched).look()
    assert raised(watched) == {"role-written-by-others": "open"}


async def test_whoever_is_let_in_under_nobodys_grant_is_found_where_that_is_declared(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    for account in ("app_orders", "muniment_connector"):
        await send(watched, "session.opened", account)
    await watching.look()
    assert raised(watched) == {}
    await send(watched, "session.opened", "old_dba")
    await watching.look()
    assert raised(watched) == {"use-without-grant": "open"}


async def test_sessions_are_recorded_as_detectors_go_along(watched: Scenario) -> None:
    watching = detection(watched)
    picked = await granted(watched)
    account = picked.issued.account if picked.issued is not None else ""
    await send(watched, "session.opened", account)
    await send(watched, "session.closed", account)
    await observe.seal(watched.service)
    await watching.look()
    watched.clock.advance(timedelta(seconds=SETTLES))
    await watching.look()
    (row,) = watched.service.projections.cases(kind="session", about=picked.case.id)
    assert row.state == "within"


async def test_the_past_once_more_finds_what_was_found_then(watched: Scenario) -> None:
    watching = detection(watched)
    await broken(watched)
    await send(watched, "access.changed", "postgres", action="CREATE ROLE", object="backdoor")
    await watching.look()
    again = detection(watched)
    seen: list[tuple[int, int]] = []
    facts = past.facts(
        watched.service, again.around, again.recorded, lambda *done: seen.append(done)
    )
    hits = {hit.rule for hit in replay(facts, again.watch)} - {"control-changed"}
    assert hits == raised(watched).keys()
    assert seen[-1] == (watched.service.log.size, watched.service.log.size)
