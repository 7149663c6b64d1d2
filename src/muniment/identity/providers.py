"""Whose tokens are believed, and for what: one provider is one issuer in one of its parts."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from muniment.errors import ConfigInvalid

Kind: TypeAlias = Literal["people", "spiffe", "kubernetes", "github", "workload", "signals"]

#: what an algorithm needs of a key: type and, where it has one, curve. Signatures only: no `none`
#: and no HS*, for whose key would be the issuer's public one (RFC 8725 section 2.1)
ALGORITHMS: Final = MappingProxyType(
    {
        "RS256": ("RSA", ""),
        "RS384": ("RSA", ""),
        "RS512": ("RSA", ""),
        "PS256": ("RSA", ""),
        "PS384": ("RSA", ""),
        "PS512": ("RSA", ""),
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
        "Ed25519": ("OKP", "Ed25519"),  # RFC 9864 section 2.2
    }
)
#: JWT-SVID section 3.1 has no Edwards curve in its list
_SPIFFE_ALGORITHMS: Final = frozenset(name for name in ALGORITHMS if not name.startswith("Ed"))
MAX_LEEWAY: Final = 300

#: SPIFFE-ID section 2.1
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def may_be_called(url: object, allow: Collection[str]) -> bool:
    """Whether this is an `https` URL, or one whose origin an administrator vouches for."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or f"{parts.scheme}://{parts.netloc}" in allow


@dataclass(frozen=True, kw_only=True)
class Provider:
    """
    One issuer, believed as one kind of source. Raises `ConfigInvalid`.

    Two kinds of token from one issuer are two providers.
    """

    #: our own name for it, in the configuration and in records
    name: str
    kind: Kind
    #: compared character by character with `iss`; of `spiffe`, whose tokens may have none,
    #: `spiffe://<trust domain>`
    issuer: str
    #: what `aud` has to be: us, and by the same characters; of `people` the client id
    audience: str
    #: of `people`: what the provider knows us as
    client_id: str | None = None
    #: None: as the issuer's metadata says. SPIFFE has no metadata, so there it is given
    jwks_uri: str | None = None
    #: of `spiffe`: whose workloads these are; without it, the host of a `spiffe://` issuer
    trust_domain: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    #: seconds by which its clock and ours may differ
    leeway: int = 60
    #: origins on internal networks that an administrator vouches for: `http://10.0.0.7:9000`
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_names()
        if unknown := set(self.algorithms) - set(ALGORITHMS):
            raise ConfigInvalid(f"`{self.name}`: no signature algorithm is `{min(unknown)}`")
        if not self.accepted:
            raise ConfigInvalid(f"`{self.name}`: none of its algorithms may sign such tokens")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ConfigInvalid(f"`{self.name}`: `leeway` is 0 to {MAX_LEEWAY} seconds")
        if self.jwks_uri is not None and not may_be_called(self.jwks_uri, self.allow):
            raise ConfigInvalid(f"`{self.name}`: `jwks_uri` is an `https` URL")
        if self.kind == "spiffe":
            self._check_spiffe()
        elif not may_be_called(self.issuer, self.allow):
            raise ConfigInvalid(f"`{self.name}`: `issuer` is an `https` URL")

    def _check_names(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigInvalid("a provider's name is lower case letters, digits, `.`, `_`, `-`")
        if self.kind not in get_args(Kind):
            raise ConfigInvalid(f"`{self.name}`: `kind` is one of {', '.join(get_args(Kind))}")
        if not self.audience:
            raise ConfigInvalid(f"`{self.name}`: `audience` is empty")
        if self.kind == "people" and self.client_id != self.audience:
            raise ConfigInvalid(f"`{self.name}`: the audience of ID tokens is the `client_id`")
        if self.kind != "people" and self.client_id is not None:
            raise ConfigInvalid(f"`{self.name}`: only a provider of people knows a `client_id`")
        if self.kind != "spiffe" and self.trust_domain is not None:
            raise ConfigInvalid(f"`{self.name}`: only SPIFFE has a `trust_domain`")

    def _check_spiffe(self) -> None:
        if self.jwks_uri is None:
            raise ConfigInvalid(f"`{self.name}`: `jwks_uri` is missing; SPIFFE has no discovery")
        if not _TRUST_DOMAIN.fullmatch(self.domain):
            raise ConfigInvalid(f"`{self.name}`: `trust_domain` is missing or not lower case")

    @property
    def accepted(self) -> frozenset[str]:
        """The algorithms that may have signed a token of this provider."""
        listed = frozenset(self.algorithms)
        return listed & _SPIFFE_ALGORITHMS if self.kind == "spiffe" else listed

    @property
    def domain(self) -> str:
        """The SPIFFE trust domain; empty where there is none."""
        if self.trust_domain is not None:
            return self.trust_domain
        scheme, _, host = self.issuer.partition("://")
        return host if scheme == "spiffe" else ""

    @property
    def metadata_url(self) -> str:
        """Where the issuer says what it is."""
        parts = urlsplit(self.issuer)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        if self.kind == "signals":  # SSF 1.0 section 7.2: between host and path
            return f"{origin}/.well-known/ssf-configuration{path}"
        # OpenID Connect Discovery 1.0 section 4: after the path, less its last slash
        return f"{origin}{path}/.well-known/openid-configuration"

    @property
    def has_metadata(self) -> bool:
        """Whether metadata is needed: for the keys' address or, to sign people in, the rest."""
        return self.jwks_uri is None or self.kind == "people"
