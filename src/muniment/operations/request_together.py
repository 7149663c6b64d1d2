"""Ask for several things at once: one batch of records, one case for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from muniment.access.case import AccessCase
from muniment.errors import Malformed
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry
from muniment.operations.attempts import until_it_stands
from muniment.operations.batch import MAX_ITEMS, members
from muniment.operations.projection import call_back, project
from muniment.operations.quota import within_quota
from muniment.operations.request import (
    AccessAsk,
    Drafted,
    IdempotencyKey,
    Submission,
    answer,
    answered,
    check_unused,
    draft,
    first_with,
)
from muniment.operations.service import Caller, Service, new_id


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing of several that are asked for."""

    ask: AccessAsk
    came: Submission


@dataclass(frozen=True, kw_only=True)
class AskedTogether:
    batch: str
    cases: list[AccessCase]


async def request_together(
    service: Service, caller: Caller, items: Sequence[Item], key: IdempotencyKey | None = None
) -> AskedTogether:
    """
    Record all of the requests, each with what the policy says of it: or none of them.

    Idempotent as one request is. Raises `Malformed` for none or too many, and for an emergency:
    each breaking of glass counts before the next is decided. `NotFound` for an unknown role.
    """
    if key is not None and (before := await answered(service, caller, "request", key)) is not None:
        return AskedTogether(batch=before, cases=members(service, before))
    if not 0 < len(items) <= MAX_ITEMS:
        raise Malformed(f"ask for at least one and at most {MAX_ITEMS} items together")
    if any(item.ask.emergency for item in items):
        raise Malformed("in an emergency ask for one thing at a time")
    for item in items:
        service.role(item.ask.resource, item.ask.role)
        within_quota(service, caller.principal.id)
    with first_with(service, caller, key, *(item.came.token for item in items)):
        asked: AskedTogether = await until_it_stands(lambda: _request(service, caller, items, key))
    return asked


async def _request(
    service: Service, caller: Caller, items: Sequence[Item], key: IdempotencyKey | None
) -> AskedTogether:
    if service.shared and key is not None:
        before = await answered(service, caller, "request", key)
        if before is not None:  # by another node, since we looked
            return AskedTogether(batch=before, cases=members(service, before))
    for item in items:
        check_unused(service, caller, item.came)
    batch = new_id("bat")
    drafted = [draft(service, caller, each.ask, replace(each.came, batch=batch)) for each in items]
    reads: dict[str, bytes | None] = {each.case: None for each in drafted}
    also: list[Any] = []
    for each in drafted:
        reads |= each.reads
        also += each.also
    if key is not None:
        also.append(answer(caller, "request", key, batch, drafted[0].now))
    after: list[AccessCase] = []

    def companions(entries: Sequence[Entry]) -> Iterable[Any]:
        service.check_unanswered(also)
        after.extend(_fold(service, drafted, entries))
        found = [*(write for case in after for write in (*project(case), *call_back(case))), *also]
        return [*found, *_owed(service, drafted, entries)]

    drafts = tuple(record for each in drafted for record in each.drafts)
    await service.append(Proposal(drafts=drafts, reads=reads, companions=companions))
    return AskedTogether(batch=batch, cases=after)


def _owed(service: Service, drafted: Sequence[Drafted], entries: Sequence[Entry]) -> Iterable[Any]:
    start = AccessCase(log_id=service.log.log_id)
    for each in drafted:
        yield from service.owed(start, [e for e in entries if e.header.case == each.case])


def _fold(
    service: Service, drafted: Sequence[Drafted], entries: Sequence[Entry]
) -> list[AccessCase]:
    return [service.fold(e for e in entries if e.header.case == each.case) for each in drafted]
