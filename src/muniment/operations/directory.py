"""
A directory that is kept elsewhere writes its people and groups here; each write is records.

What such a directory may see and change is what it wrote itself: the principals and groups whose
source is `scim:<provider>`. Names are unique per provider, logins and accounts altogether: every
write reads the head that each of them moves, and is evaluated again when it has moved.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.counters import DIRECTORY
from muniment.access.registry import Group, Principal
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.operations import permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.enrolment import (
    GROUP,
    MOST_GROUP_CHARACTERS,
    MOST_GROUPS,
    free_login,
)
from muniment.operations.providers import ProviderRules
from muniment.operations.service import Caller, Service, content, new_id

#: a group that is renamed or deleted is written at each of its members, all at once
MOST_MEMBERS: Final = 10_000
#: bytes that the groups of one person may have in a record, which has to stay below 16 KiB
_MOST_ATTRIBUTES: Final = 32 * 1024
_MOST_NAME: Final = 255


@dataclass(frozen=True, kw_only=True)
class Person:
    """A human as the directory has it."""

    user_name: str
    #: how the directory itself knows it; may be empty
    external_id: str
    active: bool
    name: str
    mail: str
    #: everything that it wrote, to be given back as it was
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A group as the directory has it."""

    display: str
    external_id: str
    #: principal ids
    members: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class HeldPerson:
    """A human as it stands in the log."""

    id: str
    active: bool
    user_name: str
    external_id: str
    attributes: Mapping[str, Any]
    created: str
    modified: str
    groups: tuple["HeldGroup", ...]


@dataclass(frozen=True, kw_only=True)
class HeldGroup:
    """A group as it stands in the log."""

    id: str
    #: as rules name it: what it is called where a rule can say that, else its id
    name: str
    display: str
    external_id: str
    created: str
    modified: str


@dataclass(frozen=True, kw_only=True)
class Directory:
    """What one caller may see and write: the people and groups of one provider."""

    service: Service
    caller: Caller
    rules: ProviderRules

    @property
    def source(self) -> str:
        return f"scim:{self.rules.name}"

    # --- what stands -------------------------------------------------------------------------

    def people(self) -> Iterator[HeldPerson]:
        """Everybody whom it wrote and did not delete, in the order of enrolment."""
        groups = {group.name: group for group in self.groups()}
        for principal in list(self.service.registry.principals.values()):
            written = self._written(principal)
            if written is not None:
                yield _held_person(principal, written, groups)

    def person(self, id_: str) -> HeldPerson:
        """Raises `NotFound`, for what another directory wrote too."""
        principal = self.service.registry.principals.get(id_)
        written = self._written(principal) if principal is not None else None
        if principal is None or written is None:
            raise NotFound(f"there is no person `{id_}` in this directory")
        return _held_person(principal, written, {group.name: group for group in self.groups()})

    def groups(self) -> Iterator[HeldGroup]:
        for group in list(self.service.registry.groups.values()):
            if group.source == self.source and group.active:
                yield _held_group(group, self.service.identity(group.id) or {})

    def group(self, id_: str) -> HeldGroup:
        """Raises `NotFound`, for what another directory wrote too."""
        group = self.service.registry.groups.get(id_)
        if group is None or group.source != self.source or not group.active:
            raise NotFound(f"there is no group `{id_}` in this directory")
        return _held_group(group, self.service.identity(group.id) or {})

    def members(self, name: str) -> list[Principal]:
        """Who is in a group, by its name for rules."""
        return [
            principal
            for principal in list(self.service.registry.principals.values())
            if name in principal.groups and self._written(principal) is not None
        ]

    def _written(self, principal: Principal) -> Mapping[str, Any] | None:
        """What it wrote of somebody; None for whom it did not write, or deleted."""
        if principal.source != self.source:
            return None
        found: Mapping[str, Any] | None = (self.service.identity(principal.id) or {}).get("scim")
        return found

    # --- people ------------------------------------------------------------------------------

    async def enrol(self, person: Person) -> HeldPerson:
        """Raises `Conflict` for a name or an account that somebody else has, and `Malformed`."""
        return self.person(await self._write(lambda now: self._enrol(person, now)))

    def _enrol(self, person: Person, now: datetime) -> "_Write":
        self._check_person(person, None)
        known = self._known(person)
        identity = dict(self.service.identity(known.id) or {}) if known is not None else {}
        identity.setdefault("login", free_login(self.service, person.user_name))
        identity |= self._identity(person, created=moment.text(now), now=now)
        after = Principal(
            id=known.id if known is not None else new_id("prn"),
            type="human",
            person=known.person if known is not None else new_id("per"),
            active=person.active,
            groups=frozenset(),
            sponsor=None,
            source=self.source,
        )
        write = _Write(id=after.id)
        write.add(self._draft(after, identity, now), known, after)
        return write

    async def rewrite(self, id_: str, change: Callable[[HeldPerson], Person]) -> HeldPerson:
        """
        Make of somebody what `change` says, which is asked again when it lost against another.

        Raises `NotFound`, `Conflict`, `Malformed`. Where nothing changes, nothing is written.
        """
        return self.person(await self._write(lambda now: self._rewrite(id_, change, now)))

    def _rewrite(self, id_: str, change: Callable[[HeldPerson], Person], now: datetime) -> "_Write":
        held = self.person(id_)
        person, write = change(held), _Write(id=id_)
        self._check_person(person, id_)
        before = self.service.registry.principals[id_]
        same = person.active == before.active and person.attributes == held.attributes
        if same and person.external_id == held.external_id:
            return write
        known = self.service.identity(id_) or {}
        identity = {**known, **self._identity(person, created=held.created, now=now)}
        after = replace(before, active=person.active)
        moved = known.get("accounts") != identity["accounts"]
        write.add(self._draft(after, identity, now), before, after, moved=moved)
        return write

    async def retire(self, id_: str) -> None:
        """
        Delete somebody: disabled, in no group, and forgotten but for login and account.

        Those stay, so that signing in is refused, and so that whoever comes back is the same human.
        """
        await self._write(lambda now: self._retire(id_, now))

    def _retire(self, id_: str, now: datetime) -> "_Write":
        self.person(id_)
        before, write = self.service.registry.principals[id_], _Write(id=id_)
        known = self.service.identity(id_) or {}
        identity = {"accounts": known.get("accounts", []), "login": known["login"]}
        after = replace(before, active=False, groups=frozenset())
        write.add(self._draft(after, identity, now), before, after)
        return write

    def _check_person(self, person: Person, id_: str | None) -> None:
        for name, value in (("userName", person.user_name), ("externalId", person.external_id)):
            if len(value) > _MOST_NAME:
                raise Malformed(f"`{name}` has at most {_MOST_NAME} characters")
        if not person.user_name:
            raise Malformed("`userName` is empty")
        if len(content(dict(person.attributes))) > _MOST_ATTRIBUTES:
            raise Malformed(f"a person has at most {_MOST_ATTRIBUTES:,} bytes of attributes")
        wanted = person.user_name.casefold()
        for principal in list(self.service.registry.principals.values()):
            written = self._written(principal) if principal.id != id_ else None
            if written is not None and written["userName"].casefold() == wanted:
                raise Conflict("somebody else has this `userName`")
        known = self._known(person)
        if known is not None and known.id != id_ and self._written(known) is not None:
            raise Conflict(f"somebody else has this `{self.rules.scim_subject}`")
        if known is not None and known.source not in (self.source, f"sign-in:{self.rules.name}"):
            raise Conflict(f"this `{self.rules.scim_subject}` is of somebody enrolled elsewhere")
        if known is not None and id_ not in (None, known.id):
            raise Conflict(
                f"this `{self.rules.scim_subject}` is of another account, and stays that"
            )

    def _subject(self, person: Person) -> str:
        """What a token of this person will name it by; may be empty."""
        by_name = self.rules.scim_subject == "userName"
        return person.user_name if by_name else person.external_id

    def _known(self, person: Person) -> Principal | None:
        """Whose account this is already: somebody who signed in before, or was deleted."""
        subject = self._subject(person)
        return self.service.account(self.rules.issuer, subject) if subject else None

    def _identity(self, person: Person, *, created: str, now: datetime) -> dict[str, Any]:
        subject = self._subject(person)
        return {
            "accounts": [{"issuer": self.rules.issuer, "subject": subject}] if subject else [],
            "mail": person.mail,
            "name": person.name,
            "scim": {
                "attributes": dict(person.attributes),
                "created": created,
                "externalId": person.external_id,
                "modified": moment.text(now),
                "userName": person.user_name,
            },
        }

    # --- groups ------------------------------------------------------------------------------

    async def define(self, crowd: Crowd) -> HeldGroup:
        """Raises `Conflict` for a name that another group has, and `Malformed`."""
        return self.group(await self._write(lambda now: self._define(crowd, now)))

    def _define(self, crowd: Crowd, now: datetime) -> "_Write":
        id_ = new_id("grp")
        return self._settle(_Write(id=id_), None, crowd, moment.text(now), now)

    async def redefine(
        self, id_: str, change: Callable[[HeldGroup, frozenset[str]], Crowd]
    ) -> HeldGroup:
        """
        Make of a group and its members what `change` says; all of it stands at once, or nothing.

        Raises `NotFound`, `Conflict`, `Malformed`. Where nothing changes, nothing is written.
        """
        return self.group(await self._write(lambda now: self._redefine(id_, change, now)))

    def _redefine(
        self, id_: str, change: Callable[[HeldGroup, frozenset[str]], Crowd], now: datetime
    ) -> "_Write":
        held = self.group(id_)
        members = frozenset(principal.id for principal in self.members(held.name))
        crowd = change(held, members)
        same = (crowd.display, crowd.external_id) == (held.display, held.external_id)
        if same and crowd.members == members:
            return _Write(id=id_)
        return self._settle(_Write(id=id_), held, crowd, held.created, now)

    async def dissolve(self, id_: str) -> None:
        """Delete a group: nobody is in it any more."""
        await self._write(lambda now: self._dissolve(id_, now))

    def _dissolve(self, id_: str, now: datetime) -> "_Write":
        held, write = self.group(id_), _Write(id=id_)
        record = records.GroupDefined(
            actor=self._actor, source=self.source, name=held.name, active=False
        )
        write.drafts.append(record.draft(id_, now, sections={"identity": content({})}))
        for principal in self.members(held.name):
            self._move(write, principal, principal.groups - {held.name}, now)
        return write

    def _settle(
        self, write: "_Write", held: HeldGroup | None, crowd: Crowd, created: str, now: datetime
    ) -> "_Write":
        """The group's own record, and one for each member who comes, goes, or follows its name."""
        name = self._name(write.id, crowd)
        before = self.members(held.name) if held is not None else []
        wanted = {id_: self._member(id_) for id_ in crowd.members}
        if len(wanted) > MOST_MEMBERS:
            raise Malformed(f"a group has at most {MOST_MEMBERS:,} members")
        record = records.GroupDefined(actor=self._actor, source=self.source, name=name, active=True)
        shown = {
            "created": created,
            "display": crowd.display,
            "externalId": crowd.external_id,
            "modified": moment.text(now),
        }
        write.drafts.append(record.draft(write.id, now, sections={"identity": content(shown)}))
        old = frozenset({held.name} if held is not None else ())
        for principal in {p.id: p for p in (*before, *wanted.values())}.values():
            stays = frozenset({name} if principal.id in wanted else ())
            self._move(write, principal, principal.groups - old | stays, now)
        return write

    def _move(
        self, write: "_Write", before: Principal, groups: frozenset[str], now: datetime
    ) -> None:
        if groups == before.groups:
            return
        if len(groups) > MOST_GROUPS or sum(map(len, groups)) > MOST_GROUP_CHARACTERS:
            raise Malformed(f"`{before.id}` would be in more groups than a record can hold")
        after = replace(before, groups=groups)
        identity = self.service.identity(before.id) or {}
        write.add(self._draft(after, identity, now), before, after)

    def _member(self, id_: str) -> Principal:
        principal = self.service.registry.principals.get(id_)
        if principal is None or self._written(principal) is None:
            raise Malformed(f"`{id_:.100}` is no person of this directory: groups hold nobody else")
        return principal

    def _name(self, id_: str, crowd: Crowd) -> str:
        """How rules call it. Raises `Conflict` where another group is called so."""
        if not crowd.display or max(len(crowd.display), len(crowd.external_id)) > _MOST_NAME:
            raise Malformed(f"a group's name and id have at most {_MOST_NAME} characters")
        taken = {
            each
            for group in self.groups()
            if group.id != id_
            for each in (group.display.casefold(), group.name.casefold())
        }
        if crowd.display.casefold() in taken:
            raise Conflict("another group has this `displayName`")
        return crowd.display if GROUP.fullmatch(crowd.display) else id_

    # --- writing -----------------------------------------------------------------------------

    @property
    def _actor(self) -> records.Actor:
        return self.service.actor(self.caller)

    def _draft(self, after: Principal, identity: Mapping[str, Any], now: datetime) -> Draft:
        record = records.PrincipalEnrolled(
            actor=self._actor,
            type=after.type,
            person=after.person,
            active=after.active,
            groups=tuple(sorted(after.groups)),
            sponsor=after.sponsor,
            source=after.source,
        )
        return record.draft(after.id, now, sections={"identity": content(dict(identity))})

    async def _write(self, decide: Callable[[datetime], "_Write"]) -> str:
        """Append what `decide` comes to, if anything: the id of what was written."""
        async with self.service.providers.writing:
            id_: str = await until_it_stands(lambda: self._attempt(decide))
        return id_

    async def _attempt(self, decide: Callable[[datetime], "_Write"]) -> str:
        service = self.service
        # heads first: whatever is read after them is at least as new
        moved = service.log.head(DIRECTORY)
        caller = service.registry.principals[self.caller.principal.id]
        grounds = service.rests_on(caller, session=self.caller.session)
        permit.require(service, self.caller, "enrol")
        service.files_in_force()  # they say whom this directory may write
        write = decide(service.now())
        if write.drafts:
            own = {draft.case: service.log.head(draft.case) for draft in write.drafts}
            await service.append(
                Proposal(
                    drafts=tuple(write.drafts),
                    reads={**grounds.reads, **own, DIRECTORY: moved},
                    gives=write.gives,
                    urgent=write.takes and not write.gives,
                )
            )
        return write.id


@dataclass(kw_only=True)
class _Write:
    """What one write comes to: its records, and whether they give or take away."""

    #: of the person or group that it is about
    id: str
    drafts: list[Draft] = field(default_factory=list)
    gives: bool = False
    takes: bool = False

    def add(
        self, draft: Draft, before: Principal | None, after: Principal, *, moved: bool = False
    ) -> None:
        """`moved`: another account is this principal from now on."""
        held = before.groups if before is not None and before.active else frozenset()
        was_active = before is not None and before.active
        self.drafts.append(draft)
        self.gives |= after.active and (not was_active or moved or bool(after.groups - held))
        self.takes |= was_active and (not after.active or bool(held - after.groups))


def directory_of(service: Service, caller: Caller) -> Directory:
    """The directory that a caller may write. Raises `NotPermitted`; counted, not recorded."""
    login = (service.identity(caller.principal.id) or {}).get("login", "")
    rules = [each for each in service.providers.rules.values() if login and each.scim == login]
    if caller.principal.type != "workload" or len(rules) != 1:
        service.count("not-permitted")
        raise NotPermitted("you write the people of no provider: its setting `scim` names who does")
    permit.require(service, caller, "enrol")
    return Directory(service=service, caller=caller, rules=rules[0])


def _held_person(
    principal: Principal, written: Mapping[str, Any], groups: Mapping[str, HeldGroup]
) -> HeldPerson:
    names: Sequence[str] = sorted(principal.groups)
    return HeldPerson(
        id=principal.id,
        active=principal.active,
        user_name=written["userName"],
        external_id=written["externalId"],
        attributes=written["attributes"],
        created=written["created"],
        modified=written["modified"],
        groups=tuple(groups[name] for name in names if name in groups),
    )


def _held_group(group: Group, shown: Mapping[str, Any]) -> HeldGroup:
    return HeldGroup(
        id=group.id,
        name=group.name,
        display=shown.get("display", group.name),
        external_id=shown.get("externalId", ""),
        created=shown.get("created", ""),
        modified=shown.get("modified", ""),
    )
