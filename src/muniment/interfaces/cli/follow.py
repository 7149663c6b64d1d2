"""
`muniment audit --follow`: a monitor of the log, on the machine of another team.

It audits what is new, again and again, from the head that it remembers. A history that contradicts
that head, or tiles that do not hold, are an alert; so is a log that cannot be read for a while.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import click

from muniment.errors import Malformed, Refused, Unavailable
from muniment.evidence import moment
from muniment.evidence.audit import graded
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.verdict import NOBODY, Reader
from muniment.interfaces.cli.remembered import RememberedHead
from muniment.interfaces.cli.tile_audit import Examined, examine
from muniment.interfaces.cli.tile_sources import Source
from muniment.runtime import clock

#: checks in a row in which the log could not be read, until that is an alert
PATIENCE: Final = 3
#: seconds that the program that is told of an alert may take
ALERT_TIME: Final = 60
UNREADABLE: Final = "UNREADABLE"


class Stopped(Exception):
    """the monitor was told to end"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one check came to."""

    at: datetime
    #: a verdict of the audit, or `UNREADABLE`
    verdict: str
    what: str
    examined: Examined | None = None

    @property
    def holds(self) -> bool:
        return self.examined is not None and self.examined.found.holds

    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "at": moment.text(self.at),
            "verdict": self.verdict,
            "holds": self.holds,
            "what": self.what,
        }
        if self.examined is None:
            return value
        newest = self.examined.found.checkpoint
        if newest is not None:
            value |= {"size": newest.size, "root": newest.root.hex()}
        return {**value, "evidence": [str(path) for path in self.examined.evidence]}


@dataclass(kw_only=True)
class Standing:
    """What the checks so far say; read by whoever scrapes."""

    log: str
    checks: int = 0
    unreadable: int = 0
    size: int = 0
    consistent: bool = True
    readable: bool = False
    #: seconds since 1970
    succeeded: float = 0.0
    #: when a head of this size was first seen
    grown: float = 0.0
    #: by witnesses that the policy counts; None where the user named no policy
    cosignatures: int | None = None

    def take(self, check: Check) -> None:
        self.checks += 1
        self.readable = check.examined is not None
        self.unreadable = 0 if self.readable else self.unreadable + 1
        if check.examined is None:
            return
        self.consistent = check.holds
        newest = check.examined.found.checkpoint
        if not check.holds or newest is None:
            return
        self.succeeded = check.at.timestamp()
        vouched = check.examined.found.vouched
        if self.cosignatures is not None:
            self.cosignatures = vouched.k if vouched is not None else 0
        if newest.size != self.size or not self.grown:
            self.size, self.grown = newest.size, self.succeeded

    def metrics(self, now: float) -> Iterator[str]:
        """Prometheus text. A head is as old as this monitor knows it: it has no time in it."""
        label = self.log.replace("\\", r"\\").replace('"', r"\"")
        age = now - self.grown if self.grown else 0.0
        for name, kind, value in (
            ("size", "gauge", self.size),
            ("consistent", "gauge", int(self.consistent)),
            ("readable", "gauge", int(self.readable)),
            ("last_success_timestamp_seconds", "gauge", self.succeeded),
            ("head_age_seconds", "gauge", round(age, 3)),
            ("checks_total", "counter", self.checks),
            ("cosignatures", "gauge", self.cosignatures),
        ):
            if value is None:
                continue
            yield f"# TYPE muniment_monitor_{name} {kind}"
            yield f'muniment_monitor_{name}{{log="{label}"}} {value}'


@dataclass(kw_only=True)
class Monitor:
    """Checks one log at an interval, and says what it finds."""

    source: Source
    key: ReadersKeys
    remembered: RememberedHead
    heads: Sequence[bytes] = ()
    #: whom the user trusts beside the log's key
    reader: Reader = NOBODY
    #: seconds between two checks
    every: float = 60.0
    #: a program that is told of alerts
    on_alert: Path | None = None
    #: go on after a history that does not hold
    go_on: bool = False
    say: Callable[[Check], None] = lambda _check: None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        counted = 0 if self.reader.policy is not None else None
        self.standing = Standing(log=named(self.key)[0].name, cosignatures=counted)
        self._alerting = ""

    def run(self) -> int:
        """Until it is stopped, which gives 0, or until the log does not hold, which gives 1."""
        with contextlib.suppress(Stopped):
            while not self.stop.is_set():
                check = self.check()
                self.standing.take(check)
                self.say(check)
                self._alert(check)
                if check.examined is not None and not check.holds and not self.go_on:
                    return 1
                self.stop.wait(self.every)
        return 0

    def check(self) -> Check:
        """Raises `Malformed` where what was remembered is damaged, and `Stopped`."""
        try:
            examined = examine(
                self.source, self.key, self.remembered, self.heads, progress=self._go_on
            )
        except (Refused, Unavailable) as error:
            return Check(at=clock.now(), verdict=UNREADABLE, what=str(error))
        found = graded(examined.found, self.key, self.reader)
        examined = replace(examined, found=found)
        what = str(found.bad or "")
        if found.holds and found.checkpoint is not None:
            what = f"{found.checkpoint.size - self.standing.size:+,} entries"
        elif found.bad is None:
            what = "this log and the remembered head are not of one history"
        return Check(at=clock.now(), verdict=found.verdict.value, what=what, examined=examined)

    def _go_on(self, _done: int, _total: int) -> None:
        if self.stop.is_set():
            raise Stopped

    def _alert(self, check: Check) -> None:
        """Once when it begins, and again when it became something else."""
        alert = "" if check.holds else check.verdict
        if check.examined is None and self.standing.unreadable < PATIENCE:
            return
        began, self._alerting = alert != self._alerting, alert
        if alert and began and self.on_alert is not None:
            tell(self.on_alert, {"alert": alert, "log": self.source.name, **check.json()})


def tell(program: Path, alert: dict[str, Any]) -> None:
    """Run a program, without a shell, with the alert on its standard input; it may fail."""
    # what reads the log is not for whoever is told of it
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
    try:
        subprocess.run(  # noqa: S603 (the program that whoever started us named)
            [program],
            input=json.dumps(alert).encode() + b"\n",
            stdout=subprocess.DEVNULL,
            env=kept,
            timeout=ALERT_TIME,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        click.echo(f"muniment: the alert was not delivered: {error}", err=True)


def follow(monitor: Monitor, metrics: str | None) -> int:
    """Run a monitor until SIGTERM or SIGINT; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: monitor.stop.set())
    with contextlib.ExitStack() as served:
        if metrics is not None:
            where = served.enter_context(scraped(monitor.standing, address(metrics)))
            click.echo(f"metrics on http://{where[0]}:{where[1]}/metrics", err=True)
        return monitor.run()


def say_line(check: Check) -> None:
    print(line(check), flush=True)


def say_json(check: Check) -> None:
    print(json.dumps(check.json()), flush=True)


def line(check: Check) -> str:
    """For people, who may look at many of them."""
    examined = check.examined
    newest = examined.found.checkpoint if examined is not None else None
    size = f" at size {newest.size:,}" if newest is not None else ""
    kept = "".join(f"; kept {path}" for path in examined.evidence) if examined is not None else ""
    return f"{moment.text(check.at)} {check.verdict}{size}: {check.what}{kept}"


def address(value: str) -> tuple[str, int]:
    """`127.0.0.1:9100`; raises `Malformed`."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise Malformed(f"`{value}` is no address and port, as in `127.0.0.1:9100`")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def scraped(standing: Standing, at: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Serve `/metrics` for as long as it is entered; where. Raises `Malformed`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            lines = list(standing.metrics(clock.now().timestamp())) if found else ["not here"]
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Who scrapes is nothing to report."""

    try:
        server = ThreadingHTTPServer(at, Handler)
    except OSError as error:
        raise Malformed(f"metrics cannot be served on {at[0]}:{at[1]}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield at[0], server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
