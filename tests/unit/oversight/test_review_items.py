"""Items of a review: who has them, which are drawn, and what shows that somebody only stamped."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from muniment.access.campaign_grounds import seed_of
from muniment.errors import Malformed
from muniment.oversight.campaigns import (
    Draft,
    Reviewer,
    Rule,
    assigned,
    grant_drafts,
    rule_of,
    sampled,
    signs,
)
from muniment.oversight.population import Line, Population

AT = datetime(2026, 3, 1, tzinfo=UTC)
RULE = Rule(
    name="grants",
    what="grants",
    reviewers="leads",
    fallback="security",
    sign_off="managers",
    days=10,
    silence="none",
)


def grant(number: int, **changes: object) -> Line:
    line = Line(
        case=f"mun_{number}",
        first=number,
        last=number,
        records=1,
        requester="prn_ana",
        kind="human",
        sponsor=None,
        persons=("per_ana",),
        assurance="token",
        mfa="",
        resource="orders-prod",
        role="readwrite",
        environment="prod",
        definition=b"",
        seconds=60,
        emergency=False,
        requested=AT,
        issued=AT,
    )
    for name, value in changes.items():
        setattr(line, name, value)
    return line


def draft(number: int, *barred: str) -> Draft:
    return Draft(
        what="grant",
        live=False,
        persons=(),
        barred=barred,
        resource="",
        told=dict,
    )


def reviewer(name: str) -> Reviewer:
    return Reviewer(principal=f"prn_{name}", persons=(f"per_{name}",))


def who(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["reviewer"] for line in lines]


def test_items_are_dealt_so_that_all_have_about_the_same() -> None:
    people = [reviewer(name) for name in "abc"]
    given = who(list(assigned([draft(n) for n in range(10)], people, ())))
    assert sorted(Counter(given).values()) == [3, 3, 4]


def test_whom_an_item_is_about_never_has_it() -> None:
    people, others = [reviewer("a")], [reviewer("s")]
    lines = list(
        assigned([draft(0), draft(1, "per_a"), draft(2, "per_a", "per_s")], people, others)
    )
    assert who(lines) == ["prn_a", "prn_s", ""]


def test_a_sample_is_drawn_by_the_root_and_always_the_same() -> None:
    cases = [grant(n).case for n in range(100)]
    drawn = sampled(cases, 10, seed_of(b"root", "grants"))
    assert drawn == sampled(cases[::-1], 10, seed_of(b"root", "grants"))
    assert len({*drawn}) == 10
    assert drawn != sampled(cases, 10, seed_of(b"other", "grants"))


def test_broken_glass_and_findings_are_never_left_to_the_lot() -> None:
    lines = [grant(n) for n in range(50)]
    lines[7].emergency = True
    lines[9].findings = ("fnd_x",)
    population = Population(lines={line.case: line for line in lines})
    rule = rule_of({**json.loads(RULE.document()), "sample": 3})
    found = list(grant_drafts(rule, population, {}, b"seed"))
    assert {"mun_7", "mun_9"} <= {each.told()["case"] for each in found}
    assert len(found) == 5


def test_only_grants_of_the_period_and_resources_are_in_a_review() -> None:
    lines = [
        grant(0),
        grant(1, requested=AT - timedelta(days=200)),
        grant(2, resource="other"),
        grant(3, issued=None),
    ]
    population = Population(lines={line.case: line for line in lines})
    rule = rule_of({**json.loads(RULE.document()), "resources": ["orders-prod"]})
    found = [each.told()["case"] for each in grant_drafts(rule, population, {}, b"")]
    assert found == ["mun_0"]


def test_whoever_approved_a_grant_does_not_review_it() -> None:
    from muniment.oversight.population import Approved

    approved = Approved(approver="prn_cy", person="per_cy", at=AT, assurance="token", mfa="")
    population = Population(lines={"mun_0": grant(0, approved=(approved,))})
    (found,) = grant_drafts(RULE, population, {"prn_ana": ("per_admin",)}, b"")
    assert found.barred == ("per_cy", "per_admin")


def test_many_items_kept_without_a_look_are_said() -> None:
    quick = [("prn_a", "keep", 0, 1)] * 30
    careful = [("prn_b", "keep", 20, 2 + n) for n in range(30)]
    stamped, looked = signs([*quick, *careful])
    assert (stamped.stamped, stamped.at_once, stamped.largest) == (True, 30, 30)
    assert (looked.stamped, looked.median_seconds, looked.largest) == (False, 20, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "A B"},
        {"what": "all"},
        {"days": 0},
        {"silence": "keep"},
        {"triggers": ["sunset"]},
        {"schedule": "FREQ=DAILY"},
        {"reviewers": ""},
        {"unknown": 1},
    ],
)
def test_what_is_no_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        rule_of({**json.loads(RULE.document()), **changes})


def test_a_rule_is_read_back_from_its_document() -> None:
    assert rule_of(json.loads(RULE.document())) == RULE
