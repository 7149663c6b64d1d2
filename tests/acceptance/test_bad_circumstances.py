"""What an operator meets on a bad day: the service refuses or goes on, and says what is wrong."""

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from acceptance.conftest import PROGRAM, Installation

ERRING: Final = '\n@id("x")\npermit (principal, action, resource) when { principal.nonsense };\n'
ERRS: Final = "policies/10-request.cedar:37: x: attribute `nonsense` on entity type"
#: root may read and write whatever it likes; these capabilities are why
AS_ANYBODY: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@dataclass(frozen=True)
class Running:
    """A service that runs, and what it says."""

    process: "subprocess.Popen[str]"
    url: str
    log: Path

    def says(self, text: str, seconds: float = 15) -> dict[str, Any]:
        """The first line of its log that holds this text, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.log.read_text("utf-8").splitlines():
                if text in json.loads(line)["message"]:
                    said: dict[str, Any] = json.loads(line)
                    return said
            assert time.monotonic() < deadline, f"no `{text}` in {self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def hang_up(self) -> None:
        """Reload; what was said before is forgotten."""
        os.truncate(self.log, 0)
        self.process.send_signal(signal.SIGHUP)


@dataclass(frozen=True)
class Place:
    """A configuration folder that `init` made, and that no service runs on yet."""

    folder: Path

    def muniment(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *args, "--dir", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def token(self, login: str) -> dict[str, str]:
        made = self.muniment("token", "create", login, "--json")
        return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    def append(self, file: str, text: str) -> None:
        with (self.folder / file).open("a", encoding="utf-8") as opened:
            opened.write(text)

    def refusal(self, *args: str, by: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code and last words of a service that does not start."""
        command = [*by, PROGRAM, "serve", "--dir", str(self.folder)]
        done = subprocess.run(
            [*command, *(args or ("--listen", "127.0.0.1:0"))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == ""
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr[done.stderr.find("muniment: ") :].strip()

    @contextlib.contextmanager
    def serving(self, listen: str = "127.0.0.1:0", **environment: str) -> Iterator[Running]:
        log = self.folder.with_suffix(".log")
        with log.open("a") as errors:
            process = subprocess.Popen(
                [PROGRAM, "serve", "--dir", str(self.folder), "--listen", listen],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        with process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert said.startswith("muniment serves on "), log.read_text()
                yield Running(process, said.split()[-1], log)
                process.terminate()
                assert process.wait(30) == 0, "the service did not drain"
            finally:
                process.kill()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two logs of one origin, one with more than its first record, and what it was before."""
    base = tmp_path_factory.mktemp("made")
    for name, origin in (("conf", "muniment.example/log"), ("other", "muniment.example/log"), ("far", "far.example/log")):
        subprocess.run([PROGRAM, "init", str(base / name), "--origin", origin], check=True, capture_output=True)
    shutil.copytree(base / "conf", base / "older")
    with Place(base / "conf").serving():
        pass
    return base


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    shutil.copytree(made / "conf", tmp_path / "conf")
    return Place(tmp_path / "conf")


# --- it does not start --------------------------------------------------------------------------

Attack = Callable[[Place, Path], None]


def the_key_of_another_log(place: Place, made: Path) -> None:
    shutil.copy(made / "other/keys/log.key", place.folder / "keys/log.key")


def the_key_of_another_origin(place: Place, made: Path) -> None:
    shutil.copy(made / "far/keys/log.key", place.folder / "keys/log.key")


def another_origin_in_the_settings(place: Place, _: Path) -> None:
    place.edit("muniment.toml", "muniment.example/log", "far.example/log")


def a_key_that_others_may_read(place: Place, _: Path) -> None:
    (place.folder / "keys/log.key").chmod(0o640)


def no_key(place: Place, _: Path) -> None:
    (place.folder / "keys/log.key").unlink()


def no_database(place: Place, _: Path) -> None:
    (place.folder / "data/muniment.db").unlink()


def an_emptied_database(place: Place, _: Path) -> None:
    os.truncate(place.folder / "data/muniment.db", 0)


def a_database_that_was_cut_off(place: Place, _: Path) -> None:
    os.truncate(place.folder / "data/muniment.db", 20_000)


def a_database_of_another_program(place: Place, _: Path) -> None:
    no_database(place, _)
    with contextlib.closing(sqlite3.connect(place.folder / "data/muniment.db")) as foreign:
        foreign.execute("CREATE TABLE orders (id int)")


def an_older_copy_of_the_database(place: Place, made: Path) -> None:
    shutil.copy(made / "older/data/muniment.db", place.folder / "data/muniment.db")


def the_database_of_another_installation(place: Place, made: Path) -> None:
    shutil.copy(made / "other/data/muniment.db", place.folder / "data/muniment.db")


def an_entry_that_was_edited(place: Place, _: Path) -> None:
    with contextlib.closing(sqlite3.connect(place.folder / "data/muniment.db")) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
            database.execute(f"DROP TRIGGER {trigger}")
        edit = "UPDATE entries SET header = replace(header, 'engineering', 'sre-leadsxx')"
        assert database.execute(edit).rowcount > 1
        database.commit()


def no_head_store(place: Place, _: Path) -> None:
    (place.folder / "head/head").unlink()


def the_head_store_of_another_installation(place: Place, made: Path) -> None:
    shutil.copy(made / "other/head/head", place.folder / "head/head")


def a_damaged_head_store(place: Place, _: Path) -> None:
    (place.folder / "head/head").write_bytes(b"x" * 16_384)


def an_unknown_setting(place: Place, _: Path) -> None:
    place.edit("muniment.toml", "listen =", "lisen =")


def an_unknown_section(place: Place, _: Path) -> None:
    place.append("muniment.toml", '\n[peple.eve]\nname = "Eve"\n')


def settings_that_are_no_toml(place: Place, _: Path) -> None:
    place.append("muniment.toml", "\n[people.eve\n")


def settings_that_are_no_text(place: Place, _: Path) -> None:
    (place.folder / "muniment.toml").write_bytes(b"\xff\xfe")


def a_connector_that_is_not_installed(place: Place, _: Path) -> None:
    place.append("muniment.toml", RESOURCE.replace("postgresql", "mysql"))


def a_secret_that_is_not_there(place: Place, _: Path) -> None:
    place.append("muniment.toml", RESOURCE)


def damaged_tokens(place: Place, _: Path) -> None:
    place.append("tokens.toml", '[abc]\nfor = "ana"\n')


def no_policy(place: Place, _: Path) -> None:
    shutil.rmtree(place.folder / "policy")


def a_certificate_without_its_key(place: Place, _: Path) -> None:
    place.edit("muniment.toml", "[server]\n", '[server]\ntls_certificate = "tls.pem"\n')


def a_certificate_that_is_not_there(place: Place, _: Path) -> None:
    place.edit("muniment.toml", "[server]\n", TLS)


def a_certificate_that_is_none(place: Place, _: Path) -> None:
    a_certificate_that_is_not_there(place, _)
    for name in ("tls.pem", "tls.key"):
        (place.folder / name).write_text("hello")


RESOURCE: Final = """
[resources.orders]
connector = "postgresql"
tier = "prod"
environment = "production"
endpoints = ["host=127.0.0.1 port=1 dbname=orders"]
user = "muniment_connector"
password = "env:MUNIMENT_NO_SUCH_SECRET"
[resources.orders.roles.readwrite]
grants = ["app_rw"]
"""
TLS: Final = '[server]\ntls_certificate = "tls.pem"\ntls_key = "tls.key"\n'

REFUSALS: Final[tuple[tuple[Attack, int, str], ...]] = (
    (the_key_of_another_log, 1, "has a checkpoint of another log or key"),
    (the_key_of_another_origin, 2, "is of `far.example/log`, not of `muniment.example/log`"),
    (another_origin_in_the_settings, 2, "is of `muniment.example/log`, not of `far.example/log`"),
    (a_key_that_others_may_read, 2, "others may read the signing key: chmod 600 "),
    (no_key, 2, "keys/log.key` cannot be read"),
    (no_database, 2, "there is no log at"),
    (an_emptied_database, 1, "there is no log in this database"),
    (a_database_that_was_cut_off, 1, "this is not a whole database of ours"),
    (a_database_of_another_program, 1, "this database belongs to another program"),
    (an_older_copy_of_the_database, 1, "this is an older copy of the database"),
    (the_database_of_another_installation, 1, "has a checkpoint of another log or key"),
    (an_entry_that_was_edited, 1, "does not continue its case"),
    (no_head_store, 1, "the head store is empty, but the database has a log"),
    (the_head_store_of_another_installation, 1, "the head store has a checkpoint of another log"),
    (a_damaged_head_store, 1, "is damaged in both slots"),
    (an_unknown_setting, 2, "`server.lisen` is no setting; did you mean `listen`?"),
    (an_unknown_section, 2, "`peple` is no setting; did you mean `people`?"),
    (settings_that_are_no_toml, 2, "is not TOML"),
    (settings_that_are_no_text, 2, "is not UTF-8"),
    (a_connector_that_is_not_installed, 2, "there is no connector `mysql`; installed are: postg"),
    (a_secret_that_is_not_there, 2, "resources.orders.password: the environment has no variable"),
    (damaged_tokens, 2, "`tokens.toml` is damaged"),
    (no_policy, 2, "there is no policy in"),
    (a_certificate_without_its_key, 2, "`tls_certificate` and `tls_key` go together"),
    (a_certificate_that_is_not_there, 2, "cannot be used"),
    (a_certificate_that_is_none, 2, "cannot be used"),
)


@pytest.mark.parametrize(
    ("attack", "code", "says"), REFUSALS, ids=[attack.__name__ for attack, *_ in REFUSALS]
)
def test_the_service_does_not_start_and_says_why(
    place: Place, made: Path, attack: Attack, code: int, says: str
) -> None:
    attack(place, made)
    answer = place.refusal()
    assert says in answer[1]
    assert answer[0] == code
