"""Carry evidence away, and erase a section: what takes sealed content out, one way or the other."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.access.counters import erased_counter, own_word_counter
from muniment.errors import (
    Conflict,
    EvidenceError,
    LogUnavailable,
    Malformed,
    NotFound,
    NotPermitted,
    Unavailable,
)
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry
from muniment.operations import campaigns, findings, permit, retain, scope
from muniment.operations.attempts import until_it_stands
from muniment.operations.drift import SCANS
from muniment.operations.erase import RUNS, erase_section
from muniment.operations.export import Plan, assemble, cover, plan
from muniment.operations.health import MEASUREMENTS
from muniment.operations.hold import HOLDS
from muniment.operations.order_removal import REMOVALS
from muniment.operations.projection import known
from muniment.operations.publish import publish_with_stamps
from muniment.operations.service import Caller, Service, close, record_of
from muniment.oversight.retention import RULE

#: begin the ids of scans of targets, of removals that were ordered, of measurements, and of runs
_LOOKED: Final = (f"{SCANS}_", f"{REMOVALS}_", f"{MEASUREMENTS}_", f"{RUNS}_")
#: begin the ids of cases that are about several people
_ABOUT_OTHERS: Final = (findings.FINDINGS, f"{campaigns.CAMPAIGNS}_", f"{HOLDS}_")
#: begin cases that are open for as long as somebody needs to know what for
_NEEDED: Final = (
    records.HoldPlaced.KIND,
    records.FindingRaised.KIND,
    records.CampaignOpened.KIND,
    records.ReviewOpened.KIND,
)
#: sessions that a bundle carries
MOST_SESSIONS: Final = 100
_PRINCIPAL: Final = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)


async def export(service: Service, caller: Caller, case: str, heads: Sequence[bytes] = ()) -> bytes:
    """
    The evidence bundle of an access case, a finding, a review, a drift scan, an ordered removal, a
    hold, a run that erases, or of a year of measurements.

    That it was taken, by whom and how far, is its last record.

    `heads` are checkpoints that the reader keeps; the bundle shows that it extends them.
    Raises `NotFound`, `NotPermitted`, and `Malformed` for a checkpoint that is not this log's.
    """
    check_may_export(service, caller, case)
    sizes = [size_of(service, head) for head in heads]
    bundle: bytes = await until_it_stands(lambda: _export(service, caller, case, sizes))
    return bundle


def check_may_export(service: Service, caller: Caller, case: str) -> None:
    """Raises `NotFound` or `NotPermitted`."""
    if case.startswith(f"{campaigns.CAMPAIGNS}_"):
        campaigns.check_may_export(service, caller, case)
        return
    if case.startswith(f"{HOLDS}_"):
        permit.require_one(service, caller, "hold", "audit")
        permit.require(service, caller, "export")
        return
    if case.startswith(_LOOKED):
        permit.require(service, caller, "read")
        permit.require(service, caller, "export")
        return
    if not case.startswith(findings.FINDINGS):
        state, _ = service.read(case)
        permit.require(service, caller, "read", state)
        permit.require(service, caller, "export", state)
        return
    finding, _ = findings.read(service, case)
    findings.check_readable(service, caller, finding)
    if not scope.reads_all(service, caller) and scope.audits_finding(
        service, caller, finding, "read", "export"
    ):
        return
    decision = permit.ask_on_finding(service, caller, "export", finding)
    if decision.outcome != "permit":
        service.count("not-permitted")
        raise NotPermitted(f"you may not `export` this finding: {permit.refusal(decision)}")


async def _export(service: Service, caller: Caller, case: str, sizes: Sequence[int]) -> bytes:
    planned = plan_of(service, caller, case, sizes)
    export_case, now = service.new_case(), service.now()
    exported = planned.record(service.actor(caller)).draft(
        export_case, now, follows=planned.follows, documents=planned.documents
    )
    appended = await service.append(
        Proposal(
            drafts=tuple(close([exported], export_case, 0, now)),
            reads={export_case: None, **planned.reads},
            gives=False,
        )
    )
    if service.publishing.rules is not None or service.publishing.authorities:
        await cover(partial(publish_with_stamps, service), appended.entries[0].index + 1)
    return assemble(service.log, planned, appended.entries[0])


def plan_of(service: Service, caller: Caller, case: str, sizes: Sequence[int]) -> Plan:
    """What the bundle of a case shows to whoever may export it."""
    exporter = service.log.read_entry(caller.principal.index)
    review = service.registry.reviews.get(case)
    reviewed = service.log.read_case(review) if review is not None else []
    rules = service.publishing.rules
    return plan(
        service.log,
        service.registry,
        service.erasures,
        case,
        give=partial(_gives, case, _actors(service, case)),
        follows=(exporter, *reviewed, *_observed(service, case), *_named(service, case)),
        sizes=sizes,
        witness_policy=b"" if rules is None else rules.text.encode("utf-8", "surrogateescape"),
    )


def _actors(service: Service, case: str) -> frozenset[str]:
    entries = service.log.read_case(case) if case.startswith(f"{RUNS}_") else ()
    return frozenset(entry.header.body["actor"]["principal"] for entry in entries)


def _gives(case: str, actors: frozenset[str], entry: Entry, _section: str) -> bool:
    """
    Whoever may export a case gets all of it.

    A finding or a review that ended it, about others too, is not of it. Of a run that erases are
    those who wanted it: what it erased is of cases that its reader may not see.
    """
    of = entry.header.case
    if case.startswith(f"{RUNS}_"):
        return of == case or of in actors
    return of == case or not of.startswith(_ABOUT_OTHERS)


def _named(service: Service, case: str) -> Iterator[Entry]:
    """Who those are that the words of a finding name: a reader without the log knows no ids."""
    if not case.startswith(findings.FINDINGS):
        return
    entries = service.log.read_case(case)
    said = (service.section(entries[0], "detail") or {}) if entries else {}
    for id_ in dict.fromkeys(_PRINCIPAL.findall(said.get("summary", ""))):
        principal = service.registry.principals.get(id_)
        if principal is not None:
            yield service.log.read_entry(principal.index)


def _observed(service: Service, case: str) -> list[Entry]:
    """What was recorded of the sessions of a grant; the newest of them, where there are many."""
    rows = service.projections.cases(kind="session", about=case, limit=MOST_SESSIONS)
    found = (service.log.read_case(row.case)[0] for row in known(service.log, reversed(rows)))
    return [entry for entry in found if _is_about(entry, case)]


def _is_about(entry: Entry, case: str) -> bool:
    """The lists are no evidence."""
    record = records.parse(entry.header)
    return isinstance(record, records.SessionObserved) and record.about == case


def size_of(service: Service, head: bytes) -> int:
    """Of a checkpoint that somebody keeps. Raises `Malformed` for one that is not this log's."""
    try:
        return service.log.keys.recognise(head).size
    except EvidenceError as error:
        raise Malformed("a head that this log did not sign: keep it, and look why") from error


async def erase(service: Service, caller: Caller, record_id: str, section: str, rule: str) -> None:
    """
    Erase one section for good: recorded first, then in the ledger, then in the database.

    Whoever asked for access cannot erase what was recorded of it; nobody erases what is held, or
    younger than its class lets it be, nor in one day more than one person may. Safe to repeat.
    """
    permit.require(service, caller, "erase")
    if rule.startswith(RULE):
        raise Malformed(f"a rule that begins with `{RULE}` is that of a class: name your own")
    case, _, position = record_id.partition("/")
    entry = _entry(service, case, position)
    if section not in entry.header.sections:
        raise NotFound(f"`{record_id}` has no section `{section}`")
    _check_not_own(service, caller, entry)
    _check_not_active(service, entry)
    await until_it_stands(lambda: _record(service, caller, entry, section, rule))
    said = service.erasures.rule_of(record_id, section) or rule
    try:
        await asyncio.to_thread(erase_section, service.log, service.ledger, entry, section, said)
    except LogUnavailable:
        service.erasures.unfinished = True  # the upkeep goes on
        raise
    if entry.header.kind in (records.PrincipalEnrolled.KIND, records.GroupDefined.KIND):
        service.forget_identity(case)


async def _record(service: Service, caller: Caller, entry: Entry, section: str, rule: str) -> None:
    """A run of one section, wanted by one person: like every other, under what is in force."""
    record, of = entry.header.id, entry.header.case
    grounds, persons = (
        service.rests_on(caller.principal),
        service.registry.persons(caller.principal),
    )
    counters = (erased_counter(of), *map(own_word_counter, persons))
    reads = {**grounds.reads, **service.files_in_force()}
    reads |= {key: service.log.head(key) for key in (of, *counters)}
    keeping, in_force = retain.keeping(service), service.registry.configuration
    if service.erasures.rule_of(record, section) is not None:
        return
    if in_force is None:
        raise Unavailable("no configuration was ever put in force; nothing can be erased")
    _check_not_open(service, of)
    _check_one_may(service, persons)
    if service.erasures.rules.classes or service.erasures.holding.standing():
        kept = await retain.walk(service, retain.find, record, section)
        keeping = retain.keeping(service)
        if kept is not None:
            retain.check_may_go(service, kept)
    run, now, actor = service.new_case(RUNS), service.now(), service.actor(caller)
    proposed = records.ErasureProposed(
        actor=actor, as_of=now, size=service.log.size, configuration=in_force.digest,
        sections=1, batches=0, rules={rule: 1}, people=1,
        listed=sha256(f"{record} {section} {rule}".encode()).digest(),
    )  # fmt: skip
    erased = records.RecordErased(actor=actor, record=record, section=section, rule=rule)
    by = caller.principal.leaf
    drafts = [
        proposed.draft(run, now, follows=(by,)),
        erased.draft(run, now, follows=(entry.leaf, by)),
    ]
    await service.append(
        Proposal(
            drafts=tuple(close(drafts, run, 0, now)),
            reads={**reads, **keeping, run: None},
            gives=False,
        )
    )


def _check_one_may(service: Service, persons: Sequence[str]) -> None:
    """By the log: on whatever node, and before or after whatever restart, he erased before."""
    above, now = service.erasures.rules.two_people_above, service.now()
    if above == 0:
        raise Conflict("it takes two to erase anything here: `muniment retention run`")
    if any(service.erasures.by_own_word(each, now) >= above for each in persons):
        raise Conflict(
            f"you have erased {above} sections by your own word within a day; above that it takes "
            "two: `muniment retention run`"
        )


def _entry(service: Service, case: str, position: str) -> Entry:
    entries = service.log.read_case(case)
    if not position.isdecimal() or int(position) >= len(entries):
        raise NotFound(f"there is no record `{case}/{position}`")
    return entries[int(position)]


def _check_not_active(service: Service, entry: Entry) -> None:
    """Nobody who can still act becomes nameless: the files would enrol him a second time."""
    known = service.registry.principals.get(entry.header.case)
    if known is not None and known.active and known.leaf == entry.leaf:
        raise Conflict("this is the identity of somebody who is active; disable the account first")


def _check_not_open(service: Service, case: str) -> None:
    """What somebody looks into, or holds, is said as long as he does."""
    entries = service.log.read_case(case)
    first, last = entries[0], entries[-1]
    if first.header.kind in _NEEDED and last.header.kind != records.CaseClosed.KIND:
        raise Conflict(f"`{case}` is open, and this says what it is for: erase it once it is over")


def _check_not_own(service: Service, caller: Caller, entry: Entry) -> None:
    if entry.header.kind.startswith("principal:") and entry.header.case == caller.principal.id:
        raise NotPermitted("nobody erases his own records")
    own = set(service.registry.persons(caller.principal))
    if own & set(record_of(entry).actor.persons):
        raise NotPermitted("nobody erases what he has said or done himself")
    entries = service.log.read_case(entry.header.case)
    first = entries[0].header
    if first.kind == records.FindingRaised.KIND and own & set(findings.fold(entries).subjects):
        raise NotPermitted("nobody erases what was found about him")
    if first.kind == records.CampaignOpened.KIND and any(
        own & set(item.barred) for item in campaigns.glance(service, first.case).items.items
    ):
        raise NotPermitted("nobody erases what was said in a review of his own access")
    for case in {first.case, *_about(entry), *_about(entries[0])}:
        if own & _asked_for(service, case):
            raise NotPermitted("nobody erases records of his own access")


def _about(entry: Entry) -> set[str]:
    """Cases that a record names."""
    about = entry.header.body.get("about", ())
    return {each.partition("/")[0] for each in ([about] if isinstance(about, str) else about)}


def _asked_for(service: Service, case: str) -> set[str]:
    """Persons behind whoever asked for access in it; nobody where that is no such case."""
    entries = service.log.read_case(case)[:1]
    if not entries or entries[0].header.kind != records.AccessRequested.KIND:
        return set()
    return set(record_of(entries[0]).actor.persons)
