"""What detectors remember: as long as their windows need it, whoever comes and goes."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detectors import BUILT_IN
from muniment.oversight.detectors.examples import activity, approval, issue, on, request
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import FACTS, Fact, fact
from muniment.oversight.watch import FAILED, Watch, replay
from muniment.testing.ordinary_year import OrdinaryYear

MONDAY = datetime(2026, 3, 2, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
_NAMES = ("requester", "person", "persons", "resource", "approver", "approver_person", "about")


def size(watch: Watch) -> int:
    """Bytes of everything that is remembered."""
    return len(pickle.dumps([vars(each) for each in watch._detectors]))


def strangers(year: int) -> Iterator[Fact]:
    """A year in which everybody and everything has another name than in any other."""
    for each in OrdinaryYear(grants=200, year=year).facts():
        named = {name: f"{each.text(name)}.{year}" for name in _NAMES if each.text(name)}
        case = f"{each.case}.{year}" if each.case else ""
        yield replace(each, case=case, values={**each.values, **named})


def test_years_of_strangers_take_no_more_memory_than_two() -> None:
    watch = Watch(BUILT_IN, {}, WorkingDays())
    sizes = []
    for year in range(2026, 2032):
        for _ in replay(strangers(year), watch):
            pass
        sizes.append(size(watch))
    assert max(sizes[2:]) < 1.25 * max(sizes[:2])


def test_when_nothing_happens_for_long_everything_is_forgotten() -> None:
    watch = Watch(BUILT_IN, {}, WorkingDays())
    empty = size(watch)
    full = 0
    for _ in replay(strangers(2026), watch):
        full = max(full, 1)
    full = size(watch)
    assert full > 10 * empty
    now = datetime(2027, 1, 2, tzinfo=timezone.utc)
    for _ in range(400):
        now += timedelta(days=1)
        watch.tick(now)
    assert size(watch) < 2 * empty + 1000


def test_the_same_person_and_resource_all_day_take_no_more_memory_for_ever() -> None:
    watch = Watch(BUILT_IN, {}, WorkingDays())

    def minutes(start: int, count: int) -> Iterator[Fact]:
        for number in range(start, start + count):
            at = (MONDAY + timedelta(minutes=number)).isoformat()
            for flat in (
                request(at, case=f"mun_{number}", reason=f"r{number}"),
                approval(at, case=f"mun_{number}"),
                issue(at, case=f"mun_{number}", emergency=True),
                activity(at, case=f"mun_{number}", client=f"192.0.2.{number % 200}"),
            ):
                yield fact(flat)

    for _ in replay(minutes(0, 800), watch):
        pass
    before = size(watch)
    for _ in replay(minutes(800, 800), watch):
        pass
    assert size(watch) < 2.2 * before  # a week of broken glass waits for its reviews


def test_a_target_that_is_wrong_about_the_time_hides_nothing() -> None:
    """Its facts neither move the windows of others, nor stay for ever."""
    watch = Watch(BUILT_IN, {}, WorkingDays())
    watch.tick(MONDAY)
    hits = watch.see(fact(activity("2099-01-01T00:00:00Z", client="192.0.2.1")))
    hits += watch.see(fact(activity("1999-01-01T00:00:00Z", client="192.0.2.2")))
    assert [hit.rule for hit in hits] == ["two-addresses"]
    before = size(watch)
    for days in range(20):
        watch.tick(MONDAY + timedelta(days=days))
    assert size(watch) < before


# --- recent -------------------------------------------------------------------------------------


def test_recent_keeps_what_is_in_the_span_that_ends_with_the_newest() -> None:
    recent: Recent[int] = Recent(HOUR)
    recent.add("a", MONDAY, 1)
    assert [each.value for each in recent.add("a", MONDAY + HOUR, 2)] == [1, 2]
    assert [each.value for each in recent.add("a", MONDAY + 1.01 * HOUR, 3)] == [2, 3]
    assert [each.value for each in recent.add("b", MONDAY, 4)] == [4]


@given(st.permutations(range(8)))
def test_recent_has_the_same_in_whatever_order_it_came(order: list[int]) -> None:
    recent: Recent[int] = Recent(HOUR, most=5)
    for number in order:
        recent.add("a", MONDAY + number * HOUR / 4, number)
    assert [each.value for each in recent.of("a", MONDAY + 7 * HOUR / 4)] == [3, 4, 5, 6, 7]


def test_recent_forgets_idle_keys_once_in_a_span() -> None:
    recent: Recent[int] = Recent(HOUR)
    recent.add("a", MONDAY, 1)
    recent.add("b", MONDAY + 2 * HOUR, 2)
    recent.forget(MONDAY + 2 * HOUR)
    assert len(recent) == 1
    assert list(recent.of("a", MONDAY)) == []


# --- whatever comes -----------------------------------------------------------------------------

_TEXTS = st.text(max_size=20) | st.sampled_from(
    ["ana", "prod", "human", "strong", "late", "\0", "\u202e"]
)
_VALUES = _TEXTS | st.integers(-(1 << 70), 1 << 70) | st.booleans()


@st.composite
def _facts(draw: st.DrawFn) -> Fact:
    type = draw(st.sampled_from(sorted(FACTS)))
    names = st.sampled_from(FACTS[type][1] or ("zone",))
    values = draw(st.dictionaries(names, _VALUES, max_size=12))
    at = MONDAY + timedelta(seconds=draw(st.integers(-(10**9), 10**9)))
    return Fact(type=type, at=at, case=draw(_TEXTS), ref=draw(_TEXTS), values=values)


@given(st.lists(_facts(), max_size=30))
@settings(max_examples=150, deadline=None)
def test_whatever_facts_come_no_detector_fails(facts: list[Fact]) -> None:
    watch = Watch(BUILT_IN, {}, WorkingDays())
    hits: list[Any] = [hit for each in facts for hit in watch.see(each)]
    hits += watch.tick(MONDAY)
    watch.silences()
    assert [hit for hit in hits if hit.rule == FAILED.id] == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_rule_does_not_tell_of_silence_where_there_is_nothing_to_say(count: int) -> None:
    watch = Watch(BUILT_IN, {}, WorkingDays())
    for number in range(count):
        watch.see(fact(request(on(2 + number), groups=" engineering ")))
    silent = {silence.rule for silence in watch.silences()}
    assert silent == ({"unusual-duration", "unusual-hour", "new-resource"} if count else set())
