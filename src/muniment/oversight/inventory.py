"""What a connector sees at its target: accounts, sessions, privileges. Nothing is judged here."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Account:
    """One account at a target, ours or not."""

    name: str
    #: grant id if the account is one of ours, else empty
    grant: str
    can_login: bool
    is_superuser: bool
    member_of: tuple[str, ...] = ()
    expires: datetime | None = None
    #: what it may do by itself beyond using what it was given, in the target's words: `createrole`
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Session:
    """One live session at a target."""

    account: str
    grant: str
    started: datetime
    client: str
    #: the target's own name for the session, as its log has it
    id: str
    endpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Privilege:
    """One privilege that an account or role holds on one object of a target."""

    account: str
    object: str
    privilege: str


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """
    Everything a connector can see at its target, so that access without a record is found.

    What belongs to the server itself, and to nobody, is left out.
    """

    target: str
    accounts: tuple[Account, ...]
    sessions: tuple[Session, ...]
    privileges: tuple[Privilege, ...] = ()
    #: names of the accounts that the connector itself works with
    own: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gives:
    """What the definition of a role gives an account at the target, and nothing beyond it."""

    member_of: frozenset[str]
    #: object and privilege, where they are given to the account itself
    privileges: frozenset[tuple[str, str]] = frozenset()
