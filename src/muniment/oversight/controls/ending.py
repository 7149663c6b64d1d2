"""Whether access came to its end when it should, and was seen to be gone."""

from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.controls.approving import NO_GRANT
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
from muniment.oversight.population import Line, Reviewed

#: after its window is over
GRACE: Final = timedelta(minutes=5)
#: until it is seen gone
PROMPT: Final = timedelta(minutes=15)
#: of somebody who has left
LEAVING: Final = timedelta(hours=1)
#: the longest that is no standing access
LONGEST: Final = timedelta(hours=24)
_NO_GLASS: Final = "no emergency access was used in this period"
_NO_REVIEW: Final = "no review of emergency access was answered, or is overdue"


@control_test(
    "ended-in-time",
    f"Access ended no later than {length(GRACE.total_seconds())} after its window",
    "grants whose window is over",
)
def ended_in_time(examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.until is None or line.until + GRACE > examined.as_of:
            return SKIP if line.end is None else None
        if line.end is None:
            return "its window is over, and nothing says that it ended"
        late = (line.end.at - line.until).total_seconds()
        return f"ended {length(late)} late" if late > GRACE.total_seconds() else None

    return over("granted", judge, NO_GRANT)


@control_test(
    "removal-seen",
    "Whatever ended was seen to be gone, by a separate look at every endpoint of the target",
    "grants that ended",
)
def removal_seen(examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.end is None:
            return SKIP
        if line.gone is not None:
            return None
        if line.unseen_why:
            return f"not seen gone: {line.unseen_why}"
        return SKIP if line.end.at + GRACE > examined.as_of else "nobody looked whether it is gone"

    return over("granted", judge, "nothing that was granted in this period has ended")


@control_test(
    "removal-prompt",
    f"Whatever ended was seen to be gone within {length(PROMPT.total_seconds())}",
    "grants that were seen gone",
)
def removal_prompt(_examined: Examined) -> ByLine:
    most = PROMPT.total_seconds()

    def judge(line: Line) -> str | None:
        if line.lag_ms is None:
            return SKIP
        lag = line.lag_ms / 1000
        return f"seen gone {length(lag)} after its end" if lag > most else None

    return over("granted", judge, "nothing was seen gone in this period")


@control_test(
    "windows-short",
    f"No access was granted for longer than {length(LONGEST.total_seconds())} in all",
    "grants",
)
def windows_short(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.until is None or line.starts is None:
            return SKIP
        window = line.until - line.starts
        return f"granted for {length(window.total_seconds())}" if window > LONGEST else None

    return over("granted", judge, NO_GRANT)


@control_test(
    "expiry-at-target",
    "The target itself knows when each credential ends",
    "grants",
)
def expiry_at_target(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("expiry-at-target", {})
    return over("granted", lambda line: wrong.get(line.case), NO_GRANT)


@control_test(
    "break-glass-reviewed",
    "Every use of emergency access was reviewed in time, by somebody who had no part in it",
    "grants in an emergency, and reviews that were left of earlier ones",
)
def break_glass_reviewed(examined: Examined) -> ByLine:
    used: list[str] = []
    others = 0

    def see(line: Line) -> None:
        nonlocal others
        if line.emergency:
            used.append(line.case)
        else:
            others += 1

    return ByLine(of="granted", see=see, answer=lambda: _glass(examined, used, others))


def _glass(examined: Examined, used: list[str], others: int) -> Result:
    lines, by_case = examined.population.lines, dict[str, list[Reviewed]]()
    for review in examined.population.reviews.values():
        by_case.setdefault(review.about, []).append(review)
    # of a review that was left over the case may not be shown: that it was opened says enough
    reviewed = [
        each.about
        for each in examined.reviews()
        if each.about not in lines or lines[each.about].granted
    ]
    tested, skipped, faults = 0, others, list[Fault]()
    for case in dict.fromkeys((*used, *reviewed)):
        line = lines.get(case)
        persons = line.persons if line is not None else ()
        why = _reviewed(by_case.get(case, []), persons, examined.as_of)
        if why is SKIP:
            skipped += 1
            continue
        tested += 1
        if why is not None:
            faults.append(Fault(case, why))
    none = _NO_GLASS if skipped == others else _NO_REVIEW
    because = "" if tested else none
    return Result(tested=tested, faults=tuple(faults), not_applicable=skipped, because=because)


def _reviewed(known: list[Reviewed], persons: tuple[str, ...], as_of: datetime) -> str | None:
    if not known:
        return "no review was opened"
    answered = [each for each in known if each.answered is not None]
    if not answered:
        return "the review is overdue" if known[0].due < as_of else SKIP
    first = answered[0]
    if first.person in {*persons, *first.persons}:
        return "reviewed by a person it was for"
    is_late = first.answered is not None and first.answered > first.due
    return "reviewed after it was due" if is_late else None


@control_test(
    "leavers-lose-access",
    f"Whoever was disabled had no access {length(LEAVING.total_seconds())} later, and got no more;"
    " nor had workloads and agents that he answers for",
    "principals that were disabled",
)
def leavers_lose_access(examined: Examined) -> ByLine:
    left: dict[str, list[tuple[datetime, datetime]]] = {}
    for principal, since, back in examined.history.left:
        if examined.is_inside(since):
            left.setdefault(principal, []).append((since, back or examined.as_of))
    held: dict[str, dict[str, datetime]] = {}

    def see(line: Line) -> None:
        if not line.granted or not examined.is_on(line.resource):
            return
        # what a workload or an agent holds is held for whoever answers for it
        for who in dict.fromkeys((line.requester, line.sponsor or line.requester)):
            for since, back in left.get(who, ()):
                if _is_held(line, since + LEAVING, back, examined.as_of):
                    held.setdefault(who, {}).setdefault(line.case, since)

    def answer() -> Result:
        # each counts once, however much he held
        faults = tuple(
            Fault(next(iter(cases)), _still_held(next(iter(cases.values())), len(cases) - 1))
            for cases in held.values()
        )
        because = "" if left else "nobody was disabled in this period"
        return Result(tested=len(left), faults=faults, because=because)

    return ByLine(of="all", see=see, answer=answer)


def _still_held(since: datetime, more: int) -> str:
    also = f", with {more:,} more" if more else ""
    return f"held by or for somebody who was disabled {since.date().isoformat()}{also}"


def _is_held(line: Line, since: datetime, until: datetime, as_of: datetime) -> bool:
    over_at = as_of if line.end is None else line.end.at
    return line.issued is not None and line.issued < until and over_at > since
