"""What mirrors keep and `/log/` serves, before foreign judges of C2SP tlog-tiles, and before ours."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from acceptance.followed_service import make, run, serving
from judging import Verdict, judge_directory, need_judge

from muniment.access import records
from muniment.evidence.append import Proposal
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.note import VerifierKey
from muniment.evidence.store import Published
from muniment.evidence.tiles import tiles_for
from muniment.operations.mirror import copy
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.cases import WrittenCase, WrittenLog, new_case

pytestmark = pytest.mark.deep

#: those that look at tiles; Go's own reader among them
JUDGES: Final = ("go", "tlog-scales", "aics-tlog")
#: several times over the first full tile, copied bit by bit
SIZES: Final = (200, 256, 400, 700)


@dataclass(frozen=True)
class Shown:
    directory: Path
    vkey: str
    size: int

    def judged(self, name: str, directory: Path | None = None) -> Verdict:
        return judge_directory(directory or self.directory, self.vkey, [name])[name]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    base = tmp_path_factory.mktemp("mirrored")
    written = WrittenLog(base)
    WrittenCase(written).whole()
    for size in SIZES:
        fill(written, size)
        newest = Published(written.log.size, written.log.checkpoint)
        asyncio.run(copied(written, base / "mirror", newest))
    size = written.log.size
    written.close()
    return Shown(base / "mirror", written.key.verifier.vkey, size)


async def copied(written: WrittenLog, folder: Path, published: Published) -> None:
    await copy(written.log, TileDirectory(folder), published)


def fill(written: WrittenLog, size: int) -> None:
    futures = []
    for _ in range(size - written.log.size):
        case = new_case("hbt")
        draft = records.LogHeartbeat(actor=records.SERVICE, unrecorded={}).draft(case, written.now)
        futures.append(written.log.append(Proposal(drafts=(draft,), reads={case: None})))
    for future in futures:
        future.result(timeout=30)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """`/log/` of a real service, fetched over HTTP by whoever may follow it."""
    base = tmp_path_factory.mktemp("fetched")
    tokens = make(base / "service")
    with serving(base / "service", tokens) as followed:
        followed.publish()
        bearer = {"Authorization": f"Bearer {tokens['watch']}"}
        with httpx.Client(base_url=f"{followed.tiles}/", headers=bearer) as client:
            note = client.get("checkpoint").raise_for_status().content
            key = VerifierKey.parse(followed.vkey)
            size = open_checkpoint(note, key.name, [key]).size
            for path in ("checkpoint", *(tile.path for tile in tiles_for(size))):
                place = base / "log" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(client.get(path).raise_for_status().content)
        yield Shown(base / "log", followed.vkey, size)


@pytest.fixture(params=["mirrored", "fetched"])
def shown(request: pytest.FixtureRequest) -> Shown:
    found: Shown = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=JUDGES)
def judge(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need_judge(name)
    return name


def audited(shown: Shown, directory: Path, tmp_path: Path, code: int) -> str:
    state = ("--state", tmp_path / "state.json")
    said = run("audit", directory, "--log-key", shown.vkey, "--json", *state, code=code)
    verdict: str = json.loads(said)["verdict"]
    return verdict


def test_a_foreign_judge_accepts_what_is_shown(shown: Shown, judge: str) -> None:
    verdict = shown.judged(judge)
    assert verdict.accepted, verdict.said
    assert f"{shown.size} entries" in verdict.said


def test_so_do_we(shown: Shown, tmp_path: Path) -> None:
    assert audited(shown, shown.directory, tmp_path, 0) == "UNANCHORED"


# --- attacks: each changes a copy ----------------------------------------------------------------


def newest(log: Path, kind: str) -> Path:
    """The partial tile or bundle of the newest checkpoint."""
    size = int((log / "checkpoint").read_text().split("\n")[1])
    return log / f"tile/{kind}/{size // 256:03}.p/{size % 256}"


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.unlink()  # what a mirror keeps is read-only
    file.write_bytes(data)


def a_byte_of_an_entry(log: Path) -> None:
    flip(newest(log, "entries"), 40)


def a_byte_of_a_hash(log: Path) -> None:
    flip(newest(log, "0"), 40)


def a_byte_of_the_signature(log: Path) -> None:
    flip(log / "checkpoint", -20)


def an_entry_that_is_gone(log: Path) -> None:
    file = newest(log, "entries")
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[2 + int.from_bytes(data[:2], "big") :])


ATTACKS: Final = (
    a_byte_of_an_entry,
    a_byte_of_a_hash,
    a_byte_of_the_signature,
    an_entry_that_is_gone,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_copy_that_was_changed_is_refused_by_them_and_by_us(
    shown: Shown, attack: Callable[[Path], None], tmp_path: Path
) -> None:
    changed = shutil.copytree(shown.directory, tmp_path / "log")
    attack(changed)
    assert audited(shown, changed, tmp_path, 1) == "INVALID"
    for name in JUDGES:
        need_judge(name)
        verdict = shown.judged(name, changed)
        assert not verdict.accepted, (name, verdict.said)
