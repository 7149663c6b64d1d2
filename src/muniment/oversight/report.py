"""
A report: what the tests of a framework came to, over every case of a period, as one JSON value.

It is a function of an excerpt of the log, a framework and a period. Whoever has these has the
numbers; nothing in it is measured, remembered or judged otherwise. It certifies nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.access import records
from muniment.errors import LogInvalid
from muniment.evidence import moment
from muniment.evidence.excerpt_proof import ProvedExcerpt
from muniment.evidence.keys import KINDS as KEY_KINDS
from muniment.evidence.record import Header
from muniment.oversight.carried import SILENT, STANDING, OpenCases
from muniment.oversight.control_map import Control, ControlMap, Framework
from muniment.oversight.controls import TESTS
from muniment.oversight.controls.control_test import (
    EXCEPTIONS,
    NOT_TESTED,
    PARTLY,
    SATISFIED,
    ByLine,
    ControlTest,
    Examined,
    Result,
    run_all,
)
from muniment.oversight.controls.history import History
from muniment.oversight.figures import Figures
from muniment.oversight.population import Line, Population

FORMAT: Final = "muniment-report/v1"
#: of one test; of the others their number is told
MOST_FAULTS: Final = 500
#: by how much the times of a log may go back from one entry to the next, and more
SLACK: Final = timedelta(minutes=1)
#: shown of the log before the period, beside what was open then: see `carried`
BEFORE: Final = frozenset((*KEY_KINDS, "policy:activated", *STANDING, SILENT))

_MEASURED: Final = records.EvidenceMeasured.KIND

#: what every report says of itself
STATEMENT: Final = (
    "This report says what was tested and what came of it. It certifies nothing: whether a control"
    " is met is for those to decide who answer for it, and for their auditors."
)


@dataclass(kw_only=True)
class Counting:
    """What is gathered while an excerpt is read: hand each record to `take`."""

    population: Population = field(default_factory=Population)
    history: History = field(default_factory=History)
    open: OpenCases = field(default_factory=OpenCases)
    #: digests of the documents that records name
    documents: set[bytes] = field(default_factory=set)
    #: where the last stretch of entries in a row begins, and when
    _since: tuple[int, datetime] | None = None
    _due: int = 0

    def take(self, index: int, header: Header) -> None:
        """The next record that is shown."""
        if self._since is None or index != self._due:
            self._since = index, header.at
            self.history.skip()
        self._due = index + 1
        self.population.take(index, header)
        self.history.take(index, header)
        self.open.take(index, header)
        # which cases were open is made again from the records: that lies beside no report
        if header.kind == _MEASURED and isinstance(
            record := records.parse(header), records.EvidenceMeasured
        ):
            self.documents.add(record.definition)
        else:
            self.documents.update(header.documents)

    def begins(self, proved: ProvedExcerpt) -> datetime | None:
        """From when on every record is shown; None: from the beginning of the log."""
        if proved.whole_from == 0:
            return None
        if self._since is None or self._since[0] != proved.whole_from:
            raise LogInvalid("the excerpt does not show the end of the log")
        return self._since[1]

    def check_carried(self, proved: ProvedExcerpt, start: datetime) -> None:
        """
        That all is shown that was open when the period began, as the log itself said by then.

        Raises `LogInvalid`.
        """
        if self.open.untrue:
            raise LogInvalid(
                f"`{self.open.untrue[0]}` says that other cases were open than are shown to be"
            )
        stated = self.open.stated
        if proved.whole_from and (stated is None or stated > start):
            raise LogInvalid("the excerpt does not show what was open when the period began")


def build(
    counting: Counting,
    proved: ProvedExcerpt,
    control_map: ControlMap,
    framework: Framework,
    *,
    start: datetime,
    stop: datetime,
    resources: Iterable[str] = (),
) -> dict[str, Any]:
    """
    The report, but for what is attached to it.

    Raises `LogInvalid` unless the excerpt shows every record from the beginning of the period on,
    and every case that was open then: what is counted is all that there was.
    """
    begins = counting.begins(proved)
    if begins is not None and begins > start - SLACK:
        raise LogInvalid(f"the excerpt begins at {moment.text(begins)}, within the period")
    counting.check_carried(proved, start)
    examined = Examined(
        population=counting.population,
        history=counting.history,
        start=start,
        stop=stop,
        resources=frozenset(resources),
    )
    ids = dict.fromkeys(id_ for control in framework.controls for id_ in control.tests)
    figures, people = Figures(), _People()
    beside = [ByLine(of="asked", see=each.see, answer=Result) for each in (figures, people)]
    results = run_all([TESTS[id_] for id_ in ids], examined, beside)
    checkpoint = proved.checkpoint
    return {
        "format": FORMAT,
        "statement": STATEMENT,
        "framework": {
            "id": framework.id,
            "title": framework.title,
            "publication": framework.publication,
            "publisher": framework.publisher,
            "checked": framework.checked,
            "against": framework.against,
        },
        "map": control_map.digest.hex(),
        "period": {"from": moment.text(start), "to": moment.text(stop)},
        "as_of": moment.text(examined.as_of),
        "over": examined.as_of >= stop,
        "resources": sorted(examined.resources),
        "log": {
            "origin": checkpoint.origin,
            "id": proved.log_id.hex(),
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "shown": proved.shown,
            "hidden": proved.hidden,
            "whole_from": proved.whole_from,
        },
        "population": people.value(examined),
        "controls": [_control(each, results) for each in framework.controls],
        "tests": [_test(TESTS[id_], result) for id_, result in results.items()],
        "figures": figures.value(examined),
    }


@dataclass(slots=True)
class _People:
    """How many asked for something, and what came of it."""

    states: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    grants: int = 0
    emergencies: int = 0

    def see(self, line: Line) -> None:
        self.states[line.state] += 1
        self.kinds[line.kind] += 1
        self.grants += line.granted
        self.emergencies += line.granted and line.emergency

    def value(self, examined: Examined) -> dict[str, Any]:
        return {
            "requests": self.states.total(),
            "grants": self.grants,
            "emergencies": self.emergencies,
            "states": dict(sorted(self.states.items())),
            "kinds": dict(sorted(self.kinds.items())),
            "findings": sum(1 for _ in examined.findings()),
            "reviews": sum(1 for _ in examined.reviews()),
        }


def _control(control: Control, results: Mapping[str, Result]) -> dict[str, Any]:
    states = {results[id_].state for id_ in control.tests}
    untested = [id_ for id_ in control.tests if results[id_].state == NOT_TESTED]
    if EXCEPTIONS in states:
        state = EXCEPTIONS
    elif SATISFIED in states:
        state = PARTLY if untested else SATISFIED
    else:
        state = NOT_TESTED
    return {
        "id": control.id,
        "where": control.where,
        "words": control.words,
        "covers": control.covers,
        "cannot": control.cannot,
        "tests": list(control.tests),
        "untested": untested,
        "state": state,
    }


def _test(test: ControlTest, result: Result) -> dict[str, Any]:
    shown = result.faults[:MOST_FAULTS]
    return {
        "id": test.id,
        "title": test.title,
        "counts": test.counts,
        "state": result.state,
        "tested": result.tested,
        "passed": result.passed,
        "exceptions": len(result.faults),
        "not_applicable": result.not_applicable,
        "because": result.because,
        "faults": [{"about": fault.about, "why": fault.why} for fault in shown],
    }
