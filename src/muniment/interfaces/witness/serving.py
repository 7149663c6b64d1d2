"""Run a witness: its address, its one worker, logs as JSON, drain on SIGTERM."""

import asyncio
import ipaddress
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette

from muniment.errors import ConfigInvalid
from muniment.evidence.witness import Witness
from muniment.interfaces.json_lines import log_as_json
from muniment.interfaces.witness.app import make_app
from muniment.interfaces.witness.connections import PATIENCE_SECONDS, ImpatientProtocol
from muniment.interfaces.witness.folder import KnownLogs, WitnessFolder
from muniment.runtime import clock

#: connections at once; above them a request is answered 503
MAX_CONNECTIONS: Final = 512
DRAIN_SECONDS: Final = 15


@dataclass(frozen=True)
class Listening:
    """Where a witness listens, and how it is protected there."""

    address: str
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    def host_and_port(self) -> tuple[str, int]:
        """Raises `ConfigInvalid` for an address that others reach without TLS."""
        host, _, port = self.address.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 (ports end there)
            raise ConfigInvalid(f"`{self.address}` is no HOST:PORT")
        if self.certificate is None and not self.behind_proxy and not _is_loopback(host):
            raise ConfigInvalid(
                f"`{host}` is reachable by others: give `--tls-certificate` and `--tls-key`, or "
                "`--behind-proxy` if a proxy in front speaks TLS"
            )
        return host, int(port)

    def check_certificate(self) -> None:
        """Raises `ConfigInvalid` if certificate and key cannot be used together."""
        if (self.certificate is None) != (self.key is None):
            raise ConfigInvalid("`--tls-certificate` and `--tls-key` are given together")
        if self.certificate is None or self.key is None:
            return
        try:
            # with an empty password, where one is needed: nobody is asked for it at a start
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:  # an `SSLError` is one
            raise ConfigInvalid(
                f"`--tls-certificate` and `--tls-key` cannot be used: {error.strerror or error}"
            ) from error

    def bind(self) -> socket.socket:
        """Raises `ConfigInvalid` if the port cannot be had."""
        host, port = self.host_and_port()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            bound.close()
            raise ConfigInvalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
        return bound


def serve(folder: WitnessFolder, listening: Listening) -> None:
    """
    Until SIGTERM or SIGINT.

    Raises `ConfigInvalid` at start, and `LogInvalid` if what the witness remembered is gone.
    """
    log_as_json()
    listening.check_certificate()
    key, logs = folder.key(), KnownLogs(folder)
    with listening.bind() as listener, ThreadPoolExecutor(1, "witness") as worker:
        store = folder.store(key.verifier)
        try:
            witness = Witness(key, store, logs, lambda: int(clock.now().timestamp()))
            app = make_app(witness, store, worker)
            asyncio.run(_run(app, key.name, listening, listener))
        finally:
            store.close()


async def _run(app: Starlette, name: str, listening: Listening, listener: socket.socket) -> None:
    secured = listening.certificate is not None
    serving = uvicorn.Server(
        uvicorn.Config(
            app,
            http=ImpatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nobody asks here who the client is
            server_header=False,
            ssl_certfile=listening.certificate,
            ssl_keyfile=listening.key,
            limit_concurrency=MAX_CONNECTIONS,
            # a log that publishes every ten seconds keeps its connection
            timeout_keep_alive=int(PATIENCE_SECONDS),
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )

    def stop(*_: object) -> None:
        serving.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # for a stop that comes before uvicorn listens for one; afterwards it drains, then raises
        # the signal again for us, and what is left to do is to close the store
        signal.signal(number, stop)
    # where others read their files again; changed logs are taken up without it
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    host, port = listener.getsockname()[:2]
    scheme = "https" if secured else "http"
    listener.listen(1024)
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"witness {name} serves on {address}", flush=True)  # noqa: T201 (its address)
    await serving.serve([listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
