"""
What the records of a proved bundle mean: the steps of verification from 11 on.

`evidence.verify` proved bytes. Here they are read as records of a case:

11. every record is of a known kind and version; the case folds by the table of transitions and its
    invariants; and each record rests on what it claims to rest on:
    - a decision was made under the policy bundle that it follows, on the role as it was defined;
    - whoever it gives access to was enrolled and active, and so was the human behind an agent;
    - whoever asked under a delegation asked for no more than was handed on;
    - whoever approved was an enrolled, active human in the groups that the approval counts for;
    - `case:closed` counts the records of its case;
12. the state in which the case was left;

and of a campaign of review, whose items lie in documents, steps 13 to 17: see `campaign_check`.

NOTE: a bundle shows the directory, role and policy records that were followed. That no newer ones
stood in the log by then is the sequencer's promise, and shows in an audit of the whole log.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.access import (
    campaign,
    campaign_check,
    drift_check,
    finding,
    holding_check,
    lifecycle,
    measurements,
    records,
)
from muniment.access.campaign import Campaign
from muniment.access.case import AccessCase
from muniment.access.finding import Finding
from muniment.errors import BundleInvalid, EvidenceError
from muniment.evidence import moment
from muniment.evidence.bundle import Erased, Withheld
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.store import Entry
from muniment.evidence.verdict import NOBODY, Reader, Verdict, not_proved
from muniment.evidence.verify import Proved, Step
from muniment.evidence.verify import verify as verify_bytes

STEPS: Final[Mapping[int, str]] = {
    11: "the records are a possible life of a case, and rest on what they name",
    12: "the state in which the case was left",
}
#: of a campaign of review
MORE_STEPS: Final = campaign_check.STEPS


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What all steps established."""

    proved: Proved
    #: the fold of an access case; None for a case of another kind
    case: AccessCase | None
    #: the fold of a finding; None for a case of another kind
    finding: Finding | None
    #: the fold of a campaign of review; None for a case of another kind
    campaign: Campaign | None
    #: one line: how the case stands
    state: str
    steps: tuple[Step, ...]
    #: what a reader must not take from this, one phrase each
    not_proved: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        return self.proved.verdict

    @property
    def completeness(self) -> str:
        closed_at = self.proved.closed_at
        if closed_at is None:
            return f"OPEN as of log size {self.proved.as_of}"
        return f"COMPLETE, closed at {closed_at}"

    @property
    def unseen(self) -> Iterator[tuple[str, str, str]]:
        """Record id, section and answer (`WITHHELD`, `ERASED under rule …`) of what is not here."""
        for (record, name), section in sorted(self.proved.sections.items()):
            if isinstance(section, Withheld):
                yield record, name, "WITHHELD"
            elif isinstance(section, Erased):
                yield record, name, f"ERASED under rule `{section.rule}`"


def verify(
    data: bytes, key: ReadersKeys, heads: Sequence[bytes] = (), reader: Reader = NOBODY
) -> Checked:
    """All twelve steps over the bytes of a file. Raises `BundleInvalid` with the step's number."""
    return check(verify_bytes(data, key, heads, reader))


def check(proved: Proved) -> Checked:
    """The steps from 11 on. Raises `BundleInvalid`."""
    typed = {entry.leaf: _parse(entry) for entry in proved.entries}
    bench = _Bench(proved, typed)
    case, found, review = bench.fold(), bench.fold_finding(), bench.fold_campaign()
    bench.check_documents()
    for entry in proved.case:
        bench.check_grounds(entry)
    step = Step(11, STEPS[11], f"{len(typed)} records read")

    state = bench.look_at_others() or _how_it_stands(proved, case, found, review)
    more = _more_steps(proved) if review is not None else ()
    return Checked(
        proved=proved,
        case=case,
        finding=found,
        campaign=review,
        state=state,
        steps=(*proved.steps, step, Step(12, STEPS[12], state), *more),
        not_proved=tuple(_not_proved(proved, case, folded=bench.is_known)),
    )


def _more_steps(proved: Proved) -> tuple[Step, ...]:
    heads = {head.size: head.root for head in proved.heads}
    seen = campaign_check.check(proved.case, proved.entries, proved.documents, heads)
    return tuple(Step(number, MORE_STEPS[number], detail) for number, detail in seen)


def _parse(entry: Entry) -> records.Record:
    try:
        return records.parse(entry.header)
    except EvidenceError as error:
        raise BundleInvalid(11, f"`{entry.header.id}`: {error}") from error


#: cases that begin with these are folded, or looked at record by record
_KNOWN: Final = (
    records.AccessRequested.KIND,
    records.FindingRaised.KIND,
    records.CampaignOpened.KIND,
    *drift_check.KINDS,
    *holding_check.KINDS,
    measurements.KIND,
)


class _Bench:
    """The records of one bundle, each beside its typed form."""

    def __init__(self, proved: Proved, typed: Mapping[bytes, records.Record]) -> None:
        self._proved = proved
        self._typed = typed
        self._by_leaf = {entry.leaf: entry for entry in proved.entries}
        first = typed[proved.case[0].leaf]
        self._request = first if isinstance(first, records.AccessRequested) else None

    def fold(self) -> AccessCase | None:
        """The state of an access case; cases of other kinds have no table."""
        if self._request is None:
            return None
        entries = ((entry.header, entry.leaf) for entry in self._proved.case)
        try:
            return lifecycle.fold(self._proved.log_id, entries)
        except EvidenceError as error:
            raise BundleInvalid(11, str(error)) from error
        except OverflowError as error:  # a signed record may hold any number
            raise BundleInvalid(11, "a moment or a duration beyond all calendars") from error

    def fold_finding(self) -> Finding | None:
        """The state of a finding; None for cases of other kinds."""
        if self._proved.case[0].header.kind != records.FindingRaised.KIND:
            return None
        try:
            return finding.fold((entry.header, entry.leaf) for entry in self._proved.case)
        except EvidenceError as error:
            raise BundleInvalid(11, str(error)) from error
        except OverflowError as error:  # as above
            raise BundleInvalid(11, "a moment beyond all calendars") from error

    def fold_campaign(self) -> Campaign | None:
        """The state of a campaign of review; None for cases of other kinds."""
        if self._proved.case[0].header.kind != records.CampaignOpened.KIND:
            return None
        try:
            return campaign.fold((entry.header, entry.leaf) for entry in self._proved.case)
        except EvidenceError as error:
            raise BundleInvalid(11, str(error)) from error
        except OverflowError as error:  # as above
            raise BundleInvalid(11, "a moment beyond all calendars") from error

    @property
    def is_known(self) -> bool:
        """Whether there are rules for how a case of this kind goes."""
        return self._proved.case[0].header.kind in _KNOWN

    def look_at_others(self) -> str:
        """How a scan, a removal, a hold, a run that erases or measurements stand; else empty."""
        kind = self._proved.case[0].header.kind
        try:
            if kind in drift_check.KINDS:
                return drift_check.state(self._proved.case, self._by_leaf)
            if kind in holding_check.KINDS:
                return holding_check.state(self._proved.case, self._by_leaf)
            return measurements.state(self._proved.case) if kind == measurements.KIND else ""
        except EvidenceError as error:
            raise BundleInvalid(11, str(error)) from error

    def check_documents(self) -> None:
        """What a record names by digest in its body it also names as a document."""
        for entry in self._proved.entries:
            match self._typed[entry.leaf]:
                case records.PolicyActivated(bundle=named):
                    self._check_document(entry, named)
                case records.RoleDefined(definition=named):
                    self._check_document(entry, named)
                case records.ConfigChanged(configuration=named):
                    self._check_document(entry, named)
                case records.FindingRaised(definition=named):
                    self._check_document(entry, named)
                case records.EventsErased(numbers=named):
                    self._check_document(entry, named)
                case records.EvidenceMeasured(definition=named):
                    self._check_document(entry, named)
                case _:
                    pass

    def _check_document(self, entry: Entry, named: bytes) -> None:
        _require(named in entry.header.documents, f"`{entry.header.id}` does not hold its document")

    def check_grounds(self, entry: Entry) -> None:
        """The record rests on what it claims to rest on."""
        match self._typed[entry.leaf]:
            case records.DecisionEvaluated() as decision:
                self._check_decision(entry, decision)
            case records.ApprovalGiven() as approval:
                self._check_approver(entry, approval)
            case records.CredentialIssued():
                self._check_witnessed(entry)
            case records.CaseClosed(records=count):
                _require(
                    count == entry.header.position + 1, f"`{entry.header.id}` miscounts its case"
                )
            case records.ArchiveExported(size=size) | records.ReportIssued(size=size):
                _require(
                    0 < size <= entry.index, f"`{entry.header.id}` is of a log that was not there"
                )
            case _:
                pass

    def _check_witnessed(self, entry: Entry) -> None:
        """Where it waited for witnesses, their quorum had cosigned its intent."""
        intent = max(
            each.index
            for each in self._proved.case[: entry.header.position]
            if isinstance(self._typed[each.leaf], records.GrantAuthorized)
        )
        for followed in self._followed(entry):
            if isinstance(followed, records.LogWitnessed):
                _require(
                    followed.quorum and followed.size > intent,
                    f"`{entry.header.id}` follows witnesses who had not cosigned its intent",
                )

    def _check_decision(self, entry: Entry, decision: records.DecisionEvaluated) -> None:
        id, followed = entry.header.id, self._followed(entry)
        self._check_sign_in(entry, decision.actor)
        policies = [each for each in followed if isinstance(each, records.PolicyActivated)]
        _require(
            [policy.bundle for policy in policies] == [decision.bundle],
            f"`{id}` was not made under the one policy that it follows",
        )
        if decision.outcome == "deny" or self._request is None:
            return  # what is gone or changed is denied, and cannot be followed as it was
        roles = [each for each in followed if isinstance(each, records.RoleDefined)]
        request = self._request
        _require(
            [(role.resource, role.role) for role in roles] == [(request.resource, request.role)],
            f"`{id}` does not follow the role that was asked for",
        )
        if decision.question in ("request", "issue"):
            _require(
                (roles[0].definition, roles[0].environment)
                == (request.definition, request.environment),
                f"`{id}` follows another definition of the role than was asked for",
            )
        handed = self._asked_under(request) if decision.question == "extend" else None
        if handed is not None:
            self._check_handed(entry, request, handed)
        if decision.question == "request":
            _require(
                decision.actor == request.actor, f"`{id}` is about somebody else than who asked"
            )
        if decision.question != "approve":
            self._check_requester(entry, request, again=decision.question != "request")

    def _check_sign_in(self, entry: Entry, actor: records.Actor) -> None:
        """Whoever acted had signed in as the record says."""
        if actor.sign_in is None:
            return
        for leaf in entry.header.follows:
            opened, case = self._typed[leaf], self._by_leaf[leaf].header.case
            if isinstance(opened, records.SessionOpened) and case == actor.sign_in.session:
                shown = (opened.authenticated_at, opened.mfa, opened.attested)
                said = (actor.sign_in.at, actor.sign_in.mfa, actor.sign_in.attested)
                _require(
                    opened.principal == actor.principal and shown == said,
                    f"`{entry.header.id}` says otherwise how its actor had signed in",
                )
                self._check_delegation(entry, actor, opened.delegation)
                return
        raise BundleInvalid(11, f"`{entry.header.id}` does not follow its actor's signing in")

    def _check_delegation(
        self, entry: Entry, actor: records.Actor, handed: records.Delegation | None
    ) -> None:
        """Who acts for somebody does so under a delegation to him."""
        if handed is None or self._request is None:
            return
        _require(
            (handed.sponsor, handed.chain[-1:]) == (actor.sponsor, (actor.principal,)),
            f"`{entry.header.id}` was done under a delegation of somebody else",
        )
        self._check_handed(entry, self._request, handed)

    def _asked_under(self, request: records.AccessRequested) -> records.Delegation | None:
        """What had been handed to whoever first asked; an extension may not go beyond it."""
        shown = request.actor.sign_in
        for leaf, opened in self._typed.items():
            case = self._by_leaf[leaf].header.case
            if isinstance(opened, records.SessionOpened) and shown and case == shown.session:
                return opened.delegation
        return None

    def _check_handed(
        self, entry: Entry, request: records.AccessRequested, handed: records.Delegation
    ) -> None:
        role, asked = f"{request.resource}/{request.role}", self._before(entry)
        seconds = (asked if isinstance(asked, records.ExtensionRequested) else request).seconds
        _require(
            role in (handed.roles or (role,)) and seconds <= (handed.max_seconds or seconds),
            f"`{entry.header.id}` is about more than was delegated",
        )

    def _check_requester(
        self, entry: Entry, request: records.AccessRequested, *, again: bool
    ) -> None:
        """Who asked, in the directory as the decision had it; `again` is some time afterwards."""
        id, actor = entry.header.id, request.actor
        asking = self._principal(entry, request.requester)
        _require(asking.active, f"`{id}` gives access to somebody who was not active")
        _require(
            again or (asking.type, asking.sponsor) == (actor.type, actor.sponsor),
            f"`{id}`: whoever asked was enrolled as somebody else",
        )
        _require(asking.person in actor.persons, f"`{id}`: the request hides who asked")
        if asking.sponsor is None:
            return
        behind = self._principal(entry, asking.sponsor)
        _require(behind.person in actor.persons, f"`{id}`: the request hides who stands behind it")
        _require(
            asking.type != "agent" or (behind.active and behind.type == "human"),
            f"`{id}`: no active human stands behind the agent who asked",
        )

    def _check_approver(self, entry: Entry, approval: records.ApprovalGiven) -> None:
        decided = self._before(entry)
        _require(
            decided.actor == approval.actor,
            f"`{entry.header.id}` was not given as the decision before it was asked",
        )
        approver = self._principal(entry, approval.approver)
        _require(
            approver.type == "human" and approver.active and approver.person == approval.person,
            f"`{entry.header.id}` was given by nobody who was enrolled as an active human",
        )
        _require(
            set(approval.groups) <= set(approver.groups),
            f"`{entry.header.id}` counts for groups that the approver was not in",
        )

    def _before(self, entry: Entry) -> records.Record:
        """The record before this one, which is not the first of its case."""
        return self._typed[self._proved.case[entry.header.position - 1].leaf]

    def _principal(self, entry: Entry, id: str) -> records.PrincipalEnrolled:
        """The enrolment of this principal that the record follows."""
        for leaf in entry.header.follows:
            enrolled, case = self._typed[leaf], self._by_leaf[leaf].header.case
            if isinstance(enrolled, records.PrincipalEnrolled) and case == id:
                return enrolled
        raise BundleInvalid(11, f"`{entry.header.id}` does not follow the enrolment of `{id}`")

    def _followed(self, entry: Entry) -> list[records.Record]:
        return [self._typed[leaf] for leaf in entry.header.follows]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BundleInvalid(11, otherwise)


def _how_it_stands(
    proved: Proved, case: AccessCase | None, found: Finding | None, review: Campaign | None
) -> str:
    """In one line."""
    if case is not None:
        return _state(case)
    if found is not None:
        return _state_of_finding(found)
    if review is not None:
        return _state_of_campaign(review)
    return f"`{proved.case[0].header.kind}`, not folded"


def _state(case: AccessCase) -> str:
    parts = [case.state]
    if case.break_glass:
        parts.append("by breaking glass")
    if case.starts is not None and case.until is not None:
        parts.append(f"window {moment.text(case.starts)} to {moment.text(case.until)}")
    if case.ended_at is not None:
        parts.append(f"access over at {moment.text(case.ended_at)}")
    if case.removal:
        parts.append(_REMOVAL[case.removal])
    return ", ".join(parts)


def _state_of_finding(found: Finding) -> str:
    parts = [f"finding of `{found.raised.rule}` ({found.raised.severity})", found.state]
    if found.answer is not None:
        parts.append(found.answer.resolution)
    if found.ends:
        parts.append(f"access ended in {len(found.ends)} cases")
    return ", ".join(parts)


def _state_of_campaign(review: Campaign) -> str:
    opened = review.opened
    parts = [f"review `{opened.rule}` of {opened.items:,} items", review.state]
    parts.append(f"population of the log at size {opened.size}")
    if opened.unseen:
        parts.append(f"{opened.unseen} of {opened.targets} targets not looked at")
    if review.ended is not None and review.ended.outstanding:
        parts.append(f"{review.ended.outstanding} items outstanding")
    return ", ".join(parts)


_REMOVAL: Final[Mapping[str, str]] = {
    "open": "removal not yet looked at",
    "nothing": "nothing to remove",
    "unverified": "removal NOT verified",
    "verified": "removal verified",
}


def _reviewed(proved: Proved, case: AccessCase) -> bool:
    """Whether the file carries an answered review of this very case."""
    typed = [(entry.header.case, _parse(entry)) for entry in proved.entries]
    about = {id_ for id_, r in typed if isinstance(r, records.ReviewOpened) and r.about == case.id}
    return any(isinstance(r, records.ReviewAnswered) and id_ in about for id_, r in typed)


def _not_proved(proved: Proved, case: AccessCase | None, *, folded: bool) -> Iterator[str]:
    yield from not_proved(proved.verdict, proved.vouched)
    yield "that the directory, role and policy records followed were the newest (audit the log)"
    if proved.closed_at is None:
        yield f"what happened after log size {proved.as_of}"
    if isinstance(_parse(proved.case[0]), records.CampaignOpened):
        yield "that the items are all that the log gives at that size (recompute them from the log)"
        if asked := campaign_check.asked_only(proved.case):
            yield f"that {asked} items that people carried out are so (the service alone saw it)"
    if not folded:
        yield "that a case of this kind went as it should (it has no table of transitions)"
    elif case is not None and case.break_glass and not _reviewed(proved, case):
        yield "that somebody reviewed the break-glass access"
    if any(isinstance(section, Withheld | Erased) for section in proved.sections.values()):
        yield "what the withheld and erased sections said"
