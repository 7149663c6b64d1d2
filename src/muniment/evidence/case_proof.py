"""
The file that says where a case ended, or that it is not there: a proof out of an index of cases.

It is canonical JSON: the checkpoint, the record `log:indexed` with its inclusion proof, and the
places of the index that show the case, or its neighbours. Whoever reads it holds only the public
key of the log:

1. the file is one proof, in the one form that its values have;
2. its checkpoint is of the log whose key the reader named, and only that key signed it;
3. the record is a `log:indexed`, is under the checkpoint, and speaks of entries before it;
4. the places are in its index and show the case, or that it is not there.

What the index says was said by the log. An audit of the whole log makes it anew.

These bytes are frozen: a change is a new `FORMAT`, and this one stays readable.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from muniment.errors import NotCanonical, ProofInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.case_index import Place, look_up
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import parse_note
from muniment.evidence.proof_fields import count_of, fields_of, hash_of, list_of, path_of, text_of
from muniment.evidence.record import Header, check_case_id
from muniment.evidence.verify import Proved

FORMAT: Final = "muniment-case-proof/v1"
INDEXED: Final = "log:indexed"
#: entries from what an index speaks of up to its record: whoever checks it need not keep more
MAX_LAG: Final = 1 << 20
#: a header, a note, and three paths
MAX_PROOF_FILE: Final = 256 * 1024
_MAX_PLACES: Final = 2
_MAX_DEPTH: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseProof:
    """What stands in the file, parsed but not verified."""

    case: str
    checkpoint: bytes
    #: where the record `log:indexed` stands in the log
    index: int
    #: its exact bytes
    header: bytes
    #: its inclusion proof to the checkpoint
    proof: tuple[bytes, ...]
    places: tuple[Place, ...]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "format": FORMAT,
                "case": self.case,
                "checkpoint": self.checkpoint.decode("utf-8"),
                "indexed": {
                    "index": self.index,
                    "header": self.header.decode("ascii"),
                    "proof": [each.hex() for each in self.proof],
                },
                "places": [_place_value(place) for place in self.places],
            },
            max_depth=_MAX_DEPTH,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        value = canonical.decode(data, max_bytes=MAX_PROOF_FILE, max_depth=_MAX_DEPTH)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise NotCanonical(f"this is no proof of the format `{FORMAT}`")
        form = fields_of(value, ("format", "case", "checkpoint", "indexed", "places"))
        indexed = fields_of(form["indexed"], ("index", "header", "proof"))
        header = text_of(indexed["header"])
        if not header.isascii():
            raise NotCanonical("a header that is not ASCII")
        return cls(
            case=check_case_id(text_of(form["case"])),
            checkpoint=text_of(form["checkpoint"]).encode(),
            index=count_of(indexed["index"]),
            header=header.encode(),
            proof=path_of(indexed["proof"]),
            places=tuple(_place(each) for each in list_of(form["places"], _MAX_PLACES)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a proof established."""

    case: str
    checkpoint: Checkpoint
    #: the log had so many entries
    size: int
    #: the time of the record that says so, and its own index: it may come long after that size
    at: datetime
    index: int
    #: how many cases there were
    cases: int
    #: None: there was no such case
    place: Place | None


class Completeness(StrEnum):
    """How a bundle stands to what an index says of its case."""

    #: the bundle has every record that the case had
    COMPLETE = "COMPLETE"
    #: the case had later records that the bundle does not have
    CUT = "CUT OFF"
    #: the bundle has all of these and later ones: of its end the index says nothing
    NEWER = "NEWER THAN THE INDEX"


def verify(data: bytes, key: ReadersKeys) -> Shown:
    """The four steps of this module. Raises `EvidenceError` saying what does not hold."""
    proof = CaseProof.parse(data)
    keys = named(key)
    checkpoint = open_checkpoint(proof.checkpoint, keys[0].name, keys)
    if len(parse_note(proof.checkpoint)[1]) != 1:
        raise ProofInvalid("the checkpoint carries signatures of other keys")
    header = _indexed(proof, checkpoint)
    size, cases, root = (header.body.get(name) for name in ("size", "cases", "root"))
    if not 0 < count_of(size) <= proof.index:
        raise ProofInvalid(f"entry {proof.index} speaks of entries that come after it")
    place = look_up(proof.case, proof.places, count_of(cases), hash_of(root))
    return Shown(
        case=proof.case,
        checkpoint=checkpoint,
        size=count_of(size),
        at=header.at,
        index=proof.index,
        cases=count_of(cases),
        place=place,
    )


def _indexed(proof: CaseProof, checkpoint: Checkpoint) -> Header:
    merkle.verify_inclusion(
        merkle.leaf_hash(proof.header), proof.index, checkpoint.size, proof.proof, checkpoint.root
    )
    header = Header.parse(proof.header)
    if header.kind != INDEXED:
        raise ProofInvalid(f"entry {proof.index} is a `{header.kind}`, not a `{INDEXED}`")
    return header


def compare(shown: Shown, bundle: Proved) -> Completeness:
    """Hold a bundle against the proof. Raises `ProofInvalid` if they cannot both be of one log."""
    if bundle.case_id != shown.case:
        raise ProofInvalid(
            f"the bundle is about `{bundle.case_id}`, the proof about `{shown.case}`"
        )
    roots = {head.size: head.root for head in bundle.heads}
    roots[bundle.checkpoint.size] = bundle.checkpoint.root
    if roots.get(shown.checkpoint.size, shown.checkpoint.root) != shown.checkpoint.root:
        raise ProofInvalid(
            f"bundle and proof show different histories: two roots of size {shown.checkpoint.size}"
        )
    # what the bundle has of the time of which the index speaks
    covered = [entry for entry in bundle.case if entry.index < shown.size]
    if shown.place is None:
        if covered:
            raise ProofInvalid("the bundle has records of a case that was not there, by the proof")
        return Completeness.NEWER
    last = shown.place.position
    if last < len(bundle.case):
        if len(covered) != last + 1 or covered[-1].leaf != shown.place.leaf:
            raise ProofInvalid(f"record {last} of the bundle is not the one that the proof names")
        return Completeness.COMPLETE if last + 1 == len(bundle.case) else Completeness.NEWER
    if len(covered) != len(bundle.case):
        raise ProofInvalid("the bundle has records later than the index, and fewer than it knows")
    return Completeness.CUT


# --- every value has one form -----------------------------------------------------------------


def _place_value(place: Place) -> dict[str, Any]:
    return {
        "case": place.case,
        "position": place.position,
        "leaf": place.leaf.hex(),
        "index": place.index,
        "proof": [each.hex() for each in place.proof],
    }


def _place(value: object) -> Place:
    form = fields_of(value, ("case", "position", "leaf", "index", "proof"))
    return Place(
        case=check_case_id(text_of(form["case"])),
        position=count_of(form["position"]),
        leaf=hash_of(form["leaf"]),
        index=count_of(form["index"]),
        proof=path_of(form["proof"]),
    )
