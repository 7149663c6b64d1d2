"""
The way of what a target logs, from its file to the story of a grant, beside the bare parse of it.

One process takes it in, records it, and shows it to all detectors, one after the other: none of it
is hidden on another core. The yardstick reads, parses and keeps the same lines, and knows nothing.
"""

import asyncio
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.request import urlopen

import orjson

from bench import load
from bench.context import Bench
from bench.figures import Figure, at_least, at_most, median, percentile
from bench.installation import environment, install
from muniment.access.case import AccessCase
from muniment.operations import observe, story
from muniment.operations.around import Around
from muniment.operations.detect import Detection, RuleSet
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source
from muniment.operations.service import Limits
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import thresholds
from muniment.oversight.detectors import BUILT_IN, SCANNED
from muniment.oversight.event import ReaderSettings
from muniment.oversight.link import Correlator
from muniment.oversight.readers.postgresql import PostgresJson
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import Watch
from muniment.runtime.sources.file import Tail
from muniment.stores.events import SQLiteEventStore
from muniment.stores.sqlite import connect
from muniment.testing.scenario import PREFIX, Scenario

_SOURCE, _RESOURCE = "orders-log", "orders-prod"
#: grants at a time, and sessions of an application that needs none
_GRANTS, _OTHERS = 200, 20
#: of how many lines one belongs to a grant
_ONE_OF = 10
#: between two lines
_APART = timedelta(milliseconds=1)
_SAMPLES = 20
_MS, _MIB = 1000, 1024
#: lines a second that come while a running service is asked; seconds between two writes of some,
#: and between two questions
_PACE, _WRITTEN_EVERY, _ASKED_EVERY = 10_000, 0.05, 0.005
_SECTION = """
[sources.orders-log]
kind = "file"
reader = "postgresql-json"
path = "{path}"
begin = "start"
resource = "my-database"
"""
_Result = TypeVar("_Result")


async def run(bench: Bench) -> list[Figure]:
    count = bench.sizes.records
    folder = bench.folder("observe")
    whole = _child("whole", count, folder)
    bare = _child("bare", count, folder)
    served = await _served(bench, folder / "orders.json", count)
    beside = "read, parsed, into one bare table"
    return [
        Figure(
            what=f"{count:,} events taken in: read, linked, committed, kept", unit="/s",
            value=whole["taken"], beside=beside, yardstick=bare["rate"],
            goal=at_least(10_000, "value"),
        ),
        Figure(what="shown to all detectors, sessions recorded", value=whole["seen"], unit="/s"),
        Figure(
            what="taken in, recorded and detected, one after the other", unit="/s",
            value=whole["rate"], beside=beside, yardstick=bare["rate"],
        ),
        Figure(
            what="one record of the log with its root over all since the last", unit="ms",
            value=whole["seal"],
        ),
        Figure(
            what="what is observed of one grant, of which there are 200", unit="ms",
            value=whole["story"], goal=at_most(100, "value"),
        ),
        Figure(
            what=f"and of the busy one that has {whole['lines']:,.0f} events", unit="ms",
            value=whole["busy story"], goal=at_most(100, "value"),
        ),
        Figure(
            what=f"memory after {count:,} events", value=whole["memory"], unit="MiB",
            beside=f"after {count // 10:,}", yardstick=whole["memory early"], goal=at_most(1.2),
        ),
        Figure(
            what="a running service takes in as many that wait in a file", unit="/s",
            value=served["rate"], beside=beside, yardstick=bare["rate"],
            goal=at_least(10_000, "value"),
        ),
        Figure(
            what="p99 of `GET /healthz` while they are taken in", unit="ms",
            value=served["p99 flood"], beside="while nothing comes", yardstick=served["p99 idle"],
        ),
        Figure(
            what=f"p99 of `GET /healthz` while {_PACE:,}/s come in", unit="ms",
            value=served["p99 paced"], beside="while nothing comes", yardstick=served["p99 idle"],
            goal=at_most(50, "value"),
        ),
    ]  # fmt: skip


def _child(what: str, count: int, folder: Path) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603 (ourselves)
        [sys.executable, "-m", "bench.observe", what, str(count), str(folder)],
        env=environment(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


# --- what the target logs -----------------------------------------------------------------------


def _write(path: Path, accounts: list[str], began: datetime, count: int) -> None:
    """One session of each grant, and those of an application, in a file as PostgreSQL writes it."""
    rng = random.Random(1)  # noqa: S311 (the same lines each time)
    begun = f"{began:%Y-%m-%d %H:%M:%S} UTC"
    sessions = {
        account: f"{int(began.timestamp()):x}.{1000 + number:x}"
        for number, account in enumerate([*accounts, *(f"app{n}" for n in range(_OTHERS))])
    }
    lines = dict.fromkeys(sessions, 0)
    with path.open("wb") as file:
        for number in range(count):
            turn, left = divmod(number, _ONE_OF)
            if left:
                user = f"app{rng.randrange(_OTHERS)}"
            else:  # half of it is one busy grant's
                user = accounts[0 if turn % 2 else turn // 2 % len(accounts)]
            lines[user] += 1
            at = began + number * _APART
            line = {
                "timestamp": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC",
                "user": user, "dbname": "orders",
                "remote_host": "10.0.3.7", "session_id": sessions[user], "line_num": lines[user],
                "ps": "SELECT", "session_start": begun, "vxid": f"3/{number}", "txid": 0,
                "error_severity": "LOG", "message": _message(rng, user, lines[user]),
                "backend_type": "client backend",
            }  # fmt: skip
            file.write(orjson.dumps(line) + b"\n")


def _message(rng: random.Random, user: str, line: int) -> str:
    if line == 1:
        return f"connection authorized: user={user} database=orders"
    number = rng.randrange(10_000_000)
    form = rng.choice(
        (
            "SELECT id, total FROM orders WHERE customer = {} ORDER BY id LIMIT 50",
            "UPDATE orders SET status = 'shipped' WHERE id = {}",
            "INSERT INTO notes (id, text) VALUES ({0}, 'called back {0:x}')",
        )
    )
    return f"statement: {form.format(number)}"


# --- in a process of its own --------------------------------------------------------------------


@dataclass(kw_only=True)
class _Whole:
    """A service with one source, and how long each of its steps took, in seconds."""

    scenario: Scenario
    store: SQLiteEventStore
    detection: Detection
    tail: Tail
    taking: float = 0.0
    seeing: float = 0.0
    seals: list[float] = field(default_factory=list)

    async def follow(self, count: int) -> tuple[float, float]:
        """The whole file; the most memory at a tenth of it, and at its end."""
        service, taken, early = self.scenario.service, 0, 0.0
        while taken < count:
            began = time.perf_counter()
            piece = self.tail.look()
            kept = await observe.take(service, _SOURCE, piece.records, piece.cursor)
            self.taking += time.perf_counter() - began
            taken += kept.kept
            self.scenario.clock.advance(len(piece.records) * _APART)
            if observe.is_due(service):
                self.seals.append(await _seconds(observe.keep_up(service)))
            self.seeing += await _seconds(self.detection.look())
            if taken <= max(count // 10, len(piece.records)):
                early = _memory()
        self.seals.append(await _seconds(observe.seal(service)))
        self.scenario.clock.advance(timedelta(minutes=1))
        self.seeing += await _seconds(self.detection.look())
        return early, _memory()


async def _whole(count: int, folder: Path) -> dict[str, float]:
    limits = Limits(asks_per_minute=10 * _GRANTS)
    async with Scenario(folder, checking=False, limits=limits) as scenario:
        picked = [await scenario.granted() for _ in range(_GRANTS)]
        accounts = [each.issued.account for each in picked if each.issued is not None]
        scenario.clock.advance(timedelta(seconds=1))
        path = folder / "orders.json"
        _write(path, accounts, scenario.service.now(), count)
        with closing(SQLiteEventStore(folder / "events.db")) as store:
            detection = _observing(scenario, store)
            await detection.look()
            tail = Tail(str(path), _reader)
            whole = _Whole(scenario=scenario, store=store, detection=detection, tail=tail)
            early, late = await whole.follow(count)
            tail.close()
            busy, *others = (scenario.read(each) for each in picked[:_SAMPLES])
            of_one = len(store.of_grant(busy.id, limit=count))

            def observed(case: AccessCase) -> object:
                return story.observed(scenario.service, case)

            found = _each(observed, others), _each(observed, [busy] * _SAMPLES)
    total = whole.taking + whole.seeing + sum(whole.seals)
    return {
        "taken": count / whole.taking,
        "seen": count / whole.seeing,
        "rate": count / total,
        "seal": median(whole.seals) * _MS,
        "story": found[0],
        "busy story": found[1],
        "lines": of_one,
        "memory early": early,
        "memory": late,
    }


def _observing(scenario: Scenario, store: SQLiteEventStore) -> Detection:
    """As `muniment serve` puts it together."""
    service = scenario.service
    source = Source(name=_SOURCE, resource=_RESOURCE, reader=_reader(), make_reader=_reader)
    intake = Intake(service=service, store=store)
    service.observing = Observing(store=store, sources={_SOURCE: source}, intake=intake)
    windows = GrantWindows(service=service, store=store)
    around = Around(service=service, correlator=Correlator(PREFIX, windows))
    live = [each for each in BUILT_IN if each.rule.id not in SCANNED]
    return Detection(
        service=service,
        watch=Watch(live, {}, WorkingDays()),
        rules={
            each.rule.id: RuleSet(rule=each.rule, thresholds=thresholds(each.rule, {}))
            for each in live
        },
        around=around,
        recorded=Recorded(world=around),
    )


def _bare(_count: int, folder: Path) -> dict[str, float]:
    seconds, count = 0.0, 0
    with closing(connect(folder / "bare.db")) as connection:
        connection.execute("CREATE TABLE lines (number INTEGER PRIMARY KEY, line BLOB NOT NULL)")
        tail = Tail(str(folder / "orders.json"), _reader)
        while True:
            began = time.perf_counter()
            lines = tail.look().records
            if not lines:
                break
            for line in lines:
                orjson.loads(line)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO lines (line) VALUES (?)", [(e,) for e in lines])
            connection.execute("COMMIT")
            seconds += time.perf_counter() - began
            count += len(lines)
        tail.close()
    return {"rate": count / seconds}


def _reader() -> PostgresJson:
    return PostgresJson(ReaderSettings(prefix=PREFIX))


# --- a running service --------------------------------------------------------------------------


async def _served(bench: Bench, lines: Path, count: int) -> dict[str, float]:
    """`muniment serve` with one source, whose grants are not its own; and one that asks it."""
    installation = install(bench.folder("served") / "muniment")
    grows = installation.folder / "orders.json"
    settings = installation.folder / "muniment.toml"
    settings.write_text(settings.read_text("utf-8") + _SECTION.format(path=grows), "utf-8")
    with installation.served() as service, lines.open("rb") as source, grows.open("wb") as file:
        idle = await _asked(service.port, asyncio.sleep(bench.sizes.seconds))
        pacing = asyncio.ensure_future(_pace(source, file, bench.sizes.seconds))
        paced = await _asked(service.port, pacing)
        await _kept(service.port, pacing.result())
        began = time.perf_counter()
        await asyncio.to_thread(shutil.copyfileobj, source, file)
        file.flush()
        flood = await _asked(service.port, _kept(service.port, count))
        seconds = time.perf_counter() - began
    return {
        "rate": (count - pacing.result()) / seconds,
        "p99 idle": percentile(idle, 0.99),
        "p99 paced": percentile(paced, 0.99),
        "p99 flood": percentile(flood, 0.99),
    }


async def _pace(source: IO[bytes], file: IO[bytes], seconds: float) -> int:
    """How many lines were written, evenly: fewer than there are."""
    began, written = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        due = int(passed * _PACE)
        file.writelines(islice(source, due - written))
        file.flush()
        written = due
        await asyncio.sleep(_WRITTEN_EVERY)
    return written


async def _kept(port: int, count: int) -> None:
    """Until the service says that so many were."""
    while await asyncio.to_thread(_told, port) < count:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(_ASKED_EVERY)


def _told(port: int) -> int:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(rb"^muniment_events_total\{[^}]*\} (\d+)", answer.read(), re.MULTILINE)
    return int(found[1]) if found else 0


async def _asked(port: int, work: Awaitable[object]) -> list[float]:
    """How long each of many requests took, in milliseconds, until this was done."""
    doing, taken = asyncio.ensure_future(work), list[float]()
    async with await load.Client.to(port, {}) as client:
        await client.get("/healthz")
        while not doing.done():
            began = time.perf_counter()
            await client.get("/healthz")
            taken.append((time.perf_counter() - began) * _MS)
            await asyncio.sleep(_ASKED_EVERY)
    await doing
    return taken


async def _seconds(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _each(call: Callable[[_Result], object], values: list[_Result]) -> float:
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


def main(what: str, count: int, folder: Path) -> Mapping[str, float]:
    if what == "bare":
        return _bare(count, folder)
    return asyncio.run(_whole(count, folder))


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))  # noqa: T201 (for who started it)
