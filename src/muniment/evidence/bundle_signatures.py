"""Steps 2 and 3 of verification: who signed the checkpoint of a bundle, and whether he may."""

from collections.abc import Sequence

from muniment.errors import NoteInvalid
from muniment.evidence import merkle
from muniment.evidence.bundle import Bundle, BundledRecord
from muniment.evidence.checkpoint import Checkpoint, open_cosigned
from muniment.evidence.keys import LOG_STARTED, LogKeys
from muniment.evidence.note import Note, Signature, VerifierKey, parse_note
from muniment.evidence.record import Header
from muniment.evidence.stamp import open_token
from muniment.evidence.steps import failing_as, require
from muniment.evidence.store import Entry
from muniment.evidence.verdict import Stamped

# --- step 2 -----------------------------------------------------------------------------------


def check_signatures(
    bundle: Bundle, named: Sequence[VerifierKey]
) -> tuple[Checkpoint, Note, list[Stamped], VerifierKey]:
    with failing_as(2):
        text, signatures = parse_note(bundle.checkpoint)
        signer = _signer(signatures, named)
        keys = [signer, *bundle.witnesses]
        checkpoint, note = open_cosigned(bundle.checkpoint, signer.name, keys)
        # C2SP signed-note has unknown keys ignored, and lines in any order; here nothing may stand
        # that nothing checks, and there is one order
        require(
            2,
            [(line.name, line.key_id) for line in signatures]
            == [(each.name, each.key_id) for each in keys],
            "the signatures on the checkpoint are not those of the log and the listed witnesses",
        )
        stamps = [Stamped(open_token(token, text.encode())) for token in bundle.stamps]
        return checkpoint, note, stamps, signer


def _signer(signatures: Sequence[Signature], named: Sequence[VerifierKey]) -> VerifierKey:
    """Which of the reader's keys is said to have signed."""
    for line in signatures:
        for key in named:
            if (line.name, line.key_id) == (key.name, key.key_id):
                return key
    others = [line.key_id.hex() for line in signatures if line.name == named[0].name]
    if others:
        raise NoteInvalid(
            f"no known key signed the note: it has a line of the log's key {others[0]}, and you "
            f"named {', '.join(key.key_id.hex() for key in named)}"
        )
    return named[0]


# --- step 3 -----------------------------------------------------------------------------------


def check_first(records: Sequence[BundledRecord], key: VerifierKey) -> bytes:
    require(3, bool(records) and records[0].index == 0, "entry 0 of the log is missing")
    with failing_as(3):
        header = Header.parse(records[0].header)
    require(
        3,
        (header.kind, header.position) == (LOG_STARTED, 0),
        f"entry 0 is not `{LOG_STARTED}`",
    )
    known = header.body.get("key") == key.vkey
    added = known or any(key.vkey.encode() in record.header for record in records[1:])
    require(3, added, "entry 0 names another key than yours, and no record here adds yours")
    require(3, header.body.get("origin") == key.name, "entry 0 names another origin")
    return merkle.leaf_hash(records[0].header)


def check_keys(entries: Sequence[Entry], note: bytes, signer: VerifierKey) -> None:
    """The rest of step 3, once the records are known to be the log's."""
    with failing_as(3):
        LogKeys().after(entries).check_signer(note, [signer])
