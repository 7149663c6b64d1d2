"""From an event to its grant: by the strongest key that it carries, and never by what a holder chose."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from muniment.oversight.event import Event, Key
from muniment.oversight.link import NOBODY, SKEW, Correlator, GrantWindow, Link

CASE = "mun_" + "a2" * 13
OTHER = "mun_" + "b3" * 13
START = datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc)
WINDOW = GrantWindow(
    case=CASE,
    resource="orders-prod",
    role="readwrite",
    requester="prn_ana",
    persons=("per_ana",),
    start=START,
    until=START + timedelta(minutes=30),
    account=CASE,
)


class Known:
    """Grants that are handed in."""

    def __init__(self, *windows: GrantWindow, **keys: str) -> None:
        self._windows = {window.case: window for window in windows}
        self._keys = keys

    def by_id(self, case: str) -> GrantWindow | None:
        return self._windows.get(case)

    def by_key(self, key: Key) -> GrantWindow | None:
        return self._windows.get(self._keys.get(key.value, ""))

    def of_account(self, resource: str, account: str, at: datetime) -> tuple[GrantWindow, ...]:
        return tuple(self._windows.values()) if account == "ana" else ()


def event(*keys: Key, minutes: float = 5, account: str = "", resource: str = "") -> Event:
    return Event(
        type="statement",
        at=START + timedelta(minutes=minutes),
        keys=keys,
        account=account,
        resource=resource,
    )


def link(given: Event, *windows: GrantWindow, **keys: str) -> Link:
    return Correlator("mun", Known(*(windows or (WINDOW,)), **keys)).link(given, "orders-prod")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("account", CASE),
        ("certificate", f"{CASE}:ana serial 42"),
        ("session-name", f"AROA:{CASE}"),
        ("header", f"grant={CASE};v=1"),
    ],
)
def test_an_id_in_a_field_of_the_target_is_a_strong_link(kind: str, value: str) -> None:
    found = link(event(Key(kind, value)))
    assert found == Link(grant=CASE, strength="strong", reason=kind, standing="within")


def test_the_strongest_key_counts() -> None:
    other = replace(WINDOW, case=OTHER)
    found = link(event(Key("header", OTHER), Key("certificate", f"{CASE} serial 1")), WINDOW, other)
    assert (found.grant, found.reason) == (CASE, "certificate")


def test_an_access_key_leads_on_from_the_event_that_gave_it_out() -> None:
    found = link(event(Key("access-key", "ASIAEXAMPLE")), ASIAEXAMPLE=CASE)
    assert (found.grant, found.strength, found.reason) == (CASE, "strong", "access-key")


@pytest.mark.parametrize(
    ("minutes", "standing"),
    [
        (-SKEW.total_seconds() / 60, "within"),
        (-SKEW.total_seconds() / 60 - 0.01, "early"),
        (30 + SKEW.total_seconds() / 60, "within"),
        (30 + SKEW.total_seconds() / 60 + 0.01, "late"),
    ],
)
def test_clocks_may_differ_by_so_much_and_no_more(minutes: float, standing: str) -> None:
    assert link(event(Key("account", CASE), minutes=minutes)).standing == standing


def test_what_was_ended_early_is_over_then() -> None:
    ended = replace(WINDOW, ended=START + timedelta(minutes=2))
    assert link(event(Key("account", CASE), minutes=5), ended).standing == "late"


def test_a_key_of_a_grant_for_something_else_is_told_so() -> None:
    found = link(event(Key("account", CASE), resource="payroll-prod"))
    assert (found.grant, found.standing) == (CASE, "elsewhere")


def test_an_id_of_our_form_that_the_log_does_not_have_is_no_grant_and_no_silence() -> None:
    found = link(event(Key("account", OTHER), account="ana"))
    assert found == Link(strength="strong", reason="account", standing="unknown")


@pytest.mark.parametrize(
    "name",
    [
        f"x{CASE}",
        f"{CASE}x",
        f"{CASE}_2",
        CASE[:-1],
        CASE.upper(),
        f"{CASE} {OTHER}",
        "mun_" + "a1" * 13,
        "ana",
    ],
)
def test_what_merely_looks_like_an_id_is_none(name: str) -> None:
    assert link(event(Key("account", name))) == NOBODY


def test_a_name_and_a_moment_are_a_weak_link() -> None:
    found = link(event(account="ana"))
    assert found == Link(grant=CASE, strength="weak", reason="account and time", standing="within")


def test_a_name_outside_of_every_window_is_under_nobodys_grant() -> None:
    assert link(event(account="ana", minutes=45)) == NOBODY
    assert link(event(account="bo")) == NOBODY
