"""What sources say of a grant, as lines for a terminal: between its records, by time."""

from collections.abc import Iterator
from typing import Any, Final

from muniment.interfaces.cli.screen import clean, faint, hanging, paint, short

Json = dict[str, Any]
#: when it was, and what is printed of it
Dated = tuple[str, list[str]]

#: where an event stands to its grant, in words
_STANDING: Final = {
    "early": "before the window of its grant",
    "late": "after its grant was over",
    "elsewhere": "with the key of a grant for another resource",
    "unknown": "with the id of a grant that the log does not have",
    "nobody": "under nobody's grant",
}
#: columns before what hangs below a line
_INDENT: Final = 24


def between(observed: Json | None) -> list[Dated]:
    """What happened, for the timeline of a case."""
    if observed is None:
        return []
    lines = [each for session in observed["sessions"] for each in _of_session(session)]
    lines += [_around(each) for each in observed["around"]]
    lines += [_finding(each) for each in observed["findings"]]
    return sorted(lines, key=lambda dated: dated[0])


def _of_session(session: Json) -> Iterator[Dated]:
    for line in session["lines"]:
        if not line.get("erased"):
            yield line["at"], list(_event(session, line))
    left = session["events"] - len(session["lines"])
    if left > 0:
        yield session["last"], [f"  {_proof(None)} … and {left:,} more events of this session"]


def _event(session: Json, line: Json) -> Iterator[str]:
    who = faint(f"{clean(session['account']) or 'no account'}, {clean(session['source'])}")
    colour = "red" if line["failed"] or line["standing"] in _STANDING else "cyan"
    yield f"  {_proof(line['index'])} {line['at'][11:23]}  {_kind(line['type'], colour)}  {who}"
    said = " ".join(clean(line[name]) for name in ("action", "object") if line[name])
    if line["type"] == "session.opened":
        sure = "" if session["strength"] == "strong" else ", which is no evidence of who it was"
        place = clean(line["client"]) or "an unknown address"
        said = f"from {place}; linked by {session['reason']}{sure}"
    if line["type"] in ("statement", "elevated", "access.changed", "error") and line["detail"]:
        said = clean(line["detail"])
    if said:
        yield from hanging(said, _INDENT)
    if line["standing"] in _STANDING:
        yield from hanging(paint(_STANDING[line["standing"]], "red"), _INDENT)


def _around(line: Json) -> Dated:
    where = f", {clean(line['resource'])}" if line["resource"] else ""
    near = "" if line["near"] == "inside" else f" ({line['near']} the grant)"
    head = (
        f"  {_proof(line['index'])} {line['at'][11:23]}  {_kind(line['type'], 'yellow')}  "
        f"{faint(clean(line['source']) + where)}{near}"
    )
    return line["at"], [head, *hanging(clean(line["object"] or line["detail"]), _INDENT)]


def _finding(finding: Json) -> Dated:
    words = (
        f"{finding['rule']}, {finding['state']}: muniment findings show {short(finding['finding'])}"
    )
    head = f"  {'':<6} {finding['at'][11:23]}  {_kind('finding', 'red')}"
    return finding["at"], [head, *hanging(words, _INDENT)]


def _kind(word: str, colour: str) -> str:
    """In the column of the kinds of records."""
    return paint(f"{word:<19}", colour)


def _proof(index: int | None) -> str:
    """The entry of the log that has the commitment of an event."""
    return faint(f"{'kept' if index is None else f'~{index}':<6}")


def coverage(observed: Json | None) -> Iterator[str]:
    """What is known of what is known."""
    if observed is None:
        return
    if observed.get("cut"):
        yield faint("there are more events of this grant than are shown")
    if not observed["coverage"]:
        yield faint("no source tells what is done there: see `[sources]` in muniment.toml")
        return
    for source in observed["coverage"]:
        yield from _covered(source)


def _covered(source: Json) -> Iterator[str]:
    name = clean(source["source"])
    if source["since"] is None:
        yield paint(f"{name} tells what is done there, and nothing came from it yet", "red")
        return
    troubles = list(_troubles(source))
    since = source["since"][:19].replace("T", " ")
    words = f"{name} tells what is done there since {since} UTC"
    yield words + (faint(", without a gap") if not troubles else "")
    for trouble in troubles:
        yield from hanging(paint(trouble, "red"), 4)


def _troubles(source: Json) -> Iterator[str]:
    if not source["covers"]:
        yield "that is after this grant began: what was done before is not known"
    if source["silent"]:
        yield "it is silent now"
    for gap in source["gaps"]:
        count = "" if gap["count"] is None else f", {gap['count']:,} events"
        yield f"missed since {gap['since'][:19].replace('T', ' ')}: {_WHY[gap['why']]}{count}"
    if source["never_came"]:
        yield f"never came: {', '.join(source['never_came'])}"


_WHY: Final = {
    "cursor": "it went on elsewhere than it was left",
    "count": "it says that it sent more",
    "silence": "nothing came, not even a sign of life",
}
