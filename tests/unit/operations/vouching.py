"""An issuer of a test's own, and the real verification of what it signs."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from joserfc.jwk import ECKey
from joserfc.jws import serialize_compact

from muniment.errors import Unavailable
from muniment.identity.keys import KeySets
from muniment.identity.providers import Provider
from muniment.identity.signed import Tokens
from muniment.operations.providers import ProviderRules, Providers
from muniment.ports import Reply
from muniment.testing.scenario import Scenario

ISSUER, US = "https://issuer.example", "https://muniment.example"
KEY = ECKey.generate_key("P-256", {"kid": "k"})
FOREIGN = ECKey.generate_key("P-256", {"kid": "k"})


class Line:
    """Implements `ports.Outbound`: the issuer's keys, and what a test answers to a POST."""

    def __init__(self) -> None:
        self.answers: list[bytes | Exception] = []
        self.posted: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        """Everything may be called."""

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
        if method == "GET":
            keys = {"keys": [KEY.as_dict(private=False)]}
            return Reply(status=200, headers={}, body=json.dumps(keys).encode())
        self.posted.append(json.loads(body))
        self.headers.append(headers)
        answer = self.answers.pop(0) if self.answers else b'{"sets":{}}'
        if isinstance(answer, Exception):
            raise answer
        return Reply(status=200, headers={}, body=answer)


def sign(claims: Mapping[str, Any], typ: str = "JWT", key: ECKey = KEY) -> str:
    header = {"alg": "ES256", "kid": "k", "typ": typ}
    return serialize_compact(header, json.dumps(claims).encode(), key)


def believe(scenario: Scenario, *rules: ProviderRules) -> Line:
    """From now on the service believes these, all at `ISSUER`."""
    line = Line()
    providers = [
        Provider(
            name=each.name,
            kind=each.kind,  # type: ignore[arg-type]  # rules have it as text
            issuer=each.issuer,
            audience=US,
            jwks_uri=f"{ISSUER}/jwks",
        )
        for each in rules
    ]
    keys = KeySets(line, lambda: scenario.clock.elapsed)
    scenario.service.providers = Providers(
        rules={each.name: each for each in rules}, tokens=Tokens(providers, keys)
    )
    scenario.service.outbound = line
    return line


def cut(scenario: Scenario) -> None:
    """Nobody's keys can be had any more."""

    class Cut(Line):
        async def fetch(self, *_: Any, **__: Any) -> Reply:
            raise Unavailable("the line is cut")

    scenario.service.outbound = Cut()
