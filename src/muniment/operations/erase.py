"""
Erase one sealed section for good, and once more wherever an older copy brought it back.

The order is: the record `record:erased` (the caller's intent), then the ledger, which no restored
backup takes back, then content and salt in the database. A crash at any point is finished by
`reapply`, from the ledger; a record without a line in the ledger is an erasure to be run again.
"""

from muniment.errors import LogInvalid, NotFound
from muniment.evidence.log import Log
from muniment.evidence.store import Entry, ErasureLedger, entry_of
from muniment.evidence.verify import ERASED


class Erasures:
    """Which record erased which section: a listener of the log, for `Log.open`."""

    def __init__(self) -> None:
        self._index: dict[tuple[str, str], int] = {}

    def take(self, entry: Entry) -> None:
        if entry.header.kind == ERASED:
            body = entry.header.body
            # the first one erased it; another changes nothing
            self._index.setdefault((body["record"], body["section"]), entry.index)

    def of(self, record_id: str, section: str) -> int | None:
        """Log index of the `record:erased` that explains this section."""
        return self._index.get((record_id, section))


def erase_section(log: Log, ledger: ErasureLedger, entry: Entry, section: str, rule: str) -> None:
    """
    Make a section unreadable. Safe to repeat; the record of it stands in the log already.

    When it returns, content and salt are in none of the database's files. `LogUnavailable` says
    that they may still be: call it again.
    """
    if section not in entry.header.sections:
        raise NotFound(f"`{entry.header.id}` has no section `{section}`")
    ledger.add(entry.header.id, section, rule)
    # Crash here: the section is still there, and `reapply` erases it at the next start.
    log.store.erase(entry.index, section, rule)
    if section in log.store.sections(entry.index):
        raise LogInvalid(f"section `{section}` of `{entry.header.id}` is still there")


def reapply(log: Log, ledger: ErasureLedger) -> int:
    """
    Erase again what the ledger remembers; the number of sections that had come back.

    Run at every start, before anybody reads: the database may be a restored backup. The newest
    erasure is repeated in any case, as a crash may have left its bytes in the write-ahead log.
    """
    erasures, count = ledger.erasures(), 0
    for number, (record_id, section, rule) in enumerate(erasures, 1):
        entry = _entry(log, record_id)
        if entry is None:
            continue  # written after this copy was made; the head store refuses such a copy
        came_back = section in log.store.sections(entry.index)
        undone = section not in log.store.erased(entry.index)
        if came_back or undone or number == len(erasures):
            log.store.erase(entry.index, section, rule)
        count += came_back
    return count


def _entry(log: Log, record_id: str) -> Entry | None:
    case, _, position = record_id.partition("/")
    for index, data in log.store.case(case, log.size):
        entry = entry_of(index, data)
        if entry.header.position == int(position):
            return entry
    return None
