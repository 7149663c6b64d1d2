"""
An approval that was never given, in a bundle that holds together but for the signature.

The forger has two genuine bundles: of a request that waits, and of one that bo approved. From the
second he takes bo's decision and approval, seals the decision anew for the first, makes the export
and a tree to match, with a proof for every record. It is all arithmetic; only the key is missing.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.access.lifecycle import fold
from muniment.evidence import merkle
from muniment.evidence.bundle import Bundle, BundledRecord, Head, disclosure_digest, records_digest
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Header, Sealed

_GIVEN = records.ApprovalGiven.KIND


def with_approval(waiting: Bundle, approved: Bundle) -> Bundle:
    """The waiting case with bo's decision and approval in the place of its export; unsigned."""
    *before, old_export = waiting.records
    export = _header(old_export)
    case = [record for record in before if _header(record).case == export.body["about"]]
    forged = _approval(_folded(before[0], case), approved, export, old_export.index)
    named = {leaf for record in forged for leaf in _header(record).follows}
    known = {record.index: record for record in approved.records if _leaf(record) in named}
    known |= {record.index: record for record in (*before, *forged)}
    kept = [record for _, record in sorted(known.items())]
    again = _export_again(waiting, export, kept, [*case, *forged])
    kept.append(_placed(kept[-1].index + 1, again))
    return replace(waiting, records=tuple(kept))


def _approval(
    state: AccessCase, approved: Bundle, export: Header, index: int
) -> tuple[BundledRecord, BundledRecord]:
    """Bo's genuine decision and approval, as if they were of this case."""
    given = next(_header(r) for r in approved.records if _header(r).kind == _GIVEN)
    decision = next(
        r for r in approved.records if _header(r).id == f"{given.case}/{given.position - 1}"
    )
    sealed = decision.sections["decision"]
    if not isinstance(sealed, Sealed):
        raise TypeError("the decision is withheld")
    name = f"{state.id}/{state.length}"
    decided = replace(
        _header(decision),
        case=state.id,
        position=state.length,
        at=export.at,
        prev=state.head,
        sections={"decision": sealed.commitment(state.log_id, name, "decision")},
    )
    first = replace(_placed(index, decided), sections={"decision": sealed})
    approval = replace(
        given,
        case=state.id,
        position=state.length + 1,
        at=export.at,
        prev=_leaf(first),
        body={**given.body, "terms": state.current.terms.hex()},
        sections={},
    )
    return first, _placed(index + 1, approval)


def _export_again(
    waiting: Bundle, export: Header, kept: Sequence[BundledRecord], case: Sequence[BundledRecord]
) -> Header:
    """The record of the export, for what the bundle now shows."""
    leaves = [_leaf(record) for record in case]
    sections = {(_header(r).id, name): s for r in kept for name, s in r.sections.items()}
    disclosed = disclosure_digest(sections, [head.size for head in waiting.heads])
    last = _header(case[-1])
    body = {
        **export.body,
        "last": last.position,
        "records": records_digest(leaves).hex(),
        "disclosed": disclosed.hex(),
    }
    # it followed the end of the case, which is now another
    follows = tuple(leaves[-1] if leaf in leaves else leaf for leaf in export.follows)
    return replace(export, body=body, follows=follows)


def signed(bundle: Bundle, key: SigningKey) -> bytes:
    """A tree around the records, with proofs for them, and its head under this key."""
    size = bundle.records[-1].index + 2
    known = {record.index: _leaf(record) for record in bundle.records}
    leaves = [known.get(index) or secrets.token_bytes(32) for index in range(size)]

    def node(level: int, index: int) -> bytes:
        return merkle.root(leaves[index << level : (index + 1) << level])

    def proved(record: BundledRecord) -> BundledRecord:
        return replace(record, proof=tuple(merkle.inclusion_proof(record.index, size, node)))

    def head(old: int) -> Head:
        proof = tuple(merkle.consistency_proof(old, size, node))
        return Head(size=old, root=merkle.root(leaves[:old]), proof=proof)

    return replace(
        bundle,
        checkpoint=sign(Checkpoint(key.name, size, merkle.root(leaves)), key),
        records=tuple(proved(record) for record in bundle.records),
        heads=tuple(head(old.size) for old in bundle.heads),
    ).encode()


def _folded(started: BundledRecord, case: Iterable[BundledRecord]) -> AccessCase:
    return fold(_leaf(started), ((_header(record), _leaf(record)) for record in case))


def _placed(index: int, header: Header) -> BundledRecord:
    return BundledRecord(index=index, header=header.encode(), proof=())


def _header(record: BundledRecord) -> Header:
    return Header.parse(record.header)


def _leaf(record: BundledRecord) -> bytes:
    return merkle.leaf_hash(record.header)
