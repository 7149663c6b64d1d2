"""`muniment witness`: the folder of a witness, and what the commands say of it."""

import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import ConfigInvalid
from muniment.evidence.note import SigningKey
from muniment.evidence.witness import Witness
from muniment.interfaces.cli.main import run
from muniment.interfaces.witness.folder import KnownLogs, WitnessFolder
from muniment.interfaces.witness.serving import Listening
from muniment.testing.small_log import SmallLog, add_checkpoint

LOG = SmallLog()
VKEY = LOG.key.verifier.vkey
NOW = 1_800_000_000


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> WitnessFolder:
    assert run(["witness", "init", str(tmp_path / "w"), "--name", "witness.example/1"]) == 0
    capsys.readouterr()
    return WitnessFolder(tmp_path / "w")


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """What a command that succeeds prints with `--json`."""
    assert run(["witness", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    return run(["witness", *map(str, arguments)]), capsys.readouterr().err


def cosigned(folder: WitnessFolder, *bodies: bytes) -> list[int]:
    key = folder.key()
    store = folder.store(key.verifier)
    witness = Witness(key, store, KnownLogs(folder), lambda: NOW)
    statuses = [witness.add_checkpoint(body).status for body in bodies]
    store.close()
    return statuses


# --- the folder ----------------------------------------------------------------------------------


def test_init_makes_a_key_that_only_its_owner_reads_and_prints_its_public_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = told(capsys, "init", tmp_path / "w", "--name", "witness.example/1")
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "w").iterdir()}
    assert modes == {
        "witness.key": "0o600", "witness.db": "0o600",
        "witness.vkey": "0o644", "witness.toml": "0o644",
    }  # fmt: skip
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700
    key = WitnessFolder(tmp_path / "w").key().verifier
    assert (answer["key"], answer["name"]) == (key.vkey, key.name)
    assert (tmp_path / "w/witness.vkey").read_text() == f"{key.vkey}\n"


@pytest.mark.parametrize("file", ["witness.key", "witness.db", "witness.toml"])
def test_init_touches_no_witness_that_is_there(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    for other in folder.path.iterdir():
        if other.name != file:
            other.unlink()
    code, said = refused(capsys, "init", folder.path, "--name", "witness.example/2")
    assert (code, "exists already" in said) == (1, True)


@pytest.mark.parametrize("name", ["", "two words", "a+b"])
def test_init_refuses_a_name_that_no_key_can_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, said = refused(capsys, "init", tmp_path / "w", "--name", name)
    assert (code, "cannot be the name of a witness" in said) == (2, True)
    assert not (tmp_path / "w").exists()


def test_a_key_that_others_may_read_is_not_used(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / "witness.key").chmod(0o640)
    code, said = refused(capsys, "status", folder.path)
    assert (code, "chmod 600" in said) == (2, True)


def test_a_folder_without_a_witness_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = refused(capsys, "status", tmp_path)
    assert (code, "`muniment witness init` makes one" in said) == (2, True)


def test_the_secret_of_a_damaged_key_is_not_shown(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder.path / "witness.key"
    secret = path.read_text().strip()
    path.write_text(secret[:-1])
    code, said = refused(capsys, "status", folder.path)
    assert (code, secret.rpartition("+")[2][:8] in said) == (2, False)


def test_a_witness_whose_memory_is_gone_does_not_begin_anew(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / "witness.db").unlink()
    code, said = refused(capsys, "serve", folder.path, "--listen", "127.0.0.1:0")
    assert (code, "make a new witness" in said) == (1, True)
    assert not (folder.path / "witness.db").exists()


# --- the logs that it knows ----------------------------------------------------------------------


def test_a_log_is_added_by_its_key_or_by_a_file_that_holds_it(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert told(capsys, "add", folder.path, VKEY) == {"origin": LOG.origin, "key": VKEY}
    other = SigningKey.generate("other.example").verifier
    file = tmp_path / "log.vkey"
    file.write_text(f"{other.vkey}\n")
    assert told(capsys, "add", folder.path, file)["origin"] == "other.example"
    assert folder.logs() == {LOG.origin: (LOG.key.verifier,), "other.example": (other,)}


def test_an_origin_of_any_characters_is_kept(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = 'go.sum "tree" \\ \x7f é \U0001f511'
    assert told(capsys, "add", folder.path, VKEY, "--origin", odd)["origin"] == odd
    assert folder.logs() == {odd: (LOG.key.verifier,)}
    told(capsys, "remove", folder.path, odd)
    assert folder.logs() == {}


def test_a_second_key_of_a_log_stands_beside_the_first(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    following = SigningKey.generate("log.example/1-2027").verifier
    told(capsys, "add", folder.path, VKEY)
    told(capsys, "add", folder.path, following.vkey, "--origin", LOG.origin)
    assert folder.logs() == {LOG.origin: (LOG.key.verifier, following)}
    code, said = refused(capsys, "add", folder.path, VKEY)
    assert (code, "known already" in said) == (1, True)


def test_what_is_no_key_of_a_log_is_refused(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    witness_key = (folder.path / "witness.vkey").read_text().strip()
    for key in (witness_key, "log.example+00000000+AAAA", str(folder.path / "missing")):
        code, _ = refused(capsys, "add", folder.path, key)
        assert code == 2
    for origin in ("", "two\nlines", "\udcff"):
        code, said = refused(capsys, "add", folder.path, VKEY, "--origin", origin)
        assert (code, folder.logs()) == (2, {}), said


def test_a_log_that_is_removed_stays_remembered(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "add", folder.path, VKEY)
    assert cosigned(folder, LOG.request(0, 7)) == [200]
    told(capsys, "remove", folder.path, LOG.origin)
    assert cosigned(folder, LOG.request(7, 8)) == [404]
    (log,) = told(capsys, "status", folder.path)["logs"]
    assert (log["known"], log["size"]) == (False, 7)
    told(capsys, "add", folder.path, VKEY)
    assert cosigned(folder, LOG.request(0, 7), LOG.request(7, 8)) == [409, 200]
    code, said = refused(capsys, "remove", folder.path, "other.example")
    assert (code, "no log of the origin" in said) == (1, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "logs = 1\n",
        "[logs]\nlog = 'one'\n",
        "[logs]\nlog = []\n",
        "[logs]\nlog = ['junk']\n",
        f"[logs]\nlog = ['{VKEY}', '{VKEY}']\n",
        f"[logs]\n'' = ['{VKEY}']\n",
        "[logs]\n[more]\n",
        "not toml",
        "\xff",
        "#" * 2_000_000,
    ],
    ids=range(11),
)
def test_a_configuration_that_does_not_hold_is_refused(folder: WitnessFolder, text: str) -> None:
    (folder.path / "witness.toml").write_text(text, "latin-1")
    with pytest.raises(ConfigInvalid, match=r"witness\.toml|log '"):
        folder.logs()


def test_a_running_witness_takes_up_a_change_and_keeps_what_held_over_one_that_does_not(
    folder: WitnessFolder, caplog: pytest.LogCaptureFixture
) -> None:
    known = KnownLogs(folder)
    assert known() == {}
    folder.add(LOG.origin, LOG.key.verifier)
    assert known() == {LOG.origin: (LOG.key.verifier,)}
    (folder.path / "witness.toml").write_text("broken")
    for _ in range(3):
        assert known() == {LOG.origin: (LOG.key.verifier,)}
    assert caplog.text.count("the logs stay as they were") == 1
    (folder.path / "witness.toml").unlink()
    assert known() == {LOG.origin: (LOG.key.verifier,)}


# --- what it says of itself ----------------------------------------------------------------------


def test_status_and_evidence_tell_of_a_fork(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "add", folder.path, VKEY)
    fork = LOG.other_history(3)
    answers = cosigned(
        folder,
        LOG.request(0, 7),
        fork.request(7, 7),
        add_checkpoint(7, [], LOG.signed(9)),
    )
    assert answers == [200, 422, 422]
    status = told(capsys, "status", folder.path)
    (log,) = status["logs"]
    assert (log["size"], log["cosigned_at"]) == (7, "2027-01-15T08:00:00Z")
    assert (log["forked"], log["unproven"], log["dropped"]) == (1, 1, 0)
    found = told(capsys, "evidence", folder.path)["evidence"]
    assert [(each["outcome"], each["size"]) for each in found] == [("forked", 7), ("unproven", 9)]
    assert found[0]["request"] == fork.request(7, 7).decode()
    assert found[0]["cosigned"].startswith(LOG.signed(7).decode())
    assert run(["witness", "status", str(folder.path)]) == 0
    assert "two roots for one size: it has forked" in capsys.readouterr().out
    assert run(["witness", "evidence", str(folder.path)]) == 0
    said = capsys.readouterr().out
    for line in fork.signed(7).decode().splitlines():
        assert line in said


def test_an_empty_witness_says_that_there_is_nothing(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "status", folder.path)["logs"] == []
    assert told(capsys, "evidence", folder.path) == {"evidence": [], "dropped": {}}
    for command in ("status", "evidence"):
        assert run(["witness", command, str(folder.path)]) == 0
    said = capsys.readouterr().out
    assert "it knows no log yet" in said
    assert "nothing was refused" in said


def test_what_a_log_signed_cannot_steer_the_terminal(
    folder: WitnessFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = SmallLog("log\N{RIGHT-TO-LEFT OVERRIDE}\x9b31m", key=LOG.key)
    told(capsys, "add", folder.path, VKEY, "--origin", odd.origin)
    cosigned(folder, odd.request(0, 7), odd.other_history(2).request(7, 7))
    for command in ("status", "evidence"):
        assert run(["witness", command, str(folder.path)]) == 0
        said = capsys.readouterr().out
        assert not {"\N{RIGHT-TO-LEFT OVERRIDE}", "\x9b"} & set(said)


# --- where it listens ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:8418", "localhost:8418"])
def test_a_loopback_address_needs_no_protection(address: str) -> None:
    assert Listening(address).host_and_port()


@pytest.mark.parametrize("address", ["0.0.0.0:8418", "[::]:8418", "witness.example:443"])
def test_another_address_needs_tls_or_a_proxy(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="reachable by others"):
        Listening(address).host_and_port()
    assert Listening(address, behind_proxy=True).host_and_port()
    assert Listening(address, tmp_path / "chain", tmp_path / "key").host_and_port()


@pytest.mark.parametrize("address", ["", "8418", ":8418", "127.0.0.1", "127.0.0.1:x", "::1:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigInvalid, match="no HOST:PORT"):
        Listening(address).host_and_port()


def test_a_certificate_that_cannot_be_used_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    file.write_text("junk")
    with pytest.raises(ConfigInvalid, match="given together"):
        Listening("127.0.0.1:0", certificate=file).check_certificate()
    with pytest.raises(ConfigInvalid, match="cannot be used") as raised:
        Listening("127.0.0.1:0", file, file).check_certificate()
    assert isinstance(raised.value.__cause__, ssl.SSLError)


def test_a_port_that_is_taken_is_refused_with_its_reason() -> None:
    with Listening("127.0.0.1:0").bind() as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigInvalid, match=os.strerror(98)):
            Listening(f"127.0.0.1:{port}").bind()
