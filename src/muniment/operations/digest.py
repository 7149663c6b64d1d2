"""
Findings that wake nobody, in one notice a day: what is unusual, or slight, is worth a look by day.

Each is told once, on the first morning after it was raised, and not if it is closed by then. The
first that is told in one way takes along all others that are due there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from muniment.access.finding import Finding
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations.notice_text import KEEP, head_of, line_about, summary_of
from muniment.operations.owed import Event
from muniment.operations.service import Service
from muniment.ports import Notice

#: findings that one notice takes along, and those that it names; the others it counts
MOST, LISTED = 200, 50


@dataclass(frozen=True, kw_only=True)
class Item:
    """One finding that is due."""

    #: name of the work
    work: str
    finding: Finding
    entry: Entry
    event: Event


def digest(service: Service, items: Sequence[Item], id: str) -> Notice:
    """One notice about all of them, the worst first. `id` is that of the first one's."""
    order = sorted(items, key=lambda item: _WORST.index(item.finding.raised.severity))
    title = _title(order)
    rows = [_row(service, item) for item in order[:LISTED]]
    facts = {
        "findings": rows,
        "count": len(order),
        "head": head_of(service),
        "link": f"{service.public_url}/findings" if service.public_url else "",
    }
    checkpoint = service.log.checkpoint.decode()
    return Notice(
        id=id,
        event=items[0].event.name,
        case=items[0].finding.id,
        at=items[0].event.at,
        title=title,
        text=_text(title, facts, checkpoint),
        html=_html(title, facts, checkpoint),
        checkpoint=checkpoint,
        facts=facts,
    )


_WORST: Final = ("critical", "high", "medium", "low", "info")


def _title(items: Sequence[Item]) -> str:
    count = len(items)
    return f"{count} finding{'' if count == 1 else 's'} to look at: unusual or slight, not urgent"


def _row(service: Service, item: Item) -> dict[str, Any]:
    raised = item.finding.raised
    return {
        "finding": item.finding.id,
        "rule": raised.rule,
        "severity": raised.severity,
        "nature": raised.nature,
        "resource": raised.resource,
        "raised_at": moment.text(item.entry.header.at),
        "line": line_about(service, item.finding, item.entry, item.event),
        "summary": summary_of(service, item.entry),
    }


def _text(title: str, facts: Mapping[str, Any], checkpoint: str) -> str:
    lines = [title, ""]
    for row in facts["findings"]:
        lines += [f"- {row['line']}", *_indented(row["summary"]), f"  {row['finding']}"]
    lines += _rest(facts)
    return "\n".join([*lines, "", _how_to_look(facts), "", KEEP, "", checkpoint])


def _indented(summary: str) -> list[str]:
    return [f"  {summary}"] if summary else []


def _rest(facts: Mapping[str, Any]) -> list[str]:
    left = facts["count"] - len(facts["findings"])
    return [f"and {left} more"] if left else []


def _how_to_look(facts: Mapping[str, Any]) -> str:
    if facts["link"]:
        return f"To look, and to answer, sign in there: {facts['link']}"
    return "To look: muniment findings"


def _html(title: str, facts: Mapping[str, Any], checkpoint: str) -> str:
    items = "".join(
        f"<li>{escape(row['line'])}<br>{escape(row['summary'])}<br>{escape(row['finding'])}</li>"
        for row in facts["findings"]
    )
    rest = "".join(f"<p>{escape(each)}</p>" for each in _rest(facts))
    return (
        f"<p><b>{escape(title)}</b></p><ul>{items}</ul>{rest}<p>{escape(_how_to_look(facts))}</p>"
        f"<p>{escape(KEEP)}</p><pre>{escape(checkpoint)}</pre>"
    )
