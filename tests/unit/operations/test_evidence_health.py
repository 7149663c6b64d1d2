"""What would not stand up of evidence: each weakness is planted, found, and counted once a day."""

import asyncio
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from delegations import STAGING, Acting

from muniment.access import records
from muniment.access.campaigns_seen import OpenCampaign
from muniment.access.records import Record
from muniment.errors import NotFound, NotPermitted, TargetUnavailable, Unavailable
from muniment.evidence.append import Outcome
from muniment.evidence.note import CosigningKey, SigningKey
from muniment.evidence.store import LOST, Entry, Published, Stamp, entry_of
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations import findings, health, hold, index_cases, publish, surveying
from muniment.operations.around import Around
from muniment.operations.detect import Detection, RuleSet
from muniment.operations.observing import Source
from muniment.operations.observing import case_of as case_of_source
from muniment.operations.publishing import Publishing, WitnessRules
from muniment.operations.stamp import Authority
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detectors.evidence_weaker import EvidenceWeaker
from muniment.oversight.event import ReaderSettings
from muniment.oversight.fact import FACTS, Fact
from muniment.oversight.recorded import Recorded
from muniment.oversight.retention import Class, Rules
from muniment.oversight.watch import Watch, replay
from muniment.oversight.weakness import KINDS
from muniment.policy import starter
from muniment.runtime.detecting import correlator
from muniment.testing.plain_reader import PlainReader
from muniment.testing.scenario import ORIGIN, CaseLike, Scenario, case_id

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: everybody in a scenario has a static token, and no source says what is done at its targets
ALWAYS = {"token-approval", "static-token-request", "uncovered-source"}


def found(scenario: Scenario, case: CaseLike, who: str = "aud") -> dict[str, str]:
    """By kind: what shows it."""
    answer = health.of_grant(scenario.service, scenario.caller(who), case_id(case))
    return {each["kind"]: each["says"] for each in answer["weaknesses"]}


def planted(scenario: Scenario, case: CaseLike) -> set[str]:
    return found(scenario, case).keys() - ALWAYS


async def plant(scenario: Scenario, case: str, record: Record) -> None:
    draft = record.draft(case, scenario.service.now())
    await scenario.service.append(Outcome(case=case, build=lambda _: ((draft,), lambda _: ())))


async def ended(scenario: Scenario) -> str:
    picked = await scenario.granted()
    await scenario.end("ana", picked)
    return picked.case.id


def overall(scenario: Scenario) -> dict[str, Any]:
    return health.overall(scenario.service, scenario.caller("aud"))


def count(scenario: Scenario, kind: str) -> int:
    (row,) = [each for each in overall(scenario)["weaknesses"] if each["kind"] == kind]
    number: int = row["count"]
    return number


# --- one grant --------------------------------------------------------------------------------


async def test_a_clean_grant_has_only_what_every_grant_of_a_scenario_has(
    scenario: Scenario,
) -> None:
    case = await ended(scenario)
    assert found(scenario, case).keys() == ALWAYS


async def test_whoever_signs_in_and_is_observed_has_but_the_missing_signature(
    scenario: Scenario,
) -> None:
    await hear(scenario)
    caller = scenario.caller
    scenario.caller = lambda login: replace(caller(login), assurance="session")  # type: ignore[method-assign]  # a stand-in
    assert found(scenario, await ended(scenario)).keys() == {"unsigned-approval"}


async def test_a_case_without_a_grant_has_no_evidence_to_stand_up(scenario: Scenario) -> None:
    case = await scenario.ask("ana", ticket="")
    answer = health.of_grant(scenario.service, scenario.caller("aud"), case.case.id)
    assert (answer["granted"], answer["weaknesses"]) == (False, [])


async def test_a_removal_that_nobody_has_seen_is_found_until_somebody_sees_it(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    scenario.target().down = True
    await scenario.end("ana", picked)
    assert found(scenario, picked)["removal-unverified"].startswith("target-unavailable since ")
    await scenario.advance(10 * MINUTE)
    scenario.target().down = False
    await scenario.advance(10 * MINUTE)
    assert planted(scenario, picked) == {"removal-late"}


async def test_what_was_undone_and_picked_up_anew_has_to_be_seen_gone_anew(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    scenario.target().fail("issue")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    await scenario.advance(10 * MINUTE)
    assert scenario.read(asked).state == "approved"
    assert "removal-unverified" not in found(scenario, asked)
    await scenario.pick_up("ana", asked)
    assert "removal-unverified" not in found(scenario, asked)
    scenario.target().down = True
    await scenario.end("ana", asked)
    assert "removal-unverified" in found(scenario, asked)
    scenario.target().down = False
    await scenario.advance(10 * MINUTE)
    assert "removal-unverified" not in found(scenario, asked)


async def test_a_grant_that_nobody_ends_is_found_soon_after_its_window(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    scenario.clock.advance(34 * MINUTE)  # and no worker
    assert "removal-unverified" not in found(scenario, picked)
    scenario.clock.advance(2 * MINUTE)
    assert "removal-unverified" in found(scenario, picked)
    await scenario.work()


async def test_broken_glass_waits_for_its_review_is_overdue_and_then_late(
    tmp_path: Path,
) -> None:
    async with Scenario(tmp_path) as scenario:
        asked = await scenario.ask(
            "bo", emergency=True, incident="INC-1", text="orders stand still"
        )
        await scenario.pick_up("bo", asked)
        await scenario.end("bo", asked)
        assert planted(scenario, asked) == {"review-unanswered"}
        await scenario.advance(25 * HOUR)
        assert planted(scenario, asked) == {"overdue-review"}
        await scenario.answer_review("admin", asked)
        assert planted(scenario, asked) == {"review-late"}


async def test_a_policy_of_which_a_file_is_gone_and_a_definition_that_is_gone_are_found(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await ended(scenario)
    document, requested = scenario.service.log.store.document, scenario.read(case).requested
    rules = next(data for path, data in starter.files().items() if path.endswith(".cedar"))
    monkeypatch.setattr(
        scenario.service.log.store,
        "document",
        lambda digest: (
            None
            if (content := document(digest)) == rules or digest == requested.definition
            else content
        ),
    )
    assert planted(scenario, case) == {"policy-text-missing", "definition-missing"}


async def test_something_else_under_the_name_of_a_document_is_no_document(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await ended(scenario)
    definition = scenario.read(case).requested.definition
    document = scenario.service.log.store.document
    monkeypatch.setattr(
        scenario.service.log.store,
        "document",
        lambda digest: b"{}" if digest == definition else document(digest),
    )
    assert planted(scenario, case) == {"definition-missing"}


async def test_what_was_erased_while_the_case_was_open_is_found_and_later_it_is_not(
    scenario: Scenario,
) -> None:
    early, late = await scenario.granted(), await ended(scenario)
    await scenario.erase("pia", f"{early.case.id}/0", "reason", "gdpr-17")
    await scenario.erase("pia", f"{late}/0", "reason", "gdpr-17")
    await scenario.end("ana", early)
    says = found(scenario, early)["section-erased-early"]
    assert says == f"`reason` of {early.case.id}/0 under rule `gdpr-17`, while it was open"
    assert planted(scenario, late) == set()


async def test_sealed_content_that_a_restored_copy_lost_is_found(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, other = await ended(scenario), await ended(scenario)
    first, store = scenario.entries(case)[0].index, scenario.service.log.store
    monkeypatch.setattr(store, "erased", lambda index: {"reason": LOST} if index == first else {})
    assert count(scenario, "section-lost") == 0  # whoever asks does not wait for the database
    await health.measure(scenario.service)
    assert count(scenario, "section-lost") == 1
    assert planted(scenario, case) == {"section-lost"}
    assert planted(scenario, other) == set()


async def test_a_clock_that_was_set_while_the_grant_was_open_is_found(scenario: Scenario) -> None:
    before, within = await ended(scenario), await scenario.granted()
    log_case = scenario.service.registry.log_case
    scenario.clock.advance(MINUTE)
    await plant(scenario, log_case, records.ClockStepped(actor=records.SERVICE, step_ms=60_000))
    await scenario.end("ana", within)
    after = await ended(scenario)
    assert planted(scenario, before) == planted(scenario, after) == set()
    assert planted(scenario, within) == {"clock-stepped-within"}


async def test_an_end_that_had_to_wait_for_the_log_is_found(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.break_log()
    await scenario.advance(40 * MINUTE)
    scenario.mend_log()
    await scenario.advance(6 * MINUTE)
    assert scenario.read(picked).closed
    assert "late-outcome" in planted(scenario, picked)


async def test_what_was_signed_while_others_may_have_had_the_key_is_found(
    scenario: Scenario,
) -> None:
    before = await ended(scenario)
    since = scenario.service.log.size
    doubtful = await ended(scenario)
    scenario.keys.append(SigningKey.generate(ORIGIN))
    await scenario.take_in()
    log_case, key = scenario.service.registry.log_case, scenario.keys[0].verifier.vkey
    await plant(
        scenario,
        log_case,
        records.KeyRetired(actor=records.SERVICE, key=key, reason="compromised", since=since),
    )
    after = await ended(scenario)
    assert planted(scenario, before) == planted(scenario, after) == set()
    assert planted(scenario, doubtful) == {"key-compromised-since"}


async def test_rules_that_want_the_same_kept_and_gone_are_found_where_they_apply(
    scenario: Scenario,
) -> None:
    case, elsewhere = await ended(scenario), await scenario.granted(role="orders-staging/readwrite")
    scenario.service.erasures.rules = Rules(
        classes=(
            Class(name="pci", resources=frozenset(["orders-prod"]), floor=365 * DAY),
            Class(name="gdpr", sections=frozenset(["reason"]), ceiling=30 * DAY),
        )
    )
    assert found(scenario, case)["retention-conflict"] == (
        "`pci` keeps its `reason`, which `gdpr` wants gone"
    )
    assert planted(scenario, elsewhere) == set()


async def test_what_a_hold_keeps_beyond_its_time_is_found_until_it_is_released(
    scenario: Scenario,
) -> None:
    case, elsewhere = await ended(scenario), await ended(scenario)
    text = Class(name="gdpr", sections=frozenset(["reason"]), ceiling=30 * DAY)
    scenario.service.erasures.rules = Rules(classes=(text,))
    aud, admin = scenario.caller("aud"), scenario.caller("admin")
    scope = hold.Scope(cases=(case,))
    placed = await hold.place(scenario.service, aud, scope, "matter 7", "")
    assert "retention-conflict" not in found(scenario, case)
    scenario.clock.advance(31 * DAY)
    assert found(scenario, case)["retention-conflict"] == (
        f"`{placed.id}` holds its `reason`, which `gdpr` wants gone"
    )
    assert "retention-conflict" not in found(scenario, elsewhere)
    await hold.ask_release(scenario.service, aud, placed.id, "settled")
    await hold.release(scenario.service, admin, placed.id)
    assert "retention-conflict" not in found(scenario, case)


# --- sources ----------------------------------------------------------------------------------


async def hear(
    scenario: Scenario,
    source: str = "orders-log",
    resource: str = "orders-prod",
    heartbeat: timedelta | None = 365 * DAY,
) -> str:
    """From now on a source speaks."""
    observing = scenario.service.observing
    make_reader = partial(PlainReader, ReaderSettings(prefix="mun"))
    declared = Source(
        name=source,
        resource=resource,
        reader=make_reader(),
        make_reader=make_reader,
        heartbeat=heartbeat,
    )
    observing.sources = {**observing.sources, source: declared}
    case, now = case_of_source(scenario.service.log.log_id, source), scenario.service.now()
    received = records.EventsReceived(
        actor=records.SERVICE, source=source, resource=resource, start=0, count=0, root=bytes(32),
        rejected=0, first=now, last=now,
    )  # fmt: skip
    await plant(scenario, case, received)
    return case


async def miss(scenario: Scenario, why: str, since: datetime, source: str = "orders-log") -> None:
    case = case_of_source(scenario.service.log.log_id, source)
    missed = records.EventsMissed(
        actor=records.SERVICE, source=source, resource="orders-prod", why=why, since=since,
        count=None,
    )  # fmt: skip
    await plant(scenario, case, missed)


async def see(scenario: Scenario, about: CaseLike, strength: str, source: str) -> None:
    now = scenario.service.now()
    seen = records.SessionObserved(
        actor=records.SERVICE, about=case_id(about), source=source, resource="orders-prod",
        opened=now, closed=now, strength=strength, reason="account", standing="within", events=2,
        actions=1, failed=0, root=bytes(32), batches=(),
    )  # fmt: skip
    await plant(scenario, scenario.service.new_case("ses"), seen)


async def test_a_source_covers_grants_that_began_after_it_was_first_heard(
    scenario: Scenario,
) -> None:
    before = await ended(scenario)
    scenario.clock.advance(MINUTE)
    await hear(scenario)
    covered, elsewhere = (
        await ended(scenario),
        await scenario.granted(role="orders-staging/readwrite"),
    )
    assert found(scenario, before)["uncovered-source"].startswith("`orders-log` speaks only since ")
    assert "uncovered-source" not in found(scenario, covered)
    assert found(scenario, elsewhere)["uncovered-source"] == "no source speaks of `orders-staging`"


async def test_a_silence_uncovers_what_lies_within_it_until_the_source_speaks_again(
    scenario: Scenario,
) -> None:
    await hear(scenario)
    before = await ended(scenario)
    scenario.clock.advance(10 * MINUTE)
    await miss(scenario, "silence", scenario.service.now() - 5 * MINUTE)
    within = await ended(scenario)
    scenario.clock.advance(10 * MINUTE)
    await miss(scenario, "resumed", scenario.service.now())
    scenario.clock.advance(MINUTE)
    after = await ended(scenario)
    assert "uncovered-source" not in found(scenario, before)
    assert found(scenario, within)["uncovered-source"] == (
        "of `orders-log` something is missing (silence)"
    )
    assert "uncovered-source" not in found(scenario, after)


async def test_a_source_without_a_heartbeat_covers_only_what_it_has_spoken_after(
    scenario: Scenario,
) -> None:
    """That it died would show nowhere."""
    await hear(scenario, heartbeat=None)
    scenario.clock.advance(MINUTE)
    case = await ended(scenario)
    said = found(scenario, case)["uncovered-source"]
    assert said.startswith("nothing came from `orders-log` since ")
    assert said.endswith("and it has no `heartbeat`")
    scenario.clock.advance(MINUTE)
    await hear(scenario, heartbeat=None)
    assert "uncovered-source" not in found(scenario, case)


async def test_a_source_that_is_no_longer_declared_covers_nothing_after_its_last_word(
    scenario: Scenario,
) -> None:
    await hear(scenario)
    scenario.clock.advance(MINUTE)
    case = await ended(scenario)
    assert "uncovered-source" not in found(scenario, case)
    scenario.service.observing.sources = {}
    assert "uncovered-source" in found(scenario, case)


async def test_one_source_that_missed_nothing_is_enough(scenario: Scenario) -> None:
    await hear(scenario)
    await hear(scenario, "orders-proxy")
    picked = await scenario.granted()
    await miss(scenario, "cursor", scenario.service.now())
    await scenario.end("ana", picked)
    assert "uncovered-source" not in found(scenario, picked)


async def test_a_source_of_everything_covers_a_target_once_it_named_a_session_there(
    scenario: Scenario,
) -> None:
    await hear(scenario, "collector", "")
    case = await ended(scenario)
    assert found(scenario, case)["uncovered-source"] == "no source speaks of `orders-prod`"
    await see(scenario, case, "strong", "collector")
    assert "uncovered-source" not in found(scenario, case)


async def test_sessions_that_are_all_linked_weakly_are_found_and_one_strong_link_is_enough(
    scenario: Scenario,
) -> None:
    case = await ended(scenario)
    await see(scenario, case, "weak", "orders-log")
    assert "weak-link" in planted(scenario, case)
    await see(scenario, case, "strong", "orders-log")
    assert "weak-link" not in planted(scenario, case)


# --- what covers the log ----------------------------------------------------------------------


def ask_witnesses(scenario: Scenario) -> None:
    key = CosigningKey.generate("w.example").verifier
    text = f"witness w {key.vkey}\nquorum w\n"
    rules = WitnessRules(policy=WitnessPolicy.parse(text), text=text)
    scenario.service.publishing = Publishing(rules=rules)


def kinds_of_the_log(scenario: Scenario) -> set[str]:
    return {each["kind"] for each in overall(scenario)["log"]}


async def test_without_a_quorum_grants_are_unwitnessed_once_there_was_time_for_it(
    scenario: Scenario,
) -> None:
    case = await ended(scenario)
    assert kinds_of_the_log(scenario) == {"no-witnesses", "no-time-stamps"}
    ask_witnesses(scenario)
    assert kinds_of_the_log(scenario) == {"no-time-stamps"}
    assert planted(scenario, case) == set()
    scenario.clock.advance(11 * MINUTE)
    assert planted(scenario, case) == {"unwitnessed"}


async def test_what_the_quorum_cosigned_is_witnessed_and_what_came_later_is_not(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_witnesses(scenario)
    store = scenario.service.log.store
    first = await ended(scenario)
    scenario.checking = False  # what is published here is nothing that witnesses would sign
    size = scenario.service.log.size
    store.publish(Published(size, b"cosigned"))
    store.publish(Published(size + 1, b""))
    monkeypatch.setattr(publish, "is_witnessed", lambda _, published: published.note == b"cosigned")
    later = await ended(scenario)
    scenario.clock.advance(HOUR)
    assert planted(scenario, first) == set()
    assert planted(scenario, later) == {"unwitnessed"}


async def test_what_was_stamped_long_before_the_newest_checkpoint_is_found_among_many(
    scenario: Scenario,
) -> None:
    authority = Authority(name="tsa", url="https://tsa.example", every=HOUR)
    scenario.service.publishing = Publishing(authorities={"tsa": authority})
    stamped = await ended(scenario)
    size, store = scenario.service.log.size, scenario.service.log.store
    scenario.checking = False  # what is published here is nothing that anybody signed
    store.publish(Published(size, b"note", (Stamp("tsa", b"token"),)))
    later = await ended(scenario)
    for more in range(1, 200):
        store.publish(Published(size + more, b"note"))
    scenario.clock.advance(HOUR)
    assert planted(scenario, later) == set()  # the next stamp may still come
    scenario.clock.advance(HOUR)
    assert planted(scenario, stamped) == set()
    assert planted(scenario, later) == {"unstamped"}


async def test_what_the_daily_index_should_cover_and_does_not_is_found(scenario: Scenario) -> None:
    case = await ended(scenario)
    scenario.clock.advance(27 * HOUR)
    assert planted(scenario, case) == {"not-indexed"}
    await index_cases.index(scenario.service)
    assert planted(scenario, case) == set()


# --- all of them ------------------------------------------------------------------------------


async def test_all_grants_are_counted_and_every_kind_is_named(scenario: Scenario) -> None:
    cases = [await ended(scenario) for _ in range(3)]
    await scenario.ask("ana", ticket="")  # denied: no grant
    answer = overall(scenario)
    assert (answer["grants"], answer["weak"]) == (3, 3)
    assert answer["recent"] == {"days": 30, "grants": 3, "weak": 3}
    rows = {each["kind"]: each for each in answer["weaknesses"]}
    assert rows.keys() == {each.id for each in KINDS.values() if each.about == "grant"}
    assert {kind for kind, row in rows.items() if row["count"]} == ALWAYS
    assert [each["case"] for each in rows["uncovered-source"]["cases"]] == cases[::-1]
    assert all(row["advice"].endswith(".") for row in rows.values())


async def test_no_list_names_a_case_that_is_not_there_or_that_is_clean(
    scenario: Scenario,
) -> None:
    """And what is said of all is what is said of each."""
    for _ in range(4):
        await ended(scenario)
    await scenario.erase("pia", f"{(await scenario.granted()).case.id}/0", "reason", "r")
    await scenario.ask("ana")
    for row in overall(scenario)["weaknesses"]:
        for each in row["cases"]:
            assert found(scenario, each["case"])[row["kind"]] == each["says"]
        assert row["count"] == len(row["cases"])


async def test_what_is_asked_for_long_ago_is_counted_apart(scenario: Scenario) -> None:
    await ended(scenario)
    scenario.clock.advance(31 * DAY)
    await ended(scenario)
    answer = overall(scenario)
    assert (answer["grants"], answer["recent"]["grants"]) == (2, 1)


async def test_whoever_may_not_read_all_cases_sees_his_own_alone(scenario: Scenario) -> None:
    case = await ended(scenario)
    assert found(scenario, case, "ana").keys() == ALWAYS
    with pytest.raises(NotFound):
        found(scenario, case, "dan")
    with pytest.raises(NotPermitted):
        health.overall(scenario.service, scenario.caller("ana"))


async def test_a_long_log_is_read_in_pieces_and_whoever_waits_is_told_how_far(
    scenario: Scenario,
) -> None:
    case = await ended(scenario)
    kept, size = scenario.service.observing.surveyed, scenario.service.log.size
    with pytest.raises(Unavailable, match="10 of "), surveying.surveyed(scenario.service, most=10):
        raise AssertionError("half of a log is no population")
    assert kept.survey.size == 10
    with surveying.surveyed(scenario.service, most=size):
        assert kept.survey.size == size
    assert found(scenario, case).keys() == ALWAYS


# --- once a day -------------------------------------------------------------------------------


async def test_a_measurement_stands_in_the_log_and_is_the_trend(scenario: Scenario) -> None:
    await ended(scenario)
    assert health.is_due(scenario.service)
    await health.measure(scenario.service)
    assert not health.is_due(scenario.service)
    scenario.clock.advance(DAY)
    assert health.is_due(scenario.service)
    await ended(scenario)
    await health.measure(scenario.service)
    first, second = overall(scenario)["trend"]
    assert (first["grants"], second["grants"]) == (1, 2)
    assert first["counts"] == dict.fromkeys(sorted(ALWAYS), 1)
    assert second["recent"] == dict.fromkeys(sorted(ALWAYS), 2)
    case = health.case_of(scenario.service.log.log_id, scenario.service.now().year)
    assert scenario.kinds(case) == ["evidence:measured"] * 2
    document = scenario.service.document(scenario.last(case, records.EvidenceMeasured).definition)
    assert b"removal-unverified" in document


async def test_two_nodes_that_measure_at_once_record_one_measurement(scenario: Scenario) -> None:
    await asyncio.gather(*(health.measure(scenario.service) for _ in range(3)))
    assert len(overall(scenario)["trend"]) == 1


async def test_the_newest_measurement_is_a_metric_of_every_kind(scenario: Scenario) -> None:
    await ended(scenario)
    assert list(health.metrics(scenario.service)) == []
    await health.measure(scenario.service)
    lines = list(health.metrics(scenario.service))
    assert 'muniment_evidence_weaknesses{kind="static-token-request"} 1' in lines
    assert 'muniment_evidence_weaknesses_recent{kind="removal-late"} 0' in lines
    assert "muniment_evidence_grants 1" in lines


async def test_more_weak_evidence_than_a_week_ago_is_found_from_the_log(
    scenario: Scenario,
) -> None:
    """By the measurements alone: each kind of weakness is a fact of its own, also where it is 0."""
    await hear(scenario)
    for _ in range(8):
        scenario.clock.advance(DAY)
        await ended(scenario)
        await index_cases.index(scenario.service)
        await health.measure(scenario.service)
    watch = Watch([EvidenceWeaker], {}, WorkingDays())
    assert list(replay(facts(scenario), watch)) == []
    await miss(scenario, "cursor", scenario.service.now())
    for _ in range(3):
        await ended(scenario)
    scenario.clock.advance(DAY)
    await index_cases.index(scenario.service)
    await health.measure(scenario.service)
    hits = list(replay(facts(scenario), Watch([EvidenceWeaker], {}, WorkingDays())))
    assert [(hit.severity, hit.cases) for hit in hits] == [("medium", ())]
    assert "(uncovered-source)" in hits[0].summary
    measured = health.case_of(scenario.service.log.log_id, scenario.service.now().year)
    assert hits[0].evidence == (scenario.entries(measured)[-1].header.id,)


class NothingAround:
    """What the log does not say."""

    def zone(self, _principal: str) -> str:
        return ""

    def on_call(self, _principal: str, _at: datetime) -> bool:
        return False

    def incident(self, _resource: str, _at: datetime) -> bool:
        return False

    def reason(self, _request: Entry) -> None:
        return None

    def usage(self, _case: str, _start: datetime, _end: datetime) -> None:
        return None


def facts(scenario: Scenario) -> list[Fact]:
    recorded, log = Recorded(world=NothingAround()), scenario.service.log
    entries = (entry_of(*each) for each in log.store.entries(0, log.size))
    told = [each for entry in entries for each in recorded.see(entry)]
    for each in told:
        assert set(each.values) <= set(FACTS[each.type][1])
    return told


async def test_what_was_measured_survives_a_restart(scenario: Scenario) -> None:
    await health.measure(scenario.service)
    await scenario.restart()
    assert not health.is_due(scenario.service)
    assert len(overall(scenario)["trend"]) == 1


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    for kind in KINDS.values():
        assert kind.meaning.endswith(".")
        assert kind.advice.endswith(".")
        assert not kind.title.endswith(".")


async def test_what_is_slight_makes_no_grant_weak(scenario: Scenario) -> None:
    """Some of it applies to every grant: who counts it as weak sees nothing else any more."""
    await hear(scenario)
    caller = scenario.caller
    scenario.caller = lambda login: replace(caller(login), assurance="session")  # type: ignore[method-assign]  # a stand-in
    await ended(scenario)
    answer = overall(scenario)
    assert (answer["grants"], answer["weak"], count(scenario, "unsigned-approval")) == (1, 0, 1)


async def test_a_review_of_many_that_is_open_past_its_time_is_a_weakness_of_the_log(
    scenario: Scenario,
) -> None:
    opened = OpenCampaign(
        case="rev_a",
        at=scenario.service.now(),
        record=cast("Any", SimpleNamespace(due=scenario.service.now() + DAY)),
    )
    scenario.service.registry.campaigns.open["rev_a"] = opened
    assert "campaign-overdue" not in {each["kind"] for each in overall(scenario)["log"]}
    scenario.clock.advance(2 * DAY)
    assert "campaign-overdue" in {each["kind"] for each in overall(scenario)["log"]}


async def test_what_old_grants_lost_and_witnesses_that_are_gone_are_found(
    scenario: Scenario,
) -> None:
    """Taking the witnesses away makes every grant look better, and is no way out."""
    case = await scenario.granted()
    await scenario.end("ana", case)
    scenario.clock.advance(40 * DAY)
    service = scenario.service
    year = health.case_of(service.log.log_id, service.now().year)
    measured = records.EvidenceMeasured(
        actor=records.SERVICE, definition=bytes(32), size=service.log.size, grants=1, weak=0,
        counts={}, days=30, recent_grants=0, recent_weak=0, recent={}, log=("no-time-stamps",),
    )  # fmt: skip
    worse = replace(
        measured, weak=1, counts={"section-lost": 1}, log=("no-time-stamps", "no-witnesses")
    )
    for each in (*[measured] * 7, worse):
        scenario.clock.advance(DAY)
        await plant(scenario, year, each)
    hits = list(replay(facts(scenario), Watch([EvidenceWeaker], {}, WorkingDays())))
    assert {(hit.severity, hit.summary.partition(":")[0]) for hit in hits} == {
        ("high", "1 grants of any age have weak evidence where 0 were usual"),
        ("medium", "the log itself is weaker than it was"),
    }


async def test_whoever_watches_the_log_raises_a_finding_once_and_again_in_another_week(
    scenario: Scenario,
) -> None:
    service = scenario.service
    around = Around(service=service, correlator=correlator(service))
    rule = RuleSet(rule=EvidenceWeaker.rule, thresholds={"more": 1, "percent": 10})
    detection = Detection(
        service=service,
        watch=Watch([EvidenceWeaker], {}, WorkingDays()),
        rules={EvidenceWeaker.rule.id: rule},
        around=around,
        recorded=Recorded(world=around),
    )

    async def next_day() -> None:
        scenario.clock.advance(DAY)
        await index_cases.index(service)
        await health.measure(service)
        await detection.look()

    await hear(scenario)
    for _ in range(7):
        await ended(scenario)
        await next_day()
    await miss(scenario, "cursor", scenario.service.now())
    for _ in range(4):
        await ended(scenario)
        await next_day()
    rows = service.projections.cases(kind="finding")
    shown = [findings.show(service, scenario.caller("aud"), row.case) for row in rows]
    assert {(each["rule"], each["severity"]) for each in shown} == {("evidence-weaker", "medium")}
    assert len(shown) in (1, 2)  # the days may lie in two weeks
    said = shown[-1]["timeline"][0]["sections"]["detail"]["summary"]
    assert said.endswith("says what was done there (uncovered-source)")


async def test_a_measurement_that_is_stopped_reads_no_further(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that stops does not wait until a long log is read."""
    monkeypatch.setattr(surveying, "PIECE", 1)
    monkeypatch.setattr(surveying, "BREATH", 60.0)
    kept, begun = scenario.service.observing.surveyed, threading.Event()
    read_on = surveying.read_on

    def read(*given: Any, **how: Any) -> None:
        read_on(*given, **how)
        begun.set()

    monkeypatch.setattr(surveying, "read_on", read)
    measuring = asyncio.create_task(health.measure(scenario.service))
    await asyncio.to_thread(begun.wait, 10)
    with kept.lock:  # whoever asks meanwhile does not wait for all of it
        measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
    assert kept.stop.is_set()
    assert kept.survey.size < scenario.service.log.size
    monkeypatch.undo()
    await health.measure(scenario.service)
    assert len(overall(scenario)["trend"]) == 1


async def test_whoever_acts_in_some_roles_is_told_of_their_grants_alone_in_numbers_too(
    scenario: Scenario,
) -> None:
    acting = Acting(scenario)
    await acting.enrol("aud")
    await acting.enrol_agent("bot", "aud")
    await scenario.granted()
    staging = await scenario.granted("dan", STAGING)
    await health.measure(scenario.service)
    some = await acting.hand_on("aud", "bot", roles=(STAGING,))
    everything = await acting.hand_on("aud", "bot")
    aud = scenario.caller("aud")
    told = health.overall(scenario.service, replace(aud, session=some))
    assert (told["grants"], told["recent"]["grants"]) == (1, 1)
    assert told["weak"] == max(each["count"] for each in told["weaknesses"]) == 1
    named = {case["case"] for each in told["weaknesses"] for case in each["cases"]}
    assert named == {staging.case.id}
    assert (told["trend"], told["measurements"]) == ([], None), "they are about all"
    whole = health.overall(scenario.service, replace(aud, session=everything))
    assert whole == health.overall(scenario.service, aud)
    assert whole["grants"] == 2
    assert whole["trend"]
