"""Detectors over a stream of facts, live and over the past."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import pytest

from muniment.errors import ConfigInvalid, MunimentError
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import Detector, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors import BUILT_IN, all_detectors
from muniment.oversight.detectors.examples import activity, approval, issue, on, request
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact, fact
from muniment.oversight.watch import FAILED, Backtest, Watch, backtest, replay

MONDAY = datetime(2026, 3, 2, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def rule(id: str, *needs: str, **more: Any) -> Rule:
    return Rule(
        id=id, title=id, advice="Look.", severity="low", kind="deterministic", needs=needs, **more
    )


class Counting(Plain):
    """Fires on every so manieth request, and on every tick that it was asked to fire on."""

    rule: ClassVar[Rule] = rule(
        "counting",
        "request.made",
        thresholds={"every": Threshold(default=1, unit="count", meaning="requests", least=1)},
    )
    ticks: ClassVar[list[datetime]] = []

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self.seen: list[Fact] = []
        Counting.ticks = []

    def see(self, fact: Fact) -> Iterable[Hit]:
        self.seen.append(fact)
        if len(self.seen) % self.threshold["every"] == 0:
            yield self.hit(fact, fact.case, "a request")

    def tick(self, now: datetime) -> Iterable[Hit]:
        Counting.ticks.append(now)
        return ()

    def silences(self) -> Iterable[Silence]:
        yield Silence(rule="counting", about="everything", seen=0, needed=1)


class Broken(Plain):
    rule: ClassVar[Rule] = rule("broken", "request.made")

    def see(self, _fact: Fact) -> Iterable[Hit]:
        raise ZeroDivisionError("what the fact says stays away from the hit")

    def tick(self, _now: datetime) -> Iterable[Hit]:
        raise RuntimeError

    def silences(self) -> Iterable[Silence]:
        raise RuntimeError


class Endless(Plain):
    rule: ClassVar[Rule] = rule("endless", "request.made")

    def see(self, fact: Fact) -> Iterable[Hit]:
        while True:
            yield self.hit(fact, "again", "and again")


class Liar(Plain):
    rule: ClassVar[Rule] = rule("liar", "request.made")

    def see(self, fact: Fact) -> Iterable[Hit]:
        yield Hit(rule="own-approval", at=fact.at, key="", summary="", severity="low")


def watch(*detectors: type[Detector], **given: Mapping[str, int]) -> Watch:
    return Watch(detectors, given, WorkingDays())


def asked(number: int = 0, at: datetime = MONDAY, **more: Any) -> Fact:
    flat = request(at.isoformat(), case=f"mun_{number}", **more)
    return fact({**flat, "ref": f"fact-{number}"})


def test_each_detector_is_shown_only_what_it_reads() -> None:
    one = watch(Counting)
    assert [hit.key for hit in one.see(asked(1))] == ["mun_1"]
    assert one.see(fact(issue(on(2)))) == []


def test_a_detector_that_names_no_type_is_shown_everything() -> None:
    class Curious(Counting):
        rule = rule("curious", thresholds=Counting.rule.thresholds)

    one = watch(Curious)
    assert len(one.see(asked(1)) + one.see(fact(issue(on(2))))) == 2


def test_thresholds_are_given_by_rule() -> None:
    one = watch(Counting, counting={"every": 2})
    assert [len(one.see(asked(number))) for number in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": {}}, "`detect.rules.count` is no rule; there are: `counting`"),
        ({"counting": {"each": 2}}, "there are: `every`"),
        ({"counting": {"every": 0}}, "is at least 1"),
    ],
)
def test_what_is_no_rule_and_no_threshold_is_refused(
    given: Mapping[str, Mapping[str, int]], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        Watch([Counting], given, WorkingDays())


def test_two_detectors_with_one_id_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="`counting`"):
        watch(Counting, Counting)


def test_a_detector_that_raises_stops_no_other_and_is_reported_once_a_day() -> None:
    one = watch(Broken, Counting)
    first = one.see(asked(1))
    assert [hit.rule for hit in first] == [FAILED.id, "counting"]
    assert first[0].summary == "the detector `broken` failed: ZeroDivisionError"
    assert first[0].evidence == ("fact-1",)
    assert [hit.rule for hit in one.see(asked(2, MONDAY + 23 * HOUR))] == ["counting"]
    again = one.see(asked(3, MONDAY + 24 * HOUR))
    assert [hit.rule for hit in again] == [FAILED.id, "counting"]
    assert first[0].key != again[0].key


def test_a_detector_that_raises_as_time_passes_is_reported_too() -> None:
    one = watch(Broken, Counting)
    assert [hit.rule for hit in one.tick(MONDAY)] == [FAILED.id]
    assert Counting.ticks == [MONDAY]
    assert [silence.rule for silence in one.silences()] == ["broken", "counting"]


def test_a_detector_that_never_ends_is_cut_off() -> None:
    assert len(watch(Endless).see(asked(1))) == 100


def test_time_never_runs_backwards_for_detectors() -> None:
    one = watch(Counting)
    one.tick(MONDAY)
    one.tick(MONDAY - HOUR)
    assert Counting.ticks == [MONDAY, MONDAY]


def test_the_clock_of_a_target_moves_nothing() -> None:
    one = watch(Counting)
    one.see(asked(1))
    one.see(fact(activity("2099-01-01T00:00:00Z")))
    assert one.now == MONDAY
    hits = list(replay([asked(1), fact(activity("2099-01-01T00:00:00Z")), asked(2)], one))
    assert [hit.key for hit in hits] == ["mun_1", "mun_2"]
    assert Counting.ticks == []


def test_the_past_is_walked_by_whole_hours() -> None:
    facts = [asked(1, MONDAY + timedelta(minutes=50)), asked(2, MONDAY + timedelta(hours=3))]
    list(replay(facts, watch(Counting), MONDAY + timedelta(hours=4, minutes=30)))
    expected = [MONDAY + each * HOUR for each in (1, 2, 3, 4, 4.5)]
    assert Counting.ticks == expected


def test_a_long_silence_costs_a_month_of_hours_and_no_more() -> None:
    later = MONDAY + timedelta(days=3650)
    list(replay([asked(1), asked(2, later)], watch(Counting)))
    assert len(Counting.ticks) == 31 * 24 + 1
    assert Counting.ticks[-1] == later


def replayed(facts: Iterable[Fact], *detectors: type[Detector], **more: Any) -> Backtest:
    return backtest(facts, detectors, {}, WorkingDays(), **more)


def test_a_backtest_counts_hits_findings_and_what_there_was() -> None:
    facts = [asked(number // 2, MONDAY + number * HOUR) for number in range(10)]
    found = replayed([*facts, fact(issue(on(3)))], Counting, examples=2)
    result = found.results["counting"]
    assert (result.hits, result.findings, result.of, result.rate) == (10, 5, 10, 1.0)
    assert (result.first, result.last) == (MONDAY, MONDAY + 9 * HOUR)
    assert [hit.key for hit in result.examples] == ["mun_0", "mun_0"]
    assert result.is_noisy
    assert found.facts == {"request.made": 10, "grant.issued": 1}
    assert [silence.about for silence in found.silences] == ["everything"]
    assert (found.first, found.last) == (MONDAY, MONDAY + 24 * HOUR)


def test_a_backtest_of_nothing_says_nothing() -> None:
    found = replayed([], Counting)
    assert (found.first, found.last, found.facts) == (None, None, {})
    assert found.results["counting"].rate == 0


def test_a_backtest_tells_how_far_it_is_and_can_be_ended() -> None:
    told: list[int] = []
    facts = (asked(number) for number in range(12_000))
    replayed(facts, Counting, progress=lambda count, _: told.append(count))
    assert told == [5000, 10_000, 12_000]

    def stop(_count: int, _at: datetime) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replayed((asked(number) for number in range(12_000)), Counting, progress=stop)


def test_a_backtest_sees_what_failed() -> None:
    found = replayed([asked(1)], Broken)
    assert found.results[FAILED.id].hits == 1


def test_a_detector_that_speaks_for_another_rule_ends_a_backtest() -> None:
    with pytest.raises(MunimentError, match="`own-approval`"):
        replayed([asked(1)], Liar)


def test_two_runs_over_the_same_facts_say_the_same() -> None:
    facts = [
        fact({**flat, "ref": f"fact-{number}"})
        for number, flat in enumerate(
            each
            for n in range(60)
            for each in (
                request(on(2 + n), case=f"mun_{n}"),
                approval(on(2 + n, "10:30"), by="ana" if n % 9 == 0 else "bo", case=f"mun_{n}"),
                issue(on(2 + n, "11:00"), case=f"mun_{n}", emergency=n % 2 == 0),
            )
        )
    ]
    runs = [list(replay(facts, watch(*BUILT_IN))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert {hit.rule for hit in runs[0]} >= {"own-approval", "break-glass-repeated"}


def test_facts_that_come_a_little_late_change_no_count() -> None:
    facts = [
        fact({**request(on(2, f"10:{n:02}"), case=f"mun_{n}", resource=f"r{n}"), "ref": f"{n}"})
        for n in range(5)
    ]
    for late in range(5):
        order = [each for each in facts if each.ref != str(late)] + [facts[late]]
        hits = list(replay(order, watch(*BUILT_IN)))
        assert [hit.rule for hit in hits] == ["burst"], late


def test_detectors_of_others_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from muniment.oversight import detectors

    points = [EntryPoint("ours", f"{__name__}:Counting", detectors.GROUP)]
    monkeypatch.setattr(detectors, "entry_points", lambda group: points if group else ())
    assert [each.rule.id for each in all_detectors()][len(BUILT_IN) :] == ["counting"]
    for value, message in (
        ("nowhere.at.all:Gone", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:MONDAY", "is no class with a `rule`"),
        ("muniment.oversight.detectors.burst:Burst", "has the id of another: `burst`"),
    ):
        points[:] = [EntryPoint("theirs", value, detectors.GROUP)]
        with pytest.raises(ConfigInvalid, match=message):
            all_detectors()
