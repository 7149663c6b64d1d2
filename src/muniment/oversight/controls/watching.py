"""Whether use of access was seen, and what was seen was looked at."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from muniment.oversight.controls.control_test import (
    SKIP,
    ByLine,
    Examined,
    Fault,
    Result,
    control_test,
    length,
    over,
)
from muniment.oversight.population import Found, Line

#: in which a finding has to be closed
ANSWER: Final = timedelta(days=30)
#: in which a target is looked at again
LOOK: Final = timedelta(days=7)
#: see `records.EventsMissed`
_GAPS: Final = {
    "cursor": "it went on elsewhere than it had been left",
    "count": "it says that it sent more than came",
    "silence": "it was silent for too long",
}
_UNHEARD: Final = "no source said anything in this period"
_UNUSED: Final = "no session of a grant of this period was seen"
_NO_FINDING: Final = "nothing was found in this period"
_OPEN: Final = "nothing that was found is closed yet"
_NO_SCAN: Final = "no target was looked at in this period"


@control_test(
    "sources-heard",
    "No source of events fell silent, or lost something",
    "batches and gaps of sources",
)
def sources_heard(examined: Examined) -> Result:
    history = examined.history
    gaps = [
        each
        for each in history.gaps
        if examined.overlaps(each.since, each.until) and _may_be_on(examined, each.resource)
    ]
    heard = sum(
        examined.counted(by_day)
        for resource, by_day in history.heard.items()
        if _may_be_on(examined, resource)
    )
    tested = heard + len(gaps)
    faults = tuple(
        Fault(f"{each.source} {_at(each.since)}", _GAPS.get(each.why, each.why)) for each in gaps
    )
    return Result(tested=tested, faults=faults, because="" if tested else _UNHEARD)


@control_test(
    "sessions-linked",
    "Every session that was seen leads to its grant by more than account and time",
    "grants of which sessions were seen",
)
def sessions_linked(examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if not line.sessions:
            return SKIP
        weak = line.weak_sessions
        return f"{weak} of {line.sessions} sessions linked weakly" if weak else None

    nothing = _UNUSED if examined.history.heard else _UNHEARD
    return over("granted", judge, nothing)


@control_test(
    "use-inside-window",
    "Nothing that was seen happened outside of the window or by somebody else",
    "grants of which sessions were seen",
)
def use_inside_window(examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if not line.sessions:
            return SKIP
        odd = line.odd_sessions
        return f"{odd} of {line.sessions} sessions did not stand inside" if odd else None

    nothing = _UNUSED if examined.history.heard else _UNHEARD
    return over("granted", judge, nothing)


@control_test(
    "findings-answered",
    f"Whatever was found was closed within {ANSWER.days} days",
    "findings that were closed, or are older",
)
def findings_answered(examined: Examined) -> Result:
    def judge(found: Found) -> str | None:
        over_at = found.closed or examined.as_of
        took = over_at - found.raised
        if found.closed is None and took <= ANSWER:
            return SKIP
        if took <= ANSWER:
            return None
        how = "open for" if found.closed is None else "closed after"
        return f"`{found.rule}` {how} {length(took.total_seconds())}"

    return _of_findings(examined, judge, f"{_OPEN}, or older than {ANSWER.days} days")


@control_test(
    "findings-closed-by-others",
    "Whatever was found was closed by somebody it was not about",
    "findings that were closed",
)
def findings_closed_by_others(examined: Examined) -> Result:
    def judge(found: Found) -> str | None:
        if found.closed is None:
            return SKIP
        own = found.closed_by in found.subjects
        return f"`{found.rule}` was closed by a person it was about" if own else None

    return _of_findings(examined, judge, _OPEN)


def _of_findings(examined: Examined, judge: Callable[[Found], str | None], skipping: str) -> Result:
    """`skipping` is said where none of what was found could be tested."""
    tested = skipped = 0
    faults: list[Fault] = []
    for found in examined.findings():
        why = judge(found)
        if why is SKIP:
            skipped += 1
            continue
        tested += 1
        if why is not None:
            faults.append(Fault(found.id, why))
    because = "" if tested else skipping if skipped else _NO_FINDING
    return Result(tested=tested, faults=tuple(faults), not_applicable=skipped, because=because)


@control_test(
    "targets-scanned",
    f"Every target with grants was held against the log at least every {LOOK.days} days",
    "resources with grants",
)
def targets_scanned(examined: Examined) -> ByLine:
    used: dict[str, tuple[datetime, datetime]] = {}

    def see(line: Line) -> None:
        if line.issued is not None:
            first, last = used.get(line.resource, (line.issued, line.issued))
            over = min(line.end.at if line.end is not None else examined.until, examined.until)
            used[line.resource] = min(first, line.issued), max(last, over)

    return ByLine(of="granted", see=see, answer=lambda: _scanned(examined, used))


def _scanned(examined: Examined, used: Mapping[str, tuple[datetime, datetime]]) -> Result:
    scans = examined.scans()
    if not scans:
        return Result(not_applicable=len(used), because=_NO_SCAN)
    faults: list[Fault] = []
    for resource, (first, last) in sorted(used.items()):
        if resource not in scans:
            faults.append(Fault(resource, "never looked at"))
            continue
        looks = [at for at, _ in scans[resource]]
        moments = [min(first, looks[0]), *looks, max(last, looks[-1])]
        gap = max(after - before for before, after in pairwise(moments))
        if gap > LOOK:
            why = f"not looked at for {length(gap.total_seconds())}"
            faults.append(Fault(resource, why))
    because = "" if used else "nothing was granted in this period"
    return Result(tested=len(used), faults=tuple(faults), because=because)


@control_test(
    "targets-without-difference",
    "The newest look at each target saw nobody whom the log does not know",
    "targets that were looked at",
)
def targets_without_difference(examined: Examined) -> Result:
    newest = {resource: looks[-1] for resource, looks in examined.scans().items()}
    faults = tuple(
        Fault(resource, f"{differences} differences at {_at(at)}")
        for resource, (at, differences) in sorted(newest.items())
        if differences
    )
    return Result(tested=len(newest), faults=faults, because="" if newest else _NO_SCAN)


def _may_be_on(examined: Examined, resource: str) -> bool:
    """A source whose events say themselves what they are about may speak of any."""
    return not resource or examined.is_on(resource)


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
