"""
The life of an access case in the words of OCSF.

Asking and deciding is Entity Management of the request. What a grant gives and takes is User Access
Management, and what happens to the account at the target is Account Change: so "who could do what,
and was it really gone" is answered by two classes alone.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import (
    ACCOUNT,
    ALLOWED,
    ASSIGN,
    CREATE,
    DEACTIVATE,
    DENIED,
    ENTITY,
    FAILURE,
    HIGH,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    REVOKE,
    UPDATE,
    USER_ACCESS,
    Seen,
    Told,
    entity,
    milliseconds,
    privilege,
    requester,
    resources,
)

_DELETED = 6


def _request(seen: Seen) -> dict[str, Any]:
    return {"entity": entity(seen.header.case, "access request", name=privilege(seen))}


def _access(seen: Seen) -> dict[str, Any]:
    found: dict[str, Any] = {"user": _holder(seen), "privileges": [privilege(seen)]}
    if what := resources(seen):
        found["resources"] = what
    return found


def _holder(seen: Seen) -> dict[str, Any]:
    who = requester(seen)
    if seen.case.credential is not None:
        who["credential_uid"] = seen.case.credential.account
    return who


def _account(seen: Seen, account: str = "") -> dict[str, Any]:
    """The account at the target, held by whoever asked."""
    who = requester(seen)
    known = seen.case.credential.account if seen.case.credential is not None else ""
    if account or known:
        who["credential_uid"] = account or known
        who["account"] = {"uid": account or known, "name": account or known}
    return {"user": who}


# --- asking and deciding ----------------------------------------------------------------------


def _requested(seen: Seen, record: records.AccessRequested) -> Told:
    glass = "emergency access" if record.emergency else "access"
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message=f"{glass} to {record.resource}/{record.role} requested for {record.seconds} s",
        severity=HIGH if record.emergency else INFORMATIONAL,
        fields={
            "entity": entity(
                seen.header.case, "access request", name=f"{record.resource}/{record.role}"
            )
        },
    )


def _extension(seen: Seen, record: records.ExtensionRequested) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"longer access to {privilege(seen)} requested: {record.seconds} s in all",
        fields=_request(seen),
    )


def _evaluated(seen: Seen, record: records.DecisionEvaluated) -> Told:
    denied, glass = record.outcome == "deny", record.outcome == "break_glass"
    severity = LOW if denied else HIGH if glass else INFORMATIONAL
    policy = {
        "uid": record.bundle.hex(),
        "name": "policy bundle",
        "version": record.engine,
        "is_applied": True,
        "data": {"rules": list(record.rules), "question": record.question},
    }
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"policy answered `{record.outcome}` to `{record.question}` on {privilege(seen)}",
        severity=severity,
        status=FAILURE if denied else (1, "Success"),
        action=DENIED if denied else ALLOWED,
        fields={
            **_request(seen),
            "authorizations": [{"decision": record.outcome, "policy": policy}],
        },
    )


def _approved(seen: Seen, record: records.ApprovalGiven) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"{record.approver} approved access to {privilege(seen)}",
        action=ALLOWED,
        fields={**_request(seen), "authorizations": [{"decision": "approved"}]},
    )


def _refused(seen: Seen, record: records.ApprovalRefused) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"{record.approver} refused access to {privilege(seen)}",
        severity=LOW,
        status=FAILURE,
        action=DENIED,
        fields={**_request(seen), "authorizations": [{"decision": "refused"}]},
    )


def _withdrawn(seen: Seen, _: records.AccessWithdrawn) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=DEACTIVATE,
        message=f"the request for {privilege(seen)} was withdrawn",
        fields=_request(seen),
    )


def _lapsed(seen: Seen, record: records.AccessLapsed) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=DEACTIVATE,
        message=f"the request for {privilege(seen)} lapsed: {record.reason or 'not in time'}",
        fields={**_request(seen), "status_detail": record.reason or "not-in-time"},
    )


def _closed(seen: Seen, record: records.CaseClosed) -> Told:
    """Of whatever case: an access request, a review, a finding, an export."""
    kind = seen.case.opened.KIND.partition(":")[0] if seen.case.opened is not None else "case"
    type = "access request" if kind == "access" else kind
    return Told(
        ocsf=ENTITY,
        activity=DEACTIVATE,
        message=f"{type} closed with {record.records} records",
        fields={"entity": entity(seen.header.case, type), "status_detail": "closed"},
    )


# --- giving and taking ------------------------------------------------------------------------


def _authorized(seen: Seen, record: records.GrantAuthorized) -> Told:
    return Told(
        ocsf=USER_ACCESS,
        activity=ASSIGN,
        message=f"{privilege(seen)} granted until {record.until:%Y-%m-%dT%H:%M:%SZ}",
        severity=HIGH if _is_emergency(seen) else LOW,
        action=ALLOWED,
        fields={**_access(seen), "start_time": milliseconds(record.starts)},
    )


def _extended(seen: Seen, record: records.GrantExtended) -> Told:
    return Told(
        ocsf=USER_ACCESS,
        activity=ASSIGN,
        message=f"{privilege(seen)} extended until {record.until:%Y-%m-%dT%H:%M:%SZ}",
        severity=HIGH if _is_emergency(seen) else LOW,
        action=ALLOWED,
        fields=_access(seen),
    )


def _is_emergency(seen: Seen) -> bool:
    return seen.case.asked is not None and seen.case.asked.emergency


def _over(seen: Seen, how: str, detail: str, severity: int = INFORMATIONAL) -> Told:
    """An end: what it covers is the time that access really lasted."""
    ended = seen.header.observed or seen.header.at
    return Told(
        ocsf=USER_ACCESS,
        activity=REVOKE,
        message=f"{privilege(seen)} {how}",
        severity=severity,
        fields={**_access(seen), **_lasted(seen.case.starts, ended), "status_detail": detail},
    )


def _lasted(starts: datetime | None, ended: datetime) -> dict[str, Any]:
    if starts is None or ended < starts:
        return {"end_time": milliseconds(ended)}
    start, end = milliseconds(starts), milliseconds(ended)
    return {"start_time": start, "end_time": end, "duration": end - start}


def _expired(seen: Seen, _: records.GrantExpired) -> Told:
    return _over(seen, "expired", "expired")


def _revoked(seen: Seen, record: records.GrantRevoked) -> Told:
    detail = f"revoked: {record.reason}" if record.reason else "revoked"
    return _over(seen, f"was {detail}", detail, MEDIUM)


def _ended(seen: Seen, _: records.GrantEnded) -> Told:
    return _over(seen, "was given back by its holder", "ended-by-holder")


def _undone(seen: Seen, _: records.GrantUndone) -> Told:
    return _over(seen, "was undone: no credential reached its holder", "undone", LOW)


# --- the account at the target ----------------------------------------------------------------


def _issued(seen: Seen, record: records.CredentialIssued) -> Told:
    anew = seen.case.credential is not None
    what = "got a new secret" if anew else "was created"
    return Told(
        ocsf=ACCOUNT,
        activity=4 if anew else 1,
        message=f"account {record.account} {what} at {privilege(seen)}",
        severity=HIGH if _is_emergency(seen) else LOW,
        fields=_account(seen, record.account),
    )


def _failed(seen: Seen, record: records.CredentialFailed) -> Told:
    return Told(
        ocsf=ACCOUNT,
        activity=1,
        message=f"no account came of {privilege(seen)}: {record.reason}",
        severity=LOW,
        status=FAILURE,
        fields={**_account(seen), "status_detail": record.reason},
    )


def _verified(seen: Seen, record: records.RemovalVerified) -> Told:
    return Told(
        ocsf=ACCOUNT,
        activity=_DELETED,
        message=(
            f"access to {privilege(seen)} was seen gone after {record.lag_ms} ms:"
            f" {record.accounts_removed} accounts removed, {record.sessions_killed} sessions ended"
        ),
        fields=_account(seen),
    )


def _unverified(seen: Seen, record: records.RemovalUnverified) -> Told:
    return Told(
        ocsf=ACCOUNT,
        activity=_DELETED,
        message=f"access to {privilege(seen)} could not be seen gone: {record.reason}",
        severity=HIGH if record.reason in ("still-there", "other-target") else MEDIUM,
        status=FAILURE,
        fields={**_account(seen), "status_detail": record.reason},
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.AccessRequested: _requested,
    records.ExtensionRequested: _extension,
    records.DecisionEvaluated: _evaluated,
    records.ApprovalGiven: _approved,
    records.ApprovalRefused: _refused,
    records.AccessWithdrawn: _withdrawn,
    records.AccessLapsed: _lapsed,
    records.GrantAuthorized: _authorized,
    records.GrantExtended: _extended,
    records.GrantExpired: _expired,
    records.GrantRevoked: _revoked,
    records.GrantEnded: _ended,
    records.GrantUndone: _undone,
    records.CredentialIssued: _issued,
    records.CredentialFailed: _failed,
    records.RemovalVerified: _verified,
    records.RemovalUnverified: _unverified,
    records.CaseClosed: _closed,
}
