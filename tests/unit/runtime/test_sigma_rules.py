"""Sigma rules of an installation: each becomes a detector, or is refused by name."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.errors import ConfigInvalid
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import Detector, Hit
from muniment.oversight.detectors.examples import Flat, approval, issue, on, request, stray
from muniment.oversight.fact import fact
from muniment.oversight.watch import FAILED, Watch, replay
from muniment.runtime import sigma_rules
from muniment.runtime.sigma_rules import read_sigma_rules, sigma_detectors

pytest.importorskip("sigma.backends.sqlite")

STAGING = """
title: Somebody approved staging
name: staging_approved
description: Staging needs no approval.
references: ["https://example.com/why"]
logsource: {product: muniment, service: evidence}
detection:
  approval:
    type: approval.given
    tier: staging
  condition: approval
level: informational
"""
COUNTED = """
title: A request
name: a_request
logsource: {product: muniment, service: evidence}
detection:
  request: {type: request.made}
  condition: request
---
title: Three requests in an hour
correlation:
  type: event_count
  rules: [a_request]
  group-by: [requester]
  timespan: 1h
  condition: {gte: 3}
level: high
"""


def detectors(*texts: str) -> tuple[type[Detector], ...]:
    return sigma_detectors({f"{n}.yml": text.encode() for n, text in enumerate(texts)})


def hits(kinds: tuple[type[Detector], ...], *flats: Flat) -> list[Hit]:
    facts = [fact({**flat, "ref": f"fact-{n}"}) for n, flat in enumerate(flats)]
    end = max(each.at for each in facts) + timedelta(hours=1)
    return list(replay(facts, Watch(kinds, {}, WorkingDays()), end))


def rule_with(condition: str) -> str:
    return (
        "title: Mine\nlogsource: {product: muniment, service: evidence}\n"
        f"detection:\n  it: {{{condition}}}\n  condition: it\n"
    )


def asked(count: int, minutes: int = 10, start: int = 0, who: str = "ana") -> list[Flat]:
    return [
        request(on(2, f"10:{start + n * minutes:02}"), who, f"mun_{who}{start + n}")
        for n in range(count)
    ]


def test_a_rule_about_one_fact_becomes_a_detector() -> None:
    kinds = detectors(STAGING)
    rule = kinds[0].rule
    assert (rule.id, rule.severity, rule.kind) == (
        "sigma-staging-approved", "info", "deterministic",
    )  # fmt: skip
    assert rule.advice == "Staging needs no approval."
    assert rule.references == ("https://example.com/why",)
    found = hits(kinds, approval(on(2), tier="staging"), approval(on(2, "11:00")))
    assert [hit.evidence for hit in found] == [("fact-0",)]
    assert found[0].cases == ("mun_1",)
    assert found[0].subjects == ("per_ana",)
    assert found[0].summary == "Somebody approved staging"


def test_a_correlation_counts_within_its_time() -> None:
    kinds = detectors(COUNTED)
    assert [each.rule.id for each in kinds] == ["sigma-three-requests-in-an-hour"]
    assert kinds[0].rule.severity == "high"
    found = hits(kinds, *asked(3))
    assert [hit.evidence for hit in found] == [("fact-0", "fact-1", "fact-2")]
    assert found[0].cases == ("mun_ana0", "mun_ana1", "mun_ana2")
    assert hits(kinds, *asked(2), *asked(2, who="bo")) == []


def test_the_same_trouble_is_told_once_in_the_time_that_a_rule_looks_back() -> None:
    kinds = detectors(COUNTED)
    more = [request(on(2, f"{hour}:{minute}"), case=f"mun_{hour}{minute}")
            for hour in (10, 11, 15) for minute in (10, 20, 30)]  # fmt: skip
    assert len(hits(kinds, *more)) == 2


def test_rules_of_several_files_may_build_on_one_another() -> None:
    single, _, correlation = COUNTED.partition("---\n")
    kinds = detectors(correlation, single, STAGING)
    assert {each.rule.id for each in kinds} == {
        "sigma-three-requests-in-an-hour", "sigma-staging-approved",
    }  # fmt: skip
    assert len(hits(kinds, *asked(3), approval(on(2, "10:40"), tier="staging"))) == 2


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        ("emergency: true", True),
        ("resource|startswith: 'ORDERS'", True),  # Sigma does not tell large letters from small
        ("resource|re: '^orders-(prod|dev)$'", True),
        ("resource|re: '^rders'", False),
        ("seconds|gt: 3599", True),
        ("seconds|gt: 3600", False),
        ("ticket: null", True),
        ("persons|contains: ' per_ana '", True),
        ("zone|exists: false", True),
    ],
)
def test_what_sigma_can_say_is_understood(condition: str, fires: bool) -> None:
    found = hits(detectors(rule_with(condition)), issue(on(2), emergency=True))
    assert bool(found) is fires


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "`0.yml` is no Sigma rule"),
        ("just text", "`0.yml` is no Sigma rule"),
        (rule_with("colour: red"), "`0.yml`: `colour` is no value of a fact"),
        (STAGING.replace("muniment", "windows"), "`{product: muniment, service: evidence}`"),
        (COUNTED.replace("[requester]", "[colour]"), "`colour` is no value of a fact"),
        (COUNTED.replace("[a_request]", "[nothing]"), "do not fit together"),
        (rule_with("resource|re: '(a)\\1'"), "`0.yml` is no Sigma rule"),
        (rule_with("resource|re: '('"), "`0.yml` is no Sigma rule"),
    ],
)
def test_what_is_no_rule_over_facts_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        detectors(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_rules_with_one_id_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="`sigma-staging-approved`"):
        detectors(STAGING, STAGING.replace("name: staging_approved", "name: Staging approved"))


def test_a_pattern_that_is_slow_elsewhere_is_not_slow_here() -> None:
    kinds = detectors(rule_with("object|re: '^(a+)+$'"))
    hostile = stray(on(2), object="a" * 256 + "!")
    assert hits(kinds, hostile) == []


@pytest.mark.parametrize(
    "text", ["\0", "'; DROP TABLE facts; --", "\ud800", "\u202e", "a\nb", "%", "x" * 256]
)
def test_hostile_text_stops_no_rule(text: str) -> None:
    kinds = detectors(rule_with("event: statement"), COUNTED)
    found = hits(kinds, stray(on(2), object=text, account=text), *asked(3))
    assert len(found) == 2
    assert FAILED.id not in {hit.rule for hit in found}


def test_a_number_that_no_column_holds_stops_no_rule() -> None:
    assert len(hits(detectors(rule_with("type: grant.issued")), issue(on(2), seconds=1 << 70))) == 1


def test_a_correlation_remembers_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigma_rules, "_MOST_FACTS", 10)
    detector = detectors(COUNTED)[0]({}, WorkingDays())
    for flat in asked(60, minutes=1):
        list(detector.see(fact(flat)))
    assert isinstance(detector, sigma_rules._OfMany)
    assert len(detector._facts) == 10
    last = fact(asked(60, minutes=1)[-1]).at
    list(detector.tick(last + timedelta(hours=4)))
    assert len(detector._facts) == 0


def test_a_look_that_costs_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigma_rules, "_MOST_STEPS", 0)
    monkeypatch.setattr(sigma_rules, "_STEP", 10)
    found = hits(detectors(COUNTED), *asked(3))
    assert [hit.summary for hit in found] == [
        "the detector `sigma-three-requests-in-an-hour` failed: OperationalError"
    ]


def test_one_set_of_rules_is_used_by_several_threads() -> None:
    kinds = detectors(STAGING, COUNTED)
    counts: list[int] = []

    def run() -> None:
        many = [approval(on(2 + n), case=f"mun_{n}", tier="staging") for n in range(200)]
        counts.append(len(hits(kinds, *many, *[{**each, "time": on(300)} for each in asked(3)])))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [201] * 4


def test_a_folder_is_read_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(STAGING)
    (tmp_path / "a.yaml").write_text(COUNTED)
    (tmp_path / "README.md").write_text("not a rule")
    kinds = read_sigma_rules(tmp_path)
    assert len(kinds) == 2


def test_a_folder_that_is_none_and_a_file_that_is_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="is no folder"):
        read_sigma_rules(tmp_path / "gone")
    (tmp_path / "a.yml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigInvalid, match=r"`a\.yml` is larger than"):
        read_sigma_rules(tmp_path)


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sigma.backends.sqlite", None)
    with pytest.raises(ConfigInvalid, match=r"pip install muniment\[sigma\]"):
        detectors(STAGING)
