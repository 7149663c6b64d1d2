"""
Check an archive: every file of it against its bundles, and these against the log's public key.

1. every file is what SHA256SUMS says, and none is here besides;
2. the archive's own record is proved, with its list of cases;
3. every listed case is here as a bundle that verifies, and goes as far as it was listed or further;
4. events are those that the log has records of;
5. the excerpt of the log shows the whole period, and no case in it that is missing from the list;
6. keys and policies are those that the records name;
7. the pages say what the bundles say.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from muniment import __version__
from muniment.access.archive import Listed
from muniment.errors import EvidenceError
from muniment.evidence import event_evidence
from muniment.evidence import verdict as grades
from muniment.evidence.event_evidence import MAX_EVIDENCE
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.record import Header
from muniment.evidence.verdict import Reader, Verdict
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import pages, rows, told
from muniment.interfaces.verifier.folder import Opened, invalid
from muniment.interfaces.verifier.given import read, read_head
from muniment.interfaces.verifier.outcome import Outcome, examine, mark, meets, style
from muniment.interfaces.verifier.record_words import clean
from muniment.interfaces.verifier.rows import Row

STEPS: Final[Mapping[int, str]] = {
    1: "every file is what SHA256SUMS says, and none is here besides",
    2: "the archive's own record is proved, with its list of cases",
    3: "every listed case is here, verifies, and goes as far as it was listed",
    4: "events are those that the log has records of",
    5: "no case of the period is missing from the list",
    6: "keys and policies are those that the records name",
    7: "the pages say what the bundles say",
}
_LOG: Final = 5
_PAGES: Final = 7
#: what each step shows of what does not hold
_MOST: Final = 20
_OPENING: Final = ("access:requested", "finding:raised", "campaign:opened")
#: is told how many cases of how many were gone through
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(kw_only=True)
class Checked:
    """What a check of an archive came to."""

    folder: Path
    opened: Opened | None = None
    #: by step, what was seen
    details: dict[int, str] = field(default_factory=dict)
    #: by step, what does not hold
    wrong: dict[int, list[str]] = field(default_factory=dict)
    #: steps that could not be done, and why
    undone: dict[int, str] = field(default_factory=dict)
    #: how many bundles have which grade
    verdicts: dict[str, int] = field(default_factory=dict)
    #: events that hold
    events: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.opened is not None and not any(self.wrong.values())

    def lines(self) -> Iterator[str]:
        yield f"{self.folder}"
        yield ""
        for number, title in STEPS.items():
            wrong = self.wrong.get(number, [])
            if number in self.undone:
                yield f"  {mark('·')} {number:2}  {title}: {self.undone[number]}"
            else:
                sign, detail = "✗" if wrong else "✓", self.details.get(number, "")
                yield f"  {mark(sign)} {number:2}  {title:<70}  {detail}".rstrip()
            # names of files are whatever somebody made them
            yield from (style(f"        {clean(each)}", fg="red") for each in wrong[:_MOST])
            if len(wrong) > _MOST:
                yield style(f"        and {len(wrong) - _MOST:,} more", fg="red")
        yield ""
        yield from self._closing()

    def _closing(self) -> Iterator[str]:
        if not self.holds or self.opened is None:
            yield style("THE ARCHIVE DOES NOT HOLD", fg="red", bold=True)
            return
        record = self.opened.record
        found = ", ".join(
            f"{count:,} {verdict}" for verdict, count in sorted(self.verdicts.items())
        )
        yield style(f"THE ARCHIVE HOLDS: {record.cases:,} cases ({found})", fg="green", bold=True)
        yield f"Not proved: {'; '.join(self._not_proved())}."

    def _not_proved(self) -> Iterator[str]:
        if self.opened is None:
            return
        checked = self.opened.checked
        yield from grades.not_proved(checked.verdict, checked.proved.vouched)
        if _LOG in self.undone:
            yield "that the list has every case of the period (no excerpt of the log is here)"
        if _PAGES in self.undone:
            yield "that the pages and tables say what the bundles say (they were not compared)"
        if self.events:
            yield "to whose access events belong, and that none of them is left out"
        if beyond := self.opened.record.beyond:
            yield f"anything of the {beyond:,} cases that whoever took it may not read"
        yield "that decisions follow from the policy: they were NOT replayed"

    def json(self) -> dict[str, Any]:
        record = self.opened.record if self.opened is not None else None
        return {
            "folder": str(self.folder),
            "holds": self.holds,
            "cases": 0 if record is None else record.cases,
            "beyond": 0 if record is None else record.beyond,
            "verdicts": self.verdicts,
            "steps": [
                {
                    "step": number,
                    "title": title,
                    "detail": self.undone.get(number, self.details.get(number, "")),
                    "done": number not in self.undone,
                    "wrong": self.wrong.get(number, []),
                }
                for number, title in STEPS.items()
            ],
        }


def check(
    folder: Path,
    keys: ReadersKeys,
    reader: Reader,
    *,
    heads: Sequence[Path] = (),
    required: Sequence[str] = (),
    progress: Progress = lambda _done, _total: None,
) -> Checked:
    """All steps. What cannot be read at all does not hold."""
    found = Checked(folder=folder)
    _check_files(found)
    try:
        notes = [read_head(path) for path in heads]
        opened = found.opened = places.open_archive(folder, keys, reader, notes)
    except (EvidenceError, OSError) as error:
        words = invalid(error) if isinstance(error, EvidenceError) else f"`{places.ARCHIVE}`: gone"
        found.wrong[2] = [words]
        found.undone |= dict.fromkeys(range(3, 8), "not looked at")
        return found
    found.details[2] = f"`{opened.checked.proved.case_id}`, {opened.record.cases:,} cases"
    if opened.checked.verdict is Verdict.DIVERGED:
        found.wrong[2] = ["DIVERGED: it contradicts a head that you kept"]
    elif heads and opened.checked.proved.not_shown:
        found.wrong[2] = ["it proves nothing about a head that you kept: take it with `--head`"]
    _check_cases(found, opened, keys, reader, heads, required, progress)
    _check_events(found, opened, keys)
    _check_log(found, opened, keys, reader)
    wrong = [*_kept(found, opened)]
    found.wrong[6], found.details[6] = wrong, f"{sum(1 for _ in opened.policies())} policies"
    _check_lists(found, opened)
    return found


def _check_files(found: Checked) -> None:
    wrong = found.wrong.setdefault(1, [])
    try:
        named = places.read_sums(found.folder)
    except EvidenceError as error:
        wrong.append(invalid(error))
        return
    here = set(places.paths_in(found.folder)) - {places.SUMS}
    wrong += [f"`{path}` is not here" for path in sorted(named.keys() - here)]
    wrong += [f"`{path}` is here and in no list" for path in sorted(here - named.keys())]
    for path in sorted(here & named.keys()):
        place = found.folder / path
        if place.is_symlink() or not place.is_file():
            wrong.append(f"`{path}` is no plain file")
        elif places.digest_of(place) != named[path]:
            wrong.append(f"`{path}` was changed")
    found.details[1] = f"{len(named):,} files"


def _check_cases(
    found: Checked,
    opened: Opened,
    keys: ReadersKeys,
    reader: Reader,
    heads: Sequence[Path],
    required: Sequence[str],
    progress: Progress,
) -> None:
    wrong, paged = found.wrong.setdefault(3, []), found.wrong.setdefault(7, [])
    same = _same_version(found)
    for number, listed in enumerate(opened.listed, start=1):
        place = found.folder / pages.bundle_path(listed.case)
        if place.is_symlink() or not place.is_file():
            wrong.append(f"{listed.case}: its bundle is not here")
            continue
        outcome = examine(place, keys, heads, reader)
        if (why := _why_not(outcome, opened, listed, required)) or outcome.checked is None:
            wrong.append(f"{listed.case}: {why}")
            continue
        name = outcome.verdict.value
        found.verdicts[name] = found.verdicts.get(name, 0) + 1
        case = told.tell(outcome.checked)
        found.rows.append(Row.of(case))
        if same:
            page = pages.case_page(case, events=_has_events(found.folder, listed.case))
            paged += places.difference(found.folder, {pages.case_path(listed.case): page})
        progress(number, len(opened.listed))
    found.rows.sort(key=lambda row: (row.opened, row.case))
    found.details[3] = f"{len(found.rows):,} bundles"


def _has_events(folder: Path, case: str) -> bool:
    return (folder / pages.events_path(case)).is_file()


def _why_not(outcome: Outcome, opened: Opened, listed: Listed, required: Sequence[str]) -> str:
    """Why a bundle is not good enough; empty where it is."""
    if outcome.checked is None:
        return f"INVALID: {outcome.failed}"
    proved = outcome.checked.proved
    if outcome.verdict is Verdict.DIVERGED:
        return "DIVERGED: it contradicts a head that you kept"
    if proved.log_id != opened.checked.proved.log_id:
        return "it is of another log than the archive"
    if proved.case_id != listed.case:
        return f"it is of another case, `{proved.case_id}`"
    if not listed.goes_on_in([entry.leaf for entry in proved.case]):
        return "it has fewer records, or others, than were listed"
    unmet = [name for name in required if not meets(outcome, name, lambda _: False)]
    return f"required, and does not hold: {', '.join(unmet)}" if unmet else ""


def _check_events(found: Checked, opened: Opened, keys: ReadersKeys) -> None:
    wrong, files = found.wrong.setdefault(4, []), 0
    for place in sorted((found.folder / "events").glob("*.json")):
        files += 1
        try:
            shown = event_evidence.verify(read(place, MAX_EVIDENCE), keys)
        except EvidenceError as error:
            wrong.append(f"{place.name}: {invalid(error)}")
            continue
        found.events += len(shown.events)
        if shown.log_id != opened.checked.proved.log_id:
            wrong.append(f"{place.name}: it is of another log than the archive")
    found.details[4] = f"{found.events:,} events of {files:,} cases"


def _check_log(found: Checked, opened: Opened, keys: ReadersKeys, reader: Reader) -> None:
    place = found.folder / places.EXCERPT
    if not place.is_file():
        found.undone[5] = "no excerpt of the log is here"
        return
    wrong = found.wrong.setdefault(5, [])
    period = _Period(opened)
    try:
        with place.open("rb") as file:
            pieces = iter(lambda: file.read(1 << 16), b"")
            proved = verify_excerpt(pieces, keys, reader=reader, see=period.see)
    except EvidenceError as error:
        wrong.append(invalid(error))
        return
    if proved.log_id != opened.checked.proved.log_id:
        wrong.append("it is an excerpt of another log")
    wrong += period.wrong()
    found.details[5] = f"{proved.shown:,} entries shown, {period.opened:,} cases opened in them"


class _Period:
    """Goes through what an excerpt shows, and holds it against the list."""

    def __init__(self, archive: Opened) -> None:
        self._record = archive.record
        self._listed = {each.case for each in archive.listed}
        self._own = archive.index
        self._recorded = False
        self._missing = 0
        self.opened = 0
        self._size = archive.record.size
        self._run: tuple[int, datetime] | None = None
        self._last = -2
        self._whole = False

    def see(self, index: int, header: Header) -> None:
        record = self._record
        self._recorded = self._recorded or index == self._own
        self._follow(index, header)
        if header.kind not in _OPENING or header.position or index >= self._size:
            return
        if not record.since <= header.at < record.until:
            return
        if record.resources and header.body.get("resource") not in record.resources:
            return
        self.opened += 1
        self._missing += header.case not in self._listed
        self._listed.discard(header.case)

    def _follow(self, index: int, header: Header) -> None:
        """Whether entries stand in one row from before the period until behind it."""
        if index != self._last + 1 or self._run is None:
            self._run = (index, header.at)
        self._last = index
        first, began = self._run
        if (first == 0 or began < self._record.since) and (
            header.at >= self._record.until or index + 1 >= self._size
        ):
            self._whole = True

    def wrong(self) -> Iterator[str]:
        if not self._recorded:
            yield "the excerpt does not show the record of this archive"
        if not self._whole:
            yield "the excerpt leaves entries of the period out"
        if self._missing != self._record.beyond:
            yield (
                f"{self._missing:,} cases of the period are not in the list, and the record says "
                f"{self._record.beyond:,}"
            )
        if self._listed:
            yield f"{len(self._listed):,} listed cases were not opened in the period"


def _kept(found: Checked, opened: Opened) -> Iterator[str]:
    try:
        made = opened.made()
    except EvidenceError as error:
        yield invalid(error)
        return
    yield from places.difference(found.folder, made)
    for path in places.paths_in(found.folder):
        if path.startswith(("policy/", "keys/")) and path not in made:
            yield f"`{path}` is of no record"


def _same_version(found: Checked) -> bool:
    version = places.made_by(found.folder)
    if version != __version__:
        other = clean(version)[:40] or "unknown"
        found.undone[_PAGES] = (
            f"made by version {other}; use the verifier of that version, as it was published"
        )
    return version == __version__


def _check_lists(found: Checked, opened: Opened) -> None:
    if _PAGES in found.undone:
        return
    made = dict(pages.list_pages(opened.cover, found.rows))
    made |= {
        "cases.csv": rows.as_csv(found.rows),
        "people.csv": rows.people_csv(found.rows, told.tell(opened.checked).names),
        pages.STYLE: pages.CSS.encode(),
    }
    wrong = found.wrong.setdefault(7, [])
    wrong += places.difference(found.folder, made)
    try:
        wrong += places.difference(found.folder, {places.MANIFEST: _manifest(found, opened)})
    except OSError as error:
        wrong.append(f"`{places.MANIFEST}` cannot be made again: {error.strerror}")
    known = {*made, *(pages.case_path(row.case) for row in found.rows)}
    for path in places.paths_in(found.folder):
        if path.endswith((".html", ".htm", ".css", ".js", ".svg", ".csv")) and path not in known:
            wrong.append(f"`{path}` is no page of this archive")
    found.details[7] = f"{len(known):,} pages"


def _manifest(found: Checked, opened: Opened) -> bytes:
    """What programs are told of the folder, made again from what is there."""
    files = {
        path: (places.digest_of(found.folder / path), (found.folder / path).stat().st_size)
        for path in places.paths_in(found.folder)
        if path not in (places.SUMS, places.MANIFEST) and (found.folder / path).is_file()
    }
    return places.manifest(opened.cover, files)
