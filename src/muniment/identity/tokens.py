"""Bearer tokens of our own: 256 random bits, of which the log knows the SHA-256 only."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from muniment.access.registry import Principal, Registry, Session
from muniment.errors import Unauthenticated

_PREFIX = "muniment-"
MAX_TOKEN = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Authenticated:
    """Who bears a token that the log knows."""

    principal: Principal
    #: None for a static token
    session: Session | None


def new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def bearer(authorization: str | None) -> str:
    """The token that an `Authorization` header carries. Raises `Unauthenticated`."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthenticated("send `Authorization: Bearer <token>`")
    return token


def authenticate(registry: Registry, token: str, now: datetime) -> Authenticated | None:
    """
    Who bears this token; None for one that the log does not know and that is not one of ours.

    Looked up by hash: how long that takes says nothing about a token. Raises `Unauthenticated`.
    """
    hash_ = token_hash(token)
    session, known = registry.sessions.get(hash_), registry.tokens.get(hash_)
    if session is not None and session.opened.expires > now:
        found = Authenticated(
            principal=registry.principals[session.opened.principal], session=session
        )
    elif known is not None and (known.expires is None or known.expires > now):
        if registry.is_outdated(known):
            raise Unauthenticated(
                "a signal ended the access of this token's holder; a new token has to be enrolled"
            )
        found = Authenticated(principal=registry.principals[known.principal], session=None)
    elif token.startswith(_PREFIX) or session is not None:
        raise Unauthenticated("this token is unknown, revoked or expired")
    else:
        return None
    if not found.principal.active:
        raise Unauthenticated("this token's principal is disabled")
    return found
