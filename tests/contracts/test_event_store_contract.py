"""Whatever keeps events: SQLite, and what shows those of it that were not erased."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "muniment.testing.event_store_contract", "muniment.testing.event_looking_contract"
)

from muniment.operations.erase import Erasures  # noqa: E402
from muniment.operations.remaining_events import RemainingEvents  # noqa: E402
from muniment.stores.events import SQLiteEventStore  # noqa: E402
from muniment.testing.event_store_contract import EventStoreContract  # noqa: E402
from muniment.testing.faulty import Disk  # noqa: E402


@pytest.fixture
def closing_all() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class FaultySQLiteEvents(SQLiteEventStore):
    """Whose commits fail on command."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        super().__init__(path)

    def _commit(self, connection: sqlite3.Connection) -> None:
        with self._disk.step("commit"):
            super()._commit(connection)


class TestSQLiteEventStore(EventStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], SQLiteEventStore]:
        return lambda: closing_all.enter_context(closing(SQLiteEventStore(tmp_path / "events.db")))

    @pytest.fixture
    def open_faulty(
        self, tmp_path: Path, closing_all: ExitStack
    ) -> Callable[[Disk], SQLiteEventStore]:
        return lambda disk: closing_all.enter_context(
            closing(FaultySQLiteEvents(tmp_path / "events.db", disk))
        )


class TestRemainingEvents(EventStoreContract):
    """Where the log says of nothing that it was erased, all is as it is beneath."""

    @pytest.fixture
    def open_store(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], RemainingEvents]:
        return lambda: _remaining(
            closing_all.enter_context(closing(SQLiteEventStore(tmp_path / "events.db")))
        )

    @pytest.fixture
    def open_faulty(
        self, tmp_path: Path, closing_all: ExitStack
    ) -> Callable[[Disk], RemainingEvents]:
        return lambda disk: _remaining(
            closing_all.enter_context(closing(FaultySQLiteEvents(tmp_path / "events.db", disk)))
        )


def _remaining(store: SQLiteEventStore) -> RemainingEvents:
    return RemainingEvents(store, Erasures(), lambda _: b"")
