"""The trust policy of a reader: which files hold, and what a quorum takes."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import ConfigInvalid
from muniment.evidence.note import CosigningKey, KeyType, SigningKey, VerifierKey
from muniment.evidence.witness_policy import MAX_LINES_OF_A_KIND, WitnessPolicy

LOG = SigningKey.generate("log.example/1").verifier
W = [CosigningKey.generate(f"witness.example/{number}").verifier for number in range(7)]

#: the shape of the specification's example: two of three here and one of three there
TWO_LEVELS = f"""\
# trusted since the audit of 2026

log {LOG.vkey} https://log.example/1
\twitness  X1\t{W[1].vkey}  https://one.example/
witness X2 {W[2].vkey}
witness X3 {W[3].vkey}
group X-witnesses 2 X1 X2 X3
   # the other firm
witness Y1 {W[4].vkey}
witness Y2 {W[5].vkey}
witness Y3 {W[6].vkey}
group Y-witnesses any Y1 Y2 Y3 \t
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def names(policy: WitnessPolicy, *keys: VerifierKey) -> list[str]:
    return [witness.name for witness in policy.cosigners(keys)]


# --- what a quorum takes -------------------------------------------------------------------------


def test_a_policy_reads_as_it_is_written() -> None:
    policy = WitnessPolicy.parse(TWO_LEVELS)
    assert [(log.key, log.url) for log in policy.logs] == [(LOG, "https://log.example/1")]
    assert [witness.name for witness in policy.witnesses] == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    assert [witness.url for witness in policy.witnesses[:2]] == ["https://one.example/", None]
    assert policy.witness_keys == tuple(W[1:])
    assert [(group.threshold, group.members) for group in policy.groups] == [
        (2, ("X1", "X2", "X3")),
        (1, ("Y1", "Y2", "Y3")),
        (2, ("X-witnesses", "Y-witnesses")),
    ]
    assert policy.quorum == "X-and-Y"


def test_a_quorum_of_groups_needs_enough_of_each() -> None:
    policy = WitnessPolicy.parse(TWO_LEVELS)
    for count in range(7):
        for keys in combinations(W[1:], count):
            xs, ys = (len(set(keys) & set(group)) for group in (W[1:4], W[4:]))
            assert policy.satisfied(keys) == (xs >= 2 and ys >= 1)


def test_k_of_n_speaks_of_every_witness_that_the_quorum_reaches() -> None:
    policy = WitnessPolicy.parse(TWO_LEVELS)
    assert len(policy.counted) == 6
    assert names(policy, W[5], W[1], LOG, W[0]) == ["X1", "Y2"]


def test_a_witness_that_the_quorum_does_not_reach_counts_for_nothing() -> None:
    policy = WitnessPolicy.parse(
        f"witness a {W[0].vkey}\nwitness b {W[1].vkey}\ngroup g any b\nquorum a\n"
    )
    assert [witness.name for witness in policy.counted] == ["a"]
    assert (policy.satisfied([W[1]]), names(policy, W[1])) == (False, [])
    assert (policy.satisfied([W[0]]), names(policy, *W)) == (True, ["a"])


def test_a_quorum_of_none_asks_for_no_witness() -> None:
    policy = WitnessPolicy.parse(f"witness a {W[0].vkey}\nquorum none\n")
    assert policy.satisfied([])
    assert (policy.quorum, policy.counted, policy.logs) == (None, (), ())


def test_a_quorum_may_be_one_witness_of_a_group() -> None:
    policy = WitnessPolicy.parse(f"witness a {W[0].vkey}\ngroup g all a\nquorum a\n")
    assert (policy.satisfied([]), policy.satisfied([W[0]])) == (False, True)


@pytest.mark.parametrize(
    ("threshold", "needed"), [("all", 3), ("any", 1), ("1", 1), ("2", 2), ("3", 3)]
)
def test_a_threshold_is_a_number_or_a_word(threshold: str, needed: int) -> None:
    lines = "".join(f"witness {n} {W[n].vkey}\n" for n in range(3))
    policy = WitnessPolicy.parse(f"{lines}group g {threshold} 0 1 2\nquorum g\n")
    assert [policy.satisfied(W[:count]) for count in range(4)] == [n >= needed for n in range(4)]


def test_the_key_of_a_witness_under_another_name_is_not_its_key() -> None:
    policy = WitnessPolicy.parse(f"witness a {W[0].vkey}\nquorum a\n")
    assert not policy.satisfied([VerifierKey("other.example", W[0].public, KeyType.COSIGNER)])
    assert not policy.satisfied([VerifierKey(W[0].name, W[0].public, KeyType.LOG)])


def test_names_are_opaque() -> None:
    # the Kelvin sign, an Ogham space and an octet that is no UTF-8, as `surrogateescape` has it
    odd = [
        "K",
        "\N{KELVIN SIGN}",
        "a\N{OGHAM SPACE MARK}b",
        b"\xff".decode(errors="surrogateescape"),
    ]
    lines = "".join(f"witness {name} {key.vkey}\n" for name, key in zip(odd, W, strict=False))
    policy = WitnessPolicy.parse(f"{lines}group all 1 {' '.join(odd)}\nquorum all\n")
    assert names(policy, *W) == odd


@given(st.permutations(["log", "witness-a", "witness-b"]))
def test_logs_and_witnesses_stand_in_any_order(order: list[str]) -> None:
    lines = {
        "log": f"log {LOG.vkey}\n",
        "witness-a": f"witness a {W[0].vkey}\n",
        "witness-b": f"witness b {W[1].vkey}\n",
    }
    text = "".join(lines[each] for each in order)
    assert WitnessPolicy.parse(f"{text}group g 2 a b\nquorum g\n").satisfied(W[:2])


def test_a_policy_of_the_size_that_is_asked_for_and_more_is_read() -> None:
    keys = [CosigningKey.generate("w.example").verifier for _ in range(MAX_LINES_OF_A_KIND)]
    lines = "".join(f"witness w{n} {key.vkey}\n" for n, key in enumerate(keys))
    lines += "group g0 any w0\n"
    lines += "".join(f"group g{n} all g{n - 1} w{n}\n" for n in range(1, MAX_LINES_OF_A_KIND))
    policy = WitnessPolicy.parse(f"{lines}quorum g{MAX_LINES_OF_A_KIND - 1}\n")
    assert (policy.satisfied(keys), policy.satisfied(keys[1:])) == (True, False)
    assert len(policy.counted) == MAX_LINES_OF_A_KIND


# --- what does not hold --------------------------------------------------------------------------

_A, _B = f"witness a {W[0].vkey}\n", f"witness b {W[1].vkey}\n"
_AGAIN = VerifierKey("other.example", W[0].public, KeyType.COSIGNER)
_LOG_AGAIN = VerifierKey("other.example", LOG.public)

INVALID = {
    "nothing": ("", "no quorum"),
    "no quorum": (_A, "no quorum: end it with `quorum NAME`"),
    "a cut file": (f"{_A}{_B}group a-or-b any a b\nquorum a", "newline: is it whole"),
    "two quorums": (f"{_A}quorum a\nquorum a\n", "line 3 .* there is a quorum already"),
    "a quorum none and one more": (f"{_A}quorum none\nquorum a\n", "line 3"),
    "a quorum that is not there": (f"{_A}quorum b\n", "line 2 .* `b` is not defined above"),
    "a quorum before its witness": (f"quorum a\n{_A}", "line 1 .* move its line up"),
    "two names in a quorum": (f"{_A}{_B}quorum a b\n", "line 3 .* write `log VKEY"),
    "an unknown line": (f"{_A}policy a\nquorum a\n", "line 2 .* write `log VKEY"),
    "a line in capitals": (f"{_A}QUORUM a\n", "line 2"),
    "a comment behind a line": (f"{_A}quorum a # for now\n", "line 2"),
    "a carriage return": (f"{_A}quorum a\r\n", "line 2 .* control character"),
    "a form feed": (f"{_A}\x0cquorum a\n", "control character"),
    "a delete": (f"{_A}# \x7f\nquorum a\n", "line 2 .* control character"),
    "no key": ("witness a\nquorum a\n", "line 1"),
    "a key that is none": ("witness a b\nquorum a\n", "line 1 .* form `name.id.key`"),
    "a key under a wrong id": (
        f"witness a {W[0].name}+00000000+{W[0].vkey.split('+', 2)[2]}\nquorum a\n",
        "does not belong to its key",
    ),
    "a witness with a log's key": (f"witness a {LOG.vkey}\nquorum a\n", "of type 0x04, this one"),
    "a log with a witness's key": (f"log {W[0].vkey}\nquorum none\n", "of type 0x01, this one"),
    "too much in a log": (f"log {LOG.vkey} http://a b\nquorum none\n", "line 1"),
    "too much in a witness": (f"witness a {W[0].vkey} http://a b\nquorum a\n", "line 1"),
    "one witness twice": (
        f"{_A}witness b {_AGAIN.vkey}\nquorum a\n",
        "line 2 .* another witness has this key",
    ),
    "one log twice": (
        f"log {LOG.vkey}\nlog {_LOG_AGAIN.vkey}\nquorum none\n",
        "line 2 .* another log has this key",
    ),
    "one name twice": (f"{_A}witness a {W[1].vkey}\nquorum a\n", "`a` is defined already"),
    "a group named as a witness": (f"{_A}group a any a\nquorum a\n", "`a` is defined already"),
    "a witness called none": (f"witness none {W[0].vkey}\nquorum none\n", "choose another name"),
    "a group called none": (f"{_A}group none any a\nquorum none\n", "choose another name"),
    "a group of none": (f"{_A}group g any none\nquorum g\n", "`none` is not defined above"),
    "an empty group": (f"{_A}group g any\nquorum g\n", "line 2"),
    "a group in itself": (f"{_A}group g any g a\nquorum g\n", "`g` is not defined above"),
    "a group of a later one": (
        f"{_A}group g any a h\ngroup h any a\nquorum g\n",
        "line 2 .* `h` is not defined above",
    ),
    "a member twice in one group": (f"{_A}group g 2 a a\nquorum g\n", "list each name once"),
    "a member of two groups": (
        f"{_A}{_B}group g any a b\ngroup h any a\nquorum g\n",
        "line 4 .* `a` is a member already",
    ),
    "a threshold of zero": (f"{_A}group g 0 a\nquorum g\n", "a number from 1 to 1"),
    "a threshold above the members": (f"{_A}{_B}group g 3 a b\nquorum g\n", "from 1 to 2"),
    "a threshold with a zero before it": (f"{_A}group g 01 a\nquorum g\n", "from 1 to 1"),
    "a threshold that is no number": (f"{_A}group g most a\nquorum g\n", "`most` is not `all`"),
    "too many logs": (
        "".join(
            f"log {SigningKey.generate('l.example').verifier.vkey}\n"
            for _ in range(MAX_LINES_OF_A_KIND + 1)
        )
        + "quorum none\n",
        f"line {MAX_LINES_OF_A_KIND + 1} .* more than 256 logs",
    ),
    "too long": ("#" * 300_000 + "\nquorum none\n", "300013 characters is too long"),
}


@pytest.mark.parametrize(("text", "why"), INVALID.values(), ids=INVALID)
def test_a_policy_that_does_not_hold_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ConfigInvalid, match=why):
        WitnessPolicy.parse(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_is_a_policy_or_is_refused(text: str) -> None:
    try:
        WitnessPolicy.parse(text)
    except ConfigInvalid:
        return
    assert "quorum" in text


def test_a_policy_that_was_cut_short_is_refused() -> None:
    for end in range(1, len(TWO_LEVELS)):
        with pytest.raises(ConfigInvalid):
            WitnessPolicy.parse(TWO_LEVELS[:end])
