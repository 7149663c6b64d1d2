"""
Appends as a real request makes them: a request and its decision, sections, projections, due work.

One real request is made by the product's own operation and its proposal is kept; every further one
is the same under a new case id and the time of its append. So what is measured is the log.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from bench.installation import RESOURCE, ROLE, Installation
from muniment.access import records
from muniment.access.case import AccessCase
from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.store import Entry
from muniment.operations.facts import Reason
from muniment.operations.projection import project
from muniment.operations.request import AccessAsk, request
from muniment.operations.service import Caller, Service, advance_all
from muniment.operations.take_in import take_in
from muniment.runtime.wiring import open_service

ASK = AccessAsk(
    resource=RESOURCE,
    role=ROLE,
    seconds=1800,
    reason=Reason(text="the nightly export is stuck; look at the queue table", ticket="OPS-1"),
)
#: requests that wait at the same moment while a log is filled
_FILLING = 512


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Makes proposals for one open service."""

    service: Service
    sample: Proposal

    def proposal(self) -> Proposal:
        case, now = self.service.new_case(), self.service.now()
        first = self.sample.drafts[0].case
        start = AccessCase(log_id=self.service.log.log_id)

        def companions(entries: Sequence[Entry]) -> tuple[Any, ...]:
            return project(advance_all(start, entries))

        return replace(
            self.sample,
            drafts=tuple(replace(draft, case=case, at=now) for draft in self.sample.drafts),
            reads={case if key == first else key: head for key, head in self.sample.reads.items()},
            companions=companions,
        )


def caller(service: Service) -> Caller:
    return Caller(principal=service.registry.principals[service.names["ana"]], assurance="token")


@contextlib.asynccontextmanager
async def opened(installation: Installation) -> AsyncIterator[Requests]:
    """The installation's service in this process, without HTTP and without its worker."""
    os.environ.setdefault("MUNIMENT_POSTGRES_PASSWORD", "unused")
    opened = open_service(installation.folder)
    try:
        await take_in(opened.service, opened.proposed, records.SERVICE)
        yield Requests(service=opened.service, sample=await _sample(opened.service))
    finally:
        await opened.close()


async def _sample(service: Service) -> Proposal:
    kept: list[Proposal] = []
    really = service.log.append

    def keep(item: Proposal | Outcome) -> "Future[Appended]":
        if isinstance(item, Proposal):
            kept.append(item)
        return really(item)

    service.log.append = keep  # type: ignore[method-assign]
    try:
        await request(service, caller(service), ASK)
    finally:
        del vars(service.log)["append"]
    return kept[-1]


async def fill(requests: Requests, size: int) -> None:
    """Append requests until the log has at least this many records."""
    log = requests.service.log

    async def work() -> None:
        while log.size < size - 2 * _FILLING:
            await requests.service.replies.of(log.append(requests.proposal()))

    await asyncio.gather(*(work() for _ in range(_FILLING)))
    while log.size < size:
        await requests.service.replies.of(log.append(requests.proposal()))
