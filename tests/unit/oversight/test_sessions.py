"""Sessions: the events of one grant in one session of a target, whatever order they came in."""

import random
from datetime import datetime, timedelta, timezone
from typing import Any

from muniment.oversight.event import Event
from muniment.oversight.event_store import Kept
from muniment.oversight.link import STANDINGS, Link
from muniment.oversight.sessions import WORSE, assemble, used

CASE = "mun_" + "a2" * 13
START = datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc)
STRONG = Link(grant=CASE, strength="strong", reason="account", standing="within")


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def kept(number: int, type: str, minutes: float, link: Link = STRONG, **said: Any) -> Kept:
    said = {"session": "s1", "account": CASE, "client": "192.0.2.7", **said}
    event = Event(type=type, at=at(minutes), **said)
    return Kept(
        row=number,
        source="orders-log",
        number=number,
        event=event,
        link=link,
        resource="orders-prod",
    )


WHOLE = [
    kept(3, "session.opened", 1),
    kept(4, "statement", 2),
    kept(6, "error", 3, failed=True),
    kept(9, "session.closed", 4),
]


def test_a_session_has_its_beginning_its_end_and_what_was_done() -> None:
    (session,) = assemble(WHOLE)
    assert (session.opened, session.closed, session.is_over) == (at(1), at(4), True)
    assert (session.actions, session.failed, session.numbers) == (2, 1, (3, 4, 6, 9))
    assert (session.account, session.clients) == (CASE, ("192.0.2.7",))
    assert (session.strength, session.reason, session.standing) == ("strong", "account", "within")


def test_the_order_in_which_events_came_makes_no_difference() -> None:
    shuffled = list(WHOLE)
    random.Random(7).shuffle(shuffled)
    assert assemble(shuffled) == assemble(WHOLE)


def test_what_is_linked_to_nobody_and_what_was_erased_is_part_of_no_session() -> None:
    gone = Kept(row=1, source="orders-log", number=1, event=None, link=STRONG, resource="")
    assert assemble([gone, kept(2, "statement", 2, Link())]) == []


def test_the_worst_of_its_events_is_the_standing_of_a_session() -> None:
    late = Link(grant=CASE, strength="strong", reason="account", standing="late")
    (session,) = assemble([*WHOLE[:2], kept(7, "statement", 40, late)])
    assert (session.standing, session.is_over, session.closed) == ("late", False, None)


def test_one_strong_link_tells_whose_the_session_is() -> None:
    weak = Link(grant=CASE, strength="weak", reason="account and time", standing="within")
    (session,) = assemble([kept(1, "session.opened", 1, weak), kept(2, "statement", 2)])
    assert (session.strength, session.reason) == ("strong", "account")


def test_a_session_that_was_killed_says_so() -> None:
    (session,) = assemble([*WHOLE[:2], kept(8, "session.killed", 30)])
    assert (session.killed, session.closed) == (True, at(30))


def test_each_moment_of_use_counts_once_and_only_inside_the_window() -> None:
    both = [
        kept(1, "session.opened", -5),
        kept(2, "session.closed", 10),
        kept(3, "session.opened", 5, session="s2"),
        kept(4, "session.closed", 15, session="s2"),
        kept(5, "session.opened", 25, session="s3"),
        kept(6, "session.closed", 45, session="s3"),
    ]
    assert used(assemble(both), START, at(30)) == 20 * 60
    assert used([], START, at(30)) == 0


def test_every_standing_has_its_place_among_the_worse_ones() -> None:
    assert set(WORSE) == set(STANDINGS)
