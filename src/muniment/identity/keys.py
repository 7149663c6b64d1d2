"""
The public keys of others: fetched with care, kept for an hour, and remembered as they were seen.

Whoever sends us a token names the key that signed it, so an unknown name must not make us call the
issuer as often as he likes; and an issuer that is down for a while must not lock its people out at
once, nor be believed for ever.
"""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from joserfc.jwk import ECKey, OKPKey, RSAKey

from muniment.errors import AddressRefused, NotCanonical, Unavailable
from muniment.evidence.canonical import encode
from muniment.identity.json_text import read_object
from muniment.identity.providers import ALGORITHMS, Provider, may_be_called
from muniment.ports import Outbound

MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
#: longest name of a key
MAX_KID: Final = 255
#: seconds between two fetches for one provider, whatever tokens ask for
PAUSE: Final = 10.0
#: seconds after which keys are fetched anew, so that one that the issuer withdrew is not believed
MAX_AGE: Final = 3600.0
#: seconds for which keys stay good while the issuer does not answer
GRACE: Final = 24 * 3600.0
#: seconds for each exchange
TIMEOUT: Final = 5.0
#: of an RSA modulus: below it is weak (NIST SP 800-131A), above it costs us more than anybody needs
RSA_BITS: Final = range(2048, 8192 + 1)

Jose: TypeAlias = RSAKey | ECKey | OKPKey

#: the members that make a public key (RFC 7518 section 6, RFC 8037 section 2)
_PUBLIC: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("n", "e"),
    "EC": ("crv", "x", "y"),
    "OKP": ("crv", "x"),
}
#: what only the holder of a private or shared key should have
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ABOUT: Final = ("kty", "kid", "use", "alg", "key_ops")


@dataclass(frozen=True, kw_only=True)
class KeySetSeen:
    """What an issuer published, as it was used: evidence of why a token was believed."""

    #: canonical JSON `{"keys": […]}` of exactly the public keys that could be used
    document: bytes
    #: SHA-256 of the document
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """One key of a set."""

    kid: str | None
    #: the algorithms it may be used with, among those that the provider is believed with
    algorithms: frozenset[str]
    jose: Jose


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """The usable keys of one issuer."""

    keys: tuple[PublicKey, ...]
    seen: KeySetSeen

    def candidates(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """
        The keys that may have signed. Usually one; of one name there may be several.

        A token that names no key has the only one that suits it, or none.
        """
        suit = tuple(key for key in self.keys if algorithm in key.algorithms)
        if kid is None:
            return suit if len(suit) == 1 else ()
        return tuple(key for key in suit if key.kid == kid)

    def knows(self, kid: str | None) -> bool:
        return kid is None or any(key.kid == kid for key in self.keys)


@dataclass
class _Entry:
    """What is known of one provider."""

    keys: KeySet | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fetched: float = 0.0
    #: when it was last asked; None: never
    asked: float | None = None
    #: why the last fetch failed; None if it did not
    trouble: str | None = None
    fetching: "asyncio.Task[None] | None" = None


class KeySets:
    """The keys and metadata of every provider, for one event loop. `elapsed` never steps."""

    def __init__(self, outbound: Outbound, elapsed: Callable[[], float]) -> None:
        self._outbound = outbound
        self._elapsed = elapsed
        self._entries: dict[Provider, _Entry] = {}

    async def key_set(self, provider: Provider) -> KeySetSeen:
        """What the provider publishes now, as it is recorded. Raises `Unavailable`."""
        return (await self.find(provider)).seen

    async def find(self, provider: Provider, kid: str | None = None) -> KeySet:
        """
        The provider's keys, fetched anew if they are old or lack `kid`.

        Raises `Unavailable` if there are none that are still good, or if `kid` is unknown and the
        issuer cannot be asked for it.
        """
        entry = await self._entry(provider)
        if entry.keys is not None and not entry.keys.knows(kid):
            await self._ask(provider, entry)
            if not entry.keys.knows(kid) and entry.trouble:
                raise Unavailable(f"the keys of `{provider.name}` cannot be had: {entry.trouble}")
        return self._good(provider, entry)

    async def metadata(self, provider: Provider) -> Mapping[str, Any]:
        """What the issuer says about itself, as old as its keys. Raises `Unavailable`."""
        entry = await self._entry(provider)
        self._good(provider, entry)
        return entry.metadata

    async def _entry(self, provider: Provider) -> _Entry:
        entry = self._entries.setdefault(provider, _Entry())
        if entry.keys is None or self._elapsed() - entry.fetched > MAX_AGE:
            await self._ask(provider, entry)
        return entry

    def _good(self, provider: Provider, entry: _Entry) -> KeySet:
        if entry.keys is None or self._elapsed() - entry.fetched > GRACE:
            why = entry.trouble or "not asked yet"
            raise Unavailable(f"the keys of `{provider.name}` cannot be had: {why}")
        return entry.keys

    async def _ask(self, provider: Provider, entry: _Entry) -> None:
        """Fetch, unless that was just done; whoever comes meanwhile waits for the same answer."""
        now = self._elapsed()
        if entry.fetching is None:
            if entry.asked is not None and now - entry.asked < PAUSE:
                return
            entry.asked = now
            entry.fetching = asyncio.create_task(self._fetch(provider, entry))
        # a caller who goes away does not take the answer from the others
        await asyncio.shield(entry.fetching)

    async def _fetch(self, provider: Provider, entry: _Entry) -> None:
        try:
            started = self._elapsed()
            metadata = await self._fetch_metadata(provider) if provider.has_metadata else {}
            uri = provider.jwks_uri or metadata.get("jwks_uri")
            keys = read_key_set(provider, await self._get(provider, uri))
            entry.keys, entry.metadata = keys, metadata
            entry.fetched, entry.trouble = started, None
        except (AddressRefused, Unavailable) as error:
            entry.trouble = str(error)
        finally:
            entry.fetching = None

    async def _fetch_metadata(self, provider: Provider) -> dict[str, Any]:
        body = await self._get(provider, provider.metadata_url)
        try:
            metadata = read_object(body)
        except ValueError as error:
            raise Unavailable(f"its metadata is {error}") from None
        # OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3, SSF 1.0 section 7.2.3
        if metadata.get("issuer") != provider.issuer:
            raise Unavailable("its metadata names another issuer")
        return metadata

    async def _get(self, provider: Provider, url: object) -> bytes:
        if not isinstance(url, str) or not may_be_called(url, provider.allow):
            raise Unavailable("its metadata gives no `https` address for them")
        reply = await self._outbound.fetch(
            "GET",
            url,
            {"Accept": "application/json"},
            b"",
            timeout=TIMEOUT,
            max_bytes=MAX_BYTES,
            allow=provider.allow,
        )
        if reply.status != 200:  # noqa: PLR2004 (RFC 9110: OK)
            raise Unavailable(f"it answered with status {reply.status}")
        return reply.body


def read_key_set(provider: Provider, body: bytes) -> KeySet:
    """
    The keys in a JWK Set that may verify this provider's tokens (RFC 7517 section 5).

    Others are left out: symmetric ones, those published with their private part, weak ones, those
    for another use or algorithm. Raises `Unavailable` if it is no JWK Set of a sane size.
    """
    try:
        listed = read_object(body).get("keys")
    except ValueError as error:
        raise Unavailable(f"its key set is {error}") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise Unavailable(f"its key set is no list of at most {MAX_KEYS} keys")
    found: dict[bytes, PublicKey] = {}
    for jwk in listed:
        if isinstance(jwk, dict) and (known := _read_key(provider, jwk)) is not None:
            found[known[0]] = known[1]  # the same key twice is one
    # each is canonical already, so the whole can be put together from its parts
    document = b'{"keys":[' + b",".join(sorted(found)) + b"]}"
    seen = KeySetSeen(document=document, digest=sha256(document).digest())
    return KeySet(keys=tuple(found[text] for text in sorted(found)), seen=seen)


def _read_key(provider: Provider, jwk: dict[str, Any]) -> tuple[bytes, PublicKey] | None:
    """The key with its canonical bytes; None if it is not to be used."""
    kid, kty = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kty, str) or kty not in _PUBLIC or _PRIVATE & set(jwk):
        return None
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        return None
    algorithms = _algorithms(jwk, provider.accepted)
    if not algorithms or not _is_for_signatures(provider, jwk) or not _is_strong(jwk):
        return None
    material = {name: jwk.get(name) for name in ("kty", *_PUBLIC[kty])}
    try:
        jose = _IMPORT[kty](material)
        text = encode({name: jwk[name] for name in (*_ABOUT, *_PUBLIC[kty]) if name in jwk})
    except NotCanonical:
        return None
    except Exception:  # noqa: BLE001 (whatever a library says of material that makes no key)
        return None
    return text, PublicKey(kid=kid, algorithms=algorithms, jose=jose)


_IMPORT: Final[Mapping[str, Callable[[Any], Jose]]] = {
    "RSA": RSAKey.import_key,
    "EC": ECKey.import_key,
    "OKP": OKPKey.import_key,
}


def _algorithms(jwk: Mapping[str, Any], accepted: Collection[str]) -> frozenset[str]:
    form = (jwk["kty"], jwk.get("crv", ""))
    suit = frozenset(name for name in accepted if ALGORITHMS[name] == form)
    return frozenset(name for name in suit if jwk.get("alg", name) == name)


def _is_for_signatures(provider: Provider, jwk: Mapping[str, Any]) -> bool:
    # SPIFFE Trust Domain and Bundle section 4.2.2: keys of another use, or of none, are ignored
    uses = ("jwt-svid",) if provider.kind == "spiffe" else ("sig", None)
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use") in uses and isinstance(operations, list) and "verify" in operations


def _is_strong(jwk: Mapping[str, Any]) -> bool:
    if jwk["kty"] != "RSA":
        return True
    try:
        modulus = b64decode(jwk["n"] + "==", b"-_", validate=False)
    except (KeyError, TypeError, ValueError):
        return False
    return int.from_bytes(modulus, "big").bit_length() in RSA_BITS
