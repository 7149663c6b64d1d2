"""One service on one data directory: a lock beside the database."""

import fcntl
import os
from pathlib import Path

from muniment.errors import Conflict


class OneServer:
    """Holds a lock beside the database, so that a second service on it is refused."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Conflict(
                f"another `muniment serve` runs on this data directory: `{path.name}` is locked"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()).encode())
        self._file.flush()

    def release(self) -> None:
        self._file.close()
