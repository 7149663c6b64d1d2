"""
What a verified bundle tells of its case, in plain words: for `show`, and for an auditor's pages.

Everything here is read from records and sections that verification has proved. A name is shown only
where the bundle gives the sealed section that has it; otherwise the pseudonym stands there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from muniment.access import records
from muniment.access.check import Checked
from muniment.access.window import text as length
from muniment.evidence import moment
from muniment.evidence.bundle import Erased, Withheld
from muniment.evidence.record import Sealed
from muniment.evidence.store import Entry
from muniment.interfaces.verifier.record_words import MOST, clean, one_line, words_of

Json: TypeAlias = Mapping[str, Any]
_PRINCIPAL: Final = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule of the policy, as the decision recorded it."""

    id: str
    title: str
    file: str
    line: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """One record, in words."""

    index: int
    id: str
    kind: str
    at: datetime
    by: str
    #: how whoever did it had shown who he is
    assurance: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What a source said of a session of the grant."""

    source: str
    opened: str
    closed: str
    strength: str
    standing: str
    events: int
    actions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A case as people ask for it. Empty text: there is none."""

    case: str
    #: `access`, `finding`, `review` of many items, or the first kind of another case
    kind: str
    state: str
    complete: bool
    opened: datetime
    #: by whom, or by which rule, and about what
    by: str = ""
    what: str = ""
    resource: str = ""
    reason: str = ""
    emergency: bool = False
    rules: tuple[Rule, ...] = ()
    why: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    #: window, and what became of it
    starts: str = ""
    until: str = ""
    ended: str = ""
    removal: str = ""
    sessions: tuple[Session, ...] = ()
    reviews: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    #: what exists and is not shown here
    unseen: tuple[str, ...] = ()
    #: who is behind pseudonyms, as far as the bundle gives it
    names: tuple[tuple[str, str], ...] = ()


def tell(checked: Checked) -> Told:
    """What is told of this case. Of a case of another kind: its records, one by one."""
    plain: Told = _plain(_told(checked))
    return plain


def _told(checked: Checked) -> Told:
    reader = _Reader(checked)
    common: dict[str, Any] = {
        "case": checked.proved.case_id,
        "state": checked.state,
        "complete": checked.proved.closed_at is not None,
        "opened": checked.proved.case[0].header.at,
        "acts": tuple(reader.acts()),
        "names": reader.names,
        "unseen": tuple(
            f"section `{name}` of {record}: {clean(answer)}"
            for record, name, answer in checked.unseen
        ),
    }
    if checked.case is not None:
        return Told(kind="access", **reader.access(), **common)
    if checked.finding is not None:
        return Told(kind="finding", **reader.finding(), **common)
    first = checked.proved.case[0]
    opened, who = _record(first), reader.who(_record(first).actor.principal)
    if isinstance(opened, records.CampaignOpened):
        what = f"review of {opened.items} items by the rule {opened.rule}"
        return Told(kind="review", by=who, what=what, **common)
    return Told(kind=first.header.kind, by=who, **common)


def _plain(value: Any) -> Any:
    """Every text of it in one line that steers nothing, whatever a record has for a name."""
    match value:
        case str():
            return one_line(value)
        case tuple():
            return tuple(_plain(each) for each in value)
        case Told() | Act() | Session():
            return replace(value, **{f.name: _plain(getattr(value, f.name)) for f in fields(value)})
        case _:  # a rule has lines, each of which is plain already
            return value


def _record(entry: Entry) -> records.Record:
    return records.parse(entry.header)


class _Reader:
    """Reads one bundle."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._proved = checked.proved
        self._names = self._read_names()

    def _read_names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in self._proved.entries:
            if entry.header.kind == records.PrincipalEnrolled.KIND:
                login = self.section(entry, "identity").get("login")
                if isinstance(login, str):
                    found[entry.header.case] = clean(login)
        return found

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self._names.items()))

    def section(self, entry: Entry, name: str) -> Json:
        """What a given section says; nothing for one that is withheld or erased."""
        section = self._proved.sections.get((entry.header.id, name))
        if not isinstance(section, Sealed):
            return {}
        try:
            said = json.loads(section.content)
        except (ValueError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}

    def gone(self, entry: Entry, name: str) -> str:
        """Why a section is not there; empty where it is, or there never was one."""
        match self._proved.sections.get((entry.header.id, name)):
            case Withheld():
                return "withheld"
            case Erased(rule=rule):
                return f"erased under rule {clean(rule)}"
            case _:
                return ""

    def who(self, principal: str) -> str:
        return "muniment" if principal == "service" else self._names.get(principal, principal)

    def sentence(self, words: object) -> str:
        """With names for pseudonyms."""
        return _PRINCIPAL.sub(lambda found: self.who(found[0]), clean(words))

    # --- an access case ------------------------------------------------------------------------

    def access(self) -> dict[str, Any]:
        case = self._checked.case
        assert case is not None  # noqa: S101 (`tell` looked)
        asked = case.requested
        decided = self._decision()
        return {
            "by": self.who(asked.requester),
            "what": f"{asked.role} on {asked.resource} for {length(asked.seconds)}",
            "resource": asked.resource,
            "reason": self._reason(),
            "emergency": case.break_glass,
            "rules": tuple(self._rules(decided)),
            "why": tuple(self.sentence(each) for each in _texts(decided.get("why"))),
            "approvals": tuple(self._approvals()),
            "starts": _at(case.starts),
            "until": _at(case.until),
            "ended": self._ended(),
            "removal": self._removal(case.removal),
            "sessions": tuple(self._sessions()),
            "reviews": tuple(self._reviews()),
        }

    def _reason(self) -> str:
        first = self._proved.case[0]
        if missing := self.gone(first, "reason"):
            return f"({missing})"
        said = self.section(first, "reason")
        claims = [
            f"{name} {clean(said[name])}" for name in ("ticket", "incident") if said.get(name)
        ]
        typed = f"{', '.join(claims)} (typed, not looked up)" if claims else ""
        return "; ".join(each for each in (clean(said.get("text", "")), typed) if each)

    def _decision(self) -> Json:
        """The first: it says what asking took."""
        for entry in self._proved.case:
            if entry.header.kind == records.DecisionEvaluated.KIND:
                return self.section(entry, "decision")
        return {}

    def _rules(self, decision: Json) -> Iterator[Rule]:
        for rule in _objects(decision.get("rules")):
            line = rule.get("line")
            yield Rule(
                id=clean(rule.get("id", "")),
                title=clean(rule.get("title", "")),
                file=clean(rule.get("file", "")),
                line=line if isinstance(line, int) else 0,
                text=_block(rule.get("text", "")),
            )

    def _approvals(self) -> Iterator[str]:
        for entry in self._proved.case:
            match _record(entry):
                case records.ApprovalGiven() as given:
                    groups, at = ", ".join(given.groups), _at(entry.header.at)
                    yield f"{self.who(given.approver)} for {groups}, {_how(given.actor)}, {at}"
                case records.ApprovalRefused() as refused:
                    at = _at(entry.header.at)
                    yield f"REFUSED by {self.who(refused.approver)}, {_how(refused.actor)}, {at}"
                case _:
                    pass

    def _ended(self) -> str:
        for entry in self._proved.case:
            record, at = _record(entry), _at(entry.header.observed or entry.header.at)
            match record:
                case records.GrantExpired():
                    return f"expired {at}"
                case records.GrantRevoked(reason=reason):
                    why = reason or "by a person"
                    return f"revoked {at} by {self.who(record.actor.principal)} ({why})"
                case records.GrantEnded():
                    return f"given back {at} by {self.who(record.actor.principal)}"
                case records.GrantUndone():
                    return f"undone {at}: no credential reached its holder"
                case _:
                    pass
        return ""

    def _removal(self, removal: str) -> str:
        for entry in reversed(self._proved.case):
            record = _record(entry)
            if isinstance(record, records.RemovalVerified):
                where = ", ".join(clean(view.endpoint) for view in record.endpoints)
                at = _at(entry.header.observed or entry.header.at)
                return f"seen gone {at}, {record.lag_ms} ms after the end, at {where}"
        return {
            "unverified": "NOT seen gone",
            "open": "not yet looked at",
            "nothing": "nothing to remove",
        }.get(removal, "")

    def _sessions(self) -> Iterator[Session]:
        for entry in self._proved.entries:
            record = _record(entry)
            if not isinstance(record, records.SessionObserved):
                continue
            if record.about == self._proved.case_id:
                yield Session(
                    source=clean(record.source),
                    opened=_at(record.opened),
                    closed=_at(record.closed),
                    strength=record.strength,
                    standing=record.standing,
                    events=record.events,
                    actions=record.actions,
                )

    def _reviews(self) -> Iterator[str]:
        typed = [(entry, _record(entry)) for entry in self._proved.entries]
        for entry, opened in typed:
            if not isinstance(opened, records.ReviewOpened):
                continue
            if opened.about != self._proved.case_id:
                continue
            answers = [
                (each, record)
                for each, record in typed
                if each.header.case == entry.header.case
                and isinstance(record, records.ReviewAnswered)
            ]
            if not answers:
                yield f"open, due {_at(opened.due)}"
            for each, record in answers:
                note = clean(self.section(each, "note").get("text", ""))
                told = f"{record.verdict} by {self.who(record.reviewer)}, {_at(each.header.at)}"
                yield f"{told}: {note}" if note else told

    # --- a finding -----------------------------------------------------------------------------

    def finding(self) -> dict[str, Any]:
        found = self._checked.finding
        assert found is not None  # noqa: S101 (`tell` looked)
        raised, closed = found.raised, found.answer
        ended = ""
        if closed is not None:
            who, at = self.who(closed.actor.principal), _at(found.changed_at)
            ended = f"{closed.resolution} by {who}, {_how(closed.actor)}, {at}"
        return {
            "by": f"rule {clean(raised.rule)}",
            "what": f"{raised.severity} finding of {clean(raised.rule)}",
            "resource": raised.resource,
            "reason": self._detail(),
            "ended": ended,
            "why": (f"about {', '.join(found.about)}",) if found.about else (),
        }

    def _detail(self) -> str:
        first = self._proved.case[0]
        if missing := self.gone(first, "detail"):
            return f"({missing})"
        return self.sentence(self.section(first, "detail").get("summary", ""))

    # --- its records ---------------------------------------------------------------------------

    def acts(self) -> Iterator[Act]:
        for entry in self._proved.case:
            record, header = _record(entry), entry.header
            yield Act(
                index=entry.index,
                id=header.id,
                kind=header.kind,
                at=header.at,
                by=self.who(record.actor.principal),
                assurance=record.actor.assurance,
                words=tuple(each for each in self._words(entry, record) if each),
            )

    def _words(self, entry: Entry, record: records.Record) -> Iterator[str]:
        if entry.header.observed is not None:
            yield f"observed {_at(entry.header.observed)}"
        yield from words_of(record)
        for name in entry.header.sections:
            if name in _PROSE:
                said = self.gone(entry, name) or self.section(entry, name).get("text", "")
                yield f"{name}: {clean(said)}" if said else ""
        if isinstance(record, records.DecisionEvaluated):
            decision = self.section(entry, "decision")
            yield from (self.sentence(each) for each in _texts(decision.get("why")))
            for rule in self._rules(decision):
                yield f"{rule.id}  {rule.file}:{rule.line}  {rule.title}"


_PROSE: Final = ("reason", "note")


def _how(actor: records.Actor) -> str:
    """How strongly an act was authenticated: never rounded up."""
    factor = actor.sign_in.mfa if actor.sign_in is not None else ""
    return f"by {actor.assurance}" + (f" ({factor})" if factor else " (no second factor)")


def _at(at: datetime | None) -> str:
    return "" if at is None else moment.text(at)


def _block(value: object) -> str:
    """A text of several lines, each of them clean."""
    return "\n".join(_line(each) for each in str(value)[:MOST].splitlines())


def _line(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + clean(line)


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# --- for a terminal ---------------------------------------------------------------------------


def lines(told: Told) -> Iterator[str]:
    """A case in plain text: what people ask of it, then every record."""
    yield f"{told.case}  {told.state}"
    yield ""
    yield from (f"  {name:<12} {words}" for name, words in facts(told) if words)
    for rule in told.rules:
        yield ""
        yield f"  rule {rule.id}, {rule.file}:{rule.line}"
        yield from (f"    {line}" for line in rule.text.splitlines())
    yield ""
    for act in told.acts:
        how = f" ({act.assurance})" if act.by != "muniment" else ""
        yield f"  #{act.index:<6} {_at(act.at)}  {act.kind:<20} {act.by}{how}"
        yield from (f"          {words}" for words in act.words)
    if told.unseen:
        yield ""
        yield from (f"  not shown: {each}" for each in told.unseen)


def facts(told: Told) -> Iterator[tuple[str, str]]:
    """Name and words, the same in text and on pages."""
    yield ("asked by" if told.kind == "access" else "raised by"), told.by
    yield "what", told.what + (" — IN AN EMERGENCY, without approval" if told.emergency else "")
    yield "reason", told.reason
    yield from (("why", each) for each in told.why)
    yield from (("approval", each) for each in told.approvals)
    yield "from", told.starts
    yield "until", told.until
    yield "ended", told.ended
    yield "gone", told.removal
    yield from (("review", each) for each in told.reviews)
    for seen in told.sessions:
        told_so = (
            f"{seen.source}: {seen.opened or 'beginning not seen'} to "
            f"{seen.closed or 'end not seen'}, {seen.events} events, {seen.actions} actions, "
            f"link {seen.strength}, {seen.standing}"
        )
        yield "session", told_so
