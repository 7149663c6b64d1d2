"""`[siem]` in the settings: who is told of every record, and what is refused before anybody is."""

import re
import ssl
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.errors import ConfigInvalid
from muniment.operations.forwarding import Forwarding
from muniment.runtime.forwarding import read_forwarding
from muniment.runtime.settings import Settings
from muniment.sinks.siem.cloud_events import EventWebhook
from muniment.sinks.siem.ndjson import EventFile
from muniment.sinks.siem.syslog import Syslog
from muniment.testing.siem_receivers import EventReceiver, SyslogReceiver, self_made

KEY = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
WEBHOOK = {"kind": "webhook", "url": "file:url", "secret": "file:secret"}
SYSLOG = {"kind": "syslog", "address": "siem.example.com:6514"}
FILE = {"kind": "file", "path": "events.ndjson"}


def settings(**named: dict[str, Any]) -> Settings:
    value = {"installation": {"origin": "muniment.example/log"}, "siem": named}
    return Settings.model_validate(value)


def read(folder: Path, before: Forwarding | None = None, **named: dict[str, Any]) -> Forwarding:
    return read_forwarding(settings(**named), folder, None, before)


def secrets(folder: Path, url: str = "https://siem.example.com/hook/s3cret") -> None:
    (folder / "url").write_text(url)
    (folder / "secret").write_text(KEY)


def test_each_kind_becomes_its_sink_and_nobody_is_called(tmp_path: Path) -> None:
    secrets(tmp_path)
    found = read(tmp_path, disk=FILE, lake=WEBHOOK, siem=SYSLOG).streams
    assert isinstance(found["disk"].sink, EventFile)
    assert isinstance(found["lake"].sink, EventWebhook)
    assert isinstance(found["siem"].sink, Syslog)
    assert all(stream.wants("finding:raised") for stream in found.values())
    assert not any(stream.from_start for stream in found.values())
    assert list(tmp_path.glob("*.ndjson")) == []


def test_which_records_and_since_when_is_as_the_settings_say(tmp_path: Path) -> None:
    section = {**FILE, "records": ["grant:*", "finding:raised"], "since": "start"}
    stream = read(tmp_path, disk=section).streams["disk"]
    assert stream.from_start
    told = ("grant:revoked", "finding:raised")
    untold = ("finding:seen", "access:requested", "xgrant:ended")
    assert [stream.wants(kind) for kind in (*told, *untold)] == [True] * 2 + [False] * 3


def test_a_reload_keeps_the_counts_and_looks_anew_how_far_each_is(tmp_path: Path) -> None:
    before = read(tmp_path, disk=FILE, siem=SYSLOG)
    before.streams["disk"].failures = 7
    after = read(tmp_path, before, disk=FILE)
    assert after.streams.keys() == {"disk"}
    assert after.streams["disk"].failures == 7
    assert after.streams["disk"].progress is None


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"kind": "file"}, "a file has a `path`"),
        ({**FILE, "address": "siem.example.com:6514"}, "syslog has an `address`"),
        ({**FILE, "url": "file:url"}, "are for a webhook"),
        ({**FILE, "internal": True}, "`internal` is for a webhook"),
        ({**FILE, "confirmed": False}, "are for syslog"),
        ({**FILE, "ca": "ca.pem"}, "for syslog over TLS"),
        ({"kind": "webhook", "url": "file:url"}, "a `url` and a `secret`"),
        ({**WEBHOOK, "url": "https://siem.example.com/?key=s3cret"}, "write a reference"),
        ({**WEBHOOK, "authorization": "Bearer s3cret"}, "write a reference"),
        ({**WEBHOOK, "tls": False}, "are for syslog"),
        ({"kind": "syslog"}, "syslog has an `address`"),
        ({**SYSLOG, "address": "siem.example.com"}, "match pattern"),
        ({**SYSLOG, "address": "siem.example.com:0"}, "host and port"),
        ({**SYSLOG, "address": "siem.example.com:70000"}, "host and port"),
        ({**SYSLOG, "tls": False}, "relay on this machine"),
        ({**SYSLOG, "tls": False, "address": "10.0.0.7:601"}, "relay on this machine"),
        ({**SYSLOG, "tls": False, "address": "localhost:601"}, "relay on this machine"),
        ({**SYSLOG, "tls_key": "k.pem"}, "go together"),
        ({**SYSLOG, "tls": False, "address": "127.0.0.1:601", "ca": "c"}, "over TLS"),
        ({**FILE, "records": ["grants:*"]}, "no kind of record"),
        ({**FILE, "since": "yesterday"}, "'now' or 'start'"),
        ({**FILE, "kind": "kafka"}, "'file', 'webhook' or 'syslog'"),
    ],
)
def test_what_does_not_belong_together_is_refused(section: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(siem=section)
    assert why in str(caught.value.errors()[0]["msg"])
    assert "s3cret" not in str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize("address", ["127.0.0.1:601", "[::1]:601", "127.8.9.10:601"])
def test_plain_text_goes_to_this_machine(tmp_path: Path, address: str) -> None:
    found = read(tmp_path, relay={"kind": "syslog", "address": address, "tls": False})
    assert isinstance(found.streams["relay"].sink, Syslog)


@pytest.mark.parametrize(
    ("url", "changes", "why"),
    [
        ("http://siem.example.com/s3cret", {}, "begins with `https://`"),
        ("ftp://siem.example.com/s3cret", {"internal": True}, "lake.url"),
        ("https://u:s3cret@siem.example.com/", {}, "user name"),
        ("https://siem.example.com/", {"secret": "file:url"}, "lake.secret` is no key"),
        ("https://siem.example.com/", {"secret": "file:gone"}, "No such file"),
        ("https://siem.example.com/", {"authorization": "file:lines"}, "not one line"),
    ],
)
def test_a_webhook_that_cannot_be_one_is_refused_without_its_secret(
    tmp_path: Path, url: str, changes: dict[str, Any], why: str
) -> None:
    secrets(tmp_path, url)
    (tmp_path / "lines").write_text("Bearer s3cret\nX-Other: y")
    with pytest.raises(ConfigInvalid, match=why) as caught:
        read(tmp_path, lake={**WEBHOOK, **changes})
    assert "s3cret" not in str(caught.value)


def test_certificates_are_read_before_anybody_is_told(tmp_path: Path) -> None:
    ours, key = self_made(tmp_path, "ours")
    self_made(tmp_path, "other")
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(ConfigInvalid, match=r"`siem\.siem\.ca`"):
        read(tmp_path, siem={**SYSLOG, "ca": "gone.pem"})
    with pytest.raises(ConfigInvalid, match=r"`siem\.siem\.ca`"):
        read(tmp_path, siem={**SYSLOG, "ca": "empty.pem"})
    pair = {"tls_certificate": ours.name, "tls_key": "other.key"}
    with pytest.raises(ConfigInvalid, match="do not go together"):
        read(tmp_path, siem={**SYSLOG, **pair})
    read(tmp_path, siem={**SYSLOG, **pair, "tls_key": key.name, "ca": ours.name})


async def test_looking_says_who_is_there(tmp_path: Path, unused_tcp_port: int) -> None:
    """What `muniment check --targets` prints."""
    certificate, key = self_made(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    section = {**SYSLOG, "address": f"127.0.0.1:{unused_tcp_port}", "ca": certificate.name}
    async with SyslogReceiver(unused_tcp_port, server) as receiver:
        assert "TLSv1" in await read(tmp_path, siem=section).streams["siem"].sink.look()
        assert receiver.got == []
    async with EventReceiver(unused_tcp_port) as web:
        secrets(tmp_path, web.origin)
        found = read(tmp_path, lake={**WEBHOOK, "internal": True}, disk=FILE)
        assert "is called" in await found.streams["lake"].sink.look()
        assert "no file yet" in await found.streams["disk"].sink.look()
        assert web.asked == 0


DOCUMENT = (Path(__file__).parents[3] / "docs/how-to/siem.md").read_text("utf-8")


def shown(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_sections_that_are_shown_to_readers_hold() -> None:
    sections = [tomllib.loads(block)["siem"] for block in shown("toml")]
    assert len(sections) == 5
    for section in sections:
        assert settings(**section).siem.keys() == section.keys()


def test_the_way_of_finding_gaps_that_is_shown_to_readers_finds_them() -> None:
    given: dict[str, Any] = {}
    exec(shown("python")[0], given)

    def events(*pairs: tuple[int, int | None]) -> list[Any]:
        return [
            {"unmapped": {"muniment": {"log": {"index": index, "previous": previous}}}}
            for index, previous in pairs
        ]

    assert given["missing"](events((7, 3), (8, 7), (12, 8), (8, 7), (12, 8), (13, 12))) == []
    assert given["missing"](events((0, None), (1, 0), (5, 3), (6, 5))) == [(3, 5)]
