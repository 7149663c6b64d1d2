"""Steps 11 and 12: records that the log proves, but that do not hold together."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.access import check, records
from muniment.access.records import Actor
from muniment.errors import BundleInvalid
from muniment.evidence.store import Entry
from muniment.policy.decide import ask
from muniment.testing.cases import ROLE, Person, WrittenCase, WrittenLog, new_case


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written)


def refusal(case: WrittenCase) -> str:
    """Why a bundle of this case fails: always at step 11."""
    data = case.written.export(case.id)
    with pytest.raises(BundleInvalid) as caught:
        check.verify(data, case.written.key.verifier)
    assert caught.value.step == 11
    return str(caught.value)


def pending(case: WrittenCase) -> WrittenCase:
    case.requested()
    return case


def permit(case: WrittenCase, actor: records.Actor) -> None:
    """The policy lets this actor approve, whatever else is wrong with it."""
    decision = case.decision(ask(case.policy, case.access_facts()), "approve")
    record = replace(decision, actor=actor, outcome="permit", approvals={}, deadline=None)
    case.append(record, follows=[case.activated, case.role])


def approve_as(case: WrittenCase, person: Person, follows: list[Entry]) -> None:
    permit(case, person.actor)
    case.append(
        replace(
            case.approval(),
            actor=person.actor,
            approver=person.facts.id,
            person=person.facts.person,
        ),
        follows=follows,
    )


def decide_following(case: WrittenCase, *follows: Entry, **other: object) -> None:
    """A request whose decision follows these records, or says something else."""
    decision = ask(case.policy, case.access_facts())
    request = case.ana.actor
    case.append(
        records.AccessRequested(
            actor=request, requester=case.ana.facts.id, resource="orders-prod", role="readwrite",
            definition=case.role.header.documents[0], environment="production", seconds=1800,
            emergency=False,
        )
    )  # fmt: skip
    record = replace(case.decision(decision, "request"), **other)  # type: ignore[arg-type]
    case.append(record, follows=follows)


def test_every_stage_of_a_case_holds_and_says_how_it_stands(case: WrittenCase) -> None:
    states = []
    for step in ("requested", "approved", "authorized", "issued", "expired", "removed"):
        getattr(case, step)()
        data = case.written.export(case.id)
        states.append(check.verify(data, case.written.key.verifier).state.split(", ")[0])
    assert states == ["pending", "approved", "authorized", "issued", "expired", "expired"]


def test_an_approval_of_somebody_outside_the_group_does_not_hold(case: WrittenCase) -> None:
    dan = case.written.enrol("dan", "engineering")
    approve_as(pending(case), dan, [dan.enrolled])
    assert "groups that the approver was not in" in refusal(case)


def test_an_approval_of_an_inactive_lead_does_not_hold(case: WrittenCase) -> None:
    dan = case.written.enrol("dan", "sre-leads", active=False)
    approve_as(pending(case), dan, [dan.enrolled])
    assert "enrolled as an active human" in refusal(case)


def test_an_approval_that_rests_on_somebody_elses_enrolment_does_not_hold(
    case: WrittenCase,
) -> None:
    dan = case.written.enrol("dan", "engineering")
    approve_as(pending(case), dan, [case.cy.enrolled])
    assert "does not follow the enrolment" in refusal(case)


def test_an_approval_that_rests_on_nothing_does_not_hold(case: WrittenCase) -> None:
    approve_as(pending(case), case.cy, [])
    assert "does not follow the enrolment" in refusal(case)


def test_an_approval_in_another_persons_name_does_not_hold(case: WrittenCase) -> None:
    dan = case.written.enrol("dan", "sre-leads")
    pending(case)
    actor = replace(dan.actor, persons=(case.cy.facts.person,))
    permit(case, actor)
    case.append(
        replace(
            case.approval(),
            actor=actor,
            approver=dan.facts.id,
            person=case.cy.facts.person,
        ),
        follows=[dan.enrolled],
    )
    assert "enrolled as an active human" in refusal(case)


def test_an_approval_of_ones_own_request_does_not_fold(case: WrittenCase) -> None:
    approve_as(pending(case), case.ana, [case.ana.enrolled])
    assert "an approval by somebody who asked" in refusal(case)


def test_a_decision_that_names_another_policy_than_it_follows_does_not_hold(
    case: WrittenCase,
) -> None:
    decide_following(case, case.activated, case.role, case.ana.enrolled, bundle=bytes(32))
    assert "not made under the one policy" in refusal(case)


def test_a_decision_that_follows_no_policy_does_not_hold(case: WrittenCase) -> None:
    decide_following(case, case.role, case.ana.enrolled)
    assert "not made under the one policy" in refusal(case)


def test_a_decision_that_follows_no_role_does_not_hold(case: WrittenCase) -> None:
    decide_following(case, case.activated, case.ana.enrolled)
    assert "does not follow the role" in refusal(case)


def test_a_decision_on_another_definition_than_was_asked_for_does_not_hold(
    case: WrittenCase,
) -> None:
    wider = case.written.define(ROLE, b'{"connector":"postgresql","role":{"member_of":["dba"]}}')
    decide_following(case, case.activated, wider, case.ana.enrolled)
    assert "another definition of the role" in refusal(case)


def test_access_for_somebody_who_was_inactive_does_not_hold(case: WrittenCase) -> None:
    gone = records.PrincipalEnrolled(
        actor=records.SERVICE, type="human", person=case.ana.facts.person, active=False,
        groups=("engineering",), sponsor=None, source="file",
    )  # fmt: skip
    disabled = case.written.append(case.ana.facts.id, gone)
    decide_following(case, case.activated, case.role, disabled)
    assert "not active" in refusal(case)


def test_a_request_that_hides_the_person_behind_it_does_not_hold(case: WrittenCase) -> None:
    ana = case.ana
    case.ana = replace(ana, facts=replace(ana.facts, person=new_case("per")))
    decide_following(case, case.activated, case.role, ana.enrolled)
    assert "hides who asked" in refusal(case)


def test_an_agent_whose_sponsor_is_not_shown_does_not_hold(case: WrittenCase) -> None:
    agent_id, person = new_case("prn"), new_case("per")
    enrolled = records.PrincipalEnrolled(
        actor=records.SERVICE, type="agent", person=person, active=True, groups=(),
        sponsor=case.cy.facts.id, source="file",
    )  # fmt: skip
    agent = case.written.append(agent_id, enrolled)
    actor = Actor(
        principal=agent_id, type="agent", sponsor=case.cy.facts.id, persons=(person,),
        assurance="token",
    )  # fmt: skip
    decision = ask(case.policy, case.access_facts())
    case.append(
        records.AccessRequested(
            actor=actor, requester=agent_id, resource="orders-prod", role="readwrite",
            definition=case.role.header.documents[0], environment="production", seconds=1800,
            emergency=False,
        )
    )  # fmt: skip
    follows = [case.activated, case.role, agent, case.cy.enrolled]
    case.append(replace(case.decision(decision, "request"), actor=actor), follows=follows)
    assert "hides who stands behind it" in refusal(case)


def test_a_grant_without_its_approvals_does_not_fold(case: WrittenCase) -> None:
    pending(case).append(case.grant())
    assert "cannot follow in state `pending`" in refusal(case)


def test_a_longer_window_than_was_approved_does_not_fold(case: WrittenCase) -> None:
    pending(case).approved()
    grant = case.grant()
    case.append(replace(grant, until=grant.until + timedelta(seconds=1)))
    assert "longer than was approved" in refusal(case)


def test_a_policy_record_without_its_manifest_does_not_hold(case: WrittenCase) -> None:
    bare = records.PolicyActivated(
        actor=records.SERVICE, bundle=case.activated.header.documents[0], previous=None,
        source="file",
    )  # fmt: skip
    activated = case.written.append(new_case("pol"), bare)
    decide_following(case, activated, case.role, case.ana.enrolled)
    assert "does not hold its document" in refusal(case)


def test_a_case_of_another_kind_is_proved_but_not_folded(case: WrittenCase) -> None:
    data = case.written.export(case.ana.facts.id)
    checked = check.verify(data, case.written.key.verifier)
    assert (checked.case, checked.state) == (None, "`principal:enrolled`, not folded")
    assert any("no table of transitions" in phrase for phrase in checked.not_proved)


def test_durations_beyond_all_calendars_do_not_fold(case: WrittenCase) -> None:
    decide_following(
        case, case.activated, case.role, case.ana.enrolled, approvals={}, outcome="auto_approve",
        pickup_seconds=2**53 - 1,
    )  # fmt: skip
    assert "no possible length of time" in refusal(case)
