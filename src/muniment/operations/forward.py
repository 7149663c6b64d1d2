"""
Forward: bring a sink of events up to the log.

The log is read behind its writer, in pieces, and never waits for a sink. A sink is told of records
in their order; what it did not take is what comes next, however long that takes, and nothing is
passed over. How far it is lies in the database of the log, next to what it counts: so another node
goes on where one stopped, and a copy of the log that was brought back has a sink told again from
where the copy was, and not from where the sink is. It is no record: a record of every piece that
was told would have to be told, too.

What was told since it was last kept is told twice after a crash; nothing is ever told never.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from muniment.errors import MunimentError, Unavailable
from muniment.evidence.reading import entries
from muniment.operations.forwarding import Stream
from muniment.operations.service import Service
from muniment.oversight.siem import Cursors, Progress, SiemEvent

#: records that are read, and bytes that are sent, at once
PIECE: Final = 500
MOST_BYTES: Final = 512 * 1024
#: seconds after which others get their turn, and between two times that it is kept how far it is
TURN: Final = 10.0
KEEP_EVERY: Final = 1.0
#: a sink that lacks more than this is a trouble that is said
MOST_BEHIND: Final = 10_000
LONGEST_BEHIND: Final = timedelta(minutes=15)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a sink is told next; nothing, where none of these records is for it."""

    events: Sequence[SiemEvent]
    after: Progress


def is_due(service: Service, name: str) -> bool:
    """Whether there are records that this sink was not told of, as far as we know."""
    progress = service.publishing.forwarding.streams[name].progress
    return progress is None or progress.next < service.log.size


async def forward(service: Service, name: str) -> None:
    """
    Tell a sink what it lacks, for a turn. Safe to repeat; one at a time for each sink.

    Raises `Unavailable` or `AddressRefused` where it was not taken, and `LogInvalid` where the
    database does not have what was signed: nothing else is told to anybody.
    """
    log, stream = service.log, service.publishing.forwarding.streams[name]
    ends = log.clock.elapsed() + TURN
    cursors = _cursors(service)
    if stream.progress is None:
        stream.progress = await asyncio.to_thread(_begun, service, name, stream, cursors)
    try:
        while stream.progress.next < log.size and log.clock.elapsed() < ends:
            piece = await asyncio.to_thread(_read, service, stream, stream.progress)
            if piece.events:
                await stream.sink.send(piece.events)
            stream.progress = piece.after
            if log.clock.elapsed() - stream.kept_at >= KEEP_EVERY:
                await _keep(service, name, stream, cursors)
        if stream.progress.next >= log.size:
            stream.lacks_since = None
    except MunimentError:
        stream.failures += 1
        raise
    finally:
        _say_whether_late(service, name, stream)
    await _keep(service, name, stream, cursors)


def stand_by(service: Service, name: str) -> None:
    """Another node tells this sink: what this one knew of it is no news any more."""
    if (stream := service.publishing.forwarding.streams.get(name)) is not None:
        stream.stand_by()


def metrics(service: Service) -> list[str]:
    """Lines for `/metrics`: of the sinks that this node tells, and of failures by any."""
    found: dict[str, dict[str, float]] = {}
    for name, stream in service.publishing.forwarding.streams.items():
        found.setdefault("muniment_siem_failures_total", {})[name] = stream.failures
        if stream.progress is None:
            continue
        # of what it was told, or does not want to know
        found.setdefault("muniment_siem_forwarded", {})[name] = stream.progress.next
        found.setdefault("muniment_siem_behind_records", {})[name] = _records(service, stream)
        found.setdefault("muniment_siem_behind_seconds", {})[name] = _time(
            service, stream
        ).total_seconds()
    return [
        line
        for metric, values in found.items()
        for line in (
            f"# TYPE {metric} {'counter' if metric.endswith('_total') else 'gauge'}",
            *(f'{metric}{{sink="{name}"}} {value:g}' for name, value in values.items()),
        )
    ]


def _cursors(service: Service) -> Cursors:
    if (cursors := service.publishing.forwarding.cursors) is None:
        raise Unavailable("nothing keeps how far a sink was told of the log")
    return cursors


def _begun(service: Service, name: str, stream: Stream, cursors: Cursors) -> Progress:
    """Where whoever told it before stopped; or where the settings have it begin."""
    progress = cursors.progress(name)
    if progress is None:
        progress = Progress(0 if stream.from_start else service.log.size)
        cursors.put_progress(name, progress)
    stream.kept = progress
    return progress


def _read(service: Service, stream: Stream, progress: Progress) -> _Piece:
    """Each record is proved to be under our newest checkpoint before anybody is told of it."""
    log, last = service.log, progress.last
    signed = log.keys.recognise(log.checkpoint)
    events: list[SiemEvent] = []
    size, stop = 0, min(signed.size, progress.next + PIECE)
    for entry in entries(log.store, progress.next, stop, signed, log.nodes(signed.size)):
        if entry.index == progress.next:
            stream.lacks_since = entry.header.at
        if not stream.wants(entry.header.kind):
            continue
        event = stream.describer.event(
            entry, log_id=log.log_id, previous=last, read_case=log.read_case
        )
        size += len(event.body)
        if events and size > MOST_BYTES:
            return _Piece(events, Progress(entry.index, last))
        events.append(event)
        last = entry.index
    return _Piece(events, Progress(stop, last))


async def _keep(service: Service, name: str, stream: Stream, cursors: Cursors) -> None:
    if stream.progress is not None and stream.progress != stream.kept:
        await asyncio.to_thread(cursors.put_progress, name, stream.progress)
        stream.kept, stream.kept_at = stream.progress, service.log.clock.elapsed()


def _records(service: Service, stream: Stream) -> int:
    return max(0, service.log.size - stream.progress.next) if stream.progress is not None else 0


def _time(service: Service, stream: Stream) -> timedelta:
    """How long ago the oldest record was written that it lacks."""
    if stream.lacks_since is None or not _records(service, stream):
        return timedelta(0)
    return max(timedelta(0), service.now() - stream.lacks_since)


def _say_whether_late(service: Service, name: str, stream: Stream) -> None:
    behind, time = _records(service, stream), _time(service, stream)
    late = behind > MOST_BEHIND or time > LONGEST_BEHIND
    if late and not stream.late:
        _log.warning("siem `%s` is %d records and %s behind the log", name, behind, time)
    if stream.late and not late:
        _log.warning("siem `%s` has caught up with the log", name)
    stream.late = late
