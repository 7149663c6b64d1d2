"""A monitor of the log: what it says check by check, when it alerts, and when it ends."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Malformed
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.log import Log
from muniment.evidence.note import CosigningKey, Signature, parse_note
from muniment.evidence.store import Published
from muniment.evidence.verdict import Reader
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.interfaces.cli.follow import Check, Monitor, Standing, address, line, scraped
from muniment.interfaces.cli.remembered import RememberedHead
from muniment.interfaces.cli.tile_sources import TileFolder
from muniment.operations.mirror import copy
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.cases import WrittenCase, WrittenLog


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    (tmp_path / "data").mkdir()
    log = WrittenLog(tmp_path / "data")
    yield log
    log.close()


async def copied(log: Log, mirror: TileDirectory, published: Published) -> None:
    await copy(log, mirror, published)


class Followed:
    """A log, its mirror, and a monitor that is stopped when a script of steps is through."""

    def __init__(self, written: WrittenLog, folder: Path, **options: Any) -> None:
        self.written, self.mirror = written, folder / "mirror"
        self.said: list[Check] = []
        self.steps: list[Callable[[], object]] = []
        key = written.key.verifier
        self.monitor = Monitor(
            source=TileFolder(self.mirror),
            key=key,
            remembered=RememberedHead(folder / "heads/head.json", key),
            every=0,
            say=self.say,
            **options,
        )

    def say(self, check: Check) -> None:
        self.said.append(check)
        if self.steps:
            self.steps.pop(0)()
        else:
            self.monitor.stop.set()

    def run(self, *steps: Callable[[], object]) -> int:
        self.steps = list(steps)
        with self.monitor.remembered.held():
            return self.monitor.run()

    @property
    def verdicts(self) -> list[str]:
        return [check.verdict for check in self.said]

    def publish(self) -> None:
        log = self.written.log
        newest = Published(log.size, log.checkpoint)
        asyncio.run(copied(log, TileDirectory(self.mirror), newest))

    def show(self, note: bytes) -> None:
        TileDirectory(self.mirror).replace("checkpoint", note)

    def fork(self) -> None:
        key, size = self.written.key, self.written.log.size
        self.show(sign(Checkpoint(key.name, size, bytes(32)), key))

    def hide(self) -> None:
        (self.mirror / "checkpoint").unlink()
        (self.mirror / "checkpoint").mkdir()

    def bring_back(self) -> None:
        (self.mirror / "checkpoint").rmdir()
        self.show(self.written.log.checkpoint)


def nothing() -> None:
    pass


def test_it_goes_on_from_the_head_that_it_remembers(written: WrittenLog, tmp_path: Path) -> None:
    followed = Followed(written, tmp_path)
    followed.publish()
    first = written.log.size
    assert followed.run(nothing) == 0
    assert followed.verdicts == ["UNANCHORED", "SELF-WITNESSED"]
    assert [check.what for check in followed.said] == [f"+{first} entries", "+0 entries"]
    WrittenCase(written).whole()
    followed.publish()
    again = Followed(written, tmp_path)
    assert again.run() == 0
    assert again.said[0].json()["size"] == written.log.size
    assert line(again.said[0]).split(" ", 1)[1].startswith("SELF-WITNESSED at size ")


def test_a_fork_ends_it_with_evidence(written: WrittenLog, tmp_path: Path) -> None:
    followed = Followed(written, tmp_path)
    followed.publish()
    assert followed.run(followed.fork, nothing, nothing) == 1
    assert followed.verdicts == ["UNANCHORED", "DIVERGED"]
    evidence = [Path(path) for path in followed.said[-1].json()["evidence"]]
    assert {path.read_bytes() for path in evidence} == {
        written.log.checkpoint, (followed.mirror / "checkpoint").read_bytes()
    }  # fmt: skip
    assert "kept" in line(followed.said[-1])


def test_told_to_go_on_it_goes_on(written: WrittenLog, tmp_path: Path) -> None:
    followed = Followed(written, tmp_path, go_on=True)
    followed.publish()
    assert followed.run(followed.fork, nothing, lambda: followed.show(written.log.checkpoint)) == 0
    assert followed.verdicts == ["UNANCHORED", "DIVERGED", "DIVERGED", "SELF-WITNESSED"]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "tell"
    path.write_text(f"#!/bin/sh\ncat >> {tmp_path}/alerts\nenv >> {tmp_path}/environment\n")
    path.chmod(0o755)
    return path


def alerts(tmp_path: Path) -> list[Any]:
    path = tmp_path / "alerts"
    return [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []


def test_an_alert_is_told_once_and_the_token_is_not(
    written: WrittenLog, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_TOKEN", "mun_secret")
    followed = Followed(written, tmp_path, go_on=True, on_alert=program)
    followed.publish()
    followed.run(followed.fork, nothing, nothing)
    (alert,) = alerts(tmp_path)
    assert (alert["alert"], alert["log"]) == ("DIVERGED", str(followed.mirror))
    assert len(alert["evidence"]) == 2
    assert "mun_secret" not in (tmp_path / "environment").read_text()


def test_a_log_that_cannot_be_read_is_an_alert_after_a_while(
    written: WrittenLog, tmp_path: Path, program: Path
) -> None:
    followed = Followed(written, tmp_path, on_alert=program)
    followed.publish()
    seen: list[int] = []

    def count() -> None:
        seen.append(len(alerts(tmp_path)))

    assert followed.run(followed.hide, count, count, count, count, followed.bring_back) == 0
    assert followed.verdicts == ["UNANCHORED", *["UNREADABLE"] * 5, "SELF-WITNESSED"]
    # what is said comes before the alert of the same check
    assert seen == [0, 0, 0, 1]
    assert [alert["alert"] for alert in alerts(tmp_path)] == ["UNREADABLE"]
    assert followed.monitor.standing.unreadable == 0


def test_an_alert_that_cannot_be_told_ends_nothing(
    written: WrittenLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    followed = Followed(written, tmp_path, go_on=True, on_alert=program)
    followed.publish()
    assert followed.run(followed.fork, nothing) == 0
    assert "was not delivered" in capsys.readouterr().err


def test_a_stop_amid_a_check_ends_it_at_once(
    written: WrittenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TileFolder.read

    def stopping(self: TileFolder, path: str) -> bytes | None:
        followed.monitor.stop.set()
        return real(self, path)

    monkeypatch.setattr(TileFolder, "read", stopping)
    followed = Followed(written, tmp_path)
    followed.publish()
    assert followed.run() == 0
    assert followed.said == []
    assert not followed.monitor.remembered.path.exists()


def test_what_is_scraped_says_how_the_log_stands(written: WrittenLog, tmp_path: Path) -> None:
    followed = Followed(written, tmp_path)
    followed.publish()
    followed.run(followed.fork)
    with scraped(followed.monitor.standing, ("127.0.0.1", 0)) as (host, port):
        text = urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10).read().decode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{host}:{port}/other", timeout=10)
    values = {each.split("{")[0]: each.split()[-1] for each in text.splitlines() if each[0] != "#"}
    assert values["muniment_monitor_consistent"] == "0"
    assert values["muniment_monitor_readable"] == "1"
    assert values["muniment_monitor_size"] == str(written.log.size)
    assert values["muniment_monitor_checks_total"] == "2"
    assert float(values["muniment_monitor_last_success_timestamp_seconds"]) > 1e9
    assert 0 <= float(values["muniment_monitor_head_age_seconds"]) < 60
    assert f'{{log="{written.key.name}"}}' in text


def test_witnesses_that_cosigned_are_counted(written: WrittenLog, tmp_path: Path) -> None:
    witness = CosigningKey.generate("witness.example/1")
    policy = f"witness one {witness.verifier.vkey}\nquorum one\n"
    followed = Followed(written, tmp_path, reader=Reader(policy=WitnessPolicy.parse(policy)))
    followed.publish()
    text = parse_note(written.log.checkpoint)[0]
    cosigned = written.log.checkpoint + witness.cosign(text, 1_790_000_000).line.encode()
    assert followed.run(lambda: followed.show(cosigned)) == 0
    assert followed.verdicts == ["UNANCHORED", "WITNESSED"]
    metrics = list(followed.monitor.standing.metrics(0.0))
    assert f'muniment_monitor_cosignatures{{log="{written.key.name}"}} 1' in metrics


def test_without_a_policy_no_witness_is_counted() -> None:
    assert "cosignatures" not in "".join(Standing(log="x").metrics(0.0))


def test_a_name_of_a_log_is_escaped_where_it_is_a_label() -> None:
    assert 'log="a\\"b\\\\c"' in "".join(Standing(log='a"b\\c').metrics(0.0))


@pytest.mark.parametrize("value", ["", "9100", ":9100", "127.0.0.1:", "127.0.0.1:x", "h:70000"])
def test_what_is_no_address_for_metrics_is_refused(value: str) -> None:
    with pytest.raises(Malformed):
        address(value)
    assert address("[::1]:9100") == ("::1", 9100)


def test_a_port_that_is_taken_is_said() -> None:
    standing = Standing(log="x")
    with (
        scraped(standing, ("127.0.0.1", 0)) as taken,
        pytest.raises(Malformed, match="cannot be served"),
        scraped(standing, taken),
    ):
        pass


# --- what a hostile server does to an auditor's memory ---------------------------------------------


def test_what_an_audit_remembers_can_be_read_again(written: WrittenLog, tmp_path: Path) -> None:
    """The log itself signs a head with one long line."""
    followed = Followed(written, tmp_path)
    followed.publish()
    mine = written.log.keys.recognise(written.log.checkpoint)
    odd = Checkpoint(mine.origin, mine.size, mine.root, ("\u00e9" * 250_000,))
    followed.show(sign(odd, written.key))
    followed.run(nothing)
    assert followed.verdicts == ["UNANCHORED", "SELF-WITNESSED"]


def test_lines_of_unknown_keys_do_not_fill_the_disk(written: WrittenLog, tmp_path: Path) -> None:
    """Whoever serves a mirror has no key: he appends lines, and spoils one tile."""
    followed = Followed(written, tmp_path, go_on=True)
    followed.publish()
    bundle = next((tmp_path / "mirror/tile/entries").rglob("*.p/*"))
    bundle.chmod(0o644)
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"?")
    note = written.log.checkpoint

    def junk() -> None:
        lines = "".join(Signature("x", os.urandom(4), os.urandom(600)).line for _ in range(20))
        followed.show(note + lines.encode())

    followed.run(*[junk] * 5)
    assert len(list((tmp_path / "heads/head.diverged").iterdir())) <= 2
