"""Two nodes on one log: what both do at the same moment stands once, and is never wrong for it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
from vouching import ISSUER, US, believe, sign

from muniment.access import records
from muniment.errors import Conflict, LogUnavailable, TargetUnavailable, Unavailable
from muniment.operations import (
    approve,
    end,
    erase,
    extend,
    findings,
    heartbeat,
    issue,
    notify,
    report,
    request,
    sign_in,
    stories,
    sweep,
    take_in,
)
from muniment.operations.attempts import PAUSES
from muniment.operations.facts import Reason
from muniment.operations.projection import known
from muniment.operations.providers import ProviderRules, Providers
from muniment.operations.raise_finding import raise_finding
from muniment.operations.request import AccessAsk, Asked, IdempotencyKey, Submission
from muniment.operations.service import Caller, Service
from muniment.oversight.detector import Hit, Rule
from muniment.runtime.worker import Worker
from muniment.testing.fake_target import FakeLoginRefused
from muniment.testing.scenario import CaseLike, Scenario, case_id

HALF_AN_HOUR = timedelta(minutes=30)
ASK = AccessAsk(
    resource="orders-prod", role="readwrite", seconds=600, reason=Reason(ticket="OPS-1")
)
RULE = Rule(
    id="odd-thing",
    title="Something odd happened",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)
ISSUED = report.Issued(
    framework="soc2",
    since=datetime(2026, 1, 1, tzinfo=timezone.utc),
    until=datetime(2026, 7, 1, tzinfo=timezone.utc),
    resources=("orders-prod",),
    size=1,
    report=b"\1" * 32,
)
PLATFORM = ProviderRules(name="platform", kind="workload", issuer=ISSUER, audience=US)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    # the lists may be ahead of what this node knows: each test says when it looks
    async with Scenario(tmp_path, shared=True, checking=False) as opened:
        yield opened
        await opened.service.catch_up()
        opened.check()


@pytest.fixture
async def other(scenario: Scenario) -> AsyncIterator[Service]:
    with scenario.another_node() as opened:
        yield opened


def caller(service: Service, login: str) -> Caller:
    principal = service.registry.principals[service.names[login]]
    return Caller(principal=principal, assurance="token")


async def both(*doing: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*doing, return_exceptions=True)


def lets_in(scenario: Scenario, picked: issue.PickedUp) -> bool:
    try:
        return scenario.login(picked).alive
    except FakeLoginRefused:
        return False


def count(scenario: Scenario, case: CaseLike, kind: str) -> int:
    return scenario.kinds(case).count(kind)


# --- ends ---------------------------------------------------------------------------------------


async def test_two_nodes_that_end_one_grant_close_it_once(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    await other.catch_up()
    scenario.clock.advance(HALF_AN_HOUR)
    holds = [scenario.target().hold("probe") for _ in range(2)]
    ending = asyncio.create_task(
        both(*(end.expire(each, picked.case.id) for each in (scenario.service, other)))
    )
    for hold in holds:  # both have taken it away, and are about to look
        await hold.reached.wait()
    for hold in holds:
        hold.release()
    closed = await ending
    assert [each.closed for each in closed] == [True, True]
    assert not session.alive
    await scenario.service.catch_up()
    for kind in ("grant:expired", "removal:verified", "case:closed"):
        assert count(scenario, picked, kind) == 1


async def test_what_is_revoked_on_two_nodes_at_once_is_revoked_once(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    await other.catch_up()
    done = await both(
        end.revoke(scenario.service, caller(scenario.service, "cy"), picked.case.id),
        end.end(other, caller(other, "ana"), picked.case.id),
    )
    assert [each.closed for each in done] == [True, True]
    await scenario.service.catch_up()
    declared = {"grant:revoked", "grant:ended"} & {*scenario.kinds(picked)}
    assert len(declared) == 1
    assert count(scenario, picked, "removal:verified") == 1


async def test_a_worker_leaves_an_end_to_the_node_that_was_asked_for_it(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    hold = scenario.target().hold("revoke")
    asked = asyncio.create_task(scenario.revoke("cy", picked))
    await hold.reached.wait()
    await other.catch_up()
    worker = Worker(service=other)
    await worker.catch_up()
    assert picked.case.id in scenario.target().accounts, "nobody else took it away"
    hold.release()
    assert (await asked).closed
    assert scenario.kinds(picked)[-3:] == ["grant:revoked", "removal:verified", "case:closed"]


async def test_a_worker_takes_over_an_end_whose_node_died(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    hold = scenario.target().hold("revoke")
    asked = asyncio.create_task(scenario.revoke("cy", picked))
    await hold.reached.wait()
    asked.cancel()
    await both(asked)
    await other.catch_up()
    worker = Worker(service=other)
    await worker.catch_up()
    scenario.clock.advance(timedelta(seconds=6))
    await worker.catch_up()
    assert other.read(picked.case.id)[0].closed


async def test_what_a_declared_end_lost_to_another_node_is_no_error(
    scenario: Scenario, other: Service
) -> None:
    """The other node has seen it gone before this one has looked."""
    picked = await scenario.granted()
    hold = scenario.target().hold("revoked")
    asked = asyncio.create_task(scenario.revoke("cy", picked))
    await hold.reached.wait()
    await other.catch_up()
    assert (await end.finish(other, picked.case.id)).closed
    hold.release()
    assert (await asked).closed
    assert count(scenario, picked, "removal:verified") == 1


# --- credentials --------------------------------------------------------------------------------


async def test_two_nodes_asked_for_one_credential_make_one(
    scenario: Scenario, other: Service
) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await other.catch_up()
    case = case_id(asked)
    found = await both(
        issue.pick_up(scenario.service, scenario.caller("ana"), case),
        issue.pick_up(other, caller(other, "ana"), case),
    )
    refused = [each for each in found if isinstance(each, Exception)]
    picked = [each for each in found if not isinstance(each, Exception)]
    assert all(isinstance(each, Conflict) for each in refused), refused
    await scenario.service.catch_up()
    # where one is done before the other begins, that one makes the secret anew
    assert count(scenario, asked, "credential:issued") == len(picked) > 0
    assert [lets_in(scenario, each) for each in picked].count(True) == 1


async def test_a_secret_is_rotated_by_one_node_at_a_time(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    await other.catch_up()
    hold = scenario.target().hold("issue")
    rotating = asyncio.create_task(scenario.pick_up("ana", picked))
    await hold.reached.wait()
    with pytest.raises(Conflict, match="is being made at this moment"):
        await issue.pick_up(other, caller(other, "ana"), picked.case.id)
    hold.release()
    assert scenario.login(await rotating).alive


async def test_no_worker_undoes_an_order_that_another_node_may_still_carry_out(
    scenario: Scenario, other: Service
) -> None:
    """Also where it looks at the case for another reason."""
    picked = await scenario.granted(seconds=1200)
    hold = scenario.target().hold("issue")
    rotating = asyncio.create_task(scenario.pick_up("ana", picked))
    await hold.reached.wait()
    await other.catch_up()
    worker = Worker(service=other)
    await worker._work(picked.case.id)
    assert other.read(picked.case.id)[0].order_open
    hold.release()
    assert scenario.login(await rotating).alive


async def test_an_outcome_is_recorded_of_its_own_order_only(
    scenario: Scenario, other: Service
) -> None:
    """A node that stalled comes back after another made the credential anew."""
    picked = await scenario.granted()
    hold = scenario.target().hold("issued")
    stalled = asyncio.create_task(scenario.pick_up("ana", picked))
    await hold.reached.wait()
    scenario.clock.advance(timedelta(seconds=11))
    await other.catch_up()
    anew = asyncio.create_task(issue.pick_up(other, caller(other, "ana"), picked.case.id))
    later = await anew
    hold.release()
    with pytest.raises(Conflict, match="another credential was asked for"):
        await stalled
    assert scenario.login(later).alive, "nobody took back what the other had made"
    await scenario.service.catch_up()
    assert count(scenario, picked, "credential:issued") == 2


@pytest.mark.parametrize("fails", [False, True], ids=["made", "not made"])
async def test_an_outcome_is_not_taken_for_that_of_an_order_under_way(
    fails: bool, scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    stalled_at = scenario.target().hold("issued")
    stalled = asyncio.create_task(scenario.pick_up("ana", picked))
    await stalled_at.reached.wait()
    scenario.clock.advance(timedelta(seconds=11))
    await other.catch_up()
    anew_at = scenario.target().hold("issue")
    anew = asyncio.create_task(issue.pick_up(other, caller(other, "ana"), picked.case.id))
    await anew_at.reached.wait()
    if fails:
        scenario.target().down = True
    stalled_at.release()
    with pytest.raises(TargetUnavailable if fails else Conflict):
        await stalled
    scenario.target().down = False
    anew_at.release()
    later = await anew
    assert scenario.login(later).alive
    await scenario.service.catch_up()
    assert count(scenario, picked, "credential:failed") == 0
    assert count(scenario, picked, "credential:issued") == 2


async def test_an_extension_that_two_nodes_carry_out_moves_the_window_once(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    scenario.target().down = True  # so that nobody carries it out yet
    await scenario.approve("cy", picked)
    scenario.target().down = False
    await other.catch_up()
    carried = await both(
        *(extend.carry_out(each, picked.case.id) for each in (scenario.service, other))
    )
    assert {each.until - each.starts for each in carried} == {timedelta(seconds=1200)}
    await scenario.service.catch_up()
    assert count(scenario, picked, "grant:extended") == 1


# --- asking -------------------------------------------------------------------------------------


def asking(
    service: Service, key: IdempotencyKey | None, came: Submission = request.NOTHING_ELSE
) -> Awaitable[Asked]:
    return request.request(service, caller(service, "ana"), ASK, key, came)


async def test_one_key_shown_to_two_nodes_at_once_makes_one_case(
    scenario: Scenario, other: Service
) -> None:
    for number in range(5):
        key = IdempotencyKey(key=f"k{number}", body=b"{}")
        first, second = await both(asking(scenario.service, key), asking(other, key))
        assert first.case.id == second.case.id
    assert len(scenario.service.projections.cases()) == 5


@pytest.mark.parametrize("same_node", [True, False])
async def test_whoever_asks_again_before_the_answer_is_out_is_told_of_the_same_case(
    scenario: Scenario, other: Service, monkeypatch: pytest.MonkeyPatch, same_node: bool
) -> None:
    key, committed, told = IdempotencyKey(key="k", body=b"{}"), asyncio.Event(), threading.Event()
    loop, catch_up = asyncio.get_running_loop(), Service.catch_up

    def keep_waiting(point: str) -> None:
        if point == "head:write":
            loop.call_soon_threadsafe(committed.set)
            assert told.wait(30)

    async def go_on(service: Service) -> bool:
        told.set()
        await asyncio.wait([first])
        return await catch_up(service)

    scenario.hook = keep_waiting
    first = asyncio.ensure_future(asking(scenario.service, key))
    await committed.wait()
    monkeypatch.setattr(Service, "catch_up", go_on)
    second = await asking(scenario.service if same_node else other, key)
    assert told.is_set(), "it waited for the first answer"
    assert second.case.id == (await first).case.id
    assert len(scenario.service.projections.cases()) == 1


async def test_an_answer_whose_node_died_over_it_is_given_once_another_has_taken_it_in(
    scenario: Scenario, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, waited = IdempotencyKey(key="k", body=b"{}"), list[float]()
    sleep = asyncio.sleep

    async def count(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    scenario.break_log("head:write")
    with pytest.raises(LogUnavailable):
        await asking(scenario.service, key)
    monkeypatch.setattr(asyncio, "sleep", count)
    with pytest.raises(LogUnavailable, match="being recorded; ask again"):
        await asking(other, key)
    assert 0.2 <= sum(waited) < 0.6
    scenario.mend_log()
    await heartbeat.beat(other)
    asked = await asking(other, key)
    assert asked.case.state == "pending"
    assert len(other.projections.cases()) == 1


async def test_one_denial_shown_to_two_nodes_at_once_makes_one_case(
    scenario: Scenario, other: Service
) -> None:
    came = Submission(token="jti")
    found = await both(asking(scenario.service, None, came), asking(other, None, came))
    assert sum(isinstance(each, Conflict) for each in found) == 1
    assert len(scenario.service.projections.cases()) == 1


async def test_a_decision_waits_until_its_clock_has_passed_what_another_recorded(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    sleep = asyncio.sleep

    async def pass_time(seconds: float) -> None:
        waited.append(seconds)
        scenario.clock.advance(timedelta(seconds=seconds))
        await sleep(0)

    with scenario.another_node(ahead=timedelta(milliseconds=200)) as ahead:
        asked = await asking(ahead, None)
        await scenario.service.catch_up()
        monkeypatch.setattr(asyncio, "sleep", pass_time)
        voted = await scenario.approve("cy", asked)
    assert voted.given
    assert waited == [*PAUSES[: len(waited)]]
    assert 0.2 <= sum(waited) < 0.6


async def test_a_clock_that_is_too_far_behind_says_so(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_time(seconds: float) -> None:
        assert seconds < 1

    with scenario.another_node(ahead=timedelta(seconds=3)) as ahead:
        asked = await asking(ahead, None)
        await scenario.service.catch_up()
        monkeypatch.setattr(asyncio, "sleep", no_time)
        with pytest.raises(LogUnavailable, match="earlier than the record before it"):
            await scenario.approve("cy", asked)


@pytest.mark.parametrize(
    "listed",
    [
        lambda node, who: stories.stories(node, who, stories.Wanted(), before=None, limit=9)[
            "stories"
        ],
        lambda node, who: findings.listed(node, who, findings.Wanted())[0],
        lambda node, who: report.issued(node, who)[0],
    ],
    ids=["stories", "findings", "reports"],
)
async def test_a_list_has_no_case_whose_records_its_node_does_not_know_yet(
    scenario: Scenario, other: Service, listed: Callable[[Service, Caller], list[Any]]
) -> None:
    await other.catch_up()
    aud = caller(other, "aud")
    for service in (scenario.service, other):  # one that both know, and one that one of them does
        await service.catch_up()
        await asking(service, None)
        hit = Hit(
            rule=RULE.id,
            at=service.now(),
            key=str(service.log.size),
            summary="it is odd",
            severity="high",
            resource="orders-prod",
        )
        await raise_finding(service, RULE, {}, hit)
        await report.issue(service, caller(service, "aud"), ISSUED)
    rows = other.projections.cases(limit=100)
    assert len(listed(other, aud)) == 2
    service = scenario.service
    behind = listed(service, caller(service, "aud"))
    assert len(behind) == 1
    assert len([*known(service.log, rows)]) < len(rows)
    await service.catch_up()
    assert len(listed(service, caller(service, "aud"))) == 2


# --- sessions -----------------------------------------------------------------------------------


async def test_one_token_shown_to_two_nodes_at_once_opens_one_session(
    scenario: Scenario, other: Service
) -> None:
    known = {"issuer": ISSUER, "kind": "workload", "claims": {"sub": "build"}}
    await scenario.change("ci", identity={"identities": [known]})
    other.outbound = believe(scenario, PLATFORM)
    providers = scenario.service.providers
    other.providers = Providers(rules=providers.rules, tokens=providers.tokens)
    await other.catch_up()
    at = int(scenario.clock.wall.timestamp())
    token = sign({"iss": ISSUER, "aud": US, "iat": at, "exp": at + 300, "sub": "build"})
    first, second = await both(
        sign_in.by_platform_token(scenario.service, token), sign_in.by_platform_token(other, token)
    )
    assert first.case == second.case
    await scenario.service.catch_up()
    assert len(scenario.service.registry.sessions) == 1


async def test_a_session_that_two_nodes_close_is_closed(scenario: Scenario, other: Service) -> None:
    length = timedelta(hours=1)
    signed_in = await sign_in.by_token(scenario.service, scenario.caller("ana"), length)
    await other.catch_up()
    session = signed_in.session
    closing = (
        sign_in.close_sessions(each, [session], "signed-out", records.SERVICE)
        for each in (scenario.service, other)
    )
    assert await both(*closing) == [None, None]
    await scenario.service.catch_up()
    assert scenario.kinds(session.case) == ["session:opened", "session:closed", "case:closed"]


# --- files --------------------------------------------------------------------------------------


async def test_two_nodes_that_take_the_same_files_in_enrol_nobody_twice(
    scenario: Scenario, other: Service
) -> None:
    scenario.principals["eva"] = replace(scenario.principals["dan"], login="eva")
    taken = await both(
        take_in.take_in(scenario.service, scenario.proposed(), records.SERVICE),
        take_in.take_in(other, scenario.proposed(), records.SERVICE),
    )
    assert sorted(len(each) for each in taken) == [0, 1]
    await scenario.service.catch_up()
    enrolled = scenario.service.registry.principals.values()
    assert len(enrolled) == len(scenario.principals)


async def test_a_node_grants_nothing_while_other_files_than_its_own_are_in_force(
    scenario: Scenario, other: Service
) -> None:
    await take_in.take_in(other, scenario.proposed(), records.SERVICE)
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    live = await scenario.granted("dan", seconds=600)
    before = scenario.proposed()
    await take_in.take_in(other, replace(before, configuration=b'{"other":1}'), records.SERVICE)
    await scenario.service.catch_up()
    assert scenario.service.outdated is not None
    assert scenario.service.outdated in scenario.service.troubles()
    for refused in (
        scenario.pick_up("ana", asked),
        scenario.extend("dan", live, 1200),
    ):
        with pytest.raises(Unavailable, match="not the ones in force"):
            await refused
    # what was given ends here as anywhere
    await scenario.advance(timedelta(minutes=10))
    assert scenario.read(live).closed
    assert other.outdated is None
    assert (await issue.pick_up(other, caller(other, "ana"), case_id(asked))).issued is not None
    # once it has read them, it goes on
    await take_in.take_in(
        scenario.service, replace(before, configuration=b'{"other":1}'), records.SERVICE
    )
    assert scenario.service.troubles() == []


async def test_an_extension_is_carried_out_by_a_node_that_has_the_files_in_force(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    scenario.target().down = True  # so that nobody carries it out yet
    await scenario.approve("cy", picked)
    scenario.target().down = False
    changed = replace(scenario.proposed(), configuration=b"{}")
    await take_in.take_in(other, changed, records.SERVICE)
    await scenario.service.catch_up()
    with pytest.raises(Unavailable, match="not the ones in force"):
        await extend.carry_out(scenario.service, picked.case.id)
    await scenario.work()  # and its worker leaves it alone
    assert scenario.read(picked).extension is not None
    await Worker(service=other).catch_up()
    await scenario.service.catch_up()
    assert count(scenario, picked, "grant:extended") == 1


async def test_files_that_come_back_are_in_force_again(scenario: Scenario, other: Service) -> None:
    ours = scenario.proposed()
    await take_in.take_in(other, replace(ours, configuration=b"{}"), records.SERVICE)
    await scenario.service.catch_up()
    assert scenario.service.outdated is not None
    await take_in.take_in(other, ours, records.SERVICE)
    await scenario.service.catch_up()
    assert scenario.service.outdated is None


async def test_the_only_node_goes_on_with_what_was_in_force_when_its_files_are_refused(
    tmp_path: Path,
) -> None:
    async with Scenario(tmp_path) as alone:
        await alone.restart()
        alone.service.configuration = os.urandom(32)
        assert alone.service.outdated is None
        assert (await alone.granted()).issued is not None


async def test_one_of_several_whose_files_are_refused_at_its_start_leaves_it_to_the_others(
    scenario: Scenario, other: Service
) -> None:
    other.configuration = os.urandom(32)
    asked = await asking(scenario.service, None)
    await scenario.approve("cy", asked)
    await other.catch_up()
    with pytest.raises(Unavailable, match="not the ones in force"):
        await issue.pick_up(other, caller(other, "ana"), asked.case.id)


async def test_an_end_that_a_node_has_no_connector_for_is_left_to_the_others(
    scenario: Scenario, other: Service
) -> None:
    picked = await scenario.granted()
    await take_in.take_in(other, scenario.proposed(), records.SERVICE)
    changed = replace(scenario.proposed(), configuration=b"{}")
    await take_in.take_in(scenario.service, changed, records.SERVICE)
    await other.catch_up()
    other.connectors = {}
    scenario.clock.advance(HALF_AN_HOUR)
    assert not (await end.expire(other, picked.case.id)).closed
    await scenario.service.catch_up()
    assert "removal:unverified" not in scenario.kinds(picked)
    await scenario.work()
    assert scenario.read(picked).closed


# --- telling ------------------------------------------------------------------------------------


async def test_what_two_nodes_told_is_settled_once(scenario: Scenario, other: Service) -> None:
    told: list[str] = []

    class Channel:
        personal: ClassVar[bool] = False

        async def tell(self, notice: Any, address: str = "") -> None:
            told.append(notice.id)
            await asyncio.sleep(0)

    scenario.notices["chat"] = {"events": ["waiting"], "to": []}
    await scenario.take_in()
    scenario.service.notifiers = other.notifiers = {"chat": Channel()}
    await other.catch_up()
    asked = await scenario.ask("ana")
    await other.catch_up()
    [work] = scenario.store.due("9999", callbacks=True)
    assert await both(notify.deliver(scenario.service, work), notify.deliver(other, work)) == [
        True,
        True,
    ]
    assert len(set(told)) == 1, "whoever is told twice can tell that it is the same"
    await scenario.service.catch_up()
    record = notify.record_case("chat", f"{case_id(asked)}/1")
    assert scenario.kinds(record) == ["notice:settled", "case:closed"]
    assert scenario.store.due("9999", callbacks=True) == []


# --- what each remembers ------------------------------------------------------------------------


async def test_who_was_erased_on_one_node_is_forgotten_by_the_others(
    scenario: Scenario, other: Service
) -> None:
    dan = scenario.ids["dan"]
    assert other.identity(dan) is not None
    await scenario.change("dan", active=False)
    record = scenario.entries(dan)[-1]
    await other.catch_up()
    assert other.identity(dan) is not None
    await scenario.erase("pia", record.header.id, "identity")
    await other.catch_up()
    assert other.identity(dan) is None
    assert "dan" not in other.names
    assert erase.finish(other.log, other.ledger, other.erasures) == 0


# --- the lists ----------------------------------------------------------------------------------


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0.0)


async def test_lists_that_know_more_than_a_node_are_not_wrong(
    scenario: Scenario, other: Service, no_pauses: None
) -> None:
    asked = await asking(other, None)
    found = await asyncio.to_thread(sweep.check_some, scenario.service, [asked.case.id])
    assert found == []
    await approve.approve(other, caller(other, "cy"), asked.case.id)
    assert await asyncio.to_thread(sweep.wrong_rows, scenario.service) == []
    await asking(other, None)
    assert await asyncio.to_thread(sweep.wrong_rows, scenario.service) == []


async def test_a_line_that_is_wrong_is_found_beside_other_nodes(
    scenario: Scenario, other: Service, no_pauses: None
) -> None:
    asked = await asking(other, None)
    await scenario.service.catch_up()
    with scenario.store._mine() as connection:
        connection.execute("UPDATE cases SET state = 'approved'")
    found = await asyncio.to_thread(sweep.check_some, scenario.service, [asked.case.id])
    assert found == [asked.case.id]
    assert await asyncio.to_thread(sweep.rebuild, scenario.service) == 1


async def test_a_rebuild_leaves_alone_what_another_node_wrote(
    scenario: Scenario, other: Service, no_pauses: None
) -> None:
    await scenario.ask("ana")
    await asking(other, None)
    await asyncio.to_thread(sweep.rebuild, scenario.service)
    assert len(scenario.store.cases()) == 2
    assert await asyncio.to_thread(sweep.wrong_rows, other) == []
