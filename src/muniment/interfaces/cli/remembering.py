"""Whether what keeps the log, and those who remember it, are there: for `check --targets`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from muniment.errors import MunimentError
from muniment.evidence.note import MAX_NOTE_BYTES
from muniment.evidence.publishing import CHECKPOINT
from muniment.evidence.store import Mirror
from muniment.operations import stamp
from muniment.operations.publishing import WitnessRules
from muniment.ports import Outbound
from muniment.runtime import clock
from muniment.runtime.log_stores import open_event_database, open_postgresql
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.publishing import read_publishing
from muniment.runtime.settings import Settings
from muniment.runtime.store_section import StoreSection
from muniment.stores.tile_s3 import TileBucket

_SECONDS, _MAX_ANSWER = 5.0, 64 * 1024


async def look(settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """Store, witnesses, mirrors, whoever else: `name`, whether it `answers`, and what it `says`."""
    publishing, outbound = read_publishing(settings, folder), CheckedOutbound()
    asked: dict[str, Awaitable[str]] = {}
    if settings.store is not None:
        asked["`[store]`"] = asyncio.to_thread(_store, folder, settings.store)
        if settings.store.events is not None:
            asked["`store.events`"] = asyncio.to_thread(_events, folder, settings.store)
    rules = publishing.rules
    for witness in rules.policy.witnesses if rules is not None else ():
        if witness.url is not None and rules is not None:
            asked[f"witness `{witness.name}`"] = _witness(outbound, rules, witness.url)
    for name, authority in publishing.authorities.items():
        asked[f"time-stamp authority `{name}`"] = stamp.probe(outbound, authority, clock.now())
    for name, copy in publishing.mirrors.items():
        asked[f"mirror `{name}`"] = asyncio.to_thread(_mirror, copy.mirror)
    for name, stream in publishing.forwarding.streams.items():
        asked[f"siem `{name}`"] = stream.sink.look()
    return [await _answer(name, answer) for name, answer in asked.items()]


def _store(folder: Path, section: StoreSection) -> str:
    with contextlib.closing(open_postgresql(folder, section)) as stores:
        tail, head, lacks = stores.database.tail(), stores.heads.read(), stores.lacks_for_erasing()
    if tail is None or head is None:
        return "is ready, and holds no log yet: `muniment migrate` moves one there"
    return _with_lacks(f"holds {tail.size} entries", lacks)


def _events(folder: Path, section: StoreSection) -> str:
    database = open_event_database(folder, section)
    if database is None:
        return "is not named"
    with contextlib.closing(database):
        count, lacks = len(database.states()), database.lacks_for_erasing()
    return _with_lacks(f"holds what {count} sources said", lacks)


def _with_lacks(what: str, lacks: Sequence[str]) -> str:
    return f"{what}; nothing can be erased there before: {'; '.join(lacks)}" if lacks else what


async def _answer(name: str, answer: Awaitable[str]) -> dict[str, Any]:
    try:
        return {"name": name, "answers": True, "says": await answer}
    except MunimentError as error:
        return {"name": name, "answers": False, "says": str(error)}


async def _witness(outbound: Outbound, rules: WitnessRules, url: str) -> str:
    """Of a log that nobody has: 404 is an answer, too."""
    reply = await outbound.fetch(
        "GET",
        f"{url.rstrip('/')}/{'0' * 64}/checkpoint",
        {},
        b"",
        timeout=_SECONDS,
        max_bytes=_MAX_ANSWER,
        allow=rules.allow,
    )
    return f"answers with status {reply.status}"


def _mirror(mirror: Mirror) -> str:
    if isinstance(mirror, TileBucket):
        mirror.check()
    note = mirror.get(CHECKPOINT, MAX_NOTE_BYTES)
    if note is None:
        return "is empty"
    size = note.decode("ascii", "replace").split("\n")[1]
    return f"has {size} entries"
