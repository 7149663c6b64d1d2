"""
Carry the evidence of a whole period away: one record for all of it, then bundle after bundle.

The record stands before anything is handed out. It has the list of the cases as far as they went
then, so that whoever holds the archive can show that it is all of it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Final

from muniment.access import archive, records
from muniment.access.archive import Listed
from muniment.errors import LogInvalid, Malformed, NotFound, NotPermitted
from muniment.evidence import excerpt, moment
from muniment.evidence.append import Proposal
from muniment.evidence.excerpt import Heading
from muniment.evidence.keys import only
from muniment.evidence.store import Entry
from muniment.operations import carry_away, delegation, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.export import Plan, assemble, cover
from muniment.operations.publish import publish_with_stamps
from muniment.operations.service import Caller, Service, close
from muniment.ports import CaseRow

#: begins the ids of archives
ARCHIVES: Final = "arc"
#: kinds of cases that an archive has, as they stand in the lists
KINDS: Final = ("access", "finding", "campaign")
#: bundles of one answer
MOST_BUNDLES: Final = 100
#: policies of one period that are carried along; who changes them more often has them in the cases
MOST_POLICIES: Final = 50
_MOST_RESOURCES: Final = 100
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 2, tzinfo=UTC)
#: entries of other nodes may be that much out of the order of their times
_SKEW: Final = timedelta(minutes=10)
#: a list that took no longer is of now
_SOON: Final = timedelta(minutes=1)
_PAGE: Final = 500


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which cases: those that were opened at or after, and before; empty: of all resources."""

    since: datetime
    until: datetime
    resources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _EARLIEST <= self.since < self.until <= _LATEST:
            raise Malformed("the period ends before it begins, or lies beyond all records")
        if len(self.resources) > _MOST_RESOURCES:
            raise Malformed(f"name at most {_MOST_RESOURCES} resources, or none for all of them")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An archive that was recorded and is not yet carried away."""

    case: str
    record: records.ArchiveExported
    #: those of the listed cases of which sources said something: they have events
    observed: tuple[str, ...] = field(default=(), repr=False)


async def open_archive(service: Service, caller: Caller, wanted: Wanted) -> Opened:
    """
    Record that the caller takes away what he may of a period, and list it.

    Raises `NotFound` where there is nothing that he may take.
    """
    found, size = await asyncio.to_thread(_list_all, service, caller, wanted)
    if not found.listed:
        raise NotFound("there is nothing in this period that you may take away")
    parts = await asyncio.to_thread(archive.documents, found.listed)
    case, now = service.new_case(ARCHIVES), service.now()
    record = records.ArchiveExported(
        actor=service.actor(caller),
        since=moment.whole(wanted.since),
        until=moment.whole(wanted.until),
        resources=wanted.resources,
        size=size,
        cases=len(found.listed),
        beyond=found.beyond,
        listed=archive.digest_of(parts),
    )
    policies = _policies(service, wanted)
    draft = record.draft(
        case,
        now,
        follows=(caller.principal.leaf, *(entry.leaf for entry in policies)),
        documents=parts,
    )
    await service.append(
        Proposal(drafts=tuple(close([draft], case, 0, now)), reads={case: None}, gives=False)
    )
    return Opened(case=case, record=record, observed=tuple(found.observed))


async def carry(service: Service, caller: Caller, case: str, heads: Sequence[bytes] = ()) -> bytes:
    """
    The bundle of an archive itself: its list, and the policies that were in force.

    `heads` are checkpoints that the reader keeps; the bundle shows that it extends them.
    """
    _own(service, caller, case)
    sizes = [carry_away.size_of(service, head) for head in heads]
    found = await _record(service, caller, [case], sizes)
    return (await asyncio.to_thread(lambda: b"".join(found.lines()))).rstrip(b"\n")


async def bundles(service: Service, caller: Caller, cases: Sequence[str]) -> "Bundles":
    """
    The bundles of these cases, a line for each; that they were taken is recorded first, at once.

    Raises what `carry_away.export` raises, before anything is recorded.
    """
    if not 0 < len(cases) <= MOST_BUNDLES or len(set(cases)) < len(cases):
        raise Malformed(f"name 1 to {MOST_BUNDLES} different cases, not {len(cases)}")
    await asyncio.to_thread(_check_all, service, caller, cases)
    return await _record(service, caller, cases)


@dataclass(frozen=True, kw_only=True)
class Bundles:
    """What was recorded, and is to be written out."""

    service: Service = field(repr=False)
    plans: tuple[Plan, ...]
    exports: tuple[Entry, ...]

    def lines(self) -> Iterator[bytes]:
        """One after the other: what is erased meanwhile ends it, and is to be asked for again."""
        for plan, export in zip(self.plans, self.exports, strict=True):
            yield assemble(self.service.log, plan, export) + b"\n"


def log_of(service: Service, caller: Caller, case: str) -> Iterator[bytes]:
    """
    The excerpt of the log over the period of an archive, piece by piece.

    Every entry of the period is shown, word for word: so no case of it can be left out.
    """
    entry = _own(service, caller, case)
    _check_whole_log(service, caller)
    record = records.parse(entry.header)
    if not isinstance(record, records.ArchiveExported):
        raise LogInvalid(f"`{case}` is no archive")
    covering = service.log.store.checkpoint_at_or_after(entry.index + 1)
    if covering is None:
        raise LogInvalid(f"no checkpoint covers entry {entry.index}")
    size, note = covering
    # one entry more on either side shows where the period begins and ends
    first = max(0, _first_at(service, record.since - _SKEW, size) - 1)
    last = min(size, max(first, _first_at(service, record.until + _SKEW, size)) + 1)
    apart = sorted({0, entry.index, *(each for each in service.registry.keys if each < size)})
    places = (
        *(range(each, each + 1) for each in apart if each < first),
        range(first, last),
        *(range(each, each + 1) for each in apart if each >= last),
    )
    shown = chain.from_iterable(
        service.log.store.entries(place.start, place.stop) for place in places if place
    )
    heading = Heading(checkpoint=only(note, [service.log.keys.shown(size)]))
    return excerpt.write(heading, size, shown, service.log.nodes(size))


def _check_whole_log(service: Service, caller: Caller) -> None:
    """An excerpt that left some cases out would prove of none that it is all."""
    decisions = [permit.ask(service, caller, each, None) for each in ("follow", "audit")]
    if all(each.outcome != "permit" for each in decisions):
        service.count("not-permitted")
        raise NotPermitted(
            "an excerpt shows every case of its time, whatever it is about: it takes the right to "
            f"`audit` or to `follow` all of the log; {'; '.join(decisions[-1].why)}"
        )


# --- which cases ------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Found:
    listed: list[Listed] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    beyond: int = 0
    #: case ids of all of them
    seen: set[str] = field(default_factory=set)


def _list_all(service: Service, caller: Caller, wanted: Wanted) -> tuple[_Found, int]:
    """
    Every case of the period, and the size of the log as of which that is all.

    A long list takes its time: what was opened meanwhile is added, until hardly any time is left.
    """
    found, asked = _Found(), wanted
    while True:
        size, began = service.log.size, service.now()
        _list(service, caller, asked, size, found)
        if service.now() - began <= _SOON:
            return found, size
        since = max(wanted.since, began - _SKEW)
        if since >= wanted.until:
            return found, service.log.size  # nothing more is opened in the past
        asked = replace(wanted, since=since)


def _list(service: Service, caller: Caller, wanted: Wanted, size: int, found: _Found) -> None:
    everything = _may_all(service, caller)
    for row in chain.from_iterable(_rows(service, kind, wanted) for kind in KINDS):
        if row.case in found.seen:
            continue
        entries = [each for each in service.log.read_case(row.case) if each.index < size]
        if not entries or not archive.is_of(wanted.resources, entries[0].header):
            continue  # it came after the list was begun, or is about something else
        found.seen.add(row.case)
        if not _may(service, caller, row, everything=everything):
            found.beyond += 1
            continue
        found.listed.append(Listed.of(row.case, [entry.leaf for entry in entries]))
        if row.kind == "access" and _observed(service, row.case):
            found.observed.append(row.case)


def _rows(service: Service, kind: str, wanted: Wanted) -> Iterator[CaseRow]:
    since, until = moment.text(wanted.since), moment.text(wanted.until)
    before: str | None = None
    while True:
        rows = service.projections.cases(kind=kind, before=before, limit=_PAGE)
        for row in rows:
            if row.opened_at < since:
                return
            # what its resources are a review says itself
            named = row.kind == "campaign" or row.resource in wanted.resources
            if row.opened_at < until and (named or not wanted.resources):
                yield row
        if len(rows) < _PAGE:
            return
        before = rows[-1].case


def _may_all(service: Service, caller: Caller) -> bool:
    """Whether he may read and export all cases, so that no single one has to be asked about."""
    return all(
        permit.ask(service, caller, operation, None).outcome == "permit"
        for operation in ("read", "export")
    )


def _may(service: Service, caller: Caller, row: CaseRow, *, everything: bool) -> bool:
    if everything:
        return row.kind != "access" or delegation.covers(caller, row.resource, row.role)
    try:
        carry_away.check_may_export(service, caller, row.case)
    except (NotFound, NotPermitted):
        return False
    return True


def _check_all(service: Service, caller: Caller, cases: Sequence[str]) -> None:
    for case in cases:
        carry_away.check_may_export(service, caller, case)


def _observed(service: Service, case: str) -> bool:
    return bool(service.projections.cases(kind="session", about=case, limit=1))


def _policies(service: Service, wanted: Wanted) -> list[Entry]:
    """Those that were in force at some time of the period, the newest of them."""
    in_force = service.registry.policy
    if in_force is None:
        return []
    entries = [e for e in service.log.read_case(in_force.case) if e.header.at < wanted.until]
    before = [entry for entry in entries if entry.header.at <= wanted.since]
    begun = before[-1:] + [entry for entry in entries if entry.header.at > wanted.since]
    return begun[-MOST_POLICIES:]


# --- writing them out -------------------------------------------------------------------------


def _own(service: Service, caller: Caller, case: str) -> Entry:
    """The record of an archive that the caller opened; nobody else is told that there is one."""
    entries = service.log.read_case(case) if case.startswith(f"{ARCHIVES}_") else []
    record = records.parse(entries[0].header) if entries else None
    if record is None or record.actor.principal != caller.principal.id:
        raise NotFound(f"there is no archive `{case}` of yours")
    return entries[0]


async def _record(
    service: Service, caller: Caller, cases: Sequence[str], sizes: Sequence[int] = ()
) -> Bundles:
    recorded: Bundles = await until_it_stands(lambda: _attempt(service, caller, cases, sizes))
    if service.publishing.rules is not None or service.publishing.authorities:
        newest = max(entry.index for entry in recorded.exports)
        await cover(partial(publish_with_stamps, service), newest + 1)
    return recorded


async def _attempt(
    service: Service, caller: Caller, cases: Sequence[str], sizes: Sequence[int]
) -> Bundles:
    plans = await asyncio.to_thread(
        lambda: tuple(carry_away.plan_of(service, caller, case, sizes) for case in cases)
    )
    now, actor = service.now(), service.actor(caller)
    drafts, reads = [], dict[str, bytes | None]()
    for plan in plans:
        case = service.new_case()
        exported = plan.record(actor).draft(
            case, now, follows=plan.follows, documents=plan.documents
        )
        drafts += close([exported], case, 0, now)
        reads |= {case: None, **plan.reads}
    appended = await service.append(Proposal(drafts=tuple(drafts), reads=reads, gives=False))
    exports = [e for e in appended.entries if e.header.kind == records.EvidenceExported.KIND]
    return Bundles(service=service, plans=plans, exports=tuple(exports))


def _first_at(service: Service, at: datetime, size: int) -> int:
    """Index of the first entry that is not earlier; `size` where all are."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if service.log.read_entry(middle).header.at < at:
            low = middle + 1
        else:
            high = middle
    return low
