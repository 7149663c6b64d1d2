"""
A year of grants as the records of a log: what reports, reviews and their benchmarks are tried on.

The same seed gives the same bytes but for the key. Nothing in it is wrong, unless a fault is asked
for: then some of the cases that it fits have it. No policy runs here and no target is touched; the
records are what a service would have written.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from heapq import heappop, heappush, merge
from pathlib import Path
from typing import Final

from muniment.access import records
from muniment.access.records import Record
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.moment import whole
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Header
from muniment.evidence.tiles import ENTRIES, WIDTH, Tile, encode_bundle
from muniment.oversight.carried import STATEMENT, OpenCases
from muniment.testing.written_lives import Life, Scene, Somebody, access, case_id
from muniment.testing.written_surroundings import WEAKNESSES, others

_DAY: Final = timedelta(days=1)


@dataclass(kw_only=True)
class WrittenYear:
    """`entries` are its records, made anew each time; `tiles` writes them where tiles lie."""

    grants: int = 200
    seed: int = 1
    year: int = 2026
    days: int = 365
    #: names of `written_lives.FAULTS`
    faults: frozenset[str] = frozenset()
    key: SigningKey = field(default_factory=lambda: SigningKey.generate("log.example/year"))
    #: the policy and the role definitions that its records name
    documents: dict[bytes, bytes] = field(default_factory=dict, init=False)

    @property
    def start(self) -> datetime:
        return datetime(self.year, 1, 1, tzinfo=timezone.utc)

    @property
    def stop(self) -> datetime:
        return self.start + self.days * _DAY

    def entries(self) -> Iterator[bytes]:
        """Every record of the log, in order."""
        scene = self._scene()
        self.documents = scene.documents
        going = _Going()
        coming = self._lives(scene)
        upcoming = next(coming, None)
        until, known = self.stop + 2 * _DAY, OpenCases()
        while True:
            if upcoming is not None and (not going.waiting or upcoming[0] <= going.waiting[0][0]):
                going.begin(upcoming[1], upcoming[2])
                upcoming = next(coming, None)
                continue
            if not going.waiting or going.waiting[0][0] > until:
                return
            header = self._stated(going.next(), known)
            known.take(known.size, header)
            data = header.encode()
            leaf = merkle.leaf_hash(data)
            scene.log_id = scene.log_id or leaf
            going.written(header, leaf)
            for case, life in scene.spawned:
                going.begin(case, life)
            scene.spawned.clear()
            yield data

    def _stated(self, header: Header, known: OpenCases) -> Header:
        """A measurement says how large the log is, and which cases are open."""
        if header.kind != STATEMENT:
            return header
        document = known.document()
        named = sha256(document).digest()
        self.documents[named] = document
        return replace(
            header,
            body={**header.body, "size": known.size},
            documents=tuple(sorted((WEAKNESSES, named))),
        )

    def _scene(self) -> Scene:
        count = max(6, min(400, self.grants // 20))
        people = tuple(
            Somebody(case_id("prn", f"p{n}"), case_id("per", f"p{n}")) for n in range(count)
        )
        # the last of the people leaves
        leaver = -1 if "leaver-with-agent" in self.faults else 0
        machines = tuple(
            Somebody(case_id("prn", f"m{n}"), case_id("per", f"m{n}"), kind, people[n + leaver])
            for n, kind in enumerate(("agent", "workload"))
        )
        return Scene(
            start=self.start, stop=self.stop, key=self.key.verifier.vkey,
            origin=self.key.verifier.name, people=people, machines=machines, faults=self.faults,
        )  # fmt: skip

    def _lives(self, scene: Scene) -> Iterator[tuple[datetime, str, Life]]:
        """In the order of their beginning."""
        return merge(others(scene), self._accesses(scene), key=lambda each: each[0])

    def _accesses(self, scene: Scene) -> Iterator[tuple[datetime, str, Life]]:
        step = (self.stop - self.start - 2 * _DAY) / max(1, self.grants)
        for number in range(self.grants):
            rng = random.Random(f"{self.seed} {number}")  # noqa: S311 (the same each time)
            # the first day is there to define what can be asked for
            at = self.start + _DAY + step * number
            case = case_id("mun", f"{self.seed} {number}")
            yield at, case, access(scene, rng, case, number, at)

    # --- as files

    def tiles(self, folder: Path) -> Checkpoint:
        """The log as a mirror has it: tiles, entry bundles, and the signed checkpoint."""
        leaves: list[bytes] = []
        held: list[bytes] = []
        for data in self.entries():
            held.append(data)
            leaves.append(merkle.leaf_hash(data))
            if len(held) == WIDTH:
                _write(folder, ENTRIES, len(leaves) // WIDTH - 1, WIDTH, encode_bundle(held))
                held = []
        size = len(leaves)
        if held:
            _write(folder, ENTRIES, size // WIDTH, len(held), encode_bundle(held))
        return self._sealed(folder, leaves, size)

    def _sealed(self, folder: Path, leaves: list[bytes], size: int) -> Checkpoint:
        checkpoint = Checkpoint(self.key.verifier.name, size, merkle.root(leaves))
        row, level = leaves, 0
        while row:
            above: list[bytes] = []
            for index in range(0, len(row), WIDTH):
                part = row[index : index + WIDTH]
                _write(folder, level, index // WIDTH, len(part), b"".join(part))
                if len(part) == WIDTH:
                    above.append(merkle.root(part))
            row, level = above, level + 1
        (folder / "checkpoint").write_bytes(sign(checkpoint, self.key))
        return checkpoint


def _documents(record: Record) -> tuple[bytes, ...]:
    match record:
        case records.RoleDefined(definition=digest) | records.PolicyActivated(bundle=digest):
            return (digest,)
        case _:
            return ()


def _write(folder: Path, level: int, index: int, width: int, data: bytes) -> None:
    path = folder / Tile(level, index, width).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@dataclass(slots=True)
class _Going:
    """Cases that have begun and are not over, by the moment of their next record."""

    waiting: list[tuple[datetime, int]] = field(default_factory=list)
    count: int = 0
    _lives: dict[int, tuple[str, Life]] = field(default_factory=dict)
    _due: dict[int, tuple[Record, dict[str, bytes]]] = field(default_factory=dict)
    _heads: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _now: int = -1

    def begin(self, case: str, life: Life) -> None:
        number, self.count = self.count, self.count + 1
        self._lives[number] = case, life
        self._wait(number, next(life))

    def next(self) -> Header:
        """The header that is due first."""
        at, self._now = heappop(self.waiting)
        case, _ = self._lives[self._now]
        record, sections = self._due.pop(self._now)
        position, prev = self._heads.get(case, (0, None))
        return Header(
            kind=record.KIND, fold=records.FOLD, case=case, position=position, at=whole(at),
            body=record.body(), prev=prev, sections=sections,
            documents=_documents(record),
        )  # fmt: skip

    def written(self, header: Header, leaf: bytes) -> None:
        case, life = self._lives[self._now]
        self._heads[case] = header.position + 1, leaf
        try:
            self._wait(self._now, life.send(header))
        except StopIteration:
            del self._lives[self._now], self._heads[case]

    def _wait(self, number: int, due: tuple[datetime, Record, dict[str, bytes]]) -> None:
        at, record, sections = due
        self._due[number] = record, sections
        heappush(self.waiting, (at, number))
