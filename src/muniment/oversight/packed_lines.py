"""
Lines of a population by case id, of which those that are closed take little room.

A year of grants is a hundred thousand lines, and hardly anything is said of a case once it is
closed. Its line is folded up then: what many lines say alike stands once, moments are numbers. Who
looks at it is handed a copy; whoever changes that puts it back.
"""

import marshal
from collections.abc import Hashable, Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Any, Final

from muniment.oversight.population_line import Approved, Ended, Line

#: what many lines say alike: about who asked, about what he asked for, about what came of it
_ALIKE: Final = (
    ("requester", "kind", "sponsor", "persons", "assurance", "mfa"),
    (
        "resource", "role", "environment", "definition", "issued_definition", "connector",
        "emergency", "state", "outcome", "rules", "bundle", "required", "requires", "satisfied",
        "cap",
    ),
    (
        "refused", "pickups", "extensions", "unseen_count", "unseen_why", "sessions",
        "weak_sessions", "odd_sessions", "exports",
    ),
)  # fmt: skip
#: whole numbers, and lists of case ids
_OWN: Final = ("first", "last", "records", "seconds", "lag_ms", "actions", "findings", "reviews")
#: kept in milliseconds since the request
_MOMENTS: Final = (
    "authorized", "starts", "until", "issued", "gone", "unseen", "closed", "last_used"
)  # fmt: skip
_ALIKE_OF: Final = tuple(attrgetter(*names) for names in _ALIKE)
_OWN_OF: Final = attrgetter(*_OWN)
_MOMENTS_OF: Final = attrgetter(*_MOMENTS)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS: Final = timedelta(milliseconds=1)


@dataclass(slots=True)
class Lines(MutableMapping[str, Line]):
    """In the order of their requests."""

    _kept: dict[str, Line | bytes] = field(default_factory=dict)
    #: what lines say alike, each once: by its number, and its number
    _said: list[Any] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def __getitem__(self, case: str) -> Line:
        kept = self._kept[case]
        return self._unfolded(case, kept) if isinstance(kept, bytes) else kept

    def get(self, case: str, default: Any = None) -> Any:
        """Asked of each record of a log: without the exception that the mixin takes for it."""
        return self[case] if case in self._kept else default

    def __setitem__(self, case: str, line: Line) -> None:
        self._kept[case] = line if line.closed is None else self._folded(line)

    def __delitem__(self, case: str) -> None:
        del self._kept[case]

    def __contains__(self, case: object) -> bool:
        return case in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def _folded(self, line: Line) -> bytes:
        began = line.requested
        return marshal.dumps(
            (
                (began - _EPOCH) // _MS,
                *[self._number(said(line)) for said in _ALIKE_OF],
                *_OWN_OF(line),
                *[None if at is None else (at - began) // _MS for at in _MOMENTS_OF(line)],
                tuple(
                    (
                        self._number((each.approver, each.person, each.assurance, each.mfa)),
                        (each.at - began) // _MS,
                    )
                    for each in line.approved
                ),
                None
                if line.end is None
                else (
                    self._number((line.end.how, line.end.by, line.end.reason)),
                    (line.end.at - began) // _MS,
                ),
            )
        )

    def _unfolded(self, case: str, kept: bytes) -> Line:
        """Of bytes that were made above, and never left this process."""
        at, *rest = marshal.loads(kept)  # noqa: S302 (nobody else's bytes come here)
        began = _EPOCH + at * _MS
        said: dict[str, Any] = {"case": case, "requested": began}
        for names, number in zip(_ALIKE, rest, strict=False):
            said.update(zip(names, self._said[number], strict=True))
        rest = rest[len(_ALIKE) :]
        said.update(zip(_OWN, rest, strict=False))
        rest = rest[len(_OWN) :]
        for name, since in zip(_MOMENTS, rest, strict=False):
            said[name] = None if since is None else began + since * _MS
        approved, end = rest[len(_MOMENTS) :]
        if approved:
            said["approved"] = tuple(self._approved(began, *each) for each in approved)
        if end is not None:
            how, by, reason = self._said[end[0]]
            said["end"] = Ended(how=how, at=began + end[1] * _MS, by=by, reason=reason)
        return Line(**said)

    def _approved(self, began: datetime, number: int, since: int) -> Approved:
        approver, person, assurance, mfa = self._said[number]
        return Approved(
            approver=approver, person=person, at=began + since * _MS, assurance=assurance, mfa=mfa
        )

    def _number(self, values: tuple[Any, ...]) -> int:
        key = tuple([tuple(each.items()) if type(each) is dict else each for each in values])
        number = self._numbers.setdefault(key, len(self._said))
        if number == len(self._said):
            self._said.append(values)
        return number
