"""What every fold over the records of a case asks first: that each follows the one before it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from muniment.errors import FoldInvalid
from muniment.evidence.record import Header

M = TypeVar("M")


class Folded(Protocol):
    """A case at one of its records."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def length(self) -> int: ...

    @property
    def changed_at(self) -> datetime | None: ...

    @property
    def closed(self) -> bool: ...


def move(table: Mapping[tuple[str, str], M], before: Folded, header: Header, what: str) -> M:
    """What the table says follows. Raises `FoldInvalid` where this record cannot stand there."""
    if header.position != before.length or (before.length and header.case != before.id):
        raise FoldInvalid(f"`{header.id}` is not record {before.length} of this {what}")
    if before.changed_at is not None and header.at < before.changed_at:
        raise FoldInvalid(f"`{header.id}` is earlier than the record before it")
    if before.closed:
        raise FoldInvalid(f"`{header.id}` follows `case:closed`")
    found = table.get((before.state, header.kind))
    if found is None:
        raise FoldInvalid(f"`{header.kind}` cannot follow in state `{before.state or 'none'}`")
    return found


def require(holds: bool, otherwise: str) -> None:
    """Raises `FoldInvalid`."""
    if not holds:
        raise FoldInvalid(otherwise)
