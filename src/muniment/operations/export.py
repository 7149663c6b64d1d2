"""
Carry evidence away: choose what a bundle shows, and put it together once the export is recorded.

Two halves, because the record `evidence:exported` stands between them: `plan` says what it must
hold, the caller appends it, `assemble` writes the file that ends with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from muniment.access import records
from muniment.access.registry import Registry
from muniment.errors import Conflict, LogInvalid, Malformed, NotFound
from muniment.evidence import merkle
from muniment.evidence.bundle import (
    Bundle,
    BundledRecord,
    Erased,
    Head,
    Section,
    Withheld,
    disclosure_digest,
    records_digest,
)
from muniment.evidence.log import Log
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.operations.erase import Erasures

#: Whether this reader may see this section of this record.
Give = Callable[[Entry, str], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a bundle is going to show, and what the record of its export has to say."""

    case: str
    #: records of the case, by position
    entries: tuple[Entry, ...]
    #: all records but the export itself, by log index
    included: Mapping[int, Entry]
    #: by record id and name
    sections: Mapping[tuple[str, str], Section]
    #: sizes of the earlier heads that the bundle proves
    sizes: tuple[int, ...]
    #: what `evidence:exported` has to follow
    follows: tuple[bytes, ...]

    @property
    def reads(self) -> dict[str, bytes | None]:
        """The case must still end where the export says that it does."""
        return {self.case: self.entries[-1].leaf}

    def record(self, actor: records.Actor) -> records.EvidenceExported:
        return records.EvidenceExported(
            actor=actor,
            about=self.case,
            last=self.entries[-1].header.position,
            records=records_digest(entry.leaf for entry in self.entries),
            disclosed=disclosure_digest(self.sections, self.sizes),
        )


def plan(
    log: Log,
    registry: Registry,
    erasures: Erasures,
    case: str,
    *,
    give: Give,
    follows: Iterable[Entry] = (),
    sizes: Iterable[int] = (),
) -> Plan:
    """
    What a bundle of this case shows to a reader to whom `give` gives sections.

    `follows` are further records that the export shall rest on and carry (who exported, a review of
    the case); `sizes` are those of heads that the reader keeps. Raises `NotFound` for an unknown
    case and `Malformed` for a size that the log never had.
    """
    entries = log.read_case(case)
    if not entries:
        raise NotFound(f"there is no case `{case}`")
    rests_on = {entry.leaf: entry for entry in (entries[-1], *follows)}
    included = {entry.index: entry for entry in (_entry_at(log, 0), *entries)}
    sections: dict[tuple[str, str], Section] = {}
    waiting = [*entries, *rests_on.values(), included[0]]
    while waiting:
        entry = waiting.pop()
        included[entry.index] = entry
        for name, section in _shown(log, entry, give).items():
            sections[entry.header.id, name] = section
            if isinstance(section, Erased):
                erasure = _explanation(log, erasures, entry, name)
                rests_on[erasure.leaf] = erasure
                waiting += [] if erasure.index in included else [erasure]
        followed = _followed(log, registry, entry)
        waiting += [each for each in followed if each.index not in included]
    return Plan(
        case=case,
        entries=tuple(entries),
        included=included,
        sections=sections,
        sizes=_sizes(log, entries, sizes),
        follows=tuple(rests_on),
    )


def assemble(log: Log, plan: Plan, export: Entry) -> bytes:
    """
    The bytes of the bundle, with `export` as its last record.

    The same plan and export give the same bytes for ever, as long as no section is erased: the
    checkpoint is the first that covers the export. Raises `Conflict` if a section was erased since
    the plan; then plan and export again.
    """
    covering = log.store.checkpoint_at_or_after(export.index + 1)
    if covering is None:
        raise LogInvalid(f"no checkpoint covers entry {export.index}")
    size, checkpoint = covering
    included = {**plan.included, export.index: export}
    names = {name for entry in included.values() for name in entry.header.documents}
    return Bundle(
        checkpoint=checkpoint,
        records=tuple(_record(log, entry, plan, size) for _, entry in sorted(included.items())),
        documents={name: _document(log, name) for name in sorted(names)},
        heads=tuple(_head(log, old, size) for old in plan.sizes),
    ).encode()


def _record(log: Log, entry: Entry, plan: Plan, size: int) -> BundledRecord:
    names = entry.header.sections
    planned = {name: plan.sections[entry.header.id, name] for name in names}
    now = _shown(log, entry, lambda _, name: not isinstance(planned[name], Withheld))
    if now != planned:
        raise Conflict(f"a section of `{entry.header.id}` was erased meanwhile; export again")
    return BundledRecord(
        index=entry.index,
        header=entry.data,
        proof=tuple(log.inclusion(entry.index, size)),
        sections=planned,
    )


def _head(log: Log, old: int, size: int) -> Head:
    root = merkle.Frontier.at(old, log.nodes(size)).root()
    return Head(size=old, root=root, proof=tuple(log.consistency(old, size)))


def _document(log: Log, name: bytes) -> bytes:
    content = log.store.document(name)
    if content is None:
        raise LogInvalid(f"document `{name.hex()}` is gone from the database")
    return content


def _shown(log: Log, entry: Entry, give: Give) -> dict[str, Section]:
    """Each section of a record as this reader is to see it."""
    if not entry.header.sections:
        return {}
    kept, erased = log.store.sections(entry.index), log.store.erased(entry.index)
    shown: dict[str, Section] = {}
    for name, committed in entry.header.sections.items():
        if name in kept:
            shown[name] = kept[name] if give(entry, name) else Withheld()
            if kept[name].commitment(log.log_id, entry.header.id, name) != committed:
                raise LogInvalid(f"section `{name}` of `{entry.header.id}` is not what was sealed")
        elif name in erased:
            shown[name] = Erased(erased[name])
        else:
            raise LogInvalid(f"section `{name}` of `{entry.header.id}` is gone without a trace")
    return shown


# --- where the followed records lie -----------------------------------------------------------


def _followed(log: Log, registry: Registry, entry: Entry) -> Iterator[Entry]:
    """
    The records that this one follows.

    The registry knows where those of people, roles and policy lie; whatever else a record follows
    is of the case that its body names.
    """
    elsewhere: dict[bytes, Entry] = {}
    for leaf in entry.header.follows:
        index = registry.indexes.get(leaf)
        if index is not None:
            yield _entry_at(log, index, leaf)
            continue
        elsewhere = elsewhere or _named_case(log, entry.header)
        if leaf not in elsewhere:
            raise LogInvalid(f"`{entry.header.id}` follows a record that cannot be found")
        yield elsewhere[leaf]


def _named_case(log: Log, header: Header) -> dict[bytes, Entry]:
    match records.parse(header):
        case (
            records.ReviewOpened(about=case)
            | records.EvidenceExported(about=case)
            | records.CallbackSettled(about=case)
        ):
            return {entry.leaf: entry for entry in log.read_case(case)}
        case records.RecordErased(record=record):
            return {entry.leaf: entry for entry in log.read_case(record.partition("/")[0])}
        case _:
            return {}


def _explanation(log: Log, erasures: Erasures, entry: Entry, section: str) -> Entry:
    index = erasures.of(entry.header.id, section)
    if index is None:
        raise LogInvalid(f"no record says that `{section}` of `{entry.header.id}` was erased")
    return _entry_at(log, index)


def _entry_at(log: Log, index: int, leaf: bytes | None = None) -> Entry:
    entry = log.read_entry(index)
    if leaf not in (None, entry.leaf):
        raise LogInvalid(f"entry {index} is not the one that was followed")
    return entry


def _sizes(log: Log, entries: Iterable[Entry], asked: Iterable[int]) -> tuple[int, ...]:
    """Where each record of the case was first covered by a checkpoint, and what was asked for."""
    sizes = set(asked)
    if wrong := sorted(size for size in sizes if not 0 < size <= log.size):
        raise Malformed(f"the log has never had a head of size {wrong[0]}")
    for entry in entries:
        covering = log.store.checkpoint_at_or_after(entry.index + 1)
        if covering is not None:
            sizes.add(covering[0])
    return tuple(sorted(sizes))
