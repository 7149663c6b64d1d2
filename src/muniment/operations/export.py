"""
Carry evidence away: choose what a bundle shows, and put it together once the export is recorded.

Two halves, because the record `evidence:exported` stands between them: `plan` says what it must
hold, the caller appends it, `assemble` writes the file that ends with it. In between `cover` may
have a checkpoint published that covers the record: its cosignatures and time stamps go along.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from muniment.access import records
from muniment.access.registry import Registry
from muniment.errors import (
    Conflict,
    EvidenceError,
    LogInvalid,
    Malformed,
    MunimentError,
    NoteInvalid,
    NotFound,
    StampInvalid,
)
from muniment.evidence import merkle
from muniment.evidence.bundle import (
    MAX_BUNDLE,
    MAX_HEADS,
    MAX_RECORDS,
    MAX_STAMPS,
    Bundle,
    BundledRecord,
    Erased,
    Head,
    Section,
    Withheld,
    disclosure_digest,
    records_digest,
)
from muniment.evidence.keys import only
from muniment.evidence.log import Log
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.note import MAX_SIGNATURES, KeyType, Signature, VerifierKey, parse_note
from muniment.evidence.record import Header, Sealed
from muniment.evidence.stamp import open_token
from muniment.evidence.store import LOST, Entry, Published, Stamp
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations.erase import Erasures

#: how long an export waits for what others put to its checkpoint, in seconds
COVER_SECONDS: Final = 10.0
#: Publishes a checkpoint over at least so many entries.
Publish: TypeAlias = Callable[[int], Awaitable[Published | None]]
#: a scan and the ends of all the removals that it saw done stand within so many entries
_NEAR: Final = 1000
#: bytes of a hash in a bundle, and of what is not known before the export is recorded
_HEX, _REST = 67, 1 << 19
_log = logging.getLogger(__name__)

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
    #: the rule under which the log says that a section of a record was erased
    rule_of: Callable[[str, str], str | None] = field(repr=False)
    #: the log's policy on witnesses, word for word (C2SP tlog-policy); empty where it has none
    witness_policy: bytes = b""

    @property
    def reads(self) -> dict[str, bytes | None]:
        """The case must still end where the export says that it does."""
        return {self.case: self.entries[-1].leaf}

    @property
    def documents(self) -> tuple[bytes, ...]:
        """What `evidence:exported` has to name: it fixes whose cosignatures may go along."""
        return (self.witness_policy,) if self.witness_policy else ()

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
    witness_policy: bytes = b"",
) -> Plan:
    """
    What a bundle of this case shows to a reader to whom `give` gives sections.

    `follows` are further records that the export shall rest on and carry (who exported, a review of
    the case); `sizes` are those of heads that the reader keeps; `witness_policy` is the file that
    names the log's witnesses. Raises `NotFound` for an unknown
    case, `Malformed` for a size that the log never had, and `Conflict` for more than a bundle
    holds: nobody would record that he carried away what cannot be carried.
    """
    entries = log.read_case(case)
    if not entries:
        raise NotFound(f"there is no case `{case}`")
    # a reader of another key than the first needs the records that lead to his
    keys = [_entry_at(log, index, leaf) for index, leaf in list(registry.keys.items())]
    rests_on = {entry.leaf: entry for entry in (entries[-1], *follows, *keys)}
    included = {entry.index: entry for entry in (_entry_at(log, 0), *entries)}
    erased_in = _ErasedIn(log)
    sections: dict[tuple[str, str], Section] = {}
    waiting = [*entries, *rests_on.values(), included[0]]
    while waiting:
        entry = waiting.pop()
        included[entry.index] = entry
        for name, section in _shown(log, entry, give, erasures.rule_of).items():
            sections[entry.header.id, name] = section
            if isinstance(section, Erased):
                erasure = _explanation(log, erasures, entry, name)
                rests_on[erasure.leaf] = erasure
                waiting += [] if erasure.index in included else [erasure]
        if len(included) >= MAX_RECORDS:
            raise Conflict(f"this takes more than the {MAX_RECORDS:,} records that a bundle holds")
        followed = _followed(log, registry, entry, erased_in)
        waiting += [each for each in followed if each.index not in included]
    shown = _sizes(log, entries, sizes)
    _check_room(log, included, sections, shown)
    return Plan(
        case=case,
        entries=tuple(entries),
        included=included,
        sections=sections,
        sizes=shown,
        follows=tuple(rests_on),
        rule_of=erasures.rule_of,
        witness_policy=witness_policy,
    )


def _check_room(
    log: Log,
    included: Mapping[int, Entry],
    sections: Mapping[tuple[str, str], Section],
    sizes: Sequence[int],
) -> None:
    """As large as it will be, but for proofs of unknown length: they are reckoned in full."""
    if len(sizes) > MAX_HEADS:
        raise Conflict(f"this takes more than the {MAX_HEADS:,} heads that a bundle holds")
    names = {name for entry in included.values() for name in entry.header.documents}
    contents = [each.content for each in sections.values() if isinstance(each, Sealed)]
    sealed = [len(content) for content in contents] + [len(_document(log, name)) for name in names]
    proof = _HEX * log.size.bit_length()
    room = MAX_BUNDLE - _REST - sum(_HEX * 4 + length * 4 // 3 for length in sealed)
    room -= (len(included) + len(sizes)) * (proof + _HEX)
    room -= sum(len(entry.data) + entry.data.count(b'"') for entry in included.values())
    if room < 0:
        most = MAX_BUNDLE // (1 << 20)
        raise Conflict(f"this takes more than the {most} MiB that a bundle holds")


async def cover(publish: Publish, size: int) -> None:
    """
    Have a checkpoint over `size` entries published, so that a bundle can show who cosigned it.

    Evidence is handed out whatever others do: this takes `COVER_SECONDS` at most, and fails never.
    """
    try:
        async with asyncio.timeout(COVER_SECONDS):
            await publish(size)
    except TimeoutError:
        _log.warning("evidence is handed out without waiting longer for witnesses and time stamps")
    except MunimentError as error:
        _log.warning("evidence is handed out without a newly published checkpoint: %s", error)


def assemble(log: Log, plan: Plan, export: Entry) -> bytes:
    """
    The bytes of the bundle, with `export` as its last record.

    The same plan and export give the same bytes, as long as no section is erased and nothing is
    published: the checkpoint is the first published one that covers the export, where witnesses or
    time-stamp authorities put something to it, and else the first that was signed. Raises
    `Conflict` if a section was erased since the plan; then plan and export again.
    """
    shown = _published(log, plan, export.index + 1) or _signed(log, export.index + 1)
    included = {**plan.included, export.index: export}
    names = {name for entry in included.values() for name in entry.header.documents}
    records_shown = (_record(log, entry, plan, shown.size) for _, entry in sorted(included.items()))
    return Bundle(
        checkpoint=shown.note,
        records=tuple(records_shown),
        documents={name: _document(log, name) for name in sorted(names)},
        heads=tuple(_head(log, old, shown.size) for old in plan.sizes),
        witnesses=shown.witnesses,
        stamps=shown.stamps,
    ).encode()


# --- the checkpoint ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """The checkpoint that a bundle shows, with what others put to it."""

    size: int
    note: bytes
    witnesses: tuple[VerifierKey, ...] = ()
    stamps: tuple[bytes, ...] = ()


def _signed(log: Log, size: int) -> _Shown:
    covering = log.store.checkpoint_at_or_after(size)
    if covering is None:
        raise LogInvalid(f"no checkpoint covers entry {size - 1}")
    size, note = covering
    return _Shown(size=size, note=only(note, [log.keys.shown(size)]))


def _published(log: Log, plan: Plan, size: int) -> _Shown | None:
    """
    The first published checkpoint over so many entries; None if nobody put anything to it.

    The database is believed nothing: what does not verify is left out, and the bundle shows less.
    """
    published = log.store.published_at_or_after(size)
    if published is None:
        return None
    _check_ours(log, published)
    text, signatures = parse_note(published.note)
    witnesses: list[VerifierKey] = []
    lines: list[str] = []
    for key in _in_order(log, plan, published.size):
        line = _line(key, text, signatures)
        if line is not None:
            witnesses += [key] if key.type is KeyType.COSIGNER else []
            lines.append(line)
    stamps = _stamps(published.stamps, text.encode())
    if len(lines) == len(witnesses) or not (witnesses or stamps):
        return None  # it lacks our own line, or has no other
    return _Shown(
        size=published.size,
        note=f"{text}\n{''.join(lines)}".encode(),
        witnesses=tuple(witnesses),
        stamps=stamps,
    )


def _check_ours(log: Log, published: Published) -> None:
    try:
        shown = log.keys.recognise(published.note)
    except EvidenceError as error:
        raise LogInvalid(f"the checkpoint published at size {published.size}: {error}") from error
    if not 0 < shown.size == published.size <= log.size or (
        merkle.Frontier.at(shown.size, log.nodes(shown.size)).root() != shown.root
    ):
        raise LogInvalid(f"the checkpoint published at size {published.size} is not of this log")


def _in_order(log: Log, plan: Plan, size: int) -> Sequence[VerifierKey]:
    """The key of the log that is shown, and those of its policy's witnesses, in their order."""
    if not plan.witness_policy:
        return (log.keys.shown(size),)
    text = plan.witness_policy.decode("utf-8", "surrogateescape")
    named = sorted(WitnessPolicy.parse(text).witness_keys, key=lambda key: key.vkey)
    return (log.keys.shown(size), *named)[:MAX_SIGNATURES]


def _line(key: VerifierKey, text: str, signatures: Iterable[Signature]) -> str | None:
    """The line of this key, if it holds."""
    for line in signatures:
        if (line.name, line.key_id) == (key.name, key.key_id):
            try:
                key.verify(text, line.signature)
            except NoteInvalid as error:
                _log.error("a published signature does not hold: %s", error)
                return None
            return line.line
    return None


def _stamps(stamps: Iterable[Stamp], text: bytes) -> tuple[bytes, ...]:
    found: set[bytes] = set()
    for stamp in stamps:
        try:
            open_token(stamp.token, text)
        except StampInvalid as error:
            _log.error("a published time stamp of `%s` does not hold: %s", stamp.authority, error)
        else:
            found.add(stamp.token)
    return tuple(sorted(found))[:MAX_STAMPS]


# --- its records ------------------------------------------------------------------------------


def _record(log: Log, entry: Entry, plan: Plan, size: int) -> BundledRecord:
    names = entry.header.sections
    planned = {name: plan.sections[entry.header.id, name] for name in names}
    now = _shown(log, entry, lambda _, name: not isinstance(planned[name], Withheld), plan.rule_of)
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


def _shown(
    log: Log, entry: Entry, give: Give, rule_of: Callable[[str, str], str | None]
) -> dict[str, Section]:
    """Each section of a record as this reader is to see it; what the log says is gone, nobody."""
    if not entry.header.sections:
        return {}
    kept, erased = log.store.sections(entry.index), log.store.erased(entry.index)
    shown: dict[str, Section] = {}
    for name, committed in entry.header.sections.items():
        rule = rule_of(entry.header.id, name)
        if rule is not None:
            shown[name] = Erased(rule)
        elif name in kept:
            shown[name] = kept[name] if give(entry, name) else Withheld()
            if kept[name].commitment(log.log_id, entry.header.id, name) != committed:
                raise LogInvalid(f"section `{name}` of `{entry.header.id}` is not what was sealed")
        elif erased.get(name) == LOST:
            shown[name] = Withheld()
        elif name in erased:
            shown[name] = Erased(erased[name])
        else:
            raise LogInvalid(f"section `{name}` of `{entry.header.id}` is gone without a trace")
    return shown


# --- where the followed records lie -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ErasedIn:
    """Records of which something was erased: of each case they are looked for once."""

    _log: Log
    _cases: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)

    def find(self, record_id: str) -> dict[bytes, Entry]:
        case, _, position = record_id.partition("/")
        if case not in self._cases:
            self._cases[case] = self._log.store.case(case, self._log.size)
        for index, data in self._cases[case][int(position) : int(position) + 1]:
            entry = _entry_at(self._log, index, leaf_hash(data))
            return {entry.leaf: entry}
        return {}


def _followed(log: Log, registry: Registry, entry: Entry, erased_in: _ErasedIn) -> Iterator[Entry]:
    """
    The records that this one follows.

    The registry knows where those of people, roles and policy lie; an observed session says where;
    whatever else a record follows is of the case that its body names.
    """
    elsewhere: dict[bytes, Entry] = _batches(log, entry) | _scan_before(log, entry)
    for leaf in entry.header.follows:
        index = registry.indexes.get(leaf)
        if index is not None:
            yield _entry_at(log, index, leaf)
            continue
        elsewhere = elsewhere or _named_case(log, entry.header, erased_in)
        if leaf not in elsewhere:
            raise LogInvalid(f"`{entry.header.id}` follows a record that cannot be found")
        yield elsewhere[leaf]


def _batches(log: Log, entry: Entry) -> dict[bytes, Entry]:
    """Of an observed session: the records of its events, of which there are more than of cases."""
    record = records.parse(entry.header)
    if not isinstance(record, records.SessionObserved):
        return {}
    places = zip(entry.header.follows, record.batches, strict=True)
    return {leaf: _entry_at(log, index, leaf) for leaf, index in places}


def _scan_before(log: Log, entry: Entry) -> dict[bytes, Entry]:
    """Of the end of an ordered removal: the scan that saw it gone, of the same batch of records."""
    header = entry.header
    if header.kind != records.CaseClosed.KIND or not header.follows:
        return {}
    found: dict[bytes, Entry] = {}
    for index, data in log.store.entries(max(0, entry.index - _NEAR), entry.index):
        if (leaf := leaf_hash(data)) in header.follows:
            found[leaf] = _entry_at(log, index, leaf)
    return found


def _named_case(log: Log, header: Header, erased_in: _ErasedIn) -> dict[bytes, Entry]:
    match records.parse(header):
        case (
            records.ReviewOpened(about=case)
            | records.EvidenceExported(about=case)
            | records.CallbackSettled(about=case)
            | records.RemovalOrdered(about=case)
        ):
            return {entry.leaf: entry for entry in log.read_case(case)}
        case records.ReviewApplied(about=cases, gone=gone):
            named = dict.fromkeys(case for case in (*cases, *gone) if case)
            return {entry.leaf: entry for case in named for entry in log.read_case(case)}
        case records.RecordErased(record=record) | records.EventsErased(batch=record):
            return erased_in.find(record)
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


def _sizes(log: Log, entries: Sequence[Entry], asked: Iterable[int]) -> tuple[int, ...]:
    """Where each record of the case was first covered by a checkpoint, and what was asked for."""
    opened = records.parse(entries[0].header)
    if isinstance(opened, records.CampaignOpened):
        # its population is that of the log at one size, whose root it names. It may have as many
        # records as a bundle holds: where each was covered first says nothing of it
        asked, entries = (*asked, opened.size), (entries[0], entries[-1])
    sizes = set(asked)
    if wrong := sorted(size for size in sizes if not 0 < size <= log.size):
        raise Malformed(f"the log has never had a head of size {wrong[0]}")
    for entry in entries:
        covering = log.store.checkpoint_at_or_after(entry.index + 1)
        if covering is not None:
            sizes.add(covering[0])
    return tuple(sorted(sizes))
