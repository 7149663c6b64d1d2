"""Who says that he acts for whom: checked against the caller's own credential, or refused."""

from typing import Any

from muniment.errors import NotPermitted
from muniment.interfaces.http.authzen.messages import Actor
from muniment.operations.service import Caller, Service

#: longer than any chain that we know of
_LONGEST = 8


def check(service: Service, caller: Caller, actor: Actor, here: str) -> None:
    """
    ARAP section 19.1: the whole claimed chain, from the immediate actor outwards.

    What we know of a caller is himself and whoever he acts for: those through whom a delegation
    went, or else, behind an agent or a workload, the human who answers for it. Raises
    `NotPermitted` for a chain that says anything else.
    """
    known = [link.id for link in service.registry.chain(caller.principal)]
    if caller.session is not None and caller.session.opened.delegation is not None:
        known = list(reversed(caller.session.opened.delegation.chain))
    claimed = list(_links(actor))
    if len(claimed) > len(known):
        raise NotPermitted("`client.actor` claims a longer chain than your credential stands for")
    for (name, issuer), id_ in zip(claimed, known, strict=False):
        login = (service.identity(id_) or {}).get("login")
        if name not in (id_, login) or issuer not in (None, here):
            raise NotPermitted("`client.actor` claims somebody whom your credential is not about")


def _links(actor: Actor) -> list[tuple[Any, Any]]:
    links: list[tuple[Any, Any]] = [(actor.id, actor.issuer)]
    further: Any = actor.act
    while isinstance(further, dict) and len(links) <= _LONGEST:
        links.append((further.get("sub"), further.get("iss")))
        further = further.get("act")
    if further is not None:
        links.append((None, None))  # what is no actor names nobody
    return links
