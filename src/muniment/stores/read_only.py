"""A log in a SQLite file that is only read: nothing is created, migrated or written beside it."""

import sqlite3
import threading
from pathlib import Path

from muniment.errors import LogInvalid
from muniment.stores.sqlite import OwnConnection, SQLiteStore


class ReadOnlyStore(SQLiteStore):
    """The log of one SQLite file, as it stood when it was opened."""

    def __init__(self, path: Path) -> None:
        """Raises `LogInvalid` if it cannot be read, or holds no log."""
        self.path = path
        self._local = threading.local()
        try:
            with self._mine() as connection:
                tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
        except sqlite3.Error as error:
            raise LogInvalid(f"`{path}` cannot be read as a database: {error}") from error
        if ("log_state",) not in tables:
            raise LogInvalid(f"`{path}` is a database, but holds no log")

    def _mine(self) -> OwnConnection:
        if getattr(self._local, "mine", None) is None:
            # Without a write-ahead log nobody has it open, and then it is read as a plain file:
            # SQLite would else make files beside it. With one, its owner's files are used.
            live = Path(f"{self.path}-wal").exists()
            uri = f"{self.path.absolute().as_uri()}?mode=ro{'' if live else '&immutable=1'}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("BEGIN")  # one snapshot for as long as it is open
            self._local.mine = OwnConnection(connection)
        mine: OwnConnection = self._local.mine
        return mine

    def close(self) -> None:
        if (mine := getattr(self._local, "mine", None)) is not None:
            mine.connection.close()
            self._local.mine = None
