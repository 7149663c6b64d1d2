"""Whose tokens are believed: a provider that could not be told from another does not come to be."""

from typing import Any

import pytest
from issuers import ISSUER, PROVIDERS, US

from muniment.errors import ConfigInvalid
from muniment.identity.providers import Provider, may_be_called
from muniment.identity.signed import Tokens


def provider(**settings: Any) -> Provider:
    return Provider(
        **{"name": "ci", "kind": "workload", "issuer": ISSUER, "audience": US, **settings}
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": "C I"}, "name"),
        ({"kind": "martians"}, "kind"),
        ({"audience": ""}, "audience"),
        ({"issuer": "http://issuer.example"}, "issuer"),
        ({"issuer": "ftp://issuer.example"}, "issuer"),
        ({"issuer": "https://user@issuer.example"}, "issuer"),
        ({"issuer": "https://[::1"}, "issuer"),
        ({"jwks_uri": "http://issuer.example/jwks"}, "jwks_uri"),
        ({"jwks_uri": "https://issuer.example/jwks#keys"}, "jwks_uri"),
        ({"algorithms": ("none",)}, "algorithm"),
        ({"algorithms": ("RS256", "HS256")}, "algorithm"),
        ({"algorithms": ()}, "algorithms"),
        ({"leeway": -1}, "leeway"),
        ({"leeway": 301}, "leeway"),
        ({"client_id": US}, "client_id"),
        ({"trust_domain": "corp.example"}, "trust_domain"),
        ({"kind": "people"}, "client_id"),
        ({"kind": "people", "client_id": "other"}, "client_id"),
        ({"kind": "spiffe", "issuer": "spiffe://corp.example"}, "jwks_uri"),
        ({"kind": "spiffe", "jwks_uri": f"{ISSUER}/bundle"}, "trust_domain"),
        (
            {"kind": "spiffe", "issuer": "spiffe://Corp", "jwks_uri": f"{ISSUER}/bundle"},
            "trust_domain",
        ),
        (
            {
                "kind": "spiffe",
                "issuer": "spiffe://corp",
                "jwks_uri": f"{ISSUER}/bundle",
                "algorithms": ("EdDSA",),
            },
            "algorithms",
        ),
    ],
)
def test_a_provider_that_could_be_misunderstood_is_no_configuration(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigInvalid, match=why):
        provider(**settings)


def test_an_address_inside_is_called_if_an_administrator_vouches_for_it() -> None:
    inside = "http://10.0.0.7:9000"
    assert provider(issuer=inside, allow=(inside,)).metadata_url.startswith(inside)
    assert not may_be_called(f"{inside}0/x", (inside,))
    assert not may_be_called(None, (inside,))
    assert not may_be_called("https:///path", ())


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://issuer.example/.well-known/openid-configuration"),
        (
            {"issuer": f"{ISSUER}/a/b/"},
            "https://issuer.example/a/b/.well-known/openid-configuration",
        ),
        ({"kind": "signals"}, "https://issuer.example/.well-known/ssf-configuration"),
        (
            {"kind": "signals", "issuer": f"{ISSUER}/a/b"},
            "https://issuer.example/.well-known/ssf-configuration/a/b",
        ),
    ],
)
def test_metadata_stands_where_the_standards_say(settings: dict[str, Any], url: str) -> None:
    assert provider(**settings).metadata_url == url


def test_the_host_of_a_spiffe_issuer_is_its_trust_domain() -> None:
    known = provider(kind="spiffe", issuer="spiffe://corp.example", jwks_uri=f"{ISSUER}/bundle")
    assert known.domain == "corp.example"
    assert "EdDSA" not in known.accepted  # JWT-SVID section 3.1


@pytest.mark.parametrize("change", [{}, {"name": "other"}])
def test_two_providers_that_one_token_would_fit_are_refused(change: dict[str, Any]) -> None:
    known = PROVIDERS["workload"]
    with pytest.raises(ConfigInvalid, match="the same"):
        Tokens([known, provider(**{"name": known.name, **change})], None)  # type: ignore[arg-type]
