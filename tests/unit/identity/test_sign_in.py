"""People sign in at their provider: what is asked, what is checked, what an attacker gets."""

import dataclasses
import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from issuers import (
    AT,
    ISSUER,
    NOW,
    OTHER_RSA,
    PROVIDERS,
    RSA,
    Elapsed,
    Internet,
    encoded,
    jwk,
    token,
)

from muniment.errors import ConfigInvalid, MunimentError, Unauthenticated, Unavailable
from muniment.identity.keys import KeySets
from muniment.identity.oidc import PATIENCE, Begun, SignIn
from muniment.identity.signed import Verified
from muniment.ports import Reply, Secret

PEOPLE = PROVIDERS["people"]
HERE = "https://muniment.example/callback"
AUTHORIZE = f"{ISSUER}/authorize"
TOKEN = f"{ISSUER}/token"
ENDPOINTS = {"authorization_endpoint": AUTHORIZE, "token_endpoint": TOKEN}
SECRET = "a+b c/d&e=f"


class Idp:
    """A provider that signs in whoever comes, once for each code, and checks PKCE."""

    def __init__(self, **metadata: Any) -> None:
        self.internet = Internet()
        self.internet.publish(jwk(RSA), **{**ENDPOINTS, **metadata})
        self.internet.pages[TOKEN] = self.exchange
        #: what a test wants changed in ID tokens, and in the answer that they come in
        self.claims: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.heard: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}

    def sign_in(self, url: str, **changes: str) -> dict[str, str]:
        """What a browser brings back that was sent to this URL."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], **changes}

    def exchange(self, headers: Mapping[str, str], body: bytes) -> Reply:
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        self.heard.append({**headers, **form})
        asked = self._codes.pop(form["code"], None)
        challenge = encoded(sha256(form["code_verifier"].encode()).digest())
        matches = asked is not None and asked["redirect_uri"] == form["redirect_uri"]
        if asked is None or not matches or asked["code_challenge"] != challenge:
            return reply({"error": "invalid_grant", "error_description": form["code"]}, 400)
        claims = {"nonce": asked["nonce"], **self.claims}
        given = {
            "token_type": "Bearer",
            "access_token": "at",
            "id_token": token("people", **claims),
        }
        return reply({**given, **self.answer})


def reply(said: Any, status: int = 200) -> Reply:
    return Reply(status=status, headers={}, body=json.dumps(said).encode())


def client(idp: Idp, secret: Secret | None = None) -> SignIn:
    keys = KeySets(idp.internet, Elapsed())
    return SignIn(PEOPLE, idp.internet, keys, client_secret=secret)


async def signed_in(idp: Idp, **asked: Any) -> Verified:
    there = client(idp)
    begun = await there.begin(HERE, now=NOW, **asked)
    return await there.finish(begun, idp.sign_in(begun.url), NOW)


async def refused(
    idp: Idp, why: str, error: type[MunimentError] = Unauthenticated, **asked: Any
) -> None:
    with pytest.raises(error, match=why):
        await signed_in(idp, **asked)


# --- what is asked -------------------------------------------------------------------------------


async def test_whoever_comes_back_from_the_provider_is_who_signed_in_there() -> None:
    idp = Idp()
    idp.claims = {"sub": "bo", "amr": ["hwk"], "groups": ["sre"]}
    found = await signed_in(idp)
    assert (found.kind, found.issuer, found.subject) == ("people", ISSUER, "bo")
    assert (found.claims["amr"], found.claims["groups"]) == (["hwk"], ["sre"])


async def test_the_browser_carries_no_more_than_it_has_to() -> None:
    begun = await client(Idp()).begin(HERE, now=NOW)
    assert begun.url.startswith(f"{AUTHORIZE}?")
    assert dict(parse_qsl(urlsplit(begun.url).query, strict_parsing=True)) == {
        "response_type": "code",
        "client_id": "us",
        "redirect_uri": HERE,
        "scope": "openid profile email",
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": encoded(sha256(begun.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    assert 43 <= len(begun.verifier) <= 128  # RFC 7636 section 4.1
    assert begun.verifier not in begun.url


async def test_a_fresh_or_stronger_sign_in_can_be_asked_for() -> None:
    idp = Idp(authorization_endpoint=f"{AUTHORIZE}?tenant=7")
    begun = await client(idp).begin(
        HERE, now=NOW, prompt="login", max_age=0, acr_values=("phr", "phrh")
    )
    asked = parse_qs(urlsplit(begun.url).query)
    assert (asked["tenant"], asked["prompt"], asked["max_age"]) == (["7"], ["login"], ["0"])
    assert asked["acr_values"] == ["phr phrh"]


async def test_no_two_sign_ins_share_what_they_are_told_apart_by() -> None:
    there = client(Idp())
    begun = [await there.begin(HERE, now=NOW) for _ in range(20)]
    assert (
        len({secret for each in begun for secret in (each.state, each.nonce, each.verifier)}) == 60
    )


async def test_what_is_kept_shows_none_of_its_secrets() -> None:
    begun = await client(Idp()).begin(HERE, now=NOW)
    shown = repr(begun)
    assert not any(each in shown for each in (begun.state, begun.nonce, begun.verifier))


async def test_a_public_client_names_itself_and_a_confidential_one_proves_it() -> None:
    idp = Idp()
    for secret in (None, Secret(SECRET)):
        there = client(idp, secret)
        begun = await there.begin(HERE, now=NOW)
        await there.finish(begun, idp.sign_in(begun.url), NOW)
    public, confidential = idp.heard
    assert public["client_id"] == "us"
    assert "Authorization" not in public
    assert "client_id" not in confidential
    pair = b64decode(confidential["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "us:a%2Bb+c%2Fd%26e%3Df"  # RFC 6749 section 2.3.1
    assert public["redirect_uri"] == HERE


@pytest.mark.parametrize(
    ("provider", "scope"), [(PROVIDERS["workload"], "openid"), (PEOPLE, "profile")]
)
def test_only_people_sign_in_and_only_with_an_id_token(provider: Any, scope: str) -> None:
    internet = Internet()
    with pytest.raises(ConfigInvalid, match="people sign in"):
        SignIn(provider, internet, KeySets(internet, Elapsed()), scope=scope)


# --- what comes back -----------------------------------------------------------------------------


async def begun_at(idp: Idp) -> tuple[SignIn, Begun, dict[str, str]]:
    there = client(idp)
    begun = await there.begin(HERE, now=NOW)
    return there, begun, idp.sign_in(begun.url)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": None}, "another sign-in"),
        ({"state": ""}, "another sign-in"),
        ({"state": "guess"}, "another sign-in"),
        ({"state": "\u00e4"}, "`state`"),
        ({"state": "\ud800"}, "`state`"),
        ({"code": None}, "no `code`"),
        ({"code": ""}, "no `code`"),
        ({"code": "\ud800"}, "`code`"),
        ({"code": "c" * 5000}, "`code`"),
        ({"code": "guess"}, "refused the code: `invalid_grant`"),
        ({"iss": "https://evil.example"}, "another provider"),
        ({"iss": ""}, "another provider"),
        ({"iss": f"{ISSUER}/"}, "another provider"),
        ({"error": "access_denied"}, "answered `access_denied`"),
        ({"error": "<script>"}, "an error that is none of OAuth's"),
        ({"error": ""}, "an error that is none of OAuth's"),
        ({"error": "access_denied", "state": "guess"}, "another sign-in"),
    ],
)
async def test_an_answer_to_something_else_signs_nobody_in(
    changes: dict[str, str | None], why: str
) -> None:
    idp = Idp()
    there, begun, params = await begun_at(idp)
    brought = {name: value for name, value in {**params, **changes}.items() if value is not None}
    with pytest.raises(Unauthenticated, match=why) as raised:
        await there.finish(begun, brought, NOW)
    assert params["code"] not in str(raised.value)
    if "guess" not in str(changes.get("code")):
        assert idp.heard == []  # no code was sent anywhere


async def test_the_answer_may_say_whose_it_is_and_must_where_that_is_promised() -> None:
    idp = Idp(authorization_response_iss_parameter_supported=True)
    there, begun, params = await begun_at(idp)
    with pytest.raises(Unauthenticated, match="does not say which provider"):
        await there.finish(begun, params, NOW)
    await there.finish(begun, {**params, "iss": ISSUER}, NOW)


@pytest.mark.parametrize(
    ("later", "good"),
    [
        (timedelta(0), True),
        (PATIENCE, True),
        (PATIENCE + timedelta(seconds=1), False),
        (timedelta(seconds=-1), False),
    ],
)
async def test_a_sign_in_that_took_too_long_is_begun_again(later: timedelta, good: bool) -> None:
    idp = Idp()
    idp.claims = {"exp": AT + 3600}
    there, begun, params = await begun_at(idp)
    if good:
        assert (await there.finish(begun, params, NOW + later)).subject == "ana"
    else:
        with pytest.raises(Unauthenticated, match="too long"):
            await there.finish(begun, params, NOW + later)


async def test_a_code_that_was_used_is_used_up() -> None:
    idp = Idp()
    there, begun, params = await begun_at(idp)
    await there.finish(begun, params, NOW)
    with pytest.raises(Unauthenticated, match="refused the code: `invalid_grant`"):
        await there.finish(begun, params, NOW)


@pytest.mark.parametrize("changes", [{"verifier": "v" * 43}, {"redirect_uri": f"{HERE}/other"}])
async def test_a_stolen_code_is_worth_nothing_without_what_was_kept(
    changes: dict[str, Any],
) -> None:
    idp = Idp()
    there, begun, params = await begun_at(idp)
    with pytest.raises(Unauthenticated, match="refused the code"):
        await there.finish(dataclasses.replace(begun, **changes), params, NOW)


async def test_a_code_of_somebody_else_does_not_sign_him_in_here() -> None:
    idp = Idp()
    there, begun, _ = await begun_at(idp)
    _, _, stolen = await begun_at(idp)
    with pytest.raises(Unauthenticated, match="refused the code"):
        await there.finish(begun, {**stolen, "state": begun.state}, NOW)


# --- what the provider says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "another"}, "`nonce`"),
        ({"aud": "another"}, "`aud`"),
        ({"iss": "https://evil.example"}, "no issuer"),
        ({"exp": AT - 61, "iat": AT - 100}, "expired"),
        ({"at_hash": encoded(b"x" * 16)}, "`at_hash`"),
    ],
)
async def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    claims: dict[str, Any], why: str
) -> None:
    idp = Idp()
    idp.claims = claims
    await refused(idp, why)


async def test_an_id_token_that_the_provider_did_not_sign_is_refused() -> None:
    idp = Idp()
    idp.answer = {"id_token": token("people", key=OTHER_RSA)}
    await refused(idp, "no key of its issuer")


async def test_an_authentication_weaker_than_asked_for_is_refused() -> None:
    idp = Idp()
    idp.claims = {"auth_time": AT - 1000, "acr": "pwd"}
    await refused(idp, "older than asked for", max_age=300)
    await refused(idp, "`acr`", acr_values=("phr",))
    idp.claims = {"auth_time": AT - 1, "acr": "phr"}
    assert (await signed_in(idp, max_age=300, acr_values=("phr",))).claims["acr"] == "phr"


@pytest.mark.parametrize(
    "answer",
    [
        {"id_token": None},
        {"id_token": 5},
        {"access_token": None},
        {"token_type": None},
        {"token_type": "mac"},
        {"token_type": ["Bearer"]},
    ],
)
async def test_an_answer_without_an_id_token_signs_nobody_in(answer: dict[str, Any]) -> None:
    idp = Idp()
    idp.answer = answer
    await refused(idp, "gave no ID token")


@pytest.mark.parametrize(
    ("page", "error", "why"),
    [
        (reply({"error": "invalid_grant"}, 400), Unauthenticated, "`invalid_grant`"),
        (reply({"error": "invalid_client"}, 401), Unavailable, "401, `invalid_client`"),
        (reply({"error": "invalid_client"}, 400), Unavailable, "400, `invalid_client`"),
        (reply({"error": "<b>"}, 400), Unavailable, "none of OAuth's"),
        (reply({"error": ["invalid_grant"]}, 400), Unavailable, "none of OAuth's"),
        (reply({}, 500), Unavailable, "status 500$"),
        (Reply(status=302, headers={}, body=b""), Unavailable, "status 302"),
        (Reply(status=200, headers={}, body=b"<html>"), Unauthenticated, "gave no ID token"),
        (Reply(status=200, headers={}, body=b" " * 70000), Unavailable, "more than"),
        (Unavailable("the line is cut"), Unavailable, "the line is cut"),
    ],
)
async def test_what_the_provider_answers_is_told_apart(
    page: Any, error: type[MunimentError], why: str
) -> None:
    idp = Idp()
    idp.internet.pages[TOKEN] = page
    await refused(idp, why, error)


@pytest.mark.parametrize("name", list(ENDPOINTS))
@pytest.mark.parametrize("url", [None, 5, "", "http://issuer.example/x", "javascript:alert(1)"])
async def test_an_endpoint_is_an_https_address_or_nothing(name: str, url: Any) -> None:
    await refused(Idp(**{name: url}), f"no usable `{name}`", Unavailable)


async def test_the_code_is_not_sent_into_our_own_network() -> None:
    idp = Idp(token_endpoint="https://169.254.169.254/token")
    await refused(idp, "cannot be asked: .* not called", Unavailable)


async def test_a_provider_that_is_down_begins_nothing() -> None:
    idp = Idp()
    idp.internet.cut()
    with pytest.raises(Unavailable, match="the line is cut"):
        await client(idp).begin(HERE, now=NOW)


async def test_beginning_often_asks_the_provider_once() -> None:
    idp = Idp()
    there = client(idp)
    for _ in range(20):
        await there.begin(HERE, now=NOW)
    assert len(idp.internet.asked) == 2
