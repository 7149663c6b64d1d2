"""
What the documents show is run, parsed and followed.

- ```` ```sh run ```` blocks are executed: all of one document in order, in one temporary directory,
  each block by `bash -eu`, with the commands of this environment first on PATH. What is exported
  in one block is gone in the next; files stay. Plain ```` ```sh ```` blocks are for reading.
- ```` ```json ````, ```` ```toml ````, ```` ```cedar ```` and ```` ```cedarschema ```` blocks parse.
- Relative links lead to files that are there, and to headings that they have.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cedarpy
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SECONDS = 120


@dataclass(frozen=True)
class Block:
    line: int
    info: tuple[str, ...]
    text: str


def tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(document.read_text("utf-8"))


def blocks(document: Path) -> list[Block]:
    return [
        Block(token.map[0] + 1 if token.map else 0, tuple(token.info.split()), token.content)
        for token in tokens(document)
        if token.type == "fence"
    ]


def cedar_policies(text: str) -> None:
    json.loads(cedarpy.policies_to_json_str(text))


def cedar_schema(text: str) -> None:
    # a schema is read only in use: nothing is asked that it could refuse
    result = cedarpy.validate_policies("", text)
    assert result.validation_passed, result.errors


PARSERS: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "cedar": cedar_policies,
    "cedarschema": cedar_schema,
}

of_each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix()
)


@pytest.mark.deep
@of_each_document
def test_commands_marked_to_run_do_run(document: Path, tmp_path: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    for block in blocks(document):
        if block.info[:2] != ("sh", "run"):
            continue
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block.text],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{document}:{block.line}\n{done.stdout}{done.stderr}"


@of_each_document
def test_data_and_policies_that_are_shown_parse(document: Path) -> None:
    for block in blocks(document):
        parse = PARSERS.get(block.info[0]) if block.info else None
        if parse is None:
            continue
        try:
            parse(block.text)
        except Exception as error:  # noqa: BLE001 (each parser has its own)
            pytest.fail(f"{document}:{block.line}: {error}")


@of_each_document
def test_links_lead_somewhere(document: Path) -> None:
    assert list(dead_links(document)) == []


def dead_links(document: Path, root: Path = ROOT) -> Iterator[str]:
    for link in links(tokens(document)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):  # another place than this repository
            continue
        path, _, heading = link.partition("#")
        target = (document.parent / unquote(path)).resolve() if path else document
        there = target.is_relative_to(root) and target.exists()
        if there and heading and target.suffix == ".md":
            there = heading in headings(target)
        if not there:
            yield link


def links(stream: list[Token]) -> Iterator[str]:
    for token in stream:
        yield from links(token.children or [])
        target = token.attrs.get("href") or token.attrs.get("src")
        if isinstance(target, str):
            yield target


def headings(document: Path) -> Iterator[str]:
    """The anchors that code forges give to headings."""
    stream = tokens(document)
    seen: dict[str, int] = {}
    for opening, inline in pairwise(stream):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or [])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        again = seen.get(slug, 0)
        seen[slug] = again + 1
        yield f"{slug}-{again}" if again else slug


# --- the checks themselves: one that finds nothing would be silent for ever ----------------------


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("json", "{,}"),
        ("toml", "a = "),
        ("cedar", "permit(principal, action);"),
        ("cedarschema", "entity ;"),
    ],
)
def test_a_block_that_does_not_parse_is_found(language: str, text: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 (each parser has its own)
        PARSERS[language](text)


def test_a_dead_link_and_a_wrong_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` & c!\n\n## Twice\n\n## Twice\n\n"
        "[1](#a-b--c) [2](page.md#twice-1) [3](https://example.com/x) [4](.)\n\n"
        "[5](nowhere.md) [6](#thrice) ![7](../outside.png)\n"
    )
    assert list(dead_links(page, tmp_path)) == ["nowhere.md", "#thrice", "../outside.png"]
