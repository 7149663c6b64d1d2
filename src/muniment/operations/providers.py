"""Who vouches for people and workloads, and how far an operator lets that word go."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from muniment.ports import Secret, TokenVerifier

#: kinds whose tokens a program shows as they are
PLATFORMS = ("spiffe", "kubernetes", "github", "workload")


@dataclass(frozen=True, kw_only=True)
class ProviderRules:
    """What an operator says about one provider. See the settings of the same names."""

    name: str
    kind: str
    issuer: str
    groups: str = "file"
    groups_claim: str = "groups"
    subject_claim: str = "sub"
    login_claim: str = "preferred_username"
    enrol: bool = False
    session: timedelta = timedelta(hours=12)
    mfa: frozenset[str] = frozenset()
    phishing_resistant: frozenset[str] = frozenset()
    #: login of the workload that writes this provider's people by SCIM
    scim: str | None = None
    scim_subject: str = "externalId"
    #: of signals: whom they have to be meant for, who may act on them, and how they come
    audience: str = ""
    workload: str | None = None
    #: issuers of the people whom its signals may be about
    speaks_of: frozenset[str] = frozenset()
    poll: str | None = None
    allow: tuple[str, ...] = ()
    poll_token: Secret | None = None
    push_token: Secret | None = None

    def factor(self, shown: frozenset[str]) -> str:
        """What methods and context classes come to: `""`, `mfa`, `phishing-resistant`."""
        if shown & self.phishing_resistant:
            return "phishing-resistant"
        return "mfa" if shown & self.mfa else ""


@dataclass
class Turn:
    """One at a time, and how many there are."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


@dataclass(kw_only=True)
class Providers:
    """The providers in force."""

    rules: Mapping[str, ProviderRules] = field(default_factory=dict)
    #: None where there are no providers
    tokens: TokenVerifier | None = None
    #: tokens that are being signed in at this moment, by hash: each is recorded once
    signing_in: dict[bytes, Turn] = field(default_factory=dict)
    #: directories write one after the other: each decides on what the one before it wrote
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


def claim(claims: Mapping[str, Any], path: str) -> str | None:
    """
    One claim as text; a dot leads into an object, unless a name has one: `kubernetes.io.pod.uid`.
    """
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        value = claims.get(".".join(parts[:count]))
        rest = ".".join(parts[count:])
        if isinstance(value, Mapping) and rest:
            return claim(value, rest)
        if value is not None and not rest:
            return str(value) if isinstance(value, str | int) else None
    return None
