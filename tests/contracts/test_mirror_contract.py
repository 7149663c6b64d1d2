"""Whatever keeps a copy of the log: a folder, and a bucket that locks what is put into it."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from object_store import BUCKET, Identity, ObjectStore, identity, need_object_store, running

pytest.register_assert_rewrite("muniment.testing.mirror_contract")

from muniment.errors import ConfigInvalid, LogInvalid, Unavailable  # noqa: E402
from muniment.evidence.audit_tiles import audit_tiles  # noqa: E402
from muniment.evidence.store import Published  # noqa: E402
from muniment.evidence.tile_log import MAX_RESOURCE, TileLog  # noqa: E402
from muniment.operations.mirror import copy  # noqa: E402
from muniment.stores.tile_directory import TileDirectory  # noqa: E402
from muniment.stores.tile_s3 import TileBucket  # noqa: E402
from muniment.testing.cases import WrittenCase, WrittenLog  # noqa: E402
from muniment.testing.mirror_contract import MirrorContract  # noqa: E402

RETENTION = timedelta(days=1)


class TestTileDirectories(MirrorContract):
    @pytest.fixture
    def open_mirror(self, tmp_path: Path) -> Callable[[], TileDirectory]:
        return lambda: TileDirectory(tmp_path / "mirror")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    need_object_store()
    with running(tmp_path_factory.mktemp("objects")) as store:
        yield store


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (the test is the outermost room)


@pytest.fixture
def open_bucket(objects: ObjectStore) -> Iterator[Callable[..., TileBucket]]:
    """The same place anew, for whoever is named: the mirror's own identity, else."""
    prefix = secrets.token_hex(8)
    with ExitStack() as opened:

        def open_(who: Identity = objects.mirror, bucket: str = BUCKET) -> TileBucket:
            made = TileBucket(
                objects.client(who), bucket, prefix=prefix, retention=RETENTION, now=now
            )
            return opened.enter_context(closing(made))

        yield open_


@pytest.mark.deep
@pytest.mark.target
class TestTileBuckets(MirrorContract):
    @pytest.fixture
    def open_mirror(self, open_bucket: Callable[..., TileBucket]) -> Callable[[], TileBucket]:
        return open_bucket

    def test_the_bucket_is_asked_whether_it_locks(
        self, objects: ObjectStore, open_bucket: Callable[..., TileBucket]
    ) -> None:
        open_bucket().check()
        with pytest.raises(ConfigInvalid, match="object-lock-enabled-for-bucket"):
            open_bucket(objects.admin, "plain").check()
        with pytest.raises(Unavailable):
            open_bucket(objects.admin, "nowhere").check()

    def test_nothing_that_was_put_can_be_deleted_or_unlocked_by_anybody(
        self, objects: ObjectStore, open_bucket: Callable[..., TileBucket]
    ) -> None:
        mirror = open_bucket()
        mirror.put("tile/0/000", b"hashes")
        mirror.replace("checkpoint", b"first")
        mirror.replace("checkpoint", b"second")
        with closing(objects.client(objects.admin)) as admin:
            for path, kept in (("tile/0/000", [b"hashes"]), ("checkpoint", [b"second", b"first"])):
                key = mirror._key(path)
                versions = every_version(admin, key)
                assert [body(admin, key, version) for version in versions] == kept
                for version in versions:
                    assert_locked(admin, key, version)
                    for refused in attempts(admin, key, version):
                        with pytest.raises(Exception, match=r"AccessDenied|InvalidRequest|WORM"):
                            refused()
                assert [body(admin, key, version) for version in every_version(admin, key)] == kept

    def test_what_is_put_over_it_by_force_is_another_version_and_a_conflict(
        self, objects: ObjectStore, open_bucket: Callable[..., TileBucket]
    ) -> None:
        mirror = open_bucket()
        mirror.put("tile/0/000", b"hashes")
        with closing(objects.client(objects.admin)) as admin:
            key = mirror._key("tile/0/000")
            admin.put_object(Bucket=BUCKET, Key=key, Body=b"forged")
            versions = every_version(admin, key)
            assert [body(admin, key, version) for version in versions] == [b"forged", b"hashes"]

    def test_another_identity_is_unavailable_and_named_nowhere(
        self, open_bucket: Callable[..., TileBucket]
    ) -> None:
        stranger = identity()
        mirror = open_bucket(stranger)
        with pytest.raises(Unavailable) as of_put:
            mirror.put("tile/0/000", b"x")
        with pytest.raises(Unavailable) as of_get:
            mirror.get("checkpoint", 9)
        for error in (of_put, of_get):
            assert stranger.access_key.reveal() not in str(error.value)

    async def test_a_log_is_copied_audited_and_another_history_refused(
        self, open_bucket: Callable[..., TileBucket], tmp_path: Path
    ) -> None:
        mirror = open_bucket()
        for name in ("log", "other"):
            (tmp_path / name).mkdir()
        log = WrittenLog(tmp_path / "log")
        other = WrittenLog(tmp_path / "other", key=log.key)
        for written in (log, other, other):
            WrittenCase(written).whole()
        first = Published(log.log.size, log.log.checkpoint)
        await copy(log.log, mirror, first)
        WrittenCase(log).whole()
        await copy(log.log, mirror, Published(log.log.size, log.log.checkpoint))
        tiles = TileLog(lambda path: mirror.get(path, MAX_RESOURCE))
        found = audit_tiles(tiles, log.key.verifier, [first.note], full=True)
        assert found.holds
        with pytest.raises(LogInvalid, match="another history"):
            await copy(other.log, mirror, Published(other.log.size, other.log.checkpoint))
        assert mirror.get("checkpoint", MAX_RESOURCE) == log.log.checkpoint
        log.close()
        other.close()


def every_version(client: Any, key: str) -> list[str]:
    found = client.list_object_versions(Bucket=BUCKET, Prefix=key)
    return [each["VersionId"] for each in found["Versions"] if each["Key"] == key]


def body(client: Any, key: str, version: str) -> bytes:
    with client.get_object(Bucket=BUCKET, Key=key, VersionId=version)["Body"] as found:
        data: bytes = found.read()
    return data


def assert_locked(client: Any, key: str, version: str) -> None:
    found = client.get_object_retention(Bucket=BUCKET, Key=key, VersionId=version)["Retention"]
    assert found["Mode"] == "COMPLIANCE"
    left = found["RetainUntilDate"] - now()
    assert RETENTION - timedelta(minutes=5) < left <= RETENTION


def attempts(client: Any, key: str, version: str) -> list[Callable[[], Any]]:
    """Deleting a version, also as one who may bypass governance, and shortening its lock."""
    named = {"Bucket": BUCKET, "Key": key, "VersionId": version}
    soon = {"Mode": "COMPLIANCE", "RetainUntilDate": now() + timedelta(seconds=1)}
    governance = {**soon, "Mode": "GOVERNANCE"}
    return [
        lambda: client.delete_object(**named),
        lambda: client.delete_object(**named, BypassGovernanceRetention=True),
        lambda: client.put_object_retention(**named, Retention=soon),
        lambda: client.put_object_retention(**named, Retention=governance),
    ]
