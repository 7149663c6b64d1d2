"""A target that is as the log says shows nothing; one change to it shows exactly itself."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.oversight.difference import KINDS, RULES, WHATS, Difference, facts, rule_of
from muniment.oversight.drift import SETTLING, Expected, Held, Stood, compare, remember
from muniment.oversight.inventory import Account, Gives, Inventory, Privilege, Session

NOW = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
TARGET = "postgresql:7411:1"
GIVES = Gives(member_of=frozenset({"app_rw"}))


def grant_id(number: int) -> str:
    return f"mun_{number:026d}".translate(str.maketrans("0189", "abcd"))


def held(number: int = 0, **changes: object) -> Held:
    grant = Held(
        case=grant_id(number),
        role="readwrite",
        persons=("per_ana",),
        state="live",
        until=NOW + HOUR,
        target=TARGET,
        gives=GIVES,
    )
    return replace(grant, **changes)  # type: ignore[arg-type] # what a test changes, it knows


def account_of(grant: Held) -> Account:
    return Account(
        name=grant.case,
        grant=grant.case,
        can_login=True,
        is_superuser=False,
        member_of=("app_rw",),
        expires=grant.until,
    )


def other(name: str, **changes: object) -> Account:
    account = Account(name=name, grant="", can_login=True, is_superuser=False)
    return replace(account, **changes)  # type: ignore[arg-type] # what a test changes, it knows


def session(account: str, *, grant: str = "", id: str = "a.1") -> Session:
    started = NOW - HOUR
    return Session(account=account, grant=grant, started=started, client="local", id=id)


GRANT = held()
SEEN = Inventory(
    target=TARGET,
    accounts=(
        account_of(GRANT),
        other("app_rw", can_login=False, member_of=("app_all",)),
        other("app_all", can_login=False),
        other("muniment_connector", attributes=("createrole",)),
        other("sealed"),
        other("orders_app", member_of=("app_rw",)),
        other("batch", can_login=False),
    ),
    sessions=(
        session(GRANT.case, grant=GRANT.case),
        session("muniment_connector"),
        session("orders_app"),
    ),
    own=("muniment_connector",),
)
FIRST = Expected(
    resource="orders-prod",
    grants={GRANT.case: GRANT},
    roles=frozenset({"app_rw"}),
    emergency="sealed",
    first=True,
)
BEFORE = remember(SEEN, FIRST, NOW - HOUR)
#: the log, after somebody has explained the one account that stood there
KNOWN = frozenset(each.key for each in compare(SEEN, FIRST, NOW - HOUR))
EXPECTED = replace(FIRST, first=False, before=BEFORE, is_known=lambda each: each.key in KNOWN)


def whats(found: list[Difference]) -> list[tuple[str, str]]:
    return [(each.kind, each.what) for each in found]


def with_account(seen: Inventory, name: str, **changes: object) -> Inventory:
    accounts = tuple(
        replace(each, **changes) if each.name == name else each  # type: ignore[arg-type] # as above
        for each in seen.accounts
    )
    return replace(seen, accounts=accounts)


def without_account(seen: Inventory, name: str) -> Inventory:
    return replace(seen, accounts=tuple(each for each in seen.accounts if each.name != name))


def adding(account: Account) -> Callable[[Inventory], Inventory]:
    return lambda seen: replace(seen, accounts=(*seen.accounts, account))


def opening(new: Session) -> Callable[[Inventory], Inventory]:
    return lambda seen: replace(seen, sessions=(*seen.sessions, new))


def test_a_target_that_is_as_the_log_says_shows_nothing() -> None:
    assert compare(SEEN, EXPECTED, NOW) == []


#: what somebody does at the target, and what it is called
CHANGES: dict[str, tuple[Callable[[Inventory], Inventory], str, str]] = {
    "a new account": (adding(other("backdoor")), "account-without-grant", "out-of-band"),
    "a new superuser": (
        adding(other("backdoor", is_superuser=True)), "privileged-account", "out-of-band",
    ),
    "a new account that makes others": (
        adding(other("backdoor", attributes=("createrole",))), "privileged-account", "out-of-band",
    ),
    "a role that lets somebody in": (
        lambda seen: with_account(seen, "app_all", can_login=True),
        "account-without-grant", "out-of-band",
    ),
    "an account of our form that was never issued": (
        adding(other(grant_id(9), grant=grant_id(9))), "account-without-grant", "unknown-grant",
    ),
    "a grant's account dropped by hand": (
        lambda seen: without_account(seen, GRANT.case), "grant-without-access", "gone",
    ),
    "a grant's account blocked by hand": (
        lambda seen: with_account(seen, GRANT.case, can_login=False),
        "grant-without-access", "blocked",
    ),
    "a grant's account expired by hand": (
        lambda seen: with_account(seen, GRANT.case, expires=NOW - HOUR),
        "grant-without-access", "blocked",
    ),
    "a grant's account without its role": (
        lambda seen: with_account(seen, GRANT.case, member_of=()), "grant-without-access", "less",
    ),
    "another target behind the same name": (
        lambda seen: replace(seen, target="postgresql:7411:2"),
        "grant-without-access", "other-target",
    ),
    "a grant's account in one more role": (
        lambda seen: with_account(seen, GRANT.case, member_of=("app_rw", "payroll")),
        "privilege-beyond-role", "membership",
    ),
    "a grant's account as superuser": (
        lambda seen: with_account(seen, GRANT.case, is_superuser=True),
        "privilege-beyond-role", "powers",
    ),
    "a grant's account that never expires": (
        lambda seen: with_account(seen, GRANT.case, expires=None),
        "privilege-beyond-role", "window",
    ),
    "a privilege for a grant's account": (
        lambda seen: replace(
            seen,
            privileges=(
                Privilege(account=GRANT.case, object="db/public.pay", privilege="SELECT"),
            ),
        ),
        "privilege-beyond-role", "privilege",
    ),
    "more for an account that somebody answers for": (
        lambda seen: with_account(seen, "orders_app", is_superuser=True, member_of=("app_rw",)),
        "privilege-beyond-role", "gained",
    ),
    "more for a role that grants are made of": (
        lambda seen: with_account(seen, "app_all", member_of=("payroll",)),
        "privilege-beyond-role", "gained",
    ),
    "a session of the sealed account": (
        opening(session("sealed")), "session-without-grant", "emergency",
    ),
    "a session whose account is gone": (
        opening(session("dropped role 99")), "session-without-grant", "no-account",
    ),
    "a session whose account is blocked": (
        opening(session("batch")), "session-without-grant", "blocked",
    ),
    "a session of our form that was never issued": (
        opening(session(grant_id(8), grant=grant_id(8))), "session-without-grant", "unknown-grant",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_shows_exactly_itself(change: str) -> None:
    plant, kind, what = CHANGES[change]
    found = compare(plant(SEEN), EXPECTED, NOW)
    assert whats(found) == [(kind, what)]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_change_has_the_same_key_in_the_next_scan(change: str) -> None:
    seen = CHANGES[change][0](SEEN)
    (found,) = compare(seen, EXPECTED, NOW)
    later = replace(EXPECTED, before=remember(seen, EXPECTED, NOW))
    (again,) = compare(seen, later, NOW + timedelta(minutes=30))
    assert (again.key, again.kind, again.what) == (found.key, found.kind, found.what)
    known = {*KNOWN, found.key}
    assert compare(seen, replace(later, is_known=lambda each: each.key in known), NOW) == []


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_whatever_grants_there_are_each_difference_is_one_of_them(
    live: set[int], gone: set[int], forged: set[int]
) -> None:
    grants = {grant_id(n): held(n) for n in live}
    accounts = [account_of(each) for n, each in zip(live, grants.values(), strict=True)]
    there = [each for each in accounts if each.name not in {grant_id(n) for n in gone}]
    extra = [account_of(held(n + 100)) for n in forged]
    seen = Inventory(target=TARGET, accounts=(*there, *extra), sessions=())
    found = compare(seen, Expected(resource="orders-prod", grants=grants), NOW)
    assert {(each.what, each.account) for each in found} == {
        *(("gone", grant_id(n)) for n in live & gone),
        *(("unknown-grant", grant_id(n + 100)) for n in forged),
    }


@given(st.lists(st.text(max_size=20), max_size=3), st.lists(st.text(max_size=20), max_size=3))
def test_two_differences_never_share_a_key(names: list[str], rights: list[str]) -> None:
    before = {name: Stood(since=NOW, standing=True, rights=frozenset({"login"})) for name in names}
    accounts = tuple(other(name, member_of=tuple({*rights})) for name in {*names})
    seen = Inventory(target=TARGET, accounts=accounts, sessions=())
    found = compare(seen, Expected(resource="r", before=before), NOW)
    keys = [each.key for each in found]
    assert len(set(keys)) == len(keys) == len({*names}) * (1 + len({*rights}))


# --- what is under way, and what is over --------------------------------------------------------


def test_a_grant_that_is_being_issued_or_ended_is_left_alone() -> None:
    expected = replace(EXPECTED, grants={GRANT.case: replace(GRANT, state="unsettled")})
    for change in ("a grant's account dropped by hand", "a grant's account in one more role"):
        assert compare(CHANGES[change][0](SEEN), expected, NOW) == []


def test_what_is_left_of_a_grant_that_is_over_is_an_account_and_a_session() -> None:
    expected = replace(EXPECTED, grants={GRANT.case: replace(GRANT, state="over")})
    assert whats(compare(SEEN, expected, NOW)) == [
        ("account-without-grant", "left-over"),
        ("session-beyond-grant", "over"),
    ]


def test_a_session_is_beyond_its_grant_even_before_its_end_is_recorded() -> None:
    late = GRANT.until + SETTLING
    assert ("session-beyond-grant", "over") not in whats(compare(SEEN, EXPECTED, late))
    found = compare(SEEN, EXPECTED, late + timedelta(seconds=1))
    assert ("session-beyond-grant", "over") in whats(found)


def test_a_grant_of_a_target_that_expires_nothing_may_have_an_account_without_end() -> None:
    seen = with_account(SEEN, GRANT.case, expires=None)
    expected = replace(EXPECTED, grants={GRANT.case: replace(GRANT, expires=False)})
    assert compare(seen, expected, NOW) == []


def test_without_word_of_what_a_role_gives_memberships_are_not_compared() -> None:
    seen = with_account(SEEN, GRANT.case, member_of=("payroll",))
    expected = replace(EXPECTED, grants={GRANT.case: replace(GRANT, gives=None)})
    assert compare(seen, expected, NOW) == []


def test_sessions_of_one_account_are_one_difference() -> None:
    seen = SEEN
    for number in range(30):
        seen = opening(session("dropped role 99", id=f"b.{number}"))(seen)
    (found,) = compare(seen, EXPECTED, NOW)
    assert found.count == 30
    assert len(found.objects) == 10


# --- what was there before ----------------------------------------------------------------------


def test_what_the_first_scan_finds_is_standing_and_stays_so() -> None:
    assert whats(compare(SEEN, FIRST, NOW)) == [("account-without-grant", "standing")]
    later = compare(SEEN, replace(FIRST, first=False, before=BEFORE), NOW)
    assert whats(later) == [("account-without-grant", "standing")]
    assert later[0].is_standing
    assert later[0].since == NOW - HOUR


def test_what_came_after_the_first_scan_never_becomes_standing() -> None:
    seen = adding(other("backdoor"))(SEEN)
    before = remember(seen, EXPECTED, NOW)
    again = remember(seen, replace(EXPECTED, before=before), NOW + timedelta(minutes=1))
    (found,) = compare(seen, replace(EXPECTED, before=again), NOW + timedelta(minutes=2))
    assert found.what == "out-of-band"
    assert found.since == NOW


def test_a_right_that_was_given_up_and_comes_back_is_noticed() -> None:
    less = with_account(SEEN, "orders_app", member_of=())
    before = remember(less, EXPECTED, NOW)
    found = compare(SEEN, replace(EXPECTED, before=before), NOW)
    assert whats(found) == [("privilege-beyond-role", "gained")]
    assert found[0].objects == ("member of app_rw",)


def test_an_account_is_powerful_by_a_role_that_it_can_take_on() -> None:
    accounts = (other("ops", member_of=("dba",)), other("dba", can_login=False, is_superuser=True))
    seen = Inventory(target=TARGET, accounts=accounts, sessions=())
    (found,) = compare(seen, Expected(resource="r", first=True), NOW)
    assert (found.kind, found.what) == ("privileged-account", "standing")


def test_roles_that_contain_one_another_are_walked_once() -> None:
    accounts = (other("a", member_of=("b",)), other("b", can_login=False, member_of=("a",)))
    seen = Inventory(target=TARGET, accounts=accounts, sessions=())
    assert whats(compare(seen, Expected(resource="r", first=True), NOW)) == [
        ("account-without-grant", "standing")
    ]


def test_an_account_is_remembered_no_longer_than_it_is_there() -> None:
    gone = without_account(SEEN, "orders_app")
    before = remember(gone, EXPECTED, NOW)
    assert "orders_app" not in before
    (found,) = compare(SEEN, replace(EXPECTED, before=before, is_known=lambda _: False), NOW)
    assert found.what == "out-of-band"


# --- how it is told -----------------------------------------------------------------------------


def test_each_kind_has_a_rule_and_each_difference_a_sentence() -> None:
    assert {kind for kind, _ in WHATS} == set(KINDS)
    for plant, kind, _ in CHANGES.values():
        (found,) = compare(plant(SEEN), EXPECTED, NOW)
        assert rule_of(found) in RULES
        assert found.kind == kind
        assert found.summary.startswith("orders-prod: ")


def test_text_of_the_target_stands_in_no_sentence_and_is_cut() -> None:
    name = "x\n\u202e" + "y" * 10_000
    (found,) = compare(adding(other(name))(SEEN), EXPECTED, NOW)
    assert name[:3] not in found.summary
    assert len(found.account) <= 256


def test_other_detectors_see_what_is_not_standing() -> None:
    seen = adding(other("backdoor"))(SEEN)
    found = compare(seen, replace(FIRST, first=False, before=BEFORE), NOW)
    (fact,) = facts(found, NOW, "drf_x/0")
    assert (fact.type, fact.text("how"), fact.text("account")) == (
        "drift",
        "account-without-grant/out-of-band",
        "backdoor",
    )
    assert fact.ref == "drf_x/0"


def test_what_was_out_of_band_stays_so_when_another_target_answers() -> None:
    seen = adding(other("backdoor"))(SEEN)
    carried = remember(seen, EXPECTED, NOW)
    moved = replace(seen, target="postgresql:7411:2", accounts=(*seen.accounts, other("stranger")))
    expected = replace(FIRST, grants={}, before=carried)
    found = {each.account: each.what for each in compare(moved, expected, NOW)}
    assert found["backdoor"] == "out-of-band"
    assert found["stranger"] == found["orders_app"] == "standing"
