"""The longest floor and the shortest ceiling of all classes that apply; a conflict keeps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.oversight.retention import EVERY, REFUSED, Class, Rules, Thing
from muniment.oversight.retention_presets import PRESETS, classes_of

DAY = timedelta(days=1)
AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
REASON = Thing(
    kind="access:requested",
    section="reason",
    resources=frozenset(["orders-prod"]),
    environments=frozenset(["prod"]),
    data=frozenset(["restricted"]),
)
EVENTS = Thing(source="orders-log", resources=frozenset(["orders-prod"]))


@pytest.mark.parametrize(
    ("asked", "applies"),
    [
        ({}, True),
        ({"kinds": ["access:requested"]}, True),
        ({"kinds": ["approval:given"]}, False),
        ({"sections": ["reason"], "data": ["restricted", "secret"]}, True),
        ({"sections": ["reason"], "data": ["secret"]}, False),
        ({"resources": ["orders-prod"], "environments": ["prod"]}, True),
        ({"environments": ["staging"]}, False),
        ({"sources": [EVERY]}, False),
    ],
)
def test_a_class_is_about_what_all_of_its_names_fit(
    asked: dict[str, list[str]], applies: bool
) -> None:
    named: dict[str, Any] = {name: frozenset(values) for name, values in asked.items()}
    assert Class(name="c", **named).applies_to(REASON) == applies


@pytest.mark.parametrize(
    ("sources", "applies"),
    [([EVERY], True), (["orders-log"], True), (["other"], False), ([], False)],
)
def test_events_are_for_classes_that_name_sources(sources: list[str], applies: bool) -> None:
    assert Class(name="c", sources=frozenset(sources)).applies_to(EVENTS) == applies


days = st.none() | st.integers(1, 5000).map(lambda n: n * DAY)


@given(st.lists(st.tuples(days, days), max_size=6), st.integers(0, 6000))
def test_nothing_goes_before_any_floor_or_after_no_ceiling(
    pairs: list[tuple[timedelta | None, timedelta | None]], age: int
) -> None:
    classes = [Class(name=f"c{n}", floor=f, ceiling=c) for n, (f, c) in enumerate(pairs)]
    ruling = Rules(classes=classes).ruling(REASON)
    floors = [each.floor for each in classes if each.floor is not None]
    ceilings = [each.ceiling for each in classes if each.ceiling is not None]
    since, at = AT, AT + age * DAY
    gone = ruling.has_gone(since, at)
    assert gone == (
        bool(ceilings) and at - since >= min(ceilings) and all(at - since >= f for f in floors)
    )
    assert ruling.keeps(since, at) == any(at - since < f for f in floors)
    assert not (gone and ruling.keeps(since, at))
    assert ruling.conflict == (bool(ceilings) and bool(floors) and max(floors) > min(ceilings))
    assert not ruling.has_gone(None, at)  # what is needed stays, however old
    assert ruling.keeps(None, at) == bool(floors)


def test_the_rule_names_the_class_that_made_it_go() -> None:
    long, short = Class(name="long", ceiling=9 * DAY), Class(name="short", ceiling=2 * DAY)
    ruling = Rules(classes=(long, short, Class(name="kept", floor=3 * DAY))).ruling(REASON)
    assert (ruling.rule, ruling.kept_by) == ("retention:short", "kept")


def test_without_classes_nothing_goes_and_with_refused_files_nothing_may() -> None:
    far = AT + 30_000 * DAY
    assert not Rules().ruling(REASON).has_gone(AT, far)
    assert not Rules().ruling(REASON).keeps(AT, AT)
    for thing in (REASON, EVENTS):
        assert REFUSED.ruling(thing).keeps(AT, far)


def test_every_preset_says_where_it_is_from_and_is_a_floor_or_none() -> None:
    for name, preset in PRESETS.items():
        assert preset.source, name
        assert preset.note, name
        assert (preset.floor is None) == (preset.status == "own number"), name
        sections, events = classes_of(name)
        assert sections.ceiling is None
        assert events.ceiling is None
        if preset.floor is not None:
            assert sections.applies_to(REASON)
            assert events.applies_to(EVENTS)


@pytest.mark.parametrize(("name", "years"), [("pci", 1), ("hipaa", 6), ("sox", 7)])
def test_a_preset_of_years_is_as_long_as_the_longest_of_them(name: str, years: int) -> None:
    floor = PRESETS[name].floor
    assert floor is not None
    for first in (2024, 2025, 2027, 2028):
        begun = datetime(first, 2, 28, tzinfo=UTC)
        assert begun + floor >= begun.replace(year=first + years)
