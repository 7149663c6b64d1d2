"""The generated pages say what the code says, and all of it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.routing import APIRoute

from muniment.access import records
from muniment.interfaces.http.app import make_app
from muniment.runtime.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale(reference: ModuleType) -> None:
    assert reference.stale() == [], "python tools/reference.py --write"


def test_a_page_that_was_edited_by_hand_is_found(reference: ModuleType, tmp_path: Path) -> None:
    for name, text in reference.pages().items():
        (tmp_path / name).write_text(text)
    assert reference.stale(tmp_path) == []
    (tmp_path / "records.md").write_text("our own words")
    (tmp_path / "settings.md").unlink()
    (tmp_path / "of-nothing.md").touch()
    assert reference.stale(tmp_path) == ["of-nothing.md", "records.md", "settings.md"]


def test_every_record_kind_says_what_it_means_and_who_writes_it(reference: ModuleType) -> None:
    page = reference.pages()["records.md"]
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| [`")}
    assert rows.keys() == records.KINDS.keys()
    silent = [kind for kind, row in rows.items() if "|  |" in row]
    assert silent == []


def test_every_setting_says_what_it_means(reference: ModuleType) -> None:
    rows = [row for row in reference.pages()["settings.md"].splitlines() if row.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_route_says_what_it_does(reference: ModuleType) -> None:
    page = reference.pages()["http.md"]
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    assert [row for row in rows if not row.removesuffix(" |").endswith((".", "`."))] == []


def test_every_route_of_the_application_stands_in_its_page(
    reference: ModuleType, tmp_path: Path
) -> None:
    page = reference.pages()["http.md"]
    opened = SimpleNamespace(shared=False, settings=SimpleNamespace(store=None))
    app = make_app(cast("Any", opened), tmp_path, work=False)
    paths = {route.path for route in app.router.routes if isinstance(route, APIRoute)}
    assert {path for path in paths if f" {path}`" not in page} == set()


def test_every_setting_stands_in_its_page(reference: ModuleType) -> None:
    page = reference.pages()["settings.md"]
    headings = " ".join(line for line in page.splitlines() if line.startswith("## "))
    missing = [name for name in Settings.model_fields if f"[{name}" not in headings]
    assert missing == []
