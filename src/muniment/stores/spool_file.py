"""The spool as a file: one canonical object a line, durable before anybody is told."""

import threading
from pathlib import Path
from typing import Any

from muniment.errors import LogInvalid, LogUnavailable, NotCanonical
from muniment.evidence import canonical
from muniment.stores.head_file import append_durably, read_lines, sync_folder


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
            try:
                value = canonical.decode(line, max_bytes=len(line))
            except NotCanonical as error:
                raise LogInvalid(f"the spool `{self._path}` is damaged: {error}") from error
            if not isinstance(value, dict):
                raise LogInvalid(f"the spool `{self._path}` is damaged")
            found.append(value)
        return found

    def clear(self, count: int) -> None:
        with self._mutex:
            rest = read_lines(self._path)[count:]
            beside = self._path.with_suffix(".new")
            try:
                beside.unlink(missing_ok=True)
                append_durably(beside, b"".join(line + b"\n" for line in rest))
                # Crash here: the old lines stand, and are appended again to no effect.
                beside.replace(self._path)
                sync_folder(self._path.parent)
            except OSError as error:
                raise LogUnavailable(
                    f"`{self._path}` cannot be written: {error.strerror}"
                ) from error
