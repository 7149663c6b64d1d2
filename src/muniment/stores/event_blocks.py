"""
How events lie in a database: some together, compressed, so that a record costs a fifth of itself.

A block holds what a reader made of each record and, behind that, the records as they came: what
stands in both is compressed away. It is small, since one event of it costs the opening of them all.
"""

import json
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from itertools import accumulate
from typing import Any, Final

import orjson

from muniment.errors import LogInvalid
from muniment.oversight.event import Event, Key
from muniment.oversight.event_store import Arrived

#: events of one block at most, and bytes after which nothing more is put into it
MOST: Final = 32
FULL: Final = 64 * 1024
SALT_SIZE: Final = 16
#: higher ones take twice the time for a tenth of the bytes
_LEVEL: Final = 3
_START: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND: Final = timedelta(microseconds=1)
#: a mark fits the six bytes that both databases have for it, or eight
_MARK_BYTES: Final = 6
#: how much of a block its events are, without the records: stands before it
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Block:
    """As it is written."""

    #: when its events happened
    moments: list[int]
    salts: bytes
    commitments: bytes
    packed: bytes

    @property
    def count(self) -> int:
        return len(self.moments)


class Opened:
    """The events of a block, read one by one."""

    __slots__ = ("_data", "_ends", "_packed", "_sizes")

    def __init__(self, packed: bytes) -> None:
        """Raises `LogInvalid` if this is no block."""
        self._packed = packed
        try:
            # what was read of the records stands first: to look at it, no record is unpacked
            (length,) = _LENGTH.unpack_from(packed)
            self._data = zlib.decompressobj().decompress(packed[_LENGTH.size :], length)
            count = self._data[0]
            self._sizes: tuple[int, ...] = struct.unpack_from(f"<{2 * count}I", self._data, 1)
        except (zlib.error, struct.error, IndexError) as error:
            raise LogInvalid(f"a block of events is damaged: {error}") from error
        self._ends = list(accumulate(self._sizes, initial=1 + 8 * count))
        if self._ends[count] != len(self._data):
            raise LogInvalid("a block of events is damaged: it has another length")

    @property
    def count(self) -> int:
        return len(self._sizes) // 2

    def is_gone(self, position: int) -> bool:
        return self._sizes[position] == 0

    def event(self, position: int) -> Event | None:
        """None once it was erased."""
        return None if self.is_gone(position) else _event(self._part(self._data, position))

    def raw(self, position: int) -> bytes:
        return self._part(self._whole(), self.count + position)

    def without(self, positions: Collection[int]) -> bytes:
        """The same block, with these events erased."""
        whole, every = self._whole(), range(2 * self.count)
        parts = [
            b"" if place % self.count in positions else self._part(whole, place) for place in every
        ]
        return _packed(parts[: self.count], parts[self.count :])

    def _whole(self) -> bytes:
        try:
            whole = zlib.decompress(self._packed[_LENGTH.size :])
        except zlib.error as error:
            raise LogInvalid(f"a block of events is damaged: {error}") from error
        if len(whole) != self._ends[-1]:
            raise LogInvalid("a block of events is damaged: it has another length")
        return whole

    def _part(self, data: bytes, place: int) -> bytes:
        return data[self._ends[place] : self._ends[place + 1]]


def blocks(arrived: Sequence[Arrived]) -> Iterator[Block]:
    """All of them in their order, block by block."""
    moments: list[int] = []
    events: list[bytes] = []
    size = start = 0
    for number, each in enumerate(arrived, 1):
        at = micros(each.event.at)
        moments.append(at)
        events.append(_event_bytes(at, each.event))
        size += len(each.raw) + len(events[-1])
        if len(events) == MOST or size >= FULL or number == len(arrived):
            inside = arrived[start:number]
            yield Block(
                moments,
                b"".join([one.salt for one in inside]),
                b"".join([one.commitment for one in inside]),
                _packed(events, [one.raw for one in inside]),
            )
            moments, events, size, start = [], [], 0, number


def without_salts(salts: bytes, positions: Collection[int]) -> bytes:
    kept = bytearray(salts)
    for position in positions:
        kept[position * SALT_SIZE : (position + 1) * SALT_SIZE] = bytes(SALT_SIZE)
    return bytes(kept)


def mark(*text: str) -> int:
    """
    A number by which a text is looked up, so that it stands in no index.

    Two texts may have the same: what is found is compared.
    """
    whole = b"\0".join(encoded(each) for each in text)
    return int.from_bytes(sha256(whole).digest()[:_MARK_BYTES], "big")


def digest_of(key: Key) -> bytes:
    """What stands for a key that was given out, whose text is gone with its event."""
    return sha256(encoded(key.kind) + b"\0" + encoded(key.value)).digest()


def encoded(text: str) -> bytes:
    """Any text of a source, also one that has no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def micros(at: datetime) -> int:
    return (at - _START) // _MICROSECOND


def moment_of(at: int) -> datetime:
    return _START + timedelta(microseconds=at)


def _packed(events: list[bytes], raws: list[bytes]) -> bytes:
    sizes = [len(part) for part in (*events, *raws)]
    first = bytes([len(events)]) + struct.pack(f"<{len(sizes)}I", *sizes) + b"".join(events)
    return _LENGTH.pack(len(first)) + zlib.compress(first + b"".join(raws), _LEVEL)


def _event_bytes(at: int, event: Event) -> bytes:
    value: list[Any] = [
        at, event.type, event.account, event.session, event.client, event.action, event.object,
        event.failed, event.detail, event.resource,
    ]  # fmt: skip
    for key in event.keys:
        value += (key.kind, key.value)
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, which only the standard library writes
        return json.dumps(value).encode("ascii")


def _event(data: bytes) -> Event:
    try:
        value = orjson.loads(data)
    except ValueError:
        value = json.loads(data)
    at, type_, account, session, client, action, object_, failed, detail, resource, *keys = value
    return Event(
        type=type_, at=moment_of(at), account=account, session=session, client=client,
        action=action, object=object_, failed=failed, detail=detail, resource=resource,
        keys=tuple(map(Key, keys[::2], keys[1::2])),
    )  # fmt: skip
