"""
AuthZEN Access Request and Approval Profile, draft 1, sections 13 and 21.4.1: callbacks.

And what must not come of them: nobody is called who was not registered, nothing inside our own
network, and no end of access ever waits for somebody else's server.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from standard_api import BASE, REQUESTS, Api, denial, ok, problem, question

from muniment.access import records
from muniment.errors import AddressRefused, Unavailable
from muniment.evidence.record import Header
from muniment.operations import sweep
from muniment.operations.callback import record_case
from muniment.operations.service import Callback
from muniment.ports import Reply, Secret
from muniment.runtime.outbound import CheckedOutbound

PEP = "https://pep.example.com/callbacks"
KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Post:
    """An outside that takes what it is sent, or fails as it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], bytes]] = []
        #: what the next exchanges give; then 204
        self.next: list[int | Exception] = []
        self.refused: set[str] = set()

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        if url in self.refused:
            raise AddressRefused

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 (as the port has it)
        max_bytes: int,
        allow: Collection[str] = (),
    ) -> Reply:
        await self.check(url, allow=allow)
        answer = self.next.pop(0) if self.next else 204
        if isinstance(answer, Exception):
            raise answer
        self.sent.append((url, dict(headers), body))
        return Reply(status=answer, headers={}, body=b"")

    @property
    def notices(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.sent]


@pytest.fixture
def post(api: Api) -> Post:
    """The outside, with one place that ana may name."""
    made = Post()
    api.scenario.service.outbound = made
    api.scenario.service.callbacks = {PEP: registered(PEP, "ana")}
    return made


def registered(endpoint: str, *logins: str, allow: str = "") -> Callback:
    return Callback(
        endpoint=endpoint,
        principals=frozenset(logins),
        secret=Secret(SECRET),
        allow=frozenset((allow,)) if allow else frozenset(),
    )


async def called_back(api: Api, **callback: Any) -> str:
    """A request that waits, whose end is to be told."""
    answer = await api.submit(callback={"endpoint": PEP, **callback})
    task: str = answer["task"]["id"]
    return task


def settled(api: Api, task: str) -> records.CallbackSettled | None:
    """What the log says came of the notice."""
    entries = api.scenario.service.log.read_case(record_case(task))
    if not entries:
        return None
    assert [entry.header.kind for entry in entries] == ["callback:settled", "case:closed"]
    record = records.parse(entries[0].header)
    assert isinstance(record, records.CallbackSettled)
    return record


def due(api: Api) -> list[str]:
    return api.scenario.service.projections.due("2099", callbacks=True)


# --- who may be told, and where -------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://elsewhere.example.com/",
        f"{PEP}/",
        f"{PEP}?a=b",
        PEP.replace("https", "http"),
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
    ],
)
async def test_section_13_an_endpoint_that_nobody_registered_is_refused(
    api: Api, post: Post, endpoint: str
) -> None:
    body = await api.submission(callback={"endpoint": endpoint})
    problem(await api.post("ana", REQUESTS, body), 403)
    assert api.scenario.service.projections.cases() == []
    assert post.sent == []


async def test_section_13_an_endpoint_is_registered_for_some_and_not_for_all(
    api: Api, post: Post
) -> None:
    body = await api.submission("dan", callback={"endpoint": PEP})
    problem(await api.post("dan", REQUESTS, body), 403)
    assert post.sent == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"]
)
async def test_section_13_a_registered_name_that_leads_inside_is_refused_at_once(
    api: Api, address: str
) -> None:
    api.scenario.service.callbacks = {PEP: registered(PEP, "ana")}
    api.names.addresses = (address,)
    body = await api.submission(callback={"endpoint": PEP})
    problem(await api.post("ana", REQUESTS, body), 400)
    assert api.scenario.service.projections.cases() == []


async def test_section_13_an_internal_address_is_called_only_where_it_is_allowed(api: Api) -> None:
    api.names.addresses = ("10.0.0.1",)
    api.scenario.service.callbacks = {
        PEP: registered(PEP, "ana", allow="https://pep.example.com"),
        f"{PEP}/other": registered(f"{PEP}/other", "ana"),
    }
    body = await api.submission(callback={"endpoint": PEP})
    assert (await api.post("ana", REQUESTS, body)).status_code == 202
    body = await api.submission(callback={"endpoint": f"{PEP}/other"})
    problem(await api.post("ana", REQUESTS, body), 400)


async def test_section_13_a_name_that_changes_its_mind_is_refused_at_delivery_and_recorded(
    api: Api,
) -> None:
    async with listening() as inside:
        endpoint = f"https://pep.example.com:{inside.port}/"
        api.scenario.service.callbacks = {endpoint: registered(endpoint, "ana")}
        task = (await api.submit(callback={"endpoint": endpoint}))["task"]["id"]
        api.names.addresses = ("127.0.0.1",)
        await api.scenario.approve("bo", task)
        await api.scenario.worker.catch_up()
        found = settled(api, task)
        assert found is not None
        assert (found.outcome, found.status) == ("refused", 0)
        assert inside.heard == []
        assert due(api) == []


async def test_section_13_a_redirect_leads_nowhere_and_is_no_delivery(api: Api) -> None:
    async with listening() as inside, listening(redirect_to=inside) as there:
        endpoint = f"http://127.0.0.1:{there.port}/"
        allowed = registered(endpoint, "ana", allow=endpoint.rstrip("/"))
        api.scenario.service.callbacks = {endpoint: allowed}
        api.scenario.service.outbound = CheckedOutbound()
        task = (await api.submit(callback={"endpoint": endpoint}))["task"]["id"]
        await api.scenario.approve("bo", task)
        await api.scenario.worker.catch_up()
        assert len(there.heard) == 1
        assert inside.heard == []
        assert settled(api, task) is None
        assert due(api) != []


@pytest.mark.parametrize("wrong", [{"events": ["approved", "delighted"]}, {"events": "approved"}])
async def test_section_13_events_are_those_of_the_profile(api: Api, post: Post, wrong: Any) -> None:
    body = await api.submission(callback={"endpoint": PEP, **wrong})
    problem(await api.post("ana", REQUESTS, body), 400)
    assert post.sent == []


# --- what is told ---------------------------------------------------------------------------------


async def test_section_13_a_notice_holds_the_task_and_the_state_and_gives_nothing(
    api: Api, post: Post
) -> None:
    task = await called_back(api, state="b3Blbi1kb2N1bWVudC1mbG93")
    assert post.sent == []
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    here = f"{BASE}{REQUESTS}/{task}"
    assert post.notices == [
        {
            "state": "b3Blbi1kb2N1bWVudC1mbG93",
            "task": {"id": task, "status": "approved", "status_endpoint": here},
        }
    ]
    assert post.sent[0][0] == PEP
    assert (await api.poll("ana", task))["task"]["status"] == "approved"


@pytest.mark.parametrize("event", ["approved", "denied", "cancelled", "expired"])
async def test_section_13_each_end_is_told_once_and_recorded(
    api: Api, post: Post, event: str
) -> None:
    task = await called_back(api)
    if event == "approved":
        await api.scenario.approve("bo", task)
    if event == "denied":
        await api.scenario.refuse("bo", task)
    if event == "cancelled":
        ok(await api.post("ana", f"{REQUESTS}/{task}/cancel", {}))
    for _ in range(3):
        await api.scenario.advance(timedelta(hours=9))
    assert [each["task"]["status"] for each in post.notices] == [event]
    assert settled(api, task) == records.CallbackSettled(
        actor=records.SERVICE, about=task, event=event, outcome="delivered", status=204
    )


async def test_section_13_what_is_decided_at_once_is_told_too(api: Api, post: Post) -> None:
    asked = question("ana", ticket="")
    _, denied = await api.denied("ana", asked)
    body = {**asked, "denial": denial(denied), "callback": {"endpoint": PEP}}
    assert (await api.post("ana", REQUESTS, body)).status_code == 201
    await api.scenario.worker.catch_up()
    assert [each["task"]["status"] for each in post.notices] == ["denied"]


async def test_section_13_only_the_events_that_were_asked_for_are_told(
    api: Api, post: Post
) -> None:
    task = await called_back(api, events=["denied", "expired"])
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    assert post.sent == []
    found = settled(api, task)
    assert found is not None
    assert found.outcome == "unwanted"


async def test_section_13_several_items_are_told_of_together_and_when_all_are_decided(
    api: Api, post: Post
) -> None:
    asked = question("ana")
    items = []
    for role in ("readwrite", "personal"):
        one = {**asked, "action": {"name": role}}
        found = denial((await api.denied("ana", one))[1])
        items.append({"resource": one["resource"], "action": one["action"], "denial": found})
    body = {
        "subject": asked["subject"],
        "context": asked["context"],
        "items": items,
        "callback": {"endpoint": PEP},
    }
    task = (await api.post("ana", REQUESTS, body)).json()["task"]
    first, second = (each["case"] for each in task["display"]["urn:muniment:case"])
    await api.scenario.approve("bo", first)
    await api.scenario.worker.catch_up()
    assert post.sent == []
    await api.scenario.refuse("bo", second)
    await api.scenario.advance(timedelta(minutes=10))
    assert [each["task"]["status"] for each in post.notices] == ["partial"]
    told = post.notices[0]["task"]["items"]
    assert [each["status"] for each in told] == ["approved", "denied"]
    assert [each["action"]["name"] for each in told] == ["readwrite", "personal"]
    found_settled = settled(api, task["id"])
    assert found_settled is not None
    assert found_settled.event == "partial"
    assert due(api) == []


async def test_section_13_a_notice_is_signed_as_standard_webhooks_are(api: Api, post: Post) -> None:
    task = await called_back(api)
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    [(_, headers, body)] = post.sent
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(KEY, signed, sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - api.scenario.clock.wall.timestamp()) < 60
    assert SECRET not in str(post.sent)


# --- delivery is durable, bounded, and in nobody's way --------------------------------------------


async def test_a_notice_that_was_not_taken_is_sent_again(api: Api, post: Post) -> None:
    post.next = [Unavailable("no answer"), 500, 302]
    task = await called_back(api)
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    assert settled(api, task) is None
    await api.scenario.advance(timedelta(minutes=1))
    await api.scenario.advance(timedelta(minutes=1))
    await api.scenario.advance(timedelta(minutes=1))
    found = settled(api, task)
    assert found is not None
    assert (found.outcome, found.status) == ("delivered", 204)


@pytest.mark.deep
async def test_a_notice_is_given_up_after_a_day_and_that_is_recorded(api: Api, post: Post) -> None:
    post.next = [Unavailable("no answer")] * 1000
    task = await called_back(api)
    await api.scenario.approve("bo", task)
    for _ in range(26):
        await api.scenario.advance(timedelta(hours=1))
    found = settled(api, task)
    assert found is not None
    assert found.outcome == "abandoned"
    assert due(api) == []
    assert post.sent == []


def change_lists(api: Api, *statements: str) -> None:
    """Somebody with a connection of his own to the database."""
    with contextlib.closing(sqlite3.connect(api.scenario.store.path)) as intruder:
        for statement in statements:
            intruder.execute(statement)
        intruder.commit()


async def test_a_notice_survives_a_restart_and_lost_lists(api: Api, post: Post) -> None:
    post.next = [Unavailable("no answer")] * 2
    task = await called_back(api)
    await api.scenario.approve("bo", task)
    await api.scenario.pick_up("ana", task)
    await api.scenario.worker.catch_up()
    change_lists(api, "DELETE FROM cases", "DELETE FROM due")
    assert sweep.wrong_rows(api.scenario.service)
    sweep.rebuild(api.scenario.service)
    assert sweep.wrong_rows(api.scenario.service) == []
    await api.scenario.restart()
    api.scenario.service.outbound = post
    api.scenario.service.callbacks = {PEP: registered(PEP, "ana")}
    for _ in range(3):
        await api.scenario.advance(timedelta(minutes=1))
    assert len(post.sent) == 1
    assert sweep.wrong_rows(api.scenario.service) == []


async def test_a_line_of_the_lists_that_would_tell_again_is_found_wrong(
    api: Api, post: Post
) -> None:
    task = await called_back(api)
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    change_lists(api, f"INSERT INTO due VALUES ('callback/{task}', '2026-11-21T10:00:00.000Z')")
    assert sweep.wrong_rows(api.scenario.service) == [task]
    await api.scenario.worker.catch_up()
    assert len([each for each in kinds(api) if each == "callback:settled"]) == 1


async def test_a_place_that_is_no_longer_registered_is_not_called(api: Api, post: Post) -> None:
    task = await called_back(api)
    api.scenario.service.callbacks = {}
    await api.scenario.approve("bo", task)
    await api.scenario.worker.catch_up()
    assert post.sent == []
    found = settled(api, task)
    assert found is not None
    assert found.outcome == "forgotten"


async def test_ends_do_not_wait_for_servers_that_do_not_answer(api: Api, post: Post) -> None:
    stuck = asyncio.Event()

    async def never(*_: Any, **__: Any) -> Reply:
        await stuck.wait()
        raise Unavailable

    post.fetch = never  # type: ignore[method-assign]  # that is the fault
    tasks = [await called_back(api) for _ in range(40)]
    for task in tasks:
        await api.scenario.approve("bo", task)
    granted = (await api.granted("dan"))["task"]["id"]
    worker = api.scenario.worker
    await worker.tick()
    api.scenario.clock.advance(timedelta(minutes=31))
    await worker.tick()
    async with asyncio.timeout(5):
        while not api.scenario.read(granted).closed:
            await worker.tick()
            await asyncio.sleep(0)
    stuck.set()
    await worker.settle()


def kinds(api: Api) -> list[str]:
    store, size = api.scenario.store, api.scenario.service.log.size
    return [Header.parse(data).kind for _, data in store.entries(0, size)]


class Listening:
    """A server on 127.0.0.1 that answers, or redirects, everybody."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.heard, self.port = answer, list[bytes](), 0
        self.talks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (talk := asyncio.current_task()) is not None:
            self.talks.add(talk)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(redirect_to: Listening | None = None) -> AsyncIterator[Listening]:
    answer = "HTTP/1.1 204 No Content\r\n\r\n"
    if redirect_to is not None:
        where = f"Location: http://127.0.0.1:{redirect_to.port}/"
        answer = f"HTTP/1.1 307 Temporary Redirect\r\n{where}\r\nContent-Length: 0\r\n\r\n"
    there = Listening(answer.encode())
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
    there.port = server.sockets[0].getsockname()[1]
    try:
        yield there
    finally:
        server.close()
        await asyncio.gather(*there.talks)
