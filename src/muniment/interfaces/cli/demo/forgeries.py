"""
Attacks on a bundle: five files that say something else than the log does.

Each function is named after its attack, carries it out, and is content only if `verify` fails at
the very step that is there to see it.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from muniment.access import check
from muniment.evidence import canonical
from muniment.evidence.bundle import Bundle
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.verdict import Verdict
from muniment.interfaces.cli.demo import counterfeit
from muniment.interfaces.cli.demo.stage import Stage
from muniment.interfaces.cli.demo.telling import Telling, attack, must
from muniment.interfaces.cli.replay import replay_all


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
    Bo's approval of the request that still waits, by somebody with a key of his own.

    That the forgery is perfect but for its signature is shown by signing it with the log's key too.
    """
    waiting = Bundle.parse(stage.bundle("waiting").read_bytes())
    approved = Bundle.parse(stage.bundle("ended-early").read_bytes())
    bundle = counterfeit.with_approval(waiting, approved)
    log_key = VerifierKey.parse(stage.vkey.read_text("ascii").strip())
    stolen = SigningKey.parse((stage.folder / "keys" / "log.key").read_text("ascii").strip())
    perfect = check.verify(counterfeit.signed(bundle, stolen), log_key)
    must(
        perfect.verdict is Verdict.UNANCHORED and perfect.state.startswith("approved"),
        f"a poor forgery: {perfect.verdict}, {perfect.state}",
    )
    must(all(each.replayed for each in replay_all(perfect)), "a poor forgery: it does not replay")
    data = counterfeit.signed(bundle, SigningKey.generate(log_key.name))
    return _caught(stage, "forged", data, 2, "no known key signed")


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
