"""What is kept of this log and why, and what has come to its end."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from muniment.access.counters import HOLDS, LOOKS
from muniment.errors import Conflict, LogInvalid
from muniment.evidence import moment
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.merkle import Frontier
from muniment.evidence.record import digest
from muniment.evidence.store import Entry, entry_of
from muniment.operations import permit
from muniment.operations.service import Caller, Service
from muniment.oversight.erasure_plan import Plan, plan
from muniment.oversight.retained import Kept, Retained, holding
from muniment.oversight.retention import Class

T = TypeVar("T")
#: lines of a plan that are shown
SHOWN = 1000
#: open cases that are named where they keep something
_NAMED = 3


async def walk(service: Service, work: Callable[..., T], *given: Any) -> T:
    """Do what reads the whole log, in a thread, and only one of it at a time."""
    async with service.erasures.walking:
        return await asyncio.to_thread(work, service, *given)


@dataclass
class Walked:
    """All that is kept as of one size of the log, to be gone on with. For a thread of its own."""

    retained: Retained = field(default_factory=Retained)
    _tree: Frontier = field(default_factory=Frontier)

    def look(self, service: Service, as_of: datetime, size: int | None = None) -> Plan:
        """What goes, as of a moment and a size of the log; by the classes and holds of then."""
        kept = self.go_on(service, size)
        standing = service.erasures.holding.standing(kept.size)
        return plan(kept, service.erasures.rules, standing, as_of)

    def go_on(self, service: Service, size: int | None = None) -> Retained:
        """
        Take what was not taken yet, from entries that are proved to be the log's.

        Raises `LogInvalid` where the database shows anything else: then it is of no use any more.
        """
        for entry in proved(service, size, self._tree):
            self.retained.take(entry, partial(document, service))
        return self.retained


def look(service: Service, as_of: datetime, size: int | None = None) -> Plan:
    """What goes, as of a moment and a size of the log: see `Walked`."""
    return Walked().look(service, as_of, size)


def retained(service: Service) -> Retained:
    """All that is kept now."""
    return Walked().go_on(service)


def proved(
    service: Service, size: int | None = None, tree: Frontier | None = None
) -> Iterator[Entry]:
    """
    Every entry, in order; with a tree, those behind it.

    Raises `LogInvalid` at the end unless they have the signed root.
    """
    signed = _signed(service, size)
    tree = Frontier() if tree is None else tree
    for index, data in service.log.store.entries(tree.size, signed.size):
        entry = entry_of(index, data)
        tree.push(entry.leaf)
        yield entry
    if (tree.size, tree.root()) != (signed.size, signed.root):
        raise LogInvalid("the database gives back other entries than were signed")


def document(service: Service, name: bytes) -> bytes:
    """One that a record names. Raises `LogInvalid` where the database gives back another."""
    content = service.document(name)
    if digest(content) != name:
        raise LogInvalid("the database gives back other documents than were recorded")
    return content


def _signed(service: Service, size: int | None) -> Checkpoint:
    note = service.log.checkpoint if size is None else service.log.store.checkpoint(size)
    if note is None:
        raise LogInvalid(f"no checkpoint was signed at size {size}")
    return service.log.keys.open(note)


# --- whether one section may go by somebody's word ----------------------------------------------


def keeping(service: Service) -> dict[str, bytes | None]:
    """
    Heads that an erasure reads: of all holds, and of all that somebody looks at.

    Read before it is looked whether one of them keeps something: so no erasure passes one.
    """
    return {key: service.log.head(key) for key in (HOLDS, LOOKS)}


def is_free(service: Service, kept: Kept) -> bool:
    """Whether nothing that was recorded since it was found keeps it: a hold, or a look at it."""
    held = holding(service.erasures.holding.standing(), kept.concern)
    return held is None and not is_looked_at(service, kept)


def is_looked_at(service: Service, kept: Kept) -> bool:
    """While somebody is looking into it, its time does not run."""
    return any(service.erasures.looking.at(case) for case in kept.concern.cases)


def find(service: Service, record: str, section: str) -> Kept | None:
    """One section that is kept. For `walk`."""
    for each in retained(service).sections():
        if (each.record, each.section) == (record, section):
            return each
    return None


def check_may_go(service: Service, kept: Kept) -> None:
    """
    Raises `Conflict` for a section that is held, or younger than a class lets it be.

    Somebody's own word may erase what no class has come to, but never what one keeps.
    """
    hold = holding(service.erasures.holding.standing(), kept.concern)
    if hold is not None:
        raise Conflict(f"`{hold.id}` holds this: it is released by two")
    ruling = service.erasures.rules.ruling(kept.thing)
    since = None if is_looked_at(service, kept) else kept.since
    if ruling.keeps(since, service.now()):
        until = f"until {moment.text(since + ruling.floor)}" if since is not None else ""
        why = until or _why_needed(service, kept)
        raise Conflict(f"class `{ruling.kept_by}` keeps this: {why}")


def _why_needed(service: Service, kept: Kept) -> str:
    """What has to be over before its time runs."""
    looking = service.erasures.looking
    who = sorted(frozenset().union(*map(looking.who, kept.concern.cases)))
    if not who:
        return "its case, or one that it is about, is open, or what it says is in force"
    named = ", ".join(f"`{each}`" for each in who[:_NAMED])
    more = f" and {len(who) - _NAMED} more" if len(who) > _NAMED else ""
    return f"somebody is looking into it, until {named}{more} is closed"


# --- looking ------------------------------------------------------------------------------------


async def overview(service: Service, caller: Caller) -> dict[str, Any]:
    """The classes in force, and how much each covers."""
    permit.require(service, caller, "read")
    return await walk(service, _overview)


def _overview(service: Service) -> dict[str, Any]:
    kept, rules = retained(service), service.erasures.rules
    covered, keeps, goes = Counter[Class](), Counter[str](), Counter[str]()
    sections = list(kept.sections())
    things = Counter(each.thing for each in sections)
    things.update(batch.thing for batch in kept.batches())
    for thing, count in things.items():
        for each in rules.classes:
            covered[each] += count if each.applies_to(thing) else 0
        ruling = rules.ruling(thing)
        keeps[ruling.kept_by] += count
        goes[ruling.goes_by] += count
    found = plan(kept, rules, service.erasures.holding.standing(), service.now())
    return {
        "classes": [
            {**_class(each), "covers": covered[each], "keeps": keeps[each.name],
             "goes": goes[each.name]}
            for each in rules.classes
        ],
        "sections": len(sections),
        "for_ever": goes[""],
        "holds": len(service.erasures.holding.standing()),
        "two_people_above": rules.two_people_above,
        "two_people_above_events": rules.two_people_above_events,
        "automatic": rules.automatic,
        "every": None if rules.every is None else int(rules.every.total_seconds()),
        **summary(found),
    }  # fmt: skip


def _class(each: Class) -> dict[str, Any]:
    return {
        "name": each.name,
        "floor": None if each.floor is None else int(each.floor.total_seconds()),
        "ceiling": None if each.ceiling is None else int(each.ceiling.total_seconds()),
        "origin": each.origin,
        **{
            name: sorted(getattr(each, name))
            for name in ("kinds", "sections", "resources", "environments", "data", "sources")
        },
    }


def summary(found: Plan) -> dict[str, Any]:
    """A plan in numbers."""
    return {
        "as_of": moment.text(found.as_of),
        "size": found.size,
        "due": len(found),
        "sections_due": len(found.sections),
        "batches_due": len(found.batches),
        "rules": found.rules,
        "held": dict(found.held),
        "conflicts": [
            {"kept_by": kept_by, "goes_by": goes_by, "count": count}
            for (kept_by, goes_by), count in sorted(found.conflicts.items())
        ],
        "listed": found.listed.hex(),
    }


def lines(found: Plan) -> list[dict[str, Any]]:
    """A plan line by line, as far as it is shown."""
    sections = [
        {"record": each.kept.record, "kind": each.kept.kind, "section": each.kept.section,
         "since": moment.text(each.kept.since) if each.kept.since else None, "rule": each.rule}
        for each in found.sections[:SHOWN]
    ]  # fmt: skip
    batches = [
        {"record": each.kept.record, "source": each.kept.source, "events": each.kept.count,
         "start": each.kept.start, "left_for": list(each.grants), "rule": each.rule}
        for each in found.batches[: SHOWN - len(sections)]
    ]  # fmt: skip
    return [*sections, *batches]
