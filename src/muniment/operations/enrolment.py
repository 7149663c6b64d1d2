"""Who somebody is to be here, by the word of a provider that he signed in at."""

import re
import secrets
from datetime import datetime
from typing import Any

from muniment.access import records
from muniment.access.registry import Principal
from muniment.errors import NotFound, Unauthenticated
from muniment.evidence.record import Draft
from muniment.operations.providers import ProviderRules
from muniment.operations.service import Service, content, new_id
from muniment.ports import VerifiedToken

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: a group as rules can name it
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:-]{0,127}")
MOST_GROUPS = 200
#: of all of them together: they stand in a header of at most 16 KiB
MOST_GROUP_CHARACTERS = 8 * 1024


def enrolled(
    service: Service,
    rules: ProviderRules,
    verified: VerifiedToken,
    subject: str,
    known: Principal | None,
    now: datetime,
) -> tuple[Principal, list[Draft]]:
    """The principal as it is to be, and the record that makes it so."""
    source = f"sign-in:{rules.name}"
    if known is None and not rules.enrol:
        raise Unauthenticated("you are signed in there, but nobody enrolled you here")
    if known is not None and not known.active:
        raise Unauthenticated("you are disabled here")
    groups = _groups(rules, verified) if rules.groups == "claim" else ()
    settled = rules.groups != "claim" or (known is not None and known.groups == frozenset(groups))
    if known is not None and (known.source != source or settled):
        return known, []
    record = records.PrincipalEnrolled(
        actor=records.SERVICE,
        type="human",
        person=known.person if known is not None else new_id("per"),
        active=True,
        groups=groups,
        sponsor=None,
        source=source,
    )
    identity: dict[str, Any] = dict(service.identity(known.id) or {}) if known is not None else {}
    if not identity:
        identity = {
            "login": free_login(service, str(verified.claims.get(rules.login_claim, ""))),
            "mail": str(verified.claims.get("email", ""))[:320],
            "name": str(verified.claims.get("name", ""))[:200],
            "accounts": [{"issuer": verified.issuer, "subject": subject}],
        }
    id_ = known.id if known is not None else new_id("prn")
    draft = record.draft(id_, now, sections={"identity": content(identity)})
    enrolled = Principal(
        id=id_,
        type="human",
        person=record.person,
        active=True,
        groups=frozenset(record.groups),
        sponsor=None,
        source=source,
        head=known.head if known is not None else b"",
    )
    return enrolled, [draft]


def _groups(rules: ProviderRules, verified: VerifiedToken) -> tuple[str, ...]:
    """Raises `Unauthenticated` where the token does not hold them all: Entra's overage."""
    value = verified.claims.get(rules.groups_claim, [])
    fits = isinstance(value, list) and len(value) <= MOST_GROUPS
    if not fits or sum(len(str(name)) for name in value) > MOST_GROUP_CHARACTERS:
        raise Unauthenticated(
            f"the provider's token has no list of at most {MOST_GROUPS} groups in "
            f"`{rules.groups_claim}`; let it name fewer, or use SCIM"
        )
    if rules.groups_claim in verified.claims.get("_claim_names", {}):
        raise Unauthenticated("the provider's token names too many groups to hold them; use SCIM")
    return tuple(
        sorted({name for name in value if isinstance(name, str) and GROUP.fullmatch(name)})
    )


def free_login(service: Service, wanted: str) -> str:
    """A login that nobody has, as like as can be to a name or an address."""
    wanted = wanted.partition("@")[0].lower()
    wanted = re.sub(r"[^a-z0-9._-]", "-", wanted)[:40].lstrip("._-") or "person"
    logins = (wanted, *(f"{wanted}-{secrets.token_hex(3)}" for _ in range(20)))
    for login in logins:
        if _LOGIN.fullmatch(login) and login not in service.names:
            return login
    raise NotFound("no login is free for this person")
