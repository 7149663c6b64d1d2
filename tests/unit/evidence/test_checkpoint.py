"""Checkpoints: three lines, and who has to have signed them."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.errors import NoteInvalid
from muniment.evidence.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    from_decimal,
    open_checkpoint,
    open_cosigned,
    sign,
)
from muniment.evidence.merkle import EMPTY_ROOT
from muniment.evidence.note import KeyType, Signature, SigningKey, VerifierKey

KEY = SigningKey("log.example/1", Ed25519PrivateKey.from_private_bytes(b"log key " * 4))
ROOT = sha256(b"root").digest()
CHECKPOINT = Checkpoint("log.example/1", 5, ROOT)
TEXT = CHECKPOINT.format()
ROOT_LINE = TEXT.split("\n")[2]


def test_a_checkpoint_reads_back_from_its_note() -> None:
    assert Checkpoint.parse(TEXT) == CHECKPOINT
    assert open_checkpoint(sign(CHECKPOINT, KEY), "log.example/1", [KEY.verifier]) == CHECKPOINT
    checkpoint, note = open_cosigned(sign(CHECKPOINT, KEY), "log.example/1", [KEY.verifier])
    assert (checkpoint, note.verified) == (CHECKPOINT, (KEY.verifier,))


def test_extension_lines_are_kept() -> None:
    extended = Checkpoint("go.sum database tree", 5, ROOT, ("one", "two with spaces"))
    assert extended.format().endswith("=\none\ntwo with spaces\n")
    assert Checkpoint.parse(extended.format()) == extended


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "log.example/1\n5\n",
        TEXT[:-1],
        TEXT + "\n",
        f"\n5\n{ROOT_LINE}\n",
        f"log.example/1\n05\n{ROOT_LINE}\n",
        f"log.example/1\n+5\n{ROOT_LINE}\n",
        f"log.example/1\n-5\n{ROOT_LINE}\n",
        f"log.example/1\n٥\n{ROOT_LINE}\n",
        f"log.example/1\n5 \n{ROOT_LINE}\n",
        f"log.example/1\n{MAX_SIZE + 1}\n{ROOT_LINE}\n",
        f"log.example/1\n{'9' * 5000}\n{ROOT_LINE}\n",
        f"log.example/1\n5\n{ROOT_LINE[:-1]}\n",
        f"log.example/1\n5\n{ROOT_LINE} \n",
        "log.example/1\n5\nYWJj\n",
        f"log.example/1\n0\n{ROOT_LINE}\n",
        f"log.example/1\n5\n{ROOT_LINE}\n\nextension\n",
        f"log.example/1\n5\n{ROOT_LINE}\nexten\tsion\n",
        f"log.example/1\r\n5\r\n{ROOT_LINE}\r\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions"),
    [
        ("", 5, ROOT, ()),
        ("two\nlines", 5, ROOT, ()),
        ("log.example/1", -1, ROOT, ()),
        ("log.example/1", MAX_SIZE + 1, ROOT, ()),
        ("log.example/1", 5, ROOT[:-1], ()),
        ("log.example/1", 0, ROOT, ()),
        ("log.example/1", 5, ROOT, ("",)),
        ("log.example/1", 5, ROOT, ("two\nlines",)),
    ],
)
def test_a_checkpoint_that_cannot_be_stated_is_refused(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...]
) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint(origin, size, root, extensions)


def test_an_empty_log_has_the_empty_root() -> None:
    empty = Checkpoint("log.example/1", 0, EMPTY_ROOT)
    assert empty.format() == "log.example/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(NoteInvalid, match=r"not of `log\.example/2`"):
        open_checkpoint(sign(CHECKPOINT, KEY), "log.example/2", [KEY.verifier])


def test_a_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="fewer than three lines"):
        open_checkpoint(KEY.sign("log.example/1\n"), "log.example/1", [KEY.verifier])


def test_a_checkpoint_that_only_a_witness_signed_is_refused() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"witness " * 4)
    witness = VerifierKey("w.example", private.public_key().public_bytes_raw(), KeyType.COSIGNER)
    stamped = bytes(8) + private.sign(f"cosignature/v1\ntime 0\n{TEXT}".encode())
    line = Signature(witness.name, witness.key_id, stamped).line.encode()
    keys = [KEY.verifier, witness]
    note = sign(CHECKPOINT, KEY)
    _, opened = open_cosigned(note + line, "log.example/1", keys)
    assert (opened.verified, opened.cosigned_at) == ((KEY.verifier, witness), {witness: 0})
    with pytest.raises(NoteInvalid, match="no known key of the log signed it"):
        open_checkpoint(TEXT.encode() + b"\n" + line, "log.example/1", keys)


def test_an_origin_with_a_lone_surrogate_is_not_signed() -> None:
    with pytest.raises(NoteInvalid):
        sign(Checkpoint("\ud800", 5, ROOT), KEY)


def test_a_number_has_one_spelling() -> None:
    assert [from_decimal(text) for text in ("0", "7", str(MAX_SIZE))] == [0, 7, MAX_SIZE]
    for text in ("", "00", "-1", "1_0", "1\n", "0x1", str(MAX_SIZE + 1)):
        assert from_decimal(text) is None
