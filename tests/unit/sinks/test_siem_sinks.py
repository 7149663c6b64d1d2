"""Where events go: a file, a webhook, syslog; and what each takes for taken."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import AddressRefused, Unavailable
from muniment.oversight.siem import SiemEvent
from muniment.ports import Secret
from muniment.runtime.outbound import CheckedOutbound
from muniment.sinks.siem import syslog
from muniment.sinks.siem.cloud_events import EventWebhook
from muniment.sinks.siem.ndjson import EventFile
from muniment.sinks.siem.syslog import Syslog, frame, message
from muniment.testing.siem_receivers import EventReceiver, SyslogReceiver, self_made

ORIGIN = "muniment.example/log"
NOW = datetime(2026, 11, 21, 10, 0, 30, tzinfo=UTC)
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def event(index: int = 4711, **changes: Any) -> SiemEvent:
    body = json.dumps(
        {"activity_id": 1, "metadata": {"sequence": index}, "message": 'Bo "said" \u00e9]\n'},
        separators=(",", ":"),
    )
    made = SiemEvent(
        index=index,
        previous=index - 1 if index else None,
        id=f"mun_{'a2' * 13}/3",
        case=f"mun_{'a2' * 13}",
        kind="grant:authorized",
        leaf=bytes(range(32)),
        at=NOW,
        severity=3,
        schema="user_access",
        body=body.encode(),
    )
    return replace(made, **changes)


def events(*indexes: int) -> list[SiemEvent]:
    return [event(index) for index in indexes]


# --- a file -----------------------------------------------------------------------------------


def sequences(file: Path) -> list[int]:
    return [json.loads(line)["metadata"]["sequence"] for line in file.read_bytes().splitlines()]


async def test_events_stand_in_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    sink = EventFile("disk", file)
    await sink.send(events(1, 2))
    await sink.send(events(3))
    assert file.read_bytes() == b"".join(each.body + b"\n" for each in events(1, 2, 3))
    assert file.stat().st_mode & 0o007 == 0


async def test_a_file_that_was_rotated_away_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    sink = EventFile("disk", file)
    await sink.send(events(1))
    file.rename(tmp_path / "events.ndjson.1")
    await sink.send(events(2))
    assert sequences(tmp_path / "events.ndjson.1") == [1]
    assert sequences(file) == [2]


@pytest.mark.parametrize("cut", [1, 6, 14, 15, 40, 99])
async def test_a_line_that_a_crash_cut_short_is_taken_out(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "events.ndjson"
    whole, torn = event(1).body + b"\n", event(2).body[:cut]
    file.write_bytes(whole + torn)
    await EventFile("disk", file).send(events(2, 3))
    assert sequences(file) == [1, 2, 3]


async def test_a_file_that_holds_nothing_but_a_torn_line_is_mended_too(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(event(1).body[:-1])
    await EventFile("disk", file).send(events(1))
    assert sequences(file) == [1]


async def test_a_long_torn_line_is_found_whole(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(event(1).body + b"\n" + b'{"activity_id":"' + b"x" * 200_000)
    await EventFile("disk", file).send(events(2))
    assert sequences(file) == [1, 2]


@pytest.mark.parametrize("end", [b"PermitRootLogin no", b"\0" * 9, b"x" * (3 << 20)])
async def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "sshd_config"
    file.write_bytes(b"Port 22\n" + end)
    with pytest.raises(Unavailable, match="not ours"):
        await EventFile("disk", file).send(events(1))
    assert file.read_bytes() == b"Port 22\n" + end


async def test_a_folder_that_is_not_there_and_a_pipe_are_troubles_and_not_waits(
    tmp_path: Path,
) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        await EventFile("disk", tmp_path / "gone/events.ndjson").send(events(1))
    with pytest.raises(Unavailable, match="make it"):
        await EventFile("disk", tmp_path / "gone/events.ndjson").look()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unavailable, match="no plain file"):
        await EventFile("disk", tmp_path / "pipe").send(events(1))
    with pytest.raises(Unavailable, match="no file"):
        await EventFile("disk", tmp_path / "pipe").look()
    assert "no file yet" in await EventFile("disk", tmp_path / "events.ndjson").look()


async def test_a_device_is_no_file_to_write_events_to() -> None:
    with pytest.raises(Unavailable):
        await EventFile("disk", Path("/dev/full")).send(events(1))


# --- a webhook --------------------------------------------------------------------------------


def webhook(receiver: EventReceiver, *, allowed: bool = True, **changes: Any) -> EventWebhook:
    return EventWebhook(
        "lake",
        Secret(receiver.origin + "/hook/s3cret"),
        Secret(SECRET),
        CheckedOutbound(),
        origin=ORIGIN,
        now=lambda: NOW,
        allow=(receiver.origin,) if allowed else (),
        **changes,
    )


async def test_a_webhook_gets_a_signed_batch_of_cloud_events(unused_tcp_port: int) -> None:
    async with EventReceiver(unused_tcp_port) as receiver:
        await webhook(receiver, authorization=Secret("Bearer x7")).send(events(7, 8))
    headers, body = receiver.got[0]
    assert headers["content-type"] == "application/cloudevents-batch+json; charset=UTF-8"
    assert headers["authorization"] == "Bearer x7"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mine = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mine}"
    first, second = json.loads(body)
    assert first == {
        "specversion": "1.0",
        "id": event().id,
        "source": f"//{ORIGIN}",
        "type": "muniment.record.grant.authorized",
        "subject": event().case,
        "time": "2026-11-21T10:00:30.000Z",
        "datacontenttype": "application/json",
        "dataschema": "https://schema.ocsf.io/1.8.0/classes/user_access",
        "sequence": "000000000000007",
        "correlationid": event().case,
        "data": json.loads(event(7).body),
    }
    assert second["sequence"] > first["sequence"]


async def test_a_batch_that_is_sent_again_has_the_same_id(unused_tcp_port: int) -> None:
    async with EventReceiver(unused_tcp_port) as receiver:
        for sent in (events(7, 8), events(7, 8), events(7, 8, 9)):
            await webhook(receiver).send(sent)
    first, again, other = (headers["webhook-id"] for headers, _ in receiver.got)
    assert first == again != other


@pytest.mark.parametrize("status", [302, 400, 401, 413, 429, 500, 503, None])
async def test_anything_but_success_is_not_taken(unused_tcp_port: int, status: int | None) -> None:
    async with EventReceiver(unused_tcp_port, answers=lambda _: status) as receiver:
        with pytest.raises(Unavailable) as caught:
            await webhook(receiver).send(events(7))
    assert "s3cret" not in str(caught.value)


async def test_an_address_inside_is_called_only_where_it_is_vouched_for(
    unused_tcp_port: int,
) -> None:
    async with EventReceiver(unused_tcp_port) as receiver:
        with pytest.raises(AddressRefused):
            await webhook(receiver, allowed=False).send(events(7))
        with pytest.raises(AddressRefused):
            await webhook(receiver, allowed=False).look()
        assert "is called" in await webhook(receiver).look()
    assert receiver.asked == 0


# --- syslog -----------------------------------------------------------------------------------


class Tunnel:
    """What both sides need to speak TLS to each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = self_made(folder)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(*self.files)
        self.client = ssl.create_default_context(cafile=self.files[0])


@pytest.fixture
def tunnel(tmp_path: Path) -> Tunnel:
    return Tunnel(tmp_path)


def sink(port: int, context: ssl.SSLContext | None, **changes: Any) -> Syslog:
    host = changes.pop("host", "127.0.0.1")
    return Syslog("siem", host, port, origin=ORIGIN, context=context, **changes)


async def test_a_receiver_gets_whole_messages_that_others_can_read(
    tunnel: Tunnel, unused_tcp_port: int
) -> None:
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        await sink(unused_tcp_port, tunnel.client).send(events(7, 8, 9))
        assert len(receiver.got) == 3
    parsed: Any = jc.parse("syslog", receiver.got[1].decode(), quiet=True)
    read = parsed[0]
    assert (read["priority"], read["version"]) == (10 * 8 + 4, 1)
    assert read["hostname"] == "muniment.example"
    assert (read["appname"], read["msg_id"]) == ("muniment", "grant:authorized")
    assert read["timestamp"] == "2026-11-21T10:00:30.000Z"
    assert read["timestamp_epoch_utc"] == int(NOW.timestamp())
    element = read["structured_data"][0]
    assert element["identity"] == "muniment@32473"
    assert element["parameters"] == {
        "origin": ORIGIN,
        "index": "8",
        "previous": "7",
        "record": event().id,
        "leaf": bytes(range(32)).hex(),
    }
    assert json.loads(receiver.got[1].split(b"] ", 1)[1]) == json.loads(event(8).body)


async def test_a_large_batch_arrives_whole(tunnel: Tunnel, unused_tcp_port: int) -> None:
    large = [event(n, body=b'{"activity_id":1,"x":"' + b"y" * 9_000 + b'"}') for n in range(300)]
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        await sink(unused_tcp_port, tunnel.client).send(large)
        assert receiver.got == [message(each, ORIGIN) for each in large]


@pytest.mark.parametrize("taken", [0, 1, 150])
async def test_what_a_receiver_did_not_read_to_the_end_is_not_taken(
    tunnel: Tunnel, unused_tcp_port: int, taken: int
) -> None:
    """Though every byte was written to the connection without an error."""
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        receiver.dies_after = taken
        with pytest.raises(Unavailable):
            await sink(unused_tcp_port, tunnel.client).send(events(*range(300)))
        assert len(receiver.got) == taken


async def test_a_receiver_that_hangs_up_without_a_word_has_not_taken_it(
    tunnel: Tunnel, unused_tcp_port: int
) -> None:
    """It read everything; but that may be the end of a process that was just killed."""
    async with SyslogReceiver(unused_tcp_port, tunnel.server, polite=False) as receiver:
        with pytest.raises(Unavailable, match=r"close_notify .*`confirmed = false`"):
            await sink(unused_tcp_port, tunnel.client).send(events(7))
        assert len(receiver.got) == 1
        await sink(unused_tcp_port, tunnel.client, confirmed=False).send(events(8))
        assert len(receiver.got) == 2


async def test_a_receiver_that_nobody_vouches_for_gets_nothing(
    tunnel: Tunnel, unused_tcp_port: int
) -> None:
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        stranger = sink(unused_tcp_port, ssl.create_default_context())
        with pytest.raises(Unavailable, match="certificate that is not believed"):
            await stranger.send(events(7))
        assert receiver.got == []


async def test_a_receiver_by_another_name_gets_nothing(
    tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel(tmp_path)
    original = asyncio.open_connection

    async def here(_: str, port: int) -> Any:
        return await original("127.0.0.1", port)

    monkeypatch.setattr(asyncio, "open_connection", here)
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        with pytest.raises(Unavailable, match="certificate that is not believed"):
            await sink(unused_tcp_port, tunnel.client, host="siem.example.com").send(events(7))
        await sink(unused_tcp_port, tunnel.client, host="localhost").send(events(7))
    assert len(receiver.got) == 1


async def test_a_receiver_that_asks_for_a_certificate_is_shown_ours(
    tunnel: Tunnel, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Who shows none is told so only after its own side of the handshake is over."""
    ours = self_made(tmp_path, "muniment")
    tunnel.server.verify_mode = ssl.CERT_REQUIRED
    tunnel.server.load_verify_locations(ours[0])
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        with pytest.raises(Unavailable):
            await sink(unused_tcp_port, tunnel.client).send(events(7))
        assert receiver.got == []
        tunnel.client.load_cert_chain(*ours)
        await sink(unused_tcp_port, tunnel.client).send(events(7))
        assert len(receiver.got) == 1


async def test_a_receiver_that_says_nothing_is_given_up(
    tunnel: Tunnel, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "SECONDS", 0.05)
    never = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", unused_tcp_port):
        for context in (tunnel.client, None):
            with pytest.raises(Unavailable, match="did not answer"):
                await sink(unused_tcp_port, context).send(events(7))
        never.set()


async def test_nobody_there_is_said_without_a_secret(unused_tcp_port: int, tunnel: Tunnel) -> None:
    with pytest.raises(Unavailable, match="could not be talked to"):
        await sink(unused_tcp_port, tunnel.client).send(events(7))


async def test_plain_text_goes_to_a_relay_that_reads_it_to_the_end(unused_tcp_port: int) -> None:
    async with SyslogReceiver(unused_tcp_port) as receiver:
        await sink(unused_tcp_port, None).send(events(7, 8))
        assert len(receiver.got) == 2
        assert await sink(unused_tcp_port, None).look() == "answers, and speaks plain text"


async def test_looking_shakes_hands_and_says_nothing_of_the_log(
    tunnel: Tunnel, unused_tcp_port: int
) -> None:
    async with SyslogReceiver(unused_tcp_port, tunnel.server) as receiver:
        assert "speaks TLSv1.3" in await sink(unused_tcp_port, tunnel.client).look()
        assert receiver.got == []


def test_a_frame_begins_with_the_length_of_its_message() -> None:
    assert frame(b"<110>1 - - - - - -") == b"18 <110>1 - - - - - -"


def test_of_the_first_event_no_previous_one_is_named() -> None:
    assert b"previous" not in message(event(0), ORIGIN)
    assert b'index="0"' in message(event(0), ORIGIN)


@given(origin=st.text(min_size=1, max_size=60), kind=st.text(max_size=60))
def test_no_name_breaks_out_of_its_place_in_a_message(origin: str, kind: str) -> None:
    origin = origin.encode("utf-8", "ignore").decode() or "x"
    said = message(event(kind=kind), origin)
    header, _, rest = said.partition(f"[{syslog.SD_ID} ".encode())
    parts = header.decode("ascii").split(" ")
    assert len(parts) == 7
    assert parts[6] == ""
    assert all(parts[:6])
    assert len(parts[2]) <= 255
    assert len(parts[5]) <= 32
    unescaped = rest.replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\]", b"")
    data, _, body = unescaped.partition(b"] ")
    assert data.count(b'"') == 10
    assert body == event().body.replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\]", b"")
