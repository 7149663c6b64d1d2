"""
Erase sealed sections for good, and once more wherever an older copy brought them back.

The order is: the record `record:erased` (the caller's intent), then the ledger, which no restored
backup takes back, then content and salt in the database. What a crash cut short is finished by
`finish` at the next start, from the log and from the ledger. Raw events go in the same order:
`operations.erase_events`.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from muniment.access import records
from muniment.access.holding import Holding
from muniment.access.looking import Looking
from muniment.errors import LogInvalid, LogUnavailable, NotFound
from muniment.evidence.log import Log
from muniment.evidence.store import Entry, ErasureLedger, entry_of
from muniment.evidence.verify import ERASED
from muniment.oversight.retention import Rules

#: begins the ids of cases in which something is erased
RUNS: Final = "ers"
#: what the ledger has in place of a section where a record says that raw events went
EVENTS: Final = "events"
_EVENTS_ERASED: Final = records.EventsErased.KIND
#: what somebody erases by his own word counts against what he may for so long
DAY: Final = timedelta(days=1)

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erasing:
    """A section that a record says is to go."""

    #: of its record in the log
    index: int
    record: str
    section: str
    rule: str


class Erasures:
    """Which record erased what, and what is held: a listener of the log, for `Log.open`."""

    def __init__(self) -> None:
        #: log index of the record, and its rule
        self._found: dict[tuple[str, str], tuple[int, str]] = {}
        #: record ids and bodies of every `events:erased`, in the order of the log
        self.events: list[tuple[str, records.EventsErased]] = []
        #: the newest of them, by the record id of the batch
        self.newest: dict[str, records.EventsErased] = {}
        #: when each person erased something by his own word, in the last day of the log
        self._own_words: dict[str, deque[datetime]] = defaultdict(deque)
        #: every hold, and every run that erases
        self.holding = Holding()
        #: where somebody is looking
        self.looking = Looking()
        #: the classes of the configuration that this process was built from
        self.rules = Rules()
        #: one walk over the whole log at a time
        self.walking = asyncio.Lock()
        #: when the schedule last looked, in this process
        self.looked_at: datetime | None = None
        #: whether this process could not finish what it had recorded: it is done again
        self.unfinished = False

    def take(self, entry: Entry) -> None:
        if entry.header.kind == ERASED:
            body = entry.header.body
            # the first one erased it; another changes nothing
            self._found.setdefault((body["record"], body["section"]), (entry.index, body["rule"]))
            self._count(body["actor"]["persons"], entry.header.at)
        record = records.parse(entry.header) if entry.header.kind == _EVENTS_ERASED else None
        if isinstance(record, records.EventsErased):
            self.newest[record.batch] = record
            self.events.append((entry.header.id, record))
        self.looking.take(entry.header)
        self.holding.take(entry)

    def _count(self, persons: Iterable[str], at: datetime) -> None:
        for person in persons:
            said = self._own_words[person]
            said.append(at)
            while said[0] <= at - DAY:
                said.popleft()

    def by_own_word(self, person: str, at: datetime) -> int:
        """How much this person erased by his own word in the day before this moment."""
        return sum(each > at - DAY for each in list(self._own_words.get(person, ())))

    def of(self, record_id: str, section: str) -> int | None:
        """Log index of the `record:erased` that explains this section."""
        found = self._found.get((record_id, section))
        return None if found is None else found[0]

    def rule_of(self, record_id: str, section: str) -> str | None:
        """The rule under which a section went; None for one that no record says was erased."""
        found = self._found.get((record_id, section))
        return None if found is None else found[1]

    def left(self, entry: Entry, sections: Mapping[str, T]) -> dict[str, T]:
        """
        Those that nothing says were erased.

        Nobody is shown what the log says is gone, also while its bytes are still there.
        """
        return {
            name: each
            for name, each in sections.items()
            if (entry.header.id, name) not in self._found
        }

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Record id, section and rule of everything that the log says was erased."""
        for (record_id, section), (_, rule) in list(self._found.items()):
            yield record_id, section, rule


def erase_section(log: Log, ledger: ErasureLedger, entry: Entry, section: str, rule: str) -> None:
    """
    Make a section unreadable. Safe to repeat; the record of it stands in the log already.

    When it returns, content and salt are in none of the database's files. `LogUnavailable` says
    that they may still be: call it again.
    """
    if section not in entry.header.sections:
        raise NotFound(f"`{entry.header.id}` has no section `{section}`")
    ledger.add(entry.header.id, section, rule)
    # Crash here: the section is still there, and `finish` erases it at the next start.
    log.store.erase(entry.index, section, rule)
    if section in log.store.sections(entry.index):
        raise LogInvalid(f"section `{section}` of `{entry.header.id}` is still there")


def erase_sections(log: Log, ledger: ErasureLedger, erasing: Sequence[Erasing]) -> None:
    """The same for many, in one go: the files are cleared once. Records of all of them stand."""
    ledger.add_many([(each.record, each.section, each.rule) for each in erasing])
    # Crash here: as above.
    log.store.erase_many([(each.index, each.section, each.rule) for each in erasing])
    for each in erasing:
        if each.section in log.store.sections(each.index):
            raise LogInvalid(f"section `{each.section}` of `{each.record}` is still there")


def finish(log: Log, ledger: ErasureLedger, erasures: Erasures, *, starting: bool = True) -> int:
    """
    Erase whatever was erased by the log or by the ledger; the number of sections that were there.

    Run at every start, before anybody reads: the database may be a restored backup, and a crash may
    have come between record and deletion. A ledger that knows more than the log is the sign of an
    older copy of the log, as the record always comes first: `LogInvalid`, and nothing is served.
    The newest erasure is repeated in any case: its bytes may have stayed in the write-ahead log.
    Raises `LogUnavailable` where they still do; at a start that is logged, and done again later.
    """
    known = erased_by(ledger)
    if _unexplained(known, erasures):
        log.look_again()  # another node may just have recorded it
    check_explained(known, erasures)
    again: list[Erasing] = []
    unknown: list[tuple[str, str, str]] = []
    count = 0
    for record_id, section, rule in reversed(list(erasures)):
        entry = _entry(log, record_id)
        if entry is None or section not in entry.header.sections:
            raise LogInvalid(f"`{section}` of `{record_id}` was erased, but is not in this log")
        if (record_id, section) not in known:
            unknown.append((record_id, section, rule))
        there = section in log.store.sections(entry.index)
        if there or not again or section not in log.store.erased(entry.index):
            again.append(Erasing(entry.index, record_id, section, rule))
        count += there
    ledger.add_many(unknown)
    _erase_again(log, erasures, again, starting=starting)
    return count


def check_explained(known: set[tuple[str, str]], erasures: Erasures) -> None:
    """Raises `LogInvalid` unless the log has the record of whatever the ledger knows of."""
    if missing := sorted(_unexplained(known, erasures)):
        record_id, section = missing[0]
        raise LogInvalid(
            f"the erasure ledger knows that `{section}` of `{record_id}` was erased, and this "
            "log does not: this is an older copy of the log"
        )


def erased_by(ledger: ErasureLedger) -> set[tuple[str, str]]:
    """
    Record ids and sections of all that the ledger knows of.

    NOTE: whoever only looks reads it before the log, to which others may write meanwhile: a record
    always comes first, so that a log which is read later has them all.
    """
    return {(record_id, section) for record_id, section, _ in ledger.erasures()}


def _unexplained(known: set[tuple[str, str]], erasures: Erasures) -> set[tuple[str, str]]:
    """What the ledger knows of, and no record of the log."""
    events = {record for record, _ in erasures.events}
    return {
        (record, section)
        for record, section in known
        if (record not in events if section == EVENTS else erasures.of(record, section) is None)
    }


def _erase_again(log: Log, erasures: Erasures, again: Sequence[Erasing], *, starting: bool) -> None:
    """What lies where nobody reads it is no reason not to start: the upkeep goes on trying."""
    if not again:
        return
    try:
        log.store.erase_many([(each.index, each.section, each.rule) for each in again])
    except LogUnavailable as error:
        erasures.unfinished = True
        if not starting or any(each.section in log.store.sections(each.index) for each in again):
            raise
        newest = again[0]
        _log.error(
            "the erasure of `%s` of `%s`, and of what went before, is not finished: %s",
            newest.section,
            newest.record,
            error,
        )


def _entry(log: Log, record_id: str) -> Entry | None:
    case, _, position = record_id.partition("/")
    records = log.store.case(case, log.size)
    if int(position) >= len(records):
        return None
    entry = entry_of(*records[int(position)])
    return entry if entry.header.id == record_id else None
