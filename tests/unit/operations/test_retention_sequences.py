"""
No sequence of holds, classes, erasures, crashes and restores erases what is held or too young, or
leaves what was erased in a file, an export or an answer. What may be is worked out here a second
time, from what was done and nothing of the product.
"""

import asyncio
import base64
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
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
    rule,
    run_state_machine_as_test,
)

from muniment.access import records
from muniment.errors import Conflict, LogInvalid, LogUnavailable, NotFound, NotPermitted
from muniment.operations import carry_away, erase_run, hold
from muniment.operations.hold import Scope
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

T = TypeVar("T")
DAY = timedelta(days=1)
ROLES = ("orders-prod/readwrite", "orders-prod/personal", "orders-staging/readwrite")
#: where a run may be cut short
FAULTS = ("", "", "ledger", "bytes", "record")
#: what classes there may be; each is about reasons
POOL = {
    "brief": Class(name="brief", ceiling=10 * DAY),
    "year": Class(name="year", ceiling=365 * DAY, sections=frozenset(["reason"])),
    "month-at-least": Class(name="month-at-least", floor=30 * DAY),
    "two-years-restricted": Class(
        name="two-years-restricted", floor=730 * DAY, data=frozenset(["restricted"])
    ),
    "staging": Class(name="staging", ceiling=40 * DAY, environments=frozenset(["staging"])),
    "prod-kept": Class(name="prod-kept", floor=200 * DAY, resources=frozenset(["orders-prod"])),
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
class Held:
    case: str
    scope: Scope
    released: bool = False
    exports: list[bytes] = field(default_factory=list)

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

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="retention-"))
        self.backups = Path(tempfile.mkdtemp(prefix="retention-backups-"))
        self.runner = asyncio.Runner()
        people = {**cast(), "dan": replace(cast()["dan"], groups=("privacy-officers",))}
        self.scenario = Scenario(self.folder, principals=people, checking=False)
        self.run(self.scenario.__aenter__())
        self.told: dict[str, Told] = {}
        self.held: dict[str, Held] = {}
        self.classes: frozenset[str] = frozenset()
        self.seen = 0
        self.number = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.scenario.check()
        self.run(self.scenario.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.backups)

    @property
    def now(self) -> datetime:
        return self.scenario.service.now()

    # --- what people do --------------------------------------------------------------------------

    @initialize(target=cases, roles=st.permutations(ROLES * 2))
    def begin(self, roles: list[str]) -> Any:
        """Some that are over, by both, and one that waits; and something that may go."""
        self.classes_change({"brief"}, 100)
        found = [self.ask(("ana", "bo")[n % 2], role, n < 4) for n, role in enumerate(roles[:5])]
        return multiple(*found)

    @rule(
        target=cases,
        who=st.sampled_from(["ana", "bo"]),
        role=st.sampled_from(ROLES),
        back=st.booleans(),
    )
    def ask(self, who: str, role: str, back: bool) -> Any:
        self.number += 1
        marker, before = f"because-of-{self.number:04}-{who}", self.now
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
        for told in self.told.values():
            state = self.scenario.read(told.case)
            told.closed = state.changed_at if state.closed else None

    @rule(
        names=st.sets(st.sampled_from(sorted(POOL)), max_size=3).map(
            lambda found: {"brief", *found}
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
        name = {"ledger": "add_many", "bytes": "erase_many", "record": "erase_sections"}[fault]
        where: Any = {"ledger": service.ledger, "bytes": service.log.store}.get(fault, erase_run)
        with (
            mock.patch.object(where, name, crash),
            mock.patch.object(erase_run, "RECORDED", 1),
            contextlib.suppress(LogUnavailable),
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
        with contextlib.closing(sqlite3.connect(self.folder / "muniment.db")) as here:
            copy = self.backups / f"{self.number}.db"
            copy.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(copy)) as there:
                here.backup(there)

    @rule()
    def restore_an_older_database(self) -> None:
        """The head store and the ledger stay: it is refused, or serves nothing that is erased."""
        copies = sorted(self.backups.glob("*.db"))
        if not copies:
            return
        path, kept = self.folder / "muniment.db", self.folder / "kept"
        self.run(self.scenario._close())
        shutil.copy(path, kept)
        shutil.copy(copies[0], path)
        try:
            self.scenario._open()
        except LogInvalid:
            shutil.copy(kept, path)
            self.scenario._open()
        kept.unlink()
        self.classes_change(set(self.classes), 100)

    @rule()
    def bring_sections_back(self) -> None:
        """A restore from a backup and a mirror: the newest log, with the sections of an older one."""
        copies = sorted(self.backups.glob("*.db"))
        if not copies:
            return
        self.run(self.scenario._close())
        with contextlib.closing(sqlite3.connect(self.folder / "muniment.db")) as here:
            here.execute("ATTACH ? AS older", (str(copies[0]),))
            here.execute("INSERT OR IGNORE INTO sections SELECT * FROM older.sections")
            here.execute("DELETE FROM tombstones")
            here.commit()
        self.scenario._open()
        self.classes_change(set(self.classes), 100)

    def start_again(self) -> None:
        self.run(self.scenario.restart())
        self.classes_change(set(self.classes), 100)

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def only_what_may_go_is_recorded_as_gone(self) -> None:
        log = self.scenario.service.log
        for index in range(self.seen, log.size):
            record = records.parse(log.read_entry(index).header)
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

    @invariant()
    def what_is_gone_is_in_no_file_and_all_else_is_there(self) -> None:
        data = b"".join(
            each.read_bytes() for each in sorted(self.folder.iterdir()) if each.is_file()
        )
        for told in self.told.values():
            found = told.marker.encode() in data
            assert found != told.gone, f"{told.marker} is {'still' if found else 'not'} there"

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


def machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Retention,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_short_sequence_erases_what_is_kept_or_keeps_what_is_erased() -> None:
    machine(12, 14)


@pytest.mark.deep
def test_no_long_sequence_does_either() -> None:
    machine(150, 40)
