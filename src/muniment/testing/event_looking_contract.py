"""
How events are found again, as tests: part of the contract of a store of events.

It needs the fixture `open_store`, as `event_store_contract` says.
"""

# ruff: noqa: S101, PLR2004 - a contract is made of asserts and of the numbers in them

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from muniment.oversight.event import Key
from muniment.oversight.event_store import EventStore
from muniment.oversight.link import NOBODY, Link
from muniment.testing.trial_events import (
    AT,
    MUN_A,
    MUN_B,
    STRONG,
    arrived,
    chunk,
    event,
    everything,
    numbers,
    of,
)


class EventLookingContract:
    """Needs the fixture `open_store`."""

    @pytest.fixture
    def store(self, open_store: Callable[[], EventStore]) -> EventStore:
        return open_store()

    # --- looking -----------------------------------------------------------------------------

    def test_reading_goes_on_behind_what_was_read(self, store: EventStore) -> None:
        store.add(chunk(0, 40))
        store.add(chunk(0, 3, "other-log"))
        store.add(chunk(40, 40))
        store.erase("orders-log", [7, 8])
        whole, row, pieces = list(store.walk()), 0, []
        assert len(whole) == 83
        while some := store.after(row, 7):
            assert len(some) <= 7
            pieces += some
            row = some[-1].row
        assert pieces == whole
        store.add(chunk(80, 2))
        assert numbers(store.after(row)) == [80, 81]
        assert store.after(row + 2) == []

    def test_events_of_a_grant_are_found_in_the_order_of_arrival(self, store: EventStore) -> None:
        late = replace(STRONG, standing="late")
        other = replace(STRONG, grant=MUN_B)
        links = [STRONG, NOBODY, late, other, Link(strength="strong", standing="unknown"), STRONG]
        made = [arrived("orders-log", n, link=link) for n, link in enumerate(links)]
        store.add(chunk(0, 0, arrived=made))
        store.add(chunk(0, 0, "other-log", arrived=[arrived("other-log", 0, link=late)]))
        found = store.of_grant(MUN_A)
        assert [(kept.source, kept.number, kept.link) for kept in found] == [
            ("orders-log", 0, STRONG),
            ("orders-log", 2, late),
            ("orders-log", 5, STRONG),
            ("other-log", 0, late),
        ]
        assert store.of_grant(MUN_A, limit=2) == found[:2]
        assert store.of_grant(MUN_A, after=found[1].row) == found[2:]
        assert store.of_grant(MUN_A, after=found[3].row) == []
        assert numbers(store.of_grant(MUN_B)) == [3]
        assert store.of_grant("") == store.of_grant("mun_x") == []

    def test_a_session_is_that_of_its_source(self, store: EventStore) -> None:
        sessions = ["s-1", "s-2", "s-1", "", "s-1"]
        store.add(of([event(n, session=each) for n, each in enumerate(sessions)]))
        store.add(chunk(0, 1, "other-log"))
        assert numbers(store.of_session("orders-log", "s-1")) == [0, 2, 4]
        assert numbers(store.of_session("orders-log", "s-1", limit=2)) == [0, 2]
        assert [kept.source for kept in store.of_session("other-log", "s-1")] == ["other-log"]
        assert store.of_session("orders-log", "s-3") == store.of_session("orders-log", "") == []

    def test_a_stretch_of_time_is_read_oldest_first(self, store: EventStore) -> None:
        """From its beginning on, up to and without its end."""
        types = ["statement", "session.opened", "error"]
        given = [
            event((n * 7) % 40, type=types[n % 3], resource=("", "stock-prod")[n % 2])
            for n in range(40)
        ]
        store.add(of(given))
        store.erase("orders-log", [11])
        left = [(each, n) for n, each in enumerate(given) if n != 11]
        since, until = AT + timedelta(seconds=5), AT + timedelta(seconds=33)
        for resource in (None, "orders-prod", "stock-prod", "nowhere"):
            for wanted in ((), ("error",), ("error", "statement"), ("call",)):
                expected = [
                    n
                    for each, n in sorted(left, key=lambda pair: (pair[0].at, pair[1]))
                    if since <= each.at < until
                    and (resource is None or (each.resource or "orders-prod") == resource)
                    and (not wanted or each.type in wanted)
                ]
                found = store.between(since, until, resource=resource, types=wanted)
                assert numbers(found) == expected, (resource, wanted)
                few = store.between(since, until, resource=resource, types=wanted, limit=3)
                assert few == found[:3]
        assert store.between(until, since) == store.between(since, since) == []

    def test_at_the_same_moment_the_first_to_arrive_comes_first(self, store: EventStore) -> None:
        types = ["error", "statement", "error", "session.opened"]
        store.add(of([event(0, type=each) for each in types]))
        later = AT + timedelta(seconds=1)
        assert numbers(store.between(AT, later)) == [0, 1, 2, 3]
        assert numbers(store.between(AT, later, types=["statement", "error"])) == [0, 1, 2]

    def test_what_came_first_of_a_stretch_of_time_may_not_have_happened_first(
        self, store: EventStore
    ) -> None:
        store.add(of([event(second) for second in (2, 40, 9, 5, 33, 12)]))
        first, behind, row = AT + timedelta(seconds=5), AT + timedelta(seconds=33), {}
        for kept in store.walk():
            row[kept.number] = kept.row
        assert store.first_row(first, behind) == row[2]
        store.erase("orders-log", [2])
        assert store.first_row(first, behind) == row[3]
        assert store.first_row(AT, AT + timedelta(seconds=2)) is None
        assert store.first_row(AT, behind) == row[0]

    def test_a_walk_takes_little_memory(self, store: EventStore) -> None:
        text = "x" * 2000
        for start in range(0, 6000, 1000):
            made = [
                arrived("orders-log", n, event=event(n, detail=f"{n} {text}"))
                for n in range(start, start + 1000)
            ]
            store.add(chunk(start, 0, arrived=made))
        del made
        gc.collect()
        tracemalloc.start()
        assert sum(1 for _ in store.walk()) == 6000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 6_000_000

    def test_a_walk_that_is_left_keeps_nobody_waiting(self, store: EventStore) -> None:
        store.add(chunk(0, 40))
        walk = store.walk()
        assert next(iter(walk)).number == 0
        assert store.erase("orders-log", [39]) == 1
        store.add(chunk(40, 1))

    # --- keys --------------------------------------------------------------------------------

    def test_whoever_shows_a_key_has_what_was_said_last(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        key = Key("access-key", "ASIA1")
        assert store.joined(key) is None
        store.join(key, MUN_B)
        store.join(key, MUN_A)
        store.join(key, MUN_A)
        assert open_store().joined(key) == MUN_A
        assert store.joined(Key("token", "ASIA1")) is None
        assert store.joined(Key("access-key", "ASIA")) is None

    def test_an_event_waits_for_its_key_until_it_is_linked(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        key, other = Key("access-key", "ASIA1"), Key("token", "t")
        links = [NOBODY, STRONG, Link(strength="strong", reason="account", standing="unknown")]
        made = [
            arrived("orders-log", n, event=event(n, keys=(other, key)), link=link)
            for n, link in enumerate(links)
        ]
        store.add(chunk(0, 0, arrived=[*made, arrived("orders-log", 3)]))
        assert numbers(store.unlinked(key)) == numbers(store.unlinked(other)) == [0, 2]
        assert numbers(store.unlinked(key, limit=1)) == [0]
        assert store.unlinked(Key("token", "ASIA1")) == []
        store.relink("orders-log", 0, STRONG)
        for reader in (store, open_store()):
            assert numbers(reader.unlinked(key)) == numbers(reader.unlinked(other)) == [2]
            assert numbers(reader.of_grant(MUN_A)) == [0, 1]
            assert next(reader.walk()).link == STRONG
        # and back
        store.relink("orders-log", 1, NOBODY)
        assert numbers(store.unlinked(key)) == [1, 2]
        assert numbers(store.of_grant(MUN_A)) == [0]

    def test_what_is_gone_or_never_was_is_not_linked(self, store: EventStore) -> None:
        store.add(chunk(0, 2))
        store.erase("orders-log", [0])
        before = everything(store)
        for source, number in (("orders-log", 0), ("orders-log", 2), ("other", 0)):
            store.relink(source, number, STRONG)
        assert everything(store) == before
        assert store.of_grant(MUN_A) == []
