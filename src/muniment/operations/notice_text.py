"""
What a notice says. It may be read by anybody on its way: nothing in it decides or opens anything.

Words of others (names, reasons) are one line of bounded length each, without control characters,
and set off from ours: they cannot add a header, a line or an instruction that looks like us.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from muniment.access import records, window
from muniment.access.campaign import Campaign
from muniment.access.case import AccessCase
from muniment.access.finding import Finding
from muniment.access.terms import short_code
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations.explain import reason
from muniment.operations.owed import Event, Told
from muniment.operations.service import Service, record_of
from muniment.ports import Notice

MAX_WORDS: Final = 500
MAX_NAME: Final = 80
NOBODY: Final = "somebody whose identity was erased"
_PRINCIPAL = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)
KEEP: Final = "The log as it stands. Keep this: a log that was rewritten later contradicts it."


def one_line(text: str, most: int = MAX_NAME) -> str:
    """Printable, on one line, and at most so long: no line ends, controls or marks of direction."""
    plain = "".join(
        " " if unicodedata.category(each) in ("Cc", "Zl", "Zp") else each
        for each in text[: 4 * most]
        if unicodedata.category(each) not in ("Cf", "Cs", "Co", "Cn")
    )
    line = " ".join(plain.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def notice(
    service: Service,
    case: Told,
    entry: Entry,
    event: Event,
    id: str,
    others: Sequence[str] = (),
) -> Notice:
    """What there is to say of a record; `others` are lines about what else waits to be told."""
    title = line_about(service, case, entry, event)
    if isinstance(case, Finding):
        facts = _facts_of_finding(service, case, entry, event)
    elif isinstance(case, Campaign):
        facts = _facts_of_review(service, case, event)
    else:
        facts = _facts(service, case, entry, event)
    checkpoint = service.log.checkpoint.decode()
    return Notice(
        id=id,
        event=event.name,
        case=case.id,
        at=entry.header.at,
        title=title,
        text=_text(title, facts, others, checkpoint),
        html=_html(title, facts, others, checkpoint),
        checkpoint=checkpoint,
        facts=facts,
    )


def line_about(service: Service, case: Told, entry: Entry, event: Event) -> str:
    """One line: what happened."""
    if isinstance(case, Campaign):
        return _line_about_review(case, entry)
    if not isinstance(case, Finding):
        return _line_about_case(service, case, entry, event)
    raised = case.raised
    where = f" on {raised.resource}" if raised.resource else ""
    ends = "; access ends for it" if case.ends else ""
    title = one_line(str(_rule(service, case)["title"]), 200)
    return f"finding ({raised.severity}): {title}{where}{ends}"


def _line_about_case(service: Service, case: AccessCase, entry: Entry, event: Event) -> str:
    asked = case.requested
    what = one_line(f"{asked.role} on {asked.resource}", 200)
    who = name_of(service, asked.requester)
    match event.name:
        case "waiting":
            return f"{who} asks for {what}"
        case "decided":
            return f"{_how_decided(entry)}: {what}"
        case "ending":
            return f"{what} ends at {_clock(case.until)}"
        case "ended":
            return f"{what} was taken away"
        case "break-glass":
            return f"{who} broke glass for {what}"
        case _:
            return f"{who} was given {what}"


def _how_decided(entry: Entry) -> str:
    match record_of(entry):
        case records.ApprovalGiven():
            return "approved"
        case records.ApprovalRefused():
            return "refused"
        case records.AccessLapsed(reason=reason) if reason:
            return "lapsed, as what it rested on is over"
        case _:
            return "lapsed, as nobody approved or picked up in time"


def name_of(service: Service, principal: str) -> str:
    """For people to read; whoever that was, if his identity is gone."""
    identity = service.identity(principal)
    if identity is None:
        return NOBODY
    login, name = one_line(str(identity["login"])), one_line(str(identity.get("name", "")))
    return f"{name} ({login})" if name and name != login else login


def _facts(service: Service, case: AccessCase, entry: Entry, event: Event) -> dict[str, Any]:
    """What whoever is told has to see, as JSON."""
    asked, ask = case.requested, case.current
    why = reason(service, case.id) or {}
    return {
        "case": case.id,
        "record": event.about,
        "state": case.state,
        "requester": asked.requester,
        "who": name_of(service, asked.requester),
        "sponsor": asked.actor.sponsor,
        "for_whom": name_of(service, asked.actor.sponsor) if asked.actor.sponsor else "",
        "resource": asked.resource,
        "role": asked.role,
        "environment": asked.environment,
        "seconds": ask.seconds,
        "until": None if case.until is None else moment.text(case.until),
        "emergency": asked.emergency,
        "reason": one_line(why.get("text", ""), MAX_WORDS),
        "ticket": one_line(why.get("ticket", "")),
        "incident": one_line(why.get("incident", "")),
        "by": name_of(service, record_of(entry).actor.principal) if _by_person(entry) else "",
        "because": str(getattr(record_of(entry), "reason", "")).replace("-", " "),
        "rules": list(_rules(service, case)),
        "terms": ask.terms.hex(),
        "code": short_code(ask.terms),
        "head": head_of(service),
        "link": f"{service.public_url}/approve/{case.id}" if service.public_url else "",
    }


def head_of(service: Service) -> dict[str, Any]:
    head = service.log.keys.recognise(service.log.checkpoint)
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def _by_person(entry: Entry) -> bool:
    deciding = (records.ApprovalGiven, records.ApprovalRefused, records.GrantRevoked)
    record = record_of(entry)
    return isinstance(record, deciding) and record.actor.type != "service"


def _rules(service: Service, case: AccessCase) -> Sequence[str]:
    """Those that decided last what is demanded."""
    decisions = [
        record
        for entry in service.log.read_case(case.id)
        if isinstance(record := record_of(entry), records.DecisionEvaluated)
        and record.question != "approve"
    ]
    return decisions[-1].rules if decisions else ()


# --- of a finding -----------------------------------------------------------------------------


def _rule(service: Service, finding: Finding) -> dict[str, Any]:
    rule: dict[str, Any] = json.loads(service.document(finding.raised.definition))
    return rule


def _facts_of_finding(
    service: Service, finding: Finding, entry: Entry, event: Event
) -> dict[str, Any]:
    """Without what a target says: that is for whoever signs in."""
    raised, rule = finding.raised, _rule(service, finding)
    return {
        "finding": finding.id,
        "record": event.about,
        "state": finding.state,
        "rule": raised.rule,
        "title": rule["title"],
        "advice": rule["advice"],
        "severity": raised.severity,
        "nature": raised.nature,
        "resource": raised.resource,
        "summary": summary_of(service, entry),
        "about": list(finding.about),
        "ends": list(finding.ends),
        "count": finding.count,
        "head": head_of(service),
        "link": f"{service.public_url}/findings/{finding.id}" if service.public_url else "",
    }


def summary_of(service: Service, entry: Entry) -> str:
    """What a record of a finding says, with names for ids; empty where that was erased."""
    said = service.section(entry, "detail") if "detail" in entry.header.sections else None
    return _with_names(service, str((said or {}).get("summary", "")))


def _with_names(service: Service, summary: str) -> str:
    line = one_line(summary, MAX_WORDS)
    return one_line(_PRINCIPAL.sub(lambda found: _known(service, found[0]), line), MAX_WORDS)


def _known(service: Service, principal: str) -> str:
    return name_of(service, principal) if principal in service.registry.principals else principal


def _rows_of_finding(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (
        ("what", facts["summary"]),
        ("severity", facts["severity"]),
        ("where", facts["resource"]),
        ("cases", ", ".join(facts["about"])),
        ("ends access of", ", ".join(facts["ends"])),
        ("what to do", facts["advice"]),
        ("rule", facts["rule"]),
        ("finding", facts["finding"]),
    )


# --- of a review of access --------------------------------------------------------------------


def _line_about_review(campaign: Campaign, entry: Entry) -> str:
    opened, record = campaign.opened, record_of(entry)
    if isinstance(record, records.ReviewEscalated):
        return (
            f"review {opened.rule}: {record.share} % of the time is over, {record.open} items wait"
        )
    return f"review {opened.rule}: {opened.items} items to look at by {opened.due:%Y-%m-%d}"


def _facts_of_review(service: Service, campaign: Campaign, event: Event) -> dict[str, Any]:
    opened = campaign.opened
    return {
        "review": campaign.id,
        "record": event.about,
        "state": campaign.state,
        "rule": opened.rule,
        "items": opened.items,
        "due": moment.text(opened.due),
        "silence": opened.silence,
        "head": head_of(service),
        "link": f"{service.public_url}/reviews/{campaign.id}" if service.public_url else "",
    }


def _rows_of_review(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    taken = "what nobody looked at is taken away" if facts["silence"] == "revoke" else ""
    return (
        ("items", str(facts["items"])),
        ("due", facts["due"]),
        ("then", taken),
        ("review", facts["review"]),
    )


# --- as text and as HTML ----------------------------------------------------------------------


def _rows(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    head = facts["head"]
    rows = (
        *_own_rows(facts),
        ("log", f"{head['origin']}, size {head['size']}, root {head['root'][:16]}\u2026"),
    )
    return ((label, one_line(value, MAX_WORDS + 2)) for label, value in rows if value)


def _own_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if "review" in facts:
        return _rows_of_review(facts)
    return _rows_of_finding(facts) if "finding" in facts else _rows_of_case(facts)


def _rows_of_case(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (
        ("who", facts["who"]),
        ("on behalf of", facts["for_whom"]),
        ("asks for", f"{facts['role']} on {facts['resource']} ({facts['environment']})"),
        ("how long", window.text(facts["seconds"])),
        ("ends", facts["until"] or ""),
        ("reason", f"\u201c{facts['reason']}\u201d" if facts["reason"] else ""),
        ("ticket", facts["ticket"]),
        ("incident", facts["incident"]),
        ("by", facts["by"]),
        ("because", facts["because"]),
        ("rule", ", ".join(facts["rules"])),
        ("case", facts["case"]),
        ("code of the terms", facts["code"]),
    )


def _how_to_look(facts: Mapping[str, Any]) -> str:
    if facts["link"]:
        return "To look, and to act, sign in there. Opening it decides nothing:"
    if "review" in facts:
        return f"To look: muniment reviews show {facts['review']} --mine"
    if "finding" in facts:
        return f"To look: muniment findings show {facts['finding']}"
    return f"To look: muniment show {facts['case']}"


def _text(title: str, facts: Mapping[str, Any], others: Sequence[str], checkpoint: str) -> str:
    lines = [title, "", *(f"{label + ':':19}{value}" for label, value in _rows(facts)), ""]
    lines += [_how_to_look(facts), *([facts["link"]] if facts["link"] else []), ""]
    if others:
        lines += [_more(others), *(f"- {line}" for line in others), ""]
    return "\n".join([*lines, KEEP, "", checkpoint])


def _html(title: str, facts: Mapping[str, Any], others: Sequence[str], checkpoint: str) -> str:
    rows = "".join(
        f"<tr><th align=left>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in _rows(facts)
    )
    link = escape(facts["link"])
    parts = [
        f"<p><b>{escape(title)}</b></p><table>{rows}</table>",
        f"<p>{escape(_how_to_look(facts))}</p>",
        f'<p><a href="{link}">{link}</a></p>' if link else "",
    ]
    if others:
        items = "".join(f"<li>{escape(line)}</li>" for line in others)
        parts.append(f"<p>{escape(_more(others))}</p><ul>{items}</ul>")
    return "".join([*parts, f"<p>{escape(KEEP)}</p><pre>{escape(checkpoint)}</pre>"])


def _more(others: Sequence[str]) -> str:
    return f"{len(others)} more, which came too fast for a notice each:"


def _clock(at: datetime | None) -> str:
    return "" if at is None else f"{at:%H:%M} UTC"
