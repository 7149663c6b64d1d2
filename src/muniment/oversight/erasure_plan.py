"""What has come to its end: no class keeps it, nobody needs it, and no hold covers it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.access.holding import Concern, Hold
from muniment.oversight.retained import Kept, KeptBatch, Retained, holding
from muniment.oversight.retention import Rules, Ruling, Thing

#: what these say of a case is evidence of it
_TELLS: Final = frozenset(
    (
        records.SessionObserved.KIND,
        records.FindingRaised.KIND,
        records.FindingSeen.KIND,
        records.FindingClosed.KIND,
        records.ReviewAnswered.KIND,
    )
)


@dataclass(frozen=True, kw_only=True)
class Going:
    """A section that has come to its end."""

    kept: Kept
    rule: str


@dataclass(frozen=True, kw_only=True)
class GoingBatch:
    """Raw events that have come to their end, but for those of these grants."""

    kept: KeptBatch
    rule: str
    #: access cases whose evidence is kept
    grants: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        """What a record says of the grants."""
        return sha256("\n".join(self.grants).encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What goes, as of one moment and one size of the log."""

    as_of: datetime
    size: int
    sections: tuple[Going, ...]
    batches: tuple[GoingBatch, ...]
    #: what would have gone, but is held: how many, by hold
    held: Mapping[str, int]
    #: what is kept for longer than it may be: how many, by the two classes
    conflicts: Mapping[tuple[str, str], int]

    def __len__(self) -> int:
        return len(self.sections) + len(self.batches)

    @property
    def events(self) -> int:
        """How many raw events these batches still have, with those that stay for a grant."""
        batches = (each.kept for each in self.batches)
        return sum(each.count if each.left is None else each.left for each in batches)

    @property
    def rules(self) -> dict[str, int]:
        """How much goes under each rule."""
        found = Counter(each.rule for each in self.sections)
        found.update(each.rule for each in self.batches)
        return dict(sorted(found.items()))

    @property
    def listed(self) -> bytes:
        """SHA-256 over the sorted list: two who found the same have the same."""
        lines = [f"{each.kept.record} {each.kept.section} {each.rule}" for each in self.sections]
        lines += [f"{b.kept.record} events {b.rule} {b.digest.hex()}" for b in self.batches]
        return sha256("\n".join(sorted(lines)).encode()).digest()


def plan(retained: Retained, rules: Rules, holds: Iterable[Hold], as_of: datetime) -> Plan:
    """What has come to its end, is needed by nobody, and is not held."""
    looked = _Looked(retained=retained, rules=rules, standing=tuple(holds), as_of=as_of)
    sections = tuple(looked.sections())
    return Plan(
        as_of=as_of,
        size=retained.size,
        sections=sections,
        batches=tuple(looked.batches()),  # once it is known of which cases something is left
        held=dict(looked.held),
        conflicts=dict(looked.conflicts),
    )


@dataclass(kw_only=True)
class _Looked:
    """One look at everything, and what it counts besides."""

    retained: Retained
    rules: Rules
    standing: Sequence[Hold]
    as_of: datetime
    held: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: access cases of which something is left, or that are held though nothing is
    _stays: set[str] = field(default_factory=set)

    def sections(self) -> Iterator[Going]:
        self._stays.update(self.retained.held(self.standing))
        for kept in self.retained.sections():
            ruling = self._ruling(kept.thing)
            if ruling.has_gone(kept.since, self.as_of):
                by = holding(self.standing, kept.concern)
                if by is None:
                    yield Going(kept=kept, rule=ruling.rule)
                    continue
                self.held[by.id] += 1
            self._stays |= kept.concern.cases if kept.kind in _TELLS else {kept.case}

    def batches(self) -> Iterator[GoingBatch]:
        for batch in self.retained.batches():
            ruling = self._ruling(batch.thing)
            if batch.left == 0 or not ruling.has_gone(batch.since, self.as_of):
                continue
            left = tuple(sorted(self.retained.grants_of(batch) & self._stays))
            going = GoingBatch(kept=batch, rule=ruling.rule, grants=left)
            if batch.left is not None and batch.left_for == going.digest:
                continue  # all that can go is gone
            findings = list(self.retained.findings_of(batch))
            by = self._holding(batch.concern, *(concern for _, concern in findings))
            if by is not None:
                self.held[by.id] += 1
            elif not any(is_open for is_open, _ in findings):
                yield going

    def _holding(self, *concerns: Concern) -> Hold | None:
        """The first hold on one of these."""
        return next(filter(None, (holding(self.standing, each) for each in concerns)), None)

    def _ruling(self, thing: Thing) -> Ruling:
        ruling = self.rules.ruling(thing)
        if ruling.conflict:
            self.conflicts[ruling.kept_by, ruling.goes_by] += 1
        return ruling
