"""
Every step of a write, in two rows: it failed; it failed but was kept.

After each row: whoever asked got `LogUnavailable`, the log goes on by itself with the next append,
a full audit finds nothing, nothing acknowledged is lost, and what was kept is taken in.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from muniment.errors import LogUnavailable, NotCanonical, Stale
from muniment.evidence.append import Companions, Outcome
from muniment.evidence.careful_signer import CarefulSigner
from muniment.evidence.keys import KEY_ADDED
from muniment.evidence.note import SigningKey, parse_note
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.stores.signer_state import SignerStateFile
from muniment.testing.faulty import ORIGIN, WRITE_STEPS, new_case
from muniment.testing.log_servers import LogServers
from muniment.testing.trial_log import TrialLog

ERRORS: dict[str, Callable[[], Exception]] = {
    "EIO": lambda: OSError(5, "Input/output error"),
    "database": lambda: sqlite3.OperationalError("disk I/O error"),
    "unavailable": lambda: LogUnavailable("the disk is gone"),
}
#: after these the records stand, though nobody was told
STAND = {("commit", True), ("write head", False), ("write head", True)}
#: steps that a batch still has before it when it is held at its commit
HELD = {"commit", "write head"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest.fixture(
    params=[
        "files",
        pytest.param("postgresql", marks=[pytest.mark.target, pytest.mark.deep]),
    ]
)
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TrialLog]:
    if request.param == "files":
        trial = TrialLog(tmp_path)
    else:
        servers: LogServers = request.getfixturevalue("servers")
        trial = TrialLog(tmp_path, place=servers.new(), shared=True)
    yield trial
    trial.close()


class Remembering(CarefulSigner):
    """A signer as it is in another process: it signs no second history, whatever was lost here."""

    def close(self) -> None:
        """Its memory stays open."""


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[TrialLog]:
    """A log that two keys sign."""
    key, memory = SigningKey.generate(ORIGIN), SignerStateFile.make(tmp_path / "signer.state")
    trial = TrialLog(tmp_path, others=(Remembering(key, memory),))
    case = trial.log.read_entry(0).header.case
    trial.append(trial.draft(case, kind=KEY_ADDED, body={"key": key.verifier.vkey}))
    yield trial
    trial.close()
    memory.close()


def assert_goes_on(trial: TrialLog, size: int) -> None:
    """With the next append, without anybody's doing; `size` is what it starts from."""
    (entry,) = trial.fill(1)
    assert trial.log.trouble is None
    assert (entry.index, trial.log.size) == (size, size + 1)
    trial.check()
    trial.reopen()
    trial.check()
    trial.fill(1)
    trial.check()


@pytest.mark.parametrize("kept", [False, True], ids=["failed", "failed but kept"])
@pytest.mark.parametrize("step", WRITE_STEPS)
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_step_that_fails_loses_nothing_and_the_log_goes_on(
    error: Callable[[], Exception], step: str, kept: bool, trial: TrialLog
) -> None:
    old = trial.fill(3)[0].header.case
    with trial.disk.hold("commit") as reached:
        held = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        futures = [
            trial.queue(trial.draft(new_case())),
            trial.queue(trial.draft(new_case()), trial.draft(new_case())),
            trial.conclude(trial.draft(old)),
            trial.queue(trial.draft(new_case(), sections={"note": b"x" * 5000})),
        ]
        # the held batch has passed every step but its head
        trial.disk.fail(step, kept=kept, error=error, after=1 if step in HELD else 0)
    trial.receipt(held)
    for future in futures:
        with pytest.raises(LogUnavailable, match="the log cannot be written: "):
            future.result(10)
    assert trial.log.size == 5
    assert trial.log.trouble is not None
    assert_goes_on(trial, 5 + (5 if (step, kept) in STAND else 0))


@pytest.mark.parametrize("kept", [False, True], ids=["failed", "failed but kept"])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_log_that_two_keys_sign_goes_on_after_any_step_that_failed(
    step: str, kept: bool, rotating: TrialLog
) -> None:
    rotating.fill(3)
    for _ in range(2):
        size = rotating.log.size
        rotating.disk.fail(step, kept=kept, error=ERRORS["EIO"])
        with pytest.raises(LogUnavailable, match="the log cannot be written: "):
            rotating.fill(1)
        assert_goes_on(rotating, size + ((step, kept) in STAND))
    assert len(parse_note(rotating.log.checkpoint)[1]) == 2


@pytest.mark.parametrize("kept", [False, True], ids=["failed", "failed but kept"])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_step_that_goes_on_failing_is_tried_again_with_every_append(
    step: str, kept: bool, trial: TrialLog
) -> None:
    trial.fill(3)
    trial.disk.fail(step, kept=kept, times=3)
    for _ in range(3):
        with pytest.raises(LogUnavailable):
            trial.append(trial.draft(new_case()))
        assert trial.log.trouble is not None
    trial.fill(1)
    assert trial.log.trouble is None
    trial.check()
    trial.reopen()
    trial.check()


@pytest.mark.parametrize("step", WRITE_STEPS)
@pytest.mark.parametrize("kept", [False, True], ids=["failed", "failed but kept"])
def test_a_start_after_a_step_that_failed_finds_all_that_was_acknowledged(
    step: str, kept: bool, trial: TrialLog
) -> None:
    """The same as a crash at that step."""
    trial.fill(3)
    trial.disk.fail(step, kept=kept)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(new_case()))
    trial.reopen()
    assert trial.log.size == 4 + ((step, kept) in STAND)
    trial.check()
    trial.fill(1)
    trial.check()


@pytest.mark.parametrize("step", ["reopen", "read head"])
def test_a_recovery_that_fails_is_tried_again(step: str, trial: TrialLog) -> None:
    trial.fill(3)
    trial.disk.fail("commit", kept=True)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(new_case()))
    trial.disk.fail(step, times=2)
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            trial.append(trial.draft(new_case()))
    assert_goes_on(trial, 5)


def test_a_head_whose_write_failed_is_written_again_though_it_can_be_read(
    trial: TrialLog,
) -> None:
    """What the head store shows after a failed sync need not be on its disk."""
    trial.disk.fail("write head", kept=True)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(new_case()))
    trial.disk.tried.clear()
    nothing = Outcome(case=new_case(), build=lambda _: ((), lambda _: ()))
    assert trial.receipt(trial.log.append(nothing)) == ()
    assert trial.disk.tried["write head"] == 1
    assert_goes_on(trial, 2)


def test_a_decision_whose_record_was_kept_is_stale_when_it_comes_again(trial: TrialLog) -> None:
    """Nobody got a receipt, so it is asked again; it must not stand twice."""
    case = new_case()
    trial.append(trial.draft(case))
    reads = {case: trial.log.head(case)}
    trial.disk.fail("commit", kept=True)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(case), reads=reads)
    with pytest.raises(Stale):
        trial.append(trial.draft(case), reads=reads)
    assert len(trial.log.read_case(case)) == 2
    trial.check()


def test_an_outcome_whose_record_was_kept_sees_it_when_it_comes_again(trial: TrialLog) -> None:
    case = new_case()
    trial.append(trial.draft(case))

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        drafts = [trial.closing(case)] if len(entries) == 1 else []
        return drafts, lambda _: ()

    trial.disk.fail("write head")
    with pytest.raises(LogUnavailable):
        trial.log.append(Outcome(case=case, build=build)).result(10)
    assert trial.receipt(trial.log.append(Outcome(case=case, build=build))) == ()
    assert len(trial.log.read_case(case)) == 2
    trial.check()


def test_an_outcome_that_cannot_read_its_case_is_not_blamed_for_it(trial: TrialLog) -> None:
    """The store's trouble is everybody's: SQLite may have ended the transaction."""
    case = trial.fill(1)[0].header.case
    trial.disk.fail("case", error=lambda: LogUnavailable("disk I/O error"))
    with trial.disk.hold("commit") as reached:
        held = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        outcome = trial.conclude(trial.draft(case))
        other = trial.queue(trial.draft(new_case()))
    trial.receipt(held)
    for future in (outcome, other):
        with pytest.raises(LogUnavailable):
            future.result(10)
    assert_goes_on(trial, 3)


def test_what_was_refused_before_a_failure_stays_refused(trial: TrialLog) -> None:
    trial.disk.fail("commit")
    with trial.disk.hold("begin") as reached:
        fine = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
    with pytest.raises(LogUnavailable):
        fine.result(10)
    bad = trial.queue(trial.draft(new_case(), body={"n": 1.5}))
    with pytest.raises(NotCanonical):
        bad.result(10)
    assert_goes_on(trial, 1)


def test_an_item_with_nothing_to_write_also_learns_that_the_disk_is_gone(trial: TrialLog) -> None:
    trial.fill(1)
    trial.disk.fail("commit")
    nothing = Outcome(case=trial.told[1].header.case, build=lambda _: ((), lambda _: ()))
    with pytest.raises(LogUnavailable):
        trial.log.append(nothing).result(10)
    assert_goes_on(trial, 2)


def test_readers_are_served_while_nothing_can_be_written(trial: TrialLog) -> None:
    entries = trial.fill(3)
    trial.disk.fail("begin", times=2)
    with pytest.raises(LogUnavailable):
        trial.append(trial.draft(new_case()))
    assert trial.log.read_case(entries[0].header.case)[0].data == entries[0].data
    assert trial.log.read_entry(2).data == entries[1].data


async def test_a_commit_that_takes_long_does_not_stop_the_event_loop(trial: TrialLog) -> None:
    """Requests are answered, and readers read, while the disk is busy."""
    case = trial.fill(1)[0].header.case
    with trial.disk.hold("commit") as reached:
        waiting = asyncio.wrap_future(trial.queue(trial.draft(new_case())))
        assert await asyncio.to_thread(reached.wait, 10)
        for _ in range(100):
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            await turned.wait()
        assert len(await asyncio.to_thread(trial.log.read_case, case)) == 1
        assert len(trial.log.read_case(case)) == 1
        assert not waiting.done()
    assert (await waiting).entries[0].index == 2
    trial.check()


async def test_a_request_that_is_cancelled_leaves_the_log_running(trial: TrialLog) -> None:
    """A client that hangs up must not take the writer along, nor the record it asked for."""
    with trial.disk.hold("commit") as reached:
        held = trial.queue(trial.draft(new_case()))
        assert await asyncio.to_thread(reached.wait, 10)
        tasks = [
            asyncio.ensure_future(
                asyncio.wrap_future(trial.queue(trial.draft(new_case(), body=body)))
            )
            for body in ({}, {"n": 1.5}, {})
        ]
        for task in tasks[:2]:
            task.cancel()
        await asyncio.wait(tasks[:2])
        assert all(task.cancelled() for task in tasks[:2])
    trial.receipt(held)
    assert (await tasks[2]).entries[0].index == 3
    assert trial.log.size == 4
    await asyncio.to_thread(trial.fill, 1)
    trial.check()


# --- a halt ---------------------------------------------------------------------------------------


def test_a_halt_during_a_commit_that_fails_is_not_forgotten(tmp_path: Path) -> None:
    with contextlib.closing(TrialLog(tmp_path)) as trial:
        trial.disk.fail("commit")
        with trial.disk.hold("commit") as reached:
            future = trial.queue(trial.draft(new_case()))
            assert reached.wait(5)
            trial.log.halt("somebody remembers another history")
        with pytest.raises(LogUnavailable):
            future.result(10)
        with pytest.raises(LogUnavailable, match="another history"):
            trial.append(trial.draft(new_case()))


def test_a_halt_during_a_recovery_still_says_why(tmp_path: Path) -> None:
    with contextlib.closing(TrialLog(tmp_path)) as trial:
        trial.disk.fail("commit")
        with pytest.raises(LogUnavailable):
            trial.append(trial.draft(new_case()))
        with trial.disk.hold("reopen") as reached:
            future = trial.queue(trial.draft(new_case()))
            assert reached.wait(5)
            trial.log.halt("somebody remembers another history")
        with pytest.raises(LogUnavailable):
            future.result(10)
        assert trial.log.trouble == "somebody remembers another history"
