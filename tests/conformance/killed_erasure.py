"""
An erasure whose process kills itself at one point of it.

    python killed_erasure.py FOLDER POINT RECORD SECTION

Run as a program by `test_erasure_proof.py`: what it leaves on the disk is what a crash leaves.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from muniment.evidence.note import SigningKey
from muniment.stores import sqlite
from muniment.stores.head_file import LedgerFile
from muniment.testing.cases import START, WrittenLog


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def dying_transaction(connection: Any) -> Iterator[Any]:
    with plain_transaction(connection):
        yield connection
    die()  # committed; what was deleted still stands in the write-ahead log


plain_transaction = sqlite._transaction


def main(folder: Path, point: str, record: str, section: str) -> None:
    key = SigningKey.parse((folder / "key").read_text())
    written = WrittenLog(folder, key=key, now=START + timedelta(days=1))
    entries = (written.log.read_entry(index) for index in range(written.log.size))
    entry = next(entry for entry in entries if entry.header.id == record)
    ledger_file: Any = LedgerFile
    store: Any = sqlite.SQLiteStore
    module: Any = sqlite
    match point:
        case "recorded":
            ledger_file.add = die
        case "in-the-ledger":
            store.erase = die
        case "deleted":
            module._transaction = dying_transaction
        case _:
            raise ValueError(f"no point of an erasure: {point}")
    written.erase(entry, section, "gdpr-17")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
