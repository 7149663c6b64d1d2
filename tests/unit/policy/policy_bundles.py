"""The bundles and facts that the tests of the policy room share."""

from collections.abc import Collection
from pathlib import Path

from muniment.policy import bundle, cases, starter
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Mfa,
    OperateFacts,
    PrincipalFacts,
    RoleFacts,
)

SCHEMA = starter.files()["schema.cedarschema"]
APPROVERS = frozenset(("sre-leads", "data-owners", "security", "agent-sponsors"))
NOW = "2026-11-21T10:00:00.000Z"
_FIFTEEN = Path(__file__).parent / "fifteen"

MINIMAL = b"""@id("request.all")
permit (principal, action == Muniment::Action::"request", resource);
@id("require.all")
@approvals("none")
@max_duration("PT1H")
permit (principal, action == Muniment::Action::"require", resource);
"""


def fifteen_files() -> dict[str, bytes]:
    rules = {
        path.relative_to(_FIFTEEN).as_posix(): path.read_bytes()
        for path in sorted(_FIFTEEN.rglob("*.cedar"))
    }
    return {"schema.cedarschema": SCHEMA, **rules}


def fifteen_bundle(extra: str = "") -> bundle.Bundle:
    files = fifteen_files()
    if extra:
        files["policies/99.cedar"] = extra.encode()
    return bundle.load(files, groups=APPROVERS)


def fifteen_cases() -> dict[int, cases.Case]:
    read = cases.read("cases.json", (_FIFTEEN / "cases.json").read_bytes())
    return dict(enumerate(read, 1))


def load_rules(
    text: str | bytes, groups: Collection[str] | None = None, schema: bytes = SCHEMA
) -> bundle.Bundle:
    data = text.encode() if isinstance(text, str) else text
    return bundle.load({"schema.cedarschema": schema, "policies/a.cedar": data}, groups=groups)


def a_human(name: str, *groups: str, active: bool = True) -> PrincipalFacts:
    return PrincipalFacts(
        id=f"prn_{name}",
        kind="human",
        person=f"per_{name}",
        active=active,
        groups=frozenset(groups),
    )


def an_agent(name: str, sponsor: str | None) -> PrincipalFacts:
    return PrincipalFacts(
        id=f"prn_{name}",
        kind="agent",
        person=f"per_{sponsor or name}",
        active=True,
        groups=frozenset(),
        attested=True,
        sponsor=None if sponsor is None else f"prn_{sponsor}",
    )


A_ROLE = RoleFacts(
    resource="orders-dev",
    role="readwrite",
    tier="dev",
    environment="development",
    data="internal",
    kind="postgresql",
)


def an_access(
    requester: PrincipalFacts,
    sponsor: PrincipalFacts | None = None,
    *,
    role: RoleFacts = A_ROLE,
    seconds: int = 1800,
    emergency: bool = False,
    glass: int = 0,
) -> AccessFacts:
    return AccessFacts(
        requester=requester,
        sponsor=sponsor,
        role=role,
        seconds=seconds,
        now=NOW,
        business_hours=True,
        emergency=emergency,
        break_glass_last_30d=glass,
        mfa=Mfa(age_seconds=60, phishing_resistant=True),
    )


def an_approval(approver: PrincipalFacts, requester: str, *groups: str) -> ApprovalFacts:
    return ApprovalFacts(
        approver=approver,
        requester=f"prn_{requester}",
        persons=frozenset((f"per_{requester}",)),
        approver_groups=frozenset(groups),
        already_approved_by=frozenset(),
        role=A_ROLE,
        now=NOW,
        mfa=Mfa(age_seconds=30, phishing_resistant=True),
    )


def an_operation(principal: PrincipalFacts, operation: str, requester: str = "") -> OperateFacts:
    case = None
    if requester:
        case = CaseFacts(
            requester=f"prn_{requester}",
            persons=frozenset((f"per_{requester}",)),
            approver_groups=frozenset(("sre-leads",)),
        )
    return OperateFacts(principal=principal, operation=operation, case=case, now=NOW)
