"""Run the application: its address, logs as JSON, reload on SIGHUP, drain on SIGTERM."""

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from muniment.access import records
from muniment.errors import ConfigInvalid, Malformed, MunimentError, Unavailable
from muniment.interfaces.http.app import Role, make_app
from muniment.interfaces.http.connections import BoundedProtocol
from muniment.interfaces.json_lines import log_as_json
from muniment.operations import witnesses
from muniment.operations.take_in import take_in
from muniment.operations.witnesses import Contradicted
from muniment.runtime.listening import bind, check_address, check_certificate
from muniment.runtime.wiring import Opened, hold_back, open_service, reload, settle_keys

_log = logging.getLogger("muniment")


def serve(folder: Path, listen: str | None = None, role: Role = "all") -> None:
    """Until SIGTERM or SIGINT. Raises `ConfigInvalid`, `LogInvalid` or `Conflict` at start."""
    log_as_json()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.setswitchinterval(0.002)  # the writer thread must not wait 5 ms for the interpreter
    with asyncio.Runner() as runner:
        runner.run(_serve(folder, listen, role))


async def _serve(folder: Path, listen: str | None, role: Role) -> None:
    opened = open_service(folder)
    try:
        _check_role(opened, role)
        opened.follow()
        server = opened.settings.server
        certificate = check_certificate(server, folder)
        # a start that cannot be one takes nothing in
        with bind(*check_address(server, listen)) as listener:
            # what others remember comes before anything that we sign
            try:
                await witnesses.remember(opened.service)
            except Contradicted as error:
                _log.critical("nothing is signed any more, and access only ends: %s", error)
            await _take_in_at_start(opened)
            await _run(opened, folder, listener, certificate, role)
    finally:
        await opened.close()


def _check_role(opened: Opened, role: Role) -> None:
    """A log in files has one process: what that does not do, nobody would. `ConfigInvalid`."""
    if role != "all" and not opened.shared:
        raise ConfigInvalid(
            f"`--role {role}` is for one of several nodes, and this log lies in files that one "
            "process has to itself: serve without it, or name a database in `[store]`"
        )


async def _take_in_at_start(opened: Opened) -> None:
    """
    Where the files do not hold, or cannot be taken in, what the log knows goes on to hold.

    Ends must not wait. Before the first start there is nothing that could go on.
    """
    first = opened.service.registry.policy is None
    try:
        changes = await take_in(opened.service, opened.proposed, records.SERVICE)
    except (Malformed, Unavailable) as error:
        if first and isinstance(error, Malformed):
            raise
        _log.critical("the files were not taken in, the old state goes on: %s", error)
        hold_back(opened)
    else:
        for change in changes:
            _log.info("taken in: %s", change.text)
        settle_keys(opened.service.log, opened.keys, opened.remote)
    if first:
        _log.warning("this was the first start: the policy in the files is the first to hold")


async def _run(
    opened: Opened,
    folder: Path,
    listener: socket.socket,
    certificate: tuple[str, str] | None,
    role: Role,
) -> None:
    certfile, keyfile = certificate or (None, None)
    config = uvicorn.Config(
        make_app(opened, folder, role=role),
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=opened.settings.server.behind_proxy,
        forwarded_allow_ips=list(opened.settings.server.proxies),
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        timeout_graceful_shutdown=15,
    )
    host, port = listener.getsockname()[:2]
    scheme = "https" if certificate else "http"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    _reload_on_hangup(opened, folder)
    serving = uvicorn.Server(config)

    def stop(*_: object) -> None:
        serving.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # for a stop that comes before uvicorn listens for one; afterwards it drains, then raises
        # the signal again for us, and what is left to do is to close the log
        signal.signal(number, stop)
    listener.listen(1024)
    what = {"all": "", "api": " and does nothing that is due", "worker": " as a worker only"}[role]
    print(f"muniment serves on {address}{what}", flush=True)  # noqa: T201 (its address)
    await serving.serve([listener])


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
