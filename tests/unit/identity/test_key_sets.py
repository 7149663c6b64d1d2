"""The public keys of others: what is believed of a key set, how often it is fetched, how long kept."""

import asyncio
import dataclasses
import json
from hashlib import sha256
from typing import Any

import pytest
from issuers import EC, ED, ISSUER, OTHER_RSA, PROVIDERS, RSA, Elapsed, Internet, jwk, key_set

from muniment.errors import AddressRefused, Unavailable
from muniment.evidence.canonical import decode
from muniment.identity.keys import GRACE, MAX_AGE, MAX_BYTES, MAX_KEYS, PAUSE, KeySets, read_key_set
from muniment.identity.providers import Provider

WORKLOAD = PROVIDERS["workload"]
JWKS = f"{ISSUER}/jwks"
WEAK_RSA: dict[str, Any] = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": "w" * 171}  # 1024 bits


@pytest.fixture
def internet() -> Internet:
    there = Internet()
    there.publish(jwk(RSA))
    return there


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


@pytest.fixture
def keys(internet: Internet, elapsed: Elapsed) -> KeySets:
    return KeySets(internet, elapsed)


def kids(provider: Provider, *listed: Any) -> list[str]:
    return sorted(str(key.kid) for key in read_key_set(provider, key_set(*listed)).keys)


# --- what is believed of a key set ---------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        WEAK_RSA,
        {**jwk(RSA), "n": "w" * 1500},  # more bits than anybody needs
        RSA.as_dict(private=True),
        EC.as_dict(private=True),
        ED.as_dict(private=True),
        {**jwk(RSA), "d": "AQAB"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},
        {**jwk(RSA), "k": "c2VjcmV0"},
        jwk(RSA, use="enc"),
        jwk(RSA, use=["sig"]),
        jwk(RSA, use="jwt-svid"),
        jwk(RSA, key_ops=["encrypt"]),
        jwk(RSA, key_ops="verify"),
        jwk(RSA, alg="RSA-OAEP"),
        jwk(RSA, alg="HS256"),
        jwk(RSA, alg=["RS256"]),
        jwk(RSA, alg="RS512"),  # not among those that the provider is believed with
        jwk(RSA, kid=""),
        jwk(RSA, kid="k" * 256),
        jwk(RSA, kid=7),
        jwk(RSA, n=None),
        jwk(RSA, n=5),
        jwk(RSA, e="AA"),
        jwk(EC, crv="P-521"),
        jwk(EC, y=jwk(EC)["x"]),  # not on the curve
        jwk(EC, crv="secp256k1"),
        jwk(ED, crv="X25519"),
        jwk(ED, x="AQ"),
        jwk(RSA, kty="EC"),
        {"kty": ["RSA"]},
        {"kty": "AKP"},
        {},
        "key",
        None,
    ],
)
def test_a_key_that_should_not_verify_is_left_out_and_the_others_stay(bad: Any) -> None:
    assert kids(WORKLOAD, bad, jwk(OTHER_RSA, kid="good")) == ["good"]


def test_keys_of_every_type_are_read() -> None:
    assert kids(WORKLOAD, jwk(RSA), jwk(EC), jwk(ED)) == ["ec", "ed", "rsa"]
    assert kids(WORKLOAD, jwk(RSA, use="sig", alg="PS256", key_ops=["verify"])) == ["rsa"]


def test_a_bundle_of_spiffe_marks_the_keys_of_its_tokens() -> None:
    spiffe = PROVIDERS["spiffe"]
    assert kids(spiffe, jwk(RSA), jwk(EC, use="jwt-svid"), jwk(OTHER_RSA, use="x509-svid")) == [
        "ec"
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'"keys"',
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b'{"keys":[{}' + b",{}" * MAX_KEYS + b"]}",
        b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"keys":[],"x":NaN}',
        b'{"keys":[],"x":1e999}',
    ],
)
def test_what_is_no_key_set_is_no_answer(body: bytes) -> None:
    with pytest.raises(Unavailable, match="key set"):
        read_key_set(WORKLOAD, body)


def test_what_was_seen_is_exactly_the_usable_public_keys_in_one_form() -> None:
    private = RSA.as_dict(private=True, kid="leaked")
    listed = [jwk(RSA, use="sig", x5c=["MII"], note="for tests"), jwk(EC), private, WEAK_RSA]
    seen = read_key_set(WORKLOAD, key_set(*listed)).seen
    assert seen == read_key_set(WORKLOAD, key_set(*reversed(listed), jwk(EC))).seen
    assert seen.digest == sha256(seen.document).digest()
    assert decode(seen.document) == json.loads(seen.document)
    by_kid = {each["kid"]: each for each in json.loads(seen.document)["keys"]}
    assert by_kid == {"rsa": jwk(RSA, use="sig"), "ec": jwk(EC)}


# --- how often it is fetched ---------------------------------------------------------------------


async def test_keys_are_fetched_once_and_kept(internet: Internet, keys: KeySets) -> None:
    first = await keys.find(WORKLOAD, "rsa")
    assert await keys.find(WORKLOAD, "rsa") is first
    assert await keys.key_set(WORKLOAD) is first.seen
    assert internet.asked == [WORKLOAD.metadata_url, JWKS]


async def test_an_unknown_name_fetches_at_most_once_in_ten_seconds(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    await keys.find(WORKLOAD, "rsa")
    for guess in range(50):
        await keys.find(WORKLOAD, f"guess-{guess}")
    assert internet.asked.count(JWKS) == 1
    elapsed.seconds += PAUSE
    for guess in range(50):
        await keys.find(WORKLOAD, f"guess-{guess}")
    assert internet.asked.count(JWKS) == 2


async def test_a_key_that_was_rotated_in_is_found_by_its_name(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    await keys.find(WORKLOAD, "rsa")
    internet.publish(jwk(OTHER_RSA))
    elapsed.seconds += PAUSE
    found = await keys.find(WORKLOAD, "other")
    assert [key.kid for key in found.keys] == ["other"]


async def test_callers_at_the_same_time_share_one_fetch(internet: Internet, keys: KeySets) -> None:
    internet.gate.clear()
    callers = [asyncio.create_task(keys.find(WORKLOAD, "rsa")) for _ in range(20)]
    await internet.called.wait()
    callers[0].cancel()  # who asked first goes away: the others get their answer all the same
    internet.gate.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert len({id(each) for each in found[1:]}) == 1
    assert internet.asked == [WORKLOAD.metadata_url, JWKS]


async def test_the_rotation_of_one_provider_does_not_hold_up_another(
    internet: Internet, keys: KeySets
) -> None:
    github = PROVIDERS["github"]
    await keys.find(WORKLOAD, "rsa")
    assert (await keys.find(github, "rsa")).keys
    assert internet.asked.count(JWKS) == 2


# --- how long it is kept -------------------------------------------------------------------------


async def test_keys_are_fetched_anew_after_an_hour_so_that_withdrawn_ones_go(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    await keys.find(WORKLOAD, "rsa")
    internet.publish(jwk(OTHER_RSA))
    elapsed.seconds += MAX_AGE
    assert (await keys.find(WORKLOAD, "rsa")).knows("rsa")
    elapsed.seconds += 1
    assert not (await keys.find(WORKLOAD, "rsa")).knows("rsa")


async def test_an_issuer_that_is_down_is_believed_for_a_day_and_then_no_more(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    known = await keys.find(WORKLOAD, "rsa")
    internet.cut()
    elapsed.seconds += GRACE
    assert await keys.find(WORKLOAD, "rsa") is known
    elapsed.seconds += 1
    with pytest.raises(Unavailable, match="keys of `workload` cannot be had: the line is cut"):
        await keys.find(WORKLOAD, "rsa")
    internet.publish(jwk(RSA))
    elapsed.seconds += PAUSE
    assert (await keys.find(WORKLOAD, "rsa")).knows("rsa")


async def test_an_unknown_name_is_not_judged_while_the_issuer_is_down(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    await keys.find(WORKLOAD, "rsa")
    internet.cut()
    elapsed.seconds += PAUSE
    with pytest.raises(Unavailable, match="the line is cut"):
        await keys.find(WORKLOAD, "new")
    assert (await keys.find(WORKLOAD, "rsa")).knows("rsa")
    internet.publish(jwk(RSA))
    elapsed.seconds += PAUSE
    assert not (await keys.find(WORKLOAD, "new")).knows("new")


async def test_an_issuer_that_never_answered_is_not_asked_again_at_once(
    internet: Internet, keys: KeySets, elapsed: Elapsed
) -> None:
    internet.cut()
    for _ in range(3):
        with pytest.raises(Unavailable, match="the line is cut"):
            await keys.find(WORKLOAD, "rsa")
    assert len(internet.asked) == 1
    elapsed.seconds += PAUSE
    with pytest.raises(Unavailable):
        await keys.find(WORKLOAD, "rsa")
    assert len(internet.asked) == 2


# --- where it is fetched -------------------------------------------------------------------------


async def refused(internet: Internet, provider: Provider, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        await KeySets(internet, Elapsed()).find(provider, "rsa")


@pytest.mark.parametrize("issuer", ["https://other.example", f"{ISSUER}/", ISSUER.upper(), None, 5])
async def test_metadata_of_another_issuer_is_not_believed(internet: Internet, issuer: Any) -> None:
    internet.put(WORKLOAD.metadata_url, {"issuer": issuer, "jwks_uri": JWKS})
    await refused(internet, WORKLOAD, "names another issuer")
    assert JWKS not in internet.asked


@pytest.mark.parametrize(
    "uri",
    [
        None,
        5,
        "",
        "jwks",
        "http://issuer.example/jwks",
        "file:///etc/passwd",
        "https://user@issuer.example/jwks",
        "http://127.0.0.1/jwks",
        "http://169.254.169.254/latest/meta-data",
    ],
)
async def test_metadata_leads_to_no_address_but_https(internet: Internet, uri: Any) -> None:
    internet.put(WORKLOAD.metadata_url, {"issuer": ISSUER, "jwks_uri": uri})
    await refused(internet, WORKLOAD, "no `https` address")
    assert internet.asked == [WORKLOAD.metadata_url]


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "127.0.0.1:8443"])
async def test_metadata_does_not_lead_into_our_own_network(internet: Internet, host: str) -> None:
    internet.put(WORKLOAD.metadata_url, {"issuer": ISSUER, "jwks_uri": f"https://{host}/jwks"})
    with pytest.raises(AddressRefused):
        await internet.check(f"https://{host}/jwks")
    await refused(internet, WORKLOAD, "an address that is not called")


@pytest.mark.parametrize("status", [204, 301, 302, 404, 500])
async def test_what_is_not_answered_with_200_is_no_answer(internet: Internet, status: int) -> None:
    internet.put(JWKS, key_set(jwk(RSA)), status=status)
    await refused(internet, WORKLOAD, f"status {status}")


async def test_a_key_set_of_any_size_is_not_read(internet: Internet) -> None:
    internet.put(JWKS, b'{"keys":[]}' + b" " * MAX_BYTES)
    await refused(internet, WORKLOAD, f"more than {MAX_BYTES} bytes")


async def test_keys_at_a_given_address_need_no_metadata(internet: Internet) -> None:
    keys = KeySets(internet, Elapsed())
    assert (await keys.find(PROVIDERS["spiffe"], "rsa")).knows("rsa")
    assert internet.asked == [f"{ISSUER}/bundle"]


async def test_people_sign_in_by_the_metadata_even_if_the_keys_stand_elsewhere(
    internet: Internet,
) -> None:
    elsewhere = dataclasses.replace(PROVIDERS["people"], jwks_uri=f"{ISSUER}/elsewhere")
    internet.put(f"{ISSUER}/elsewhere", key_set(jwk(EC)))
    keys = KeySets(internet, Elapsed())
    assert (await keys.metadata(elsewhere))["issuer"] == ISSUER
    assert (await keys.find(elsewhere)).knows("ec")
    assert internet.asked == [elsewhere.metadata_url, f"{ISSUER}/elsewhere"]
