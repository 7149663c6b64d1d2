"""Somebody with full rights on the database, or on the head store, gains nothing."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Conflict, LogInvalid, LogUnavailable, MunimentError
from muniment.evidence import merkle
from muniment.evidence.append import Companions, Outcome
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.founding import found_log
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.stores.head_file import HeadFile
from muniment.stores.sqlite import SQLiteStore
from muniment.testing.faulty import ORIGIN, new_case
from muniment.testing.trial_log import TrialLog

SLOT = 8192


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[TrialLog]:
    trial = TrialLog(tmp_path)
    yield trial
    trial.close()


class Intruder:
    """A second connection to the running database, with every right."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self.run("DROP TRIGGER entries_are_dense")
        self.run("DROP TRIGGER entries_stay")
        self.run("DROP TRIGGER entries_remain")

    def run(self, statement: str, *values: Any) -> None:
        self._connection.execute(statement, values)

    def set_state(self, size: int, peaks: tuple[bytes, ...], checkpoint: bytes) -> None:
        self.run(
            "UPDATE log_state SET size=?, peaks=?, checkpoint=?", size, b"".join(peaks), checkpoint
        )

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def intruder(trial: TrialLog) -> Iterator[Intruder]:
    trial.fill(6)
    intruder = Intruder(trial.path)
    yield intruder
    intruder.close()


def assert_never_signs_again(trial: TrialLog, message: str) -> None:
    """The next append finds it, and from then on nothing is signed in this process."""
    note, store = trial.log.checkpoint, SQLiteStore(trial.path)
    signed = store._rows("SELECT size, note FROM checkpoints")
    for _ in range(3):
        with pytest.raises(LogUnavailable, match=message):
            trial.append(trial.draft(new_case()))
        with pytest.raises(LogUnavailable, match=message):
            trial.conclude(trial.draft(new_case())).result(10)
        assert trial.log.trouble is not None
    assert trial.log.checkpoint == note
    assert store._rows("SELECT size, note FROM checkpoints") == signed
    with contextlib.closing(HeadFile(trial.head)) as heads:
        assert heads.read() == note
    store.close()


def assert_no_start(trial: TrialLog, message: str) -> None:
    trial.close()
    with pytest.raises(LogInvalid, match=message):
        trial.open()


def frontier(trial: TrialLog) -> merkle.Frontier:
    found = merkle.Frontier()
    for _, data in trial.store.entries(0, trial.log.size):
        found.push(merkle.leaf_hash(data))
    return found


# --- while it runs -------------------------------------------------------------------------------


def of_the_old_one(old: bytes, new: Checkpoint) -> bytes:
    """The old checkpoint, left as it is."""
    del new
    return old


def under_the_old_signature(old: bytes, new: Checkpoint) -> bytes:
    """The text of the new one over the signature of the old one."""
    return new.format().encode() + old[old.index(b"\n\n") + 1 :]


def by_another_key(old: bytes, new: Checkpoint) -> bytes:
    """A key of the same name."""
    del old
    return sign(new, SigningKey.generate(ORIGIN))


FORGERIES = {
    of_the_old_one: "has 8 entries, its state says 8, and the signed checkpoint covers 7",
    under_the_old_signature: "has a checkpoint of another log or key",
    by_another_key: "has a checkpoint of another log or key",
}


@pytest.mark.parametrize(("forge", "message"), FORGERIES.items())
def test_a_row_that_was_inserted_with_its_tree_stops_the_log(
    forge: Callable[[bytes, Checkpoint], bytes], message: str, trial: TrialLog, intruder: Intruder
) -> None:
    """All is consistent but the signature: the intruder does not have the key."""
    other = trial.store.case(trial.told[-1].header.case, trial.log.size)[0][1]
    data = other.replace(trial.told[-1].header.case.encode(), new_case().encode())
    tree = frontier(trial)
    peaks = tree.peaks
    tree.push(merkle.leaf_hash(data))
    note = forge(trial.log.checkpoint, Checkpoint(ORIGIN, tree.size, tree.root()))
    intruder.run("INSERT INTO entries VALUES (?, ?, ?)", 7, merkle.leaf_hash(data), data)
    intruder.set_state(8, peaks, note)
    assert_never_signs_again(trial, message)
    assert_no_start(trial, "another log or key|not those that the checkpoint")


def test_a_row_that_was_inserted_behind_the_state_stops_the_log(
    trial: TrialLog, intruder: Intruder
) -> None:
    intruder.run("INSERT INTO entries SELECT 7, leaf, header FROM entries WHERE idx = 6")
    assert_never_signs_again(trial, "the database has 8 entries, its state says 7")
    assert_no_start(trial, "entry 7 .* does not continue its case")


def test_a_changed_last_row_stops_the_log(trial: TrialLog, intruder: Intruder) -> None:
    intruder.run(
        "UPDATE entries SET header = CAST(replace(header, 'written', 'altered') AS BLOB)"
        " WHERE idx = 6"
    )
    assert_never_signs_again(trial, "do not give the signed root")
    assert_no_start(trial, "not those that the checkpoint of size 7 was signed over")


def test_a_changed_old_row_is_not_read_and_stops_the_next_start(
    trial: TrialLog, intruder: Intruder
) -> None:
    changed = trial.told[3]
    intruder.run(
        "UPDATE entries SET header = CAST(replace(header, 'written', 'altered') AS BLOB)"
        " WHERE idx = 3"
    )
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_case(changed.header.case)
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_entry(3)
    assert_no_start(trial, "not those that the checkpoint of size 7 was signed over")


def test_a_changed_old_row_with_its_hash_is_not_read_either(
    trial: TrialLog, intruder: Intruder
) -> None:
    data = trial.told[3].data.replace(b"written", b"altered")
    intruder.run(
        "UPDATE entries SET header = ?, leaf = ? WHERE idx = 3", data, merkle.leaf_hash(data)
    )
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_case(trial.told[3].header.case)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\x00", b'{"at":'])
def test_a_row_that_is_no_record_is_not_read(
    data: bytes, trial: TrialLog, intruder: Intruder
) -> None:
    intruder.run("UPDATE entries SET header = ? WHERE idx = 3", data)
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_case(trial.told[3].header.case)
    trial.close()
    with pytest.raises(MunimentError):
        trial.open()


@pytest.mark.parametrize("data", [None, b"{}"], ids=["another record", "no record"])
def test_nothing_is_built_on_a_case_whose_row_was_changed(
    data: bytes | None, trial: TrialLog, intruder: Intruder
) -> None:
    """An end that folds a changed case stops the log: it is for a person to look at."""
    data = trial.told[3].data.replace(b"written", b"altered") if data is None else data
    intruder.run("UPDATE entries SET header = ? WHERE idx = 3", data)
    case = trial.told[3].header.case
    built: list[Sequence[Entry]] = []

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        built.append(entries)
        return (), lambda _: ()

    with pytest.raises(LogUnavailable, match=f"`?{case}`?"):
        trial.log.append(Outcome(case=case, build=build)).result(10)
    assert built == []
    assert_never_signs_again(trial, case)


def test_a_deleted_last_row_stops_the_log(trial: TrialLog, intruder: Intruder) -> None:
    intruder.run("DELETE FROM entries WHERE idx = 6")
    assert_never_signs_again(trial, "the database has 6 entries, its state says 7")
    assert_no_start(trial, "the 6 entries in the database are not those")


def test_a_deleted_old_row_is_not_read_and_stops_the_next_start(
    trial: TrialLog, intruder: Intruder
) -> None:
    intruder.run("DELETE FROM entries WHERE idx = 3")
    with pytest.raises(LogInvalid, match=r"does not have case .* as it was written"):
        trial.log.read_case(trial.told[3].header.case)
    with pytest.raises(LogInvalid, match="entry 3 is missing"):
        trial.log.read_entry(3)
    assert_no_start(trial, "entry 3 is missing")


def test_a_log_that_was_taken_back_to_an_earlier_checkpoint_stops(
    trial: TrialLog, intruder: Intruder
) -> None:
    """Everything genuine, only older."""
    tail, size = trial.store.tail(), trial.log.size
    trial.fill(1)
    assert tail is not None
    intruder.run("DELETE FROM entries WHERE idx >= ?", size)
    intruder.run("DELETE FROM case_entries WHERE idx >= ?", size)
    intruder.run("DELETE FROM checkpoints WHERE size > ?", size)
    intruder.set_state(tail.size, tail.peaks, tail.checkpoint)
    assert_never_signs_again(trial, "another process has written to this log")
    assert_no_start(
        trial,
        "the database has 7 entries, but the head store remembers 8: this is an older copy",
    )


def test_a_replaced_checkpoint_stops_the_log(trial: TrialLog, intruder: Intruder) -> None:
    forged = sign(Checkpoint(ORIGIN, 7, bytes(32)), SigningKey.generate(ORIGIN))
    intruder.run("UPDATE log_state SET checkpoint = ?", forged)
    assert_never_signs_again(trial, "the database has a checkpoint of another log or key")
    assert_no_start(trial, "the database has a checkpoint of another log or key")


def test_the_state_row_of_another_log_stops_the_log(
    trial: TrialLog, intruder: Intruder, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = TrialLog(tmp_path / "other")
    other.fill(6)
    tail = other.store.tail()
    other.close()
    assert tail is not None
    intruder.set_state(tail.size, tail.peaks, tail.checkpoint)
    assert_never_signs_again(trial, "the database has a checkpoint of another log or key")
    assert_no_start(trial, "the database has a checkpoint of another log or key")


def test_a_state_row_that_is_gone_stops_the_log(trial: TrialLog, intruder: Intruder) -> None:
    intruder.run("DELETE FROM log_state")
    assert_never_signs_again(trial, "the log's state is gone")
    assert_no_start(trial, "there is no log in this database, but the head store remembers one")


@pytest.mark.parametrize("peaks", [b"", bytes(32), bytes(31), bytes(64)])
def test_a_changed_frontier_stops_the_log(
    peaks: bytes, trial: TrialLog, intruder: Intruder
) -> None:
    intruder.run("UPDATE log_state SET peaks = ?", peaks)
    assert_never_signs_again(trial, "peak|signed root")


def test_a_last_record_that_is_hidden_from_its_case_is_missed(
    trial: TrialLog, intruder: Intruder
) -> None:
    """Else an end, or a withdrawal, could be made to disappear from what is read."""
    case = new_case()
    trial.append(trial.draft(case), trial.draft(case))
    intruder.run("DELETE FROM case_entries WHERE case_id = ? AND position = 1", case)
    with pytest.raises(LogInvalid, match=f"does not have case `{case}` as it was written"):
        trial.log.read_case(case)
    intruder.run("DELETE FROM case_entries WHERE case_id = ?", case)
    with pytest.raises(LogInvalid, match=f"does not have case `{case}` as it was written"):
        trial.log.read_case(case)


def test_a_first_record_that_is_hidden_from_its_case_is_missed(
    trial: TrialLog, intruder: Intruder
) -> None:
    case = new_case()
    trial.append(trial.draft(case), trial.draft(case))
    intruder.run("DELETE FROM case_entries WHERE case_id = ? AND position = 0", case)
    with pytest.raises(LogInvalid, match=f"is not record 0 of case `{case}`"):
        trial.log.read_case(case)


def test_a_record_of_another_case_is_not_taken_for_one_of_this(
    trial: TrialLog, intruder: Intruder
) -> None:
    case = trial.told[3].header.case
    intruder.run("UPDATE case_entries SET idx = 4 WHERE case_id = ?", case)
    with pytest.raises(LogInvalid, match=f"entry 4 is not record 0 of case `{case}`"):
        trial.log.read_case(case)
    intruder.run("INSERT INTO case_entries VALUES (?, 1, 5)", case)
    intruder.run("UPDATE case_entries SET idx = 3 WHERE case_id = ? AND position = 0", case)
    with pytest.raises(LogInvalid, match=f"entry 5 is not record 1 of case `{case}`"):
        trial.log.read_case(case)


def test_a_changed_hash_beside_an_entry_proves_nothing(trial: TrialLog, intruder: Intruder) -> None:
    intruder.run("UPDATE entries SET leaf = ? WHERE idx = 2", bytes(32))
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_entry(3)


def test_a_changed_tile_proves_nothing_and_stops_the_next_start(
    trial: TrialLog, intruder: Intruder
) -> None:
    trial.fill(300)
    intruder.run("UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0")
    with pytest.raises(LogInvalid, match="entry 3 is not the one that was signed"):
        trial.log.read_entry(3)
    assert_no_start(trial, "tile 0/0 does not hold the hashes of its entries")


@pytest.mark.parametrize("column", ["content", "salt"])
def test_a_changed_section_is_not_given_out(
    column: str, trial: TrialLog, intruder: Intruder
) -> None:
    (entry,) = trial.append(trial.draft(new_case(), sections={"note": b"he said yes"}))
    intruder.run(f"UPDATE sections SET {column} = zeroblob(32)")
    with pytest.raises(LogInvalid, match=r"section `note` of .* is not what was sealed"):
        trial.log.read_sections(entry)


def test_a_section_of_another_record_is_not_given_out(trial: TrialLog, intruder: Intruder) -> None:
    first, second = trial.fill(2, sections={"note": b"same"})
    intruder.run("DELETE FROM sections WHERE idx = ?", second.index)
    intruder.run("UPDATE sections SET idx = ? WHERE idx = ?", second.index, first.index)
    with pytest.raises(LogInvalid, match="is not what was sealed"):
        trial.log.read_sections(second)
    assert trial.log.read_sections(first) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET header = header WHERE idx = 1",
        "UPDATE entries SET idx = 100 WHERE idx = 1",
        "DELETE FROM entries WHERE idx = 1",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT idx, leaf, header FROM entries WHERE idx = 1",
        "REPLACE INTO entries SELECT idx, leaf, header FROM entries WHERE idx = 1",
        "INSERT INTO entries SELECT idx + 50, leaf, header FROM entries WHERE idx = 1",
        "INSERT INTO entries SELECT -1, leaf, header FROM entries WHERE idx = 1",
    ],
)
def test_the_database_refuses_to_change_what_was_written(statement: str, trial: TrialLog) -> None:
    trial.fill(3)
    with contextlib.closing(sqlite3.connect(trial.path)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="entries are"):
            connection.execute(statement)
        connection.rollback()
    trial.fill(1)
    trial.check()


def test_another_process_that_writes_stops_this_one(trial: TrialLog) -> None:
    """Even with the right key: two writers would be two histories."""
    trial.fill(2)
    other = TrialLog(trial.folder, key=trial.key)
    other.fill(1)
    with pytest.raises(LogUnavailable, match="the head store has moved on: another process"):
        trial.append(trial.draft(new_case()))
    assert trial.log.trouble is not None
    other.fill(1)
    other.check()
    other.close()


def test_a_copy_that_shares_the_head_store_gives_no_second_history(
    trial: TrialLog, tmp_path: Path
) -> None:
    """A restored copy beside the original: whoever writes second gets no receipt for anything."""
    trial.fill(3)
    (tmp_path / "copy").mkdir()
    copy_database(trial.path, tmp_path / "copy" / "muniment.db")
    copy = TrialLog(tmp_path / "copy", key=trial.key, head_path=trial.head)
    trial.fill(1)
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="the head store has moved on"):
            copy.append(copy.draft(new_case()))
    assert copy.log.size == 4
    copy.close()
    with pytest.raises(LogInvalid, match="older copy"):
        copy.open()
    trial.fill(1)
    trial.check()


def test_a_database_that_gives_back_other_bytes_is_not_signed_off(trial: TrialLog) -> None:
    """One bit that flips between hashing and storing has ended a public log for good."""
    trial.fill(2)
    trial.disk.lie = lambda found: [bytes([found[0][0] ^ 1]) + found[0][1:], *found[1:]]
    with pytest.raises(LogUnavailable, match="gives back other bytes than it was given"):
        trial.append(trial.draft(new_case()))
    trial.disk.lie = list
    assert_never_signs_again(trial, "gives back other bytes")
    trial.reopen()
    trial.fill(1)
    trial.check()


def test_a_database_that_lost_a_row_while_writing_is_not_signed_off(trial: TrialLog) -> None:
    trial.disk.lie = lambda found: found[:-1]
    with pytest.raises(LogUnavailable, match="gives back other bytes than it was given"):
        trial.append(trial.draft(new_case()), trial.draft(new_case()))
    assert trial.log.size == 1


def test_a_listener_that_cannot_follow_stops_the_log(trial: TrialLog, tmp_path: Path) -> None:
    """What it holds is no longer what the log says, so nothing may rest on it."""
    trial.close()

    def told(entry: Entry) -> None:
        trial.told.append(entry)
        if entry.header.body.get("n") == 1:
            raise KeyError("who?")

    trial.listen = told
    trial.open()
    trial.fill(1)
    with pytest.raises(LogUnavailable, match=r"entry 2 .* cannot be taken in: 'who\?'"):
        trial.append(trial.draft(new_case(), body={"n": 1}))
    with pytest.raises(LogUnavailable, match="cannot be taken in"):
        trial.append(trial.draft(new_case()))
    assert_no_start(trial, "entry 2 .* cannot be taken in")


# --- at the start --------------------------------------------------------------------------------


def copy_database(path: Path, to: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(to)) as goal,
    ):
        source.backup(goal)


def put_back(trial: TrialLog, copy: Path) -> None:
    """Restore a database as an operator might: the file, and no write-ahead log."""
    for name in (trial.path.name, trial.path.name + "-wal", trial.path.name + "-shm"):
        (trial.folder / name).unlink(missing_ok=True)
    shutil.copy(copy, trial.path)


def test_a_database_older_than_the_head_store_does_not_start(
    trial: TrialLog, tmp_path: Path
) -> None:
    trial.fill(2)
    copy_database(trial.path, tmp_path / "old")
    trial.fill(3)
    copy_database(trial.path, tmp_path / "new")
    trial.close()
    put_back(trial, tmp_path / "old")
    with pytest.raises(
        LogInvalid,
        match="the database has 3 entries, but the head store remembers 6: this is an older copy",
    ):
        trial.open()
    put_back(trial, tmp_path / "new")
    trial.open()
    trial.check()


def test_another_history_of_the_same_size_does_not_start(trial: TrialLog, tmp_path: Path) -> None:
    trial.fill(2)
    (tmp_path / "twin").mkdir()
    copy_database(trial.path, tmp_path / "twin" / "muniment.db")
    shutil.copy(trial.head, tmp_path / "twin" / "head")
    twin = TrialLog(tmp_path / "twin", key=trial.key)
    twin.fill(2)
    trial.fill(2)
    copy_database(twin.path, tmp_path / "twin.db")
    twin.fill(1)
    copy_database(twin.path, tmp_path / "longer.db")
    twin.close()
    trial.close()
    for history in ("twin.db", "longer.db"):
        put_back(trial, tmp_path / history)
        with pytest.raises(
            LogInvalid,
            match="first 5 entries are not those that the head store remembers: this is another",
        ):
            trial.open()


def test_an_empty_head_store_does_not_start(trial: TrialLog) -> None:
    trial.fill(2)
    trial.close()
    kept = trial.head.rename(trial.folder / "kept")
    with pytest.raises(LogInvalid, match="the head store is empty, but the database has a log"):
        trial.open()
    kept.replace(trial.head)
    trial.open()
    trial.check()


def test_a_head_store_with_both_slots_damaged_does_not_start(trial: TrialLog) -> None:
    trial.fill(2)
    trial.close()
    whole = trial.head.read_bytes()
    for damaged in (
        whole[:40] + b"\xff" + whole[41 : SLOT + 40] + b"\xff" + whole[SLOT + 41 :],
        b"\xff" * 2 * SLOT,
        whole[:100],
    ):
        trial.head.write_bytes(damaged)
        with pytest.raises(LogInvalid, match="damaged in both slots"):
            trial.open()
    trial.head.write_bytes(whole)
    trial.open()
    trial.check()


def test_one_torn_slot_leaves_the_other_and_the_log_moves_on(trial: TrialLog) -> None:
    trial.fill(1)
    trial.fill(1)
    trial.close()
    whole = trial.head.read_bytes()
    for slot in (0, 1):
        at = slot * SLOT + 60
        trial.head.write_bytes(whole[:at] + bytes(50) + whole[at + 50 :])
        trial.open()
        trial.fill(1)
        trial.check()
        trial.close()
        whole = trial.head.read_bytes()


def test_the_head_of_another_key_does_not_start(trial: TrialLog) -> None:
    trial.fill(2)
    trial.close()
    whole = trial.head.read_bytes()
    trial.head.unlink()
    with contextlib.closing(HeadFile(trial.head)) as heads:
        heads.write(sign(Checkpoint(ORIGIN, 3, bytes(32)), SigningKey.generate(ORIGIN)), 3)
    with pytest.raises(LogInvalid, match="the head store has a checkpoint of another log or key"):
        trial.open()
    trial.head.write_bytes(whole)
    trial.open()
    trial.check()


def test_a_head_store_that_is_behind_is_moved_on(trial: TrialLog) -> None:
    """A crash came between the commit and the head."""
    trial.fill(1)
    behind = trial.head.read_bytes()
    trial.fill(1)
    trial.fill(1)
    trial.close()
    trial.head.write_bytes(behind)
    trial.open()
    with contextlib.closing(HeadFile(trial.head)) as heads:
        assert heads.read() == trial.log.checkpoint
    trial.check()
    trial.fill(1)
    trial.check()


def test_another_key_does_not_start_and_spoils_nothing(trial: TrialLog) -> None:
    trial.fill(2)
    trial.close()
    right, trial.key = trial.key, SigningKey.generate(ORIGIN)
    with pytest.raises(LogInvalid, match="head store has a checkpoint of another log or key"):
        trial.open()
    trial.key = SigningKey.generate("other.example/log")
    with pytest.raises(LogInvalid, match="head store has a checkpoint of another log or key"):
        trial.open()
    trial.key = right
    trial.open()
    trial.check()


def whole_file(trial: TrialLog) -> bytes:
    """The database with nothing left in its write-ahead log."""
    trial.fill(300, sections={"note": bytes(100)})
    trial.close()
    with contextlib.closing(sqlite3.connect(trial.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in ("-wal", "-shm"):
        Path(f"{trial.path}{name}").unlink(missing_ok=True)
    return trial.path.read_bytes()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_database_that_was_cut_short_does_not_start(share: float, trial: TrialLog) -> None:
    whole = whole_file(trial)
    trial.path.write_bytes(whole[: int(len(whole) * share) // 4096 * 4096])
    with pytest.raises(
        LogInvalid, match=r"not a whole database|not those|missing|contin|there is no log"
    ):
        trial.open()
    for name in ("-wal", "-shm"):
        Path(f"{trial.path}{name}").unlink(missing_ok=True)
    trial.path.write_bytes(whole)
    trial.open()
    trial.check()


def test_a_damaged_page_does_not_start(trial: TrialLog) -> None:
    whole = whole_file(trial)
    middle = len(whole) // 4096 // 2 * 4096
    trial.path.write_bytes(whole[:middle] + b"\xa5" * 4096 + whole[middle + 4096 :])
    with pytest.raises((MunimentError, AssertionError)):
        open_and_check(trial)


def open_and_check(trial: TrialLog) -> None:
    """A page that the start does not need is found by the audit."""
    trial.open()
    trial.check()


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "muniment.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.execute("INSERT INTO photos VALUES ('sea')")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(LogInvalid, match="this database belongs to another program"):
        SQLiteStore(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["muniment.db"]


@pytest.mark.parametrize("content", [b"not a database, only text" * 50, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "muniment.db"
    path.write_bytes(content)
    with pytest.raises(LogInvalid, match="not a whole database of ours: file is not a database"):
        SQLiteStore(path)
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="the database does not answer: unable to open"):
        SQLiteStore(tmp_path)


def test_a_missing_database_is_no_log(trial: TrialLog) -> None:
    trial.fill(2)
    trial.close()
    kept = trial.path.rename(trial.folder / "kept")
    for name in ("-wal", "-shm"):
        file = Path(f"{trial.path}{name}")
        if file.exists():
            file.rename(trial.folder / f"kept{name}")
    with pytest.raises(
        LogInvalid, match="there is no log in this database, but the head store remembers one"
    ):
        trial.open()
    copy_database(kept, trial.folder / "copy")
    put_back(trial, trial.folder / "copy")
    trial.open()
    trial.check()


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder in which only its owner, who is not us for the time of the test, may write."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_folder_that_cannot_be_written_does_not_start_and_loses_nothing(
    trial: TrialLog, readable_folder: Path
) -> None:
    trial.fill(3)
    copy_database(trial.path, readable_folder / "muniment.db")
    shutil.copy(trial.head, readable_folder / "head")
    with without_rights(readable_folder):
        with pytest.raises(LogUnavailable, match=r"readonly database|unable to open database"):
            SQLiteStore(readable_folder / "muniment.db")
        with pytest.raises(LogUnavailable, match=r"head. cannot be opened: Permission denied"):
            HeadFile(readable_folder / "head")
    copy = TrialLog(readable_folder, key=trial.key)
    copy.check()
    copy.close()


def test_a_second_log_is_not_founded_over_the_first(trial: TrialLog, tmp_path: Path) -> None:
    trial.fill(2)
    store = SQLiteStore(trial.path)
    with contextlib.closing(HeadFile(tmp_path / "new head")) as empty:
        with pytest.raises(Conflict, match="holds a log already"):
            found_log(store, empty, trial.keyring, trial._started)
        assert empty.read() is None
    with (
        contextlib.closing(HeadFile(trial.head)) as heads,
        pytest.raises(Conflict, match="the head store remembers a log already"),
    ):
        found_log(SQLiteStore(tmp_path / "new.db"), heads, trial.keyring, trial._started)
    store.close()
    trial.fill(1)
    trial.check()


def test_a_log_that_does_not_begin_with_its_start_does_not_open(tmp_path: Path) -> None:
    """Entry 0 says of which log it is; signed or not, nothing else can stand there."""
    trial = TrialLog(tmp_path)
    trial.close()
    for file in tmp_path.iterdir():
        file.unlink()
    store = SQLiteStore(trial.path)
    with contextlib.closing(HeadFile(trial.head)) as heads:
        found_log(store, heads, trial.keyring, lambda _: trial.draft(new_case()))
    store.close()
    with pytest.raises(LogInvalid, match="entry 0 is not `log:started`"):
        trial.open()


def test_a_signed_checkpoint_of_the_log_opens_with_its_public_key_alone(trial: TrialLog) -> None:
    trial.fill(2)
    signed = open_checkpoint(trial.log.checkpoint, ORIGIN, [trial.key.verifier])
    assert signed.size == 3
    assert signed.root == frontier(trial).root()
