"""Grades: who stands behind a checkpoint, as far as its reader trusts him, and the words for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from muniment.errors import NoteInvalid
from muniment.evidence import verdict as grades
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import CosigningKey, SigningKey
from muniment.evidence.verdict import Reader, Verdict, Vouched, grade, graded
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.testing.time_stamps import TimeStampAuthority
from muniment.testing.vouching import AT, Vouchers, policy_text

KEY = SigningKey.generate("muniment.example/log")
VOUCHERS = Vouchers()
TEXT = Checkpoint("muniment.example/log", 12, bytes(range(32))).format()


def published(*by: CosigningKey, at: int = int(AT.timestamp())) -> bytes:
    note = sign(Checkpoint.parse(TEXT), KEY)
    return note + "".join(witness.cosign(TEXT, at).line for witness in by).encode()


def told(
    *by: CosigningKey, reader: Reader = VOUCHERS.reader, tokens: tuple[bytes, ...] = ()
) -> tuple[str, Vouched]:
    vouched = graded(published(*by), KEY.verifier, tokens, reader)
    return grades.headline(grade(vouched, agrees=False), vouched), vouched


def test_a_quorum_of_the_witnesses_that_the_reader_named_is_witnessed() -> None:
    one, two, three = VOUCHERS.witnesses
    assert told(one)[0] == "UNANCHORED"
    assert told(one, three)[0] == "WITNESSED 2/3"
    assert told(one, two, three)[0] == "WITNESSED 3/3"


def test_witnesses_that_the_reader_did_not_name_are_counted_and_worth_nothing() -> None:
    strangers = [CosigningKey.generate(f"elsewhere.example/{n}") for n in range(3)]
    headline, vouched = told(*strangers)
    assert (headline, vouched.unknown, vouched.cosigned) == ("UNANCHORED", 3, ())
    assert list(grades.seen(vouched)) == [
        "cosigned by 3 more, not checked: give their keys (--witnesses)",
        "0 of your 3 witnesses cosigned: that is not your quorum",
    ]


def test_a_reader_who_names_nobody_has_nobody() -> None:
    headline, vouched = told(*VOUCHERS.witnesses, reader=Reader())
    assert (headline, vouched.unknown) == ("UNANCHORED", 3)


def test_a_witness_of_the_operator_makes_it_self_witnessed_and_counts_for_no_quorum() -> None:
    one, two, three = VOUCHERS.witnesses
    own = Reader(own=(one.verifier,))
    assert told(one, reader=own)[0] == "SELF-WITNESSED"
    assert told(two, reader=own)[0] == "UNANCHORED"
    both = replace(VOUCHERS.reader, own=(one.verifier,))
    headline, vouched = told(one, two, reader=both)
    assert (headline, vouched.k, vouched.n) == ("SELF-WITNESSED", 1, 2)
    assert told(two, three, reader=both)[0] == "WITNESSED 2/2"


def test_a_witness_of_the_operator_is_the_same_under_another_name() -> None:
    """The name is no part of what a witness signs."""
    one, two, _ = VOUCHERS.witnesses
    renamed = replace(one.verifier, name="another.example")
    reader = replace(VOUCHERS.reader, own=(renamed,))
    headline, vouched = told(one, two, reader=reader)
    assert (headline, vouched.k, vouched.n) == ("UNANCHORED", 1, 2)


def test_a_policy_that_asks_nobody_gives_no_grade() -> None:
    nobody = Reader(policy=WitnessPolicy.parse("quorum none\n"))
    assert told(*VOUCHERS.witnesses, reader=nobody)[0] == "UNANCHORED"


def test_a_false_cosignature_of_a_named_witness_is_no_grade_but_an_error() -> None:
    false = VOUCHERS.witnesses[0].cosign(TEXT.replace("12", "13"), 1).line.encode()
    with pytest.raises(NoteInvalid, match="does not verify"):
        graded(published() + false, KEY.verifier, (), VOUCHERS.reader)


def test_a_checkpoint_of_another_log_is_not_graded() -> None:
    other = SigningKey.generate("other.example/log").verifier
    with pytest.raises(NoteInvalid):
        graded(published(*VOUCHERS.witnesses), other, (), VOUCHERS.reader)


def test_what_contradicts_a_kept_head_has_diverged_whoever_cosigned_it() -> None:
    vouched = graded(published(*VOUCHERS.witnesses), KEY.verifier, (), VOUCHERS.reader)
    assert vouched.quorum
    assert grade(vouched, agrees=True, diverged=True) is Verdict.DIVERGED
    assert grade(Vouched(size=1), agrees=True) is Verdict.SELF_WITNESSED
    assert grade(Vouched(size=1), agrees=False) is Verdict.UNANCHORED


# --- time stamps ----------------------------------------------------------------------------------


def test_a_time_stamp_is_added_to_any_grade_that_proves_something() -> None:
    token = VOUCHERS.authority.token(TEXT.encode(), AT)
    assert told(tokens=(token,))[0] == "UNANCHORED, TIME-STAMPED 2026-11-22T03:00:01Z"
    headline, vouched = told(*VOUCHERS.witnesses, tokens=(token,))
    assert headline == "WITNESSED 3/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    for bad in (Verdict.DIVERGED, Verdict.INVALID):
        assert grades.headline(bad, vouched) == bad.value
        assert not grades.meets("time-stamped", bad, vouched)


def test_of_several_the_earliest_counts_that_leads_to_a_root_of_the_reader() -> None:
    text = TEXT.encode()
    stranger = TimeStampAuthority(name="Somebody").token(text, AT - timedelta(days=1))
    tokens = tuple(VOUCHERS.authority.token(text, AT + timedelta(hours=n)) for n in (2, 0, 1))
    headline, vouched = told(tokens=(stranger, *tokens, b"no token"))
    assert headline.endswith("TIME-STAMPED 2026-11-22T03:00:01Z")
    assert [bool(each.doubt) for each in vouched.stamps] == [True, False, False, False, True]
    lines = list(grades.seen(vouched))
    assert lines[1].startswith("time stamp 2026-11-21T03:00:01Z by `CN=Somebody`, which is not ver")
    assert lines[-1].startswith("a time stamp that does not hold: the time stamp cannot be read")


def test_a_time_stamp_without_a_root_of_the_reader_is_shown_and_not_believed() -> None:
    token = VOUCHERS.authority.token(TEXT.encode(), AT)
    headline, vouched = told(tokens=(token,), reader=Reader())
    assert headline == "UNANCHORED"
    assert "you gave no root for it (--tsa-root)" in list(grades.seen(vouched))[-1]


# --- words ----------------------------------------------------------------------------------------


def test_every_grade_has_one_sentence_for_what_it_proves_and_one_for_what_not() -> None:
    assert grades.PROVES.keys() == grades.LIMITS.keys() == {*Verdict, grades.TIME_STAMPED}
    for sentence in grades.PROVES.values():
        assert sentence[0].isupper() or sentence[0] == "{"
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0, "one sentence"


def test_sentences_are_filled_in() -> None:
    token = VOUCHERS.authority.token(TEXT.encode(), AT)
    _, vouched = told(*VOUCHERS.witnesses[:2], tokens=(token,))
    grade_words, stamp_words = grades.proves(Verdict.WITNESSED, vouched)
    assert grade_words.startswith("2 of the 3 witnesses that the reader's quorum counts cosigned")
    assert "at size 12," in grade_words
    assert "`CN=Example Time Stamps` states" in stamp_words
    assert "before 2026-11-22T03:00:01Z" in stamp_words
    limits = list(grades.not_proved(Verdict.WITNESSED, vouched))
    assert grades.NOT_STAMPED not in limits
    assert grades.NOT_STAMPED in grades.not_proved(Verdict.WITNESSED, None)
    assert list(grades.not_proved(Verdict.DIVERGED, vouched)) == ["anything"]


@pytest.mark.parametrize(
    ("requirement", "by"),
    [
        ("self-witnessed", {Verdict.SELF_WITNESSED, Verdict.WITNESSED}),
        ("witnessed", {Verdict.WITNESSED}),
        ("time-stamped", set()),
    ],
)
def test_a_grade_meets_what_it_is_at_least(requirement: str, by: set[Verdict]) -> None:
    assert {each for each in Verdict if grades.meets(requirement, each, None)} == by


def test_a_time_beyond_all_calendars_is_shown_as_what_it_is() -> None:
    vouched = graded(published(VOUCHERS.witnesses[0], at=2**62), KEY.verifier, (), VOUCHERS.reader)
    assert f"at {2**62} s after 1970 (yours)" in next(grades.seen(vouched))


def test_a_policy_may_count_fewer_witnesses_than_it_lists() -> None:
    keys = [witness.verifier for witness in VOUCHERS.witnesses]
    text = policy_text(keys[:2], 1).replace("group", f"witness spare {keys[2].vkey}\ngroup")
    _, vouched = told(*VOUCHERS.witnesses, reader=Reader(policy=WitnessPolicy.parse(text)))
    assert (vouched.k, vouched.n, len(vouched.cosigned)) == (2, 2, 3)
