"""A year of ordinary life: detectors are silent about it, and find each fault planted in it."""

import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise

import pytest

from muniment.oversight.detectors import BUILT_IN
from muniment.oversight.fact import Fact, fact
from muniment.oversight.watch import Backtest, Watch, backtest, replay
from muniment.testing.ordinary_year import OrdinaryYear
from muniment.testing.planted_faults import FAULTS, Planted

RULES = [detector.rule.id for detector in BUILT_IN]
SMALL = 1000


def lived(year: OrdinaryYear) -> Backtest:
    return backtest(year.facts(), BUILT_IN, {}, year.working_days)


def noisy(found: Backtest) -> dict[str, tuple[int, int]]:
    return {id: (result.hits, result.of) for id, result in found.results.items() if result.is_noisy}


def missed(year: OrdinaryYear, planted: Iterable[Planted]) -> list[Planted]:
    """Those that no hit of the rule which must find them names as its evidence."""
    evidence: dict[str, set[str]] = {}
    for hit in replay(year.facts(), Watch(BUILT_IN, {}, year.working_days)):
        evidence.setdefault(hit.rule, set()).update(hit.evidence)
    return [each for each in planted if not each.refs & evidence.get(each.rule, set())]


@pytest.fixture(scope="module")
def small() -> list[Fact]:
    return list(OrdinaryYear(grants=SMALL).facts())


def test_facts_come_in_their_order_and_have_the_values_of_their_type(small: list[Fact]) -> None:
    assert all(before.at <= after.at for before, after in pairwise(small))
    for each in small:
        fact(each.flat())
    assert len({each.ref for each in small}) == len(small)


def test_the_year_has_what_a_year_has(small: list[Fact]) -> None:
    count = Counter(each.type for each in small)
    assert 0.8 * SMALL < count["grant.issued"] < 1.25 * SMALL
    assert count["log.heartbeat"] == 8760
    for type in (
        "approval.refused", "grant.extended", "incident.opened", "control.changed", "deployment",
        "grant.over", "removal.verified", "activity",
    ):  # fmt: skip
        assert count[type], type
    zones = {each.text("zone") for each in small if each.type == "request.made"}
    assert len(zones) > 2
    kinds = {each.text("kind") for each in small if each.type == "request.made"}
    assert kinds == {"human", "agent", "workload"}


def test_the_same_seed_gives_the_same_year_and_another_one_another(small: list[Fact]) -> None:
    assert list(OrdinaryYear(grants=SMALL).facts()) == small
    assert list(OrdinaryYear(grants=SMALL, seed=2).facts()) != small


def test_every_rule_has_a_fault_that_it_must_find() -> None:
    assert set(FAULTS) == set(RULES)


def test_in_a_small_year_no_rule_is_noisier_than_it_says() -> None:
    assert noisy(lived(OrdinaryYear(grants=SMALL))) == {}


def test_in_a_small_year_a_planted_fault_of_each_kind_is_found() -> None:
    year = OrdinaryYear(grants=2 * SMALL)  # in half of that nobody asks often enough to have hours
    planted = [each for rule in RULES for each in year.plant(rule, 1, seed=1)]
    assert missed(year, planted) == []


def test_rules_without_an_expected_rate_have_no_hit_at_all() -> None:
    found = lived(OrdinaryYear(grants=SMALL))
    silent = [detector.rule.id for detector in BUILT_IN if not detector.rule.expected]
    assert len(silent) >= 6
    assert {id: found.results[id].hits for id in silent} == dict.fromkeys(silent, 0)


def findings(facts: Iterable[Fact], year: OrdinaryYear) -> set[tuple[str, str]]:
    watch = Watch(BUILT_IN, {}, year.working_days)
    return {(hit.rule, hit.key) for hit in replay(facts, watch)}


def test_sources_that_are_late_change_no_finding() -> None:
    year = OrdinaryYear(grants=SMALL)
    for rule in RULES:
        year.plant(rule, 1, seed=2)
    facts, rng = list(year.facts()), random.Random(1)
    late = {"activity", "deployment", "incident.opened", "incident.closed"}
    arrivals = [
        each.at + timedelta(seconds=rng.randrange(3600)) * (each.type in late) for each in facts
    ]
    order = sorted(range(len(facts)), key=arrivals.__getitem__)
    assert order != sorted(order)
    assert findings([facts[n] for n in order], year) == findings(facts, year)


@pytest.mark.deep
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_an_ordinary_year_no_rule_is_noisier_than_it_says(seed: int) -> None:
    assert noisy(lived(OrdinaryYear(seed=seed))) == {}


@pytest.mark.deep
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_an_ordinary_year_five_faults_of_each_kind_are_found(seed: int) -> None:
    year = OrdinaryYear(seed=seed)
    planted = [each for rule in RULES for each in year.plant(rule, 5, seed)]
    assert missed(year, planted) == []
