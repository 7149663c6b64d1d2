"""Whole files in a bucket of a real server: listed page by page behind a name, and each read once."""

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore, need_object_store, running

from muniment.errors import Unavailable
from muniment.runtime.sources.s3 import Bucket
from muniment.runtime.sources.whole_files import WholeFiles
from muniment.testing.fake_intake import FakeIntake

pytestmark = [pytest.mark.deep, pytest.mark.target]

PREFIX = "AWSLogs/123456789012/CloudTrail/eu-west-1/"
#: more than a page has
COUNT = 1100


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    need_object_store()
    with running(tmp_path_factory.mktemp("bucket")) as found:
        yield found


async def read_all(store: ObjectStore, intake: FakeIntake) -> None:
    async def stop_here(stop: asyncio.Event, _seconds: float) -> None:
        stop.set()

    client = store.client(store.admin)
    bucket = Bucket(client, "plain", PREFIX)
    files = WholeFiles("trail", bucket, from_start=True, every=60, pause=stop_here)
    await files.run(intake, asyncio.Event())
    client.close()


async def test_every_file_of_a_bucket_is_read_once_and_a_late_one_too(
    store: ObjectStore, tmp_path: Path
) -> None:
    client = store.client(store.admin)
    for number in range(COUNT):
        body = gzip.compress(b"event %d" % number)
        client.put_object(Bucket="plain", Key=f"{PREFIX}2026/{number:05}.json.gz", Body=body)
    client.put_object(Bucket="plain", Key="AWSLogs/others", Body=b"not ours")
    intake = FakeIntake(tmp_path / "kept.db")
    await read_all(store, intake)
    assert intake.kept("trail") == [b"event %d" % number for number in range(COUNT)]
    client.put_object(Bucket="plain", Key=f"{PREFIX}2026/{COUNT - 9:05}-late", Body=b"late")
    client.put_object(Bucket="plain", Key=f"{PREFIX}2026/{COUNT:05}", Body=b"new")
    client.close()
    await read_all(store, intake)
    assert intake.kept("trail")[COUNT:] == [b"late", b"new"]
    assert intake.misses == []
    intake.close()


def test_a_bucket_that_may_not_be_listed_is_unavailable(store: ObjectStore) -> None:
    client = store.client(store.mirror)
    with pytest.raises(Unavailable, match="cannot list bucket `plain`"):
        list(Bucket(client, "plain").names(""))
    client.close()
