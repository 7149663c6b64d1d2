"""The key of a witness: its text form, and what it signs."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muniment.errors import NoteInvalid
from muniment.evidence.note import CosigningKey, KeyType, SigningKey, VerifierKey, open_note

_PRIVATE = Ed25519PrivateKey.from_private_bytes(b"witness " * 4)
KEY = CosigningKey("witness.example/1", _PRIVATE)
LOG = SigningKey.generate("log.example/1")
TEXT = "log.example/1\n1\n0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=\n"
NOW = 1_800_000_000


def test_a_cosigning_key_reads_back_from_its_text() -> None:
    parsed = CosigningKey.parse(KEY.skey)
    assert (parsed.name, parsed.skey, parsed.verifier) == (KEY.name, KEY.skey, KEY.verifier)
    assert KEY.skey.startswith("PRIVATE+KEY+witness.example/1+")
    assert VerifierKey.parse(KEY.verifier.vkey) == KEY.verifier
    assert KEY.verifier.type is KeyType.COSIGNER


def test_a_generated_cosigning_key_is_new() -> None:
    assert CosigningKey.generate("w.example").skey != CosigningKey.generate("w.example").skey


def test_a_cosignature_is_over_its_time_and_the_whole_text() -> None:
    line = KEY.cosign(TEXT, NOW)
    assert (line.name, line.key_id) == (KEY.name, KEY.verifier.key_id)
    assert line.signature[:8] == NOW.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {NOW}\n{TEXT}".encode()
    Ed25519PublicKey.from_public_bytes(KEY.verifier.public).verify(line.signature[8:], message)


def test_a_cosigned_note_tells_who_and_when() -> None:
    note = LOG.sign(TEXT) + KEY.cosign(TEXT, NOW).line.encode()
    opened = open_note(note, [LOG.verifier, KEY.verifier])
    assert opened.verified == (LOG.verifier, KEY.verifier)
    assert dict(opened.cosigned_at) == {KEY.verifier: NOW}


def test_another_text_or_time_does_not_verify() -> None:
    line = KEY.cosign(TEXT, NOW)
    with pytest.raises(NoteInvalid, match="does not verify"):
        KEY.verifier.verify(TEXT.replace("\n1\n", "\n2\n"), line.signature)
    later = (NOW + 1).to_bytes(8, "big") + line.signature[8:]
    with pytest.raises(NoteInvalid, match="does not verify"):
        KEY.verifier.verify(TEXT, later)


@pytest.mark.parametrize("at", [0, -1, 2**63])
def test_a_time_that_no_cosignature_has_is_refused(at: int) -> None:
    with pytest.raises(NoteInvalid, match="not the time of a cosignature"):
        KEY.cosign(TEXT, at)


@pytest.mark.parametrize("text", ["", "no newline", "a\ttab\n"])
def test_a_text_that_no_note_holds_is_not_cosigned(text: str) -> None:
    with pytest.raises(NoteInvalid):
        KEY.cosign(text, NOW)


def test_keys_of_logs_and_of_witnesses_are_not_mistaken_for_one_another() -> None:
    with pytest.raises(NoteInvalid, match="not an Ed25519 key of type 0x04"):
        CosigningKey.parse(LOG.skey)
    with pytest.raises(NoteInvalid, match="not an Ed25519 key of type 0x01"):
        SigningKey.parse(KEY.skey)


@pytest.mark.parametrize(
    "skey",
    [
        "",
        KEY.skey.removeprefix("PRIVATE+KEY+"),
        KEY.skey[:-1],
        KEY.skey.replace("witness.example/1", "witness.example/2"),
        KEY.skey.replace(f"+{KEY.verifier.key_id.hex()}+", "+00000000+"),
    ],
)
def test_what_is_no_cosigning_key_is_refused(skey: str) -> None:
    with pytest.raises(NoteInvalid):
        CosigningKey.parse(skey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "x" * 300])
def test_a_name_that_no_key_can_have_is_refused(name: str) -> None:
    with pytest.raises(NoteInvalid):
        CosigningKey.generate(name)


def test_a_cosigning_key_shows_its_public_half_only() -> None:
    assert repr(KEY) == f"CosigningKey({KEY.verifier.vkey!r})"
    assert KEY.skey.rpartition("+")[2] not in repr(KEY)
