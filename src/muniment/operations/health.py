"""
How well the evidence would stand up: of one grant, of all of them, and recorded once a day.

What is recorded are counts. That they grew is seen by whoever has the log, and a detector says so.
"""

import asyncio
import base64
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.errors import LogInvalid, Unavailable
from muniment.evidence import moment
from muniment.evidence.append import Companions, Outcome
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import delegation, permit
from muniment.operations.service import Caller, Service, content
from muniment.operations.surveyed import Surveyed
from muniment.operations.surveying import bring_up, known, look_at_one, look_for_sealed, surveyed
from muniment.oversight.carried import MOST_BETWEEN
from muniment.oversight.detector import SEVERITIES
from muniment.oversight.health import of_the_log, weaknesses
from muniment.oversight.population import Line
from muniment.oversight.weakness import KINDS, Weakness, table

#: begins the ids of the cases of measurements
MEASUREMENTS: Final = "hlt"
EVERY: Final = timedelta(days=1)
#: grants that were asked for within so many days are counted apart: old ones stay as they are
DAYS: Final = 30
#: severities of what makes no grant weak: some of it applies to each of them
SLIGHT: Final = ("low", "info")
#: entries that are read before a glance
MOST_GLANCED: Final = 2000
#: cases that are named of each kind, and measurements that are shown
NAMED, SHOWN = 20, 90


@dataclass(kw_only=True)
class Tally:
    """How many grants there are, and how many of them are weak in more than a slight way."""

    grants: int = 0
    weak: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kinds: Sequence[str]) -> None:
        self.grants += 1
        self.weak += any(KINDS[kind].severity not in SLIGHT for kind in kinds)
        self.counts.update(kinds)


@dataclass(kw_only=True)
class Judged:
    """Every grant of a log, as of one moment."""

    size: int
    at: datetime
    #: which cases are open, as a report carries them over: see `oversight.carried`
    open: bytes
    ever: Tally = field(default_factory=Tally)
    recent: Tally = field(default_factory=Tally)
    log: tuple[Weakness, ...] = ()
    #: by kind: the newest
    cases: dict[str, deque[Weakness]] = field(default_factory=dict)


def judge(service: Service, kept: Surveyed, covers: Callable[[Line], bool] | None = None) -> Judged:
    """All grants that the survey knows, or some of them: about two seconds for 100,000."""
    survey = kept.survey
    # of all of them one at a time is unfolded
    lines: Collection[Line] = survey.population.lines.values()
    if covers is not None:
        lines = [line for line in lines if covers(line)]
    around = known(service, kept, lines)
    judged = Judged(
        size=survey.size,
        at=around.now,
        open=survey.open.document(),
        log=tuple(of_the_log(around)),
    )
    since = around.now - timedelta(days=DAYS)
    for line in lines:
        if line.authorized is None:
            continue
        found = weaknesses(line, survey, around)
        kinds = [each.kind for each in found]
        judged.ever.add(kinds)
        if line.requested >= since:
            judged.recent.add(kinds)
        for each in found:
            judged.cases.setdefault(each.kind, deque(maxlen=NAMED)).append(each)
    return judged


# --- looking ----------------------------------------------------------------------------------


def of_grant(service: Service, caller: Caller, case_id: str) -> dict[str, Any]:
    """
    What would not stand up of the evidence of one access case.

    Raises `NotFound` for one that the caller may not see, and `Unavailable` while the log is read.
    """
    case, _ = service.read(case_id)
    permit.require(service, caller, "read", case)
    with surveyed(service) as kept:
        line = kept.survey.population.lines[case_id]
        look_at_one(service, kept, case_id)
        around = known(service, kept, [line])
        found = weaknesses(line, kept.survey, around)
        size = kept.survey.size
    return {
        "case": case_id,
        "granted": line.authorized is not None,
        "at": moment.text(around.now),
        "size": size,
        "weaknesses": [{**_told(each.kind), "says": each.says} for each in found],
        "log": [_told(each.kind) for each in of_the_log(around)],
    }


def glance(service: Service, case_id: str) -> dict[str, Any] | None:
    """
    The kinds of weakness of one case, for whoever may see it and looks at something else.

    None while the log is read, or others judge: nobody who shows a case waits for this.
    """
    try:
        with surveyed(service, most=MOST_GLANCED, patience=0.2) as kept:
            line = kept.survey.population.lines[case_id]
            look_at_one(service, kept, case_id)
            found = weaknesses(line, kept.survey, known(service, kept, [line]))
    except Unavailable:
        return None
    slight = [each.kind for each in found if KINDS[each.kind].severity in SLIGHT]
    return {
        "granted": line.authorized is not None,
        "weaknesses": [each.kind for each in found if each.kind not in slight],
        "slight": slight,
    }


def overall(service: Service, caller: Caller) -> dict[str, Any]:
    """
    What would not stand up in all evidence, of which grants, and how that went.

    Whoever acts for somebody in some roles is told of grants of these alone: also in the numbers,
    and without the trend, which was counted over all.

    Raises `NotPermitted`, and `Unavailable` while the log is read.
    """
    permit.require(service, caller, "read")
    whole = delegation.covers_all(caller)
    with surveyed(service) as kept:
        judged = judge(service, kept, None if whole else partial(_covers, caller))
        trend = kept.survey.measured[-SHOWN:] if whole else []
        rows = list(_rows(judged))
    return {
        "at": moment.text(judged.at),
        "size": judged.size,
        "grants": judged.ever.grants,
        "weak": judged.ever.weak,
        "recent": {
            "days": DAYS,
            "grants": judged.recent.grants,
            "weak": judged.recent.weak,
        },
        "weaknesses": rows,
        "log": [_told(each.kind) for each in judged.log],
        "trend": [_point(at, record) for at, record in trend],
        "measurements": case_of(service.log.log_id, judged.at.year) if whole else None,
    }


def _covers(caller: Caller, line: Line) -> bool:
    """Whoever acts for somebody sees what was handed to him."""
    return delegation.covers(caller, line.resource, line.role)


def _rows(judged: Judged) -> Iterator[dict[str, Any]]:
    """Every kind, also those that there are none of: what was looked for is part of the answer."""
    of_grants = [each for each in KINDS.values() if each.about == "grant"]
    order = sorted(
        of_grants,
        key=lambda kind: (not judged.ever.counts[kind.id], -SEVERITIES.index(kind.severity)),
    )
    for kind in order:
        yield {
            **_told(kind.id),
            "count": judged.ever.counts[kind.id],
            "recent": judged.recent.counts[kind.id],
            "cases": [
                {"case": each.case, "says": each.says}
                for each in reversed(judged.cases.get(kind.id, ()))
            ],
        }


def _told(kind: str) -> dict[str, Any]:
    known_ = KINDS[kind]
    return {
        "kind": known_.id,
        "title": known_.title,
        "meaning": known_.meaning,
        "severity": known_.severity,
        "advice": known_.advice,
    }


def _point(at: datetime, record: records.EvidenceMeasured) -> dict[str, Any]:
    return {
        "at": moment.text(at),
        "size": record.size,
        "grants": record.grants,
        "weak": record.weak,
        "counts": dict(record.counts),
        "days": record.days,
        "recent_grants": record.recent_grants,
        "recent_weak": record.recent_weak,
        "recent": dict(record.recent),
        "log": list(record.log),
    }


# --- recording --------------------------------------------------------------------------------


def case_of(log_id: bytes, year: int) -> str:
    """The case in which a year of measurements is recorded."""
    digest = sha256(b"muniment-measurements/v1\0" + log_id + b"%d" % year).digest()[:16]
    return f"{MEASUREMENTS}_{base64.b32encode(digest).decode().rstrip('=').lower()}"


def newest(service: Service) -> tuple[datetime, records.EvidenceMeasured] | None:
    """The newest measurement of this year; None without one."""
    case = case_of(service.log.log_id, service.now().year)
    head = service.log.head(case)
    kept = service.observing.surveyed
    if head is None:
        return None
    if kept.measured is None or kept.measured[0] != head:
        entry = service.log.read_case(case)[-1]
        kept.measured = (entry.leaf, entry.header.at, _record_of(entry))
    return kept.measured[1], kept.measured[2]


def _record_of(entry: Entry) -> records.EvidenceMeasured:
    record = records.parse(entry.header)
    if not isinstance(record, records.EvidenceMeasured):
        raise LogInvalid(f"`{entry.header.id}` is no measurement")
    return record


def is_due(service: Service) -> bool:
    """Whether the newest measurement is a day old, or there is none."""
    last = newest(service)
    return last is None or service.now() - last[0] >= EVERY


async def measure(service: Service) -> None:
    """Count all weaknesses, and record it; nothing where another node just did."""
    stop = service.observing.surveyed.stop
    stop.clear()
    try:
        judged = await asyncio.to_thread(_judged, service)
    except asyncio.CancelledError:
        stop.set()  # a thread goes on otherwise, and whoever stops waits for it
        raise
    document, now = content(table()), service.now()
    case = case_of(service.log.log_id, now.year)
    measured = _measured(judged, sha256(document).digest())

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        if entries and now - entries[-1].header.at < EVERY:
            return (), lambda _: ()
        # a log that grew as fast as that does not say which cases were open: nobody would look
        # so far back. Half, as more may stand before it in its batch
        near = service.log.size - judged.size < MOST_BETWEEN // 2
        documents = (document, judged.open) if near else (document,)
        return (measured.draft(case, now, documents=documents),), lambda _: ()

    await service.append(Outcome(case=case, build=build))


def _judged(service: Service) -> Judged:
    bring_up(service)
    look_for_sealed(service)
    with surveyed(service, most=None) as kept:
        return judge(service, kept)


def _measured(judged: Judged, definition: bytes) -> records.EvidenceMeasured:
    return records.EvidenceMeasured(
        actor=records.SERVICE,
        definition=definition,
        size=judged.size,
        grants=judged.ever.grants,
        weak=judged.ever.weak,
        counts=dict(sorted(judged.ever.counts.items())),
        days=DAYS,
        recent_grants=judged.recent.grants,
        recent_weak=judged.recent.weak,
        recent=dict(sorted(judged.recent.counts.items())),
        log=tuple(each.kind for each in judged.log),
    )


def metrics(service: Service) -> Iterator[str]:
    """Prometheus text: the newest measurement. Counts only: nothing about anybody."""
    last = newest(service)
    if last is None:
        return
    _, record = last
    for name, counts in (
        ("muniment_evidence_weaknesses", record.counts),
        ("muniment_evidence_weaknesses_recent", record.recent),
    ):
        yield f"# TYPE {name} gauge"
        for kind in KINDS.values():
            if kind.about == "grant":
                yield f'{name}{{kind="{kind.id}"}} {counts.get(kind.id, 0)}'
    yield "# TYPE muniment_evidence_grants gauge"
    yield f"muniment_evidence_grants {record.grants}"
