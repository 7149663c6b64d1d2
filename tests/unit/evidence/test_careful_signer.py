"""A signer that remembers: what it signs, and which second history it does not."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Conflict, LogInvalid, LogUnavailable, Malformed, NoteInvalid
from muniment.evidence.careful_signer import CarefulSigner, Memory, SignedHead
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.merkle import Frontier
from muniment.evidence.note import CosigningKey, Signature, SigningKey
from muniment.evidence.signer import Extension
from muniment.evidence.signer_messages import (
    LENGTH,
    MAX_ANSWER,
    encode_refused,
    encode_request,
    encode_signed,
    parse_answer,
    parse_request,
)
from muniment.stores.signer_state import SignerStateFile

ORIGIN = "muniment.example/careful"
KEY = SigningKey.generate(ORIGIN)


class InMemory:
    """A `MemoryStore` that a test can break."""

    def __init__(self) -> None:
        self.kept = Memory()
        self.broken = False

    def read(self) -> Memory:
        return self.kept

    def write(self, memory: Memory) -> None:
        if self.broken:
            raise LogUnavailable("the disk is full")
        self.kept = memory


def leaves(count: int, name: str = "") -> list[bytes]:
    return [sha256(f"{name}{number}".encode()).digest() for number in range(count)]


def extension(history: list[bytes], size: int, *, origin: str = ORIGIN) -> Extension:
    """From the first `size` entries of this history to all of them."""
    tree = Frontier()
    for leaf in history[:size]:
        tree.push(leaf)
    peaks = tree.peaks
    for leaf in history[size:]:
        tree.push(leaf)
    text = Checkpoint(origin, len(history), tree.root()).format()
    return Extension(size=size, peaks=peaks, leaves=tuple(history[size:]), text=text)


@pytest.fixture
def memory() -> InMemory:
    return InMemory()


@pytest.fixture
def signer(memory: InMemory) -> CarefulSigner:
    return CarefulSigner(KEY, memory)


# --- what it signs --------------------------------------------------------------------------------


def test_it_signs_one_batch_after_the_other(signer: CarefulSigner) -> None:
    history = leaves(20)
    for before, after in [(0, 1), (1, 7), (7, 8), (8, 20)]:
        asked = extension(history[:after], before)
        line = signer.sign(asked)
        assert KEY.verifier.verify(asked.text, line.signature) is None


def test_one_that_never_signed_goes_on_from_wherever_it_is_asked_to(signer: CarefulSigner) -> None:
    history = leaves(30)
    signer.sign(extension(history[:21], 17))
    with pytest.raises(Conflict, match="signed last has size 21"):
        signer.sign(extension(leaves(18, "other"), 17))


def test_to_ask_twice_is_to_ask_once(signer: CarefulSigner, memory: InMemory) -> None:
    asked = extension(leaves(5), 2)
    assert signer.sign(asked) == signer.sign(asked)
    assert memory.kept.newest.size == 5


def test_what_the_log_could_not_keep_is_given_up_once_it_goes_on_from_before(
    signer: CarefulSigner,
) -> None:
    history = leaves(5)
    signer.sign(extension(history, 0))
    lost = history + leaves(3, "lost")
    signer.sign(extension(lost, 5))
    kept = history + leaves(2, "kept")
    signer.sign(extension(kept, 5))
    signer.sign(extension(kept + leaves(1, "more"), 7))
    with pytest.raises(Conflict):
        signer.sign(extension(lost + leaves(9), 8))


# --- what it does not sign ------------------------------------------------------------------------


def test_a_second_history_is_refused_however_long_it_is(signer: CarefulSigner) -> None:
    history = leaves(40)
    for before, after in [(0, 10), (10, 20), (20, 30)]:
        signer.sign(extension(history[:after], before))
    for size in (0, 5, 10):
        with pytest.raises(Conflict, match="an older copy of the log, or another history"):
            signer.sign(extension(history[:size] + leaves(80, "other"), size))
    with pytest.raises(Conflict):
        signer.sign(extension(leaves(31, "other"), 30))
    signer.sign(extension(history, 30))


def test_a_smaller_size_and_the_same_size_with_another_root_are_refused(
    signer: CarefulSigner,
) -> None:
    history = leaves(40)
    signer.sign(extension(history[:10], 0))
    signer.sign(extension(history[:30], 10))
    signer.sign(extension(history, 30))
    with pytest.raises(Conflict):
        signer.sign(extension(history[:29], 10))
    with pytest.raises(Conflict):
        signer.sign(extension(history[:10] + leaves(30, "other"), 10))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"text": "no checkpoint"}, "no checkpoint"),
        ({"text": extension(leaves(3), 0, origin="other.example/log").text}, "another log"),
        ({"text": extension(leaves(3), 0).text + "more\n"}, "extension lines"),
        ({"text": extension(leaves(4), 0).text}, "do not lead"),
        ({"leaves": ()}, "do not lead"),
        ({"peaks": (b"x" * 32,)}, "peaks do not make a tree"),
        ({"size": 1, "peaks": (b"short",)}, "not a SHA-256"),
    ],
)
def test_what_is_no_extension_of_this_log_is_refused(
    signer: CarefulSigner, memory: InMemory, wrong: dict[str, Any], match: str
) -> None:
    with pytest.raises(Malformed, match=match):
        signer.sign(replace(extension(leaves(3), 0), **wrong))
    assert memory.kept == Memory()


def test_what_cannot_be_remembered_is_not_signed(signer: CarefulSigner, memory: InMemory) -> None:
    memory.broken = True
    with pytest.raises(LogUnavailable):
        signer.sign(extension(leaves(3), 0))


# --- its memory on a disk -------------------------------------------------------------------------


def head(number: int) -> SignedHead:
    return SignedHead(number, sha256(str(number).encode()).digest())


def test_what_was_signed_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    state = SignerStateFile.make(tmp_path / "state")
    for number in range(1, 6):
        state.write(Memory(head(number - 1), head(number)))
    state.close()
    again = SignerStateFile(tmp_path / "state")
    assert again.read() == Memory(head(4), head(5))
    again.close()


def test_a_torn_write_leaves_what_was_remembered_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = SignerStateFile.make(path)
    for number in range(1, 4):
        state.write(Memory(head(number - 1), head(number)))
    state.close()
    data = bytearray(path.read_bytes())
    data[512 + 60] ^= 1  # number 3 went to the second slot
    path.write_bytes(data)
    again = SignerStateFile(path)
    assert again.read() == Memory(head(1), head(2))
    again.close()


def test_a_memory_that_is_gone_or_damaged_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(LogInvalid, match="put it back"):
        SignerStateFile(tmp_path / "nothing")
    (tmp_path / "damaged").write_bytes(b"x" * 1024)
    with pytest.raises(LogInvalid, match="both slots"):
        SignerStateFile(tmp_path / "damaged")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(LogInvalid, match="both slots"):
        SignerStateFile(tmp_path / "empty")


def test_two_processes_do_not_share_a_memory(tmp_path: Path) -> None:
    state = SignerStateFile.make(tmp_path / "state")
    with pytest.raises(Conflict, match="another process"):
        SignerStateFile(tmp_path / "state")
    with pytest.raises(Conflict, match="already"):
        SignerStateFile.make(tmp_path / "state")
    state.close()


# --- what goes over the socket --------------------------------------------------------------------


def body(message: bytes) -> bytes:
    (length,) = LENGTH.unpack(message[:4])
    assert length == len(message) - 4
    return message[4:]


def test_a_request_reads_back_as_it_was() -> None:
    for asked in (extension(leaves(3), 0), extension(leaves(700), 255)):
        assert parse_request(body(encode_request(asked))) == asked


@pytest.mark.parametrize("cut", [0, 1, 13, 14, 100, 200])
def test_a_request_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises((Malformed, NoteInvalid)):
        InMemorySigner().sign(parse_request(body(encode_request(extension(leaves(9), 3)))[:cut]))


def test_a_request_beyond_all_bounds_is_refused() -> None:
    asked = extension(leaves(3), 0)
    with pytest.raises(Malformed, match="at most"):
        encode_request(replace(asked, leaves=(b"x" * 32,) * 300_000))
    with pytest.raises(Malformed):
        parse_request(body(encode_request(replace(asked, text="x" * 5000))))
    with pytest.raises(Malformed, match="no log has"):
        parse_request(body(encode_request(replace(asked, size=1 << 63))))
    with pytest.raises(Malformed, match="UTF-8"):
        parse_request(body(encode_request(asked)) + b"\xff")


def test_an_answer_is_believed_once_it_verifies() -> None:
    asked, other = extension(leaves(3), 0), SigningKey.generate(ORIGIN)
    line = CarefulSigner(KEY, InMemory()).sign(asked)
    assert parse_answer(body(encode_signed(line)), KEY.verifier, asked.text) == line
    forged = CarefulSigner(other, InMemory()).sign(asked)
    for wrong, match in [
        (forged, "another key"),
        (Signature(KEY.name, KEY.verifier.key_id, forged.signature), "no signature"),
        (CosigningKey.generate(ORIGIN).cosign(asked.text, 7), "another key"),
    ]:
        with pytest.raises(Malformed, match=match):
            parse_answer(body(encode_signed(wrong)), KEY.verifier, asked.text)
    twice = body(encode_signed(line)) + line.line.encode()
    with pytest.raises(Malformed):
        parse_answer(twice, KEY.verifier, asked.text)
    with pytest.raises(Malformed, match="it refuses: no"):
        parse_answer(body(encode_refused("no\x1b[2J")), KEY.verifier, asked.text)
    for junk in (b"", b"?", b"+", b"+\n\n", b"+\xff\xfe"):
        with pytest.raises(Malformed):
            parse_answer(junk, KEY.verifier, asked.text)
    assert len(encode_refused("x" * 10_000)) == 4 + MAX_ANSWER


class InMemorySigner(CarefulSigner):
    def __init__(self) -> None:
        super().__init__(KEY, InMemory())
