"""One record in plain words, from its own fields; and how text that somebody typed is shown."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from muniment.access import records
from muniment.access.fields import to_json
from muniment.access.records import Record
from muniment.access.window import text as length
from muniment.errors import EvidenceError
from muniment.evidence import moment
from muniment.evidence.record import Header

Json: TypeAlias = Mapping[str, Any]
#: control, format, surrogate; line and paragraph separator
_STEERS: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
#: of what somebody typed, so many characters are shown at most
MOST: Final = 4_000


def clean(typed: object) -> str:
    """Text without what would steer a terminal or turn a line around; of bounded length."""
    return one_line(str(typed)[:MOST])


def one_line(text: str) -> str:
    """The same of any length. Whoever holds the log's key can put anything into a record."""
    if text.isprintable():
        return text.strip()
    kept = (c if unicodedata.category(c) not in _STEERS else "\ufffd" for c in text)
    return "".join(" " if c in "\n\t" else k for c, k in zip(text, kept, strict=True)).strip()


def words_of(record: Record) -> Iterator[str]:
    return map(one_line, _WORDS.get(record.KIND, _of_fields)(to_json(record)))


def entry_lines(index: int, header: Header) -> Iterator[str]:
    """An entry of which only the header is here: who did what, by pseudonyms."""
    try:
        record = records.parse(header)
    except EvidenceError:
        yield one_line(f"#{index:<8} {moment.text(header.at)}  {header.kind}  {header.case}")
        return
    actor = record.actor
    yield one_line(
        f"#{index:<8} {moment.text(header.at)}  {header.kind:<20} {header.case}"
        f"  {actor.principal} ({actor.assurance})"
    )
    yield from (f"          {words}" for words in words_of(record))


def _of_fields(body: Json) -> Iterator[str]:
    """Of a kind that has no words of its own: every small field that says something."""
    for name, value in body.items():
        if name != "actor" and isinstance(value, str | int) and value != "":
            yield f"{name} {clean(value)}"


def _asked(body: Json) -> Iterator[str]:
    what = f"{body['role']} on {body['resource']} for {length(body['seconds'])}"
    yield what + (", in an emergency" if body["emergency"] else "")


def _longer(body: Json) -> Iterator[str]:
    yield f"{length(body['seconds'])} in all, from the start of the window"


def _decided(body: Json) -> Iterator[str]:
    longest = f", at most {length(body['max_seconds'])}" if body["max_seconds"] else ""
    needed = ", ".join(f"{group}:{count}" for group, count in body["approvals"].items())
    yield f"{body['question']}: {body['outcome']}{f' ({needed})' if needed else ''}{longest}"
    yield f"policy {body['bundle'][:16]}…"


def _approved(body: Json) -> Iterator[str]:
    yield f"for {', '.join(body['groups'])}"


def _window(body: Json) -> Iterator[str]:
    yield f"until {body['until']}"


def _issued(body: Json) -> Iterator[str]:
    yield f"account {clean(body['account'])} on {clean(body['target'])}"


def _seen_gone(body: Json) -> Iterator[str]:
    yield (
        f"{body['accounts_removed']} accounts removed, {body['sessions_killed']} sessions ended, "
        f"seen gone {body['lag_ms']} ms after the end"
    )
    yield f"looked at {', '.join(clean(view['endpoint']) for view in body['endpoints'])}"


_Words: TypeAlias = Callable[[Json], Iterator[str]]
_WORDS: Final[Mapping[str, _Words]] = {
    "access:requested": _asked,
    "extension:requested": _longer,
    "decision:evaluated": _decided,
    "approval:given": _approved,
    "approval:refused": lambda _body: iter(()),
    "grant:authorized": _window,
    "grant:extended": _window,
    "credential:issued": _issued,
    "removal:verified": _seen_gone,
}
