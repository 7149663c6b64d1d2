"""Several nodes write one log: each takes in what the others wrote before it signs."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muniment.access.records import SERVICE, RecordErased
from muniment.errors import LogInvalid, LogUnavailable, Stale
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.log import FOLLOW_SECONDS, LOOK_BACK_EVERY
from muniment.evidence.note import SigningKey
from muniment.operations.erase import Erasures, finish
from muniment.stores.head_file import LedgerFile
from muniment.testing.faulty import ORIGIN, new_case
from muniment.testing.trial_log import TrialLog

_PATIENCE = 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[[], TrialLog]]:
    """Each call opens one more node."""
    opened: list[TrialLog] = []

    def open_one() -> TrialLog:
        key = opened[0].key if opened else SigningKey.generate(ORIGIN)
        opened.append(TrialLog(tmp_path, key=key, shared=True))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def one(node: Callable[[], TrialLog]) -> TrialLog:
    return node()


@pytest.fixture
def other(one: TrialLog, node: Callable[[], TrialLog]) -> TrialLog:
    assert one.log.size == 1
    return node()


def follow(trial: TrialLog) -> int:
    return trial.log.follow().result(_PATIENCE)


def settle(*nodes: TrialLog) -> None:
    """Each knows all, and all of it holds."""
    for each in nodes:
        follow(each)
        each.check()
    assert len({each.log.checkpoint for each in nodes}) == 1


def test_nodes_take_turns_and_lose_nothing(one: TrialLog, other: TrialLog) -> None:
    for count in (1, 3, 2):
        one.fill(count)
        other.fill(count)
    assert other.log.size == 13
    settle(one, other)


def test_a_node_follows_without_writing(one: TrialLog, other: TrialLog) -> None:
    one.fill(5)
    assert other.log.size == 1
    assert follow(other) == one.log.size
    assert [entry.data for entry in other.told] == [entry.data for entry in one.told]
    settle(one, other)


def test_a_decision_that_missed_what_another_node_wrote_loses(
    one: TrialLog, other: TrialLog
) -> None:
    case = new_case()
    one.append(one.draft(case))
    with pytest.raises(Stale):
        other.append(other.draft(case), reads={case: None})
    other.append(other.draft(case))
    with pytest.raises(Stale):
        one.append(one.draft(case))
    settle(one, other)


def test_an_outcome_is_built_on_what_another_node_wrote(one: TrialLog, other: TrialLog) -> None:
    case = new_case()
    one.append(one.draft(case))
    other.receipt(other.conclude(other.draft(case)))
    one.receipt(one.conclude(one.draft(case)))
    assert [entry.header.position for entry in one.log.read_case(case)] == [0, 1, 2]
    settle(one, other)


def test_a_case_that_another_node_just_opened_is_found(one: TrialLog, other: TrialLog) -> None:
    case = new_case()
    one.append(one.draft(case))
    assert [entry.header.case for entry in other.log.read_case(case)] == [case]
    assert other.log.read_case(new_case()) == []


def test_a_start_beside_an_erasure_does_not_take_the_log_for_an_older_copy(
    one: TrialLog, other: TrialLog, tmp_path: Path
) -> None:
    """The ledger of all nodes knows of it a moment before the node that starts."""
    ledger, erasures = LedgerFile(tmp_path / "erasures"), Erasures()
    ledger.make()
    other.listen = erasures.take
    other.reopen()
    (entry,) = one.fill(1, sections={"note": b"x"})
    erased = RecordErased(actor=SERVICE, record=entry.header.id, section="note", rule="R1")
    one.append(one.draft(new_case("ers"), kind=erased.KIND, body=erased.body()))
    ledger.add(entry.header.id, "note", "R1")
    assert finish(other.log, ledger, erasures) == 1
    ledger.add(entry.header.id, "another", "R1")
    with pytest.raises(LogInvalid, match="this is an older copy"):
        finish(other.log, ledger, erasures)


def test_readers_do_not_wait_one_after_the_other_for_what_takes_too_long(
    one: TrialLog, other: TrialLog
) -> None:
    """As while a node that stopped keeps the lock, on an event loop that has others to serve."""
    with other.disk.hold("begin") as reached:
        held = other.queue(other.draft(new_case()))
        assert reached.wait(_PATIENCE)
        began = time.monotonic()
        for _ in range(10):
            assert other.log.read_case(new_case()) == []
        assert time.monotonic() - began < 3 * FOLLOW_SECONDS
        assert other.log.is_late
    other.receipt(held)
    follow(other)  # the look that took too long is over: it was asked for before this one
    case = new_case()
    one.append(one.draft(case))
    assert len(other.log.read_case(case)) == 1


@pytest.mark.parametrize("kept", [False, True], ids=["failed", "failed but kept"])
@pytest.mark.parametrize("step", ["commit", "write head"])
def test_what_one_node_left_half_done_another_takes_in_or_never_sees(
    step: str, kept: bool, one: TrialLog, other: TrialLog
) -> None:
    one.fill(2)
    one.disk.fail(step, kept=kept)
    with pytest.raises(LogUnavailable):
        one.append(one.draft(new_case()))
    stands = (step, kept) != ("commit", False)
    (entry,) = other.fill(1)
    assert entry.index == (4 if stands else 3)
    assert one.log.trouble is not None
    settle(other, one)
    assert one.log.trouble is None


def test_what_the_head_store_does_not_vouch_for_is_not_followed(
    one: TrialLog, other: TrialLog
) -> None:
    """It may be undone: the writer has not finished, and nobody has a receipt."""
    one.disk.fail("write head")
    with pytest.raises(LogUnavailable):
        one.append(one.draft(new_case()))
    assert follow(other) == 1
    assert other.told == other.told[:1]
    settle(one, other)
    assert other.log.size == 2, "the writer came back and finished"


def test_a_node_that_is_cut_off_says_so_and_comes_back_by_itself(
    one: TrialLog, other: TrialLog
) -> None:
    other.disk.fail("read head", times=3)
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            follow(other)
        assert other.log.trouble == "OSError"
    one.fill(3)
    with pytest.raises(LogUnavailable):
        other.append(other.draft(new_case()))
    settle(other, one)
    assert other.log.trouble is None


def test_an_older_copy_of_the_database_stops_every_node(
    one: TrialLog, other: TrialLog, tmp_path: Path
) -> None:
    """As a standby that had not got everything before it took over."""
    one.fill(2)
    follow(other)
    _copy(one.path, tmp_path / "standby.db")
    one.fill(2)
    _copy(tmp_path / "standby.db", one.path)
    for each in (one, other):
        with pytest.raises(LogUnavailable):
            each.append(each.draft(new_case()))
        assert each.log.trouble is not None
        assert "older copy" in each.log.trouble
        with pytest.raises(LogUnavailable):
            each.append(each.draft(new_case()))


def test_a_node_that_only_follows_notices_an_older_copy_too(
    one: TrialLog, other: TrialLog, tmp_path: Path
) -> None:
    _copy(one.path, tmp_path / "standby.db")
    one.fill(2)
    _copy(tmp_path / "standby.db", one.path)
    with pytest.raises(LogUnavailable, match="older copy"):
        follow(other)


def test_a_node_that_has_nothing_to_write_notices_an_older_copy_too(
    one: TrialLog, other: TrialLog, tmp_path: Path
) -> None:
    """It has taken in all that there was: no head is news to it."""
    _copy(one.path, tmp_path / "standby.db")
    one.fill(2)
    follow(other)
    _copy(tmp_path / "standby.db", one.path)
    other.ticks += LOOK_BACK_EVERY
    with pytest.raises(LogUnavailable, match="older copy"):
        follow(other)
    assert other.log.trouble is not None


def test_an_older_copy_of_the_head_store_stops_every_node(one: TrialLog, other: TrialLog) -> None:
    before = one.head.read_bytes()
    one.fill(2)
    follow(other)
    one.head.write_bytes(before)
    with pytest.raises(LogUnavailable, match="the head store is an older copy"):
        follow(other)


def test_rows_that_no_key_signed_are_taken_in_by_nobody(one: TrialLog, other: TrialLog) -> None:
    one.fill(3)
    with sqlite3.connect(one.path) as intruder:
        intruder.execute(
            "INSERT INTO entries SELECT idx + 1, leaf, header FROM entries ORDER BY idx DESC LIMIT 1"
        )
    for each in (other, one):
        with pytest.raises(LogUnavailable):
            each.append(each.draft(new_case()))
        assert each.log.trouble is not None
    (newest,) = {one.head.read_bytes()}
    one.close()
    assert one.head.read_bytes() == newest, "nothing was signed over it"


def test_another_key_is_not_believed(one: TrialLog, tmp_path: Path) -> None:
    """A node of another installation, pointed at this database by mistake."""
    other_folder = tmp_path / "elsewhere"
    other_folder.mkdir()
    stranger = TrialLog(other_folder, shared=True)
    stranger.fill(1)
    _copy(one.path, stranger.path)
    with pytest.raises(LogUnavailable):
        stranger.append(stranger.draft(new_case()))
    stranger.close()


def test_what_is_contradicted_is_signed_by_no_node(one: TrialLog, other: TrialLog) -> None:
    one.contradicted = other.contradicted = "a witness remembers another history"
    for each in (one, other):
        with pytest.raises(LogUnavailable, match="a witness remembers"):
            each.append(each.draft(new_case()))
    one.contradicted = None
    with pytest.raises(LogUnavailable, match="a witness remembers"):
        one.append(one.draft(new_case()))


def test_a_log_that_is_not_shared_goes_on_refusing_a_second_writer(
    one: TrialLog, tmp_path: Path
) -> None:
    alone = TrialLog(tmp_path, key=one.key)
    one.fill(1)
    with pytest.raises(LogUnavailable, match="the head store has moved on"):
        alone.append(alone.draft(new_case()))
    alone.close()


@pytest.mark.parametrize("seed", range(6))
def test_nodes_that_fail_at_random_keep_one_history(
    seed: int, node: Callable[[], TrialLog]
) -> None:
    """Whatever step of whichever node fails, kept or not: every receipt stands, on every node."""
    dice, nodes = random.Random(seed), [node() for _ in range(3)]
    cases = [new_case() for _ in range(3)]
    for _ in range(60):
        each = dice.choice(nodes)
        if dice.random() < 0.3:
            each.disk.fail(dice.choice(["commit", "write head", "read head", "add", "begin"]),
                           kept=dice.random() < 0.5)  # fmt: skip
        try:
            _act(each, dice.randrange(5), dice.choice(cases))
        except (LogUnavailable, Stale, OSError):
            if each.closed:
                each.open()
    for each in nodes:
        each.disk.heal()
        each.fill(1)
    settle(*nodes)
    heads = [
        open_checkpoint(each.log.checkpoint, ORIGIN, [nodes[0].key.verifier]) for each in nodes
    ]
    assert len(set(heads)) == 1


def _act(node: TrialLog, what: int, case: str) -> None:
    match what:
        case 0:
            node.append(node.draft(case))
        case 1:
            node.receipt(node.conclude(node.draft(case)))
        case 2:
            node.fill(2)
        case 3:
            follow(node)
        case _:
            node.reopen()


def _copy(source: Path, target: Path) -> None:
    """A database as it is, over another that stays open."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
