"""
The life of an access case: a fold over its records, by one table of allowed transitions.

    requested ─→ denied
            └──→ pending ─→ refused | withdrawn | lapsed
                       └──→ approved ─→ lapsed | withdrawn | revoked | pending
            └──────────────→ approved ─→ authorized → issued → expired | revoked | ended
                                 └────── undone ←──┘

A first credential that failed is undone; once it is seen gone the case is approved again, unless
the time for its pick-up is over.

What a case *is* is never stored: whoever needs to know folds checked headers, here. What the table
does not allow, or an invariant forbids, raises `FoldInvalid`.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from muniment.access import quorum, records
from muniment.access.case import ENDS, LIVE, LONGEST, OVER, AccessCase, Approval, Ask, replace
from muniment.access.records import Record
from muniment.access.terms import extension_terms, request_terms
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header


def fold(log_id: bytes, entries: Iterable[tuple[Header, bytes]]) -> AccessCase:
    """The state of a case from its records (header and leaf hash), gap-free from position 0."""
    case = AccessCase(log_id=log_id)
    for header, leaf in entries:
        case = advance(case, header, leaf)
    return case


def advance(case: AccessCase, header: Header, leaf: bytes) -> AccessCase:
    """One record further. Raises `FoldInvalid` if the table or an invariant forbids it."""
    record = records.parse(header)
    _check_place(case, header)
    moves = TRANSITIONS.get((case.state, header.kind))
    if moves is None:
        raise FoldInvalid(f"`{header.kind}` cannot follow in state `{case.state or 'none'}`")
    after = moves(case, header, record)
    return replace(
        after,
        id=header.case,
        length=header.position + 1,
        head=leaf,
        opened_at=case.opened_at or header.at,
        changed_at=header.at,
        permitted=_permits(record),
    )


def _permits(record: Record) -> str:
    """Whom a decision lets approve or refuse in the very next record."""
    if not isinstance(record, records.DecisionEvaluated):
        return ""
    permitted = (record.question, record.outcome) == ("approve", "permit")
    return record.actor.principal if permitted else ""


def _check_place(case: AccessCase, header: Header) -> None:
    if header.position != case.length or (case.length and header.case != case.id):
        raise FoldInvalid(f"`{header.id}` is not record {case.length} of this case")
    if case.changed_at is not None and header.at < case.changed_at:
        raise FoldInvalid(f"`{header.id}` is earlier than the record before it")
    if case.closed:
        raise FoldInvalid(f"`{header.id}` follows `case:closed`")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FoldInvalid(otherwise)


# --- one function for each kind ---------------------------------------------------------------


def _requested(case: AccessCase, header: Header, record: Any) -> AccessCase:
    _require(record.requester == record.actor.principal, "a request for somebody else")
    _require(bool(record.actor.persons), "a request without a person")
    _require(0 < record.seconds <= LONGEST, "a window of no possible length")
    terms = request_terms(case.log_id, header, record)
    return replace(
        case,
        state="requested",
        request=record,
        ask=Ask(terms=terms, seconds=record.seconds),
    )


def _decided(case: AccessCase, header: Header, record: Any) -> AccessCase:
    _require(
        0 <= record.max_seconds <= LONGEST * 100 and 0 <= record.pickup_seconds <= LONGEST,
        "a decision about no possible length of time",
    )
    ask = case.ask
    if ask is None:
        raise FoldInvalid("a decision without a request")
    _require(
        (record.question == "request") == (case.state == "requested"),
        f"a decision on `{record.question}` of a case that is {case.state}",
    )
    _require(
        record.outcome in _OUTCOMES.get(record.question, ()),
        f"`{record.outcome}` as an answer to `{record.question}`",
    )
    if record.question == "request":
        return _to_pick_up(_decided_request(case, ask, record), header)
    if record.question == "issue":
        return _decided_issue(case, ask, record)
    if record.question == "extend":
        return _decided_extension(case, record)
    # an approval follows it or it denied one, or the end of what no longer stands: until then the
    # case is as it was
    return case


#: what each question can be answered with
_ACCESS = ("deny", "needs_approvals", "auto_approve", "break_glass")
_OUTCOMES = {
    "request": _ACCESS,
    "issue": _ACCESS,
    "extend": _ACCESS,
    "approve": ("deny", "permit"),
    "stand": _ACCESS,
}


def _decided_request(case: AccessCase, ask: Ask, record: Any) -> AccessCase:
    if record.outcome == "deny":
        return replace(case, state="denied", ask=_measured(ask, record))
    _require(ask.seconds <= record.max_seconds, "a window longer than its rules allow")
    glass = record.outcome == "break_glass"
    _require(not glass or case.requested.emergency, "broken glass that nobody asked for")
    _require(
        (record.outcome == "needs_approvals") == bool(record.approvals),
        "an outcome that its required approvals contradict",
    )
    state = "pending" if record.approvals else "approved"
    return replace(
        case,
        state=state,
        ask=_measured(ask, record),
        break_glass=glass,
        obligations=record.requires,
    )


def _measured(ask: Ask, record: Any) -> Ask:
    return replace(
        ask,
        required=dict(record.approvals),
        max_seconds=record.max_seconds,
        deadline=record.deadline,
        pickup_seconds=record.pickup_seconds,
    )


def _decided_issue(case: AccessCase, ask: Ask, record: Any) -> AccessCase:
    """Asked again with today's facts: the requirement is the stricter of then and now."""
    if record.outcome == "deny":
        return case
    required = quorum.stricter(ask.required or {}, record.approvals)
    again = replace(
        ask,
        required=required,
        max_seconds=min(ask.max_seconds, record.max_seconds),
        approvals=tuple(given for given in ask.approvals if given.person in record.standing),
    )
    if case.state == "issued":
        return replace(case, ask=again)
    if not again.missing:
        return replace(case, ask=again, state="approved")
    waiting = replace(again, deadline=record.deadline or ask.deadline)
    return replace(case, ask=waiting, state="pending")


def _to_pick_up(case: AccessCase, header: Header) -> AccessCase:
    """Approved: from now on it waits for its pick-up."""
    if case.state != "approved" or case.ask is None:
        return case
    deadline = header.at + timedelta(seconds=case.ask.pickup_seconds)
    ask = replace(case.ask, deadline=deadline)
    return replace(case, ask=ask, approved_at=case.approved_at or header.at)


def _decided_extension(case: AccessCase, record: Any) -> AccessCase:
    extension = case.extension
    _require(extension is not None and extension.required is None, "no extension was asked for")
    if extension is None or record.outcome == "deny":
        return replace(case, extension=None)
    _require(extension.seconds <= record.max_seconds, "an extension longer than its rules allow")
    return replace(case, extension=_measured(extension, record))


def _approved(case: AccessCase, header: Header, record: Any) -> AccessCase:
    ask = _open_ask(case)
    _require(record.actor.type == "human", "an approval that no person gave")
    _require(record.approver == record.actor.principal, "an approval in somebody else's name")
    _require(case.permitted == record.approver, "an approval that no decision permits")
    _require(record.person in record.actor.persons, "an approval in another person's name")
    _require(record.person not in case.requested.actor.persons, "an approval by somebody who asked")
    _require(
        all(record.person != approval.person for approval in ask.approvals),
        "two approvals by one person",
    )
    _require(record.terms == ask.terms, "an approval of other terms")
    required = ask.required or {}
    _require(bool(record.groups), "an approval for no group")
    _require(set(record.groups) <= required.keys(), "an approval for a group that is not required")
    approval = Approval(
        approver=record.approver,
        person=record.person,
        groups=record.groups,
        at=header.at,
        sign_in=record.actor.sign_in,
    )
    ask = replace(ask, approvals=(*ask.approvals, approval))
    if case.extension is not None:
        return replace(case, extension=ask)
    state = "pending" if ask.missing else "approved"
    return _to_pick_up(replace(case, ask=ask, state=state), header)


def _open_ask(case: AccessCase) -> Ask:
    """What people may decide on now: the request while it is pending, else an extension."""
    ask = case.extension if case.state == "issued" else case.ask
    if ask is None or ask.required is None:
        raise FoldInvalid("nothing waits for a person's decision")
    return ask


def _refused(case: AccessCase, _header: Header, record: Any) -> AccessCase:
    _require(record.actor.type == "human", "a refusal that no person gave")
    _require(case.permitted == record.approver, "a refusal that no decision permits")
    _require(record.terms == _open_ask(case).terms, "a refusal of other terms")
    if case.extension is not None:
        return replace(case, extension=None)
    return replace(case, state="refused")


def _withdrawn(case: AccessCase, _header: Header, record: Any) -> AccessCase:
    _require(
        record.actor.principal == case.requested.requester
        or bool(set(record.actor.persons) & set(case.requested.actor.persons)),
        "withdrawn by somebody else",
    )
    return replace(case, state="withdrawn")


def _lapsed(case: AccessCase, _header: Header, _record: Any) -> AccessCase:
    return replace(case, state="lapsed")


def _authorized(case: AccessCase, header: Header, record: Any) -> AccessCase:
    ask = case.ask
    if ask is None:
        raise FoldInvalid("a grant without a request")
    _require(record.terms == ask.terms, "a grant of other terms")
    _require(record.definition == case.requested.definition, "a grant of another role definition")
    _require(not ask.missing, "a grant without its approvals")
    _require(record.satisfied == ask.satisfied, "a grant that misstates its approvals")
    if case.state == "issued":
        _require((record.starts, record.until) == (case.starts, case.until), "a moved window")
    else:
        length = record.until - record.starts
        allowed = timedelta(seconds=min(ask.seconds, ask.max_seconds))
        _require(timedelta(0) < length <= allowed, "a window longer than was approved")
        _require(record.starts <= header.at, "a window that begins in the future")
    state = case.state if case.state == "issued" else "authorized"
    return replace(
        case,
        state=state,
        starts=record.starts,
        until=record.until,
        deadline=record.deadline,
        offset_ms=record.offset_ms,
        order_open=True,
    )


def _issued(case: AccessCase, _header: Header, record: Any) -> AccessCase:
    _require(case.order_open, "a credential that nothing authorised")
    if case.credential is not None:
        _require(record.target == case.credential.target, "a credential of another target")
    return replace(case, state="issued", credential=record, order_open=False, failed="")


def _failed(case: AccessCase, _header: Header, record: Any) -> AccessCase:
    _require(case.order_open, "a failure of nothing")
    return replace(case, order_open=False, failed=record.reason)


def _extension_requested(case: AccessCase, header: Header, record: Any) -> AccessCase:
    _require(case.extension is None, "a second extension while one waits")
    _require(0 < record.seconds <= LONGEST, "a window of no possible length")
    _require(record.actor.principal == case.requested.requester, "an extension for somebody else")
    before = case.current
    terms = extension_terms(case.log_id, header, record, before.terms)
    return replace(case, extension=Ask(terms=terms, seconds=record.seconds))


def _extended(case: AccessCase, _header: Header, record: Any) -> AccessCase:
    ask, starts = case.extension, case.starts
    if ask is None or ask.required is None or starts is None:
        raise FoldInvalid("an extension that nobody asked for")
    _require(record.terms == ask.terms, "an extension of other terms")
    _require(not ask.missing, "an extension without its approvals")
    _require(record.satisfied == ask.satisfied, "an extension that misstates its approvals")
    allowed = timedelta(seconds=min(ask.seconds, ask.max_seconds))
    _require(record.until - starts <= allowed, "an extension longer than was approved")
    return replace(case, ask=ask, extension=None, until=record.until, deadline=record.deadline)


def _over(state: str) -> Callable[[AccessCase, Header, Any], AccessCase]:
    def over(case: AccessCase, header: Header, record: Any) -> AccessCase:
        if state == "expired":
            _require(record.due == case.until, "an expiry at another moment")
        if state == "ended":
            _require(
                bool(set(record.actor.persons) & set(case.requested.actor.persons)),
                "ended by somebody who does not hold it",
            )
        if state == "undone":
            _require(case.credential is None, "undone after its credential was handed out")
        due = record.due if state == "expired" else header.observed or header.at
        return replace(
            case,
            state=state,
            ended_at=due,
            extension=None,
            removal="open" if case.starts is not None else "nothing",
        )

    return over


def _unverified(case: AccessCase, header: Header, record: Any) -> AccessCase:
    return replace(
        case,
        removal="unverified",
        unverified_at=header.at,
        unverified_reason=record.reason,
    )


def _verified(case: AccessCase, header: Header, record: Any) -> AccessCase:
    for view in record.endpoints:
        _require(
            view.saw_itself and not (view.accounts or view.sessions or view.trouble),
            f"endpoint `{view.endpoint}` did not show that nothing is left",
        )
    _require(bool(record.endpoints), "a removal that looked nowhere")
    if case.credential is not None:
        seen = tuple(view.endpoint for view in record.endpoints)
        _require(seen == case.credential.capabilities.endpoints, "a removal that looked elsewhere")
        primary = record.endpoints[0]
        _require(primary.target == case.credential.target, "a removal seen on another target")
    if case.picked_up_anew(header.at):
        return _as_approved(case)
    return replace(case, removal="verified")


def _as_approved(case: AccessCase) -> AccessCase:
    """Nothing was handed out, and nothing is left: as if nobody had picked it up yet."""
    return replace(
        case,
        state="approved",
        starts=None,
        until=None,
        deadline=None,
        offset_ms=0,
        failed="",
        ended_at=None,
        removal="",
        unverified_at=None,
        unverified_reason="",
    )


def _closed(case: AccessCase, header: Header, record: Any) -> AccessCase:
    _require(record.records == header.position + 1, "a closing that miscounts the records")
    _require(
        case.state in OVER or case.removal in ("verified", "nothing"),
        "a grant closed before its removal was seen",
    )
    return replace(case, closed=True)


_Move = Callable[[AccessCase, Header, Any], AccessCase]

#: (state, kind) to what the record does; what is not here is not possible
TRANSITIONS: dict[tuple[str, str], _Move] = {
    ("", "access:requested"): _requested,
    ("requested", "decision:evaluated"): _decided,
    **{(state, "case:closed"): _closed for state in (*OVER, *ENDS)},
    **{
        (state, kind): move
        for state in ("pending", "approved")
        for kind, move in (
            ("decision:evaluated", _decided),
            ("access:withdrawn", _withdrawn),
            ("access:lapsed", _lapsed),
        )
    },
    ("pending", "approval:given"): _approved,
    ("pending", "approval:refused"): _refused,
    ("approved", "grant:revoked"): _over("revoked"),
    ("approved", "grant:authorized"): _authorized,
    ("authorized", "credential:issued"): _issued,
    ("authorized", "credential:failed"): _failed,
    ("authorized", "grant:undone"): _over("undone"),
    **{
        (state, kind): move
        for state in LIVE
        for kind, move in (
            ("grant:expired", _over("expired")),
            ("grant:revoked", _over("revoked")),
            ("grant:ended", _over("ended")),
        )
    },
    **{
        ("issued", kind): move
        for kind, move in (
            ("decision:evaluated", _decided),
            ("grant:authorized", _authorized),
            ("credential:issued", _issued),
            ("credential:failed", _failed),
            ("extension:requested", _extension_requested),
            ("approval:given", _approved),
            ("approval:refused", _refused),
            ("grant:extended", _extended),
        )
    },
    **{
        (state, kind): move
        for state in ENDS
        for kind, move in (
            ("removal:unverified", _unverified),
            ("removal:verified", _verified),
        )
    },
}


def possible(case: AccessCase, record: type[Record]) -> bool:
    """Whether a record of this kind could follow, by the table alone."""
    return not case.closed and (case.state, record.KIND) in TRANSITIONS
