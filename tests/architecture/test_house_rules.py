"""Rules of the house that no linter knows."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

#: when one of these comes to mind, the noun that is missing has not been found yet
EMPTY_NAMES = {"utils", "util", "core", "manager", "base", "helpers", "helper", "common", "misc"}
MAX_LINES = 500
#: longer ones, each with its reason and its own limit
LONGER = {
    "src/muniment/ports.py": 560,  # all that we ask of the outside, on one page
    "src/muniment/testing/postgres_server.py": 600,  # no reason: to be split
}


def dotted(*parts: str) -> str:
    """A host, put together so that this file does not name it."""
    return ".".join(parts)


def placed(*parts: str) -> str:
    """An absolute path, put together for the same reason."""
    return "/".join(("", *parts))


HOSTS = (
    dotted("pypi", "org"), dotted("pythonhosted", "org"), dotted("crates", "io"),
    dotted("proxy", "golang", "org"), dotted("npmjs", "org"), dotted("npmjs", "com"),
    dotted("repo", "maven", "apache", "org"), dotted("maven", "org"),
    dotted("deb", "debian", "org"), dotted("security", "debian", "org"),
)  # fmt: skip
MACHINE_PATHS = (
    placed("work", "main"), placed("work", "shared"), placed("work", ".library"),
    placed("root", ""), placed("opt", "wheels"),
)  # fmt: skip
#: a folder of somebody; SCIM has a path of the name that macOS has for them, and ids behind it
HOME = re.compile(
    placed("home", "") + r"(?!(?:runner|user|alice|bob)\b)[a-z]|" + placed("Users", "") + r"[a-z]"
)


def tracked() -> list[Path]:
    """What is in the repository or would be with the next `git add`."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    done = subprocess.run(
        [*command, "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), done.stderr
        pytest.skip("this is not a git checkout")
    return [file for name in done.stdout.split("\0") if (file := ROOT / name).is_file()]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_every_module_is_named_after_what_it_holds() -> None:
    empty = [name_of(file) for file in SOURCES if EMPTY_NAMES & {file.stem, file.parent.name}]
    assert empty == []


def test_every_module_opens_with_a_sentence() -> None:
    silent = [name_of(file) for file in SOURCES if not opens_with_a_sentence(file)]
    assert silent == []


def opens_with_a_sentence(file: Path) -> bool:
    source = file.read_bytes()
    if not source:  # an empty __init__.py holds nothing to open
        return True
    text = ast.get_docstring(ast.parse(source)) or ""
    first = text.split("\n\n")[0]
    return len(first.split()) > 1 and first[-1] in ".:?!"


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {name_of(file): len(file.read_text("utf-8").splitlines()) for file in SOURCES}
    too_long = {name: n for name, n in lengths.items() if n > LONGER.get(name, MAX_LINES)}
    assert too_long == {}
    assert {name for name in LONGER if lengths[name] <= MAX_LINES} == set()


def test_the_name_of_a_test_is_a_sentence() -> None:
    assert [name for file in TESTS for name in names_too_short(file)] == []


def names_too_short(file: Path) -> Iterator[str]:
    if not file.name.startswith("test_"):
        return
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test"
        ):
            words = [word for word in node.name.removeprefix("test_").split("_") if word]
            if not node.name.startswith("test_") or len(words) < 3:
                yield f"{name_of(file)}: {node.name}"


def test_whoever_silences_a_checker_says_which_rule() -> None:
    silenced = re.compile(
        r"#\s*(?:(?:ruff|flake8)\s*:\s*)?(noqa|type:\s*ignore|mypy:\s*ignore|pragma)(.*)"
    )
    coded = re.compile(r"\s*:\s*[A-Z]+[0-9]+|\[[a-z-]+")
    mute = [
        f"{name_of(file)}:{number}"
        for file in [*SOURCES, *TESTS]
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if (found := silenced.search(line)) and file != Path(__file__) and not coded.match(found[2])
    ]
    assert mute == []


def test_every_rule_of_the_linter_that_is_off_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    ruff = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [*ruff["ignore"], *(rules for rules in ruff["per-file-ignores"].values())]
    assert off
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.mypy]")]
    lists = re.findall(r"(?:ignore|\"[^\"\n]+\") = \[(.*?)\n?\](.*)", section, re.DOTALL)
    assert lists
    for body, _ in lists:
        if "\n" in body:
            assert "#" in body, body
    ignored = section[
        section.index("ignore = [") : section.index("[tool.ruff.lint.per-file-ignores]")
    ]
    assert [row for row in ignored.splitlines() if row.startswith('  "') and "#" not in row] == []


def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    named = []
    for file in tracked():
        text = file.read_bytes().decode("utf-8", "replace")
        named += [f"{name_of(file)}: {word}" for word in (*HOSTS, *MACHINE_PATHS) if word in text]
        named += [f"{name_of(file)}: {found[0]}" for found in HOME.finditer(text)]
    assert named == []


def test_no_lock_names_an_index() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for file in locks:
        text = lock(file.stem)
        assert "://" not in text
        assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)
        assert "--hash=sha256:" in text


def test_the_lock_has_every_package_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [requirement for extra in extras for requirement in extra]
    locked = re.findall(r"^([a-z0-9-]+)==", lock("dev"), re.MULTILINE)
    assert {re.split(r"[^A-Za-z0-9_-]", each)[0].lower() for each in asked} <= set(locked)


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
