"""From somebody else's token to a session: who it is, recorded once, and whom it is refused."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from delegations import Acting
from vouching import FOREIGN, ISSUER, US, believe, sign

from muniment.access import records
from muniment.access.registry import Session
from muniment.errors import Conflict, TooMany, Unauthenticated
from muniment.identity.tokens import token_hash
from muniment.operations import delegation, sign_in
from muniment.operations.providers import ProviderRules, claim
from muniment.operations.service import Caller
from muniment.operations.sign_in import SignedIn
from muniment.ports import SeenKeys, VerifiedToken
from muniment.testing.scenario import Scenario

PLATFORM = ProviderRules(name="platform", kind="workload", issuer=ISSUER, audience=US)
PEOPLE = ProviderRules(
    name="idp",
    kind="people",
    issuer=ISSUER,
    enrol=True,
    groups="claim",
    mfa=frozenset({"otp", "hwk"}),
    phishing_resistant=frozenset({"hwk"}),
)


def known_as(subject: str, **claims: str) -> dict[str, Any]:
    """How a program is known to its platform."""
    identity = {"issuer": ISSUER, "kind": "workload", "claims": {"sub": subject, **claims}}
    return {"identities": [identity]}


def token(scenario: Scenario, subject: str, **claims: Any) -> str:
    at = int(scenario.clock.wall.timestamp())
    said = {"iss": ISSUER, "aud": US, "iat": at, "exp": at + 300, "sub": subject, **claims}
    key = said.pop("key", None)
    return sign(said) if key is None else sign(said, key=key)


@pytest.fixture
async def platform(scenario: Scenario) -> Scenario:
    await scenario.change("ci", identity=known_as("build"))
    await scenario.change("robo", identity=known_as("robo-7"))
    believe(scenario, PLATFORM)
    return scenario


async def shown(scenario: Scenario, text: str) -> Session:
    return await sign_in.by_platform_token(scenario.service, text)


async def test_nobody_fills_the_log_with_sessions(platform: Scenario) -> None:
    platform.service.limits = platform.limits = type(platform.limits)(asks_per_minute=2)
    for number in range(2):
        await shown(platform, token(platform, "build", jti=str(number)))
    size = platform.service.log.size
    with pytest.raises(TooMany, match="at most 2 sign-ins a minute"):
        await shown(platform, token(platform, "build", jti="3"))
    assert platform.service.log.size == size
    await shown(platform, token(platform, "robo-7"))  # others are not concerned
    await platform.advance(timedelta(minutes=1))
    await shown(platform, token(platform, "build", jti="4"))


# --- workloads and agents -----------------------------------------------------------------------


async def test_a_platforms_token_is_the_program_that_it_was_enrolled_as(
    platform: Scenario,
) -> None:
    session = await shown(platform, token(platform, "build"))
    opened = session.opened
    assert (opened.principal, opened.method) == (platform.ids["ci"], "workload")
    assert opened.attested
    assert opened.mfa == ""
    assert opened.expires == platform.service.now() + timedelta(seconds=300)
    [entry] = platform.service.log.read_case(session.case)
    assert entry.header.documents == (opened.keys,), "the keys, as they were seen"
    sealed = platform.service.section(entry, "claims")
    assert sealed is not None
    assert sealed["claims"]["sub"] == "build"


async def test_a_token_that_is_shown_again_opens_no_second_session(platform: Scenario) -> None:
    text = token(platform, "build")
    first = await shown(platform, text)
    size = platform.service.log.size
    assert (await shown(platform, text)).case == first.case
    assert platform.service.log.size == size


async def test_many_at_once_are_recorded_once(platform: Scenario) -> None:
    text = token(platform, "build")
    sessions = await asyncio.gather(*(shown(platform, text) for _ in range(8)))
    assert len({session.case for session in sessions}) == 1


async def test_a_good_token_of_nobody_enrolled_is_refused_and_not_recorded(
    platform: Scenario,
) -> None:
    size = platform.service.log.size
    with pytest.raises(Unauthenticated, match="no workload or agent is"):
        await shown(platform, token(platform, "somebody"))
    assert platform.service.log.size == size


async def test_a_forged_token_is_refused(platform: Scenario) -> None:
    with pytest.raises(Unauthenticated, match="signature"):
        await shown(platform, token(platform, "build", key=FOREIGN))


async def test_a_token_that_fits_two_programs_is_nobodys(platform: Scenario) -> None:
    await platform.change("robo", identity=known_as("build"))
    with pytest.raises(Unauthenticated, match="more than one"):
        await shown(platform, token(platform, "build"))


async def test_every_claim_of_an_identity_has_to_be_there(platform: Scenario) -> None:
    await platform.change("ci", identity=known_as("build", env="prod"))
    with pytest.raises(Unauthenticated):
        await shown(platform, token(platform, "build"))
    await shown(platform, token(platform, "build", env="prod"))


async def test_a_disabled_program_is_refused(platform: Scenario) -> None:
    await platform.change("ci", active=False)
    with pytest.raises(Unauthenticated):
        await shown(platform, token(platform, "build"))


async def test_a_closed_session_is_not_opened_again_by_the_same_token(
    platform: Scenario,
) -> None:
    text = token(platform, "build")
    session = await shown(platform, text)
    await sign_in.close_sessions(platform.service, [session], "revoked", records.SERVICE)
    with pytest.raises(Unauthenticated, match="was closed"):
        await shown(platform, text)
    await platform.restart()
    believe(platform, PLATFORM)
    with pytest.raises(Unauthenticated, match="was closed"):
        await shown(platform, text)


async def test_a_closed_session_is_not_opened_again_by_the_tokens_other_text(
    platform: Scenario,
) -> None:
    """Of an ECDSA signature (r, s) anybody can make (r, n - s), which holds as well."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    text = token(platform, "build")
    signed, _, signature = text.rpartition(".")
    pair = urlsafe_b64decode(signature + "==")
    other = pair[:32] + (order - int.from_bytes(pair[32:])).to_bytes(32)
    twin = f"{signed}.{urlsafe_b64encode(other).rstrip(b'=').decode()}"
    session = await shown(platform, text)
    with pytest.raises(Unauthenticated, match="another form"):
        await shown(platform, twin)
    await sign_in.close_sessions(platform.service, [session], "revoked", records.SERVICE)
    with pytest.raises(Unauthenticated, match="another form"):
        await shown(platform, twin)


async def test_without_providers_no_token_of_others_is_believed(scenario: Scenario) -> None:
    with pytest.raises(Unauthenticated):
        await shown(scenario, token(scenario, "build"))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sub", "a"),
        ("kubernetes.io.pod.uid", "u"),
        ("number", "7"),
        ("kubernetes.io", None),
        ("missing", None),
        ("list", None),
        ("flag", "True"),
    ],
)
def test_a_claim_is_found_by_its_path(path: str, found: str | None) -> None:
    claims = {
        "sub": "a",
        "number": 7,
        "flag": True,
        "list": ["x"],
        "kubernetes.io": {"pod": {"uid": "u"}},
    }
    assert claim(claims, path) == found


# --- acting for somebody, as an identity provider says it (RFC 8693 section 4.1) ----------------


@pytest.fixture
async def sponsored(platform: Scenario) -> Scenario:
    known = {"accounts": [{"issuer": ISSUER, "subject": "sub-ana"}], "mail": "", "name": ""}
    await platform.change("ana", identity=known)
    return platform


async def test_a_token_with_an_actor_is_the_agents_and_names_its_sponsor(
    sponsored: Scenario,
) -> None:
    act = {"sub": "robo-7", "act": {"sub": "an-earlier-one"}}
    session = await shown(sponsored, token(sponsored, "sub-ana", act=act))
    assert session.opened.principal == sponsored.ids["robo"]
    assert session.opened.delegation is not None
    assert session.opened.delegation.chain == (sponsored.ids["ana"], sponsored.ids["robo"])
    assert not delegation.broken(sponsored.service, session)
    await sponsored.change("ana", active=False)
    assert delegation.broken(sponsored.service, session) == "principal-disabled"


@pytest.mark.parametrize(
    ("subject", "act"),
    [
        ("sub-dan", {"sub": "robo-7"}),
        ("build", {"sub": "robo-7"}),
        ("sub-ana", {"sub": "build"}),
        ("sub-ana", {"sub": "nobody"}),
        ("sub-ana", {"sub": "robo-7", "iss": "https://other.example"}),
        ("sub-ana", {"sub": "robo-7", "act": "not a chain"}),
        ("sub-ana", {"sub": "x", "act": {"sub": "robo-7"}}),
        ("sub-ana", {"act": {"act": {"act": {"act": {}}}}}),
        ("sub-ana", "robo-7"),
        ("build", {}),
    ],
)
async def test_an_actor_that_does_not_hold_is_refused(
    sponsored: Scenario, subject: str, act: Any
) -> None:
    with pytest.raises(Unauthenticated):
        await shown(sponsored, token(sponsored, subject, act=act))


async def test_an_agent_of_somebody_else_does_not_act_for_this_person(
    sponsored: Scenario,
) -> None:
    await sponsored.change("robo", sponsor="dan")
    with pytest.raises(Unauthenticated, match="sponsor"):
        await shown(sponsored, token(sponsored, "sub-ana", act={"sub": "robo-7"}))


async def test_a_browsers_session_does_not_outlive_the_token_that_it_was_opened_by(
    scenario: Scenario,
) -> None:
    acting = Acting(scenario)
    await acting.enrol("ana")
    hash_, soon = token_hash(acting.tokens["ana"]), scenario.service.now() + timedelta(minutes=5)
    scenario.tokens[hash_] = replace(scenario.tokens[hash_], expires=soon)
    await scenario.take_in()
    assert (await acting.sign_in("ana")).opened.expires == soon


# --- people -------------------------------------------------------------------------------------


class Keys:
    document = b'{"keys":[]}'
    digest = bytes.fromhex("0fdfd0fb9bbb4d1a36b8d3b0de05d1e2f5b0ad9bbd4a0b5db5a0b2b2b8a2f0a1")


class Vouched:
    """What a provider of people said, as if its token had been verified."""

    def __init__(self, subject: str, claims: Mapping[str, Any]) -> None:
        self.provider, self.kind, self.issuer = "idp", "people", ISSUER
        self.subject, self.claims = subject, {"sub": subject, **claims}
        self.expires = None
        self.token_hash = b""
        self.twin_hash = None
        self.keys: SeenKeys = Keys()


async def vouch(scenario: Scenario, subject: str = "s-1", **claims: Any) -> SignedIn:
    verified: VerifiedToken = Vouched(subject, claims)
    signed_in = await sign_in.by_person(scenario.service, verified)
    scenario.ids.update(scenario.service.names)
    return signed_in


@pytest.fixture
async def people(scenario: Scenario) -> Scenario:
    believe(scenario)
    scenario.service.providers.rules = {"idp": PEOPLE}
    return scenario


async def test_whoever_signs_in_first_is_enrolled_with_the_groups_of_the_claim(
    people: Scenario,
) -> None:
    signed_in = await vouch(
        people, preferred_username="Eve@example.com", groups=["engineering", "no such\nname"]
    )
    principal = people.service.registry.principals[signed_in.session.opened.principal]
    assert (principal.type, principal.source) == ("human", "sign-in:idp")
    assert principal.groups == {"engineering"}
    assert people.ids["eve"] == principal.id


async def test_a_login_that_is_taken_is_given_to_nobody_else(people: Scenario) -> None:
    signed_in = await vouch(people, preferred_username="ana", groups=[])
    assert signed_in.session.opened.principal != people.ids["ana"]


async def test_signing_in_again_changes_nothing_while_the_groups_are_the_same(
    people: Scenario,
) -> None:
    first = await vouch(people, groups=["engineering"])
    again = await vouch(people, groups=["engineering"])
    case = people.service.log.read_case(first.session.opened.principal)
    assert len(case) == 1
    assert again.session.opened.principal == first.session.opened.principal


async def test_other_groups_enrol_anew_and_end_what_they_no_longer_give(
    people: Scenario,
) -> None:
    first = await vouch(people, preferred_username="eve", groups=["engineering"])
    picked = await people.granted("eve", "orders-staging/readwrite")
    await vouch(people, preferred_username="eve", groups=["marketing"])
    await people.work()
    assert len(people.service.log.read_case(first.session.opened.principal)) == 2
    assert people.last(picked, records.GrantRevoked).reason == "no-longer-allowed"


async def test_a_person_of_the_files_keeps_the_files_groups(people: Scenario) -> None:
    known = {"accounts": [{"issuer": ISSUER, "subject": "s-ana"}], "mail": "", "name": ""}
    await people.change("ana", identity=known)
    await vouch(people, "s-ana", groups=["sre-leads"])
    assert people.service.registry.principals[people.ids["ana"]].groups == {"engineering"}


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": "engineering"},
        {"groups": ["g"] * 201},
        {"groups": [], "_claim_names": {"groups": "src1"}},
    ],
)
async def test_groups_that_are_not_all_there_are_no_groups(
    people: Scenario, claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await vouch(people, **claims)


async def test_somebody_unknown_is_refused_where_nobody_is_enrolled_by_signing_in(
    people: Scenario,
) -> None:
    people.service.providers.rules = {"idp": replace(PEOPLE, enrol=False)}
    with pytest.raises(Unauthenticated, match="nobody enrolled you"):
        await vouch(people, groups=[])


async def test_somebody_disabled_is_refused(people: Scenario) -> None:
    known = {"accounts": [{"issuer": ISSUER, "subject": "s-ana"}], "mail": "", "name": ""}
    await people.change("ana", identity=known, active=False)
    with pytest.raises(Unauthenticated, match="disabled"):
        await vouch(people, "s-ana", groups=[])


@pytest.mark.parametrize(
    ("amr", "factor"),
    [
        (["pwd"], ""),
        (["pwd", "otp"], "mfa"),
        (["hwk"], "phishing-resistant"),
        ("otp", ""),
        ([7], ""),
    ],
)
async def test_the_second_factor_is_what_the_operator_takes_for_one(
    people: Scenario, amr: Any, factor: str
) -> None:
    at = int(people.service.now().timestamp())
    opened = (await vouch(people, groups=[], amr=amr, auth_time=at)).session.opened
    assert opened.mfa == factor


async def test_a_factor_of_which_nobody_says_when_it_was_shown_is_none(people: Scenario) -> None:
    assert (await vouch(people, groups=[], amr=["hwk"])).session.opened.mfa == ""


async def test_when_somebody_authenticated_is_never_later_than_now(people: Scenario) -> None:
    now = people.service.now()
    ago = await vouch(people, groups=[], auth_time=int(now.timestamp()) - 600)
    assert ago.session.opened.authenticated_at == now - timedelta(minutes=10)
    # a NumericDate may have a fraction (RFC 7519 section 2)
    broken = await vouch(people, groups=[], auth_time=now.timestamp() - 599.5)
    assert broken.session.opened.authenticated_at == now - timedelta(minutes=10)
    ahead = await vouch(people, groups=[], auth_time=int(now.timestamp()) + 600)
    assert ahead.session.opened.authenticated_at == now


async def test_two_at_once_enrol_one_person(people: Scenario) -> None:
    both = await asyncio.gather(vouch(people, groups=[]), vouch(people, groups=[]))
    assert len({each.session.opened.principal for each in both}) == 1


async def test_signing_out_closes_ones_own_session_only(people: Scenario) -> None:
    first, second = await vouch(people, groups=[]), await vouch(people, "s-2", groups=[])
    principal = people.service.registry.principals[first.session.opened.principal]
    caller = Caller(principal=principal, assurance="session", session=first.session)
    await sign_in.sign_out(people.service, caller)
    assert [each.case for each in people.service.registry.sessions.values()] == [
        second.session.case
    ]
    with pytest.raises(Conflict):
        await sign_in.sign_out(people.service, people.caller("ana"))
