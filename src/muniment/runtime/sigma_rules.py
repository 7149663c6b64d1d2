"""
Sigma rules of one's own, over the facts that detectors see: each becomes a detector.

pysigma and its SQLite backend say what a rule means. A rule about one fact is asked of a table
that has this fact alone; a correlation of a window of those facts that its rules match, as time
passes. Regular expressions are matched by RE2, whose time is linear in the text.
"""

import importlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar, Final

from muniment.errors import ConfigInvalid
from muniment.oversight.detector import Detector, Hit, Rule, Severity, Surroundings
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import VALUES, Fact, Value

_TABLE: Final = "facts"
_COLUMNS: Final = ("type", "time", "case", "ref", *VALUES)
_QUOTED: Final = [f'"{each}"' for each in _COLUMNS]
_INSERT: Final = (
    f"INSERT INTO {_TABLE} ({', '.join(_QUOTED)}) "  # noqa: S608 (names of our own)
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_MOST_FILES: Final = 500
_MOST_BYTES: Final = 1 << 20
#: facts that a correlation remembers, alerts that one look may give, and what it may cost
_MOST_FACTS: Final = 20_000
_MOST_ALERTS: Final = 200
_MOST_STEPS: Final = 2000
_STEP: Final = 100_000
_LEVELS: Final[Mapping[str, Severity]] = {
    "informational": "info", "low": "low", "medium": "medium", "high": "high",
    "critical": "critical",
}  # fmt: skip
_LACKING: Final = "`detect.sigma` needs more packages: pip install muniment[sigma]"


def read_sigma_rules(folder: Path) -> tuple[type[Detector], ...]:
    """
    A detector for each rule in the `.yml` files of the folder that no other one builds on.

    Raises `ConfigInvalid`, naming the file, for what is no rule over facts.
    """
    files = sorted(each for ending in ("*.yml", "*.yaml") for each in folder.glob(ending))
    if not folder.is_dir():
        raise ConfigInvalid(f"`detect.sigma`: `{folder}` is no folder")
    if len(files) > _MOST_FILES:
        raise ConfigInvalid(f"`detect.sigma`: more than {_MOST_FILES} files")
    texts = {}
    for file in files:
        if file.stat().st_size > _MOST_BYTES:
            raise ConfigInvalid(f"`{file.name}` is larger than {_MOST_BYTES} bytes")
        texts[file.name] = file.read_bytes()
    return sigma_detectors(texts)


def sigma_detectors(texts: Mapping[str, bytes]) -> tuple[type[Detector], ...]:
    """The same from their texts, by the name of their file."""
    sigma = _Sigma()
    rules = [rule for name, text in texts.items() for rule in sigma.parse(name, text)]
    found: dict[str, type[Detector]] = {}
    one = _OneFact()
    for compiled in sigma.compile(rules):
        id = compiled.rule.id
        if id in found:
            raise ConfigInvalid(f"two Sigma rules come to the id `{id}`: give them a `name`")
        found[id] = _detector(compiled, one)
    return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    rule: Rule
    #: conditions on one fact, any of which it may meet: of a correlation, those of its rules
    queries: tuple[str, ...]
    #: of a correlation: what the backend carries out
    plan: Mapping[str, Any] | None = None
    span: timedelta = timedelta(0)


class _Sigma:
    """What is used of pysigma, and nothing of it before a rule is there."""

    def __init__(self) -> None:
        try:
            self._collection = importlib.import_module("sigma.collection").SigmaCollection
            self._correlation = importlib.import_module("sigma.correlations").SigmaCorrelationRule
            self._yaml = importlib.import_module("yaml")
            backend = importlib.import_module("sigma.backends.sqlite").sqliteBackend
        except ImportError as error:
            raise ConfigInvalid(_LACKING) from error
        self._queries: dict[int, tuple[str, ...]] = {}
        self._backend = backend(table=_TABLE, timestamp_field="time", collate_nocase=True)

    def parse(self, name: str, text: bytes) -> list[Any]:
        try:
            collection = self._collection.from_yaml(
                text.decode(), resolve_references=False, collect_filters=False
            )
        except Exception as error:
            # pysigma, its YAML and their own errors are as many as there are mistakes
            raise ConfigInvalid(f"`{name}` is no Sigma rule: {_one_line(error)}") from error
        for rule in collection.rules:
            rule.custom_attributes["file"] = name
            if not self._is_correlation(rule):
                self._check(name, rule)
                # once a correlation refers to it, it is converted no more by itself
                self._queries[id(rule)] = tuple(self._backend.convert_rule(rule))
        return list(collection.rules)

    def _check(self, name: str, rule: Any) -> None:
        if rule.logsource.product != "muniment":
            raise ConfigInvalid(
                f"`{name}`: the logsource of a rule over facts is "
                "`{product: muniment, service: evidence}`"
            )
        for each in self._backend.required_fields(rule):
            if each not in _COLUMNS:
                raise ConfigInvalid(f"`{name}`: `{_clean(each)}` is no value of a fact")

    def compile(self, rules: Sequence[Any]) -> Iterator[_Compiled]:
        try:
            collection = self._collection(list(rules))
            output = list(collection.get_output_rules())
            converted = json.loads(self._backend.convert(collection, "zircolite"))
        except Exception as error:
            raise ConfigInvalid(
                f"the Sigma rules do not fit together: {_one_line(error)}"
            ) from error
        for rule, made in zip(output, converted, strict=True):
            if self._is_correlation(rule):
                base, span = self._parts(rule)
                self._check_plan(rule, made["correlation_plan"])
                queries = tuple(query for each in base for query in self._queries[id(each)])
                plan = made["correlation_plan"]
                yield _Compiled(rule=_rule(rule), queries=queries, plan=plan, span=span)
            else:
                yield _Compiled(rule=_rule(rule), queries=tuple(made["rule"]))

    def _is_correlation(self, rule: Any) -> bool:
        return isinstance(rule, self._correlation)

    def _parts(self, rule: Any) -> tuple[list[Any], timedelta]:
        """The rules at the bottom of a correlation, and how far back all of it looks."""
        base, span = [], timedelta(seconds=rule.timespan.seconds)
        for reference in rule.rules:
            if self._is_correlation(reference.rule):
                below, more = self._parts(reference.rule)
                base += below
                span += more
            else:
                base.append(reference.rule)
        return base, span

    def _check_plan(self, rule: Any, plan: Mapping[str, Any]) -> None:
        fields = {each for names in plan["required_fields"].values() for each in names}
        unknown = sorted(fields - {*_COLUMNS, "rowid"})
        if unknown:
            name = rule.custom_attributes["file"]
            raise ConfigInvalid(f"`{name}`: `{_clean(unknown[0])}` is no value of a fact")


def _rule(rule: Any) -> Rule:
    name = re.sub(r"[^a-z0-9]+", "-", str(rule.name or rule.title or "").lower()).strip("-")
    if not name:
        raise ConfigInvalid(f"`{rule.custom_attributes['file']}` has no title")
    level = rule.level.name.lower() if rule.level is not None else "medium"
    return Rule(
        id=f"sigma-{name[:80]}",
        title=_clean(str(rule.title)),
        advice=_clean(str(rule.description or "A rule of this installation says so.")),
        severity=_LEVELS.get(level, "medium"),
        kind="deterministic",
        needs=(),
        references=tuple(_clean(str(each)) for each in rule.references or ()),
        expected=10_000,
    )


def _detector(compiled: _Compiled, one: "_OneFact") -> type[Detector]:
    kind = _OfOne if compiled.plan is None else _OfMany
    values = {"rule": compiled.rule, "compiled": compiled, "one": one}
    return type(kind.__name__, (kind,), values)


def _one_line(error: Exception) -> str:
    return _clean(str(error))


def _clean(text: str, most: int = 300) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:most]


# --- tables -------------------------------------------------------------------------------------


def _open() -> sqlite3.Connection:
    # one thread at a time uses it, and not always the same one
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    names = ", ".join(f"{each} COLLATE NOCASE" for each in _QUOTED)  # as Sigma compares
    connection.execute(f"CREATE TABLE {_TABLE} ({names})")
    connection.create_function("regexp", 2, _Matching(), deterministic=True)
    return connection


class _Matching:
    """`REGEXP`, by RE2: a pattern cannot make a text that was sent by others expensive."""

    def __init__(self) -> None:
        self._re2 = importlib.import_module("re2")
        self._known: dict[str, Any] = {}

    def __call__(self, pattern: str, value: object) -> bool:
        if value is None:
            return False
        found = self._known.get(pattern)
        if found is None:
            found = self._known[pattern] = self._re2.compile(pattern)
        return found.search(str(value)) is not None


def _row(fact: Fact) -> list[Value | None]:
    flat = fact.flat()
    return [_stored(flat.get(each)) for each in _COLUMNS]


def _stored(value: Value | None) -> Value | None:
    """Text that is no UTF-8, and numbers that no column holds, are stored as what can be."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return str(value)
    return value


class _OneFact(threading.local):
    """A table with the fact that is looked at. All rules of a thread share it."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._fact: Fact | None = None

    def meets(self, fact: Fact, queries: Iterable[str]) -> bool:
        connection = self._connection
        if connection is None:
            connection = self._connection = _open()
        if self._fact is not fact:
            self._fact = None
            connection.execute(f"DELETE FROM {_TABLE}")  # noqa: S608 (a name of our own)
            connection.execute(_INSERT, _row(fact))
            self._fact = fact
        return any(connection.execute(query).fetchone() is not None for query in queries)


class _OfOne(Plain):
    """A rule about one fact."""

    compiled: ClassVar[_Compiled]
    one: ClassVar[_OneFact]

    def see(self, fact: Fact) -> Iterable[Hit]:
        if self.one.meets(fact, self.compiled.queries):
            about = fact.case or fact.text("requester") or fact.text("resource") or fact.type
            yield self.hit(fact, f"{about}:{day(fact.at)}", self.rule.title)


class _OfMany(Plain):
    """A correlation: what its rules match is kept for as long as it looks back."""

    compiled: ClassVar[_Compiled]
    one: ClassVar[_OneFact]

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._connection = _open()
        self._facts: dict[int, Fact] = {}
        self._is_new = False
        self._told: dict[str, datetime] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        if self.one.meets(fact, self.compiled.queries):
            row = self._connection.execute(_INSERT, _row(fact)).lastrowid
            self._facts[row or 0] = fact
            self._is_new = True
            if len(self._facts) > _MOST_FACTS:
                self._drop([next(iter(self._facts))])
        return ()

    def _drop(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._connection.execute(f"DELETE FROM {_TABLE} WHERE rowid = ?", (row,))  # noqa: S608 (a name of our own)
            del self._facts[row]

    def tick(self, now: datetime) -> Iterable[Hit]:
        start = now - self.compiled.span - timedelta(hours=2)  # facts may be a little late
        hits = list(self._look(now)) if self._is_new else []
        self._is_new = False
        self._drop([row for row, fact in self._facts.items() if fact.at < start])
        old = now - self.compiled.span
        self._told = {key: at for key, at in self._told.items() if at >= old}
        return hits

    def _look(self, now: datetime) -> Iterator[Hit]:
        runtime = importlib.import_module("sigma.backends.sqlite.runtime")
        steps = iter(range(_MOST_STEPS))
        self._connection.set_progress_handler(lambda: next(steps, None) is None, _STEP)
        try:
            alerts, _ = runtime.execute_plan(
                self._connection, self.compiled.plan, limit=_MOST_ALERTS, include_events=False
            )
        finally:
            self._connection.set_progress_handler(None, 0)
        for alert in alerts[:_MOST_ALERTS]:
            rows = [int(each.rpartition(":")[2]) for each in alert["event_ids"]]
            facts = sorted((self._facts[row] for row in rows), key=lambda fact: fact.at)
            if facts:
                yield from self._alert(alert, facts, now)

    def _alert(self, alert: Mapping[str, Any], facts: list[Fact], now: datetime) -> Iterator[Hit]:
        """Once for a group within the time that the rule looks back."""
        group = json.dumps(alert["group_keys"], sort_keys=True)
        if group in self._told:
            return
        self._told[group] = min(now, facts[-1].at.astimezone(timezone.utc))
        yield self.hit(
            facts[-1],
            f"{group}:{day(facts[-1].at)}",
            self.rule.title,
            cases=[each.case for each in facts],
            subjects=[person for each in facts for person in sorted(each.persons)],
            evidence=[each.ref for each in facts],
        )
