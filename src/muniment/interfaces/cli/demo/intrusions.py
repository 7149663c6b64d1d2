"""
Attacks on a data directory, each on its own copy with its own head store.

Four that have write access to the database but not the log's key, and one that has both. Each must
be answered by the defence that is there for it, with the reason that it gives.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from muniment.access.case import AccessCase
from muniment.access.lifecycle import fold
from muniment.errors import Conflict, Unavailable
from muniment.evidence import merkle
from muniment.evidence.proof import Receipt
from muniment.evidence.record import Header
from muniment.interfaces.cli.demo.acts import RECEIPT, TICKET
from muniment.interfaces.cli.demo.stage import PATIENCE, RESOURCE, ROLE, Service, Stage, database
from muniment.interfaces.cli.demo.telling import Telling, attack, must

Told = tuple[str, dict[str, Any]]
_GIVEN, _ENDED = "approval:given", "grant:ended"


def play(stage: Stage, telling: Telling) -> None:
    """The second half of the sixth section."""
    telling.say("with database and head store: each on its own copy, most under a running service")
    for name, what, intrude in ATTACKS:
        with telling.step(name, go_on=True) as step:
            answer, details = intrude(stage)
            step.held(attack(what, answer), **details)
    telling.say("and, honestly, by an insider who has the log's key as well")
    with telling.step("tamper-history-resigned-with-key", go_on=True) as step:
        details = history_resigned(stage)
        step.held(
            attack("another history, re-signed", "UNANCHORED; with --head: DIVERGED"), **details
        )
    if telling.steps[-1]["ok"]:
        telling.say(
            "Who holds the key can sign another history. Its bundle verifies, but UNANCHORED, like"
            " every bundle that is checked without a head; held against ana's receipt it is"
            " DIVERGED. Whoever keeps a head of the log elsewhere will see."
        )


# --- without the key ------------------------------------------------------------------------------


def projection_edited(stage: Stage) -> Told:
    """The lists say "approved" for the request that waits; issuing folds the records."""
    case, folder = stage.cases["waiting"], stage.copy("projection")
    with stage.served(folder) as service, _opened(folder) as db:
        _edit_until_listed(db, service, case)
        why = _refused(service, case)
        must("the case is pending" in why, f"refused for another reason: {why}")
    must(not stage.roles_of_grants(), "NOT CAUGHT: an account was made")
    return f"issuing: {why}", {"reason": why}


def _edit_until_listed(db: sqlite3.Connection, service: Service, case: str) -> None:
    """Again if need be: the service's own sweep may have found the edit and put it right."""
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        db.execute("UPDATE cases SET state = 'approved', groups = '' WHERE case_id = ?", (case,))
        listed = service.api("ana").get("/v1/cases", state="approved")["cases"]
        if [row["case"] for row in listed] == [case]:
            return
    raise TimeoutError("the edit does not last long enough to be listed")


def inserted_live(stage: Stage) -> Told:
    """An approval with leaf, peaks and state to match: all that is missing is a signature."""
    folder = stage.copy("inserted")
    with stage.served(folder) as service:
        with _opened(folder) as db:
            size = _insert_approval(db, stage.cases["waiting"], stage.cases["ended-early"])
        why = _refused(service, stage.cases["waiting"])
        must("the case is pending" in why, f"refused for another reason: {why}")
        why = _next_append(service)
        must(
            f"has {size} entries" in why and f"checkpoint covers {size - 1}" in why,
            f"the log stopped for another reason: {why}",
        )
        signed = service.api("ana").text("/v1/log/checkpoint").split("\n")[1]
        must(int(signed) == size - 1, f"NOT CAUGHT: {signed} entries are signed")
        ready = httpx.get(f"{service.url}/readyz", timeout=PATIENCE)
        must(not ready.is_success, "the service still says that it is ready")
    answer = f"signs no more: {size} entries, but {size - 1} are under its signature"
    return answer, {"reason": why, "troubles": ready.json()["troubles"]}


def old_row_edited(stage: Stage) -> Told:
    """The early end is back-dated, in the row and in its stored hash."""
    folder = stage.copy("edited")
    with _opened(folder) as db:
        index, data = _row(db, stage.cases["ended-early"], _ENDED)
        header = Header.parse(data)
        edited = replace(header, at=header.at - timedelta(minutes=1)).encode()
        db.execute("DROP TRIGGER entries_stay")
        db.execute(
            "UPDATE entries SET header = ?, leaf = ? WHERE idx = ?",
            (edited, merkle.leaf_hash(edited), index),
        )
    answer = stage.check("audit", folder)
    must(answer.code == 1 and answer.out, f"NOT CAUGHT: `audit` exits with {answer.code}")
    bad = answer.json["bad"]
    must(bad is not None and bad["index"] == index, f"blames {bad} and not entry {index}")
    return f"audit: entry {index} {bad['what']}", {"edited": index, "bad": bad}


def put_back(stage: Stage) -> Told:
    """An older copy of the database, which was whole and signed in its time."""
    folder = stage.copy("put-back")
    stage.put_back(folder, head=False)
    why = _refused_start(stage, folder)
    must("exit code 1" in why, f"not refused but broken: {why}")
    must("older copy of the database" in why, f"refused for another reason: {why}")
    return f"start refused: {why.rpartition(': ')[2]}", {"reason": why}


def _refused_start(stage: Stage, folder: Path) -> str:
    try:
        with stage.served(folder):
            return "NOT CAUGHT: the service started"
    except Unavailable as error:
        return str(error)


def _refused(service: Service, case: str) -> str:
    try:
        service.api("ana").post(f"/v1/cases/{case}/credential")
    except Conflict as error:
        return str(error)
    return "NOT CAUGHT: a credential was handed out"


def _next_append(service: Service) -> str:
    try:
        service.api("ana").ask(RESOURCE, ROLE, {"seconds": 60, "ticket": TICKET})
    except Unavailable as error:
        return str(error).removeprefix("the log cannot be written: ")
    return "NOT CAUGHT: the next request was recorded"


def _insert_approval(db: sqlite3.Connection, waiting: str, model: str) -> int:
    """What an approval of bo's would be, after the model of his genuine one; the new size."""
    size, peaks = db.execute("SELECT size, peaks FROM log_state").fetchone()
    tree = merkle.Frontier(size - 1, [peaks[at : at + 32] for at in range(0, len(peaks), 32)])
    tree.push(_leaf(db, size - 1))
    case, given = _folded(db, waiting), Header.parse(_row(db, model, _GIVEN)[1])
    approval = replace(
        given,
        case=waiting,
        position=case.length,
        at=case.changed_at or given.at,
        prev=case.head,
        body={**given.body, "terms": case.current.terms.hex()},
        sections={},
    ).encode()
    leaf = merkle.leaf_hash(approval)
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO entries VALUES (?, ?, ?)", (size, leaf, approval))
    db.execute("INSERT INTO case_entries VALUES (?, ?, ?)", (waiting, case.length, size))
    db.execute("UPDATE log_state SET size = ?, peaks = ?", (size + 1, b"".join(tree.peaks)))
    db.execute("COMMIT")
    return int(size) + 1


ATTACKS = (
    ("tamper-projection-edited", 'a list edited to "approved"', projection_edited),
    ("tamper-approval-inserted-live", "an approval row inserted", inserted_live),
    ("tamper-old-row-edited", "an old row back-dated", old_row_edited),
    ("tamper-database-put-back", "an older copy put back", put_back),
)


# --- with the key ---------------------------------------------------------------------------------


def history_resigned(stage: Stage) -> dict[str, Any]:
    """
    Database *and* head store are put back, and with the log's key another history happens.

    In it nobody tried to approve himself: bo approves at once, by a token that the insider made.
    """
    folder, case = stage.copy("re-signed"), stage.cases["ended-early"]
    stage.put_back(folder, head=True)
    receipt = stage.work / RECEIPT
    kept = Receipt.parse(receipt.read_bytes()).checkpoint.decode()
    with stage.served(folder, bo=stage.new_token(folder, "bo")) as service:
        service.api("bo").post(f"/v1/cases/{case}/approval")
        data = _exported_beyond(service, case, kept)
    path = stage.work / "forged-history.json"
    path.write_bytes(data)
    must(b"not-own-not-twice" not in data.split(b'"records"')[1], "a poor forgery")
    alone, compared = stage.verify(path), stage.verify(path, "--head", receipt)
    verdict = alone.json["verdict"]
    must((alone.code, verdict) == (0, "UNANCHORED"), f"without a head it is {verdict}")
    verdict = compared.json["verdict"]
    must((compared.code, verdict) == (1, "DIVERGED"), f"NOT CAUGHT: with a head it is {verdict}")
    return {"without_head": "UNANCHORED", "with_head": verdict, "heads": compared.json["heads"]}


def _exported_beyond(service: Service, case: str, kept: str) -> bytes:
    """A bundle that shows the head that ana kept; for that the log must have grown as far."""
    api, size = service.api("ana"), int(kept.splitlines()[1])
    while int(api.text("/v1/log/checkpoint").splitlines()[1]) <= size:
        api.post_for_bytes(f"/v1/cases/{case}/evidence", {})
    return api.post_for_bytes(f"/v1/cases/{case}/evidence", {"heads": [kept]})


# --- the database, as whoever has its file sees it ------------------------------------------------


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(database(folder), isolation_level=None)) as db:
        yield db


def _row(db: sqlite3.Connection, case: str, kind: str) -> tuple[int, bytes]:
    """Index and bytes of the first record of this kind in a case."""
    return next(row for row in _rows(db, case) if Header.parse(row[1]).kind == kind)


def _rows(db: sqlite3.Connection, case: str) -> list[tuple[int, bytes]]:
    found = db.execute(
        "SELECT e.idx, e.header FROM case_entries c JOIN entries e ON e.idx = c.idx"
        " WHERE c.case_id = ? ORDER BY c.position",
        (case,),
    )
    return found.fetchall()


def _folded(db: sqlite3.Connection, case: str) -> AccessCase:
    headers = [(Header.parse(data), merkle.leaf_hash(data)) for _, data in _rows(db, case)]
    return fold(_leaf(db, 0), headers)


def _leaf(db: sqlite3.Connection, index: int) -> bytes:
    (data,) = db.execute("SELECT header FROM entries WHERE idx = ?", (index,)).fetchone()
    return merkle.leaf_hash(data)
