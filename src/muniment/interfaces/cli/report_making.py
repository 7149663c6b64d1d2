"""Make a report: an excerpt of the log, what it comes to, and the bundles of what did not pass."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from muniment.access.records import RoleDefined
from muniment.errors import Malformed, MunimentError, Refused
from muniment.evidence import excerpt
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header
from muniment.interfaces.cli import report_files
from muniment.interfaces.cli.report_files import Making
from muniment.interfaces.cli.report_sources import LogAsRead
from muniment.oversight import control_map, report
from muniment.oversight.carried import STATEMENT, CarriedOver, stated_size
from muniment.oversight.controls import TESTS

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: shown before the period, so that it is seen where it begins
MARGIN: Final = timedelta(hours=3)
_OFTEN: Final = 1 << 12
_DEFINED: Final = f'"kind":"{RoleDefined.KIND}"'.encode()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which report is wanted."""

    framework: str
    start: datetime
    stop: datetime
    resources: tuple[str, ...]
    #: how many bundles of exceptions are attached
    bundles: int
    #: as OSCAL assessment results, too
    oscal: bool
    #: the file of the control map
    map_data: bytes


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made, and what could not be attached."""

    value: dict[str, Any]
    digest: str
    #: by case: why there is no bundle of it
    refused: Mapping[str, str]


def make(
    folder: Path,
    log: LogAsRead,
    keys: ReadersKeys,
    asked: Asked,
    *,
    witnesses: Sequence[VerifierKey] = (),
    api: "Api | None" = None,
) -> Made:
    """
    Fill a new folder. With a service the bundles of what did not pass are fetched from it.

    Raises `Conflict` for a folder that exists, `LogInvalid` for a log that does not hold, and
    `Malformed` for a resource of which it never heard: then there is no folder either.
    """
    known = control_map.parse(asked.map_data, TESTS)
    if asked.framework not in known.frameworks:
        raise Malformed(
            f"there is no framework `{asked.framework}`: these are {', '.join(known.frameworks)}"
        )
    heading, checkpoint = log.heading(named(keys), witnesses)
    making = Making(folder=folder, key=keys)
    making.begin()
    try:
        shown = _shown(log, asked, bar("reading the log"))
        making.attach(
            report_files.EXCERPT, excerpt.write(heading, checkpoint.size, shown, log.node)
        )
        making.attach(report_files.MAP, [asked.map_data])
        counting, proved = making.count(bar("counting"))
        vkey = f"{proved.key.vkey}\n".encode()
        making.attach(report_files.KEY, [vkey])
        value = report.build(
            counting, proved, known, known.frameworks[asked.framework],
            start=asked.start, stop=asked.stop, resources=asked.resources,
        )  # fmt: skip
        missing = _documents(making, log, counting.documents)
        refused = _bundles(making, value, asked.bundles, api)
        data = making.finish(value, missing=missing, oscal=asked.oscal)
    except _Unheard:
        making.undo()
        raise
    except MunimentError:
        click.echo(f"{folder} is not whole", err=True)
        raise
    return Made(value=value, digest=sha256(data).hexdigest(), refused=refused)


class _Unheard(Malformed):
    """A report is asked for on a resource of which the log never heard."""


def _shown(
    log: LogAsRead, asked: Asked, progress: report_files.Progress
) -> Iterator[tuple[int, bytes]]:
    """All from a little before the period on; before that what it cannot be judged without."""
    # one more, however old: by it is seen that nothing of the period stands before
    first = _stated(log, max(0, log.first_since(asked.start - MARGIN) - 1))
    before, unheard = CarriedOver(always=report.BEFORE), set(asked.resources)
    for index, data in log.entries(0, first):
        before.take(index, data)
        _hear(unheard, data)
        if index % _OFTEN == 0:
            progress(index, log.size)
    yield from before.picked()
    for index, data in log.entries(first, log.size):
        yield index, data
        _hear(unheard, data)
        if index % _OFTEN == 0:
            progress(index, log.size)
    progress(log.size, log.size)
    if unheard:
        raise _Unheard(f"there never was a resource `{min(unheard):.80}`")


def _hear(unheard: set[str], data: bytes) -> None:
    """A resource is there from the first of its roles on, and was there for ever."""
    if unheard and _DEFINED in data:
        header = Header.parse(data)
        if header.kind == RoleDefined.KIND:
            unheard.discard(str(header.body.get("resource")))


def _stated(log: LogAsRead, before: int) -> int:
    """The newest size before at which the log says which cases were open; 0 for none."""
    needle = f'"kind":"{STATEMENT}"'.encode()
    while before:
        start = max(0, before - _OFTEN)
        for _, data in reversed([*log.entries(start, before)]):
            if needle in data and (size := stated_size(Header.parse(data))) is not None:
                return size
        before = start
    return 0


def _documents(making: Making, log: LogAsRead, names: set[bytes]) -> int:
    """Returns how many are not at hand."""
    missing = 0
    for name in sorted(names):
        content = log.document(name)
        if content is None or sha256(content).digest() != name:
            missing += 1
        else:
            making.attach(f"{report_files.DOCUMENTS}/{name.hex()}", [content])
    return missing


def _bundles(
    making: Making, value: Mapping[str, Any], most: int, api: "Api | None"
) -> dict[str, str]:
    """The first so many; what may not be exported, or cannot, is left out and said."""
    refused: dict[str, str] = {}
    if api is None:
        return refused
    cases = list(report_files.excepted_cases(value))[:most]
    progress = bar("fetching bundles")
    for number, case in enumerate(cases, 1):
        try:
            data = api.post_for_bytes(f"/v1/cases/{case}/evidence", {"heads": []})
        except (Refused, Malformed) as error:
            refused[case] = str(error)
        else:
            making.attach(report_files.bundle_name(case), [data])
        progress(number, len(cases))
    return refused


def bar(what: str) -> report_files.Progress:
    """How far it has come, where somebody watches."""

    def told(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\r" if done < total else "\r\033[K"
            click.echo(f"{what}: {done:,} of {total:,}{end}", nl=False, err=True)

    return told
