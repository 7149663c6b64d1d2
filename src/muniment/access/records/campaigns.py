"""Campaigns: who may get what, and who got what, is looked at item by item by people."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class CampaignOpened(Record):
    """
    A review of many items begins. Position 0 of a case of its own.

    The rule, the sheets with the items, and the count against the targets are documents. What the
    items are follows from the log up to `size`, and from the rule: whoever has both makes the same
    sheets.
    """

    KIND = "campaign:opened"

    #: name of the rule
    rule: str
    #: SHA-256 of the document
    definition: bytes
    #: `person`, `schedule`, `finding`, `break-glass`
    started: str
    #: case id of what started it, or the moment of the schedule; empty: a person did
    occasion: str
    #: the log that was looked at, and its root
    size: int
    root: bytes
    #: how many items there are, and the RFC 6962 root over their lines
    items: int
    items_root: bytes
    #: SHA-256 of each sheet, in order; a line of a sheet is an item
    sheets: tuple[bytes, ...]
    #: SHA-256 of the document that counts what is listed against what the targets showed
    completeness: bytes
    #: how many targets that has, and of how many of them nothing is known
    targets: int
    unseen: int
    #: what the sample was drawn by, from the root; None: nothing was drawn
    seed: bytes | None
    due: datetime
    #: what becomes of items that nobody looked at: `revoke` or `none`
    silence: str
    #: groups
    reviewers: str
    fallback: str
    sign_off: str
    #: on which it is; empty: on every one
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReviewReassigned(Record):
    """Somebody else is to look at some items."""

    KIND = "review:reassigned"
    #: `note`: the reason
    SECTIONS = ("note",)

    #: SHA-256 of the document: the numbers of the items
    lines: bytes
    items: int
    #: principal id of who has them from now on
    to: str
    #: his person id
    person: str


@dataclass(frozen=True, kw_only=True)
class ReviewEscalated(Record):
    """So much of the time is over, and so many items nobody has looked at."""

    KIND = "review:escalated"

    #: 50, 80 or 100 hundredths of the time
    share: int
    open: int


@dataclass(frozen=True, kw_only=True)
class ReviewDecided(Record):
    """A reviewer says what is to become of some items: all that he handed in at once."""

    KIND = "review:decided"
    #: `reasons`: by number of the item
    SECTIONS = ("reasons",)

    reviewer: str
    person: str
    #: SHA-256 of the document: item, verdict and seconds, a line each
    lines: bytes
    items: int
    #: by verdict: `keep`, `revoke`, `reduce`, `abstain`
    tallies: dict[str, int]
    #: how long he had looked at them, all together, as far as we measured
    seconds: int
    #: several items at a stroke, with one verdict and one reason
    bulk: bool


@dataclass(frozen=True, kw_only=True)
class ReviewApplied(Record):
    """What was decided came to pass: seen in the records that this one follows, or by asking."""

    KIND = "review:applied"

    #: numbers of the items
    items: tuple[int, ...]
    #: `ended`: access is over, and was seen gone; `withdrawn`: may not be asked for any more, and
    #: nothing of it is left; `not-allowed`: directory or policy do not allow it any more, as the
    #: service sees it by asking
    how: str
    #: of each item the case that shows it; empty where it was only asked
    about: tuple[str, ...]
    #: of `withdrawn`: cases of what was held under it when the review was opened, seen gone
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CampaignSigned(Record):
    """Management has seen how it came out: somebody who decided nothing in it."""

    KIND = "campaign:signed"
    #: `note`: what he says to it
    SECTIONS = ("note",)

    person: str
    #: by outcome, with `not-reviewed`
    tallies: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class CampaignClosed(Record):
    """It is over. What is still outstanding is said, and stays so."""

    KIND = "campaign:closed"
    SECTIONS = ("note",)

    person: str
    #: by outcome, with `not-reviewed`
    tallies: dict[str, int]
    #: of what had to be done: how much came to pass, and how much did not yet
    applied: int
    outstanding: int


@dataclass(frozen=True, kw_only=True)
class EligibilityWithdrawn(Record):
    """
    Somebody may not ask for a role any more, whatever directory and policy say. A case of its own.

    Whoever decides reads it as a fact. What he holds under the role ends.
    """

    KIND = "eligibility:withdrawn"

    principal: str
    resource: str
    role: str
    #: case id of the campaign, and number of the item
    about: str
    item: int


@dataclass(frozen=True, kw_only=True)
class EligibilityRestored(Record):
    """Somebody else than the reviewer lets him ask again. In the case of the withdrawal."""

    KIND = "eligibility:restored"
    #: `note`: the reason
    SECTIONS = ("note",)

    person: str
