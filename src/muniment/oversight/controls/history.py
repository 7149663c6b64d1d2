"""
What the tests of controls need beside the lines of the population, gathered in one pass.

Of cases only what is wrong is remembered, so that a year of grants takes little room.
"""

# ruff: noqa: SLF001 - the table of its own methods stands below the class

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

from muniment.access import records, terms
from muniment.access.records import (
    AccessRequested,
    ApprovalGiven,
    ApprovalRefused,
    CampaignClosed,
    CampaignOpened,
    CredentialIssued,
    DecisionEvaluated,
    DriftScanned,
    EventsMissed,
    EventsReceived,
    ExtensionRequested,
    GrantAuthorized,
    GrantExtended,
    LogIndexed,
    LogWitnessed,
    PolicyActivated,
    PrincipalEnrolled,
)
from muniment.evidence import merkle
from muniment.evidence.record import Header

#: a log that says nothing for longer than this was not running: its heartbeat is hourly
SILENCE: Final = timedelta(hours=2)
_BEFORE: Final = datetime(1, 1, 1, tzinfo=timezone.utc)
#: how something came to nothing
_SAID: Final = {
    "denied": "denied",
    "refused": "refused",
    "withdrawn": "withdrawn",
    "lapsed": "too old",
}


@dataclass(slots=True)
class Asked:
    """An access case that is not closed: what was asked for last, and who approved it."""

    terms: bytes
    definition: bytes
    seconds: int
    #: nobody of these may approve
    persons: tuple[str, ...]
    required: Mapping[str, int] = field(default_factory=dict)
    #: persons who approved these terms, by group
    given: dict[str, set[str]] = field(default_factory=dict)
    starts: datetime | None = None
    #: whether a credential was handed out: from then on what comes to nothing is an extension
    issued: bool = False
    #: what an extension came to, by its terms
    nothing: dict[bytes, str] = field(default_factory=dict)


@dataclass(slots=True)
class Campaign:
    """A review of many items."""

    opened: datetime
    due: datetime
    items: int
    #: on which it is; empty: on every one
    resources: tuple[str, ...] = ()
    closed: datetime | None = None
    #: items that nobody looked at, and what had to be done and did not come to pass
    unreviewed: int = 0
    outstanding: int = 0


@dataclass(slots=True)
class Gap:
    """Something of a source that is missing."""

    source: str
    resource: str
    #: see `records.EventsMissed`
    why: str
    since: datetime
    #: None: it is silent still
    until: datetime | None


_Take = Callable[["History", Header, Any], None]


@dataclass(kw_only=True, slots=True)
class History:
    """A fold over headers, in the order of the log."""

    log_id: bytes = b""
    newest: datetime = _BEFORE
    #: the first record from which on every one is shown
    oldest: datetime | None = None
    #: records that were seen
    size: int = 0
    #: by test, by case: what is wrong
    wrong: dict[str, dict[str, str]] = field(default_factory=dict)
    #: from when to when the log was silent
    silences: list[tuple[datetime, datetime]] = field(default_factory=list)
    #: policies that were in force, and the activations that do not name the one before
    bundles: set[bytes] = field(default_factory=set)
    activations: list[tuple[datetime, str]] = field(default_factory=list)
    #: moments of `log:indexed`
    indexed: list[datetime] = field(default_factory=list)
    #: of `log:witnessed`: when, and whether the quorum was there
    witnessed: list[tuple[datetime, bool]] = field(default_factory=list)
    #: of each resource: when it was looked at, and how many differences were seen
    scans: dict[str, list[tuple[datetime, int]]] = field(default_factory=dict)
    #: by what they speak of: how often sources spoke on each day
    heard: dict[str, Counter[date]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    #: principals that were disabled: from when, until when
    left: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)
    #: how often evidence was carried away, or read by right of audit, on each day
    disclosed: Counter[date] = field(default_factory=Counter)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    #: what came to nothing, and how: whatever follows, it stays so
    _nothing: dict[str, str] = field(default_factory=dict)
    _asked: dict[str, Asked] = field(default_factory=dict)
    #: by source
    _silent: dict[str, Gap] = field(default_factory=dict)
    _active: dict[str, bool] = field(default_factory=dict)
    _bundle: bytes | None = None
    _skipped: bool = False

    def take(self, _index: int, header: Header) -> None:
        """The next record that is shown. Raises `FoldInvalid` for one that nobody knows."""
        if not self.log_id:
            self.log_id = merkle.leaf_hash(header.encode())
        if self.oldest is None or self._skipped:
            self.oldest, self._skipped = header.at, False
        elif header.at - self.newest > SILENCE:
            self.silences.append((self.newest, header.at))
        self.newest = max(self.newest, header.at)
        self.size += 1
        take = _TAKE.get(header.kind)
        if take is not None:
            take(self, header, records.parse(header))

    def skip(self) -> None:
        """Records before the next one are not shown: their silence is none."""
        self._skipped = True

    # --- what is asked for, approved and issued

    def _requested(self, header: Header, record: AccessRequested) -> None:
        self._asked[header.case] = Asked(
            terms=terms.request_terms(self.log_id, header, record),
            definition=record.definition,
            seconds=record.seconds,
            persons=record.actor.persons,
        )
        if "reason" not in header.sections:
            self._is_wrong("requests-say-why", header, "no reason was sealed with the request")

    def _extension(self, header: Header, record: ExtensionRequested) -> None:
        if (asked := self._asked.get(header.case)) is not None:
            asked.terms = terms.extension_terms(self.log_id, header, record, asked.terms)
            asked.seconds, asked.given = record.seconds, {}

    def _decided(self, header: Header, record: DecisionEvaluated) -> None:
        if (asked := self._asked.get(header.case)) is None:
            return
        if record.question in ("request", "extend"):
            asked.required = record.approvals
            if record.outcome == "deny":
                self._is_nothing(header.case, asked, asked.terms, "denied")
        if record.bundle not in self.bundles:
            self._is_wrong("decided-by-policy", header, "decided by a policy never activated")
        elif not record.rules and record.outcome != "deny":
            # where no rule permits, the answer is no, and there is no rule to name
            self._is_wrong("decided-by-policy", header, "permitted, and no rule is named")

    def _given(self, header: Header, record: ApprovalGiven) -> None:
        if (asked := self._asked.get(header.case)) is None:
            return
        if record.terms != asked.terms:
            self._is_wrong("issued-as-approved", header, "approved terms that were not asked for")
        if record.person in asked.persons:
            self._is_wrong("approved-by-others", header, "approved by a person it was for")
            return
        for group in record.groups:
            asked.given.setdefault(group, set()).add(record.person)

    def _refused(self, header: Header, record: ApprovalRefused) -> None:
        if (asked := self._asked.get(header.case)) is not None:
            self._is_nothing(header.case, asked, record.terms, "refused")

    def _over(self, header: Header, _record: Any) -> None:
        if (asked := self._asked.get(header.case)) is not None:
            word = header.kind.partition(":")[2]
            self._is_nothing(header.case, asked, asked.terms, word)

    def _is_nothing(self, case: str, asked: Asked, what: bytes, word: str) -> None:
        if asked.issued:
            asked.nothing[what] = word
        else:
            self._nothing[case] = word

    def _authorized(self, header: Header, record: GrantAuthorized) -> None:
        if (asked := self._asked.get(header.case)) is None:
            return
        self._approved(header, asked)
        asked.starts = asked.starts or record.starts
        self._as_asked(header, asked, record.terms, record.until)
        if record.definition != asked.definition:
            self._is_wrong("issued-as-approved", header, "the role was defined otherwise meanwhile")

    def _extended(self, header: Header, record: GrantExtended) -> None:
        if (asked := self._asked.get(header.case)) is not None:
            self._approved(header, asked)
            self._as_asked(header, asked, record.terms, record.until)
            if (word := asked.nothing.get(record.terms)) is not None:
                why = f"extended, though that was {_SAID[word]}"
                self._is_wrong("denied-got-nothing", header, why)

    def _approved(self, header: Header, asked: Asked) -> None:
        for group, needed in asked.required.items():
            had = len(asked.given.get(group, ()))
            if had < needed:
                why = f"issued with {had} of {needed} approvals of others for `{group}`"
                self._is_wrong("approved-by-others", header, why)

    def _as_asked(self, header: Header, asked: Asked, issued: bytes, until: datetime) -> None:
        if issued != asked.terms:
            self._is_wrong("issued-as-approved", header, "issued terms that were not asked for")
        if asked.starts is not None:
            longer = (until - asked.starts).total_seconds() - asked.seconds
            if longer > 0:
                why = f"the window is {int(longer)} s longer than was asked for"
                self._is_wrong("issued-as-approved", header, why)

    def _issued(self, header: Header, record: CredentialIssued) -> None:
        if (asked := self._asked.get(header.case)) is not None:
            asked.issued = True
        if (word := self._nothing.get(header.case)) is not None:
            why = f"a credential was issued, though the request was {_SAID[word]}"
            self._is_wrong("denied-got-nothing", header, why)
        if record.native_expiry is None:
            self._is_wrong("expiry-at-target", header, "the target itself knows no end")

    def _closed(self, header: Header, _record: Any) -> None:
        self._asked.pop(header.case, None)

    def _is_wrong(self, test: str, header: Header, why: str) -> None:
        self.wrong.setdefault(test, {}).setdefault(header.case, why)

    # --- people, policy, the log itself

    def _enrolled(self, header: Header, record: PrincipalEnrolled) -> None:
        # what was before may not be shown: whoever is enrolled again was there
        was = self._active.get(header.case, header.position > 0)
        self._active[header.case] = record.active
        if was and not record.active:
            self.left.append((header.case, header.at, None))
        elif record.active and not was:
            self.left = [
                (who, since, header.at if who == header.case and until is None else until)
                for who, since, until in self.left
            ]

    def _activated(self, header: Header, record: PolicyActivated) -> None:
        in_turn = record.previous == self._bundle
        self.activations.append((header.at, "" if in_turn else header.id))
        self.bundles.add(record.bundle)
        self._bundle = record.bundle

    def _indexed(self, header: Header, _record: LogIndexed) -> None:
        self.indexed.append(header.at)

    def _witnessed(self, header: Header, record: LogWitnessed) -> None:
        self.witnessed.append((header.at, record.quorum))

    def _exported(self, header: Header, _record: Any) -> None:
        self.disclosed[header.at.date()] += 1

    # --- targets and sources

    def _scanned(self, header: Header, record: DriftScanned) -> None:
        seen = sum(record.differences.values())
        self.scans.setdefault(record.resource, []).append((header.at, seen))

    def _received(self, header: Header, record: EventsReceived) -> None:
        self.heard.setdefault(record.resource, Counter())[header.at.date()] += 1

    def _missed(self, header: Header, record: EventsMissed) -> None:
        # whatever is said of a source that was silent, it was heard again
        if (silent := self._silent.pop(record.source, None)) is not None:
            silent.until = header.at
        if record.why == "resumed":
            return
        gap = Gap(record.source, record.resource, record.why, record.since, header.at)
        if record.why == "silence":
            gap.until, self._silent[record.source] = None, gap
        self.gaps.append(gap)

    def _campaign(self, header: Header, record: CampaignOpened) -> None:
        self.campaigns[header.case] = Campaign(
            opened=header.at,
            due=record.due,
            items=record.items,
            resources=record.resources,
            # one of nothing is over at once
            closed=None if record.items else header.at,
        )

    def _reviewed(self, header: Header, record: CampaignClosed) -> None:
        if (known := self.campaigns.get(header.case)) is not None:
            known.closed, known.outstanding = header.at, record.outstanding
            known.unreviewed = record.tallies.get("not-reviewed", 0)


_TAKE: Final[Mapping[str, _Take]] = {
    AccessRequested.KIND: History._requested,
    ExtensionRequested.KIND: History._extension,
    DecisionEvaluated.KIND: History._decided,
    ApprovalGiven.KIND: History._given,
    ApprovalRefused.KIND: History._refused,
    records.AccessWithdrawn.KIND: History._over,
    records.AccessLapsed.KIND: History._over,
    GrantAuthorized.KIND: History._authorized,
    GrantExtended.KIND: History._extended,
    CredentialIssued.KIND: History._issued,
    records.CaseClosed.KIND: History._closed,
    PrincipalEnrolled.KIND: History._enrolled,
    PolicyActivated.KIND: History._activated,
    LogIndexed.KIND: History._indexed,
    LogWitnessed.KIND: History._witnessed,
    CampaignOpened.KIND: History._campaign,
    CampaignClosed.KIND: History._reviewed,
    records.EvidenceExported.KIND: History._exported,
    records.ArchiveExported.KIND: History._exported,
    records.EvidenceRead.KIND: History._exported,
    DriftScanned.KIND: History._scanned,
    EventsReceived.KIND: History._received,
    EventsMissed.KIND: History._missed,
}
