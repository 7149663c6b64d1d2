"""`muniment witness` as a process of its own, for whoever wants to ask it."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("muniment"))


def muniment(*arguments: str | Path) -> Any:
    """What a command that succeeds prints with `--json`."""
    command = [PROGRAM, "witness", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Running:
    url: str
    process: subprocess.Popen[str]

    def stop(self) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code, and its log."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@contextlib.contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[Running]:
    command = [PROGRAM, "witness", "serve", folder, "--listen", "127.0.0.1:0", *options]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1:]
            if not address:
                _, errors = process.communicate(timeout=30)
                raise AssertionError(errors)
            yield Running(address[0], process)
        finally:
            process.kill()
