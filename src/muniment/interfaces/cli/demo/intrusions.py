"""
Attacks on a data directory, each on its own copy with its own head store.

Four that have write access to the database but not the log's key, and one that has both. Each must
be answered by the defence that is there for it, with the reason that it gives.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from muniment.access.lifecycle import AccessCase, fold
from muniment.errors import Conflict, Unavailable
from muniment.evidence import merkle
from muniment.evidence.proof import Receipt
from muniment.evidence.record import Header
from muniment.interfaces.cli.demo.acts import TICKET
from muniment.interfaces.cli.demo.stage import PATIENCE, RESOURCE, ROLE, Service, Stage, database
from muniment.interfaces.cli.demo.telling import Telling, attack, must

Told = tuple[str, str, dict[str, Any]]
_GIVEN, _ENDED = "approval:given", "grant:ended"


def play(stage: Stage, telling: Telling) -> None:
    """The second half of the sixth section."""
    for name, what, intrude in (
        ("tamper-projection-edited", 'a list edited to "approved"', projection_edited),
        ("tamper-approval-inserted-live", "an approval row put in while it runs", inserted_live),
        ("tamper-old-row-edited", "an old row: the end back-dated", old_row_edited),
        ("tamper-database-put-back", "the database put back to an older copy", put_back),
    ):
        with telling.step(name, go_on=True) as step:
            who, answer, details = intrude(stage)
            step.held(attack(what, who, answer), **details)
    with telling.step("tamper-history-resigned-with-key", go_on=True) as step:
        details = history_resigned(stage)
        text = "a history re-signed by an insider who HAS the key"
        step.held(attack(text, "verify", "UNANCHORED; --head: DIVERGED"), **details)
    telling.say("The last one, honestly: who holds the key can write another history, and its bundle")
    telling.say("verifies as UNANCHORED, like every bundle that is checked without a head. Held")
    telling.say("against the receipt that ana kept it is DIVERGED. Keep heads outside.")


# --- without the key ----------------------------------------------------------------------------------


def projection_edited(stage: Stage) -> Told:
    """The lists say "approved" for the request that waits; issuing folds the records."""
    case, folder = stage.cases["waiting"], stage.copy("projection")
    with stage.served(folder) as service, _opened(folder) as db:
        db.execute("UPDATE cases SET state = 'approved', groups = '' WHERE case_id = ?", (case,))
        listed = service.api("ana").get("/v1/cases", state="approved")["cases"]
        must([row["case"] for row in listed] == [case], f"the edit is not there: {listed}")
        why = _refused(service, case)
        must("the case is pending" in why, f"refused for another reason: {why}")
    must(not stage.roles_of_grants(), "NOT CAUGHT: an account was made")
    return "issuing", why, {"reason": why}


def inserted_live(stage: Stage) -> Told:
    """An approval with leaf, peaks and state to match: all that is missing is a signature."""
    folder = stage.copy("inserted")
    with stage.served(folder) as service:
        signed = service.api("ana").text("/v1/log/checkpoint")
        with _opened(folder) as db:
            size = _insert_approval(db, stage.cases["waiting"], stage.cases["ended-early"])
        why = _refused(service, stage.cases["waiting"])
        must("the case is pending" in why, f"refused for another reason: {why}")
        why = _next_append(service)
        must(
            f"has {size} entries" in why and f"checkpoint covers {size - 1}" in why,
            f"the log stopped for another reason: {why}",
        )
        must(service.api("ana").text("/v1/log/checkpoint") == signed, "NOT CAUGHT: it was signed")
        ready = httpx.get(f"{service.url}/readyz", timeout=PATIENCE)
        must(ready.status_code == 503, "the service still says that it is ready")  # noqa: PLR2004
    return "log", f"signs nothing more: {why}", {"reason": why, "troubles": ready.json()["troubles"]}


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
    must(answer.code == 1, f"NOT CAUGHT: exit code {answer.code}: {answer.out}{answer.err}")
    bad = answer.json["bad"]
    must(bad is not None and bad["index"] == index, f"blames {bad} and not entry {index}")
    return "audit", f"entry {index} {bad['what']}", {"edited": index, "bad": bad}


def put_back(stage: Stage) -> Told:
    """An older copy of the database, which was whole and signed in its time."""
    folder = stage.copy("put-back")
    stage.put_back(folder, head=False)
    answer = stage.cli("serve", "--dir", folder, "--listen", "127.0.0.1:0", secret=True)
    must(answer.code == 1, f"NOT CAUGHT: exit code {answer.code}: {answer.out}{answer.err}")
    why = answer.err.strip().splitlines()[-1].removeprefix("muniment: ")
    must("older copy of the database" in why, f"refused for another reason: {why}")
    return "start", why, {"reason": why}


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


# --- with the key ---------------------------------------------------------------------------------------


def history_resigned(stage: Stage) -> dict[str, Any]:
    """
    Database *and* head store are put back, and with the log's key another history happens.

    In it nobody tried to approve himself: bo approves at once, by a token that the insider made.
    """
    folder, case = stage.copy("re-signed"), stage.cases["ended-early"]
    stage.put_back(folder, head=True)
    receipt = stage.work / "ended-early.receipt"
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


# --- the database, as whoever has its file sees it ---------------------------------------------------


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
