"""Who and what the log knows: a fold over its records, each with the head it was read at."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from lives import ANA, START, decision, leaf_of, request, sample

from muniment.access import records
from muniment.access.counters import counters, glass_counter
from muniment.access.records import PrincipalEnrolled, Record, RoleDefined
from muniment.access.registry import Registry
from muniment.evidence.record import Header
from muniment.evidence.store import Entry


class Told:
    """A registry, and the records it is told, in order."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.count = 0

    def take(self, case: str, record: Record, **changes: Any) -> Entry:
        header = Header(
            kind=record.KIND,
            fold=records.FOLD,
            case=case + "_" + "a" * 26,
            position=0,
            at=START + timedelta(seconds=self.count),
            body=record.body(),
            prev=None,
        )
        header = replace(header, **changes)
        entry = Entry(self.count, header.encode(), leaf_of(header), header)
        self.registry.take(entry)
        self.count += 1
        return entry


def person(**changes: Any) -> PrincipalEnrolled:
    enrolled = sample(PrincipalEnrolled, type="human", person="per_ana", groups=("eng",))
    return replace(enrolled, active=True, **changes)


def role(**changes: Any) -> RoleDefined:
    return sample(RoleDefined, resource="db", role="rw", **changes)


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_principal_is_as_it_was_last_enrolled(told: Told) -> None:
    told.take("prn", person())
    later = told.take("prn", person(groups=("eng", "leads")))
    known = told.registry.principals["prn_" + "a" * 26]
    assert known.groups == {"eng", "leads"}
    assert (known.head, known.leaf, known.index) == (later.leaf, later.leaf, 1)


def test_a_token_moves_the_head_of_its_principal_and_not_who_it_is(told: Told) -> None:
    enrolled = told.take("prn", person())
    token = told.take("prn", sample(records.TokenEnrolled, token=b"\x07" * 32))
    known = told.registry.principals["prn_" + "a" * 26]
    assert (known.head, known.leaf) == (token.leaf, enrolled.leaf)
    assert told.registry.tokens[b"\x07" * 32].principal == known.id
    gone = told.take("prn", sample(records.TokenRevoked, token=b"\x07" * 32))
    assert told.registry.tokens == {}
    assert told.registry.principals[known.id].head == gone.leaf


def test_a_token_that_nobody_knows_may_be_revoked(told: Told) -> None:
    told.take("prn", person())
    told.take("prn", sample(records.TokenRevoked, token=b"\x07" * 32))
    assert told.registry.tokens == {}


def test_a_withdrawn_role_is_gone_and_may_come_back(told: Told) -> None:
    told.take("rol", role())
    assert told.registry.role("db", "rw") is not None
    told.take("rol", sample(records.RoleWithdrawn))
    assert told.registry.role("db", "rw") is None
    again = told.take("rol", role(tier="prod"))
    found = told.registry.role("db", "rw")
    assert found is not None
    assert (found.head, found.tier) == (again.leaf, "prod")


def test_what_is_in_force_is_what_was_activated_last(told: Told) -> None:
    told.take("pol", sample(records.PolicyActivated, bundle=b"\x01" * 32))
    second = told.take("pol", sample(records.PolicyActivated, bundle=b"\x02" * 32))
    configuration = told.take("cfg", sample(records.ConfigChanged))
    assert told.registry.policy is not None
    assert (told.registry.policy.digest, told.registry.policy.head) == (b"\x02" * 32, second.leaf)
    assert told.registry.configuration is not None
    assert told.registry.configuration.head == configuration.leaf


def test_the_chain_of_an_agent_ends_with_its_sponsor(told: Told) -> None:
    told.take("prn", person())
    sponsor = "prn_" + "a" * 26
    agent = sample(PrincipalEnrolled, type="agent", person="per_ana", sponsor=sponsor)
    told.take("agt", agent)
    found = told.registry.principals["agt_" + "a" * 26]
    assert [link.id for link in told.registry.chain(found)] == [found.id, sponsor]
    assert told.registry.persons(found) == ("per_ana",)


def test_a_sponsor_that_nobody_knows_ends_the_chain(told: Told) -> None:
    told.take("agt", sample(PrincipalEnrolled, type="agent", sponsor="prn_nobody"))
    found = told.registry.principals["agt_" + "a" * 26]
    assert list(told.registry.chain(found)) == [found]


def test_breaking_glass_counts_once_for_everybody_in_the_chain(told: Told) -> None:
    actor = replace(ANA, persons=("per_ana", "per_bo"))
    told.take("mun", request(actor=actor, emergency=True))
    glass = told.take("mun", decision({}, actor=actor, outcome="break_glass"))
    told.take("mun", decision({}, actor=actor, outcome="break_glass", question="issue"))
    for who in ("per_ana", "per_bo"):
        assert told.registry.glass_since(who, START) == 1
        assert told.registry.glass_since(who, glass.header.at + timedelta(seconds=1)) == 0
        assert told.registry.glass_since(who, START, before=glass.header.at) == 0
    assert list(counters(glass.header)) == [glass_counter("per_ana"), glass_counter("per_bo")]


def test_asking_to_break_glass_in_vain_does_not_count(told: Told) -> None:
    asked = told.take("mun", request(emergency=True))
    denied = told.take("mun", decision({}, outcome="deny"))
    assert told.registry.glass_since("per_ana", START) == 0
    assert [*counters(asked.header), *counters(denied.header)] == []


def test_a_grant_is_remembered_until_its_case_is_closed(told: Told) -> None:
    told.take("mun", request())
    until = START + timedelta(minutes=30)
    told.take("mun", sample(records.GrantAuthorized, until=until))
    case = "mun_" + "a" * 26
    assert told.registry.grants[case].until == until
    assert told.registry.grants[case].resource == "orders-prod"
    told.take("mun", sample(records.GrantExtended, until=until + timedelta(minutes=5)))
    assert told.registry.grants[case].until == until + timedelta(minutes=5)
    told.take("mun", sample(records.GrantRevoked))
    assert told.registry.grants[case].ended
    told.take("mun", sample(records.CaseClosed))
    assert told.registry.grants == {}
    assert told.registry.open_cases == {}


def test_a_review_is_found_by_the_case_that_it_is_about(told: Told) -> None:
    review = told.take("rev", sample(records.ReviewOpened, about="mun_x"))
    assert told.registry.reviews == {"mun_x": review.header.case}


def test_the_log_is_a_case_with_a_head(told: Told) -> None:
    told.take("log", sample(records.LogStarted))
    beat = told.take("log", sample(records.LogHeartbeat))
    assert (told.registry.log_case, told.registry.log_head) == ("log_" + "a" * 26, beat.leaf)


def test_records_of_no_interest_change_nothing(told: Told) -> None:
    told.take("exp", sample(records.EvidenceExported))
    assert told.registry == Registry()


def test_followed_records_are_found_by_their_leaf(told: Told) -> None:
    entry = told.take("prn", person())
    assert told.registry.indexes == {entry.leaf: 0}
    assert sha256(b"\0" + entry.data).digest() == entry.leaf
