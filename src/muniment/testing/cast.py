"""Who is there and what can be asked for in a `Scenario`, unless a test says otherwise."""

from muniment.evidence import canonical
from muniment.operations.take_in import ProposedPrincipal, ProposedRole
from muniment.policy import starter


def cast() -> dict[str, ProposedPrincipal]:
    """Who is there unless a test says otherwise, by login."""
    engineer, lead = ("engineering",), ("engineering", "sre-leads")
    everybody = (
        human("ana", *engineer),
        human("bo", *lead, "sre-oncall"),
        human("cy", *lead),
        human("dan", *engineer),
        human("admin", "muniment-admins"),
        human("aud", "auditors", "compliance"),
        human("pia", "privacy-officers"),
        ProposedPrincipal(login="ci", type="workload", groups=("ci-runners",), sponsor="cy"),
        ProposedPrincipal(login="robo", type="agent", groups=(), sponsor="ana"),
    )
    return {principal.login: principal for principal in everybody}


def human(login: str, *groups: str, person_of: str | None = None) -> ProposedPrincipal:
    """A person of the directory; `person_of` is the login of the same human's other account."""
    return ProposedPrincipal(
        login=login,
        type="human",
        groups=groups,
        person_of=person_of,
        identity={"mail": f"{login}@example.com", "name": login.title()},
    )


def role(
    resource: str, name: str, *, tier: str = "prod", data: str = "internal", grants: str = "app_rw"
) -> ProposedRole:
    """A role on a fake target."""
    definition = {"name": name, "resource": resource, "role": {"grants": [grants]}, "tier": tier}
    return ProposedRole(
        resource=resource,
        role=name,
        definition=canonical.encode(definition),
        tier=tier,
        environment=tier,
        data=data,
        connector="fake",
    )


def roles() -> dict[tuple[str, str], ProposedRole]:
    """What can be asked for unless a test says otherwise."""
    everything = (
        role("orders-prod", "readwrite"),
        role("orders-prod", "personal", data="restricted"),
        role("orders-staging", "readwrite", tier="staging"),
    )
    return {(each.resource, each.role): each for each in everything}


def policy_with(text: str, *, file: str = "90-test.cedar") -> dict[str, bytes]:
    """The starter bundle with one more file of rules."""
    return {**starter.files(), f"policies/{file}": text.encode()}
