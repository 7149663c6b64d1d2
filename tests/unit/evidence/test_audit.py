"""Audits of a whole log: one attack on the database a test, and who is named for it."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muniment.access import records
from muniment.evidence import audit as auditing
from muniment.evidence.append import Proposal
from muniment.evidence.audit import Audited, audit
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.note import SigningKey
from muniment.evidence.store import Entry
from muniment.evidence.verdict import Verdict
from muniment.testing.cases import ORIGIN, WrittenCase, WrittenLog, new_case

Attack = Callable[[sqlite3.Connection], object]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written).whole()


def attack(written: WrittenLog, *statements: tuple[str, tuple[object, ...]]) -> None:
    """An administrator of the database, who also removes the fence."""
    with sqlite3.connect(written.path) as connection:
        for name in ("entries_stay", "entries_remain", "entries_are_dense"):
            connection.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            connection.execute(statement, values)
    connection.close()


def both(written: WrittenLog, *heads: bytes) -> list[Audited]:
    key = written.key.verifier
    return [audit(written.store, key, heads, full=full) for full in (False, True)]


def full(written: WrittenLog) -> Audited:
    return audit(written.store, written.key.verifier, full=True)


def forged(entry: Entry) -> bytes:
    return entry.data.replace(b'"seconds":1800', b'"seconds":9999')


def test_a_whole_log_holds_and_everything_beside_it_is_counted(
    written: WrittenLog, case: WrittenCase
) -> None:
    quick, thorough = both(written)
    assert quick.verdict is thorough.verdict is Verdict.UNANCHORED
    assert thorough.checkpoints == written.log.size - 1  # two records of the case share a batch
    assert (thorough.cases, thorough.sections, thorough.erased) == (6, 6, 0)
    assert thorough.documents > 5
    assert quick.holds
    assert case.state.closed


def test_a_log_over_several_subtrees_and_tiles_holds(
    written: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "SUBTREE", 64)
    heads = _fill(written, 600)
    seen: list[int] = []
    found = audit(
        written.store,
        written.key.verifier,
        heads,
        full=True,
        progress=lambda done, _: seen.append(done),
    )
    assert found.verdict is Verdict.SELF_WITNESSED
    assert all(one.agrees for one in found.compared)
    assert seen[-1] == written.log.size or 64 in seen


def _fill(written: WrittenLog, count: int) -> list[bytes]:
    """Records in a few batches; the checkpoints that came on the way."""
    futures = []
    for _ in range(count):
        case = new_case("hbt")
        draft = records.LogHeartbeat(actor=records.SERVICE, unrecorded={}).draft(case, written.now)
        futures.append(written.log.append(Proposal(drafts=(draft,), reads={case: None})))
    notes = {future.result(timeout=30).size: future.result().checkpoint for future in futures}
    return [notes[size] for size in sorted(notes)]


def test_hashing_may_be_spread_over_others(written: WrittenLog, case: WrittenCase) -> None:
    def spread(ranges: list[tuple[int, int]]) -> Iterator[bytes]:
        return (auditing.subtree_root(written.store, *each) for each in ranges)

    found = audit(written.store, written.key.verifier, roots=spread)  # type: ignore[arg-type]
    assert found.holds
    assert case.state.closed


# --- the entries ----------------------------------------------------------------------------------


def test_an_altered_entry_is_named(written: WrittenLog, case: WrittenCase) -> None:
    entry = case.entries["access:requested"]
    attack(written, ("UPDATE entries SET header = ? WHERE idx = ?", (forged(entry), entry.index)))
    for found in both(written):
        assert found.verdict is Verdict.INVALID
        assert found.bad is not None
        assert (found.bad.index, found.bad.record) == (entry.index, entry.header.id)


def test_an_altered_entry_is_named_although_its_stored_hash_was_altered_too(
    written: WrittenLog, case: WrittenCase
) -> None:
    entry = case.entries["access:requested"]
    data = forged(entry)
    values = (data, leaf_hash(data), entry.index)
    attack(written, ("UPDATE entries SET header = ?, leaf = ? WHERE idx = ?", values))
    for found in both(written):
        # every batch has its checkpoint, and this one has the root of what was really there
        assert found.bad is not None
        assert found.bad.index == entry.index


def test_an_entry_of_garbage_is_named(written: WrittenLog, case: WrittenCase) -> None:
    index = case.entries["grant:authorized"].index
    attack(written, ("UPDATE entries SET header = ? WHERE idx = ?", (b"{}", index)))
    for found in both(written):
        assert found.bad is not None
        assert (found.bad.index, found.bad.record) == (index, None)


def test_a_removed_entry_is_named(written: WrittenLog, case: WrittenCase) -> None:
    index = case.entries["approval:given"].index
    attack(written, ("DELETE FROM entries WHERE idx = ?", (index,)))
    for found in both(written):
        assert found.bad is not None
        assert (found.bad.index, found.bad.what) == (index, "is missing")


def test_an_entry_behind_the_signed_tree_is_named(written: WrittenLog, case: WrittenCase) -> None:
    entry = case.entries["access:requested"]
    values = (written.log.size, entry.leaf, entry.data)
    attack(written, ("INSERT INTO entries (idx, leaf, header) VALUES (?, ?, ?)", values))
    found = audit(written.store, written.key.verifier)
    assert found.bad is not None
    assert found.bad.index == written.log.size


def test_a_cut_tail_with_an_older_checkpoint_shows_against_a_kept_head(
    written: WrittenLog, case: WrittenCase
) -> None:
    kept, size = written.log.checkpoint, case.entries["approval:given"].index + 1
    older = written.store.checkpoint(size)
    attack(
        written,
        ("DELETE FROM entries WHERE idx >= ?", (size,)),
        ("DELETE FROM checkpoints WHERE size > ?", (size,)),
        ("DELETE FROM case_entries WHERE idx >= ?", (size,)),
        ("UPDATE log_state SET size = ?, checkpoint = ?", (size, older)),
    )
    assert audit(written.store, written.key.verifier).verdict is Verdict.UNANCHORED
    for found in both(written, kept):
        assert found.verdict is Verdict.DIVERGED


def test_a_rewritten_and_resigned_log_shows_against_a_kept_head(
    written: WrittenLog, case: WrittenCase, tmp_path: Path
) -> None:
    folder = tmp_path / "rewritten"
    folder.mkdir()
    other = WrittenLog(folder, key=written.key)
    WrittenCase(other).whole()
    assert audit(other.store, written.key.verifier).holds
    found = audit(other.store, written.key.verifier, [written.log.checkpoint])
    assert found.verdict is Verdict.DIVERGED
    assert case.state.closed
    other.close()


def test_another_key_is_refused(written: WrittenLog, case: WrittenCase) -> None:
    found = audit(written.store, SigningKey.generate(ORIGIN).verifier)
    assert (found.verdict, found.checkpoint) == (Verdict.INVALID, None)
    assert case.state.closed


def test_a_head_of_another_log_is_refused(written: WrittenLog) -> None:
    assert audit(written.store, written.key.verifier, [b"?"]).verdict is Verdict.INVALID


# --- what lies beside the entries ------------------------------------------------------------------


def test_an_altered_stored_hash_is_named(written: WrittenLog, case: WrittenCase) -> None:
    index = case.entries["credential:issued"].index
    attack(written, ("UPDATE entries SET leaf = ? WHERE idx = ?", (bytes(32), index)))
    bad = full(written).bad
    assert bad is not None
    assert bad.index == index


def test_an_altered_section_is_named(written: WrittenLog, case: WrittenCase) -> None:
    entry = case.entries["access:requested"]
    attack(written, ("UPDATE sections SET content = ? WHERE idx = ?", (b"lies", entry.index)))
    bad = full(written).bad
    assert bad is not None
    assert str(bad) == f"entry {entry.index} (`{entry.header.id}`): section `reason` is not what was sealed"  # fmt: skip


def test_a_section_that_vanished_without_a_tombstone_is_named(
    written: WrittenLog, case: WrittenCase
) -> None:
    entry = case.entries["access:requested"]
    attack(written, ("DELETE FROM sections WHERE idx = ?", (entry.index,)))
    bad = full(written).bad
    assert bad is not None
    assert (bad.index, "nothing says why" in bad.what) == (entry.index, True)


def test_a_tombstone_that_no_record_explains_is_named(
    written: WrittenLog, case: WrittenCase
) -> None:
    entry = case.entries["access:requested"]
    attack(
        written,
        ("DELETE FROM sections WHERE idx = ?", (entry.index,)),
        ("INSERT INTO tombstones VALUES (?, 'reason', 'because')", (entry.index,)),
    )
    bad = full(written).bad
    assert bad is not None
    assert (bad.index, "no record says so" in bad.what) == (entry.index, True)


def test_a_section_that_nothing_names_is_named(written: WrittenLog, case: WrittenCase) -> None:
    index = case.entries["grant:authorized"].index
    values = (index, "note", bytes(32), b"hidden")
    attack(written, ("INSERT INTO sections (idx, name, salt, content) VALUES (?,?,?,?)", values))
    bad = full(written).bad
    assert bad is not None
    assert bad.index == index


def test_an_erased_section_holds_and_is_counted(written: WrittenLog, case: WrittenCase) -> None:
    written.erase(case.entries["access:requested"], "reason", "retention")
    found = full(written)
    assert (found.holds, found.erased, found.unfinished) == (True, 1, ())


def test_an_erasure_under_another_rule_than_recorded_is_named(
    written: WrittenLog, case: WrittenCase
) -> None:
    record = written.erase(case.entries["access:requested"], "reason", "retention")
    attack(written, ("UPDATE tombstones SET rule = 'mercy'", ()))
    bad = full(written).bad
    assert bad is not None
    assert bad.index == record.index


def test_an_erasure_that_was_recorded_but_not_done_is_told(
    written: WrittenLog, case: WrittenCase
) -> None:
    entry = case.entries["access:requested"]
    erased = records.RecordErased(
        actor=records.SERVICE, record=entry.header.id, section="reason", rule="retention"
    )
    written.append(new_case("ers"), erased, follows=[entry])
    assert full(written).unfinished == ((entry.header.id, "reason"),)


def test_a_missing_document_is_named(written: WrittenLog, case: WrittenCase) -> None:
    name = case.role.header.documents[0]
    attack(written, ("DELETE FROM documents WHERE digest = ?", (name,)))
    bad = full(written).bad
    assert bad is not None
    assert (bad.index, "is missing" in bad.what) == (case.role.index, True)


def test_an_altered_tile_is_named(written: WrittenLog) -> None:
    _fill(written, 300)
    attack(written, ("UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0", ()))
    bad = full(written).bad
    assert bad is not None
    assert "tile 0/0" in bad.what


def test_a_kept_checkpoint_of_another_tree_is_told(written: WrittenLog, case: WrittenCase) -> None:
    size = case.entries["approval:given"].index + 1
    values = (written.store.checkpoint(3), size)
    attack(written, ("UPDATE checkpoints SET note = ? WHERE size = ?", values))
    bad = full(written).bad
    assert bad is not None
    assert f"size {size}" in bad.what
