"""One audit of tiles, from the remembered head on; and how it looks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from muniment.evidence.audit_tiles import AuditedTiles, audit_tiles
from muniment.evidence.inspection import Progress
from muniment.evidence.keys import ReadersKeys
from muniment.interfaces.cli.remembered import RememberedHead
from muniment.interfaces.cli.tile_sources import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What an audit of tiles came to."""

    found: AuditedTiles
    #: where the head is remembered
    state: Path
    #: signed checkpoints that contradict one another, or their own tiles
    evidence: tuple[Path, ...] = ()


def examine(
    source: Source,
    key: ReadersKeys,
    remembered: RememberedHead,
    heads: Sequence[bytes] = (),
    *,
    full: bool = False,
    from_start: bool = False,
    cores: int = 1,
    progress: Progress = lambda _done, _total: None,
) -> Examined:
    """
    Audit, and remember the head if it held. Hold `remembered` meanwhile.

    Raises `Refused` or `Unavailable` where the tiles cannot be read, `Malformed` for what was
    remembered, if it is damaged.
    """
    known = remembered.read()
    kept = heads if known is None else (known.note, *heads)
    found = audit_tiles(
        source.log,
        key,
        kept if from_start else heads,
        since=None if from_start else known,
        full=full,
        progress=progress,
        spread=partial(source.spread, cores),
        step=source.step,
    )
    if found.established is not None:
        remembered.keep(found.established)
        return Examined(found=found, state=remembered.path)
    notes = dict.fromkeys([known.note if known is not None else found.note, found.note])
    # what was not signed is no evidence
    evidence = remembered.keep_evidence(*notes) if found.checkpoint is not None else []
    return Examined(found=found, state=remembered.path, evidence=tuple(evidence))


def facts(examined: Examined) -> Iterator[tuple[str, str]]:
    """What an audit of tiles says beside what every audit says."""
    found = examined.found
    if found.since and found.established is not None:
        yield "·", f"the {found.since:,} entries before were hashed by an earlier audit"
    if found.established is not None:
        yield "✓", "every tile over these entries is that of its entries"
        yield "·", f"remembered in {examined.state}"
    for path in examined.evidence:
        yield "·", f"kept as evidence: {path}"


def not_proved(found: AuditedTiles) -> Iterator[str]:
    if not found.full:
        yield "that records hold (--full reads them)"
    yield "that sections and documents are there and unaltered (they are in no tile)"


def as_json(examined: Examined) -> dict[str, Any]:
    return {
        "since": examined.found.since,
        "note": examined.found.note.decode("utf-8", "replace"),
        "state": str(examined.state),
        "evidence": [str(path) for path in examined.evidence],
    }
