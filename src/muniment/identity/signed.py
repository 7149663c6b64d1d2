"""Tokens that others signed: chosen, verified against their issuer's keys, and read strictly."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.registry import Header

from muniment.errors import ConfigInvalid, Unauthenticated
from muniment.identity.claims import Asked, check, kind_of, trust_domain
from muniment.identity.json_text import read_object
from muniment.identity.keys import MAX_KID, KeySets, KeySetSeen, PublicKey
from muniment.identity.providers import Kind, Provider
from muniment.ports import Secret

MAX_TOKEN: Final = 16 * 1024
MAX_HEADER: Final = 8 * 1024
#: of the group that each ECDSA algorithm works in (NIST SP 800-186 section 3.2.1)
_ORDERS: Final[Mapping[str, int]] = {
    "ES256": 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF,
    "ES384": 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
    "ES512": 2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A token that holds, and why: what the issuer said, and the keys that vouch for it."""

    #: our name for the provider
    provider: str
    kind: Kind
    issuer: str
    #: stable within the issuer: `sub`; of `github` `<owner id>/<repository id>`; of `signals` the
    #: canonical JSON of `sub_id`
    subject: str
    #: all claims, as they stand in the token
    claims: Mapping[str, Any] = field(repr=False)
    issued: datetime | None
    expires: datetime | None
    #: SHA-256 of the token's text
    token_hash: bytes
    #: of the one other text that the same signed token has; None where there is none
    twin_hash: bytes | None
    keys: KeySetSeen = field(repr=False)


class Tokens:
    """Verifies what the providers signed. Raises `ConfigInvalid` if two are not told apart."""

    def __init__(self, providers: Sequence[Provider], keys: KeySets) -> None:
        self._providers = tuple(providers)
        self._keys = keys
        if len({each.name for each in providers}) < len(providers):
            raise ConfigInvalid("two providers have the same name")
        sources = {(p.kind, p.domain or p.issuer, p.audience) for p in providers}
        if len(sources) < len(providers):
            raise ConfigInvalid("two providers have the same kind, issuer and audience")

    async def verify(
        self, token: str, now: datetime, *, kinds: Collection[Kind], asked: Asked | None = None
    ) -> Verified:
        """
        What this token says, if it is of one of these kinds and its issuer vouches for it.

        With `asked`, it has to answer exactly that. Raises `Unauthenticated`, whose words hold
        nothing of the token, or `Unavailable` when the issuer's keys cannot be had.
        """
        read = _read(token)
        provider = self._provider(read.claims, kinds)
        if read.algorithm not in provider.accepted:
            raise Unauthenticated("`alg` is none that this issuer is believed with")
        known = await self._keys.find(provider, read.kid)
        candidates = known.candidates(read.kid, read.algorithm)
        if not candidates:
            raise Unauthenticated("no key of its issuer fits the token")
        if not any(_is_signed_by(key, read) for key in candidates):
            raise Unauthenticated("the signature does not hold")
        facts = check(provider, read.header, read.claims, now, asked)
        return Verified(
            provider=provider.name,
            kind=provider.kind,
            issuer=provider.issuer,
            subject=facts.subject,
            claims=MappingProxyType(read.claims),
            issued=facts.issued,
            expires=facts.expires,
            token_hash=sha256(token.encode()).digest(),
            twin_hash=_twin_hash(read),
            keys=known.seen,
        )

    def _provider(self, claims: Mapping[str, Any], kinds: Collection[Kind]) -> Provider:
        """Whose token this claims to be. Nothing but which keys to try follows from it."""
        kind = kind_of(claims)
        if kind not in kinds:
            raise Unauthenticated("such a token is not accepted here")
        of_kind = [each for each in self._providers if each.kind == kind]
        if kind == "spiffe" and "iss" not in claims:
            domain = trust_domain(str(claims["sub"]))
            known = [each for each in of_kind if each.domain == domain]
        else:
            known = [each for each in of_kind if each.issuer == claims.get("iss")]
        if not known:
            raise Unauthenticated("no issuer that is believed for this")
        audience = claims.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        ours = [each for each in known if each.audience in listed]
        if not ours:
            raise Unauthenticated("`aud` does not name us")
        return ours[0]


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A token that can be read; nothing in it is believed yet."""

    text: Secret
    header: dict[str, Any]
    claims: dict[str, Any]
    algorithm: str
    kid: str | None


def _read(token: str) -> _Read:
    """Raises `Unauthenticated` for whatever is no JWS in compact form (RFC 7515 section 7.1)."""
    if len(token) > MAX_TOKEN:
        raise Unauthenticated(f"the token is longer than {MAX_TOKEN} characters")
    segments = token.split(".")
    if len(segments) != 3 or len(segments[0]) > MAX_HEADER:  # noqa: PLR2004 (header.claims.signature)
        raise Unauthenticated("this is no signed token")
    try:
        parts = [_decode(segment) for segment in segments]
        header, claims = read_object(parts[0]), read_object(parts[1])
    except ValueError:
        raise Unauthenticated("this is no signed token") from None
    # RFC 7515 section 4.1.11: whoever does not understand an extension refuses. RFC 7797's `b64`
    # is one. `jku`, `jwk`, `x5u` and `x5c` name keys that nobody vouches for: they are not read.
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token needs extensions that are not understood")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise Unauthenticated("the token does not say how it is signed")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise Unauthenticated("`kid` is no name of a key")
    return _Read(text=Secret(token), header=header, claims=claims, algorithm=algorithm, kid=kid)


def _twin_hash(read: _Read) -> bytes | None:
    """ECDSA: where (r, s) holds, (r, n - s) does too, and whoever has one can write the other."""
    order = _ORDERS.get(read.algorithm)
    if order is None:
        return None
    signed, _, signature = read.text.reveal().rpartition(".")
    pair = _decode(signature)
    half = len(pair) // 2
    other = (order - int.from_bytes(pair[half:])).to_bytes(half)
    twin = urlsafe_b64encode(pair[:half] + other).rstrip(b"=").decode()
    return sha256(f"{signed}.{twin}".encode()).digest()


def _decode(segment: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2), in the one form that the bytes have."""
    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    # the library passes over what does not belong, so that many texts would give the same bytes
    if not data or urlsafe_b64encode(data).rstrip(b"=").decode() != segment:
        raise ValueError("not base64url in its one form")
    return data


class _Only(JWSRegistry):
    """Knows one algorithm. The library's own would fall back to HS256 on an empty list."""

    max_header_length = MAX_HEADER
    max_signature_length = MAX_TOKEN

    def get_alg(self, name: str) -> JWSAlgModel:
        if self.allowed is None or name not in self.allowed:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]

    def check_header(self, header: Header) -> None:
        """`_read` has done it: the library would judge parameters that are to be ignored."""


def _is_signed_by(key: PublicKey, read: _Read) -> bool:
    registry = _Only(algorithms=[read.algorithm])
    try:
        deserialize_compact(read.text.reveal(), key.jose, registry=registry)
    except Exception:  # noqa: BLE001 (crafted tokens make the library raise more than it declares)
        return False
    return True
