"""What an event needs to know of the case of its record: who asked for what, what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from muniment.access import records
from muniment.access.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseSoFar:
    """A case before one of its records."""

    length: int = 0
    #: its first record
    opened: Record | None = None
    #: end of the window, and its beginning, once access was authorised
    starts: datetime | None = None
    until: datetime | None = None
    #: the newest account at the target
    credential: records.CredentialIssued | None = None
    #: whether the principal, or the group, was active
    active: bool = True

    @property
    def asked(self) -> records.AccessRequested | None:
        """Of an access case, what was asked for."""
        return self.opened if isinstance(self.opened, records.AccessRequested) else None

    @property
    def raised(self) -> records.FindingRaised | None:
        """Of a finding, what was found."""
        return self.opened if isinstance(self.opened, records.FindingRaised) else None


def further(case: CaseSoFar, record: Record) -> CaseSoFar:
    """One record further."""
    case = replace(case, length=case.length + 1, opened=case.opened or record)
    match record:
        case records.GrantAuthorized():
            return replace(case, starts=record.starts, until=record.until)
        case records.GrantExtended():
            return replace(case, until=record.until)
        case records.CredentialIssued():
            return replace(case, credential=record)
        case records.PrincipalEnrolled() | records.GroupDefined():
            return replace(case, active=record.active)
        case _:
            return case


def case_of(before: Iterable[Record]) -> CaseSoFar:
    """From its records, gap-free from position 0."""
    case = CaseSoFar()
    for record in before:
        case = further(case, record)
    return case
