"""A file of events is checked offline: whatever is changed in it, and whatever it is, is noticed."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import EvidenceError, NotCanonical, NoteInvalid, ProofInvalid
from muniment.evidence import canonical, event_batch, event_evidence, merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.event_batch import EventProof
from muniment.evidence.event_evidence import (
    MAX_EVENTS,
    MAX_EVIDENCE,
    Batch,
    EventEvidence,
    Gone,
    Placed,
)
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Header

ORIGIN = "muniment.example/log"
KEY = SigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SOURCE_CASE = "src_" + "b" * 26


def header(kind: str, case: str, position: int, body: dict[str, Any]) -> bytes:
    """A record, as it stands in the log; `prev` is nobody's business here."""
    prev = None if position == 0 else bytes(32)
    made = Header(kind=kind, fold=1, case=case, position=position, at=AT, body=body, prev=prev)
    return made.encode()


STARTED = header("log:started", "log_" + "a" * 26, 0, {"key": "k", "origin": ORIGIN})
LOG_ID = merkle.leaf_hash(STARTED)


def salt(number: int) -> bytes:
    return hashlib.sha256(b"salt %d" % number).digest()[:16]


def raw(number: int) -> bytes:
    return b'{"n": %d, "what": "\xe2\x80\xaeSELECT 1\\u0000"}' % number


def committed(start: int, count: int) -> list[bytes]:
    return [
        event_batch.commitment(LOG_ID, salt(n), "orders-log", n, raw(n))
        for n in range(start, start + count)
    ]


def received(position: int, start: int, count: int, /, **changes: Any) -> bytes:
    body = {
        "actor": "service", "count": count, "resource": "orders-prod", "source": "orders-log",
        "start": start, "root": event_batch.root(committed(start, count)).hex(), "rejected": 0,
        **changes,
    }  # fmt: skip
    return header("events:received", SOURCE_CASE, position, body)


#: entries of the log: two batches among others
ENTRIES = (
    STARTED,
    header("role:defined", "rol_" + "c" * 26, 0, {}),
    received(0, 0, 3),
    header("log:heartbeat", "log_" + "a" * 26, 1, {}),
    received(1, 3, 7),
    header("log:heartbeat", "log_" + "a" * 26, 2, {}),
)


def placed(index: int, entries: Sequence[bytes] = ENTRIES) -> Placed:
    leaves = [merkle.leaf_hash(each) for each in entries]

    def node(level: int, at: int) -> bytes:
        return merkle.root(leaves[at << level : (at + 1) << level])

    proof = tuple(merkle.inclusion_proof(index, len(leaves), node))
    return Placed(index=index, header=entries[index], proof=proof)


def checkpoint(entries: Sequence[bytes] = ENTRIES, key: SigningKey = KEY) -> bytes:
    root = merkle.root(merkle.leaf_hash(each) for each in entries)
    return sign(Checkpoint(ORIGIN, len(entries), root), key)


def event(number: int, start: int, count: int, record: str) -> EventProof:
    path = event_batch.prove(committed(start, count), number - start)
    return EventProof(
        source="orders-log", number=number, raw=raw(number), salt=salt(number), start=start,
        count=count, path=tuple(path), record=f"{SOURCE_CASE}/{record}",
    )  # fmt: skip


def gone(number: int, start: int, count: int) -> Gone:
    all_of_them = committed(start, count)
    path = event_batch.prove(all_of_them, number - start)
    return Gone(number=number, commitment=all_of_them[number - start], path=tuple(path))


@cache
def evidence() -> EventEvidence:
    """Three events of two batches, and one that was erased between two of them."""
    first = Batch(record=placed(2), events=(event(1, 0, 3, "0"),))
    second = Batch(
        record=placed(4),
        events=(event(4, 3, 7, "1"), event(6, 3, 7, "1")),
        erased=(gone(5, 3, 7),),
    )
    return EventEvidence(checkpoint=checkpoint(), started=placed(0), batches=(first, second))


@cache
def data() -> bytes:
    return evidence().encode()


# --- what holds ----------------------------------------------------------------------------------


def test_events_are_shown_with_their_place_and_the_time_of_their_record() -> None:
    shown = event_evidence.verify(data(), KEY.verifier)
    assert (shown.log_id, shown.checkpoint.size) == (LOG_ID, 6)
    assert [(each.source, each.number, each.raw, each.index) for each in shown.events] == [
        ("orders-log", 1, raw(1), 2),
        ("orders-log", 4, raw(4), 4),
        ("orders-log", 6, raw(6), 4),
        ("orders-log", 5, None, 4),
    ]
    assert {each.at for each in shown.events} == {AT}
    assert shown.events[1].record == f"{SOURCE_CASE}/1"


def test_a_file_is_the_one_that_was_written_down() -> None:
    assert (
        hashlib.sha256(data()).hexdigest()
        == "5acd14cec933d6abf1110e61b37d77431102be628b865fd0774932bed65b40d1"
    )
    value = json.loads(data())
    assert value.keys() == {"format", "checkpoint", "started", "records"}
    assert value["format"] == "muniment-event-evidence/v1"
    assert [record.keys() for record in value["records"]] == [
        {"index", "header", "proof", "events", "erased"}
    ] * 2
    assert value["records"][1]["erased"] == [
        {
            "number": 5,
            "commitment": committed(5, 1)[0].hex(),
            "path": [each.hex() for each in gone(5, 3, 7).path],
        }
    ]


def test_what_was_read_is_what_was_written() -> None:
    assert EventEvidence.parse(data()) == evidence()


def test_a_reader_of_several_keys_of_the_log_is_shown_the_same() -> None:
    shown = event_evidence.verify(data(), [OTHER.verifier, KEY.verifier])
    assert shown == event_evidence.verify(data(), KEY.verifier)


@given(st.integers(1, 40), st.data())
def test_any_events_of_a_batch_of_any_size_are_shown(count: int, draw: st.DataObject) -> None:
    numbers = draw.draw(st.sets(st.integers(0, count - 1), min_size=1))
    without = draw.draw(st.sets(st.sampled_from(sorted(numbers)), max_size=len(numbers) - 1))
    entries = (STARTED, received(0, 0, count))
    batch = Batch(
        record=placed(1, entries),
        events=tuple(event(n, 0, count, "0") for n in sorted(numbers - without)),
        erased=tuple(gone(n, 0, count) for n in sorted(without)),
    )
    made = EventEvidence(
        checkpoint=checkpoint(entries), started=placed(0, entries), batches=(batch,)
    )
    shown = event_evidence.verify(made.encode(), KEY.verifier).events
    assert {each.number: each.raw for each in shown} == {
        n: None if n in without else raw(n) for n in numbers
    }


def test_paths_that_are_made_together_are_those_made_one_by_one() -> None:
    for count in range(1, 20):
        hashes = committed(0, count)
        together = event_batch.paths(hashes, range(count))
        assert together == [event_batch.prove(hashes, n) for n in range(count)]
        for position, path in enumerate(together):
            root = event_batch.root(hashes)
            event_batch.verify(hashes[position], position, count, path, root)


# --- what does not -------------------------------------------------------------------------------


@given(st.integers(0, 8 * len(data()) - 1))
def test_any_changed_bit_of_the_file_is_noticed_by_the_reader(bit: int) -> None:
    changed = bytearray(data())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError):
        event_evidence.verify(bytes(changed), KEY.verifier)


def test_a_checkpoint_of_another_key_or_with_further_signatures_is_refused() -> None:
    with pytest.raises(NoteInvalid):
        event_evidence.verify(data(), OTHER.verifier)
    line = checkpoint(key=OTHER).rpartition(b"\n\n")[2]
    twice = replace(evidence(), checkpoint=checkpoint() + line)
    with pytest.raises(EvidenceError):
        event_evidence.verify(twice.encode(), [KEY.verifier, OTHER.verifier])


def of_log(entries: Sequence[bytes], batch: Batch) -> bytes:
    made = EventEvidence(
        checkpoint=checkpoint(entries), started=placed(0, entries), batches=(batch,)
    )
    return made.encode()


def test_entry_0_has_to_be_the_beginning_of_this_log() -> None:
    for first, said in (
        (header("log:heartbeat", "log_" + "a" * 26, 0, {}), "and not `log:started`"),
        (STARTED.replace(ORIGIN.encode(), b"muniment.example/bog"), "another origin"),
    ):
        entries = (first, *ENTRIES[1:])
        batch = Batch(record=placed(2, entries), events=(event(1, 0, 3, "0"),))
        with pytest.raises(ProofInvalid, match=said):
            event_evidence.verify(of_log(entries, batch), KEY.verifier)


def test_another_log_id_makes_other_commitments() -> None:
    first = header("log:started", "log_" + "d" * 26, 0, {"key": "k", "origin": ORIGIN})
    entries = (first, *ENTRIES[1:])
    batch = Batch(record=placed(2, entries), events=(event(1, 0, 3, "0"),))
    with pytest.raises(ProofInvalid):
        event_evidence.verify(of_log(entries, batch), KEY.verifier)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (header("session:observed", SOURCE_CASE, 0, json.loads(received(0, 0, 3))["body"]),
         "and not `events:received`"),
        (received(0, 0, 3, source="other"), "another `source`"),
        (received(0, 0, 3, count=4), "another `count`"),
        (received(0, 0, 3, root="00" * 32), "another root"),
        (received(0, 0, 3, root=None), "no root"),
        (header("events:received", SOURCE_CASE, 0, {}), "no text"),
        (received(1, 0, 3), "names the record"),
    ],
)  # fmt: skip
def test_a_record_that_says_something_else_shows_no_event(record: bytes, said: str) -> None:
    entries = (STARTED, record)
    batch = Batch(record=placed(1, entries), events=(event(1, 0, 3, "0"),))
    with pytest.raises(EvidenceError, match=said):
        event_evidence.verify(of_log(entries, batch), KEY.verifier)


@pytest.mark.parametrize(
    "forged",
    [
        replace(gone(5, 3, 7), number=6),
        replace(gone(5, 3, 7), number=2),
        replace(gone(5, 3, 7), number=10),
        replace(gone(5, 3, 7), commitment=bytes(32)),
        replace(gone(5, 3, 7), path=gone(5, 3, 7).path[:-1]),
    ],
)
def test_an_event_that_was_not_there_cannot_be_said_to_be_erased(forged: Gone) -> None:
    batch = Batch(record=placed(4), events=(event(4, 3, 7, "1"),), erased=(forged,))
    with pytest.raises(ProofInvalid):
        event_evidence.verify(replace(evidence(), batches=(batch,)).encode(), KEY.verifier)


# --- the file ------------------------------------------------------------------------------------

BATCHES = evidence().batches


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ((), "no event is shown"),
        (BATCHES[::-1], "the records are not in their order"),
        ((BATCHES[0], BATCHES[0]), "the records are not in their order"),
        ((replace(BATCHES[1], events=BATCHES[1].events[::-1]),), "the events are not"),
        ((replace(BATCHES[1], events=BATCHES[1].events[:1] * 2),), "the events are not"),
        ((replace(BATCHES[1], erased=BATCHES[1].erased * 2),), "the erased events are not"),
        ((replace(BATCHES[1], events=()),), "no event is shown"),
        ((BATCHES[0], replace(BATCHES[1], events=(), erased=())), "nothing is shown"),
        ((replace(BATCHES[1], erased=(gone(4, 3, 7),)),), "shown and said to be erased"),
    ],
)
def test_a_file_has_one_order_and_nothing_twice(batches: tuple[Batch, ...], said: str) -> None:
    made = replace(evidence(), batches=batches)
    with pytest.raises(NotCanonical, match=said):
        made.encode()
    value = json.loads(data())
    value["records"] = [event_evidence._batch_value(batch) for batch in batches]
    with pytest.raises(NotCanonical, match=said):
        EventEvidence.parse(canonical.encode(value))


def _with(name: str, new: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update({name: new})


def _in_record(name: str, new: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["records"][0].update({name: new})


def _in_erased(name: str, new: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["records"][1]["erased"][0].update({name: new})


@pytest.mark.parametrize(
    "change",
    [
        *(_with(name, None) for name in sorted(json.loads(data()))),
        *(_in_record(name, None) for name in sorted(json.loads(data())["records"][0])),
        *(_in_erased(name, None) for name in ("number", "commitment", "path")),
        _with("extra", 1),
        _in_record("extra", 1),
        _in_erased("extra", 1),
        _with("format", "muniment-event-evidence/v2"),
        _with("started", {"header": "ä", "proof": []}),
        _with("started", {"header": "{}", "proof": [], "index": 0}),
        _with("records", [[]]),
        _in_record("index", -1),
        _in_record("index", True),
        _in_record("index", "2"),
        _in_record("events", [{}]),
        _in_record("events", [None] * (MAX_EVENTS + 1)),
        _in_record("proof", ["00" * 32] * 65),
        _in_erased("commitment", "AA" * 32),
        _in_erased("path", ["00" * 31]),
    ],
)
def test_a_value_of_another_shape_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(data())
    change(value)
    changed = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(NotCanonical):
        EventEvidence.parse(changed)


@pytest.mark.parametrize(
    "hostile",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"\0", b"[" * 1_000_000,
        b'{"a":' * 1_000_000, b'"' + b"a" * MAX_EVIDENCE + b'"', data() + b"\n",
        b"\xef\xbb\xbf" + data(), json.dumps(json.loads(data())).encode(),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_such_file_costs_nothing_but_its_refusal(hostile: bytes) -> None:
    with pytest.raises(NotCanonical):
        event_evidence.verify(hostile, KEY.verifier)


def test_no_more_events_are_written_than_are_read() -> None:
    many = tuple(replace(event(1, 0, 3, "0"), number=n) for n in range(MAX_EVENTS + 1))
    with pytest.raises(NotCanonical, match="1001 events"):
        replace(evidence(), batches=(replace(BATCHES[0], events=many),)).encode()
    large = tuple(replace(each, raw=bytes(1 << 20)) for each in many[:12])
    with pytest.raises(NotCanonical, match="are more than"):
        replace(evidence(), batches=(replace(BATCHES[0], events=large),)).encode()


def test_nothing_of_an_event_is_shown_by_the_way() -> None:
    for shown in (evidence(), event_evidence.verify(data(), KEY.verifier)):
        assert "SELECT" not in repr(shown)
