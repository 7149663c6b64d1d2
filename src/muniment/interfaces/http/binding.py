"""
What we hand to clients so that they bring it back unchanged: sealed or signed, never stored.

An evaluation id and a page token are sealed for ourselves (HMAC-SHA-256); a binding token and the
state of an approval are JWS that others can check, too (RFC 7515, `EdDSA` of RFC 8037). All keys
are derived from one secret that every process of an installation has.
"""

import base64
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.evidence import canonical

_MAC, _ID, _DIGEST, _TIME = 32, 16, 32, 8
BINDING, APPROVAL = "muniment-binding+jwt", "muniment-approval+jwt"
_PAGE = b"page\0"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation id says: of whom it speaks, and until when it may be used."""

    id: str
    digest: bytes
    expires: datetime


class Binding:
    """Seals, signs, and knows its own again."""

    def __init__(self, secret: bytes) -> None:
        self._seal_key = hmac.digest(secret, b"muniment-seal/v1", sha256)
        seed = hmac.digest(secret, b"muniment-jws/v1", sha256)
        self._signing = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._signing.public_key()
        public = _encode(self._public.public_bytes_raw())
        self._jwk = {"crv": "Ed25519", "kty": "OKP", "x": public}
        # RFC 7638 section 3: over the required members, in order
        self._kid = _encode(sha256(canonical.encode(self._jwk)).digest())

    # --- for ourselves -----------------------------------------------------------------------

    def seal(self, digest: bytes, expires: datetime) -> str:
        """An evaluation id: unique, unguessable, and bound to a digest of what was evaluated."""
        id_ = secrets.token_bytes(_ID)
        data = id_ + int(expires.timestamp() * 1000).to_bytes(_TIME) + digest
        return f"eval_{_name(id_)}.{_encode(self._mac(data) + data[_ID:])}"

    def open(self, token: str) -> Evaluated | None:
        """None for what we did not make."""
        name, _, rest = token.removeprefix("eval_").partition(".")
        try:
            id_, raw = base64.b32decode(name.upper() + "=" * (-len(name) % 8)), _decode(rest)
        except ValueError:
            return None
        data = id_ + raw[_MAC:]
        if len(data) != _ID + _TIME + _DIGEST or not token.startswith("eval_"):
            return None
        if not hmac.compare_digest(raw[:_MAC], self._mac(data)) or _name(id_) != name:
            return None
        expires = int.from_bytes(data[_ID : _ID + _TIME]) / 1000
        return Evaluated(
            id=f"eval_{name}",
            digest=data[_ID + _TIME :],
            expires=datetime.fromtimestamp(expires, UTC),
        )

    def page(self, query: bytes, after: int) -> str:
        """A page token: after how many results of this very query the next page begins."""
        data = after.to_bytes(_TIME) + self._mac(_PAGE + after.to_bytes(_TIME) + query)
        return _encode(data)

    def after(self, query: bytes, token: str) -> int | None:
        """None for a token of another query, or none of ours."""
        try:
            after = int.from_bytes(_decode(token)[:_TIME])
        except ValueError:
            return None
        return after if hmac.compare_digest(self.page(query, after), token) else None

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._seal_key, data, sha256)

    # --- for others, too ---------------------------------------------------------------------

    @property
    def keys(self) -> dict[str, Any]:
        """The JWK set (RFC 7517) by which what we sign can be checked."""
        return {"keys": [{**self._jwk, "kid": self._kid, "use": "sig", "alg": "EdDSA"}]}

    def sign(self, kind: str, claims: dict[str, Any]) -> str:
        """A JWS in compact serialization."""
        header = {"alg": "EdDSA", "kid": self._kid, "typ": kind}
        signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
        return f"{signed}.{_encode(self._signing.sign(signed.encode()))}"

    def claims(self, kind: str, token: str) -> dict[str, Any] | None:
        """The claims of a JWS of this kind that we signed; None for anything else."""
        try:
            head, payload, signature = token.split(".")
            header = json.loads(_decode(head))
            self._public.verify(_decode(signature), f"{head}.{payload}".encode())
            claims = json.loads(_decode(payload))
        except (ValueError, RecursionError, InvalidSignature):
            return None
        # RFC 8725 section 3.11: a token of one kind is none of another
        expected = {"alg": "EdDSA", "kid": self._kid, "typ": kind}
        return claims if header == expected and isinstance(claims, dict) else None


def _name(id_: bytes) -> str:
    return base64.b32encode(id_).decode().rstrip("=").lower()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """Raises `ValueError`, also for another spelling of the same bytes."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:
        raise ValueError("not the one spelling of base64url")
    return data
