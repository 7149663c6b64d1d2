"""
The contract of a store of events, as tests.

Subclass it in a test module and give pytest the fixtures that it names, functions: each call opens
the same data anew, as another process or the next start would.
"""

# ruff: noqa: S101, PLR2004 - a contract is made of asserts and of the numbers in them

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from muniment.errors import Conflict, Unavailable
from muniment.evidence import event_batch
from muniment.oversight.event import MAX_RECORD, Key
from muniment.oversight.event_store import EventStore, Kept, Raw, SourceState
from muniment.oversight.link import NOBODY
from muniment.testing.event_looking_contract import EventLookingContract
from muniment.testing.faulty import Disk
from muniment.testing.trial_events import (
    AT,
    LOG,
    MUN_A,
    STRONG,
    arrived,
    chunk,
    event,
    everything,
    numbers,
    of,
    raw,
    salt,
)

_PATIENCE = 20


class EventStoreContract(EventLookingContract):
    """
    Needs the fixtures `open_store` and `open_faulty`.

    `open_faulty` opens the same data on a disk that fails on command: each write is one `commit`.
    """

    # --- taking in ---------------------------------------------------------------------------

    def test_a_source_that_nothing_came_from_has_nothing(self, store: EventStore) -> None:
        assert store.state("orders-log") == SourceState(source="orders-log", resource="")
        assert everything(store) == ([], [], [])
        assert store.raw("orders-log", 0) is None
        assert store.span("orders-log", 0, 10) is None

    def test_what_was_added_is_there_for_everybody(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        store.add(chunk(0, 3))
        store.add(chunk(3, 70))
        for reader in (store, open_store()):
            kept = list(reader.walk())
            assert [each.row for each in kept] == sorted({each.row for each in kept})
            assert kept == [
                Kept(
                    row=each.row, source="orders-log", number=number, event=event(number),
                    link=NOBODY, resource="orders-prod",
                )
                for number, each in enumerate(kept)
            ]  # fmt: skip
            assert len(kept) == 73
            for number in (0, 2, 3, 72):
                expected = Raw(raw=raw(number), salt=salt("orders-log", number))
                assert reader.raw("orders-log", number) == expected
            assert reader.raw("orders-log", 73) is None
            assert reader.raw("other", 0) is None

    def test_the_state_says_how_far_a_source_was_read(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        events = [event(), event(type="session.opened"), event(1)]
        store.add(of(events, rejected=2, cursor="here"))
        store.add(chunk(3, 0, rejected=1, cursor=None, at=AT + timedelta(hours=1)))
        state = SourceState(
            source="orders-log", resource="orders-prod", next=3, rejected=3, cursor="here",
            received=AT + timedelta(hours=1), types={"session.opened": 1, "statement": 2},
        )  # fmt: skip
        assert store.state("orders-log") == open_store().state("orders-log") == state
        store.move("orders-log", "there")
        store.add(chunk(0, 1, "a-log"))
        assert [each.source for each in store.states()] == ["a-log", "orders-log"]
        assert open_store().state("orders-log") == replace(state, cursor="there")

    def test_a_moment_keeps_its_microseconds_whatever_its_year_and_zone(
        self, store: EventStore
    ) -> None:
        moments = [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(2026, 11, 21, 10, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5))),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ]
        store.add(of([event(at=at) for at in moments]))
        found = [kept.event.at for kept in store.walk() if kept.event is not None]
        assert found == moments
        assert {at.utcoffset() for at in found} == {timedelta(0)}
        assert store.span("orders-log", 0, 3) == (moments[0], moments[2])

    def test_text_of_a_source_comes_back_as_it_was_whatever_it_is(self, store: EventStore) -> None:
        hostile = ["\0", "a\0b", "\ud800 alone", "\u202egnitset", "';--", "ä\n\r\u2028", "%s", "?"]
        events = [
            event(
                account=text, session=text, client=text, action=text, object=text, detail=text,
                resource=text, keys=(Key("account", text), Key("token", text * 2)),
            )
            for text in hostile
        ]  # fmt: skip
        store.add(of(events))
        assert [kept.event for kept in store.walk()] == events
        for number, text in enumerate(hostile):
            assert numbers(store.of_session("orders-log", text)) == [number]
            assert numbers(store.unlinked(Key("account", text))) == [number]
            assert numbers(store.between(AT, AT + timedelta(9), resource=text)) == [number]

    def test_records_of_any_size_and_any_bytes_come_back(self, store: EventStore) -> None:
        records = [b"", b"\0\xff\xfe", b"x" * MAX_RECORD, bytes(range(256)) * 100, b"y"]
        made = [arrived("orders-log", n, raw=each) for n, each in enumerate(records)]
        store.add(chunk(0, 0, arrived=made))
        found = [store.raw("orders-log", number) for number in range(len(records))]
        assert [None if each is None else each.raw for each in found] == records

    # --- all or nothing ----------------------------------------------------------------------

    def test_a_chunk_that_does_not_go_on_where_the_source_is_is_refused(
        self, store: EventStore
    ) -> None:
        store.add(chunk(0, 3))
        before = everything(store)
        for start in (0, 2, 4):
            with pytest.raises(Conflict):
                store.add(chunk(start, 2, cursor="wrong"))
        with pytest.raises(Conflict):
            store.add(chunk(1, 1, "new-log"))
        assert everything(store) == before

    def test_a_chunk_that_was_read_behind_another_cursor_is_refused(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        """Also where its reader knows the number: it was told by who has read on meanwhile."""
        store.add(chunk(0, 2, cursor="a", after=""))
        store.add(chunk(2, 0, cursor="b", after="a"))
        before = everything(store)
        for after in ("", "a", "c"):
            with pytest.raises(Conflict):
                open_store().add(chunk(2, 1, cursor="wrong", after=after))
        with pytest.raises(Conflict):
            store.add(chunk(0, 1, "new-log", after="a"))
        assert everything(store) == before
        open_store().add(chunk(2, 1, cursor=None, after="b"))
        store.add(chunk(3, 1, cursor="c"))
        assert store.state("orders-log").cursor == "c"

    def test_of_two_writers_with_the_same_start_one_is_refused(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        writers, barrier = [store, open_store()], threading.Barrier(2)
        outcomes: list[str] = []

        def write(writer: EventStore, name: str) -> None:
            for start in range(0, 50, 5):
                barrier.wait(_PATIENCE)
                try:
                    writer.add(chunk(start, 5, cursor=name))
                    outcomes.append(name)
                except Conflict:
                    outcomes.append("refused")

        threads = [
            threading.Thread(target=write, args=(writer, f"writer {n}"))
            for n, writer in enumerate(writers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        assert outcomes.count("refused") == len(outcomes) // 2 == 10
        assert numbers(store.walk()) == list(range(50))

    def test_sources_do_not_mind_one_another(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        def write(source: str) -> None:
            writer = open_store()
            for start in range(0, 100, 10):
                writer.add(chunk(start, 10, source))

        sources = ["a-log", "b-log", "c-log"]
        threads = [threading.Thread(target=write, args=(source,)) for source in sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        kept = list(store.walk())
        assert [each.row for each in kept] == sorted({each.row for each in kept})
        for source in sources:
            assert numbers(k for k in kept if k.source == source) == list(range(100))

    @pytest.mark.parametrize("is_kept", [False, True])
    def test_a_commit_that_fails_leaves_the_whole_chunk_or_nothing(
        self,
        store: EventStore,
        open_store: Callable[[], EventStore],
        open_faulty: Callable[[Disk], EventStore],
        is_kept: bool,
    ) -> None:
        """The caller cannot know which; the state says it, and reading goes on from there."""
        disk = Disk()
        faulty = open_faulty(disk)
        faulty.add(chunk(0, 40))
        before = everything(store)
        disk.fail("commit", kept=is_kept)
        with pytest.raises(Unavailable):
            faulty.add(chunk(40, 40, rejected=3))
        for reader in (faulty, open_store()):
            state = reader.state("orders-log")
            expected = (80, "at 80", 3) if is_kept else (40, "at 40", 0)
            assert (state.next, state.cursor, state.rejected) == expected
            assert numbers(reader.walk()) == list(range(state.next))
        if not is_kept:
            assert everything(store) == before
        following = faulty.state("orders-log").next
        faulty.add(chunk(following, 5))
        assert numbers(open_store().walk()) == list(range(following + 5))

    @pytest.mark.parametrize("is_kept", [False, True])
    def test_whatever_else_fails_in_its_commit_is_done_or_not(
        self,
        store: EventStore,
        open_faulty: Callable[[Disk], EventStore],
        is_kept: bool,
    ) -> None:
        disk, key = Disk(), Key("token", "t-1")
        faulty = open_faulty(disk)
        faulty.add(of([event(keys=(key,))]))
        writes: list[tuple[Callable[[], object], Callable[[], bool]]] = [
            (
                lambda: faulty.move("orders-log", "x"),
                lambda: store.state("orders-log").cursor == "x",
            ),
            (
                lambda: faulty.seal("orders-log", 1, 0, 5),
                lambda: store.sealed_by("orders-log", 0) == 5,
            ),
            (lambda: faulty.join(key, MUN_A), lambda: store.joined(key) == MUN_A),
            (lambda: faulty.relink("orders-log", 0, STRONG), lambda: store.unlinked(key) == []),
            (lambda: faulty.erase("orders-log", [0]), lambda: store.raw("orders-log", 0) is None),
        ]
        for write, is_done in writes:
            disk.fail("commit", kept=is_kept)
            with pytest.raises(Unavailable):
                write()
            assert is_done() == is_kept
            write()
            assert is_done()

    # --- evidence ----------------------------------------------------------------------------

    def test_commitments_are_in_the_order_of_numbers_wherever_a_range_begins(
        self, store: EventStore
    ) -> None:
        store.add(chunk(0, 70))
        store.add(chunk(0, 5, "other-log"))
        store.add(chunk(70, 1))
        store.add(chunk(71, 40))
        expected = [arrived("orders-log", n).commitment for n in range(111)]
        for start, stop in ((0, 111), (0, 1), (31, 33), (32, 64), (69, 72), (110, 400), (5, 5)):
            assert store.commitments("orders-log", start, stop) == expected[start:stop]

    def test_a_span_is_the_earliest_and_the_latest_whatever_their_order(
        self, store: EventStore
    ) -> None:
        seconds = [5, 3, 9, 7, *range(20, 60), 1]
        store.add(of([event(n) for n in seconds]))
        for start, stop in ((0, 4), (0, 45), (1, 2), (3, 44), (44, 45), (40, 99)):
            inside = [AT + timedelta(seconds=n) for n in seconds[start:stop]]
            assert store.span("orders-log", start, stop) == (min(inside), max(inside))
        assert store.span("orders-log", 45, 99) is None
        assert store.span("orders-log", 3, 3) is None

    def test_a_seal_never_goes_back(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        store.add(chunk(0, 10, rejected=4))
        store.seal("orders-log", 6, 3, 100)
        store.seal("orders-log", 4, 1, 200)
        store.seal("orders-log", 6, 2, 300)
        state = open_store().state("orders-log")
        assert (state.next, state.sealed, state.rejected, state.rejected_sealed) == (10, 6, 4, 3)
        assert [store.sealed_by("orders-log", n) for n in (0, 5, 6, 9)] == [100, 100, None, None]
        store.seal("orders-log", 10, 4, 400)
        assert [store.sealed_by("orders-log", n) for n in (0, 5, 6, 9)] == [100, 100, 400, 400]
        assert store.sealed_by("orders-log", 10) is None
        assert store.sealed_by("other", 0) is None

    def test_what_the_log_has_and_the_store_lost_is_left_out(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        """As after a restored copy: no number is given twice."""
        store.add(chunk(0, 3))
        store.seal("orders-log", 8, 2, 50)
        store.seal("lost-log", 5, 1, 51)
        with pytest.raises(Conflict):
            store.add(chunk(3, 1))
        store.add(chunk(8, 2))
        assert numbers(open_store().walk()) == [0, 1, 2, 8, 9]
        found = open_store().state("orders-log")
        assert (found.next, found.sealed, found.rejected, found.rejected_sealed) == (10, 8, 2, 2)
        assert store.raw("orders-log", 5) is None
        assert len(store.commitments("orders-log", 0, 10)) == 5
        store.add(chunk(5, 1, "lost-log"))
        assert numbers(store.of_session("lost-log", "s-1")) == [5]

    # --- erasing -----------------------------------------------------------------------------

    def test_an_erased_event_leaves_its_number_and_commitment_and_nothing_else(
        self, store: EventStore, open_store: Callable[[], EventStore]
    ) -> None:
        key = Key("account", "mun_ana")
        given = [event(n, keys=(key,), resource="ana's own") for n in range(3)]
        links = [STRONG, NOBODY, STRONG]
        made = [
            arrived("orders-log", n, event=each, link=link)
            for n, (each, link) in enumerate(zip(given, links, strict=True))
        ]
        store.add(chunk(0, 0, arrived=made))
        before = store.commitments("orders-log", 0, 3)
        assert store.erase("orders-log", [0, 1]) == 2
        for reader in (store, open_store()):
            kept = list(reader.walk())
            assert numbers(kept) == [0, 1, 2]
            assert [each.event for each in kept] == [None, None, given[2]]
            assert [each.link for each in kept] == [NOBODY, NOBODY, STRONG]
            assert [each.resource for each in kept] == ["orders-prod", "orders-prod", "ana's own"]
            assert [reader.raw("orders-log", n) for n in (0, 1)] == [None, None]
            assert reader.commitments("orders-log", 0, 3) == before
            assert numbers(reader.of_session("orders-log", "s-1")) == [2]
            assert numbers(reader.of_grant(MUN_A)) == [2]
            assert numbers(reader.between(AT, AT + timedelta(1))) == [2]
            assert reader.unlinked(key) == []
            assert reader.state("orders-log").types == {"statement": 3}

    def test_erasing_counts_what_there_was(self, store: EventStore) -> None:
        store.add(chunk(0, 100))
        assert store.erase("orders-log", (n for n in (5, 5, 3, 700))) == 2
        assert store.erase("orders-log", [3, 5]) == 0
        assert store.erase("other", [0]) == 0
        assert store.erase("orders-log", []) == 0
        assert store.erase("orders-log", range(2, 90)) == 86
        there = [kept.number for kept in store.walk() if kept.event is not None]
        assert there == [0, 1, *range(90, 100)]
        assert [store.raw("orders-log", n) is not None for n in (1, 2, 89, 90)] == [
            True, False, False, True,
        ]  # fmt: skip

    def test_an_event_is_proved_when_its_neighbours_are_gone(self, store: EventStore) -> None:
        store.add(chunk(0, 50))
        root = event_batch.root(store.commitments("orders-log", 0, 50))
        store.seal("orders-log", 50, 0, 9)
        store.erase("orders-log", [n for n in range(50) if n != 37])
        kept, left = store.raw("orders-log", 37), store.commitments("orders-log", 0, 50)
        assert kept is not None
        committed = event_batch.commitment(LOG, kept.salt, "orders-log", 37, kept.raw)
        event_batch.verify(committed, 37, 50, event_batch.prove(left, 37), root)
        assert store.sealed_by("orders-log", 37) == store.sealed_by("orders-log", 36) == 9

    def test_a_batch_can_be_sealed_whose_events_are_gone(self, store: EventStore) -> None:
        store.add(chunk(0, 40))
        store.erase("orders-log", range(40))
        assert len(store.commitments("orders-log", 0, 40)) == 40
        assert store.span("orders-log", 0, 40) == (AT, AT + timedelta(seconds=39))
