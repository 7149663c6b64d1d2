"""What has to hold of several nodes once all is over, whatever happened to them meanwhile."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg

from acceptance.nodes_under_load import Load, Story
from acceptance.several_nodes import Cluster, operate, within
from muniment.access import records
from muniment.evidence.note import VerifierKey
from muniment.evidence.proof import Receipt
from muniment.evidence.store import Entry, entry_of
from muniment.operations.service import record_of
from muniment.stores.postgresql.heads import SharedHeads
from muniment.stores.postgresql.store import PostgreSQLStore

#: seconds after the load until nothing is due any more
SETTLING: Final = 15.0
_BEGINNINGS: Final = (records.GrantAuthorized.KIND,)
#: after each of these, what was given is looked for at the target until it is seen gone
_ENDS: Final = (
    records.GrantEnded.KIND,
    records.GrantExpired.KIND,
    records.GrantRevoked.KIND,
    records.GrantUndone.KIND,
)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the log says in the end."""

    size: int
    cases: dict[str, list[Entry]]
    #: of each grant that expired, the seconds from its end until its removal was seen; and until
    #: a session that was left open died
    lags: dict[str, float]
    deaths: dict[str, float]

    def life(self, case: str) -> str:
        """For whoever wants to know what became of a case."""
        return "; ".join(
            f"{header.kind} at {header.at:%T.%f}"
            + (f" observed {header.observed:%T.%f}" if header.observed is not None else "")
            for header in (entry.header for entry in self.cases[case])
        )


def settled(cluster: Cluster, load: Load) -> Settled:
    """Waits until all that is due is done, then looks at everything."""
    assert not load.wrong, load.wrong
    within(SETTLING, lambda: not _open_cases(cluster), "every case is closed")
    assert not (left := cluster.accounts()), f"at the target: {left}"
    size = _agreed_size(cluster)
    entries = _entries(cluster, size)
    _check_audit(cluster, load, size)
    _check_lists(cluster)
    cases = _by_case(entries)
    for story in load.stories:
        _check_life(cases[story.case])
        _check_acknowledged(story, cases[story.case])
    _check_receipts(cluster, load, entries)
    _check_secrets(cluster, load)
    deaths = {
        story.case: max(0.0, (story.died - record.until).total_seconds())
        for story in load.stories
        if story.died is not None and (record := _window(cases[story.case])) is not None
    }
    return Settled(size=size, cases=cases, lags=_lags(cases), deaths=deaths)


def _open_cases(cluster: Cluster) -> int:
    with psycopg.connect(cluster.databases.log_admin) as admin:
        # what detectors find in such a time stays open until a person has looked
        rows = admin.execute(
            "SELECT count(*) FROM muniment.cases WHERE NOT closed AND kind <> 'finding'"
        ).fetchall()
        return int(rows[0][0])


def _agreed_size(cluster: Cluster) -> int:
    """Database, head store and every node are at one and the same checkpoint."""
    with _stores(cluster) as (store, heads):

        def agree() -> bool:
            tail, head = store.tail(), heads.read()
            return tail is not None and head == tail.checkpoint and sizes() == {tail.size}

        def sizes() -> set[int]:
            return {node.size() for node in cluster.nodes}

        within(SETTLING, agree, "all nodes agree on the checkpoint")
        tail = store.tail()
        assert tail is not None
        return tail.size


@contextlib.contextmanager
def _stores(cluster: Cluster) -> Iterator[tuple[PostgreSQLStore, SharedHeads]]:
    with (
        contextlib.closing(cluster.databases.open_store()) as store,
        contextlib.closing(cluster.databases.open_heads()) as heads,
    ):
        yield store, heads


def _entries(cluster: Cluster, size: int) -> list[Entry]:
    with contextlib.closing(cluster.databases.open_store()) as store:
        found = [entry_of(index, data) for index, data in store.entries(0, size)]
    assert [entry.index for entry in found] == list(range(size))
    return found


def _check_audit(cluster: Cluster, load: Load, size: int) -> None:
    """`muniment audit`, which is also given every checkpoint that anybody got a receipt under."""
    heads = [argument for path in _kept(cluster.base, load) for argument in ("--head", str(path))]
    said = operate(
        *("audit", str(cluster.folder), "--log-key", str(cluster.log_key), "--full", "--json"),
        *heads,
        environment=cluster.environment(),
    )
    found = json.loads(said)
    assert found["size"] >= size
    assert found["full"]


def _kept(base: Path, load: Load) -> Iterator[Path]:
    folder = base / "receipts"
    folder.mkdir(exist_ok=True)
    for number, receipt in enumerate(each for story in load.stories for each in story.receipts):
        path = folder / f"{number}.tlog-proof"
        path.write_text(receipt)
        yield path


def _check_lists(cluster: Cluster) -> None:
    answer = cluster.ask(cluster.apis[0], "admin", "POST", "/v1/projections/rebuild", timeout=30)
    assert answer.status_code == 200, answer.text
    assert not (wrong := answer.json()["wrong"]), f"the lists are wrong about {wrong}"


def _by_case(entries: list[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.header.case, []).append(entry)
    return found


def _check_life(entries: list[Entry]) -> None:
    """Nothing was given that was not taken back, and each end was seen once."""
    kinds = [entry.header.kind for entry in entries]
    assert [entry.header.position for entry in entries] == list(range(len(entries)))
    assert kinds[-1] == records.CaseClosed.KIND, kinds
    assert kinds.count(records.CaseClosed.KIND) == 1, kinds
    given, ended = False, False
    for kind in kinds:
        if kind in _BEGINNINGS:
            assert not ended, f"given anew before it was seen gone: {kinds}"
            given = True
        elif kind in _ENDS:
            assert not ended, f"ended twice: {kinds}"
            ended = given
        elif kind == records.RemovalVerified.KIND:
            assert ended, f"seen gone twice, or without an end: {kinds}"
            given = ended = False
    assert not given, f"never seen gone: {kinds}"


def _check_acknowledged(story: Story, entries: list[Entry]) -> None:
    left = [entry.header.kind for entry in entries]
    for kind in story.acknowledged:
        assert kind in left, f"{story.case}: `{kind}` was acknowledged, and there is {left}"
        left.remove(kind)


def _check_receipts(cluster: Cluster, load: Load, entries: list[Entry]) -> None:
    """Each proves a record which is there, of the case that it was given for."""
    key = VerifierKey.parse(cluster.log_key.read_text("ascii").strip())
    for story in load.stories:
        for text in story.receipts:
            receipt = Receipt.parse(text.encode())
            entry = entries[receipt.index]
            receipt.verify(entry.leaf, key.name, [key])
            assert entry.header.case == story.case
            assert entry.header.kind == records.CredentialIssued.KIND


def _check_secrets(cluster: Cluster, load: Load) -> None:
    secrets = {cluster.password, *cluster.tokens.values(), *load.handed_out}
    for dsn in (cluster.databases.log, cluster.databases.heads):
        secrets.add(psycopg.conninfo.conninfo_to_dict(dsn)["password"])  # type: ignore[arg-type]
    for node in cluster.nodes:
        said = node.output.read_text()
        assert not [secret for secret in secrets if secret in said], f"a secret in {node.output}"


def _lags(cases: dict[str, list[Entry]]) -> dict[str, float]:
    """Not of cases with an order that nobody finished: there the look that counts has to wait."""
    found = {}
    for case, entries in cases.items():
        seen = [record_of(entry) for entry in entries]
        kinds = [each.KIND for each in seen]
        orders = kinds.count(records.GrantAuthorized.KIND)
        finished = kinds.count(records.CredentialIssued.KIND) == orders
        if finished and records.GrantExpired.KIND in kinds:
            last = [each for each in seen if isinstance(each, records.RemovalVerified)][-1]
            found[case] = timedelta(milliseconds=last.lag_ms).total_seconds()
    return found


def _window(entries: list[Entry]) -> records.GrantAuthorized | None:
    found = [record_of(entry) for entry in entries]
    return next(
        (each for each in reversed(found) if isinstance(each, records.GrantAuthorized)), None
    )
