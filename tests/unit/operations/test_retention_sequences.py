"""
No sequence of holds, classes, erasures, crashes and restores erases what is held or too young, or
leaves what was erased in a file, an export or an answer: sealed sections and raw events, in files
and on PostgreSQL. What may be is worked out here a second time, from what was done and nothing of
the product.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from retained_homes import SOURCE, Block, Files, Home, Server

from muniment.access import records
from muniment.errors import (
    Conflict,
    LogInvalid,
    LogUnavailable,
    NotFound,
    NotPermitted,
    Unavailable,
)
from muniment.operations import carry_away, erase_run, hold, observe, prove_events
from muniment.operations.hold import Scope
from muniment.oversight.event import Event
from muniment.oversight.retention import Class, Rules
from muniment.stores.event_blocks import SALT_SIZE
from muniment.testing.log_servers import LogServers
from muniment.testing.plain_reader import plain

T = TypeVar("T")
DAY = timedelta(days=1)
ROLES = ("orders-prod/readwrite", "orders-prod/personal", "orders-staging/readwrite")
#: where a run may be cut short
FAULTS = ("", "", "ledger", "bytes", "record", "events")
#: what classes there may be: about what is sealed, and about raw events
POOL = {
    "brief": Class(name="brief", ceiling=10 * DAY),
    "year": Class(name="year", ceiling=365 * DAY, sections=frozenset(["reason"])),
    "month-at-least": Class(name="month-at-least", floor=30 * DAY),
    "two-years-restricted": Class(
        name="two-years-restricted", floor=730 * DAY, data=frozenset(["restricted"])
    ),
    "staging": Class(name="staging", ceiling=40 * DAY, environments=frozenset(["staging"])),
    "prod-kept": Class(name="prod-kept", floor=200 * DAY, resources=frozenset(["orders-prod"])),
    "logs": Class(name="logs", ceiling=11 * DAY, sources=frozenset(["*"])),
    "logs-kept": Class(name="logs-kept", floor=180 * DAY, sources=frozenset([SOURCE])),
}


@dataclass
class Told:
    """One case, and what is sealed in its first record."""

    case: str
    who: str
    role: str
    marker: str
    asked: datetime
    #: when it was withdrawn
    closed: datetime | None = None
    gone: bool = False


@dataclass
class Sent:
    """One raw event, and what opens its commitment."""

    number: int
    #: whose case it is linked to; empty: nobody's
    case: str
    at: datetime
    salt: bytes
    gone: bool = False


@dataclass
class Held:
    case: str
    scope: Scope
    released: bool = False

    def covers_batch(self, sent: "Sent") -> bool:
        """Events have to do with a resource, and nobody in particular."""
        scope = self.scope
        if self.released or (scope.until is not None and sent.at > scope.until):
            return False
        if scope.since is not None and sent.at < scope.since:
            return False
        named = (*scope.cases, *scope.people, *scope.resources)
        return not named or "orders-prod" in scope.resources

    def covers(self, told: Told) -> bool:
        scope = self.scope
        if self.released:
            return False
        if scope.until is not None and told.asked > scope.until:
            return False
        if scope.since is not None and told.closed is not None and told.closed < scope.since:
            return False
        named = (*scope.cases, *scope.people, *scope.resources)
        return (
            not named
            or told.case in scope.cases
            or told.who in scope.people
            or told.role.partition("/")[0] in scope.resources
        )


def floor_of(told: Told, names: frozenset[str]) -> timedelta:
    """By hand: the longest floor of the classes that are about it."""
    floors = [timedelta(0)]
    if "month-at-least" in names:
        floors.append(30 * DAY)
    if "two-years-restricted" in names and told.role.endswith("/personal"):
        floors.append(730 * DAY)
    if "prod-kept" in names and told.role.startswith("orders-prod/"):
        floors.append(200 * DAY)
    return max(floors)


def ceiling_of(told: Told, names: frozenset[str]) -> timedelta | None:
    ceilings = []
    if "brief" in names:
        ceilings.append(10 * DAY)
    if "year" in names:
        ceilings.append(365 * DAY)
    if "staging" in names and told.role.startswith("orders-staging/"):
        ceilings.append(40 * DAY)
    return min(ceilings, default=None)


class Retention(RuleBasedStateMachine):
    """One installation, and what was done to it."""

    cases: Bundle[str] = Bundle("cases")
    holds: Bundle[str] = Bundle("holds")

    #: where it is kept
    home: Callable[[Path, Path], Home] = Files

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="retention-"))
        self.backups = Path(tempfile.mkdtemp(prefix="retention-backups-"))
        self.runner = asyncio.Runner()
        self.at = type(self).home(self.folder, self.backups)
        self.scenario = self.at.scenario
        self.run(self.scenario.__aenter__())
        self.told: dict[str, Told] = {}
        self.sent: dict[int, Sent] = {}
        #: blocks of events as they lay in a file once, and what was in them
        self.blocks: dict[bytes, set[int]] = {}
        self.held: dict[str, Held] = {}
        #: bytes of all files, and what was gone, when these were last searched
        self.searched: tuple[bytes, list[bool], list[bool]] | None = None
        #: by name, how many events had come
        self.copies: dict[str, int] = {}
        self.classes: frozenset[str] = frozenset()
        self.seen = 0
        self.number = 0
        self.mark = secrets.token_hex(4)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.scenario.check()
        self.run(self.scenario.__aexit__(None, None, None))
        self.runner.close()
        self.at.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.backups)

    @property
    def now(self) -> datetime:
        return self.scenario.service.now()

    # --- what people do --------------------------------------------------------------------------

    @initialize(target=cases, roles=st.permutations(ROLES * 2))
    def begin(self, roles: list[str]) -> Any:
        """Some that are over, by both, and one that waits; and something that may go."""
        self.classes_change({"brief", "logs"}, 100)
        self.use("ana")
        found = [self.ask(("ana", "bo")[n % 2], role, n < 4) for n, role in enumerate(roles[:5])]
        return multiple(*found)

    @rule(
        target=cases,
        who=st.sampled_from(["ana", "bo"]),
        role=st.sampled_from(ROLES),
        back=st.booleans(),
    )
    def ask(self, who: str, role: str, back: bool) -> Any:
        marker, before = self._marker(who), self.now
        asked = self.run(self.scenario.ask(who, role, text=marker))
        if asked.case.state not in ("pending", "approved"):
            self.told[asked.case.id] = Told(
                asked.case.id, who, role, marker, before, self.now if asked.case.closed else None
            )
            return asked.case.id
        self.told[asked.case.id] = Told(asked.case.id, who, role, marker, before)
        if back:
            self.withdraw_case(asked.case.id)
        return asked.case.id

    def _marker(self, who: str) -> str:
        self.number += 1
        return f"because-of-{self.number:04}-{who}-{self.mark}"

    @rule(who=st.sampled_from(["ana", "bo"]))
    def use(self, who: str) -> None:
        """A grant is used; what the target's log says of it lies between what is nobody's."""
        marker, before, role = self._marker(who), self.now, "orders-prod/readwrite"
        asked = self.run(self.scenario.ask(who, role, text=marker))
        self.told[asked.case.id] = Told(asked.case.id, who, role, marker, before)
        self.run(self.scenario.approve("cy", asked))
        picked = self.run(self.scenario.pick_up(who, asked))
        account = picked.issued.account if picked.issued is not None else ""
        self.send(["stranger", account, account, "stranger"], asked.case.id)
        self.run(self.scenario.end(who, picked))
        self._look_at_cases()

    def send(self, accounts: list[str], case: str) -> None:
        """In one batch. The first of somebody opens his session."""
        at, start, events = self.now, len(self.sent), list[bytes]()
        for number, account in enumerate(accounts):
            type_ = "session.opened" if account not in accounts[:number] else "statement"
            detail = f"SELECT {self.mark} {secrets.token_hex(20)}"
            session = f"s-{account}"
            event = Event(type=type_, at=at, account=account, session=session, detail=detail)
            events.append(plain(event))
        self.run(observe.take(self.scenario.service, SOURCE, events))
        self.run(observe.seal(self.scenario.service))
        for number, account in enumerate(accounts, start):
            raw = self.scenario.events.raw(SOURCE, number)
            assert raw is not None
            linked = "" if account == "stranger" else case
            self.sent[number] = Sent(number, linked, at, raw.salt)

    @rule(case=cases)
    def withdraw_case(self, case: str) -> None:
        told = self.told[case]
        with contextlib.suppress(Conflict):
            self.run(self.scenario.withdraw(told.who, case))
        state = self.scenario.read(case)
        told.closed = state.changed_at if state.closed else None

    @rule(days=st.sampled_from([9, 12, 35, 190, 366, 740]))
    def time_passes(self, days: int) -> None:
        self.scenario.clock.advance(days * DAY)
        self.run(self.scenario.work())  # what waits lapses
        self._look_at_cases()

    def _look_at_cases(self) -> None:
        for told in self.told.values():
            state = self.scenario.read(told.case)
            told.closed = state.changed_at if state.closed else None

    @rule(
        names=st.sets(st.sampled_from(sorted(POOL)), max_size=3).map(
            lambda found: {"brief", "logs", *found}
        )
        | st.sets(st.sampled_from(sorted(POOL))),
        above=st.sampled_from([0, 2, 100]),
    )
    def classes_change(self, names: set[str], above: int) -> None:
        self.classes = frozenset(names)
        self.scenario.service.erasures.rules = Rules(
            classes=[POOL[name] for name in sorted(names)], two_people_above=above
        )

    @rule(
        target=holds,
        case=cases,
        kind=st.sampled_from(["case", "person", "resource", "period", "person in period"]),
    )
    def place_hold(self, case: str, kind: str) -> Any:
        told = self.told[case]
        scope = {
            "case": Scope(cases=(case,)),
            "person": Scope(people=(told.who,)),
            "resource": Scope(resources=(told.role.partition("/")[0],)),
            "period": Scope(since=told.asked, until=told.asked + DAY),
            "person in period": Scope(people=(told.who,), until=told.asked + DAY),
        }[kind]
        admin = self.scenario.caller("admin")
        placed = self.run(hold.place(self.scenario.service, admin, scope, "m", ""))
        self.held[placed.id] = Held(placed.id, scope)
        return placed.id

    @rule(
        placed=holds, by=st.sampled_from(["admin", "aud"]), agrees=st.sampled_from(["admin", "aud"])
    )
    def let_go(self, placed: str, by: str, agrees: str) -> None:
        service = self.scenario.service
        with contextlib.suppress(Conflict):
            self.run(hold.ask_release(service, self.scenario.caller(by), placed, "over"))
        try:
            self.run(hold.release(service, self.scenario.caller(agrees), placed))
        except (Conflict, NotPermitted):
            return
        self.held[placed].released = True

    # --- what erases -----------------------------------------------------------------------------

    @rule(days=st.sampled_from([0, 12, 400]), fault=st.sampled_from(FAULTS))
    def have_a_run_some_days_later(self, days: int, fault: str) -> None:
        self.time_passes(days)
        self.have_a_run(fault)

    @rule(fault=st.sampled_from(FAULTS))
    def have_a_run(self, fault: str) -> None:
        service = self.scenario.service
        found = self.run(self._begin())
        if found is None:
            return
        if not fault:
            self.run(erase_run.carry_out(service, found))
            return
        crash = mock.Mock(side_effect=LogUnavailable("the lights went out"))
        where: Any
        where, name = {
            "ledger": (service.ledger, "add_many"),
            "bytes": (service.log.store, "erase_many"),
            "record": (erase_run, "erase_sections"),
            "events": (self.scenario.events, "erase"),
        }[fault]
        with (
            mock.patch.object(where, name, crash),
            mock.patch.object(erase_run, "RECORDED", 1),
            contextlib.suppress(LogUnavailable, Unavailable),
        ):
            self.run(erase_run.carry_out(service, found))
        self.start_again()
        self.run(erase_run.keep_up(self.scenario.service))

    async def _begin(self) -> str | None:
        service, caller = self.scenario.service, self.scenario.caller
        try:
            proposed = await erase_run.propose(service, caller("pia"))
        except Conflict:
            return None
        if proposed.run is None:
            return None
        if proposed.run.missing:
            await erase_run.approve(service, caller("dan"), proposed.run.id)
        return proposed.run.id

    @rule(case=cases)
    def erase_one(self, case: str) -> None:
        """Somebody's own word."""
        pia = self.scenario.caller("pia")
        with contextlib.suppress(Conflict, NotFound):
            self.run(carry_away.erase(self.scenario.service, pia, f"{case}/0", "reason", "gdpr-17"))

    # --- what brings back ------------------------------------------------------------------------

    @rule()
    def back_up(self) -> None:
        name = f"{self.number:04}"
        self.at.back_up(name)
        self.copies[name] = len(self.sent)

    @precondition(lambda self: self.copies)
    @rule()
    def restore_an_older_database(self) -> None:
        """The head store and the ledger stay: it is refused, or serves nothing that is erased."""
        self.run(self.scenario._close())
        with self.at.older_log(min(self.copies)), contextlib.suppress(LogInvalid):
            self.scenario._open()
            self.nobody_is_shown_what_is_gone()
            self.run(self.scenario._close())
        self.scenario._open()
        self.classes_change(set(self.classes), 100)

    @precondition(lambda self: self.copies)
    @rule()
    def bring_sections_back(self) -> None:
        """A restore from a backup and a mirror: the newest log, with the sections of an older one."""
        self.run(self.scenario._close())
        self.at.bring_sections_back(min(self.copies))
        self.scenario._open()
        self.classes_change(set(self.classes), 100)

    @precondition(lambda self: len(self.sent) in self.copies.values())
    @rule()
    def bring_events_back(self) -> None:
        """From a backup since which none have come: what was erased since is in it."""
        name = next(name for name, count in self.copies.items() if count == len(self.sent))
        self.run(self.scenario._close())
        self.at.bring_events_back(name)
        self.scenario._open()
        self.classes_change(set(self.classes), 100)

    @rule(
        days=st.sampled_from([12, 400]),
        what=st.sampled_from(["the log", "sections", "events", "both"]),
    )
    def bring_back_what_a_run_erases(self, days: int, what: str) -> None:
        self.back_up()
        self.have_a_run_some_days_later(days, "")
        self.what_must_hold()
        if what == "the log":
            self.restore_an_older_database()
        if what in ("sections", "both"):
            self.bring_sections_back()
        if what in ("events", "both"):
            self.bring_events_back()

    def start_again(self) -> None:
        self.run(self.scenario.restart())
        self.classes_change(set(self.classes), 100)

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def what_must_hold(self) -> None:
        self.only_what_may_go_is_recorded_as_gone()
        self.what_is_gone_is_in_no_file_and_all_else_is_there()
        self.nobody_is_shown_what_is_gone()

    def only_what_may_go_is_recorded_as_gone(self) -> None:
        log = self.scenario.service.log
        for index in range(self.seen, log.size):
            record = records.parse(log.read_entry(index).header)
            if isinstance(record, records.EventsErased):
                self._check_events(record)
            if not isinstance(record, records.RecordErased):
                continue
            told = self.told.get(record.record.partition("/")[0])
            if told is None or record.section != "reason":
                continue
            by = [each.case for each in self.held.values() if each.covers(told)]
            assert not by, f"{record.record} is held by {by}, and was erased"
            floor, own = floor_of(told, self.classes), record.rule == "gdpr-17"
            if floor or not own:
                assert told.closed is not None, f"{record.record} is open, and was erased"
                age = self.now - told.closed
                assert age >= floor, f"{record.record} is {age} old, and was erased"
                ceiling = ceiling_of(told, self.classes)
                assert own or (ceiling is not None and age >= ceiling)
            told.gone = True
        self.seen = log.size

    def _check_events(self, record: records.EventsErased) -> None:
        left = json.loads(self.scenario.service.document(record.numbers))["kept"]
        kept = {number for first, last in left for number in range(first, last + 1)}
        for number in range(record.start, record.start + record.count):
            sent = self.sent[number]
            if number in kept or sent.gone:
                continue
            assert "logs" in self.classes, f"event {number} has no end, and was erased"
            of_day = sent.at.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            floor = 180 * DAY if "logs-kept" in self.classes else 11 * DAY
            assert self.now >= of_day + floor, f"event {number} is too young, and was erased"
            by = [each.case for each in self.held.values() if each.covers_batch(sent)]
            if sent.case:
                told = self.told[sent.case]
                by += [each.case for each in self.held.values() if each.covers(told)]
                assert not self._sealed(sent.case), f"{sent.case} is kept, and event {number} not"
            assert not by, f"event {number} is held by {by}, and was erased"
            sent.gone = True

    def _sealed(self, case: str) -> list[str]:
        """What is kept of a case, by the records of the log alone."""
        log = self.scenario.service.log
        found = (records.parse(log.read_entry(index).header) for index in range(log.size))
        gone = {(r.record, r.section) for r in found if isinstance(r, records.RecordErased)}
        return [
            f"{entry.header.id} {name}"
            for entry in log.read_case(case)
            for name in entry.header.sections
            if (entry.header.id, name) not in gone
        ]

    def what_is_gone_is_in_no_file_and_all_else_is_there(self) -> None:
        data = self.at.data()
        known = (data, [told.gone for told in self.told.values()],
                 [sent.gone for sent in self.sent.values()])  # fmt: skip
        if known == self.searched:
            return  # the same bytes, for the same: nothing that was found there changes
        for told in self.told.values():
            found = self._is_there(told.marker.encode(), data, gone=told.gone)
            assert found != told.gone, f"{told.marker} is {'still' if found else 'not'} there"
        for sent in self.sent.values():
            found = self._is_there(sent.salt, data, gone=sent.gone)
            assert found != sent.gone, f"event {sent.number} is {'still' if found else 'not'} there"
        for block in self.at.blocks():
            self.blocks.setdefault(block.packed, set(self._in(block)))
        for packed, numbers in self.blocks.items():
            if any(self.sent[number].gone for number in numbers):
                assert packed not in data, f"what came as events {numbers} is still there"

        self.searched = known

    def _is_there(self, needle: bytes, data: bytes, *, gone: bool) -> bool:
        # a server moves what is kept from file to file while these are read one after the other
        return needle in data or (not gone and needle in self.at.settled())

    def _in(self, block: Block) -> Iterator[int]:
        """The events that a block shows to whoever opens it: of the others it has no salt."""
        for position in range(block.count):
            if block.salts[position * SALT_SIZE : (position + 1) * SALT_SIZE].strip(b"\0"):
                yield block.start + position

    def nobody_is_shown_what_is_gone(self) -> None:
        store = self.scenario.service.observing.store
        assert store is not None
        for sent in self.sent.values():
            assert (store.raw(SOURCE, sent.number) is None) == sent.gone

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def prove_an_event(self, data: st.DataObject) -> None:
        sent = self.sent[data.draw(st.sampled_from(sorted(self.sent)))]
        auditor, service = self.scenario.caller("aud"), self.scenario.service
        proving = prove_events.prove(service, auditor, SOURCE, [sent.number])
        if not sent.gone:
            assert self.run(proving).events == 1
            return
        with pytest.raises(NotFound, match="erased"):
            self.run(proving)

    @rule(case=cases)
    def export_what_is_left(self, case: str) -> None:
        told = self.told[case]
        bundle = self.run(self.scenario.export(told.who, case))
        assert (told.marker.encode().hex().encode() in bundle or _has(bundle, told.marker)) != (
            told.gone
        )


def _has(bundle: bytes, marker: str) -> bool:
    """As plain text, or within base64 at any of its three offsets."""
    text = marker.encode()
    pieces = [base64.b64encode(b"\0" * pad + text)[4 if pad else 0 : -4] for pad in range(3)]
    return text in bundle or any(piece in bundle for piece in pieces)


def machine(examples: int, steps: int, of: type[Retention] = Retention) -> None:
    run_state_machine_as_test(
        of,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def whatever_is_restored(of: type[Retention]) -> None:
    """Each kind of restore, after a run that erased sections and events."""
    state = of()
    try:
        state.begin([*ROLES, *ROLES])
        for what in ("sections", "events", "the log", "both"):
            erased = (sum(told.gone for told in state.told.values()),
                      sum(sent.gone for sent in state.sent.values()))  # fmt: skip
            state.use("bo")
            state.bring_back_what_a_run_erases(12, what)
            state.what_must_hold()
            assert sum(told.gone for told in state.told.values()) > erased[0]
            assert sum(sent.gone for sent in state.sent.values()) > erased[1]
    finally:
        state.teardown()


def test_no_restore_brings_back_what_was_erased() -> None:
    whatever_is_restored(Retention)


def test_no_short_sequence_erases_what_is_kept_or_keeps_what_is_erased() -> None:
    machine(12, 14)


@pytest.mark.deep
def test_no_long_sequence_does_either() -> None:
    machine(80, 40)  # a minute: each is an installation that is opened ten times and more


@pytest.mark.deep
@pytest.mark.target
def test_on_postgresql_no_sequence_does_either(tmp_path: Path) -> None:
    """Dumps are restored there: in the place of a database, and on another server."""
    with contextlib.closing(LogServers.start(tmp_path)) as servers:

        class OnServers(Retention):
            home = staticmethod(lambda folder, backups: Server(folder, backups, servers))

        whatever_is_restored(OnServers)
        machine(3, 8, OnServers)
