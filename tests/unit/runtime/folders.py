"""A configuration folder, as `muniment init` would leave it, with one fake resource."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from muniment.policy import starter
from muniment.runtime import files
from muniment.runtime.settings import read_settings
from muniment.runtime.wiring import make_log
from muniment.testing.fake_target import FakeTarget

TOML = """
[installation]
origin = "muniment.example/runtime"

[people.admin]
groups = ["muniment-admins"]
[people.ana]
name = "Ana"
mail = "ana@example.com"
groups = ["engineering"]
[people.cy]
groups = ["engineering", "sre-leads"]
[workloads.ci]
owner = "cy"
[agents.robo]
sponsor = "ana"

[resources.db]
connector = "fake"
tier = "staging"
environment = "staging"
[resources.db.roles.readwrite]
grants = ["app_rw"]
"""


def make_folder(folder: Path, toml: str = TOML) -> Path:
    (folder / "muniment.toml").write_text(toml)
    for path, content in starter.files().items():
        file = folder / "policy" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def make_installation(folder: Path, toml: str = TOML) -> Path:
    make_log(make_folder(folder, toml), read_settings(folder))
    return folder


def install(monkeypatch: pytest.MonkeyPatch, target: FakeTarget) -> None:
    """Make the fake connector one that is found by its entry point."""
    kind = target.connector_type

    class Found(EntryPoint):
        def load(self) -> object:
            return kind

    point = Found(name="fake", value="x:y", group="muniment.connectors")
    monkeypatch.setattr(files, "entry_points", lambda group: [point])
