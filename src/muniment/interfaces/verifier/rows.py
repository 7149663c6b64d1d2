"""A line for each case of an archive: what lists, tables and spreadsheets are made of."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from muniment.evidence import moment
from muniment.interfaces.verifier.told import Told

#: what a spreadsheet would take for a formula
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One case, in the words of its bundle. Every field is text, so that it reads the same."""

    case: str
    kind: str
    opened: str
    by: str
    what: str
    resource: str
    state: str
    #: `yes` where glass was broken
    emergency: str
    #: ids of the rules that decided, with a space between them
    rules: str
    approvals: str
    starts: str
    until: str
    ended: str
    removal: str
    reviews: str
    sessions: str
    #: `closed` or `open`
    complete: str
    reason: str
    #: names behind pseudonyms: for the list of people, and no column of this one
    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, told: Told) -> "Row":
        return cls(
            case=told.case,
            kind=told.kind,
            opened=moment.text(told.opened),
            by=told.by,
            what=told.what,
            resource=told.resource,
            state=_second(told) if told.kind in ("finding", "review") else told.state.split(",")[0],
            emergency="yes" if told.emergency else "",
            rules=" ".join(rule.id for rule in told.rules),
            approvals="; ".join(told.approvals),
            starts=told.starts,
            until=told.until,
            ended=told.ended,
            removal=told.removal,
            reviews="; ".join(told.reviews),
            sessions=str(len(told.sessions)) if told.sessions else "",
            complete="closed" if told.complete else "open",
            reason=told.reason,
            names=told.names,
        )

    def json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def worries(self) -> str:
        """Why somebody should look at it first; empty: nothing stands out."""
        found = [
            "emergency" if self.emergency else "",
            "not seen gone" if self.removal in ("NOT seen gone", "not yet looked at") else "",
            "no answered review" if self.emergency and not _answered(self.reviews) else "",
            "open" if self.complete == "open" else "",
        ]
        return ", ".join(each for each in found if each)


COLUMNS: Final = tuple(each.name for each in fields(Row) if each.name != "names")


def _second(told: Told) -> str:
    parts = told.state.split(", ")
    return parts[1] if len(parts) > 1 else told.state


def _answered(reviews: str) -> bool:
    return bool(reviews) and not reviews.startswith("open")


def as_csv(rows: Iterable[Row]) -> bytes:
    """RFC 4180, with nothing in it that a spreadsheet would run."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(getattr(row, name)) for name in COLUMNS] for row in rows)
    return buffer.getvalue().encode("utf-8")


def people_csv(rows: Iterable[Row], more: Iterable[tuple[str, str]]) -> bytes:
    """Who is behind each pseudonym, as far as bundles give it."""
    found = dict(sorted({*more, *(name for row in rows for name in row.names)}))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(("principal", "login"))
    writer.writerows((_harmless(id_), _harmless(login)) for id_, login in found.items())
    return buffer.getvalue().encode("utf-8")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """For a terminal, one a case; the whole ids, so that they can be named."""
    for row in rows:
        worries = f"  [{row.worries}]" if row.worries else ""
        what = row.what + (f": {row.reason}" if row.kind == "finding" and row.reason else "")
        yield f"{row.opened}  {row.case}  {row.state:<10}  {row.by}: {what}{worries}"
