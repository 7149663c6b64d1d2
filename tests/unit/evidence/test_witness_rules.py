"""The rules of a witness: what it cosigns, what it refuses, what it keeps."""

import base64
import logging
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import LogInvalid, Unavailable
from muniment.evidence.checkpoint import Checkpoint, open_cosigned, sign
from muniment.evidence.merkle import EMPTY_ROOT
from muniment.evidence.note import CosigningKey, Signature, SigningKey, VerifierKey, parse_note
from muniment.evidence.witness import (
    MAX_PROOF_LINES,
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    TEXT_TYPE,
    Answer,
    Cosigned,
    Evidence,
    Outcome,
    Witness,
)
from muniment.testing.small_log import SmallLog, add_checkpoint

LOG = SmallLog()
FORK = LOG.other_history(5)
KEY = CosigningKey.generate("witness.example/1")
NOW = 1_800_000_000


class MemoryStore:
    """`WitnessStore` in memory, and what is done between a look and a change."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}
        self.kept: list[Evidence] = []
        self.before_advance: Callable[[], None] = lambda: None
        #: the disk is full; and what a commit does that fails
        self.full = False
        self.fails: Literal["", "unwritten", "written"] = ""

    def latest(self, origin: str) -> bytes | None:
        return self.notes.get(origin)

    def advance(self, before: bytes | None, after: Cosigned) -> bool:
        self.before_advance()
        origin = after.checkpoint.origin
        if self.notes.get(origin) != before:
            return False
        if self.fails != "unwritten":
            self.notes[origin] = after.note
        if self.fails:
            raise Unavailable("the disk does not answer")
        return True

    def keep(self, evidence: Evidence) -> bool:
        if self.full:
            raise Unavailable("the disk is full")
        self.kept.append(evidence)
        return True


class Bench:
    """A witness that knows one log, its store and its clock."""

    def __init__(self, *keys: VerifierKey, origin: str = LOG.origin) -> None:
        self.store = MemoryStore()
        self.now = NOW
        self.logs = {origin: keys or (LOG.key.verifier,)}
        self.witness = Witness(KEY, self.store, lambda: self.logs, lambda: self.now)

    def ask(self, body: bytes) -> tuple[int, Outcome]:
        answer = self.answer(body)
        return answer.status, answer.outcome

    def answer(self, body: bytes) -> Answer:
        return self.witness.add_checkpoint(body)

    def at(self, size: int) -> "Bench":
        """It has cosigned this size."""
        assert self.ask(LOG.request(0, size)) == (200, Outcome.COSIGNED)
        return self

    @property
    def size(self) -> int | None:
        note = self.store.notes.get(LOG.origin)
        return None if note is None else Checkpoint.parse(parse_note(note)[0]).size


# --- what is cosigned ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8, 300])
def test_the_first_checkpoint_of_a_known_log_is_cosigned_whatever_its_size(size: int) -> None:
    bench = Bench()
    answer = bench.answer(LOG.request(0, size))
    assert (answer.status, answer.content_type) == (200, TEXT_TYPE)
    keys = [LOG.key.verifier, KEY.verifier]
    checkpoint, note = open_cosigned(LOG.signed(size) + answer.body.encode(), LOG.origin, keys)
    assert checkpoint == LOG.checkpoint(size)
    assert dict(note.cosigned_at) == {KEY.verifier: NOW}


def test_what_continues_the_head_is_cosigned_step_by_step() -> None:
    bench = Bench()
    for old, new in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 3), (3, 8), (8, 9), (9, 40), (40, 256)]:
        assert bench.ask(LOG.request(old, new)) == (200, Outcome.COSIGNED)
        assert bench.size == new


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=6).map(sorted))
def test_every_growth_with_its_proof_is_cosigned(sizes: list[int]) -> None:
    bench = Bench()
    for old, new in zip([0, *sizes], sizes, strict=False):
        assert bench.ask(LOG.request(old, new)) == (200, Outcome.COSIGNED)


def test_the_same_head_is_cosigned_again_with_the_time_of_today() -> None:
    bench = Bench().at(7)
    bench.now += 3600
    answer = bench.answer(LOG.request(7, 7))
    note = LOG.signed(7) + answer.body.encode()
    opened = open_cosigned(note, LOG.origin, [LOG.key.verifier, KEY.verifier])[1]
    assert dict(opened.cosigned_at) == {KEY.verifier: NOW + 3600}


def test_the_same_head_in_the_same_second_gets_the_same_answer_and_costs_no_write() -> None:
    bench = Bench()
    first = bench.answer(LOG.request(0, 7))
    bench.store.fails = "unwritten"
    assert bench.answer(LOG.request(7, 7)) == first
    bench.now += 1
    assert bench.ask(LOG.request(7, 7)) == (503, Outcome.UNAVAILABLE)


def test_what_is_remembered_has_the_signatures_of_log_and_witness_and_no_others() -> None:
    bench = Bench()
    junk = Signature("stranger.example", b"junk", b"x" * 900).line.encode()
    answer = bench.answer(add_checkpoint(0, [], LOG.signed(3) + junk))
    assert answer.status == 200
    assert bench.store.notes == {LOG.origin: LOG.signed(3) + answer.body.encode()}


def test_an_extension_line_is_cosigned_with_the_text_that_holds_it() -> None:
    bench = Bench()
    head = LOG.checkpoint(3)
    extended = Checkpoint(head.origin, head.size, head.root, ("an extension",))
    note = sign(extended, LOG.key)
    answer = bench.answer(add_checkpoint(0, [], note))
    keys = [LOG.key.verifier, KEY.verifier]
    assert open_cosigned(note + answer.body.encode(), LOG.origin, keys)[0] == extended


def test_either_key_of_a_log_that_changes_its_key_may_sign() -> None:
    following = SigningKey.generate("log.example/1-2027")
    bench = Bench(LOG.key.verifier, following.verifier).at(3)
    later = SmallLog(LOG.origin, key=following)
    assert bench.ask(later.request(3, 8)) == (200, Outcome.COSIGNED)
    both = LOG.signed(9) + later.signed(9).partition(b"\n\n")[2]
    assert bench.ask(add_checkpoint(8, LOG.proof(8, 9), both)) == (200, Outcome.COSIGNED)
    assert len(parse_note(bench.store.notes[LOG.origin])[1]) == 3


def test_an_origin_need_not_be_the_name_of_the_key() -> None:
    named = SmallLog("a tree with spaces", key=LOG.key)
    bench = Bench(origin="a tree with spaces")
    assert bench.ask(named.request(0, 4)) == (200, Outcome.COSIGNED)


def test_each_log_is_remembered_on_its_own() -> None:
    other = SmallLog("other.example")
    bench = Bench().at(7)
    bench.logs["other.example"] = (other.key.verifier,)
    assert bench.ask(other.request(0, 2)) == (200, Outcome.COSIGNED)
    assert bench.ask(LOG.request(7, 8)) == (200, Outcome.COSIGNED)
    assert bench.witness.cosigned == {LOG.origin: 2, "other.example": 1}


# --- what is refused, and how --------------------------------------------------------------------

_HASH = base64.b64encode(bytes(32))
_SIGNED = LOG.signed(7)
_TEXT, _LINE = _SIGNED.split(b"\n\n")

MALFORMED = {
    "nothing": b"",
    "a note alone": _SIGNED,
    "no old size": b"\n\n" + _SIGNED,
    "no number": b"old\n\n" + _SIGNED,
    "two spaces": b"old  0\n\n" + _SIGNED,
    "a leading zero": b"old 00\n\n" + _SIGNED,
    "a sign": b"old -1\n\n" + _SIGNED,
    "capital letters": b"Old 0\n\n" + _SIGNED,
    "a size beyond all trees": b"old 9223372036854775808\n\n" + _SIGNED,
    "a carriage return": b"old 0\r\n\r\n" + _SIGNED,
    "no empty line": b"old 0\n" + _SIGNED.replace(b"\n\n", b"\n"),
    "a hash that is no base64": b"old 1\n?\n\n" + _SIGNED,
    "a hash of 31 bytes": b"old 1\n" + base64.b64encode(bytes(31)) + b"\n\n" + _SIGNED,
    "a hash in another spelling": b"old 1\n" + _HASH[:-2] + b"B=\n\n" + _SIGNED,
    "a space behind a hash": b"old 1\n" + _HASH + b" \n\n" + _SIGNED,
    "64 hashes": b"old 1\n" + (_HASH + b"\n") * (MAX_PROOF_LINES + 1) + b"\n" + _SIGNED,
    "no signature": b"old 0\n\n" + _TEXT + b"\n\n",
    "a torn signature": b"old 0\n\n" + _SIGNED[:-1],
    "two lines of checkpoint": b"old 0\n\n" + LOG.key.sign("log.example/1\n7\n"),
    "a root of 31 bytes": b"old 0\n\n"
    + LOG.key.sign(f"log.example/1\n7\n{base64.b64encode(bytes(31)).decode()}\n"),
    "a size with a zero before it": b"old 0\n\n"
    + LOG.key.sign(f"log.example/1\n07\n{_HASH.decode()}\n"),
    "an empty extension line": b"old 0\n\n"
    + LOG.key.sign(f"log.example/1\n7\n{_HASH.decode()}\n\nmore\n"),
    "bytes that are no text": b"old 0\n\n\xff" + _SIGNED,
    "a request that is no ASCII": "old 0\n¹\n\n".encode() + _SIGNED,
    "more than a request can be": b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES,
    "as many lines as a note": b"old 0\n\n" + _SIGNED + _LINE * 64,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_told_so(body: bytes) -> None:
    bench = Bench()
    assert bench.ask(body) == (400, Outcome.MALFORMED)
    assert bench.store.notes == {}
    assert bench.witness.refused == {Outcome.MALFORMED: 1}


@given(st.binary(max_size=400))
def test_junk_is_answered_and_changes_nothing(junk: bytes) -> None:
    bench = Bench()
    for body in (junk, b"old 0\n\n" + junk, b"old 0\n\n" + _TEXT + b"\n\n" + junk):
        assert bench.answer(body).status in (400, 403, 404)
    assert (bench.store.notes, bench.store.kept) == ({}, [])


def test_a_full_proof_is_read() -> None:
    proof = [bytes(32)] * MAX_PROOF_LINES
    bench = Bench().at(3)
    assert bench.ask(add_checkpoint(3, proof, LOG.signed(7))) == (422, Outcome.UNPROVEN)


def test_an_unknown_log_is_not_found_whoever_signed() -> None:
    stranger = SmallLog("stranger.example", key=LOG.key)
    assert Bench().ask(stranger.request(0, 3)) == (404, Outcome.UNKNOWN_LOG)


def test_a_checkpoint_that_no_known_key_signed_is_forbidden() -> None:
    impostor = SmallLog(LOG.origin)
    bench = Bench()
    assert bench.ask(impostor.request(0, 3)) == (403, Outcome.NOT_SIGNED)
    assert bench.store.kept == []


def test_a_known_signature_that_fails_is_forbidden_whatever_else_signed() -> None:
    following = SigningKey.generate("log.example/1-2027")
    wrong = sign(LOG.checkpoint(4), following).partition(b"\n\n")[2]
    bench = Bench(LOG.key.verifier, following.verifier)
    body = add_checkpoint(0, [], LOG.signed(3) + wrong)
    assert bench.ask(body) == (403, Outcome.NOT_SIGNED)


def test_our_own_cosignature_does_not_stand_in_for_the_log() -> None:
    text = LOG.checkpoint(3).format()
    cosigned = f"{text}\n{KEY.cosign(text, NOW).line}".encode()
    assert Bench().ask(add_checkpoint(0, [], cosigned)) == (403, Outcome.NOT_SIGNED)


def test_an_old_size_above_the_checkpoint_is_malformed() -> None:
    bench = Bench().at(8)
    body = add_checkpoint(8, [], LOG.signed(7))
    assert bench.ask(body) == (400, Outcome.OLD_TOO_LARGE)


@pytest.mark.parametrize(("old", "new"), [(0, 7), (3, 7), (6, 8), (0, 3), (3, 3)])
def test_another_old_size_than_ours_is_a_conflict_that_names_ours(old: int, new: int) -> None:
    bench = Bench().at(7)
    answer = bench.answer(LOG.request(old, new))
    expected = (409, "7\n", SIZE_TYPE)
    assert (answer.status, answer.body, answer.content_type) == expected
    assert bench.size == 7
    assert bench.store.kept == []


def test_an_old_size_before_anything_was_cosigned_is_a_conflict_that_names_zero() -> None:
    answer = Bench().answer(LOG.request(3, 7))
    assert (answer.status, answer.body) == (409, "0\n")


def test_a_log_that_went_back_is_refused() -> None:
    bench = Bench().at(8)
    assert bench.ask(LOG.request(7, 7)) == (409, Outcome.OTHER_SIZE)
    assert bench.ask(LOG.request(0, 7)) == (409, Outcome.OTHER_SIZE)
    assert bench.size == 8


@pytest.mark.parametrize("proof", [[], [bytes(32)], LOG.proof(3, 9), LOG.proof(4, 8)])
def test_a_growth_whose_proof_does_not_hold_is_refused_and_kept(proof: list[bytes]) -> None:
    bench = Bench().at(3)
    body = add_checkpoint(3, proof, LOG.signed(8))
    assert bench.ask(body) == (422, Outcome.UNPROVEN)
    assert bench.size == 3
    (kept,) = bench.store.kept
    assert (kept.outcome, kept.size, kept.request) == (Outcome.UNPROVEN, 8, body)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (7, 7)])
def test_a_proof_where_none_is_needed_is_refused_and_says_nothing_of_the_log(
    old: int, new: int
) -> None:
    bench = Bench().at(7) if old else Bench()
    body = add_checkpoint(old, [bytes(32)], LOG.signed(new))
    assert bench.ask(body) == (422, Outcome.NEEDLESS_PROOF)
    assert bench.store.kept == []


# --- forks ---------------------------------------------------------------------------------------


def test_a_fork_is_refused_and_kept_as_evidence(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().at(7)
    answer = bench.answer(FORK.request(7, 7))
    assert (answer.status, answer.outcome) == (422, Outcome.FORKED)
    (kept,) = bench.store.kept
    assert kept.cosigned == bench.store.notes[LOG.origin]
    assert kept.note == FORK.signed(7)
    assert kept.root != LOG.checkpoint(7).root
    assert "forked: `log.example/1` at size 7" in caplog.text


@pytest.mark.parametrize(("old", "status"), [(0, 409), (3, 409), (7, 422), (9, 400)])
def test_a_fork_is_seen_whatever_old_size_it_is_sent_with(old: int, status: int) -> None:
    bench = Bench().at(7)
    body = add_checkpoint(old, [], FORK.signed(7))
    assert bench.ask(body) == (status, Outcome.FORKED)
    assert len(bench.store.kept) == 1


def test_a_history_that_forked_below_our_head_and_grew_past_it_is_refused() -> None:
    bench = Bench().at(7)
    assert bench.ask(FORK.request(7, 20)) == (422, Outcome.UNPROVEN)
    assert bench.size == 7


@pytest.mark.parametrize(("cosigned", "status"), [(None, 422), (0, 422), (7, 409)])
def test_an_empty_tree_with_a_root_of_its_own_is_a_fork(cosigned: int | None, status: int) -> None:
    bench = Bench()
    if cosigned is not None:
        bench.at(cosigned)
    note = LOG.key.sign(f"{LOG.origin}\n0\n{_HASH.decode()}\n")
    assert bench.ask(add_checkpoint(0, [], note)) == (status, Outcome.FORKED)
    assert len(bench.store.kept) == 1


def test_what_strangers_add_to_a_fork_is_not_kept() -> None:
    bench = Bench().at(7)
    junk = Signature("stranger.example", b"junk", b"x" * 900).line.encode()
    bench.answer(add_checkpoint(7, [], FORK.signed(7) + junk))
    assert bench.store.kept[0].note == FORK.signed(7)


def test_evidence_that_cannot_be_kept_is_refused_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench().at(7)
    bench.store.full = True
    assert bench.ask(FORK.request(7, 7)) == (422, Outcome.FORKED)
    assert "could not be kept: the disk is full" in caplog.text


# --- crashes, clocks, and others who ask at the same time ----------------------------------------


def test_a_head_that_moved_meanwhile_is_judged_again() -> None:
    bench = Bench().at(3)
    rival = Witness(KEY, bench.store, lambda: bench.logs, lambda: NOW)

    def rush() -> None:
        bench.store.before_advance = lambda: None
        assert rival.add_checkpoint(LOG.request(3, 9)).status == 200

    bench.store.before_advance = rush
    answer = bench.answer(LOG.request(3, 8))
    assert (answer.status, answer.body) == (409, "9\n")
    assert bench.size == 9


def test_a_head_that_never_stands_still_is_given_up() -> None:
    bench = Bench().at(3)

    def rush() -> None:
        text, line = LOG.checkpoint(3).format(), LOG.signed(3).partition(b"\n\n")[2].decode()
        bench.now += 1
        note = f"{text}\n{line}{KEY.cosign(text, bench.now).line}".encode()
        bench.store.notes[LOG.origin] = note

    bench.store.before_advance = rush
    assert bench.ask(LOG.request(3, 8)) == (503, Outcome.UNAVAILABLE)


@pytest.mark.parametrize("fails", ["unwritten", "written"])
def test_a_cosignature_whose_head_may_not_be_durable_is_never_given(
    fails: Literal["unwritten", "written"],
) -> None:
    bench = Bench().at(3)
    bench.store.fails = fails
    answer = bench.answer(FORK.request(3, 8))
    assert (answer.status, answer.outcome) == (503, Outcome.UNAVAILABLE)
    assert KEY.name not in answer.body
    bench.store.fails = ""
    # whichever it was: only one history is ever cosigned
    if fails == "written":
        assert bench.ask(LOG.request(3, 8)) == (409, Outcome.FORKED)
        assert bench.ask(FORK.request(8, 9)) == (200, Outcome.COSIGNED)
    else:
        assert bench.ask(LOG.request(3, 8)) == (200, Outcome.COSIGNED)
        assert bench.ask(FORK.request(8, 9)) == (422, Outcome.UNPROVEN)


def test_a_memory_that_somebody_wrote_into_stops_the_witness(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench().at(7)
    for note in (
        bench.store.notes[LOG.origin].replace(b"\n7\n", b"\n3\n"),
        LOG.signed(3),
        b"",
        SmallLog("other.example", key=LOG.key).signed(3) + b"",
    ):
        bench.store.notes[LOG.origin] = note
        assert bench.ask(LOG.request(3, 8)) == (503, Outcome.UNAVAILABLE)
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL] * 4


def test_the_memory_of_another_log_is_not_taken_for_this_ones() -> None:
    other = SmallLog("other.example")
    bench = Bench()
    bench.logs["other.example"] = (other.key.verifier,)
    assert bench.ask(other.request(0, 2)) == (200, Outcome.COSIGNED)
    with pytest.raises(LogInvalid, match="not cosigned by us"):
        Cosigned.open(bench.store.notes["other.example"], LOG.origin, KEY.verifier)


def test_a_clock_that_steps_back_a_little_dates_nothing_before_the_last_cosignature() -> None:
    bench = Bench().at(3)
    bench.now = NOW - 5
    answer = bench.answer(LOG.request(3, 7))
    note = LOG.signed(7) + answer.body.encode()
    opened = open_cosigned(note, LOG.origin, [LOG.key.verifier, KEY.verifier])[1]
    assert dict(opened.cosigned_at) == {KEY.verifier: NOW}


def test_a_clock_that_steps_back_far_stops_the_witness_until_it_is_right_again() -> None:
    bench = Bench().at(3)
    bench.now = NOW - 6
    assert bench.ask(LOG.request(3, 7)) == (503, Outcome.UNAVAILABLE)
    assert bench.size == 3
    bench.now = NOW
    assert bench.ask(LOG.request(3, 7)) == (200, Outcome.COSIGNED)


@pytest.mark.parametrize("now", [0, -1])
def test_a_machine_without_a_clock_cosigns_nothing(now: int) -> None:
    bench = Bench()
    bench.now = now
    assert bench.ask(LOG.request(0, 7)) == (503, Outcome.UNAVAILABLE)
    assert bench.store.notes == {}


def test_the_root_of_the_empty_tree_needs_no_proof_to_be_remembered() -> None:
    bench = Bench().at(0)
    assert LOG.checkpoint(0).root == EMPTY_ROOT
    assert bench.ask(LOG.request(0, 3)) == (200, Outcome.COSIGNED)
