"""
What people see: names for ids, lengths and moments in words, and rules with their place.

Lines are made here and printed by the commands. Colours go through `paint`; click takes them away
where the output is no terminal. Text that somebody typed goes through `clean` first: it must not
reach into the reader's terminal.
"""

import json
import os
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from muniment.access.window import seconds, text
from muniment.errors import Malformed

Json = Mapping[str, Any]
Names = Mapping[str, str | None]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_PRINCIPAL = re.compile(r"prn_[a-z2-7]{26}")
_SECONDS = re.compile(r"\b(\d+) s\b")
#: from how many seconds on a distance is rounded to how many
_ROUNDING = ((2 * 86_400, 3_600), (120, 60), (0, 1))
_COLOURS = {
    "pending": "yellow",
    "approved": "cyan",
    "authorized": "green",
    "issued": "green",
    "denied": "red",
    "refused": "red",
}
#: why a credential was not handed out, or an end could not be seen, in words
_TROUBLES = {
    "timeout": "the target took too long",
    "late": "the order reached the target after its deadline",
    "witnesses-missing": "too few witnesses have cosigned it",
    "target-unavailable": "the target did not answer",
    "still-there": "something of the grant is still there",
    "blind": "the look could not see everything",
    "other-target": "another target answered",
    "other-endpoints": "other endpoints answered",
}


def _length(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    if value is None:  # click takes a default of None for a value
        raise click.MissingParameter(ctx=ctx, param=param)
    try:
        return seconds(value)
    except Malformed as error:
        raise click.BadParameter(str(error)) from error


def length_option(
    name: str, variable: str, default: str | None, help: str | None = None
) -> Callable[[Any], Any]:
    """A length of time as people write it; the command gets seconds."""
    return click.option(
        name,
        variable,
        callback=_length,
        default=default,
        required=default is None,
        show_default=True,
        metavar="TIME",
        help=help or "How long, as in 90s, 30m or 1h30m.",
    )


def beginning(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Of a case id, where one was given."""
    if value is None:
        return None
    if re.fullmatch(r"[A-Za-z0-9]{1,8}_[A-Za-z2-7]{0,26}", value) is None:
        raise click.BadParameter(
            f"`{value}` is no beginning of a case id: they look like `mun_6roj4fts…`"
        )
    return value.lower()


#: any unique beginning of a case id
case_argument = click.argument("case", callback=beginning)


def show(answer: Json, lines: Iterable[str], *, as_json: bool) -> None:
    """One JSON object for programs, or lines for people."""
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    for line in lines:
        click.echo(line)


# --- words ----------------------------------------------------------------------------------------


def paint(words: str, colour: str | None = None, **style: Any) -> str:
    """Coloured, unless the reader asked for none (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or (colour is None and not style)
    return words if plain else click.style(words, fg=colour, **style)


def faint(words: str) -> str:
    return paint(words, "bright_black")


def clean(typed: str) -> str:
    """Typed text without what would steer a terminal: control and formatting characters."""
    kept = (c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "�" for c in typed)
    return "".join(" " if c in "\n\t" else k for c, k in zip(typed, kept, strict=True)).strip()


def short(case: str) -> str:
    """Enough of a case id to tell it from others; commands take it."""
    prefix, _, rest = case.partition("_")
    return f"{prefix}_{rest[:8]}"


def who(names: Names, principal: str | None) -> str:
    if principal == "service":
        return "muniment"
    login = names.get(principal or "")
    return clean(login) if login else f"{(principal or 'unknown')[:12]}…"


def people(names: Names, principals: Iterable[str]) -> str:
    return ", ".join(sorted(who(names, each) for each in principals))


def sentence(names: Names, words: str) -> str:
    """One of the policy's own sentences, with logins for ids and lengths as people write them."""
    named = _PRINCIPAL.sub(lambda found: who(names, found[0]), words)
    named = named.replace(" may not breakGlass", " may not break glass")
    return clean(_SECONDS.sub(lambda found: text(int(found[1])), named))


def groups(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {group}" for group, count in sorted(counts.items()))


def moment(at: str | None, now: datetime) -> str:
    """`14:02 UTC`, with its day where that is not today, and its year where not this one."""
    if at is None:
        return ""
    then = datetime.fromisoformat(at)
    year = "" if then.year == now.year else f"{then.year} "
    day = "" if then.date() == now.date() else f"{then:%d %b} {year}"
    return f"{day}{then:%H:%M} UTC"


def distance(at: str, now: datetime) -> str:
    """`in 12m`, `3h20m ago`: to the minute, and to the hour for what is days away."""
    away = (datetime.fromisoformat(at) - now).total_seconds()
    unit = next(unit for limit, unit in _ROUNDING if abs(away) >= limit)
    rounded = text(round(abs(away) / unit) * unit)
    return f"in {rounded}" if away >= 0 else f"{rounded} ago"


def until(at: str, now: datetime) -> str:
    return f"{moment(at, now)} ({distance(at, now)})"


def state(word: str) -> str:
    return paint(word, _COLOURS.get(word))


def wanted(case: Json) -> str:
    """What a case asks for: `readwrite on my-database`."""
    where = f" ({case['environment']})" if case.get("environment") else ""
    return f"{case['role']} on {case['resource']}{where}"


# --- shapes ---------------------------------------------------------------------------------------


def width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 100)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns; the colour of a cell does not count."""
    plain = [[click.unstyle(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*plain, strict=True)]
    for bare, row in zip(plain, (map(faint, head), *rows), strict=True):
        gaps = [" " * (w - len(cell)) for w, cell in zip(widths, bare, strict=True)]
        yield "  ".join(c + gap for c, gap in zip(row, gaps, strict=True)).rstrip()


def fields(pairs: Iterable[tuple[str, str]], indent: int = 2) -> Iterator[str]:
    """Labels and what they say, one below the other; what says nothing is left out."""
    told = [(label, words) for label, words in pairs if words]
    size = max((len(label) for label, _ in told), default=0)
    for label, words in told:
        first, *more = wrapped(words, indent + size + 2)
        yield f"{' ' * indent}{faint(label)}{' ' * (size - len(label))}  {first}"
        yield from (" " * (indent + size + 2) + line for line in more)


def wrapped(words: str, indent: int) -> list[str]:
    """Coloured text is left on its line: it is short."""
    room = max(width() - indent, 30)
    if "\x1b" in words or len(words) <= room:
        return [words]
    return textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False) or [""]


def hanging(words: str, indent: int) -> Iterator[str]:
    first, *more = wrapped(words, indent + 2)
    yield f"{' ' * indent}{first}"
    yield from (f"{' ' * indent}  {part}" for part in more)


# --- decisions ------------------------------------------------------------------------------------


def decisive(decision: Json) -> list[Json]:
    """The rules that a decision's own sentences name; all of them if they name none."""
    why = " ".join(decision["why"])
    named = [r for r in decision["rules"] if re.search(rf"{re.escape(r['id'])}(?![\w.-])", why)]
    return named if named or decision["outcome"] == "deny" else list(decision["rules"])


def place(rule: Json) -> str:
    """Where to read it: `policies/20-forbid.cedar:12`; the product's invariants are code."""
    return f"{rule['file']}:{rule['line']}" if rule["line"] else "built into Muniment"


def rule_rows(rules: Iterable[Json], indent: int) -> Iterator[str]:
    """One line a rule: its id, its place and its title."""
    told = [(rule["id"], place(rule), clean(rule["title"])) for rule in rules]
    ids = max((len(id) for id, _, _ in told), default=0)
    places = max((len(where) for _, where, _ in told), default=0)
    for id, where, title in told:
        line = f"{' ' * indent}{id:<{ids}}  {where:<{places}}  "
        if len(line) + len(title) <= width():
            yield line + title
        else:
            yield line.rstrip()
            yield from (" " * (indent + 2) + part for part in wrapped(title, indent + 2))


def denial(decision: Json, names: Names) -> Iterator[str]:
    """Which rule said no, in its title's words, where it stands, and its text."""
    rules = decisive(decision)
    for words in decision["why"]:
        yield from hanging(sentence(names, words), 2)
    for rule in rules:
        yield ""
        yield f"  {paint(rule['id'], bold=True)}  {place(rule)}"
        yield from (f"    {faint(line)}" for line in _body(rule["text"]) if rule["line"])


def _body(text: str) -> Iterator[str]:
    """A rule's text without the annotations that were shown already."""
    for line in text.splitlines():
        if not line.startswith(("@id(", "@title(")):
            yield clean(line) if not line.startswith(" ") else f"  {clean(line)}"


# --- a case and its timeline ----------------------------------------------------------------------


def case_lines(
    case: Json, now: datetime, besides: Sequence[tuple[str, list[str]]] = ()
) -> Iterator[str]:
    """
    What a case is now, and everything that was recorded of it.

    `besides` are lines of what else happened, each under its moment.
    """
    names = case["names"]
    yield paint(case["case"], bold=True)
    yield from fields(_facts(case, names, now))
    yield ""
    day, marks = "", "# is the entry in the log"
    if any("~" in lines[0] for _, lines in besides):
        marks += ", ~ the one that proves a line of a source"
    recorded = [(line["at"], list(_record_lines(line, names))) for line in case["timeline"]]
    for at, lines in sorted([*recorded, *besides], key=lambda dated: dated[0]):
        if at[:10] != day:
            day = at[:10]
            yield faint(f"  {day}, times are UTC; {marks}")
        yield from lines
    yield ""
    yield faint(f"with all proofs: muniment evidence export {short(case['case'])} -o FILE")


def _facts(case: Json, names: Names, now: datetime) -> Iterator[tuple[str, str]]:
    first = case["timeline"][0]
    yield "state", standing(case, now)
    yield "asked", f"{who(names, case['requester'])}: {wanted(case)} for {text(case['seconds'])}"
    sponsor = first["record"]["actor"]["sponsor"]
    yield "acts for", who(names, sponsor) if sponsor else ""
    yield from reason_fields(first["sections"].get("reason"))
    if case["emergency"]:
        marked = "still to be reviewed" if case["marked"] else "reviewed"
        yield "emergency", paint(f"broke glass, {marked}", "red" if case["marked"] else None)
    yield "approved", people(names, case["approved_by"])
    if case["starts"] and case["until"]:
        yield "window", f"{moment(case['starts'], now)} to {moment(case['until'], now)}"
    if case["could_approve"]:
        yield "can approve", people(names, case["could_approve"])
    if case["review"]:
        yield "review", case["review"]


def standing(case: Json, now: datetime) -> str:
    """The state of a case in one line."""
    word = state(case["state"])
    if case["state"] == "pending":
        return f"{word}, waits for {groups(case['waits_for'])}{_by(case['deadline'], now)}"
    if case["state"] == "approved":
        return f"{word}, to be picked up{_by(case['deadline'], now)}"
    if case["state"] in ("issued", "authorized") and case["until"]:
        more = f"; an extension waits for {groups(case['waits_for'])}" if case["waits_for"] else ""
        return f"{word} until {until(case['until'], now)}{more}"
    return word + {
        "verified": ", access seen gone",
        "open": paint(", access not yet seen gone", "red"),
        "unverified": paint(", access could not be seen gone; Muniment keeps trying", "red"),
    }.get(case["removal"], "")


def _by(deadline: str | None, now: datetime) -> str:
    return f" by {until(deadline, now)}" if deadline else ""


def reason_fields(reason: Json | None) -> Iterator[tuple[str, str]]:
    if reason is None:
        return
    if "erased" in reason:
        yield "reason", f"ERASED under rule {reason['erased']}"
        return
    yield "reason", clean(reason["text"])
    typed = [f"{name} {clean(reason[name])}" for name in ("ticket", "incident") if reason[name]]
    yield "claims", f"{', '.join(typed)} (typed, not looked up)" if typed else ""


def _record_lines(line: Json, names: Names) -> Iterator[str]:
    record, at = line["record"], line["at"][11:23]
    actor = record["actor"]
    by = who(names, actor["principal"])
    if actor["principal"] != "service":
        by += f" ({actor['assurance']})"
    late = f", observed {line['observed'][11:23]}" if line["observed"] else ""
    number, kind = faint(f"#{line['index']:<5}"), _tinted(line["kind"])
    yield f"  {number} {at}  {kind}  {by}{late}"
    for words in _DETAILS.get(line["kind"], _nothing)(record, line["sections"], names):
        yield from hanging(words, 24)


def _tinted(kind: str) -> str:
    colours = {
        "approval:given": "green",
        "approval:refused": "red",
        "credential:issued": "green",
        "credential:failed": "red",
        "removal:verified": "green",
        "removal:unverified": "red",
    }
    return paint(f"{kind:<19}", colours.get(kind))


_Details = Callable[[Json, Json, Names], Iterator[str]]


def _nothing(_record: Json, _sections: Json, _names: Names) -> Iterator[str]:
    yield from ()


def _asked(record: Json, sections: Json, _names: Names) -> Iterator[str]:
    if "role" in record:
        glass = ", in an emergency" if record["emergency"] else ""
        yield f"{record['role']} on {record['resource']} for {text(record['seconds'])}{glass}"
    else:
        yield f"{text(record['seconds'])} in all, from the start of the window"
    for _, words in reason_fields(sections.get("reason")):
        if words:
            yield words


def _decided(record: Json, sections: Json, names: Names) -> Iterator[str]:
    yield f"{record['question']}: {outcome(record)}"
    decision = sections.get("decision") or {}
    if "erased" in decision:
        yield f"ERASED under rule {decision['erased']}"
        return
    if record["outcome"] == "deny":
        yield from (sentence(names, words) for words in decision.get("why", ()))
    rules = decisive(decision) if decision else []
    size = max((len(rule["id"]) for rule in rules), default=0)
    yield from (f"{rule['id']:<{size}}  {place(rule)}" for rule in rules)


def outcome(decision: Json) -> str:
    """A decision's outcome with what it demands."""
    longest = f", at most {text(decision['max_seconds'])}" if decision["max_seconds"] else ""
    return {
        "deny": "denied",
        "permit": "permitted",
        "auto_approve": f"no approval needed{longest}",
        "needs_approvals": f"needs {groups(decision['approvals'])}{longest}",
        "break_glass": f"glass may be broken{longest}",
    }[decision["outcome"]]


def _approved(record: Json, sections: Json, names: Names) -> Iterator[str]:
    yield f"for {', '.join(record['groups'])}"
    yield from _note(record, sections, names)


def _note(_record: Json, sections: Json, _names: Names) -> Iterator[str]:
    note = sections.get("note")
    if note is not None:
        yield f"ERASED under rule {note['erased']}" if "erased" in note else clean(note["text"])


def _window(record: Json, _sections: Json, _names: Names) -> Iterator[str]:
    yield f"until {record['until'][11:23]}"


def _issued(record: Json, _sections: Json, _names: Names) -> Iterator[str]:
    yield f"account {record['account']}"
    yield f"on {record['target']}"


def _verified(record: Json, _sections: Json, _names: Names) -> Iterator[str]:
    yield (
        f"{counted(record['accounts_removed'], 'account')} removed, "
        f"{counted(record['sessions_killed'], 'session')} ended; "
        f"seen gone {record['lag_ms']} ms after the end"
    )
    yield f"looked at {', '.join(view['endpoint'] for view in record['endpoints'])}"


def _trouble(record: Json, _sections: Json, _names: Names) -> Iterator[str]:
    reason: str = record["reason"]
    yield _TROUBLES.get(reason, reason)


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_DETAILS: Mapping[str, _Details] = {
    "access:requested": _asked,
    "extension:requested": _asked,
    "decision:evaluated": _decided,
    "approval:given": _approved,
    "approval:refused": _note,
    "grant:authorized": _window,
    "grant:extended": _window,
    "grant:revoked": _note,
    "credential:issued": _issued,
    "credential:failed": _trouble,
    "removal:verified": _verified,
    "removal:unverified": _trouble,
}
