"""
Recompute a recorded decision from its recorded input alone, and compare byte for byte.

1. the record is canonical and of a version that this program knows;
2. it was made under the bundle at hand, else nothing is recomputed;
3. its facts can be read;
4. the decision on these facts has the same bytes; if not, each difference is named by its path.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from muniment.errors import Malformed, NotCanonical
from muniment.evidence import canonical
from muniment.policy import decide, engine, recorded
from muniment.policy.bundle import Bundle

MAX_BYTES = 1_048_576
_MOST_DIFFERENCES = 50
_ENGINE = "/engine/binding"
_MISSING = object()

Result: TypeAlias = Literal["identical", "differs", "other-bundle", "other-engine", "unreadable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """
    What came of it.

    `other-engine`: recomputed, but by another version of the engine than the recorded one. If
    nothing else differs, `differences` names the engine alone; error texts, which change from
    version to version, are not compared then.
    """

    result: Result
    #: one line each, `/path: recorded …, recomputed …`
    differences: tuple[str, ...] = ()
    #: the decision that was recomputed, where it was
    decision: decide.Decision | None = None

    @property
    def identical(self) -> bool:
        return self.result == "identical"


def replay(bundle: Bundle, content: bytes) -> Replay:
    """Never raises for what `content` holds: a record that cannot be read is a result."""
    # step 1
    try:
        record: Any = canonical.decode(content, max_bytes=MAX_BYTES)
    except NotCanonical as error:
        return _unreadable(f"not a decision record: {error}")
    if not isinstance(record, dict) or record.get("v") != decide.VERSION:
        return _unreadable(f"not a decision record of version {decide.VERSION}")
    # step 2
    if record.get("bundle") != bundle.digest:
        return Replay(
            result="other-bundle",
            differences=(_difference("/bundle", record.get("bundle"), bundle.digest),),
        )
    # step 3
    input_ = record.get("input")
    if not isinstance(input_, dict):
        return _unreadable("`/input` is no object")
    try:
        facts = recorded.read(str(input_.get("kind")), input_.get("facts"))
    except Malformed as error:
        return _unreadable(f"/input: {error}")
    # step 4
    return _compare(record, content, decide.ask(bundle, facts))


def _compare(record: dict[str, Any], content: bytes, decision: decide.Decision) -> Replay:
    again = decision.content()
    if again == content:
        return Replay(result="identical", decision=decision)
    different_engine = record.get("engine") != {"name": engine.NAME, "binding": engine.BINDING}
    recomputed: Any = canonical.decode(again, max_bytes=MAX_BYTES)
    if different_engine:
        for value in (record, recomputed):
            _drop_errors(value)
    found = list(_differences("", record, recomputed))
    if len(found) > _MOST_DIFFERENCES:
        found[_MOST_DIFFERENCES:] = [f"and {len(found) - _MOST_DIFFERENCES} more"]
    return Replay(
        result="other-engine" if different_engine else "differs",
        differences=tuple(sorted(found, key=lambda line: not line.startswith(_ENGINE))),
        decision=decision,
    )


def _drop_errors(record: Any) -> None:
    """Keep that a step erred, but not the engine's words for it."""
    steps = record.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and isinstance(step.get("errors"), list):
            step["errors"] = len(step["errors"])


def _differences(path: str, recorded_: Any, recomputed: Any) -> Iterator[str]:
    if isinstance(recorded_, dict) and isinstance(recomputed, dict):
        for key in sorted(recorded_.keys() | recomputed.keys()):
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _differences(
                below, recorded_.get(key, _MISSING), recomputed.get(key, _MISSING)
            )
    elif isinstance(recorded_, list) and isinstance(recomputed, list):
        for index in range(max(len(recorded_), len(recomputed))):
            yield from _differences(
                f"{path}/{index}", _member(recorded_, index), _member(recomputed, index)
            )
    # `True` equals 1 in Python, but not in a record
    elif type(recorded_) is not type(recomputed) or recorded_ != recomputed:
        yield _difference(path, recorded_, recomputed)


def _member(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING


def _difference(path: str, recorded_: object, recomputed: object) -> str:
    return f"{path}: recorded {_shown(recorded_)}, recomputed {_shown(recomputed)}"


def _shown(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    text = value if isinstance(value, str) else canonical.encode(value).decode()
    return f"`{text}`" if len(text) <= 80 else f"`{text[:79]}…`"  # noqa: PLR2004 (one line)


def _unreadable(reason: str) -> Replay:
    return Replay(result="unreadable", differences=(reason,))
