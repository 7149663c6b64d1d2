"""The spool as a file: one canonical object a line, durable before anybody is told."""

import threading
from pathlib import Path
from typing import Any

from muniment.errors import LogInvalid
from muniment.evidence import canonical
from muniment.stores.head_file import append_durably, read_lines


class SpoolFile:
    """`ports.Spool`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()

    def add(self, line: dict[str, Any]) -> None:
        with self._mutex:
            append_durably(self._path, canonical.encode(line) + b"\n")

    def waiting(self) -> list[dict[str, Any]]:
        found = []
        for line in read_lines(self._path):
            value = canonical.decode(line)
            if not isinstance(value, dict):
                raise LogInvalid(f"the spool `{self._path}` is damaged")
            found.append(value)
        return found

    def clear(self, count: int) -> None:
        with self._mutex:
            rest = read_lines(self._path)[count:]
            beside = self._path.with_suffix(".new")
            beside.write_bytes(b"".join(line + b"\n" for line in rest))
            beside.replace(self._path)
