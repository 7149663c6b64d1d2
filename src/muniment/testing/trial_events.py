"""Events to be kept, as a source might send them: each has its number in it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from muniment.evidence import event_batch
from muniment.oversight.event import Event
from muniment.oversight.event_store import Arrived, Chunk, EventStore, Kept, SourceState
from muniment.oversight.link import NOBODY, Link

LOG = bytes(32)
AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
MUN_A, MUN_B = "mun_" + "a" * 26, "mun_" + "b" * 26
STRONG = Link(grant=MUN_A, strength="strong", reason="account", standing="within")


def event(number: int = 0, **changes: Any) -> Event:
    made = Event(
        type="statement", at=AT + timedelta(seconds=number), account="mun_ana", session="s-1",
        client="10.0.0.7", action="SELECT", object="orders", detail=f"SELECT {number}",
    )  # fmt: skip
    return replace(made, **changes)


def raw(number: int) -> bytes:
    return b'{"n": %d, "who": "ana"}' % number


def salt(source: str, number: int) -> bytes:
    return sha256(f"{source}#{number}".encode()).digest()[: event_batch.SALT_SIZE]


def arrived(source: str, number: int, **changes: Any) -> Arrived:
    record = changes.pop("raw", raw(number))
    given = changes.pop("event", event(number))
    link = changes.pop("link", NOBODY)
    opens = salt(source, number)
    committed = event_batch.commitment(LOG, opens, source, number, record)
    return Arrived(
        raw=record, salt=opens, commitment=committed, event=replace(given, **changes), link=link
    )


def chunk(start: int = 0, count: int = 1, source: str = "orders-log", **changes: Any) -> Chunk:
    """So many events, one a second; or those that are given as `arrived`."""
    made = [arrived(source, n) for n in range(start, start + count)]
    whole = Chunk(
        source=source, resource="orders-prod", start=start, arrived=made, rejected=0,
        cursor=f"at {start + count}", at=AT + timedelta(seconds=start),
    )  # fmt: skip
    return replace(whole, **changes)


def of(events: Sequence[Event], source: str = "orders-log", **changes: Any) -> Chunk:
    """These events, the first of a source."""
    made = [arrived(source, n, event=each) for n, each in enumerate(events)]
    return chunk(0, 0, source, arrived=made, **changes)


def numbers(found: Iterable[Kept]) -> list[int]:
    return [kept.number for kept in found]


def everything(store: EventStore) -> tuple[list[SourceState], list[Kept], list[list[bytes]]]:
    states = store.states()
    return states, list(store.walk()), [store.commitments(s.source, 0, s.next) for s in states]
