"""
Taking in what a source sends, beside the bare parse of the same lines and a table that keeps them.

Both run in processes of their own, with the same chunks and the same care for the disk. What is
measured is one thread: the lines are made beforehand.
"""

import json
import random
import resource
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from bench.context import Bench
from bench.figures import Figure, at_least, at_most, median
from bench.installation import environment
from muniment.evidence import event_batch
from muniment.oversight.event import Key, ReaderSettings
from muniment.oversight.event_store import Arrived, Chunk
from muniment.oversight.link import Correlator, GrantWindow
from muniment.oversight.readers.postgresql import PostgresJson
from muniment.stores.events import SQLiteEventStore
from muniment.stores.sqlite import connect

_CHUNK = 2000
#: sessions that write at the same time, and the lines of each
_AT_ONCE, _LINES = 20, 250
_START = datetime(2026, 11, 21, tzinfo=UTC)
_LOG = bytes(32)
_SOURCE, _RESOURCE, _PREFIX = "orders-log", "orders-prod", "mun"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_SAMPLES = 100
_MS = 1000
_MIB = 1024


async def run(bench: Bench) -> list[Figure]:
    count = bench.sizes.records
    # the long run is its own repetition
    rounds = bench.sizes.rounds if count <= 10 * _CHUNK * _AT_ONCE else 1
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(_child("bare", count, bench.folder("bare") / "bare.db"))
        ours.append(_child("kept", count, bench.folder("kept") / "events.db"))

    def of(name: str) -> float:
        return median([found[name] for found in ours])

    return [
        Figure(
            what=f"{count:,} events read, linked, committed and kept", value=of("rate"), unit="/s",
            beside="parsed, into one bare table", yardstick=median([b["rate"] for b in bare]),
            goal=at_least(10_000, "value"),
        ),
        Figure(
            what="of which: kept", value=of("add"), unit="/s", beside="into one bare table",
            yardstick=median([b["add"] for b in bare]), goal=at_least(50_000, "value"),
        ),
        Figure(
            what="disk for one event", value=of("bytes"), unit="bytes",
            beside="in one bare table", yardstick=bare[0]["bytes"], goal=at_most(1),
        ),
        Figure(
            what=f"memory after {count:,} events", value=of("memory"), unit="MiB",
            beside=f"after {count // 10:,}", yardstick=of("memory early"), goal=at_most(1.2),
        ),
        Figure(
            what=f"the {of('grant events'):.0f} events of one grant", value=of("of grant"),
            unit="ms", goal=at_most(10, "value"),
        ),
        Figure(
            what=f"the {of('session events'):.0f} events of one session", value=of("of session"),
            unit="ms", goal=at_most(10, "value"),
        ),
        Figure(
            what="100 events of a stretch of time", value=of("between"), unit="ms",
            goal=at_most(10, "value"),
        ),
        Figure(
            what="100 events of a rare type on one resource", value=of("rare"), unit="ms",
            goal=at_most(10, "value"),
        ),
        Figure(what="all events looked at in order", value=of("walk"), unit="/s"),
    ]  # fmt: skip


def _child(what: str, count: int, path: Path) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603 (ourselves)
        [sys.executable, "-m", "bench.events", what, str(count), str(path)],
        env=environment(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


# --- what a source sends ------------------------------------------------------------------------


@dataclass
class _Session:
    user: str
    pid: int
    id: str
    began: str
    line: int = 0


class _Source:
    """The jsonlog of a PostgreSQL with some sessions at once, most of them under grants."""

    def __init__(self) -> None:
        self._random = random.Random(1)  # noqa: S311 (the same lines each time)
        self._number = 0
        self._open = [self._session() for _ in range(_AT_ONCE)]
        #: accounts of grants, with their sessions
        self.grants: dict[str, str] = {}

    def chunks(self, count: int) -> Iterator[list[bytes]]:
        for start in range(0, count, _CHUNK):
            yield [self._line() for _ in range(min(_CHUNK, count - start))]

    def _session(self) -> _Session:
        rng = self._random
        grant = f"{_PREFIX}_{''.join(rng.choices(_LETTERS, k=26))}"
        pid, began = rng.randrange(1000, 30_000), _START - timedelta(seconds=rng.randrange(9000))
        return _Session(
            user=grant if rng.random() < 0.8 else "app",  # noqa: PLR2004 (most of them)
            pid=pid,
            id=f"{int(began.timestamp()):x}.{pid:x}",
            began=f"{began:%Y-%m-%d %H:%M:%S} UTC",
        )

    def _line(self) -> bytes:
        rng = self._random
        place = rng.randrange(_AT_ONCE)
        session = self._open[place]
        session.line += 1
        if session.line > _LINES:
            session = self._open[place] = self._session()
            session.line = 1
        if session.user != "app":
            self.grants[session.user] = session.id
        at = _START + timedelta(milliseconds=self._number)
        self._number += 1
        line = {
            "timestamp": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC",
            "user": session.user, "dbname": "orders", "pid": session.pid,
            "remote_host": f"10.0.3.{session.pid % 250}", "session_id": session.id,
            "line_num": session.line, "ps": "SELECT", "session_start": session.began,
            "vxid": f"{session.pid % 100}/{self._number}", "txid": 0, "error_severity": "LOG",
            "message": self._message(session), "backend_type": "client backend",
        }  # fmt: skip
        return orjson.dumps(line)

    def _message(self, session: _Session) -> str:
        rng = self._random
        if session.line == 1:
            return f"connection authorized: user={session.user} database=orders"
        number = rng.randrange(10_000_000)
        form = rng.choice(
            (
                "SELECT id, total FROM orders WHERE customer = {} ORDER BY id LIMIT 50",
                "UPDATE orders SET status = 'shipped' WHERE id = {}",
                "INSERT INTO notes (id, text) VALUES ({0}, 'called back {0:x}')",
            )
        )
        return f"statement: {form.format(number)}"


class _Grants:
    """Every grant there is lasts all day."""

    def by_id(self, case: str) -> GrantWindow | None:
        return GrantWindow(
            case=case, resource=_RESOURCE, role="readwrite", requester="prn_ana",
            persons=("per_ana",), start=_START, until=_START + timedelta(days=1), account=case,
        )  # fmt: skip

    def by_key(self, key: Key) -> GrantWindow | None:  # noqa: ARG002 (no key was given out)
        return None

    def of_account(self, resource: str, account: str, at: datetime) -> tuple[GrantWindow, ...]:  # noqa: ARG002 (nobody has a name of his own here)
        return ()


# --- in a process of its own --------------------------------------------------------------------


def _kept(count: int, path: Path) -> dict[str, float]:
    source, seconds, adding, start, early = _Source(), 0.0, 0.0, 0, 0.0
    reader = PostgresJson(ReaderSettings(prefix=_PREFIX))
    correlator = Correlator(_PREFIX, _Grants())
    with closing(SQLiteEventStore(path)) as store:
        for lines in source.chunks(count):
            began = time.perf_counter()
            arrived = [_arrive(reader, correlator, start + n, line) for n, line in enumerate(lines)]
            made = Chunk(
                source=_SOURCE, resource=_RESOURCE, start=start, arrived=arrived, rejected=0,
                cursor=str(start), at=_START,
            )  # fmt: skip
            between = time.perf_counter()
            store.add(made)
            adding += time.perf_counter() - between
            seconds += time.perf_counter() - began
            start += len(lines)
            if start <= max(count // 10, _CHUNK):
                early = _memory()
        found = {"rate": count / seconds, "add": count / adding, "memory early": early}
        found |= {"memory": _memory()} | _looks(store, source, count)
    return found | {"bytes": _size(path) / count}


def _arrive(reader: PostgresJson, correlator: Correlator, number: int, raw: bytes) -> Arrived:
    """As `operations.intake` does."""
    event, salt = reader.read(raw), secrets.token_bytes(event_batch.SALT_SIZE)
    return Arrived(
        raw=raw, salt=salt,
        commitment=event_batch.commitment(_LOG, salt, _SOURCE, number, raw),
        event=event, link=correlator.link(event, _RESOURCE),
    )  # fmt: skip


def _looks(store: SQLiteEventStore, source: _Source, count: int) -> dict[str, float]:
    rng = random.Random(2)  # noqa: S311 (the same grants each time)
    # those that are over: what is still written to is in memory
    grants = rng.sample(list(source.grants)[: -2 * _AT_ONCE] or list(source.grants), k=20)
    moments = [_START + timedelta(milliseconds=rng.randrange(count)) for _ in range(_SAMPLES)]
    later = _START + timedelta(days=2)
    timed = {
        "of grant": _each(store.of_grant, grants),
        "of session": _each(lambda grant: store.of_session(_SOURCE, source.grants[grant]), grants),
        "between": _each(lambda at: store.between(at, later, limit=100), moments),
        "rare": _each(
            lambda at: store.between(
                at, later, resource=_RESOURCE, types=["session.opened"], limit=100
            ),
            moments[: _SAMPLES // 4],
        ),
    }
    began = time.perf_counter()
    walked = sum(1 for _ in store.walk())
    return timed | {
        "walk": walked / (time.perf_counter() - began),
        "grant events": median([len(store.of_grant(grant)) for grant in grants]),
        "session events": median(
            [len(store.of_session(_SOURCE, source.grants[grant])) for grant in grants]
        ),
    }


def _bare(count: int, path: Path) -> dict[str, float]:
    seconds, adding = 0.0, 0.0
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE lines (number INTEGER PRIMARY KEY, line BLOB NOT NULL)")
        for lines in _Source().chunks(count):
            began = time.perf_counter()
            for line in lines:
                orjson.loads(line)
            between = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO lines (line) VALUES (?)", [(e,) for e in lines])
            connection.execute("COMMIT")
            adding += time.perf_counter() - between
            seconds += time.perf_counter() - began
    return {"rate": count / seconds, "add": count / adding, "bytes": _size(path) / count}


def _each(call: Callable[[Any], object], values: Sequence[Any]) -> float:
    """Milliseconds, the median."""
    taken = []
    for value in values:
        began = time.perf_counter()
        call(value)
        taken.append((time.perf_counter() - began) * _MS)
    return median(taken)


def _memory() -> float:
    """The most that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB


def _size(path: Path) -> float:
    """Of a database that is closed: all is in one file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return float(path.stat().st_size)


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    measure = {"kept": _kept, "bare": _bare}[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))  # noqa: T201 (for who started it)
