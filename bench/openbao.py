"""
OpenBao as a yardstick: its database engine on the same PostgreSQL, its file audit device on.

A development server keeps its storage in memory, which is its fastest way to run: what it issues is
gone with it, while ours is durable. Set up as its documentation does, with SCRAM verifiers made on
its side as ours are.
"""

import asyncio
import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.installation import Failed, cpu_of, ended
from bench.load import Client
from muniment.testing.postgres_server import PostgresServer

_TRIES = 200
_CREATE = (
    """CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"""
    """ GRANT app_rw TO "{{name}}";"""
)


@dataclass(frozen=True, kw_only=True)
class OpenBao:
    """A running server."""

    port: int
    pid: int
    audit_log: Path
    token: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Vault-Token": self.token}

    def cpu(self) -> float:
        return cpu_of(self.pid)


def program() -> str | None:
    """Where `bao` is: from the wheel in our environment, or installed."""
    return shutil.which(str(Path(sys.executable).with_name("bao"))) or shutil.which("bao")


@contextlib.asynccontextmanager
async def serving(folder: Path, postgres: PostgresServer, ttl: int) -> AsyncIterator[OpenBao]:
    """With the role `app`, whose credentials live `ttl` seconds."""
    with _process(folder) as bao:
        async with await _connected(bao) as client:
            await client.post("/v1/sys/mounts/database", {"type": "database"})
            await client.post("/v1/database/config/target", _config(postgres))
            await client.post("/v1/database/roles/app", {
                "db_name": "target", "creation_statements": [_CREATE],
                "default_ttl": f"{ttl}s", "max_ttl": f"{ttl}s",
            })  # fmt: skip
        yield bao


def _config(postgres: PostgresServer) -> dict[str, object]:
    place = f"{postgres.host}:{postgres.port}/postgres?sslmode=disable"
    return {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": ["app"],
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{place}",
        "username": postgres.superuser,
        "password": postgres.superuser_password,
        "password_authentication": "scram-sha-256",
        "max_open_connections": 8,
        "max_idle_connections": 8,
    }


@contextlib.contextmanager
def _process(folder: Path) -> Iterator[OpenBao]:
    bao = program()
    if bao is None:
        raise Failed("no `bao` here: pip install -r requirements/bench.txt")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    token, audit_log, config = secrets.token_hex(16), folder / "audit.log", folder / "bao.hcl"
    config.write_text(
        f'audit "file" "file" {{ options {{ file_path = {json.dumps(str(audit_log))} }} }}\n'
    )
    with (folder / "bao.log").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 (found above; loopback only)
            [bao, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={token}",
             f"-dev-listen-address=127.0.0.1:{port}", f"-config={config}"],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    with ended(process):
        yield OpenBao(port=port, pid=process.pid, audit_log=audit_log, token=token)


async def _connected(bao: OpenBao) -> Client:
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            client = await Client.to(bao.port, bao.headers)
            await client.get("/v1/sys/health")
            return client
        await asyncio.sleep(0.1)
    raise Failed("OpenBao did not start")
