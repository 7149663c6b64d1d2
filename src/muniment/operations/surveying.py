"""
Read the log for evidence health, and see what stands beside it: documents, witnesses, stamps.

The first reading of a long log takes a while: it is done in pieces, so that whoever asks is told
how far it came, and each later look reads only what is new.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Final, TypeAlias

from muniment.access import records
from muniment.access.holding import Concern, Hold
from muniment.errors import Unavailable
from muniment.evidence.keys import COMPROMISED
from muniment.evidence.record import Header
from muniment.evidence.store import LOST, Published, entry_of
from muniment.operations import index_cases, publish
from muniment.operations.service import Service
from muniment.operations.surveyed import Surveyed
from muniment.oversight.health import Doubt, Known, Reach, Survey
from muniment.oversight.population import Line
from muniment.oversight.retained import holding
from muniment.oversight.retention import Ruling, Thing

#: entries that are read at once, and those that are read for somebody who waits
PIECE: Final = 5000
MOST_WAITED_FOR: Final = 40_000
#: seconds that somebody is kept waiting for another who reads or judges already
PATIENCE: Final = 2.0
#: seconds between two pieces that nobody waits for: others want to do something, too
BREATH: Final = 0.01
#: how long witnesses, stamps (beside what their settings say) and the index may take
_WITNESSES, _STAMPS, _INDEX = timedelta(minutes=10), timedelta(minutes=10), timedelta(hours=2)
#: sealed contents that are looked for in one look; the others have their turn in the next
MOST_LOOKED_FOR, _LOOKED_AT_ONCE = 50_000, 500
_STOPPING: Final = "the log is not looked at any further: the service is stopping"
#: what is sealed of every access case, or of most
_SEALED: Final = (
    ("access:requested", "reason"),
    ("decision:evaluated", "decision"),
    ("approval:given", "note"),
)
#: sections, each with what the classes say of it
_Rulings: TypeAlias = list[tuple[str, Ruling]]
#: published checkpoints that are gone through for one that somebody put something to
_MOST_PUBLISHED: Final = 5000


@contextmanager
def surveyed(
    service: Service, *, most: int | None = MOST_WAITED_FOR, patience: float = PATIENCE
) -> Iterator[Surveyed]:
    """
    All that the log says, up to now. Others wait until it is left, for so many seconds.

    Raises `Unavailable` where more than `most` entries have to be read first: they are read, and it
    is asked for again.
    """
    kept, size = service.observing.surveyed, service.log.size
    if not kept.lock.acquire(timeout=patience if most is not None else -1):
        raise Unavailable(_how_far(service, kept.survey))
    try:
        read_on(service, kept.survey, most=most)
        if kept.survey.size < size:
            raise Unavailable(_how_far(service, kept.survey))
        yield kept
    finally:
        kept.lock.release()


def bring_up(service: Service) -> None:
    """
    Read whatever is new, in pieces, so that nobody who asks has to wait for all of it.

    Raises `Unavailable` once `stop` is set.
    """
    kept = service.observing.surveyed
    while kept.survey.size < service.log.size:
        with kept.lock:
            read_on(service, kept.survey, most=PIECE)
        if kept.stop.wait(BREATH):
            raise Unavailable(_STOPPING)


def _how_far(service: Service, survey: Survey) -> str:
    return (
        f"the log is being read for this: {survey.size:,} of {service.log.size:,} entries so far; "
        "ask again in a moment"
    )


def read_on(service: Service, survey: Survey, *, most: int | None) -> None:
    """Up to so many entries; None: all there are."""
    store, stop = service.log.store, service.log.size
    if most is not None:
        stop = min(stop, survey.size + most)
    while survey.size < stop:
        start = survey.size
        for index, data in store.entries(start, min(stop, start + PIECE)):
            survey.take(index, Header.parse(data))
        if survey.size == start:
            raise Unavailable(f"entry {start} cannot be read from the database")


def known(service: Service, kept: Surveyed, lines: Collection[Line]) -> Known:
    """What is known around these grants."""
    now = service.now()
    return Known(
        now=now,
        missing=_missing(service, lines),
        witnessed=_witnessed(service, now),
        stamped=_stamped(service, now),
        indexed=_indexed(service, now),
        doubts=_doubts(service),
        lost=frozenset(kept.lost),
        conflicts=_conflicts(service, lines),
        unwatched=_unwatched(service, kept.survey),
        overdue=_overdue(service, now),
    )


def _overdue(service: Service, now: datetime) -> frozenset[str]:
    campaigns = list(service.registry.campaigns.open.values())
    return frozenset(each.case for each in campaigns if each.record.due < now)


def _unwatched(service: Service, survey: Survey) -> frozenset[str]:
    """Sources without a heartbeat, and those that are no longer declared."""
    sources = service.observing.sources
    watched = {name for name, source in sources.items() if source.heartbeat is not None}
    return frozenset(survey.sources.keys() - watched)


# --- documents --------------------------------------------------------------------------------


def _missing(service: Service, lines: Iterable[Line]) -> frozenset[bytes]:
    bundles, definitions = set[bytes](), set[bytes]()
    for line in lines:
        if line.authorized is not None:
            bundles.add(line.bundle)
            definitions |= {line.definition, line.issued_definition}
    gone = {each for each in bundles if each and not _has_bundle(service, each)}
    gone |= {each for each in definitions if each and _document(service, each) is None}
    return frozenset(gone)


def _has_bundle(service: Service, digest: bytes) -> bool:
    """A bundle is there if its manifest is, and every file that it names."""
    manifest = _document(service, digest)
    if manifest is None:
        return False
    named = (line.partition("  ")[0] for line in manifest.decode().splitlines())
    return all(_document(service, bytes.fromhex(each)) is not None for each in named)


def _document(service: Service, digest: bytes) -> bytes | None:
    """None also for something else under its name."""
    content = service.log.store.document(digest)
    return content if content is not None and sha256(content).digest() == digest else None


# --- retention --------------------------------------------------------------------------------


def _conflicts(service: Service, lines: Iterable[Line]) -> dict[str, str]:
    """By case: what keeps something that a class wants gone."""
    if not service.erasures.rules.classes:
        return {}
    found, known_ = dict[str, str](), dict[tuple[str, str, str], _Rulings]()
    standing, now = service.erasures.holding.standing(), service.now()
    for line in lines:
        place = (line.resource, line.role, line.environment)
        if place not in known_:
            known_[place] = _rulings(service, *place)
        says = _contradiction(known_[place]) or _held(standing, line, known_[place], now)
        if says:
            found[line.case] = says
    return found


def _rulings(service: Service, resource: str, role: str, environment: str) -> _Rulings:
    """What the classes say of each section of a case."""
    defined = service.registry.roles.get((resource, role))
    data = frozenset((defined.data,)) if defined is not None else frozenset[str]()
    things = (
        Thing(
            kind=kind,
            section=section,
            resources=frozenset((resource,)),
            environments=frozenset((environment,)),
            data=data,
        )
        for kind, section in _SEALED
    )
    return [(each.section, service.erasures.rules.ruling(each)) for each in things]


def _contradiction(rulings: _Rulings) -> str:
    for section, ruling in rulings:
        if ruling.conflict:
            return f"`{ruling.kept_by}` keeps its `{section}`, which `{ruling.goes_by}` wants gone"
    return ""


def _held(standing: Sequence[Hold], line: Line, rulings: _Rulings, now: datetime) -> str:
    over = [each for each in rulings if each[1].has_gone(line.closed, now)]
    if not standing or not over:
        return ""
    approved = (each.person for each in line.approved)
    concern = Concern(
        cases=frozenset((line.case,)),
        persons=frozenset((*line.persons, *approved)),
        resources=frozenset((line.resource,)),
        begins=line.requested,
        ends=line.closed,
    )
    by = holding(standing, concern)
    ((section, ruling), *_) = over
    return (
        ""
        if by is None
        else (f"`{by.id}` holds its `{section}`, which `{ruling.goes_by}` wants gone")
    )


# --- what covers the log ----------------------------------------------------------------------


def _witnessed(service: Service, now: datetime) -> Reach | None:
    if service.publishing.rules is None:
        return None
    size = _newest(service, lambda published: publish.is_witnessed(service, published))
    return Reach(size=size, settled=_first_since(service, now - _WITNESSES))


def _stamped(service: Service, now: datetime) -> Reach | None:
    authorities = service.publishing.authorities.values()
    if not authorities:
        return None
    wait = max(each.every for each in authorities) + _STAMPS
    size = _newest(service, lambda published: bool(published.stamps))
    return Reach(size=size, settled=_first_since(service, now - wait))


def _indexed(service: Service, now: datetime) -> Reach:
    entry, size = service.registry.indexed, 0
    if entry is not None:
        record = records.parse(entry.header)
        size = record.size if isinstance(record, records.LogIndexed) else 0
    return Reach(size=size, settled=_first_since(service, now - index_cases.EVERY - _INDEX))


def _newest(service: Service, has: Callable[[Published], bool]) -> int:
    """
    Size of the largest published checkpoint to which this was put; 0 for none among the newest.

    The store goes forwards only: it is begun further and further from the end.
    """
    store, looked = service.log.store, 0
    newest = store.published()
    if newest is None or has(newest):
        return 0 if newest is None else newest.size
    stop, back = newest.size, 64
    while stop > 1 and looked < _MOST_PUBLISHED:
        start = at = max(0, newest.size - back)
        found = 0
        while looked < _MOST_PUBLISHED:
            each = store.published_at_or_after(at + 1)
            if each is None or each.size >= stop:
                break
            looked, at = looked + 1, each.size
            found = each.size if has(each) else found
        if found:
            return found
        stop, back = start + 1, 8 * back
    return 0


def _first_since(service: Service, since: datetime) -> int:
    """Index of the first entry that is not older: times of the log hardly ever go back."""
    low, high = 0, service.log.size
    while low < high:
        middle = (low + high) // 2
        ((index, data),) = service.log.store.entries(middle, middle + 1)
        if entry_of(index, data).header.at < since:
            low = middle + 1
        else:
            high = middle
    return low


def _doubts(service: Service) -> tuple[Doubt, ...]:
    return tuple(
        Doubt(start=key.added if key.since is None else key.since, stop=key.retired)
        for key in service.log.keys.all
        if key.reason == COMPROMISED and key.retired is not None
    )


# --- sealed content ---------------------------------------------------------------------------


def look_for_sealed(service: Service) -> None:
    """
    Of each grant the first and the newest sealed content: what a copy lost, it lost in one piece.

    A bounded number; those that are left have their turn the next time. Nobody waits for it: each
    is a question to the database. Raises `Unavailable` once `stop` is set.
    """
    kept = service.observing.surveyed
    with kept.lock:
        todo = list(islice(_not_looked_at(kept), MOST_LOOKED_FOR // 2))
    for number, (line, newest) in enumerate(todo):
        for index in {line.first, newest}:
            _look(service, kept, line.case, index)
        kept.looked[line.case] = newest
        if number % _LOOKED_AT_ONCE == 0 and kept.stop.wait(BREATH):
            raise Unavailable(_STOPPING)


def _not_looked_at(kept: Surveyed) -> Iterator[tuple[Line, int]]:
    for case, line in kept.survey.population.lines.items():
        newest = kept.survey.sealed.get(case)
        if line.authorized and newest is not None and kept.looked.get(case) != newest:
            yield line, newest


def look_at_one(service: Service, kept: Surveyed, case: str) -> None:
    """Every sealed content of one case."""
    for entry in service.log.read_case(case):
        if entry.header.sections:
            _look(service, kept, case, entry.index)


def _look(service: Service, kept: Surveyed, case: str, index: int) -> None:
    if LOST in service.log.store.erased(index).values():
        kept.lost.add(case)
