"""
The items of a campaign, one line each, and what becomes of each of them.

Lines lie in sheets, which are documents of `campaign:opened` (gzip, RFC 1952: `gunzip` shows them);
what reviewers say of items lies in documents of `review:decided` and `review:reassigned`. All of
them are canonical JSON, a line per item, and hold ids only. Here they are read, and held to one
another: by the operations before anything is recorded, and by whoever verifies, from nothing but
what was recorded.
"""

import gzip
import json
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.errors import FoldInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.record import MAX_DOCUMENT

#: what a reviewer may say
VERDICTS: Final = ("keep", "revoke", "reduce", "abstain")
#: nobody looked: never counted as kept
NOT_REVIEWED: Final = "not-reviewed"
OUTCOMES: Final = (*VERDICTS, NOT_REVIEWED)
#: what an item may be: somebody may ask for a role; somebody may approve; a rule; a grant
WHAT: Final = ("access", "approver", "policy", "grant")
#: those that the service can take away by itself
TAKEN: Final = ("access", "grant")
#: bytes of all lines: a header names their sheets, and a bundle holds them
MOST_BYTES: Final = 100 * 1024 * 1024
#: bytes of the lines of one sheet: packed, any ASCII text of so many fits into a document
_SHEET: Final = 5 * MAX_DOCUMENT // 4
_GZIP: Final = 31
#: why what the service takes stays taken, and how else it is had again
_GIVE_BACK: Final = {
    "access": "and that stands: somebody else gives it back by `muniment reviews restore`",
    "grant": "and that stands: whoever needs it asks for access anew",
}
_REQUIRED: Final = {"item", "what", "barred", "reviewer", "person", "live"}


def write(lines: Iterable[bytes]) -> list[bytes]:
    """The sheets of these lines, as few as there can be. Raises `FoldInvalid` for too much."""
    sheets, sheet, total = list[bytes](), bytearray(), 0
    for line in lines:
        size = len(line) + 1
        total += size
        if size > _SHEET or total > MOST_BYTES:
            raise FoldInvalid("more items than one campaign can hold: narrow its scope")
        if sheet and size > _SHEET - len(sheet):
            sheets.append(_packed(sheet))
            sheet.clear()
        sheet += line + b"\n"
    return [*sheets, _packed(sheet)] if sheet else sheets


def _packed(sheet: bytearray) -> bytes:
    return gzip.compress(sheet, 4, mtime=0)


def unpacked(sheet: bytes) -> bytes:
    """What a sheet holds. Raises `FoldInvalid`, also for more than a sheet can hold."""
    reader = zlib.decompressobj(wbits=_GZIP)
    try:
        text = reader.decompress(sheet, _SHEET + 1)
    except zlib.error as error:
        raise FoldInvalid("a sheet that cannot be unpacked") from error
    if not reader.eof or reader.unused_data or len(text) > _SHEET:
        raise FoldInvalid("a sheet that is cut off, or too long")
    return text


def lines_of(document: bytes) -> list[bytes]:
    """Raises `FoldInvalid` unless each line ends."""
    *lines, rest = document.split(b"\n")
    if rest:
        raise FoldInvalid("a sheet whose last line does not end")
    return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Whom and what the items of one campaign are about, all together."""

    #: person ids, also of those who approved or provisioned it
    persons: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    #: access cases
    cases: frozenset[str] = frozenset()

    @classmethod
    def read(cls, sheets: Iterable[bytes]) -> "Named":
        """Raises `FoldInvalid` for what is no sheet."""
        persons, resources, cases = set[str](), set[str](), set[str]()
        for line in (line for sheet in sheets for line in lines_of(unpacked(sheet))):
            value = _object(line)
            persons.update(value["barred"])  # with all whom it is about
            resources |= {value["resource"]} if "resource" in value else set()
            cases |= {*value.get("held", ())} | ({value["case"]} if "case" in value else set())
        return cls(
            persons=frozenset(persons), resources=frozenset(resources), cases=frozenset(cases)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A verdict that stands."""

    verdict: str
    #: principal and person id of who gave it
    reviewer: str
    person: str
    seconds: int
    #: position of its record in the case
    position: int
    #: of `reduce`: a smaller role, or a shorter time in seconds
    to: str = ""


@dataclass(slots=True)
class Sheets:
    """The lines of all items, as they were recorded: packed, but for the sheet looked at last."""

    packed: list[bytes] = field(default_factory=list)
    #: number of the first item of each
    starts: list[int] = field(default_factory=list)
    _last: tuple[int, list[bytes]] = (-1, [])

    def line(self, number: int) -> bytes:
        place = bisect_right(self.starts, number) - 1
        last, lines = self._last
        if last != place:
            lines = lines_of(unpacked(self.packed[place]))
            self._last = place, lines
        return lines[number - self.starts[place]]


@dataclass(slots=True)
class Item:
    """One line, and what became of it. There are many: what several say alike stands once."""

    number: int
    sheets: Sheets = field(repr=False)
    what: str
    #: whether there is something that would have to be taken away
    live: bool
    #: persons who may not decide on it
    barred: tuple[str, ...]
    #: principal id of who is to look; empty: nobody may
    reviewer: str
    person: str
    said: Said | None = None
    applied: bool = False

    def told(self) -> dict[str, Any]:
        """All that its line says."""
        value: dict[str, Any] = json.loads(self.sheets.line(self.number))
        return value

    @property
    def outcome(self) -> str:
        return self.said.verdict if self.said is not None else NOT_REVIEWED


@dataclass(kw_only=True)
class Items:
    """All items of one campaign. Advanced by what was recorded, in order."""

    items: list[Item]
    #: RFC 6962 root over their lines
    root: bytes
    #: `revoke`: what nobody looked at in time is taken away, and is not reviewed for all that
    silence: str = "none"
    #: the time is over
    over: bool = False

    @classmethod
    def read(cls, sheets: Iterable[bytes], silence: str) -> "Items":
        """Raises `FoldInvalid` for what is no sheet."""
        kept, tree, items, alike = Sheets(), merkle.Frontier(), list[Item](), dict[Any, Any]()
        for sheet in sheets:
            kept.packed.append(sheet)
            kept.starts.append(len(items))
            for line in lines_of(unpacked(sheet)):
                tree.push(merkle.leaf_hash(line))
                items.append(_item(len(items), line, kept, alike))
        return cls(items=items, root=tree.root(), silence=silence)

    # --- what was recorded --------------------------------------------------------------------

    def reassign(
        self,
        document: bytes,
        to: str,
        person: str,
        by: Sequence[str],
        *,
        try_only: bool = False,
    ) -> int:
        """
        How many items have another reviewer now. `by` are the persons of who hands them on.

        Raises `FoldInvalid`, and changes nothing.
        """
        moved = [self._item(number) for number in _numbers(document)]
        for item in moved:
            _require(item.reviewer != to, f"item {item.number} is with him already")
            _require(person not in item.barred, f"item {item.number} is about its new reviewer")
            own = set(item.barred) & set(by)
            _require(not own, f"item {item.number} is about you: somebody else has to hand it on")
            _require(item.said is None, f"somebody has decided item {item.number} already")
            _require(not item.applied, f"item {item.number} was applied already")
        for item in () if try_only else moved:
            item.reviewer, item.person = to, person
        return len(moved)

    def decide(
        self,
        document: bytes,
        reviewer: str,
        persons: Sequence[str],
        position: int,
        *,
        try_only: bool = False,
    ) -> Counter[str]:
        """
        Verdicts of one reviewer, counted. A later one of the same item stands for the earlier one.

        Raises `FoldInvalid` where it was not for him to say, or comes too late: nothing is changed.
        """
        found = dict[int, Said]()
        for line in lines_of(document):
            number, said = _said(line, reviewer, persons[0] if persons else "", position)
            _require(number not in found, f"item {number} is decided twice at once")
            self._check_said(self._item(number), said, persons)
            found[number] = said
        _require(bool(found), "nothing was decided")
        for number, said in () if try_only else found.items():
            self.items[number].said = said
        return Counter(said.verdict for said in found.values())

    def _check_said(self, item: Item, said: Said, persons: Sequence[str]) -> None:
        n = item.number
        _require(item.reviewer == said.reviewer, f"item {n} is not for this reviewer")
        _require(
            not set(item.barred) & set(persons), f"item {n} is about its reviewer, or what he did"
        )
        _require(not item.applied, f"item {n} was applied already")
        _require(not self._is_silenced(item), f"the time for item {n} is over")
        _require(not self._is_taken(item), f"item {n} was revoked, {_GIVE_BACK.get(item.what)}")
        reducible = said.verdict != "reduce" or item.what == "access"
        _require(reducible, f"item {n} is nothing that could be reduced")

    def apply(self, numbers: Iterable[int]) -> None:
        """What had to be done with these was done. Raises `FoldInvalid` for what had not to be."""
        for number in numbers:
            item = self._item(number)
            _require(self.is_owed(item), f"with item {number} nothing had to be done")
            item.applied = True

    # --- how it stands ------------------------------------------------------------------------

    def is_owed(self, item: Item) -> bool:
        """Whether something is to be done, and was not seen done."""
        if item.applied or not item.live:
            return False
        if item.said is None:
            return self._is_silenced(item)
        return item.said.verdict in ("revoke", "reduce")

    def _is_silenced(self, item: Item) -> bool:
        """Whether it is taken away as nobody looked in time: what the service itself can take."""
        late = self.over and self.silence == "revoke" and item.said is None
        return late and item.what in TAKEN

    def is_settled(self, item: Item) -> bool:
        """Whether no other verdict is taken of it, by whomever."""
        return item.applied or self._is_silenced(item) or self._is_taken(item)

    def _is_taken(self, item: Item) -> bool:
        """
        Whether a verdict stands by which the service takes it away.

        It does so at once, in records of other cases: so that no later verdict says otherwise than
        what came to pass, none is taken.
        """
        said = item.said
        return said is not None and said.verdict == "revoke" and item.live and item.what in TAKEN

    @property
    def owed(self) -> list[Item]:
        return [item for item in self.items if self.is_owed(item)]

    @property
    def open(self) -> list[Item]:
        """Those that nobody has looked at."""
        return [item for item in self.items if item.said is None]

    @property
    def applied(self) -> int:
        return sum(item.applied for item in self.items)

    def tallies(self) -> dict[str, int]:
        counted = Counter(item.outcome for item in self.items)
        return {outcome: counted[outcome] for outcome in OUTCOMES}

    def _item(self, number: int) -> Item:
        _require(0 <= number < len(self.items), f"there is no item {number}")
        return self.items[number]


def _item(number: int, line: bytes, sheets: Sheets, alike: dict[Any, Any]) -> Item:
    value = _object(line)
    _require(value.keys() >= _REQUIRED and value["item"] == number, f"line {number} is no item")
    barred, live = value["barred"], value["live"]
    _require(value["what"] in WHAT, f"item {number} is of no known kind")
    _require(type(live) is bool and isinstance(barred, list), f"line {number} is no item")
    _require(all(isinstance(each, str) for each in barred), f"line {number} is no item")
    own, reviewer, person = value.get("persons", []), value["reviewer"], value["person"]
    _require(isinstance(reviewer, str) and isinstance(person, str), f"line {number} is no item")
    _require(
        isinstance(own, list) and all(each in barred for each in own),
        f"item {number} lets somebody review himself",
    )
    approved = value.get("approved", [])
    _require(
        isinstance(approved, list) and all(each in barred for each in approved),
        f"item {number} lets somebody review what he approved",
    )
    _require(not person or person not in barred, f"item {number} is with whom it is about")

    def once(value: Any) -> Any:
        return alike.setdefault(value, value)

    return Item(
        number=number,
        sheets=sheets,
        what=once(value["what"]),
        live=live,
        barred=once(tuple(map(once, barred))),
        reviewer=once(reviewer),
        person=once(person),
    )


def _said(line: bytes, reviewer: str, person: str, position: int) -> tuple[int, Said]:
    value = _object(line)
    _require(
        value.keys() == {"item", "verdict", "seconds"} | ({"to"} & value.keys()),
        "a decision with other fields",
    )
    number, verdict, seconds = value["item"], value["verdict"], value["seconds"]
    to = value.get("to", "")
    _require(type(number) is int and type(seconds) is int, "a decision without its numbers")
    _require(verdict in VERDICTS and seconds >= 0, f"`{verdict!a:.40}` as a verdict")
    _require((verdict == "reduce") == bool(to), "reduce says to what, and nothing else does")
    _require(isinstance(to, str) and to.isascii(), "reduce says to what")
    verdict = VERDICTS[VERDICTS.index(verdict)]  # one for all: there are many
    said = Said(
        verdict=verdict, reviewer=reviewer, person=person, seconds=seconds, position=position, to=to
    )
    return number, said


def _numbers(document: bytes) -> list[int]:
    try:
        value = canonical.decode(document, max_bytes=MAX_DOCUMENT)
    except Exception as error:
        raise FoldInvalid("the numbers of items cannot be read") from error
    if not isinstance(value, list) or not value or any(type(each) is not int for each in value):
        raise FoldInvalid("the numbers of items are no list")
    if len({*value}) != len(value):
        raise FoldInvalid("an item is named twice")
    return value  # type: ignore[return-value]  # likewise


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        # the bytes are fixed by a root or a digest: nobody gains by a second form
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FoldInvalid("a line that is no JSON") from error
    if not isinstance(value, dict):
        raise FoldInvalid("a line that is no object")
    return value


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FoldInvalid(otherwise)
