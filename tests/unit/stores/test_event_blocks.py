"""Blocks of events give back what was put in, and say when they are damaged."""

import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import LogInvalid
from muniment.oversight.event import Event, Key
from muniment.oversight.event_store import Arrived
from muniment.oversight.link import NOBODY
from muniment.stores.event_blocks import (
    FULL,
    MOST,
    SALT_SIZE,
    Opened,
    blocks,
    digest_of,
    mark,
    micros,
    moment_of,
    without_salts,
)

#: also lone surrogates, zero bytes and what looks like an escape
TEXT = st.text(st.characters(), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
EVENTS = st.builds(
    Event, type=st.sampled_from(["statement", "other"]), at=MOMENTS, account=TEXT, session=TEXT,
    client=TEXT, action=TEXT, object=TEXT, failed=st.booleans(), detail=TEXT, resource=TEXT,
    keys=st.lists(st.builds(Key, TEXT, TEXT), max_size=3).map(tuple),
)  # fmt: skip


def of(event: Event, raw: bytes) -> Arrived:
    return Arrived(
        raw=raw, salt=secrets.token_bytes(SALT_SIZE), commitment=secrets.token_bytes(32),
        event=event, link=NOBODY,
    )  # fmt: skip


ARRIVED = st.lists(st.builds(of, EVENTS, st.binary(max_size=300)), max_size=MOST * 3)


@given(ARRIVED)
def test_blocks_give_back_what_was_put_into_them(arrived: list[Arrived]) -> None:
    made = list(blocks(arrived))
    opened = [(Opened(block.packed), n) for block in made for n in range(block.count)]
    assert [block.event(n) for block, n in opened] == [each.event for each in arrived]
    assert [block.raw(n) for block, n in opened] == [each.raw for each in arrived]
    assert b"".join(block.salts for block in made) == b"".join(each.salt for each in arrived)
    commitments = b"".join(each.commitment for each in arrived)
    assert b"".join(block.commitments for block in made) == commitments
    moments = [moment_of(at) for block in made for at in block.moments]
    assert moments == [each.event.at for each in arrived]


@given(ARRIVED.filter(bool), st.sets(st.integers(0, MOST - 1)))
def test_what_is_left_when_some_are_erased_is_as_it_was(
    arrived: list[Arrived], erased: set[int]
) -> None:
    block = next(blocks(arrived))
    before, left = Opened(block.packed), Opened(Opened(block.packed).without(erased))
    salts = without_salts(block.salts, {n for n in erased if n < block.count})
    assert len(salts) == len(block.salts)
    for n in range(block.count):
        salt = salts[n * SALT_SIZE : (n + 1) * SALT_SIZE]
        if n in erased:
            assert (left.is_gone(n), left.event(n), left.raw(n)) == (True, None, b"")
            assert salt == bytes(SALT_SIZE)
        else:
            assert (left.event(n), left.raw(n)) == (before.event(n), before.raw(n))
            assert salt == arrived[n].salt


def test_a_block_is_bounded_in_events_and_in_bytes() -> None:
    event = Event(type="other", at=datetime(2026, 11, 21, tzinfo=UTC))
    assert [block.count for block in blocks([of(event, b"x")] * 70)] == [MOST, MOST, 70 - 2 * MOST]
    assert [block.count for block in blocks([of(event, bytes(FULL))] * 3)] == [1, 1, 1]
    assert list(blocks([])) == []


@given(st.integers(0, 10_000), st.data())
def test_a_damaged_block_is_refused_or_gives_some_block(at: int, data: st.DataObject) -> None:
    """It says that it is damaged; nothing else goes wrong."""
    event = Event(type="other", at=datetime(2026, 11, 21, tzinfo=UTC), detail="x" * 50)
    whole = bytearray(next(blocks([of(event, b"record %d" % n) for n in range(5)])).packed)
    whole[at % len(whole)] ^= data.draw(st.integers(1, 255))
    try:
        opened = Opened(bytes(whole))
        found = [opened.raw(n) for n in range(opened.count)]
    except LogInvalid:
        return
    # the checksum of zlib covers the records; only what follows it is not looked at
    assert found == [b"record %d" % n for n in range(5)]


@pytest.mark.parametrize("packed", [b"", b"\0\0", b"\0\0\0\0", b"\x05\0\0\0not packed at all"])
def test_what_is_no_block_is_refused(packed: bytes) -> None:
    with pytest.raises(LogInvalid, match="damaged"):
        Opened(packed)


@given(MOMENTS)
def test_a_moment_is_a_number_of_microseconds_and_back(at: datetime) -> None:
    assert moment_of(micros(at)) == at


def test_a_mark_tells_where_one_text_ends_and_fits_six_bytes() -> None:
    assert mark("a", "bc") != mark("ab", "c")
    assert 0 <= mark("a") < 1 << 48
    # it stands in databases: it never changes
    assert mark("orders-log", "s-1") == 238211741557899
    assert digest_of(Key("token", "t")) != digest_of(Key("tokent", ""))
