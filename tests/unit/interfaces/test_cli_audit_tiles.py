"""`muniment audit` of a mirror and of an address: what it remembers, and how others may lie."""

import asyncio
import gzip
import json
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from muniment.access import records
from muniment.errors import (
    Conflict,
    LogInvalid,
    Malformed,
    NotPermitted,
    Unauthenticated,
    Unavailable,
)
from muniment.evidence.append import Proposal
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.store import Published
from muniment.evidence.tile_log import MAX_RESOURCE
from muniment.evidence.verdict import Verdict
from muniment.interfaces.cli import tile_sources
from muniment.interfaces.cli.api import token_for
from muniment.interfaces.cli.audit import audit_command
from muniment.interfaces.cli.remembered import RememberedHead
from muniment.interfaces.cli.tile_address import TileAddress
from muniment.interfaces.cli.tile_audit import Examined, examine
from muniment.interfaces.cli.tile_sources import TileFolder
from muniment.operations.mirror import copy
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.cases import WrittenCase, WrittenLog, new_case

URL = "https://muniment.example/log"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("MUNIMENT_TOKEN", "MUNIMENT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    (tmp_path / "data").mkdir()
    log = WrittenLog(tmp_path / "data")
    WrittenCase(log).whole()
    yield log
    log.close()


@pytest.fixture
def mirror(written: WrittenLog, tmp_path: Path) -> Path:
    publish(written, tmp_path / "mirror")
    return tmp_path / "mirror"


def publish(written: WrittenLog, folder: Path) -> None:
    published = Published(written.log.size, written.log.checkpoint)
    asyncio.run(_copied(written, folder, published))


async def _copied(written: WrittenLog, folder: Path, published: Published) -> None:
    await copy(written.log, TileDirectory(folder), published)


def fill(written: WrittenLog, size: int) -> None:
    futures = []
    for _ in range(size - written.log.size):
        case = new_case("hbt")
        draft = records.LogHeartbeat(actor=records.SERVICE, unrecorded={}).draft(case, written.now)
        futures.append(written.log.append(Proposal(drafts=(draft,), reads={case: None})))
    for future in futures:
        future.result(timeout=30)


@pytest.fixture
def fork(written: WrittenLog, tmp_path: Path) -> Iterator[Path]:
    """Another history under the same key, larger than the first."""
    (tmp_path / "other").mkdir()
    other = WrittenLog(tmp_path / "other", key=written.key)
    for _ in range(2):
        WrittenCase(other).whole()
    publish(other, tmp_path / "fork")
    yield tmp_path / "fork"
    other.close()


def run(written: WrittenLog, *arguments: Any) -> Result:
    everything = [*map(str, arguments), "--log-key", written.key.verifier.vkey]
    return CliRunner().invoke(audit_command, everything, catch_exceptions=False)


def value(result: Result) -> Any:
    return json.loads(result.output)


def remembered(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state/muniment/heads").glob("*.json"))


# --- a mirror ------------------------------------------------------------------------------------


def test_a_mirror_is_audited_and_its_head_remembered(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    first = run(written, mirror)
    assert first.exit_code == 0
    assert "UNANCHORED" in first.output
    assert "every tile over these entries is that of its entries" in first.output
    assert first.output.splitlines()[-1].startswith("Not proved: ")
    assert "in no tile" in first.output.splitlines()[-1]
    (state,) = remembered(tmp_path)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    WrittenCase(written).whole()
    publish(written, mirror)
    second = run(written, mirror)
    assert (second.exit_code, "SELF-WITNESSED" in second.output) == (0, True)
    assert str(state) in second.output


def test_a_full_audit_of_tiles_reads_every_record(written: WrittenLog, mirror: Path) -> None:
    found = value(run(written, mirror, "--full", "--json"))
    assert (found["cases"], found["full"], found["holds"]) == (6, True, True)
    assert any("sections and documents" in each for each in found["not_proved"])
    assert "cases without a gap" in run(written, mirror, "--full").output


def test_a_mirror_is_never_taken_for_the_folder_of_an_installation(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    assert value(run(written, mirror, "--json"))["log"] == str(mirror)
    assert value(run(written, tmp_path, "--json"))["log"].endswith("muniment.db")
    assert run(written, tmp_path / "nowhere").exit_code == 2


def test_a_fork_is_diverged_names_both_heads_and_keeps_both_as_evidence(
    written: WrittenLog, mirror: Path, fork: Path, tmp_path: Path
) -> None:
    state = tmp_path / "my-head.json"
    assert run(written, mirror, "--state", state).exit_code == 0
    before, kept = state.read_bytes(), (mirror / "checkpoint").read_bytes()
    for _ in range(2):  # and again: it is not forgotten by looking
        result = run(written, fork, "--state", state)
        assert (result.exit_code, "DIVERGED" in result.output) == (1, True)
        assert f"your head of size {written.log.size} has root" in result.output
        assert "this log has there" in result.output
        assert "entries give" not in result.output, "none was hashed"
        assert state.read_bytes() == before
    evidence = {path.read_bytes() for path in state.with_suffix(".diverged").iterdir()}
    assert evidence == {kept, (fork / "checkpoint").read_bytes()}
    found = value(run(written, fork, "--state", state, "--json"))
    assert (found["verdict"], found["holds"], found["not_proved"]) == (
        "DIVERGED",
        False,
        ["anything"],
    )
    assert len(found["evidence"]) == 2


def test_a_signed_head_over_tiles_that_are_not_its_own_is_kept_too(
    written: WrittenLog, mirror: Path, fork: Path, tmp_path: Path
) -> None:
    """Whoever shows a fork need not show its tiles."""
    state = tmp_path / "head.json"
    run(written, mirror, "--state", state)
    (mirror / "checkpoint").unlink()
    shutil.copy(fork / "checkpoint", mirror / "checkpoint")
    result = run(written, mirror, "--state", state)
    assert (result.exit_code, "INVALID" in result.output) == (1, True)
    assert (fork / "checkpoint").read_bytes() in {
        path.read_bytes() for path in state.with_suffix(".diverged").iterdir()
    }


def test_a_log_that_became_smaller_is_diverged(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(mirror, tmp_path / "older")
    WrittenCase(written).whole()
    publish(written, mirror)
    state = tmp_path / "head.json"
    assert run(written, mirror, "--state", state).exit_code == 0
    result = run(written, older, "--state", state)
    assert (result.exit_code, "entries are gone" in result.output) == (1, True)


def test_another_mirror_that_lags_behind_is_no_smaller_log(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(mirror, tmp_path / "older")
    WrittenCase(written).whole()
    publish(written, mirror)
    assert run(written, mirror).exit_code == run(written, older).exit_code == 0
    assert len(remembered(tmp_path)) == 2


def test_nothing_is_hashed_twice_unless_it_is_asked_for(
    written: WrittenLog, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = TileFolder.read

    def reading(self: TileFolder, path: str) -> bytes | None:
        read.append(path)
        return real(self, path)

    fill(written, 300)
    publish(written, mirror)
    monkeypatch.setattr(TileFolder, "read", reading)
    for options, entries in (((), True), ((), False), (("--from-start",), True)):
        read.clear()
        assert run(written, mirror, *options).exit_code == 0
        assert ("tile/entries/000" in read) == entries, options


def test_a_remembered_head_that_was_damaged_is_not_gone_on_from(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    state = tmp_path / "head.json"
    run(written, mirror, "--state", state)
    whole = state.read_bytes()
    held = json.loads(whole)
    for damaged in (
        b"", b"{}", b"[]", b"\xff", whole[:-9],
        json.dumps({**held, "peaks": held["peaks"][1:]}).encode(),
        json.dumps({**held, "checkpoint": held["checkpoint"].replace("\n", "\n\n", 1)}).encode(),
    ):  # fmt: skip
        state.write_bytes(damaged)
        with pytest.raises(Malformed, match="is no head of this log"):
            run(written, mirror, "--state", state)
        assert state.read_bytes() == damaged


def test_two_audits_do_not_remember_at_once(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    state = tmp_path / "head.json"
    with RememberedHead(state, written.key.verifier).held(), pytest.raises(Conflict):
        run(written, mirror, "--state", state)


def test_a_database_is_held_against_the_remembered_head_where_one_is_named(
    written: WrittenLog, mirror: Path, fork: Path, tmp_path: Path
) -> None:
    state = tmp_path / "head.json"
    assert value(run(written, written.path, "--state", state, "--json"))["verdict"] == "UNANCHORED"
    found = value(run(written, written.path, "--state", state, "--json"))
    assert found["verdict"] == "SELF-WITNESSED"
    assert value(run(written, mirror, "--state", state, "--json"))["verdict"] == "SELF-WITNESSED"
    assert run(written, tmp_path / "other", "--state", state).exit_code == 1
    assert len(list(state.with_suffix(".diverged").iterdir())) == 2
    assert run(written, written.path).exit_code == 0
    assert remembered(tmp_path) == []


def test_a_large_mirror_is_hashed_on_every_core(
    written: WrittenLog, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_sources, "WORTH_SPREADING", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert run(written, mirror).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--follow", "--full"),
        ("--follow", "--from-start"),
        ("--go-on",),
        ("--metrics", "127.0.0.1:0"),
        ("--on-alert", "/bin/true"),
    ],
)
def test_options_that_say_nothing_together_are_refused(
    written: WrittenLog, mirror: Path, options: tuple[str, ...]
) -> None:
    assert run(written, mirror, *options).exit_code == 2
    assert run(written, written.path, "--follow").exit_code == 2


# --- an address ----------------------------------------------------------------------------------


@pytest.fixture
def served(mirror: Path) -> Iterator[str]:
    """The mirror behind a plain web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(mirror.parent))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{mirror.name}"
        server.shutdown()
        thread.join()


def test_an_address_is_audited_and_gone_on_from(
    written: WrittenLog, mirror: Path, served: str, tmp_path: Path
) -> None:
    assert value(run(written, served, "--json"))["verdict"] == "UNANCHORED"
    fill(written, 300)
    publish(written, mirror)
    found = value(run(written, f"{served}/", "--json"))
    assert (found["verdict"], found["log"]) == ("SELF-WITNESSED", served)
    assert value(run(written, served, "--json"))["since"] == written.log.size // 256 * 256
    assert len(remembered(tmp_path)) == 1
    assert run(written, served, "--full", "--from-start").exit_code == 0


Answer = Callable[[httpx.Request], httpx.Response]


def address(answer: Answer, token: str | None = "secret") -> TileAddress:
    return TileAddress(URL, token, transport=httpx.MockTransport(answer), pauses=(0, 0))


def serving(mirror: Path) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        file = mirror / request.url.path.removeprefix("/log/")
        return (
            httpx.Response(200, stream=Raw(file.read_bytes()))
            if file.is_file()
            else httpx.Response(404)
        )

    return answer


def examined(written: WrittenLog, answer: Answer, tmp_path: Path) -> Examined:
    key, source = written.key.verifier, address(answer)
    try:
        return examine(source, key, RememberedHead(tmp_path / "state.json", key))
    finally:
        source.close()


def test_the_token_of_the_environment_goes_to_the_service_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUNIMENT_TOKEN", "secret")
    monkeypatch.setenv("MUNIMENT_URL", "https://muniment.example")
    assert token_for("https://muniment.example") == "secret"
    assert token_for("https://mirror.of.others") is None
    monkeypatch.delenv("MUNIMENT_URL")
    assert token_for("https://muniment.example") == "secret"


def test_the_token_goes_to_the_address_and_nowhere_else(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path == "/log/checkpoint":
            return serving(mirror)(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.example/log"})

    with pytest.raises(Unavailable, match="answers 302"):
        examined(written, answer, tmp_path)
    assert {request.url.host for request in asked} == {"muniment.example"}
    assert {request.headers["authorization"] for request in asked} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://muniment.example/log", "secret"),
        ("https://user:password@muniment.example/log", None),
        ("https://muniment.example/log?x=1", None),
        ("ftp://muniment.example/log", None),
        ("https:///log", None),
        ("https://muniment.example/log", "a\nb"),
    ],
)
def test_an_address_that_would_give_a_secret_away_is_refused(url: str, token: str | None) -> None:
    with pytest.raises(Malformed) as refused:
        TileAddress(url, token)
    assert "secret" not in str(refused.value)


def test_compressed_answers_are_read_within_the_same_bounds(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    def zipped(request: httpx.Request) -> httpx.Response:
        plain = serving(mirror)(request)
        plain.read()
        headers = {"Content-Encoding": "gzip"}
        return httpx.Response(
            plain.status_code, headers=headers, stream=Raw(gzip.compress(plain.content))
        )

    assert examined(written, zipped, tmp_path).found.holds

    def bomb(_: httpx.Request) -> httpx.Response:
        data = gzip.compress(bytes(MAX_RESOURCE + 1))
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Raw(data))

    found = examined(written, bomb, tmp_path).found
    assert (found.verdict, "too large" in str(found.bad)) == (Verdict.INVALID, True)


class Raw(httpx.SyncByteStream):
    """Bytes as they would come from a server, in pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), 65536):
            yield self._data[at : at + 65536]


def test_an_answer_without_an_end_is_cut_off(written: WrittenLog, tmp_path: Path) -> None:
    class Endless(httpx.SyncByteStream):
        sent = 0

        def __iter__(self) -> Iterator[bytes]:
            while True:
                Endless.sent += 1 << 20
                yield bytes(1 << 20)

    found = examined(written, lambda _: httpx.Response(200, stream=Endless()), tmp_path).found
    assert found.verdict is Verdict.INVALID
    assert Endless.sent <= MAX_RESOURCE + (2 << 20)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip"])
def test_an_answer_that_cannot_be_read_is_no_finding_about_the_log(
    written: WrittenLog, tmp_path: Path, coding: str
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"Content-Encoding": coding}, stream=Raw(b"\x1f\x8b\x08")
        )

    with pytest.raises(Unavailable):
        examined(written, answer, tmp_path)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthenticated), (403, NotPermitted), (429, Unavailable), (503, Unavailable), (302, Unavailable)],
)  # fmt: skip
def test_what_the_service_refuses_is_said(
    written: WrittenLog, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        examined(written, lambda _: httpx.Response(status), tmp_path)


def test_what_fails_for_a_moment_is_asked_for_again(
    written: WrittenLog, mirror: Path, tmp_path: Path
) -> None:
    asked: dict[str, int] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        tried = asked[request.url.path] = asked.get(request.url.path, 0) + 1
        if tried == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(503) if tried == 2 else serving(mirror)(request)

    assert examined(written, answer, tmp_path).found.holds


def test_a_size_that_nobody_can_hold_ends_at_the_first_missing_bundle(
    written: WrittenLog, tmp_path: Path
) -> None:
    note = sign(Checkpoint(written.key.name, 2**62, bytes(32)), written.key)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        found = request.url.path == "/log/checkpoint"
        return httpx.Response(200, stream=Raw(note)) if found else httpx.Response(404)

    found = examined(written, answer, tmp_path).found
    assert (found.verdict, found.bad.index if found.bad else None) == (Verdict.INVALID, 0)
    assert len(asked) < 5000


def test_a_resource_of_a_folder_is_read_within_bounds(tmp_path: Path) -> None:
    with (tmp_path / "checkpoint").open("wb") as file:
        file.truncate(MAX_RESOURCE + 1)
    with pytest.raises(LogInvalid, match="too large"):
        TileFolder(tmp_path).read("checkpoint")
    (tmp_path / "tile").mkdir()
    with pytest.raises(Unavailable):
        TileFolder(tmp_path).read("tile")
