"""What the judges in Python share: files read with the standard library only, and the verdict."""

import base64
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


class Refused(Exception):
    """What the log shows is not what it claims."""


@dataclass(frozen=True)
class Inclusion:
    """A `.tlog-proof`, read."""

    index: int
    hashes: list[bytes]
    checkpoint: str


@dataclass(frozen=True)
class Growth:
    """A request to a witness, read; `request` is the whole of it."""

    old: int
    hashes: list[bytes]
    checkpoint: str
    request: str


def inclusions(directory: Path) -> Iterator[Inclusion]:
    for file in sorted(directory.glob("proofs/*.tlog-proof")):
        head, _, checkpoint = file.read_text("utf-8").partition("\n\n")
        _, index, *hashes = head.split("\n")
        yield Inclusion(int(index.removeprefix("index ")), _hashes(hashes), checkpoint)


def growths(directory: Path) -> Iterator[Growth]:
    for file in sorted(directory.glob("growth/*.add-checkpoint")):
        request = file.read_text("utf-8")
        head, _, checkpoint = request.partition("\n\n")
        old, *hashes = head.split("\n")
        yield Growth(int(old.removeprefix("old ")), _hashes(hashes), checkpoint, request)


def entry(directory: Path, index: int, size: int) -> bytes:
    """One entry out of its bundle, as C2SP tlog-tiles lays them out."""
    bundle, place = divmod(index, 256)
    rest, last = divmod(bundle, 1000)
    name = f"x{rest:03}/{last:03}" if rest else f"{last:03}"  # enough for 256 million entries
    partial = "" if bundle < size // 256 else f".p/{size % 256}"
    data = (directory / "tile" / "entries" / (name + partial)).read_bytes()
    for _ in range(place):
        data = data[2 + int.from_bytes(data[:2], "big") :]
    return data[2 : 2 + int.from_bytes(data[:2], "big")]


def pronounce(judge: Callable[[Path, str], str]) -> None:
    """Run a judge on the arguments of the command line: it gives what it saw, or raises."""
    directory, vkey = Path(sys.argv[1]), sys.argv[2]
    try:
        seen = judge(directory, vkey)
    except Exception as reason:  # noqa: BLE001 (whatever a judge raises is its way to refuse)
        print(f"refused: {type(reason).__name__}: {reason}")  # noqa: T201 (the verdict)
        sys.exit(1)
    print(f"accepted: {seen}")  # noqa: T201 (the verdict)


def _hashes(lines: list[str]) -> list[bytes]:
    return [base64.b64decode(line, validate=True) for line in lines]
