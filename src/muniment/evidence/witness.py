"""
A witness: it remembers the newest head of each log, and cosigns only what continues it.

These are the rules of C2SP tlog-witness, asked with `add-checkpoint`, in this order:

1. the request is well formed (else 400);
2. its origin is that of a log which the witness knows (404);
3. a known key of that log signed the checkpoint, and no signature of one fails (403);
4. the old size is at most that of the checkpoint (400);
5. the old size is that of the head cosigned last (409, which says that size);
6. the proof leads from that head to the checkpoint (422).

Then the store has to hold the new head, durably and in the place of the one that was looked at.
Only after that does a cosignature leave.

NOTE: tlog-witness v1.0.0 answers 409 to another root for the same size; its text of 2026-07-22 says
422, and so do we: whoever is told 409 tries again from the size that he sent already.

Refused requests that a log's own key has signed are kept, since they may prove what it did:

- *forked*: two roots for one size. The two notes prove it to anybody.
- *unproven*: a larger checkpoint that the proof beside it does not reach. The log may have forked;
  or somebody sent a true checkpoint with a false proof, for which he needs no key.
"""

import base64
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from muniment.errors import EvidenceError, LogInvalid, NoteInvalid, ProofInvalid, Unavailable
from muniment.evidence.checkpoint import Checkpoint, from_decimal
from muniment.evidence.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from muniment.evidence.note import (
    CosigningKey,
    Signature,
    VerifierKey,
    from_base64,
    open_note,
    parse_note,
)

#: C2SP tlog-witness: a client must not send more.
MAX_PROOF_LINES: Final = 63
#: 16 signatures of 5 kB, which C2SP signed-note asks for, a full proof, and room for more.
MAX_REQUEST_BYTES: Final = 128 * 1024
#: By how many seconds a clock may step back before nothing is cosigned.
CLOCK_TOLERANCE: Final = 5

#: C2SP tlog-witness: the media type of an answer 409.
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"

_OLD: Final = "old "
_HEAD_LINES: Final = 3
#: How often a head that moved under our hands is looked at again.
_TRIES: Final = 3
_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a request."""

    COSIGNED = "cosigned"
    MALFORMED = "malformed"
    UNKNOWN_LOG = "unknown-log"
    NOT_SIGNED = "not-signed"
    OLD_TOO_LARGE = "old-too-large"
    OTHER_SIZE = "other-size"
    NEEDLESS_PROOF = "needless-proof"
    #: kept as evidence
    FORKED = "forked"
    #: kept as evidence
    UNPROVEN = "unproven"
    UNAVAILABLE = "unavailable"


#: A log's own key has signed what speaks against it.
KEPT: Final = frozenset({Outcome.FORKED, Outcome.UNPROVEN})


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back, and why."""

    status: int
    outcome: Outcome
    body: str
    content_type: str = TEXT_TYPE


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request whose checkpoint a known log has signed."""

    old: int
    proof: tuple[bytes, ...] = field(repr=False)
    origin: str
    size: int
    root: bytes
    #: the text of the checkpoint, with extension lines if it has some
    text: str = field(repr=False)
    #: the signatures of the log that verified
    signatures: tuple[Signature, ...] = field(repr=False)

    @property
    def note(self) -> bytes:
        """The checkpoint without the lines of unknown keys: anybody could have put them there."""
        return self.signed_also()

    def signed_also(self, *more: Signature) -> bytes:
        lines = "".join(signature.line for signature in (*self.signatures, *more))
        return f"{self.text}\n{lines}".encode()


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The head that a witness cosigned last for a log."""

    checkpoint: Checkpoint
    #: when, in seconds since 1970 by its own clock
    at: int
    #: the checkpoint with the signatures of the log and of the witness
    note: bytes = field(repr=False)

    @classmethod
    def open(cls, note: bytes, origin: str, key: VerifierKey) -> "Cosigned":
        """Raises LogInvalid unless the witness `key` cosigned this head of that log."""
        try:
            opened = open_note(note, [key])
            checkpoint = Checkpoint.parse(opened.text)
        except NoteInvalid as error:
            raise LogInvalid(f"what was cosigned last for `{origin}` is damaged: {error}") from None
        if checkpoint.origin != origin or key not in opened.cosigned_at:
            raise LogInvalid(f"what is kept as the head of `{origin}` is not cosigned by us")
        return cls(checkpoint, opened.cosigned_at[key], note)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A refused request that a log's own key had signed, beside what had been cosigned."""

    origin: str
    outcome: Outcome
    #: when it was refused, in seconds since 1970
    at: int
    old: int
    proof: tuple[bytes, ...] = field(repr=False)
    size: int
    root: bytes
    #: the refused checkpoint, signed by the log
    note: bytes = field(repr=False)
    #: the head that it was held against, signed by the log and by the witness; None if none was
    cosigned: bytes | None = field(repr=False)

    @property
    def request(self) -> bytes:
        """The request once more, to be sent to any other witness."""
        lines = [f"old {self.old}", *(base64.b64encode(each).decode() for each in self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.note


class WitnessStore(Protocol):
    """What a witness needs kept. Every method raises `Unavailable` if the store does not answer."""

    def latest(self, origin: str) -> bytes | None:
        """The note cosigned last for this log."""

    def advance(self, before: bytes | None, after: Cosigned) -> bool:
        """
        Put `after` in the place of the note `before`; True once that is durable.

        False, and nothing is changed, if another note stands there by now. After an error it is
        unknown which of the two stands there.
        """

    def keep(self, evidence: Evidence) -> bool:
        """Keep this beside what is kept already; False if it was known, or there is no room."""


def read(body: bytes, logs: Mapping[str, Sequence[VerifierKey]]) -> Submitted | Answer:
    """Steps 1 to 3: the request, if one of these logs (their keys by origin) stands behind it."""
    try:
        old, proof, note = _split(body)
        text, signatures = parse_note(note)
        origin, size, root = _head(text)
    except NoteInvalid as error:
        return Answer(400, Outcome.MALFORMED, f"{error}\n")
    keys = logs.get(origin, ())
    if not keys:
        return Answer(404, Outcome.UNKNOWN_LOG, "this witness does not know that log\n")
    try:
        verified = {(key.name, key.key_id) for key in open_note(note, keys).verified}
    except NoteInvalid as error:
        return Answer(403, Outcome.NOT_SIGNED, f"{error}\n")
    signed = tuple(each for each in signatures if (each.name, each.key_id) in verified)
    return Submitted(old, proof, origin, size, root, text, signed)


def judge(submitted: Submitted, latest: Cosigned | None) -> Answer | None:
    """Steps 4 to 6: why this is not cosigned; None if nothing speaks against it."""
    size, root = (latest.checkpoint.size, latest.checkpoint.root) if latest else (0, EMPTY_ROOT)
    # RFC 6962 section 2.1: of the empty tree everybody knows the root
    one_root = {size: root, 0: EMPTY_ROOT}.get(submitted.size, submitted.root)
    forked = submitted.root != one_root
    if submitted.old > submitted.size:
        outcome = Outcome.FORKED if forked else Outcome.OLD_TOO_LARGE
        return Answer(400, outcome, "the old size is larger than the checkpoint\n")
    if submitted.old != size:
        outcome = Outcome.FORKED if forked else Outcome.OTHER_SIZE
        return Answer(409, outcome, f"{size}\n", SIZE_TYPE)
    try:
        verify_consistency(size, submitted.size, submitted.proof, root, submitted.root)
    except ProofInvalid as error:
        outcome = Outcome.FORKED if forked else Outcome.UNPROVEN
        if not forked and submitted.old in (0, submitted.size):
            # it has a proof where none is needed, which says nothing about the log
            outcome = Outcome.NEEDLESS_PROOF
        return Answer(422, outcome, f"{error}\n")
    return None


class Witness:
    """A key, the logs that it cosigns, and what it remembers of them."""

    def __init__(
        self,
        key: CosigningKey,
        store: WitnessStore,
        logs: Callable[[], Mapping[str, Sequence[VerifierKey]]],
        now: Callable[[], int],
    ) -> None:
        """`logs` gives keys by origin, and is asked for each request; `now` seconds since 1970."""
        self.verifier = key.verifier
        self._key = key
        self._store = store
        self._logs = logs
        self._now = now
        #: by origin, since the start
        self.cosigned: Counter[str] = Counter()
        #: by outcome, since the start
        self.refused: Counter[Outcome] = Counter()

    def add_checkpoint(self, body: bytes) -> Answer:
        """
        The answer to one request. Many threads and processes may ask at once.

        Nothing is raised: where the store does not answer, or holds what we did not write, the
        answer is 503, and nothing is cosigned.
        """
        submitted = read(body, self._logs())
        if isinstance(submitted, Answer):
            answer = submitted
        else:
            try:
                answer = self._answer(submitted)
            except (Unavailable, EvidenceError) as error:
                _log.critical("nothing was cosigned for `%s`: %s", submitted.origin, error)
                answer = _unavailable("the store of this witness does not answer")
        if answer.outcome is not Outcome.COSIGNED:
            self.refused[answer.outcome] += 1
        return answer

    def _answer(self, submitted: Submitted) -> Answer:
        for _ in range(_TRIES):
            before = self._store.latest(submitted.origin)
            latest = None
            if before is not None:
                latest = Cosigned.open(before, submitted.origin, self.verifier)
            refusal = judge(submitted, latest)
            if refusal is not None:
                if refusal.outcome in KEPT:
                    self._keep(submitted, refusal.outcome, before)
                return refusal
            at = self._moment(latest.at if latest else 0)
            if at is None:
                return _unavailable("the clock of this witness is behind what it has cosigned")
            line = self._key.cosign(submitted.text, at)
            note = submitted.signed_also(line)
            after = Cosigned.open(note, submitted.origin, self.verifier)
            # Durable before the cosignature leaves; else nobody would remember that we gave it.
            # The same head again in the same second is there already, to the byte.
            if note == before or self._store.advance(before, after):
                self.cosigned[submitted.origin] += 1
                return Answer(200, Outcome.COSIGNED, line.line)
        return _unavailable("others ask about this log at the same time")

    def _moment(self, last: int) -> int | None:
        """Now, and never before our last cosignature; None if the clock stepped back too far."""
        now = self._now()
        if now + CLOCK_TOLERANCE >= last:
            return max(now, last)
        _log.critical("the clock is %d s before our last cosignature: set it right", last - now)
        return None

    def _keep(self, submitted: Submitted, outcome: Outcome, cosigned: bytes | None) -> None:
        evidence = Evidence(
            origin=submitted.origin, outcome=outcome, at=self._now(), old=submitted.old,
            proof=submitted.proof, size=submitted.size, root=submitted.root,
            note=submitted.note, cosigned=cosigned,
        )  # fmt: skip
        try:
            new = self._store.keep(evidence)
        except Unavailable as error:  # refused it is all the same
            _log.error("a refused request could not be kept: %s", error)
            return
        if new:
            where = f"`{submitted.origin}` at size {submitted.size}"
            _log.error("refused and kept as evidence, %s: %s", outcome, where)


def _unavailable(why: str) -> Answer:
    return Answer(503, Outcome.UNAVAILABLE, f"{why}\n")


def _split(body: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    """Old size, proof and the note below them. Raises NoteInvalid."""
    if len(body) > MAX_REQUEST_BYTES:
        raise NoteInvalid(f"a request of {len(body)} bytes is too long")
    # none of our lines is empty, so the first empty line ends them
    head, empty_line, note = body.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteInvalid("the request is not ASCII above its checkpoint") from None
    old = from_decimal(first.removeprefix(_OLD)) if first.startswith(_OLD) else None
    if old is None or not empty_line:
        raise NoteInvalid("the request does not begin with the line `old SIZE`")
    if len(lines) > MAX_PROOF_LINES:
        raise NoteInvalid(f"a proof of {len(lines)} lines is too long")
    return old, tuple(_hash(line) for line in lines), note


def _hash(line: str) -> bytes:
    hashed = from_base64(line)
    if hashed is None or len(hashed) != HASH_SIZE:
        raise NoteInvalid("a line is not a hash of 32 bytes in canonical base64")
    return hashed


def _head(text: str) -> tuple[str, int, bytes]:
    """
    Origin, size and root of a checkpoint.

    NOTE: other than `Checkpoint.parse` this takes an empty tree with a root of its own: it is well
    formed, and a log that signs it has to be answered 422, not 400.
    """
    lines = text[:-1].split("\n")  # a note's text has no other control characters
    if len(lines) < _HEAD_LINES or not all(lines):
        raise NoteInvalid("the checkpoint has fewer than three lines, or an empty one")
    size = from_decimal(lines[1])
    if size is None:
        raise NoteInvalid("the size of the checkpoint is not written canonically")
    return lines[0], size, _hash(lines[2])
