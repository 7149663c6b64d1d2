"""
The folder of a report: what lies in it, how it is made, and how it is checked with nothing else.

`report.json` is the report in canonical JSON; everything else is either named in it with its
SHA-256 or made from it. The numbers in it come from `log.excerpt.gz` by the code that checks them:
whoever makes a report reads back what he wrote.
"""

import contextlib
import gc
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from muniment import __version__
from muniment.access import check
from muniment.errors import BundleInvalid, Conflict, Malformed, MunimentError, NotCanonical
from muniment.evidence import canonical, moment
from muniment.evidence.bundle import MAX_BUNDLE
from muniment.evidence.excerpt_proof import STEPS as EXCERPT_STEPS
from muniment.evidence.excerpt_proof import ProvedExcerpt, verify_excerpt
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.steps import failing_as, require
from muniment.evidence.verdict import NOBODY, Reader, Verdict
from muniment.interfaces.cli import report_oscal, report_page
from muniment.interfaces.verifier.folder import digest_in, paths_in, pieces_in, read_in
from muniment.interfaces.verifier.record_words import clean
from muniment.oversight import control_map, report
from muniment.oversight.controls import TESTS
from muniment.oversight.report import Counting

REPORT: Final = "report.json"
PAGE: Final = "report.html"
OSCAL: Final = "oscal.json"
EXCERPT: Final = "log.excerpt.gz"
MAP: Final = "control_map.toml"
KEY: Final = "keys/log.vkey"
BUNDLES: Final = "bundles"
DOCUMENTS: Final = "documents"
MAX_REPORT: Final = 64 << 20
#: what is made of a report, and made again to check it
_MADE: Final[Mapping[str, Callable[[dict[str, Any], str], bytes]]] = {
    PAGE: lambda value, digest: report_page.page(value, digest).encode(),
    OSCAL: report_oscal.assessment_results,
}

#: What each step of a check establishes, in a reader's words: those of the excerpt come first.
STEPS: Final[Mapping[int, str]] = {
    **EXCERPT_STEPS,
    7: "the report's files are those that it names, unchanged",
    8: "every number in it comes from the excerpt, which shows all of the period",
    9: "attached bundles hold, and are of this log",
    10: "the page, and what else was made of it, shows this report",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedReport:
    """What a check came to: the report, and each step that held."""

    value: dict[str, Any]
    proved: ProvedExcerpt
    #: by number, what was seen
    steps: Mapping[int, str]
    #: what was not proved, beside what is never proved
    doubts: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.proved.verdict is not Verdict.DIVERGED and not self.proved.not_shown


# --- made -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Making:
    """A folder that is being filled."""

    folder: Path
    key: ReadersKeys
    attached: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Never over another folder. Raises `Conflict`, `Malformed`."""
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except FileExistsError as error:
            raise Conflict(f"`{self.folder}` exists already; choose another folder") from error
        except OSError as error:
            raise Malformed(f"`{self.folder}` cannot be made: {error.strerror}") from error

    def undo(self) -> None:
        """Nothing was there before."""
        shutil.rmtree(self.folder)

    def attach(self, name: str, pieces: Iterable[bytes]) -> None:
        """A file that the report names with its digest."""
        self.attached[name] = self.write(name, pieces)

    def write(self, name: str, pieces: Iterable[bytes]) -> str:
        """Returns the SHA-256 of what was written."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        hashed = sha256()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in pieces:
                file.write(piece)
                hashed.update(piece)
        return hashed.hexdigest()

    def count(self, progress: Progress) -> tuple[Counting, ProvedExcerpt]:
        """Read back what was written: what is counted is what a check will count."""
        counting = Counting()
        with _uncollected():
            proved = verify_excerpt(
                pieces_in(self.folder, EXCERPT), self.key, see=counting.take, progress=progress
            )
        return counting, proved

    def finish(self, value: dict[str, Any], *, missing: int, oscal: bool) -> bytes:
        """Write report, page and what else is made of it; returns the report's bytes."""
        whole = {
            **value,
            "attached": self.attached,
            "documents_missing": missing,
            "program": __version__,
        }
        data = canonical.encode(whole)
        if len(data) > MAX_REPORT:
            raise Malformed("the report is too large: ask for a shorter period")
        self.write(REPORT, [data])
        for name, make in _MADE.items():
            if name == PAGE or oscal:
                self.write(name, [make(whole, sha256(data).hexdigest())])
        return data


# --- checked ----------------------------------------------------------------------------------


def check_report(
    folder: Path,
    key: ReadersKeys,
    *,
    heads: Sequence[bytes] = (),
    reader: Reader = NOBODY,
    without_pages: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> CheckedReport:
    """
    All steps over a folder. Raises `BundleInvalid` with the number of the step that failed.

    Nothing but files in the folder is opened. Only the version that made a page makes it again, so
    another one refuses it, unless the reader does `without_pages`.
    """
    value = _read_report(folder)
    counting = Counting()
    with _uncollected():
        proved = verify_excerpt(
            pieces_in(folder, EXCERPT), key, heads=heads, reader=reader, see=counting.take,
            progress=progress,
        )  # fmt: skip
    steps = dict(proved.steps)
    with failing_as(7):
        steps[7] = f"{_check_attached(folder, value['attached'], proved):,} files"
    with failing_as(8):
        steps[8] = _check_numbers(folder, value, counting, proved)
    steps[9] = f"{_check_bundles(folder, value, key, proved):,} bundles"
    doubts: list[str] = []
    if without_pages:
        doubts.append(f"what {' and '.join(_MADE)} say: they were not compared, do not read them")
    else:
        with failing_as(10):
            _check_made(folder, value)
        steps[10] = "byte for byte"
    if value["map"] != sha256(control_map.shipped()).hexdigest():
        doubts.append(f"that its control map is ours: it is another, sha256:{value['map']}")
    if proved.hidden:
        # it said so before anybody cut this, and whoever is shown the time before sees if it lied
        doubts.append(
            f"that before entry {proved.whole_from:,} the log named all cases that were open then:"
            " a report over the time before shows that"
        )
    return CheckedReport(value=value, proved=proved, steps=steps, doubts=tuple(doubts))


def _read_report(folder: Path) -> dict[str, Any]:
    with failing_as(7):
        value = canonical.decode(read_in(folder, REPORT, MAX_REPORT), max_bytes=MAX_REPORT)
        if not isinstance(value, dict) or value.get("format") != report.FORMAT:
            raise NotCanonical(f"`{REPORT}` is no report of the format {report.FORMAT}")
        attached = value.get("attached")
        if not isinstance(attached, dict) or not {EXCERPT, MAP} <= attached.keys():
            raise NotCanonical(f"`{REPORT}` does not name its excerpt and its control map")
        return value


def _check_attached(folder: Path, attached: Mapping[str, Any], proved: ProvedExcerpt) -> int:
    present = set(paths_in(folder))
    for name, digest in attached.items():
        placed = name in (EXCERPT, MAP, KEY) or name.startswith((f"{BUNDLES}/", f"{DOCUMENTS}/"))
        here = name in present and placed
        require(7, here, f"`{name}` is missing, or lies where no file of a report does")
        require(7, digest_in(folder, name) == digest, f"`{name}` was changed")
    # whoever lists what he put there still vouches for nothing: a report has these and no others
    strangers = sorted(present - attached.keys() - {REPORT, *_MADE})
    require(7, not strangers, f"`{''.join(strangers[:1])}` is no file of this report")
    if KEY in attached:
        own = read_in(folder, KEY, MAX_REPORT) == f"{proved.key.vkey}\n".encode()
        require(7, own, f"`{KEY}` is another key than the one that signed")
    return len(attached)


def _check_numbers(
    folder: Path, value: Mapping[str, Any], counting: Counting, proved: ProvedExcerpt
) -> str:
    again = recount(read_in(folder, MAP, control_map.MAX_MAP), value, counting, proved)
    beside = {"attached", "documents_missing", "program"}
    told = {name: each for name, each in value.items() if name not in beside}
    for name in sorted(told.keys() | again.keys()):
        if told.get(name) != again.get(name):
            raise NotCanonical(f"`{name}` is not what the excerpt gives{_by_whom(value)}")
    for name in value["attached"]:
        place, _, digest = name.partition("/")
        if place == DOCUMENTS and not _is_named(digest, value["attached"][name], counting):
            raise NotCanonical(f"`{name}` is no document that a record shown here names")
    missing = len(counting.documents) - sum(
        name.startswith(f"{DOCUMENTS}/") for name in value["attached"]
    )
    if value.get("documents_missing") != missing:
        raise NotCanonical("another number of documents is missing than it says")
    return f"{len(told['tests'])} tests over {told['population']['requests']:,} requests"


def _by_whom(value: Mapping[str, Any]) -> str:
    program = value.get("program")
    if program == __version__:
        return ""
    return (
        f"; version {program!s:.40} made it, and tests may have changed since: check it with that"
    )


def _is_named(digest: str, hashed: object, counting: Counting) -> bool:
    return digest == hashed and digest in {each.hex() for each in counting.documents}


def recount(
    map_data: bytes, asked: Mapping[str, Any], counting: Counting, proved: ProvedExcerpt
) -> dict[str, Any]:
    """The report again, for the framework, period and resources that another one names."""
    try:
        known = control_map.parse(map_data, TESTS)
        framework = known.frameworks[asked["framework"]["id"]]
        period, resources = asked["period"], asked["resources"]
        start, stop = moment.parse(period["from"]), moment.parse(period["to"])
        if not all(isinstance(each, str) for each in resources):
            raise NotCanonical("`resources` is no list of names")
    except (KeyError, TypeError) as error:
        raise NotCanonical("it does not say which framework and period it is about") from error
    except Malformed as error:
        raise NotCanonical(str(error)) from error
    return report.build(
        counting, proved, known, framework, start=start, stop=stop, resources=resources
    )


def _check_bundles(
    folder: Path, value: Mapping[str, Any], key: ReadersKeys, proved: ProvedExcerpt
) -> int:
    names = [name for name in value["attached"] if name.startswith(f"{BUNDLES}/")]
    excepted = set(excepted_cases(value))
    for name in names:
        try:
            bundle = check.verify(read_in(folder, name, MAX_BUNDLE), key)
        except MunimentError as error:
            raise BundleInvalid(9, f"`{name}`: {error}") from error
        require(9, bundle.proved.log_id == proved.log_id, f"`{name}` is of another log")
        is_expected = name == bundle_name(bundle.proved.case_id)
        require(9, is_expected, f"`{name}` is about another case")
        require(9, bundle.proved.case_id in excepted, f"`{name}` is about no exception")
    return len(names)


def _check_made(folder: Path, value: dict[str, Any]) -> None:
    """That what was made of the report is what this program makes of it."""
    program = value.get("program")
    other = clean(program)[:40] if isinstance(program, str) else "unknown"
    require(
        10,
        program == __version__,
        f"version {other} made the page, as it says, and this is {__version__}: check it with that"
        " version, as it was published, or `--without-pages`",
    )
    digest = sha256(read_in(folder, REPORT, MAX_REPORT)).hexdigest()
    for name, make in _MADE.items():
        if name == PAGE or name in paths_in(folder):
            shown = read_in(folder, name, MAX_REPORT)
            require(10, shown == make(value, digest), f"`{name}` shows something else")


def excepted_cases(value: Mapping[str, Any]) -> Iterator[str]:
    """Ids of the cases that did not pass, each once, in the order of the tests."""
    faults = (fault["about"] for test in value["tests"] for fault in test["faults"])
    yield from dict.fromkeys(about for about in faults if is_case(about))


def is_case(about: str) -> bool:
    prefix, _, rest = about.partition("_")
    return prefix.isalnum() and len(rest) == 26 and rest.isalnum()  # noqa: PLR2004 (base32 of 128 bits)


def bundle_name(case: str) -> str:
    return f"{BUNDLES}/{case}.json"


# --- files ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """A million records make no rings of objects: to look for some takes a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
