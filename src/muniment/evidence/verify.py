"""
Verify an evidence bundle with nothing but the file and the public key of its log.

The steps, each numbered where it is done; whoever fails step n is told so:

1. the file is one bundle, in the one form that its values have;
2. its checkpoint is of the log of which the reader named a key, or several; one of them signed it,
   and nobody else but the witnesses that the bundle lists, each of them did, and every time stamp
   is about this checkpoint;
3. entry 0 names this key and origin, or a record adds the key, and no record had retired it by
   then; the leaf hash of entry 0 is the log id;
4. every record is canonical, and proved to be under the checkpoint at its index;
5. the case is whole: positions from 0 without a gap, each naming the one before; the last record of
   all says that these were exported;
6. every record that a record follows is there, and nothing that is not connected;
7. sections that were given are what was sealed, erased ones are explained by a record, and the
   last record agrees on which are which;
8. the documents are those that the records name, all of them and no others; the witnesses are
   among those of the policy that the last record names;
9. each earlier head is a beginning of the checkpoint's tree;
10. no head that the reader kept contradicts the checkpoint.

What the records *mean* is not asked here; `access.check` goes on with step 11.

Of the kinds of records only six are known here, those that are about evidence itself:
`log:started`, `key:added`, `key:retired`, `case:closed`, `record:erased`, `evidence:exported`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from muniment.errors import BundleInvalid, ConfigInvalid, EvidenceError
from muniment.evidence import merkle
from muniment.evidence.bundle import (
    Bundle,
    BundledRecord,
    Erased,
    Head,
    Section,
    disclosure_digest,
    records_digest,
)
from muniment.evidence.bundle_signatures import check_first, check_keys, check_signatures
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.index import CASE_CLOSED
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header, Sealed, digest
from muniment.evidence.steps import failing_as, require
from muniment.evidence.store import Entry
from muniment.evidence.verdict import (
    NOBODY,
    Compared,
    Reader,
    Verdict,
    Vouched,
    grade,
    vouch,
)
from muniment.evidence.witness_policy import WitnessPolicy

EXPORTED: Final = "evidence:exported"
ERASED: Final = "record:erased"

#: What each step establishes, in a reader's words.
STEPS: Final[Mapping[int, str]] = {
    1: "the file is one evidence bundle in canonical form",
    2: "its checkpoint is signed by the log's key; what others added holds",
    3: "the log's own records name this key",
    4: "every record is in the log, unchanged",
    5: "the case is whole, and was exported as it stands here",
    6: "every record that it rests on is here, and nothing else",
    7: "sealed sections are what was sealed",
    8: "policy and role documents are those that the records name",
    9: "earlier heads of the log are beginnings of this one",
    10: "no head that you kept contradicts it",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step that held."""

    number: int
    title: str
    #: what was seen
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proved:
    """What steps 1 to 10 established."""

    log_id: bytes
    #: of the keys that the reader named, the one that signed
    key: VerifierKey
    checkpoint: Checkpoint
    #: all records, by index
    entries: tuple[Entry, ...]
    #: the records of the case that the bundle is about, by position
    case: tuple[Entry, ...]
    #: `evidence:exported`
    export: Entry
    #: by record id and name
    sections: Mapping[tuple[str, str], Section]
    documents: Mapping[bytes, bytes] = field(repr=False)
    heads: tuple[Head, ...]
    compared: tuple[Compared, ...]
    #: who stands behind the checkpoint beside the log, as far as the reader trusts him
    vouched: Vouched
    verdict: Verdict
    steps: tuple[Step, ...]

    @property
    def case_id(self) -> str:
        return self.case[0].header.case

    @property
    def closed_at(self) -> int | None:
        """Log index of `case:closed`; None while the case was open."""
        last = self.case[-1]
        return last.index if last.header.kind == CASE_CLOSED else None

    @property
    def as_of(self) -> int:
        """The log size up to which the case is shown."""
        return self.export.index + 1

    @property
    def not_shown(self) -> tuple[Checkpoint, ...]:
        """Heads of the reader for which the bundle holds no proof: export again with them."""
        return tuple(one.kept for one in self.compared if one.shown is None)

    def followed_by(self, entry: Entry) -> tuple[Entry, ...]:
        """The records that this one follows. Step 6 made sure that they are here."""
        by_leaf = {each.leaf: each for each in self.entries}
        return tuple(by_leaf[leaf] for leaf in entry.header.follows)


def verify(
    data: bytes, key: ReadersKeys, heads: Sequence[bytes] = (), reader: Reader = NOBODY
) -> Proved:
    """
    Steps 1 to 10 of this module over the bytes of a file.

    `key` may be several, where the log had others or has them now. `heads` are checkpoints (signed
    notes) of this log that the reader kept. Raises `BundleInvalid`
    with the number of the step that failed; contradicting a kept head is a verdict, not an error.
    A cosignature or a time stamp of nobody whom the reader trusts is none, either.
    """
    steps: list[Step] = []

    def passed(number: int, detail: str) -> None:
        steps.append(Step(number, STEPS[number], detail))

    with failing_as(1):
        bundle = Bundle.parse(data)
    passed(1, f"{len(data):,} bytes")

    keys = named(key)
    checkpoint, note, stamps, signer = check_signatures(bundle, keys)
    added = [f"{len(note.cosigned_at)} cosigned"] if bundle.witnesses else []
    added += [f"{len(stamps)} time-stamped"] if stamps else []
    passed(2, ", ".join([f"`{checkpoint.origin}` at size {checkpoint.size}", *added]))

    log_id = check_first(bundle.records, signer)
    passed(3, f"log id {log_id.hex()[:16]}…")

    entries = tuple(_check_entry(record, checkpoint) for record in bundle.records)
    check_keys(entries, bundle.checkpoint, signer)
    passed(4, f"{len(entries)} records proved")

    export, case = _check_case(entries)
    passed(5, f"`{case[0].header.case}`, {len(case)} records; export in entry {export.index}")

    _check_connected(entries, export, case)
    passed(6, f"{len(entries) - len(case) - 1} followed records")

    sections = _sections(bundle.records, entries)
    _check_sections(sections, entries, log_id)
    _check_disclosure(export, sections, bundle.heads)
    passed(7, _count_sections(sections))

    _check_documents(bundle.documents, entries)
    _check_witnesses(bundle.witnesses, export, bundle.documents)
    passed(8, f"{len(bundle.documents)} documents")

    _check_heads(bundle.heads, checkpoint)
    passed(9, f"{len(bundle.heads)} earlier heads")

    compared = tuple(_compare(head, keys, bundle.heads, checkpoint) for head in heads)
    vouched = vouch(note, checkpoint.size, stamps, reader)
    verdict = grade(
        vouched,
        agrees=any(one.agrees for one in compared),
        diverged=any(one.shown is not None and not one.agrees for one in compared),
    )
    if verdict is not Verdict.DIVERGED:
        passed(10, _count_heads(compared))

    return Proved(
        log_id=log_id,
        key=signer,
        checkpoint=checkpoint,
        entries=entries,
        case=case,
        export=export,
        sections=sections,
        documents=bundle.documents,
        heads=bundle.heads,
        compared=compared,
        vouched=vouched,
        verdict=verdict,
        steps=tuple(steps),
    )


# --- step 4 -----------------------------------------------------------------------------------


def _check_entry(record: BundledRecord, checkpoint: Checkpoint) -> Entry:
    leaf = merkle.leaf_hash(record.header)
    try:
        header = Header.parse(record.header)
        merkle.verify_inclusion(leaf, record.index, checkpoint.size, record.proof, checkpoint.root)
    except EvidenceError as error:
        raise BundleInvalid(4, f"entry {record.index}: {error}") from error
    return Entry(record.index, record.header, leaf, header)


# --- step 5 -----------------------------------------------------------------------------------


def _check_case(entries: Sequence[Entry]) -> tuple[Entry, tuple[Entry, ...]]:
    require(
        5,
        all(before.index < after.index for before, after in pairwise(entries)),
        "the records are not in the order of the log",
    )
    _check_chains(entries)
    export = entries[-1]
    require(
        5,
        (export.header.kind, export.header.position) == (EXPORTED, 0),
        f"the last record is not `{EXPORTED}`: the end was cut off",
    )
    body = export.header.body
    case = tuple(entry for entry in entries if entry.header.case == body.get("about"))
    require(5, bool(case) and case[0] != export, "the case that was exported is not here")
    _check_gaps(case)
    require(5, body.get("last") == len(case) - 1, "the end of the case is not the exported one")
    require(
        5,
        body.get("records") == records_digest(entry.leaf for entry in case).hex(),
        "the records of the case are not the exported ones",
    )
    require(
        5, case[-1].leaf in export.header.follows, "the export does not follow the end of the case"
    )
    return export, case


def _check_chains(entries: Sequence[Entry]) -> None:
    """No two records of a case change places, and neighbours name each other."""
    last: dict[str, Header] = {}
    leaves = {entry.header.id: entry.leaf for entry in entries}
    for entry in entries:
        header = entry.header
        before = last.get(header.case)
        require(
            5,
            before is None or before.position < header.position,
            f"`{header.id}` is out of the order of its case",
        )
        require(
            5,
            before is None or before.kind != CASE_CLOSED,
            f"`{header.id}` follows `{CASE_CLOSED}`",
        )
        known = leaves.get(f"{header.case}/{header.position - 1}", header.prev)
        require(
            5,
            known == header.prev and (header.prev is None) == (header.position == 0),
            f"`{header.id}` does not name the record before it",
        )
        last[header.case] = header


def _check_gaps(case: Sequence[Entry]) -> None:
    for position, entry in enumerate(case):
        found = entry.header.position
        require(5, found == position, f"record {position} of the case is missing")


# --- step 6 -----------------------------------------------------------------------------------


def _check_connected(entries: Sequence[Entry], export: Entry, case: Sequence[Entry]) -> None:
    by_leaf = {entry.leaf: entry for entry in entries}
    reached = {export.leaf, entries[0].leaf, *(entry.leaf for entry in case)}
    waiting = [export, entries[0], *case]
    while waiting:
        entry = waiting.pop()
        for leaf in entry.header.follows:
            followed = by_leaf.get(leaf)
            if followed is None:
                raise BundleInvalid(
                    6, f"`{entry.header.id}` follows a record that is missing ({leaf.hex()[:16]}…)"
                )
            require(
                6,
                followed.index < entry.index,
                f"`{entry.header.id}` follows a later record",
            )
            if leaf not in reached:
                reached.add(leaf)
                waiting.append(followed)
    for entry in entries:
        require(6, entry.leaf in reached, f"nothing in the case leads to `{entry.header.id}`")


# --- step 7 -----------------------------------------------------------------------------------


def _sections(
    records: Sequence[BundledRecord], entries: Sequence[Entry]
) -> dict[tuple[str, str], Section]:
    sections: dict[tuple[str, str], Section] = {}
    for record, entry in zip(records, entries, strict=True):
        id = entry.header.id
        missing = entry.header.sections.keys() ^ record.sections.keys()
        require(7, not missing, f"`{id}` has not exactly the sections that it names")
        sections |= {(id, name): section for name, section in record.sections.items()}
    return sections


def _check_sections(
    sections: Mapping[tuple[str, str], Section], entries: Sequence[Entry], log_id: bytes
) -> None:
    by_id = {entry.header.id: entry for entry in entries}
    erasures = _erasures(entries)
    for (id, name), section in sections.items():
        entry = by_id[id]
        if isinstance(section, Sealed):
            committed = entry.header.sections[name]
            require(
                7,
                section.commitment(log_id, id, name) == committed,
                f"section `{name}` of `{id}` is not what was sealed",
            )
        elif isinstance(section, Erased):
            erasure = erasures.get((id, name))
            if erasure is None or entry.leaf not in erasure.header.follows:
                raise BundleInvalid(7, f"no record says that `{name}` of `{id}` was erased")
            require(
                7,
                erasure.header.body.get("rule") == section.rule,
                f"`{name}` of `{id}` was erased under another rule",
            )


def _erasures(entries: Sequence[Entry]) -> dict[tuple[str, str], Entry]:
    """The first record that erases each section, by record id and name."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        if entry.header.kind == ERASED:
            body = entry.header.body
            found.setdefault((str(body.get("record")), str(body.get("section"))), entry)
    return found


def _check_disclosure(
    export: Entry, sections: Mapping[tuple[str, str], Section], heads: Sequence[Head]
) -> None:
    disclosed = disclosure_digest(sections, [head.size for head in heads])
    require(
        7,
        export.header.body.get("disclosed") == disclosed.hex(),
        "other sections, or proofs from other heads, were exported than stand here",
    )


def _count_sections(sections: Mapping[tuple[str, str], Section]) -> str:
    given = sum(isinstance(section, Sealed) for section in sections.values())
    erased = sum(isinstance(section, Erased) for section in sections.values())
    withheld = len(sections) - given - erased
    return f"{given} given, {withheld} withheld, {erased} erased"


# --- step 8 -----------------------------------------------------------------------------------


def _check_documents(documents: Mapping[bytes, bytes], entries: Sequence[Entry]) -> None:
    named = {name: entry.header.id for entry in entries for name in entry.header.documents}
    for name, content in documents.items():
        require(8, digest(content) == name, f"document `{name.hex()}` is not what it is called")
        require(8, name in named, f"no record names document `{name.hex()}`")
    for name, id in named.items():
        require(8, name in documents, f"document `{name.hex()}`, named by `{id}`, is missing")


def _check_witnesses(
    witnesses: Sequence[VerifierKey], export: Entry, documents: Mapping[bytes, bytes]
) -> None:
    """What was signed fixes who may have cosigned: nobody adds a witness of his own."""
    if not witnesses:
        return
    named = export.header.documents
    require(8, len(named) == 1, "the last record does not name the policy of the witnesses")
    try:
        # C2SP tlog-policy: a file of octets
        policy = WitnessPolicy.parse(documents[named[0]].decode("utf-8", "surrogateescape"))
    except ConfigInvalid as error:
        raise BundleInvalid(8, str(error)) from error
    strangers = [key.name for key in witnesses if key not in policy.witness_keys]
    require(8, not strangers, f"the log's own policy names no witness `{''.join(strangers[:1])}`")


# --- step 9 -----------------------------------------------------------------------------------


def _check_heads(heads: Sequence[Head], checkpoint: Checkpoint) -> None:
    require(
        9,
        all(before.size < after.size for before, after in pairwise(heads)),
        "the heads are not in the order of their sizes",
    )
    for head in heads:
        # a head of size 0 says nothing, and one of the checkpoint's own size says it twice
        require(
            9, 0 < head.size < checkpoint.size, f"{head.size} is not the size of an earlier head"
        )
        try:
            merkle.verify_consistency(
                head.size, checkpoint.size, head.proof, head.root, checkpoint.root
            )
        except EvidenceError as error:
            raise BundleInvalid(9, f"the head of size {head.size}: {error}") from error


# --- step 10 ----------------------------------------------------------------------------------


def _compare(
    note: bytes, keys: Sequence[VerifierKey], heads: Sequence[Head], checkpoint: Checkpoint
) -> Compared:
    # a head that was kept has its power whatever the log says later of the key that signed it
    try:
        kept = open_checkpoint(note, keys[0].name, keys)
    except EvidenceError as error:
        raise BundleInvalid(10, f"a head that you kept is not of this log: {error}") from error
    require(10, kept.size > 0, "a head of size 0 says nothing")
    roots = {head.size: head.root for head in heads} | {checkpoint.size: checkpoint.root}
    return Compared(kept, roots.get(kept.size))


def _count_heads(compared: Sequence[Compared]) -> str:
    if not compared:
        return "you gave none"
    agree = sum(one.agrees for one in compared)
    return f"{agree} of {len(compared)} agree, {len(compared) - agree} not comparable"
