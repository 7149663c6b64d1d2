"""Answer a finding: somebody whom it is not about has read it, deals with it, says what it was."""

from collections.abc import Callable
from datetime import UTC, datetime

from muniment.access import records
from muniment.access.finding import LONGEST, RESOLUTIONS, Finding
from muniment.access.records import Actor
from muniment.access.registry import Principal
from muniment.errors import Conflict, Malformed, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.operations import findings, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.pace import Tally
from muniment.operations.raise_finding import counted
from muniment.operations.request import check_text
from muniment.operations.service import Caller, Service, close, content

#: what somebody says of a finding at this moment, as this actor
_Say = Callable[[Finding, Actor, datetime], list[Draft]]


async def acknowledge(service: Service, caller: Caller, case: str) -> Finding:
    """
    A person has read it.

    Raises `NotFound`, `NotPermitted`, and `Conflict` where somebody has said so, or more.
    """

    def say(finding: Finding, actor: Actor, now: datetime) -> list[Draft]:
        if finding.state != "open":
            raise Conflict(f"this finding is {finding.state} already")
        return [_draft(records.FindingAcknowledged(actor=actor), finding, now, caller)]

    return await _answer(service, caller, case, say)


async def assign(service: Service, caller: Caller, case: str, to: str) -> Finding:
    """A person, by login or principal id, is to deal with it. Raises as `acknowledge`."""
    whom = _human(service, to)

    def say(finding: Finding, actor: Actor, now: datetime) -> list[Draft]:
        if set(service.registry.persons(whom)) & concerned(service, finding):
            raise NotPermitted("nobody deals with a finding that is about him")
        if finding.assigned == whom.id:
            raise Conflict("this finding is assigned to him already")
        return [_draft(records.FindingAssigned(actor=actor, to=whom.id), finding, now, caller)]

    return await _answer(service, caller, case, say, whom)


async def close_finding(
    service: Service,
    caller: Caller,
    case: str,
    resolution: str,
    reason: str,
    *,
    owner: str = "",
    until: datetime | None = None,
) -> Finding:
    """
    A person says what it was; the same raises another finding when it is seen again after `until`.

    Raises `NotFound`, `NotPermitted`, `Malformed`, and `Conflict` where it was closed already.
    """
    if resolution not in RESOLUTIONS:
        raise Malformed(f"a finding is closed as one of {', '.join(RESOLUTIONS)}")
    if not reason.strip():
        raise Malformed("closing a finding takes a reason")
    check_text(reason, "reason")
    if (resolution == "adopted") != bool(owner):
        raise Malformed("name an owner for what is adopted, and for nothing else")
    whom = _human(service, owner) if owner else None
    until = _checked(service, resolution, until)

    def say(finding: Finding, actor: Actor, now: datetime) -> list[Draft]:
        said = records.FindingClosed(
            actor=actor,
            person=service.registry.principals[actor.principal].person,
            resolution=resolution,
            owner=whom.id if whom is not None else None,
            until=until,
        )
        sealed = {"note": content({"text": reason})}
        return [_draft(said, finding, now, caller, sealed)]

    return await _answer(service, caller, case, say, *([whom] if whom is not None else []))


def _checked(service: Service, resolution: str, until: datetime | None) -> datetime | None:
    if until is None:
        return None
    if resolution == "remedied":
        raise Malformed("what was remedied is not to be seen again: close it without `until`")
    if until.tzinfo is None:
        raise Malformed("`until` has no zone: end it with `Z`")
    if not service.now() < until <= service.now() + LONGEST:
        raise Malformed(f"`until` lies in the future, and within {LONGEST.days} days")
    return moment.whole(until.astimezone(UTC))


def _human(service: Service, named: str) -> Principal:
    found = service.registry.principals.get(service.names.get(named, named))
    if found is None or found.type != "human" or not found.active:
        raise Malformed(f"`{named:.80}` is nobody who could answer for it: name an active human")
    return found


def _draft(
    record: records.Record,
    finding: Finding,
    now: datetime,
    caller: Caller,
    sections: dict[str, bytes] | None = None,
) -> Draft:
    return record.draft(finding.id, now, follows=(caller.principal.leaf,), sections=sections)


async def _answer(
    service: Service, caller: Caller, case: str, say: _Say, *others: Principal
) -> Finding:
    await until_it_stands(lambda: _say(service, caller, case, say, others))
    return findings.read(service, case)[0]


async def _say(
    service: Service, caller: Caller, case: str, say: _Say, others: tuple[Principal, ...]
) -> None:
    finding, _ = findings.read(service, case)
    grounds = service.rests_on(caller.principal, *others)  # before what is decided on them
    tally = service.pace.findings.get(case, Tally())
    # what was counted and is not recorded yet may name somebody, and goes first
    before = counted(finding, tally, service.now())
    permit.require(service, caller, "read")
    if why := objection(service, caller, finding):
        service.count("not-permitted")
        raise NotPermitted(why)
    if finding.state == "closed":
        raise Conflict("this finding was closed already")
    now = service.now()
    drafts = [*before, *say(finding, service.actor(caller), now)]
    if drafts[-1].kind == records.FindingClosed.KIND:
        drafts = close(drafts, case, finding.length, now)
    service.pace.findings.pop(case, None)
    try:
        await service.append(
            Proposal(
                drafts=tuple(drafts),
                reads={**grounds.reads, case: finding.head},
                gives=False,
                companions=lambda placed: findings.companions(service, finding, placed),
            )
        )
    except BaseException:
        service.pace.count(case, tally)
        raise


def objection(service: Service, caller: Caller, finding: Finding) -> str:
    """Why this caller does not answer this finding; empty where he may."""
    decision = permit.ask_on_finding(service, caller, "review", finding)
    if decision.outcome != "permit":
        return f"you may not `review` this finding: {permit.refusal(decision)}"
    persons = set(service.registry.persons(caller.principal))
    if caller.principal.type != "human" or concerned(service, finding) & persons:
        return "somebody whom it is not about has to answer this finding"
    return ""


def concerned(service: Service, finding: Finding) -> set[str]:
    """Whom it is about: what was counted and is not recorded yet may name somebody, too."""
    tally = service.pace.findings.get(finding.id, Tally())
    return {*finding.subjects, *tally.subjects}
