"""
The five questions, and the facts that each is asked on.

Nothing a caller sends is a fact: whoever builds these values takes them from the directory, the
authenticator, a connector, a verifying hook or the fold. What the caller typed has the state and
source `claimed`. A value that is no possible fact raises `Malformed`: it can not be decided on.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from muniment.errors import Malformed

#: `require` is no right: every satisfied rule adds its obligations
QUESTIONS: Final = ("request", "require", "breakGlass", "approve", "operate")

#: what `operate` is asked about. On a case, or on the installation, which means all of its cases.
OPERATIONS: Final = (
    "read",  # see a case and its proofs; on the installation: lists, findings, any case
    "withdraw",  # take one's own request back
    "pick-up",  # receive the credential; on nobody's behalf
    "extend",  # ask for more time; the extension itself is a `request`
    "end",  # end one's own access early
    "revoke",  # take access away from somebody
    "export",  # take an evidence bundle away
    "review",  # own and close reviews and findings
    "hold",  # place and lift holds that keep records from erasure
    "erase",  # erase sealed sections
    "observe",  # hand in sessions, signals and findings from a target
    "evaluate",  # ask the policy about somebody else
    "audit",  # read the log, policies, people's records and reports; run a backtest
    "follow",  # fetch the log as tiles: every record's header, no section and no document
    "enrol",  # enrol principals and tokens
    "configure",  # take files into the log, activate a policy, state that a clock stepped
)

#: those of them that came after bundles had been recorded: a schema that does not know one is as
#: good as ever, and the engine, asked about it, denies
LATER: Final = ("follow",)

Kind = Literal["human", "workload", "agent"]
Tier = Literal["dev", "staging", "prod"]

_TIERS = ("dev", "staging", "prod")
_KINDS = ("human", "workload", "agent")
_PRINCIPAL = re.compile(r"prn_[A-Za-z0-9_-]{1,64}", re.ASCII)
_PERSON = re.compile(r"per_[A-Za-z0-9_-]{1,64}", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:-]{0,127}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
# a ticket's id is an id and not a place for prose: free text never enters policy input
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#:-]{0,63}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MOST = 2**53 - 1  # RFC 8785: what every reader of JSON reads alike


@dataclass(frozen=True, kw_only=True, slots=True)
class PrincipalFacts:
    """Who is asking or approving, as the directory has it."""

    #: pseudonymous, `prn_…`
    id: str
    kind: Kind
    #: `per_…`: the human, the workload's owner, or the agent's sponsor
    person: str
    active: bool
    groups: frozenset[str]
    #: a workload or agent proved what it runs on; a static token never does, a human never is
    attested: bool = False
    #: an agent's sponsor (`prn_…`) in the directory; nobody else has one
    sponsor: str | None = None

    def __post_init__(self) -> None:
        _check(_PRINCIPAL, self.id, "principal id")
        _check(_PERSON, self.person, "person id")
        _among(_KINDS, self.kind, "kind of principal")
        _check_all(_GROUP, self.groups, "group")
        # no value of a record may be one that nothing looks at
        if self.kind == "human" and self.attested:
            raise Malformed("only workloads and agents are attested")
        if self.sponsor is not None:
            _check(_PRINCIPAL, self.sponsor, "sponsor id")
            if self.kind != "agent":
                raise Malformed("only agents have a sponsor; a workload's owner is its person")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleFacts:
    """What is asked for, as its definition in the log has it."""

    resource: str
    role: str
    tier: Tier
    environment: str
    data: str
    #: kind of connector
    kind: str

    def __post_init__(self) -> None:
        _among(_TIERS, self.tier, "tier")
        for name in (self.resource, self.role, self.environment, self.data, self.kind):
            _check(_NAME, name, "name in a role")

    @property
    def id(self) -> str:
        return f"{self.resource}/{self.role}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mfa:
    """A second factor that the authenticator saw; never from a static token."""

    age_seconds: int
    phishing_resistant: bool

    def __post_init__(self) -> None:
        _check_count(self.age_seconds, "age of the second factor")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A ticket. Typed by the caller: state and source `claimed`."""

    id: str
    state: str
    source: str

    def __post_init__(self) -> None:
        _check(_REFERENCE, self.id, "ticket id")
        _check(_NAME, self.state, "ticket state")
        _check(_NAME, self.source, "source")


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """An incident. Typed by the caller: source `claimed`, severity 0, not open."""

    id: str
    #: 1 is the worst; 0 is not known
    severity: int
    open: bool
    source: str

    def __post_init__(self) -> None:
        _check(_REFERENCE, self.id, "incident id")
        _check_count(self.severity, "severity")
        _check(_NAME, self.source, "source")


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessFacts:
    """All that `request`, `require` and `breakGlass` are decided on."""

    requester: PrincipalFacts
    #: the human on whose behalf an agent asks; None for everybody else
    sponsor: PrincipalFacts | None
    role: RoleFacts
    #: how long access is asked for
    seconds: int
    #: `YYYY-MM-DDTHH:MM:SS.mmmZ`
    now: str
    #: computed from time zone and calendar by whoever holds them
    business_hours: bool
    emergency: bool
    break_glass_last_30d: int
    mfa: Mfa | None = None
    ticket: Reference | None = None
    incident: Incident | None = None
    #: a review took this role from the requester, or from his sponsor; never false: what was not
    #: taken is not said, as in records from before there were reviews
    withdrawn: bool | None = None

    def __post_init__(self) -> None:
        _check(_MOMENT, self.now, "moment")
        if self.withdrawn is False:
            raise Malformed("`withdrawn` is said of what was withdrawn, and of nothing else")
        _check_count(self.break_glass_last_30d, "count of break-glass")
        _check_count(self.seconds, "duration")
        if not self.seconds:
            raise Malformed("access for no time at all")
        if self.sponsor is not None and (
            self.requester.kind != "agent" or self.sponsor.kind != "human"
        ):
            raise Malformed("only an agent asks on behalf of somebody, and only of a human")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalFacts:
    """All that `approve` is decided on."""

    approver: PrincipalFacts
    #: `prn_…` of who asked
    requester: str
    #: every person of the actor chain: requester, agent's sponsor, workload's owner or starter
    persons: frozenset[str]
    #: groups whose approval the decision on the request demands
    approver_groups: frozenset[str]
    #: persons, not accounts: nobody approves twice through two of them
    already_approved_by: frozenset[str]
    role: RoleFacts
    now: str
    mfa: Mfa | None = None

    def __post_init__(self) -> None:
        _check(_PRINCIPAL, self.requester, "principal id")
        _check_all(_PERSON, self.persons | self.already_approved_by, "person id")
        _check_all(_GROUP, self.approver_groups, "group")
        _check(_MOMENT, self.now, "moment")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """The case that an operation is about."""

    #: empty where nobody asked: of a finding
    requester: str
    persons: frozenset[str]
    approver_groups: frozenset[str]
    role: RoleFacts | None = None
    #: when it was opened, and when it was closed; None where that is not known, or not so
    opened: str | None = None
    closed: str | None = None

    def __post_init__(self) -> None:
        if self.requester:
            _check(_PRINCIPAL, self.requester, "principal id")
        for at in (self.opened, self.closed):
            if at is not None:
                _check(_MOMENT, at, "moment")
        _check_all(_PERSON, self.persons, "person id")
        _check_all(_GROUP, self.approver_groups, "group")


@dataclass(frozen=True, kw_only=True, slots=True)
class OperateFacts:
    """All that `operate` is decided on."""

    principal: PrincipalFacts
    #: one of `OPERATIONS`
    operation: str
    #: None: the installation as a whole
    case: CaseFacts | None
    now: str
    mfa: Mfa | None = None

    def __post_init__(self) -> None:
        _among(OPERATIONS, self.operation, "operation")
        _check(_MOMENT, self.now, "moment")


Facts = AccessFacts | ApprovalFacts | OperateFacts


def _check(form: re.Pattern[str], value: str, what: str) -> None:
    if not form.fullmatch(value):
        raise Malformed(f"not a {what}: `{value!a:.80}`")


def _check_all(form: re.Pattern[str], values: frozenset[str], what: str) -> None:
    for value in values:
        _check(form, value, what)


def _among(known: tuple[str, ...], value: str, what: str) -> None:
    if value not in known:
        raise Malformed(f"not a {what}: `{value!a:.80}` (one of {', '.join(known)})")


def _check_count(value: int, what: str) -> None:
    if not 0 <= value <= _MOST:
        raise Malformed(f"not a {what}: `{value}`")
