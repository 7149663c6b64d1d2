"""What an offline check of events came to: on a terminal, and as JSON."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from muniment.evidence import moment
from muniment.evidence.event_evidence import Shown, ShownEvent
from muniment.interfaces.verifier.outcome import mark, wrapped
from muniment.interfaces.verifier.record_words import clean

NOT_PROVED: Final = (
    "that the source told the truth: who can write into it can lie in it",
    "that no events were held back, from the log or from this file",
    "to whose access they belong, beyond what they say themselves",
    "that the log showed everybody this history",
)
_ERASED: Final = "that an event which is called erased is gone everywhere"
#: characters of one event on the screen; a program takes `--json`
_MOST_SHOWN: Final = 2_000


def lines(file: Path, shown: Shown) -> Iterator[str]:
    newest = shown.checkpoint
    records = len({event.index for event in shown.events})
    there = [event for event in shown.events if event.raw is not None]
    gone = len(shown.events) - len(there)
    yield f"{file}"
    yield ""
    yield f"  {mark('✓')}  `{newest.origin}` signed its checkpoint at size {newest.size:,}"
    yield f"  {mark('✓')}  its records of events are in it: {records:,}"
    yield f"  {mark('✓')}  events that are under the roots of these records: {len(there):,}"
    if gone:
        yield f"  {mark('✓')}  and erased ones, by their commitments alone: {gone:,}"
    for event in sorted(shown.events, key=lambda one: (one.index, one.number)):
        yield ""
        yield from _event(event)
    yield ""
    yield wrapped(
        "Proved: each event is, bit for bit, what was received under its number before the time "
        "of its record, by the log's clock."
    )
    yield wrapped(f"Not proved: {'; '.join(_not_proved(shown))}.")


def _event(event: ShownEvent) -> Iterator[str]:
    at = moment.text(event.at)
    yield f"  {clean(event.source)} {event.number}, recorded {at} in entry {event.index:,}"
    if event.raw is None:
        yield "    erased: what it said is gone, and nothing else can be put in its place"
        return
    text = event.raw.decode("utf-8", "replace")
    yield f"    {clean(text[:_MOST_SHOWN])}"
    if len(text) > _MOST_SHOWN:
        yield f"    … and {len(text) - _MOST_SHOWN:,} more characters: see --json"


def _not_proved(shown: Shown) -> Iterator[str]:
    yield from NOT_PROVED
    if any(event.raw is None for event in shown.events):
        yield _ERASED


def as_json(file: Path, shown: Shown) -> dict[str, Any]:
    return {
        "file": str(file),
        "events": [_event_json(event) for event in shown.events],
        "log": {
            "origin": shown.checkpoint.origin,
            "id": shown.log_id.hex(),
            "size": shown.checkpoint.size,
            "root": shown.checkpoint.root.hex(),
        },
        "not_proved": list(_not_proved(shown)),
    }


def _event_json(event: ShownEvent) -> dict[str, Any]:
    return {
        "source": event.source,
        "number": event.number,
        "text": None if event.raw is None else event.raw.decode("utf-8", "replace"),
        "raw": None if event.raw is None else base64.b64encode(event.raw).decode(),
        "erased": event.raw is None,
        "record": event.record,
        "index": event.index,
        "at": moment.text(event.at),
    }
