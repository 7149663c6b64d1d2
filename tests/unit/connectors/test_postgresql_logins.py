"""When a login under way at the target still has to be waited for."""

from muniment.connectors.postgresql.logins import Logins

CHECKED, UNCHECKED = True, False


def test_where_no_login_is_under_way_nothing_is_waited_for() -> None:
    assert not Logins().follow({}, 0.0)


def test_a_login_that_is_past_its_check_is_waited_for_until_it_is_through() -> None:
    logins = Logins()
    assert logins.follow({7: CHECKED}, 0.0)
    assert logins.follow({7: CHECKED}, 60.0)
    assert not logins.follow({}, 60.1)


def test_a_login_before_its_check_is_waited_for_as_long_as_it_may_just_have_passed() -> None:
    logins = Logins()
    assert logins.follow({7: UNCHECKED}, 0.0)
    assert logins.follow({7: UNCHECKED}, 0.019)
    assert not logins.follow({7: UNCHECKED}, 0.021)


def test_a_login_that_turns_out_to_be_past_its_check_is_waited_for_again() -> None:
    logins = Logins()
    logins.follow({7: UNCHECKED}, 0.0)
    logins.follow({7: UNCHECKED}, 0.021)
    assert logins.follow({7: CHECKED}, 0.03)


def test_who_comes_later_does_not_matter() -> None:
    logins = Logins()
    logins.follow({7: CHECKED}, 0.0)
    assert not logins.follow({8: CHECKED}, 0.1)


def test_only_a_login_that_is_past_its_check_for_long_hides() -> None:
    logins = Logins()
    logins.follow({7: CHECKED, 8: UNCHECKED}, 0.0)
    assert logins.hiding(0.9) == set()
    assert logins.hiding(1.1) == {7}


def test_a_login_that_was_found_not_to_matter_is_not_waited_for() -> None:
    logins = Logins()
    logins.follow({7: CHECKED}, 0.0)
    logins.forget(7)
    assert not logins.follow({7: CHECKED}, 2.0)
