"""Steps 13 to 16 over a review: each of them fails by its own number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from muniment.access import campaign_check, records
from muniment.access.campaign_items import OUTCOMES, root_of, write
from muniment.access.records import Actor, Record
from muniment.errors import BundleInvalid
from muniment.evidence import canonical
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, entry_of

AT = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
CASE = "rev_" + "a" * 26
RULE: dict[str, Any] = {"reviewers": "team-leads", "fallback": "security", "sign_off": "managers"}


#: a reviewer who stands behind what he reviews
ALSO_ANA = Actor(
    principal="prn_" + "r" * 26,
    type="human",
    sponsor=None,
    persons=("per_rev", "per_ana"),
    assurance="session",
)


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
    decided: dict[str, Any] = field(default_factory=dict)
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
                "live": False,
                "persons": ["per_ana"],
                "barred": ["per_ana"],
                "reviewer": "prn_" + "r" * 26,
                "person": "per_rev",
            }
        )
        rule, sheets = canonical.encode(self.rule), write([line])
        self._add(
            records.CampaignOpened(
                actor=records.SERVICE,
                rule="r",
                definition=sha256(rule).digest(),
                started="schedule",
                occasion="today",
                size=7,
                root=bytes(32),
                items=1,
                items_root=root_of([line]),
                sheets=tuple(sha256(sheet).digest() for sheet in sheets),
                completeness=sha256(b"[]").digest(),
                targets=0,
                unseen=0,
                seed=None,
                due=AT + timedelta(days=1),
                silence="none",
                **RULE,
            ),
            rule,
            b"[]",
            *sheets,
        )
        said = canonical.encode({"item": 0, "verdict": "keep", "seconds": 4}) + b"\n"
        decision: dict[str, Any] = {
            "actor": self._actor("rev"),
            "reviewer": "prn_" + "r" * 26,
            "person": "per_rev",
            "lines": sha256(said).digest(),
            "items": 1,
            "tallies": {"keep": 1},
            "seconds": 4,
            "bulk": False,
            **self.decided,
        }
        follows = (enrolled["rev"],) if self.follows else ()
        self._add(records.ReviewDecided(**decision), said, follows=follows)
        tallies = {word: int(word == "keep") for word in OUTCOMES}
        signed = records.CampaignSigned(
            actor=self._actor(self.signer), person=f"per_{self.signer}", tallies=tallies
        )
        self._add(signed, follows=(enrolled[self.signer],))
        return self

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
        header = self._header("prn_" + name[0] * 26, 0, None, record)
        self.entries.append(entry_of(len(self.entries), header.encode()))
        return self.entries[-1].leaf

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
        return campaign_check.check(self.case, self.entries, self.documents)


def test_a_review_as_it_should_be_passes_all_four() -> None:
    assert File().build().check() == [
        (13, "1 items in 1 sheets"),
        (14, "1 keep"),
        (15, "1 reviewers"),
        (16, f"`prn_{'b' * 26}`, by session"),
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
