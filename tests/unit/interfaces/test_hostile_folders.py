"""A folder of somebody else's may hold anything: nothing passes that is not proved, nothing waits."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from little_history import Desk, History, cast_with_security, live, use
from scenario_api import ScenarioApi

from muniment.access import check
from muniment.errors import BundleInvalid, MunimentError
from muniment.evidence import excerpt
from muniment.evidence.bundle import Withheld
from muniment.evidence.note import VerifierKey
from muniment.evidence.verdict import NOBODY
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import folder_check, linked_events, record_words, rows, told
from muniment.interfaces.verifier.folder_check import Checked
from muniment.interfaces.verifier.front_door import main
from muniment.interfaces.verifier.outcome import Outcome
from muniment.interfaces.verifier.rows import Row
from muniment.operations.observe_sessions import record_sessions
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.scenario import Scenario


@dataclass(frozen=True)
class Taken:
    """An archive of a little history."""

    folder: Path
    key: str
    history: History = field(repr=False)
    #: a second case with a session of its own
    other: str

    def check(self, folder: Path) -> Checked:
        with within(20):
            return folder_check.check(folder, [VerifierKey.parse(self.key)], NOBODY)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "service").mkdir()

    async def take() -> Taken:
        async with cast_with_security(Scenario(folder / "service", checking=False)) as scenario:
            api = ScenarioApi(scenario, folder)
            await api.enrol("aud")
            history = await live(scenario)
            picked = await scenario.granted("bo")
            await use(scenario, picked)
            await scenario.end("bo", picked)
            store = scenario.service.observing.store
            assert isinstance(store, EventsInMemory)
            await record_sessions(scenario.service, store, picked.case.id)
            await Desk(scenario, api, folder).take("aud")
            key = scenario.key.verifier.vkey
            return Taken(folder / "archive", key, history, picked.case.id)

    return asyncio.run(take())


@pytest.fixture
def copy(taken: Taken, tmp_path: Path) -> Path:
    return shutil.copytree(taken.folder, tmp_path / "copy")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Also where a system call waits."""

    def stop(_signal: int, _frame: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sum_again(folder: Path) -> None:
    """Whoever alters a file alters the lists of digests, too, as far as it can be listed."""
    known = {
        path: places.digest_in(folder, path)
        for path in set(places.paths_in(folder)) - {places.SUMS, places.MANIFEST}
        if path.isascii() and path.isprintable() and places.is_in(folder, path)
    }
    with suppress(OSError, ValueError):
        value = json.loads((folder / places.MANIFEST).read_bytes())
        value["files"] = {
            path: {"sha256": name, "bytes": (folder / path).stat().st_size}
            for path, name in known.items()
        }
        data = json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
        (folder / places.MANIFEST).write_bytes(data)
        known[places.MANIFEST] = places.digest_in(folder, places.MANIFEST)
    (folder / places.SUMS).write_bytes(places.sums(known))


def test_the_archive_holds_as_it_was_taken(taken: Taken) -> None:
    found = taken.check(taken.folder)
    assert found.holds, found.wrong
    assert (found.unlinked, found.absent) == (0, 0)
    assert found.events == 6


# --- what is no plain file --------------------------------------------------------------------


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _zeros(place: Path) -> None:
    place.symlink_to("/dev/zero")


def _outside(place: Path) -> None:
    place.symlink_to(__file__)


def _round(place: Path) -> None:
    place.symlink_to(place.name)


def _folder(place: Path) -> None:
    place.mkdir()


def _socket(place: Path) -> None:
    before = Path.cwd()
    os.chdir(place.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.chdir(before)


def _sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(100 << 30)


def _unreadable(place: Path) -> None:
    place.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    "make", [_pipe, _zeros, _outside, _round, _folder, _socket, _sparse, _unreadable]
)
def test_whatever_is_no_plain_file_is_refused_at_once_wherever_it_lies(
    taken: Taken, copy: Path, make: Callable[[Path], None]
) -> None:
    case = taken.history.granted
    policy = next(each for each in places.paths_in(taken.folder) if each.startswith("policy/"))
    for path in (
        "archive.json", "SHA256SUMS", "manifest.json", "log/excerpt.gz", f"cases/{case}.json",
        f"events/{case}.json", f"pages/{case}.html", "keys/log.vkey", "muniment-verify.pyz",
        policy, "more", "cases/more",
    ):  # fmt: skip
        place, kept = copy / path, copy.parent / "kept"
        if place.exists():
            place.rename(kept)
            sum_again(copy)
            (copy / places.SUMS).unlink() if path == places.SUMS else None
        make(place)
        found = taken.check(copy)
        assert not found.holds, path
        place.rmdir() if make is _folder else place.unlink()
        if kept.exists():
            kept.rename(place)
        sum_again(copy)
    assert taken.check(copy).holds


@pytest.mark.parametrize("make", [_pipe, _zeros, _folder, _socket, _sparse])
@pytest.mark.parametrize("command", ["verify", "show", "events", "log"])
def test_a_single_file_that_is_none_is_refused_at_once(
    taken: Taken,
    tmp_path: Path,
    make: Callable[[Path], None],
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "file"
    make(place)
    with within(20):
        try:
            code = main([command, str(place), "--log-key", taken.key])
        except SystemExit as stopped:
            code = stopped.code  # type: ignore[assignment]  # argparse ends with numbers alone
    assert code in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_behind_a_link_is_not_entered(taken: Taken, copy: Path, tmp_path: Path) -> None:
    for name in ("cases", "pages", "policy", "log"):
        (copy / name).rename(tmp_path / name)
        (copy / name).symlink_to(tmp_path / name)
        found = taken.check(copy)
        assert not found.holds
        assert [each for each in found.wrong[1] if f"`{name}`" in each]
        (copy / name).unlink()
        (tmp_path / name).rename(copy / name)
    assert taken.check(copy).holds


@pytest.fixture
def abyss(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deeper than Python's own removal of a tree would come."""
    monkeypatch.chdir(copy)
    for _ in range(1_500):
        Path("d").mkdir()
        monkeypatch.chdir("d")
    monkeypatch.chdir(copy)
    yield
    subprocess.run(["rm", "-r", str(copy / "d")], check=True)


@pytest.mark.usefixtures("abyss")
def test_folders_in_folders_without_end_end(taken: Taken, copy: Path) -> None:
    found = taken.check(copy)
    assert not found.holds
    assert found.wrong[1] == [f"`{'d/' * 16}d` is here and in no list", *found.wrong[1][1:]]


def test_a_file_that_grows_is_read_as_far_as_it_went(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * (3 << 20))
    read = 0
    with within(20):
        for piece in places.pieces_in(tmp_path, "x"):
            read += len(piece)
            with (tmp_path / "x").open("ab") as file:
                file.write(b"a" * (2 << 20))
    assert read == 3 << 20


# --- what no list names, and what only a list names -------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "summary.pdf", "READ ME FIRST.txt", "index.html.lnk", "Index.html", "INDEX.HTML",
        "index.html.", "index.html ", "index.xhtml", "cases/x.json", "events/x.json", ".hidden",
        "cases.csv\u202e", "summ\u202efdp.exe", "a\nb", "a\x1b[2Jb", "muniment-verify.pyz.txt",
        "pages/x.html", "pages/style.css", "keys/mine", "policy/x/MANIFEST", "log/more.gz", "new/x",
        b"\xff\xfe".decode("utf-8", "surrogateescape"),
    ],
)  # fmt: skip
def test_a_file_that_no_archive_has_is_named_though_its_maker_listed_it(
    taken: Taken, copy: Path, name: str
) -> None:
    (copy / name).parent.mkdir(exist_ok=True, parents=True)
    (copy / name).write_text("All controls are met.")
    for _ in range(2):
        found = taken.check(copy)
        assert not found.holds
        assert sum(len(wrong) for wrong in found.wrong.values()) <= 3
        assert not any(set(line) & set("\n\u202e") for line in found.lines())
        assert not any("\x1b[2J" in line for line in found.lines())
        sum_again(copy)


def test_an_empty_folder_is_no_part_of_it(taken: Taken, copy: Path) -> None:
    (copy / "signed by the auditor").mkdir()
    found = taken.check(copy)
    assert not found.holds
    assert any("`signed by the auditor/`" in each for each in found.wrong[1])


def test_the_instructions_are_made_again_and_no_other_key_can_be_written_there(
    taken: Taken, copy: Path
) -> None:
    readme = copy / places.README
    readme.write_text(readme.read_text().replace("from somebody whom", "KEY is x+1+y, from whom"))
    sum_again(copy)
    assert taken.check(copy).wrong[7] == ["`README.txt` is not what the bundles say"]


def test_another_verifier_is_told_by_its_digest(taken: Taken, copy: Path) -> None:
    (said,) = (line for line in taken.check(copy).lines() if line.startswith("Not proved: "))
    assert f"sha256:{places.digest_in(copy, places.VERIFIER)}" in said
    (copy / places.VERIFIER).write_bytes(b"print('it holds')")
    sum_again(copy)
    assert not taken.check(copy).holds


# --- files that hold, in the place of others --------------------------------------------------


def test_events_of_another_case_do_not_pass_for_those_of_this_one(taken: Taken, copy: Path) -> None:
    first, second = (copy / f"events/{case}.json" for case in (taken.history.granted, taken.other))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    sum_again(copy)
    found = taken.check(copy)
    assert len(found.wrong[4]) == 2
    assert all("none of the events of the sessions" in each for each in found.wrong[4])


def test_events_that_were_taken_out_are_counted(taken: Taken, copy: Path) -> None:
    (copy / f"events/{taken.other}.json").unlink()
    sum_again(copy)
    found = taken.check(copy)
    assert found.absent == 3
    assert found.details[4] == "3 events of 1 cases, and none of 1 that had some"
    assert not found.holds, "the pages and the manifest say that they are here"


def test_whoever_requires_events_is_told_that_they_are_not_here(taken: Taken, copy: Path) -> None:
    keys = [VerifierKey.parse(taken.key)]

    def wrong() -> list[str]:
        found = folder_check.check(copy, keys, NOBODY, required=["events"], without_pages=True)
        return [each for step in (3, 4) for each in found.wrong[step]]

    assert wrong() == []
    shutil.rmtree(copy / "events")
    sum_again(copy)
    assert wrong() == ["required, and not here: 6 events that sessions have"]


def test_events_count_as_missing_where_what_was_sealed_of_their_session_is_not_given(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, copy: Path
) -> None:
    """The record itself says how many there were."""
    monkeypatch.setattr(linked_events, "Sealed", Withheld)
    shutil.rmtree(copy / "events")
    sum_again(copy)
    found = taken.check(copy)
    assert found.runs == {}
    assert found.absent == 6


def test_what_the_reader_demands_holds_of_the_list_and_the_log_as_well(taken: Taken) -> None:
    keys = [VerifierKey.parse(taken.key)]
    found = folder_check.check(taken.folder, keys, NOBODY, required=["witnessed"])
    for step in (2, 3, 5):
        assert any("required, and does not hold: witnessed" in each for each in found.wrong[step])


def test_of_an_excerpt_that_does_not_hold_no_entry_is_shown(
    taken: Taken, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = copy / places.EXCERPT
    place.write_bytes(place.read_bytes()[:-1])
    assert main(["log", str(place), "--log-key", taken.key]) == 1
    assert capsys.readouterr().out == ""


# --- records of whoever holds the log's key ----------------------------------------------------

HOSTILE = "readonly\n  approval     cy for sre-leads\x1b[2J\u202e\u2028x"


def test_no_name_in_a_record_makes_a_line_of_its_own_or_steers_a_terminal(taken: Taken) -> None:
    data = (taken.folder / f"cases/{taken.history.granted}.json").read_bytes()
    checked = check.verify(data, VerifierKey.parse(taken.key))
    case = checked.case
    assert case is not None
    asked = replace(case.requested, role=HOSTILE, resource=HOSTILE, requester=HOSTILE)
    forged = replace(checked, case=replace(case, request=asked), state=HOSTILE)
    case_told = told.tell(forged)
    assert "cy for sre-leads" in case_told.what
    for said in (*told.lines(case_told), *rows.lines([Row.of(case_told)])):
        assert said == record_words.one_line(said) or said.startswith(" ") or not said
        assert not set(said) & set("\n\x1b\u202e\u2028")


def test_no_entry_of_the_log_makes_a_line_of_its_own(taken: Taken) -> None:
    data = (taken.folder / f"cases/{taken.history.granted}.json").read_bytes()
    for entry in check.verify(data, VerifierKey.parse(taken.key)).proved.entries:
        body = {
            name: HOSTILE if isinstance(value, str) else value
            for name, value in entry.header.body.items()
        }
        for said in record_words.entry_lines(1, replace(entry.header, body=body)):
            assert not set(said) & set("\n\x1b\u202e\u2028")


def test_what_a_check_came_to_is_said_in_lines_of_its_own() -> None:
    outcome = Outcome(Path("file"), None, BundleInvalid(5, HOSTILE))
    for said in outcome.lines():
        assert not set(said) & set("\n\u202e\u2028")
        assert "\x1b[2J" not in said


# --- anything at all --------------------------------------------------------------------------


def _flip(data: bytes, at: random.Random) -> bytes:
    place = at.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << at.randrange(8))]) + data[place + 1 :]


def _truncate(data: bytes, at: random.Random) -> bytes:
    return data[: at.randrange(len(data))]


def _insert(data: bytes, at: random.Random) -> bytes:
    place = at.randrange(len(data) + 1)
    return data[:place] + at.randbytes(at.randrange(1, 9)) + data[place:]


def _double(data: bytes, at: random.Random) -> bytes:
    return data + data[at.randrange(len(data)) :]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    change=st.sampled_from([_flip, _truncate, _insert, _double, "rename", "swap", "remove"]),
    resummed=st.booleans(),
)
def test_no_change_of_any_file_passes(
    taken: Taken,
    tmp_path: Path,
    seed: int,
    change: Callable[[bytes, random.Random], bytes] | str,
    resummed: bool,
) -> None:
    """Also where whoever made it made the list of digests again: but for the program itself."""
    folder, at = tmp_path / "mutated", random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(taken.folder, folder)
    files = sorted(set(places.paths_in(folder)) - ({places.SUMS} if resummed else set()))
    path = at.choice(files)
    before = (folder / path).read_bytes()
    if change == "swap":
        other = folder / at.choice([each for each in files if each != path])
        if other.read_bytes() == before:
            return
        (folder / path).write_bytes(other.read_bytes())
        other.write_bytes(before)
    elif change == "rename":
        (folder / path).rename(folder / f"{path}{at.choice('.x~ ')}")
    elif change == "remove":
        (folder / path).unlink()
    elif callable(change):
        (folder / path).write_bytes(change(before, at))
    if resummed:
        sum_again(folder)
    if resummed and path == places.EXCERPT and _says_the_same(folder / path, taken.folder / path):
        return  # the last bits of a compressed file mean nothing
    assert not taken.check(folder).holds, path


def _says_the_same(place: Path, other: Path) -> bool:
    try:
        first, second = ([*excerpt.unzipped([each.read_bytes()])] for each in (place, other))
    except (OSError, MunimentError):
        return False
    return first == second
