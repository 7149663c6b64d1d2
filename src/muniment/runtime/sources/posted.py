"""What is posted to us: by whom it may, as often as it may, each delivery once."""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from muniment.errors import Conflict, Malformed, TooMany, Unauthenticated, Unavailable
from muniment.runtime.sources import MAX_RECORDS, Intake
from muniment.runtime.sources.signatures import Signature

#: bytes of a body, and of what comes out of one that was packed
MAX_BODY: Final = 8 << 20
#: bodies of one source that are in hand at a time
MAX_WAITING: Final = 16
#: deliveries of a webhook that are known again, and senders whose counts are
REMEMBERED, MAX_SENDERS = 500, 64
_VERSION: Final = 1
#: times that another node may be faster: each time it has kept something
_TRIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of one body."""

    kept: int = 0
    rejected: int = 0
    #: it had come before, and nothing of it was kept again
    known: bool = False


@dataclass(kw_only=True)
class Door:
    """One source of kind `push` or `webhook`."""

    source: str
    intake: Intake
    posts_per_minute: int
    #: of a webhook
    signature: Signature | None = None
    elapsed: Callable[[], float] = time.monotonic
    #: deliveries that nobody we know had signed
    refused: int = 0
    _recent: deque[float] = field(default_factory=deque)
    _waiting: int = 0
    #: a count is compared and written by one at a time
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """While a body is read and kept. Raises `TooMany`."""
        if self._waiting >= MAX_WAITING:
            raise TooMany(f"{MAX_WAITING} bodies are in hand already; send one after the other")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def count(self) -> None:
        """One more from somebody who may. Raises `TooMany`."""
        now = self.elapsed()
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        if len(self._recent) >= self.posts_per_minute:
            raise TooMany(
                f"at most {self.posts_per_minute} bodies a minute; send more records in each"
            )
        self._recent.append(now)

    async def push(self, body: bytes, sender: str, total: int | None = None) -> Posted:
        """
        `sender` is a principal; `total` how many records it has sent so far, with these.

        Raises `Malformed`, and `Unavailable`: then the same may be sent again.
        """
        async with self._turn:
            records = await self._records(body)
            if total is not None and total < len(records):
                raise Malformed("it has sent more with this body than it says it has sent in all")
            said = 0

            async def attempt(cursor: str | None) -> Posted:
                nonlocal said
                counts = _counts(cursor)
                if total is None:
                    return await self._take(records, None if not counts else _sent(counts), cursor)
                before = counts.pop(sender, None)
                if records and total == before:
                    return Posted(known=True)
                lost = 0 if before is None else total - len(records) - before
                if lost > said:
                    await self.intake.missed(self.source, "count", count=lost - said)
                    said = lost
                counts[sender] = total
                return await self._take(records, _sent(counts), cursor)

            return await self._until_it_stands(attempt)

    def look_at(self, headers: Mapping[str, str]) -> None:
        """Before its body is read. Raises `Unauthenticated` for what is not signed; counted."""
        if self.signature is None or not headers.get(self.signature.header):
            self.refused += 1
            raise Unauthenticated("the delivery is not signed")

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
        """The delivery, as it is known again. Raises `Unauthenticated`; counted here."""
        self.look_at(headers)
        try:
            return "" if self.signature is None else self.signature.check(headers, body, now)
        except Unauthenticated:
            self.refused += 1
            raise

    async def deliver(self, body: bytes, delivery: str) -> Posted:
        """A body whose signature was checked. Raises `Malformed` and `Unavailable`."""
        digest = sha256(delivery.encode()).hexdigest()[:20]

        async def attempt(cursor: str | None) -> Posted:
            seen = _deliveries(cursor)
            if digest in seen:
                return Posted(known=True)
            return await self._take(await self._records(body), _seen([*seen, digest]), cursor)

        async with self._turn:
            return await self._until_it_stands(attempt)

    async def _until_it_stands(self, attempt: Callable[[str | None], Awaitable[Posted]]) -> Posted:
        """With what was posted so far, also at other nodes: again for as long as one is faster."""
        for _ in range(_TRIES):
            cursor = await asyncio.to_thread(self.intake.cursor, self.source)
            try:
                return await attempt(cursor)
            except Conflict:
                continue
        raise Unavailable("the same source is posted to at other nodes all the time; send it again")

    async def _records(self, body: bytes) -> list[bytes]:
        if not body.strip():
            return []  # a sign of life
        reader = self.intake.reader(self.source)
        records = await asyncio.to_thread(reader.unpack, body)
        if len(records) > MAX_RECORDS:
            raise Malformed(f"a body has at most {MAX_RECORDS:,} records; send it in parts")
        return records

    async def _take(
        self, records: Sequence[bytes], cursor: str | None, before: str | None
    ) -> Posted:
        taken = await self.intake.take(self.source, records, cursor, after=before or "")
        return Posted(kept=taken.kept, rejected=taken.rejected)


# --- cursors: what was sent so far, and which deliveries came ---------------------------------


def _sent(counts: Mapping[str, int]) -> str:
    newest = dict(list(counts.items())[-MAX_SENDERS:])
    return json.dumps({"v": _VERSION, "sent": newest}, separators=(",", ":"))


def _counts(cursor: str | None) -> dict[str, int]:
    found = _value(cursor, "sent")
    return found if isinstance(found, dict) else {}


def _seen(digests: Sequence[str]) -> str:
    newest = list(digests[-REMEMBERED:])
    return json.dumps({"v": _VERSION, "seen": newest}, separators=(",", ":"))


def _deliveries(cursor: str | None) -> list[str]:
    found = _value(cursor, "seen")
    return found if isinstance(found, list) else []


def _value(cursor: str | None, name: str) -> Any:
    """None for the cursor of another kind of source: it had this name before."""
    try:
        value = json.loads(cursor or "null")
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) and value.get("v") == _VERSION else None
