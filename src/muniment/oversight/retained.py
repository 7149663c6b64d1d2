"""
All that is kept of a log, a line for each sealed section and each batch of raw events: since when
its time runs, and what it has to do with.

Made from headers, and from the sheets of reviews of many, in the order of the log, each seen once:
whoever has the same log, the same classes and the same moment finds the same list.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from muniment.access import records
from muniment.access.campaign_items import Named
from muniment.access.holding import Concern, Hold
from muniment.access.looking import Looking
from muniment.evidence import moment
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.evidence.verify import ERASED
from muniment.oversight.finding_moments import FindingMoments
from muniment.oversight.retention import Thing

#: the time of these runs once another has taken their place, in their case or everywhere
_IN_CASE: Final = frozenset((records.PrincipalEnrolled.KIND, records.GroupDefined.KIND))
_EVERYWHERE: Final = frozenset((records.ConfigChanged.KIND, records.PolicyActivated.KIND))
_REPLACED: Final = _IN_CASE | _EVERYWHERE
#: cases of these are never closed
_ENDLESS: Final = _REPLACED | {
    records.RoleDefined.KIND,
    records.LogStarted.KIND,
    records.EventsReceived.KIND,
    records.EventsMissed.KIND,
}
_DAY: Final = timedelta(days=1)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_PRINCIPAL, _PERSON = "prn_", "per_"
_NOTHING: Final = Named()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One sealed section that no record says was erased."""

    record: str
    section: str
    #: of its record in the log
    index: int
    leaf: bytes
    kind: str
    case: str
    thing: Thing
    #: from when its time runs; None while it is needed
    since: datetime | None
    concern: Concern


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBatch:
    """Raw events under one record of the log, some of which may be erased already."""

    record: str
    index: int
    leaf: bytes
    source: str
    start: int
    count: int
    thing: Thing
    #: the end of its day
    since: datetime
    concern: Concern
    #: what `events:erased` last said: of the grants that some were left for, and how many were
    left_for: bytes = b""
    left: int | None = None


@dataclass(slots=True)
class _Case:
    kind: str
    opened: datetime
    last: datetime
    closed: datetime | None = None
    about: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Section:
    """Of one record, in the order of the log."""

    header: Header
    index: int
    leaf: bytes
    #: from when its time runs, where its case does not say so
    own: bool = False
    since: datetime | None = None


#: cases that gave access, by when they began, and the longest of them
_Accesses: TypeAlias = tuple[list[tuple[datetime, datetime | None, str]], timedelta]


@dataclass(frozen=True, slots=True)
class _Near:
    """By index of a batch and by resource: which access cases events may be of."""

    size: int
    observed_in: Mapping[int, set[str]]
    access: Mapping[str, _Accesses]


@dataclass
class Retained:
    """Advanced by one entry after the other."""

    _cases: dict[str, _Case] = field(default_factory=dict)
    _sections: list[_Section] = field(default_factory=list)
    _erased: set[tuple[str, str]] = field(default_factory=set)
    #: by principal id
    _persons: dict[str, str] = field(default_factory=dict)
    _roles: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    #: by campaign
    _items: dict[str, Named] = field(default_factory=dict)
    #: what may still be replaced, or revoked, by what does so
    _newest: dict[tuple[str, ...], _Section] = field(default_factory=dict)
    _batches: dict[int, tuple[Header, bytes]] = field(default_factory=dict)
    #: by source, log indexes in their order
    _of_source: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _observed: list[tuple[str, str, int, int]] = field(default_factory=list)
    _left: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    _looking: Looking = field(default_factory=Looking)
    _moments: FindingMoments = field(default_factory=FindingMoments)
    #: what `grants_of` looks up, and how much of the log it is of
    _near: _Near | None = None
    _latest: datetime = _EARLIEST
    size: int = 0

    def take(self, entry: Entry, document: Callable[[bytes], bytes]) -> None:
        """With what gives the documents of the log, by their digests."""
        header, body = entry.header, entry.header.body
        self.size, self._latest = entry.index + 1, max(self._latest, header.at)
        case = self._cases.get(header.case)
        if case is None:
            case = self._cases[header.case] = _Case(header.kind, header.at, header.at)
        case.last = header.at
        self._learn(case, header, body)
        self._looking.take(header)
        self._moments.take(header)
        if header.sections or header.kind in _REPLACED:
            self._seal(_Section(header, entry.index, entry.leaf))
        match header.kind:
            case records.CaseClosed.KIND:
                case.closed = header.at
            case records.CampaignOpened.KIND:
                sheets = (document(bytes.fromhex(each)) for each in body["sheets"])
                self._items[header.case] = Named.read(sheets)
            case _ if header.kind == ERASED:
                self._erased.add((body["record"], body["section"]))
            case records.EventsReceived.KIND:
                self._batches[entry.index] = (header, entry.leaf)
                self._of_source[body["source"]].append(entry.index)
            case records.SessionObserved.KIND if body["batches"]:
                span = (min(body["batches"]), max(body["batches"]))
                self._observed.append((body["source"], body["about"], *span))
            case records.EventsErased.KIND:
                self._left[body["batch"]] = (bytes.fromhex(body["grants"]), body["kept"])
            case records.SessionClosed.KIND | records.TokenRevoked.KIND:
                self._over(header, body)
            case _:
                pass

    def _learn(self, case: _Case, header: Header, body: Mapping[str, Any]) -> None:
        """Who and what a case has to do with."""
        if header.kind == records.PrincipalEnrolled.KIND:
            self._persons[header.case] = body["person"]
        if header.kind == records.RoleDefined.KIND:
            self._roles[body["resource"], body["role"]] = (body["environment"], body["data"])
        for text in _texts(body):
            if text.startswith(_PERSON):
                case.persons.add(text)
            elif text.startswith(_PRINCIPAL) and text in self._persons:
                case.persons.add(self._persons[text])
        about = body.get("about")
        named = [about] if isinstance(about, str) else about if isinstance(about, list) else []
        case.about.update(each.partition("/")[0] for each in named)
        resource = body.get("resource")
        if isinstance(resource, str) and resource:
            case.resources.add(resource)
            self._label(case, resource, body.get("role"))

    def _label(self, case: _Case, resource: str, role: object) -> None:
        exact = self._roles.get((resource, role)) if isinstance(role, str) else None
        known = [exact] if exact is not None else [
            labels for (named, _), labels in self._roles.items() if named == resource
        ]  # fmt: skip
        for environment, data in known:
            case.environments.add(environment)
            case.data.add(data)

    def _seal(self, section: _Section) -> None:
        """A record with sections, or one that takes the place of such: then that begins to age."""
        header, body = section.header, section.header.body
        if header.sections:
            self._sections.append(section)
        place: tuple[str, ...] | None = None
        if header.kind in _IN_CASE:
            place = (header.kind, header.case)
            section.since = None if body["active"] else header.at
        elif header.kind in _EVERYWHERE:
            place = (header.kind,)
        elif header.kind == records.DriftScanned.KIND:
            place = (header.kind, body["resource"], body["target"])
        elif header.kind in (records.SessionOpened.KIND, records.TokenEnrolled.KIND):
            place = (header.kind, body["token"])
            section.since = moment.parse(body["expires"]) if body["expires"] else None
        if place is not None:
            section.own = True
            before = self._newest.get(place)
            if before is not None:
                before.since = _earlier(before.since, header.at)
            self._newest[place] = section
            if header.kind == records.SessionOpened.KIND:
                self._newest[header.kind, header.case] = section

    def _over(self, header: Header, body: Mapping[str, Any]) -> None:
        """A session was closed, or a token revoked: what was said of it begins to age."""
        if header.kind == records.SessionClosed.KIND:
            found = self._newest.get((records.SessionOpened.KIND, header.case))
        else:
            found = self._newest.get((records.TokenEnrolled.KIND, body["token"]))
        if found is not None:
            found.since = _earlier(found.since, header.at)

    # --- what is kept ----------------------------------------------------------------------------

    def sections(self) -> Iterator[Kept]:
        """Every section that no record says was erased, in the order of the log."""
        known: dict[str, tuple[datetime | None, Concern]] = {}
        for each in self._sections:
            header, id_ = each.header, each.header.case
            case = self._cases[id_]
            if id_ not in known:
                known[id_] = self._since(id_, case), self._concern(id_, case)
            since, concern = known[id_]
            if each.own:
                since = each.since
                concern = replace(concern, begins=header.at, ends=each.since)
            for name in sorted(header.sections):
                if (header.id, name) not in self._erased:
                    yield Kept(
                        record=header.id, section=name, index=each.index, leaf=each.leaf,
                        kind=header.kind, case=id_,
                        thing=_thing(header.kind, name, (case, *self._about(case))),
                        since=since, concern=concern,
                    )  # fmt: skip

    def _since(self, id_: str, case: _Case) -> datetime | None:
        """The end of a case, and of those that it is about; None while somebody needs it."""
        others = [found for found in self._about(case) if found.kind not in _ENDLESS]
        ends = [case.closed, *(found.closed for found in others)]
        if any(self._looking.at(each) for each in (id_, *case.about)):
            return None
        closed = [each for each in ends if each is not None]
        return max(closed) if len(closed) == len(ends) else None

    def _about(self, case: _Case) -> list[_Case]:
        return [self._cases[each] for each in case.about if each in self._cases]

    def _concern(self, id_: str, case: _Case) -> Concern:
        others, items = self._about(case), self._items.get(id_, _NOTHING)
        near: tuple[_Case | Named, ...] = (case, items, *others)
        return Concern(
            cases=frozenset((id_, *case.about)),
            persons=frozenset().union(*(each.persons for each in near)),
            resources=frozenset().union(*(each.resources for each in near)),
            reviewed=items.cases,
            begins=min(case.opened, *(each.opened for each in others)) if others else case.opened,
            ends=case.closed and max(case.closed, *(each.last for each in others), case.closed),
        )

    def held(self, holds: Sequence[Hold]) -> Iterator[str]:
        """Ids of the access cases that a hold covers, whatever was erased of them before."""
        for id_, case in self._cases.items() if holds else ():
            asked = case.kind == records.AccessRequested.KIND
            if asked and holding(holds, self._concern(id_, case)) is not None:
                yield id_

    def batches(self) -> Iterator[KeptBatch]:
        """Every batch of raw events, in the order of the log."""
        for index, (header, leaf) in self._batches.items():
            body = header.body
            resource = body["resource"]
            said = [moment.parse(body["first"]), moment.parse(body["last"]), header.at]
            # a source that names its resources itself may speak of any of them
            resources = frozenset((resource,)) if resource else self._resources
            left_for, left = self._left.get(header.id, (b"", None))
            yield KeptBatch(
                record=header.id, index=index, leaf=leaf, source=body["source"],
                start=body["start"], count=body["count"],
                thing=Thing(source=body["source"], resources=resources),
                since=_end_of_day(max(said)),
                concern=Concern(resources=resources, begins=min(said), ends=max(said)),
                left_for=left_for, left=left,
            )  # fmt: skip

    @property
    def _resources(self) -> frozenset[str]:
        return frozenset(resource for resource, _ in self._roles)

    def grants_of(self, batch: KeptBatch) -> set[str]:
        """
        Access cases that a batch may have events of: the store of events says of which it has.

        Those that sessions were observed of in it, and those of its resources at its time.
        NOTE: of all entries; asked for once they were taken.
        """
        if self._near is None or self._near.size != self.size:
            self._near = _Near(self.size, self._observed_in(), self._access())
        found = set(self._near.observed_in.get(batch.index, ()))
        begins, ends = batch.concern.begins - _DAY, batch.concern.ends or batch.concern.begins
        for resource in batch.concern.resources:
            cases, longest = self._near.access.get(resource, ([], timedelta(0)))
            first = bisect_left(cases, begins - longest, key=lambda each: each[0])
            for opened, closed, id_ in cases[first:]:
                if opened > ends:
                    break
                if closed is None or closed >= begins:
                    found.add(id_)
        return found

    def findings_of(self, batch: KeptBatch) -> Iterator[tuple[bool, Concern]]:
        """Those that may rest on events of a batch: whether each is open, and what it concerns."""
        for id_ in self._moments.near(batch.concern):
            case = self._cases[id_]
            yield case.closed is None, self._concern(id_, case)

    def _observed_in(self) -> dict[int, set[str]]:
        """By index of the batch. A session names some of its batches: all between count."""
        found: dict[int, set[str]] = defaultdict(set)
        for source, grant, first, last in self._observed:
            indexes = self._of_source.get(source, [])
            for index in indexes[bisect_left(indexes, first) : bisect_right(indexes, last)]:
                found[index].add(grant)
        return found

    def _access(self) -> dict[str, _Accesses]:
        """Access cases by resource, in the order in which they began, and the longest of them."""
        found: dict[str, list[tuple[datetime, datetime | None, str]]] = defaultdict(list)
        longest: dict[str, timedelta] = defaultdict(timedelta)
        for id_, case in self._cases.items():
            for resource in case.resources if case.kind == records.AccessRequested.KIND else ():
                found[resource].append((case.opened, case.closed, id_))
                lasted = (case.closed or max(case.last, self._latest)) - case.opened
                longest[resource] = max(longest[resource], lasted)
        return {name: (sorted(cases, key=lambda each: each[0]), longest[name])
                for name, cases in found.items()}  # fmt: skip


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _thing(kind: str, name: str, cases: Sequence[_Case]) -> Thing:
    """Of a case, and of those that it is about: what is said of restricted data is restricted."""
    return Thing(
        kind=kind,
        section=name,
        resources=frozenset().union(*(case.resources for case in cases)),
        environments=frozenset().union(*(case.environments for case in cases)),
        data=frozenset().union(*(case.data for case in cases)),
    )


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)


def _end_of_day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY


def holding(holds: Iterable[Hold], concern: Concern) -> Hold | None:
    """The first hold that covers this."""
    return next((each for each in holds if each.covers(concern)), None)
