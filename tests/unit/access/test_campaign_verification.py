"""Steps 13 to 17 over a review: each of them fails by its own number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from muniment.access import campaign, campaign_check, campaign_grounds, records
from muniment.access.campaign_grounds import seed_of
from muniment.access.campaign_items import OUTCOMES, write
from muniment.access.records import Actor, Record
from muniment.errors import BundleInvalid, FoldInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, entry_of

AT = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
CASE = "rev_" + "a" * 26
GROUPS: dict[str, Any] = {
    "reviewers": "team-leads", "fallback": "security", "sign_off": "managers"
}  # fmt: skip
RULE: dict[str, Any] = {
    **GROUPS, "name": "r", "what": "grants", "days": 1, "silence": "none", "resources": [],
    "sample": 0,
}  # fmt: skip
#: of the log, as it was when the population was made
ROOT = bytes(range(32))


#: a reviewer who stands behind what he reviews
ALSO_ANA = Actor(
    principal="prn_" + "r" * 26,
    type="human",
    sponsor=None,
    persons=("per_rev", "per_ana"),
    assurance="session",
)


MUN_A, MUN_B = ("mun_" + letter * 26 for letter in "ab")
ELG_A, ELG_B = ("elg_" + letter * 26 for letter in "ab")
GRANT = {"what": "grant", "case": MUN_A}
ACCESS: dict[str, Any] = {
    "what": "access",
    "principal": "prn_x",
    "resource": "db",
    "role": "rw",
    "held": [MUN_A],
}


def gone(case: str = MUN_A) -> tuple[str, Record]:
    return case, records.RemovalVerified(
        actor=records.SERVICE, endpoints=(), accounts_removed=1, sessions_killed=0, lag_ms=3
    )


def withdrawn(case: str = ELG_A, **changes: str) -> tuple[str, Record]:
    where = {"principal": "prn_x", "resource": "db", "role": "rw", **changes}
    return case, records.EligibilityWithdrawn(actor=records.SERVICE, about=CASE, item=0, **where)


@dataclass
class File:
    """The records of a small review, one of which may be spoilt."""

    #: by name: groups, type, active, person
    people: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "rev": {"groups": ("team-leads",)},
            "boss": {"groups": ("managers",)},
        }
    )
    rule: dict[str, Any] = field(default_factory=lambda: dict(RULE))
    follows: bool = True
    #: what the line of its one item says besides, and what is said of it
    line: dict[str, Any] = field(default_factory=dict)
    verdict: str = "keep"
    decided: dict[str, Any] = field(default_factory=dict)
    #: of the population: everything before it was seen then
    size: int = 2
    #: what its first record says besides, and the count against the targets
    opened: dict[str, Any] = field(default_factory=dict)
    counted: list[Any] = field(default_factory=list)
    #: roots of the log that are proved, by size; None: the one of the population
    heads: dict[int, bytes] | None = None
    #: records of other cases, and what is said to be applied by them
    shown: list[tuple[str, Record]] = field(default_factory=list)
    #: they were recorded before it was opened
    before: bool = False
    applied: dict[str, Any] = field(default_factory=dict)
    signer: str = "boss"
    entries: list[Entry] = field(default_factory=list)
    case: list[Entry] = field(default_factory=list)
    documents: dict[bytes, bytes] = field(default_factory=dict)

    def build(self) -> "File":
        enrolled = {name: self._enrol(name, **more) for name, more in self.people.items()}
        line = canonical.encode(
            {
                "item": 0,
                "what": "grant",
                "live": bool(self.applied),
                "persons": ["per_ana"],
                "barred": ["per_ana"],
                "reviewer": "prn_" + "r" * 26,
                "person": "per_rev",
                **self.line,
            }
        )
        leaves = self._show() if self.before else ()
        counted = canonical.encode(self.counted)
        rule, sheets = canonical.encode(self.rule), write([line])
        opened: dict[str, Any] = {
            "rule": "r",
            "root": ROOT,
            "targets": len(self.counted),
            "unseen": 0,
            "seed": None,
        }
        opened |= {"due": AT + timedelta(days=1), "silence": "none", **GROUPS, **self.opened}
        self._add(
            records.CampaignOpened(
                actor=records.SERVICE,
                definition=sha256(rule).digest(),
                started="schedule",
                occasion="today",
                size=self.size,
                items=1,
                items_root=merkle.leaf_hash(line),
                sheets=tuple(sha256(sheet).digest() for sheet in sheets),
                completeness=sha256(counted).digest(),
                **opened,
            ),
            rule,
            counted,
            *sheets,
        )
        to = {"to": "less"} if self.verdict == "reduce" else {}
        said = canonical.encode({"item": 0, "verdict": self.verdict, "seconds": 4, **to}) + b"\n"
        decision: dict[str, Any] = {
            "actor": self._actor("rev"),
            "reviewer": "prn_" + "r" * 26,
            "person": "per_rev",
            "lines": sha256(said).digest(),
            "items": 1,
            "tallies": {self.verdict: 1},
            "seconds": 4,
            "bulk": False,
            **self.decided,
        }
        follows = (enrolled["rev"],) if self.follows else ()
        self._add(records.ReviewDecided(**decision), said, follows=follows)
        leaves = leaves or self._show()
        if self.applied:
            done = records.ReviewApplied(actor=records.SERVICE, items=(0,), **self.applied)
            self._add(done, follows=leaves)
        tallies = {word: int(word == self.verdict) for word in OUTCOMES}
        signed = records.CampaignSigned(
            actor=self._actor(self.signer), person=f"per_{self.signer}", tallies=tallies
        )
        self._add(signed, follows=(enrolled[self.signer],))
        return self

    def _show(self) -> tuple[bytes, ...]:
        return tuple(self._elsewhere(case, record) for case, record in self.shown)

    def _elsewhere(self, case: str, record: Record) -> bytes:
        header = self._header(case, 0, None, record)
        self.entries.append(entry_of(len(self.entries), header.encode()))
        return self.entries[-1].leaf

    def _actor(self, name: str) -> Actor:
        return Actor(
            principal="prn_" + name[0] * 26,
            type="human",
            sponsor=None,
            persons=(f"per_{name}",),
            assurance="session",
        )

    def _enrol(self, name: str, groups: tuple[str, ...], **more: Any) -> bytes:
        record = records.PrincipalEnrolled(
            actor=records.SERVICE,
            type=more.get("type", "human"),
            person=more.get("person", f"per_{name}"),
            active=more.get("active", True),
            groups=groups,
            sponsor=None,
            source="file",
        )
        return self._elsewhere("prn_" + name[0] * 26, record)

    def _add(self, record: Record, *documents: bytes, follows: tuple[bytes, ...] = ()) -> None:
        self.documents |= {sha256(each).digest(): each for each in documents}
        prev = self.case[-1].leaf if self.case else None
        header = self._header(CASE, len(self.case), prev, record, follows, documents)
        entry = entry_of(len(self.entries), header.encode())
        self.entries.append(entry)
        self.case.append(entry)

    def _header(
        self,
        case: str,
        position: int,
        prev: bytes | None,
        record: Record,
        follows: tuple[bytes, ...] = (),
        documents: tuple[bytes, ...] = (),
    ) -> Header:
        return Header(
            kind=record.KIND,
            fold=1,
            case=case,
            position=position,
            at=AT,
            body=record.body(),
            prev=prev,
            follows=follows,
            documents=tuple(sha256(each).digest() for each in documents),
        )

    def check(self) -> list[tuple[int, str]]:
        heads = {self.size: ROOT} if self.heads is None else self.heads
        return campaign_check.check(self.case, self.entries, self.documents, heads)


def test_a_review_as_it_should_be_passes_all_five() -> None:
    assert File().build().check() == [
        (13, "1 items in 1 sheets"),
        (14, "1 keep"),
        (15, "1 reviewers"),
        (16, f"`prn_{'b' * 26}`, by session"),
        (17, "nothing was"),
    ]


def _without_sheet(file: File) -> None:
    for name, content in list(file.documents.items()):
        if content[:2] == b"\x1f\x8b":
            del file.documents[name]


def _other_line(file: File) -> None:
    (name,) = (n for n, content in file.documents.items() if content[:2] == b"\x1f\x8b")
    line = {"item": 0, "what": "grant", "live": True, "barred": [], "reviewer": "", "person": ""}
    (file.documents[name],) = write([canonical.encode(line)])


@pytest.mark.parametrize("spoil", [_without_sheet, _other_line])
def test_sheets_that_are_not_those_fail_step_13(spoil: Callable[[File], None]) -> None:
    file = File().build()
    spoil(file)
    with pytest.raises(BundleInvalid) as failed:
        file.check()
    assert failed.value.step == 13


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (14, {"decided": {"tallies": {"revoke": 1}}}),
        (14, {"decided": {"reviewer": "prn_" + "x" * 26}}),
        (14, {"decided": {"actor": ALSO_ANA}}),
        (15, {"people": {"rev": {"groups": ("others",)}, "boss": {"groups": ("managers",)}}}),
        (15, {"follows": False}),
        (15, {"rule": {**RULE, "reviewers": "others"}}),
        (
            15,
            {
                "people": {
                    "rev": {"groups": ("team-leads",), "active": False},
                    "boss": {"groups": ("managers",)},
                }
            },
        ),
        (
            15,
            {
                "people": {
                    "rev": {"groups": ("team-leads",), "person": "per_other"},
                    "boss": {"groups": ("managers",)},
                }
            },
        ),
        (16, {"people": {"rev": {"groups": ("team-leads",)}, "boss": {"groups": ("others",)}}}),
    ],
)
def test_what_does_not_hold_fails_by_its_number(step: int, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleInvalid) as failed:
        File(**changes).build().check()
    assert failed.value.step == step


SAMPLE = {**RULE, "sample": 1}
TARGET: dict[str, Any] = {"resource": "db", "listed": 1, "scan": None}
#: what the first record of a review may not say: the step by which it fails, and what it says
UNGROUNDED: list[tuple[int, str, dict[str, Any]]] = [
    # the log that it is over
    (13, "another root", {"heads": {2: bytes(32)}}),
    (13, "nothing here shows the root", {"heads": {}}),
    (13, "nothing here shows the root", {"heads": {3: ROOT}}),
    (13, "there was not yet", {"size": 3}),
    # the sample: by the root and the rule's name, and only where there is one
    (13, "its sample was drawn", {"opened": {"seed": seed_of(ROOT, "r")}}),
    (13, "its sample was drawn", {"rule": SAMPLE}),
    (13, "its sample was drawn", {"rule": SAMPLE, "opened": {"seed": seed_of(ROOT, "other")}}),
    (13, "its sample was drawn", {"rule": SAMPLE, "opened": {"seed": seed_of(bytes(32), "r")}}),
    # its items
    (13, "of another kind", {"rule": {**RULE, "what": "eligibility"}}),
    (13, "of another kind", {"rule": {**RULE, "what": []}}),
    (
        13,
        "does not name",
        {"rule": {**RULE, "resources": ["other"]}, "line": {"resource": "db"}},
    ),
    # the count against the targets
    (13, "miscounts its targets", {"opened": {"targets": 1}}),
    (13, "miscounts its targets", {"counted": [TARGET], "line": {"resource": "db"}}),
    (13, "other items", {"counted": [{**TARGET, "listed": 2}], "opened": {"unseen": 1}}),
    (13, "miscounts its targets", {"counted": [TARGET, TARGET], "opened": {"unseen": 2}}),
    (13, "names no resource", {"counted": [{}], "opened": {"unseen": 1}}),
    # the rule
    (13, "is none", {"rule": {**RULE, "resources": None}}),
    (13, "lacks its numbers", {"rule": {**RULE, "days": True}}),
    (15, "another than was recorded", {"rule": {**RULE, "name": "other"}}),
    (15, "another than was recorded", {"rule": {**RULE, "silence": "revoke"}}),
    (15, "another than was recorded", {"opened": {"silence": "revoke"}}),
    (15, "another than was recorded", {"opened": {"resources": ("other",)}}),
    (15, "another time", {"rule": {**RULE, "days": 10**15}}),
    (15, "another time", {"opened": {"due": AT + timedelta(days=1, seconds=1)}}),
]


@pytest.mark.parametrize(("step", "why", "changes"), UNGROUNDED)
def test_no_value_of_the_first_record_is_decoration(
    step: int, why: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(BundleInvalid, match=why) as failed:
        File(**changes).build().check()
    assert failed.value.step == step


def test_a_sample_that_is_larger_than_the_rule_has_it_fails_step_13() -> None:
    lines = [
        {"item": n, "what": "grant", "glass": n == 0, "findings": ["fnd_a"] if n == 1 else []}
        for n in range(4)
    ]
    file = File(rule=SAMPLE, opened={"seed": seed_of(ROOT, "r")}).build()
    file.check()
    opened = records.parse(file.case[0].header)
    assert isinstance(opened, records.CampaignOpened)
    sheets = {count: write(map(canonical.encode, lines[:count])) for count in (3, 4)}
    campaign_grounds.check_items(SAMPLE, opened, sheets[3], b"[]")
    with pytest.raises(FoldInvalid, match="its sample is larger"):
        campaign_grounds.check_items(SAMPLE, opened, sheets[4], b"[]")


def test_a_review_that_counts_its_targets_rightly_passes() -> None:
    seen = {**TARGET, "resource": "seen", "listed": 0, "scan": {"accounts": 3}}
    given: dict[str, Any] = {"counted": [TARGET, seen], "opened": {"unseen": 1}}
    File(line={"resource": "db"}, **given).build().check()


def carried_out(**changes: Any) -> File:
    """A revoked grant that is seen gone, but for what is changed."""
    how = {"how": "ended", "about": (MUN_A,)}
    given: dict[str, Any] = {"line": GRANT, "verdict": "revoke", "shown": [gone()], "applied": how}
    given |= changes
    what = "grants" if given["line"] == GRANT else "eligibility"
    return File(**given, rule={**RULE, "what": what})


TAKEN = {"how": "withdrawn", "about": (ELG_A,), "gone": (MUN_A,)}
ASKED = {"how": "not-allowed", "about": ("",)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "1 ended"),
        ({"line": ACCESS, "shown": [withdrawn(), gone()], "applied": TAKEN}, "1 withdrawn"),
        (
            {"line": {"what": "policy"}, "shown": [], "applied": ASKED},
            "1 not allowed any more, seen by the service alone",
        ),
        (
            {"line": ACCESS, "verdict": "reduce", "shown": [], "applied": ASKED},
            "1 not allowed any more, seen by the service alone",
        ),
    ],
)
def test_what_was_carried_out_is_held_to_the_records_that_show_it(
    changes: dict[str, Any], told: str
) -> None:
    assert carried_out(**changes).build().check()[-1] == (17, told)


#: what the records in the bundle do not show
WRONG: list[dict[str, Any]] = [
    # a grant: another one's removal, none at all, one from before, or by asking alone
    {"shown": [gone(MUN_B)]},
    {"shown": [gone(MUN_B)], "applied": {"how": "ended", "about": (MUN_B,)}},
    {"shown": []},
    {"before": True, "size": 3},
    {"shown": [], "applied": ASKED},
    {"shown": [withdrawn(MUN_A)]},
    # who may ask: another person, resource or role; another case; no withdrawal
    *(
        {"line": ACCESS, "shown": [withdrawn(**other), gone()], "applied": TAKEN}
        for other in ({"principal": "prn_y"}, {"resource": "db2"}, {"role": "ro"})
    ),
    {"line": ACCESS, "shown": [withdrawn(ELG_B), gone()], "applied": TAKEN},
    {"line": ACCESS, "shown": [gone()], "applied": TAKEN},
    {"line": ACCESS, "shown": [gone()], "applied": {"how": "ended", "about": (MUN_A,)}},
    {"line": ACCESS, "shown": [withdrawn(), gone()], "applied": TAKEN, "before": True, "size": 4},
    # and what was held under it is still there
    {"line": ACCESS, "shown": [withdrawn()], "applied": TAKEN},
    {"line": {**ACCESS, "held": [[MUN_A]]}, "shown": [withdrawn(), gone()], "applied": TAKEN},
    {"line": {**ACCESS, "held": 1}, "shown": [withdrawn(), gone()], "applied": TAKEN},
    # a withdrawal is recorded; nobody has to be believed that there would be one
    {"line": ACCESS, "shown": [], "applied": ASKED},
    {"line": {"what": "approver"}, "shown": [gone()]},
]


@pytest.mark.parametrize("changes", WRONG)
def test_what_only_says_that_it_was_carried_out_fails_step_17(changes: dict[str, Any]) -> None:
    with pytest.raises(BundleInvalid, match="nothing here shows") as failed:
        carried_out(**changes).build().check()
    assert failed.value.step == 17


@pytest.mark.parametrize(
    "applied",
    [
        {"how": "lapsed", "about": (MUN_A,)},
        {"how": "ended", "about": ("",)},
        {"how": "not-allowed", "about": (MUN_A,)},
        {"how": "ended", "about": (MUN_A,), "gone": (MUN_A,)},
    ],
)
def test_no_record_says_of_an_application_what_it_cannot_be(applied: dict[str, Any]) -> None:
    file = carried_out(applied=applied).build()
    with pytest.raises(FoldInvalid):
        campaign.fold((entry.header, entry.leaf) for entry in file.case)
