"""
Erase one sealed section for good, and once more wherever an older copy brought it back.

The order is: the record `record:erased` (the caller's intent), then the ledger, which no restored
backup takes back, then content and salt in the database. What a crash cut short is finished by
`finish` at the next start, from the log and from the ledger.
"""

import logging
from collections.abc import Iterator

from muniment.errors import LogInvalid, LogUnavailable, NotFound
from muniment.evidence.log import Log
from muniment.evidence.store import Entry, ErasureLedger, entry_of
from muniment.evidence.verify import ERASED

_log = logging.getLogger(__name__)


class Erasures:
    """Which record erased which section: a listener of the log, for `Log.open`."""

    def __init__(self) -> None:
        #: log index of the record, and its rule
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def take(self, entry: Entry) -> None:
        if entry.header.kind == ERASED:
            body = entry.header.body
            # the first one erased it; another changes nothing
            self._found.setdefault((body["record"], body["section"]), (entry.index, body["rule"]))

    def of(self, record_id: str, section: str) -> int | None:
        """Log index of the `record:erased` that explains this section."""
        found = self._found.get((record_id, section))
        return None if found is None else found[0]

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


def finish(log: Log, ledger: ErasureLedger, erasures: Erasures) -> int:
    """
    Erase whatever was erased by the log or by the ledger; the number of sections that were there.

    Run at every start, before anybody reads: the database may be a restored backup, and a crash may
    have come between record and deletion. A ledger that knows more than the log is the sign of an
    older copy of the log, as the record always comes first: `LogInvalid`, and nothing is served.
    The newest erasure is repeated in any case: its bytes may have stayed in the write-ahead log.
    """
    known = {(record_id, section) for record_id, section, _ in ledger.erasures()}
    if any(erasures.of(*each) is None for each in known):
        log.look_again()  # another node may just have recorded it
    for record_id, section in known:
        if erasures.of(record_id, section) is None:
            raise LogInvalid(
                f"the erasure ledger knows that `{section}` of `{record_id}` was erased, and this "
                "log does not: this is an older copy of the log"
            )
    count, repeated = 0, False
    for record_id, section, rule in reversed(list(erasures)):
        entry = _entry(log, record_id)
        if entry is None or section not in entry.header.sections:
            raise LogInvalid(f"`{section}` of `{record_id}` was erased, but is not in this log")
        if (record_id, section) not in known:
            ledger.add(record_id, section, rule)
        there = section in log.store.sections(entry.index)
        if there or not repeated or section not in log.store.erased(entry.index):
            _erase_again(log, entry, section, rule)
        count, repeated = count + there, True
    return count


def _erase_again(log: Log, entry: Entry, section: str, rule: str) -> None:
    """What lies where nobody reads it is no reason not to start: the next erasure finishes it."""
    try:
        log.store.erase(entry.index, section, rule)
    except LogUnavailable as error:
        if section in log.store.sections(entry.index):
            raise
        record = entry.header.id
        _log.error("the erasure of `%s` of `%s` is not finished: %s", section, record, error)


def _entry(log: Log, record_id: str) -> Entry | None:
    case, _, position = record_id.partition("/")
    records = log.store.case(case, log.size)
    if int(position) >= len(records):
        return None
    entry = entry_of(*records[int(position)])
    return entry if entry.header.id == record_id else None
