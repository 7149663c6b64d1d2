"""
When items of a review were shown on this machine: handed back with verdicts.

The service says it, in words that only it can make and that tell nobody else anything. With them
it is recorded how long somebody looked; where they are lost, that he looked for no time.
"""

import contextlib
import os
import re
from pathlib import Path

from muniment.interfaces.cli import sessions
from muniment.stores.backup import private_folder

_CASE = re.compile(r"[a-z0-9_]{1,80}", re.ASCII)
_MOST = 100


def keep(case: str, shown: str) -> None:
    """What the service said last of this review; nothing where this machine keeps nothing."""
    if not _CASE.fullmatch(case):
        return
    with contextlib.suppress(OSError):
        private_folder(_folder())
        opened = os.open(_folder() / case, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="ascii", errors="replace") as file:
            file.write(shown[:_MOST])


def recall(beginning: str) -> str:
    """Of the review whose id begins so; empty where it was not shown here."""
    if not _CASE.fullmatch(beginning):
        return ""
    found = list(_folder().glob(f"{beginning}*"))
    try:
        return found[0].read_text("ascii", "replace")[:_MOST] if len(found) == 1 else ""
    except OSError:
        return ""


def _folder() -> Path:
    return sessions.path().with_name("looking")
