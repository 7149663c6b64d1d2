"""An event is bound to its log, its source and its place; its proof needs none of its neighbours."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import NotCanonical, ProofInvalid
from muniment.evidence import event_batch, merkle
from muniment.evidence.event_batch import MAX_RAW, EventProof, commitment

LOG = bytes(range(32))
RECORD = "mun_" + "a" * 26 + "/7"


def salt(number: int) -> bytes:
    return hashlib.sha256(b"salt %d" % number).digest()[:16]


def raw(number: int) -> bytes:
    return b'{"n": %d}' % number


def batch(start: int, count: int) -> list[bytes]:
    numbers = range(start, start + count)
    return [commitment(LOG, salt(n), "orders-log", n, raw(n)) for n in numbers]


def body(start: int, count: int) -> dict[str, Any]:
    return {
        "actor": "service", "source": "orders-log", "resource": "orders-prod", "start": start,
        "count": count, "root": event_batch.root(batch(start, count)).hex(), "rejected": 0,
    }  # fmt: skip


def proof(number: int = 1003, start: int = 1000, count: int = 7) -> EventProof:
    path = event_batch.prove(batch(start, count), number - start)
    return EventProof(
        source="orders-log", number=number, raw=raw(number), salt=salt(number), start=start,
        count=count, path=tuple(path), record=RECORD,
    )  # fmt: skip


# --- the bytes, for ever -------------------------------------------------------------------------


def test_a_commitment_is_the_hash_that_was_written_down() -> None:
    found = commitment(LOG, bytes(range(16)), "orders-log", 258, b'{"message": "a\xc3\xa4\\u0000"}')
    assert found.hex() == "c97c86313ba51a293a59f574f63717ca825c65465bd779ed27c649187167cf28"


def test_a_commitment_is_the_hash_of_these_bytes_in_this_order() -> None:
    parts = (
        b"muniment-event/v1\0", LOG, bytes(range(16)), b"\0\x0a", b"orders-log",
        b"\0\0\0\0\0\0\x01\x02", b"\0\0\0\0\0\0\0\x03", b"raw",
    )  # fmt: skip
    expected = hashlib.sha256(b"".join(parts)).digest()
    assert commitment(LOG, bytes(range(16)), "orders-log", 258, b"raw") == expected


def test_the_root_of_a_batch_is_the_one_that_was_written_down() -> None:
    assert (
        event_batch.root(batch(1000, 7)).hex()
        == "5d62182998203a2d35e555e3863d0d153e0e6e1315face75eb13fc82a15bf8a1"
    )


def test_a_proof_is_the_file_that_was_written_down() -> None:
    data = proof().encode()
    assert (
        hashlib.sha256(data).hexdigest()
        == "5d8f87f2a3f6e118b3ae49ecd259aa142e4ba03a970d36f3d478e09b937a02da"
    )
    assert json.loads(data) == {
        "format": "muniment-event-proof/v1",
        "source": "orders-log",
        "number": 1003,
        "raw": "eyJuIjogMTAwM30=",
        "salt": salt(1003).hex(),
        "batch": {"start": 1000, "count": 7},
        "path": [each.hex() for each in proof().path],
        "record": RECORD,
    }


# --- what holds ----------------------------------------------------------------------------------


@given(st.integers(0, 2**40), st.integers(1, 40), st.data())
def test_every_event_of_a_batch_of_any_size_is_proved(
    start: int, count: int, data: st.DataObject
) -> None:
    number = start + data.draw(st.integers(0, count - 1))
    found = EventProof.parse(proof(number, start, count).encode())
    assert found == proof(number, start, count)
    found.check(LOG, body(start, count))


def test_a_proof_needs_nothing_of_its_neighbours_but_their_commitments() -> None:
    """Their records and salts are gone; whoever made the batch kept the hashes."""
    kept = batch(0, 5)  # nothing below opens one of the others
    path = event_batch.prove(kept, 2)
    event_batch.verify(
        commitment(LOG, salt(2), "orders-log", 2, raw(2)), 2, 5, path, event_batch.root(kept)
    )


def test_a_batch_of_nothing_has_the_root_of_nothing_and_proves_nothing() -> None:
    assert event_batch.root([]) == merkle.EMPTY_ROOT
    with pytest.raises(ProofInvalid, match="no entry 0"):
        event_batch.prove([], 0)


# --- what does not -------------------------------------------------------------------------------


@given(st.integers(0, 8 * len(proof().encode()) - 1))
def test_any_changed_bit_of_the_file_is_noticed(bit: int) -> None:
    data = bytearray(proof().encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((NotCanonical, ProofInvalid, LookupError)):
        _check_file(bytes(data))


def _check_file(data: bytes) -> None:
    """As whoever has the log does: with the record that the file names."""
    found = EventProof.parse(data)
    found.check(LOG, {RECORD: body(1000, 7)}[found.record])


@pytest.mark.parametrize(
    "forged",
    [
        replace(proof(), raw=b'{"n": 1004}'),
        replace(proof(), salt=salt(1004)),
        replace(proof(), number=1004),
        replace(proof(), path=proof().path[:-1]),
        replace(proof(), path=(*proof().path, bytes(32))),
        replace(proof(), path=proof().path[::-1]),
        replace(proof(), start=999),
        replace(proof(), start=0, count=2000),
        replace(proof(), count=6),
        replace(proof(), source="orders-lo"),
    ],
)
def test_a_forged_proof_does_not_hold(forged: EventProof) -> None:
    with pytest.raises(ProofInvalid):
        EventProof.parse(forged.encode()).check(LOG, body(1000, 7))


def test_an_event_is_not_proved_of_another_log() -> None:
    with pytest.raises(ProofInvalid):
        proof().check(bytes(32), body(1000, 7))


@pytest.mark.parametrize(
    "record",
    [
        {},
        {**body(1000, 7), "source": "other"},
        {**body(1000, 7), "start": 1001},
        {**body(1000, 7), "count": 8},
        {**body(1000, 7), "count": 7.0},
        {**body(1000, 7), "root": "00" * 32},
        {**body(1000, 7), "root": None},
        {**body(1000, 7), "root": body(1000, 7)["root"].upper()},
    ],
)
def test_a_record_that_says_something_else_proves_nothing(record: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid):
        proof().check(LOG, record)


def test_true_is_no_number_of_a_batch() -> None:
    with pytest.raises(ProofInvalid, match="another `start`"):
        proof(1, 1, 1).check(LOG, {**body(1, 1), "start": True})


def test_an_event_and_a_source_of_the_same_bytes_are_told_apart() -> None:
    one = commitment(LOG, salt(0), "ab", 0, b"c")
    assert one != commitment(LOG, salt(0), "a", 0, b"bc")
    assert one != commitment(LOG, salt(0), "ab", 1, b"c")


# --- the file ------------------------------------------------------------------------------------


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.pop(name)


def _with(name: str, new: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update({name: new})


@pytest.mark.parametrize(
    "change",
    [
        *(_without(name) for name in sorted(json.loads(proof().encode()))),
        _with("extra", 1),
        _with("format", "muniment-event-proof/v2"),
        _with("batch", {"start": 1000, "count": 7, "root": ""}),
        _with("batch", [1000, 7]),
        _with("batch", {"start": -1, "count": 7}),
        _with("batch", {"start": 1000, "count": True}),
        _with("number", "1003"),
        _with("number", -1),
        _with("raw", 7),
        _with("raw", "eyJuIjogMTAwM30"),
        _with("raw", "eyJuIjogMTAwM31="),
        _with("salt", "00" * 15),
        _with("salt", "AA" * 16),
        _with("path", "00" * 32),
        _with("path", ["00" * 31]),
        _with("path", ["00" * 32] * 64),
        _with("source", ""),
        _with("source", "ä"),
        _with("source", "a" * 257),
        _with("record", "mun_short/0"),
        _with("record", RECORD + "7" * 9),
        _with("record", RECORD.replace("/7", "/07")),
        _with("record", RECORD + "\n"),
    ],
)
def test_a_file_of_another_shape_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(proof().encode())
    change(value)
    data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(NotCanonical):
        EventProof.parse(data)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff", b'"' + b"a" * (MAX_RAW * 2) + b'"']
)  # fmt: skip
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        EventProof.parse(data)


def test_the_same_values_in_other_bytes_are_refused() -> None:
    value = json.loads(proof().encode())
    with pytest.raises(NotCanonical):
        EventProof.parse(json.dumps(value, indent=1).encode())


def test_the_longest_record_is_carried_and_a_longer_one_is_not() -> None:
    longest = replace(proof(), raw=bytes(MAX_RAW))
    assert EventProof.parse(longest.encode()) == longest
    with pytest.raises(NotCanonical, match="at most"):
        replace(proof(), raw=bytes(MAX_RAW + 1)).encode()


def test_a_proof_shows_neither_record_nor_salt_by_the_way() -> None:
    shown = repr(proof())
    assert "1003}" not in shown
    assert salt(1003).hex() not in shown
