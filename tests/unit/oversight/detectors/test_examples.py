"""Every rule carries examples: those that fire, those that are ordinary life, and the boundary."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from muniment.oversight import detectors
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import SEVERITIES, Detector, Example, Hit
from muniment.oversight.detectors import BUILT_IN
from muniment.oversight.fact import FACTS, Fact, fact
from muniment.oversight.watch import Watch, replay

EXAMPLES = [(detector, example) for detector in BUILT_IN for example in detector.rule.examples]
NAMES = [f"{detector.rule.id}: {example.says}" for detector, example in EXAMPLES]
of_each_rule = pytest.mark.parametrize(
    "detector", BUILT_IN, ids=[detector.rule.id for detector in BUILT_IN]
)


def facts_of(example: Example) -> list[Fact]:
    return [fact({**flat, "ref": f"fact-{n}"}) for n, flat in enumerate(example.facts)]


def hits_on(detector: type[Detector], facts: list[Fact], until: str = "") -> list[Hit]:
    watch = Watch([detector], {}, WorkingDays())
    return list(replay(facts, watch, datetime.fromisoformat(until) if until else None))


@pytest.mark.parametrize(("detector", "example"), EXAMPLES, ids=NAMES)
def test_a_rule_fires_where_its_example_says(detector: type[Detector], example: Example) -> None:
    hits = hits_on(detector, facts_of(example), example.until)
    assert len(hits) == example.hits, hits
    for hit in hits:
        assert hit.rule == detector.rule.id
        assert hit.key
        assert hit.summary
        assert hit.severity in SEVERITIES


@of_each_rule
def test_a_rule_has_an_example_that_fires_and_one_that_does_not(
    detector: type[Detector],
) -> None:
    counts = [example.hits for example in detector.rule.examples]
    assert any(counts)
    assert 0 in counts


@of_each_rule
def test_a_rule_says_what_an_operator_needs(detector: type[Detector]) -> None:
    rule = detector.rule
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
    assert rule.title
    assert rule.advice.endswith(".")
    assert {*rule.needs, *rule.also} <= set(FACTS)
    assert rule.needs
    for threshold in rule.thresholds.values():
        assert threshold.least <= threshold.default
        assert threshold.unit in ("seconds", "count", "percent", "days", "hours")
        assert threshold.meaning


def test_each_rule_is_one_file_and_none_is_left_out() -> None:
    folder = Path(detectors.__file__).parent
    files = {file.stem for file in folder.glob("*.py")}
    ids = [detector.rule.id for detector in BUILT_IN]
    assert len(set(ids)) == len(ids)
    assert files - {id.replace("-", "_") for id in ids} == {
        "__init__", "examples", "habit", "plain", "recent",
    }  # fmt: skip
    for detector in BUILT_IN:
        assert detector.__module__.rpartition(".")[2] == detector.rule.id.replace("-", "_")


@pytest.mark.parametrize(("detector", "example"), EXAMPLES, ids=NAMES)
def test_what_fires_names_the_facts_that_show_it(
    detector: type[Detector], example: Example
) -> None:
    facts = facts_of(example)
    for hit in hits_on(detector, facts, example.until):
        assert set(hit.evidence) <= {each.ref for each in facts}
        assert hit.evidence or example.until


THRESHOLDS = [
    (detector, name) for detector in BUILT_IN for name in sorted(detector.rule.thresholds)
]


@pytest.mark.parametrize(
    ("detector", "name"), THRESHOLDS, ids=[f"{each[0].rule.id}.{each[1]}" for each in THRESHOLDS]
)
def test_every_threshold_decides_something(detector: type[Detector], name: str) -> None:
    threshold = detector.rule.thresholds[name]

    def hits(value: int) -> list[int]:
        given = {detector.rule.id: {name: value}}
        counts = []
        for example in detector.rule.examples:
            until = datetime.fromisoformat(example.until) if example.until else None
            watch = Watch([detector], given, WorkingDays())
            counts.append(len(list(replay(facts_of(example), watch, until))))
        return counts

    usual = hits(threshold.default)
    assert [hits(value) for value in (threshold.least, threshold.default * 3)] != [usual, usual]
