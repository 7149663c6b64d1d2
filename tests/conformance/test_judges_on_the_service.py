"""A log written by the service itself, in a process of its own, before foreign judges."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from acceptance import conftest
from acceptance.conftest import RESOURCE, Installation
from judging import JUDGES, Verdict, export_log, judge_directory, need_judge

from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.note import SigningKey
from muniment.evidence.proof import Receipt
from muniment.stores.sqlite import SQLiteStore

pytestmark = [pytest.mark.deep, pytest.mark.target]

#: one of its own: it is stopped here
installation = conftest.installation

#: enough for a full tile beside a partial one; fewer than a principal may ask in a minute
DENIED: Final = 45


@dataclass(frozen=True)
class Stopped:
    """What the service left behind, and what it had handed out."""

    folder: Path
    #: the newest checkpoint and proofs under it, as it answered them over HTTP
    checkpoint: bytes
    proofs: dict[int, bytes]
    #: checkpoints out of the receipts that came with credentials
    older: list[bytes]
    #: index of the decision on a request that was denied
    denial: int

    @property
    def key(self) -> SigningKey:
        return SigningKey.parse((self.folder / "keys/log.key").read_text("ascii").strip())

    @property
    def size(self) -> int:
        return open_checkpoint(self.checkpoint, self.key.name, [self.key.verifier]).size

    def export(self, database: Path, directory: Path) -> Path:
        """The log in this database, with the proofs that the service itself made."""
        store = SQLiteStore(database)
        export_log(store, self.checkpoint, directory, older=self.older)
        store.close()
        (directory / "proofs").mkdir()
        for index, proof in self.proofs.items():
            (directory / "proofs" / f"{index}.tlog-proof").write_bytes(proof)
        return directory

    def judged(self, name: str, directory: Path) -> Verdict:
        vkey = (self.folder / "keys/log.vkey").read_text("ascii").strip()
        return judge_directory(directory, vkey, [name])[name]


@pytest.fixture(scope="module")
def stopped(installation: Installation) -> Stopped:
    older = [receipt.checkpoint for receipt in live(installation)]
    denial = deny(installation)
    with client(installation, "admin") as admin:
        admin.get("/v1/log/proof/0").raise_for_status()  # that he reads is recorded, once an hour
        checkpoint = admin.get("/v1/log/checkpoint").content
        size = int(checkpoint.split(b"\n")[1])
        wanted = sorted({0, 1, 255, 256, denial, size - 2, size - 1, *range(0, size, 13)})
        proofs = {index: admin.get(f"/v1/log/proof/{index}").content for index in wanted}
    stop(installation.folder)
    return Stopped(installation.folder, checkpoint, proofs, older, denial)


def live(installation: Installation) -> Iterator[Receipt]:
    """Lives of cases as people lead them on the command line; the receipts that they are given."""
    for number in range(3):
        case = installation.approved()
        installation.json("credential", case, "--receipt", f"{number}.receipt")
        yield Receipt.parse((installation.desk / f"{number}.receipt").read_bytes())
        installation.json("end", case)
        export = ("evidence", "export", case, "-o", f"{case}.json")
        assert installation.muniment(*export).returncode == 0
    installation.json("withdraw", installation.request())
    emergency = ("--emergency", "--incident", "INC-7", "--reason", "the database is down")
    ask = ("request", RESOURCE, "readwrite", *emergency)
    case = installation.json(*ask, as_="bo")["case"]
    installation.json("credential", case, as_="bo")
    installation.json("revoke", case, as_="admin")
    installation.json("reviews", "answer", case, "--verdict", "justified", as_="admin")


def deny(installation: Installation) -> int:
    """Many requests that are denied, over HTTP; the index of one of the decisions."""
    for login in ("ana", "bo"):
        body: dict[str, Any] = {
            "subject": {"type": "human", "id": login},
            "resource": {"type": "resource", "id": RESOURCE},
            "action": {"name": "readwrite"},
        }
        with client(installation, login) as asking:
            seen = asking.post("/access/v1/evaluation", json=body).json()["context"]
            expires = seen["access_request"]["expires_at"]
            body["denial"] = {"evaluation_id": seen["evaluation_id"], "expires_at": expires}
            for _ in range(DENIED):
                task = asking.post("/access/v1/requests", json=body).json()["task"]
                assert task["status"] == "denied"
            records = asking.get(f"/v1/cases/{task['id']}").json()["timeline"]
    index: int = next(each["index"] for each in records if each["kind"] == "decision:evaluated")
    return index


def client(installation: Installation, login: str) -> httpx.Client:
    token = installation.tokens[login]
    return httpx.Client(base_url=installation.url, headers={"Authorization": f"Bearer {token}"})


def stop(folder: Path) -> None:
    """As an operator would; it is gone when it lets go of its lock."""
    with (folder / "data/muniment.lock").open() as lock:
        os.kill(int(lock.read()), signal.SIGTERM)
        for _ in range(300):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            time.sleep(0.1)
    raise AssertionError("the service did not stop")


@pytest.fixture(params=JUDGES)
def judge(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need_judge(name)
    return name


@pytest.fixture
def database(stopped: Stopped, tmp_path: Path) -> Path:
    """A copy that may be edited."""
    return Path(shutil.copy(stopped.folder / "data/muniment.db", tmp_path / "copy.db"))


def test_a_foreign_judge_accepts_what_the_service_wrote_and_handed_out(
    stopped: Stopped, judge: str, tmp_path: Path
) -> None:
    assert stopped.size > 300
    export = stopped.export(stopped.folder / "data/muniment.db", tmp_path / "log")
    verdict = stopped.judged(judge, export)
    grown = len(stopped.older)
    seen = f"{len(stopped.proofs)} inclusion proofs, {grown} consistency proofs"
    if judge != "witness-log":  # a witness is shown no tiles
        seen = f"{stopped.size} entries, {seen}"
    assert verdict == Verdict(accepted=True, said=f"accepted: {seen}")


# --- attacks on the database that the service left, before it is exported ----------------------


def the_denial_becomes_an_approval(database: sqlite3.Connection, stopped: Stopped) -> None:
    edit(database, stopped.denial, b'"outcome":"deny"', b'"outcome":"auto_approve"')


def the_denial_becomes_an_approval_with_its_hashes(
    database: sqlite3.Connection, stopped: Stopped
) -> None:
    """Whoever edits an entry may compute its leaf and its tile anew."""
    before = leaf(database, stopped.denial)
    the_denial_becomes_an_approval(database, stopped)
    after = leaf(database, stopped.denial)
    place = stopped.denial // 256
    database.execute("UPDATE entries SET leaf = ? WHERE idx = ?", (after, stopped.denial))
    query = "SELECT hashes FROM tiles WHERE level = 0 AND number = ?"
    for (hashes,) in database.execute(query, (place,)).fetchall():
        database.execute(
            "UPDATE tiles SET hashes = ? WHERE level = 0 AND number = ?",
            (hashes.replace(before, after), place),
        )


def the_person_of_a_record_is_another(database: sqlite3.Connection, stopped: Stopped) -> None:
    _, header = entry(database, stopped.denial)
    person = json.loads(header)["body"]["actor"]["persons"][0].encode()
    edit(database, stopped.denial, person, b"per_" + b"a" * 26)


def two_entries_change_places(database: sqlite3.Connection, stopped: Stopped) -> None:
    (_, one), (_, other) = (entry(database, stopped.denial - n) for n in (0, 1))
    for index, header in ((stopped.denial, other), (stopped.denial - 1, one)):
        database.execute("UPDATE entries SET header = ? WHERE idx = ?", (header, index))


DATABASE_ATTACKS: Final = (
    the_denial_becomes_an_approval,
    the_denial_becomes_an_approval_with_its_hashes,
    the_person_of_a_record_is_another,
    two_entries_change_places,
)


@pytest.mark.parametrize("attack", DATABASE_ATTACKS, ids=lambda attack: attack.__name__)
def test_a_foreign_judge_refuses_a_database_that_was_edited(
    stopped: Stopped,
    judge: str,
    database: Path,
    tmp_path: Path,
    attack: Callable[[sqlite3.Connection, Stopped], None],
) -> None:
    with contextlib.closing(sqlite3.connect(database)) as edited:
        triggers = edited.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (trigger,) in triggers.fetchall():
            edited.execute(f"DROP TRIGGER {trigger}")
        attack(edited, stopped)
        edited.commit()
    verdict = stopped.judged(judge, stopped.export(database, tmp_path / "log"))
    assert not verdict.accepted, verdict.said


def edit(database: sqlite3.Connection, index: int, old: bytes, new: bytes) -> None:
    _, header = entry(database, index)
    assert old in header
    edited = header.replace(old, new)
    database.execute("UPDATE entries SET header = ? WHERE idx = ?", (edited, index))


def entry(database: sqlite3.Connection, index: int) -> tuple[int, bytes]:
    query = "SELECT idx, header FROM entries WHERE idx = ?"
    found: tuple[int, bytes] = database.execute(query, (index,)).fetchone()
    return found


def leaf(database: sqlite3.Connection, index: int) -> bytes:
    return merkle.leaf_hash(entry(database, index)[1])


# --- attacks on what was handed out ------------------------------------------------------------


def a_receipt_of_another_entry(log: Path, stopped: Stopped) -> None:
    shutil.copy(log / f"proofs/{stopped.size - 1}.tlog-proof", log / "proofs/0.tlog-proof")
    reword(log / "proofs/0.tlog-proof", f"index {stopped.size - 1}\n".encode(), b"index 0\n")


def a_receipt_with_another_hash(log: Path, stopped: Stopped) -> None:
    file = log / f"proofs/{stopped.denial}.tlog-proof"
    reword(file, file.read_bytes().split(b"\n")[3], base64.b64encode(bytes(32)))


def a_checkpoint_under_another_key(log: Path, stopped: Stopped) -> None:
    head = open_checkpoint(stopped.checkpoint, stopped.key.name, [stopped.key.verifier])
    (log / "checkpoint").write_bytes(sign(head, SigningKey.generate(stopped.key.name)))


def a_receipt_out_of_another_history(log: Path, stopped: Stopped) -> None:
    """Signed by the log itself: what whoever holds an older receipt finds."""
    old = stopped.older[0]
    size = open_checkpoint(old, stopped.key.name, [stopped.key.verifier]).size
    other = sign(Checkpoint(stopped.key.name, size, bytes(32)), stopped.key)
    (log / f"checkpoints/{size}").write_bytes(other)
    reword(next(log.glob(f"growth/*-{size:012}.add-checkpoint")), old, other)


HANDED_OUT_ATTACKS: Final = (
    a_receipt_of_another_entry,
    a_receipt_with_another_hash,
    a_checkpoint_under_another_key,
    a_receipt_out_of_another_history,
)


@pytest.mark.parametrize("attack", HANDED_OUT_ATTACKS, ids=lambda attack: attack.__name__)
def test_a_foreign_judge_refuses_what_was_not_handed_out_so(
    stopped: Stopped, judge: str, tmp_path: Path, attack: Callable[[Path, Stopped], None]
) -> None:
    export = stopped.export(stopped.folder / "data/muniment.db", tmp_path / "log")
    attack(export, stopped)
    verdict = stopped.judged(judge, export)
    assert not verdict.accepted, verdict.said


def reword(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert data.count(old) == 1
    file.write_bytes(data.replace(old, new))
