"""Who is asking: a token of 256 random bits, of which only the hash is known."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from muniment.access import records
from muniment.access.registry import Principal, Registry, Session, Token
from muniment.errors import Unauthenticated
from muniment.identity.tokens import authenticate, bearer, new_token, token_hash

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
TOKEN = new_token()


def known(*, active: bool = True, expires: datetime | None = None) -> Registry:
    ana = Principal(
        id="prn_ana",
        type="human",
        person="per_ana",
        active=active,
        groups=frozenset(),
        sponsor=None,
        source="file",
    )
    token = Token(principal="prn_ana", expires=expires)
    return Registry(principals={"prn_ana": ana}, tokens={token_hash(TOKEN): token})


def test_a_token_is_long_random_and_recognisable() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("muniment-") and len(token) > 50 for token in tokens)
    assert token_hash(TOKEN) == sha256(TOKEN.encode()).digest()


def session(expires: datetime) -> Session:
    opened = records.SessionOpened(
        actor=records.SERVICE, principal="prn_ana", person="per_ana", token=token_hash(TOKEN),
        expires=expires, provider="corp", method="oidc", authenticated_at=NOW, amr=("otp",), acr="",
        mfa="mfa", attested=False, keys=None,
    )  # fmt: skip
    return Session(case="ses_ana", head=b"", opened=opened)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_taken_from_its_header(scheme: str) -> None:
    assert bearer(f"{scheme} {TOKEN}") == TOKEN


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer " + "x" * 20_000],
    ids=["no header", "empty", "nothing behind it", "another scheme", "no scheme", "too long"],
)
def test_what_is_no_bearer_token_is_answered_with_how_to_send_one(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="send `Authorization: Bearer"):
        bearer(header)


def test_whoever_bears_a_token_is_its_principal() -> None:
    found = authenticate(known(), TOKEN, NOW)
    assert found is not None
    assert found.principal.id == "prn_ana"
    assert found.session is None


def test_an_unknown_token_of_ours_is_nobodys() -> None:
    with pytest.raises(Unauthenticated, match="unknown, revoked or expired"):
        authenticate(known(), new_token(), NOW)


def test_a_token_that_is_not_ours_may_be_somebody_elses() -> None:
    assert authenticate(known(), "eyJ.eyJ.sig", NOW) is None


@pytest.mark.parametrize(("left", "good"), [(1, True), (0, False), (-1, False)])
def test_a_token_is_good_until_the_moment_it_expires(left: int, good: bool) -> None:
    registry = known(expires=NOW + timedelta(milliseconds=left))
    if good:
        assert authenticate(registry, TOKEN, NOW) is not None
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            authenticate(registry, TOKEN, NOW)


@pytest.mark.parametrize(("left", "good"), [(1, True), (0, False), (-1, False)])
def test_a_session_is_good_until_the_moment_it_expires(left: int, good: bool) -> None:
    registry = known()
    registry.tokens.clear()
    registry.sessions[token_hash(TOKEN)] = session(NOW + timedelta(milliseconds=left))
    if good:
        found = authenticate(registry, TOKEN, NOW)
        assert found is not None
        assert found.session is not None
        assert found.session.sign_in.mfa == "mfa"
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            authenticate(registry, TOKEN, NOW)


def test_the_token_of_a_disabled_principal_is_worth_nothing() -> None:
    with pytest.raises(Unauthenticated, match="disabled"):
        authenticate(known(active=False), TOKEN, NOW)
