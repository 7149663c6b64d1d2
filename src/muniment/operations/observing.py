"""What is known of sources of events, and where what they say is kept."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

from muniment.oversight.event import Reader
from muniment.oversight.event_store import EventStore

#: begins the ids of the cases of sources
SOURCES: Final = "src"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of events, as an administrator declared it."""

    name: str
    #: what it speaks of; empty where its events say so themselves
    resource: str
    reader: Reader
    #: silence for longer than this is recorded; None: it may be silent for ever
    heartbeat: timedelta | None = None
    #: accounts that are meant to be there without a grant: patterns as in a shell
    standing_accounts: tuple[str, ...] = ()

    def is_standing(self, account: str) -> bool:
        return any(fnmatchcase(account, pattern) for pattern in self.standing_accounts)


@dataclass(kw_only=True)
class Observing:
    """The sources of this installation. Without a store nothing is observed."""

    store: EventStore | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    #: one at a time reads on in a source: its events are numbered
    taking: dict[str, asyncio.Lock] = field(default_factory=dict)
    #: sources whose silence was recorded, and is not over
    silent: set[str] = field(default_factory=set)

    def lock(self, source: str) -> asyncio.Lock:
        return self.taking.setdefault(source, asyncio.Lock())


def case_of(log_id: bytes, source: str) -> str:
    """The case in which it is recorded what came from a source."""
    digest = sha256(b"muniment-source/v1\0" + log_id + source.encode()).digest()[:16]
    return f"{SOURCES}_{base64.b32encode(digest).decode().rstrip('=').lower()}"
