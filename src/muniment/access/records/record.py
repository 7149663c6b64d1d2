"""What all records have in common: a kind, somebody who did it, and how they are read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from muniment.access.fields import from_json, to_json
from muniment.errors import FoldInvalid
from muniment.evidence.record import Draft, Header

#: version of the classes below and of the table in `lifecycle`
FOLD = 1


#: the strongest that `SignIn.mfa` can say
PHISHING_RESISTANT = "phishing-resistant"


@dataclass(frozen=True, kw_only=True, slots=True)
class SignIn:
    """How somebody showed who he is, as far as decisions ask for it."""

    #: case id of its `session:opened`
    session: str
    #: when he showed it, in the authenticator's words
    at: datetime
    #: `""`, `mfa`, `phishing-resistant`; for people only
    mfa: str
    #: proved what it runs on; for workloads and agents only
    attested: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who acted, how that was authenticated, and everybody behind it."""

    #: principal id, or `service` for Muniment itself
    principal: str
    #: `human`, `workload`, `agent`, `service`
    type: str
    #: the human behind an agent, or who owns a workload; None for humans and the service
    sponsor: str | None
    #: person ids of the whole chain
    persons: tuple[str, ...]
    #: how the act was authenticated: `signature`, `step-up`, `session`, `token`, `service`
    assurance: str
    #: None for a static token, which shows nothing but itself, and for the service
    sign_in: SignIn | None = None


SERVICE = Actor(principal="service", type="service", sponsor=None, persons=(), assurance="service")

KINDS: dict[str, type["Record"]] = {}


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every kind has in common: a kind, and somebody who did it."""

    KIND: ClassVar[str] = ""
    #: names of sections that records of this kind may have
    SECTIONS: ClassVar[tuple[str, ...]] = ()

    actor: Actor

    def __init_subclass__(cls) -> None:
        if cls.KIND:
            KINDS[cls.KIND] = cls

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = to_json(self)
        return body

    def draft(
        self,
        case: str,
        at: datetime,
        *,
        follows: tuple[bytes | int, ...] = (),
        sections: dict[str, bytes] | None = None,
        documents: tuple[bytes, ...] = (),
    ) -> Draft:
        return Draft(
            case=case,
            kind=self.KIND,
            fold=FOLD,
            at=at,
            body=self.body(),
            follows=follows,
            sections=sections or {},
            documents=documents,
        )


def parse(header: Header) -> Record:
    """The typed record of a header. Raises `FoldInvalid` for an unknown kind or version."""
    if header.read:
        known: Record = header.read[0]
        return known
    cls = KINDS.get(header.kind)
    if cls is None or header.fold != FOLD:
        raise FoldInvalid(f"`{header.kind}` of fold version {header.fold} is unknown")
    if not header.sections.keys() <= set(cls.SECTIONS):
        raise FoldInvalid(f"`{header.kind}` has a section that its kind does not know")
    record = from_json(cls, header.body)
    header.read.append(record)
    return record
