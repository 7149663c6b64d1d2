"""
When items of a review were shown on this machine: handed back with verdicts.

The service says it, in words that only it can make: when it showed which items, a word a page. With
them it is recorded how long somebody looked; where they are lost, that he looked for no time.
"""

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from muniment.interfaces.cli import sessions
from muniment.stores.backup import private_folder

_CASE: Final = re.compile(r"[a-z0-9_]{1,80}", re.ASCII)
_RUN: Final = re.compile(r"(\d{1,8})(?:-(\d{1,8}))?", re.ASCII)
#: of all that is kept, and of what goes with one answer
_KEPT, _SENT = 4_000_000, 100_000
#: items that one run of a page can have
_RUNS = 1000


def keep(case: str, shown: str) -> None:
    """What the service said last of this review; nothing where this machine keeps nothing."""
    if not _CASE.fullmatch(case):
        return
    with contextlib.suppress(OSError):
        private_folder(_folder())
        opened = os.open(_folder() / case, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="ascii", errors="replace") as file:
            file.write(shown[:_KEPT])


def recall(beginning: str, items: Collection[int]) -> str:
    """Of the review whose id begins so, what names any of these; empty where nothing here does."""
    if not _CASE.fullmatch(beginning):
        return ""
    found = list(_folder().glob(f"{beginning}*"))
    try:
        kept = found[0].read_text("ascii", "replace")[:_KEPT] if len(found) == 1 else ""
    except OSError:
        return ""
    wanted = frozenset(items)
    return " ".join(word for word in kept.split() if _names(word, wanted))[:_SENT]


def _names(word: str, wanted: frozenset[int]) -> bool:
    """Between its dots stand numbers, and runs of them as `0-3`."""
    return any(
        not wanted.isdisjoint(
            range(first := int(run[1]), min(int(run[2] or first), first + _RUNS) + 1)
        )
        for run in map(_RUN.fullmatch, "".join(word.split(".")[1:2]).split(","))
        if run is not None
    )


def _folder() -> Path:
    return sessions.path().with_name("looking")
