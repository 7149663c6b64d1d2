"""A service whose log others follow: real processes, no target, and a copy of it that forked."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment.evidence.store import Published
from muniment.stores.sqlite import SQLiteStore

PROGRAM: Final = str(Path(sys.executable).with_name("muniment"))
WATCH: Final = """
[workloads.watch]
owner = "admin"
groups = ["muniment-monitors"]
"""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One service, as those who follow it know it."""

    folder: Path
    url: str
    tokens: dict[str, str]

    @property
    def tiles(self) -> str:
        return f"{self.url}/log"

    @property
    def vkey(self) -> str:
        return (self.folder / "keys/log.vkey").read_text("ascii").strip()

    def publish(self) -> int:
        """What the service has signed last; its size."""
        store = SQLiteStore(self.folder / "data/muniment.db")
        try:
            tail = store.tail()
            assert tail is not None
            store.publish(Published(tail.size, tail.checkpoint))
        finally:
            store.close()
        return tail.size

    def grow(self, login: str) -> int:
        """Somebody more in the files, taken in and published."""
        with (self.folder / "muniment.toml").open("a") as settings:
            settings.write(f'\n[people.{login}]\nname = "{login}"\n')
        token = self.tokens["admin"]
        run("reload", "--dir", self.folder, MUNIMENT_URL=self.url, MUNIMENT_TOKEN=token)
        return self.publish()


def run(*arguments: object, code: int = 0, **environment: str) -> str:
    """One command of ours to its end; what it prints."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout or done.stderr


def clean(environment: dict[str, str]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MUNIMENT_", "XDG_"))}
    return {**inherited, **environment}


def make(folder: Path) -> dict[str, str]:
    """An installation that nobody serves yet; the tokens of its people."""
    run("init", folder)
    with (folder / "muniment.toml").open("a") as settings:
        settings.write(WATCH)
    made = {
        who: run("token", "create", who, "--dir", folder, "--json")
        for who in ("admin", "ana", "watch")
    }
    return {who: json.loads(text)["token"] for who, text in made.items()}


def forked(folder: Path, other: Path) -> None:
    """A copy from before the first start, with the same key: both go on, each in its own way."""
    shutil.copytree(folder, other)


@contextlib.contextmanager
def serving(folder: Path, tokens: dict[str, str]) -> Iterator[Followed]:
    """`muniment serve` for as long as it is entered."""
    with folder.with_suffix(".log").open("w") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--dir", str(folder), "--listen", "127.0.0.1:0"],
            env=clean({}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("muniment serves on "), folder.with_suffix(".log").read_text()
            yield Followed(folder=folder, url=said.split()[-1], tokens=tokens)
            process.terminate()
            assert process.wait(30) == 0, "the service did not drain"
        finally:
            process.kill()
