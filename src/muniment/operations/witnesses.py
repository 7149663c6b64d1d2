"""
Ask witnesses: to cosign a checkpoint, and what they remember (C2SP tlog-witness, its client).

A witness that was shown another history of this log is the one thing that stops it: then nothing is
signed any more until a person has looked. Only what our own key signed is believed about that, else
anybody who answers in the place of a witness could stop us.
"""

import asyncio
import base64
import logging
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar

from muniment.errors import (
    AddressRefused,
    Conflict,
    EvidenceError,
    LogInvalid,
    NoteInvalid,
    Unavailable,
)
from muniment.evidence.checkpoint import Checkpoint, from_decimal
from muniment.evidence.log import Log
from muniment.evidence.merkle import Frontier
from muniment.evidence.note import MAX_NOTE_BYTES, parse_note
from muniment.evidence.publishing import CHECKPOINT
from muniment.evidence.witness_policy import Witness
from muniment.operations.publishing import WitnessRules
from muniment.operations.service import Service

T = TypeVar("T")
_MAX_ANSWER: Final = 64 * 1024
_OK, _CONFLICT = 200, 409
#: how long a start waits for one mirror
_MIRROR_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


class Contradicted(LogInvalid):
    """a witness remembers another history of this log"""


async def cosign(service: Service, note: bytes, signed: Checkpoint) -> list[bytes]:
    """
    The cosignature lines that came in time, all witnesses asked at once.

    Raises `Contradicted` when one of them shows that this log is not what it was.
    """
    rules, lines = service.publishing.rules, []
    if rules is None:
        return []
    troubles = service.publishing.troubles
    asked = _reachable(rules)
    answers = await asyncio.gather(
        *(_in_time(rules, _cosigned(service, rules, each, note, signed)) for each in asked)
    )
    for witness, answer in zip(asked, answers, strict=True):
        if isinstance(answer, bytes):
            troubles.pop(witness.name, None)
            lines.append(answer)
            continue
        if troubles.get(witness.name) != answer:
            _log.error("the witness `%s` did not cosign: %s", witness.name, answer)
        troubles[witness.name] = answer
    return lines


async def remember(service: Service) -> None:
    """
    Hold the log against what witnesses and mirrors remember, before it signs anything: at a start.

    Raises `Contradicted`; the log is halted then. Those that do not answer in time say nothing.
    """
    for name, kept in service.publishing.mirrors.items():
        try:
            async with asyncio.timeout(_MIRROR_SECONDS):
                note = await asyncio.to_thread(kept.mirror.get, CHECKPOINT, MAX_NOTE_BYTES)
            if note is not None:
                _check_memory(service, f"the mirror `{name}`", note)
        except Contradicted:
            raise
        except (TimeoutError, Unavailable, Conflict, EvidenceError) as error:
            why = "it took too long" if isinstance(error, TimeoutError) else error
            _log.warning("the mirror `%s` could not be asked: %s", name, why)
    rules = service.publishing.rules
    if rules is None:
        return
    asked = _reachable(rules)
    answers = await asyncio.gather(
        *(_in_time(rules, _look_at_memory(service, rules, each)) for each in asked)
    )
    for witness, answer in zip(asked, answers, strict=True):
        if answer is not None:
            _log.warning("the witness `%s` could not be asked: %s", witness.name, answer)


def _reachable(rules: WitnessRules) -> Sequence[Witness]:
    return [each for each in rules.policy.witnesses if each.url is not None]


async def _in_time(rules: WitnessRules, asking: Coroutine[Any, Any, T]) -> T | str:
    """What came of it, or why nothing did."""
    try:
        async with asyncio.timeout(rules.timeout.total_seconds()):
            return await asking
    except Contradicted:
        raise
    except TimeoutError:
        return "it took too long"
    except (Unavailable, AddressRefused, EvidenceError) as error:
        return str(error)


async def _cosigned(
    service: Service, rules: WitnessRules, witness: Witness, note: bytes, signed: Checkpoint
) -> bytes:
    """Asked once, and once more if it remembers another size than we thought (409)."""
    sizes = service.publishing.sizes
    for _ in range(2):
        old = sizes.get(witness.key, 0)
        proof = service.log.consistency(old, signed.size) if 0 < old < signed.size else []
        status, answer = await _exchange(service, rules, witness, _request(old, proof, note))
        if status == _OK:
            line = _line_of(witness, note, answer)
            sizes[witness.key] = signed.size
            return line
        known = from_decimal(answer.decode("ascii", "replace").strip())
        if status != _CONFLICT or known is None or known == old or known > signed.size:
            break
        sizes[witness.key] = known
    await _look_at_memory(service, rules, witness)
    raise Unavailable(f"it answered {status}")


def _request(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """C2SP tlog-witness, section "add-checkpoint"."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof)]
    return "\n".join(lines).encode() + b"\n\n" + note


def _line_of(witness: Witness, note: bytes, answer: bytes) -> bytes:
    """Its own line, if it holds; whatever else it sent is left out."""
    text, _ = parse_note(note)
    said, signatures = parse_note(note + answer)
    if said != text:
        raise NoteInvalid("it answered with what are no cosignatures")
    for each in signatures:
        if (each.name, each.key_id) == (witness.key.name, witness.key.key_id):
            witness.key.verify(text, each.signature)
            return each.line.encode()
    raise NoteInvalid("it answered without a cosignature of its key")


async def _look_at_memory(service: Service, rules: WitnessRules, witness: Witness) -> None:
    """Stops the log, and raises `Contradicted`, if what it cosigned is no beginning of ours."""
    # C2SP tlog-witness, section "Monitoring": by the hash of the origin
    place = f"{sha256(service.log.origin.encode()).hexdigest()}/checkpoint"
    status, note = await _exchange(service, rules, witness, b"", method="GET", place=place)
    if status != _OK:
        return  # it cosigned nothing of ours yet
    _check_memory(service, f"the witness `{witness.name}`", note)


def _check_memory(service: Service, who: str, note: bytes) -> None:
    shown = service.log.keys.recognise(note)
    why = contradiction(service.log, shown)
    if why:
        said = f"{who} {why}"
        service.log.halt(said)
        if service.halted is not None:
            service.halted.keep(said, note)
        raise Contradicted(said)


def contradiction(log: Log, shown: Checkpoint) -> str:
    """What is wrong with a checkpoint that our key signed; empty for a beginning of this log."""
    if shown.size > log.size:
        log.look_again()  # another node may have shown it
    size = log.size
    if shown.size > size:
        return (
            f"remembers {shown.size} entries, but the log has {size}: this is an older copy of "
            "the database"
        )
    if shown.size and Frontier.at(shown.size, log.nodes(shown.size)).root() != shown.root:
        return f"remembers another history of the first {shown.size} entries"
    return ""


async def _exchange(
    service: Service,
    rules: WitnessRules,
    witness: Witness,
    body: bytes,
    *,
    method: str = "POST",
    place: str = "add-checkpoint",
) -> tuple[int, bytes]:
    if service.outbound is None:
        raise Unavailable("there is no way out by HTTP")
    reply = await service.outbound.fetch(
        method,
        f"{(witness.url or '').rstrip('/')}/{place}",
        {"Content-Type": "text/plain; charset=utf-8"} if body else {},
        body,
        timeout=rules.timeout.total_seconds(),
        max_bytes=_MAX_ANSWER,
        allow=rules.allow,
    )
    return reply.status, reply.body
