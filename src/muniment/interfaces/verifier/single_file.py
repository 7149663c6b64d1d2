"""
Build `muniment-verify.pyz`: the rooms that verification needs, in one file that Python runs.

The same version gives the same bytes on every machine: the files in one order, with one date, and
not compressed, as compressors differ. So whoever publishes its SHA-256 publishes what it is.
"""

import io
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

#: what goes in: modules and rooms of the package, by path
_TAKEN: Final = ("__init__.py", "errors.py", "evidence", "access", "interfaces/verifier")
#: it builds the file and is of no use in it
_LEFT: Final = frozenset({"interfaces/verifier/single_file.py"})
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_READABLE: Final = 0o100644 << 16
_FIRST_LINE: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = b'''"""Where Python begins in this file."""

import sys


def leave(wrong):
    sys.stderr.write("muniment-verify: " + wrong + "\\n")
    sys.exit(2)


if sys.version_info < (3, 11):
    leave("it needs Python 3.11 or newer, and this is " + sys.version.split()[0])

from muniment.interfaces.verifier.needed import lacking

if lacking():
    leave(lacking())

from muniment.interfaces.verifier.front_door import main

sys.exit(main())
'''


def build() -> bytes:
    """The bytes of the file."""
    found = {f"muniment/{path}": data for path, data in _sources()}
    found.setdefault("muniment/interfaces/__init__.py", b"")
    found["__main__.py"] = _MAIN
    buffer = io.BytesIO()
    buffer.write(_FIRST_LINE)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(found):
            member = zipfile.ZipInfo(path, _DATE)
            member.create_system = 3  # the same on every system
            member.external_attr = _READABLE
            archive.writestr(member, found[path])
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _sources() -> Iterator[tuple[str, bytes]]:
    package = files("muniment")
    for taken in _TAKEN:
        for path, data in _below(package.joinpath(taken), taken):
            if path not in _LEFT:
                yield path, data


def _below(place: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    if place.is_file():
        if path.endswith(".py"):
            yield path, place.read_bytes()
        return
    for each in place.iterdir():
        if each.name != "__pycache__":
            yield from _below(each, f"{path}/{each.name}")
