"""The rules by which records get their places in the log."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import (
    ClockUnsteady,
    Conflict,
    DiskFull,
    LogUnavailable,
    NotCanonical,
    Stale,
)
from muniment.evidence import canonical, merkle
from muniment.evidence.append import Companions, Outcome, Proposal
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.log import MAX_BATCH
from muniment.evidence.record import MAX_DOCUMENT, MAX_HEADER, MAX_SECTION, Draft
from muniment.evidence.store import Entry
from muniment.ports import Due
from muniment.testing.faulty import START, new_case
from muniment.testing.trial_log import TrialLog

SECOND = timedelta(seconds=1)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[TrialLog]:
    trial = TrialLog(tmp_path)
    yield trial
    trial.close()


def no_companions(_entries: Sequence[Entry]) -> Sequence[Any]:
    return ()


# --- places and chains ---------------------------------------------------------------------------


def test_records_get_places_without_a_gap_and_point_at_their_predecessor(trial: TrialLog) -> None:
    case = new_case()
    entries = [trial.append(trial.draft(case))[0] for _ in range(3)]
    assert [entry.header.position for entry in entries] == [0, 1, 2]
    assert [entry.index for entry in entries] == [1, 2, 3]
    assert [entry.header.prev for entry in entries] == [None, entries[0].leaf, entries[1].leaf]
    trial.check()


def test_the_records_of_one_proposal_build_on_one_another(trial: TrialLog) -> None:
    case, other = new_case(), new_case()
    a, b, c = trial.append(trial.draft(case), trial.draft(other), trial.draft(case))
    assert (a.header.position, b.header.position, c.header.position) == (0, 0, 1)
    assert c.header.prev == a.leaf
    trial.check()


def test_a_number_in_follows_stands_for_the_leaf_of_an_earlier_draft(trial: TrialLog) -> None:
    before = trial.fill(1)[0]
    case, other = new_case(), new_case()
    first, second = trial.append(trial.draft(case), trial.draft(other, follows=(before.leaf, 0)))
    assert second.header.follows == (before.leaf, first.leaf)


def test_what_is_read_back_is_what_the_receipt_says(trial: TrialLog) -> None:
    case = new_case()
    (entry,) = trial.append(
        trial.draft(
            case, body={"n": 1}, sections={"reason": b"because"}, documents=(b"the whole text",)
        )
    )
    (read,) = trial.log.read_case(case)
    assert read == trial.log.read_entry(entry.index)
    assert read.data == entry.data
    assert trial.log.read_sections(read) == {"reason": b"because"}
    assert trial.store.document(read.header.documents[0]) == b"the whole text"


def test_a_receipt_proves_its_record_under_the_signed_checkpoint(trial: TrialLog) -> None:
    trial.fill(300)
    case = new_case()
    appended = trial.queue(trial.draft(case)).result()
    signed = open_checkpoint(appended.checkpoint, trial.key.name, [trial.key.verifier])
    (entry,) = appended.entries
    proof = trial.log.inclusion(entry.index, signed.size)
    merkle.verify_inclusion(entry.leaf, entry.index, signed.size, proof, signed.root)
    assert (appended.size, trial.log.size) == (signed.size, signed.size)


def test_every_checkpoint_extends_the_one_before_it(trial: TrialLog) -> None:
    notes = []
    for count in (1, 5, 250, 3, 300):
        trial.fill(count)
        notes.append(trial.log.checkpoint)
    signed = [open_checkpoint(note, trial.key.name, [trial.key.verifier]) for note in notes]
    for old, new in itertools.pairwise(signed):
        proof = trial.log.consistency(old.size, new.size)
        merkle.verify_consistency(old.size, new.size, proof, old.root, new.root)
    trial.check()


def test_a_log_that_grew_over_full_tiles_opens_again_and_goes_on(trial: TrialLog) -> None:
    trial.fill(256 + 3)
    trial.check()
    trial.reopen()
    trial.fill(256)
    trial.check()
    trial.reopen()
    trial.check()


def test_an_unknown_case_is_empty_and_an_entry_beyond_the_end_is_missing(trial: TrialLog) -> None:
    assert trial.log.read_case(new_case()) == []
    assert trial.log.head(new_case()) is None
    with pytest.raises(Exception, match="entry 1 is missing"):
        trial.log.read_entry(1)


def test_a_log_that_is_opened_tells_its_listeners_every_entry_once_in_order(
    trial: TrialLog,
) -> None:
    trial.fill(5)
    assert [entry.index for entry in trial.told] == list(range(6))
    trial.reopen()
    assert [entry.index for entry in trial.told] == list(range(6))


# --- group commit --------------------------------------------------------------------------------


def test_appends_that_wait_for_the_disk_share_one_transaction(trial: TrialLog) -> None:
    threads, each = 16, 10
    barrier = threading.Barrier(threads)
    futures = []

    def ask() -> None:
        barrier.wait()
        futures.extend([trial.queue(trial.draft(new_case())) for _ in range(each)])

    with trial.disk.hold("commit") as reached:
        first = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        trial.disk.tried.clear()
        asking = [threading.Thread(target=ask) for _ in range(threads)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert not any(future.done() for future in futures)
    trial.receipt(first)
    entries = [trial.receipt(future)[0] for future in futures]
    assert trial.disk.tried["commit"] == trial.disk.tried["add"] == 1
    assert trial.disk.tried["write head"] == 2, "the held batch's own, and one for all others"
    assert sorted(entry.index for entry in entries) == list(range(2, threads * each + 2))
    trial.check()


def test_a_batch_has_an_upper_limit(trial: TrialLog) -> None:
    with trial.disk.hold("commit") as reached:
        futures = [trial.queue(trial.draft(new_case()))]
        assert reached.wait(10)
        trial.disk.tried.clear()
        futures += [trial.queue(trial.draft(new_case())) for _ in range(MAX_BATCH + 1)]
    for future in futures:
        trial.receipt(future)
    assert trial.disk.tried["commit"] == 2
    trial.check()


def test_many_threads_on_one_case_get_one_chain(trial: TrialLog) -> None:
    case, threads, each = new_case(), 8, 12
    trial.append(trial.draft(case))
    receipts: list[int] = []

    def write() -> None:
        for _ in range(each):
            while True:
                try:
                    receipts.append(trial.append(trial.draft(case))[0].header.position)
                    break
                except Stale:
                    continue

    writing = [threading.Thread(target=write) for _ in range(threads)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    assert sorted(receipts) == list(range(1, threads * each + 1))
    trial.check()


def test_no_receipt_before_the_head_is_in_the_head_store(trial: TrialLog) -> None:
    with trial.disk.hold("write head") as reached:
        future = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        assert not future.done()
        assert trial.log.size == 1
        assert trial.told[1:] == []
    assert trial.receipt(future)[0].index == 1


# --- what a decision read ------------------------------------------------------------------------


def test_a_decision_on_a_head_that_moved_is_stale(trial: TrialLog) -> None:
    case, other = new_case(), new_case()
    trial.append(trial.draft(other))
    read = trial.log.head(other)
    trial.append(trial.draft(other))
    with pytest.raises(Stale, match=f"`{other}` has moved"):
        trial.append(trial.draft(case), reads={case: None, other: read})
    assert trial.log.read_case(case) == []
    trial.append(trial.draft(case), reads={case: None, other: trial.log.head(other)})
    trial.check()


def test_a_case_that_was_to_be_new_and_is_not_is_stale(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    with pytest.raises(Stale):
        trial.append(trial.draft(case), reads={case: None})


def test_a_case_that_was_read_and_does_not_exist_is_stale(trial: TrialLog) -> None:
    case = new_case()
    with pytest.raises(Stale):
        trial.append(trial.draft(case), reads={case: bytes(32)})


def test_of_two_decisions_on_one_head_in_one_batch_one_wins(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    with trial.disk.hold("commit") as reached:
        first = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        reads = {case: trial.log.head(case)}
        winner = trial.queue(trial.draft(case, body={"who": "a"}), reads=reads)
        loser = trial.queue(trial.draft(case, body={"who": "b"}), reads=reads)
        other = trial.queue(trial.draft(new_case()))
    for future in (first, winner, other):
        trial.receipt(future)
    with pytest.raises(Stale):
        loser.result()
    assert [entry.header.body for entry in trial.log.read_case(case)] == [{}, {"who": "a"}]
    trial.check()


def test_a_counter_moves_with_every_record_that_counts(trial: TrialLog) -> None:
    count = "broken-glass/per_1"
    assert trial.log.head(count) is None
    case, other = new_case(), new_case()
    (entry,) = trial.append(
        trial.draft(case, body={"counts": [count]}), reads={case: None, count: None}
    )
    assert trial.log.head(count) == entry.leaf
    with pytest.raises(Stale, match=count):
        trial.append(trial.draft(other), reads={other: None, count: None})
    trial.append(trial.draft(other), reads={other: None, count: entry.leaf})


def test_of_two_decisions_on_one_counter_in_one_batch_one_wins(trial: TrialLog) -> None:
    count = "broken-glass/per_1"
    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        futures = [
            trial.queue(
                trial.draft(case, body={"counts": [count]}), reads={case: None, count: None}
            )
            for case in (new_case(), new_case(), new_case())
        ]
    trial.receipt(futures[0])
    for future in futures[1:]:
        with pytest.raises(Stale):
            future.result()


def test_a_counter_is_known_again_after_a_restart(trial: TrialLog) -> None:
    count = "broken-glass/per_1"
    (entry,) = trial.append(trial.draft(new_case(), body={"counts": [count]}))
    trial.fill(2)
    trial.reopen()
    assert trial.log.head(count) == entry.leaf


def test_a_decision_that_does_not_name_its_own_case_is_our_bug(trial: TrialLog) -> None:
    case, other = new_case(), new_case()
    with pytest.raises(RuntimeError, match="head of each case"):
        trial.append(trial.draft(case), trial.draft(other), reads={case: None})
    assert trial.log.size == 1
    trial.check()


def test_nothing_follows_the_end_of_a_case(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case), trial.closing(case))
    with pytest.raises(Conflict, match="closed; nothing follows"):
        trial.append(trial.draft(case))
    with pytest.raises(Conflict, match="closed; nothing follows"):
        trial.conclude(trial.draft(case)).result(10)
    trial.reopen()
    with pytest.raises(Conflict, match="closed; nothing follows"):
        trial.append(trial.draft(case))
    trial.check()


def test_nothing_follows_an_end_within_its_own_proposal(trial: TrialLog) -> None:
    case = new_case()
    with pytest.raises(Conflict):
        trial.append(trial.closing(case), trial.draft(case))
    assert trial.log.size == 1


# --- outcomes ------------------------------------------------------------------------------------


def test_an_outcome_is_built_on_whatever_head_is_there(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    seen: list[int] = []

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        seen.append(len(entries))
        return [trial.draft(case, body={"after": len(entries)})], no_companions

    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        moved = trial.queue(trial.draft(case))
        outcome = trial.log.append(Outcome(case=case, build=build))
        another = trial.log.append(Outcome(case=case, build=build))
    trial.receipt(moved)
    assert trial.receipt(outcome)[0].header.position == 2
    assert trial.receipt(another)[0].header.position == 3
    assert seen == [2, 3]
    trial.check()


def test_an_outcome_sees_only_its_own_case(trial: TrialLog) -> None:
    case = new_case()
    (entry,) = trial.append(trial.draft(case))
    trial.fill(3)
    seen: list[Sequence[Entry]] = []

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        seen.append(entries)
        return (), no_companions

    trial.log.append(Outcome(case=case, build=build)).result(10)
    assert [[entry.data for entry in entries] for entries in seen] == [[entry.data]]


def test_an_outcome_with_nothing_to_record_answers_empty_and_writes_nothing(
    trial: TrialLog,
) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    head, size = trial.log.checkpoint, trial.log.size
    due = Due(case=case, at="2026-11-21T10:00:00.000Z")
    outcome = Outcome(case=case, build=lambda _: ((), lambda _: [due]))
    appended = trial.log.append(outcome).result(10)
    assert (appended.entries, appended.checkpoint, appended.size) == ((), head, size)
    assert trial.log.size == size
    # the same beside others in a batch: companions belong to records
    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        future = trial.log.append(outcome)
        other = trial.queue(trial.draft(new_case()))
    trial.receipt(other)
    assert future.result(10).entries == ()
    assert trial._store.due_at(case) is None
    trial.check()


def test_companions_are_written_in_the_same_transaction(trial: TrialLog) -> None:
    case = new_case()
    due = Due(case=case, at="2026-11-21T10:00:00.000Z")
    trial.append(trial.draft(case), companions=lambda entries: [due] if entries else [])
    assert trial._store.due("2026-11-21T10:00:00.000Z") == [case]
    trial.disk.fail("commit")
    cleared = Due(case=case, at=None)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(case), companions=lambda _: [cleared])
    assert trial._store.due("2026-11-21T10:00:00.000Z") == [case]


def test_companions_are_given_the_records_in_their_places(trial: TrialLog) -> None:
    given: list[Entry] = []

    def companions(entries: Sequence[Entry]) -> Sequence[Any]:
        given.extend(entries)
        return ()

    entries = trial.append(trial.draft(new_case()), trial.draft(new_case()), companions=companions)
    assert tuple(given) == entries


# --- one item's trouble is its own ---------------------------------------------------------------


class Stumbles(Exception):
    """what an item's own function raises"""


def stumble(*_: Any) -> Any:
    raise Stumbles("an item's own function stumbled")


def refused_items(trial: TrialLog) -> dict[str, tuple[Proposal | Outcome, type[Exception], str]]:
    def proposal(**options: Any) -> Proposal:
        case = new_case()
        fields = {"case": case, **options.pop("draft", {})}
        return Proposal(drafts=(trial.draft(**fields),), reads={fields["case"]: None}, **options)

    big = {"text": "x" * MAX_HEADER}
    deep: Any = 0
    for _ in range(40):
        deep = [deep]
    return {
        "companions that raise": (proposal(companions=stumble), Stumbles, "own function stumbled"),
        "a build that raises": (Outcome(case=new_case(), build=stumble), Stumbles, "own function stumbled"),
        "a header that is too large": (proposal(draft={"body": big}), NotCanonical, "at most 16384"),
        "a section that is too large": (
            proposal(draft={"sections": {"note": bytes(MAX_SECTION + 1)}}), NotCanonical, "section",
        ),
        "a document that is too large": (
            proposal(draft={"documents": (bytes(MAX_DOCUMENT + 1),)}), NotCanonical, "document",
        ),
        "a float": (proposal(draft={"body": {"n": 1.5}}), NotCanonical, r"\$\.body\.n"),
        "text that is not ASCII": (proposal(draft={"body": {"n": "ü"}}), NotCanonical, "ASCII"),
        "a body that is too deep": (proposal(draft={"body": {"n": deep}}), NotCanonical, "deep"),
        "a kind with a capital": (proposal(draft={"kind": "Test:written"}), NotCanonical, "kind"),
        "a kind without a colon": (proposal(draft={"kind": "test"}), NotCanonical, "kind"),
        "a case id of another form": (proposal(draft={"case": "mun_x"}), NotCanonical, "case id"),
        "a section of another name": (
            proposal(draft={"sections": {"The note": b""}}), NotCanonical, "section",
        ),
        "a leaf of 31 bytes": (proposal(draft={"follows": (bytes(31),)}), NotCanonical, "leaf"),
        "a draft that follows a later one": (proposal(draft={"follows": (1,)}), IndexError, "range"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "what",
    [
        "companions that raise", "a build that raises", "a header that is too large",
        "a section that is too large", "a document that is too large", "a float",
        "text that is not ASCII", "a body that is too deep", "a kind with a capital",
        "a kind without a colon", "a case id of another form", "a section of another name",
        "a leaf of 31 bytes", "a draft that follows a later one",
    ],
)  # fmt: skip
def test_an_item_that_cannot_stand_is_refused_alone(what: str, trial: TrialLog) -> None:
    item, error, message = refused_items(trial)[what]
    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        before = trial.queue(trial.draft(new_case()))
        refused = trial.log.append(item)
        after = trial.queue(trial.draft(new_case()))
    with pytest.raises(error, match=message):
        refused.result(10)
    first, last = trial.receipt(before)[0], trial.receipt(after)[0]
    assert (first.index, last.index) == (2, 3)
    assert trial.log.trouble is None
    trial.check()
    # nothing was written that could not be read at the next start
    trial.reopen()
    trial.check()


def test_a_refused_item_leaves_no_trace_for_the_next_one_in_its_batch(trial: TrialLog) -> None:
    """Also where only its last draft was bad."""
    case, count = new_case(), "broken-glass/per_1"
    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        refused = trial.queue(
            trial.draft(case, body={"counts": [count]}),
            trial.draft(case, body={"n": 1.5}),
        )
        fine = trial.queue(trial.draft(case), reads={case: None, count: None})
    with pytest.raises(NotCanonical):
        refused.result(10)
    assert trial.receipt(fine)[0].header.position == 0
    trial.check()


def test_a_header_of_exactly_the_allowed_size_stands(trial: TrialLog) -> None:
    case = new_case()
    (small,) = trial.append(trial.draft(case, body={"text": ""}))
    room = MAX_HEADER - len(small.data)
    other = new_case()
    (large,) = trial.append(trial.draft(other, body={"text": "x" * room}))
    assert len(large.data) == MAX_HEADER
    with pytest.raises(NotCanonical):
        trial.append(trial.draft(new_case(), body={"text": "x" * (room + 1)}))
    trial.check()
    trial.reopen()
    trial.check()


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [5.001, 60, -5.001])
def test_what_gives_access_is_refused_more_than_five_seconds_away(
    late: float, trial: TrialLog
) -> None:
    with pytest.raises(Stale, match="more than 5 s away"):
        trial.append(trial.draft(new_case(), late=late))
    assert trial.log.size == 1


@pytest.mark.parametrize("late", [5, 0, -5])
def test_what_gives_access_stands_up_to_five_seconds_away(late: float, trial: TrialLog) -> None:
    (entry,) = trial.append(trial.draft(new_case(), late=late))
    assert entry.header.at == START - late * SECOND
    assert entry.header.observed is None


def test_what_gives_access_is_refused_before_its_predecessor(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    with pytest.raises(Stale, match="earlier than the record before it"):
        trial.append(trial.draft(case, late=0.001))
    trial.append(trial.draft(case))
    trial.check()


def test_a_millisecond_is_the_smallest_step_of_time(trial: TrialLog) -> None:
    """Microseconds are cut, so that what is compared is what was written."""
    case = new_case()
    trial.now = START + timedelta(microseconds=1900)
    (first,) = trial.append(trial.draft(case))
    trial.now = START + timedelta(microseconds=1100)
    (second,) = trial.append(trial.draft(case))
    assert first.header.at == second.header.at == START + timedelta(milliseconds=1)
    trial.reopen()
    assert trial.log.read_case(case)[0].header == first.header


def test_what_only_asks_may_be_late(trial: TrialLog) -> None:
    (entry,) = trial.append(trial.draft(new_case(), late=60), gives=False)
    assert entry.header.at == START - 60 * SECOND


def test_a_late_outcome_takes_its_predecessors_time_and_says_when_it_was_observed(
    trial: TrialLog,
) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    (late,) = trial.receipt(trial.conclude(trial.draft(case, late=3600)))
    assert late.header.at == START
    assert late.header.observed == START - 3600 * SECOND
    assert canonical.decode(late.data)["observed"] == "2026-11-21T09:00:00.000Z"  # type: ignore[index, call-overload]
    trial.pass_time(1)
    (punctual,) = trial.receipt(trial.conclude(trial.draft(case)))
    assert punctual.header.at == START + SECOND
    assert punctual.header.observed is None
    assert "observed" not in canonical.decode(punctual.data)  # type: ignore[operator]
    trial.check()


@pytest.mark.parametrize("seconds", [5.1, -5.1, 86400])
def test_a_clock_that_stepped_gives_nothing_until_somebody_vouches(
    seconds: float, trial: TrialLog
) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    trial.step_clock(seconds)
    with pytest.raises(ClockUnsteady, match=f"moved by {seconds:.1f} s .*clock accept"):
        trial.append(trial.draft(new_case()))
    # asking, and what was already done, go on
    trial.append(trial.draft(new_case()), gives=False)
    (outcome,) = trial.receipt(trial.conclude(trial.draft(case)))
    assert outcome.header.at == max(START, START + seconds * SECOND)
    assert trial.log.clock.accept() == seconds * SECOND
    trial.append(trial.draft(new_case()))
    trial.check()


def test_a_clock_before_the_last_record_at_start_gives_nothing(trial: TrialLog) -> None:
    trial.pass_time(3600)
    trial.fill(1)
    trial.close()
    trial.step_clock(-1800)
    trial.open()
    with pytest.raises(ClockUnsteady, match="10:30:00, before the last record of the log"):
        trial.append(trial.draft(new_case()))
    trial.receipt(trial.conclude(trial.draft(new_case())))
    trial.log.clock.accept()
    trial.append(trial.draft(new_case()))
    trial.check()


# --- space ---------------------------------------------------------------------------------------


def test_below_the_reserve_only_what_is_urgent_and_outcomes_are_written(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))
    trial.free = trial.reserve - 1
    with pytest.raises(DiskFull, match="below the reserve"):
        trial.append(trial.draft(new_case()))
    with pytest.raises(DiskFull):
        trial.append(trial.draft(new_case()), gives=False)
    trial.append(trial.draft(new_case()), urgent=True)
    trial.receipt(trial.conclude(trial.draft(case)))
    trial.free = trial.reserve
    trial.append(trial.draft(new_case()))
    trial.check()


# --- seals ---------------------------------------------------------------------------------------


def test_every_section_of_every_record_has_a_salt_of_its_own(trial: TrialLog) -> None:
    same = {"note": b"same", "reason": b"same"}
    entries = trial.fill(20, sections=same)
    sealed = [trial.store.sections(entry.index) for entry in entries]
    salts = Counter(one.salt for sections in sealed for one in sections.values())
    assert (len(salts), max(salts.values())) == (40, 1)
    commitments = {leaf for entry in entries for leaf in entry.header.sections.values()}
    assert len(commitments) == 40
    assert all(len(salt) == 32 for salt in salts)


def test_a_decision_that_is_proposed_again_is_sealed_anew(trial: TrialLog) -> None:
    case, other = new_case(), new_case()
    draft = trial.draft(case, sections={"note": b"same"})
    with pytest.raises(Stale):
        trial.append(draft, reads={case: None, other: bytes(32)})
    (entry,) = trial.append(draft)
    trial.disk.fail("commit", kept=True)
    again = trial.draft(new_case(), sections={"note": b"same"})
    with pytest.raises(LogUnavailable):
        trial.append(again)
    salts = {
        sealed.salt
        for index in range(entry.index + 2)
        for sealed in trial.store.sections(index).values()
    }
    assert len(salts) == 2


# --- going away and closing ----------------------------------------------------------------------


def test_what_is_queued_is_written_though_its_caller_goes_away(trial: TrialLog) -> None:
    with trial.disk.hold("commit") as reached:
        trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        gone = trial.queue(trial.draft(new_case(), body={"who": "gone"}))
        refused = trial.queue(trial.draft(new_case(), body={"n": 1.5}))
        stays = trial.queue(trial.draft(new_case()))
        assert not gone.cancel()
        refused.cancel()
    assert trial.receipt(stays)[0].index == 3
    assert trial.log.read_entry(2).header.body == {"who": "gone"}
    trial.fill(1)
    trial.check()


def test_closing_finishes_what_was_queued_and_takes_no_more(trial: TrialLog) -> None:
    with trial.disk.hold("commit") as reached:
        futures = [trial.queue(trial.draft(new_case()))]
        assert reached.wait(10)
        futures += [trial.queue(trial.draft(new_case())) for _ in range(MAX_BATCH + 5)]
        closing = threading.Thread(target=trial.log.close)
        closing.start()
    for future in futures:
        trial.receipt(future)
    closing.join(10)
    with pytest.raises(LogUnavailable, match="the log is closed"):
        trial.append(trial.draft(new_case()))
    trial.reopen()
    trial.check()
