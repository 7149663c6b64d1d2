"""Who is asking: a token of 256 random bits, of which only the hash is known."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from muniment.access.registry import Principal, Registry, Token
from muniment.errors import Unauthenticated
from muniment.identity.tokens import authenticate, new_token, token_hash

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
        attested=False,
    )
    token = Token(principal="prn_ana", expires=expires)
    return Registry(principals={"prn_ana": ana}, tokens={token_hash(TOKEN): token})


def test_a_token_is_long_random_and_recognisable() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("muniment-") and len(token) > 50 for token in tokens)
    assert token_hash(TOKEN) == sha256(TOKEN.encode()).digest()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_whoever_bears_a_token_is_its_principal(scheme: str) -> None:
    assert authenticate(known(), f"{scheme} {TOKEN}", NOW).id == "prn_ana"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer something-else", f"Bearer x{TOKEN}"],
)
def test_what_is_no_token_of_ours_is_answered_with_how_to_send_one(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="send `Authorization: Bearer"):
        authenticate(known(), header, NOW)


def test_an_unknown_token_is_nobodys() -> None:
    with pytest.raises(Unauthenticated, match="unknown, revoked or expired"):
        authenticate(known(), f"Bearer {new_token()}", NOW)


@pytest.mark.parametrize(("left", "good"), [(1, True), (0, False), (-1, False)])
def test_a_token_is_good_until_the_moment_it_expires(left: int, good: bool) -> None:
    registry = known(expires=NOW + timedelta(milliseconds=left))
    if good:
        assert authenticate(registry, f"Bearer {TOKEN}", NOW).id == "prn_ana"
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            authenticate(registry, f"Bearer {TOKEN}", NOW)


def test_the_token_of_a_disabled_principal_is_worth_nothing() -> None:
    with pytest.raises(Unauthenticated, match="disabled"):
        authenticate(known(active=False), f"Bearer {TOKEN}", NOW)
