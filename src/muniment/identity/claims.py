"""
What a token has to say, by the kind of source that it comes from: one strict profile each.

A token made for one purpose must not serve another (RFC 8725 section 2.8), even where one issuer
signs all of them with one key. So each kind has a mark that its tokens carry and no other's do, and
a token with another's mark is refused whatever else it says. Reasons given are words of ours: no
part of a token is repeated.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha384, sha512
from typing import Any, Final, TypeAlias

from muniment.errors import NotCanonical, Unauthenticated
from muniment.evidence.canonical import encode
from muniment.identity.providers import Kind, Provider

Claims: TypeAlias = Mapping[str, Any]

#: OpenID Connect Core 1.0 section 2: a `sub` is at most 255 ASCII characters
MAX_TEXT: Final = 255
#: SPIFFE-ID section 2.3
MAX_SPIFFE_ID: Final = 2048
#: longest URI of an event
MAX_URI: Final = 1000
#: the last second of the year 9999
_LAST_SECOND: Final = 253402300799

#: what `typ` may be, and None if it may be left out
_TYPES: Final[Mapping[Kind, frozenset[str | None]]] = {
    "people": frozenset({None, "jwt"}),
    "spiffe": frozenset({None, "jwt", "jose"}),  # JWT-SVID section 2.1
    "kubernetes": frozenset({None, "jwt"}),
    "github": frozenset({None, "jwt"}),
    "workload": frozenset({None, "jwt", "at+jwt"}),  # RFC 9068 section 2.1
    "signals": frozenset({"secevent+jwt"}),  # SSF 1.0 section 4.1.1
}
_WITHOUT_ISSUED: Final = frozenset({"spiffe"})  # JWT-SVID section 3: only `sub`, `aud`, `exp`
_DIGITS = re.compile(r"[0-9]{1,20}")
#: SPIFFE-ID section 2: of a workload, so with a path, whose segments are neither `.` nor `..`
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[a-zA-Z0-9._-]+)+")
#: members of a subject identifier that have to be text (RFC 9493 section 3.2, SSF 1.0 section 3)
_SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("uri",),
    "did": ("url",),
    "email": ("email",),
    "iss_sub": ("iss", "sub"),
    "jwt_id": ("iss", "jti"),
    "opaque": ("id",),
    "phone_number": ("phone_number",),
    "saml_assertion_id": ("issuer", "assertion_id"),
    "uri": ("uri",),
}
#: half of which digest `at_hash` is (OpenID Connect Core 1.0 section 3.1.3.6); Ed25519: SHA-512
_HALVED: Final = {"256": sha256, "384": sha384, "512": sha512, "DSA": sha512, "519": sha512}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What we asked a provider of people for, which its answer has to match."""

    nonce: str = field(repr=False)
    #: seconds that the authentication may lie back
    max_age: int | None = None
    #: any one of these
    acr_values: tuple[str, ...] = ()
    #: came beside the ID token; None if none did
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a profile makes of the claims of a token that it accepts."""

    subject: str
    issued: datetime | None
    expires: datetime | None


def kind_of(claims: Claims) -> Kind:
    """
    The one kind that such a token can be of. It says nothing about whether the token holds.

    Raises `Unauthenticated` for a token that carries the marks of two.
    """
    subject = claims.get("sub")
    text = subject if isinstance(subject, str) else ""
    marks: dict[Kind, bool] = {
        "people": not {"nonce", "at_hash", "c_hash"}.isdisjoint(claims),
        "spiffe": text.startswith("spiffe:"),
        "kubernetes": "kubernetes.io" in claims or text.startswith("system:serviceaccount:"),
        "github": not {"repository_id", "repository_owner_id"}.isdisjoint(claims),
        "signals": not {"events", "sub_id"}.isdisjoint(claims),
    }
    found = [kind for kind, marked in marks.items() if marked]
    if len(found) > 1:
        raise Unauthenticated("the token carries the marks of two kinds")
    return found[0] if found else "workload"


def trust_domain(subject: str) -> str:
    """The trust domain of what may be a SPIFFE ID."""
    return subject.removeprefix("spiffe://").partition("/")[0]


def check(
    provider: Provider, header: Claims, claims: Claims, now: datetime, asked: Asked | None = None
) -> Facts:
    """
    What this token says to us at `now`, if its provider's profile accepts it.

    The signature is somebody else's concern. Raises `Unauthenticated`.
    """
    _require(kind_of(claims) == provider.kind, "the token is of another kind")
    _check_type(provider.kind, header.get("typ"))
    _check_issuer(provider, claims)
    _check_audience(provider, claims)
    issued, expires = _check_times(provider, claims, now)
    if asked is not None:
        _require(provider.kind == "people", "only an ID token answers a sign-in")
        _check_answer(claims, header, asked, now, provider.leeway)
    return Facts(subject=_SUBJECT[provider.kind](claims), issued=issued, expires=expires)


# --- what all have in common ---------------------------------------------------------------------


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unauthenticated(otherwise)


def _text(claims: Claims, name: str, longest: int = MAX_TEXT) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise Unauthenticated(f"`{name}` is missing, empty or too long")
    return value


def _check_type(kind: Kind, typ: object) -> None:
    # RFC 7515 section 4.1.9: media types, so in any case, and `application/` may be left out
    plain = typ.lower().removeprefix("application/") if isinstance(typ, str) else typ
    known = plain is None or isinstance(plain, str)
    _require(known and plain in _TYPES[kind], "`typ` is not that of such a token")


def _check_issuer(provider: Provider, claims: Claims) -> None:
    if provider.kind == "spiffe":
        # JWT-SVID section 3: not `iss`, which may be left out, but the trust domain says who signs
        domain = trust_domain(_text(claims, "sub", MAX_SPIFFE_ID))
        _require(domain == provider.domain, "`sub` is of another trust domain")
    if provider.kind != "spiffe" or "iss" in claims:
        _require(claims.get("iss") == provider.issuer, "`iss` is another issuer")


def _check_audience(provider: Provider, claims: Claims) -> None:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    _require(provider.audience in listed, "`aud` does not name us")
    if provider.kind == "people":
        # OpenID Connect Core 1.0 section 3.1.3.7, steps 3 to 5
        _require(len(listed) == 1 or "azp" in claims, "of several audiences, `azp` is missing")
        _require(claims.get("azp", provider.audience) == provider.audience, "`azp` is another")
    elif provider.kind != "signals":
        # whoever else such a token is good for could bring it here; a signal gives nobody anything
        _require(len(listed) == 1, "`aud` names others beside us")


def _check_times(
    provider: Provider, claims: Claims, now: datetime
) -> tuple[datetime | None, datetime | None]:
    leeway = timedelta(seconds=provider.leeway)
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    starts = _moment(claims, "nbf")
    _require(issued is not None or provider.kind in _WITHOUT_ISSUED, "`iat` is missing")
    _require(issued is None or issued <= now + leeway, "`iat` lies in the future")
    _require(starts is None or starts <= now + leeway, "the token is not valid yet")
    if provider.kind == "people":
        authenticated = _moment(claims, "auth_time")
        sane = authenticated is None or authenticated <= now + leeway
        _require(sane, "`auth_time` lies in the future")
    if provider.kind == "signals":
        _require("exp" not in claims, "a signal has no `exp`")  # SSF 1.0 section 4.1.7
    else:
        _require(expires is not None and now < expires + leeway, "the token is expired")
        ordered = issued is None or expires is None or issued < expires
        _require(ordered, "the token expires before it is issued")
    return issued, expires


def _moment(claims: Claims, name: str) -> datetime | None:
    """A NumericDate (RFC 7519 section 2): seconds, which may have a fraction."""
    if name not in claims:
        return None
    value = claims[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LAST_SECOND:
        raise Unauthenticated(f"`{name}` is no time")
    return datetime.fromtimestamp(value, UTC)


# --- people --------------------------------------------------------------------------------------


def _person(claims: Claims) -> str:
    subject, _ = _text(claims, "sub"), _text(claims, "nonce", 1024)
    _require(subject.isascii(), "`sub` is not ASCII")
    if "acr" in claims:
        _text(claims, "acr", 1024)
    for name in ("amr", "groups"):
        listed = claims.get(name, [])
        known = isinstance(listed, list) and all(isinstance(each, str) for each in listed)
        _require(known, f"`{name}` is no list of names")
    return subject


def _check_answer(claims: Claims, header: Claims, asked: Asked, now: datetime, leeway: int) -> None:
    _require(_same(_text(claims, "nonce", 1024), asked.nonce), "`nonce` is that of another sign-in")
    if asked.max_age is not None:
        at = _moment(claims, "auth_time")
        oldest = now - timedelta(seconds=asked.max_age + leeway)
        _require(at is not None and at >= oldest, "the authentication is older than asked for")
    if asked.acr_values:
        _require(claims.get("acr") in asked.acr_values, "`acr` is none of those asked for")
    if asked.access_token is not None and "at_hash" in claims:
        digest = _HALVED[str(header["alg"])[-3:]](asked.access_token.encode()).digest()
        half = urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
        _require(_same(_text(claims, "at_hash"), half), "`at_hash` is of another access token")


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())


# --- workloads -----------------------------------------------------------------------------------


def _spiffe_id(claims: Claims) -> str:
    subject = _text(claims, "sub", MAX_SPIFFE_ID)
    _require(_SPIFFE_ID.fullmatch(subject) is not None, "`sub` is no SPIFFE ID of a workload")
    return subject


def _service_account(claims: Claims) -> str:
    bound = claims.get("kubernetes.io")
    account = bound.get("serviceaccount") if isinstance(bound, dict) else None
    if not isinstance(bound, dict) or not isinstance(account, dict):
        raise Unauthenticated("`kubernetes.io` names no service account")
    name, _ = _text(account, "name"), _text(account, "uid")
    subject = f"system:serviceaccount:{_text(bound, 'namespace')}:{name}"
    _require(claims.get("sub") == subject, "`sub` is another service account")
    return subject


def _repository(claims: Claims) -> str:
    # by ids: names are given to others in time, and how `sub` is put together has changed before
    ids = [_text(claims, name) for name in ("repository_owner_id", "repository_id")]
    _require(all(map(_DIGITS.fullmatch, ids)), "the ids of owner and repository are no numbers")
    return "/".join(ids)


def _workload(claims: Claims) -> str:
    return _text(claims, "sub")


# --- signals -------------------------------------------------------------------------------------


def _signal_subject(claims: Claims) -> str:
    _require("sub" not in claims, "a signal has no `sub`")  # SSF 1.0 section 4.1.7
    _text(claims, "jti")
    if "txn" in claims:
        _text(claims, "txn")
    events = claims.get("events")
    if not isinstance(events, dict) or len(events) != 1:
        raise Unauthenticated("`events` is not exactly one event")
    [(uri, event)] = events.items()
    _require(0 < len(uri) <= MAX_URI and isinstance(event, dict), "`events` is malformed")
    subject = claims.get("sub_id")
    _check_subject(subject, room=2)
    try:
        return encode(subject).decode()
    except NotCanonical:
        raise Unauthenticated("`sub_id` has no canonical form") from None


def _check_subject(subject: object, room: int) -> None:
    """One subject identifier; `room` bounds how often one may stand in another."""
    if not isinstance(subject, dict) or not room:
        raise Unauthenticated("`sub_id` is no subject identifier")
    form = _text(subject, "format")
    for name in _SUBJECTS.get(form, ()):
        _text(subject, name, MAX_URI)
    if form == "complex":  # SSF 1.0 section 3.2
        for name in set(subject) - {"format"}:
            _check_subject(subject[name], room - 1)
    if form == "aliases":  # RFC 9493 section 3.2.8: never nested
        identifiers = subject.get("identifiers")
        _require(isinstance(identifiers, list) and bool(identifiers), "`sub_id` has no aliases")
        for each in identifiers if isinstance(identifiers, list) else ():
            _check_subject(each, room=1)


_SUBJECT: Final[Mapping[Kind, Callable[[Claims], str]]] = {
    "people": _person,
    "spiffe": _spiffe_id,
    "kubernetes": _service_account,
    "github": _repository,
    "workload": _workload,
    "signals": _signal_subject,
}
