"""
Record that somebody reads what is others', by right of audit: before he is answered.

What is his own, or waits for his approval, is no such thing: the right to see it is part of the
case, and everybody could fill the log with it; but that he takes raw events of it away is. Of one
reader and one thing there is one record an hour; its id is derived, so that nodes need not ask one
another whether there is one.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.errors import NotFound, Stale
from muniment.evidence import canonical, moment
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.facts import case_facts
from muniment.operations.projection import known
from muniment.operations.service import Caller, Service, close
from muniment.ports import CaseRow

#: begins the ids of these records' cases, and the kind of their lines in the lists
READS: Final = "rea"
KIND: Final = "read"
MOST: Final = 500
#: of each thing that was asked for, so many characters are kept
_MOST_TEXT: Final = 400


async def of_case(service: Service, caller: Caller, case: AccessCase) -> None:
    """That an access case is read; nothing where it is the reader's own, or he may approve it."""
    if not is_close_to(service, caller, case):
        await note(service, caller, "case", about=case.id, count=1)


async def of_events(
    service: Service,
    caller: Caller,
    case: str | None,
    count: int,
    query: Mapping[str, Any] | None = None,
) -> None:
    """That raw events were taken, of one's own case, too: no erasure reaches the file."""
    await note(service, caller, "events", about=case or "", query=query, count=count)


async def of_index(service: Service, caller: Caller, case: str) -> None:
    """That it was proved where a case ended, or that there is none."""
    row = service.projections.case_row(case)
    own = row is not None and row.kind == "access"
    if not own or not is_close_to(service, caller, service.read(case)[0]):
        await note(service, caller, "index", about=case, count=1)


async def note(
    service: Service,
    caller: Caller,
    what: str,
    *,
    about: str = "",
    query: Mapping[str, Any] | None = None,
    count: int = 0,
) -> None:
    """
    That `what` is read: once an hour for the same reader, thing and query.

    Raises `LogUnavailable` where that cannot be recorded: then there is no answer, either.
    """
    asked = canonical.encode(_plain(query or {}))
    now = service.now()
    case = _case_of(service, caller, what, about, asked, now)
    if service.log.head(case) is not None:
        return
    record = records.EvidenceRead(actor=service.actor(caller), what=what, about=about, count=count)
    draft = record.draft(
        case,
        now,
        follows=(caller.principal.leaf,),
        sections={"query": asked} if query else {},
    )
    proposal = Proposal(
        drafts=tuple(close([draft], case, 0, now)),
        reads={case: None},
        gives=False,
        companions=lambda entries: [row(entries)],
    )
    try:
        await service.append(proposal)
    except Stale:
        return  # the same reader asked twice at once, and the other was recorded


def is_close_to(service: Service, caller: Caller, case: AccessCase) -> bool:
    """Whether the case is the reader's own, of somebody he answers for, or his to approve."""
    principal = service.registry.principals[caller.principal.id]
    about = case_facts(service, case)
    own = set(service.registry.persons(principal)) & about.persons
    return bool(own) or bool(principal.groups & about.approver_groups)


def _plain(query: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as text."""
    given = {name: value for name, value in query.items() if value not in (None, "", [], ())}
    return {name: str(value)[:_MOST_TEXT] for name, value in given.items()}


def _case_of(
    service: Service, caller: Caller, what: str, about: str, asked: bytes, now: datetime
) -> str:
    """Tells nothing to whoever has not the installation's key."""
    hour = moment.text(now)[:13]
    named = f"muniment-read/v1\0{caller.principal.id}\0{what}\0{about}\0{hour}\0".encode() + asked
    digest = hmac.digest(service.sealing_key, named, sha256)[:16]
    return f"{READS}_{base64.b32encode(digest).decode().rstrip('=').lower()}"


def row(entries: Sequence[Entry]) -> CaseRow:
    """Its line in the lists: the reader is the requester, and what he read the role."""
    first = entries[0].header
    record = records.parse(first)
    if not isinstance(record, records.EvidenceRead):
        raise TypeError("not a record of reading")
    at = moment.text(first.at)
    return CaseRow(
        case=first.case,
        kind=KIND,
        state=record.what,
        requester=record.actor.principal,
        resource="",
        role=record.what,
        groups=(),
        marked=False,
        opened_at=at,
        changed_at=at,
        until=None,
        about=record.about,
        records=len(entries),
        closed=True,
    )


# --- looking ----------------------------------------------------------------------------------


async def reads(
    service: Service, caller: Caller, *, by: str = "", about: str = "", before: str | None = None
) -> list[CaseRow]:
    """
    Who read what, the newest first; `by` is a login or a principal id, `about` a case.

    Reading this is recorded as well. Raises `NotPermitted` without the right to audit.
    """
    permit.require(service, caller, "audit")
    reader = _reader(service, by)
    found = service.projections.cases(
        kind=KIND, requester=reader, about=about or None, before=before, limit=MOST
    )
    query = {"by": by, "case": about}
    await note(service, caller, "reads", query=query, count=len(found))
    return [*known(service.log, found)]


def told(service: Service, found: CaseRow) -> dict[str, Any]:
    """One of them, with what was asked for, as far as that is not erased."""
    entry = service.log.read_case(found.case)[0]
    query = service.section(entry, "query") if "query" in entry.header.sections else {}
    return {
        "record": entry.header.id,
        "index": entry.index,
        "at": found.opened_at,
        "by": found.requester,
        "what": found.role,
        "case": found.about,
        "query": query,
    }


def _reader(service: Service, by: str) -> str | None:
    if not by:
        return None
    if by in service.registry.principals:
        return by
    if by not in service.names:
        raise NotFound(f"nobody here has the login `{by}`")
    return service.names[by]
