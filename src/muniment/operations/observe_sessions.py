"""
Record what sources say of the sessions of a grant: each in a case of its own, once it is over.

What is recorded follows the batches that its events lie in, and has a root over their commitments:
whoever is shown those events can check that they are the ones.
"""

import base64
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.errors import Conflict
from muniment.evidence import event_batch, moment
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry, entry_of
from muniment.operations.attempts import until_it_stands
from muniment.operations.observing import in_thread
from muniment.operations.seals import commitments, sealed_by
from muniment.operations.service import Service, close, content
from muniment.oversight.event_store import EventStore, Kept
from muniment.oversight.sessions import SessionSeen, assemble
from muniment.ports import CaseRow

#: begins the ids of what was observed
OBSERVED: Final = "obs"
#: a session whose end nobody saw counts as over so long after its last event and its grant's end
QUIET: Final = timedelta(minutes=5)
#: events of one grant that are looked at, so many at once, and batches that a record follows
MOST_EVENTS, EVENTS, MOST_BATCHES = 100_000, 2000, 60


async def record_sessions(service: Service, store: EventStore, grant: str) -> bool:
    """
    Record those sessions of a grant that are over and whose events the log has.

    False while there is one that may go on, or whose events are not in the log yet.
    """
    settled, looking = True, service.observing.looking
    for session, batches in await in_thread(looking, _unrecorded, service, store, grant):
        if batches is None:
            settled = False
        else:
            await until_it_stands(partial(_record, service, store, session, batches))
    return settled


def sessions_of(store: EventStore, grant: str) -> list[SessionSeen]:
    """What sources say of the sessions of a grant, also of those that go on."""
    events = _Events(store, grant)
    return [replace(each, cut=events.cut) for each in assemble(events)]


class _Events:
    """The first of a grant, in little memory: each is looked at, and let go."""

    def __init__(self, store: EventStore, grant: str) -> None:
        self._store, self._grant = store, grant
        #: there are more than were looked at
        self.cut = False

    def __iter__(self) -> Iterator[Kept]:
        row, left = 0, MOST_EVENTS
        while some := self._store.of_grant(self._grant, after=row, limit=min(EVENTS, left) or 1):
            if not left:
                self.cut = True
                return
            yield from some
            row, left = some[-1].row, left - len(some)


def _unrecorded(
    service: Service, store: EventStore, grant: str
) -> list[tuple[SessionSeen, tuple[Entry, ...] | None]]:
    """With the records that have its events; None for one that has to wait."""
    return [
        (session, _batches(service, store, session) if _is_over(service, session) else None)
        for session in sessions_of(store, grant)
        if service.log.head(case_of(service, session)) is None
    ]


def case_of(service: Service, session: SessionSeen) -> str:
    """The case in which a session is recorded: the same on every node, and telling nothing."""
    named = f"muniment-session/v1\0{session.grant}\0{session.source}\0{session.session}"
    digest = hmac.digest(service.sealing_key, named.encode(), sha256)[:16]
    return f"{OBSERVED}_{base64.b32encode(digest).decode().rstrip('=').lower()}"


def _is_over(service: Service, session: SessionSeen) -> bool:
    if session.is_over:
        return True
    grant = service.registry.grants.get(session.grant)
    if grant is not None and not grant.ended:
        return False
    now, last = service.now(), session.last
    if last > now:  # the target's clock is ahead, and we do not wait for as long
        case, _ = service.read(session.grant)
        last = case.ended_at or case.until or now
    return now - last > QUIET


def _batches(service: Service, store: EventStore, session: SessionSeen) -> tuple[Entry, ...] | None:
    """The records that have its events, the first and the newest; None: not all do."""
    found = dict.fromkeys(sealed_by(store, session.source, session.numbers))
    indexes = [index for index in found if index is not None]
    if len(indexes) < len(found):
        return None
    kept = indexes if len(indexes) <= MOST_BATCHES else [*indexes[: MOST_BATCHES - 1], indexes[-1]]
    return tuple(_entry(service, index) for index in kept)


def _entry(service: Service, index: int) -> Entry:
    for at, data in service.log.store.entries(index, index + 1):
        return entry_of(at, data)
    raise Conflict(f"the log has no entry {index}")


async def _record(
    service: Service, store: EventStore, session: SessionSeen, batches: tuple[Entry, ...]
) -> None:
    case, now = case_of(service, session), service.now()
    if service.log.head(case) is not None:
        return  # another node was faster
    record = records.SessionObserved(
        actor=records.SERVICE,
        about=session.grant,
        source=session.source,
        resource=session.resource,
        opened=_whole(session.opened),
        closed=_whole(session.closed),
        strength=session.strength,
        reason=session.reason,
        standing=session.standing,
        events=len(session.numbers),
        actions=session.actions,
        failed=session.failed,
        root=await in_thread(service.observing.looking, _root, store, session),
        batches=tuple(batch.index for batch in batches),
    )
    draft = record.draft(
        case,
        now,
        follows=tuple(batch.leaf for batch in batches),
        sections={"session": content(_told(session))},
    )
    await service.append(
        Proposal(
            drafts=tuple(close([draft], case, 0, now)),
            reads={case: None},
            gives=False,
            urgent=True,
            companions=lambda entries: [row(entries)],
        )
    )


def _root(store: EventStore, session: SessionSeen) -> bytes:
    return event_batch.root(commitments(store, session.source, session.numbers))


def row(entries: Sequence[Entry]) -> CaseRow:
    """Its line in the lists."""
    first = entries[0].header
    record = records.parse(first)
    if not isinstance(record, records.SessionObserved):
        raise TypeError("not an observed session")
    at = moment.text(first.at)
    return CaseRow(
        case=first.case,
        kind="session",
        state=record.standing,
        requester="",
        resource=record.resource,
        role="",
        groups=(),
        marked=False,
        opened_at=at,
        changed_at=at,
        until=None,
        about=record.about,
        records=len(entries),
        closed=True,
    )


def _told(session: SessionSeen) -> dict[str, Any]:
    """What is sealed: names and addresses are somebody's."""
    return {
        "account": session.account,
        "clients": list(session.clients[:100]),
        "cut": session.cut,
        "events": list(_ranges(session.numbers)),
        "killed": session.killed,
        "session": session.session,
    }


def _ranges(numbers: Iterable[int]) -> Iterable[list[int]]:
    """Runs of numbers, as first and last of each."""
    run: list[int] = []
    for number in numbers:
        if run and number == run[1] + 1:
            run[1] = number
        else:
            if run:
                yield run
            run = [number, number]
    if run:
        yield run


def _whole(at: datetime | None) -> datetime | None:
    return None if at is None else moment.whole(at)
