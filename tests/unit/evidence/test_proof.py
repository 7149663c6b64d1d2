"""Receipts: the tlog-proof file, and what it proves."""

import base64
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import NoteInvalid, ProofInvalid
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey
from muniment.evidence.proof import MAX_RECEIPT_BYTES, Receipt

KEY = SigningKey.generate("log.example/1")
LEAVES = [merkle.leaf_hash(b"entry %d" % number) for number in range(7)]
NOTE = sign(Checkpoint("log.example/1", 7, merkle.root(LEAVES)), KEY)
HASH = base64.b64encode(sha256(b"hash").digest()).decode()


def receipt(index: int) -> Receipt:
    def node(level: int, number: int) -> bytes:
        return merkle.root(LEAVES[number << level : (number + 1) << level])

    return Receipt(index, tuple(merkle.inclusion_proof(index, 7, node)), NOTE)


@pytest.mark.parametrize("index", range(7))
def test_every_entry_has_a_receipt_that_verifies(index: int) -> None:
    read = Receipt.parse(receipt(index).format())
    assert read == receipt(index)
    checkpoint, note = read.verify(LEAVES[index], "log.example/1", [KEY.verifier])
    assert (checkpoint.size, note.verified) == (7, (KEY.verifier,))


def test_the_file_is_the_one_of_the_specification() -> None:
    # the cases of transparency-dev/formats proof/tlog_proof_test.go, in our words
    first, second = sha256(b"hash1").digest(), sha256(b"hash2").digest()
    one, two = (base64.b64encode(each).decode() for each in (first, second))
    plain = Receipt(5, (first, second), b"test checkpoint\n")
    extra = Receipt(10, (first,), b"checkpoint data\n", b"extra information")
    alone = Receipt(0, (), b"checkpoint\n")
    assert plain.format().decode() == (
        f"c2sp.org/tlog-proof@v1\nindex 5\n{one}\n{two}\n\ntest checkpoint\n"
    )
    assert extra.format().decode() == (
        "c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\n"
        f"index 10\n{one}\n\ncheckpoint data\n"
    )
    assert alone.format() == b"c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"
    assert all(Receipt.parse(each.format()) == each for each in (plain, extra, alone))


def test_extra_data_changes_nothing_that_is_proved() -> None:
    dressed = replace(receipt(3), extra=b"anything")
    dressed.verify(LEAVES[3], "log.example/1", [KEY.verifier])


def test_a_receipt_of_another_entry_is_refused() -> None:
    with pytest.raises(ProofInvalid, match="leads to another root"):
        receipt(3).verify(LEAVES[2], "log.example/1", [KEY.verifier])
    with pytest.raises(ProofInvalid):
        replace(receipt(3), index=2).verify(LEAVES[3], "log.example/1", [KEY.verifier])


def test_a_receipt_of_another_log_or_key_is_refused() -> None:
    with pytest.raises(NoteInvalid, match=r"not of `log\.example/2`"):
        receipt(3).verify(LEAVES[3], "log.example/2", [KEY.verifier])
    with pytest.raises(NoteInvalid, match="no known key"):
        receipt(3).verify(LEAVES[3], "log.example/1", [SigningKey.generate(KEY.name).verifier])


def test_a_receipt_with_a_changed_byte_does_not_verify() -> None:
    data = receipt(3).format()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises((ProofInvalid, NoteInvalid)):
            Receipt.parse(bytes(changed)).verify(LEAVES[3], "log.example/1", [KEY.verifier])


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\n\n",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\n\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\r\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 00\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex five\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 9223372036854775807\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nINDEX 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\n0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra \nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra !!\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra YWJj\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra YWJj\nextra YWJj\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra YWJj\n\ncheckpoint\n",
        f"c2sp.org/tlog-proof@v1\nextra {'YWJj' * 30000}\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nYWJj\n\ncheckpoint\n",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH} \n\ncheckpoint\n",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH[:-1]}\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 64 + "\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex ٣\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n\n" + "a" * MAX_RECEIPT_BYTES,
    ],
)
def test_a_malformed_receipt_is_refused(data: str) -> None:
    with pytest.raises(ProofInvalid):
        Receipt.parse(data.encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_receipt_or_a_refusal(data: bytes) -> None:
    for candidate in (data, b"c2sp.org/tlog-proof@v1\n" + data, receipt(1).format() + data):
        try:
            read = Receipt.parse(candidate)
        except ProofInvalid:
            continue
        assert read.format() == candidate
