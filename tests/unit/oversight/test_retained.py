"""Since when the time of each section runs: never while somebody needs it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from muniment.access import campaign_items, records
from muniment.access.holding import Hold
from muniment.access.records import SERVICE, Actor, Record
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.oversight.erasure_plan import plan
from muniment.oversight.retained import Kept, Retained
from muniment.oversight.retention import Class, Rules

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def case(letter: str, prefix: str = "mun") -> str:
    return f"{prefix}_{letter * 26}"


def human(person: str) -> Actor:
    return Actor(
        principal=case(person, "prn"), type="human", sponsor=None, persons=(case(person, "per"),),
        assurance="token",
    )  # fmt: skip


class Written:
    """Records a day apart, each behind the last of its case."""

    def __init__(self) -> None:
        self.retained = Retained()
        self.documents: dict[bytes, bytes] = {}
        self.lengths: dict[str, int] = {}
        self.size = 0

    def add(self, id_: str, record: Record, *sections: str) -> datetime:
        at = AT + self.size * DAY
        header = Header(
            kind=record.KIND, fold=1, case=id_, position=self.lengths.get(id_, 0), at=at,
            body=record.body(), prev=None, sections=dict.fromkeys(sections, bytes(32)),
        )  # fmt: skip
        data = header.encode()
        self.retained.take(
            Entry(self.size, data, leaf_hash(data), header), self.documents.__getitem__
        )
        self.lengths[id_] = header.position + 1
        self.size += 1
        return at

    def close(self, id_: str) -> datetime:
        return self.add(id_, records.CaseClosed(actor=SERVICE, records=self.lengths[id_] + 1))

    def kept(self) -> dict[str, Kept]:
        return {f"{each.record} {each.section}": each for each in self.retained.sections()}

    def since(self, id_: str, section: str) -> datetime | None:
        return self.kept()[f"{id_} {section}"].since


REQUESTED = records.AccessRequested(
    actor=human("a"), requester=case("a", "prn"), resource="orders", role="rw",
    definition=b"d" * 32, environment="production", seconds=60, emergency=False,
)  # fmt: skip
ROLE = records.RoleDefined(
    actor=SERVICE, resource="orders", role="rw", definition=b"d" * 32, tier="prod",
    environment="production", data="restricted", connector="fake",
)  # fmt: skip
ENROLLED = records.PrincipalEnrolled(
    actor=SERVICE, type="human", person=case("a", "per"), active=True, groups=(), sponsor=None,
    source="file",
)  # fmt: skip
RAISED = records.FindingRaised(
    actor=SERVICE, rule="r", definition=b"d" * 32, severity="low", nature="baseline",
    resource="orders", about=(case("g"),), subjects=(case("a", "per"),), seen=AT, ends=(), why="x",
)  # fmt: skip


@pytest.fixture
def written() -> Written:
    found = Written()
    found.add(case("r", "rol"), ROLE)
    found.add(case("g"), REQUESTED, "reason")
    return found


def test_a_case_ages_from_its_end(written: Written) -> None:
    assert written.since(f"{case('g')}/0", "reason") is None
    closed = written.close(case("g"))
    assert written.since(f"{case('g')}/0", "reason") == closed


def test_a_case_does_not_age_while_a_finding_or_a_review_of_it_is_open(written: Written) -> None:
    closed = written.close(case("g"))
    opened = records.ReviewOpened(actor=SERVICE, about=case("g"), due=AT, persons=())
    for id_, record, sections in (
        (case("f", "fnd"), RAISED, ("detail",)),
        (case("v"), opened, ()),
    ):
        written.add(id_, record, *sections)
        assert written.since(f"{case('g')}/0", "reason") is None
        written.close(id_)
        assert written.since(f"{case('g')}/0", "reason") == closed


def test_what_is_about_a_case_ages_from_the_later_end(written: Written) -> None:
    written.add(case("f", "fnd"), RAISED, "detail")
    written.close(case("f", "fnd"))
    assert written.since(f"{case('f', 'fnd')}/0", "detail") is None
    closed = written.close(case("g"))
    assert written.since(f"{case('f', 'fnd')}/0", "detail") == closed


def test_who_somebody_is_ages_once_it_was_replaced_or_he_was_disabled(written: Written) -> None:
    id_ = case("a", "prn")
    written.add(id_, ENROLLED, "identity")
    assert written.since(f"{id_}/0", "identity") is None
    again = written.add(id_, ENROLLED, "identity")
    assert written.since(f"{id_}/0", "identity") == again
    assert written.since(f"{id_}/1", "identity") is None
    written.add(case("b", "prn"), ENROLLED)  # somebody else, and nothing is said of him
    gone = written.add(id_, replace(ENROLLED, active=False), "identity")
    assert written.since(f"{id_}/1", "identity") == gone
    assert written.since(f"{id_}/2", "identity") == gone


def test_who_changed_the_settings_ages_once_they_were_changed_again(written: Written) -> None:
    changed = records.ConfigChanged(actor=SERVICE, configuration=b"c" * 32, source="file")
    written.add(case("c", "cfg"), changed, "author")
    assert written.since(f"{case('c', 'cfg')}/0", "author") is None
    again = written.add(case("c", "cfg"), changed)  # by nobody who is named
    assert written.since(f"{case('c', 'cfg')}/0", "author") == again


def opened(token: bytes, expires: datetime) -> records.SessionOpened:
    return records.SessionOpened(
        actor=human("a"), principal=case("a", "prn"), person=case("a", "per"), token=token,
        expires=expires, provider="idp", method="oidc", authenticated_at=AT, amr=(), acr="",
        mfa="", attested=False, keys=b"k" * 32, delegation=None,
    )  # fmt: skip


def test_a_session_ages_from_when_it_expires_or_was_closed_before(written: Written) -> None:
    ends = AT + 100 * DAY
    written.add(case("s", "ses"), opened(b"s" * 32, ends), "claims")
    written.add(case("t", "ses"), opened(b"t" * 32, ends), "claims")
    closed = written.add(case("t", "ses"), records.SessionClosed(actor=SERVICE, reason="x"))
    assert written.since(f"{case('s', 'ses')}/0", "claims") == ends
    assert written.since(f"{case('t', 'ses')}/0", "claims") == closed


def test_a_token_ages_from_when_it_was_revoked_and_one_without_end_does_not(
    written: Written,
) -> None:
    id_ = case("a", "prn")
    written.add(id_, ENROLLED)
    token = records.TokenEnrolled(actor=SERVICE, token=b"t" * 32, expires=None)
    written.add(id_, token, "label")
    assert written.since(f"{id_}/1", "label") is None
    revoked = written.add(id_, records.TokenRevoked(actor=SERVICE, token=b"t" * 32))
    assert written.since(f"{id_}/1", "label") == revoked


def test_what_was_last_seen_at_a_target_is_needed_until_it_is_seen_anew(written: Written) -> None:
    scanned = records.DriftScanned(
        actor=SERVICE, resource="orders", target="t1", first=True, accounts=1, sessions=0,
        privileges=0, differences={},
    )  # fmt: skip
    for letter in "xy":
        written.add(case(letter, "drf"), scanned, "seen")
        written.close(case(letter, "drf"))
    other = replace(scanned, target="t2")
    written.add(case("z", "drf"), other, "seen")
    assert written.since(f"{case('x', 'drf')}/0", "seen") is not None
    assert written.since(f"{case('y', 'drf')}/0", "seen") is None
    assert written.since(f"{case('z', 'drf')}/0", "seen") is None


def test_a_section_has_to_do_with_all_who_are_named_in_its_case(written: Written) -> None:
    given: dict[str, Any] = {"approver": case("b", "prn"), "person": case("b", "per")}
    approval = records.ApprovalGiven(actor=human("b"), groups=("leads",), terms=b"t" * 32, **given)
    written.add(case("g"), approval, "note")
    written.close(case("g"))
    kept = written.kept()[f"{case('g')}/0 reason"]
    assert kept.concern.persons == {case("a", "per"), case("b", "per")}
    assert kept.concern.resources == {"orders"}
    assert kept.thing.environments == {"production"}
    assert kept.thing.data == {"restricted"}


def test_what_was_erased_is_on_no_list_and_the_same_list_has_the_same_digest(
    written: Written,
) -> None:
    written.close(case("g"))
    rules, later = Rules(classes=(Class(name="c", ceiling=DAY),)), AT + 50 * DAY
    found = plan(written.retained, rules, (), later)
    assert [each.kept.record for each in found.sections] == [f"{case('g')}/0"]
    assert found.listed == plan(written.retained, rules, (), later).listed
    other = Rules(classes=(Class(name="d", ceiling=DAY),))
    assert plan(written.retained, other, (), later).listed != found.listed
    erased = records.RecordErased(
        actor=SERVICE, record=f"{case('g')}/0", section="reason", rule="retention:c"
    )
    written.add(case("e", "ers"), erased)
    assert len(plan(written.retained, rules, (), later)) == 0


def test_what_is_said_of_restricted_data_is_kept_as_long_as_the_data_asks_for(
    written: Written,
) -> None:
    opened = records.ReviewOpened(actor=SERVICE, about=case("g"), due=AT, persons=())
    written.add(case("v"), opened)
    answered = records.ReviewAnswered(
        actor=human("b"),
        reviewer=case("b", "prn"),
        person=case("b", "per"),
        verdict="justified",
    )
    written.add(case("v"), answered, "note")
    written.close(case("v"))
    written.close(case("g"))
    text = Class(name="free-text", sections=frozenset(["reason", "note"]), ceiling=DAY)
    long = Class(name="restricted", data=frozenset(["restricted"]), floor=1000 * DAY)
    for classes, goes in (((text,), True), ((text, long), False)):
        going = plan(written.retained, Rules(classes=classes), (), AT + 50 * DAY).sections
        assert (f"{case('v')}/1" in {each.kept.record for each in going}) is goes


# --- reviews of many -----------------------------------------------------------------------------


def campaign(written: Written, *lines: dict[str, Any]) -> None:
    """One that is over, in which bo said why of each of these items."""
    common = {"live": True, "reviewer": case("b", "prn"), "person": case("b", "per")}
    texts = [json.dumps({**common, **line, "item": n}).encode() for n, line in enumerate(lines)]
    sheets = campaign_items.write(texts)
    names = [sha256(sheet).digest() for sheet in sheets]
    written.documents.update(zip(names, sheets, strict=True))
    opened = records.CampaignOpened(
        actor=SERVICE, rule="all", definition=b"d" * 32, started="schedule", occasion="now", size=1,
        root=bytes(32), items=len(lines), items_root=bytes(32), sheets=tuple(names),
        completeness=bytes(32), targets=1, unseen=0, seed=None, due=AT, silence="none",
        reviewers="x", fallback="y", sign_off="z",
    )  # fmt: skip
    decided = records.ReviewDecided(
        actor=human("b"), reviewer=case("b", "prn"), person=case("b", "per"), lines=bytes(32),
        items=len(lines), tallies={"keep": len(lines)}, seconds=5, bulk=True,
    )  # fmt: skip
    written.add(case("c", "rev"), opened)
    written.add(case("c", "rev"), decided, "reasons")
    written.close(case("c", "rev"))


def hold(**scope: Any) -> Hold:
    nothing: dict[str, Any] = {"cases": (), "persons": (), "resources": ()}
    nothing |= {"since": None, "until": None}
    placed = records.HoldPlaced(actor=human("h"), person=case("h", "per"), **nothing | scope)
    return Hold(id=case("h", "hld"), state="placed", record=placed)


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        ({"persons": (case("a", "per"),)}, True),
        ({"persons": (case("d", "per"),)}, True),
        ({"persons": (case("b", "per"),)}, True),
        ({"persons": (case("x", "per"),)}, False),
        ({"resources": ("orders",)}, True),
        ({"resources": ("ledger",)}, True),
        ({"resources": ("other",)}, False),
        ({"cases": (case("g"),)}, True),
        ({"cases": (case("n"),)}, True),
        ({"cases": (case("x"),)}, False),
        ({"cases": (case("c", "rev"),)}, True),
        ({"persons": (case("a", "per"),), "until": AT - DAY}, False),
    ],
    ids=["about him", "he approved it", "he decided", "somebody else", "its resource",
         "that of another item", "another", "of its grant", "of what is held", "of another",
         "itself", "before"],
)  # fmt: skip
def test_a_hold_reaches_what_reviewers_wrote(scope: dict[str, Any], holds: bool) -> None:
    """Placed after the review was closed, and known from the items alone."""
    written = Written()
    ana, approver = case("a", "per"), case("d", "per")
    campaign(
        written,
        {"what": "grant", "persons": [ana], "barred": [ana, approver], "resource": "orders",
         "case": case("g")},
        {"what": "access", "persons": [], "barred": [], "resource": "ledger",
         "held": [case("n")]},
        {"what": "policy", "persons": [], "barred": []},
    )  # fmt: skip
    rules = Rules(classes=(Class(name="c", ceiling=DAY),))
    found = plan(written.retained, rules, (hold(**scope),), AT + 50 * DAY)
    assert [each.kept.section for each in found.sections] == ([] if holds else ["reasons"])
    assert found.held == ({case("h", "hld"): 1} if holds else {})


# --- raw events of findings ----------------------------------------------------------------------

#: of access that nobody was given
NOBODYS = replace(RAISED, about=(), seen=AT + DAY)


def events(written: Written, resource: str = "orders") -> None:
    """A batch of the day on which it is added, which says that it speaks of a resource."""
    at = AT + written.size * DAY
    received = records.EventsReceived(
        actor=SERVICE, source=f"{resource}-log", resource=resource, start=0, count=3,
        root=bytes(32), rejected=0, first=at, last=at,
    )  # fmt: skip
    written.add(case("s", "src"), received)


def gone(written: Written, *holds: Hold) -> list[int]:
    """Indexes of the batches that have come to their end."""
    rules = Rules(classes=(Class(name="logs", sources=frozenset(["*"]), ceiling=DAY),))
    return [each.kept.index for each in plan(written.retained, rules, holds, AT + 90 * DAY).batches]


@pytest.mark.parametrize(
    ("resource", "seen", "kept"),
    [("orders", 0, True), ("orders", 1, True), ("orders", 3, False), ("other", 1, False)],
)
def test_the_events_of_a_finding_stay_while_it_is_open(
    resource: str, seen: int, *, kept: bool
) -> None:
    written = Written()
    events(written)
    raised = replace(NOBODYS, resource=resource, seen=AT + seen * DAY)
    written.add(case("f", "fnd"), raised, "detail")
    assert gone(written) == ([] if kept else [0])
    written.close(case("f", "fnd"))
    assert gone(written) == [0]


def test_the_events_of_when_it_was_last_seen_stay_as_those_of_the_first_time() -> None:
    written = Written()
    written.add(case("f", "fnd"), replace(NOBODYS, seen=AT), "detail")
    for _ in range(9):
        events(written)
    again = records.FindingSeen(
        actor=SERVICE, count=1, seen=AT + 8 * DAY, about=(), subjects=(), ends=(), why="x"
    )
    written.add(case("f", "fnd"), again, "detail")
    assert gone(written) == [2, 3, 4, 5, 6]


def test_a_hold_on_a_finding_holds_its_events_after_it_was_closed() -> None:
    written = Written()
    events(written)
    written.add(case("f", "fnd"), NOBODYS, "detail")
    written.close(case("f", "fnd"))
    assert gone(written, hold(cases=(case("f", "fnd"),))) == []
    assert gone(written, hold(persons=(case("a", "per"),))) == []
    assert gone(written, hold(cases=(case("x"),))) == [0]
