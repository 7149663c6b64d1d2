"""What a witness remembers: durably, once, and never backwards."""

import contextlib
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from muniment.errors import Conflict, LogInvalid, Unavailable
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.note import CosigningKey, parse_note
from muniment.evidence.witness import Answer, Cosigned, Outcome, Witness
from muniment.stores.witness_store import MAX_KEPT, SQLiteWitnessStore
from muniment.testing.small_log import SmallLog, add_checkpoint

LOG = SmallLog()
FORK = LOG.other_history(3)
KEY = CosigningKey.generate("witness.example/1")
NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "witness.db"
    SQLiteWitnessStore.create(path, KEY.verifier).close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteWitnessStore]:
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        yield store


def witness(store: SQLiteWitnessStore, *logs: SmallLog) -> Witness:
    known = {log.origin: (log.key.verifier,) for log in (LOG, *logs)}
    return Witness(KEY, store, lambda: known, lambda: NOW)


def size(store: SQLiteWitnessStore) -> int | None:
    note = store.latest(LOG.origin)
    return None if note is None else Checkpoint.parse(parse_note(note)[0]).size


def raw(path: Path, statement: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


# --- remembering ---------------------------------------------------------------------------------


def test_a_commit_waits_for_the_disk(store: SQLiteWitnessStore) -> None:
    with store._connection() as connection:
        pragmas = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "recursive_triggers")
        ]
    assert pragmas == ["wal", 2, 1]


def test_what_is_seen_at_the_opening_is_written_into_the_database_anew(
    store: SQLiteWitnessStore, path: Path
) -> None:
    """As after a kill: what a failed `fsync` left behind is else nowhere but in memory."""
    journal = path.with_name("witness.db-wal")
    assert witness(store).add_checkpoint(LOG.request(0, 4)).status == 200
    assert journal.stat().st_size > 0
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as reopened:
        assert journal.stat().st_size == 0
        assert size(reopened) == 4
    assert witness(store).add_checkpoint(LOG.request(4, 9)).status == 200


def test_nobody_else_may_read_the_file(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_head_is_remembered_over_a_restart(path: Path) -> None:
    for old, new in [(0, 4), (4, 9), (9, 9)]:
        with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
            assert witness(store).add_checkpoint(LOG.request(old, new)).status == 200
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        assert size(store) == 9
        assert witness(store).add_checkpoint(LOG.request(4, 12)).body == "9\n"
        assert witness(store).add_checkpoint(FORK.request(9, 12)).status == 422


def test_the_head_of_a_log_is_found_by_the_hash_of_its_origin(store: SQLiteWitnessStore) -> None:
    witness(store).add_checkpoint(LOG.request(0, 4))
    assert store.named(sha256(LOG.origin.encode()).digest()) == store.latest(LOG.origin)
    assert store.named(bytes(32)) is None
    assert store.heads() == {LOG.origin: store.latest(LOG.origin)}


def advance(store: SQLiteWitnessStore, before: bytes | None, log: SmallLog, size: int) -> bool:
    text = log.checkpoint(size).format()
    note = f"{text}\n{KEY.cosign(text, NOW).line}".encode()
    return store.advance(before, Cosigned(log.checkpoint(size), NOW, note))


def test_a_head_takes_the_place_only_of_the_one_that_was_looked_at(
    store: SQLiteWitnessStore,
) -> None:
    assert not advance(store, b"what never stood there", LOG, 4)
    assert advance(store, None, LOG, 4)
    assert not advance(store, None, LOG, 5)
    looked_at = store.latest(LOG.origin)
    assert advance(store, looked_at, LOG, 8)
    assert not advance(store, looked_at, LOG, 9)
    assert size(store) == 8


def test_the_database_itself_refuses_to_go_back(store: SQLiteWitnessStore, path: Path) -> None:
    assert advance(store, None, LOG, 8)
    with pytest.raises(LogInvalid, match="never goes back"):
        advance(store, store.latest(LOG.origin), LOG, 7)
    with pytest.raises(LogInvalid, match="never goes back"):
        advance(store, store.latest(LOG.origin), FORK, 8)
    with pytest.raises(sqlite3.IntegrityError, match="never forgotten"):
        raw(path, "DELETE FROM heads")
    assert size(store) == 8


# --- two at once ---------------------------------------------------------------------------------


class Stalling(SQLiteWitnessStore):
    """Waits between the check of a request and its being written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, KEY.verifier)
        self.checked, self.go_on = threading.Event(), threading.Event()
        self._stall = True

    def advance(self, before: bytes | None, after: Cosigned) -> bool:
        if self._stall:
            self._stall = False
            self.checked.set()
            assert self.go_on.wait(10)
        return super().advance(before, after)


@pytest.mark.parametrize("rival_has_its_own_connection", [False, True])
@pytest.mark.parametrize(
    ("slow", "quick"),
    [
        (LOG.request(2, 5), LOG.request(2, 9)),
        (LOG.request(2, 9), LOG.request(2, 5)),
        (FORK.request(2, 9), LOG.request(2, 9)),
    ],
)
def test_of_two_requests_at_once_one_is_cosigned_and_the_other_told_of_it(
    path: Path, slow: bytes, quick: bytes, rival_has_its_own_connection: bool
) -> None:
    """One is checked, stalls, and finds its head gone."""
    with contextlib.closing(Stalling(path)) as stalling, contextlib.ExitStack() as opened:
        stalling._stall = False
        assert witness(stalling).add_checkpoint(LOG.request(0, 2)).status == 200
        stalling._stall = True
        other: SQLiteWitnessStore = stalling
        if rival_has_its_own_connection:
            other = opened.enter_context(contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)))
        answers: list[Answer] = []
        thread = threading.Thread(
            target=lambda: answers.append(witness(stalling).add_checkpoint(slow))
        )
        thread.start()
        assert stalling.checked.wait(10)
        won = witness(other).add_checkpoint(quick)
        stalling.go_on.set()
        thread.join()
        assert won.status == 200
        assert (answers[0].status, answers[0].body) == (409, f"{size(other)}\n")


def test_of_many_who_ask_at_once_all_get_the_same_history(path: Path) -> None:
    """Half of them follow a fork; whoever is first decides, and nobody of the other half gets in."""
    answers: list[tuple[bool, int]] = []
    ready = threading.Barrier(8)

    def ask(number: int) -> None:
        log = FORK if number % 2 else LOG
        with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
            mine = witness(store)
            ready.wait(10)
            for new in range(4, 16):
                old = size(store) or 0
                status = mine.add_checkpoint(log.request(min(old, new), new)).status
                answers.append((log is FORK, status))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({forked for forked, status in answers if status == 200}) == 1
    assert {status for _, status in answers} <= {200, 409, 422}


# --- a commit that fails -------------------------------------------------------------------------


class Failing(sqlite3.Connection):
    """Commits fail, written or not."""

    fails: ClassVar[Literal["", "unwritten", "written"]] = ""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and Failing.fails:
            if Failing.fails == "written":
                super().execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *values)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))

    def fail(how: str) -> None:
        monkeypatch.setattr(Failing, "fails", how)

    yield fail
    fail("")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("how", "stands"), [("unwritten", 4), ("written", 9)])
def test_after_a_commit_that_failed_no_second_history_is_cosigned(
    path: Path, failing: Callable[[str], None], how: str, stands: int, restart: bool
) -> None:
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        assert witness(store).add_checkpoint(LOG.request(0, 4)).status == 200
        failing(how)
        answer = witness(store).add_checkpoint(FORK.other_history(6).request(4, 9))
        assert (answer.status, answer.outcome) == (503, Outcome.UNAVAILABLE)
        failing("")
        if not restart:
            assert size(store) == stands
            going_on(store, stands)
    if restart:
        with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
            assert size(store) == stands
            going_on(store, stands)


def going_on(store: SQLiteWitnessStore, stands: int) -> None:
    mine = witness(store)
    other = LOG.other_history(6)
    if stands == 4:
        assert mine.add_checkpoint(LOG.request(4, 9)).status == 200
        assert mine.add_checkpoint(other.request(9, 10)).status == 422
    else:
        assert mine.add_checkpoint(LOG.request(4, 9)).outcome is Outcome.FORKED
        assert mine.add_checkpoint(LOG.request(9, 10)).status == 422
        assert mine.add_checkpoint(other.request(9, 10)).status == 200


def test_a_database_that_is_locked_for_long_is_unavailable(
    store: SQLiteWitnessStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store._connection() as connection:
        connection.execute("PRAGMA busy_timeout = 1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert witness(store).add_checkpoint(LOG.request(0, 4)).status == 503
    assert witness(store).add_checkpoint(LOG.request(0, 4)).status == 200


# --- evidence ------------------------------------------------------------------------------------


def test_a_fork_is_kept_with_both_notes_over_a_restart(path: Path) -> None:
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        asked = witness(store)
        asked.add_checkpoint(LOG.request(0, 7))
        head = store.latest(LOG.origin)
        asked.add_checkpoint(FORK.request(7, 7))
        asked.add_checkpoint(LOG.request(7, 8))
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        (kept,) = store.evidence()
        assert (kept.outcome, kept.note, kept.cosigned) == (Outcome.FORKED, FORK.signed(7), head)
        assert (kept.at, kept.old, kept.size) == (NOW, 7, 7)
        assert kept.request == FORK.request(7, 7)
        assert store.kept() == {(LOG.origin, Outcome.FORKED): 1}


def test_the_same_fork_is_kept_once_however_often_it_is_sent(store: SQLiteWitnessStore) -> None:
    asked = witness(store)
    asked.add_checkpoint(LOG.request(0, 7))
    for old in (7, 0, 3, 7):
        asked.add_checkpoint(add_checkpoint(old, [], FORK.signed(7)))
    assert len(store.evidence()) == 1
    assert store.dropped() == {}


def test_the_oldest_evidence_stays_and_the_rest_is_counted(store: SQLiteWitnessStore) -> None:
    asked = witness(store)
    asked.add_checkpoint(LOG.request(0, 7))
    for forked_at in range(7):
        assert asked.add_checkpoint(LOG.other_history(forked_at).request(7, 7)).status == 422
    for new in range(8, 8 + MAX_KEPT + 5):
        asked.add_checkpoint(add_checkpoint(7, [], LOG.signed(new)))
    unproven = [each.size for each in store.evidence() if each.outcome is Outcome.UNPROVEN]
    assert unproven == list(range(8, 8 + MAX_KEPT))
    assert store.dropped() == {LOG.origin: 5}
    # a flood of what anybody can send leaves room for what only the log can sign
    assert store.kept() == {
        (LOG.origin, Outcome.FORKED): 7,
        (LOG.origin, Outcome.UNPROVEN): MAX_KEPT,
    }


def test_evidence_of_one_log_takes_no_room_from_another(store: SQLiteWitnessStore) -> None:
    other = SmallLog("other.example")
    asked = witness(store, other)
    for log in (LOG, other):
        asked.add_checkpoint(log.request(0, 7))
        for new in range(8, 8 + MAX_KEPT + 1):
            asked.add_checkpoint(add_checkpoint(7, [], log.signed(new)))
    assert store.dropped() == {LOG.origin: 1, other.origin: 1}


def test_what_was_unproven_is_no_evidence_once_it_is_proved(store: SQLiteWitnessStore) -> None:
    asked = witness(store)
    asked.add_checkpoint(LOG.request(0, 4))
    asked.add_checkpoint(add_checkpoint(4, [bytes(32)], LOG.signed(9)))
    assert [each.outcome for each in store.evidence()] == [Outcome.UNPROVEN]
    assert asked.add_checkpoint(LOG.request(4, 9)).status == 200
    assert store.evidence() == []


def test_what_was_unproven_is_a_fork_once_another_root_is_proved(
    store: SQLiteWitnessStore,
) -> None:
    asked = witness(store)
    asked.add_checkpoint(LOG.request(0, 4))
    assert asked.add_checkpoint(FORK.request(4, 9)).outcome is Outcome.UNPROVEN
    assert asked.add_checkpoint(LOG.request(4, 9)).status == 200
    (kept,) = store.evidence()
    assert (kept.outcome, kept.note) == (Outcome.FORKED, FORK.signed(9))
    assert kept.cosigned == store.latest(LOG.origin)


# --- which files are ours ------------------------------------------------------------------------


def test_a_store_is_made_once(path: Path) -> None:
    with pytest.raises(Conflict, match="there already"):
        SQLiteWitnessStore.create(path, KEY.verifier)


def test_a_memory_that_is_gone_is_not_made_anew(path: Path) -> None:
    path.unlink()
    with pytest.raises(LogInvalid, match="make a new witness"):
        SQLiteWitnessStore(path, KEY.verifier)
    assert not path.exists()


def test_a_memory_that_was_emptied_is_not_taken_for_a_new_one(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(LogInvalid, match="does not belong to the witness"):
        SQLiteWitnessStore(path, KEY.verifier)


def test_the_memory_of_another_witness_is_refused(path: Path) -> None:
    other = CosigningKey.generate(KEY.name)
    with pytest.raises(LogInvalid, match="does not belong to the witness"):
        SQLiteWitnessStore(path, other.verifier)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(LogInvalid, match="damaged"):
        SQLiteWitnessStore(path, KEY.verifier)


def test_a_memory_that_vanishes_while_it_is_used_is_unavailable(path: Path) -> None:
    store = SQLiteWitnessStore(path, KEY.verifier)
    store.close()
    path.unlink()
    with pytest.raises(Unavailable):
        store.latest(LOG.origin)
    assert not path.exists()
