"""
All that is recorded about one person, for himself or for whoever answers him.

Every record that names him or says what sources observed of his access, and what its sections say
where that is his or is about him; his lines in reviews of many; and how many raw events are kept of
what he did. What others wrote as their own, such as a note to an approval, a reviewer's reason or
the detail of a finding, is withheld and counted. That somebody is looking into what he did
(findings, holds) is told to auditors alone. That the copy was taken is recorded, with a digest of
the file.
"""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.access.fields import to_json
from muniment.errors import NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.store import LOST, Entry
from muniment.operations import hold, permit, traces
from muniment.operations.quota import within_quota
from muniment.operations.retain import proved, walk
from muniment.operations.service import Caller, Service, close

#: begins the ids of the cases in which it is recorded
EXPORTS: Final = "exp"
#: what somebody else may have written about him, in words of his own: never given
OTHERS: Final = frozenset(
    (
        records.HoldPlaced.KIND,
        records.HoldReleaseRequested.KIND,
        records.HoldReleased.KIND,
        records.FindingRaised.KIND,
        records.FindingSeen.KIND,
        records.RemovalOrdered.KIND,
        records.DriftScanned.KIND,
    )
)
_PERSON, _PRINCIPAL = "per_", "prn_"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One person's own copy."""

    data: bytes
    record: str
    records: int
    given: int
    withheld: int


async def export(service: Service, caller: Caller, name: str) -> Taken:
    """
    The file, as readable JSON. `name` is a login, a principal id or a person id.

    Raises `NotPermitted` for whoever is neither that person nor an auditor, `NotFound`, and
    `TooMany`: each copy is a walk over the whole log.
    """
    person = _named(service, caller, name)
    if caller.principal.type != "human" or caller.principal.person != person:
        permit.require(service, caller, "audit")
    elif caller.session is not None and caller.session.opened.delegation is not None:
        raise NotPermitted("what is recorded about you is not delegated")
    within_quota(service, caller.principal.id, "copies")
    told = await walk(service, _told, person, caller.principal.person == person)
    data = json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
    summary = told["summary"]
    taken = records.PersonExported(
        actor=service.actor(caller),
        person=person,
        records=summary["records"],
        size=summary["size"],
        given=summary["given"],
        withheld=summary["withheld"],
        file=sha256(data).digest(),
    )
    case, now = service.new_case(EXPORTS), service.now()
    drafts = close([taken.draft(case, now, follows=(caller.principal.leaf,))], case, 0, now)
    await service.append(Proposal(drafts=tuple(drafts), reads={case: None}, gives=False))
    return Taken(
        data=data,
        record=f"{case}/0",
        records=summary["records"],
        given=summary["given"],
        withheld=summary["withheld"],
    )


def _named(service: Service, caller: Caller, name: str) -> str:
    """Person id. Who may not see others learns by no answer whether there is somebody so named."""
    try:
        return next(iter(hold.persons_of(service, name)))
    except NotFound:
        permit.require(service, caller, "audit")
        raise


def _told(service: Service, person: str, himself: bool) -> dict[str, Any]:
    reviews = traces.Reviews(service=service, person=person, himself=himself)
    about = _About(person)
    found = [
        entry
        for entry in _heard(service, reviews)
        # that somebody is looking into what he did is for others to tell him
        if about.take(entry) and not (himself and _is_others(entry, person))
    ]
    lines = [_line(service, entry, person) for entry in found]
    reviewed = list(reviews.lines())
    kept = list(traces.events(service, about.asked))
    sections = [said for line in lines for said in line["sections"].values()]
    sections += [line["reason"] for line in reviewed if "reason" in line]
    return {
        "about": person,
        "accounts": sorted(
            each.id
            for each in list(service.registry.principals.values())
            if each.person == person and each.type == "human"
        ),
        "records": lines,
        "reviewed": reviewed,
        "events": kept,
        # 32 random bytes: the digest in the log tells nothing to who has not the file
        "salt": secrets.token_hex(32),
        "summary": {
            "at": moment.text(service.now()),
            "size": found[-1].index + 1 if found else 0,
            "records": len(lines),
            "given": sum("content" in said for said in sections),
            "withheld": sum("withheld" in said for said in sections),
            "erased": sum("erased" in said for said in sections),
            "reviewed": len(reviewed),
            "events": sum(each["events"] for each in kept),
        },
        "checkpoint": service.log.checkpoint.decode(),
    }


def _heard(service: Service, reviews: traces.Reviews) -> Iterator[Entry]:
    for entry in proved(service):
        reviews.take(entry)
        yield entry


class _About:
    """Which records are about him: those that name him, and all of a case in which he asked."""

    def __init__(self, person: str) -> None:
        self._person = person
        self._ids, self._own = {person}, set[str]()
        #: access cases in which he asked, in their order
        self.asked: list[str] = []

    def take(self, entry: Entry) -> bool:
        """Whether this one is. Of all entries, in order."""
        header, body = entry.header, entry.header.body
        if header.kind == records.PrincipalEnrolled.KIND and body["person"] == self._person:
            self._ids.add(header.case)
            self._own.add(header.case)
        named = not self._ids.isdisjoint(_ids(body))
        if named and header.kind == records.AccessRequested.KIND:
            self._own.add(header.case)
            self.asked.append(header.case)
        observed = header.kind == records.SessionObserved.KIND and body["about"] in self._own
        return named or observed or header.case in self._own


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith((_PERSON, _PRINCIPAL)):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _ids(item)
    elif isinstance(value, list):
        for item in value:
            yield from _ids(item)


def _line(service: Service, entry: Entry, person: str) -> dict[str, Any]:
    header = entry.header
    return {
        "index": entry.index,
        "leaf": entry.leaf.hex(),
        "id": header.id,
        "kind": header.kind,
        "at": moment.text(header.at),
        "record": to_json(records.parse(header)),
        "sections": dict(_sections(service, entry, person)),
    }


def _sections(service: Service, entry: Entry, person: str) -> Iterator[tuple[str, dict[str, Any]]]:
    gone, said = service.log.store.erased(entry.index), service.log.read_sections(entry)
    for name in entry.header.sections:
        rule = service.erasures.rule_of(entry.header.id, name) or gone.get(name)
        if rule is not None:
            yield name, {"lost": True} if rule == LOST else {"erased": rule}
        elif name in said and _is_his(service, entry, name, person):
            yield name, {"content": _readable(said[name])}
        else:
            yield name, {"withheld": "it is somebody else's"}


def _readable(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


def _is_his(service: Service, entry: Entry, name: str, person: str) -> bool:
    """What he said himself, or what was worked out about him: not what others wrote or are."""
    header = entry.header
    if header.kind == records.PrincipalEnrolled.KIND:
        return bool(header.body["person"] == person)
    if header.kind in OTHERS:
        return False
    actor = records.parse(header).actor
    if name in ("decision", "session"):
        # what policy was asked about his own access names pseudonyms, and him
        return person in actor.persons or _asked_himself(service, header.case, header.body, person)
    return person in actor.persons


def _is_others(entry: Entry, person: str) -> bool:
    """Whether somebody else looks into him there."""
    record = records.parse(entry.header)
    took = isinstance(record, records.PersonExported) and person not in record.actor.persons
    return took or entry.header.kind in OTHERS


def _asked_himself(service: Service, case: str, body: Any, person: str) -> bool:
    about = body.get("about", case)
    first = service.log.read_case(about)[:1]
    return bool(first) and person in first[0].header.body["actor"]["persons"]
