"""
Scenario: the whole product on a temporary folder, with a clock that tests move.

Log, sequencer, store, head store, spool, policy, operations and worker are the real ones; only the
clock, the targets and the files that propose are stand-ins. What a plug-in author writes:

    async with Scenario(tmp_path) as scenario:
        case = await scenario.ask("ana")
        await scenario.approve("cy", case)
        picked = await scenario.pick_up("ana", case)
        session = scenario.login(picked)
        await scenario.advance(timedelta(minutes=30))
        assert scenario.read(case).closed
        assert not session.alive

After every step `check` verifies all that stands: every entry, the tree, every checkpoint and the
heads seen so far; the fold of every case and its line in the lists; and what must always hold:

- no account and no session at a target without a live grant, or an end that is being retried;
- no account with another window than its grant has, or under an authorisation of another grant;
- whatever is live, or not yet seen gone, is on the worker's list;
- every grant that is closed was seen gone;
- no secret that was handed out is in any file.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.access.records import Record
from muniment.errors import LogUnavailable
from muniment.evidence import canonical
from muniment.evidence.founding import found_log
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Draft
from muniment.evidence.signer import Keyring
from muniment.evidence.store import Entry
from muniment.operations import (
    approve,
    carry_away,
    end,
    extend,
    heartbeat,
    issue,
    request,
    review,
    sweep,
    take_in,
    withdraw,
)
from muniment.operations.approve import Voted
from muniment.operations.extend import Extended
from muniment.operations.facts import Reason
from muniment.operations.issue import PickedUp
from muniment.operations.request import AccessAsk, Asked, IdempotencyKey
from muniment.operations.service import Caller, Limits, Service, new_id
from muniment.operations.take_in import (
    Proposed,
    ProposedPrincipal,
    ProposedRetirement,
    ProposedRole,
    ProposedToken,
)
from muniment.policy import starter
from muniment.ports import Connector, Notifier, TargetSettings
from muniment.runtime.worker import Worker
from muniment.stores.head_file import HeadFile
from muniment.stores.sqlite import SQLiteStore
from muniment.testing import standing
from muniment.testing.cast import cast, roles
from muniment.testing.fake_target import FakeSession
from muniment.testing.nodes import Node, open_node
from muniment.testing.stand_ins import (
    Bugs,
    Claims,
    Crash,
    Hook,
    ScenarioTarget,
    SteppedClock,
)

ORIGIN = "muniment.example/scenario"
PREFIX = "mun"

#: a case by its id, or by what a step returned
CaseLike: TypeAlias = "str | AccessCase | Asked | Voted | PickedUp | Extended"
_T = TypeVar("_T")
worker_log = logging.getLogger("muniment.runtime.worker")


@dataclass
class Scenario:
    """One installation, from its first record on. Use it as an asynchronous context manager."""

    folder: Path
    #: the bundle's files, by path
    policy: Mapping[str, bytes] = field(default_factory=starter.files)
    limits: Limits = field(default_factory=Limits)
    principals: dict[str, ProposedPrincipal] = field(default_factory=cast)
    roles: dict[tuple[str, str], ProposedRole] = field(default_factory=roles)
    tokens: dict[bytes, ProposedToken] = field(default_factory=dict)
    #: ways of telling people, as `[notices]` has them, and what tells
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    notifiers: dict[str, Notifier] = field(default_factory=dict)
    #: rules of access reviews, as `[[campaigns]]` has them
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    business_hours: Callable[[datetime], bool] = lambda _: True
    clock: SteppedClock = field(default_factory=SteppedClock)
    #: free disk, and below which the log keeps what is left for ends
    space: int = 1 << 40
    reserve: int = 1 << 20
    #: what the targets are, by resource; made as they are first named by a role
    targets: dict[str, ScenarioTarget] = field(default_factory=dict)
    #: other nodes (`another_node`) work on the same log
    shared: bool = False
    #: strikes before each step towards the outside: `target:issue`, `log:commit`, `head:write` …
    hook: Hook = lambda _: None
    #: `check` after every step
    checking: bool = True
    #: cases whose line in the lists the worker found wrong
    found_wrong: list[str] = field(default_factory=list)
    #: principal ids by login, also of those whose identity was erased
    ids: dict[str, str] = field(default_factory=dict)
    _faults: set[str] = field(default_factory=set)
    _heads: list[bytes] = field(default_factory=list)
    _handed_out: list[bytes] = field(default_factory=list)
    _under_way: int = 0
    _bugs: Bugs = field(default_factory=Bugs)
    _claims: Claims | None = None

    # --- opening and closing -----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.key = SigningKey.generate(ORIGIN)
        #: those whose files are there, and what the files ask to retire
        self.keys, self.retired = [self.key], list[ProposedRetirement]()
        store, heads = SQLiteStore(self._database), HeadFile(self.folder / "head")
        found_log(store, heads, self.keyring, lambda key: self._started(key.vkey))
        store.close()
        heads.close()
        worker_log.addHandler(self._bugs)
        self._open()
        await self.take_in()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.hook = lambda _: None
        worker_log.removeHandler(self._bugs)
        await self._close()

    def _open(self) -> None:
        if self.shared:
            self._claims = Claims(lambda: self.clock.elapsed)
        self._node = self._open_node("")
        self.store, self.service = self._node.store, self._node.service
        self.worker = Worker(service=self.service, on_wrong=self.found_wrong.extend)

    def _open_node(self, name: str, ahead: timedelta = timedelta(0)) -> Node:
        strike = self._strike_of_this_process()
        connectors = self._connectors(strike)
        return open_node(
            self, PREFIX, connectors, strike, name=name, claims=self._claims, ahead=ahead
        )

    @contextlib.contextmanager
    def another_node(self, *, ahead: timedelta = timedelta(0)) -> Iterator[Service]:
        """A second process on the same database and targets, its clock `ahead` of ours."""
        if not self.shared:
            raise RuntimeError("a scenario that other nodes share is made with `shared=True`")
        with contextlib.closing(self._open_node("other", ahead)) as node:
            yield node.service

    def _strike_of_this_process(self) -> Hook:
        """A step of one life of the service: once it has crashed, nothing more comes of it."""
        dead = False

        def strike(point: str) -> None:
            nonlocal dead
            if dead:
                raise Crash(point)
            if point in self._faults:
                raise LogUnavailable(f"a fault at `{point}`")
            try:
                self.hook(point)
            except Crash:
                dead = True
                if point.startswith(("log:", "head:")):
                    # on the writer's thread; it tells the others, and they find the world gone
                    raise LogUnavailable("the process died here") from None
                raise

        return strike

    async def _close(self) -> None:
        """The end of a process, gentle or not: what it was doing is not done."""
        running = [task for task in asyncio.all_tasks() if _is_ours(task)]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._node.close()

    @property
    def _database(self) -> Path:
        return self.folder / "muniment.db"

    @property
    def keyring(self) -> Keyring:
        return Keyring.of(*self.keys)

    def _started(self, key: str) -> Draft:
        record = records.LogStarted(
            actor=records.SERVICE, origin=ORIGIN, key=key, nonce=secrets.token_bytes(32)
        )
        return record.draft(new_id("log"), self.clock.wall)

    def _connectors(self, strike: Hook) -> dict[str, Connector]:
        found: dict[str, Connector] = {}
        for resource in dict.fromkeys(resource for resource, _ in self.roles):
            target = self.target(resource)
            target._strike = strike  # noqa: SLF001 (a target outlives the process that uses it)
            settings = TargetSettings(resource=resource, prefix=PREFIX, options={})
            found[resource] = target.connector_type(settings)
        return found

    # --- what stands -------------------------------------------------------------------------

    def target(self, resource: str = "orders-prod") -> ScenarioTarget:
        """The target behind a resource; it lives on when the service restarts."""
        if resource not in self.targets:
            self.targets[resource] = ScenarioTarget(resource, self.clock.at_target, lambda _: None)
        return self.targets[resource]

    def caller(self, login: str) -> Caller:
        """Somebody as he would be authenticated now, by a token."""
        principal = self.service.registry.principals[self.ids[login]]
        return Caller(principal=principal, assurance="token")

    def read(self, case: CaseLike) -> AccessCase:
        """A case as the log has it now."""
        return self.service.read(case_id(case))[0]

    def entries(self, case: CaseLike) -> list[Entry]:
        return self.service.log.read_case(case_id(case))

    def kinds(self, case: CaseLike) -> list[str]:
        """The kinds of a case's records, in order."""
        return [entry.header.kind for entry in self.entries(case)]

    def records(self, case: CaseLike) -> list[Record]:
        return [records.parse(entry.header) for entry in self.entries(case)]

    def last(self, case: CaseLike, kind: type[Record]) -> Any:
        """The newest record of this class in a case."""
        return [record for record in self.records(case) if isinstance(record, kind)][-1]

    def review_of(self, case: CaseLike) -> str:
        """The review that a break-glass case opened."""
        return self.service.registry.reviews[case_id(case)]

    # --- what people do ----------------------------------------------------------------------

    async def ask(
        self,
        who: str,
        role: str = "orders-prod/readwrite",
        *,
        seconds: int = 1800,
        ticket: str = "OPS-1",
        incident: str = "",
        text: str = "",
        emergency: bool = False,
        key: IdempotencyKey | None = None,
    ) -> Asked:
        """Ask for a role, `resource/role`; denied or not, the answer is a case."""
        resource, _, name = role.partition("/")
        reason = Reason(text=text, ticket=ticket, incident=incident)
        ask = AccessAsk(
            resource=resource, role=name, seconds=seconds, reason=reason, emergency=emergency
        )
        return await self._step(request.request(self.service, self.caller(who), ask, key))

    async def approve(self, who: str, case: CaseLike, note: str = "") -> Voted:
        return await self._step(
            approve.approve(self.service, self.caller(who), case_id(case), note)
        )

    async def refuse(self, who: str, case: CaseLike, note: str = "") -> Voted:
        return await self._step(approve.refuse(self.service, self.caller(who), case_id(case), note))

    async def withdraw(self, who: str, case: CaseLike) -> AccessCase:
        return await self._step(withdraw.withdraw(self.service, self.caller(who), case_id(case)))

    async def pick_up(self, who: str, case: CaseLike) -> PickedUp:
        picked = await self._step(issue.pick_up(self.service, self.caller(who), case_id(case)))
        if picked.issued is not None:
            self._handed_out.append(picked.issued.secret.reveal().encode())
        return picked

    async def extend(
        self, who: str, case: CaseLike, seconds: int, *, ticket: str = "", text: str = ""
    ) -> Extended:
        reason = Reason(text=text, ticket=ticket)
        return await self._step(
            extend.extend(self.service, self.caller(who), case_id(case), seconds, reason)
        )

    async def end(self, who: str, case: CaseLike) -> AccessCase:
        return await self._step(end.end(self.service, self.caller(who), case_id(case)))

    async def revoke(self, who: str, case: CaseLike, note: str = "") -> AccessCase:
        return await self._step(end.revoke(self.service, self.caller(who), case_id(case), note))

    async def answer_review(
        self, who: str, about: CaseLike, verdict: str = "justified", note: str = ""
    ) -> str:
        """Answer the review of this break-glass case."""
        found = self.review_of(about)
        return await self._step(
            review.answer_review(self.service, self.caller(who), found, verdict, note)
        )

    async def export(self, who: str, case: CaseLike, heads: Iterable[bytes] = ()) -> bytes:
        caller = self.caller(who)
        return await self._step(
            carry_away.export(self.service, caller, case_id(case), tuple(heads))
        )

    async def erase(self, who: str, record: str, section: str, rule: str = "retention") -> None:
        caller = self.caller(who)
        await self._step(carry_away.erase(self.service, caller, record, section, rule))

    async def accept_clock(self, who: str) -> int:
        return await self._step(heartbeat.accept_clock(self.service, self.caller(who)))

    async def granted(
        self, who: str = "ana", role: str = "orders-prod/readwrite", *, seconds: int = 1800
    ) -> PickedUp:
        """Ask, have it approved by whoever may, and pick up."""
        case = await self.ask(who, role, seconds=seconds)
        if case.case.state == "pending":
            await self.approve("bo" if who == "cy" else "cy", case)
        return await self.pick_up(who, case)

    def login(self, picked: PickedUp) -> FakeSession:
        """Use a credential at its target; raises `FakeLoginRefused`."""
        if picked.issued is None:
            raise RuntimeError("nothing was handed out")
        target = self.target(picked.case.requested.resource)
        return target.login(picked.issued.account, picked.issued.secret.reveal())

    # --- what the files propose --------------------------------------------------------------

    def proposed(self) -> Proposed:
        """What the files say, from `policy`, `roles`, `principals` and `tokens`."""
        roles = sorted("/".join(key) for key in self.roles)
        more = {"notices": self.notices, "campaigns": self.campaigns}
        configuration = {"roles": roles, **{name: each for name, each in more.items() if each}}
        return Proposed(
            configuration=canonical.encode(configuration),
            policy=dict(self.policy),
            roles=tuple(self.roles.values()),
            principals=tuple(self.principals.values()),
            tokens=tuple(self.tokens.values()),
            connectors=self._connectors(self.store._strike),  # noqa: SLF001 (of this process)
            source="file",
            author="operator",
            keys=self.keyring.verifiers,
            retired=tuple(self.retired),
        )

    async def take_in(self) -> list[str]:
        """Reload: take the changed files into the log; returns what changed, a line each."""
        self.service.log.hold(self.keyring.joined(self.service.log.keyring))
        changes = await self._step(take_in.take_in(self.service, self.proposed(), records.SERVICE))
        self.ids.update(self.service.names)
        return [change.text for change in changes]

    async def change(self, login: str, **changes: Any) -> list[str]:
        """Change what the files say of somebody (`active`, `groups` …), and reload."""
        self.principals[login] = replace(self.principals[login], **changes)
        return await self.take_in()

    async def activate(self, files: Mapping[str, bytes]) -> list[str]:
        """Put another policy in force."""
        self.policy = files
        return await self.take_in()

    # --- time, faults and crashes ------------------------------------------------------------

    async def advance(self, time: timedelta) -> None:
        """Time passes, and the worker does at every due moment what is due, to rest."""
        until = self.clock.elapsed + time.total_seconds()
        await self.work()
        while (wait := self.worker.next_look()) is not None:
            left = until - self.clock.elapsed
            if wait > left or left <= 0:
                break
            # never less than the millisecond that records are written in: time goes on
            self.clock.advance(timedelta(seconds=min(max(wait, 0.001), left)))
            await self.work()
        self.clock.advance(timedelta(seconds=max(0.0, until - self.clock.elapsed)))
        await self.work()

    async def work(self) -> None:
        """The worker does all that is due at this moment."""
        await self._step(self.worker.catch_up())

    async def restart(self) -> None:
        """
        The process ends wherever it is, and another starts on the same files.

        Whatever it was doing is cancelled, as it would be by a crash; the targets live on.
        """
        await self._close()
        self._open()
        if self.checking:
            self.check()

    def break_log(self, *points: str) -> None:
        """
        From now on appends fail at these points; by default before the commit.

        `log:commit` and `head:write` fail, `log:committed` and `head:written` fail but persist.
        """
        self._faults |= set(points or ("log:commit",))

    def mend_log(self) -> None:
        self._faults.clear()

    # --- the check ---------------------------------------------------------------------------

    async def _step(self, step: Awaitable[_T]) -> _T:
        """One step, and then the check, whether it went well or not; never amid another step."""
        self._under_way += 1
        try:
            return await step
        finally:
            self._under_way -= 1
            if self.checking and not self._under_way:
                self.check()

    def check(self) -> None:
        """Raises `AssertionError` saying what does not hold."""
        for bug in self._bugs.found:
            raise AssertionError("the worker met a bug") from bug
        kept = [*self._heads[:1], *self._heads[-3:]]
        standing.check_log(self.store, self.service.log.keys.known, kept)
        for note in (self._node.heads.read(), self.service.log.checkpoint):
            standing.hold(note is not None, "the head store is empty")
            if note is not None and note not in self._heads[-3:]:
                self._heads.append(note)
        cases = standing.check_cases(self.store)
        if self.service.log.trouble is None:
            wrong = sweep.wrong_rows(self.service)
            standing.hold(not wrong, f"the lists are wrong on {wrong}")
        for target in self.targets.values():
            standing.check_target(target, PREFIX, cases)
        standing.check_secrets(self.folder, self._handed_out)


def case_id(case: CaseLike) -> str:
    """The id of a case, from whatever a step returned."""
    if isinstance(case, str):
        return case
    return case.id if isinstance(case, AccessCase) else case.case.id


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    """Whether a task runs the product's own code, and is not the one that asks."""
    code = getattr(task.get_coro(), "cr_code", None)
    return task is not asyncio.current_task() and "/muniment/" in getattr(code, "co_filename", "")
