"""strace, attached to a process that a test has started: faults at chosen system calls."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE = 60


def need_strace() -> None:
    """Skip the test without strace, or fail it where nothing may be missing."""
    if shutil.which("strace") is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("strace is not installed here")


@contextlib.contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """strace is attached while the block runs; from here on system calls are counted."""
    command = ["strace", "-f", "-qq", "-p", str(pid), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    try:
        status = Path(f"/proc/{pid}/status")
        for _ in range(100_000):
            if re.search(r"TracerPid:\t[1-9]", status.read_text()):
                break
            if tracer.poll() is not None:
                pytest.fail(f"strace: {tracer.stderr.read().decode()}")
        yield
    finally:
        tracer.wait(PATIENCE)
        tracer.stderr.close()


def sample(count: int, most: int) -> list[int]:
    """The first, the last, and some between."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + (count - 1) * n // (most - 1) for n in range(most)})
