"""What must hold after every step of a `Scenario`: by a look at files, not at the service."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from muniment.access import lifecycle, records
from muniment.access.case import ENDS, LIVE, AccessCase
from muniment.evidence.audit import audit
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.store import Entry, entry_of
from muniment.operations.projection import project
from muniment.stores.sqlite import SQLiteStore
from muniment.testing.fake_target import FakeTarget


def check_log(store: SQLiteStore, key: ReadersKeys, heads: Sequence[bytes]) -> None:
    """Every entry, section, document, tile and checkpoint; and the heads that were seen before."""
    audited = audit(store, key, heads, full=True)
    hold(audited.holds, f"the log is {audited.verdict}: {audited.bad}")


def check_cases(store: SQLiteStore) -> dict[str, AccessCase]:
    """Every case folds, and its line and its due work are what the fold says."""
    cases = dict(_folded(store))
    for case in cases.values():
        _check_case(store, case)
    return cases


def check_target(target: FakeTarget, prefix: str, cases: Mapping[str, AccessCase]) -> None:
    """INVARIANT: what is at a target and ours is authorised and live, or being taken away."""
    for account in target.accounts.values():
        if not account.name.startswith(f"{prefix}_"):
            continue
        case = cases.get(account.name)
        if case is None or case.closed or case.state not in (*LIVE, *ENDS):
            raise AssertionError(f"account `{account.name}` is there without a grant")
        if case.until is None or account.expires is None or account.expires > case.until:
            raise AssertionError(f"account `{account.name}` outlives its grant")
    for session in target.sessions:
        if session.alive and session.account.startswith(f"{prefix}_"):
            live = session.account in cases and not cases[session.account].closed
            hold(live, f"a session of `{session.account}` is alive without a grant")


def check_secrets(folder: Path, secrets: Iterable[bytes]) -> None:
    """INVARIANT: a secret is handed out, and kept nowhere."""
    kept = [file for file in folder.iterdir() if file.is_file()] if secrets else []
    for file in kept:
        data = file.read_bytes()
        hold(not any(secret in data for secret in secrets), f"a secret in {file.name}")


def hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _folded(store: SQLiteStore) -> Iterator[tuple[str, AccessCase]]:
    tail = store.tail()
    log_id, found = b"", dict[str, list[Entry]]()
    for index, data in store.entries(0, tail.size if tail is not None else 0):
        entry = entry_of(index, data)
        records.parse(entry.header)
        log_id = log_id or entry.leaf
        found.setdefault(entry.header.case, []).append(entry)
    for id_, entries in found.items():
        if entries[0].header.kind == records.AccessRequested.KIND:
            yield id_, lifecycle.fold(log_id, ((e.header, e.leaf) for e in entries))


def _check_case(store: SQLiteStore, case: AccessCase) -> None:
    row, due = project(case)
    hold(store.case_row(case.id) == row, f"the line of {case.id} is not its fold")
    hold(store.due_at(case.id) == due.at, f"the due work of {case.id} is not its fold")
    waits = case.state in LIVE or (case.state in ENDS and not case.closed)
    hold(not waits or due.at is not None, f"nobody will look at {case.id} again")
    granted = case.closed and case.starts is not None
    hold(not granted or case.removal == "verified", f"{case.id} is closed, and not seen gone")
