"""
The file that shows events unchanged: as their source sent them, under a root that the log has.

It is canonical JSON: the checkpoint, entry 0 and the records `events:received`, each with its
inclusion proof, and with each record those of its events that are shown. Of an event that was
erased its commitment stands in its place. Whoever reads the file holds only the public key of the
log:

1. the file is one of evidence, in the one form that its values have;
2. its checkpoint is of the log whose key the reader named, and only that key signed it;
3. entry 0 is the `log:started` of this log and is under the checkpoint: its leaf hash is the log
   id, to which commitments are bound;
4. each record is an `events:received` and is under the checkpoint, at its index;
5. each event is in the batch of its record, at its place; with its salt it makes a commitment from
   which the path leads to the root in the record. Of an erased event the commitment itself does.

That the source told the truth is not shown, nor that nothing was held back.

These bytes are frozen: a change is a new `FORMAT`, and this one stays readable.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Self

from muniment.errors import NotCanonical, ProofInvalid
from muniment.evidence import canonical, event_batch, merkle
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.event_batch import EventProof
from muniment.evidence.keys import LOG_STARTED, ReadersKeys, named
from muniment.evidence.note import parse_note
from muniment.evidence.proof_fields import count_of, fields_of, hash_of, list_of, path_of, text_of
from muniment.evidence.record import Header

FORMAT: Final = "muniment-event-evidence/v1"
RECEIVED: Final = "events:received"
#: events of one file, with the erased ones, and its bytes
MAX_EVENTS: Final = 1_000
MAX_EVIDENCE: Final = 16 << 20
#: the path of an event, in its batch, in the list of them, in the file
_MAX_DEPTH: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A record, and where it stands in the log."""

    index: int
    #: its exact bytes
    header: bytes
    #: its inclusion proof to the checkpoint
    proof: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """An erased event: nobody can say any more what it was, and nobody can put another there."""

    number: int
    commitment: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One record of events, and those of its events that are shown."""

    record: Placed
    #: in the order of their numbers
    events: tuple[EventProof, ...] = ()
    erased: tuple[Gone, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EventEvidence:
    """What stands in the file, parsed but not verified."""

    checkpoint: bytes
    #: entry 0; its index is not written
    started: Placed
    #: in the order of their indexes
    batches: tuple[Batch, ...]

    def encode(self) -> bytes:
        """The bytes of the file. Raises `NotCanonical` if it is no possible one."""
        _check_order(self.batches)
        data = canonical.encode(
            {
                "format": FORMAT,
                "checkpoint": self.checkpoint.decode("utf-8"),
                "started": _header_value(self.started),
                "records": [_batch_value(batch) for batch in self.batches],
            },
            max_depth=_MAX_DEPTH,
        )
        if len(data) > MAX_EVIDENCE:
            raise NotCanonical(f"{len(data)} bytes are more than the {MAX_EVIDENCE} allowed")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        value = canonical.decode(data, max_bytes=MAX_EVIDENCE, max_depth=_MAX_DEPTH)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise NotCanonical(f"this is no evidence of the format `{FORMAT}`")
        form = fields_of(value, ("format", "checkpoint", "started", "records"))
        started = fields_of(form["started"], ("header", "proof"))
        found = cls(
            checkpoint=text_of(form["checkpoint"]).encode(),
            started=_placed(0, started),
            batches=tuple(_batch(each) for each in list_of(form["records"], MAX_EVENTS)),
        )
        _check_order(found.batches)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownEvent:
    """One event, and what the log says of it."""

    source: str
    number: int
    #: as the source sent it; None: it was erased, and only its commitment is left
    raw: bytes | None = field(repr=False)
    #: the record with the root over its batch: its id, its log index, and its time
    record: str
    index: int
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a file established."""

    log_id: bytes
    checkpoint: Checkpoint
    #: in the order of the file: by record, those that are there before those that were erased
    events: tuple[ShownEvent, ...]


def verify(data: bytes, key: ReadersKeys) -> Shown:
    """The five steps of this module. Raises `EvidenceError` saying what does not hold."""
    evidence = EventEvidence.parse(data)  # step 1
    keys = named(key)
    checkpoint = open_checkpoint(evidence.checkpoint, keys[0].name, keys)  # step 2
    if len(parse_note(evidence.checkpoint)[1]) != 1:
        raise ProofInvalid("the checkpoint carries signatures of other keys")
    started = _under(evidence.started, checkpoint, LOG_STARTED)  # step 3
    if started.body.get("origin") != checkpoint.origin:
        raise ProofInvalid("entry 0 names another origin")
    log_id = merkle.leaf_hash(evidence.started.header)
    return Shown(
        log_id=log_id,
        checkpoint=checkpoint,
        events=tuple(
            event for batch in evidence.batches for event in _shown(batch, log_id, checkpoint)
        ),
    )


def _under(placed: Placed, checkpoint: Checkpoint, kind: str) -> Header:
    leaf = merkle.leaf_hash(placed.header)
    merkle.verify_inclusion(leaf, placed.index, checkpoint.size, placed.proof, checkpoint.root)
    header = Header.parse(placed.header)
    if header.kind != kind:
        raise ProofInvalid(f"entry {placed.index} is `{header.kind}`, and not `{kind}`")
    return header


def _shown(batch: Batch, log_id: bytes, checkpoint: Checkpoint) -> Iterator[ShownEvent]:
    header = _under(batch.record, checkpoint, RECEIVED)  # step 4
    source = text_of(header.body.get("source"))

    def shown(number: int, raw: bytes | None) -> ShownEvent:
        return ShownEvent(
            source=source,
            number=number,
            raw=raw,
            record=header.id,
            index=batch.record.index,
            at=header.at,
        )

    for event in batch.events:  # step 5
        if event.record != header.id:
            raise ProofInvalid(f"event {event.number} names the record `{event.record}`")
        event.check(log_id, header.body)
        yield shown(event.number, event.raw)
    for gone in batch.erased:
        _check_gone(gone, header)
        yield shown(gone.number, None)


def _check_gone(gone: Gone, header: Header) -> None:
    start, count = count_of(header.body.get("start")), count_of(header.body.get("count"))
    if not start <= gone.number < start + count:
        raise ProofInvalid(f"event {gone.number} is not in the batch of `{header.id}`")
    expected = hash_of(header.body.get("root"))
    event_batch.verify(gone.commitment, gone.number - start, count, gone.path, expected)


# --- every value has one form -----------------------------------------------------------------


def _check_order(batches: tuple[Batch, ...]) -> None:
    """There is one order, nothing stands twice, and at least one event is shown."""
    _check_ascending([batch.record.index for batch in batches], "records")
    for batch in batches:
        events = [event.number for event in batch.events]
        erased = [gone.number for gone in batch.erased]
        _check_ascending(events, "events")
        _check_ascending(erased, "erased events")
        if not (events or erased):
            raise NotCanonical(f"nothing is shown of the events of entry {batch.record.index}")
        if set(events) & set(erased):
            raise NotCanonical("an event is shown and said to be erased")
    if not any(batch.events for batch in batches):
        raise NotCanonical("no event is shown")
    count = sum(len(batch.events) + len(batch.erased) for batch in batches)
    if count > MAX_EVENTS:
        raise NotCanonical(f"{count} events; at most {MAX_EVENTS} are allowed")


def _check_ascending(numbers: list[int], what: str) -> None:
    if any(first >= second for first, second in pairwise(numbers)):
        raise NotCanonical(f"the {what} are not in their order")


def _header_value(placed: Placed) -> dict[str, Any]:
    return {
        "header": placed.header.decode("ascii"),
        "proof": [each.hex() for each in placed.proof],
    }


def _batch_value(batch: Batch) -> dict[str, Any]:
    return {
        "index": batch.record.index,
        **_header_value(batch.record),
        "events": [event.value() for event in batch.events],
        "erased": [
            {
                "number": gone.number,
                "commitment": gone.commitment.hex(),
                "path": [each.hex() for each in gone.path],
            }
            for gone in batch.erased
        ],
    }


def _batch(value: object) -> Batch:
    form = fields_of(value, ("index", "header", "proof", "events", "erased"))
    return Batch(
        record=_placed(count_of(form["index"]), form),
        events=tuple(EventProof.read(each) for each in list_of(form["events"], MAX_EVENTS)),
        erased=tuple(_gone(each) for each in list_of(form["erased"], MAX_EVENTS)),
    )


def _gone(value: object) -> Gone:
    form = fields_of(value, ("number", "commitment", "path"))
    return Gone(
        number=count_of(form["number"]),
        commitment=hash_of(form["commitment"]),
        path=path_of(form["path"]),
    )


def _placed(index: int, form: dict[str, Any]) -> Placed:
    header = text_of(form["header"])
    if not header.isascii():
        raise NotCanonical("a header that is not ASCII")
    return Placed(index=index, header=header.encode(), proof=path_of(form["proof"]))
