"""What an operator meets on a bad day: the service refuses or goes on, and says what is wrong."""

import contextlib
import datetime as dt
import ipaddress
import json
import os
import secrets
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
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from acceptance.conftest import PROGRAM, RESOURCE, Installation
from muniment.connectors.postgresql import scram_verifier, setup_sql

#: each of them starts a service, some several: a minute of `make test` that few changes need
pytestmark = pytest.mark.deep
#: root may read and write whatever it likes; these capabilities are why
LIKE_ANYBODY: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
RULE: Final = '\n@id("x")\npermit (principal, action, resource) when { principal.nonsense };\n'
RULES: Final = "policy/policies/10-request.cedar"
WRONG: Final = ": x: attribute `nonsense` on entity type"


@dataclass
class Running:
    """A service that runs, and what it says."""

    pid: int
    url: str
    log: Path
    #: how much of its log is not news any more
    heard: int = 0
    told_to_stop: bool = False

    def signal(self, number: signal.Signals) -> None:
        self.heard = self.log.stat().st_size
        self.told_to_stop |= number == signal.SIGTERM
        os.kill(self.pid, number)

    def says(self, text: str, seconds: float = 20) -> dict[str, Any]:
        """The first line of its log with this text, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while True:
            news = self.log.read_bytes()[self.heard :].decode()
            for line in news.splitlines(keepends=True):
                if line.endswith("\n") and text in json.loads(line)["message"]:
                    said: dict[str, Any] = json.loads(line)
                    return said
            assert time.monotonic() < deadline, f"it does not say `{text}`: {news[-3000:]}"
            time.sleep(0.05)

    def get(self, path: str, token: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=bearer(token))

    def post(self, path: str, token: str, body: Any = None) -> httpx.Response:
        return httpx.post(
            self.url + path, headers=bearer(token), json={} if body is None else body, timeout=30
        )


@dataclass(frozen=True)
class Place:
    """A configuration folder that `init` made."""

    folder: Path

    def muniment(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *args, "--dir", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def token(self, login: str) -> str:
        made = self.muniment("token", "create", login, "--json")
        token: str = json.loads(made.stdout)["token"]
        return token

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    def append(self, file: str, text: str) -> int:
        """The number of the first line that is new."""
        path = self.folder / file
        before = path.read_text("utf-8") if path.exists() else ""
        path.write_text(before + text, "utf-8")
        return before.count("\n") + 1

    def break_policy(self) -> str:
        """What is said of it, with its place."""
        line = self.append(RULES, RULE) + 1
        return f"{RULES.removeprefix('policy/')}:{line}{WRONG}"

    @contextlib.contextmanager
    def unchanged_after(self) -> Iterator[None]:
        """Puts the settings and the rules back."""
        files = [self.folder / name for name in ("muniment.toml", "tokens.toml", RULES)]
        before = [(file, file.read_bytes()) for file in files]
        try:
            yield
        finally:
            for file, data in before:
                file.write_bytes(data)

    def refusal(self, listen: str = "127.0.0.1:0", by: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code and last words of a service that does not start."""
        done = subprocess.run(
            [*by, PROGRAM, "serve", "--dir", str(self.folder), "--listen", listen],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout == "", "it announced itself"
        return done.returncode, done.stderr[done.stderr.find("muniment: ") :].strip()

    @contextlib.contextmanager
    def serving(self, listen: str = "127.0.0.1:0", **environment: str) -> Iterator[Running]:
        """`muniment serve` for as long as it is entered, unless it is stopped before."""
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
                assert said.startswith("muniment serves on "), log.read_text("utf-8")
                service = Running(process.pid, said.split()[-1], log)
                yield service
                if not service.told_to_stop:
                    process.terminate()
                assert process.wait(30) == 0, "the service did not drain"
            finally:
                process.kill()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Made:
    """What the tests copy: no service ever runs here again."""

    #: with `conf`, a log that has started; `older`, what it was before; `other` and `far`, others
    base: Path
    #: of the administrator, in `conf`
    admin: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.mktemp("made")
    for name, origin in (("conf", "near"), ("other", "near"), ("far", "far")):
        init = [PROGRAM, "init", str(base / name), "--origin", f"{origin}.example/log"]
        subprocess.run(init, check=True, capture_output=True)
    place = Place(base / "conf")
    admin = place.token("admin")
    shutil.copytree(base / "conf", base / "older")
    with place.serving():
        pass
    return Made(base, admin)


@pytest.fixture
def place(made: Made, tmp_path: Path) -> Place:
    return Place(shutil.copytree(made.base / "conf", tmp_path / "conf"))


# --- it does not start --------------------------------------------------------------------------

Attack = Callable[[Place, Made], None]


def the_key_of_another_log(place: Place, made: Made) -> None:
    shutil.copy(made.base / "other/keys/log.key", place.folder / "keys/log.key")


def the_key_of_another_origin(place: Place, made: Made) -> None:
    shutil.copy(made.base / "far/keys/log.key", place.folder / "keys/log.key")


def another_origin_in_the_settings(place: Place, _: Made) -> None:
    place.edit("muniment.toml", "near.example/log", "far.example/log")


def a_key_that_others_may_read(place: Place, _: Made) -> None:
    (place.folder / "keys/log.key").chmod(0o640)


def no_key(place: Place, _: Made) -> None:
    (place.folder / "keys/log.key").unlink()


def no_database(place: Place, _: Made) -> None:
    (place.folder / "data/muniment.db").unlink()


def an_emptied_database(place: Place, _: Made) -> None:
    os.truncate(place.folder / "data/muniment.db", 0)


def a_database_that_was_cut_off(place: Place, _: Made) -> None:
    os.truncate(place.folder / "data/muniment.db", 20_000)


def a_database_of_another_program(place: Place, _: Made) -> None:
    no_database(place, _)
    with contextlib.closing(sqlite3.connect(place.folder / "data/muniment.db")) as foreign:
        foreign.execute("CREATE TABLE orders (id int)")


def an_older_copy_of_the_database(place: Place, made: Made) -> None:
    shutil.copy(made.base / "older/data/muniment.db", place.folder / "data/muniment.db")


def the_database_of_another_installation(place: Place, made: Made) -> None:
    shutil.copy(made.base / "other/data/muniment.db", place.folder / "data/muniment.db")


def an_entry_that_was_edited(place: Place, _: Made) -> None:
    with contextlib.closing(sqlite3.connect(place.folder / "data/muniment.db")) as database:
        triggers = database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (trigger,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        edit = "replace(CAST(header AS TEXT), 'engineering', 'sre-leads')"
        database.execute(f"UPDATE entries SET header = CAST({edit} AS BLOB)")
        database.commit()


def no_head_store(place: Place, _: Made) -> None:
    (place.folder / "head/head").unlink()


def the_head_store_of_another_installation(place: Place, made: Made) -> None:
    shutil.copy(made.base / "other/head/head", place.folder / "head/head")


def a_damaged_head_store(place: Place, _: Made) -> None:
    (place.folder / "head/head").write_bytes(b"x" * 16_384)


def an_unknown_setting(place: Place, _: Made) -> None:
    place.edit("muniment.toml", "listen =", "lisen =")


def an_unknown_section(place: Place, _: Made) -> None:
    place.append("muniment.toml", '\n[peple.eve]\nname = "Eve"\n')


def settings_that_are_no_toml(place: Place, _: Made) -> None:
    place.append("muniment.toml", "\n[people.eve\n")


def settings_that_are_no_text(place: Place, _: Made) -> None:
    (place.folder / "muniment.toml").write_bytes(b"\xff\xfe")


def a_connector_that_is_not_installed(place: Place, _: Made) -> None:
    place.append("muniment.toml", ORDERS.replace("postgresql", "mysql"))


def a_secret_that_is_not_there(place: Place, _: Made) -> None:
    place.append("muniment.toml", ORDERS)


def damaged_tokens(place: Place, _: Made) -> None:
    place.append("tokens.toml", '[abc]\nfor = "ana"\n')


def no_policy(place: Place, _: Made) -> None:
    shutil.rmtree(place.folder / "policy")


def a_certificate_without_its_key(place: Place, _: Made) -> None:
    place.edit("muniment.toml", "[server]\n", '[server]\ntls_certificate = "tls.pem"\n')


def a_certificate_that_is_not_there(place: Place, _: Made) -> None:
    place.edit("muniment.toml", "[server]\n", TLS)


def a_certificate_that_is_none(place: Place, _: Made) -> None:
    a_certificate_that_is_not_there(place, _)
    for name in ("tls.pem", "tls.key"):
        (place.folder / name).write_text("hello")


ORDERS: Final = """
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
    (the_key_of_another_origin, 2, "is of `far.example/log`, not of `near.example/log`"),
    (another_origin_in_the_settings, 2, "is of `near.example/log`, not of `far.example/log`"),
    (a_key_that_others_may_read, 2, "others may read the signing key: chmod 600 "),
    (no_key, 2, "keys/log.key` cannot be read"),
    (no_database, 2, "there is no log at"),
    (an_emptied_database, 1, "there is no log in this database"),
    (a_database_that_was_cut_off, 1, "this is not a whole database of ours"),
    (a_database_of_another_program, 1, "this database belongs to another program"),
    (an_older_copy_of_the_database, 1, "this is an older copy of the database"),
    (the_database_of_another_installation, 1, "has a checkpoint of another log or key"),
    (an_entry_that_was_edited, 1, "are not those that the checkpoint of size"),
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
    ("attack", "code", "says"),
    [pytest.param(*row, id=row[0].__name__) for row in REFUSALS],
)
def test_the_service_does_not_start_and_says_why(
    place: Place, made: Made, attack: Attack, code: int, says: str
) -> None:
    attack(place, made)
    answer = place.refusal()
    assert says in answer[1]
    assert answer[0] == code


@pytest.mark.parametrize(
    ("path", "mode", "code", "says"),
    [
        ("data", 0o500, 3, "attempt to write a readonly database"),
        ("data", 0o000, 3, "data/muniment.db` cannot be opened: Permission denied"),
        ("data/muniment.db", 0o000, 3, "the database does not answer: unable to open"),
        ("data/muniment.lock", 0o400, 3, "data/muniment.lock` cannot be opened: Permission denied"),
        ("head/head", 0o400, 3, "head/head` cannot be opened: Permission denied"),
        ("keys/log.key", 0o000, 2, "keys/log.key` cannot be read"),
        ("muniment.toml", 0o000, 2, "muniment.toml`: Permission denied"),
        ("tokens.toml", 0o000, 2, "tokens.toml` cannot be read: Permission denied"),
        ("policy/policies", 0o000, 2, "policy/policies` cannot be read: Permission denied"),
        (RULES, 0o000, 2, "10-request.cedar` cannot be read: Permission denied"),
    ],
)
def test_what_may_not_be_read_or_written_is_named(
    place: Place, path: str, mode: int, code: int, says: str
) -> None:
    root = os.geteuid() == 0
    if root and shutil.which("setpriv") is None:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), "no setpriv"
        pytest.skip("root may read everything, and there is no setpriv to become like anybody else")
    (place.folder / path).chmod(mode)
    try:
        answer = place.refusal(by=LIKE_ANYBODY if root else ())
    finally:
        (place.folder / path).chmod(0o700)
    assert says in answer[1]
    assert answer[0] == code


def test_a_port_that_is_in_use_is_named(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = place.refusal(f"127.0.0.1:{port}")
    assert said == f"muniment: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert code == 2


def test_a_start_on_a_port_that_is_in_use_takes_nothing_into_the_log(place: Place) -> None:
    place.append("muniment.toml", '\n[people.eve]\ngroups = ["engineering"]\n')
    with socket.create_server(("127.0.0.1", 0)) as other:
        place.refusal(f"127.0.0.1:{other.getsockname()[1]}")
    assert "+ human eve" in place.muniment("check", "--diff").stdout


@pytest.mark.parametrize(
    "attack",
    [a_certificate_that_is_not_there, a_certificate_that_is_none],
    ids=lambda a: a.__name__,
)
def test_a_check_looks_at_the_certificate_too(place: Place, made: Made, attack: Attack) -> None:
    attack(place, made)
    done = place.muniment("check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`tls_certificate` and `tls_key` cannot be used" in done.stderr


def test_a_check_refuses_an_address_that_others_reach_without_tls(place: Place) -> None:
    place.edit("muniment.toml", 'listen = "127.0.0.1', 'listen = "0.0.0.0')
    done = place.muniment("check")
    assert done.returncode == 2
    assert "`0.0.0.0` is reachable by others" in done.stderr


def test_an_address_that_others_reach_is_refused_without_tls(place: Place) -> None:
    code, said = place.refusal("0.0.0.0:0")
    assert said.startswith("muniment: `0.0.0.0` is reachable by others: set `tls_certificate`")
    assert "`behind_proxy = true`" in said
    assert code == 2


def test_the_first_start_refuses_a_policy_that_does_not_hold_and_names_the_place(
    made: Made, tmp_path: Path
) -> None:
    place = Place(shutil.copytree(made.base / "older", tmp_path / "conf"))
    wrong = place.break_policy()
    code, said = place.refusal()
    assert said.startswith(f"muniment: {wrong}")
    assert code == 2


# --- it goes on ---------------------------------------------------------------------------------


def test_a_later_start_with_such_a_policy_goes_on_with_the_one_in_force(
    place: Place, made: Made
) -> None:
    wrong = place.break_policy()
    with place.serving() as service:
        said = service.says("the files were not taken in, the old state goes on")
        assert wrong in said["message"]
        assert said["level"] == "critical"
        assert service.get("/v1/whoami", made.admin).status_code == 200


@pytest.fixture(scope="module")
def alive(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Running]]:
    """A service that files are changed under."""
    place = Place(shutil.copytree(made.base / "conf", tmp_path_factory.mktemp("alive") / "conf"))
    with place.serving() as service:
        yield place, service


def test_a_reload_takes_a_new_person_in(alive: tuple[Place, Running]) -> None:
    place, service = alive
    with place.unchanged_after():
        place.append("muniment.toml", '\n[people.eve]\ngroups = ["engineering"]\n')
        token = place.token("eve")
        assert service.get("/v1/whoami", token).status_code == 401
        service.signal(signal.SIGHUP)
        said = service.says("taken in: ")["message"]
        assert said == "taken in: + human eve; + token of eve"
        assert service.get("/v1/whoami", token).json()["groups"] == ["engineering"]
    service.signal(signal.SIGHUP)
    service.says("taken in: - human eve (disabled); - token")
    assert service.get("/v1/whoami", token).status_code == 401


def test_a_reload_is_asked_for_without_the_secrets_of_the_targets(
    place: Place,
) -> None:
    place.append("muniment.toml", ORDERS)
    with place.serving(MUNIMENT_NO_SUCH_SECRET="only the service has it") as service:
        place.append("muniment.toml", '\n[people.eve]\ngroups = ["engineering"]\n')
        done = place.muniment("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert service.says("taken in: + human eve")
        place.break_policy()
        refused = place.muniment("reload")
        assert (refused.returncode, refused.stdout) == (2, "")


def test_a_reload_leaves_an_invalid_policy_alone_and_names_the_place(
    alive: tuple[Place, Running], made: Made
) -> None:
    place, service = alive
    with place.unchanged_after():
        wrong = place.break_policy()
        service.signal(signal.SIGHUP)
        said = service.says("nothing was taken in, the old state goes on")
        assert wrong in said["message"]
        assert service.get("/v1/whoami", made.admin).status_code == 200
        answer = service.post("/v1/reload", made.admin)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(wrong)


def test_a_check_beside_the_service_names_the_place_of_what_is_wrong(
    alive: tuple[Place, Running],
) -> None:
    place, _ = alive
    with place.unchanged_after():
        wrong = place.break_policy()
        done = place.muniment("check", "--diff")
        assert done.stderr.startswith(f"muniment: {wrong}")
        assert done.returncode == 2


def test_a_check_of_the_files_alone_names_the_place_too(place: Place) -> None:
    wrong = place.break_policy()
    assert place.muniment("check").stderr.startswith(f"muniment: {wrong}")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[people.ana]\n", "[people.ana]\ngroop = 1\n", "`people.ana.groop` is no setting"),
        ('prefix = "mun"', 'prefix = "mux"', "`installation` is fixed"),
    ],
)
def test_a_reload_leaves_settings_that_do_not_hold_alone(
    alive: tuple[Place, Running], old: str, new: str, says: str
) -> None:
    place, service = alive
    with place.unchanged_after():
        place.edit("muniment.toml", old, new)
        service.signal(signal.SIGHUP)
        said = service.says("nothing was taken in, the old state goes on")
    assert says in said["message"]


@pytest.mark.target
def test_a_reload_does_not_let_go_of_a_resource_with_an_open_grant(
    installation: Installation,
) -> None:
    case = installation.approved()
    installation.json("credential", case)
    place = Place(installation.folder)
    pid = int((place.folder / "data/muniment.lock").read_text())
    service = Running(pid, installation.url, place.folder.parent / "serve.log")
    with place.unchanged_after():
        settings = place.folder / "muniment.toml"
        settings.write_text(settings.read_text().split(f"[resources.{RESOURCE}]")[0])
        service.signal(signal.SIGHUP)
        said = service.says("nothing was taken in, the old state goes on")["message"]
        assert f"resource `{RESOURCE}` still has an open grant ({case})" in said
        assert installation.json("end", case)["closed"]
        service.signal(signal.SIGHUP)
        service.says(f"taken in: ~ configuration; - role {RESOURCE}/readwrite")
    service.signal(signal.SIGHUP)
    service.says(f"+ role {RESOURCE}/readwrite")


def test_a_stop_lets_what_has_begun_finish_and_exits_with_0(place: Place, made: Made) -> None:
    body = json.dumps({"resource": "orders", "role": "readwrite", "seconds": 60})
    with place.serving() as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=15) as slow:
            head = (
                "POST /v1/explanation HTTP/1.1\r\nHost: service\r\nConnection: close\r\n"
                f"Authorization: Bearer {made.admin}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            slow.sendall(head.encode() + body[:10].encode())
            time.sleep(0.3)
            service.signal(signal.SIGTERM)
            service.says("Shutting down")
            slow.sendall(body[10:].encode())
            answer = slow.makefile("rb").read()
        assert b"there is no role `readwrite` on `orders`" in answer
        with pytest.raises(httpx.ConnectError):
            service.get("/healthz", made.admin)


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A configuration folder whose `data` is a disk of 16 MiB."""
    data = tmp_path / "conf/data"
    data.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "muniment-test", str(data)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
        (pytest.fail if required else pytest.skip)(f"no small disk: {done.stderr.strip()}")
    yield data.parent
    subprocess.run(["umount", str(data)], check=True)


@dataclass
class OnSmallDisk:
    service: Running
    tokens: dict[str, str]
    ballast: Path

    def fill(self, free: int) -> None:
        """Leave this many bytes of the disk."""
        with self.ballast.open("ab") as file, contextlib.suppress(OSError):
            while (left := shutil.disk_usage(self.ballast.parent).free - free) > 0:
                file.write(bytes(min(left, 65_536)))
                file.flush()

    def ask(self, seconds: int) -> httpx.Response:
        wish = {"resource": RESOURCE, "role": "readwrite", "seconds": seconds, "ticket": "OPS-1"}
        return self.service.post("/v1/cases", self.tokens["ana"], wish)

    @contextlib.contextmanager
    def granted(self, seconds: int) -> Iterator[tuple[str, "psycopg.Connection[Any]"]]:
        """A live grant, and a session that uses it."""
        case: str = self.ask(seconds).json()["case"]
        self.service.post(f"/v1/cases/{case}/approval", self.tokens["bo"])
        picked = self.service.post(f"/v1/cases/{case}/credential", self.tokens["ana"]).json()
        credential = picked["credential"]
        with psycopg.connect(
            host=credential["connection"]["host"],
            port=credential["connection"]["port"],
            dbname=credential["connection"]["database"],
            user=credential["account"],
            password=credential["secret"],
            autocommit=True,
        ) as session:
            yield case, session

    def end(self, case: str) -> httpx.Response:
        return self.service.post(f"/v1/cases/{case}/end", self.tokens["ana"])

    def show(self, case: str) -> Any:
        return self.service.get(f"/v1/cases/{case}", self.tokens["ana"]).json()

    def until_troubles(self, number: int, seconds: float = 15) -> list[str]:
        """It tries again and again, and while it tries, of the log nothing is wrong."""
        deadline = time.monotonic() + seconds
        while True:
            ready = self.service.get("/readyz", "none")
            troubles: list[str] = ready.json()["troubles"]
            assert ready.status_code == (503 if troubles else 200)
            if len(troubles) == number:
                return troubles
            assert time.monotonic() < deadline, ready.text
            time.sleep(0.02)

    def until_closed(self, case: str, seconds: float = 30) -> Any:
        deadline = time.monotonic() + seconds
        while not (seen := self.show(case)).get("closed"):
            assert time.monotonic() < deadline, seen
            time.sleep(0.2)
        return seen


@pytest.fixture
def on_small_disk(small_disk: Path, installation: Installation) -> Iterator[OnSmallDisk]:
    """A second installation at the target of the first, with a prefix and a connector of its own."""
    password = secrets.token_urlsafe(16)
    with psycopg.connect(installation.server.superuser_dsn, autocommit=True) as admin:
        verifier = scram_verifier(password)
        admin.execute(
            setup_sql(user="muniment_second", grants=["app_rw"], verifier=verifier).encode()
        )
    init = [PROGRAM, "init", str(small_disk), "--postgres", installation.server.address]
    subprocess.run(init, check=True, capture_output=True)
    place = Place(small_disk)
    place.edit("muniment.toml", '"mun"', '"second"')
    place.edit("muniment.toml", '"muniment_connector"', '"muniment_second"')
    place.append("muniment.toml", '\n[log]\nreserve = "4MiB"\n')
    tokens = {login: place.token(login) for login in ("ana", "bo")}
    with place.serving(MUNIMENT_POSTGRES_PASSWORD=password) as service:
        yield OnSmallDisk(service, tokens, small_disk / "data/ballast")


def until_dead(session: "psycopg.Connection[Any]", seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(psycopg.Error):
        while time.monotonic() < deadline:
            session.execute("SELECT 1")
            time.sleep(0.1)
    assert session.closed, "the session is still alive"


@pytest.mark.target
def test_below_the_reserve_nobody_may_ask_and_access_ends_all_the_same(
    on_small_disk: OnSmallDisk,
) -> None:
    with on_small_disk.granted(600) as (case, session):
        on_small_disk.fill(free=2 << 20)
        refused = on_small_disk.ask(600)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["detail"] == (
            "free disk space is below the reserve; only ends and outcomes may append"
        )
        ended = on_small_disk.end(case).json()
        assert (ended["state"], ended["closed"]) == ("ended", True)
        until_dead(session)
    on_small_disk.ballast.unlink()
    assert on_small_disk.ask(600).status_code == 201


@pytest.mark.target
def test_on_a_disk_without_a_byte_left_access_expires_and_is_recorded_once_there_is_room(
    on_small_disk: OnSmallDisk,
) -> None:
    with on_small_disk.granted(10) as (case, session):
        on_small_disk.fill(free=0)
        assert on_small_disk.ask(600).status_code == 503
        until_dead(session, 20)
        on_small_disk.service.says("the log stopped: the database does not answer: database or d")
        stopped, full = on_small_disk.until_troubles(2)
        assert stopped == "the database does not answer: database or disk is full"
        assert full.startswith("free disk space is below the reserve")
        assert on_small_disk.show(case)["state"] == "issued"
        on_small_disk.ballast.unlink()
        assert on_small_disk.until_closed(case)["state"] == "expired"
    assert on_small_disk.until_troubles(0) == []
    assert on_small_disk.ask(600).status_code == 201


@pytest.mark.target
def test_on_a_disk_without_a_byte_left_access_that_is_given_back_ends(
    on_small_disk: OnSmallDisk,
) -> None:
    with on_small_disk.granted(600) as (case, session):
        on_small_disk.fill(free=0)
        on_small_disk.end(case)
        until_dead(session, 5)


@pytest.mark.target
def test_an_end_that_could_not_be_recorded_says_so_and_is_recorded_once_there_is_room(
    on_small_disk: OnSmallDisk,
) -> None:
    with on_small_disk.granted(600) as (case, _):
        on_small_disk.fill(free=0)
        answer = on_small_disk.end(case)
        on_small_disk.ballast.unlink()
        assert answer.status_code == 503
        assert "access is being taken away all the same" in answer.json()["detail"]
        assert on_small_disk.until_closed(case, 10)["state"] == "ended"


# --- how it is reached --------------------------------------------------------------------------


def test_it_speaks_tls_to_others_with_the_certificate_it_is_given(place: Place) -> None:
    write_certificate(place.folder)
    place.edit("muniment.toml", "[server]\n", TLS)
    with place.serving("0.0.0.0:0") as service:
        assert service.url.startswith("https://0.0.0.0:")
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        trusted = ssl.create_default_context(cafile=place.folder / "tls.pem")
        with httpx.Client(base_url=url, verify=trusted) as client:
            answer = client.get("/.well-known/authzen-configuration").json()
        assert answer["policy_decision_point"] == url
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(url + "/healthz")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url.replace("https", "http") + "/healthz")


@pytest.mark.parametrize(
    ("behind", "proxy", "believed"),
    [
        (False, "127.0.0.1", False),
        (True, "10.0.0.1", False),
        (True, "127.0.0.1", True),
    ],
)
def test_what_a_proxy_says_counts_only_where_that_one_is_declared(
    place: Place, behind: bool, proxy: str, believed: bool
) -> None:
    declared = f'[server]\nbehind_proxy = {str(behind).lower()}\nproxies = ["{proxy}"]\n'
    place.edit("muniment.toml", "[server]\n", declared)
    forwarded = {"X-Forwarded-Proto": "https", "Host": "muniment.example"}
    with place.serving("0.0.0.0:0" if behind else "127.0.0.1:0") as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        answer = httpx.get(url + "/.well-known/authzen-configuration", headers=forwarded).json()
    scheme = "https" if believed else "http"
    assert answer["policy_decision_point"] == f"{scheme}://muniment.example"


def write_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1, signed by its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muniment.example")])
    today = dt.datetime.now(dt.UTC)  # noqa: TID251 (the test is the outermost room)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
