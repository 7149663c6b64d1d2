"""Which events belong to a case: those that its recorded sessions name, in sections sealed then."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from muniment.access import records
from muniment.access.check import Checked
from muniment.evidence.bundle import Section
from muniment.evidence.event_evidence import ShownEvent
from muniment.evidence.record import Sealed

#: by source, the first and last number of each run of events; runs are in order, and apart
Runs: TypeAlias = Mapping[str, tuple[tuple[int, int], ...]]


def runs_of(checked: Checked) -> Runs:
    """Of the sessions of this case, as far as the bundle gives what was sealed of them."""
    found: dict[str, list[tuple[int, int]]] = {}
    for record, section in _sessions(checked):
        if isinstance(section, Sealed):
            found.setdefault(record.source, []).extend(_runs(section.content))
    return {source: tuple(_joined(runs)) for source, runs in found.items()}


def untold(checked: Checked) -> int:
    """How many events the other sessions have: what is not given of them says which."""
    return sum(
        record.events for record, section in _sessions(checked) if not isinstance(section, Sealed)
    )


def _sessions(checked: Checked) -> Iterator[tuple[records.SessionObserved, Section | None]]:
    for entry in checked.proved.entries:
        record = records.parse(entry.header)
        if isinstance(record, records.SessionObserved) and record.about == checked.proved.case_id:
            yield record, checked.proved.sections.get((entry.header.id, "session"))


def is_linked(runs: Runs, event: ShownEvent) -> bool:
    of_source = runs.get(event.source, ())
    at = bisect_right(of_source, event.number, key=lambda run: run[0]) - 1
    return at >= 0 and event.number <= of_source[at][1]


def count(runs: Runs) -> int:
    return sum(last - first + 1 for of_source in runs.values() for first, last in of_source)


def _runs(content: bytes) -> list[tuple[int, int]]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return []
    runs = said.get("events") if isinstance(said, dict) else None
    return [
        (run[0], run[1])
        for run in (runs if isinstance(runs, list) else ())
        if isinstance(run, list) and [type(each) for each in run] == [int, int] and run[0] <= run[1]
    ]


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers, each in one run."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
