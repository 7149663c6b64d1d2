"""A target is held against the log: what differs is a finding, once, and people have ways out."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.access.finding import Finding
from muniment.errors import (
    Conflict,
    LogUnavailable,
    Malformed,
    NotFound,
    NotPermitted,
    TargetUnavailable,
)
from muniment.operations import drift, drift_look, drift_told, findings
from muniment.operations.answer_finding import acknowledge, assign, close_finding
from muniment.operations.drift import Scan
from muniment.operations.order_removal import order_removal, single_out
from muniment.operations.pace import Tally
from muniment.testing.fake_target import FakeConnector
from muniment.testing.scenario import Scenario

RESOURCE = "orders-prod"
HOUR = timedelta(hours=1)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    """Somebody plants accounts of our form in these tests: what `check` holds does not hold."""
    async with Scenario(tmp_path, checking=False) as opened:
        opened.target().make_foreign_account("orders_app", member_of=("app_rw",))
        yield opened


@pytest.fixture
async def looked(scenario: Scenario) -> Scenario:
    """A target that was looked at before."""
    await scan(scenario)
    scenario.clock.advance(HOUR)
    return scenario


async def scan(scenario: Scenario) -> Scan:
    return await drift.scan(scenario.service, RESOURCE)


def whats(found: Scan) -> list[tuple[str, str]]:
    return [(each.kind, each.what) for each in found.differences]


def all_findings(scenario: Scenario) -> list[Finding]:
    rows = scenario.service.projections.cases(kind="finding", limit=1000)
    return [findings.read(scenario.service, row.case)[0] for row in rows]


def raised(scenario: Scenario) -> list[tuple[str, str]]:
    return sorted((f.raised.rule, f.raised.severity) for f in all_findings(scenario))


# --- the first scan of an old target ------------------------------------------------------------


async def test_the_first_scan_of_an_old_target_is_one_report(scenario: Scenario) -> None:
    for number in range(30):
        scenario.target().make_foreign_account(f"old_{number}")
    found = await scan(scenario)
    assert found.first
    assert {each.what for each in found.differences} == {"standing"}
    assert len(found.differences) == 31
    assert raised(scenario) == [("standing-access", "info")]
    record = scenario.last(found.case, records.DriftScanned)
    assert (record.first, record.accounts) == (True, 31)
    assert record.differences == {"account-without-grant": 31}
    assert isinstance(scenario.records(found.case)[-1], records.CaseClosed)


async def test_later_scans_list_what_stood_there_and_raise_nothing(looked: Scenario) -> None:
    found = await scan(looked)
    assert not found.first
    assert whats(found) == [("account-without-grant", "standing")]
    assert raised(looked) == [("standing-access", "info")]
    [report] = all_findings(looked)
    listed = drift_told.overview(looked.service, RESOURCE)["resources"][0]
    assert listed["scan"]["standing"] == report.id


async def test_a_scan_that_saw_the_same_has_no_section(looked: Scenario) -> None:
    await scan(looked)
    third = await scan(looked)
    (entry, _) = looked.entries(third.case)
    assert entry.header.sections == {}
    listed = drift_told.overview(looked.service, RESOURCE)["resources"][0]
    assert [each["account"] for each in listed["differences"]] == ["orders_app"]


async def test_another_target_behind_the_name_is_first_looked_at_too(looked: Scenario) -> None:
    looked.target().identity = "fake:other"
    found = await scan(looked)
    assert found.first
    assert raised(looked) == [("standing-access", "info")] * 2


async def test_a_scan_whose_section_was_erased_is_a_first_one_again(scenario: Scenario) -> None:
    first = await scan(scenario)
    await scenario.erase("pia", f"{first.case}/0", "seen")
    assert (await scan(scenario)).first


# --- what came since ----------------------------------------------------------------------------


async def test_an_account_made_beside_the_record_is_a_finding(looked: Scenario) -> None:
    looked.target().make_foreign_account("backdoor")
    found = await scan(looked)
    assert whats(found) == [
        ("account-without-grant", "standing"),
        ("account-without-grant", "out-of-band"),
    ]
    finding = findings.read(looked.service, found.findings[found.differences[1].key])[0]
    assert (finding.raised.rule, finding.raised.severity) == ("access-without-grant", "high")


async def test_the_same_in_the_next_scan_is_the_same_finding_seen_again(looked: Scenario) -> None:
    looked.target().make_foreign_account("backdoor")
    first = await scan(looked)
    looked.clock.advance(HOUR)
    again = await scan(looked)
    assert first.findings == again.findings
    (case,) = first.findings.values()
    finding = findings.read(looked.service, case)[0]
    assert finding.count == 2
    assert (finding.first, finding.last) == (first.at, again.at)


async def test_what_is_gone_closes_nothing(looked: Scenario) -> None:
    looked.target().make_foreign_account("backdoor")
    found = await scan(looked)
    del looked.target().accounts["backdoor"]
    looked.clock.advance(HOUR)
    assert (await scan(looked)).findings == {}
    (case,) = found.findings.values()
    finding = findings.read(looked.service, case)[0]
    assert (finding.state, finding.last) == ("open", found.at)


async def test_an_account_with_our_form_and_no_grant_is_critical(looked: Scenario) -> None:
    name = "mun_" + "a" * 26
    looked.target().make_foreign_account(name)
    found = await scan(looked)
    assert ("account-without-grant", "unknown-grant") in whats(found)
    assert ("access-without-grant", "critical") in raised(looked)


async def test_an_account_named_after_somebody_elses_request_is_no_grant(looked: Scenario) -> None:
    asked = await looked.ask("ana")
    looked.target().make_foreign_account(asked.case.id)
    assert ("account-without-grant", "unknown-grant") in whats(await scan(looked))


async def test_a_grant_for_another_target_lets_nobody_in_here(looked: Scenario) -> None:
    picked = await looked.granted(role="orders-staging/readwrite")
    looked.target().make_foreign_account(picked.case.id)
    assert ("account-without-grant", "unknown-grant") in whats(await scan(looked))


async def test_many_new_accounts_are_no_storm(looked: Scenario) -> None:
    for number in range(drift.MOST + 5):
        looked.target().make_foreign_account(f"new_{number}")
    found = await scan(looked)
    assert len(found.findings) == drift.MOST
    assert len([each for each in raised(looked) if each[0] == "access-without-grant"]) == (
        drift.MOST + 1
    )


# --- grants -------------------------------------------------------------------------------------


async def test_a_live_grant_with_its_session_shows_nothing(looked: Scenario) -> None:
    looked.login(await looked.granted())
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]


async def test_a_grant_whose_account_was_dropped_is_about_its_holder(looked: Scenario) -> None:
    picked = await looked.granted()
    del looked.target().accounts[picked.case.id]
    found = await scan(looked)
    assert ("grant-without-access", "gone") in whats(found)
    finding = next(f for f in all_findings(looked) if f.raised.rule == "grant-without-access")
    assert finding.about == (picked.case.id,)
    assert finding.subjects == picked.case.requested.actor.persons


async def test_a_further_membership_is_beyond_the_role(looked: Scenario) -> None:
    picked = await looked.granted()
    account = looked.target().accounts[picked.case.id]
    account.member_of = (*account.member_of, "payroll")
    found = await scan(looked)
    assert ("privilege-beyond-role", "membership") in whats(found)


async def test_what_a_lost_revocation_left_is_found_once_it_had_time(looked: Scenario) -> None:
    picked = await looked.granted(seconds=600)
    looked.login(picked)
    looked.target().lose_revokes = 1 << 30
    await looked.advance(timedelta(seconds=600))
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]
    looked.clock.advance(timedelta(seconds=61))
    assert whats(await scan(looked))[-2:] == [
        ("account-without-grant", "left-over"),
        ("session-beyond-grant", "over"),
    ]


async def test_what_comes_back_after_it_was_seen_gone_is_left_over(looked: Scenario) -> None:
    picked = await looked.granted(seconds=600)
    await looked.advance(timedelta(seconds=600))
    assert looked.read(picked).closed
    looked.target().make_foreign_account(picked.case.id)
    looked.clock.advance(timedelta(seconds=61))
    assert ("account-without-grant", "left-over") in whats(await scan(looked))


async def test_a_grant_that_ends_while_we_look_is_left_alone(looked: Scenario) -> None:
    picked = await looked.granted()

    async def end_it(point: str) -> None:
        looked.target().come_to = come_to  # type: ignore[method-assign] # once
        await looked.end("ana", picked)
        await come_to(point)

    come_to = looked.target().come_to
    looked.target().come_to = end_it  # type: ignore[method-assign] # somebody acts meanwhile
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]
    assert looked.read(picked).closed


async def test_a_grant_that_is_issued_while_we_look_is_left_alone(looked: Scenario) -> None:
    issue = looked.target().hold("issue")
    asked = await looked.ask("ana")
    await looked.approve("cy", asked)
    picking = asyncio.create_task(looked.pick_up("ana", asked))
    await issue.reached.wait()
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]
    issue.release()
    await picking


async def test_what_is_seen_only_once_does_not_count(
    looked: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await looked.granted()
    account = looked.target().accounts.pop(picked.case.id)
    inventory = FakeConnector.inventory

    async def and_back(self: FakeConnector) -> Any:
        seen = await inventory(self)
        looked.target().accounts[account.name] = account
        return seen

    monkeypatch.setattr(FakeConnector, "inventory", and_back)
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]


async def test_a_session_that_dies_a_moment_after_its_account_does_not_count(
    looked: Scenario,
) -> None:
    target = looked.target()
    target.make_foreign_account("gone")
    session = target.login("gone", "gone")
    del target.accounts["gone"]
    assert whats(await scan(looked))[-1] == ("session-without-grant", "no-account")
    second = target.hold("inventory")
    third = target.hold("inventory")
    looking = asyncio.create_task(scan(looked))
    await second.reached.wait()
    second.release()
    await third.reached.wait()
    session.close()
    third.release()
    assert whats(await looking) == [("account-without-grant", "standing")]


async def test_a_connector_that_tells_no_roles_has_none_compared(
    looked: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await looked.granted()
    looked.target().accounts[picked.case.id].member_of = ("payroll",)
    monkeypatch.setattr(drift_look, "TellsRoles", int)  # which no connector is
    assert whats(await scan(looked)) == [("account-without-grant", "standing")]


# --- ways out -----------------------------------------------------------------------------------


async def test_what_stood_there_is_singled_out_and_adopted(looked: Scenario) -> None:
    service = looked.service
    case = await single_out(service, looked.caller("aud"), RESOURCE, "orders_app")
    until = service.now() + timedelta(days=90)
    await close_finding(
        service, looked.caller("aud"), case, "adopted", "ours", owner="bo", until=until
    )
    assert whats(await scan(looked)) == []
    assert drift_told.overview(service, RESOURCE)["resources"][0]["differences"] == []
    looked.clock.advance(timedelta(days=91))
    again = await scan(looked)
    assert whats(again) == [("account-without-grant", "standing")]
    (lapsed,) = again.findings.values()
    finding = findings.read(service, lapsed)[0]
    assert (lapsed != case, finding.state, finding.raised.severity) == (True, "open", "medium")


async def test_more_rights_for_what_was_adopted_are_a_finding(looked: Scenario) -> None:
    service = looked.service
    case = await single_out(service, looked.caller("aud"), RESOURCE, "orders_app")
    until = service.now() + timedelta(days=90)
    await close_finding(service, looked.caller("aud"), case, "explained", "the shop", until=until)
    looked.target().accounts["orders_app"].is_superuser = True
    found = await scan(looked)
    assert whats(found) == [("privilege-beyond-role", "gained")]


async def test_singling_out_twice_is_one_finding(looked: Scenario) -> None:
    auditor = looked.caller("aud")
    first = await single_out(looked.service, auditor, RESOURCE, "orders_app")
    assert await single_out(looked.service, auditor, RESOURCE, "orders_app") == first
    with pytest.raises(NotFound):
        await single_out(looked.service, auditor, RESOURCE, "nobody")
    with pytest.raises(NotPermitted):
        await single_out(looked.service, looked.caller("ana"), RESOURCE, "orders_app")


@pytest.fixture
async def backdoor(looked: Scenario) -> str:
    """The finding about an account that somebody made."""
    looked.target().make_foreign_account("backdoor")
    (case,) = (await scan(looked)).findings.values()
    return case


async def order(scenario: Scenario, finding: str, who: str = "admin", **other: str) -> str:
    wanted = {"resource": RESOURCE, "account": "backdoor", "reason": "nobody knows it", **other}
    done = await order_removal(scenario.service, scenario.caller(who), finding=finding, **wanted)
    return done.case


async def test_a_removal_takes_two_people(looked: Scenario, backdoor: str) -> None:
    with pytest.raises(Conflict, match="it takes two"):
        await order(looked, backdoor)
    await acknowledge(looked.service, looked.caller("admin"), backdoor)
    with pytest.raises(Conflict, match="it takes two"):
        await order(looked, backdoor)
    await assign(looked.service, looked.caller("aud"), backdoor, "bo")
    case = await order(looked, backdoor)
    record = looked.last(case, records.RemovalOrdered)
    people = {login: looked.caller(login).principal.person for login in ("admin", "aud")}
    assert (record.person, record.seconded) == (people["admin"], people["aud"])
    assert record.about == backdoor


async def test_two_who_order_one_removal_at_once_order_it_once(
    looked: Scenario, backdoor: str
) -> None:
    await acknowledge(looked.service, looked.caller("aud"), backdoor)
    ordered = await asyncio.gather(
        order(looked, backdoor), order(looked, backdoor), return_exceptions=True
    )
    assert sum(isinstance(each, Conflict) for each in ordered) == 1
    listed = drift_told.overview(looked.service, RESOURCE)["resources"][0]["removals"]
    assert len(listed) == 1


async def test_whoever_was_only_counted_so_far_orders_no_removal(
    looked: Scenario, backdoor: str
) -> None:
    await acknowledge(looked.service, looked.caller("aud"), backdoor)
    admin = looked.caller("admin").principal.person
    seen = Tally(count=1, seen=looked.service.now(), subjects=(admin,))
    looked.service.pace.count(backdoor, seen)
    with pytest.raises(NotPermitted, match="not about"):
        await order(looked, backdoor)


async def test_a_removal_deletes_nothing_and_ends_when_it_is_seen_gone(
    looked: Scenario, backdoor: str
) -> None:
    await acknowledge(looked.service, looked.caller("aud"), backdoor)
    case = await order(looked, backdoor)
    assert "backdoor" in looked.target().accounts
    assert (await scan(looked)).removed == ()
    listed = drift_told.overview(looked.service, RESOURCE)["resources"][0]["removals"]
    assert [(each["removal"], each["account"]) for each in listed] == [(case, "backdoor")]
    del looked.target().accounts["backdoor"]
    gone = await scan(looked)
    assert gone.removed == (case,)
    last = looked.entries(case)[-1]
    assert last.header.kind == records.CaseClosed.KIND
    assert last.header.follows == (looked.entries(gone.case)[0].leaf,)
    assert drift_told.overview(looked.service, RESOURCE)["resources"][0]["removals"] == []


async def test_a_removal_outlives_a_restart_and_another_target(
    looked: Scenario, backdoor: str
) -> None:
    await acknowledge(looked.service, looked.caller("aud"), backdoor)
    case = await order(looked, backdoor)
    del looked.target().accounts["backdoor"]
    await looked.restart()
    identity, looked.target().identity = looked.target().identity, "fake:other"
    assert (await scan(looked)).removed == ()
    looked.target().identity = identity
    assert (await scan(looked)).removed == (case,)


async def test_a_removal_is_refused_for_whom_and_what_it_is_not(
    looked: Scenario, backdoor: str
) -> None:
    await acknowledge(looked.service, looked.caller("aud"), backdoor)
    with pytest.raises(NotPermitted):
        await order(looked, backdoor, who="ana")
    with pytest.raises(Malformed):
        await order(looked, backdoor, reason=" ")
    with pytest.raises(NotFound):
        await order(looked, backdoor, account="app_rw")
    with pytest.raises(Conflict, match="not the newest finding"):
        await order(looked, backdoor, account="orders_app")
    await order(looked, backdoor)
    with pytest.raises(Conflict, match="orders this already"):
        await order(looked, backdoor)


# --- what is not proved, and what fails ---------------------------------------------------------


async def test_a_removal_that_is_not_verified_is_listed_with_its_age(looked: Scenario) -> None:
    assert drift_told.unproven(looked.service) == []
    picked = await looked.granted(seconds=600)
    looked.target().lose_revokes = 1 << 30
    await looked.advance(timedelta(seconds=900))
    (listed,) = drift_told.unproven(looked.service)
    assert (listed["case"], listed["reason"], listed["age"]) == (
        picked.case.id,
        "still-there",
        300,
    )
    looked.target().lose_revokes = 0
    await looked.advance(timedelta(minutes=10))
    assert drift_told.unproven(looked.service) == []


async def test_a_target_that_does_not_answer_is_not_called_clean(
    looked: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = looked.service.log.size
    looked.target().down = True
    with pytest.raises(TargetUnavailable):
        await scan(looked)
    looked.target().down = False
    monkeypatch.setattr(drift_look, "LOOK", timedelta(seconds=0.01))
    looked.target().stall()
    with pytest.raises(TargetUnavailable, match="longer than"):
        await scan(looked)
    looked.target().resume()
    assert looked.service.log.size == size
    with pytest.raises(NotFound, match="orders-prod"):
        await drift.scan(looked.service, "nowhere")


async def test_what_could_not_be_raised_is_raised_by_the_next_scan(looked: Scenario) -> None:
    looked.target().make_foreign_account("backdoor")

    async def fail(*_: object) -> str:
        raise LogUnavailable

    with pytest.raises(LogUnavailable):
        await drift.scan(looked.service, RESOURCE, raise_=fail)
    found = await scan(looked)
    assert len(found.findings) == 1
    assert ("access-without-grant", "high") in raised(looked)


async def test_a_report_that_could_not_be_raised_is_raised_by_the_next_scan(
    scenario: Scenario,
) -> None:
    async def fail(*_: object) -> str:
        raise LogUnavailable

    with pytest.raises(LogUnavailable):
        await drift.scan(scenario.service, RESOURCE, raise_=fail)
    assert not (await scan(scenario)).first
    assert raised(scenario) == [("standing-access", "info")]


async def test_names_of_accounts_stand_in_no_header(looked: Scenario) -> None:
    looked.target().make_foreign_account("ana.kovac", member_of=("payroll",))
    await scan(looked)
    headers = b"".join(data for _, data in looked.service.log.store.entries(0, 1 << 20))
    assert b"kovac" not in headers
    assert b"payroll" not in headers


async def test_what_does_not_fit_counts_as_nothing_new(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_look, "_ROOM", 300)
    for number in range(20):
        scenario.target().make_foreign_account(f"old_{number:02}")
    first = await scan(scenario)
    assert first.forgotten > 10
    scenario.clock.advance(HOUR)
    again = await scan(scenario)
    assert {each.what for each in again.differences} == {"standing"}
    listed = drift_told.overview(scenario.service, RESOURCE)["resources"][0]
    assert listed["scan"]["forgotten"] == again.forgotten


@pytest.mark.parametrize("name", ["x" * 300, "x" * 100_000, "\x00\u202e\n" * 100])
async def test_nobody_hides_behind_a_long_name(
    looked: Scenario, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(drift_look, "_ROOM", 300)
    for number in range(20):
        looked.target().make_foreign_account(f"new_{number:02}")
    looked.target().make_foreign_account(name, member_of=("payroll",) * 3)
    for _ in range(2):
        found = await scan(looked)
        assert any(each.account[:9] == name[:9] for each in found.differences)
        looked.clock.advance(HOUR)


async def test_nobody_hides_behind_many_roles(looked: Scenario) -> None:
    target = looked.target()
    target.make_foreign_account("backdoor", member_of=tuple(f"role_{n}" for n in range(2000)))
    for _ in range(2):
        assert ("account-without-grant", "out-of-band") in whats(await scan(looked))
        looked.clock.advance(HOUR)


async def test_a_list_without_room_has_the_worst_first(
    looked: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_ROOM", 2000)
    for number in range(20):
        looked.target().make_foreign_account(f"new_{number:02}")
    looked.target().make_foreign_account("worst").is_superuser = True
    await scan(looked)
    one = drift_told.overview(looked.service, RESOURCE)["resources"][0]
    assert one["differences"][0]["account"] == "worst"
    assert one["scan"]["unlisted"] == 22 - len(one["differences"]) > 0


async def test_another_node_takes_up_where_this_one_looked(tmp_path: Path) -> None:
    async with Scenario(tmp_path, shared=True, checking=False) as scenario:
        scenario.target().make_foreign_account("orders_app")
        await scan(scenario)
        with scenario.another_node() as other:
            scenario.target().make_foreign_account("backdoor")
            found = await drift.scan(other, RESOURCE)
            assert not found.first
            assert ("account-without-grant", "out-of-band") in whats(found)
