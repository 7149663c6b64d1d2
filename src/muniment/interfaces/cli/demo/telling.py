"""How the demo is told: steps that held or did not, in the terminal or as one JSON document."""

import contextlib
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

WIDTH = 96
_INDENT = 5
#: for terminals that cannot show them
_PLAIN = str.maketrans({"✓": "+", "✗": "X", "…": "...", "│": "|", "→": ">", "–": "-"})


class NotHeld(Exception):
    """what the demo shows did not hold"""


class Stopped(Exception):
    """a step on which the rest of the story rests did not hold"""


def must(holds: object, otherwise: str) -> None:
    """Raises `NotHeld`: the step that it stands in is told as failed."""
    if not holds:
        raise NotHeld(otherwise)


@dataclass
class Step:
    """One thing that is shown."""

    name: str
    text: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def held(self, text: str, **details: Any) -> None:
        """What was seen, in one line, and the facts for JSON."""
        self.text, self.details = text, {**self.details, **details}


@dataclass
class Telling:
    """Collects steps; prints them as they come, unless it is `quiet`."""

    quiet: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    _section: int = 0

    @property
    def held(self) -> bool:
        return bool(self.steps) and all(step["ok"] for step in self.steps)

    @contextlib.contextmanager
    def step(self, name: str, *, go_on: bool = False) -> Iterator[Step]:
        """A step fails with whatever is raised in it; then the story stops, unless it may go on."""
        step, started = Step(name), time.monotonic()
        try:
            yield step
        except Exception as error:
            why = str(error) or type(error).__name__
            self._record(step, started, ok=False, error=why)
            self._print(click.style("✗", fg="red", bold=True), f"{name}: {why}", fg="red")
            if not go_on:
                raise Stopped from error
        else:
            self._record(step, started, ok=True)
            self._print(click.style("✓", fg="green", bold=True), step.text)

    def _record(self, step: Step, started: float, *, ok: bool, **more: Any) -> None:
        self.steps.append(
            {
                "name": step.name,
                "section": self._section,
                "ok": ok,
                "said": step.text,
                "seconds": round(time.monotonic() - started, 3),
                "details": step.details,
                **more,
            }
        )

    # --- in the terminal --------------------------------------------------------------------------

    def section(self, title: str) -> None:
        self._section += 1
        self._echo()
        self._echo(click.style(f"{self._section}  {title}", bold=True))

    def say(self, text: str) -> None:
        """Something that was not checked: what people do, and what it means."""
        for line in wrapped(text, WIDTH - _INDENT):
            self._echo(" " * _INDENT + click.style(line, dim=True))

    def quote(self, lines: Iterable[str], fg: str = "cyan") -> None:
        """Words of somebody else: a rule, a log line, a server's answer."""
        for line in lines:
            self._echo(" " * _INDENT + click.style(shortened(line, WIDTH - _INDENT), fg=fg))

    def open(self) -> None:
        title = "Muniment: access for as long as it is needed, and evidence that stays"
        self._echo(click.style(title, bold=True))
        self._echo(click.style("starting a PostgreSQL, and the service beside it …", dim=True))

    def close(self, seconds: float, kept: Path | None) -> None:
        lost = sum(not step["ok"] for step in self.steps)
        self._echo()
        if self.held:
            text = f"All {len(self.steps)} steps held, in {seconds:.0f} s."
            self._echo(click.style(text, fg="green", bold=True))
        else:
            text = f"{lost} of {len(self.steps)} steps did NOT hold."
            self._echo(click.style(text, fg="red", bold=True))
        for line in _what_next(kept):
            self._echo(line)

    def show_log(self, text: str) -> None:
        """The end of the service's log, where the story had to stop."""
        self._echo()
        self._echo(click.style("the service's log ends:", dim=True))
        self.quote(text.splitlines()[-15:], fg="bright_black")

    def json(self) -> dict[str, Any]:
        return {"ok": self.held, "steps": self.steps}

    def _print(self, mark: str, text: str, fg: str | None = None) -> None:
        first, *rest = wrapped(text, WIDTH - _INDENT)
        self._echo(f"   {mark} {click.style(first, fg=fg)}")
        for line in rest:
            self._echo(" " * _INDENT + click.style(line, fg=fg))

    def _echo(self, line: str = "") -> None:
        if not self.quiet:
            click.echo(_shown(line))


def _what_next(kept: Path | None) -> Iterator[str]:
    if kept is None:
        yield "Everything that ran is stopped and removed. To look at the evidence yourself:"
        yield "  muniment demo --keep DIR"
        yield "And for a database of your own:"
        yield '  muniment init DIR --postgres "host=… port=5432 dbname=…"'
        return
    key = f"--log-key {kept}/log.vkey"
    yield f"Everything that ran is stopped; the evidence is in {kept}. Look at it:"
    yield f"  muniment verify {kept}/ended-early.bundle.json {key}"
    yield f"  muniment replay {kept}/expired.bundle.json {key}"
    yield f"  muniment audit {kept} {key} --full"


def wrapped(text: str, width: int) -> list[str]:
    """At blanks only; a newline stays one."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _shown(line: str) -> str:
    encoding = sys.stdout.encoding or "ascii"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return line.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return line


#: width of what was done, in a line about an attack
_DONE = 30
_LONG_HASH = re.compile(r"[0-9a-f]{20,}")


def attack(what: str, answer: str) -> str:
    """One line: what was done, and with which words it was caught."""
    answer = _LONG_HASH.sub(lambda found: f"{found[0][:8]}…", answer)
    return shortened(f"{what:<{_DONE}}{answer}", WIDTH - _INDENT)
