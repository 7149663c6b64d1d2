"""Several nodes share the due work, and a node that is gone keeps nothing back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from muniment.ports import Due
from muniment.stores.postgresql import PostgreSQLStore
from muniment.testing.faulty import Growing, add
from muniment.testing.log_servers import LogServers, make_database
from muniment.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.target

#: seconds; enough for a claim on a busy machine, and soon over
LEASE = 0.6
#: whoever renews it in time must not be late on a busy machine
RENEWED = 1.5
PATIENCE = 20
LATER = "2027"


def at(number: int) -> str:
    return f"2026-11-21T10:00:{number:02}.000Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with closing(LogServers.start(tmp_path_factory.mktemp("pg"))) as started:
        yield started.log


class Nodes:
    """Nodes on one log."""

    def __init__(self, database: str, stack: ExitStack) -> None:
        self._database, self._stack = database, stack
        self._growing = Growing()
        self._writer = self.node("the one that writes")
        self._writer.found(self._growing.batch())

    def node(self, name: str, lease: float = LEASE) -> PostgreSQLStore:
        return self._stack.enter_context(closing(PostgreSQLStore(self._database, name, lease)))

    def due(self, *dues: Due) -> None:
        add(self._writer, self._growing.batch(companions=dues))

    def due_in_order(self, count: int) -> list[str]:
        cases = [f"mun_{number}" for number in range(count)]
        self.due(*(Due(case=case, at=at(number)) for number, case in enumerate(cases)))
        return cases


@pytest.fixture
def nodes(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    database, _ = make_database(server, request.node.name[:50], "log")
    with ExitStack() as stack:
        yield Nodes(database, stack)


def after_a_while(ask: Callable[[], Any]) -> tuple[Any, float]:
    """The first answer that says something, and after how long; nothing tells when a lease ends."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        if answer := ask():
            return answer, time.monotonic() - begun
    raise AssertionError("no answer")


def test_two_nodes_share_what_is_due(nodes: Nodes) -> None:
    a, b = nodes.node("a", 5), nodes.node("b", 5)
    cases = nodes.due_in_order(5)
    assert a.claim(LATER, 2) == cases[:2]
    assert b.claim(LATER, 2) == cases[2:4]
    assert b.claim(LATER) == cases[2:], "what is ours, and what is free"
    assert a.claim(LATER) == cases[:2]


def test_what_a_node_claimed_is_free_when_its_lease_is_over(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    cases = nodes.due_in_order(2)
    assert a.claim(LATER) == cases
    found, waited = after_a_while(lambda: b.claim(LATER))
    assert found == cases
    assert waited > LEASE / 2
    assert a.claim(LATER) == []


def test_a_node_that_comes_back_under_its_name_has_what_it_claimed(nodes: Nodes) -> None:
    cases = nodes.due_in_order(2)
    assert nodes.node("a", 5).claim(LATER) == cases
    assert nodes.node("b", 5).claim(LATER) == []
    assert nodes.node("a", 5).claim(LATER) == cases


def test_what_is_worked_on_stays_claimed_for_longer_than_a_lease(nodes: Nodes) -> None:
    a, b = nodes.node("a", RENEWED), nodes.node("b")
    cases = nodes.due_in_order(2)
    assert a.claim(LATER) == cases
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5 * RENEWED:
        assert a.claim(LATER, working=cases) == []
        assert b.claim(LATER) == []


def test_what_rests_is_tried_by_others_at_once(nodes: Nodes) -> None:
    a, b = nodes.node("a", 5), nodes.node("b", 5)
    cases = nodes.due_in_order(2)
    assert a.claim(LATER) == cases
    assert a.claim(LATER, resting=cases[:1]) == cases[1:]
    assert b.claim(LATER) == cases[:1]


def test_what_others_claimed_is_not_released_by_us(nodes: Nodes) -> None:
    a, b, c = nodes.node("a", 5), nodes.node("b", 5), nodes.node("c", 5)
    cases = nodes.due_in_order(1)
    assert a.claim(LATER) == cases
    assert b.claim(LATER, resting=cases) == []
    assert c.claim(LATER, working=cases) == []
    assert a.claim(LATER) == cases


def test_a_moment_that_an_append_sets_anew_is_for_everybody(nodes: Nodes) -> None:
    a, b = nodes.node("a", 5), nodes.node("b", 5)
    (case,) = nodes.due_in_order(1)
    assert a.claim(LATER) == [case]
    nodes.due(Due(case=case, at=at(30)))
    assert b.claim(LATER) == [case]


def test_callbacks_are_claimed_apart(nodes: Nodes) -> None:
    a, b = nodes.node("a", 5), nodes.node("b", 5)
    nodes.due(Due(case="mun_a", at=at(1)), Due(case="callback/a", at=at(2)))
    assert a.claim(LATER) == ["mun_a"]
    assert b.claim(LATER, callbacks=True) == ["callback/a"]
    assert a.claim(LATER, callbacks=True) == []


def test_nobody_waits_for_an_append_to_claim(nodes: Nodes) -> None:
    a, b = nodes.node("a", 5), nodes.node("b", 5)
    cases = nodes.due_in_order(3)
    assert a.claim(LATER, 1) == cases[:1]
    growing = nodes._growing
    with b.transaction() as transaction:
        dues = [Due(case=case, at=at(50)) for case in cases[:2]]
        transaction.add(growing.batch(companions=dues))
        assert a.claim(LATER, resting=cases[:1]) == cases[2:]
        assert a.claim(LATER, working=cases[:1]) == cases[2:]


def test_two_claims_never_overlap(nodes: Nodes) -> None:
    cases = nodes.due_in_order(58)
    claimed: list[list[str]] = []
    stores = [nodes.node(f"node {number}", 30) for number in range(4)]

    def claim_all(store: PostgreSQLStore) -> None:
        mine: list[str] = []
        while new := store.claim(LATER, 3, working=mine):
            mine += new
        claimed.append(mine)

    threads = [threading.Thread(target=claim_all, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    # the last of them may have passed over what another had locked at that moment
    claimed.append(nodes.node("the last").claim(LATER, 100))
    everything = [case for mine in claimed for case in mine]
    assert len(everything) == len(set(everything))
    assert sorted(everything) == sorted(cases)


def test_one_node_leads_and_another_when_it_is_gone(nodes: Nodes) -> None:
    a, b = nodes.node("a", RENEWED), nodes.node("b")
    begun = time.monotonic()
    assert a.lead("heartbeat")
    assert b.lead("detect"), "duties are led apart"
    while time.monotonic() - begun < 1.5 * RENEWED:
        assert a.lead("heartbeat")
        assert not b.lead("heartbeat")
    led, waited = after_a_while(lambda: b.lead("heartbeat"))
    assert led
    assert waited > RENEWED / 2
    assert not a.lead("heartbeat")


def test_nothing_is_found_under_a_text_that_no_database_holds(nodes: Nodes) -> None:
    store = nodes.node("a")
    for text in ("\0", "mun_\ud800"):
        assert store.case_ids(text) == []
        assert store.case_row(text) is None
        assert store.cases(requester=text, states=[text]) == []
        assert store.cases(before=text) == []
        assert store.answer(text, "request", "k") is None
        assert store.due_at(text) is None
        assert store.case(text, 9) == []
