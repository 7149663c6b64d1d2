"""A log written by the real writer, before judges whose authors never heard of Muniment."""

import base64
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import pytest
from judging import JUDGES, Verdict, export_log, judge_directory, need_judge

from muniment.access import records, registry
from muniment.evidence import merkle
from muniment.evidence.append import Proposal
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.clock import SteadyClock
from muniment.evidence.founding import found_log
from muniment.evidence.log import Log
from muniment.evidence.note import SigningKey
from muniment.evidence.signer import Keyring
from muniment.testing.log_servers import LogServers
from muniment.testing.trial_log import Files, Place

pytestmark = pytest.mark.deep

SIZE: Final = 3001
#: a head of 255 and 256 entries stand on both sides of the first full tile
HEADS: Final = (1, 2, 255, 256, 257, 1024, 2999, SIZE)
PROVED: Final = (*range(0, SIZE, 97), 255, 256, 2815, 2816, SIZE - 2, SIZE - 1)
ACTOR: Final = records.Actor(
    principal="prn_x", type="human", sponsor=None, persons=("per_1",), assurance="token"
)


@dataclass(frozen=True)
class Exported:
    directory: Path
    key: SigningKey
    entries: list[bytes]

    def judged(self, name: str, directory: Path | None = None) -> Verdict:
        vkey = self.key.verifier.vkey
        return judge_directory(directory or self.directory, vkey, [name])[name]


@pytest.fixture(
    scope="module",
    params=["files", pytest.param("postgresql", marks=pytest.mark.target)],
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Where the log lies."""
    folder = tmp_path_factory.mktemp("log")
    if request.param == "files":
        yield Files(folder / "muniment.db", folder / "head")
        return
    with contextlib.closing(LogServers.start(folder)) as servers:
        yield servers.new()


@pytest.fixture(scope="module")
def exported(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """3,001 requests, appended in batches that end at the heads that are wanted later."""
    folder, key = tmp_path_factory.mktemp("exported"), SigningKey.generate("test.example/log")
    with (
        contextlib.closing(place.open_store()) as store,
        contextlib.closing(place.open_heads()) as heads,
    ):
        found_log(store, heads, Keyring.of(key), lambda v: records.LogStarted(
            actor=records.SERVICE, origin=key.name, key=str(v), nonce=secrets.token_bytes(16)
        ).draft(case("log"), now()))  # fmt: skip
        log = Log(
            store, heads, Keyring.of(key), SteadyClock(now, time.monotonic),
            counters=registry.counters,
        )  # fmt: skip
        log.open(registry.Registry().take)
        signed = [log.checkpoint]
        for size in HEADS[1:]:
            waiting = [log.append(request()) for _ in range(size - log.size)]
            for future in waiting:
                future.result(timeout=60)
            signed.append(log.checkpoint)
        log.close()
        export_log(store, signed[-1], folder, older=signed[:-1], proofs=PROVED)
        entries = [data for _, data in store.entries(0, SIZE)]
    return Exported(folder, key, entries)


def now() -> datetime:
    return datetime.now(timezone.utc)  # noqa: TID251 (the test is the outermost room)


def case(prefix: str) -> str:
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def request() -> Proposal:
    name = case("mun")
    asked = records.AccessRequested(
        actor=ACTOR, requester="prn_x", resource="orders", role="readonly",
        definition=b"\1" * 32, environment="prod", seconds=60, emergency=False,
    )  # fmt: skip
    draft = asked.draft(name, now(), sections={"reason": b"the nightly export failed"})
    return Proposal(drafts=(draft,), reads={name: None})


@pytest.fixture(params=JUDGES)
def judge(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need_judge(name)
    return name


def test_a_foreign_judge_accepts_the_log_and_has_looked_at_all_of_it(
    exported: Exported, judge: str
) -> None:
    verdict = exported.judged(judge)
    seen = f"{len(set(PROVED))} inclusion proofs, {len(HEADS) - 1} consistency proofs"
    if judge != "witness-log":  # a witness is shown no tiles
        seen = f"{SIZE} entries, {seen}"
    assert verdict == Verdict(accepted=True, said=f"accepted: {seen}")


@pytest.mark.parametrize("shown", ["the old key", "the new key"])
def test_a_foreign_judge_accepts_a_log_that_two_keys_sign_with_either_of_them(
    exported: Exported, judge: str, shown: str, tmp_path: Path
) -> None:
    second, overlap = SigningKey.generate(exported.key.name), tmp_path / "overlap"
    shutil.copytree(exported.directory, overlap)
    signed = [file for file in overlap.rglob("*") if file.is_file() and "tile" not in file.parts]
    for file in signed:
        data = file.read_bytes()
        text = data[data.rindex(f"{exported.key.name}\n".encode()) :].partition(b"\n\n")[0] + b"\n"
        file.write_bytes(data + second.sign(text.decode()).rpartition(b"\n\n")[2])
    assert len(signed) > len(HEADS)
    key = exported.key if shown == "the old key" else second
    assert Exported(overlap, key, exported.entries).judged(judge).accepted


# --- attacks: each changes a copy, and names what it changed -----------------------------------


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def reword(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert data.count(old) == 1
    file.write_bytes(data.replace(old, new))


def a_byte_of_a_proved_entry(log: Path, _: Exported) -> None:
    flip(log / "tile/entries/000", 2 + 40)


def a_byte_of_an_entry_without_a_proof(log: Path, exported: Exported) -> None:
    assert 1 not in PROVED
    flip(log / "tile/entries/000", 2 + len(exported.entries[0]) + 2 + 40)


def a_byte_of_the_last_entry(log: Path, _: Exported) -> None:
    flip(log / f"tile/entries/011.p/{SIZE % 256}", -1)


def a_byte_of_a_full_tile(log: Path, _: Exported) -> None:
    flip(log / "tile/0/003", 5 * 32)


def a_byte_of_the_partial_tile(log: Path, _: Exported) -> None:
    flip(log / f"tile/0/011.p/{SIZE % 256}", 5 * 32)


def a_byte_of_an_upper_tile(log: Path, _: Exported) -> None:
    flip(log / "tile/1/000.p/11", 5 * 32)


def an_entry_and_its_hash(log: Path, exported: Exported) -> None:
    """Whoever edits the database may edit its hashes too."""
    second = exported.entries[1]
    forged = second.replace(b"readonly", b"readwrit")
    reword(log / "tile/entries/000", second, forged)
    reword(log / "tile/0/000", merkle.leaf_hash(second), merkle.leaf_hash(forged))


def the_last_entry_is_dropped(log: Path, exported: Exported) -> None:
    last = exported.entries[-1]
    bundle, tile = (log / f"tile/{kind}/011.p/{SIZE % 256}" for kind in ("entries", "0"))
    bundle.write_bytes(bundle.read_bytes().removesuffix(len(last).to_bytes(2, "big") + last))
    tile.write_bytes(tile.read_bytes()[:-32])


def the_last_entry_is_denied(log: Path, exported: Exported) -> None:
    """The tree without its last entry, under a head that says so; but the key does not sign it."""
    the_last_entry_is_dropped(log, exported)
    for kind in ("entries", "0"):
        partial = log / f"tile/{kind}/011.p"
        (partial / f"{SIZE % 256}").rename(partial / f"{SIZE % 256 - 1}")
    root = merkle.root([merkle.leaf_hash(entry) for entry in exported.entries[:-1]])
    honest = (log / "checkpoint").read_bytes()
    signature = honest[honest.rindex(b"\n\n") :]
    text = Checkpoint(exported.key.name, SIZE - 1, root).format().encode()
    (log / "checkpoint").write_bytes(text[:-1] + signature)


def a_byte_of_the_signature(log: Path, _: Exported) -> None:
    flip(log / "checkpoint", -20)


def the_signature_of_another_key(log: Path, exported: Exported) -> None:
    head = open_checkpoint(
        (log / "checkpoint").read_bytes(), exported.key.name, [exported.key.verifier]
    )
    (log / "checkpoint").write_bytes(sign(head, SigningKey.generate(exported.key.name)))


def another_root_under_the_true_key(log: Path, exported: Exported) -> None:
    other = sign(Checkpoint(exported.key.name, SIZE, bytes(32)), exported.key)
    (log / "checkpoint").write_bytes(other)


def another_root_in_an_older_head(log: Path, exported: Exported) -> None:
    """Two histories, both signed by the log: what only a witness's memory finds."""
    old = (log / "checkpoints/1024").read_bytes()
    other = sign(Checkpoint(exported.key.name, 1024, bytes(32)), exported.key)
    (log / "checkpoints/1024").write_bytes(other)
    step = next(log.glob("growth/*-*1024.add-checkpoint"))
    reword(step, old, other)


def a_hash_of_an_inclusion_proof(log: Path, _: Exported) -> None:
    file = log / "proofs/97.tlog-proof"
    line = file.read_bytes().split(b"\n")[4]
    reword(file, line, base64.b64encode(bytes(32)))


def the_index_of_an_inclusion_proof(log: Path, _: Exported) -> None:
    reword(log / "proofs/97.tlog-proof", b"index 97\n", b"index 96\n")


def a_hash_of_a_consistency_proof(log: Path, _: Exported) -> None:
    file = next(log.glob("growth/*1024-*.add-checkpoint"))
    line = file.read_bytes().split(b"\n")[1]
    reword(file, line, base64.b64encode(bytes(32)))


ATTACKS: Final = (
    a_byte_of_a_proved_entry,
    a_byte_of_an_entry_without_a_proof,
    a_byte_of_the_last_entry,
    a_byte_of_a_full_tile,
    a_byte_of_the_partial_tile,
    a_byte_of_an_upper_tile,
    an_entry_and_its_hash,
    the_last_entry_is_dropped,
    the_last_entry_is_denied,
    a_byte_of_the_signature,
    the_signature_of_another_key,
    another_root_under_the_true_key,
    another_root_in_an_older_head,
    a_hash_of_an_inclusion_proof,
    the_index_of_an_inclusion_proof,
    a_hash_of_a_consistency_proof,
)
#: a witness is shown heads and proofs, and here the entries that are proved; no tiles
UNSEEN: Final = {
    "witness-log": {
        a_byte_of_an_entry_without_a_proof,
        a_byte_of_a_full_tile,
        a_byte_of_the_partial_tile,
        a_byte_of_an_upper_tile,
        an_entry_and_its_hash,
    }
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_foreign_judge_refuses_the_log_after_an_attack(
    exported: Exported, judge: str, attack: Callable[[Path, Exported], None], tmp_path: Path
) -> None:
    copy = shutil.copytree(exported.directory, tmp_path / "log")
    attack(copy, exported)
    verdict = exported.judged(judge, copy)
    assert verdict.accepted == (attack in UNSEEN.get(judge, ())), verdict.said
