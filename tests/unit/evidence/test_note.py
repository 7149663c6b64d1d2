"""Signed notes: what verifies, and all that is refused."""

import base64
import pickle
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muniment.errors import NoteInvalid
from muniment.evidence.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    KeyType,
    Signature,
    SigningKey,
    VerifierKey,
    from_base64,
    open_note,
    parse_note,
)

LOG = SigningKey("log.example/1", Ed25519PrivateKey.from_private_bytes(b"log key " * 4))
OTHER = SigningKey("other.example", Ed25519PrivateKey.from_private_bytes(b"another " * 4))
TEXT = "first line\n\nline after an empty one\n"
NOTE = LOG.sign(TEXT)
P = 2**255 - 19

_WITNESS = Ed25519PrivateKey.from_private_bytes(b"witness " * 4)
WITNESS = VerifierKey("witness.example", _WITNESS.public_key().public_bytes_raw(), KeyType.COSIGNER)


def cosign(text: str, at: int, *, signed_at: int | None = None) -> bytes:
    message = f"cosignature/v1\ntime {at if signed_at is None else signed_at}\n{text}".encode()
    stamped = at.to_bytes(8, "big") + _WITNESS.sign(message)
    return Signature(WITNESS.name, WITNESS.key_id, stamped).line.encode()


def signature_of(key: SigningKey, text: str = TEXT) -> Signature:
    return parse_note(key.sign(text))[1][0]


def unknown_line(number: int) -> bytes:
    return Signature(f"unknown{number}.example", b"abcd", bytes(5000)).line.encode()


def test_a_note_opens_under_its_key() -> None:
    note = open_note(NOTE, [OTHER.verifier, LOG.verifier])
    assert (note.text, note.verified, dict(note.cosigned_at)) == (TEXT, (LOG.verifier,), {})


def test_a_note_and_its_keys_can_be_sent_to_another_process() -> None:
    note = open_note(NOTE, [LOG.verifier])
    assert pickle.loads(pickle.dumps(note)) == note


def test_a_text_that_looks_like_signatures_is_still_text() -> None:
    text = NOTE.decode() + "\n"
    assert open_note(LOG.sign(text), [LOG.verifier]).text == text


def test_a_generated_key_is_new_and_signs() -> None:
    first, second = SigningKey.generate("log.example/1"), SigningKey.generate("log.example/1")
    assert first.skey != second.skey
    assert open_note(first.sign(TEXT), [first.verifier]).verified == (first.verifier,)


def test_keys_read_back_from_their_text() -> None:
    assert VerifierKey.parse(LOG.verifier.vkey) == LOG.verifier
    assert VerifierKey.parse(WITNESS.vkey) == WITNESS
    assert SigningKey.parse(LOG.skey).sign(TEXT) == NOTE
    assert str(LOG.verifier) == LOG.verifier.vkey


def test_a_key_id_is_the_beginning_of_the_hash_of_the_named_key() -> None:
    named = b"log.example/1\n\x01" + LOG.verifier.public
    assert LOG.verifier.key_id == sha256(named).digest()[:4]
    assert LOG.verifier.vkey.split("+")[1] == LOG.verifier.key_id.hex()


def test_the_secret_is_not_in_the_representation_of_a_signing_key() -> None:
    secret = LOG.skey.split("+", 4)[4]
    assert secret not in f"{LOG!r} {LOG} {vars(LOG)}"
    assert LOG.verifier.vkey in repr(LOG)
    with pytest.raises(TypeError):
        pickle.dumps(LOG)


def test_a_note_with_a_failing_known_key_is_refused() -> None:
    broken = Signature(OTHER.name, OTHER.verifier.key_id, bytes(64)).line.encode()
    assert open_note(NOTE + broken, [LOG.verifier]).text == TEXT
    with pytest.raises(NoteInvalid, match=r"`other\.example` does not verify"):
        open_note(NOTE + broken, [LOG.verifier, OTHER.verifier])


def test_a_note_signed_by_no_known_key_is_refused() -> None:
    for keys in ([], [OTHER.verifier]):
        with pytest.raises(NoteInvalid, match="no known key"):
            open_note(NOTE, keys)


def test_a_key_is_unknown_if_only_its_name_or_only_its_id_is_known() -> None:
    same_name = SigningKey.generate(LOG.name)
    with pytest.raises(NoteInvalid, match="no known key"):
        open_note(NOTE, [same_name.verifier])
    same_id = Signature("other.example", LOG.verifier.key_id, signature_of(LOG).signature)
    with pytest.raises(NoteInvalid, match="no known key"):
        open_note(f"{TEXT}\n{same_id.line}".encode(), [LOG.verifier])


def test_a_known_key_that_signs_twice_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="twice"):
        open_note(NOTE + signature_of(LOG).line.encode(), [LOG.verifier])
    with pytest.raises(NoteInvalid, match="twice"):
        open_note(NOTE + cosign(TEXT, 1) + cosign(TEXT, 2), [LOG.verifier, WITNESS])


def test_an_unknown_key_may_sign_twice() -> None:
    assert open_note(NOTE + unknown_line(1) * 2, [LOG.verifier]).text == TEXT


def test_two_known_keys_of_one_name_and_id_are_refused() -> None:
    twin = VerifierKey(LOG.name, OTHER.verifier.public)
    vars(twin)["key_id"] = LOG.verifier.key_id  # as if somebody had computed a collision
    with pytest.raises(NoteInvalid, match="share a key id"):
        open_note(NOTE, [LOG.verifier, twin])
    assert open_note(NOTE, [LOG.verifier, LOG.verifier]).verified == (LOG.verifier,)


def test_a_cosignature_tells_its_time() -> None:
    note = open_note(NOTE + cosign(TEXT, 1679315147), [LOG.verifier, WITNESS])
    assert note.verified == (LOG.verifier, WITNESS)
    assert note.cosigned_at == {WITNESS: 1679315147}


@pytest.mark.parametrize(
    "line",
    [
        cosign(TEXT, 5, signed_at=6),
        cosign(TEXT + "x\n", 5),
        cosign(TEXT, 2**63),
        Signature(WITNESS.name, WITNESS.key_id, bytes(64)).line.encode(),
        Signature(WITNESS.name, WITNESS.key_id, bytes(73)).line.encode(),
        Signature(WITNESS.name, WITNESS.key_id, _WITNESS.sign(TEXT.encode())).line.encode(),
    ],
)
def test_a_cosignature_over_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(NoteInvalid, match=r"cosignature is malformed|does not verify"):
        open_note(NOTE + line, [LOG.verifier, WITNESS])


def test_the_time_of_a_cosignature_ends_before_2_to_the_63() -> None:
    at = 2**63 - 1
    assert open_note(NOTE + cosign(TEXT, at), [WITNESS]).cosigned_at == {WITNESS: at}


def test_many_large_signatures_are_accepted_up_to_the_cap() -> None:
    at_cap = NOTE + b"".join(unknown_line(number) for number in range(MAX_SIGNATURES - 1))
    assert MAX_SIGNATURES >= 16
    assert open_note(at_cap, [LOG.verifier]).text == TEXT
    with pytest.raises(NoteInvalid, match="too many"):
        open_note(at_cap + unknown_line(99), [LOG.verifier])


def test_a_note_that_is_too_long_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="too long"):
        open_note(LOG.sign("a" * MAX_NOTE_BYTES + "\n"), [LOG.verifier])


ENCODED = signature_of(LOG).line.split(" ")[2].strip()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + "\n\n",
        f"{TEXT}\n— log.example/1 {ENCODED}",
        f"{TEXT}\n- log.example/1 {ENCODED}\n",
        f"{TEXT}\n—  log.example/1 {ENCODED}\n",
        f"{TEXT}\n— log.example/1  {ENCODED}\n",
        f"{TEXT}\n— log.example/1 {ENCODED} \n",
        f"{TEXT}\n— log.example/1 {ENCODED}\r\n",
        f"{TEXT}\n— log.example/1\n",
        f"{TEXT}\n— {ENCODED}\n",
        f"{TEXT}\n— log.example/1 \n",
        f"{TEXT}\n— log.example/1 YWJjZA==\n",
        f"{TEXT}\n— log.example/1 {ENCODED[:-1]}\n",
        f"{TEXT}\n— log.example/1 {ENCODED}=\n",
        f"{TEXT}\n— log.example/1 YWJjZGX=\n",
        f"{TEXT}\n— log.example/1 éé==\n",
        f"{TEXT}\n— log+example {ENCODED}\n",
        f"{TEXT}\n— log\u00a0example {ENCODED}\n",
        f"{TEXT}\n— log\u3000example {ENCODED}\n",
        f"{TEXT}\n— {'n' * 256} {ENCODED}\n",
        f"tab\there\n\n— log.example/1 {ENCODED}\n",
        f"null\0here\n\n— log.example/1 {ENCODED}\n",
        f"{TEXT}\n— log.example/1 {ENCODED}\n— \n",
    ],
)
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(NoteInvalid):
        parse_note(note.encode())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff\n\n\xe2\x80\x94 a YWJjZGU=\n")
@example(b"a\n\n\xe2\x80\x94 \xed\xa0\x80 YWJjZGU=\n")
def test_any_bytes_are_a_note_or_a_refusal(data: bytes) -> None:
    for candidate in (data, NOTE + data, data + b"\n\n" + NOTE.partition(b"\n\n")[2]):
        try:
            text, signatures = parse_note(candidate)
        except NoteInvalid:
            continue
        assert f"{text}\n{''.join(each.line for each in signatures)}".encode() == candidate


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_note_with_a_changed_byte_does_not_open(at: int, change: int) -> None:
    changed = bytearray(NOTE)
    changed[at] ^= change
    with pytest.raises(NoteInvalid):
        open_note(bytes(changed), [LOG.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "return\r\n", "\ud800\n", "\0\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(NoteInvalid):
        LOG.sign(text)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\nb", "a\x00b", "a\u2003b", "a\ud800b", "n" * 256, "é" * 128]
)
def test_a_name_that_no_line_can_hold_is_refused(name: str) -> None:
    with pytest.raises(NoteInvalid):
        SigningKey.generate(name)
    with pytest.raises(NoteInvalid):
        VerifierKey(name, LOG.verifier.public)


def test_a_name_of_255_bytes_is_the_longest() -> None:
    key = SigningKey.generate("n" * 255)
    assert open_note(key.sign(TEXT), [VerifierKey.parse(key.verifier.vkey)]).text == TEXT


def test_keys_of_small_order_are_refused() -> None:
    # on -x^2 + y^2 = 1 + d x^2 y^2 a point doubles to y = 0 exactly if 2 y^2 = 1 - d y^4
    d = -121665 * pow(121666, -1, P) % P
    y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    assert (2 * y * y - 1 + d * pow(y, 4, P)) % P == 0
    for weak in (0, 1, P - 1, y, P - y):
        for sign in (0, 1 << 255):
            with pytest.raises(NoteInvalid, match="small order"):
                VerifierKey("weak.example", (weak | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [P, P + 1, P + 3, 2**255 - 1])
def test_a_key_that_is_not_written_canonically_is_refused(y: int) -> None:
    for sign in (0, 1 << 255):
        with pytest.raises(NoteInvalid, match="not canonical"):
            VerifierKey("weak.example", (y | sign).to_bytes(32, "little"))


def test_a_key_that_is_no_point_of_the_curve_verifies_nothing() -> None:
    y = next(y for y in range(2, 50) if not _on_curve(y))
    key = VerifierKey(LOG.name, y.to_bytes(32, "little"))
    line = Signature(key.name, key.key_id, bytes(64)).line
    with pytest.raises(NoteInvalid, match="does not verify"):
        open_note(f"{TEXT}\n{line}".encode(), [key])


def _on_curve(y: int) -> bool:
    d = -121665 * pow(121666, -1, P) % P
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    return pow(x_squared, (P - 1) // 2, P) in (0, 1)


def test_a_signature_with_a_scalar_beyond_the_order_of_the_group_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    good = signature_of(LOG)
    scalar = int.from_bytes(good.signature[32:], "little") + order
    malleated = good.signature[:32] + scalar.to_bytes(32, "little")
    line = Signature(LOG.name, LOG.verifier.key_id, malleated).line
    with pytest.raises(NoteInvalid, match="does not verify"):
        open_note(f"{TEXT}\n{line}".encode(), [LOG.verifier])


def _vkey(name: str, key_id: str, key: bytes) -> str:
    return f"{name}+{key_id}+{base64.b64encode(key).decode()}"


ID = LOG.verifier.key_id.hex()
PUBLIC = LOG.verifier.public


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "log.example/1",
        f"log.example/1+{ID}",
        f"log.example/1+{ID}+",
        f"log.example/1+{ID}+AQ",
        LOG.verifier.vkey + "\n",
        LOG.verifier.vkey + " ",
        "other" + LOG.verifier.vkey,
        _vkey("log.example/1", "00000000", b"\x01" + PUBLIC),
        _vkey("log.example/1", ID[:7], b"\x01" + PUBLIC),
        _vkey("log.example/1", "٠" * 8, b"\x01" + PUBLIC),
        _vkey("log.example/1", ID, b"\x02" + PUBLIC),
        _vkey("log.example/1", ID, b"\x04" + PUBLIC),
        _vkey("log.example/1", ID, b"\x01"),
        _vkey("log.example/1", ID, b"\x01" + PUBLIC + b"\0"),
        _vkey("log.example/1", ID, b"\x01" + bytes(32)),
        LOG.skey,
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize(
    "skey",
    [
        "",
        "PRIVATE+KEY+",
        LOG.verifier.vkey,
        "PRIVATE+KEY+" + LOG.verifier.vkey,
        LOG.skey[:-4],
        LOG.skey + "\n",
        LOG.skey.replace("log.example", "other.example"),
        "PRIVATE+KEY+" + _vkey("log.example/1", ID, b"\x04" + bytes(32)),
        "PRIVATE+KEY+" + _vkey("log.example/1", ID, b"\x01" + bytes(31)),
    ],
)
def test_a_malformed_signing_key_is_refused_without_showing_it(skey: str) -> None:
    with pytest.raises(NoteInvalid) as refusal:
        SigningKey.parse(skey)
    assert LOG.skey[-20:-4] not in str(refusal.value)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_key_or_a_refusal(text: str) -> None:
    for candidate in (text, f"name+{text}", f"name+{ID}+{text}", "PRIVATE+KEY+" + text):
        for parse in (VerifierKey.parse, SigningKey.parse):
            with pytest.raises(NoteInvalid):
                parse(candidate)


@pytest.mark.parametrize("text", ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "Y-_=", "YQ==YQ==", "é"])
def test_base64_has_one_spelling(text: str) -> None:
    assert from_base64(text) is None
    assert from_base64("YQ==") == b"a"
