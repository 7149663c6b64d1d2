"""What no case can be, whatever stands in the log: one test for each refusal of the fold."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from lives import (
    ADA,
    ANA,
    BO,
    CAPABILITIES,
    CY,
    GONE,
    LOG,
    START,
    Life,
    decision,
    removal,
    request,
)

from muniment.access import lifecycle, records
from muniment.access.case import AccessCase
from muniment.access.records import Actor, EndpointView, Record
from muniment.errors import FoldInvalid

OTHER = sha256(b"other").digest()
HALF_AN_HOUR = timedelta(minutes=30)


def refused(life: Life, record: Record, **header: object) -> str:
    with pytest.raises(FoldInvalid) as caught:
        life.then(record, **header)
    return str(caught.value)


# --- places -----------------------------------------------------------------------------------


def test_a_record_that_skips_a_position_does_not_fold() -> None:
    assert "is not record 1" in refused(Life().requested(), decision({}), position=2)


def test_a_record_of_another_case_does_not_fold() -> None:
    other = "mun_" + "b" * 26
    assert "is not record 1" in refused(Life().requested(), decision({}), case=other)


def test_a_record_before_its_predecessor_in_time_does_not_fold() -> None:
    early = START - timedelta(milliseconds=1)
    assert "earlier than the record before" in refused(Life().requested(), decision({}), at=early)


def test_a_record_of_an_unknown_fold_version_does_not_fold() -> None:
    assert "version 2 is unknown" in refused(Life(), request(), fold=2)


def test_a_section_that_its_kind_does_not_know_does_not_fold() -> None:
    assert "section that its kind does not know" in refused(
        Life(), request(), sections={"note": OTHER}
    )


def test_a_case_without_a_request_has_nothing_to_approve() -> None:
    with pytest.raises(FoldInvalid, match="without a request"):
        _ = AccessCase(log_id=LOG).current
    with pytest.raises(FoldInvalid, match="without a request"):
        _ = AccessCase(log_id=LOG).requested


# --- asking and deciding ----------------------------------------------------------------------


def test_nobody_asks_in_somebody_elses_name() -> None:
    assert "somebody else" in refused(Life(), request(requester="prn_bo"))


def test_a_request_names_a_person() -> None:
    nobody = replace(ANA, persons=())
    assert "without a person" in refused(Life(), request(actor=nobody))


@pytest.mark.parametrize("seconds", [0, -1, 2**53 - 1])
def test_a_window_has_a_possible_length(seconds: int) -> None:
    assert "no possible length" in refused(Life(), request(seconds=seconds))


def test_a_request_is_decided_once() -> None:
    assert "decision on `request`" in refused(Life().pending(), decision({"leads": 1}))


@pytest.mark.parametrize("question", ["issue", "approve", "extend", "operate", ""])
def test_the_first_decision_is_on_the_request(question: str) -> None:
    assert "a decision on" in refused(Life().requested(), decision({}, question=question))


def test_a_question_that_nobody_asks_is_no_decision() -> None:
    pending = Life().pending()
    assert "as an answer to `operate`" in refused(
        pending, decision({}, question="operate", outcome="permit")
    )


@pytest.mark.parametrize("outcome", ["permit", "", "approved"])
def test_an_outcome_is_one_that_its_question_has(outcome: str) -> None:
    assert "as an answer to `request`" in refused(Life().requested(), decision({}, outcome=outcome))


@pytest.mark.parametrize(
    ("outcome", "approvals"), [("auto_approve", {"leads": 1}), ("needs_approvals", {})]
)
def test_an_outcome_agrees_with_the_approvals_it_takes(
    outcome: str, approvals: dict[str, int]
) -> None:
    assert "contradict" in refused(Life().requested(), decision(approvals, outcome=outcome))


def test_a_window_longer_than_its_rules_allow_is_not_decided() -> None:
    assert "longer than its rules" in refused(Life().requested(), decision({}, max_seconds=1799))


def test_nobody_breaks_glass_without_having_asked_for_it() -> None:
    assert "nobody asked for" in refused(Life().requested(), decision({}, outcome="break_glass"))
    glass = Life().requested(emergency=True).decided(outcome="break_glass")
    assert glass.case.break_glass
    assert glass.case.state == "approved"


def test_a_denied_case_keeps_what_was_demanded_and_gives_nothing() -> None:
    denied = Life().requested().decided(outcome="deny")
    assert denied.case.state == "denied"
    assert not lifecycle.possible(denied.case, records.GrantAuthorized)


def test_the_pick_up_waits_from_the_approval_and_not_from_the_request() -> None:
    approved = Life().approved()
    ask = approved.case.ask
    assert ask is not None
    assert ask.deadline == START + timedelta(seconds=3) + timedelta(hours=1)


# --- approving --------------------------------------------------------------------------------


def test_an_approval_is_given_by_a_human() -> None:
    pending = Life().pending()
    assert "no person gave" in refused(pending, pending.approval(replace(BO, type="agent")))
    assert "no person gave" in refused(pending, pending.refusal(actor=replace(BO, type="workload")))


def test_an_approval_is_given_in_ones_own_name() -> None:
    pending = Life().pending()
    assert "somebody else's name" in refused(pending, pending.approval(approver="prn_cy"))
    assert "another person's name" in refused(pending, pending.approval(person="per_cy"))


@pytest.mark.parametrize("persons", [("per_bo",), ("per_ana", "per_bo")])
def test_nobody_of_the_actor_chain_approves(persons: tuple[str, ...]) -> None:
    pending = Life().requested(actor=replace(ANA, persons=persons)).decided({"leads": 1})
    assert "by somebody who asked" in refused(pending, pending.approval(BO))


def test_a_second_account_of_the_requester_does_not_approve() -> None:
    pending = Life().pending()
    second = Actor(
        principal="prn_ana2", type="human", sponsor=None, persons=("per_ana",), assurance="token"
    )
    assert "by somebody who asked" in refused(pending, pending.approval(second))


def test_nobody_approves_twice_also_not_through_two_accounts() -> None:
    once = Life().pending({"leads": 2}).given(BO)
    assert "two approvals by one person" in refused(once, once.approval(BO))
    second = replace(BO, principal="prn_bo2")
    assert "two approvals by one person" in refused(once, once.approval(second))


def test_an_approval_of_other_terms_counts_for_nothing() -> None:
    pending = Life().pending()
    assert "other terms" in refused(pending, pending.approval(terms=OTHER))
    assert "other terms" in refused(pending, pending.refusal(terms=OTHER))


def test_an_approval_counts_for_groups_that_are_required() -> None:
    pending = Life().pending()
    assert "for no group" in refused(pending, replace(pending.approval(), groups=()))
    assert "not required" in refused(pending, pending.approval(BO, "leads", "friends"))


def test_nothing_but_an_extension_is_approved_while_a_grant_is_live() -> None:
    live, terms = Life().live(), Life().pending().case.current.terms
    approval = replace(Life().pending().approval(), terms=terms)
    assert "nothing waits" in refused(live, approval)


def test_one_person_in_two_groups_counts_once() -> None:
    both = {"leads": 1, "owners": 1}
    one = Life().pending(both).given(BO, "leads", "owners")
    assert one.case.state == "pending"
    assert one.given(CY, "leads").case.state == "approved"


def test_whoever_could_stand_for_two_groups_stands_where_he_is_needed() -> None:
    both = {"leads": 1, "owners": 1}
    first = Life().pending(both).given(BO, "leads", "owners")
    assert first.given(CY, "owners").case.state == "approved"


def test_withdrawing_is_for_whoever_asked() -> None:
    pending = Life().pending()
    assert "somebody else" in refused(pending, records.AccessWithdrawn(actor=BO))
    other_account = replace(ANA, principal="prn_ana2")
    assert pending.then(records.AccessWithdrawn(actor=other_account)).case.state == "withdrawn"


# --- asking again at issue --------------------------------------------------------------------


def test_a_stricter_policy_at_issue_sends_the_case_back_to_pending() -> None:
    again = Life().approved().decided({"leads": 2}, question="issue", standing=("per_bo",))
    assert again.case.state == "pending"
    assert again.case.waits_for == {"leads": 1}


def test_a_laxer_policy_at_issue_does_not_undo_the_recorded_requirement() -> None:
    again = Life().approved().decided({}, question="issue", standing=())
    assert again.case.state == "pending"
    assert again.case.waits_for == {"leads": 1}


def test_an_approval_that_no_longer_stands_is_to_be_given_anew() -> None:
    again = Life().approved().decided({"leads": 1}, question="issue", standing=())
    assert again.case.state == "pending"
    assert again.given(BO).case.state == "approved"


def test_a_shorter_maximum_at_issue_shortens_the_window() -> None:
    again = (
        Life()
        .approved()
        .decided({"leads": 1}, question="issue", standing=("per_bo",), max_seconds=600)
    )
    assert "longer than was approved" in refused(again, again.grant())
    short = again.grant(until=again.at + timedelta(seconds=600))
    assert again.then(short).case.state == "authorized"


def test_a_denial_at_issue_leaves_the_case_as_it_was() -> None:
    denied = Life().approved().decided(question="issue", outcome="deny")
    assert denied.case.state == "approved"


# --- granting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda g: replace(g, terms=OTHER), "other terms"),
        (lambda g: replace(g, definition=OTHER), "another role definition"),
        (lambda g: replace(g, satisfied={}), "misstates its approvals"),
        (lambda g: replace(g, satisfied={"leads": 2}), "misstates its approvals"),
        (lambda g: replace(g, until=g.until + timedelta(milliseconds=1)), "longer than was"),
        (lambda g: replace(g, until=g.starts), "longer than was approved"),
        (
            lambda g: replace(
                g, starts=g.starts + timedelta(seconds=1), until=g.until + timedelta(seconds=1)
            ),
            "begins in the future",
        ),
    ],
)
def test_a_grant_is_what_was_approved_and_nothing_else(
    change: Callable[[records.GrantAuthorized], records.GrantAuthorized], why: str
) -> None:
    approved = Life().approved()
    assert why in refused(approved, change(approved.grant()))


def test_a_credential_needs_an_open_order() -> None:
    live = Life().live()
    assert "nothing authorised" in refused(live, removal_free_credential())
    assert "failure of nothing" in refused(
        live, records.CredentialFailed(actor=records.SERVICE, reason="timeout")
    )


def removal_free_credential() -> records.CredentialIssued:
    return records.CredentialIssued(
        actor=records.SERVICE, account="a", target="7411", fingerprint=OTHER, native_expiry=None,
        capabilities=CAPABILITIES,
    )  # fmt: skip


def test_a_rotated_credential_is_of_the_same_target() -> None:
    again = Life().live().authorized()
    other = replace(removal_free_credential(), target="9999")
    assert "another target" in refused(again, other)
    assert again.issued().case.state == "issued"


def test_a_second_pick_up_does_not_move_the_window() -> None:
    live = Life().live()
    later = live.grant(until=live.grant().until + timedelta(seconds=1))
    assert "a moved window" in refused(live, later)
    assert "a moved window" in refused(live, live.grant(starts=START))
    assert live.authorized().case.until == live.case.until


def test_a_grant_whose_credential_was_handed_out_is_not_undone() -> None:
    auto = Life().approved().authorized()
    undone = records.GrantUndone(actor=records.SERVICE)
    assert auto.then(undone).case.state == "undone"
    with pytest.raises(FoldInvalid):
        auto.issued().then(undone)


# --- extending --------------------------------------------------------------------------------


def test_one_extension_is_open_at_a_time() -> None:
    extending = Life().live().extending(approvals={"leads": 1})
    again = records.ExtensionRequested(actor=ANA, seconds=3000)
    assert "second extension" in refused(extending, again)


def test_an_extension_is_asked_for_by_its_holder() -> None:
    asked = records.ExtensionRequested(actor=BO, seconds=3000)
    assert "somebody else" in refused(Life().live(), asked)


def test_an_extension_is_decided_after_it_was_asked_for() -> None:
    decided = decision({}, question="extend")
    assert "no extension was asked for" in refused(Life().live(), decided)


def test_an_extension_longer_than_its_rules_allow_is_not_decided() -> None:
    asked = Life().live().then(records.ExtensionRequested(actor=ANA, seconds=3000))
    assert "longer than its rules" in refused(
        asked, decision({}, question="extend", max_seconds=2999)
    )


def test_a_denied_extension_leaves_the_grant_as_it_was() -> None:
    live = Life().live()
    asked = live.then(records.ExtensionRequested(actor=ANA, seconds=9000))
    denied = asked.decided(question="extend", outcome="deny")
    assert denied.case.extension is None
    assert denied.case.until == live.case.until


def test_an_extension_takes_its_approvals() -> None:
    extending = Life().live().extending(approvals={"leads": 1})
    assert "without its approvals" in refused(extending, extending.extension())
    ready = extending.given(CY)
    assert "misstates" in refused(ready, ready.extension(satisfied={}))
    assert "other terms" in refused(ready, ready.extension(terms=OTHER))
    extended = ready.then(ready.extension())
    assert extended.case.until == (extended.case.starts or START) + timedelta(seconds=2400)
    assert extended.case.extension is None


def test_an_extension_moves_the_window_no_further_than_was_approved() -> None:
    ready = Life().live().extending()
    late = ready.extension().until + timedelta(milliseconds=1)
    assert "longer than was approved" in refused(ready, ready.extension(until=late))


def test_an_extension_without_a_request_for_it_does_not_fold() -> None:
    live = Life().live()
    assert "nobody asked for" in refused(live, live.extension())


def test_terms_of_an_extension_are_bound_to_those_of_the_request() -> None:
    live = Life().live()
    assert live.extending().case.current.terms != live.case.current.terms


def test_a_refused_extension_leaves_the_grant_live() -> None:
    extending = Life().live().extending(approvals={"leads": 1})
    after = extending.then(extending.refusal())
    assert after.case.state == "issued"
    assert after.case.extension is None


# --- ending -----------------------------------------------------------------------------------


def test_an_expiry_is_at_the_end_of_the_window() -> None:
    live = Life().live()
    early = records.GrantExpired(actor=records.SERVICE, due=START)
    assert "another moment" in refused(live, early)
    assert live.expired().case.ended_at == live.case.until


def test_whoever_does_not_hold_it_does_not_end_but_revoke_it() -> None:
    live = Life().live()
    assert "does not hold it" in refused(live, records.GrantEnded(actor=ADA))
    assert live.then(records.GrantRevoked(actor=ADA)).case.state == "revoked"


def test_an_end_drops_an_extension_that_waited() -> None:
    extending = Life().live().extending(approvals={"leads": 1})
    assert extending.expired().case.extension is None
    assert extending.expired().case.waits_for == {}


def test_what_must_end_says_when_until_it_has_ended() -> None:
    live = Life().live()
    assert live.case.must_end_at == live.case.until
    assert live.expired().case.must_end_at is None


def test_a_revoked_approval_has_nothing_to_remove() -> None:
    revoked = Life().approved().then(records.GrantRevoked(actor=ADA))
    assert revoked.case.removal == "nothing"
    assert revoked.closed().case.closed


@pytest.mark.parametrize(
    "views",
    [
        (replace(GONE, saw_itself=False),),
        (replace(GONE, accounts=1),),
        (replace(GONE, sessions=1),),
        (replace(GONE, trouble="no answer"),),
        (GONE, replace(GONE, endpoint="replica", accounts=1)),
    ],
)
def test_a_look_that_saw_something_left_verifies_nothing(views: tuple[EndpointView, ...]) -> None:
    assert "did not show that nothing is left" in refused(Life().live().expired(), removal(*views))


def test_a_removal_looked_somewhere() -> None:
    nowhere = replace(removal(), endpoints=())
    assert "looked nowhere" in refused(Life().approved().authorized().expired(), nowhere)


@pytest.mark.parametrize(
    "views",
    [(GONE,), (replace(GONE, endpoint="replica"), GONE), (GONE, replace(GONE, endpoint="other"))],
)
def test_a_removal_looked_at_every_endpoint_of_the_issue(views: tuple[EndpointView, ...]) -> None:
    assert "looked elsewhere" in refused(Life().live().expired(), removal(*views))


def test_a_removal_looked_at_the_target_of_the_issue() -> None:
    other = replace(GONE, target="9999")
    views = (other, replace(other, endpoint="replica"))
    assert "another target" in refused(Life().live().expired(), removal(*views))


def test_a_grant_is_not_closed_before_its_removal_was_seen() -> None:
    expired = Life().live().expired()
    closing = records.CaseClosed(actor=records.SERVICE, records=expired.case.length + 1)
    assert "before its removal was seen" in refused(expired, closing)
    assert expired.verified().closed().case.closed


def test_a_closing_counts_the_records() -> None:
    denied = Life().requested().decided(outcome="deny")
    for count in (0, 2, 4):
        closing = records.CaseClosed(actor=records.SERVICE, records=count)
        assert "miscounts" in refused(denied, closing)


def test_numbers_beyond_all_calendars_do_not_fold() -> None:
    huge = 2**53 - 1
    assert "no possible length" in refused(
        Life().requested(), decision({}, max_seconds=huge, pickup_seconds=huge)
    )
    assert "no possible length" in refused(
        Life().live(), records.ExtensionRequested(actor=ANA, seconds=huge)
    )
