"""A little history with all that auditors ask about, and its archive on disk."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from scenario_api import ScenarioApi

from muniment.evidence.note import SigningKey
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.archive import Taking
from muniment.interfaces.verifier.folder import Opened
from muniment.operations import observe, reading
from muniment.operations.answer_finding import close_finding
from muniment.operations.heartbeat import beat
from muniment.operations.intake import Intake
from muniment.operations.issue import PickedUp
from muniment.operations.observe_sessions import record_sessions
from muniment.operations.observing import Observing, Source
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.oversight.event import ReaderSettings
from muniment.policy import starter
from muniment.testing.cast import human
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader
from muniment.testing.scenario import ORIGIN, Scenario

MINUTE = timedelta(minutes=1)
_DRIFT = Rule(
    id="access-without-grant",
    title="An account that no grant covers",
    advice="Ask who made it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened, by what auditors call it."""

    scenario: Scenario
    granted: str
    denied: str
    glass: str
    revoked: str
    expired: str
    extended: str
    withdrawn: str
    finding: str
    first_policy: str
    second_policy: str


def observe_with(scenario: Scenario) -> EventsInMemory:
    store = EventsInMemory()
    source = Source(
        name="orders-log",
        resource="orders-prod",
        reader=PlainReader(ReaderSettings(prefix="mun")),
        make_reader=partial(PlainReader, ReaderSettings(prefix="mun")),
        heartbeat=5 * MINUTE,
        expects=("session.opened", "logging.changed"),
    )
    scenario.service.observing = Observing(
        store=store,
        sources={"orders-log": source},
        intake=Intake(service=scenario.service, store=store),
    )
    return store


def line(scenario: Scenario, type: str, account: str, **said: Any) -> bytes:
    at = scenario.service.now().isoformat()
    return json.dumps({"type": type, "at": at, "account": account, **said}).encode()


async def use(scenario: Scenario, picked: PickedUp) -> None:
    """A session of a grant, as the target's log has it."""
    account = picked.issued.account if picked.issued is not None else ""
    sent = [line(scenario, "session.opened", account, session="s1", client="192.0.2.7")]
    await scenario.advance(MINUTE)
    sent.append(line(scenario, "statement", account, session="s1", detail="SELECT 1"))
    await scenario.advance(MINUTE)
    sent.append(line(scenario, "session.closed", account, session="s1"))
    await observe.take(scenario.service, "orders-log", sent, "3")
    await observe.seal(scenario.service)


def in_force(scenario: Scenario) -> str:
    policy = scenario.service.registry.policy
    return "" if policy is None else policy.digest.hex()


async def live(scenario: Scenario) -> History:
    """Three days of an installation."""
    store = observe_with(scenario)
    first = in_force(scenario)
    picked = await scenario.granted()
    await use(scenario, picked)
    await scenario.end("ana", picked)
    await record_sessions(scenario.service, store, picked.case.id)
    denied = await scenario.ask("dan", ticket="")
    withdrawn = await scenario.ask("dan", text='=HYPERLINK("http://x")<script>alert(1)</script>')
    await scenario.withdraw("dan", withdrawn)

    glass = await scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    await scenario.pick_up("bo", glass)
    await scenario.advance(15 * MINUTE)
    await scenario.answer_review("aud", glass, note="the incident was real")

    files = dict(starter.files())
    (name,) = (path for path in files if path.endswith("30-require.cedar"))
    files[name] += b"\n// tightened after the incident\n"
    await scenario.activate(files)

    revoked = await scenario.granted("dan")
    await scenario.revoke("admin", revoked, "not needed any more")
    extended = await scenario.granted("ana", "orders-staging/readwrite", seconds=1200)
    await scenario.extend("ana", extended, 2400)
    await scenario.advance(timedelta(hours=1))
    expired = await scenario.granted("ana", seconds=600)
    await scenario.advance(timedelta(hours=1))

    hit = Hit(
        rule=_DRIFT.id,
        at=scenario.service.now(),
        key="account shadow",
        summary="account shadow on orders-prod is covered by no grant",
        severity="high",
        subjects=(scenario.caller("dan").principal.person,),
    )
    finding = await raise_finding(scenario.service, _DRIFT, {}, hit)
    await close_finding(
        scenario.service, scenario.caller("sec"), finding, "remedied", "the account was dropped"
    )
    scenario.keys.append(SigningKey.generate(ORIGIN))
    await scenario.take_in()
    await beat(scenario.service)
    await reading.of_case(scenario.service, scenario.caller("aud"), scenario.read(picked))
    return History(
        scenario=scenario,
        granted=picked.case.id,
        denied=denied.case.id,
        glass=glass.case.id,
        revoked=revoked.case.id,
        expired=expired.case.id,
        extended=extended.case.id,
        withdrawn=withdrawn.case.id,
        finding=finding,
        first_policy=first,
        second_policy=in_force(scenario),
    )


def cast_with_security(scenario: Scenario) -> Scenario:
    scenario.principals["sec"] = human("sec", "security")
    scenario.principals["mallory"] = human("mallory", "engineering")
    return scenario


class InLoop(httpx.BaseTransport):
    """Requests of another thread to an application that lives in this event loop."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = loop
        self.asked: list[str] = []
        #: ends the request with this number, as a broken line would
        self.breaks_at: int | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if self.breaks_at is not None and len(self.asked) > self.breaks_at:
            raise httpx.ReadError("the line broke")
        request.read()
        done = asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)
        status, headers, body = done.result(timeout=60)
        return httpx.Response(status, headers=headers, content=body)

    async def _answer(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        sent = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.content
        )
        response = await self._transport.handle_async_request(sent)
        return response.status_code, response.headers, await response.aread()


class Desk:
    """Somebody's command line over a scenario."""

    def __init__(self, scenario: Scenario, api: ScenarioApi, folder: Path) -> None:
        self.scenario, self.api, self.folder = scenario, api, folder
        self.transport = InLoop(api.app, asyncio.get_running_loop())

    async def take(
        self, who: str, name: str = "archive", resources: Iterable[str] = (), **given: Any
    ) -> tuple[Taking, Opened]:
        """An archive of the whole history."""
        now = self.scenario.service.now()
        client = Api(
            "http://service",
            self.api._tokens[who],
            transport=self.transport,
        )
        taking = Taking(
            api=client,
            folder=self.folder / name,
            since=given.pop("since", now - timedelta(days=30)),
            until=given.pop("until", now + timedelta(days=1)),
            resources=tuple(resources),
            **given,
        )
        return taking, await asyncio.to_thread(taking.take)
