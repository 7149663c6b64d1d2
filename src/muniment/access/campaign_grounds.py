"""
What a proved campaign says that it is over, held to its rule, to the log and to its own items.

The rule is the one that was recorded; the root is that of the log at the recorded size, which the
bundle proves to be a beginning of its own; the sample was drawn by what follows from that root; the
count against the targets counts the items that are here.
"""

import hmac
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.access.campaign_items import lines_of, unpacked
from muniment.errors import FoldInvalid
from muniment.evidence.store import Entry

#: what the items of a review are, by what its rule reviews
_WHAT: Final = {"eligibility": {"access", "approver", "policy"}, "grants": {"grant"}}


def seed_of(root: bytes, rule: str) -> bytes:
    """From the root of the log that is looked at: nobody chooses it."""
    return hmac.digest(root, b"muniment-campaign-sample/v1\0" + rule.encode(), sha256)


def rule_of(document: bytes) -> Mapping[str, Any]:
    """The rule of a campaign, as far as it is asked for here. Raises `FoldInvalid` for none."""
    try:
        rule = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise FoldInvalid("the rule of the campaign cannot be read") from error
    if not isinstance(rule, dict) or not isinstance(rule.get("resources"), list):
        raise FoldInvalid("the rule of the campaign is none")
    if any(type(rule.get(name)) is not int for name in ("days", "sample")):
        raise FoldInvalid("the rule of the campaign lacks its numbers")
    return rule


def check_rule(rule: Mapping[str, Any], entry: Entry, opened: records.CampaignOpened) -> None:
    """That the record says what the rule says. Raises `FoldInvalid`."""
    named = ("reviewers", "fallback", "sign_off", "silence")
    same = rule.get("name") == opened.rule and all(
        rule.get(name) == getattr(opened, name) for name in named
    )
    same = same and tuple(rule["resources"]) == opened.resources
    _require(same, "the rule of the campaign is another than was recorded")
    given = (opened.due - entry.header.at) / timedelta(days=1)
    _require(given == rule["days"], "people had another time than the rule gives")


def check_log(
    rule: Mapping[str, Any],
    entry: Entry,
    opened: records.CampaignOpened,
    heads: Mapping[int, bytes],
) -> None:
    """
    That it is over the log as it was, and its sample drawn by that.

    `heads` are the roots of the log that the bundle proves, by size. Raises `FoldInvalid`.
    """
    _require(opened.size <= entry.index, "it is over a log that there was not yet")
    root = heads.get(opened.size)
    _require(root is not None, f"nothing here shows the root of the log at size {opened.size}")
    _require(root == opened.root, "it is over a log with another root")
    drawn = rule.get("what") == "grants" and rule["sample"] > 0
    seed = seed_of(opened.root, opened.rule) if drawn else None
    _require(opened.seed == seed, "its sample was drawn by something else than the root of the log")


def check_items(
    rule: Mapping[str, Any], opened: records.CampaignOpened, sheets: Iterable[bytes], counted: bytes
) -> None:
    """
    That the items are of what the rule reviews, and the count against the targets counts them.

    Raises `FoldInvalid`.
    """
    found = _Found()
    for line in (line for sheet in sheets for line in lines_of(unpacked(sheet))):
        found.take(json.loads(line))  # which its fold could read already
    _require(found.what <= _WHAT.get(str(rule.get("what")), set()), "it has items of another kind")
    resources = rule["resources"] or list(found.listed)
    covers = all(not each or each in resources for each in found.listed)
    _require(covers, "it has items of resources that the rule does not name")
    sampled = opened.seed is None or found.ordinary <= rule["sample"]
    _require(sampled, "its sample is larger than the rule has it")
    targets = _targets(counted)
    listed = {each.get("resource"): each.get("listed") for each in targets}
    _require(
        (len(targets), len(listed), sum(each.get("scan") is None for each in targets))
        == (opened.targets, opened.targets, opened.unseen),
        "miscounts its targets",
    )
    for resource, items in listed.items():
        same = isinstance(resource, str) and items == found.listed[resource]
        _require(same, "the count against the targets counts other items than are here")


@dataclass(slots=True)
class _Found:
    """What the lines say, counted."""

    what: set[str] = field(default_factory=set)
    #: by resource
    listed: Counter[str] = field(default_factory=Counter)
    #: grants that nothing speaks against: of these a sample is drawn
    ordinary: int = 0

    def take(self, line: Mapping[str, Any]) -> None:
        self.what.add(line["what"])
        resource = line.get("resource", "")
        _require(isinstance(resource, str), "an item of no resource")
        self.listed[resource] += 1
        self.ordinary += not (line.get("glass") or line.get("findings"))


def _targets(document: bytes) -> list[Mapping[str, Any]]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise FoldInvalid("the count against the targets cannot be read") from error
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise FoldInvalid("the count against the targets is none")
    if not all(isinstance(each.get("resource"), str) for each in value):
        raise FoldInvalid("the count against the targets names no resource")
    return value


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FoldInvalid(otherwise)
