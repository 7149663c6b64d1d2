"""`[mirrors]` in the settings: where copies go, and what is refused before anything is copied."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.errors import ConfigInvalid
from muniment.runtime import mirrors
from muniment.runtime.mirrors import read_mirrors
from muniment.runtime.settings import Settings
from muniment.stores.tile_directory import TileDirectory
from muniment.stores.tile_s3 import TileBucket, connect

KEYS = {"access_key": "file:access", "secret_key": "file:secret"}


def settings(**named: dict[str, Any]) -> Settings:
    value = {"installation": {"origin": "muniment.example/log"}, "mirrors": named}
    return Settings.model_validate(value)


def bucket(**changes: Any) -> dict[str, Any]:
    return {"kind": "s3", "bucket": "muniment-log", "retention_days": 30, **KEYS, **changes}


class Locking:
    """A client of S3, as far as it is asked here."""

    enabled = "Enabled"

    def get_object_lock_configuration(self, **_: Any) -> Any:
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": self.enabled}}


def test_a_directory_is_relative_to_the_settings_and_made(tmp_path: Path) -> None:
    found = read_mirrors(
        settings(disk={"kind": "directory", "path": "copies/log"}).mirrors, tmp_path
    )
    assert isinstance(found["disk"], TileDirectory)
    assert (tmp_path / "copies/log").is_dir()


def test_a_bucket_gets_its_keys_by_reference_and_is_asked_whether_it_locks(
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
    monkeypatch.setattr(Locking, "enabled", "")
    with pytest.raises(ConfigInvalid, match="has no Object Lock"):
        read_mirrors(settings(vault=section).mirrors, tmp_path)


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
