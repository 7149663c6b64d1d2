"""Another team follows the log of a real service, with real processes: once, again, and for good."""

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from acceptance.followed_service import PROGRAM, Followed, clean, forked, make, run, serving

pytestmark = [pytest.mark.deep, pytest.mark.alone]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Followed, Followed]]:
    """Two services over two histories of one key."""
    base = tmp_path_factory.mktemp("services")
    tokens = make(base / "one")
    forked(base / "one", base / "other")
    with serving(base / "one", tokens) as one, serving(base / "other", tokens) as other:
        one.publish()
        other.publish()
        other.grow("forger")
        yield one, other


@pytest.fixture
def one(both: tuple[Followed, Followed]) -> Followed:
    return both[0]


def audit(
    followed: Followed, home: Path, *options: object, as_: str = "watch", code: int = 0
) -> str:
    return run(
        *("audit", followed.tiles, "--log-key", followed.vkey, *options),
        code=code,
        MUNIMENT_TOKEN=followed.tokens[as_],
        XDG_STATE_HOME=str(home),
    )


def audited(followed: Followed, home: Path, *options: object, code: int = 0) -> Any:
    return json.loads(audit(followed, home, "--json", *options, code=code))


def test_an_audit_of_an_address_remembers_its_head_and_goes_on(
    one: Followed, tmp_path: Path
) -> None:
    size = one.publish()
    first = audited(one, tmp_path)
    assert (first["verdict"], first["size"]) == ("UNANCHORED", size)
    grown = one.grow("somebody")
    second = audited(one, tmp_path, "--full")
    assert (second["verdict"], second["size"], second["full"]) == ("SELF-WITNESSED", grown, True)
    assert "SELF-WITNESSED" in audit(one, tmp_path)


def test_a_fork_is_told_by_both_heads_and_by_the_exit_code(
    both: tuple[Followed, Followed], tmp_path: Path
) -> None:
    one, other = both
    kept = audited(one, tmp_path)
    # that somebody followed the one is recorded there: the other keeps up with it
    while (size := other.publish()) < kept["size"]:
        other.grow(f"forger-{size}")
    said = audit(other, tmp_path, code=1)
    assert "DIVERGED" in said
    assert f"your head of size {kept['size']} has root {kept['root']}" in said
    found = audited(other, tmp_path, code=1)
    assert found["heads"][0]["shown"] not in (None, kept["root"])
    assert {Path(path).read_text() for path in found["evidence"]} == {kept["note"], found["note"]}
    # the honest one still goes on
    assert audited(one, tmp_path)["verdict"] == "SELF-WITNESSED"


def test_who_may_not_follow_is_told_so(one: Followed, tmp_path: Path) -> None:
    assert "403" in audit(one, tmp_path, as_="ana", code=1)
    refused = run("audit", one.tiles, "--log-key", one.vkey, code=1, XDG_STATE_HOME=str(tmp_path))
    assert "401" in refused
    assert "MUNIMENT_TOKEN" in refused


def test_a_service_that_is_not_there_is_unreachable(one: Followed, tmp_path: Path) -> None:
    nowhere = ("audit", "http://127.0.0.1:9/log", "--log-key", one.vkey)
    assert "no answer" in run(*nowhere, code=3, XDG_STATE_HOME=str(tmp_path))


class Monitor:
    """`muniment audit --follow` as a process."""

    def __init__(self, followed: Followed, home: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [
                *(PROGRAM, "audit", followed.tiles, "--log-key", followed.vkey, "--follow"),
                *("--every", "1s", "--json", *options),
            ],
            env=clean({"MUNIMENT_TOKEN": followed.tokens["watch"], "XDG_STATE_HOME": str(home)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._said, self.errors = self._process.stdout, self._process.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def next(self) -> Any:
        return json.loads(self._said.readline())

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(30)


def test_a_monitor_reports_is_scraped_and_ends_on_sigterm(one: Followed, tmp_path: Path) -> None:
    one.publish()
    with Monitor(one, tmp_path, "--metrics", "127.0.0.1:0") as monitor:
        where = monitor.errors.readline().split()[-1]
        assert monitor.next()["holds"] is True
        size = one.grow("newcomer")
        while (check := monitor.next())["size"] < size:
            assert check["verdict"] == "SELF-WITNESSED"
        with urllib.request.urlopen(where, timeout=10) as scraped:
            text = scraped.read().decode()
        assert f'muniment_monitor_size{{log="muniment.example/log"}} {size}\n' in text
        assert monitor.stop() == 0


def test_a_monitor_that_meets_a_fork_alerts_and_ends(
    both: tuple[Followed, Followed], tmp_path: Path
) -> None:
    one, other = both
    audited(one, tmp_path)
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/alert\n")
    program.chmod(0o755)
    with Monitor(other, tmp_path, "--on-alert", str(program)) as monitor:
        assert monitor.next()["verdict"] == "DIVERGED"
        assert monitor.wait() == 1
    alert = json.loads((tmp_path / "alert").read_text())
    assert (alert["alert"], alert["log"], len(alert["evidence"])) == ("DIVERGED", other.tiles, 2)
