"""
Check an archive: every file of it against its bundles, and these against the log's public key.

1. every file is what SHA256SUMS says, and none is here besides those that an archive has;
2. the archive's own record is proved, with its list of cases;
3. every listed case is here as a bundle that verifies, and goes as far as it was listed or further;
4. events are those that the log has records of;
5. the excerpt of the log shows the whole period, and no case in it that is missing from the list;
6. keys and policies are those that the records name;
7. the pages say what the bundles say: they are made again, so only by the version that made them.
   What nobody can make again is refused, unless the reader does without pages.

The digests in SHA256SUMS are whoever's who made the folder. Hence a file is not as it should be by
standing there: it has to be one that an archive with these cases has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from muniment.evidence.verdict import Reader, Verdict, Vouched
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import linked_events, pages, rows, told
from muniment.interfaces.verifier.folder import Opened, invalid
from muniment.interfaces.verifier.given import read_head
from muniment.interfaces.verifier.linked_events import Runs
from muniment.interfaces.verifier.outcome import Outcome, examine, mark, meets, style
from muniment.interfaces.verifier.period_shown import PeriodShown
from muniment.interfaces.verifier.readme import missing, readme
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
#: what a reader may require of an archive besides: that all events of its sessions are here
EVENTS: Final = "events"
_LOG: Final = 5
_PAGES: Final = 7
#: folders of which everything follows from records, and files that are shown to people
_FOLLOWING: Final = ("policy/", "keys/")
_SHOWN: Final = (".html", ".htm", ".css", ".js", ".svg", ".csv")
_CSV, _PEOPLE = "cases.csv", "people.csv"
_LISTS: Final = (_CSV, _PEOPLE, pages.STYLE)
#: what each step shows of what does not hold
_MOST: Final = 20
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
    #: events that hold; those of them that no recorded session of their case names; and those that
    #: one names or counts, and that are not here
    events: int = 0
    unlinked: int = 0
    absent: int = 0
    #: which events the sessions of each case name
    runs: dict[str, Runs] = field(default_factory=dict, repr=False)
    #: by case: how many more they only count
    untold: dict[str, int] = field(default_factory=dict, repr=False)
    #: SHA-256 of the program that lies there, which vouches for nobody and least for itself
    verifier: str = ""
    #: heads were kept, and not every bundle shows that it extends them
    apart: bool = False
    #: what of the period is not here
    left_out: list[str] = field(default_factory=list)
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
            yield (
                "anything that `README.txt`, the pages and the tables say (they were not compared: "
                "do not read them)"
            )
        if self.apart:
            yield "that what cases did after they were listed continues the heads that you kept"
        if self.unlinked:
            yield f"to whose access {self.unlinked:,} events belong"
        named = f" ({self.absent:,} are that sessions have)" if self.absent else ""
        yield f"that no events are left out{named}"
        if self.verifier:
            yield f"what `{places.VERIFIER}` is that lies here (sha256:{self.verifier})"
        if beyond := self.opened.record.beyond:
            yield f"anything of the {beyond:,} cases that whoever took it may not read"
        yield from self.left_out
        yield "that decisions follow from the policy: they were NOT replayed"

    def json(self) -> dict[str, Any]:
        record = self.opened.record if self.opened is not None else None
        return {
            "folder": str(self.folder),
            "holds": self.holds,
            "cases": 0 if record is None else record.cases,
            "beyond": 0 if record is None else record.beyond,
            "verdicts": self.verdicts,
            "not_proved": [*self._not_proved()] if self.holds else [],
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
    without_pages: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Checked:
    """All steps. What cannot be read at all does not hold."""
    found = Checked(folder=folder)
    here = _check_files(found)
    try:
        notes = [read_head(path) for path in heads]
        opened = found.opened = places.open_archive(folder, keys, reader, notes)
    except (EvidenceError, OSError) as error:
        words = invalid(error) if isinstance(error, EvidenceError) else str(error)
        found.wrong[2] = [words]
        found.undone |= dict.fromkeys(range(3, 8), "not looked at")
        return found
    found.details[2] = f"`{opened.checked.proved.case_id}`, {opened.record.cases:,} cases"
    if opened.checked.verdict is Verdict.DIVERGED:
        found.wrong[2] = ["DIVERGED: it contradicts a head that you kept"]
    elif heads and opened.checked.proved.not_shown:
        found.wrong[2] = ["it proves nothing about a head that you kept: take it with `--head`"]
    elif unmet := _unmet(opened.checked.verdict, opened.checked.proved.vouched, required):
        found.wrong[2] = [f"required, and does not hold: {', '.join(unmet)}"]
    try:
        found.verifier = places.digest_in(folder, places.VERIFIER)
    except EvidenceError as error:
        found.wrong[1].append(invalid(error))
    _check_version(found, without_pages=without_pages)
    _check_cases(found, opened, keys, reader, heads, required, progress)
    _check_events(found, opened, keys, required)
    _check_log(found, opened, keys, reader, notes, required)
    found.wrong[6] = [*_kept(found, opened)]
    found.details[6] = f"{sum(1 for _ in opened.policies())} policies"
    if _compares_pages(found):
        _check_lists(found, opened, here)
    _check_strangers(found, opened, here)
    return found


def _check_files(found: Checked) -> set[str]:
    """Returns what is here."""
    wrong = found.wrong.setdefault(1, [])
    here = set(places.paths_in(found.folder)) - {places.SUMS}
    try:
        named = places.read_sums(found.folder)
    except EvidenceError as error:
        wrong.append(invalid(error))
        return here
    wrong += [f"`{path}` is not here" for path in sorted(named.keys() - here)]
    wrong += [f"`{path}` is here and in no list" for path in sorted(here - named.keys())]
    for path in sorted(here & named.keys()):
        try:
            if places.digest_in(found.folder, path) != named[path]:
                wrong.append(f"`{path}` was changed")
        except EvidenceError as error:
            wrong.append(invalid(error))
    found.details[1] = f"{len(named):,} files"
    return here


def _check_version(found: Checked, *, without_pages: bool) -> None:
    """What another version made cannot be made again: whoever claims one could show any page."""
    version = places.made_by(found.folder)
    if without_pages:
        found.undone[_PAGES] = "not compared, as you asked for it"
    elif version != __version__:
        other = f"version {version} made them, as it says" if version else "no version is named"
        asked = "use the verifier of that version, as it was published, or `--without-pages`"
        found.wrong[_PAGES] = [f"{other}, and this is {__version__}: {asked}"]


def _compares_pages(found: Checked) -> bool:
    return _PAGES not in found.undone and not found.wrong.get(_PAGES)


def _check_strangers(found: Checked, opened: Opened, here: set[str]) -> None:
    """Files that no archive with these cases has: somebody put them there."""
    known = {places.ARCHIVE, places.SUMS, places.MANIFEST, places.README, places.VERIFIER}
    known |= {places.EXCERPT, *_LISTS, *pages.list_names(len(opened.listed))}
    for each in opened.listed:
        known |= {pages.bundle_path(each.case), pages.case_path(each.case)}
        known.add(pages.events_path(each.case))
    # step 6 has told of what lies there
    strangers = {path for path in here - known if not path.startswith(_FOLLOWING)}
    for path in sorted(strangers):
        if path.endswith(_SHOWN) and _PAGES not in found.undone:
            found.wrong.setdefault(_PAGES, []).append(f"`{path}` is no page of this archive")
        else:
            found.wrong[1].append(f"`{path}` is no file of this archive, whoever lists it")


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
    same = _compares_pages(found)
    for number, listed in enumerate(opened.listed, start=1):
        path = pages.bundle_path(listed.case)
        if not places.is_in(found.folder, path):
            wrong.append(f"{listed.case}: its bundle is not here")
            continue
        outcome = examine(found.folder / path, keys, heads, reader)
        if (why := _why_not(outcome, opened, listed, required)) or outcome.checked is None:
            wrong.append(f"{listed.case}: {why}")
            continue
        name = outcome.verdict.value
        found.verdicts[name] = found.verdicts.get(name, 0) + 1
        found.apart = found.apart or bool(outcome.checked.proved.not_shown)
        if runs := linked_events.runs_of(outcome.checked):
            found.runs[listed.case] = runs
        if untold := linked_events.untold(outcome.checked):
            found.untold[listed.case] = untold
        case = told.tell(outcome.checked)
        found.rows.append(Row.of(case))
        if same:
            page = pages.case_page(case, events=_has_events(found, listed.case))
            paged += places.difference(found.folder, {pages.case_path(listed.case): page})
        progress(number, len(opened.listed))
    found.rows.sort(key=lambda row: (row.opened, row.case))
    found.details[3] = f"{len(found.rows):,} bundles"


def _has_events(found: Checked, case: str) -> bool:
    return places.is_in(found.folder, pages.events_path(case))


def _unmet(verdict: Verdict, vouched: Vouched, required: Sequence[str]) -> list[str]:
    """What the reader asks of everything that a checkpoint is under."""
    asked = [name for name in required if name in grades.REQUIRABLE]
    return [name for name in asked if not grades.meets(name, verdict, vouched)]


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
    asked = [name for name in required if name != EVENTS]
    unmet = [name for name in asked if not meets(outcome, name, lambda _: False)]
    return f"required, and does not hold: {', '.join(unmet)}" if unmet else ""


def _check_events(
    found: Checked, opened: Opened, keys: ReadersKeys, required: Sequence[str]
) -> None:
    wrong, files, without = found.wrong.setdefault(4, []), 0, 0
    for listed in opened.listed:
        path, runs = pages.events_path(listed.case), found.runs.get(listed.case, {})
        if not _has_events(found, listed.case):
            absent = linked_events.count(runs) + found.untold.get(listed.case, 0)
            found.absent, without = found.absent + absent, without + bool(absent)
            continue
        files += 1
        try:
            data = places.read_in(found.folder, path, MAX_EVIDENCE)
            shown = event_evidence.verify(data, keys)
        except EvidenceError as error:
            wrong.append(f"{path}: {invalid(error)}")
            continue
        linked = sum(linked_events.is_linked(runs, event) for event in shown.events)
        found.events += len(shown.events)
        found.unlinked += len(shown.events) - linked
        found.absent += linked_events.count(runs) - linked
        if shown.log_id != opened.checked.proved.log_id:
            wrong.append(f"{path}: it is of another log than the archive")
        if runs and not linked:
            wrong.append(f"{path}: it has none of the events of the sessions of its case")
    if EVENTS in required and found.absent:
        wrong.append(f"required, and not here: {found.absent:,} events that sessions have")
    none = f", and none of {without:,} that had some" if without else ""
    found.details[4] = f"{found.events:,} events of {files:,} cases{none}"


def _check_log(
    found: Checked,
    opened: Opened,
    keys: ReadersKeys,
    reader: Reader,
    heads: Sequence[bytes],
    required: Sequence[str],
) -> None:
    if not places.is_in(found.folder, places.EXCERPT):
        found.undone[_LOG] = "no excerpt of the log is here"
        return
    wrong = found.wrong.setdefault(_LOG, [])
    period, own = PeriodShown(opened), opened.checked.proved
    try:
        proved = verify_excerpt(
            places.pieces_in(found.folder, places.EXCERPT),
            keys,
            heads=heads,
            reader=reader,
            see=period.see,
        )
    except EvidenceError as error:
        wrong.append(invalid(error))
        return
    if proved.log_id != own.log_id:
        wrong.append("it is an excerpt of another log")
    if proved.verdict is Verdict.DIVERGED:
        wrong.append("DIVERGED: it contradicts a head that you kept")
    if unmet := _unmet(proved.verdict, proved.vouched, required):
        wrong.append(f"required, and does not hold: {', '.join(unmet)}")
    wrong += period.wrong()
    found.details[_LOG] = f"{proved.shown:,} entries shown, {period.told()}"
    found.left_out = [*period.left_out()]


def _kept(found: Checked, opened: Opened) -> Iterator[str]:
    try:
        made = opened.made()
    except EvidenceError as error:
        yield invalid(error)
        return
    yield from places.difference(found.folder, made)
    for path in places.paths_in(found.folder):
        if path.startswith(_FOLLOWING) and path not in made:
            yield f"`{path}` is of no record"


def _check_lists(found: Checked, opened: Opened, here: set[str]) -> None:
    wrong = found.wrong.setdefault(_PAGES, [])
    made = dict(pages.list_pages(opened.cover, found.rows))
    made |= {
        _CSV: rows.as_csv(found.rows),
        _PEOPLE: rows.people_csv(found.rows, told.tell(opened.checked).names),
        pages.STYLE: pages.CSS.encode(),
        places.README: readme(opened.cover, found.verifier, missing(found.rows, here)),
    }
    wrong += places.difference(found.folder, made)
    try:
        wrong += places.difference(found.folder, {places.MANIFEST: _manifest(found, opened)})
    except (EvidenceError, OSError) as error:
        wrong.append(f"`{places.MANIFEST}` cannot be made again: {clean(error)}")
    found.details[_PAGES] = f"{len(made) + len(found.rows):,} pages"


def _manifest(found: Checked, opened: Opened) -> bytes:
    """What programs are told of the folder, made again from what is there."""
    files = {
        path: (places.digest_in(found.folder, path), (found.folder / path).stat().st_size)
        for path in places.paths_in(found.folder)
        if path not in (places.SUMS, places.MANIFEST)
    }
    return places.manifest(opened.cover, files)
