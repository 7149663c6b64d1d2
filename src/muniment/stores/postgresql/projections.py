"""Lists and due work in PostgreSQL, shared by the workers of all nodes."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from muniment.oversight.siem import Progress
from muniment.ports import Answer, CaseRow, Due
from muniment.stores.postgresql.connections import Connections, transaction

_ROW: LiteralString = (
    "case_id, kind, state, requester, resource, role, groups, marked, opened_at, changed_at,"
    " until, about, records, closed"
)
_VALUES: LiteralString = ", ".join(["%s"] * 14)
PUT_CASE: LiteralString = (
    f"INSERT INTO cases ({_ROW}) VALUES ({_VALUES}) ON CONFLICT (case_id) DO UPDATE SET"  # noqa: S608 (column names of ours)
    " (kind, state, requester, resource, role, groups, marked, opened_at, changed_at, until, about,"
    " records, closed) = (EXCLUDED.kind, EXCLUDED.state, EXCLUDED.requester, EXCLUDED.resource,"
    " EXCLUDED.role, EXCLUDED.groups, EXCLUDED.marked, EXCLUDED.opened_at, EXCLUDED.changed_at,"
    " EXCLUDED.until, EXCLUDED.about, EXCLUDED.records, EXCLUDED.closed)"
)
# whoever had claimed the case had claimed it for the moment that is over
PUT_DUE: LiteralString = (
    "INSERT INTO due (case_id, at) VALUES (%s, %s) ON CONFLICT (case_id)"
    " DO UPDATE SET at = EXCLUDED.at, holder = NULL, held_until = NULL"
)
CLEAR_DUE: LiteralString = "DELETE FROM due WHERE case_id = %s"
PUT_ANSWER: LiteralString = (
    "INSERT INTO answers (principal, operation, key, body, case_id, at)"
    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
READ_DUE: LiteralString = (
    "SELECT case_id FROM due WHERE at <= %s AND (strpos(case_id, '/') > 0) = %s"
    " ORDER BY at, case_id LIMIT %s"
)
READ_DUE_OF: LiteralString = "SELECT at FROM due WHERE case_id = %s"
NEXT_DUE: LiteralString = "SELECT min(at) FROM due WHERE at > %s"
READ_ANSWER: LiteralString = (
    "SELECT principal, operation, key, body, case_id, at FROM answers"
    " WHERE principal = %s AND operation = %s AND key = %s"
)
CASE_IDS: LiteralString = (
    "SELECT case_id FROM cases WHERE case_id >= %s AND case_id < %s ORDER BY case_id LIMIT %s"
)
READ_CASE_ROW: LiteralString = f"SELECT {_ROW} FROM cases WHERE case_id = %s"  # noqa: S608 (as above)

#: Rows that somebody else has locked are passed over in all of them: an append holds its due rows
#: until it commits, and whoever waits for one while holding another can wait for ever.
RELEASE: LiteralString = """
    UPDATE due SET holder = NULL, held_until = NULL WHERE case_id IN (
      SELECT case_id FROM due WHERE case_id = ANY (%(resting)s) AND holder = %(node)s
         FOR UPDATE SKIP LOCKED)
"""
RENEW: LiteralString = """
    UPDATE due SET holder = %(node)s, held_until = now() + %(lease)s * interval '1 second'
     WHERE case_id IN (
      SELECT case_id FROM due WHERE case_id = ANY (%(working)s)
         AND (holder IS NULL OR holder = %(node)s OR held_until < now())
         FOR UPDATE SKIP LOCKED)
"""
CLAIM: LiteralString = """
    WITH free AS (
      SELECT case_id FROM due
       WHERE at <= %(now)s AND (strpos(case_id, '/') > 0) = %(callbacks)s
         AND case_id <> ALL (%(out)s)
         AND (holder IS NULL OR holder = %(node)s OR held_until < now())
       ORDER BY at, case_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE due SET holder = %(node)s, held_until = now() + %(lease)s * interval '1 second'
        FROM free WHERE due.case_id = free.case_id RETURNING due.case_id, due.at
    )
    SELECT case_id FROM claimed ORDER BY at, case_id
"""
LEAD: LiteralString = """
    INSERT INTO duties (name, holder, held_until)
    VALUES (%(duty)s, %(node)s, now() + %(lease)s * interval '1 second')
    ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, held_until = EXCLUDED.held_until
     WHERE duties.holder = EXCLUDED.holder OR duties.held_until < now()
    RETURNING true
"""
READ_PROGRESS: LiteralString = "SELECT next, last FROM forwarded WHERE sink = %s"
PUT_PROGRESS: LiteralString = (
    "INSERT INTO forwarded (sink, next, last) VALUES (%s, %s, %s)"
    " ON CONFLICT (sink) DO UPDATE SET next = EXCLUDED.next, last = EXCLUDED.last"
)
LOCK_STATE: LiteralString = "SELECT size FROM log_state FOR UPDATE"
COUNT_RECORDS: LiteralString = """
    SELECT wanted.case_id, count(e.idx) FROM unnest(%s::text[]) AS wanted (case_id)
      LEFT JOIN case_entries e ON e.case_id = wanted.case_id COLLATE "C" GROUP BY wanted.case_id
"""
DROP_CASES: LiteralString = "DELETE FROM cases WHERE case_id = ANY (%s)"
DROP_DUES: LiteralString = "DELETE FROM due WHERE case_id = ANY (%s)"
#: where a line says how many records its case had
_RECORDS = 12


@dataclass
class Companions:
    """The writes beside an append: the last about a case stands, and the first under a key."""

    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    dues: dict[str, str | None] = field(default_factory=dict)
    answers: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, write: Any) -> None:
        match write:
            case CaseRow():
                self.rows[write.case] = _case_values(write)
            case Due():
                self.dues[write.case] = write.at
            case Answer():
                self.answers.append(
                    (write.principal, write.operation, write.key, write.body, write.case, write.at)
                )
            case _:
                raise TypeError(f"no companion write: {type(write).__name__}")

    @property
    def moments(self) -> list[tuple[str, str]]:
        return [(case, at) for case, at in self.dues.items() if at is not None]

    @property
    def cleared(self) -> list[tuple[str]]:
        return [(case,) for case, at in self.dues.items() if at is None]


def sorted_out(writes: Iterable[Any]) -> Companions:
    companions = Companions()
    for write in writes:
        companions.add(write)
    return companions


class PostgreSQLProjections:
    """`Projections` for several nodes: what one has claimed is kept from the others for a lease."""

    def __init__(self, connections: Connections, node: str) -> None:
        #: to the database, for whoever copies all of it
        self.connections = connections
        self._ours: Mapping[str, Any] = {"node": node, "lease": connections.lease}

    def cases(
        self,
        *,
        kind: str = "access",
        states: Iterable[str] = (),
        requester: str | None = None,
        about: str | None = None,
        closed: bool | None = None,
        waiting: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> list[CaseRow]:
        clauses: list[LiteralString] = ["kind = %s"]
        values: list[Any] = [kind]
        if wanted := list(states):
            clauses.append("state = ANY (%s)")
            values.append(wanted)
        if requester is not None:
            clauses.append("requester = %s")
            values.append(requester)
        if about is not None:
            clauses.append("about = %s AND about <> ''")  # the second half leads to its index
            values.append(about)
        if closed is not None:
            clauses.append("closed = %s")
            values.append(closed)
        if waiting:
            clauses.append("groups <> ''")
        if before is not None:
            clauses.append(
                "(opened_at, case_id) < (SELECT opened_at, case_id FROM cases WHERE case_id = %s)"
            )
            values.append(before)
        # the clauses are literals of this function; every value is bound
        query: LiteralString = (
            f"SELECT {_ROW} FROM cases WHERE {' AND '.join(clauses)}"  # noqa: S608
            " ORDER BY opened_at DESC, case_id DESC LIMIT %s"
        )
        return [_case_row(row) for row in self._rows(query, *values, limit)]

    def case_ids(self, beginning: str, limit: int = 2) -> list[str]:
        return [case for (case,) in self._rows(CASE_IDS, beginning, beginning + "~", limit)]

    def case_row(self, case: str) -> CaseRow | None:
        rows = self._rows(READ_CASE_ROW, case)
        return _case_row(rows[0]) if rows else None

    def due(self, now: str, limit: int = 500, *, callbacks: bool = False) -> list[str]:
        return [case for (case,) in self._rows(READ_DUE, now, callbacks, limit)]

    def claim(
        self,
        now: str,
        limit: int = 500,
        *,
        working: Collection[str] = (),
        resting: Collection[str] = (),
        callbacks: bool = False,
    ) -> list[str]:
        asked = {
            **self._ours, "now": now, "limit": limit, "callbacks": callbacks,
            "working": list(working), "resting": list(resting), "out": [*working, *resting],
        }  # fmt: skip
        with self.connections.lent() as session:
            if resting:
                session.execute(RELEASE, asked)
            if working:
                session.execute(RENEW, asked)
            return [case for (case,) in session.execute(CLAIM, asked)]

    def lead(self, duty: str) -> bool:
        with self.connections.lent() as session:
            return session.execute(LEAD, {**self._ours, "duty": duty}).fetchone() is not None

    def due_at(self, case: str) -> str | None:
        at: str | None = self._value(READ_DUE_OF, case)
        return at

    def next_due(self, after: str) -> str | None:
        at: str | None = self._value(NEXT_DUE, after)
        return at

    def answer(self, principal: str, operation: str, key: str) -> Answer | None:
        rows = self._rows(READ_ANSWER, principal, operation, key)
        if not rows:
            return None
        principal, operation, key, body, case, at = rows[0]
        return Answer(
            principal=principal, operation=operation, key=key, body=body, case=case, at=at
        )

    def progress(self, sink: str) -> Progress | None:
        rows = self._rows(READ_PROGRESS, sink)
        return Progress(*rows[0]) if rows else None

    def put_progress(self, sink: str, progress: Progress) -> None:
        with self.connections.lent() as session:
            session.execute(PUT_PROGRESS, (sink, progress.next, progress.last))

    def put_right(
        self, lines: Iterable[tuple[CaseRow, Iterable[Due]]], unknown: Iterable[str] = ()
    ) -> None:
        wanted = {row.case: sorted_out((row, *dues)) for row, dues in lines}
        extra = list(unknown)
        with self.connections.lent() as session, transaction(session):
            session.execute(LOCK_STATE)  # nobody appends to any of these cases meanwhile
            counts: dict[str, int] = dict(session.rows(COUNT_RECORDS, ([*wanted, *extra],)))
            true = [
                line for case, line in wanted.items() if line.rows[case][_RECORDS] == counts[case]
            ]
            gone = [case for case in extra if not counts[case]]
            with session.pipeline():
                session.execute(DROP_CASES, (gone,))
                session.execute(DROP_DUES, (gone,))
                for line in true:
                    session.cursor().executemany(PUT_CASE, list(line.rows.values()))
                    session.cursor().executemany(PUT_DUE, line.moments)
                    session.cursor().executemany(CLEAR_DUE, line.cleared)

    def _rows(self, query: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        if not all(_storable(value) for value in values):
            return []
        with self.connections.lent() as session:
            return session.rows(query, values)

    def _value(self, query: LiteralString, *values: Any) -> Any:
        rows = self._rows(query, *values)
        return rows[0][0] if rows else None


def _storable(value: Any) -> bool:
    """False for a text that PostgreSQL can hold nowhere, so that nothing is found under it."""
    if isinstance(value, list):
        return all(map(_storable, value))
    if not isinstance(value, str):
        return True
    # a zero byte, and half of a surrogate pair
    return "\0" not in value and value == value.encode("utf-8", "ignore").decode()


def _case_values(row: CaseRow) -> tuple[Any, ...]:
    return (
        row.case, row.kind, row.state, row.requester, row.resource, row.role,
        ",".join(row.groups), row.marked, row.opened_at, row.changed_at, row.until,
        row.about, row.records, row.closed,
    )  # fmt: skip


def _case_row(row: tuple[Any, ...]) -> CaseRow:
    case, kind, state, requester, resource, role, groups, marked, *rest = row
    opened_at, changed_at, until, about, count, closed = rest
    return CaseRow(
        case=case, kind=kind, state=state, requester=requester, resource=resource, role=role,
        groups=tuple(filter(None, groups.split(","))), marked=marked, opened_at=opened_at,
        changed_at=changed_at, until=until, about=about, records=count, closed=closed,
    )  # fmt: skip
