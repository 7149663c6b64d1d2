"""
Somebody with every right on the log's server, or on the head store's, gains nothing.

He takes the triggers down, changes one thing, and puts them back. Then a node that runs signs no
more, or a start is refused, or the audit says what is wrong, or what reads the value does; or it is
a list, on which no decision rests. As `test_log_tampering` and `test_bit_flips` for SQLite.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from muniment.access.records import SERVICE, RecordErased
from muniment.errors import ConfigInvalid, LogInvalid, LogUnavailable, MunimentError
from muniment.evidence import merkle
from muniment.evidence.append import Outcome
from muniment.evidence.audit import Audited, audit
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey
from muniment.evidence.store import Entry, Published, Stamp
from muniment.operations.erase import Erasures, finish
from muniment.ports import Answer, CaseRow, Due
from muniment.stores.postgresql import SharedLedger
from muniment.testing.faulty import ORIGIN, new_case
from muniment.testing.log_servers import LogDatabases, LogServers
from muniment.testing.trial_log import TrialLog

# `test_log_tampering` does the same to SQLite, and is fast
pytestmark = [pytest.mark.target, pytest.mark.deep]

#: more than one full tile
SIZE: Final = 300
MIDDLE: Final = 150
RULE: Final = "R1"
UNFINISHED: Final = "SELECT idx FROM muniment.tombstones WHERE NOT gone"
PATIENCE: Final = 20.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers
        for each in (servers.log, servers.heads):
            each.stop(immediate=True)  # nothing of so many copies is kept


# --- a log with something in every table ---------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """What every test gets a copy of."""

    servers: LogServers
    databases: LogDatabases
    key: SigningKey
    #: of the case that has three records, an end of the log
    case: str

    def copied(self) -> LogDatabases:
        return copied(self.servers, self.databases)


def copied(servers: LogServers, databases: LogDatabases) -> LogDatabases:
    """Both databases as they are, under another name, for the same roles."""
    name = f"copy_{secrets.token_hex(6)}"
    for admin, source in ((servers.log, databases.log), (servers.heads, databases.heads)):
        copy_database(admin.superuser_dsn, str(conninfo_to_dict(source)["dbname"]), name)
    return replace(
        databases,
        log=make_conninfo(databases.log, dbname=name),
        heads=make_conninfo(databases.heads, dbname=name),
        log_admin=make_conninfo(databases.log_admin, dbname=name),
        heads_admin=make_conninfo(databases.heads_admin, dbname=name),
    )


def copy_database(superuser: str, source: str, target: str) -> None:
    """In place of what is there; whoever uses it is thrown out."""
    old, new = sql.Identifier(source), sql.Identifier(target)
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(new))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(new, old))


@pytest.fixture(scope="module")
def written(servers: LogServers, tmp_path_factory: pytest.TempPathFactory) -> Written:
    databases, case = servers.new(), new_case()
    trial = TrialLog(tmp_path_factory.mktemp("written"), place=databases, shared=True)
    (erased,) = trial.fill(1, sections={"note": b"to be erased"})
    trial.fill(3, sections={"note": b"he said yes"}, documents=(b"a policy", b"a role"))
    while trial.log.size < SIZE - 6:
        trial.fill(min(60, SIZE - 6 - trial.log.size), sections={"reason": b"why"})
    gone = RecordErased(actor=SERVICE, record=erased.header.id, section="note", rule=RULE)
    trial.append(trial.draft(new_case("ers"), kind=gone.KIND, body=gone.body()))
    trial.store.erase(erased.index, "note", RULE)
    for _ in range(2):
        trial.append(trial.draft(case))
    trial.append(trial.draft(case), companions=lambda _: lines_of(case))
    trial.fill(2)
    published = Published(trial.log.size, trial.log.checkpoint, (Stamp("tsa", b"a token"),))
    trial.store.publish(published)
    trial.check()
    trial.close()
    return Written(servers, databases, trial.key, case)


def lines_of(case: str) -> Sequence[Any]:
    row = CaseRow(
        case=case, kind="access", state="pending", requester="prn_a", resource="db", role="rw",
        groups=("sre",), marked=False, opened_at="2026", changed_at="2026", until=None, about="",
        records=3, closed=False,
    )  # fmt: skip
    answer = Answer(
        principal="prn_a", operation="request", key="k", body=b"digest", case=case, at="2026"
    )
    return row, Due(case=case, at="2026"), answer


@pytest.fixture
def databases(written: Written) -> LogDatabases:
    return written.copied()


@pytest.fixture
def node(
    tmp_path: Path, written: Written, databases: LogDatabases
) -> Iterator[Callable[[], TrialLog]]:
    """Each call opens one more node."""
    opened: list[TrialLog] = []

    def open_one() -> TrialLog:
        opened.append(TrialLog(tmp_path, key=written.key, place=databases, shared=True))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def trial(node: Callable[[], TrialLog]) -> TrialLog:
    return node()


# --- who changes it, and what has to come of it --------------------------------------------------


#: those that came of a statement; or one for each row that it changed
Rows: TypeAlias = list[tuple[Any, ...]]


def run(conninfo: str, statement: str, *values: Any) -> Rows:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values, binary=True)
        return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Intruder:
    """A superuser of both servers, who leaves the fences as he found them."""

    databases: LogDatabases

    def log(self, statement: str, *values: Any) -> Rows:
        return self._change(self.databases.log_admin, "entries", statement, values)

    def heads(self, statement: str, *values: Any) -> Rows:
        return self._change(self.databases.heads_admin, "head", statement, values)

    def _change(self, conninfo: str, fenced: str, statement: str, values: Sequence[Any]) -> Rows:
        table = f"muniment.{fenced}"
        with psycopg.connect(conninfo) as connection:
            connection.execute("SET search_path = muniment")
            names = connection.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass", (table,)
            ).fetchall()
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
            cursor = connection.execute(statement.encode(), values)
            found = cursor.fetchall() if cursor.description else [()] * cursor.rowcount
            for (name,) in names:
                connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}".encode())
        return found


@pytest.fixture
def intruder(databases: LogDatabases) -> Intruder:
    return Intruder(databases)


def signed(databases: LogDatabases) -> tuple[Any, ...]:
    """Every checkpoint that can be read anywhere."""
    return (
        run(databases.log_admin, "SELECT size, note FROM muniment.checkpoints ORDER BY size"),
        run(databases.log_admin, "SELECT checkpoint FROM muniment.log_state"),
        run(databases.heads_admin, "SELECT size, checkpoint FROM muniment.head"),
    )


def assert_never_signs_again(trial: TrialLog, databases: LogDatabases, message: str) -> None:
    """The next append finds it, and from then on nothing is signed by this node."""
    before = signed(databases)
    for _ in range(2):
        with pytest.raises(LogUnavailable, match=message):
            trial.append(trial.draft(new_case()))
        with pytest.raises(LogUnavailable, match=message):
            trial.conclude(trial.draft(new_case())).result(PATIENCE)
        assert trial.log.trouble is not None
    with pytest.raises(LogUnavailable):
        trial.log.follow().result(PATIENCE)
    assert signed(databases) == before


def assert_no_start(trial: TrialLog, message: str) -> None:
    trial.close()
    with pytest.raises(LogInvalid, match=message):
        trial.open()


def audited(databases: LogDatabases, key: SigningKey) -> Audited:
    with contextlib.closing(databases.open_store()) as store:
        return audit(store, key.verifier, full=True)


def assert_audit_finds(databases: LogDatabases, key: SigningKey, index: int | None = None) -> None:
    found = audited(databases, key)
    assert not found.holds
    assert found.bad is not None
    if index is not None:
        assert found.bad.index == index, found.bad


FLIPPED: Final = "set_byte({0}, 40, get_byte({0}, 40) # 1)"
#: which row: as the running node, the start and the auditor see it
PLACES: Final = {"first": 0, "middle": MIDDLE, "last": SIZE - 1}
STOPS: Final = "do not give the signed root|its state says"
REFUSED: Final = "not those that|missing|does not continue|is no|canonical|not the one|entry 0"


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE entries SET header = {FLIPPED.format('header')} WHERE idx = %s",
        "DELETE FROM entries WHERE idx = %s",
    ],
    ids=["a byte of a header", "a row gone"],
)
def test_an_entry_that_was_changed_is_noticed_by_everybody(
    statement: str, index: int, trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    assert len(intruder.log(statement, index)) == 1
    with pytest.raises(LogInvalid, match=f"entry {index}"):
        trial.log.read_entry(index)
    if index == SIZE - 1:
        assert_never_signs_again(trial, databases, STOPS)
    assert_audit_finds(databases, trial.key)
    trial.close()
    with pytest.raises(MunimentError):
        trial.open()


def test_a_changed_header_with_its_hash_is_named_by_the_audit(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    data = trial.told[MIDDLE].data.replace(b"written", b"altered")
    values = (data, merkle.leaf_hash(data), MIDDLE)
    intruder.log("UPDATE entries SET header = %s, leaf = %s WHERE idx = %s", *values)
    with pytest.raises(LogInvalid, match=f"entry {MIDDLE} is not the one that was signed"):
        trial.log.read_case(trial.told[MIDDLE].header.case)
    assert_audit_finds(databases, trial.key, MIDDLE)
    assert_no_start(trial, "not those that the checkpoint|not those that the head store")


def test_a_changed_hash_beside_an_entry_is_named_by_the_audit(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    last = SIZE - 1
    intruder.log(
        f"UPDATE entries SET leaf = {FLIPPED.format('leaf').replace('40', '4')} WHERE idx = %s",
        last,
    )
    with pytest.raises(LogInvalid, match=f"entry {last - 1} is not the one that was signed"):
        trial.log.read_entry(last - 1)
    assert_audit_finds(databases, trial.key, last)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), (MIDDLE, MIDDLE + 7), (SIZE - 2, SIZE - 1)], ids=PLACES
)
def test_entries_that_change_places_are_noticed(
    one: int, other: int, trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    swap = "UPDATE entries SET idx = -1 - {0}.idx FROM (VALUES (%s::bigint), (%s)) AS {0} (idx)"
    intruder.log(swap.format("two") + " WHERE entries.idx = two.idx", one, other)
    intruder.log("UPDATE entries SET idx = %s - (-1 - idx) WHERE idx < 0", one + other)
    with pytest.raises(LogInvalid, match=f"entry {one}"):
        trial.log.read_entry(one)
    if other == SIZE - 1:
        assert_never_signs_again(trial, databases, STOPS)
    assert_audit_finds(databases, trial.key)
    assert_no_start(trial, REFUSED)


def test_a_row_behind_the_last_is_signed_by_nobody(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    insert = "INSERT INTO entries SELECT %s, leaf, header FROM entries WHERE idx = 3"
    intruder.log(insert, SIZE)
    assert_never_signs_again(trial, databases, f"has {SIZE + 1} entries, its state says {SIZE}")
    assert_audit_finds(databases, trial.key, SIZE)
    assert_no_start(trial, f"entry {SIZE} .* does not continue its case")


def test_a_row_before_the_first_is_noticed(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    """No index of ours is negative: it is read by nobody, and changes nothing."""
    intruder.log("INSERT INTO entries SELECT -1, leaf, header FROM entries WHERE idx = 3")
    trial.fill(1)
    trial.check()
    assert audited(databases, trial.key).holds


@pytest.mark.parametrize("forger", ["nobody", "another key", "the old signature"])
def test_a_row_that_was_inserted_with_its_tree_is_signed_by_nobody(
    forger: str, trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    """All is consistent but the signature: the intruder does not have the key."""
    data = trial.told[MIDDLE].data.replace(
        trial.told[MIDDLE].header.case.encode(), new_case().encode()
    )
    peaks, new = extended(trial.told, data)
    old = trial.log.checkpoint
    note = {
        "nobody": old,
        "another key": sign(new, SigningKey.generate(ORIGIN)),
        "the old signature": new.format().encode() + old[old.index(b"\n\n") + 1 :],
    }[forger]
    intruder.log("INSERT INTO entries VALUES (%s, %s, %s)", SIZE, merkle.leaf_hash(data), data)
    state = (new.size, b"".join(peaks), note)
    intruder.log("UPDATE log_state SET size = %s, peaks = %s, checkpoint = %s", *state)
    assert_never_signs_again(trial, databases, "another log or key|the signed checkpoint covers")
    assert_audit_finds(databases, trial.key)
    assert_no_start(trial, "another log or key|not those that the checkpoint")


def extended(entries: Sequence[Entry], data: bytes) -> tuple[tuple[bytes, ...], Checkpoint]:
    """The peaks before, and the checkpoint after, this one is added."""
    tree = merkle.Frontier()
    for entry in entries:
        tree.push(entry.leaf)
    peaks = tree.peaks
    tree.push(merkle.leaf_hash(data))
    return peaks, Checkpoint(ORIGIN, tree.size, tree.root())


# --- the state, and older copies ------------------------------------------------------------------


STATES: Final = {
    "size, one less": "SET size = size - 1",
    "size, one more": "SET size = size + 1",
    "size, none": "SET size = 0",
    "peaks, a byte": "SET peaks = set_byte(peaks, 3, get_byte(peaks, 3) # 1)",
    "peaks, none": "SET peaks = ''",
    "peaks, one more": "SET peaks = peaks || substr(peaks, 1, 32)",
    "checkpoint, a byte of its root": f"SET checkpoint = {FLIPPED.format('checkpoint')}",
    "checkpoint, none": "SET checkpoint = ''",
    "checkpoint, garbage": "SET checkpoint = decode('ff00', 'hex')",
    "checkpoint, an older one": (
        "SET checkpoint = (SELECT note FROM checkpoints WHERE size < 300"
        " ORDER BY size DESC LIMIT 1)"
    ),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_state_that_was_changed_stops_the_log(
    change: str, trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    assert len(intruder.log(f"UPDATE log_state {change}")) == 1
    assert_never_signs_again(trial, databases, ".")
    trial.close()
    if "peaks" not in change:  # they are made anew at a start
        with pytest.raises(LogInvalid):
            trial.open()


def test_a_state_that_is_gone_stops_the_log(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    intruder.log("DELETE FROM log_state")
    assert_never_signs_again(trial, databases, "the log's state is gone")
    assert_no_start(trial, "the log's state is gone")


def test_an_older_state_that_is_played_again_stops_the_log(
    trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    """Everything in it is genuine."""
    tail = trial.store.tail()
    assert tail is not None
    trial.fill(1)
    intruder.log(
        "UPDATE log_state SET size = %s, peaks = %s, checkpoint = %s",
        tail.size, b"".join(tail.peaks), tail.checkpoint,
    )  # fmt: skip
    assert_never_signs_again(trial, databases, f"has {SIZE + 1} entries, its state says {SIZE}|"
                             "older copy")  # fmt: skip
    assert_no_start(trial, "older copy")


def test_a_log_that_was_taken_back_to_an_earlier_checkpoint_stops_every_node(
    node: Callable[[], TrialLog], intruder: Intruder, databases: LogDatabases
) -> None:
    """In every table, so that it is whole: only the head store knows better."""
    one, other = node(), node()
    tail = one.store.tail()
    assert tail is not None
    one.fill(1)
    for table, column in (("entries", "idx"), ("case_entries", "idx"), ("sections", "idx")):
        intruder.log(f"DELETE FROM {table} WHERE {column} >= %s", SIZE)
    intruder.log("DELETE FROM checkpoints WHERE size > %s", SIZE)
    intruder.log(
        "UPDATE log_state SET size = %s, peaks = %s, checkpoint = %s",
        tail.size, b"".join(tail.peaks), tail.checkpoint,
    )  # fmt: skip
    with pytest.raises(LogUnavailable, match="older copy"):
        other.log.follow().result(PATIENCE)
    assert other.log.trouble is not None
    for each in (one, other):
        assert_never_signs_again(each, databases, "older copy")
    for each in (one, other):
        assert_no_start(each, "older copy")


def test_an_older_copy_of_the_whole_database_stops_every_node(
    written: Written, node: Callable[[], TrialLog], databases: LogDatabases
) -> None:
    one, other = node(), node()
    one.fill(1)
    name = str(conninfo_to_dict(databases.log)["dbname"])
    source = str(conninfo_to_dict(written.databases.log)["dbname"])
    copy_database(written.servers.log.superuser_dsn, source, name)
    with pytest.raises(LogUnavailable, match="older copy"):
        other.log.follow().result(PATIENCE)
    for each in (one, other):
        assert_never_signs_again(each, databases, "older copy")
    assert_no_start(one, "older copy")


def test_a_follower_believes_no_entry_that_was_changed_before_it_looked(
    node: Callable[[], TrialLog], intruder: Intruder, databases: LogDatabases
) -> None:
    one, other = node(), node()
    told = len(other.told)
    one.fill(3)
    changed = f"UPDATE entries SET header = {FLIPPED.format('header')} WHERE idx = %s"
    intruder.log(changed, SIZE + 1)
    with pytest.raises(LogUnavailable):
        other.log.follow().result(PATIENCE)
    assert other.log.trouble is not None
    assert len(other.told) == told, "no listener heard of any of it"
    assert_never_signs_again(other, databases, ".")


# --- what lies beside the entries ------------------------------------------------------------------


EARLY: Final = "WHERE size = (SELECT min(size) FROM checkpoints WHERE size > 50)"
#: noticed by the audit, and which entry it names
BESIDE: Final = {
    "a section's content": ("UPDATE sections SET content = 'no' WHERE idx = 3", 3),
    "a section's salt": ("UPDATE sections SET salt = decode(repeat('00', 32), 'hex') WHERE idx = 3", 3),
    "a section's name": ("UPDATE sections SET name = 'other' WHERE idx = 3", 3),
    "a section's place": ("UPDATE sections SET idx = 298 WHERE idx = 3", 3),
    "a section's shelf": ("UPDATE sections SET shelf = 5 WHERE idx = 3", 3),
    "a section gone": ("DELETE FROM sections WHERE idx = 3", 3),
    "a section too many": ("INSERT INTO sections VALUES (0, 299, 'more', 'x', 'y')", 299),
    "an erased section back": (
        "INSERT INTO sections SELECT 0, 1, name, salt, content FROM sections WHERE idx = 3",
        1,
    ),
    "a tombstone's rule": ("UPDATE tombstones SET rule = 'none'", None),
    "a tombstone's name": ("UPDATE tombstones SET name = 'other'", 1),
    "a tombstone's place": ("UPDATE tombstones SET idx = 7", 1),
    "a tombstone gone": ("DELETE FROM tombstones", 1),
    "a tombstone in place of a section": (
        "WITH gone AS (DELETE FROM sections WHERE idx = 3) INSERT INTO tombstones VALUES (3, 'note', 'R1')",
        3,
    ),
    "a document": ("UPDATE documents SET content = content || 'x'", 2),
    "a document's name": (
        "UPDATE documents SET digest = set_byte(digest, 3, get_byte(digest, 3) # 1)",
        2,
    ),
    "a document gone": ("DELETE FROM documents", 2),
    "documents that changed places": (
        "UPDATE documents SET content = CASE content WHEN 'a role' THEN 'a policy'::bytea ELSE 'a role' END",
        2,
    ),
    "a checkpoint": (f"UPDATE checkpoints SET note = {FLIPPED.format('note')} {EARLY}", None),
    "a checkpoint's size": (f"UPDATE checkpoints SET size = size - 1 {EARLY}", None),
    "a checkpoint for another": (
        f"UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 1) {EARLY}",
        None,
    ),
    "a tile": ("UPDATE tiles SET hashes = set_byte(hashes, 3, get_byte(hashes, 3) # 1)", 0),
    "a tile's number": ("UPDATE tiles SET number = 9 WHERE level = 0", 0),
    "a tile's level": ("UPDATE tiles SET level = 3 WHERE level = 1", 0),
    "a tile gone": ("DELETE FROM tiles WHERE level = 0", None),
    "a tile cut": ("UPDATE tiles SET hashes = substr(hashes, 1, 32) WHERE level = 0", 0),
    "what was published": (f"UPDATE published SET note = {FLIPPED.format('note')}", None),
    "the size of what was published": ("UPDATE published SET size = size - 1", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def quiet(written: Written) -> LogDatabases:
    """A copy on which no node runs: whatever a test changes is changed back."""
    return written.copied()


@contextlib.contextmanager
def changed(databases: LogDatabases, statement: str) -> Iterator[None]:
    """For as long as the block runs: the table is put back as it was."""
    tables = ("sections", "tombstones", "documents", "checkpoints", "tiles", "published")
    with psycopg.connect(databases.log_admin) as connection:
        connection.execute("SET search_path = muniment")
        kept = {
            name: connection.execute(f"SELECT * FROM {name}".encode()).fetchall() for name in tables
        }
        assert connection.execute(statement.encode()).rowcount > 0
    try:
        yield
    finally:
        with psycopg.connect(databases.log_admin) as connection:
            connection.execute("SET search_path = muniment")
            for name, rows in kept.items():
                connection.execute(f"DELETE FROM {name}".encode())
                marks = ", ".join(["%s"] * len(rows[0]))
                put = f"INSERT INTO {name} VALUES ({marks})".encode()
                connection.cursor().executemany(put, rows)


@pytest.mark.parametrize(("statement", "index"), BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_entries_is_held_against_them(
    statement: str, index: int | None, written: Written, quiet: LogDatabases
) -> None:
    with changed(quiet, statement):
        assert_audit_finds(quiet, written.key, index)


def test_what_was_not_changed_holds(written: Written, quiet: LogDatabases) -> None:
    """Else the tests above would say nothing."""
    found = audited(quiet, written.key)
    assert found.holds, found.bad
    assert (found.erased, found.documents) == (1, 2)


CASES: Final = {
    "the last record hidden": "DELETE FROM case_entries WHERE case_id = %(case)s AND position = 2",
    "the first record hidden": "DELETE FROM case_entries WHERE case_id = %(case)s AND position = 0",
    "all hidden": "DELETE FROM case_entries WHERE case_id = %(case)s",
    "another case's record": "UPDATE case_entries SET idx = 7 WHERE case_id = %(case)s AND position = 1",
    "another position": "UPDATE case_entries SET position = 7 WHERE case_id = %(case)s AND position = 1",
    "another order": "UPDATE case_entries SET position = 10 - position WHERE case_id = %(case)s",
    "one too many": "INSERT INTO case_entries VALUES (%(case)s, 3, 299)",
    "one twice": (
        "INSERT INTO case_entries SELECT case_id, 3, idx FROM case_entries"
        " WHERE case_id = %(case)s AND position = 2"
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement", CASES.values(), ids=CASES)
def test_nothing_is_read_from_or_built_on_a_case_that_was_led_elsewhere(
    statement: str, written: Written, trial: TrialLog, databases: LogDatabases
) -> None:
    with psycopg.connect(databases.log_admin) as connection:
        connection.execute("SET search_path = muniment")
        assert connection.execute(statement.encode(), {"case": written.case}).rowcount
    with pytest.raises(LogInvalid, match=written.case):
        trial.log.read_case(written.case)
    with pytest.raises(LogUnavailable, match=written.case):
        trial.log.append(folding(written.case)).result(PATIENCE)
    assert_never_signs_again(trial, databases, written.case)


def folding(case: str) -> Outcome:
    """It reads the whole case, as an end does, and adds nothing."""
    return Outcome(case=case, build=lambda _: ((), lambda _: ()))


# --- the head store --------------------------------------------------------------------------------


def forked(key: SigningKey, size: int) -> tuple[int, bytes]:
    """A head of that size over other entries."""
    return size, sign(Checkpoint(ORIGIN, size, secrets.token_bytes(32)), key)


def earlier(trial: TrialLog) -> tuple[int, bytes]:
    found = trial.store.checkpoint(SIZE)
    assert found is not None
    return SIZE, found


HEADS: Final[dict[str, Callable[[TrialLog], tuple[int, bytes]]]] = {
    "an earlier one": earlier,
    "one by another key": lambda _: forked(SigningKey.generate(ORIGIN), SIZE + 1),
    "a fork by the same key": lambda trial: forked(trial.key, SIZE + 1),
    "a larger fork by the same key": lambda trial: forked(trial.key, SIZE + 9),
    "a smaller fork by the same key": lambda trial: forked(trial.key, SIZE - 9),
    "garbage": lambda _: (SIZE + 1, b"\xff\x00"),
    "nothing": lambda _: (SIZE + 1, b""),
    "none, as if there never was a log": lambda _: (-1, b""),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_that_was_replaced_stops_every_node(
    head: Callable[[TrialLog], tuple[int, bytes]],
    node: Callable[[], TrialLog], intruder: Intruder, databases: LogDatabases,
) -> None:  # fmt: skip
    one, other = node(), node()
    one.fill(1)
    other.log.follow().result(PATIENCE)
    size, note = head(one)
    assert intruder.heads("UPDATE head SET size = %s, checkpoint = %s", size, note)
    with pytest.raises(LogUnavailable):
        other.log.follow().result(PATIENCE)
    assert other.log.trouble is not None
    for each in (one, other):
        assert_never_signs_again(each, databases, ".")
    if size == SIZE:
        # DESIGN, head store: a database ahead of it extends what it remembers, which moves on
        one.reopen()
        one.check()
    else:
        assert_no_start(one, ".")


def test_a_head_that_is_gone_stops_every_node(
    node: Callable[[], TrialLog], intruder: Intruder, databases: LogDatabases
) -> None:
    one, other = node(), node()
    intruder.heads("DELETE FROM head")
    with pytest.raises(LogUnavailable, match="gone from the head store"):
        other.log.follow().result(PATIENCE)
    for each in (one, other):
        assert_never_signs_again(each, databases, "gone from the head store")
    assert_no_start(one, "gone from the head store")


@pytest.mark.parametrize("size", [0, 7, SIZE])
def test_a_size_beside_the_head_says_nothing(
    size: int, trial: TrialLog, intruder: Intruder
) -> None:
    """What counts is the size that was signed."""
    trial.fill(1)
    intruder.heads("UPDATE head SET size = %s", size)
    trial.fill(1)
    trial.check()


def test_a_size_beside_the_head_that_is_too_large_lets_nobody_acknowledge_anything(
    node: Callable[[], TrialLog], intruder: Intruder
) -> None:
    one, other = node(), node()
    intruder.heads("UPDATE head SET size = %s", 1 << 40)
    for each in (one, other):
        with pytest.raises(LogUnavailable, match="remembers"):
            each.append(each.draft(new_case()))
    assert_no_start(one, "remembers")


# --- lists, and what others showed -----------------------------------------------------------------


LISTS: Final = {
    "a state": "UPDATE cases SET state = 'approved', groups = ''",
    "a line gone": "DELETE FROM cases",
    "a line too many": (
        "INSERT INTO cases SELECT 'mun_x', kind, state, requester, resource, role, groups, marked,"
        " opened_at, changed_at, until, about, records, closed FROM cases"
    ),
    "when it is due": "UPDATE due SET at = '2999'",
    "not due any more": "DELETE FROM due",
    "who works on it": "UPDATE due SET holder = 'nobody', held_until = 'infinity'",
    "an answer": "UPDATE answers SET case_id = 'mun_x', body = 'y'",
    "an answer gone": "DELETE FROM answers",
    "a time stamp": "UPDATE stamps SET token = 'forged'",
    "a time stamp gone": "DELETE FROM stamps",
    "a duty": "INSERT INTO duties VALUES ('settled', 'nobody', 'infinity')",
}


@pytest.mark.deep
@pytest.mark.parametrize("statement", LISTS.values(), ids=LISTS)
def test_what_is_no_evidence_changes_no_evidence(
    statement: str, written: Written, trial: TrialLog, intruder: Intruder, databases: LogDatabases
) -> None:
    """Records are read, decided on and appended as before; the lists are put right from them."""
    assert intruder.log(statement)
    assert len(trial.log.read_case(written.case)) == 3
    trial.append(trial.draft(written.case))
    trial.check()
    row, due, _ = lines_of(written.case)
    line = replace(row, records=4)
    with contextlib.closing(databases.open_store()) as lists:
        lists.put_right([(line, [due])], ["mun_x"])
        assert lists.case_row(written.case) == line
        assert lists.due_at(written.case) == due.at
        assert lists.case_row("mun_x") is None


# --- who else may do something ---------------------------------------------------------------------


def role_of(conninfo: str) -> sql.Identifier:
    return sql.Identifier(str(conninfo_to_dict(conninfo)["user"]))


def test_whoever_is_let_into_another_database_of_the_server_cannot_take_the_lock(
    servers: LogServers,
) -> None:
    """It is a number that anybody knows; nobody could take it from him, and all nodes would wait."""
    databases, name = servers.new(), f"stranger_{secrets.token_hex(4)}"
    with psycopg.connect(databases.heads_admin, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(name)))
    stranger = make_conninfo(databases.heads, user=name, password="p")
    run(make_conninfo(stranger, dbname="postgres"), "SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        run(stranger, "SELECT pg_advisory_lock(%s)", int.from_bytes(b"muniment"))
    databases.open_heads().close()


ROLES: Final = {
    "that can become a superuser": "CREATE ROLE {0} SUPERUSER; GRANT {0} TO {1}",
    "that can become the owner of the schema": (
        "CREATE ROLE {0}; ALTER SCHEMA muniment OWNER TO {0}; GRANT {0} TO {1}"
    ),
    "that owns the schema": "CREATE ROLE {0}; ALTER SCHEMA muniment OWNER TO {1}",
    "that can become one which may change entries": (
        "CREATE ROLE {0}; GRANT DELETE ON muniment.entries TO {0};"
        " ALTER ROLE {1} NOINHERIT; GRANT {0} TO {1}"
    ),
    "that can become one which may write anything": (
        "CREATE ROLE {0}; GRANT pg_write_all_data TO {0};"
        " ALTER ROLE {1} NOINHERIT; GRANT {0} TO {1}"
    ),
}


@pytest.mark.deep
@pytest.mark.parametrize("grants", ROLES.values(), ids=ROLES)
def test_no_node_starts_as_a_role(grants: str, servers: LogServers) -> None:
    databases = servers.new()
    databases.open_store().close()
    other = sql.Identifier(f"other_{secrets.token_hex(4)}")
    with psycopg.connect(databases.log_admin) as admin:
        admin.execute(sql.SQL(grants).format(other, role_of(databases.log)))
    with pytest.raises(ConfigInvalid, match="let the program use a role of its own"):
        databases.open_store().close()


# --- what one node does is not to hold up the others ----------------------------------------------


@pytest.mark.deep
def test_an_erasure_that_a_backup_keeps_waiting_keeps_nobody_else_waiting(
    tmp_path: Path, servers: LogServers
) -> None:
    """Whoever asks for a shelf alone is asked for it by nobody else meanwhile."""
    databases = servers.new(2.0)
    with contextlib.closing(TrialLog(tmp_path, place=databases, shared=True)) as trial:
        (entry,) = trial.fill(1, sections={"note": b"to be erased"})
        with psycopg.connect(databases.log_admin) as backup, ThreadPoolExecutor(1) as pool:
            backup.execute("SELECT FROM muniment.sections LIMIT 1")
            erasing = pool.submit(trial.store.erase, entry.index, "note", RULE)
            while not erasing.done():
                trial.fill(1, sections={"note": b"another"})
            with pytest.raises(LogUnavailable, match="a backup, a long transaction"):
                erasing.result()
        trial.store.erase(entry.index, "note", RULE)


@pytest.mark.deep
def test_an_erasure_that_is_not_finished_lets_a_node_start(
    tmp_path: Path, servers: LogServers
) -> None:
    """A standby that is behind keeps the write-ahead log: nobody reads the section any more."""
    databases, erasures, slot = servers.new(2.0), Erasures(), f"slot_{secrets.token_hex(4)}"
    with (
        contextlib.closing(TrialLog(tmp_path, place=databases, shared=True)) as trial,
        contextlib.closing(databases.open_heads()) as heads,
    ):
        trial.listen = erasures.take
        (entry,) = trial.fill(1, sections={"note": b"to be erased"})
        gone = RecordErased(actor=SERVICE, record=entry.header.id, section="note", rule=RULE)
        trial.append(trial.draft(new_case("ers"), kind=gone.KIND, body=gone.body()))
        run(databases.log_admin, "SELECT pg_create_physical_replication_slot(%s, true)", slot)
        try:
            with pytest.raises(LogUnavailable, match="pg_replication_slots"):
                trial.store.erase(entry.index, "note", RULE)
            trial.reopen()
            assert finish(trial.log, SharedLedger(heads), erasures) == 0
        finally:
            run(databases.log_admin, "SELECT pg_drop_replication_slot(%s)", slot)
        assert run(databases.log_admin, UNFINISHED) == [(entry.index,)]
        finish(trial.log, SharedLedger(heads), erasures)
        assert run(databases.log_admin, UNFINISHED) == []


# --- any bit of any value --------------------------------------------------------------------------


#: what is evidence or leads to it, as in `test_bit_flips`, and what PostgreSQL has besides
COLUMNS: Final = (
    ("entries", "idx"), ("entries", "leaf"), ("entries", "header"),
    ("case_entries", "case_id"), ("case_entries", "position"), ("case_entries", "idx"),
    ("sections", "shelf"), ("sections", "idx"), ("sections", "name"), ("sections", "salt"),
    ("sections", "content"),
    ("tombstones", "idx"), ("tombstones", "name"), ("tombstones", "rule"),
    ("documents", "digest"), ("documents", "content"),
    ("tiles", "level"), ("tiles", "number"), ("tiles", "hashes"),
    ("checkpoints", "size"), ("checkpoints", "note"),
    ("log_state", "size"), ("log_state", "peaks"), ("log_state", "checkpoint"),
    ("published", "size"), ("published", "note"),
)  # fmt: skip


def flipped(value: Any, number: int) -> Any:
    """The value with one bit turned, still of its type."""
    if isinstance(value, int):
        return value ^ (1 << number % 12)
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[number // 7 % len(data)] ^= 1 << number % 7
    return data.decode() if isinstance(value, str) else bytes(data)


@dataclass(frozen=True)
class Bit:
    """One bit of one value."""

    table: str
    column: str
    #: the table or its part, and the row in it
    place: tuple[int, str]
    old: Any
    new: Any
    #: of `case_entries`, whose records it leads to
    case: str | None


def bit_of(databases: LogDatabases, table: str, column: str, row: int, number: int) -> Bit:
    whose = "case_id" if table == "case_entries" else "NULL"
    query = f"SELECT tableoid::bigint, ctid::text, {column}, {whose} FROM muniment.{table} ORDER BY 3, 4"
    rows = run(databases.log_admin, query)
    part, ctid, old, case = rows[row % len(rows)]
    return Bit(table, column, (part, ctid), old, flipped(old, number), case)


@contextlib.contextmanager
def turned(databases: LogDatabases, bit: Bit) -> Iterator[bool]:
    """False where the table cannot hold what comes of it."""
    intruder = Intruder(databases)
    change = (
        f"UPDATE {bit.table} SET {bit.column} = %s"
        " WHERE tableoid::bigint = %s AND ctid = %s::text::tid RETURNING tableoid::bigint, ctid::text"
    )
    try:
        ((part, ctid),) = intruder.log(change, bit.new, *bit.place)
    except (psycopg.IntegrityError, psycopg.DataError):
        yield False
        return
    try:
        yield True
    finally:
        assert len(intruder.log(change, bit.old, part, ctid)) == 1


def is_noticed(databases: LogDatabases, key: SigningKey, folder: Path, bit: Bit) -> bool:
    """By the audit, by a start, by the next append, or by whoever reads; else it does nothing."""
    try:
        if not audited(databases, key).holds:
            return True
        with contextlib.closing(TrialLog(folder, key=key, place=databases, shared=True)) as trial:
            trial.log.append(folding(new_case())).result(PATIENCE)
            return bit.case is not None and reads_as_before(trial, bit.case)
    except MunimentError:
        return True


def reads_as_before(trial: TrialLog, case: str) -> bool:
    """A position in `case_entries` says no more than an order: another may be the same one."""
    before = [entry.data for entry in trial.told if entry.header.case == case]
    return [entry.data for entry in trial.log.read_case(case)] == before


@pytest.mark.deep
@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda each: each)
def test_a_bit_that_turns_in_the_database_is_noticed(
    table: str, column: str, written: Written, quiet: LogDatabases, tmp_path: Path
) -> None:
    @settings(max_examples=12, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
    def noticed(row: int, number: int) -> None:
        bit = bit_of(quiet, table, column, row, number)
        # of no size at all: it is gone, which the newer ones make up for
        assume((table, bit.new) != ("checkpoints", 0))
        with turned(quiet, bit) as held:
            assert not held or is_noticed(quiet, written.key, tmp_path, bit), bit

    noticed()
    assert audited(quiet, written.key).holds, "all was put back"
