"""`[mirrors]` in the settings: where copies go, and what is refused before anything is copied."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.errors import ConfigInvalid, Unavailable
from muniment.runtime import mirrors
from muniment.runtime.mirrors import read_mirrors
from muniment.runtime.settings import Settings
from muniment.stores.tile_s3 import TileBucket, connect

KEYS = {"access_key": "file:access", "secret_key": "file:secret"}


def settings(**named: dict[str, Any]) -> Settings:
    value = {"installation": {"origin": "muniment.example/log"}, "mirrors": named}
    return Settings.model_validate(value)


def bucket(**changes: Any) -> dict[str, Any]:
    return {"kind": "s3", "bucket": "muniment-log", "retention_days": 30, **KEYS, **changes}


class Locking:
    """A client of S3, as far as it is asked here."""

    def __init__(self) -> None:
        self.enabled = "Enabled"
        self.puts: list[dict[str, Any]] = []

    def put_object(self, **named: Any) -> None:
        self.puts.append(named)

    def get_object_lock_configuration(self, **_: Any) -> Any:
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": self.enabled}}


def test_a_directory_is_relative_to_the_settings_and_never_made(tmp_path: Path) -> None:
    """Else the copy would go below the mount point of a disk that is away."""
    section = {"kind": "directory", "path": "disk/log"}
    mirror = read_mirrors(settings(disk=section).mirrors, tmp_path)["disk"]
    with pytest.raises(Unavailable, match="mount its disk"):
        mirror.put("tile/0/000", b"x")
    with pytest.raises(Unavailable, match="mount its disk"):
        mirror.replace("checkpoint", b"x")
    with pytest.raises(Unavailable, match="mount its disk"):
        mirror.get("checkpoint", 9)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "disk/log").mkdir(parents=True)
    mirror.put("tile/0/000", b"x")
    assert (tmp_path / "disk/log/tile/0/000").read_bytes() == b"x"


def test_a_bucket_gets_its_keys_by_reference_and_nobody_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "access").write_text("AKIA-of-ours")
    (tmp_path / "secret").write_text("secret-of-ours")
    given: dict[str, Any] = {}

    def connecting(**named: Any) -> Locking:
        given.update(named)
        return Locking()

    monkeypatch.setattr(mirrors, "connect", connecting)
    section = bucket(endpoint="https://s3.example.com", region="eu-1")
    assert isinstance(read_mirrors(settings(vault=section).mirrors, tmp_path)["vault"], TileBucket)
    assert (given["endpoint"], given["region"]) == ("https://s3.example.com", "eu-1")
    assert given["secret_key"].reveal() == "secret-of-ours"
    assert "of-ours" not in repr(given)


def test_a_bucket_is_asked_whether_it_locks_before_anything_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "access").write_text("a")
    (tmp_path / "secret").write_text("b")
    client = Locking()
    monkeypatch.setattr(mirrors, "connect", lambda **_: client)
    mirror = read_mirrors(settings(vault=bucket()).mirrors, tmp_path)["vault"]
    client.enabled = ""
    with pytest.raises(ConfigInvalid, match="has no Object Lock"):
        mirror.put("tile/0/000", b"x")
    assert client.puts == []
    client.enabled = "Enabled"
    mirror.put("tile/0/000", b"x")
    (put,) = client.puts
    assert (put["ObjectLockMode"], put["IfNoneMatch"]) == ("COMPLIANCE", "*")


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "directory"},
        {"kind": "directory", "path": "x", "bucket": "abc"},
        {"kind": "directory", "path": "x", "prefix": "abc"},
        {"kind": "directory", "path": "x", **KEYS},
        {"kind": "s3", "path": "x", "bucket": "abc", "retention_days": 1},
        bucket(bucket=None),
        bucket(bucket="UPPER"),
        bucket(retention_days=None),
        bucket(retention_days=0),
        bucket(access_key=None),
        bucket(secret_key="plain-text-secret"),
        bucket(prefix="a?b"),
        bucket(kind="ftp"),
        bucket(days=3),
    ],
)
def test_what_is_no_mirror_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(vault={key: value for key, value in section.items() if value is not None})
    assert refused.value.error_count()


@pytest.mark.parametrize("endpoint", ["s3.example.com", "https://key:secret@s3.example.com", "x:"])
def test_an_endpoint_that_is_no_address_is_refused(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "access").write_text("a")
    (tmp_path / "secret").write_text("b")
    with pytest.raises(ConfigInvalid, match="is no address"):
        read_mirrors(settings(vault=bucket(endpoint=endpoint)).mirrors, tmp_path)


def test_a_missing_secret_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"mirrors\.vault\.access_key"):
        read_mirrors(settings(vault=bucket()).mirrors, tmp_path)


def test_without_boto3_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigInvalid, match=r"muniment\[s3\]"):
        connect(region="us-east-1")
