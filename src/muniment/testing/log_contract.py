"""
The contracts of a log store and of a head store, as tests.

Subclass a contract in a test module and give pytest the fixture that it names, a function: each
call opens the same data anew, as another process or the next start would.
"""

# ruff: noqa: S101 - a contract is made of asserts

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from muniment.errors import Conflict, LogInvalid, MunimentError
from muniment.evidence.record import digest
from muniment.evidence.store import (
    Batch,
    HeadStore,
    LogStore,
    Published,
    Stamp,
)
from muniment.ports import Due
from muniment.testing.faulty import Growing, add, new_case
from muniment.testing.projections_contract import case_row

_PATIENCE = 20


class Stumbled(Exception):
    """raised inside a transaction, to leave it"""


def add_and_stumble(store: LogStore, batch: Batch) -> None:
    with store.transaction() as transaction:
        transaction.add(batch)
        first = batch.entries[0].index
        found = transaction.read_back(first, batch.size)
        assert found == [entry.data for entry in batch.entries]
        raise Stumbled


def assert_holds(store: LogStore, growing: Growing) -> None:
    """The store has exactly what was added."""
    tail = store.tail()
    assert tail is not None
    assert (tail.size, tail.last_index) == (growing.tree.size, growing.tree.size - 1)
    assert tail.peaks == growing.tree.peaks_before_last
    assert tail.checkpoint == b"checkpoint of %d" % tail.size
    assert tail.last_data == growing.entries[-1].data
    everything = list(store.entries(0, 1 << 40))
    assert everything == [(entry.index, entry.data) for entry in growing.entries]
    assert store.leaves(0, 1 << 40) == b"".join(entry.leaf for entry in growing.entries)


class LogStoreContract:
    """Needs the fixture `open_store`."""

    @pytest.fixture
    def growing(self) -> Growing:
        return Growing()

    @pytest.fixture
    def store(self, open_store: Callable[[], LogStore], growing: Growing) -> LogStore:
        """A log of one entry."""
        store = open_store()
        store.found(growing.batch())
        return store

    def test_a_new_database_has_no_log(self, open_store: Callable[[], LogStore]) -> None:
        store = open_store()
        assert store.tail() is None
        assert list(store.entries(0, 10)) == []

    def test_a_log_that_was_founded_is_there(self, store: LogStore, growing: Growing) -> None:
        assert_holds(store, growing)

    def test_a_second_log_is_not_founded_over_the_first(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        for again in (store, open_store()):
            with pytest.raises(Conflict, match="holds a log already"):
                again.found(Growing().batch())
        assert_holds(store, growing)

    def test_what_was_committed_is_there_for_everybody(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        for count in (1, 3, 1):
            add(store, growing.batch(count))
            assert_holds(store, growing)
            assert_holds(open_store(), growing)
        store.reopen()
        assert_holds(store, growing)

    def test_a_block_that_is_left_with_an_error_leaves_nothing(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        row = case_row(new_case())
        batch = growing.batch(2, sections={"note": b"x"}, documents=[b"whole"], companions=[row])
        with pytest.raises(Stumbled):
            add_and_stumble(store, batch)
        for reader in (store, open_store()):
            assert [index for index, _ in reader.entries(0, 10)] == [0]
            assert (reader.sections(1), reader.checkpoint(3)) == ({}, None)
            assert reader.document(digest(b"whole")) is None
        # and the next writer is not kept out
        add(store, batch)
        assert_holds(store, growing)

    def test_nobody_sees_a_batch_before_it_is_committed(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        other = open_store()
        with store.transaction() as transaction:
            transaction.add(growing.batch(2))
            tail = in_thread(other.tail)
            assert tail is not None
            assert tail.size == 1
        assert_holds(other, growing)

    def test_one_writer_waits_for_the_other(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        """And then sees what that one wrote."""
        other, seen, began = open_store(), [], threading.Event()

        def write() -> None:
            began.set()
            with other.transaction() as transaction:
                seen.append(transaction.tail().size)
                transaction.add(second)

        first, second = growing.batch(), growing.batch()
        thread = threading.Thread(target=write)
        with store.transaction() as transaction:
            thread.start()
            assert began.wait(_PATIENCE)
            transaction.add(first)
            assert seen == []
        thread.join(_PATIENCE)
        assert seen == [2]
        assert_holds(store, growing)

    def test_a_transaction_sees_the_tail_and_the_cases_as_they_are(
        self, store: LogStore, growing: Growing
    ) -> None:
        case = new_case()
        add(store, growing.batch(2, case=case))
        with store.transaction() as transaction:
            assert transaction.tail() == store.tail()
            assert transaction.case(case) == store.case(case, 3)
            transaction.add(growing.batch(1, case=case))
            assert [index for index, _ in transaction.case(case)] == [1, 2, 3]
            assert transaction.case(new_case()) == []
            assert transaction.read_back(3, 4) == [growing.entries[3].data]

    def test_a_case_is_read_in_order_and_below_a_size(
        self, store: LogStore, growing: Growing
    ) -> None:
        case, other = new_case(), new_case()
        for name in (case, other, case, case):
            add(store, growing.batch(1, case=name))
        expected = [(i, growing.entries[i].data) for i in (1, 3, 4)]
        assert store.case(case, 5) == expected
        assert store.case(case, 4) == expected[:2]
        assert store.case(case, 1) == []
        assert store.case(new_case(), 5) == []

    def test_entries_are_read_by_range(self, store: LogStore, growing: Growing) -> None:
        add(store, growing.batch(9))
        assert [index for index, _ in store.entries(3, 6)] == [3, 4, 5]
        assert list(store.entries(10, 20)) == []
        assert store.leaves(3, 5) == growing.entries[3].leaf + growing.entries[4].leaf

    def test_an_entry_is_never_replaced_and_leaves_no_gap(
        self, store: LogStore, growing: Growing
    ) -> None:
        add(store, growing.batch(3))
        again, beyond = growing.batch(), Growing()
        for _ in range(8):
            beyond.batch()
        for batch in (replace(again, entries=growing.entries[1:2]), beyond.batch()):
            with pytest.raises(MunimentError), store.transaction() as transaction:
                transaction.add(batch)
        add(store, again)
        assert_holds(store, growing)

    def test_tiles_are_kept_as_they_were_added(self, store: LogStore, growing: Growing) -> None:
        for count in (200, 100, 300):
            batch = growing.batch(count)
            add(store, batch)
            for (level, number), hashes in batch.tiles.items():
                assert store.tile(level, number) == hashes
        leaves = b"".join(entry.leaf for entry in growing.entries[:256])
        assert store.tile(0, 0) == leaves
        assert store.tile(0, 2) is None, "level 0 only when full"
        assert store.tile(1, 0) is not None
        assert store.tile(5, 0) is None

    def test_every_checkpoint_is_kept(self, store: LogStore, growing: Growing) -> None:
        for count in (3, 1):
            add(store, growing.batch(count))
        assert [store.checkpoint(size) for size in (0, 1, 2, 4, 5)] == [
            None, b"checkpoint of 1", None, b"checkpoint of 4", b"checkpoint of 5",
        ]  # fmt: skip
        assert store.checkpoint_at_or_after(2) == (4, b"checkpoint of 4")
        assert store.checkpoint_at_or_after(4) == (4, b"checkpoint of 4")
        assert store.checkpoint_at_or_after(6) is None

    def test_what_was_published_is_kept_with_its_stamps(
        self, store: LogStore, open_store: Callable[[], LogStore]
    ) -> None:
        assert store.published() is None
        assert store.published_at_or_after(0) is None
        first = Published(1, b"one", (Stamp("a", b"token a"), Stamp("b", b"token b")))
        third = Published(3, b"three")
        store.publish(third)
        store.publish(first)
        for each in (store, open_store()):
            assert each.published() == third
            assert each.published_at_or_after(0) == first
            assert each.published_at_or_after(2) == third
            assert each.published_at_or_after(4) is None

    def test_what_is_published_again_is_replaced_as_a_whole(self, store: LogStore) -> None:
        store.publish(Published(1, b"one", (Stamp("a", b"token a"),)))
        again = Published(1, b"one, cosigned", (Stamp("b", b"token b"),))
        store.publish(again)
        assert store.published() == again

    def test_sections_and_documents_lie_beside_their_record(
        self, store: LogStore, growing: Growing
    ) -> None:
        batch = growing.batch(2, sections={"note": b"a", "reason": b""}, documents=[b"whole", b""])
        add(store, batch)
        for entry in batch.entries:
            assert store.sections(entry.index) == {
                name: batch.sections[entry.index, name] for name in ("note", "reason")
            }
        assert (store.sections(0), store.erased(1)) == ({}, {})
        assert store.document(digest(b"whole")) == b"whole"
        assert store.document(digest(b"")) == b""
        assert store.document(bytes(32)) is None

    def test_a_document_that_is_named_again_is_kept_once(
        self, store: LogStore, growing: Growing
    ) -> None:
        add(store, growing.batch(documents=[b"whole"]))
        add(store, growing.batch(documents=[b"whole"]))
        assert store.document(digest(b"whole")) == b"whole"

    def test_an_erased_section_leaves_a_tombstone_and_the_entry(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        batch = growing.batch(2, sections={"note": b"a", "reason": b"b"})
        add(store, batch)
        for _ in range(2):
            store.erase(1, "note", "GDPR 17")
        for reader in (store, open_store()):
            assert list(reader.sections(1)) == ["reason"]
            assert reader.erased(1) == {"note": "GDPR 17"}
            assert reader.sections(2).keys() == {"note", "reason"}
        assert_holds(store, growing)

    def test_the_rule_of_an_erasure_is_the_first_one(
        self, store: LogStore, growing: Growing
    ) -> None:
        add(store, growing.batch(sections={"note": b"a"}))
        store.erase(1, "note", "GDPR 17")
        store.erase(1, "note", "another")
        assert store.erased(1) == {"note": "GDPR 17"}

    def test_many_sections_are_erased_at_once(
        self, store: LogStore, growing: Growing, open_store: Callable[[], LogStore]
    ) -> None:
        add(store, growing.batch(40, sections={"note": b"a", "reason": b"b"}))
        gone = [(index, "note", f"R{index}") for index in range(1, 31)]
        for _ in range(2):
            store.erase_many(gone)
        store.erase_many([])
        for reader in (store, open_store()):
            assert [list(reader.sections(index)) for index, *_ in gone] == [["reason"]] * 30
            assert [reader.erased(index) for index, *_ in gone] == [
                {"note": rule} for *_, rule in gone
            ]
            assert reader.sections(31).keys() == {"note", "reason"}
        assert_holds(store, growing)

    def test_companions_stand_if_and_only_if_the_records_do(
        self, store: Any, growing: Growing
    ) -> None:
        case, other = new_case(), new_case()
        add(store, growing.batch(companions=[Due(case=case, at="2026"), case_row(case)]))
        with pytest.raises(Stumbled):
            add_and_stumble(store, growing.batch(companions=[Due(case=other, at="2026")]))
        assert store.due("2027") == [case]
        assert store.case_row(case) == case_row(case)

    def test_readers_are_served_beside_a_writer(self, store: LogStore, growing: Growing) -> None:
        """Whatever they see was committed as a whole."""
        wrong: list[Any] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                count = sum(1 for _ in store.entries(0, 1 << 40))
                if (count - 1) % 5:
                    wrong.append(count)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            add(store, growing.batch(5))
        done.set()
        for thread in threads:
            thread.join(_PATIENCE)
        assert wrong == []
        assert_holds(store, growing)


def in_thread(call: Callable[[], Any]) -> Any:
    """The result of a call on another thread, as another reader sees it."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(_PATIENCE)
    return found[0]


# --- the head store ------------------------------------------------------------------------------


class HeadStoreContract:
    """Needs the fixture `open_heads`."""

    def test_a_new_head_store_remembers_nothing(self, open_heads: Callable[[], HeadStore]) -> None:
        assert open_heads().read() is None

    def test_the_largest_head_is_remembered(self, open_heads: Callable[[], HeadStore]) -> None:
        heads = open_heads()
        for size in (1, 2, 3, 50, 51):
            heads.write(b"head of %d" % size, size)
            assert heads.read() == open_heads().read() == b"head of %d" % size

    def test_it_never_goes_back(self, open_heads: Callable[[], HeadStore]) -> None:
        heads = open_heads()
        heads.write(b"head of 1", 1)
        heads.write(b"head of 9", 9)
        for size in (0, 1, 5, 8):
            with pytest.raises(LogInvalid, match="remembers"):
                heads.write(b"head of %d" % size, size)
        assert heads.read() == open_heads().read() == b"head of 9"

    def test_another_head_of_the_same_size_is_refused(
        self, open_heads: Callable[[], HeadStore]
    ) -> None:
        """Two histories of one size: whoever comes second gets no receipt."""
        heads = open_heads()
        heads.write(b"head of 8", 8)
        heads.write(b"head of 9", 9)
        for other in (heads, open_heads()):
            with pytest.raises(LogInvalid, match="remembers"):
                other.write(b"another 9", 9)
        assert heads.read() == b"head of 9"

    def test_the_same_head_may_be_written_again(self, open_heads: Callable[[], HeadStore]) -> None:
        """After an error nobody knows whether it stands."""
        heads = open_heads()
        heads.write(b"head of 8", 8)
        for _ in range(3):
            heads.write(b"head of 9", 9)
            assert open_heads().read() == b"head of 9"
        heads.write(b"head of 10", 10)
        assert open_heads().read() == b"head of 10"

    def test_sizes_are_compared_as_numbers(self, open_heads: Callable[[], HeadStore]) -> None:
        heads = open_heads()
        for size in (9, 10, 255, 256, 1 << 32, 1 << 62):
            heads.write(b"head of %d" % size, size)
            assert heads.read() == b"head of %d" % size

    def test_a_checkpoint_with_witnesses_fits(self, open_heads: Callable[[], HeadStore]) -> None:
        heads = open_heads()
        heads.write(b"x" * 4000, 1)
        heads.write(b"y", 2)
        heads.write(b"z" * 10, 3)
        assert open_heads().read() == b"z" * 10

    def test_the_lock_keeps_others_out(self, open_heads: Callable[[], HeadStore]) -> None:
        """Threads of one process, and others that opened it for themselves."""
        heads = open_heads()
        order: list[str] = []
        opened = [heads, open_heads()]
        waiting = []
        with heads.lock():
            for number, other in enumerate(opened):
                began = threading.Event()
                lock = other.lock()
                thread = threading.Thread(
                    target=take_turn, args=(lock, began, order, f"other {number}")
                )
                thread.start()
                waiting.append(thread)
                assert began.wait(_PATIENCE)
            order.append("first")
        for thread in waiting:
            thread.join(_PATIENCE)
        assert order[0] == "first"
        assert sorted(order[1:]) == ["other 0", "other 1"]

    def test_the_lock_is_free_again_after_an_error(
        self, open_heads: Callable[[], HeadStore]
    ) -> None:
        heads = open_heads()
        with pytest.raises(Stumbled), heads.lock():
            raise Stumbled
        with heads.lock():
            heads.write(b"head of 1", 1)
        with open_heads().lock():
            assert heads.read() == b"head of 1"


def take_turn(
    lock: AbstractContextManager[None], began: threading.Event, order: list[str], name: str
) -> None:
    began.set()
    with lock:
        order.append(name)
