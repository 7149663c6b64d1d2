"""Look at broken glass afterwards: a review is a case of its own, and somebody else closes it."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from muniment.access import records
from muniment.access.records import Actor
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.service import Caller, Service, close, content, record_of
from muniment.ports import CaseRow, Due

VERDICTS = ("justified", "not-justified")
_WITHIN = re.compile(r"post-review:PT(\d+)H\Z")


def review_drafts(
    service: Service, case: str, actor: Actor, requires: Sequence[str], now: datetime
) -> tuple[list[Draft], list[Any]]:
    """`review:opened` beside a request that broke glass; it follows the request."""
    review, due = service.new_case(), now + _window(service, requires)
    opened = records.ReviewOpened(actor=records.SERVICE, about=case, due=due, persons=actor.persons)
    row = CaseRow(
        case=review,
        kind="review",
        state="open",
        requester="",
        resource="",
        role="",
        groups=(),
        marked=False,
        opened_at=moment.text(now),
        changed_at=moment.text(now),
        until=moment.text(due),
        about=case,
        records=1,
    )
    return [opened.draft(review, now, follows=(0,))], [row]


async def answer_review(
    service: Service, caller: Caller, review: str, verdict: str, note: str
) -> str:
    """
    A person says what he found; returns the case that was reviewed. Nobody reviews himself.

    Raises `NotFound`, `NotPermitted`, and `Conflict` when somebody has answered already.
    """
    if verdict not in VERDICTS:
        raise Malformed(f"a verdict is one of {', '.join(VERDICTS)}")
    about: str = await until_it_stands(lambda: _answer(service, caller, review, verdict, note))
    return about


async def _answer(service: Service, caller: Caller, review: str, verdict: str, note: str) -> str:
    entries = service.log.read_case(review)
    opened = record_of(entries[0]) if entries else None
    if not isinstance(opened, records.ReviewOpened):
        raise NotFound(f"there is no review `{review}`")
    grounds = service.rests_on(caller.principal)  # before what is decided on them
    permit.require(service, caller, "review", service.read(opened.about)[0])
    if len(entries) > 1:
        raise Conflict("this review was answered already")
    actor = service.actor(caller)
    if caller.principal.type != "human" or set(actor.persons) & set(opened.persons):
        raise NotPermitted("somebody else has to review this")
    now = service.now()
    answered = records.ReviewAnswered(
        actor=actor,
        reviewer=caller.principal.id,
        person=caller.principal.person,
        verdict=verdict,
    ).draft(
        review,
        now,
        follows=(caller.principal.leaf,),
        sections={"note": content({"text": note})} if note else {},
    )
    await service.append(
        Proposal(
            drafts=tuple(close([answered], review, len(entries), now)),
            reads={review: entries[-1].leaf, **grounds.reads},
            gives=False,
            companions=lambda _: review_rows(entries, opened, closed=True, at=now),
        )
    )
    return opened.about


def review_rows(
    entries: Sequence[Entry],
    opened: records.ReviewOpened,
    *,
    closed: bool,
    at: datetime,
) -> Iterable[Any]:
    """The line of a review in the lists; a closed one takes the mark off the case it is about."""
    first = entries[0].header
    yield CaseRow(
        case=first.case,
        kind="review",
        state="closed" if closed else "open",
        requester="",
        resource="",
        role="",
        groups=(),
        marked=False,
        opened_at=moment.text(first.at),
        changed_at=moment.text(at),
        until=moment.text(opened.due),
        about=opened.about,
        closed=closed,
        records=len(entries) + (2 if closed and len(entries) == 1 else 0),
    )
    yield Due(case=first.case, at=None)


def _window(service: Service, requires: Sequence[str]) -> timedelta:
    hours = [int(found[1]) for need in requires if (found := _WITHIN.match(need))]
    return timedelta(hours=min(hours)) if hours else service.limits.review_window
