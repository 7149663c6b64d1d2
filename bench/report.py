"""From figures to the table on the screen, to bench-results.json and to docs/performance.md."""

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure

RESULTS = Path("bench-results.json")
DOCS = Path("docs/performance.md")
_BEGIN, _END = "<!-- bench: begin -->", "<!-- bench: end -->"
_HEAD = ("figure", "", "yardstick", "", "ratio", "goal", "")
#: columns of numbers
_RIGHT = (1, 3, 4)
_SMALL, _LARGE = 10, 100


def rows(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    return [
        (
            figure.what,
            f"{_number(figure.value)} {figure.unit}",
            figure.beside,
            "" if figure.yardstick is None else f"{_number(figure.yardstick)} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _goal(figure),
            figure.verdict,
        )
        for figure in figures
    ]


def table(figures: Iterable[Figure]) -> Iterator[str]:
    """Aligned lines for a terminal."""
    lines = [_HEAD, *rows(figures)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(_HEAD))]
    for line in lines:
        cells = [
            cell.rjust(width) if n in _RIGHT else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def save(name: str, figures: Sequence[Figure], *, full: bool, seconds: float, load: float) -> None:
    """Into bench-results.json, in place of what the same benchmark left there before."""
    results = load_results()
    results["machine"] = machine()
    results.setdefault("benchmarks", {})[name] = {
        "full": full,
        "seconds": round(seconds, 1),
        "load_before": round(load, 2),
        "figures": [figure.json() for figure in figures],
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def load_results() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text("utf-8"))) if RESULTS.exists() else {}


def machine() -> dict[str, str]:
    """The kind of machine, as far as it matters to the figures."""
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def write_docs() -> None:
    """Replace what stands between the markers of docs/performance.md."""
    if not RESULTS.exists():
        raise FileNotFoundError(f"there is no `{RESULTS}`: run `make bench` first")
    text = DOCS.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = "\n".join(_markdown(load_results()))
    DOCS.write_text(f"{before}{_BEGIN}\n{lines}\n{_END}{after}", "utf-8")


def _markdown(results: dict[str, Any]) -> Iterator[str]:
    kind = results["machine"]
    yield (
        f"Measured on a {kind['cores']}-core machine ({kind['system']}), Python {kind['python']}, "
        f"SQLite {kind['sqlite']}."
    )
    for name, found in results["benchmarks"].items():
        command = "make bench-full" if found["full"] else "make bench"
        yield f"\n### {name}\n"
        yield (
            f"From `{command}`; it took {found['seconds']:.0f} s, "
            f"with a load average of {found['load_before']:.1f} before it.\n"
        )
        figures = [Figure.read(value) for value in found["figures"]]
        yield "| figure | measured | beside | measured | ratio | goal | |"
        yield "|---|--:|---|--:|--:|---|---|"
        for row in rows(figures):
            yield f"| {' | '.join(row)} |"


def _number(value: float) -> str:
    if value >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _SMALL else f"{value:.2f}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign = "≥" if figure.goal.sense == "at least" else "≤"
    if figure.goal.of == "ratio":
        return f"{sign} {figure.goal.bound:g} ×"
    return f"{sign} {figure.goal.bound:,g} {figure.unit}"
