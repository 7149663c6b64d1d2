"""
What a campaign is over: the items that the log gives at one size, and who is to look at each.

All of it is made from the log up to that size, and from the rule, so that it can be made again at
any later time. What somebody could show at the best counts as shown: the question is whether he may
ever ask, not whether he may at this hour.
"""

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.campaign_grounds import seed_of
from muniment.access.campaign_items import write
from muniment.access.registry import Principal, Registry, Role
from muniment.errors import LogInvalid, Unavailable
from muniment.evidence import merkle, moment
from muniment.evidence.record import Header, read_again
from muniment.evidence.store import Entry
from muniment.operations.facts import CLAIMED, at_best, is_withdrawn, mfa, role_facts
from muniment.operations.service import Service, content
from muniment.oversight import campaigns
from muniment.oversight.campaigns import Approves, Draft, Eligible, Reviewer, Rule, Written
from muniment.oversight.population import Population
from muniment.policy import bundle as policy_bundle
from muniment.policy.bundle import Bundle
from muniment.policy.decide import Decision, ask_request
from muniment.policy.questions import AccessFacts, Incident, PrincipalFacts, Reference

#: is told how many of how many records, or questions, are done
Progress = Callable[[int, int], object]
#: it is said so often how far it came
_EVERY: Final = 1000
#: who asks for less time gets more easily what he asks for
_SHORTEST: Final = 60
#: named in what asks on behalf of everybody; no ticket of anybody
_ANY: Final = "any"


@dataclass(frozen=True, kw_only=True)
class Made:
    """The population of one campaign, as it is recorded."""

    size: int
    root: bytes
    sheets: tuple[bytes, ...]
    items: int
    items_root: bytes
    completeness: bytes
    targets: int
    unseen: int
    seed: bytes | None
    reviewers: int


@dataclass(kw_only=True)
class Past:
    """All that the log says up to one size."""

    registry: Registry = field(default_factory=Registry)
    population: Population = field(default_factory=Population)
    #: by principal: whoever enrolled him, as persons; by role likewise, and of the policy
    enrolled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defined: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    newest: datetime | None = None
    tree: merkle.Frontier = field(default_factory=merkle.Frontier)

    def take(self, index: int, data: bytes) -> None:
        entry = Entry(index, data, merkle.leaf_hash(data), read_again(data))
        header = entry.header
        self.tree.push(entry.leaf)
        self.population.take(index, header)
        self.registry.take(entry)
        self.newest = header.at if self.newest is None else max(self.newest, header.at)
        if header.kind in _PROVISIONS:
            self._provisioned(header)

    def _provisioned(self, header: Header) -> None:
        match records.parse(header):
            case records.PrincipalEnrolled(actor=actor):
                self.enrolled[header.case] = actor.persons
            case records.RoleDefined(actor=actor, resource=resource, role=role):
                self.defined[resource, role] = actor.persons
            case records.PolicyActivated(actor=actor):
                self.written = actor.persons
            case _:
                pass


_PROVISIONS: Final = (
    records.PrincipalEnrolled.KIND,
    records.RoleDefined.KIND,
    records.PolicyActivated.KIND,
)


def make(
    service: Service,
    rule: Rule,
    size: int,
    root: bytes,
    progress: Progress = lambda _done, _total: None,
) -> Made:
    """
    The population at this size of the log. In a thread of its own: it takes a while.

    The database is believed nothing: what was read has to give the root. Raises `LogInvalid` where
    it does not, and `Unavailable` where the log cannot be read, or holds no policy yet.
    """
    with without_collecting():
        past = Past()
        for index, data in service.log.store.entries(0, size):
            past.take(index, data)
            if index % _EVERY == 0:
                progress(index, size)
        if past.population.size != size:
            raise Unavailable("the log cannot be read to its end")
        if past.tree.root() != root:
            raise LogInvalid("the records in the database are not those of the log")
        return made_of(service, past, rule, root, progress)


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """
    What is made of records is kept, and points nowhere back: to look for circles takes a third.

    Memory that others leave in circles meanwhile is given back when it is over.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def made_of(
    service: Service,
    past: Past,
    rule: Rule,
    root: bytes,
    progress: Progress = lambda _done, _total: None,
) -> Made:
    """The same of a past that was read already, under this root."""
    if past.newest is None:
        raise Unavailable("a log without records")
    seed = seed_of(root, rule.name) if rule.what == "grants" and rule.sample else None
    listed = Counter[str]()
    drafts = _counted(_drafts(service, past, rule, root, progress), listed)
    made = lay_out(drafts, _of(past, rule.reviewers), _of(past, rule.fallback))
    completeness = _completeness(past, rule, listed)
    return Made(
        size=past.population.size,
        root=root,
        sheets=made.sheets,
        items=made.items,
        items_root=made.root,
        completeness=content(completeness),
        targets=len(completeness),
        unseen=sum(each["scan"] is None for each in completeness),
        seed=seed,
        reviewers=len(_of(past, rule.reviewers)),
    )


@dataclass(frozen=True, kw_only=True)
class LaidOut:
    """Items on their sheets."""

    sheets: tuple[bytes, ...]
    items: int
    root: bytes


def lay_out(
    drafts: Iterable[Draft], reviewers: Sequence[Reviewer], fallback: Sequence[Reviewer]
) -> LaidOut:
    """One item after the other: of all of them only the sheets lie in memory, packed."""
    tree = merkle.Frontier()
    lines = campaigns.assigned(drafts, reviewers, fallback)
    sheets = write(_hashed(lines, tree))
    return LaidOut(sheets=tuple(sheets), items=tree.size, root=tree.root())


def _hashed(lines: Iterable[bytes], tree: merkle.Frontier) -> Iterator[bytes]:
    for line in lines:
        tree.push(merkle.leaf_hash(line))
        yield line


def _counted(drafts: Iterable[Draft], listed: Counter[str]) -> Iterator[Draft]:
    """How many there are of each resource is known once all were taken."""
    for draft in drafts:
        listed[draft.resource] += 1
        yield draft


def _drafts(
    service: Service, past: Past, rule: Rule, root: bytes, progress: Progress
) -> Iterator[Draft]:
    if rule.what == "grants":
        seed = seed_of(root, rule.name)
        yield from campaigns.grant_drafts(rule, past.population, past.enrolled, seed)
        return
    bundle = _bundle(service, past.registry)
    asked = _Asked(past=past, bundle=bundle)
    yield from campaigns.access_drafts(past.population, _eligible(asked, rule, progress))
    # by now it is known whose approval anybody needs
    yield from campaigns.approver_drafts(past.population, _approvers(past, asked.groups))
    yield from campaigns.policy_drafts(
        Written(id=each.id, sha256=each.sha256, effect=each.effect, provisioned=past.written)
        for _, each in sorted(bundle.by_id.items())
    )


# --- who may ask for what ---------------------------------------------------------------------


def _bundle(service: Service, registry: Registry) -> Bundle:
    in_force = registry.policy
    if in_force is None:
        raise Unavailable("no policy was ever activated; there is nothing to review")
    try:
        current = service.policy()
    except LogInvalid:
        current = None
    if current is not None and current.digest == in_force.digest.hex():
        return current
    lines = service.document(in_force.digest).decode().splitlines()
    named = [line.partition("  ") for line in lines]
    return policy_bundle.load(
        {path: service.document(bytes.fromhex(name)) for name, _, path in named}
    )


@dataclass(kw_only=True)
class _Asked:
    """Questions to one policy about everybody; the same question is asked once."""

    past: Past
    bundle: Bundle
    #: groups whose approval somebody would need
    groups: set[str] = field(default_factory=set)
    _known: dict[Any, tuple[Decision, Decision]] = field(default_factory=dict)

    def about(self, principal: Principal, role: Role) -> tuple[Decision, Decision]:
        """What the policy says to asking, and to breaking glass."""
        asking = facts_at_best(self.past.registry, principal, role, self.past.newest)
        key = self._key(asking)
        if key not in self._known:
            asked = at_any_hour(self.bundle, asking)
            self.groups.update(*(each.approvals for each in asked if each.outcome != "deny"))
            glass = at_any_hour(self.bundle, replace(asking, emergency=True))
            self._known[key] = asked[0], glass[0]
        return self._known[key]

    def _key(self, facts: AccessFacts) -> Any:
        """Where no rule names anybody, whoever is alike gets the same answer."""
        if self._names_somebody:
            return facts.requester.id, facts.role.id
        behind = facts.sponsor
        return (
            facts.requester.kind,
            facts.requester.groups,
            facts.requester.active,
            None if behind is None else (behind.groups, behind.active),
            facts.role,
            facts.withdrawn,
        )

    @property
    def _names_somebody(self) -> bool:
        return any(
            "prn_" in rule.text or "per_" in rule.text for rule in self.bundle.by_id.values()
        )


def facts_at_best(
    registry: Registry, principal: Principal, role: Role, at: datetime | None
) -> AccessFacts:
    """
    What the policy would be asked on if he showed and named all that he could.

    Also of who is on leave, or has broken glass as often as he may: both pass.
    """
    if at is None:
        raise Unavailable("a log without records")
    sponsor = registry.principals.get(principal.sponsor or "")
    human = principal.type == "human"
    return AccessFacts(
        requester=_facts(principal),
        sponsor=_facts(sponsor) if principal.type == "agent" and sponsor else None,
        role=role_facts(role),
        seconds=_SHORTEST,
        now=moment.text(at),
        business_hours=True,
        emergency=False,
        break_glass_last_30d=0,
        ticket=Reference(id=_ANY, state=CLAIMED, source=CLAIMED),
        incident=Incident(id=_ANY, severity=0, open=False, source=CLAIMED),
        mfa=mfa(at_best(at), at) if human else None,
        withdrawn=is_withdrawn(registry, principal, role) or None,
    )


def at_any_hour(bundle: Bundle, asking: AccessFacts) -> list[Decision]:
    """What the policy says within business hours and outside of them; a permit comes first."""
    asked = [ask_request(bundle, replace(asking, business_hours=each)) for each in (True, False)]
    return sorted(asked, key=lambda decision: decision.outcome == "deny")


def _facts(principal: Principal) -> PrincipalFacts:
    return PrincipalFacts(
        id=principal.id,
        kind=principal.type,  # type: ignore[arg-type]  # one of three, checked when it was enrolled
        person=principal.person,
        active=True,
        groups=principal.groups,
        attested=principal.type != "human",
        sponsor=principal.sponsor if principal.type == "agent" else None,
    )


def _eligible(asked: _Asked, rule: Rule, progress: Progress) -> Iterator[Eligible]:
    past, registry = asked.past, asked.past.registry
    roles = [each for each in registry.roles.values() if not each.withdrawn]
    roles = [each for each in roles if rule.covers(each.resource)]
    active = [
        each
        for _, each in sorted(registry.principals.items())
        if all(link.active for link in registry.chain(each))
    ]
    roles.sort(key=lambda each: (each.resource, each.role))
    for number, role in enumerate(roles):
        for place, principal in enumerate(active, number * len(active)):
            if place % _EVERY == 0:
                progress(place, len(roles) * len(active))
            request, glass = asked.about(principal, role)
            may, may_break = request.outcome != "deny", glass.outcome != "deny"
            if may or may_break:
                yield _as_eligible(past, principal, role, request, may_break=may_break)


def _as_eligible(
    past: Past, principal: Principal, role: Role, request: Decision, *, may_break: bool
) -> Eligible:
    allowed = request.outcome != "deny"
    text = "".join(rule.text for rule in request.rules)
    provisioned = (
        *past.enrolled.get(principal.id, ()),
        *past.defined.get((role.resource, role.role), ()),
    )
    return Eligible(
        principal=principal.id,
        kind=principal.type,
        persons=past.registry.persons(principal),
        resource=role.resource,
        role=role.role,
        outcome=request.outcome,
        glass=may_break,
        groups=tuple(group for group in sorted(principal.groups) if f'"{group}"' in text),
        rules=tuple(rule.id for rule in request.rules) if allowed else (),
        max_seconds=(request.max_seconds or 0) if allowed else 0,
        provisioned=tuple(dict.fromkeys(provisioned)),
    )


def _approvers(past: Past, groups: set[str]) -> Iterator[Approves]:
    registry = past.registry
    for group in sorted(groups):
        for _, principal in sorted(registry.principals.items()):
            if principal.type == "human" and principal.active and group in principal.groups:
                yield Approves(
                    principal=principal.id,
                    persons=registry.persons(principal),
                    group=group,
                    provisioned=past.enrolled.get(principal.id, ()),
                )


def _of(past: Past, group: str) -> list[Reviewer]:
    registry = past.registry
    return [
        Reviewer(principal=each.id, persons=registry.persons(each))
        for each in registry.principals.values()
        if each.type == "human" and each.active and group in each.groups
    ]


# --- against the targets ----------------------------------------------------------------------


def _completeness(past: Past, rule: Rule, listed: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """
    Of each resource: what its newest scan counted there, and how much of it is listed here.

    A review of grants says nothing of accounts that no grant explains: how many the target had of
    those, a scan says.
    """
    registry = past.registry
    roles = [each for each in registry.roles.values() if rule.covers(each.resource)]
    connectors = {each.resource: each.connector for each in roles if not each.withdrawn}
    live = [each for each in registry.grants.values() if not each.ended]
    return [
        {
            "resource": resource,
            "connector": connector,
            "listed": listed.get(resource, 0),
            "live_grants": sum(each.resource == resource for each in live),
            "scan": _scan(registry, resource),
        }
        for resource, connector in sorted(connectors.items())
    ]


def _scan(registry: Registry, resource: str) -> Mapping[str, Any] | None:
    newest = registry.scans.of(resource)
    if newest is None:
        return None
    record = newest.record
    return {
        "case": newest.entry.header.case,
        "at": moment.text(newest.entry.header.at),
        "target": record.target,
        "accounts": record.accounts,
        "sessions": record.sessions,
        "differences": record.differences,
    }
