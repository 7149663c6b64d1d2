"""
Runs that erase what has come to its end: proposed, wanted by as many as it takes, carried out.

What is proposed is a list as of one moment and one size of the log, by its digest alone: whoever
approves has it found anew. What is held, or looked at, by the time that it is erased is left out:
each erasure is appended on the heads of all that keeps something, so that none passes a hold, a
finding or a review that was recorded before it. What a crash cut short goes on by itself.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from muniment.access import counters, records
from muniment.access.counters import erased_counter
from muniment.access.holding import Run
from muniment.errors import Conflict, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.operations import permit, retain
from muniment.operations.attempts import until_it_stands
from muniment.operations.beginnings import check_meant, one_of
from muniment.operations.erase import RUNS, Erasing, erase_sections, finish
from muniment.operations.erase_events import (
    finish_events,
    in_the_store,
    left_of,
    record_of,
)
from muniment.operations.service import Caller, Service, close
from muniment.oversight.erasure_plan import Going, GoingBatch, Plan
from muniment.oversight.retention import RULE

#: sections that are recorded together, and whose bytes are erased together
RECORDED, ERASED = 500, 5000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What was found, and the run that was opened for it; none where there is nothing to do."""

    plan: Plan
    run: Run | None


async def dry_run(service: Service, caller: Caller) -> Plan:
    """What would go at this moment, and under which rule. Nothing is recorded."""
    permit.require(service, caller, "read")
    return await retain.walk(service, retain.look, service.now())


async def propose(service: Service, caller: Caller) -> Proposed:
    """
    Find what has come to its end, and want it erased.

    It takes the place of what was proposed before and has not begun. Raises `NotPermitted`.
    """
    _check_may(service, caller)
    return await _propose(service, caller)


async def propose_by_itself(service: Service) -> Proposed:
    """The same on a schedule: nobody wants it yet. One that somebody wants already stays."""
    runs = service.erasures.holding.open_runs()
    # of one that the configuration has overtaken nothing can come any more
    waiting = [each for each in runs if each.persons and _is_in_force(service, each)]
    if waiting:
        found = await retain.walk(service, retain.look, service.now())
        return Proposed(plan=found, run=waiting[-1])
    return await _propose(service, None)


async def _propose(service: Service, caller: Caller | None) -> Proposed:
    proposed: Proposed = await until_it_stands(lambda: _attempt(service, caller))
    return proposed


async def _attempt(service: Service, caller: Caller | None) -> Proposed:
    files, now = service.files_in_force(), service.now()
    grounds = {} if caller is None else service.rests_on(caller.principal).reads
    grounds[counters.RUNS] = service.log.head(counters.RUNS)  # before what is open is looked at
    in_force = service.registry.configuration
    found = await retain.walk(service, retain.look, now)
    if not len(found) or in_force is None:
        return Proposed(plan=found, run=None)
    case, drafts, reads = service.new_case(RUNS), list[Draft](), dict[str, bytes | None]()
    for before in service.erasures.holding.open_runs():
        if before.state == "begun":
            raise Conflict(f"`{before.id}` is erasing at this moment; look again when it is done")
        drafts += close([], before.id, before.length, now)
        reads[before.id] = before.head
    record = records.ErasureProposed(
        actor=records.SERVICE if caller is None else service.actor(caller),
        as_of=moment.whole(now),
        size=found.size,
        configuration=in_force.digest,
        sections=len(found.sections),
        batches=len(found.batches),
        rules=found.rules,
        listed=found.listed,
        people=_people(service, found, caller),
    )
    follows = () if caller is None else (caller.principal.leaf,)
    drafts.append(record.draft(case, now, follows=follows))
    await service.append(
        Proposal(drafts=tuple(drafts), reads={**grounds, **files, **reads, case: None}, gives=False)
    )
    return Proposed(plan=found, run=service.erasures.holding.runs[case])


def _people(service: Service, found: Plan, caller: Caller | None) -> int:
    """How many have to want it."""
    rules = service.erasures.rules
    if len(found) > rules.two_people_above or found.events > rules.two_people_above_events:
        return 2
    return 0 if caller is None and rules.automatic else 1


async def approve(service: Service, caller: Caller, case: str) -> Run:
    """
    Want the same: the list is found anew, and has to be the one that was proposed.

    The id has to be as long as lists show it. Raises `NotFound`, `NotPermitted`, `Malformed`, and
    `Conflict` where something else would go by now.
    """
    _check_may(service, caller)
    check_meant(case, "run")
    await until_it_stands(lambda: _approve(service, caller, case))
    return find(service, case)


async def _approve(service: Service, caller: Caller, beginning: str) -> None:
    run, person = find(service, beginning), caller.principal.person
    if run.closed or run.state == "begun":
        raise Conflict(f"this run is {run.state} already")
    if person in run.persons:
        raise NotPermitted("you want it already: somebody else has to")
    grounds, files = service.rests_on(caller.principal), service.files_in_force()
    if not await _is_as_proposed(service, run):
        raise Conflict(
            "something else would go by now: the configuration changed since; "
            "`muniment retention run` proposes it anew"
        )
    approved = records.ErasureApproved(actor=service.actor(caller), person=person)
    draft = approved.draft(run.id, service.now(), follows=(caller.principal.leaf,))
    reads = {**grounds.reads, **files, run.id: run.head}
    await service.append(Proposal(drafts=(draft,), reads=reads, gives=False))


def _is_in_force(service: Service, run: Run) -> bool:
    """Whether the classes are those that it was proposed under."""
    in_force = service.registry.configuration
    return in_force is not None and in_force.digest == run.proposed.configuration


async def _is_as_proposed(service: Service, run: Run) -> bool:
    proposed = run.proposed
    if not _is_in_force(service, run):
        return False
    found = await retain.walk(service, retain.look, proposed.as_of, proposed.size)
    return found.listed == proposed.listed


def _check_may(service: Service, caller: Caller) -> None:
    permit.require(service, caller, "erase")
    if caller.principal.type != "human":
        raise NotPermitted("what is erased is wanted by people, or by the schedule")


# --- carrying out -------------------------------------------------------------------------------


def is_due(service: Service) -> bool:
    """Whether a run is to go on, or to be proposed by the schedule."""
    erasures = service.erasures
    if erasures.unfinished or any(r.state == "begun" for r in erasures.holding.open_runs()):
        return True
    every = service.erasures.rules.every
    return every is not None and _is_time(service, every)


def _is_time(service: Service, every: timedelta) -> bool:
    """By the log: no two nodes, and no two lives of one, propose one after the other."""
    now, looked = service.now(), service.erasures.looked_at
    runs = [run for run in list(service.erasures.holding.runs.values()) if not _is_own_word(run)]
    last = [run.proposed_at for run in runs[-1:] if run.proposed_at is not None]
    last += [looked] if looked is not None else []
    return not last or now - max(last) >= every


def _is_own_word(run: Run) -> bool:
    """Whether no class is behind it: somebody erased one section by hand."""
    return not any(rule.startswith(RULE) for rule in run.proposed.rules)


async def keep_up(service: Service) -> None:
    """Finish what could not be; carry out what was begun; else propose what the schedule finds."""
    if service.erasures.unfinished:
        await asyncio.to_thread(_finish_recorded, service)
    begun = [run for run in service.erasures.holding.open_runs() if run.state == "begun"]
    for run in begun:
        await carry_out(service, run.id)
    every = service.erasures.rules.every
    if not begun and every is not None and _is_time(service, every):
        service.erasures.looked_at = service.now()
        proposed = await propose_by_itself(service)
        if proposed.run is not None and proposed.run.state == "begun":
            await carry_out(service, proposed.run.id)


async def carry_out(service: Service, case: str) -> Run:
    """
    Erase what a run that has begun is about, and close it. Goes on where it was left.

    Raises `LogUnavailable` or `Unavailable` where bytes may be left: it is to be done again.
    """
    run = find(service, case)
    if run.state != "begun":
        raise Conflict(f"this run is {run.state}; it takes {run.missing} more to want it")
    if run.sections or run.events or service.erasures.unfinished:
        await asyncio.to_thread(_finish_recorded, service)
    wanted = await retain.walk(service, _wanted, run)
    if wanted is None:
        _log.warning("run %s ends: the configuration that it was proposed under is gone", case)
    else:
        await _erase_wanted(service, case, wanted)
    await until_it_stands(lambda: _close(service, case))
    return find(service, case)


async def _erase_wanted(service: Service, case: str, wanted: "_Wanted") -> None:
    going = await retain.walk(service, wanted.still)
    for some in _pieces(going.sections, ERASED):
        recorded: list[Erasing] = []
        for few in _pieces(some, RECORDED):
            recorded += await until_it_stands(partial(_record, service, case, few))
        await asyncio.to_thread(erase_sections, service.log, service.ledger, recorded)
        _forget(service, some)
    while not await _erase_batches(service, case, wanted):
        pass  # something else is kept now, or gone: what goes is found anew


@dataclass
class _Wanted:
    """What was proposed, and how far the log was looked through for what has become of it."""

    run: Run
    walked: retain.Walked
    #: by record id and name
    sections: frozenset[tuple[str, str]]
    #: record ids
    batches: frozenset[str]

    def still(self, service: Service) -> Plan:
        """What would still go of it, as the log is now."""
        now = self.walked.look(service, self.run.proposed.as_of)
        return Plan(
            as_of=now.as_of,
            size=now.size,
            sections=tuple(
                each
                for each in now.sections
                if (each.kept.record, each.kept.section) in self.sections
            ),
            batches=tuple(each for each in now.batches if each.kept.record in self.batches),
            held=now.held,
            conflicts=now.conflicts,
        )


def _wanted(service: Service, run: Run) -> _Wanted | None:
    """The list, found anew. None: by now it would be another one."""
    if not _is_in_force(service, run):
        return None
    walked = retain.Walked()
    then = walked.look(service, run.proposed.as_of, run.proposed.size)
    if then.listed != run.proposed.listed:
        return None
    return _Wanted(
        run=run,
        walked=walked,
        sections=frozenset((each.kept.record, each.kept.section) for each in then.sections),
        batches=frozenset(each.kept.record for each in then.batches),
    )


def _pieces(things: Sequence[Going], length: int) -> Iterator[Sequence[Going]]:
    for start in range(0, len(things), length):
        yield things[start : start + length]


async def _record(service: Service, case: str, some: Sequence[Going]) -> list[Erasing]:
    """`record:erased` for each of these that nothing keeps; what is to be erased by it."""
    reads = {**retain.keeping(service), **service.files_in_force()}
    reads |= _gone(service, (each.kept.case for each in some))
    run = find(service, case)
    if run.closed or not _is_in_force(service, run):
        return []  # another node was through with it; or the next run goes by the classes of now
    drafts: list[Draft] = []
    erasing: list[Erasing] = []
    for each in some:
        kept = each.kept
        rule = service.erasures.rule_of(kept.record, kept.section)
        if rule is None:
            if not retain.is_free(service, kept):
                continue
            record = records.RecordErased(
                actor=records.SERVICE, record=kept.record, section=kept.section, rule=each.rule
            )
            drafts.append(record.draft(run.id, service.now(), follows=(kept.leaf,)))
        erasing.append(Erasing(kept.index, kept.record, kept.section, rule or each.rule))
    if drafts:
        reads[run.id] = run.head
        await service.append(Proposal(drafts=tuple(drafts), reads=reads, gives=False))
    return erasing


def _gone(service: Service, cases: Iterable[str]) -> dict[str, bytes | None]:
    """Heads of what was erased of these cases: what another node erases meanwhile goes once."""
    keys = (erased_counter(each) for each in cases)
    return {key: service.log.head(key) for key in keys}


async def _erase_batches(service: Service, case: str, wanted: _Wanted) -> bool:
    """
    False where something was recorded since it was found what goes that may change it.

    Of whose session each event is follows from the whole log: it is looked at under the heads that
    each erasure rests on.
    """
    keeping = retain.keeping(service)
    going = await retain.walk(service, wanted.still)
    for batch in going.batches:
        if not await until_it_stands(partial(_erase_batch, service, case, batch, keeping)):
            return False
    return True


async def _erase_batch(
    service: Service, case: str, going: GoingBatch, keeping: dict[str, bytes | None]
) -> bool:
    batch = going.kept.record
    files, gone = service.files_in_force(), _gone(service, [batch.partition("/")[0]])
    run, newest = find(service, case), service.erasures.newest.get(batch)
    if retain.keeping(service) != keeping or _left(newest) != (
        going.kept.left_for,
        going.kept.left,
    ):
        return False  # kept by now; or erased by another node that carries out the same
    if service.observing.store is None or run.closed or not _is_in_force(service, run):
        return True
    left = await asyncio.to_thread(left_of, service, going)
    record, document = record_of(going, left)
    draft = record.draft(run.id, service.now(), follows=(going.kept.leaf,), documents=(document,))
    reads = {**files, **keeping, **gone, run.id: run.head}
    appended = await service.append(Proposal(drafts=(draft,), reads=reads, gives=False))
    await in_the_store(service, appended.entries[0].header.id, record)
    return True


def _left(newest: records.EventsErased | None) -> tuple[bytes, int | None]:
    """As `KeptBatch` has it."""
    return (b"", None) if newest is None else (newest.grants, newest.kept)


def _finish_recorded(service: Service) -> None:
    """What was recorded, here or elsewhere, and of which bytes may be left."""
    finish(service.log, service.ledger, service.erasures, starting=False)
    finish_events(service, starting=False)
    service.erasures.unfinished = False


def _forget(service: Service, some: Sequence[Going]) -> None:
    for each in some:
        if each.kept.kind in (records.PrincipalEnrolled.KIND, records.GroupDefined.KIND):
            service.forget_identity(each.kept.case)


async def _close(service: Service, case: str) -> None:
    run = find(service, case)
    if run.closed:
        return
    drafts = close([], run.id, run.length, service.now())
    await service.append(Proposal(drafts=tuple(drafts), reads={run.id: run.head}, gives=False))


# --- looking ------------------------------------------------------------------------------------


def find(service: Service, beginning: str) -> Run:
    """The run whose id begins so. Raises `NotFound`."""
    return one_of(service.erasures.holding.runs.values(), beginning, "run")


def listed(service: Service, caller: Caller, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first."""
    permit.require(service, caller, "read")
    runs = list(service.erasures.holding.runs.values())[::-1]
    return [summary(each) for each in runs[:limit]]


def summary(run: Run) -> dict[str, Any]:
    """What a run is now."""
    proposed = run.proposed
    return {
        "run": run.id,
        "state": run.state,
        "proposed_by": proposed.actor.principal,
        "proposed_at": None if run.proposed_at is None else moment.text(run.proposed_at),
        "as_of": moment.text(proposed.as_of),
        "size": proposed.size,
        "configuration": proposed.configuration.hex(),
        "sections": proposed.sections,
        "batches": proposed.batches,
        "rules": dict(proposed.rules),
        "listed": proposed.listed.hex(),
        "people": proposed.people,
        "missing": run.missing,
        "persons": list(run.persons),
        "erased": run.sections,
        "events_erased": run.events,
        "closed": run.closed,
    }
