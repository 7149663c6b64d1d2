"""Tokens that others signed: what holds, what does not, and what attackers send."""

import asyncio
import dataclasses
import hmac
import itertools
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from issuers import (
    AT,
    CLAIMS,
    DOMAIN,
    EC,
    ED,
    EVENT,
    ISSUER,
    KINDS,
    NONCE,
    NOW,
    OTHER_RSA,
    PROVIDERS,
    RSA,
    TYPES,
    US,
    Elapsed,
    Internet,
    decoded,
    encoded,
    jwk,
    put_together,
    sign,
    token,
)
from joserfc.jwk import ECKey

from muniment.errors import Unauthenticated, Unavailable
from muniment.identity.claims import Asked, check
from muniment.identity.keys import PAUSE, KeySets
from muniment.identity.providers import Kind, Provider
from muniment.identity.signed import MAX_TOKEN, Tokens, Verified

ALL = PROVIDERS.values()


def published(*keys: Any) -> Internet:
    internet = Internet()
    internet.publish(*(keys or (jwk(RSA), jwk(EC), jwk(ED))))
    return internet


def tokens(*providers: Provider, internet: Internet | None = None) -> Tokens:
    """By default all providers, which share one issuer and its keys."""
    return Tokens(providers or tuple(ALL), KeySets(internet or published(), Elapsed()))


async def verify(
    text: str,
    *providers: Provider,
    kinds: Collection[Kind] = KINDS,
    now: datetime = NOW,
    asked: Asked | None = None,
) -> Verified:
    return await tokens(*providers).verify(text, now, kinds=kinds, asked=asked)


async def refused(text: str, why: str, *providers: Provider, **how: Any) -> None:
    """With these words, if there are any, and none of the token's."""
    with pytest.raises(Unauthenticated, match=why or ".") as raised:
        await verify(text, *providers, **how)
    if len(text) > 20:
        assert text[:20] not in str(raised.value)


# --- what holds ----------------------------------------------------------------------------------

SUBJECTS: dict[Kind, str] = {
    "people": "ana",
    "spiffe": f"spiffe://{DOMAIN}/agent/deploy",
    "kubernetes": "system:serviceaccount:shop:deployer",
    "github": "9/8",
    "workload": "batch-7",
    "signals": json.dumps(
        {"format": "iss_sub", "iss": ISSUER, "sub": "ana"}, separators=(",", ":")
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_good_token_says_who_it_is_about_and_why_that_is_believed(kind: Kind) -> None:
    text = token(kind)
    found = await verify(text)
    assert (found.provider, found.kind, found.issuer) == (kind, kind, ISSUER)
    assert found.subject == SUBJECTS[kind]
    assert found.claims == CLAIMS[kind]
    assert found.issued == (None if kind == "spiffe" else NOW - timedelta(seconds=10))
    assert found.expires == (None if kind == "signals" else NOW + timedelta(seconds=300))
    assert found.token_hash == sha256(text.encode()).digest()
    usable = {"rsa", "ec"} if kind == "spiffe" else {"rsa", "ec", "ed"}
    assert {key["kid"] for key in json.loads(found.keys.document)["keys"]} == usable
    assert found.keys.digest == sha256(found.keys.document).digest()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")],
)
async def test_each_algorithm_of_the_list_verifies(key: Any, algorithm: str) -> None:
    await verify(token("workload", key=key, algorithm=algorithm))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS384", "Ed25519"])
async def test_an_algorithm_is_believed_only_where_it_is_listed(algorithm: str) -> None:
    key = ED if algorithm == "Ed25519" else RSA
    text = token("workload", key=key, algorithm=algorithm)
    await refused(text, "`alg`")
    listing = dataclasses.replace(PROVIDERS["workload"], algorithms=(algorithm,))
    await verify(text, listing)


async def test_an_edwards_curve_signs_nothing_for_spiffe() -> None:
    await verify(token("spiffe", key=EC, algorithm="ES256"))
    await refused(token("spiffe", key=ED, algorithm="EdDSA"), "`alg`")


async def test_what_was_verified_cannot_be_changed_afterwards() -> None:
    found = await verify(token("workload"))
    with pytest.raises(TypeError):
        found.claims["sub"] = "root"  # type: ignore[index]


# --- one purpose each ----------------------------------------------------------------------------


def sharing(kind: Kind) -> Provider:
    """One issuer, one key and one audience for all: nothing but the profile is in the way."""
    client = "us" if kind == "people" else None
    return dataclasses.replace(PROVIDERS[kind], audience="us", client_id=client)


@pytest.mark.parametrize("typ", ["own", "profile's", None])
@pytest.mark.parametrize("profile", KINDS)
@pytest.mark.parametrize("made_for", KINDS)
async def test_a_token_made_for_one_purpose_serves_no_other(
    made_for: Kind, profile: Kind, typ: str | None
) -> None:
    said = {**CLAIMS[made_for], "aud": "us", "iss": ISSUER}
    clothes = {"own": TYPES[made_for], "profile's": TYPES[profile], None: None}[typ]
    text, header = sign(said, typ=clothes), {"alg": "RS256", "typ": clothes}
    if made_for != profile:
        await refused(text, "", sharing(profile))
        with pytest.raises(Unauthenticated, match="another kind"):
            check(sharing(profile), header, said, NOW)
    elif typ is not None:
        assert (await verify(text, *map(sharing, KINDS))).kind == profile
        assert check(sharing(profile), header, said, NOW).subject == SUBJECTS[profile]


@pytest.mark.parametrize(
    ("kind", "other"),
    # a `workload` has no mark, and that of `spiffe` is the one `sub` that there is
    [
        (kind, other)
        for kind, other in itertools.permutations(KINDS, 2)
        if "workload" not in (kind, other) and other != "spiffe"
    ],
)
async def test_a_token_that_could_serve_two_purposes_serves_none(kind: Kind, other: Kind) -> None:
    both = {**CLAIMS[other], **CLAIMS[kind], "aud": "us", "iss": ISSUER, "iat": AT, "exp": AT + 60}
    for typ in (TYPES[kind], None):
        await refused(sign(both, typ=typ), "", *map(sharing, KINDS))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kind_that_was_not_asked_for_is_not_accepted(kind: Kind) -> None:
    await refused(token(kind), "not accepted here", kinds=set(KINDS) - {kind})


async def test_a_logout_token_signs_nobody_in() -> None:
    said = {
        "iss": ISSUER,
        "aud": "us",
        "iat": AT,
        "exp": AT + 60,
        "jti": "l-1",
        "sid": "s-1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    everybody = [dataclasses.replace(each, audience="us") for each in ALL if each.kind != "people"]
    for typ in ("logout+jwt", "JWT", None):
        await refused(sign({**said, "sub": "ana"}, typ=typ), "", PROVIDERS["people"], *everybody)
        await refused(sign(said, typ=typ), "", PROVIDERS["people"], *everybody)


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "kb+jwt", "", "JWT ", 5, None, []])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_type_that_such_tokens_do_not_have_is_refused(kind: Kind, typ: Any) -> None:
    text = sign(CLAIMS[kind], typ=typ)
    if typ is None and kind != "signals":
        await verify(text)
    else:
        await refused(text, "`typ`")


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
async def test_a_type_is_a_media_type_and_may_be_written_as_one(typ: str) -> None:
    await verify(sign(CLAIMS["workload"], typ=typ))


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": AT - 60}, "expired"),
        ({"exp": AT - 59, "iat": AT - 100}, ""),
        ({"nbf": AT + 61}, "not valid yet"),
        ({"nbf": AT + 60}, ""),
        ({"iat": AT + 61}, "future"),
        ({"iat": AT + 60}, ""),
        ({"iat": AT + 0.5}, ""),
        ({"exp": AT, "iat": AT + 1}, "before it is issued"),
        ({"exp": None}, "expired"),
        ({"iat": None}, "`iat` is missing"),
        ({"exp": str(AT + 60)}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": -1}, "no time"),
        ({"exp": 10**30}, "no time"),
        ({"exp": 1e300}, "no time"),
        ({"nbf": []}, "no time"),
        ({"iat": {}}, "no time"),
    ],
)
@pytest.mark.parametrize("kind", ["people", "kubernetes", "github", "workload"])
async def test_a_token_holds_from_its_beginning_to_its_end_and_a_minute_more(
    kind: Kind, changes: dict[str, Any], why: str
) -> None:
    text = token(kind, **changes)
    if why:
        await refused(text, why)
    else:
        await verify(text)


async def test_the_leeway_is_the_providers() -> None:
    exact = dataclasses.replace(PROVIDERS["workload"], leeway=0)
    await verify(token("workload"), exact, now=NOW + timedelta(seconds=299))
    await refused(token("workload"), "expired", exact, now=NOW + timedelta(seconds=300))


# --- whose it is, and for whom -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "spiffe"])
@pytest.mark.parametrize(
    "issuer", ["https://other.example", f"{ISSUER}/", f"{ISSUER}.evil.example", None, 5, [ISSUER]]
)
async def test_the_same_subject_of_another_issuer_is_somebody_else(kind: Kind, issuer: Any) -> None:
    await refused(token(kind, iss=issuer), "no issuer that is believed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "audience", ["https://other.example", f"{US}/", "US", "", None, 5, [], [[US]], {"us": US}]
)
async def test_a_token_for_somebody_else_is_not_for_us(kind: Kind, audience: Any) -> None:
    await refused(token(kind, aud=audience), "`aud`")


@pytest.mark.parametrize("kind", ["spiffe", "kubernetes", "github", "workload"])
async def test_what_is_good_elsewhere_too_is_not_good_here(kind: Kind) -> None:
    await verify(token(kind, aud=[US]))
    await refused(token(kind, aud=[US, "https://other.example"]), "others beside us")


async def test_a_signal_may_be_for_several_receivers() -> None:
    await verify(token("signals", aud=["https://other.example", US]))


async def test_two_audiences_at_one_issuer_are_two_providers() -> None:
    other = dataclasses.replace(PROVIDERS["workload"], name="other", audience="https://b.example")
    both = (PROVIDERS["workload"], other)
    assert (await verify(token("workload"), *both)).provider == "workload"
    assert (await verify(token("workload", aud="https://b.example"), *both)).provider == "other"


async def test_the_key_of_one_issuer_vouches_for_nothing_of_another() -> None:
    internet = published(jwk(RSA))
    internet.publish(jwk(OTHER_RSA, kid="rsa"), issuer="https://other.example")
    other = dataclasses.replace(PROVIDERS["workload"], name="b", issuer="https://other.example")
    both = tokens(PROVIDERS["workload"], other, internet=internet)
    text = token("workload", iss="https://other.example")  # signed with the first one's key
    with pytest.raises(Unauthenticated, match="signature"):
        await both.verify(text, NOW, kinds=KINDS)


# --- what each kind has to say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("people", {"sub": None}, "`sub`"),
        ("people", {"sub": ""}, "`sub`"),
        ("people", {"sub": 7}, "`sub`"),
        ("people", {"sub": "a" * 256}, "`sub`"),
        ("people", {"sub": "an\u00e4"}, "`sub`"),
        ("people", {"nonce": None}, "`aud`|no issuer"),
        ("people", {"nonce": ""}, "`nonce`"),
        ("people", {"nonce": None, "at_hash": "x"}, "`nonce`"),
        ("people", {"aud": ["us", "b"]}, "`azp`"),
        ("people", {"aud": ["us", "b"], "azp": "b"}, "`azp`"),
        ("people", {"azp": "b"}, "`azp`"),
        ("people", {"auth_time": AT + 61}, "`auth_time`"),
        ("people", {"auth_time": "now"}, "`auth_time`"),
        ("people", {"amr": "otp"}, "`amr`"),
        ("people", {"amr": [1]}, "`amr`"),
        ("people", {"acr": 5}, "`acr`"),
        ("people", {"groups": {"a": 1}}, "`groups`"),
        ("spiffe", {"sub": "spiffe://other.example/agent"}, "no issuer"),
        ("spiffe", {"sub": "spiffe://other.example/agent", "iss": ISSUER}, "trust domain"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a/"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a//b"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/../a"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a/."}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a?b=c"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a#b"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a%2fb"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/a\n"}, "SPIFFE ID"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}:443/a"}, "no issuer"),
        ("spiffe", {"sub": f"spiffe://u@{DOMAIN}/a"}, "no issuer"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN.upper()}/a"}, "no issuer"),
        ("spiffe", {"sub": f"SPIFFE://{DOMAIN}/a"}, ""),
        ("spiffe", {"sub": f"spiffe:{DOMAIN}/a"}, "no issuer|trust domain"),
        ("spiffe", {"sub": f"spiffe://{DOMAIN}/" + "a" * 2048}, "`sub`"),
        ("spiffe", {"iss": "https://other.example"}, "no issuer"),
        ("spiffe", {"exp": None}, "expired"),
        ("kubernetes", {"kubernetes.io": None}, "service account"),
        ("kubernetes", {"kubernetes.io": []}, "service account"),
        ("kubernetes", {"kubernetes.io": {"namespace": "shop"}}, "service account"),
        (
            "kubernetes",
            {"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "deployer"}}},
            "`uid`",
        ),
        (
            "kubernetes",
            {"kubernetes.io": {"serviceaccount": {"name": "deployer", "uid": "u"}}},
            "`namespace`",
        ),
        ("kubernetes", {"sub": "system:serviceaccount:shop:root"}, "another service account"),
        ("kubernetes", {"sub": "system:serviceaccount:kube-system:deployer"}, "another service"),
        ("kubernetes", {"sub": None}, "another service account"),
        ("github", {"repository_id": None}, "`repository_id`"),
        ("github", {"repository_owner_id": None}, "`repository_owner_id`"),
        ("github", {"repository_id": 8}, "`repository_id`"),
        ("github", {"repository_id": "8/../9"}, "no numbers"),
        ("github", {"repository_id": "\u0668"}, "no numbers"),
        ("github", {"repository_owner_id": "9\n"}, "no numbers"),
        ("workload", {"sub": None}, "`sub`"),
        ("workload", {"sub": "s" * 256}, "`sub`"),
        ("workload", {"nonce": "n"}, ""),
        ("workload", {"nonce": "n", "events": {}}, "two kinds"),
        ("signals", {"sub": "ana"}, "`sub`"),
        ("signals", {"exp": AT + 60}, "`exp`"),
        ("signals", {"iat": None}, "`iat`"),
        ("signals", {"iat": AT + 61}, "future"),
        ("signals", {"jti": None}, "`jti`"),
        ("signals", {"jti": ""}, "`jti`"),
        ("signals", {"txn": 5}, "`txn`"),
        ("signals", {"events": None}, "`events`"),
        ("signals", {"events": {}}, "exactly one"),
        ("signals", {"events": {EVENT: {}, "urn:b": {}}}, "exactly one"),
        ("signals", {"events": [EVENT]}, "exactly one"),
        ("signals", {"events": {EVENT: "x"}}, "malformed"),
        ("signals", {"events": {"": {}}}, "malformed"),
        ("signals", {"sub_id": None}, "`sub_id`"),
        ("signals", {"sub_id": "ana"}, "`sub_id`"),
        ("signals", {"sub_id": {"sub": "ana"}}, "`format`"),
        ("signals", {"sub_id": {"format": "iss_sub", "iss": ISSUER}}, "`sub`"),
        ("signals", {"sub_id": {"format": "email", "email": ["a@b.example"]}}, "`email`"),
        ("signals", {"sub_id": {"format": "opaque", "id": 1}}, "`id`"),
        ("signals", {"sub_id": {"format": "complex", "user": "ana"}}, "`sub_id`"),
        ("signals", {"sub_id": {"format": "aliases", "identifiers": []}}, "aliases"),
        (
            "signals",
            {"sub_id": {"format": "aliases", "identifiers": [{"format": "email"}]}},
            "`email`",
        ),
        ("signals", {"sub_id": {"format": "x", "n": 1.5}}, "canonical"),
        (
            "signals",
            {"sub_id": {"format": "complex", "user": {"format": "complex", "user": {}}}},
            "`sub_id`",
        ),
    ],
)
async def test_a_token_that_lacks_what_its_kind_has_to_say_is_refused(
    kind: Kind, changes: dict[str, Any], why: str
) -> None:
    await refused(token(kind, **changes), why)


@pytest.mark.parametrize(
    "subject",
    [
        {"format": "email", "email": "ana@corp.example"},
        {"format": "opaque", "id": "grt_01JD3ZB2"},
        {
            "format": "complex",
            "user": {"format": "iss_sub", "iss": ISSUER, "sub": "ana"},
            "session": {"format": "opaque", "id": "s-1"},
        },
        {"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.example"}]},
        {"format": "of-tomorrow", "name": "ana"},
    ],
)
async def test_a_signal_may_be_about_anything_that_can_be_named(subject: dict[str, Any]) -> None:
    found = await verify(token("signals", sub_id=subject))
    assert json.loads(found.subject) == subject


async def test_what_is_known_of_an_authentication_is_kept() -> None:
    said: dict[str, Any] = {
        "amr": ["pwd", "hwk"],
        "acr": "phr",
        "groups": ["sre"],
        "auth_time": AT - 5,
    }
    found = await verify(token("people", **said))
    assert {name: found.claims[name] for name in said} == said


# --- an answer to what was asked -----------------------------------------------------------------

ACCESS_TOKEN = "the-access-token"
AT_HASH = encoded(sha256(ACCESS_TOKEN.encode()).digest()[:16])


@pytest.mark.parametrize(
    ("asked", "changes", "why"),
    [
        ({}, {}, ""),
        ({"nonce": "another"}, {}, "`nonce`"),
        ({"nonce": "n\u00e4"}, {}, "`nonce`"),
        ({"max_age": 100}, {}, ""),
        ({"max_age": 100}, {"auth_time": AT - 160}, ""),
        ({"max_age": 100}, {"auth_time": AT - 161}, "older"),
        ({"max_age": 100}, {"auth_time": None}, "older"),
        ({"max_age": 0}, {"auth_time": AT}, ""),
        ({"acr_values": ("phr", "phrh")}, {"acr": "phr"}, ""),
        ({"acr_values": ("phr",)}, {"acr": "pwd"}, "`acr`"),
        ({"acr_values": ("phr",)}, {}, "`acr`"),
        ({"access_token": ACCESS_TOKEN}, {"at_hash": AT_HASH}, ""),
        ({"access_token": ACCESS_TOKEN}, {}, ""),
        ({"access_token": "another"}, {"at_hash": AT_HASH}, "`at_hash`"),
        ({"access_token": ACCESS_TOKEN}, {"at_hash": 5}, "`at_hash`"),
    ],
)
async def test_an_id_token_answers_what_was_asked_for(
    asked: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    text, question = token("people", **changes), Asked(**{"nonce": NONCE, **asked})
    if why:
        await refused(text, why, asked=question)
    else:
        await verify(text, asked=question)


async def test_nothing_but_an_id_token_answers_a_sign_in() -> None:
    await refused(token("workload"), "answers a sign-in", asked=Asked(nonce=NONCE))


@pytest.mark.parametrize("secret", [NONCE, ACCESS_TOKEN])
def test_what_was_asked_shows_no_secret(secret: str) -> None:
    assert secret not in repr(Asked(nonce=NONCE, access_token=ACCESS_TOKEN))


# --- what attackers send -------------------------------------------------------------------------

SAID = json.dumps(CLAIMS["workload"])
HEADER = b'{"alg":"RS256","kid":"rsa"}'


async def test_the_public_key_is_no_shared_secret() -> None:
    public = (RSA.as_pem(private=False), RSA.as_der(private=False), json.dumps(jwk(RSA)).encode())
    signing = f"{encoded(HEADER.replace(b'RS', b'HS'))}.{encoded(SAID.encode())}"
    for secret in public:
        forged = f"{signing}.{encoded(hmac.digest(secret, signing.encode(), 'sha256'))}"
        await refused(forged, "`alg`")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "dir", "RS1", 5, None])
async def test_a_token_that_nobody_signed_is_nobodys(algorithm: Any) -> None:
    said = json.dumps(CLAIMS["workload"]).encode()
    unsigned = put_together({"alg": algorithm, "kid": "rsa"}, said)
    await refused(unsigned, "`alg`|how it is signed")
    await refused(unsigned.rpartition(".")[0] + ".", "no signed token")


async def test_a_signature_does_not_move_to_other_claims() -> None:
    header, _, signature = token("workload").split(".")
    other = encoded(json.dumps({**CLAIMS["workload"], "sub": "root"}).encode())
    await refused(f"{header}.{other}.{signature}", "signature")


async def test_a_key_that_the_token_brings_along_vouches_for_nothing() -> None:
    brought: dict[str, Any] = {
        "jwk": jwk(OTHER_RSA),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x5u",
        "x5c": ["MIIB"],
    }
    for name, value in brought.items():
        internet = published()
        forged = sign(CLAIMS["workload"], OTHER_RSA, kid="rsa", **{name: value})
        with pytest.raises(Unauthenticated, match="signature"):
            await tokens(internet=internet).verify(forged, NOW, kinds=KINDS)
        assert all(url.startswith(ISSUER) for url in internet.asked)
        # nor is a good token worse for it
        await verify(sign(CLAIMS["workload"], **{name: value}))
        brought_badly: dict[str, Any] = {name: 5}
        await verify(sign(CLAIMS["workload"], **brought_badly))


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"crit": "b64"},
        {"crit": None},
    ],
)
async def test_an_extension_that_has_to_be_understood_is_not(header: dict[str, Any]) -> None:
    said = {"alg": "RS256", "kid": "rsa", **header}
    text = put_together(said, json.dumps(CLAIMS["workload"]).encode())
    await refused(text, "extensions")


@pytest.mark.parametrize("kid", ["", "k" * 256, 5, ["rsa"], {}, True])
async def test_a_name_that_no_key_can_have_is_refused(kid: Any) -> None:
    await refused(sign(CLAIMS["workload"], kid=kid), "`kid`")


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1", "rsa\x00", "RSA", "\u00e4"])
async def test_a_name_of_a_key_is_only_compared(kid: str) -> None:
    await refused(sign(CLAIMS["workload"], kid=kid), "no key of its issuer")


async def test_a_token_of_one_key_type_that_names_a_key_of_another_is_refused() -> None:
    for algorithm, key, named in (
        ("RS256", RSA, "ec"),
        ("PS256", RSA, "ed"),
        ("ES256", EC, "rsa"),
        ("EdDSA", ED, "ec"),
    ):
        await refused(sign(CLAIMS["workload"], key, algorithm, kid=named), "no key of its issuer")


async def test_keys_of_one_name_are_told_apart_by_type_and_then_tried() -> None:
    internet = published(jwk(EC, kid="k"), jwk(OTHER_RSA, kid="k"), jwk(RSA, kid="k"))
    known = tokens(internet=internet)
    for key, algorithm in ((RSA, "RS256"), (OTHER_RSA, "RS256"), (EC, "ES256")):
        text = sign(CLAIMS["workload"], key, algorithm, kid="k")
        await known.verify(text, NOW, kinds=KINDS)
    stranger = ECKey.generate_key("P-256", {"kid": "k"})
    with pytest.raises(Unauthenticated, match="signature"):
        await known.verify(sign(CLAIMS["workload"], stranger, "ES256"), NOW, kinds=KINDS)


async def test_a_token_that_names_no_key_has_the_only_one_that_fits() -> None:
    unnamed = sign(CLAIMS["workload"], kid=None)
    await verify(unnamed)
    two = tokens(internet=published(jwk(RSA), jwk(OTHER_RSA)))
    with pytest.raises(Unauthenticated, match="no key of its issuer"):
        await two.verify(unnamed, NOW, kinds=KINDS)


async def test_a_key_for_one_algorithm_serves_no_other() -> None:
    only = tokens(internet=published(jwk(RSA, alg="PS256")))
    await only.verify(token("workload", algorithm="PS256"), NOW, kinds=KINDS)
    with pytest.raises(Unauthenticated, match="no key of its issuer"):
        await only.verify(token("workload"), NOW, kinds=KINDS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        token("workload") + "=",
        token("workload") + "\n",
        " " + token("workload"),
        token("workload") + ".",
        token("workload").replace(".", ".A", 1),
        "\u0660." * 2 + "x",
        put_together(b'{"alg":"RS256","alg":"none","kid":"rsa"}', SAID.encode()),
        put_together(HEADER, SAID.replace("{", '{"sub":"root",', 1).encode()),
        put_together(HEADER, b"\xef\xbb\xbf" + SAID.encode()),
        put_together(HEADER, SAID.encode("utf-16")),
        put_together(HEADER, b'{"a":' * 17 + b"1" + b"}" * 17),
        put_together(HEADER, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        put_together(HEADER, b'{"a":NaN}'),
        put_together(HEADER, b'{"a":1e999}'),
        put_together(HEADER, b'{"a":' + b"9" * 5000 + b"}"),
        put_together(HEADER, b'{"sub":"\\ud800"}'),
        put_together(HEADER, b"[]"),
        put_together(b"null", SAID.encode()),
        put_together(b'{"alg":"RS256","x":"' + b"x" * 7000 + b'"}', SAID.encode()),
        # the last sextet of this text has bits that mean nothing (RFC 4648 section 3.5)
        f"{encoded(HEADER)}.{encoded(SAID.encode())}.AB",
    ],
)
async def test_what_cannot_be_read_in_one_way_is_no_token(text: str) -> None:
    await refused(text, "no signed token")


async def test_a_token_of_any_length_is_not_read() -> None:
    await refused("a" * (MAX_TOKEN + 1), "longer than")
    await refused(token("workload", filler="x" * MAX_TOKEN), "longer than")


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=300), st.binary(max_size=300).map(encoded)))
def test_any_text_is_refused_and_nothing_worse(text: str) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(verify(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
NAMES = st.sampled_from((
    "alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "x5u",
    "iss", "aud", "sub", "exp", "iat", "nbf", "nonce", "azp", "amr", "at_hash", "auth_time",
    "events", "sub_id", "jti", "kubernetes.io", "repository_id", "repository_owner_id",
))  # fmt: skip
PARTS = st.dictionaries(NAMES, JSON, max_size=6)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), header=PARTS, claims=PARTS, signature=st.binary(max_size=300))
def test_any_crafted_token_is_refused_and_nothing_worse(
    kind: Kind, header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    first = {"alg": "RS256", "kid": "rsa", "typ": TYPES[kind], **header}
    text = put_together(first, json.dumps({**CLAIMS[kind], **claims}).encode(), signature)
    with pytest.raises(Unauthenticated):
        asyncio.run(verify(text))


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), claims=PARTS)
def test_whatever_an_issuer_signs_is_verified_or_refused(
    kind: Kind, claims: dict[str, Any]
) -> None:
    said = {**CLAIMS[kind], **claims}
    try:
        found = asyncio.run(verify(sign(said, typ=TYPES[kind])))
    except Unauthenticated:
        return
    assert found.claims == said
    assert found.expires is None or found.expires + timedelta(seconds=60) > NOW


@pytest.mark.parametrize("key", [RSA, EC, ED])
async def test_any_bit_that_is_turned_breaks_the_signature(key: Any) -> None:
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    known = tokens()
    first, second, third = token("workload", key=key, algorithm=algorithm).split(".")
    signature = decoded(third)
    for at in range(0, len(signature), 7):
        turned = bytearray(signature)
        turned[at] ^= 1
        with pytest.raises(Unauthenticated, match="signature"):
            await known.verify(f"{first}.{second}.{encoded(bytes(turned))}", NOW, kinds=KINDS)
    for broken in (b"\x00", signature[:-1], signature + b"\x00", b"\x00" * len(signature)):
        with pytest.raises(Unauthenticated, match="signature"):
            await known.verify(f"{first}.{second}.{encoded(broken)}", NOW, kinds=KINDS)


# --- keys that move ------------------------------------------------------------------------------


async def test_a_token_of_a_key_just_rotated_in_is_verified() -> None:
    internet, elapsed = published(jwk(RSA)), Elapsed()
    known = Tokens([PROVIDERS["workload"]], KeySets(internet, elapsed))
    before = await known.verify(token("workload"), NOW, kinds=KINDS)
    internet.publish(jwk(RSA), jwk(OTHER_RSA))
    text = token("workload", key=OTHER_RSA)
    with pytest.raises(Unauthenticated, match="no key of its issuer"):
        await known.verify(text, NOW, kinds=KINDS)  # asked a moment ago: not again at once
    elapsed.seconds += PAUSE
    after = await known.verify(text, NOW, kinds=KINDS)
    assert before.keys != after.keys
    await known.verify(token("workload"), NOW, kinds=KINDS)


async def test_without_keys_nothing_is_said_of_a_token() -> None:
    internet = published()
    internet.cut()
    with pytest.raises(Unavailable, match="keys of `workload` cannot be had"):
        await tokens(internet=internet).verify(token("workload"), NOW, kinds=KINDS)


async def test_a_token_of_an_issuer_that_is_not_believed_calls_nobody() -> None:
    internet = published()
    known = tokens(internet=internet)
    for text in (token("workload", iss="https://evil.example"), token("workload", aud="b")):
        with pytest.raises(Unauthenticated):
            await known.verify(text, NOW, kinds=KINDS)
    assert internet.asked == []


async def test_a_time_is_given_back_in_utc() -> None:
    found = await verify(token("workload", iat=AT - 1.5))
    assert found.issued == datetime.fromtimestamp(AT - 1.5, UTC)
