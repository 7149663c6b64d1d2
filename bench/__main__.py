"""`python -m bench [NAME…]`: run benchmarks in order or by name, print and keep their figures."""

import argparse
import asyncio
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

from bench import report
from bench.context import FULL, QUICK, SMOKE, Bench

NAMES = (
    "appends",
    "nodes",
    "growth",
    "audit",
    "http",
    "evaluation",
    "cycles",
    "expiry",
    "publishing",
    "detect",
    "events",
    "observe",
    "campaigns",
    "reports",
)


def main() -> int:
    arguments = _arguments()
    if arguments.write_docs:
        report.write_docs()
        return 0
    sys.setswitchinterval(0.0005)  # as `muniment serve` does
    sizes = FULL if arguments.full else SMOKE if arguments.smoke else QUICK
    with tempfile.TemporaryDirectory(prefix="muniment-bench-", dir=arguments.work) as work:
        bench = Bench(work=Path(work), sizes=sizes)
        names = arguments.names or NAMES
        with asyncio.Runner() as runner:
            runner.run(_run_all(bench, names, full=arguments.full, keep=not arguments.smoke))
    return 0


async def _run_all(bench: Bench, names: tuple[str, ...], *, full: bool, keep: bool) -> None:
    async with bench.closing():
        for name in names:
            load, began = os.getloadavg()[0], time.perf_counter()
            figures = await importlib.import_module(f"bench.{name}").run(bench)
            seconds = time.perf_counter() - began
            lines = "\n  ".join(report.table(figures))
            print(f"\n{name} ({seconds:.0f} s; load before: {load:.1f})\n\n  {lines}", flush=True)  # noqa: T201 (what it is for)
            if keep:
                report.save(name, figures, full=full, seconds=seconds, load=load)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; else all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="the runs over a million records")
    size.add_argument("--smoke", action="store_true", help="tiny, to see that it works; not kept")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure (default: /tmp)")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="measure nothing; fill docs/performance.md from what was measured last",
    )
    found = parser.parse_args()
    if unknown := set(found.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return found


if __name__ == "__main__":
    sys.exit(main())
