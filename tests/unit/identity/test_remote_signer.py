"""A signer behind a socket: what goes wrong there writes nothing, and what goes well again signs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muniment.errors import ConfigInvalid, Conflict, LogUnavailable
from muniment.evidence.careful_signer import CarefulSigner, Memory
from muniment.evidence.keys import KEY_ADDED
from muniment.evidence.note import SigningKey, parse_note
from muniment.evidence.signer import Extension
from muniment.evidence.signer_messages import LENGTH, encode_refused, encode_signed, parse_request
from muniment.identity.remote_signer import RemoteSigner
from muniment.interfaces.signer.folder import SignerFolder
from muniment.interfaces.signer.serving import listen
from muniment.testing.faulty import ORIGIN, new_case
from muniment.testing.trial_log import TrialLog

Answer = Callable[[socket.socket, bytes], None]


class Signing:
    """`muniment signer serve` on a folder."""

    def __init__(self, folder: SignerFolder, path: Path) -> None:
        self.folder, self.path = folder, path
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "muniment", "signer", "serve", str(self.folder.path)]
        self.process = subprocess.Popen(
            [*command, "--socket", str(self.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("muniment signs for")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        with contextlib.closing(self.process.stdout):
            return self.process.wait(10)


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Signing]:
    folder = SignerFolder(tmp_path / "signer")
    folder.make(ORIGIN)
    (tmp_path / "run").mkdir(mode=0o700)
    signing = Signing(folder, tmp_path / "run" / "socket")
    yield signing
    if signing.process is not None and signing.process.poll() is None:
        signing.stop()


def trial_with(folder: Path, signer: RemoteSigner) -> TrialLog:
    """A log that a key in a file and the remote one both sign from now on."""
    trial = TrialLog(folder, others=(signer,))
    case = trial.log.read_entry(0).header.case
    trial.append(trial.draft(case, kind=KEY_ADDED, body={"key": signer.verifier.vkey}))
    return trial


@pytest.mark.deep
def test_a_log_that_another_process_signs_too(signing: Signing, tmp_path: Path) -> None:
    signing.start()
    remote = RemoteSigner(signing.folder.key().verifier, signing.path, 5)
    trial = trial_with(tmp_path, remote)
    trial.fill(3)
    assert len(parse_note(trial.log.checkpoint)[1]) == 2
    trial.check()

    # it dies: nothing is written until it is there again
    signing.stop(signal.SIGKILL)
    size = trial.log.size
    with pytest.raises(LogUnavailable, match="does not sign"):
        trial.fill(1)
    assert trial.log.size == size
    signing.start()
    trial.fill(1)

    # it is restarted while nobody asks: the connection that was kept is made anew
    assert signing.stop() == 0
    signing.start()
    trial.fill(1)
    trial.reopen()
    trial.fill(1)
    trial.check()

    # a copy of the log that was put back gets no signature on another history
    trial.close()
    old = {file: file.read_bytes() for file in (trial.path, trial.head)}
    trial.open()
    for _ in range(3):
        trial.fill(1)
    trial.close()
    for file, data in old.items():
        Path(f"{file}-wal").unlink(missing_ok=True)
        file.write_bytes(data)
    trial.acknowledged.clear()
    trial.open()
    signing.stop()
    signing.start()
    for count in (1, 10):
        with pytest.raises(LogUnavailable, match="an older copy of the log, or another history"):
            trial.fill(count)
    trial.close()
    remote.close()


@pytest.mark.deep
def test_a_signer_that_dies_between_its_memory_and_its_answer_signs_the_next_batch(
    signing: Signing, tmp_path: Path
) -> None:
    signing.start()
    remote = RemoteSigner(signing.folder.key().verifier, signing.path, 5)
    trial = trial_with(tmp_path, remote)
    trial.fill(1)
    signing.stop(signal.SIGKILL)
    # it had remembered the next head, which nobody ever saw
    with contextlib.closing(signing.folder.state()) as state:
        newest = state.read().newest
        state.write(Memory(newest, type(newest)(newest.size + 1, b"x" * 32)))
    signing.start()
    trial.fill(1)
    trial.check()
    trial.close()
    remote.close()


# --- what is no signer ----------------------------------------------------------------------------


@pytest.fixture
def pretend(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """A socket that answers each request as a test has it."""
    path, stopping, threads = tmp_path / "socket", threading.Event(), []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(0.05)

    def run(answer: Answer) -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError, EOFError):
                    connection.settimeout(5)
                    while True:
                        (length,) = LENGTH.unpack(_read(connection, 4))
                        answer(connection, _read(connection, length))

    def start(answer: Answer) -> Path:
        thread = threading.Thread(target=run, args=(answer,))
        thread.start()
        threads.append(thread)
        return path

    yield start
    stopping.set()
    for thread in threads:
        thread.join()
    listener.close()


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class Forgetful:
    """A memory that is of no use."""

    def read(self) -> Memory:
        return Memory()

    def write(self, memory: Memory) -> None:
        pass


KEY, OTHER = SigningKey.generate(ORIGIN), SigningKey.generate(ORIGIN)


def honest(connection: socket.socket, request: bytes) -> None:
    connection.sendall(encode_signed(CarefulSigner(KEY, Forgetful()).sign(parse_request(request))))


def with_another_key(connection: socket.socket, request: bytes) -> None:
    signed = CarefulSigner(OTHER, Forgetful()).sign(parse_request(request))
    connection.sendall(encode_signed(signed))


def junk(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def endless(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(LENGTH.pack(10_000_000))
    for _ in range(100):
        connection.sendall(b"x" * 100_000)


def silent(connection: socket.socket, _request: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # until they give up


def drop_by_drop(connection: socket.socket, request: bytes) -> None:
    signed = CarefulSigner(KEY, Forgetful()).sign(parse_request(request))
    for byte in encode_signed(signed):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)  # slower than anybody waits


def hang_up(connection: socket.socket, _request: bytes) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def refuse(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(encode_refused("not today"))


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (with_another_key, "another key"),
        (junk, "it answers with"),
        (endless, "it answers with 10000000 bytes"),
        (silent, "no answer in time"),
        (drop_by_drop, "no answer in time"),
        (hang_up, "it hung up"),
        (refuse, "it refuses: not today"),
    ],
)
def test_a_signer_that_does_not_sign_writes_nothing_and_may_do_better_later(
    answer: Answer, match: str, pretend: Callable[[Answer], Path], tmp_path: Path
) -> None:
    now: list[Answer] = [honest]

    def as_it_is_now(connection: socket.socket, request: bytes) -> None:
        now[0](connection, request)

    path = pretend(as_it_is_now)
    remote = RemoteSigner(KEY.verifier, path, 0.3)
    trial = trial_with(tmp_path, remote)
    old = trial.fill(1)[0].header.case
    size = trial.log.size
    now[0] = answer
    with pytest.raises(LogUnavailable, match=match):
        trial.receipt(trial.queue(trial.draft(new_case())))
    with pytest.raises(LogUnavailable):
        trial.receipt(trial.conclude(trial.draft(old)))
    assert trial.log.size == size
    now[0] = honest
    trial.receipt(trial.conclude(trial.draft(old)))
    trial.check()
    trial.close()
    remote.close()


def test_a_signer_that_nobody_started_is_unavailable(tmp_path: Path) -> None:
    remote = RemoteSigner(KEY.verifier, tmp_path / "socket", 0.3)
    with pytest.raises(LogUnavailable, match="No such file"):
        trial_with(tmp_path, remote)


# --- the socket -----------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with listen(folder / "socket"):
        assert (folder / "socket").stat().st_mode & 0o777 == 0o600
    folder.chmod(0o755)
    with pytest.raises(ConfigInvalid, match="chmod 700"):
        listen(folder / "other")
    with listen(folder / "other", client=os.geteuid() + 1):
        assert (folder / "other").stat().st_mode & 0o777 == 0o666
    folder.chmod(0o777)
    with pytest.raises(ConfigInvalid, match="chmod 755"):
        listen(folder / "third", client=os.geteuid() + 1)


def test_a_socket_that_a_dead_process_left_is_taken_over_and_a_live_one_is_not(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    listen(tmp_path / "socket").close()
    with listen(tmp_path / "socket") as listener:
        listener.listen()
        with pytest.raises(Conflict, match="somebody listens"):
            listen(tmp_path / "socket")
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="no socket"):
        listen(tmp_path / "file")


@pytest.mark.deep
def test_another_user_is_hung_up_on(signing: Signing) -> None:
    command = [sys.executable, "-m", "muniment", "signer", "serve", str(signing.folder.path)]
    process = subprocess.Popen(
        [*command, "--socket", str(signing.path), "--client", str(os.geteuid() + 1)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    remote = RemoteSigner(signing.folder.key().verifier, signing.path, 2)
    with pytest.raises(LogUnavailable, match=r"hung up|reset|Broken pipe"):
        remote.sign(Extension(size=0, peaks=(), leaves=(), text="whatever"))
    remote.close()
    process.terminate()
    process.stdout.close()
    process.wait(10)


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    folder = SignerFolder(tmp_path / "signer")
    folder.make(ORIGIN)
    assert (tmp_path / "signer" / "signer.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="choose another folder"):
        folder.make(ORIGIN)
    (tmp_path / "signer" / "signer.key").chmod(0o644)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        folder.key()
    with pytest.raises(ConfigInvalid, match="signer init"):
        SignerFolder(tmp_path).key()
    with pytest.raises(ConfigInvalid, match="cannot be the name"):
        SignerFolder(tmp_path / "more").make("two words")
