"""
A target's inventory held against the log, both ways: each difference is named, once.

Access without a grant, grants without access, privileges beyond a role, sessions that live longer
than what let them in. What stood there before anybody looked is told apart from what came since.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from muniment.oversight.difference import WHATS, Difference
from muniment.oversight.event import clipped
from muniment.oversight.inventory import Account, Gives, Inventory, Session
from muniment.oversight.link import SKEW

#: how long after its end a grant may still be seen: its removal is under way (rule 1)
SETTLING: Final = timedelta(seconds=60)
#: names that one difference lists
_NAMED: Final = 10
_LOGIN: Final = "login"
_MEMBER: Final = "member of "


@dataclass(frozen=True, kw_only=True)
class Held:
    """A grant, as far as a target can be held against it."""

    case: str
    role: str
    #: person ids of its actor chain
    persons: tuple[str, ...]
    #: `live`; `unsettled`, as it is being issued or ended at this moment; `over`
    state: Literal["live", "unsettled", "over"]
    until: datetime
    #: identity of the target on which it was issued
    target: str = ""
    #: whether the target itself was told when it ends
    expires: bool = True
    #: what its role gives; None where the connector cannot say
    gives: Gives | None = None


@dataclass(frozen=True, kw_only=True)
class Stood:
    """What is remembered of an account or role of others, from one scan to the next."""

    #: the scan that first saw it
    since: datetime
    #: that was the first scan of the target
    standing: bool
    #: what it had then, and has had ever since
    rights: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """All that the log, and the scans before, say of one target."""

    resource: str
    #: every grant of the resource that may show at the target, by its case id
    grants: Mapping[str, Held] = field(default_factory=dict)
    #: what the scan before remembered, by name
    before: Mapping[str, Stood] = field(default_factory=dict)
    #: this target was never looked at: whatever is new to us stood there before
    first: bool = False
    #: roles of the target that our role definitions give
    roles: frozenset[str] = frozenset()
    #: the account that is kept for emergencies
    emergency: str = ""
    #: whether somebody has explained a difference, or answers for it
    is_known: Callable[[Difference], bool] = lambda _: False


def compare(seen: Inventory, expected: Expected, now: datetime) -> list[Difference]:
    """Every difference but those that are known; what is being issued or ended is left alone."""
    look = _Look(seen, expected, now)
    found = (
        *look.accounts(),
        *look.gains(),
        *look.sessions(),
        *look.missing(),
        *look.beyond(),
    )
    return [each for each in found if not expected.is_known(each)]


def remember(seen: Inventory, expected: Expected, now: datetime) -> dict[str, Stood]:
    """What the next scan has to know of the accounts and roles that are not ours."""
    look = _Look(seen, expected, now)
    return {
        account.name: look.stood(account)
        for account in seen.accounts
        if account.name in look.watched
    }


class _Look:
    """One inventory beside what is expected of it."""

    def __init__(self, seen: Inventory, expected: Expected, now: datetime) -> None:
        self._seen = seen
        self._expected = expected
        self._now = now
        self._by_name = {account.name: account for account in seen.accounts}
        self._by_grant = {account.grant: account for account in seen.accounts if account.grant}
        self._given: dict[str, set[tuple[str, str]]] = {}
        for each in seen.privileges:
            self._given.setdefault(each.account, set()).add((each.object, each.privilege))
        self._spared = {*seen.own, expected.emergency} - {""}
        #: accounts of others that let somebody in, and roles that these, or ours, reach
        self.watched = self._watched()

    def stood(self, account: Account) -> Stood:
        before, rights = self._before(account.name), _rights(account)
        if before is not None:
            return Stood(
                since=before.since, standing=before.standing, rights=before.rights & rights
            )
        return Stood(since=self._now, standing=self._expected.first, rights=rights)

    def _before(self, name: str) -> Stood | None:
        return self._expected.before.get(name)

    def _watched(self) -> frozenset[str]:
        entries = [each.name for each in self._seen.accounts if self._is_entry(each)]
        reached, waiting = {*entries}, [*entries, *self._expected.roles]
        while waiting:
            name = waiting.pop()
            account = self._by_name.get(name)
            if account is None or account.grant or name in self._spared:
                continue
            reached.add(name)
            waiting += (group for group in account.member_of if group not in reached)
        return frozenset(reached)

    def _is_entry(self, account: Account) -> bool:
        """Whether it lets somebody in who is not of us."""
        return account.can_login and not account.grant and account.name not in self._spared

    # --- accounts without a grant ------------------------------------------------------------

    def accounts(self) -> Iterator[Difference]:
        for account in self._seen.accounts:
            if account.grant:
                yield from self._of_our_form(account)
            elif self._is_entry(account):
                yield self._of_others(account)

    def _of_our_form(self, account: Account) -> Iterator[Difference]:
        held = self._expected.grants.get(account.grant)
        if held is None:
            yield self._difference("account-without-grant", "unknown-grant", account.name)
        elif held.state == "over":
            yield self._difference("account-without-grant", "left-over", account.name, held)

    def _of_others(self, account: Account) -> Difference:
        before, stood = self._before(account.name), self.stood(account)
        kind = "privileged-account" if self._is_powerful(account) else "account-without-grant"
        # a role that let nobody in when it was first seen is no account that stood there
        standing = stood.standing and _LOGIN in stood.rights
        return self._difference(
            kind,
            "standing" if standing else "out-of-band",
            account.name,
            since=before.since if before is not None and _LOGIN in before.rights else None,
            key="account",
        )

    def _is_powerful(self, account: Account) -> bool:
        """
        By itself, or by a role that it can take on, as far as it had that when it was first seen.

        What came later is a difference of its own.
        """
        reached, waiting = {account.name}, [account]
        while waiting:
            rights = self.stood(waiting.pop()).rights
            if any(not right.startswith(_MEMBER) for right in rights - {_LOGIN}):
                return True
            groups = {right.removeprefix(_MEMBER) for right in rights} & self._by_name.keys()
            waiting += (self._by_name[name] for name in groups - reached)
            reached |= groups
        return False

    def gains(self) -> Iterator[Difference]:
        """Rights that came to an account or a role of others after it was first seen."""
        for name in sorted(self.watched):
            stood = self._before(name)
            if stood is None:
                continue
            for right in sorted(_rights(self._by_name[name]) - stood.rights - {_LOGIN}):
                yield self._difference(
                    "privilege-beyond-role", "gained", name, objects=(right,), key=f"gained {right}"
                )

    # --- sessions ----------------------------------------------------------------------------

    def sessions(self) -> Iterator[Difference]:
        grouped: dict[tuple[str, str, str], list[Session]] = {}
        for session in self._seen.sessions:
            wrong = self._wrong(session)
            if wrong is not None:
                grouped.setdefault((*wrong, session.account), []).append(session)
        for (kind, what, account), found in grouped.items():
            yield self._difference(
                kind,
                what,
                account,
                self._expected.grants.get(found[0].grant),
                objects=[session.id for session in found],
                since=min(session.started for session in found),
            )

    def _wrong(self, session: Session) -> tuple[str, str] | None:
        """Kind of the difference, and what it is; None where all is well."""
        if session.grant:
            held = self._expected.grants.get(session.grant)
            if held is None:
                return "session-without-grant", "unknown-grant"
            over = held.state == "over" or self._now > held.until + SETTLING
            return ("session-beyond-grant", "over") if over else None
        if session.account == self._expected.emergency:
            return "session-without-grant", "emergency"
        if session.account in self._spared:
            return None
        account = self._by_name.get(session.account)
        if account is None:
            return "session-without-grant", "no-account"
        return None if account.can_login else ("session-without-grant", "blocked")

    # --- grants without access ---------------------------------------------------------------

    def missing(self) -> Iterator[Difference]:
        for held in self._live():
            if held.target and held.target != self._seen.target:
                yield self._difference("grant-without-access", "other-target", held.case, held)
                continue
            account = self._by_grant.get(held.case)
            if account is None:
                yield self._difference("grant-without-access", "gone", held.case, held)
            elif not self._lets_in(account):
                yield self._difference("grant-without-access", "blocked", account.name, held)
            elif lacks := _lacks(account, held):
                yield self._difference(
                    "grant-without-access", "less", account.name, held, objects=lacks
                )

    def _live(self) -> Iterator[Held]:
        for held in self._expected.grants.values():
            if held.state == "live" and self._now < held.until:
                yield held

    def _lets_in(self, account: Account) -> bool:
        over = account.expires is not None and account.expires <= self._now - SKEW
        return account.can_login and not over

    # --- privileges beyond the role ----------------------------------------------------------

    def beyond(self) -> Iterator[Difference]:
        for held in self._live():
            account = self._by_grant.get(held.case)
            if account is None or (held.target and held.target != self._seen.target):
                continue
            if powers := _powers(account):
                yield self._beyond("powers", account, held, powers)
            if held.expires and (account.expires is None or account.expires > held.until + SKEW):
                yield self._beyond("window", account, held, ())
            if held.gives is None:
                continue
            if more := set(account.member_of) - held.gives.member_of:
                yield self._beyond("membership", account, held, more)
            if given := self._given.get(account.name, set()) - held.gives.privileges:
                objects = {f"{privilege} on {name}" for name, privilege in given}
                yield self._beyond("privilege", account, held, objects)

    def _beyond(
        self, what: str, account: Account, held: Held, objects: Iterable[str]
    ) -> Difference:
        return self._difference(
            "privilege-beyond-role", what, account.name, held, objects=sorted(objects)
        )

    def _difference(
        self,
        kind: str,
        what: str,
        account: str,
        held: Held | None = None,
        *,
        objects: Collection[str] = (),
        since: datetime | None = None,
        key: str = "",
    ) -> Difference:
        named = tuple(clipped(each) for each in objects)
        return Difference(
            key=json.dumps([self._expected.resource, key or f"{kind} {what}", account]),
            kind=kind,
            what=what,
            resource=self._expected.resource,
            account=clipped(account),
            severity=WHATS[kind, what][0],
            objects=named[:_NAMED],
            count=len(named),
            grant=held.case if held is not None else "",
            persons=held.persons if held is not None else (),
            since=since,
        )


def _rights(account: Account) -> frozenset[str]:
    login = (_LOGIN,) if account.can_login else ()
    groups = (f"{_MEMBER}{group}" for group in account.member_of)
    return frozenset((*login, *_powers(account), *groups))


def _powers(account: Account) -> tuple[str, ...]:
    return (*(("superuser",) if account.is_superuser else ()), *account.attributes)


def _lacks(account: Account, held: Held) -> list[str]:
    if held.gives is None:
        return []
    return sorted(f"{_MEMBER}{group}" for group in held.gives.member_of - {*account.member_of})
