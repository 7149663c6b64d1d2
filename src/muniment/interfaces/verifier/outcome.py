"""
What verification of a bundle came to, and how it is said: on a terminal, and as JSON.

`muniment verify` and the verifier that an auditor carries say the same, word for word, from here.
Nothing is needed but the rooms `errors`, `evidence` and `access`.
"""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from muniment.access import check
from muniment.access.check import Checked
from muniment.errors import BundleInvalid
from muniment.evidence import verdict as grades
from muniment.evidence import verify as steps
from muniment.evidence.bundle import MAX_BUNDLE
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.verdict import NOBODY, Compared, Cosigned, Reader, Stamped, Verdict, Vouched
from muniment.interfaces.verifier.given import read, read_head
from muniment.interfaces.verifier.record_words import one_line

TITLES: Final[Mapping[int, str]] = {**steps.STEPS, **check.STEPS}
#: with those that only a review of access has
ALL_TITLES: Final[Mapping[int, str]] = {**TITLES, **check.MORE_STEPS}
#: Whether every decision of a bundle was recomputed; that takes the policy engine.
Replays: TypeAlias = Callable[[Checked], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What verification came to: the checked bundle, or the step that failed."""

    file: Path
    checked: Checked | None
    failed: BundleInvalid | None = None

    @property
    def verdict(self) -> Verdict:
        return self.checked.verdict if self.checked is not None else Verdict.INVALID

    @property
    def vouched(self) -> Vouched | None:
        return self.checked.proved.vouched if self.checked is not None else None

    @property
    def holds(self) -> bool:
        """Consistent, and comparable with every head that the reader gave."""
        return self.checked is not None and not (
            self.verdict is Verdict.DIVERGED or self.checked.proved.not_shown
        )

    def lines(self, unmet: Sequence[str] = ()) -> Iterator[str]:
        """For people; the last line says what was not proved."""
        yield f"{self.file}"
        yield ""
        yield from self.step_lines()
        yield ""
        yield from self.closing_lines(unmet)

    def step_lines(self) -> Iterator[str]:
        if self.checked is None:
            yield from self._failed_lines()
            return
        passed = {step.number: step for step in self.checked.steps}
        for number, title in (ALL_TITLES if max(passed) not in TITLES else TITLES).items():
            if number in passed:
                yield _line("✓", number, title, passed[number].detail)
            else:
                yield _line("✗", number, title, "")
                yield from _divergence(self.checked.proved.compared)
        if words := list(grades.seen(self.checked.proved.vouched)):
            yield ""
        for line in words:
            yield wrapped(one_line(line), indent="     ")
        unseen = list(self.checked.unseen)
        if unseen:
            yield ""
        for record, name, answer in unseen:
            yield f"     section `{name}` of {record}: {style(one_line(answer), fg='yellow')}"

    def closing_lines(self, unmet: Sequence[str]) -> Iterator[str]:
        if self.checked is None:
            yield f"{styled(Verdict.INVALID)}: {one_line(str(self.failed))}"
            yield from words(Verdict.INVALID, None)
            return
        for kept in self.checked.proved.not_shown:
            yield _bad(
                f"NOT SHOWN: the file proves nothing about your head of size {kept.size}; "
                "have it exported again with `--head FILE`"
            )
        for name in unmet:
            yield _bad(f"REQUIRED, and does not hold: {name}")
        yield f"{styled(self.verdict, self.vouched)}, {self.checked.completeness}"
        yield from words(self.verdict, self.vouched, self.checked.not_proved)

    def _failed_lines(self) -> Iterator[str]:
        at = self.failed.step if self.failed is not None else 1
        for number, title in (ALL_TITLES if at not in TITLES else TITLES).items():
            if number < at:
                yield _line("✓", number, title, "")
            elif number == at:
                yield _line("✗", number, title, "")
                yield _bad(f"        {one_line(_without_step(self.failed))}")
            else:
                yield _line("·", number, title, "")

    def json(self, unmet: Sequence[str] = ()) -> dict[str, Any]:
        value: dict[str, Any] = {
            "file": str(self.file),
            "verdict": self.verdict.value,
            "holds": self.holds and not unmet,
            "unmet": list(unmet),
        }
        if self.checked is None:
            failed = self.failed.step if self.failed is not None else None
            return {**value, "failed_step": failed, "reason": _without_step(self.failed)}
        proved = self.checked.proved
        return {
            **value,
            "case": proved.case_id,
            "state": self.checked.state,
            "complete": proved.closed_at is not None,
            "closed_at": proved.closed_at,
            "as_of": proved.as_of,
            "log": {
                "origin": proved.checkpoint.origin,
                "id": proved.log_id.hex(),
                "size": proved.checkpoint.size,
                "root": proved.checkpoint.root.hex(),
            },
            "heads": [compared_json(one) for one in proved.compared],
            "grade": grades.headline(self.verdict, proved.vouched),
            **vouched_json(proved.vouched),
            "steps": [
                {"step": step.number, "title": step.title, "detail": step.detail}
                for step in self.checked.steps
            ],
            "unseen": [
                {"record": record, "section": name, "answer": answer}
                for record, name, answer in self.checked.unseen
            ],
            "proved": list(grades.proves(self.verdict, proved.vouched)),
            "not_proved": list(self.checked.not_proved),
        }


def examine(
    file: Path, key: ReadersKeys, heads: Iterable[Path], reader: Reader = NOBODY
) -> Outcome:
    """All steps over a file."""
    notes = [read_head(path) for path in heads]
    try:
        return Outcome(file, check.verify(read(file, MAX_BUNDLE), key, notes, reader))
    except BundleInvalid as failed:
        return Outcome(file, None, failed)


def meets(outcome: Outcome, requirement: str, replays: Replays) -> bool:
    """Whether what the reader demands beyond consistency holds as well."""
    if outcome.checked is None:
        return False
    if requirement in grades.REQUIRABLE:
        return grades.meets(requirement, outcome.verdict, outcome.vouched)
    if requirement == "complete":
        return outcome.checked.proved.closed_at is not None
    return replays(outcome.checked)


# --- how it looks -----------------------------------------------------------------------------

_CODES: Final = {"red": 31, "green": 32, "yellow": 33, "bright_black": 90}


def style(text: str, fg: str, *, bold: bool = False) -> str:
    """In a terminal's colour. Whoever prints it elsewhere takes the codes out again."""
    heavy = "\x1b[1m" if bold else ""
    return f"\x1b[{_CODES[fg]}m{heavy}{text}\x1b[0m"


def wrapped(sentence: str, indent: str = "") -> str:
    """One sentence, broken at spaces to a terminal's width; elsewhere one line, to be searched."""
    width = _columns()
    if width is None:
        return indent + sentence
    lines = textwrap.wrap(
        sentence,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  " if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def _columns() -> int | None:
    """Of a terminal; None where there is none."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def words(
    verdict: Verdict, vouched: Vouched | None, not_proved: Iterable[str] = ()
) -> Iterator[str]:
    """The last lines: what it proves and what it does not, in words for a report."""
    nothing = verdict in (Verdict.INVALID, Verdict.DIVERGED)
    yield wrapped(
        " ".join(["Proved: nothing." if nothing else "Proved:", *grades.proves(verdict, vouched)])
    )
    phrases = grades.not_proved(verdict, vouched) if nothing else not_proved
    yield wrapped(one_line(f"Not proved: {'; '.join(phrases)}."))


_COLOURS = {"✓": "green", "✗": "red", "·": "bright_black"}
#: what stands before the title of a step, and how wide the longest is
_MARGIN, _TITLE = 8, 70
_PLAIN = {"✓": "ok", "✗": "NO", "·": "--"}


def mark(sign: str) -> str:
    """The sign in its colour; words where the terminal cannot show it."""
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return style(_PLAIN[sign], fg=_COLOURS[sign])
    return style(sign, fg=_COLOURS[sign])


def _line(sign: str, number: int, title: str, detail: str) -> str:
    columns, detail = _columns(), one_line(detail)
    if columns is not None and detail and _MARGIN + _TITLE + 2 + len(detail) > columns:
        return f"  {mark(sign)} {number:2}  {title}\n{wrapped(detail, ' ' * (_MARGIN + 1))}"
    return f"  {mark(sign)} {number:2}  {title:<{_TITLE}}  {detail}".rstrip()


def _bad(text: str) -> str:
    return style(text, fg="red")


def styled(verdict: Verdict, vouched: Vouched | None = None) -> str:
    bad = verdict in (Verdict.INVALID, Verdict.DIVERGED)
    return style(grades.headline(verdict, vouched), fg="red" if bad else "green", bold=True)


def _without_step(failed: BundleInvalid | None) -> str:
    return str(failed).partition(": ")[2]


def _divergence(compared: Iterable[Compared]) -> Iterator[str]:
    for one in compared:
        if one.shown is not None and not one.agrees:
            yield _bad(f"        you kept: size {one.kept.size}, root {one.kept.root.hex()}")
            yield _bad(f"        the file: size {one.kept.size}, root {one.shown.hex()}")


def compared_json(one: Compared) -> dict[str, Any]:
    shown = one.shown.hex() if one.shown is not None else None
    return {"size": one.kept.size, "kept": one.kept.root.hex(), "shown": shown}


def vouched_json(vouched: Vouched) -> dict[str, Any]:
    stamp = vouched.stamp
    return {
        "witnesses": {
            "cosigned": [_cosigned_json(each) for each in vouched.cosigned],
            "unknown": vouched.unknown,
            "yours": {"cosigned": vouched.k, "counted": vouched.n, "quorum": vouched.quorum},
        },
        "stamps": [_stamped_json(each) for each in vouched.stamps],
        "existed_before": None if stamp is None else stamp.before.isoformat(),
    }


def _cosigned_json(each: Cosigned) -> dict[str, Any]:
    return {"witness": each.key.vkey, "at": each.time, "standing": each.standing}


def _stamped_json(each: Stamped) -> dict[str, Any]:
    stamp = each.stamp
    return {
        "authority": None if stamp is None else stamp.authority,
        "at": None if stamp is None else stamp.at.isoformat(),
        "before": None if stamp is None else stamp.before.isoformat(),
        "verified": stamp is not None and not each.doubt,
        "doubt": each.doubt,
    }
