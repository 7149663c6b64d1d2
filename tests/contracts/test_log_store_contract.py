"""Whatever keeps the log, its head, its erasures and its lists: SQLite and files so far."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite(
    "muniment.testing.log_contract", "muniment.testing.projections_contract"
)

from muniment.stores.head_file import HeadFile, LedgerFile  # noqa: E402
from muniment.stores.spool_file import SpoolFile  # noqa: E402
from muniment.stores.sqlite import SQLiteStore  # noqa: E402
from muniment.testing.faulty import Growing, add  # noqa: E402
from muniment.testing.log_contract import HeadStoreContract, LogStoreContract  # noqa: E402
from muniment.testing.projections_contract import (  # noqa: E402
    CursorsContract,
    ErasureLedgerContract,
    ProjectionsContract,
    SpoolContract,
    Writes,
)


@pytest.fixture
def closing_all() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class TestSQLiteLogStore(LogStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], SQLiteStore]:
        return lambda: closing_all.enter_context(closing(SQLiteStore(tmp_path / "muniment.db")))


class TestHeadFiles(HeadStoreContract):
    @pytest.fixture
    def open_heads(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], HeadFile]:
        return lambda: closing_all.enter_context(closing(HeadFile(tmp_path / "head")))


class TestLedgerFiles(ErasureLedgerContract):
    @pytest.fixture
    def open_ledger(self, tmp_path: Path) -> Callable[[], LedgerFile]:
        return lambda: LedgerFile(tmp_path / "erasures")


class TestSpoolFiles(SpoolContract):
    @pytest.fixture
    def open_spool(self, tmp_path: Path) -> Callable[[], SpoolFile]:
        return lambda: SpoolFile(tmp_path / "spool")


class TestSQLiteCursors(CursorsContract):
    @pytest.fixture
    def open_cursors(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], SQLiteStore]:
        return lambda: closing_all.enter_context(closing(SQLiteStore(tmp_path / "muniment.db")))


class TestSQLiteProjections(ProjectionsContract):
    @pytest.fixture
    def open_projections(self, tmp_path: Path, closing_all: ExitStack) -> Callable[[], SQLiteStore]:
        return lambda: closing_all.enter_context(closing(SQLiteStore(tmp_path / "muniment.db")))

    @pytest.fixture
    def write(self, open_projections: Callable[[], SQLiteStore]) -> Writes:
        store, growing = open_projections(), Growing()
        store.found(growing.batch())

        def append(*companions: Any) -> str:
            batch = growing.batch(companions=companions)
            add(store, batch)
            return batch.entries[0].header.case

        return append
