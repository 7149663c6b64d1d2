"""
Files propose, the log decides: the difference between files and log, appended as records.

Nothing in a file holds until its record stands. An invalid change leaves everything as it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.access.counters import DIRECTORY, FILES
from muniment.access.records import Actor
from muniment.access.registry import Principal, Token
from muniment.errors import ConfigInvalid
from muniment.evidence import moment
from muniment.evidence.append import Appended, Proposal
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Draft
from muniment.operations.attempts import until_it_stands
from muniment.operations.service import Service, content, new_id
from muniment.policy import bundle as policy_bundle
from muniment.ports import Connector

#: source of principals that the files name; what other sources enrolled is theirs to change
FILE: Final = "file"


@dataclass(frozen=True, kw_only=True)
class ProposedPrincipal:
    """One person, workload or agent as the files have it; others are named by login."""

    login: str
    type: str
    groups: tuple[str, ...]
    active: bool = True
    #: login of the account whose human this is; None for an own human
    person_of: str | None = None
    #: login of the human behind an agent, or of a workload's owner
    sponsor: str | None = None
    #: name, contact, and how it is known to providers; sealed
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProposedRole:
    resource: str
    role: str
    #: canonical JSON; the connector's part is under `role`
    definition: bytes
    tier: str
    environment: str
    data: str
    connector: str


@dataclass(frozen=True, kw_only=True)
class ProposedToken:
    hash: bytes
    login: str
    expires: datetime | None
    label: str


@dataclass(frozen=True, kw_only=True)
class ProposedRetirement:
    """A signing key that is to sign no more."""

    key: VerifierKey
    #: `rotated`, `compromised`
    reason: str
    #: of a compromised one: above this size of the log its word is not to be believed
    since: int | None = None


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Everything that the files say, validated in itself."""

    configuration: bytes
    policy: Mapping[str, bytes]
    roles: tuple[ProposedRole, ...]
    principals: tuple[ProposedPrincipal, ...]
    tokens: tuple[ProposedToken, ...]
    connectors: Mapping[str, Connector]
    #: where it came from: `file`, `git:<sha>`
    source: str
    author: str
    #: signing keys that are at hand, the oldest first; empty: nobody looked
    keys: tuple[VerifierKey, ...] = ()
    retired: tuple[ProposedRetirement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference: a line for people, and the record that would make it so."""

    text: str
    draft: Draft
    #: only takes something away: it stands also while nothing may be given
    narrows: bool = False


def differences(service: Service, proposed: Proposed, actor: Actor) -> list[Change]:
    """
    What would be appended; nothing is. Raises `ConfigInvalid` or `PolicyInvalid` saying what to do.
    """
    _check_open_grants(service, proposed)
    now = service.now()
    directory = _Directory(service, proposed, actor, now)
    return [
        *_signing_keys(service, proposed, actor, now),
        *_configuration(service, proposed, actor, now),
        *_policy(service, proposed, actor, now),
        *_roles(service, proposed, actor, now),
        *directory.principals(),
        *directory.tokens(),
    ]


async def take_in(service: Service, proposed: Proposed, actor: Actor) -> list[Change]:
    """Append the differences in one transaction; then the new connectors are in force."""
    digest = sha256(proposed.configuration).digest()
    service.taking_in = digest
    try:
        changes: list[Change] = await until_it_stands(lambda: _take_in(service, proposed, actor))
    finally:
        service.taking_in = None
    service.connectors, service.configuration = proposed.connectors, digest
    service.wake.set()
    return changes


async def _take_in(service: Service, proposed: Proposed, actor: Actor) -> list[Change]:
    heads = _heads(service)  # before facts: see `request`
    changes = differences(service, proposed, actor)
    if changes:
        await _append(service, changes, heads)
    return changes


def _heads(service: Service) -> dict[str, bytes | None]:
    """Of all that files may change; and the counters by which nothing of it is made twice."""
    registry = service.registry
    known = (registry.configuration, registry.policy, *list(registry.roles.values()))
    cases = [registry.log_case, *list(registry.principals), *(each.case for each in known if each)]
    return {key: service.log.head(key) for key in (FILES, DIRECTORY, *cases)}


async def _append(
    service: Service, changes: list[Change], heads: Mapping[str, bytes | None]
) -> Appended:
    drafts = tuple(change.draft for change in changes)
    read = {FILES, *(draft.case for draft in drafts)}
    if any(draft.kind == records.PrincipalEnrolled.KIND for draft in drafts):
        read.add(DIRECTORY)
    return await service.append(
        Proposal(
            drafts=drafts,
            reads={key: heads.get(key) for key in read},
            gives=not all(change.narrows for change in changes),
            urgent=True,
        )
    )


# --- signing keys -----------------------------------------------------------------------------


def _signing_keys(
    service: Service, proposed: Proposed, actor: Actor, now: datetime
) -> Iterator[Change]:
    """Keys that are at hand and not in the log begin to sign; what is to be retired ends."""
    if not proposed.keys:
        return
    log, case = service.log, service.registry.log_case
    wanted = {each.key: each for each in proposed.retired}
    signing = log.keys.signers(log.size)
    added = [key for key in proposed.keys if _is_new(service, key, wanted)]
    leaving = [wanted[key] for key in signing if key in wanted]
    staying = [key for key in (*signing, *added) if key not in wanted]
    if not staying:
        raise ConfigInvalid(
            f"`{leaving[0].key.key_id.hex()}` is the only key that signs; `muniment key add` first"
        )
    for key in staying:
        if key not in proposed.keys:
            raise ConfigInvalid(
                f"the signing key {key.key_id.hex()} is not here: put its file back, or retire it "
                "with `muniment key retire`"
            )
    for key in added:
        draft = records.KeyAdded(actor=actor, key=key.vkey).draft(case, now)
        # it gives nobody access, and whoever changes a stolen key does not wait for a clock
        yield Change(text=f"+ signing key {key.key_id.hex()}", draft=draft, narrows=True)
    for each in leaving:
        record = records.KeyRetired(
            actor=actor, key=each.key.vkey, reason=each.reason, since=each.since
        )
        text = f"- signing key {each.key.key_id.hex()} ({each.reason})"
        yield Change(text=text, draft=record.draft(case, now), narrows=True)


def _is_new(service: Service, key: VerifierKey, wanted: Mapping[VerifierKey, object]) -> bool:
    """Whether the log never had it. One that it retired, and nobody asked for, is refused."""
    known = service.log.keys.of(key)
    if known is not None and known.retired is not None and key not in wanted:
        raise ConfigInvalid(
            f"the log has retired the signing key {key.key_id.hex()}, and it signs never again: "
            "put its file away"
        )
    return known is None and key not in wanted


# --- configuration, policy, roles -------------------------------------------------------------


def _configuration(
    service: Service, proposed: Proposed, actor: Actor, now: datetime
) -> Iterator[Change]:
    digest, before = sha256(proposed.configuration).digest(), service.registry.configuration
    if before is not None and before.digest == digest:
        return
    record = records.ConfigChanged(actor=actor, configuration=digest, source=proposed.source)
    draft = record.draft(
        before.case if before is not None else new_id("cfg"),
        now,
        sections={"author": content({"user": proposed.author})},
        documents=(proposed.configuration,),
    )
    yield Change(text="~ configuration", draft=draft)


def _policy(service: Service, proposed: Proposed, actor: Actor, now: datetime) -> Iterator[Change]:
    # a group that somebody was once in is no typing error, also when its last member has left
    groups = {group for principal in proposed.principals for group in principal.groups}
    for known in list(service.registry.principals.values()):
        groups |= known.groups
    groups |= {group.name for group in list(service.registry.groups.values())}
    bundle = policy_bundle.load(proposed.policy, groups=groups)
    digest, before = bytes.fromhex(bundle.digest), service.registry.policy
    if before is not None and before.digest == digest:
        return
    record = records.PolicyActivated(
        actor=actor,
        bundle=digest,
        previous=before.digest if before is not None else None,
        source=proposed.source,
    )
    draft = record.draft(
        before.case if before is not None else new_id("pol"),
        now,
        sections={"author": content({"user": proposed.author})},
        documents=tuple(
            dict.fromkeys((bundle.manifest, *(proposed.policy[f] for f in sorted(proposed.policy))))
        ),
    )
    first = "" if before is not None else " (the first)"
    yield Change(text=f"~ policy {bundle.digest[:12]}{first}", draft=draft)


def _roles(service: Service, proposed: Proposed, actor: Actor, now: datetime) -> Iterator[Change]:
    wanted = {(role.resource, role.role): role for role in proposed.roles}
    for key, role in sorted(wanted.items()):
        known = service.registry.roles.get(key)
        digest = sha256(role.definition).digest()
        record = records.RoleDefined(
            actor=actor,
            resource=role.resource,
            role=role.role,
            definition=digest,
            tier=role.tier,
            environment=role.environment,
            data=role.data,
            connector=role.connector,
        )
        same = known is not None and not known.withdrawn and known.definition == digest
        if not same:
            sign = "+" if known is None or known.withdrawn else "~"
            case = known.case if known is not None else new_id("rol")
            draft = record.draft(case, now, documents=(role.definition,))
            yield Change(text=f"{sign} role {role.resource}/{role.role}", draft=draft)
    for key, known in sorted(service.registry.roles.items()):
        if key not in wanted and not known.withdrawn:
            draft = records.RoleWithdrawn(actor=actor).draft(known.case, now)
            yield Change(text=f"- role {key[0]}/{key[1]}", draft=draft, narrows=True)


def _check_open_grants(service: Service, proposed: Proposed) -> None:
    """A target must stay reachable for as long as something there is still to be taken away."""
    states = ("authorized", "issued", "expired", "revoked", "ended", "undone")
    for row in service.projections.cases(states=states, closed=False, limit=100_000):
        connector = proposed.connectors.get(row.resource)
        if connector is None:
            raise ConfigInvalid(
                f"resource `{row.resource}` still has an open grant ({row.case}); keep it in the "
                "configuration until that is closed"
            )
        case, _ = service.read(row.case)
        held = case.credential.capabilities.endpoints if case.credential is not None else None
        if held is not None and held != connector.capabilities.endpoints:
            raise ConfigInvalid(
                f"resource `{row.resource}` would lose or change endpoints while {row.case} is "
                f"open; it was issued on {', '.join(held)}"
            )


# --- the directory ----------------------------------------------------------------------------


@dataclass
class _Directory:
    """The differences of people, workloads, agents and their tokens."""

    service: Service
    proposed: Proposed
    actor: Actor
    now: datetime
    #: principal and person ids by login: known ones, and new ones as they are given out
    ids: dict[str, str] = field(default_factory=dict)
    persons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = self.service.names
        for wanted in self.proposed.principals:
            self.ids[wanted.login] = known.get(wanted.login) or new_id("prn")
            self._check_source(wanted.login)
        for wanted in self.proposed.principals:
            self._person(wanted.login, ())

    def _check_source(self, login: str) -> None:
        """Nobody becomes another, with his open sessions and his cases, by a name that he chose."""
        known = self.service.registry.principals.get(self.ids[login])
        if known is not None and known.source != FILE:
            raise ConfigInvalid(
                f"the login `{login}` is of somebody whom `{known.source}` enrolled; take another"
            )

    def principals(self) -> Iterator[Change]:
        by_login = {wanted.login: wanted for wanted in self.proposed.principals}
        for wanted in self.proposed.principals:
            known = self.service.registry.principals.get(self.ids[wanted.login])
            record = self._record(wanted)
            if known is not None and self._same(known, record, wanted):
                continue
            sign = "+" if known is None else "~"
            draft = record.draft(
                self.ids[wanted.login], self.now, sections={"identity": _identity(wanted)}
            )
            yield Change(text=f"{sign} {wanted.type} {wanted.login}", draft=draft)
        for login, id_ in sorted(self.service.names.items()):
            known = self.service.registry.principals[id_]
            if login not in by_login and known.active and known.source == FILE:
                yield self._disabled(login, known)
        for id_, known in list(self.service.registry.principals.items()):
            if known.active and self.service.identity(id_) is None:
                yield self._disabled(id_, known)  # erased: no file can name it any more

    def tokens(self) -> Iterator[Change]:
        registry = self.service.registry
        wanted = {token.hash: token for token in self.proposed.tokens}
        for hash_, token in wanted.items():
            known = registry.tokens.get(hash_)
            if known is not None and known == self._token(token):
                continue
            if token.login not in self.ids:
                raise ConfigInvalid(f"a token is for `{token.login}`, who is not in the directory")
            record = records.TokenEnrolled(actor=self.actor, token=hash_, expires=token.expires)
            label = {"label": content({"text": token.label})} if token.label else {}
            draft = record.draft(self.ids[token.login], self.now, sections=label)
            sign = "+" if known is None else "~"
            yield Change(text=f"{sign} token of {token.login}", draft=draft)
        for hash_, token_known in list(registry.tokens.items()):
            if hash_ not in wanted:
                gone = records.TokenRevoked(actor=self.actor, token=hash_)
                draft = gone.draft(token_known.principal, self.now)
                yield Change(text="- token", draft=draft, narrows=True)

    def _token(self, wanted: ProposedToken) -> Token:
        """The token as the log would have it: a moment is cut to what a record can hold."""
        expires = moment.whole(wanted.expires) if wanted.expires is not None else None
        return Token(principal=self.ids.get(wanted.login, ""), expires=expires)

    def _record(self, wanted: ProposedPrincipal) -> records.PrincipalEnrolled:
        return records.PrincipalEnrolled(
            actor=self.actor,
            type=wanted.type,
            person=self.persons[wanted.login],
            active=wanted.active,
            groups=tuple(sorted(wanted.groups)),
            sponsor=self.ids[wanted.sponsor] if wanted.sponsor is not None else None,
            source=FILE,
        )

    def _disabled(self, login: str, known: Principal) -> Change:
        record = records.PrincipalEnrolled(
            actor=self.actor,
            type=known.type,
            person=known.person,
            active=False,
            groups=tuple(sorted(known.groups)),
            sponsor=known.sponsor,
            source=known.source,
        )
        sections = {"identity": content(dict(self.service.identity(known.id) or {"login": login}))}
        draft = record.draft(known.id, self.now, sections=sections)
        return Change(text=f"- {known.type} {login} (disabled)", draft=draft, narrows=True)

    def _person(self, login: str, seen: tuple[str, ...]) -> str:
        """One human, however many accounts; agents and workloads stand for who is behind them."""
        if login in self.persons:
            return self.persons[login]
        wanted = next((p for p in self.proposed.principals if p.login == login), None)
        if wanted is None or login in seen:
            raise ConfigInvalid(f"`{seen[-1]}` names `{login}`, who is not in the directory")
        behind = wanted.person_of or wanted.sponsor
        known = self.service.registry.principals.get(self.ids[login])
        if behind is not None:
            self.persons[login] = self._person(behind, (*seen, login))
        else:
            self.persons[login] = known.person if known is not None else new_id("per")
        return self.persons[login]

    def _same(
        self, known: Principal, record: records.PrincipalEnrolled, wanted: ProposedPrincipal
    ) -> bool:
        return (
            known.type == record.type
            and known.person == record.person
            and known.active == record.active
            and tuple(sorted(known.groups)) == record.groups
            and known.sponsor == record.sponsor
            and known.source == record.source
            and content(dict(self.service.identity(known.id) or {})) == _identity(wanted)
        )


def _identity(wanted: ProposedPrincipal) -> bytes:
    return content({"login": wanted.login, **wanted.identity})
