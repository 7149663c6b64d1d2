"""Where what sources say is kept, by the settings."""

from pathlib import Path

import pytest
from folders import TOML, make_folder

from muniment.errors import ConfigInvalid
from muniment.runtime.observing import open_events
from muniment.runtime.settings import Settings, read_settings
from muniment.stores.events import SQLiteEventStore

STORE = '\n[store]\nlog = "env:LOG"\nheads = "env:HEADS"\n'
SOURCE = '\n[sources.app]\nkind = "push"\nreader = "sshd"\nresource = "db"\n'


def settings(folder: Path, more: str) -> Settings:
    make_folder(folder, TOML)
    with (folder / "muniment.toml").open("a") as file:
        file.write(more)
    return read_settings(folder)


def test_without_a_source_there_is_no_store(tmp_path: Path) -> None:
    for name, more in (("files", ""), ("shared", STORE)):
        (tmp_path / name).mkdir()
        assert open_events(tmp_path / name, settings(tmp_path / name, more)) is None
        assert not (tmp_path / name / "data").exists()


def test_sources_of_a_log_in_files_lie_in_a_file_beside_it(tmp_path: Path) -> None:
    store = open_events(tmp_path, settings(tmp_path, SOURCE))
    assert isinstance(store, SQLiteEventStore)
    store.close()


def test_sources_of_a_shared_log_need_a_database_that_is_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"`store\.events`.*migrate --sql events"):
        open_events(tmp_path, settings(tmp_path, SOURCE + STORE))


def test_a_database_whose_address_is_not_there_is_not_opened(tmp_path: Path) -> None:
    asked = settings(tmp_path, f'{SOURCE}{STORE}events = "env:EVENTS"\n')
    with pytest.raises(ConfigInvalid, match=r"store\.events"):
        open_events(tmp_path, asked)
