"""A real service tells a SIEM of everything while people work, and after it was killed."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pytest
from ocsf_json_schema import (  # type: ignore[import-untyped]  # it brings no types
    OcsfJsonSchemaEmbedded,
    get_ocsf_schema,
)

from acceptance.followed_service import PROGRAM, clean, run
from muniment.sinks.siem import shapes
from muniment.stores.read_only import ReadOnlyStore

pytestmark = [pytest.mark.deep, pytest.mark.alone]

CLASSES: Final = {
    each.uid: each.name for each in vars(shapes).values() if isinstance(each, shapes.EventClass)
}
SIEM: Final = """
[siem.disk]
kind = "file"
path = "events.ndjson"
since = "start"

[siem.gone]
kind = "syslog"
address = "127.0.0.1:1"
"""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A configuration folder, and the tokens of its people."""

    folder: Path
    tokens: dict[str, str]

    @property
    def events(self) -> Path:
        return self.folder / "events.ndjson"

    def size(self) -> int:
        store = ReadOnlyStore(self.folder / "data/muniment.db")
        with contextlib.closing(store):
            tail = store.tail()
        return tail.size if tail is not None else 0

    def told(self) -> list[int]:
        """Indexes of the whole lines of the file."""
        lines = self.events.read_bytes().splitlines(keepends=True) if self.events.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        return [json.loads(line)["metadata"]["sequence"] for line in whole]

    def ask(self, url: str, number: int) -> None:
        run(
            *("request", "my-database", "readwrite", "--for", "5m"),
            *("--reason", f"look at Mrs Smith's order {number}", "--ticket", "OPS-1"),
            MUNIMENT_URL=url,
            MUNIMENT_TOKEN=self.tokens["ana"],
        )

    @contextlib.contextmanager
    def serving(self) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """`muniment serve` until it is left, or killed."""
        log = self.folder.with_suffix(".log")
        with log.open("a") as errors:
            process = subprocess.Popen(
                [PROGRAM, "serve", "--dir", str(self.folder), "--listen", "127.0.0.1:0"],
                env=clean({"MUNIMENT_POSTGRES_PASSWORD": "x"}),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        with process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert said.startswith("muniment serves on "), log.read_text()
                yield said.split()[-1], process
                process.terminate()
                assert process.wait(30) in (0, -9)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched") / "conf"
    run("init", folder, "--postgres", "host=127.0.0.1 port=1 dbname=orders")
    with (folder / "muniment.toml").open("a") as settings:
        settings.write(SIEM)
    made = {who: run("token", "create", who, "--dir", folder, "--json") for who in ("admin", "ana")}
    tokens = {who: json.loads(text)["token"] for who, text in made.items()}
    return Watched(folder=folder, tokens=tokens)


def wait_for(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gauges(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_every_record_reaches_a_file_also_over_a_kill_and_a_rotation(watched: Watched) -> None:
    with watched.serving() as (url, process):
        for number in range(4):
            watched.ask(url, number)
        wait_for(lambda: len(watched.told()) > 8)
        process.kill()
    # a line is cut short, as by a disk that was full at that moment
    with watched.events.open("ab") as file:
        file.write(b'{"activity_id":1,"activity_na')
    with watched.serving() as (url, _):
        watched.ask(url, 4)
        wait_for(lambda: set(watched.told()) == set(range(watched.size())))
        first = watched.told()
        watched.events.rename(watched.events.with_suffix(".1"))
        watched.ask(url, 5)
        wait_for(lambda: bool(watched.told()) and watched.told()[-1] == watched.size() - 1)
        second = watched.told()
        # where it stands is noted once the line is known to lie on the disk
        wait_for(lambda: gauges(url)['muniment_siem_behind_records{sink="disk"}'] == 0)
        found = gauges(url)
        assert found['muniment_siem_failures_total{sink="disk"}'] == 0
        assert found['muniment_siem_failures_total{sink="gone"}'] > 0
        assert httpx.get(f"{url}/readyz").status_code == 200
    indexes = [*first, *second]
    assert set(indexes) == set(range(indexes[-1] + 1))
    assert all(after <= before + 1 for before, after in pairwise(indexes))
    assert second[0] == first[-1] + 1


def test_what_a_service_told_is_valid_and_names_nobody(watched: Watched) -> None:
    lines = [
        *watched.events.with_suffix(".1").read_bytes().splitlines(),
        *watched.events.read_bytes().splitlines(),
    ]
    everything = b"".join(lines)
    assert b"Smith" not in everything
    assert b"OPS-1" not in everything
    assert b'"ana"' not in everything
    embedded = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
    schemas: dict[int, Any] = {}
    for line in lines:
        event = json.loads(line)
        uid = event["class_uid"]
        if uid not in schemas:
            schema = embedded.get_class_schema(CLASSES[uid], event["metadata"]["profiles"])
            schemas[uid] = jsonschema.Draft202012Validator(schema)
        assert [error.message for error in schemas[uid].iter_errors(event)] == []
    assert 3004 in schemas


def test_check_says_which_sink_is_not_there(watched: Watched) -> None:
    environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": "x"}
    done = subprocess.run(
        [PROGRAM, "check", "--targets", "--json", "--dir", str(watched.folder)],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    others = {each["name"]: each for each in json.loads(done.stdout)["others"]}
    assert others["siem `disk`"]["answers"] is True
    assert others["siem `gone`"]["answers"] is False
    assert "could not be talked to" in others["siem `gone`"]["says"]
