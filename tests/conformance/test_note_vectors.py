"""Signed notes and cosignatures made by others, with the source of each beside it."""

import base64

import pytest

from muniment.errors import NoteInvalid
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.note import KeyType, SigningKey, VerifierKey, open_note, parse_note

# the example of C2SP signed-note, section "Verifier keys"
SPECIFICATION_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPECIFICATION_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""

# the example in the documentation of golang.org/x/mod/sumdb/note (BSD-3-Clause)
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.
"""
GO_SIGNATURE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
# its second key and signature, from note_test.go there
ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_SIGNATURE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"

# the Go checksum database, as in FiloSottile/torchwood cmd/litewitness/testdata/sumdb.txt (ISC)
SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE = """go.sum database tree
35225469
vt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=

— sum.golang.org Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=
"""

# FiloSottile/sunlight cmd/skylight/testdata/witness (ISC)
WITNESS_KEY = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"
WITNESS_NOTE = """rome2026h1.example.org
300
lCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=

— rome2026h1.example.org kVB1JgAAAZtxtEwABAMARzBFAiEAi+mTa2xjL1IdWpH82OeciGsGvwRAP+f1WkfKaSZCfFECIHoNPZ/Q3y6UNzvKOO9cuLr6V16vPNfhwhle9f6r5H/Z
— witness.example.org uKLPIAAAAABpVGeAhm2bOvKc3LaB9PFN1ruG19Y5yqslmcAAbhftnn1Zznmo0LXFZq4LGvqKqLX8jWlwLKasxEGTLIqAVusneCBmBw==
"""
MIRROR_KEY = "mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O"
MIRROR_NOTE = """rome2026h1.example.org
300
gw31yQrqZZCcEOPrzX+bpy3nJ6QgngTKn8G1m0i62uU=

— mirror.example.org P7FI7wAAAABpVGeAjA1S4pJm6MbcXjX7UUImu4azZtrfcVW2uyr/LXIYlwEJzXC0N0EiZkbqfLdXt/4gVEEuGmxJjAfXKMCISpsJAg==
"""

# the example of C2SP tlog-cosignature, whose keys are not published
COSIGNED_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""


def test_the_example_of_the_specification_verifies() -> None:
    key = VerifierKey.parse(SPECIFICATION_KEY)
    assert (key.name, key.key_id.hex(), key.vkey) == (
        "example.com/foo",
        "530d903a",
        SPECIFICATION_KEY,
    )
    note = open_note(SPECIFICATION_NOTE.encode(), [key])
    assert (note.text, note.verified) == ("This is an example message.\n", (key,))


def test_the_example_of_go_is_signed_the_same_to_the_byte() -> None:
    key = SigningKey.parse(GO_SECRET)
    assert (key.verifier.vkey, key.skey) == (GO_KEY, GO_SECRET)
    assert key.sign(GO_TEXT) == f"{GO_TEXT}\n{GO_SIGNATURE}".encode()


def test_a_note_of_go_with_two_signatures_verifies_under_both_keys() -> None:
    keys = [VerifierKey.parse(GO_KEY), VerifierKey.parse(ENOCH_KEY)]
    note = f"{GO_TEXT}\n{GO_SIGNATURE}{ENOCH_SIGNATURE}".encode()
    assert open_note(note, keys).verified == tuple(keys)
    assert open_note(note, keys[1:]).verified == (keys[1],)


def test_the_checkpoint_of_the_go_checksum_database_verifies() -> None:
    key = VerifierKey.parse(SUMDB_KEY)
    checkpoint = open_checkpoint(SUMDB_NOTE.encode(), "go.sum database tree", [key])
    # its origin has spaces and is not the name of its key
    root = base64.b64decode("vt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=")
    assert checkpoint == Checkpoint("go.sum database tree", 35225469, root)


@pytest.mark.parametrize(("key", "note"), [(WITNESS_KEY, WITNESS_NOTE), (MIRROR_KEY, MIRROR_NOTE)])
def test_a_cosignature_verifies_and_tells_its_time(key: str, note: str) -> None:
    witness = VerifierKey.parse(key)
    assert (witness.type, witness.vkey) == (KeyType.COSIGNER, key)
    opened = open_note(note.encode(), [witness])
    assert opened.cosigned_at == {witness: 1767139200}


@pytest.mark.parametrize("note", [WITNESS_NOTE, MIRROR_NOTE])
def test_a_witness_without_the_log_does_not_make_a_checkpoint(note: str) -> None:
    keys = [VerifierKey.parse(WITNESS_KEY), VerifierKey.parse(MIRROR_KEY)]
    with pytest.raises(NoteInvalid, match="no known key of the log"):
        open_checkpoint(note.encode(), "rome2026h1.example.org", keys)


def test_the_cosignature_example_of_the_specification_parses() -> None:
    text, signatures = parse_note(COSIGNED_NOTE.encode())
    assert Checkpoint.parse(text).size == 20852163
    assert [each.key_id.hex() for each in signatures] == ["033de0ae", "8d66cf3f"]
    assert int.from_bytes(signatures[1].signature[:8], "big") == 1679315147
    assert "".join(each.line for each in signatures) == COSIGNED_NOTE.partition("\n\n")[2]


def test_a_key_under_a_foreign_key_id_is_refused() -> None:
    # transparency-dev/formats note_cosigv1_test.go (BSD-3-Clause): another id than the key has
    with pytest.raises(NoteInvalid):
        VerifierKey.parse("rekor.sigstore.dev+00000000+" + SUMDB_KEY.split("+", 2)[2])
