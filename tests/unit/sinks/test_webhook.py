"""Notices to a program: envelope, signature, and where they go."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from muniment.errors import AddressRefused, Unavailable
from muniment.ports import Notice, Secret
from muniment.runtime.outbound import CheckedOutbound
from muniment.sinks.webhook import Webhook

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = datetime(2026, 11, 21, 10, 0, 30, tzinfo=UTC)
NOTICE = Notice(
    id="ntc_1",
    event="waiting",
    case="mun_1",
    at=datetime(2026, 11, 21, 10, tzinfo=UTC),
    title="Ana asks",
    text="Ana asks",
    html="<p>Ana asks</p>",
    checkpoint="muniment.example/log\n7\nAAAA\n\n— sig\n",
    facts={"case": "mun_1", "code": "ABCD-EFGH", "link": "https://muniment.example/approve/mun_1"},
)


@dataclass
class Receiver:
    """A web server of somebody else."""

    port: int
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head)
            if name
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        answer = f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver(unused_tcp_port: int) -> AsyncIterator[Receiver]:
    made = Receiver(unused_tcp_port)
    async with await asyncio.start_server(made.take, "127.0.0.1", unused_tcp_port):
        yield made


def webhook(receiver: Receiver, *, allowed: bool = True, path: str = "/hook/s3cret") -> Webhook:
    return Webhook(
        "siem",
        Secret(receiver.origin + path),
        Secret(SECRET),
        CheckedOutbound(),
        origin="muniment.example/log",
        now=lambda: NOW,
        allow=(receiver.origin,) if allowed else (),
    )


def verifies(headers: dict[str, str], body: bytes) -> bool:
    """As somebody who has read Standard Webhooks, and not our code, would check it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mine = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return f"v1,{mine}" in headers["webhook-signature"].split(" ")


async def test_a_notice_is_signed_so_that_its_receiver_can_tell(receiver: Receiver) -> None:
    await webhook(receiver).tell(NOTICE)
    [(headers, body)] = receiver.got
    assert verifies(headers, body)
    assert not verifies(headers, body + b" ")
    assert not verifies({**headers, "webhook-timestamp": "1"}, body)
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))


async def test_what_is_sent_again_has_the_same_id(receiver: Receiver) -> None:
    for _ in range(2):
        await webhook(receiver).tell(NOTICE)
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {"ntc_1"}


async def test_it_is_a_cloud_event(receiver: Receiver) -> None:
    await webhook(receiver).tell(NOTICE)
    headers, body = receiver.got[0]
    event: dict[str, Any] = json.loads(body)
    # CloudEvents HTTP binding 1.0 section 3.2.1; core 1.0 section 3.1
    assert headers["content-type"].startswith("application/cloudevents+json")
    required = {"id", "source", "specversion", "type"}
    assert all(isinstance(event[name], str) and event[name] for name in required)
    assert event["specversion"] == "1.0"
    attributes = event.keys() - {"data"}
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in attributes)
    assert event["source"] == "//muniment.example/log"
    assert event["type"] == "muniment.notice.waiting"
    assert event["subject"] == "mun_1"
    assert datetime.fromisoformat(event["time"]) == NOTICE.at
    assert event["data"] == {
        **NOTICE.facts, "title": "Ana asks", "checkpoint": NOTICE.checkpoint
    }  # fmt: skip


@pytest.mark.parametrize("status", [302, 404, 410, 500])
async def test_another_answer_than_yes_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(Unavailable, match=str(status)) as refused:
        await webhook(receiver).tell(NOTICE)
    assert "s3cret" not in str(refused.value)


async def test_our_own_network_is_called_only_where_the_operator_says_so(
    receiver: Receiver,
) -> None:
    with pytest.raises(AddressRefused) as refused:
        await webhook(receiver, allowed=False).tell(NOTICE)
    assert receiver.got == []
    assert "s3cret" not in str(refused.value)


async def test_nobody_there_is_tried_again(
    receiver: Receiver, unused_tcp_port_factory: Any
) -> None:
    gone = Receiver(unused_tcp_port_factory())
    with pytest.raises(Unavailable) as refused:
        await webhook(gone).tell(NOTICE)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!!", "whsec_" + "A" * 8])
def test_what_is_no_key_signs_nothing(receiver: Receiver, secret: str) -> None:
    with pytest.raises(ValueError, match=r"not a key|[Bb]ase64|padding"):
        Webhook(
            "siem",
            Secret(receiver.origin),
            Secret(secret),
            CheckedOutbound(),
            origin="o",
            now=lambda: NOW,
        )
