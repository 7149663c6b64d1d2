"""
Once a day: record which cases there are and where each ends, and prove from it where one ended.

From then on whoever has a case up to its last record can show that it has no later one, and anybody
that a case does not exist, without showing the rest of the log.
"""

import asyncio
from datetime import datetime, timedelta
from functools import lru_cache

from muniment.access import records
from muniment.errors import LogInvalid, LogUnavailable, NotCanonical, NotFound
from muniment.evidence.append import Outcome
from muniment.evidence.case_index import CaseIndex, index_as_of
from muniment.evidence.case_proof import MAX_LAG, CaseProof
from muniment.evidence.keys import only
from muniment.evidence.log import Log
from muniment.evidence.record import check_case_id
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.service import Caller, Service

EVERY = timedelta(days=1)


def is_due(service: Service, now: datetime) -> bool:
    """Whether the newest index in the log is a day old, or there is none."""
    newest = service.registry.indexed
    return newest is None or now - newest.header.at >= EVERY


async def index(service: Service) -> None:
    """`log:indexed`, over all cases as they are now. Others append meanwhile."""
    record = await asyncio.to_thread(_record, service.log)
    if service.log.size - record.size > MAX_LAG // 2:
        raise LogUnavailable("the log grew by too much while its cases were indexed; try again")
    draft = record.draft(service.registry.log_case, service.now())
    await service.append(Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ())))


def _record(log: Log) -> records.LogIndexed:
    size, lasts = log.lasts()
    found = CaseIndex(lasts)
    return records.LogIndexed(actor=records.SERVICE, size=size, cases=found.count, root=found.root)


async def prove(service: Service, caller: Caller, case: str) -> bytes:
    """
    The file that says where a case ended, or that there is no such case, as of the newest index.

    Whoever may export a case may have it proved; whoever may audit, anything. Raises `NotFound`
    before the first index, and for a case that this caller may not see.
    """
    try:
        check_case_id(case)
    except NotCanonical as error:
        raise NotFound(f"no case can be called so: {error}") from error
    _check_permitted(service, caller, case)
    newest = service.registry.indexed
    if newest is None:
        raise NotFound("the cases of this log were not indexed yet: that is done once a day")
    return await asyncio.to_thread(_proof, service.log, newest, case)


def _check_permitted(service: Service, caller: Caller, case: str) -> None:
    if permit.ask(service, caller, "audit", None).outcome == "permit":
        return
    row = service.projections.case_row(case)
    if row is None or row.kind != "access":
        # what is not there is shown by its neighbours, which are somebody else's
        permit.require(service, caller, "audit")
    state, _ = service.read(case)
    permit.require(service, caller, "read", state)
    permit.require(service, caller, "export", state)


def _proof(log: Log, newest: Entry, case: str) -> bytes:
    covering = log.store.checkpoint_at_or_after(newest.index + 1)
    if covering is None:
        raise LogInvalid(f"no checkpoint covers entry {newest.index}")
    size, checkpoint = covering
    return CaseProof(
        case=case,
        checkpoint=only(checkpoint, [log.keys.shown(size)]),
        index=newest.index,
        header=log.read_entry(newest.index).data,
        proof=tuple(log.inclusion(newest.index, size)),
        places=_index_of(log, newest.index).places(case),
    ).encode()


@lru_cache(maxsize=1)
def _index_of(log: Log, place: int) -> CaseIndex:
    """The index that entry `place` recorded, made again. Raises `LogInvalid` if it is another."""
    recorded = records.parse(log.read_entry(place).header)
    if not isinstance(recorded, records.LogIndexed):
        raise LogInvalid(f"entry {place} is no index of cases")
    size, lasts = log.lasts()
    found = index_as_of(log.store, lasts, recorded.size, size)
    if (found.count, found.root) != (recorded.cases, recorded.root):
        raise LogInvalid(f"the index of cases at size {recorded.size} is not the recorded one")
    return found
