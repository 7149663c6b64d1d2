"""
What rules demand of an access, read from their annotations and merged: the strictest wins.

- Per approver group the highest count, the shortest duration, the union of `require` and `notify`.
- Each value keeps the id of the rule that set it; where two set the same, the first by name.
- Access without approval needs a rule that says `@approvals("none")`, and none that names a group.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from muniment.errors import PolicyInvalid

#: the closed vocabulary: an annotation that is not here is a typing error, not a new feature
ANNOTATIONS = ("approvals", "id", "max_duration", "notify", "require", "title")
#: those that mean something only where a rule answers one of these questions
CARRIERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "approvals": frozenset(("require",)),
        "max_duration": frozenset(("require", "breakGlass")),
        "require": frozenset(("require", "breakGlass")),
        "notify": frozenset(("require", "breakGlass")),
    }
)

_APPROVAL = re.compile(r"([a-z][a-z0-9-]{0,62}):([1-9])", re.ASCII)
_DURATION = re.compile(r"PT(?:(\d{1,4})H)?(?:(\d{1,4})M)?", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9-]{0,62}(?::[A-Za-z0-9-]{1,32})?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demands:
    """The obligations of one rule."""

    #: approvals by group; empty for an explicit "none", None if the rule says nothing of approvals
    approvals: Mapping[str, int] | None = None
    max_seconds: int | None = None
    require: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """A number, and the rule that set it."""

    value: int
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Obligations:
    """What all satisfied rules demand together."""

    approvals: Mapping[str, Demand] = field(default_factory=dict)
    #: the rule that says `none`; decisive only while `approvals` is empty
    no_approval: str | None = None
    max_seconds: Demand | None = None
    #: word → rule
    require: Mapping[str, str] = field(default_factory=dict)
    #: whom to tell → rule
    notify: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As it stands in a decision record; what nothing was said about is left out."""
        value: dict[str, Any] = {
            "approvals": {
                group: {"count": demand.value, "rule": demand.rule}
                for group, demand in self.approvals.items()
            },
            "require": dict(self.require),
            "notify": dict(self.notify),
        }
        if self.no_approval is not None:
            value["no_approval"] = {"rule": self.no_approval}
        if self.max_seconds is not None:
            value["max_seconds"] = {"value": self.max_seconds.value, "rule": self.max_seconds.rule}
        return value


NOTHING = Obligations()


def parse(annotations: Mapping[str, str]) -> Demands:
    """Raises `PolicyInvalid` naming the annotation and what it may hold."""
    return Demands(
        approvals=_approvals(annotations["approvals"]) if "approvals" in annotations else None,
        max_seconds=_seconds(annotations["max_duration"])
        if "max_duration" in annotations
        else None,
        require=_words(annotations, "require"),
        notify=_words(annotations, "notify"),
    )


def merge(demands: Iterable[tuple[str, Demands]]) -> Obligations:
    """Strictest wins; the order of `demands` does not matter."""
    approvals: dict[str, Demand] = {}
    no_approval: str | None = None
    shortest: Demand | None = None
    require: dict[str, str] = {}
    notify: dict[str, str] = {}
    for rule, demand in sorted(demands, key=lambda pair: pair[0]):
        if demand.approvals is not None and not demand.approvals and no_approval is None:
            no_approval = rule
        for group, count in (demand.approvals or {}).items():
            if group not in approvals or count > approvals[group].value:
                approvals[group] = Demand(count, rule)
        seconds = demand.max_seconds
        if seconds is not None and (shortest is None or seconds < shortest.value):
            shortest = Demand(seconds, rule)
        for word in demand.require:
            require.setdefault(word, rule)
        for word in demand.notify:
            notify.setdefault(word, rule)
    return Obligations(
        approvals=approvals,
        no_approval=no_approval,
        max_seconds=shortest,
        require=require,
        notify=notify,
    )


def _approvals(text: str) -> dict[str, int]:
    if text == "none":
        return {}
    counts: dict[str, int] = {}
    for part in _parts(text):
        match = _APPROVAL.fullmatch(part)
        if match is None or match[1] in counts:
            raise PolicyInvalid(
                f'@approvals takes "none" or "group:count, …" with a count of 1 to 9 '
                f"and each group once, not `{part}`"
            )
        counts[match[1]] = int(match[2])
    return counts


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text)
    seconds = 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) if match else 0
    if not seconds:
        raise PolicyInvalid(f'@max_duration takes hours and minutes like "PT1H30M", not `{text}`')
    return seconds


def _words(annotations: Mapping[str, str], name: str) -> tuple[str, ...]:
    if name not in annotations:
        return ()
    words = _parts(annotations[name])
    for word in words:
        if not _WORD.fullmatch(word):
            raise PolicyInvalid(f'@{name} takes words like "post-review:PT24H", not `{word}`')
    return tuple(words)


def _parts(text: str) -> list[str]:
    return [part.strip(" ") for part in text.split(",")]
