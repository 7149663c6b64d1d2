"""
Attacks on a bundle: five files that say something else than the log does.

Each function is named after its attack, carries it out, and is content only if `verify` fails at
the very step that is there to see it.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from muniment.access import check, records
from muniment.access.lifecycle import fold
from muniment.evidence import canonical, merkle
from muniment.evidence.bundle import (
    Bundle,
    BundledRecord,
    Head,
    disclosure_digest,
    records_digest,
)
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Header
from muniment.evidence.verify import Verdict
from muniment.interfaces.cli.demo.stage import Stage
from muniment.interfaces.cli.demo.telling import Telling, attack, must


def play(stage: Stage, telling: Telling) -> None:
    """Opens the sixth section; `intrusions` goes on with it."""
    telling.section("Somebody tries to cheat: each attempt on its own copy")
    telling.say("with the bundle: `muniment verify` must say INVALID, and at which step")
    for name, what, forge in ATTACKS:
        with telling.step(name, go_on=True) as step:
            reason, details = forge(stage)
            step.held(attack(what, reason), **details)


Told = tuple[str, dict[str, Any]]
#: of an answer longer than this only the end is shown
_WORDS = 54


def bundle_field(stage: Stage) -> Told:
    """Half an hour becomes eight in what was asked for."""

    def change(bundle: dict[str, Any]) -> None:
        record = next(r for r in bundle["records"] if '"access:requested"' in r["header"])
        before = record["header"]
        record["header"] = before.replace('"seconds":1800', '"seconds":28800')
        must(record["header"] != before, "nothing was changed")

    return _caught(stage, "field", _edited(stage, change), 4, "leads to another root")


def policy_text(stage: Stage) -> Told:
    """The rule that denied is made to ask for nothing."""
    bundle = Bundle.parse(stage.bundle("ended-early").read_bytes())
    documents = {
        name: text.replace(b"unless { context has ticket }", b"unless { true }")
        for name, text in bundle.documents.items()
    }
    must(documents != bundle.documents, "nothing was changed")
    data = replace(bundle, documents=documents).encode()
    return _caught(stage, "policy", data, 8, "is not what it is called")


def middle_dropped(stage: Stage) -> Told:
    """The record of ana's attempt to approve herself is embarrassing, so it goes."""

    def change(bundle: dict[str, Any]) -> None:
        denied = [r for r in bundle["records"] if '"outcome":"deny"' in r["header"]]
        must(len(denied) == 1, f"{len(denied)} denials in the bundle")
        bundle["records"].remove(denied[0])

    return _caught(stage, "middle", _edited(stage, change), 5, "of the case is missing")


def last_dropped(stage: Stage) -> Told:
    """The end of the case, with and without the record that says how far it was exported."""

    def case_end(bundle: dict[str, Any]) -> None:
        del bundle["records"][-2]

    def export(bundle: dict[str, Any]) -> None:
        del bundle["records"][-1]

    _caught(stage, "end", _edited(stage, case_end), 5, "is not the exported one")
    return _caught(stage, "export", _edited(stage, export), 5, "the end was cut off")


def forged_approval(stage: Stage) -> Told:
    """
    Bo's approval of the request that still waits, with tree, proofs and export to match.

    That the forgery is perfect but for the signature is shown by signing it with the log's key too.
    """
    waiting = Bundle.parse(stage.bundle("waiting").read_bytes())
    approved = Bundle.parse(stage.bundle("ended-early").read_bytes())
    bundle, leaves = _with_approval(waiting, approved)
    log_key = VerifierKey.parse(stage.vkey.read_text("ascii").strip())
    stolen = SigningKey.parse((stage.folder / "keys" / "log.key").read_text("ascii").strip())
    perfect = check.verify(_signed(bundle, leaves, stolen), log_key)
    must(
        perfect.verdict is Verdict.UNANCHORED and perfect.state.startswith("approved"),
        f"a poor forgery: {perfect.verdict}, {perfect.state}",
    )
    data = _signed(bundle, leaves, SigningKey.generate(log_key.name))
    return _caught(stage, "forged", data, 2, "")


ATTACKS = (
    ("tamper-bundle-field", "half an hour made eight", bundle_field),
    ("tamper-policy-text", "the policy's text softened", policy_text),
    ("tamper-middle-record-dropped", "her self-approval left out", middle_dropped),
    ("tamper-last-record-dropped", "the last record left out", last_dropped),
    ("tamper-approval-forged-without-key", "an approval forged, no key", forged_approval),
)


def _caught(stage: Stage, name: str, data: bytes, step: int, reason: str) -> Told:
    """`verify` as a process of its own must say no, at this step and with this reason."""
    path = stage.work / f"forged-{name}.json"
    path.write_bytes(data)
    answer = stage.verify(path)
    found = answer.json if answer.out else {"verdict": answer.last_words}
    must(answer.code == 1 and found["verdict"] == "INVALID", f"NOT CAUGHT: {found['verdict']}")
    seen = (found["failed_step"], found["reason"])
    must(seen[0] == step and reason in seen[1], f"caught for another reason: {seen}")
    said = str(seen[1])
    words = said if len(said) < _WORDS else said.rpartition(": ")[2]
    return f"step {step}: {words}", {"failed_step": step, "reason": seen[1]}


def _edited(stage: Stage, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The bundle of the grant that was ended early, changed as JSON and written canonically."""
    bundle = json.loads(stage.bundle("ended-early").read_bytes())
    change(bundle)
    return canonical.encode(bundle)


# --- a forgery that holds together ----------------------------------------------------------------


def _with_approval(waiting: Bundle, approved: Bundle) -> tuple[Bundle, dict[int, bytes]]:
    """The pending case with bo's approval in the place of its export, and a new export after it."""
    *before, old_export = waiting.records
    given = next(_header(r) for r in approved.records if _header(r).kind == "approval:given")
    enrolment = next(r for r in approved.records if _leaf(r) in given.follows)
    first = merkle.leaf_hash(before[0].header)
    export = _header(old_export)
    case = [r for r in before if _header(r).case == export.body["about"]]
    state = fold(first, ((_header(r), _leaf(r)) for r in case))
    approval = replace(
        given,
        case=state.id,
        position=state.length,
        at=export.at,
        prev=state.head,
        body={**given.body, "terms": state.current.terms.hex()},
        sections={},
    )
    placed = BundledRecord(index=old_export.index, header=approval.encode(), proof=())
    kept = [*before, *([] if enrolment in before else [enrolment]), placed]
    kept.sort(key=lambda record: record.index)
    record = _export_again(waiting, export, kept, [*case, placed])
    kept.append(BundledRecord(index=old_export.index + 1, header=record.encode(), proof=()))
    return replace(waiting, records=tuple(kept)), {r.index: _leaf(r) for r in kept}


def _export_again(
    waiting: Bundle, export: Header, kept: Sequence[BundledRecord], case: Sequence[BundledRecord]
) -> Header:
    leaves = [_leaf(record) for record in case]
    sections = {(_header(r).id, name): s for r in kept for name, s in r.sections.items()}
    disclosed = disclosure_digest(sections, [head.size for head in waiting.heads])
    body = {
        **export.body,
        "last": len(case) - 1,
        "records": records_digest(leaves).hex(),
        "disclosed": disclosed.hex(),
    }
    follows = tuple(leaves[-1] if leaf == leaves[-2] else leaf for leaf in export.follows)
    return replace(export, body=body, follows=follows)


def _signed(bundle: Bundle, known: Mapping[int, bytes], key: SigningKey) -> bytes:
    """A tree around the records that are known, with proofs for them, under this key."""
    checkpoint = _claimed(bundle)
    leaves = [known.get(index) or secrets.token_bytes(32) for index in range(checkpoint.size)]

    def node(level: int, index: int) -> bytes:
        return merkle.root(leaves[index << level : (index + 1) << level])

    def proved(record: BundledRecord) -> BundledRecord:
        proof = merkle.inclusion_proof(record.index, checkpoint.size, node)
        return replace(record, proof=tuple(proof))

    def head(size: int) -> Head:
        proof = merkle.consistency_proof(size, checkpoint.size, node)
        return Head(size=size, root=merkle.root(leaves[:size]), proof=tuple(proof))

    signed = sign(Checkpoint(key.name, checkpoint.size, merkle.root(leaves)), key)
    return replace(
        bundle,
        checkpoint=signed,
        records=tuple(proved(record) for record in bundle.records),
        heads=tuple(head(old.size) for old in bundle.heads),
    ).encode()


def _claimed(bundle: Bundle) -> Checkpoint:
    """The bundle's own checkpoint, by the key that its first record names."""
    started = records.parse(_header(bundle.records[0]))
    if not isinstance(started, records.LogStarted):
        raise TypeError("not the first record of a log")
    return open_checkpoint(bundle.checkpoint, started.origin, [VerifierKey.parse(started.key)])


def _header(record: BundledRecord) -> Header:
    return Header.parse(record.header)


def _leaf(record: BundledRecord) -> bytes:
    return merkle.leaf_hash(record.header)
