"""Each of those who may decide more is a finding of its own."""

from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detectors.control_changed import ControlChanged
from muniment.oversight.fact import Fact, fact
from muniment.oversight.watch import Watch, replay


def widened(who: str, day: int) -> Fact:
    return fact(
        {
            "type": "control.changed",
            "time": f"2026-11-{day:02}T10:00:00Z",
            "what": "principal:enrolled",
            "weakens": True,
            "changed_by": "service",
            "about": who,
            "ref": f"{who}/{day}",
        }
    )


def test_a_change_that_is_known_hides_no_other_persons_change() -> None:
    facts = [widened("prn_ana", 2), widened("prn_ana", 2), widened("prn_bo", 2)]
    hits = list(replay(facts, Watch([ControlChanged], {}, WorkingDays()), None))
    assert [hit.cases for hit in hits] == [("prn_ana",), ("prn_ana",), ("prn_bo",)]
    first, again, other = (hit.key for hit in hits)
    assert first == again != other


def test_the_same_change_on_another_day_is_another_finding() -> None:
    facts = [widened("prn_ana", 2), widened("prn_ana", 3)]
    hits = list(replay(facts, Watch([ControlChanged], {}, WorkingDays()), None))
    assert len({hit.key for hit in hits}) == len(facts)
