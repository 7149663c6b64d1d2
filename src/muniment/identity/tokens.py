"""API tokens: 256 random bits, of which the log knows the SHA-256 only."""

import secrets
from datetime import datetime
from hashlib import sha256

from muniment.access.registry import Principal, Registry
from muniment.errors import Unauthenticated

_PREFIX = "muniment-"


def new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def authenticate(registry: Registry, authorization: str | None, now: datetime) -> Principal:
    """
    The principal whose token this `Authorization` header carries.

    Looked up by hash: how long that takes says nothing about a token. Raises `Unauthenticated`.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.startswith(_PREFIX):
        raise Unauthenticated("send `Authorization: Bearer <token>`")
    found = registry.tokens.get(token_hash(token.strip()))
    if found is None or (found.expires is not None and found.expires <= now):
        raise Unauthenticated("this token is unknown, revoked or expired")
    principal = registry.principals[found.principal]
    if not principal.active:
        raise Unauthenticated("this token's principal is disabled")
    return principal
