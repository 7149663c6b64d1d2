"""A campaign of review: which steps there are, and that its items agree with its records."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.access import campaign_check, records
from muniment.access.campaign_check import Replayed
from muniment.access.campaign_items import OUTCOMES, Items, lines_of, unpacked, write
from muniment.access.records import Actor, Record
from muniment.errors import FoldInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, entry_of

AT = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
CASE = "rev_" + "a" * 26
REVIEWERS = ("r0", "r1")
#: who may not look at which item: item 0 is about r0
BARRED = {0: ("per_r0",), 1: (), 2: ()}
FIRST = {0: "r1", 1: "r0", 2: "r1"}


def human(name: str) -> Actor:
    return Actor(
        principal=f"prn_{name}",
        type="human",
        sponsor=None,
        persons=(f"per_{name}",),
        assurance="token",
    )


def line(number: int, **changes: Any) -> bytes:
    reviewer = FIRST[number]
    value = {
        "item": number,
        "what": "access" if number else "grant",
        "live": number != 2,
        "persons": list(BARRED[number]),
        "barred": list(BARRED[number]),
        "reviewer": f"prn_{reviewer}",
        "person": f"per_{reviewer}",
    }
    return canonical.encode({**value, **changes})


@dataclass
class Life:
    """A campaign that is written record by record, as nobody checked it."""

    silence: str = "none"
    lines: list[bytes] = field(default_factory=lambda: [line(n) for n in BARRED])
    entries: list[Entry] = field(default_factory=list)
    documents: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, record: Record, *documents: bytes, at: datetime | None = None) -> Entry:
        for document in documents:
            self.documents[sha256(document).digest()] = document
        last = self.entries[-1] if self.entries else None
        header = Header(
            kind=record.KIND,
            fold=1,
            case=CASE,
            position=len(self.entries),
            at=at or (last.header.at if last else AT),
            body=record.body(),
            prev=last.leaf if last else None,
            documents=tuple(sha256(document).digest() for document in documents),
        )
        self.entries.append(entry_of(len(self.entries), header.encode()))
        return self.entries[-1]

    def open(self, **changes: Any) -> "Life":
        sheets, rule, counted = write(self.lines), b"{}", b"[]"
        record = records.CampaignOpened(
            actor=human("opener"),
            rule="r",
            definition=sha256(rule).digest(),
            started="person",
            occasion="",
            size=7,
            root=bytes(32),
            items=len(self.lines),
            items_root=merkle.root(map(merkle.leaf_hash, self.lines)),
            sheets=tuple(sha256(sheet).digest() for sheet in sheets),
            completeness=sha256(counted).digest(),
            targets=0,
            unseen=0,
            seed=None,
            due=AT + timedelta(days=10),
            silence=self.silence,
            reviewers="g",
            fallback="f",
            sign_off="s",
        )
        self.add(replace(record, **changes), rule, counted, *sheets)
        return self

    def decide(self, who: str, items: Iterable[int], verdict: str = "keep", **more: Any) -> None:
        to = {"to": "less"} if verdict == "reduce" else {}
        said = [
            canonical.encode({"item": n, "verdict": verdict, "seconds": 1, **to}) for n in items
        ]
        document = b"".join(each + b"\n" for each in said)
        record = records.ReviewDecided(
            actor=human(who),
            reviewer=f"prn_{who}",
            person=f"per_{who}",
            lines=sha256(document).digest(),
            items=len(said),
            tallies={verdict: len(said)},
            seconds=len(said),
            bulk=len(said) > 1,
        )
        self.add(replace(record, **more), document)

    def reassign(self, items: Iterable[int], to: str, by: str = "opener") -> None:
        document = canonical.encode(sorted(items))
        self.add(
            records.ReviewReassigned(
                actor=human(by),
                lines=sha256(document).digest(),
                items=len(list(items)),
                to=f"prn_{to}",
                person=f"per_{to}",
            ),
            document,
        )

    def escalate(self, share: int, open_: int) -> None:
        at = AT + timedelta(days=10) if share == 100 else None
        record = records.ReviewEscalated(actor=records.SERVICE, share=share, open=open_)
        self.add(record, at=at)

    def apply(self, item: int) -> None:
        self.add(
            records.ReviewApplied(
                actor=records.SERVICE, items=(item,), how="not-allowed", about=("",)
            )
        )

    def sign(self, who: str, tallies: dict[str, int]) -> None:
        self.add(records.CampaignSigned(actor=human(who), person=f"per_{who}", tallies=tallies))

    def close(self, tallies: dict[str, int], applied: int, outstanding: int) -> None:
        self.add(
            records.CampaignClosed(
                actor=human("boss"),
                person="per_boss",
                tallies=tallies,
                applied=applied,
                outstanding=outstanding,
            )
        )

    def replay(self) -> Replayed:
        return campaign_check.replay(self.entries, self.documents)


def tallied(**counts: int) -> dict[str, int]:
    return {word: counts.get(word.replace("-", "_"), 0) for word in OUTCOMES}


def test_a_review_goes_from_its_opening_to_its_end() -> None:
    life = Life().open()
    life.decide("r1", [0, 2])
    life.decide("r0", [1], "revoke")
    life.apply(1)
    life.sign("boss", tallied(keep=2, revoke=1))
    life.close(tallied(keep=2, revoke=1), 1, 0)
    life.add(records.CaseClosed(actor=records.SERVICE, records=7))
    found = life.replay()
    assert found.campaign.closed
    assert [item.outcome for item in found.items.items] == ["keep", "revoke", "keep"]


def test_a_later_verdict_stands_for_an_earlier_one() -> None:
    life = Life().open()
    life.decide("r0", [1], "reduce")
    life.decide("r0", [1], "revoke")
    assert life.replay().items.tallies() == tallied(revoke=1, not_reviewed=2)


@pytest.mark.parametrize("verdict", ["keep", "reduce", "abstain", "revoke"])
def test_what_was_revoked_is_being_taken_and_no_later_verdict_says_otherwise(verdict: str) -> None:
    life = Life().open()
    life.decide("r0", [1], "revoke")
    life.decide("r0", [1], verdict)
    with pytest.raises(FoldInvalid, match=r"item 1 was revoked.*muniment reviews restore"):
        life.replay()


def test_what_is_over_or_for_people_to_take_is_revoked_and_kept_again() -> None:
    life = Life(lines=[line(0), line(1, what="policy"), line(2)]).open()
    for who, item in (("r0", 1), ("r1", 2)):
        life.decide(who, [item], "revoke")
        life.decide(who, [item], "keep")
    assert life.replay().items.tallies() == tallied(keep=2, not_reviewed=1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda life: life.decide("r0", [0]), "not for this reviewer"),
        (lambda life: life.decide("r1", [0, 0]), "twice at once"),
        (lambda life: life.decide("r1", [7]), "there is no item"),
        (lambda life: life.decide("r1", [0], "reduce"), "could be reduced"),
        (lambda life: life.decide("r1", [0], tallies={"revoke": 1}), "miscounts"),
        (lambda life: life.decide("r1", [0], person="per_r0"), "somebody else"),
        (lambda life: life.decide("r1", [0], actor=records.SERVICE), "by nobody"),
        (lambda life: life.reassign([0], "r0"), "about its new reviewer"),
        (lambda life: life.reassign([0], "r1"), "with him already"),
        (lambda life: life.reassign([0], "r2", by="r0"), "is about you"),
        (lambda life: life.escalate(60, 3), "said twice"),
        (lambda life: life.escalate(50, 2), "miscounts"),
        (lambda life: life.apply(0), "nothing had to be done"),
        (lambda life: life.sign("boss", tallied(not_reviewed=3)), "before its time"),
        (lambda life: life.sign("boss", tallied(keep=3)), "other counts"),
        (lambda life: life.sign("boss", tallied(keep=2)), "one outcome"),
        (lambda life: life.close(tallied(keep=3), 0, 0), "cannot follow"),
    ],
)
def test_what_may_not_be_is_refused(spoil: Any, words: str) -> None:
    life = Life().open()
    spoil(life)
    with pytest.raises(FoldInvalid, match=words):
        life.replay()


def test_whoever_decided_something_does_not_sign() -> None:
    life = Life().open()
    life.decide("r1", [0, 2])
    life.decide("r0", [1])
    life.sign("r0", tallied(keep=3))
    with pytest.raises(FoldInvalid, match="signed by a reviewer"):
        life.replay()


def test_silence_takes_away_what_is_live_and_is_never_kept() -> None:
    life = Life(silence="revoke").open()
    life.escalate(100, 3)
    found = life.replay()
    assert [item.number for item in found.items.owed] == [0, 1]
    assert found.items.tallies() == tallied(not_reviewed=3)
    life.decide("r1", [0])
    with pytest.raises(FoldInvalid, match="time for item 0 is over"):
        life.replay()


def test_silence_takes_nothing_that_only_people_can_take() -> None:
    life = Life(silence="revoke", lines=[line(0), line(1, what="policy"), line(2)]).open()
    life.escalate(100, 3)
    assert [item.number for item in life.replay().items.owed] == [0]
    life.decide("r0", [1], "revoke")
    assert [item.number for item in life.replay().items.owed] == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"item": 5},
        {"what": "secret"},
        {"barred": [], "persons": ["per_x"]},
        {"persons": [["per_r0"]]},
        {"persons": 1},
        {"approved": [{}]},
        {"reviewer": "prn_x", "person": "per_r0"},
        {"live": 1},
        {"barred": "per_r0"},
        {"person": None},
    ],
)
def test_a_line_that_is_no_item_is_refused(changes: dict[str, Any]) -> None:
    life = Life(lines=[line(0, **changes), line(1), line(2)]).open()
    with pytest.raises(FoldInvalid):
        life.replay()


def test_a_line_more_or_less_or_another_is_seen() -> None:
    for lines in ([line(0), line(1)], [line(0), line(1, live=False), line(2)]):
        life = Life().open()
        (sheet,) = write(lines)
        opened = records.parse(life.entries[0].header)
        assert isinstance(opened, records.CampaignOpened)
        life.documents[opened.sheets[0]] = sheet
        with pytest.raises(FoldInvalid, match=r"other items|not those of the root"):
            life.replay()


def test_sheets_are_unpacked_by_everybody_and_no_larger_than_they_may_be() -> None:
    import gzip

    (sheet,) = write([line(0)])
    assert gzip.decompress(sheet) == line(0) + b"\n"
    assert lines_of(unpacked(sheet)) == [line(0)]
    for wrong in (sheet[:-1], sheet + b"x", b"no", gzip.compress(bytes(64 * 1024 * 1024))):
        with pytest.raises(FoldInvalid):
            unpacked(wrong)


def test_every_line_is_found_again_on_its_sheet_in_whatever_order() -> None:
    lines = [line(n % 3, item=n, more="x" * 500_000) for n in range(7)]
    sheets = write(lines)
    found = Items.read(sheets, "none")
    assert (len(sheets), found.root) == (4, merkle.root(map(merkle.leaf_hash, lines)))
    for number in (6, 0, 3, 2, 6, 1):
        assert canonical.encode(found.items[number].told()) == lines[number]


def test_more_than_a_campaign_can_hold_is_refused() -> None:
    with pytest.raises(FoldInvalid, match="narrow its scope"):
        write([b"x" * 1024 * 1024] * 101)


@given(st.binary(max_size=300))
def test_whatever_lies_in_a_document_is_refused_in_our_own_words(data: bytes) -> None:
    items = Items.read(write([line(n) for n in BARRED]), "none")
    with pytest.raises(FoldInvalid):
        items.decide(data, "prn_r0", ("per_r0",), 1)
    with pytest.raises(FoldInvalid):
        items.reassign(data, "prn_r0", "per_r0", ("per_opener",))
    assert items.tallies() == tallied(not_reviewed=3)


# --- against a model that is written down another way ----------------------------------------------


@dataclass
class Model:
    """What should be so, in a dictionary and two sets."""

    silence: str
    with_: dict[int, str] = field(default_factory=lambda: dict(FIRST))
    said: dict[int, str] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)
    deciders: set[str] = field(default_factory=set)
    share: int = 0
    state: str = "open"

    def tallies(self) -> dict[str, int]:
        counted = Counter(self.said.get(n, "not-reviewed") for n in FIRST)
        return {word: counted[word] for word in OUTCOMES}

    def owed(self, n: int) -> bool:
        if n == 2 or n in self.applied:
            return False
        if n not in self.said:
            return self.share == 100 and self.silence == "revoke"
        return self.said[n] in ("revoke", "reduce")

    def decide(self, who: str, items: set[int], verdict: str) -> bool:
        late = self.share == 100 and self.silence == "revoke"
        holds = self.state == "open" and all(
            self.with_[n] == who
            and n not in self.applied
            and not (late and n not in self.said)
            and not (n != 2 and self.said.get(n) == "revoke")
            and not (verdict == "reduce" and n == 0)
            for n in items
        )
        if holds:
            self.said.update(dict.fromkeys(items, verdict))
            self.deciders.add(who)
        return holds

    def reassign(self, n: int, to: str) -> bool:
        holds = (
            self.state == "open"
            and self.with_[n] != to
            and not (n == 0 and to == "r0")
            and n not in self.said
            and n not in self.applied
        )
        if holds:
            self.with_[n] = to
        return holds

    def escalate(self, share: int) -> bool:
        holds = self.state == "open" and share > self.share
        if holds:
            self.share = share
        return holds

    def apply(self, n: int) -> bool:
        holds = self.state in ("open", "signed") and self.owed(n)
        if holds:
            self.applied.add(n)
        return holds

    def sign(self, who: str) -> bool:
        left = self.tallies()["not-reviewed"]
        holds = (
            self.state == "open" and who not in self.deciders and (self.share == 100 or not left)
        )
        if holds:
            self.state = "signed"
        return holds

    def close(self) -> bool:
        holds = self.state == "signed"
        if holds:
            self.state = "closed"
        return holds


_ITEM = st.sampled_from(sorted(FIRST))
_WHO = st.sampled_from(REVIEWERS)
ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("decide"),
            _WHO,
            st.sets(_ITEM, min_size=1),
            st.sampled_from(("keep", "revoke", "reduce", "abstain")),
        ),
        st.tuples(st.just("reassign"), _ITEM, _WHO),
        st.tuples(st.just("escalate"), st.sampled_from((50, 80, 100))),
        st.tuples(st.just("apply"), _ITEM),
        st.tuples(st.just("sign"), st.sampled_from(("r0", "boss"))),
        st.tuples(st.just("close")),
    ),
    max_size=14,
)


@settings(max_examples=250, deadline=None)
@given(acts=ACTS, silence=st.sampled_from(("revoke", "none")))
def test_no_sequence_of_steps_is_judged_otherwise_than_by_the_model(
    acts: list[Any], silence: str
) -> None:
    life, model = Life(silence=silence).open(), Model(silence)
    for name, *given_ in acts:
        before, tallies = len(life.entries), model.tallies()
        if name == "escalate":
            life.escalate(given_[0], tallies["not-reviewed"])
        elif name == "sign":
            life.sign(given_[0], tallies)
        elif name == "close":
            owed = sum(model.owed(n) for n in FIRST)
            life.close(tallies, len(model.applied), owed)
        elif name == "reassign":
            life.reassign([given_[0]], given_[1])
        else:
            getattr(life, name)(*given_)
        if getattr(model, name)(*given_):
            found = life.replay()
            assert found.items.tallies() == model.tallies()
            assert found.campaign.state == model.state
            assert {item.number for item in found.items.owed} == {n for n in FIRST if model.owed(n)}
        else:
            with pytest.raises(FoldInvalid):
                life.replay()
            del life.entries[before:]
