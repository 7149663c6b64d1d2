"""
What detectors see: everything that happened, from the log and from sources, in one flat shape.

A fact has a type, a moment, and named values: text, numbers, yes or no. The same shape is
what Sigma rules match, what the examples beside a detector are written in, and what a backtest
replays. Facts of the log name people by their pseudonyms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from muniment.errors import Malformed

Value = str | int | bool

#: what every fact about an access case says of it, beside its own values
_CASE: Final = (
    "requester", "person", "persons", "kind", "resource", "role", "tier", "emergency",
)  # fmt: skip

#: every value that a fact may have, with its meaning
VALUES: Final[Mapping[str, str]] = {
    "requester": "principal id of who asked",
    "person": "person id of who asked, or of whoever stands behind it",
    "persons": "person ids of the whole actor chain, each between spaces",
    "kind": "of the requester: human, workload, agent",
    "groups": "of who asked, as the directory had them then, each between spaces",
    "resource": "name of the resource",
    "role": "name of the role",
    "tier": "of the resource: dev, staging, prod",
    "emergency": "whether glass was broken",
    "zone": "time zone of the person that the fact is about; empty where nobody set it",
    "seconds": "how long: as asked for, granted or used, by the type of the fact",
    "cap": "the longest that policy allowed, in seconds; 0 where it did not say",
    "ticket": "the ticket as it was claimed",
    "ticket_state": "what a verifying hook said of it: open, closed, missing; empty: not asked",
    "reason": "digest of the normalised text of the reason, by a key of this process",
    "letters": "how many letters the reason has",
    "outcome": "of a decision: as its record has it",
    "approver": "principal id of who approved or refused",
    "approver_person": "person id of who approved or refused",
    "latency": "seconds from the request to this",
    "viewed": "seconds from the first time that the approver was shown it to this; absent: unknown",
    "on_call": "whether a calendar has the actor on call then",
    "incident": "whether an incident on the resource was open then",
    "how": "of an end: expired, revoked, ended; of other facts: as the record has it",
    "sessions": "how many sessions of the grant were seen",
    "used": "seconds in which the grant was used: union of its sessions",
    "about": "case id of what the fact is about, where that is not its own case; of an activity: "
    "of the grant whose account it was done to",
    "own": "whether it was done with the account that Muniment itself works with there",
    "verdict": "of a review",
    "what": "of a change: which kind of record or of thing",
    "weakens": "whether a change takes a control away or widens who decides",
    "changed_by": "principal id of who changed it; `service` where files did",
    "source": "name of a source of events",
    "event": "of an event of a source: its type",
    "account": "account at the target",
    "client": "network address",
    "session": "the target's own name of a session",
    "action": "the target's own word",
    "object": "what it was done to",
    "failed": "whether it failed",
    "link": "strength of the link to the grant: strong, weak; empty: none",
    "reason_of_link": "which kind of key it was linked by",
    "standing": "where it stands to the grant: see `oversight.link.STANDINGS`",
    "privilege": "of drift: what the account may do that no grant covers",
    "since": "seconds that something has lasted",
    "count": "how many",
    "terminated": "whether the directory has the person as gone",
    "weakness": "kind of weakness of evidence: `muniment evidence health` names them",
    "grants": "how many grants were looked at",
}

#: every type of fact: its meaning, and the values that it has
FACTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "request.made": (
        "somebody asked for access",
        (*_CASE, "seconds", "cap", "ticket", "ticket_state", "reason", "letters", "zone",
         "on_call", "incident", "terminated", "groups"),
    ),
    "request.decided": ("policy answered", (*_CASE, "outcome", "latency", "cap")),
    "approval.given": (
        "a person approved",
        (*_CASE, "approver", "approver_person", "latency", "viewed", "zone", "on_call",
         "incident"),
    ),
    "approval.refused": (
        "a person refused", (*_CASE, "approver", "approver_person", "latency", "zone"),
    ),
    "grant.issued": (
        "a credential was handed out",
        (*_CASE, "seconds", "zone", "on_call", "incident", "terminated"),
    ),
    "grant.extended": ("a grant was made longer", (*_CASE, "seconds")),
    "grant.over": (
        "a grant ended; told once what it was used for is known",
        (*_CASE, "how", "seconds", "sessions", "used"),
    ),
    "removal.verified": ("a probe saw that everything is gone", _CASE),
    "removal.unverified": ("a probe could not see that everything is gone", (*_CASE, "since")),
    "review.opened": ("somebody has to look at broken glass", ("about", *_CASE)),
    "review.answered": ("somebody looked", ("about", "verdict", *_CASE)),
    "control.changed": (
        "policy, configuration, a directory entry, a key, retention or the clock was changed",
        ("what", "weakens", "changed_by", "about", "zone"),
    ),
    "log.heartbeat": ("the log says that it lives, each hour", ()),
    "log.gap": ("nothing was recorded for longer than the heartbeat", ("since",)),
    "source.gap": ("a source was silent, or lost records", ("source", "resource", "how", "count",
                                                             "since")),
    "activity": (
        "a source says that something happened at a target",
        ("source", "event", "account", "client", "session", "action", "object", "failed",
         "link", "reason_of_link", "standing", "own", "about", *_CASE, "zone"),
    ),
    "drift": (
        "a target has something that no grant covers, or lacks what one says",
        ("resource", "account", "how", "privilege", "since"),
    ),
    "deployment": ("something was put into service", ("source", "resource", "object")),
    "incident.opened": ("an incident began", ("source", "resource", "object")),
    "incident.closed": ("an incident was over", ("source", "resource", "object")),
    "evidence.measured": (
        "so many grants (recent ones, all, or the log itself) are weak in one way: once a day",
        ("weakness", "among", "count", "grants"),
    ),
    "alert.failed": ("a finding could not be told to anybody", ("about", "how")),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened."""

    #: one of `FACTS`
    type: str
    #: when it happened; of what a target did, by the target's clock
    at: datetime
    #: the access case that it belongs to; empty where there is none
    case: str = ""
    #: what shows it: a record id, or `source#number` of an event
    ref: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A value as text; empty where the fact does not have it."""
        return str(self.values.get(name, ""))

    def number(self, name: str) -> int:
        """A value as a number; 0 where the fact does not have it."""
        value = self.values.get(name, 0)
        return value if isinstance(value, int) else 0

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True

    @property
    def persons(self) -> frozenset[str]:
        """Everybody in the actor chain of the case."""
        return frozenset(self.text("persons").split())

    def flat(self) -> dict[str, Value]:
        """For Sigma, and for people: all on one level."""
        at = self.at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"type": self.type, "time": at, "case": self.case, "ref": self.ref, **self.values}


def fact(given: Mapping[str, Any]) -> Fact:
    """
    A fact from its flat form, as the examples of detectors have it.

    Raises `Malformed` for a type or a value that does not exist.
    """
    rest = dict(given)
    kind, at = rest.pop("type", ""), rest.pop("time", "")
    if kind not in FACTS:
        raise Malformed(f"`{kind}` is no type of fact; there are: {', '.join(FACTS)}")
    case, ref = str(rest.pop("case", "")), str(rest.pop("ref", ""))
    unknown = sorted(rest.keys() - set(FACTS[kind][1]))
    if unknown:
        raise Malformed(
            f"a `{kind}` has no value `{unknown[0]}`; it has: {', '.join(FACTS[kind][1])}"
        )
    try:
        moment = datetime.fromisoformat(str(at))
    except ValueError:
        raise Malformed(f"`time` of a `{kind}` is no ISO 8601 moment") from None
    if moment.tzinfo is None:
        raise Malformed(f"`time` of a `{kind}` has no zone: end it with `Z`")
    return Fact(type=kind, at=moment, case=case, ref=ref, values=rest)


def facts(given: Iterable[Mapping[str, Any]]) -> list[Fact]:
    return [fact(each) for each in given]
