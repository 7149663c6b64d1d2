"""Run the application: the address rule, logs as JSON, reload on SIGHUP, drain on SIGTERM."""

import asyncio
import ipaddress
import json
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop

from muniment.access import records
from muniment.errors import ConfigInvalid, Malformed, MunimentError, Unavailable
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import take_in
from muniment.runtime.settings import Server
from muniment.runtime.wiring import Opened, open_service, reload

_log = logging.getLogger("muniment")


def serve(folder: Path, listen: str | None = None) -> None:
    """Until SIGTERM or SIGINT. Raises `ConfigInvalid`, `LogInvalid` or `Conflict` at start."""
    _log_as_json()
    sys.setswitchinterval(0.002)  # the writer thread must not wait 5 ms for the interpreter
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(folder, listen))


async def _serve(folder: Path, listen: str | None) -> None:
    opened = open_service(folder)
    try:
        host, port = check_address(opened.settings.server, listen)
        first = opened.service.registry.policy is None
        await _take_in_at_start(opened, first=first)
        if first:
            _log.warning("this was the first start: the policy in the files is the first to hold")
        await _run(opened, folder, host, port)
    finally:
        await opened.close()


async def _take_in_at_start(opened: Opened, *, first: bool) -> None:
    """
    Where the files do not hold, or cannot be taken in, what the log knows goes on to hold.

    Ends must not wait. Before the first start there is nothing that could go on.
    """
    try:
        changes = await take_in(opened.service, opened.proposed, records.SERVICE)
    except (Malformed, Unavailable) as error:
        if first and isinstance(error, Malformed):
            raise
        _log.critical("the files were not taken in, the old state goes on: %s", error)
    else:
        for change in changes:
            _log.info("taken in: %s", change.text)


async def _run(opened: Opened, folder: Path, host: str, port: int) -> None:
    server = opened.settings.server
    config = uvicorn.Config(
        make_app(opened, folder),
        log_config=None,
        access_log=False,
        proxy_headers=server.behind_proxy,
        ssl_certfile=str(folder / server.tls_certificate) if server.tls_certificate else None,
        ssl_keyfile=str(folder / server.tls_key) if server.tls_key else None,
        timeout_graceful_shutdown=15,
        h11_max_incomplete_event_size=64 * 1024,
    )
    _load(config)
    listener = _listener(host, port)
    actual = listener.getsockname()[1]
    scheme = "https" if server.tls_certificate else "http"
    _reload_on_hangup(opened, folder)
    serving = uvicorn.Server(config)

    def stop(*_: object) -> None:
        serving.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # for a stop that comes before uvicorn listens for one; afterwards it drains, then raises
        # the signal again for us, and what is left to do is to close the log
        signal.signal(number, stop)
    print(f"muniment serves on {scheme}://{host}:{actual}", flush=True)  # noqa: T201 (its address)
    await serving.serve([listener])


def _load(config: uvicorn.Config) -> None:
    """Raises `ConfigInvalid` for a certificate or key that cannot be used."""
    try:
        config.load()
    except OSError as error:  # an `SSLError` is one
        raise ConfigInvalid(
            f"`tls_certificate` and `tls_key` cannot be used ({config.ssl_certfile}, "
            f"{config.ssl_keyfile}): {error.strerror or error}"
        ) from error


def check_address(server: Server, listen: str | None) -> tuple[str, int]:
    """Raises `ConfigInvalid` for an address that others reach without TLS."""
    host, _, port = (listen or server.listen).rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 (ports end there)
        raise ConfigInvalid(f"`{listen or server.listen}` is no HOST:PORT")
    secured = server.tls_certificate is not None or server.behind_proxy
    if not secured and not _is_loopback(host):
        raise ConfigInvalid(
            f"`{host}` is reachable by others: set `tls_certificate` and `tls_key`, or "
            "`behind_proxy = true` if a proxy in front speaks TLS"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    """Raises `ConfigInvalid` if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigInvalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(1024)
    return listener


def _reload_on_hangup(opened: Opened, folder: Path) -> None:
    running: set[asyncio.Task[None]] = set()

    def hangup() -> None:
        task = asyncio.create_task(_reload(opened, folder))
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup)


async def _reload(opened: Opened, folder: Path) -> None:
    try:
        changes = await reload(opened, folder, records.SERVICE)
    except MunimentError as error:
        _log.error("nothing was taken in, the old state goes on: %s", error)
    else:
        _log.info("taken in: %s", "; ".join(changes) or "nothing had changed")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and what the caller added."""

    #: what every record has, and uvicorn's message in colours
    _LEFT_OUT = frozenset((*vars(logging.makeLogRecord({})), "message", "color_message"))

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in self._LEFT_OUT}
        if record.exc_info:
            extra["error"] = self.formatException(record.exc_info)
        return json.dumps({**line, **extra}, default=str)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
