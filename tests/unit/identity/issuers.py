"""Issuers in memory: their keys, their tokens, and a way out that leads to nobody else."""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from muniment.errors import AddressRefused, Unavailable
from muniment.identity.providers import Kind, Provider
from muniment.ports import Reply

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = "https://issuer.example"
US = "https://muniment.example"
DOMAIN = "corp.example"
NONCE = "n-0S6_WzA2Mj"
EVENT = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"

SigningKey = RSAKey | ECKey | OKPKey

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "other"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def jwk(key: SigningKey, **members: Any) -> dict[str, Any]:
    """The public part, with these members changed; None takes one away."""
    changed = {**key.as_dict(private=False), **members}
    return {name: value for name, value in changed.items() if value is not None}


def key_set(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


PROVIDERS: dict[Kind, Provider] = {
    "people": Provider(name="people", kind="people", issuer=ISSUER, audience="us", client_id="us"),
    "spiffe": Provider(
        name="spiffe",
        kind="spiffe",
        issuer=ISSUER,
        audience=US,
        trust_domain=DOMAIN,
        jwks_uri=f"{ISSUER}/bundle",
    ),
    "kubernetes": Provider(name="kubernetes", kind="kubernetes", issuer=ISSUER, audience=US),
    "github": Provider(name="github", kind="github", issuer=ISSUER, audience=US),
    "workload": Provider(name="workload", kind="workload", issuer=ISSUER, audience=US),
    "signals": Provider(name="signals", kind="signals", issuer=ISSUER, audience=US),
}

_COMMON = {"iss": ISSUER, "aud": US, "iat": AT - 10, "exp": AT + 300}
CLAIMS: dict[Kind, dict[str, Any]] = {
    "people": {**_COMMON, "aud": "us", "sub": "ana", "nonce": NONCE, "auth_time": AT - 20},
    "spiffe": {"aud": [US], "exp": AT + 300, "sub": f"spiffe://{DOMAIN}/agent/deploy"},
    "kubernetes": {
        **_COMMON,
        "aud": [US],
        "sub": "system:serviceaccount:shop:deployer",
        "kubernetes.io": {
            "namespace": "shop",
            "serviceaccount": {"name": "deployer", "uid": "0f1e2d3c"},
        },
    },
    "github": {
        **_COMMON,
        "sub": "repo:org-9/name-8:ref:refs/heads/main",
        "repository_id": "8",
        "repository_owner_id": "9",
    },
    "workload": {**_COMMON, "sub": "batch-7", "client_id": "batch-7", "jti": "j-1"},
    "signals": {
        "iss": ISSUER,
        "aud": US,
        "iat": AT - 10,
        "jti": "set-1",
        "txn": "t-1",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "ana"},
        "events": {EVENT: {"event_timestamp": AT - 10}},
    },
}
TYPES: dict[Kind, str] = {
    "people": "JWT",
    "spiffe": "JWT",
    "kubernetes": "JWT",
    "github": "JWT",
    "workload": "at+jwt",
    "signals": "secevent+jwt",
}
KINDS: tuple[Kind, ...] = tuple(PROVIDERS)


class _Any(JWSRegistry):
    """Signs whatever it is told to, as an attacker would."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        pass


def sign(claims: Mapping[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    """A token of these claims. A header that is None is left out."""
    protected = {"alg": algorithm, "kid": getattr(key, "kid", None), **header}
    protected = {name: value for name, value in protected.items() if value is not None}
    return serialize_compact(protected, json.dumps(claims).encode(), key, registry=_Any())


def token(kind: Kind, *, key: Any = RSA, algorithm: str = "RS256", **claims: Any) -> str:
    """A good token of a kind, with these claims changed; None takes one away."""
    changed = {**CLAIMS[kind], **claims}
    said = {name: value for name, value in changed.items() if value is not None}
    return sign(said, key, algorithm, typ=TYPES[kind])


def put_together(header: Mapping[str, Any] | bytes, claims: bytes, signature: bytes = b"x") -> str:
    """Three segments, as they are given."""
    first = header if isinstance(header, bytes) else json.dumps(header).encode()
    return ".".join(encoded(part) for part in (first, claims, signature))


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


class Elapsed:
    """Seconds since boot, as the test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


Answer = Reply | Exception | Callable[[Mapping[str, str], bytes], Reply]


class Internet:
    """
    Implements `ports.Outbound`: the pages that a test put there, and nothing else.

    `gate` holds every answer back until it is set.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def put(self, url: str, body: bytes | Mapping[str, Any], status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.pages[url] = Reply(status=status, headers={}, body=data)

    def publish(self, *keys: Mapping[str, Any], issuer: str = ISSUER, **metadata: Any) -> None:
        """What an issuer has to say: its metadata of both kinds, its keys, and a SPIFFE bundle."""
        said = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", **metadata}
        for name in ("openid-configuration", "ssf-configuration"):
            self.put(f"{issuer}/.well-known/{name}", said)
        self.put(f"{issuer}/jwks", key_set(*keys))
        self.put(f"{issuer}/bundle", key_set(*({**key, "use": "jwt-svid"} for key in keys)))

    def cut(self) -> None:
        """Nobody answers any more."""
        self.pages = {url: Unavailable("the line is cut") for url in self.pages}

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        self._admit(url, allow)

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 (as the port has it)
        max_bytes: int,
        allow: Collection[str] = (),
    ) -> Reply:
        self.asked.append(url)
        self.called.set()
        self._admit(url, allow)
        answer = self.pages.get(url, Reply(status=404, headers={}, body=b""))
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, Reply) else answer(headers, body)
        if len(reply.body) > max_bytes:
            raise Unavailable(f"answered with more than {max_bytes} bytes")
        return reply

    @staticmethod
    def _admit(url: str, allow: Collection[str]) -> None:
        parts = urlsplit(url)
        inside = str(parts.hostname).startswith(("10.", "127.", "169.254."))
        if f"{parts.scheme}://{parts.netloc}" not in allow and (parts.scheme != "https" or inside):
            raise AddressRefused(f"`{parts.hostname}` leads to an address that is not called")
