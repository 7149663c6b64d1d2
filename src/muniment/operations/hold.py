"""
Legal holds: place one, ask for its release, and agree to that.

Placing takes one person and works at once, also amid a run that erases: an erasure that has not
been recorded by then is decided again. Letting go takes two.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.holding import Hold
from muniment.access.records import Actor
from muniment.access.registry import Principal
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.beginnings import check_meant, one_of
from muniment.operations.request import check_text
from muniment.operations.service import Caller, Service, close, content, record_of

#: begins the ids of holds
HOLDS: Final = "hld"
#: names in one scope: they stand in the header of one record
MOST: Final = 100


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is to be held; see `records.HoldPlaced`."""

    #: case ids
    cases: Sequence[str] = ()
    #: logins, principal ids or person ids
    people: Sequence[str] = ()
    resources: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


async def place(service: Service, caller: Caller, scope: Scope, matter: str, reason: str) -> Hold:
    """
    Keep all of this from erasure, from now on.

    Raises `NotPermitted`, `NotFound` for a case or a person nobody knows, and `Malformed`.
    """
    _check_words(matter, "matter")
    check_text(reason, "reason")
    known = _known(service, scope)
    case = service.new_case(HOLDS)

    async def attempt() -> None:
        actor, now = _may(service, caller), service.now()
        placed = records.HoldPlaced(
            actor=actor,
            cases=tuple(known.cases),
            persons=tuple(known.people),
            resources=tuple(known.resources),
            since=known.since,
            until=known.until,
            person=caller.principal.person,
        )
        sealed = {"matter": content({"matter": matter, "reason": reason})}
        draft = placed.draft(case, now, follows=(caller.principal.leaf,), sections=sealed)
        await _append(service, caller, [draft], case, None)

    await until_it_stands(attempt)
    return service.erasures.holding.holds[case]


async def ask_release(service: Service, caller: Caller, case: str, reason: str) -> Hold:
    """
    A person says that it is needed no more. The id has to be as long as lists show it.

    Raises `NotFound`, `NotPermitted`, `Malformed` and `Conflict`.
    """
    _check_words(reason, "reason")

    def say(hold: Hold, actor: Actor, now: datetime) -> list[Draft]:
        check_of_others(service, hold, actor)
        if hold.state != "placed":
            raise Conflict(_standing(hold))
        asked = records.HoldReleaseRequested(actor=actor, person=caller.principal.person)
        sealed = {"reason": content({"text": reason})}
        return [asked.draft(hold.id, now, follows=(caller.principal.leaf,), sections=sealed)]

    return await _say(service, caller, case, say)


async def release(service: Service, caller: Caller, case: str, note: str = "") -> Hold:
    """Somebody else agrees: it holds no more. Raises as `ask_release` does."""
    check_text(note, "note")

    def say(hold: Hold, actor: Actor, now: datetime) -> list[Draft]:
        check_of_others(service, hold, actor)
        if hold.state == "placed":
            raise Conflict("nobody has asked for its release: `muniment holds release` does")
        if hold.state != "releasing":
            raise Conflict(_standing(hold))
        if caller.principal.person == hold.asked_by:
            raise NotPermitted("somebody else has to confirm the release that you asked for")
        sealed = {"note": content({"text": note})} if note else {}
        released = records.HoldReleased(actor=actor, person=caller.principal.person)
        draft = released.draft(hold.id, now, follows=(caller.principal.leaf,), sections=sealed)
        return close([draft], hold.id, hold.length, now)

    return await _say(service, caller, case, say)


async def _say(
    service: Service,
    caller: Caller,
    case: str,
    say: Callable[[Hold, Actor, datetime], list[Draft]],
) -> Hold:
    async def attempt() -> None:
        actor = _may(service, caller)
        check_meant(case, "hold")
        hold = find(service, case)
        drafts = say(hold, actor, service.now())
        await _append(service, caller, drafts, hold.id, hold.head)

    await until_it_stands(attempt)
    return find(service, case)


async def _append(
    service: Service, caller: Caller, drafts: Sequence[Draft], case: str, head: bytes | None
) -> None:
    grounds = service.rests_on(caller.principal)
    reads = {**grounds.reads, case: head}
    await service.append(Proposal(drafts=tuple(drafts), reads=reads, gives=False))


def _may(service: Service, caller: Caller) -> Actor:
    permit.require(service, caller, "hold")
    if caller.principal.type != "human":
        raise NotPermitted("holds are placed and released by people")
    return service.actor(caller)


def check_of_others(service: Service, hold: Hold, actor: Actor) -> None:
    """Raises `NotPermitted` for whom it is about: of a case those who are in its records."""
    about = set(hold.placed.persons)
    for case in hold.placed.cases:
        about.update(*(record_of(entry).actor.persons for entry in service.log.read_case(case)))
    if about & set(actor.persons):
        raise NotPermitted("this hold is about you, or what you did: others have to release it")


def _check_words(text: str, what: str) -> None:
    if not text.strip():
        raise Malformed(f"say the {what}: somebody will have to know later")
    check_text(text, what)


def _standing(hold: Hold) -> str:
    return {
        "placed": "this hold stands, and nobody has asked for its release",
        "releasing": "its release was asked for already: somebody else has to confirm it",
        "released": "this hold was released already",
    }[hold.state]


# --- what is named ------------------------------------------------------------------------------


def _known(service: Service, scope: Scope) -> Scope:
    """With ids in the place of names. Raises `NotFound` and `Malformed`."""
    since, until = _utc(scope.since, "since"), _utc(scope.until, "until")
    named = (*scope.cases, *scope.people, *scope.resources)
    if not named and since is None and until is None:
        raise Malformed("say what to hold: cases, people, resources, or a period")
    if len(named) > MOST:
        raise Malformed(f"a hold names at most {MOST}: place several")
    if since is not None and until is not None and until < since:
        raise Malformed("the period ends before it begins")
    people = dict.fromkeys(each for name in scope.people for each in persons_of(service, name))
    for case in scope.cases:
        if service.log.head(case) is None:
            raise NotFound(f"there is no case `{case:.80}`: name it by its whole id")
    resources = {resource for resource, _ in list(service.registry.roles)}
    for resource in scope.resources:
        if resource not in resources:
            raise NotFound(f"there never was a resource `{resource:.80}`")
    return replace(
        scope,
        cases=tuple(dict.fromkeys(scope.cases)),
        people=tuple(people),
        resources=tuple(dict.fromkeys(scope.resources)),
        since=since,
        until=until,
    )


def _utc(at: datetime | None, what: str) -> datetime | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise Malformed(f"`{what}` has no zone: end it with `Z`")
    try:
        return moment.whole(at.astimezone(UTC))
    except OverflowError:
        raise Malformed(f"`{what}` is a moment beyond all calendars") from None


def persons_of(service: Service, name: str) -> Iterator[str]:
    """Person ids of a login, a principal id or a person id. Raises `NotFound`."""
    principals: list[Principal] = list(service.registry.principals.values())
    if any(each.person == name for each in principals):
        yield name
        return
    found = service.registry.principals.get(service.names.get(name, name))
    if found is None:
        raise NotFound(f"there is nobody `{name:.80}`: name a login, or an id of the log")
    yield found.person


def find(service: Service, beginning: str) -> Hold:
    """The hold whose id begins so. Raises `NotFound`."""
    return one_of(service.erasures.holding.holds.values(), beginning, "hold")


# --- looking ------------------------------------------------------------------------------------


def listed(service: Service, caller: Caller, *, everything: bool = False) -> list[dict[str, Any]]:
    """Those that stand, the newest first; with `everything`, the released ones too."""
    permit.require_one(service, caller, "hold", "audit")
    holds = sorted(
        service.erasures.holding.holds.values(), key=lambda each: each.index, reverse=True
    )
    return [summary(service, each) for each in holds if everything or each.stands()]


def summary(service: Service, hold: Hold) -> dict[str, Any]:
    """What a hold is now, with what its sections say."""
    placed, entries = hold.placed, service.log.read_case(hold.id)
    return {
        "hold": hold.id,
        "state": hold.state,
        "cases": list(placed.cases),
        "persons": list(placed.persons),
        "people": [
            each.id
            for each in list(service.registry.principals.values())
            if each.type == "human" and each.person in placed.persons
        ],
        "resources": list(placed.resources),
        "since": None if placed.since is None else moment.text(placed.since),
        "until": None if placed.until is None else moment.text(placed.until),
        "placed_by": placed.actor.principal,
        "placed_at": None if hold.placed_at is None else moment.text(hold.placed_at),
        "changed_at": None if hold.changed_at is None else moment.text(hold.changed_at),
        "matter": _said(service, entries[0], "matter"),
        "release": [
            {"by": records.parse(entry.header).actor.principal, "text": _text(service, entry)}
            for entry in entries[1:]
            if entry.header.kind != records.CaseClosed.KIND
        ],
    }


def _text(service: Service, entry: Entry) -> str | None:
    for name in entry.header.sections:
        said = _said(service, entry, name)
        return None if said is None else said.get("text", "")
    return ""


def _said(service: Service, entry: Entry, section: str) -> dict[str, Any] | None:
    return service.section(entry, section)
