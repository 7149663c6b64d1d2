"""What is uncertain denies, and two invariants hold under every bundle."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import policy_bundles as given
import pytest

from muniment.errors import Malformed
from muniment.evidence import canonical
from muniment.policy import bundle, decide, engine
from muniment.policy.questions import (
    OPERATIONS,
    AccessFacts,
    Incident,
    Kind,
    Mfa,
    OperateFacts,
    PrincipalFacts,
    Reference,
    Tier,
)

OVERFLOW = "when { context.breakGlassLast30d * 9223372036854775807 > 1 }"
EVERYTHING = '@id("all") permit (principal, action, resource);'


def test_a_forbid_that_errs_denies_though_cedar_skips_it() -> None:
    rule = f'@id("err") forbid (principal, action == Muniment::Action::"request", resource) {OVERFLOW};'
    loaded = given.load_rules(given.MINIMAL.decode() + rule)
    assert decide.ask(loaded, given.an_access(given.a_human("ana"))).outcome == "auto_approve"
    decision = decide.ask(loaded, given.an_access(given.a_human("ana"), glass=2))
    assert decision.steps[0].decision == "Allow"
    assert decision.outcome == "deny"
    assert "`err`" in decision.why[0]
    assert decision.approvals == {}


def test_a_requirement_that_errs_denies_though_others_are_satisfied() -> None:
    rule = f"""@id("err") @approvals("security:2")
permit (principal, action == Muniment::Action::"require", resource) {OVERFLOW};"""
    loaded = given.load_rules(given.MINIMAL.decode() + rule)
    decision = decide.ask(loaded, given.an_access(given.a_human("ana"), glass=2))
    assert decision.outcome == "deny"
    assert "prn_ana may not require: not evaluated" in decision.why[0]


def test_an_input_that_the_engine_does_not_accept_denies() -> None:
    loaded = given.load_rules(EVERYTHING)
    facts = replace(given.an_access(given.a_human("ana")), now="2026-13-99T10:00:00.000Z")
    decision = decide.ask(loaded, facts)
    assert decision.outcome == "deny"
    assert {step.decision for step in decision.steps} == {"NoDecision"}


def test_entities_that_the_schema_does_not_accept_deny() -> None:
    # load refuses such a schema; this is what would happen to one that slipped through
    loaded = given.load_rules(EVERYTHING)
    narrow = given.SCHEMA.replace(b'"kind": String,', b"")
    broken = replace(loaded, schema=engine.schema(narrow.decode()))
    decision = decide.ask(broken, given.an_access(given.a_human("ana")))
    assert decision.outcome == "deny"
    assert "not evaluated: entities: " in decision.why[0]


@pytest.mark.parametrize("kind", ["agent", "workload"])
def test_only_humans_approve_whatever_the_rules_say(kind: Kind) -> None:
    loaded = given.load_rules(EVERYTHING)
    approver = replace(given.a_human("cy", "sre-leads"), kind=kind, sponsor=None)
    decision = decide.ask_approve(loaded, given.an_approval(approver, "ana", "sre-leads"))
    assert decision.outcome == "deny"
    assert decision.steps[0].decision == "NoDecision"


@pytest.mark.parametrize(
    "approver",
    [
        given.a_human("ana", "sre-leads"),
        replace(given.a_human("other", "sre-leads"), person="per_ana"),
        replace(given.a_human("ana", "sre-leads"), person="per_other"),
        replace(given.a_human("boss", "sre-leads"), person="per_owner"),
    ],
)
def test_nobody_in_the_actor_chain_approves_under_the_most_generous_bundle(
    approver: PrincipalFacts,
) -> None:
    loaded = given.load_rules(EVERYTHING)
    facts = given.an_approval(approver, "ana", "sre-leads")
    facts = replace(facts, persons=facts.persons | {"per_owner"})
    decision = decide.ask_approve(loaded, facts)
    assert decision.outcome == "deny"
    assert [rule.id for rule in decision.rules] == ["all", "muniment:actor-chain"]
    assert "muniment:actor-chain" in decision.why[0]


def test_a_colleague_approves_under_the_most_generous_bundle() -> None:
    loaded = given.load_rules(EVERYTHING)
    facts = given.an_approval(given.a_human("cy"), "ana", "sre-leads")
    assert decide.ask_approve(loaded, facts).outcome == "permit"


@pytest.mark.parametrize(
    ("agent", "sponsor"),
    [
        (given.an_agent("bot", "ana"), given.a_human("bo")),
        (given.an_agent("bot", None), given.a_human("bo")),
        (given.an_agent("bot", "ana"), None),
    ],
)
@pytest.mark.parametrize("emergency", [False, True])
def test_an_agent_gets_nothing_for_anybody_but_its_own_sponsor(
    agent: PrincipalFacts, sponsor: PrincipalFacts | None, emergency: bool
) -> None:
    glass = '@max_duration("PT1H") @id("glass") permit (principal, action == Muniment::Action::"breakGlass", resource);'
    loaded = given.load_rules(given.MINIMAL.decode() + glass)
    decision = decide.ask(loaded, given.an_access(agent, sponsor, emergency=emergency))
    assert decision.outcome == "deny"
    assert "muniment:sponsor" in [rule.id for rule in decision.rules]


def test_an_agent_gets_what_both_it_and_its_sponsor_may_have() -> None:
    loaded = given.load_rules(given.MINIMAL)
    facts = given.an_access(given.an_agent("bot", "ana"), given.a_human("ana"))
    decision = decide.ask(loaded, facts)
    assert decision.outcome == "auto_approve"
    assert [(step.action, step.principal["id"]) for step in decision.steps] == [
        ("request", "prn_bot"),
        ("require", "prn_bot"),
        ("request", "prn_ana"),
        ("require", "prn_ana"),
    ]


def test_an_inactive_sponsor_denies_his_agent() -> None:
    loaded = given.load_rules(
        given.MINIMAL.decode()
        + '@id("active") forbid (principal, action, resource) unless { principal.active };'
    )
    facts = given.an_access(given.an_agent("bot", "ana"), given.a_human("ana", active=False))
    assert decide.ask(loaded, facts).why[0] == "prn_ana may not request: active"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_rule_about_an_operation_denies_it(operation: str) -> None:
    loaded = given.load_rules(given.MINIMAL)
    facts = given.an_operation(given.a_human("ana", "muniment-admins"), operation)
    assert decide.ask_operate(loaded, facts).why == ("prn_ana may not operate: no rule permits it",)


def test_the_same_facts_give_the_same_bytes_however_they_are_shuffled() -> None:
    files = list(given.fifteen_files().items())
    names = [f"group-{number}" for number in range(20)] + ["engineering", "sre", "sre-oncall"]
    case = given.fifteen_cases()[4].facts
    assert isinstance(case, AccessFacts)
    chance = random.Random(7)
    seen = set()
    for _ in range(30):
        chance.shuffle(files)
        chance.shuffle(names)
        loaded = bundle.load(dict(files), groups=given.APPROVERS)
        requester = replace(case.requester, groups=frozenset(list(names)))
        seen.add(decide.ask(loaded, replace(case, requester=requester)).content())
    assert len(seen) == 1


def test_a_step_gives_its_rules_in_order_each_time() -> None:
    loaded = given.fifteen_bundle()
    facts = given.fifteen_cases()[4].facts
    assert len({decide.ask(loaded, facts).content() for _ in range(200)}) == 1


def test_every_question_has_the_answer_that_the_whole_bundle_would_give() -> None:
    loaded = given.fifteen_bundle()
    whole = engine.slice_of({rule.id: engine.rule_json(rule.text) for rule in loaded.rules})
    unsliced = replace(loaded, slices=dict.fromkeys(loaded.slices, whole))
    for case in given.fifteen_cases().values():
        assert (
            decide.ask(unsliced, case.facts).content() == decide.ask(loaded, case.facts).content()
        )


def test_the_record_holds_all_that_the_engine_saw() -> None:
    content = decide.ask(given.fifteen_bundle(), given.fifteen_cases()[3].facts).content()
    record = json.loads(content)
    assert canonical.encode(record) == content
    assert record["engine"] == {"name": "cedar", "binding": engine.BINDING}
    assert sorted(record) == [
        "bundle",
        "engine",
        "input",
        "obligations",
        "outcome",
        "questions",
        "rules",
        "steps",
        "v",
        "why",
    ]
    assert sorted(record["input"]) == ["context", "entities", "facts", "kind", "resource"]
    assert record["input"]["facts"]["ticket"] == {"id": "OPS-12", "source": "hook", "state": "open"}
    assert record["obligations"]["approvals"] == {"sre-leads": {"count": 1, "rule": "require.prod"}}
    rule = record["rules"][0]
    assert rule["file"] == "policies/10-request.cedar"
    assert rule["line"] == 12
    assert rule["text"].startswith('@id("request.sre-prod")')


def test_the_header_is_small_ascii_and_names_no_person() -> None:
    decision = decide.ask(given.fifteen_bundle(), given.fifteen_cases()[4].facts)
    header = decision.header()
    text = canonical.encode(header)
    assert text.isascii()
    assert b"prn_" not in text
    assert b"per_" not in text
    assert header == {
        "outcome": "needs_approvals",
        "bundle": given.fifteen_bundle().digest,
        "engine": engine.BINDING,
        "rules": [
            "request.sre-prod",
            "require.off-hours-prod",
            "require.prod",
            "require.restricted-data",
        ],
        "approvals": {"data-owners": 1, "security": 1, "sre-leads": 1},
        "max_seconds": 1800,
        "requires": ["session-recording"],
        "notifies": ["security-duty"],
    }


def test_a_denial_carries_no_obligations() -> None:
    decision = decide.ask(given.fifteen_bundle(), given.fifteen_cases()[5].facts)
    assert decision.approvals == {}
    assert decision.max_seconds is None
    assert "max_seconds" not in decision.header()


def test_what_is_no_possible_fact_cannot_be_asked_about() -> None:
    ana = given.a_human("ana")
    attempts: list[Callable[[], object]] = [
        lambda: replace(ana, id="ana"),
        lambda: replace(ana, person="prn_ana"),
        lambda: replace(ana, id='prn_a" || true'),
        lambda: replace(ana, groups=frozenset(("a\nb",))),
        lambda: replace(ana, kind=cast("Kind", "robot")),
        lambda: replace(ana, attested=True),
        lambda: replace(ana, kind="workload", sponsor="prn_bo"),
        lambda: replace(given.A_ROLE, tier=cast("Tier", "qa")),
        lambda: replace(given.A_ROLE, resource="a/b"),
        lambda: replace(given.an_access(ana), seconds=0),
        lambda: replace(given.an_access(ana), now="2026-11-21T10:00:00Z"),
        lambda: replace(given.an_access(ana), break_glass_last_30d=-1),
        lambda: replace(given.an_access(ana), sponsor=ana),
        lambda: given.an_access(given.an_agent("bot", "ana"), given.an_agent("bo", "ana")),
        lambda: Mfa(age_seconds=-1, phishing_resistant=True),
        lambda: Reference(id="my printer is broken", state="open", source="hook"),
        lambda: Incident(id="x", severity=2**63, open=True, source="hook"),
        lambda: given.an_operation(ana, "destroy"),
    ]
    for attempt in attempts:
        with pytest.raises(Malformed, match=r"^not an? |^only |no time at all"):
            attempt()


def test_a_sponsor_is_no_fact_about_a_human() -> None:
    with pytest.raises(Malformed, match="only an agent asks on behalf"):
        given.an_access(given.a_human("ana"), given.a_human("bo"))


def test_one_entry_asks_whichever_question_the_facts_are_for() -> None:
    loaded = given.load_rules(EVERYTHING)
    facts: OperateFacts = given.an_operation(given.a_human("ana"), "read", "bo")
    assert decide.ask(loaded, facts).outcome == "permit"
