"""
The pages of an archive: what its bundles say, for people, without a program and without scripts.

They are made from verified bundles alone and always the same way: so whoever has the bundles can
make them again, and see that nobody wrote anything else into them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Final

from muniment.evidence import moment
from muniment.interfaces.verifier.rows import Row
from muniment.interfaces.verifier.told import Act, Rule, Told, facts

#: rows of one page
PER_PAGE: Final = 500
#: what an archive of some resources has, beside their access cases
OF_RESOURCES: Final = (
    "Of reviews and findings it has those that name these resources: reviews of many that are of "
    "these resources alone, and findings that are about one of them. Others are not in it."
)
#: of what stands out, so many rows on the first page
MOST_WORRIES: Final = 100
STYLE: Final = "style.css"
#: whatever else somebody may have smuggled into a page does nothing
_ALLOWED: Final = "default-src 'none'; style-src 'self' file:; base-uri 'none'; form-action 'none'"

CSS: Final = """\
:root{color-scheme:light dark;--ink:#1a1c20;--paper:#fff;--faint:#5a606b;--line:#d5d9e0;
--wash:#f4f6f9;--link:#0b57a4;--warn:#8a3b00;--warnwash:#fff3e6}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--paper:#14161a;--faint:#a4abb8;
--line:#3a3f48;--wash:#1d2026;--link:#8ab8f5;--warn:#ffb37a;--warnwash:#33210f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:1.75rem 0 .5rem}
h3{font-size:1rem;margin:1rem 0 .25rem}
a{color:var(--link)}a:focus-visible{outline:3px solid;outline-offset:2px}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
pre{background:var(--wash);border:1px solid var(--line);padding:.6rem;white-space:pre-wrap;
margin:.4rem 0}
.faint{color:var(--faint)}.warn{color:var(--warn);font-weight:600}
.note{background:var(--wash);border-left:4px solid var(--line);padding:.6rem .9rem}
.note.loud{background:var(--warnwash);border-color:var(--warn)}
dl{display:grid;grid-template-columns:minmax(6rem,9rem) 1fr;gap:.25rem 1rem;margin:.5rem 0}
dt{color:var(--faint)}dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
caption{text-align:left;color:var(--faint);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;
border-bottom:1px solid var(--line)}
th,td[data-name=Opened],td[data-name=Case]{white-space:nowrap}
ol.acts{list-style:none;margin:0;padding:0}
ol.acts li{border-bottom:1px solid var(--line);padding:.5rem 0}
ol.acts p{margin:0}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.25rem 1rem}
@media(max-width:44rem){dl:not(.counts){grid-template-columns:1fr}dd{margin-bottom:.4rem}
dl.counts dd{margin:0}
table.cases thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.cases tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}
table.cases td{display:block;border:0;padding:.05rem 0}
table.cases td[data-name]::before{content:attr(data-name) ": ";color:var(--faint)}
table.cases td:empty{display:none}}
@media print{:root{--ink:#000;--paper:#fff;--faint:#444;--line:#bbb;--wash:#fff;--link:#000;
--warn:#000;--warnwash:#fff}
body{max-width:none;padding:0;font-size:10.5pt}a{text-decoration:none}nav,.screen{display:none}
tr,ol.acts li,pre{break-inside:avoid}h2,h3{break-after:avoid}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """What the first page says of the archive as a whole; all of it from the archive's bundle."""

    origin: str
    archive: str
    taken_by: str
    taken_at: str
    since: str
    until: str
    resources: tuple[str, ...]
    cases: int
    beyond: int
    size: int
    #: digest of each bundle of policies that was in force, and from when on
    policies: tuple[tuple[str, str], ...] = ()


def case_path(case: str) -> str:
    return f"pages/{case}.html"


def bundle_path(case: str) -> str:
    return f"cases/{case}.json"


def events_path(case: str) -> str:
    return f"events/{case}.json"


def list_names(count: int) -> list[str]:
    """The first page, and those that it takes for a list of so many cases."""
    return [
        "index.html",
        *(f"list-{number}.html" for number in range(1, -(-count // PER_PAGE) + 1)),
    ]


def list_pages(cover: Cover, rows: Sequence[Row]) -> Mapping[str, bytes]:
    """`index.html` with what stands out, and the whole list on as many pages as it takes."""
    parts = [rows[start : start + PER_PAGE] for start in range(0, len(rows), PER_PAGE)]
    _, *names = list_names(len(rows))
    made = {"index.html": _page("Evidence", _first(cover, rows, names), "")}
    for number, (name, part) in enumerate(zip(names, parts, strict=True), start=1):
        title = f"Cases, page {number} of {len(parts)}"
        body = [f"<h1>{title}</h1>", *_pager(names, name), *_table(part, "in the order of time")]
        made[name] = _page(title, body, "")
    return made


def case_page(told: Told, *, events: bool) -> bytes:
    """One case."""
    return _page(f"{told.what or told.kind} ({told.case})", _case(told, events=events), "../")


# --- the first page ---------------------------------------------------------------------------


def _first(cover: Cover, rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    yield f"<h1>Evidence of <code>{_text(cover.origin)}</code></h1>"
    yield f"<p>{_when(cover.since)} to {_when(cover.until)} (UTC), {_of(cover.resources)}.</p>"
    if cover.resources:
        yield f'<p class="note">{_text(OF_RESOURCES)}</p>'
    if cover.beyond:
        yield (
            f'<p class="note loud"><strong>{cover.beyond:,} more cases</strong> were opened in this'
            " period; whoever took this archive may not read them, and they are not in it.</p>"
        )
    yield (
        '<p class="note">These pages are for reading. What is proved stands in the bundles: check '
        'them with <code>muniment-verify.pyz</code>, as <a href="README.txt">README.txt</a> says.'
        " The check makes these pages again from the bundles, and tells if they differ.</p>"
    )
    yield '<h2>What is here</h2><dl class="counts">'
    yield from _pairs(_counts(cover, rows))
    yield "</dl>"
    worrying = [row for row in rows if row.worries]
    if worrying:
        yield "<h2>Look at these first</h2>"
        shown = worrying[:MOST_WORRIES]
        rest = (
            f", the first {len(shown)} of {len(worrying):,}" if len(worrying) > len(shown) else ""
        )
        yield from _table(shown, f"emergencies, what was not seen gone, and what is open{rest}")
    findings = [row for row in rows if row.kind == "finding"]
    if findings:
        yield "<h2>Findings</h2>"
        yield from _table(findings[:MOST_WORRIES], f"{len(findings):,} of this period")
    yield "<h2>All cases</h2>"
    yield from _pager(names, "")
    yield '<p><a href="cases.csv">cases.csv</a> has the same list for a spreadsheet.</p>'
    if cover.policies:
        yield "<h2>Policies in force</h2><dl>"
        yield from _pairs(
            (_when(since), f'<a href="policy/{digest[:16]}/MANIFEST"><code>{digest}</code></a>')
            for digest, since in cover.policies
        )
        yield "</dl>"


def _of(resources: Sequence[str]) -> str:
    return f"resources {_text(', '.join(resources))}" if resources else "all resources"


def _counts(cover: Cover, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    access = [row for row in rows if row.kind == "access"]
    yield "cases", f"{cover.cases:,}"
    states: dict[str, int] = {}
    for row in access:
        states[row.state] = states.get(row.state, 0) + 1
    for state in sorted(states):
        yield _text(state), f"{states[state]:,}"
    yield "emergencies", f"{sum(bool(row.emergency) for row in access):,}"
    yield "findings", f"{sum(row.kind == 'finding' for row in rows):,}"
    yield "reviews", f"{sum(row.kind == 'review' for row in rows):,}"
    yield "taken by", f"{_text(cover.taken_by)}, {_when(cover.taken_at)}"
    yield "recorded as", f"<code>{_text(cover.archive)}</code>, at log size {cover.size:,}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The second of each is markup already."""
    yield from (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs)


def _pager(names: Sequence[str], here: str) -> Iterator[str]:
    yield '<nav aria-label="Pages of the list"><ul>'
    if here:
        yield '<li><a href="index.html">First page</a></li>'
    for number, name in enumerate(names, start=1):
        current = ' aria-current="page"' if name == here else ""
        yield f'<li><a href="{name}"{current}>Cases {number}</a></li>'
    yield "</ul></nav>"


def _table(rows: Iterable[Row], caption: str) -> Iterator[str]:
    yield f'<table class="cases"><caption>{_text(caption)}</caption><thead><tr>'
    for name in ("Opened", "Case", "Who", "What", "State", "Gone"):
        yield f'<th scope="col">{name}</th>'
    yield "</tr></thead><tbody>"
    for row in rows:
        worries = "" if row.worries == row.state else row.worries
        loud = f' <span class="warn">{_text(worries)}</span>' if worries else ""
        yield (
            f'<tr><td data-name="Opened">{_when(row.opened)}</td>'
            f'<td data-name="Case"><a href="{case_path(row.case)}">{_short(row.case)}</a></td>'
            f'<td data-name="Who">{_text(row.by)}</td><td data-name="What">{_text(_what(row))}</td>'
            f'<td data-name="State">{_text(row.state)}{loud}</td>'
            f'<td data-name="Gone">{_text(row.removal.partition(",")[0])}</td></tr>'
        )
    yield "</tbody></table>"


# --- the page of a case -----------------------------------------------------------------------


def _case(told: Told, *, events: bool) -> Iterator[str]:
    yield '<nav aria-label="Where this is"><ul>'
    yield '<li><a href="../index.html">First page</a></li></ul></nav>'
    yield f"<h1>{_text(told.what or told.kind)}</h1>"
    yield f"<p><code>{_text(told.case)}</code>: {_text(told.state)}</p>"
    if told.emergency:
        loud = "In an emergency, without anybody's approval."
        yield f'<p class="note loud"><strong>{loud}</strong></p>'
    if not told.complete:
        yield '<p class="note loud">This case was still open when it was taken.</p>'
    yield "<dl>"
    yield from _pairs(_grouped((name, words) for name, words in facts(told) if words))
    yield "</dl>"
    files = [f'<a href="../{bundle_path(told.case)}">the bundle</a>']
    files += [f'<a href="../{events_path(told.case)}">its events</a>'] if events else []
    yield f'<p class="screen">Proof: {" and ".join(files)}.</p>'
    if told.rules:
        yield "<h2>Decided by</h2>"
        for rule in told.rules:
            yield from _rule(rule)
    yield '<h2>Records</h2><ol class="acts">'
    for act in told.acts:
        yield from _act(act)
    yield "</ol>"
    if told.unseen:
        yield "<h2>Not shown</h2><ul>"
        yield from (f"<li>{_text(each)}</li>" for each in told.unseen)
        yield "</ul>"


def _rule(rule: Rule) -> Iterator[str]:
    yield f"<h3>{_text(rule.title or rule.id)}</h3>"
    place = f"{_text(rule.file)}, line {rule.line}"
    yield f'<p class="faint"><code>{_text(rule.id)}</code>, {place}</p>'
    yield f"<pre>{_text(rule.text)}</pre>"


def _act(act: Act) -> Iterator[str]:
    how = "" if act.by == "muniment" else f" ({_text(act.assurance)})"
    yield (
        f"<li><p><strong>{_text(act.kind)}</strong> by {_text(act.by)}{how}</p>"
        f'<p class="faint">{moment.text(act.at)}, entry {act.index:,}, '
        f"<code>{_text(act.id)}</code></p>"
    )
    yield from (f"<p>{_text(words)}</p>" for words in act.words)
    yield "</li>"


# --- what all of them have --------------------------------------------------------------------


def _page(title: str, body: Iterable[str], up: str) -> bytes:
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">'
        f'<title>{_text(title)}</title><link rel="stylesheet" href="{up}{STYLE}"></head>'
        "<body><main>"
    )
    return "\n".join([head, *body, "</main></body></html>\n"]).encode("utf-8")


def _text(value: str) -> str:
    return escape(value, quote=True)


def _when(at: str) -> str:
    """A moment to the second: the page of the case has all of it."""
    return _text(at[:19].replace("T", " "))


def _what(row: Row) -> str:
    return f"{row.what}: {row.reason}" if row.kind == "finding" and row.reason else row.what


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What follows under the same name stands under it, a line each."""
    for name, same in groupby(pairs, key=itemgetter(0)):
        yield _text(name), "<br>".join(_text(words) for _, words in same)


def _short(case: str) -> str:
    prefix, _, rest = case.partition("_")
    return _text(f"{prefix}_{rest[:8]}")
