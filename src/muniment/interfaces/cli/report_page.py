"""
The page of a report: one HTML file that needs nothing else, made from the report's JSON alone.

The same report gives the same bytes, so that a page can be checked by making it again. It runs no
script, reads well on paper, in the dark and on a phone, and every plot is a table of its numbers.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from html import escape
from typing import Any, Final

from muniment.evidence import moment
from muniment.interfaces.cli.report_style import STYLE

#: what a control came to, in words
_STATES: Final = {
    "satisfied": "no exception",
    "exceptions": "exceptions",
    "not-tested": "not tested",
}
_CHECKED: Final = {
    "text": "each row of the map was held against the text",
    "title": "rows of the map were held against titles alone, as the text could not be read",
}
#: CSP level 3: nothing is run, nothing is fetched, and no style but the page's own applies
_ALLOWED: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src"
    f" 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
_WHOLE: Final = 1000
_SMALL: Final = 10
_SECOND: Final = 1_000
_Value = Mapping[str, Any]


def came_to(control: _Value) -> str:
    """What its tests came to, in words: nothing looks tested that was so in part."""
    if control["state"] != "partly":
        return _STATES.get(control["state"], str(control["state"]))
    count = len(control["tests"])
    return f"no exception in {count - len(control['untested']):,} of {count:,} tests"


def digest_line(digest: str) -> str:
    """By this a page names the report that it shows."""
    return f'<meta name="muniment-report" content="sha256:{digest}">'


def page(value: _Value, digest: str) -> str:
    """The whole file. `digest` is the SHA-256 of `report.json`, in hex."""
    title = f"{value['framework']['title']}, {_period(value)}"
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{digest_line(digest)}\n<title>{_t(title)}</title>\n<style>{STYLE}</style>\n</head>"
    )
    parts = (
        _header(value),
        "<main>",
        _summary(value),
        _population(value),
        _figures(value["figures"]),
        _controls(value),
        _exceptions(value),
        _limits(value),
        _how_to_check(value, digest),
        "</main>",
    )
    body = "\n".join(parts)
    return f"{head}\n<body>\n{body}\n</body>\n</html>\n"


# --- what it is -------------------------------------------------------------------------------


def _header(value: _Value) -> str:
    framework = value["framework"]
    scope = f", on {_t(', '.join(value['resources']))}" if value["resources"] else ""
    return (
        f'<header>\n<p class="over">{_t(value["log"]["origin"])}</p>\n'
        f"<h1>{_t(framework['title'])}: what the evidence shows</h1>\n"
        f'<p class="lead">{_t(_period(value))}{scope}</p>\n'
        f"<p>{_t(value['statement'])}</p>\n</header>"
    )


def _summary(value: _Value) -> str:
    states = [control["state"] for control in value["controls"]]
    cells = "".join(
        f'<li class="{state}"><b>{states.count(state):,}</b> {words}</li>'
        for state, words in (
            ("exceptions", "controls with exceptions"),
            ("satisfied", "controls tested without exception"),
            ("partly", "controls tested in part, without exception"),
            ("not-tested", "controls not tested"),
        )
    )
    rows = [
        (
            f'<a href="#{_anchor(control["id"])}">{_t(control["id"])}</a>',
            _t(control["words"]),
            _badge(control),
        )
        for control in value["controls"]
    ]
    table = _table(
        "Controls, and what came of their tests",
        ("Control", "Asks", "Came to"),
        rows,
        kind="summary",
    )
    return _section("Summary", f'<ul class="tally">{cells}</ul>\n{table}')


def _population(value: _Value) -> str:
    people, log = value["population"], value["log"]
    over = "" if value["over"] else " The period was not over then: what came later is not in it."
    states = ", ".join(f"{count:,} {name}" for name, count in people["states"].items()) or "none"
    kinds = {"human": "people", "agent": "agents", "workload": "workloads"}
    by_kind = ", ".join(
        f"{count:,} by {kinds.get(name, name)}" for name, count in people["kinds"].items()
    )
    shown = f"{log['shown']:,} entries: all from entry {log['whole_from']:,} on"
    if log["hidden"]:
        shown += ", and of before those of cases that were open then"
    rows = [
        ("Requests", f"{people['requests']:,}: {_t(states)}"),
        ("Asked", _t(by_kind or "by nobody")),
        ("Grants", f"{people['grants']:,}, of them {people['emergencies']:,} in an emergency"),
        ("Findings", f"{people['findings']:,}"),
        ("Reviews of emergencies", f"{people['reviews']:,}"),
        ("Log", f"<code>{_t(log['origin'])}</code>, id <code>{_t(log['id'])}</code>"),
        ("Head", f"size {log['size']:,}, root <code>{_t(log['root'])}</code>"),
        ("Shown", shown),
        ("Not shown", f"{log['hidden']:,} older entries, but for their hashes"),
        ("As of", f"{_at(value['as_of'])}.{over}"),
    ]
    what = (
        "<p>Nothing here is a sample. Every request of the period was tested, and the excerpt of"
        " the log beside this page proves that none was left out: with what it shows and the"
        " hashes of what it does not, the signed root is computed again.</p>"
    )
    return _section("What was looked at", what + _facts(rows))


# --- figures ----------------------------------------------------------------------------------


def _figures(figures: _Value) -> str:
    removed = figures["removed"]
    were = "was" if removed["unseen"] == 1 else "were"
    unseen = f" {removed['unseen']:,} {were} never seen gone." if removed["unseen"] else ""
    plots = (
        _spread("From request to credential", figures["lead"], ""),
        _spread("How long access lasted", figures["lasted"], ""),
        _spread("From the end to being seen gone", removed, unseen),
        _found(figures["findings"]),
        _months(figures["months"]),
    )
    return _section("Figures", f'<div class="plots">{"".join(plots)}</div>')


def _spread(title: str, spread: _Value, more: str) -> str:
    said = (
        f"{spread['count']:,} in all; half within {_long(spread['median_ms'])},"
        f" 95 of 100 within {_long(spread['p95_ms'])}.{more}"
        if spread["count"]
        else f"There were none.{more}"
    )
    rows = [(bar["words"], bar["count"], "") for bar in spread["bars"]]
    return _plot(title, said, rows)


def _found(findings: Sequence[_Value]) -> str:
    before, raised, closed = (
        sum(each[what] for each in findings) for what in ("before", "raised", "closed")
    )
    rows = [
        (each["severity"], each["before"] + each["raised"], f"{each['closed']:,} closed")
        for each in findings
    ]
    said = f"{before:,} were open before, {raised:,} were raised, {closed:,} are closed."
    return _plot("Findings", said, rows)


def _months(months: Sequence[_Value]) -> str:
    rows = [(each["month"], each["grants"], f"of {each['requests']:,} requests") for each in months]
    return _plot("Grants by month", "By the month of the request.", rows)


def _plot(title: str, said: str, rows: Sequence[tuple[str, int, str]]) -> str:
    """Bars as a table: whoever does not see them reads the numbers."""
    most = max((count for _, count, _ in rows), default=0)
    lines = "".join(
        f'<tr><th scope="row">{_t(words)}</th><td class="bar">{_bar(count, most)}</td>'
        f'<td class="n">{count:,}{_small(more)}</td></tr>'
        for words, count, more in rows
    )
    return (
        f'<div class="plot"><h3>{_t(title)}</h3><p>{_t(said)}</p>'
        f'<table class="bars"><caption>{_t(title)}, by count</caption>'
        '<thead><tr><th scope="col">Which</th><th scope="col">Share</th>'
        f'<th scope="col">Count</th></tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _bar(count: int, most: int) -> str:
    thousandth = _WHOLE * count // most if most else 0
    # as long as there is one, something is to be seen of it
    share = max(thousandth, _SMALL) if count else 0
    return (
        '<svg aria-hidden="true" focusable="false" width="100%" height="14">'
        f'<rect width="{share // 10}.{share % 10}%" height="14" rx="2"/></svg>'
    )


def _small(words: str) -> str:
    return f" <small>{_t(words)}</small>" if words else ""


# --- controls ---------------------------------------------------------------------------------


def _controls(value: _Value) -> str:
    tests = {test["id"]: test for test in value["tests"]}
    return _section(
        "Controls",
        "".join(_control(control, tests) for control in value["controls"]),
    )


def _control(control: _Value, tests: Mapping[str, _Value]) -> str:
    rows = [_test_row(tests[id_]) for id_ in control["tests"]]
    head = ("Test", "Tested", "Passed", "Exceptions")
    table = (
        _table(f"Tests that speak to {control['id']}", head, rows, numbers=3)
        if rows
        else "<p>No test of ours speaks to it.</p>"
    )
    untested, count = len(control["untested"]), len(control["tests"])
    left = (
        f"<p>{untested:,} of {count:,} tests had nothing to test: of that it says nothing.</p>"
        if untested
        else ""
    )
    return (
        f'<article id="{_anchor(control["id"])}"><h3>{_t(control["id"])} '
        f"{_badge(control)}</h3><p>{_t(_sentence(control['words']))}"
        f" <small>{_t(control['where'])}</small></p>"
        f"<dl><dt>The evidence covers</dt><dd>{_t(control['covers'])}</dd>"
        f"<dt>It cannot show</dt><dd>{_t(control['cannot'])}</dd></dl>{table}{left}</article>"
    )


def _test_row(test: _Value) -> tuple[str, ...]:
    skipped = test["not_applicable"]
    more = f"; {skipped:,} to which it does not apply" if skipped else ""
    why = f"<br>Not tested: {_t(test['because'])}" if test["because"] else ""
    name = f"{_t(test['title'])}<br><small>{_t(test['counts'])}{more}</small>{why}"
    if test["exceptions"]:
        name = f'{name}<span class="to"><br><a href="#{_anchor(test["id"])}">Exceptions</a></span>'
    return name, f"{test['tested']:,}", f"{test['passed']:,}", f"{test['exceptions']:,}"


def _exceptions(value: _Value) -> str:
    failed = [test for test in value["tests"] if test["exceptions"]]
    if not failed:
        return _section("Exceptions", "<p>No test had one.</p>")
    return _section("Exceptions", "".join(_failed(test, value["attached"]) for test in failed))


def _failed(test: _Value, attached: _Value) -> str:
    rows = [(_about(fault["about"], attached), _t(fault["why"])) for fault in test["faults"]]
    left = test["exceptions"] - len(rows)
    more = f"<p>{left:,} more are counted, and not listed.</p>" if left else ""
    table = _table(f"Exceptions of: {test['title']}", ("About", "Why"), rows, kind="faults")
    return (
        f'<article id="{_anchor(test["id"])}"><h3>{_t(test["title"])}</h3>'
        f"<p>{test['exceptions']:,} of {test['tested']:,} {_t(test['counts'])}</p>"
        f"{table}{more}</article>"
    )


def _about(about: str, attached: _Value) -> str:
    name = f"bundles/{about}.json"
    if name in attached:
        return f'<a href="{_t(name)}"><code>{_t(about)}</code></a>'
    return f"<code>{_t(about)}</code>"


# --- what it is worth -------------------------------------------------------------------------


def _limits(value: _Value) -> str:
    framework = value["framework"]
    missing = value["documents_missing"]
    rows = (
        "That everything that happened was recorded: compare the targets' own logs.",
        "That a control is met. Tests say what was found, over what this log holds.",
        "Anything about people by name: the log knows pseudonyms, and so does this report.",
        _source(framework),
        f"{missing:,} documents that records name are not attached." if missing else "",
    )
    items = "".join(f"<li>{_t(row)}</li>" for row in rows if row)
    return _section("What it does not show", f"<ul>{items}</ul>")


def _source(framework: _Value) -> str:
    return (
        f"The text of {framework['publication']} ({framework['publisher']}) is not here; what its"
        f" controls ask is said in our own words, and {_CHECKED[framework['checked']]}"
        f" ({framework['against']})."
    )


def _how_to_check(value: _Value, digest: str) -> str:
    rows = [
        ("Offline", "<code>muniment report --check FOLDER --log-key KEY</code>"),
        ("KEY", "the log's public key, from somebody you trust; not from this folder"),
        ("report.json", f"<code>sha256:{_t(digest)}</code>"),
        ("control_map.toml", f"<code>sha256:{_t(value['map'])}</code>"),
        ("Made by", f"muniment {_t(value['program'])}"),
    ]
    what = (
        "<p>All numbers come from <code>log.excerpt.gz</code>. The check reads it, computes the"
        " root of the log and every number again, and makes this page anew.</p>"
    )
    return _section("How to check this", what + _facts(rows))


# --- pieces -----------------------------------------------------------------------------------


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_t(title)}</h2>\n{body}\n</section>"


def _table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: int = 0,
    kind: str = "tests",
) -> str:
    """Cells are HTML; the last `numbers` columns hold numbers."""
    first = len(head) - numbers

    def cells(row: Sequence[str], tag: str) -> Iterator[str]:
        for place, cell in enumerate(row):
            scope = ' scope="col"' if tag == "th" else ""
            name = ' class="n"' if place >= first else ' class="id"' if not place else ""
            yield f"<{tag}{scope}{name}>{cell}</{tag}>"

    top = "".join(cells([_t(cell) for cell in head], "th"))
    body = "".join(f"<tr>{''.join(cells(row, 'td'))}</tr>\n" for row in rows)
    return (
        f'<table class="{kind}"><caption>{_t(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<dt>{_t(name)}</dt><dd>{text}</dd>" for name, text in rows)
    return f'<dl class="facts">{body}</dl>'


def _badge(control: _Value) -> str:
    return f'<span class="badge {_t(control["state"])}">{_t(came_to(control))}</span>'


def _anchor(id_: str) -> str:
    return "c-" + "".join(each if each.isalnum() else "-" for each in id_)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _period(value: _Value) -> str:
    """From its first day to its last."""
    last = moment.parse(value["period"]["to"]) - timedelta(days=1)
    return f"{value['period']['from'][:10]} to {last:%Y-%m-%d} (UTC)"


def _at(at: str) -> str:
    return _t(f"{at[:19].replace('T', ' ')} UTC")


def _long(ms: int) -> str:
    if _SECOND <= ms < _SMALL * _SECOND:
        return f"{ms // _SECOND}.{ms % _SECOND // 100} s"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms} ms"


def _t(text: object) -> str:
    """Whatever stands in a report was written by somebody."""
    return escape(str(text), quote=True)
