"""The control map: which tests speak to which control, as a data file with its sources."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files as package_files
from typing import Any, Final

from muniment.errors import Malformed

#: what a row was held against
CHECKED: Final = ("text", "title")
MAX_MAP: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}\Z", re.ASCII)
_FRAMEWORK: Final = {"title", "publication", "publisher", "checked", "against", "controls"}
_CONTROL: Final = {"id", "where", "words", "tests", "covers", "cannot"}
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One row of the map."""

    id: str
    #: where in the publication it stands
    where: str
    #: what it asks for, in our words
    words: str
    #: ids of tests; empty where none of ours speaks to it
    tests: tuple[str, ...]
    #: of what it asks for, what our evidence shows, and what it cannot
    covers: str
    cannot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """What somebody published, as far as we have anything to say to it."""

    id: str
    title: str
    publication: str
    publisher: str
    #: see `CHECKED`
    checked: str
    #: which text its rows were held against
    against: str
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlMap:
    """All of them, by id; and the digest of the file."""

    frameworks: Mapping[str, Framework]
    digest: bytes


def shipped() -> bytes:
    """The file that comes with this program."""
    return (package_files("muniment.oversight") / "control_map.toml").read_bytes()


def parse(data: bytes, known: Mapping[str, object]) -> ControlMap:
    """
    The map of a file. `known` are the tests that there are, by id.

    Raises `Malformed`: every row has to have a source, both statements, and tests that exist.
    """
    if len(data) > MAX_MAP:
        raise Malformed(f"a control map of more than {MAX_MAP} bytes")
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Malformed(f"the control map cannot be read: {error}") from None
    tables = value.get("frameworks")
    if value.keys() != {"frameworks"} or not isinstance(tables, dict) or not tables:
        raise Malformed("a control map has `[frameworks.NAME]` tables, and nothing else")
    found = {id_: _framework(id_, table, known) for id_, table in tables.items()}
    return ControlMap(frameworks=found, digest=sha256(data).digest())


def _framework(id_: str, table: Any, known: Mapping[str, object]) -> Framework:
    if not _NAME.match(id_):
        raise Malformed(f"`{id_[:60]}` is no name of a framework: small letters, digits, dashes")
    if not isinstance(table, dict) or table.keys() != _FRAMEWORK:
        raise Malformed(f"framework `{id_}` has not exactly {', '.join(sorted(_FRAMEWORK))}")
    rows = table["controls"]
    if not isinstance(rows, list) or not rows:
        raise Malformed(f"framework `{id_}` has no controls")
    if table["checked"] not in CHECKED:
        raise Malformed(f"framework `{id_}`: `checked` is one of {', '.join(CHECKED)}")
    controls = tuple(_control(id_, row, known) for row in rows)
    if len({each.id for each in controls}) < len(controls):
        raise Malformed(f"framework `{id_}` has a control twice")
    texts = {name: _text(id_, table, name) for name in _FRAMEWORK - {"controls"}}
    return Framework(id=id_, controls=controls, **texts)


def _control(framework: str, row: Any, known: Mapping[str, object]) -> Control:
    if not isinstance(row, dict) or row.keys() != _CONTROL:
        raise Malformed(f"a control of `{framework}` has not exactly {', '.join(sorted(_CONTROL))}")
    where = f"{framework}` `{row['id']!s:.60}"
    texts = {name: _text(where, row, name) for name in _CONTROL - {"tests"}}
    tests = row["tests"]
    if not isinstance(tests, list) or len(set(map(str, tests))) < len(tests):
        raise Malformed(f"`{where}`: `tests` is no list of different tests")
    for each in tests:
        if each not in known:
            raise Malformed(f"`{where}` names the test `{each!s:.60}`, which there is not")
    return Control(tests=tuple(tests), **texts)


def _text(where: str, table: Mapping[str, Any], name: str) -> str:
    value = table[name]
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Malformed(f"`{where}`: `{name}` is no text")
    if len(value) > _LONGEST:
        raise Malformed(f"`{where}`: `{name}` is longer than {_LONGEST} characters")
    return value
