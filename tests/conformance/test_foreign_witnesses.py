"""
Witnesses that others wrote, and ours: each cosigns the same log, and each refuses the same.

A log that our code writes is shown to witness-log (Rust), to aics-witness (a process of its own) and
to `muniment witness`. Logs and clients that others wrote are shown to ours.
"""

import base64
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from os import environ, pathsep
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from acceptance.witness_program import muniment, serving
from cryptography.exceptions import InvalidSignature
from judging import export_log, need_judge

from muniment.evidence.checkpoint import Checkpoint, open_cosigned, sign
from muniment.evidence.merkle import EMPTY_ROOT
from muniment.evidence.note import SigningKey, VerifierKey, parse_note
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.stores.sqlite import SQLiteStore
from muniment.testing.faulty import ORIGIN
from muniment.testing.small_log import add_checkpoint
from muniment.testing.trial_log import TrialLog

pytestmark = pytest.mark.deep

#: around powers of two, and past the first full tile
HEADS: Final = (1, 2, 3, 8, 9, 64, 255, 256, 257, 300)


# --- a log that our code writes ------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """Signed heads of a log, by size, and the requests that lead from one to the next."""

    key: SigningKey
    heads: dict[int, bytes]
    requests: dict[tuple[int, int], bytes]

    @classmethod
    def by(cls, folder: Path, key: SigningKey, heads: tuple[int, ...]) -> "Written":
        """The requests are those that the judges are given, made from the log's own tiles."""
        folder.mkdir()
        trial = TrialLog(folder, key=key)
        signed = {}
        for size in heads:
            trial.fill(size - trial.log.size)
            signed[size] = trial.log.checkpoint
        trial.close()
        store = SQLiteStore(folder / "muniment.db")
        *older, last = signed.values()
        export_log(store, last, folder / "export", older=older)
        store.close()
        requests = {}
        for file in (folder / "export/growth").iterdir():
            before, after = map(int, file.stem.split("-"))
            requests[before, after] = file.read_bytes()
        return cls(key, signed, requests)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Written:
    key = SigningKey.generate(ORIGIN)
    return Written.by(tmp_path_factory.mktemp("log") / "one", key, HEADS)


@pytest.fixture(scope="module")
def fork(log: Written, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Another history under the same key: what a restored backup or a thief of the key writes."""
    return Written.by(tmp_path_factory.mktemp("log") / "other", log.key, (1, 9, 64))


# --- witnesses, ours among them ------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A witness that knows the log."""

    key: VerifierKey
    #: status and text of the answer to a request
    ask: Callable[[bytes], tuple[int, str]] = field(repr=False)


@contextlib.contextmanager
def witness_log(_folder: Path, log_key: VerifierKey) -> Iterator[Asked]:
    core = import_module("witness_log._core")
    service = core.WitnessService.new("rust.example/witness", bytes(range(32)))
    assert service.add_log(ORIGIN, log_key.vkey)

    def ask(body: bytes) -> tuple[int, str]:
        status, _, text = service.handle_add_checkpoint_http(body.decode("utf-8", "replace"))
        return status, text

    yield Asked(VerifierKey.parse(service.vkey()), ask)


@contextlib.contextmanager
def aics_witness(folder: Path, log_key: VerifierKey) -> Iterator[Asked]:
    program = [sys.executable, "-m", "aics_witness"]
    config = ["--config", str(folder / "witness.json")]

    def run(*arguments: str) -> str:
        command = [*program, *arguments, *config]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    vkey = run("init", "--name", "aics.example/witness").strip()
    run("add-log", "--origin", ORIGIN, "--vkey", log_key.vkey)
    command = [*program, "serve", "--listen", "127.0.0.1:0", *config]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            url = next(line.split()[-1].rpartition("/")[0] for line in lines if "listening" in line)
            with httpx.Client() as client:
                yield Asked(VerifierKey.parse(vkey), over_http(client, url))
        finally:
            process.kill()


@contextlib.contextmanager
def ours(folder: Path, log_key: VerifierKey) -> Iterator[Asked]:
    vkey = muniment("init", folder / "witness", "--name", "witness.example/1")["key"]
    muniment("add", folder / "witness", log_key.vkey, "--origin", ORIGIN)
    with serving(folder / "witness") as running, httpx.Client() as client:
        yield Asked(VerifierKey.parse(vkey), over_http(client, running.url))


def over_http(client: httpx.Client, url: str) -> Callable[[bytes], tuple[int, str]]:
    def ask(body: bytes) -> tuple[int, str]:
        answer = client.post(f"{url}/add-checkpoint", content=body)
        return answer.status_code, answer.text

    return ask


WITNESSES: Final = {
    "witness-log": witness_log,
    "aics-witness": aics_witness,
    "muniment": ours,
}


@pytest.fixture(params=WITNESSES)
def witness(request: pytest.FixtureRequest, log: Written, tmp_path: Path) -> Iterator[Asked]:
    if request.param != "muniment":
        need(request.param.replace("-", "_"))
    with WITNESSES[request.param](tmp_path, log.key.verifier) as witness:
        yield witness


def need(module: str) -> Any:
    """The module, by name: the types check with and without it."""
    if find_spec(module) is None:
        missing = pytest.fail if environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"{module} is not installed; `make test-deep` installs it")
    return import_module(module)


# --- the same log before each of them ------------------------------------------------------------


def test_each_witness_cosigns_every_head_of_a_log_that_we_write(
    log: Written, witness: Asked
) -> None:
    for (_, after), request in sorted(log.requests.items()):
        status, lines = witness.ask(request)
        assert status == 200, lines
        keys = [log.key.verifier, witness.key]
        checkpoint, note = open_cosigned(log.heads[after] + lines.encode(), ORIGIN, keys)
        assert checkpoint.size == after
        assert note.verified == (log.key.verifier, witness.key)
        assert abs(note.cosigned_at[witness.key] - time.time()) < 60  # noqa: TID251 (the outermost room)


def test_one_checkpoint_carries_the_word_of_all_three(log: Written, tmp_path: Path) -> None:
    for module in ("witness_log", "aics_witness"):
        need(module)
    note, lines = log.heads[1], []
    with contextlib.ExitStack() as opened:
        for name, start in WITNESSES.items():
            folder = tmp_path / name
            folder.mkdir()
            witness = opened.enter_context(start(folder, log.key.verifier))
            note += witness.ask(log.requests[0, 1])[1].encode()
            lines.append(f"witness {name} {witness.key.vkey}\n")
    policy = WitnessPolicy.parse(
        f"log {log.key.verifier.vkey}\n{''.join(lines)}"
        f"group all-three all {' '.join(WITNESSES)}\nquorum all-three\n"
    )
    opened_note = open_cosigned(note, ORIGIN, [log.key.verifier, *policy.witness_keys])[1]
    assert policy.satisfied(opened_note.verified)
    assert len(policy.cosigners(opened_note.verified)) == 3
    assert not policy.satisfied(opened_note.verified[:-1])


#: at size 9 each of them: what is sent, and the answer of C2SP tlog-witness
REFUSED: Final[dict[str, tuple[Callable[[Written, Written], bytes], int]]] = {
    "a fork of the head": (
        lambda _, fork: add_checkpoint(9, [], fork.heads[9]),
        422,
    ),
    "a fork that has grown": (lambda _, fork: fork.requests[9, 64], 422),
    "a proof of another history": (
        lambda log, fork: add_checkpoint(9, hashes(fork.requests[9, 64]), log.heads[64]),
        422,
    ),
    "a growth without its proof": (lambda log, _: add_checkpoint(9, [], log.heads[64]), 422),
    "a proof with a hash too many": (
        lambda log, _: add_checkpoint(9, [*hashes(log.requests[9, 64]), bytes(32)], log.heads[64]),
        422,
    ),
    "a proof where none is needed": (
        lambda log, _: add_checkpoint(9, [bytes(32)], log.heads[9]),
        422,
    ),
    "a log that went back": (lambda log, _: log.requests[3, 8], 409),
    "a restored backup of the fork": (lambda _, fork: fork.requests[1, 9], 409),
    "a start from nothing": (lambda log, _: log.requests[0, 1], 409),
    "an old size above the checkpoint": (lambda log, _: add_checkpoint(9, [], log.heads[8]), 400),
    "a log that is not known": (
        lambda log, _: add_checkpoint(
            0, [], sign(Checkpoint("other.example", 0, EMPTY_ROOT), log.key)
        ),
        404,
    ),
    "a key that is not the log's": (
        lambda log, _: add_checkpoint(
            9, [], sign(head(log.heads[9]), SigningKey.generate(log.key.name))
        ),
        403,
    ),
    "a signature that fails": (
        lambda log, _: add_checkpoint(9, [], flipped(log.heads[9])),
        403,
    ),
    "no request": (lambda _log, _fork: b"junk", 400),
    "a size with a zero before it": (
        lambda log, _: log.requests[9, 64].replace(b"old 9", b"old 09"),
        400,
    ),
    "64 hashes": (lambda log, _: add_checkpoint(9, [bytes(32)] * 64, log.heads[64]), 400),
}


def hashes(request: bytes) -> list[bytes]:
    return [base64.b64decode(line) for line in request.partition(b"\n\n")[0].split(b"\n")[1:]]


def head(note: bytes) -> Checkpoint:
    return Checkpoint.parse(parse_note(note)[0])


def flipped(note: bytes) -> bytes:
    """A bit of the signature, in base64 that stays canonical."""
    text, (line,) = parse_note(note)
    wrong = bytes([*line.signature[:-1], line.signature[-1] ^ 1])
    encoded = base64.b64encode(line.key_id + wrong).decode()
    return f"{text}\n\N{EM DASH} {line.name} {encoded}\n".encode()


def test_each_witness_refuses_the_same_and_goes_on_with_what_it_knows(
    log: Written, fork: Written, witness: Asked
) -> None:
    for pair in ((0, 1), (1, 2), (2, 3), (3, 8), (8, 9)):
        assert witness.ask(log.requests[pair])[0] == 200
    for name, (attack, status) in REFUSED.items():
        answer = witness.ask(attack(log, fork))
        assert answer[0] == status, (name, answer)
        if status == 409:
            assert answer[1] == "9\n"
    assert witness.ask(log.requests[9, 64])[0] == 200


# --- our cosignatures before code that others wrote ----------------------------------------------


@pytest.fixture
def cosigned(log: Written, tmp_path: Path) -> Iterator[tuple[Asked, bytes]]:
    """Our witness, and the newest checkpoint with our cosignature."""
    with ours(tmp_path, log.key.verifier) as witness:
        for request in (request for _, request in sorted(log.requests.items())):
            status, lines = witness.ask(request)
            assert status == 200
        yield witness, log.heads[HEADS[-1]] + lines.encode()


def test_aics_tlog_verifies_our_cosignature(cosigned: tuple[Asked, bytes]) -> None:
    aics = need("aics_tlog")
    witness, note = cosigned
    key = aics.parse_vkey(witness.key.vkey)
    parsed = aics.parse_note(note)
    checkpoint = aics.parse_checkpoint(parsed.text)
    (line,) = (each for each in parsed.signatures if each.name == witness.key.name)
    assert line.key_id == witness.key.key_id
    about = (key.name, key.public_key, checkpoint.origin)
    fresh = {"max_age_seconds": 60, "max_future_seconds": 30}
    verify = aics.verify_cosignature
    assert verify(line.signature, *about, checkpoint.size, checkpoint.root, **fresh)
    assert not verify(line.signature, *about, checkpoint.size + 1, checkpoint.root, **fresh)
    assert not verify(line.signature, *about, checkpoint.size, bytes(32), **fresh)


def test_tlog_scales_verifies_our_cosignature(cosigned: tuple[Asked, bytes]) -> None:
    need("tlog_scales")
    signing, tlog = (import_module(f"tlog_scales.{name}") for name in ("signing", "tlog"))
    witness, note = cosigned
    vkey = signing.Vkey.from_string(witness.key.vkey)
    tlog.Checkpoint.from_text(note.decode()).verify(vkey)
    with pytest.raises(InvalidSignature):
        tlog.Checkpoint.from_text(note.decode().replace("\n300\n", "\n301\n")).verify(vkey)


def test_go_verifies_our_cosignature(
    cosigned: tuple[Asked, bytes], log: Written, tmp_path: Path
) -> None:
    """Go's own notes, as its checksum database uses them."""
    need_judge("go")
    program = tmp_path / "judge"
    settings = {
        "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "",
        "GOTOOLCHAIN": "local", "GOCACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    source = Path(__file__).parent / "judges/go-cosignature/main.go"
    go = shutil.which("go", path=f"/usr/bin{pathsep}{environ['PATH']}")
    assert go is not None
    build = [go, "build", "-o", str(program), str(source)]
    subprocess.run(build, env={**environ, **settings}, check=True)
    witness, note = cosigned
    file = tmp_path / "note"
    for data, verdict in (
        (note, "accepted"),
        (note.replace(b"\n300\n", b"\n301\n"), "refused"),
        (log.heads[300], "refused"),
    ):
        file.write_bytes(data)
        command = [str(program), str(file), log.key.verifier.vkey, witness.key.vkey]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.split(":")[0].strip() == verdict, done.stdout + done.stderr


def test_openssl_verifies_our_cosignature(cosigned: tuple[Asked, bytes], tmp_path: Path) -> None:
    """With nothing but base64 and openssl, as anybody could by hand."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    witness, note = cosigned
    text, signatures = parse_note(note)
    stamped = next(each.signature for each in signatures if each.name == witness.key.name)
    at = int.from_bytes(stamped[:8], "big")
    (tmp_path / "key.der").write_bytes(
        bytes.fromhex("302a300506032b6570032100") + witness.key.public
    )
    (tmp_path / "signature").write_bytes(stamped[8:])
    for name, message, code in (
        ("signed", f"cosignature/v1\ntime {at}\n{text}", 0),
        ("dated", f"cosignature/v1\ntime {at + 1}\n{text}", 1),
    ):
        (tmp_path / name).write_text(message)
        verify = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "key.der", "-keyform", "DER"]
        command = [*verify, "-rawin", "-in", name, "-sigfile", "signature"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


# --- logs and clients that others wrote, before our witness --------------------------------------


@dataclass(frozen=True)
class Ours:
    """Our witness, as a client is told of it."""

    url: str
    key: VerifierKey
    folder: Path


@pytest.fixture
def our_witness(tmp_path: Path) -> Iterator[Ours]:
    folder = tmp_path / "witness"
    vkey = muniment("init", folder, "--name", "witness.example/1")["key"]
    with serving(folder) as running:
        yield Ours(running.url, VerifierKey.parse(vkey), folder)


def test_the_client_of_aics_gets_a_log_of_aics_cosigned_by_us(
    our_witness: Ours, tmp_path: Path
) -> None:
    aics, feeder = need("aics_tlog"), need("aics_witness.feeder")
    key = SigningKey.generate("log.aics.example/1")
    muniment("add", our_witness.folder, key.verifier.vkey)
    one, other = aics.MerkleTree(), aics.MerkleTree()
    for number in range(40):
        one.append(f"{number}".encode())
        other.append(f"{number if number < 5 else -number}".encode())

    def signed(tree: Any, size: int) -> bytes:
        root = base64.b64encode(tree.root(size)).decode()
        return key.sign(f"{key.name}\n{size}\n{root}\n")

    state = tmp_path / "state.json"
    with feeder.WitnessClient(our_witness.url, our_witness.key.vkey, state_path=state) as client:
        for size in (3, 3, 17, 40):
            lines = client.submit(signed(one, size), one.consistency_proof)
            assert our_witness.key.name in lines
        with pytest.raises(feeder.WitnessAhead):
            client.submit(signed(one, 17), one.consistency_proof)
        with pytest.raises(feeder.WitnessRejected, match="422"):
            client.submit(signed(other, 40), other.consistency_proof)
    # a client that remembers nothing is told the size, and finds its way
    one.append(b"40")
    other.append(b"40")
    options = {"backoff": 0, "max_attempts": 2}
    with feeder.WitnessClient(our_witness.url, our_witness.key.vkey, **options) as client:
        with pytest.raises(feeder.WitnessRejected, match="422"):
            client.submit(signed(other, 41), other.consistency_proof)
        assert client.submit(signed(one, 41), one.consistency_proof)
    evidence = muniment("evidence", our_witness.folder)["evidence"]
    # the fork that had grown to 41 contradicts the 41 that was cosigned after it
    assert [(each["outcome"], each["size"]) for each in evidence] == [
        ("forked", 40),
        ("forked", 41),
    ]


def test_the_client_of_witness_log_gets_its_journal_cosigned_by_us(
    our_witness: Ours, tmp_path: Path
) -> None:
    core = need("witness_log")._core
    journal = core.WitnessLog.generate()
    origin = journal.canonical_origin()
    muniment("add", our_witness.folder, journal.c2sp_vkey(origin), "--origin", origin)
    entry = core.witness_entry_independent(
        our_witness.key.name, "Somebody", our_witness.url, our_witness.key.public.hex()
    )
    directory = f'{{"witnesses": [{entry}]}}'
    state = str(tmp_path / "state.json")
    for count in (5, 1, 30):
        for number in range(count):
            journal.append_intent(f"{number}".encode())
        done = journal.submit(directory, 1, 1, state_path=state)
        assert (done["cosignatures"], done["outcomes"][0]["status"]) == (1, 200), done["outcomes"]
    (log,) = muniment("status", our_witness.folder)["logs"]
    assert (log["size"], log["root"]) == (36, encoded(journal.root_hex()))
    fork = core.WitnessLog.resume(journal.identity_bytes(), 2)
    for number in range(40):
        fork.append_intent(f"forked {number}".encode())
    status, said, _ = import_module("witness_log.witnessing")._post(
        our_witness.url, fork.add_checkpoint_body(36), 10
    )
    assert status == 422, said


def encoded(root: str) -> str:
    return base64.b64encode(bytes.fromhex(root)).decode()
