"""Where Sigma can say a rule, it says the same: on the examples of the rule, with pysigma's SQL."""

import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import Detector, Example, Hit
from muniment.oversight.detectors import BUILT_IN
from muniment.oversight.fact import VALUES, Fact, fact
from muniment.oversight.watch import Watch, replay

pytest.importorskip("sigma.backends.sqlite")

from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule

from muniment.runtime.sigma_rules import sigma_detectors

TOLD = [detector for detector in BUILT_IN if detector.rule.sigma]
EXAMPLES = [
    (detector, example)
    for detector in TOLD
    for example in detector.rule.examples
    if not example.until  # what is seen by its absence, Sigma does not see
]
NAMES = [f"{detector.rule.id}: {example.says}" for detector, example in EXAMPLES]


def facts_of(example: Example) -> list[Fact]:
    return [fact({**flat, "ref": f"fact-{n}"}) for n, flat in enumerate(example.facts)]


def hits(detectors: list[type[Detector]], facts: list[Fact]) -> list[Hit]:
    end = max(each.at for each in facts) + timedelta(hours=1)
    return list(replay(facts, Watch(detectors, {}, WorkingDays()), end))


def test_most_rules_about_single_facts_and_counts_have_a_sigma_document() -> None:
    assert {detector.rule.id for detector in TOLD} >= {
        "own-approval", "break-glass-used", "break-glass-repeated", "role-reactivated",
        "approved-too-fast", "burst", "weak-reason", "control-changed",
    }  # fmt: skip


@pytest.mark.parametrize("detector", TOLD, ids=[each.rule.id for each in TOLD])
def test_a_sigma_document_says_the_title_and_severity_of_its_rule(
    detector: type[Detector],
) -> None:
    rules = SigmaCollection.from_yaml(detector.rule.sigma).get_output_rules()
    levels = {"informational": "info"}
    for rule in rules:
        level = rule.level.name.lower()  # type: ignore[union-attr]  # each of ours has one
        assert levels.get(level, level) == detector.rule.severity
        assert rule.name


@pytest.mark.parametrize(("detector", "example"), EXAMPLES, ids=NAMES)
def test_a_sigma_document_fires_where_its_rule_does(
    detector: type[Detector], example: Example
) -> None:
    facts = facts_of(example)
    ours = hits([detector], facts)
    theirs = hits(list(sigma_detectors({"rule.yml": detector.rule.sigma.encode()})), facts)
    assert {hit.evidence[-1] for hit in theirs} == {hit.evidence[-1] for hit in ours}


def plain_sql(document: str, facts: list[Fact]) -> set[str]:
    """Refs of the facts that single rules match, by nothing but pysigma and `sqlite3`."""
    columns = ("type", "time", "case", "ref", *VALUES)
    database = sqlite3.connect(":memory:")
    quoted = [f'"{each}"' for each in columns]
    database.execute(f"CREATE TABLE logs ({', '.join(quoted)})")
    database.create_function("regexp", 2, lambda _, value: bool(value))
    rows = [[each.flat().get(name) for name in columns] for each in facts]
    database.executemany(f"INSERT INTO logs VALUES ({','.join('?' * len(columns))})", rows)
    collection = SigmaCollection.from_yaml(document)
    rules: list[Any] = list(collection.get_output_rules())
    backend: Any = sqliteBackend
    queries = backend().convert(collection)
    found: set[str] = set()
    for rule, query in zip(rules, queries, strict=True):
        if not isinstance(rule, SigmaCorrelationRule):
            found |= {row[3] for row in database.execute(query)}
    database.close()
    return found


@pytest.mark.parametrize(
    ("detector", "example"),
    [(d, e) for d, e in EXAMPLES if "correlation:" not in d.rule.sigma],
    ids=[
        n for (d, _), n in zip(EXAMPLES, NAMES, strict=True) if "correlation:" not in d.rule.sigma
    ],
)
def test_pysigma_alone_says_so_too(detector: type[Detector], example: Example) -> None:
    facts = facts_of(example)
    ours = {hit.evidence[-1] for hit in hits([detector], facts)}
    assert plain_sql(detector.rule.sigma, facts) == ours


SINGLE = [
    (detector, example, name)
    for (detector, example), name in zip(EXAMPLES, NAMES, strict=True)
    # it has no `fieldref`, and of correlations it knows nothing
    if "correlation:" not in detector.rule.sigma and "fieldref" not in detector.rule.sigma
]


@pytest.mark.deep
@pytest.mark.parametrize(
    ("detector", "example"), [each[:2] for each in SINGLE], ids=[each[2] for each in SINGLE]
)
def test_a_second_engine_agrees(detector: type[Detector], example: Example) -> None:
    azuma = pytest.importorskip("azuma")
    rule = azuma.Rule.model_validate_yaml(detector.rule.sigma)
    facts = facts_of(example)
    theirs = {each.ref for each in facts if rule.match(each.flat())}
    assert theirs == {hit.evidence[-1] for hit in hits([detector], facts)}
