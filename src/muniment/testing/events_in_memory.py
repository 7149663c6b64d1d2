"""A store of events that forgets: for tests that are about something else."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from muniment.oversight.event import Key
from muniment.oversight.event_store import Arrived, Chunk, Kept, Raw, SourceState, check_goes_on
from muniment.oversight.link import Link


@dataclass
class _Held:
    kept: Kept
    arrived: Arrived | None
    commitment: bytes


@dataclass
class EventsInMemory:
    """`EventStore` in lists."""

    _held: list[_Held] = field(default_factory=list)
    _states: dict[str, SourceState] = field(default_factory=dict)
    _seals: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _joined: dict[Key, str] = field(default_factory=dict)
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def close(self) -> None:
        """Nothing is open."""

    def add(self, chunk: Chunk) -> None:
        with self._mutex:
            state = self.state(chunk.source)
            check_goes_on(chunk, state.next, state.cursor)
            types = dict(state.types)
            for offset, arrived in enumerate(chunk.arrived):
                types[arrived.event.type] = types.get(arrived.event.type, 0) + 1
                kept = Kept(
                    row=len(self._held) + 1,
                    source=chunk.source,
                    number=chunk.start + offset,
                    event=arrived.event,
                    link=arrived.link,
                    resource=arrived.event.resource or chunk.resource,
                )
                self._held.append(_Held(kept, arrived, arrived.commitment))
            self._states[chunk.source] = replace(
                state,
                resource=chunk.resource,
                next=state.next + len(chunk.arrived),
                rejected=state.rejected + chunk.rejected,
                cursor=state.cursor if chunk.cursor is None else chunk.cursor,
                received=chunk.at,
                types=types,
            )

    def state(self, source: str) -> SourceState:
        return self._states.get(source, SourceState(source=source, resource=""))

    def states(self) -> list[SourceState]:
        with self._mutex:
            return [self._states[name] for name in sorted(self._states)]

    def move(self, source: str, cursor: str) -> None:
        with self._mutex:
            self._states[source] = replace(self.state(source), cursor=cursor)

    # --- evidence

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        return [each.commitment for each in self._of(source) if start <= each.kept.number < stop]

    def span(self, source: str, start: int, stop: int) -> tuple[datetime, datetime] | None:
        moments = [
            each.kept.event.at
            for each in self._of(source)
            if start <= each.kept.number < stop and each.kept.event is not None
        ]
        return (min(moments), max(moments)) if moments else None

    def seal(self, source: str, stop: int, rejected: int, index: int) -> None:
        with self._mutex:
            state = self.state(source)
            if stop <= state.sealed and rejected <= state.rejected_sealed:
                return
            self._seals.setdefault(source, []).append((stop, index))
            self._states[source] = replace(
                state,
                sealed=max(state.sealed, stop),
                next=max(state.next, stop),
                rejected=max(state.rejected, rejected),
                rejected_sealed=max(state.rejected_sealed, rejected),
            )

    def sealed_by(self, source: str, number: int) -> int | None:
        return next((i for stop, i in self._seals.get(source, ()) if number < stop), None)

    def raw(self, source: str, number: int) -> Raw | None:
        for each in self._of(source):
            if each.kept.number == number and each.arrived is not None:
                return Raw(raw=each.arrived.raw, salt=each.arrived.salt)
        return None

    def erase(self, source: str, numbers: Iterable[int]) -> int:
        wanted, count = set(numbers), 0
        with self._mutex:
            for each in self._of(source):
                if each.kept.number in wanted and each.arrived is not None:
                    each.arrived, each.kept = None, replace(each.kept, event=None)
                    count += 1
        return count

    # --- looking

    def after(self, row: int, limit: int = 1000) -> list[Kept]:
        return [each.kept for each in self._held[row : row + limit]]

    def of_grant(self, case: str, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        found = [e.kept for e in self._held if e.kept.link.grant == case and e.kept.row > after]
        return found[:limit]

    def of_session(self, source: str, session: str, limit: int = 100_000) -> list[Kept]:
        found = [
            each.kept
            for each in self._of(source)
            if each.kept.event is not None and each.kept.event.session == session
        ]
        return found[:limit]

    def between(
        self,
        since: datetime,
        until: datetime,
        *,
        resource: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Kept]:
        found = [
            (each.kept.event.at, each.kept.row, each.kept)
            for each in self._held
            if each.kept.event is not None
            and since <= each.kept.event.at < until
            and resource in (None, each.kept.resource)
            and (not types or each.kept.event.type in types)
        ]
        return [kept for _, _, kept in sorted(found, key=lambda one: one[:2])[:limit]]

    def first_row(self, since: datetime, until: datetime) -> int | None:
        found = self.between(since, until, limit=len(self._held))
        return min((kept.row for kept in found), default=None)

    def walk(self) -> Iterator[Kept]:
        yield from [each.kept for each in self._held]

    # --- keys

    def join(self, key: Key, grant: str) -> None:
        self._joined[key] = grant

    def joined(self, key: Key) -> str | None:
        return self._joined.get(key)

    def unlinked(self, key: Key, limit: int = 1000) -> list[Kept]:
        found = [
            each.kept
            for each in self._held
            if each.kept.event is not None
            and key in each.kept.event.keys
            and not each.kept.link.grant
        ]
        return found[:limit]

    def relink(self, source: str, number: int, link: Link) -> None:
        with self._mutex:
            for each in self._of(source):
                if each.kept.number == number:
                    each.kept = replace(each.kept, link=link)

    def _of(self, source: str) -> list[_Held]:
        return [each for each in self._held if each.kept.source == source]
