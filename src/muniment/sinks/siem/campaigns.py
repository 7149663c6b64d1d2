"""Access reviews in the words of OCSF: a campaign is an entity, what it takes away is access."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import (
    ASSIGN,
    CREATE,
    DELETE,
    ENTITY,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    REVOKE,
    UPDATE,
    USER_ACCESS,
    Seen,
    Told,
    entity,
    tags,
    user,
)


def _campaign(seen: Seen, activity: int, severity: int, what: str, **more: Any) -> Told:
    data = {"data": more} if more else {}
    return Told(
        ocsf=ENTITY,
        activity=activity,
        message=f"an access review {what}",
        severity=severity,
        fields={"entity": entity(seen.header.case, "access review", **data)},
    )


def _counts(tallies: Mapping[str, int]) -> list[dict[str, Any]]:
    return tags(**{word: str(count) for word, count in tallies.items()})


def _opened(seen: Seen, record: records.CampaignOpened) -> Told:
    what = f"of {record.items} items is due by {record.due:%Y-%m-%dT%H:%M:%SZ}"
    return _campaign(seen, CREATE, LOW, what, rule=record.rule)


def _reassigned(seen: Seen, record: records.ReviewReassigned) -> Told:
    return _campaign(seen, UPDATE, INFORMATIONAL, f"gives {record.items} items to somebody else")


def _escalated(seen: Seen, record: records.ReviewEscalated) -> Told:
    severity = MEDIUM if record.open and record.share > 50 else INFORMATIONAL  # noqa: PLR2004 (half of the time)
    what = f"has used {record.share} % of its time; nobody has looked at {record.open} items"
    return _campaign(seen, UPDATE, severity, what)


def _decided(seen: Seen, record: records.ReviewDecided) -> Told:
    what = f"has {record.items} more verdicts"
    return _campaign(seen, UPDATE, INFORMATIONAL, what, verdicts=_counts(record.tallies))


def _applied(seen: Seen, record: records.ReviewApplied) -> Told:
    return _campaign(seen, UPDATE, LOW, f"was carried out for {len(record.items)} items")


def _signed(seen: Seen, record: records.CampaignSigned) -> Told:
    return _campaign(seen, UPDATE, LOW, "was signed", outcomes=_counts(record.tallies))


def _closed(seen: Seen, record: records.CampaignClosed) -> Told:
    left = record.outstanding
    what = f"was closed, {left} items outstanding" if left else "was closed"
    severity = MEDIUM if left else INFORMATIONAL
    return _campaign(seen, DELETE, severity, what, outcomes=_counts(record.tallies))


def _withdrawn(_: Seen, record: records.EligibilityWithdrawn) -> Told:
    role = f"{record.resource}/{record.role}"
    return Told(
        ocsf=USER_ACCESS,
        activity=REVOKE,
        message=f"a review took from {record.principal} that he may ask for {role}",
        severity=LOW,
        fields={"user": user(record.principal), "privileges": [role]},
    )


def _restored(seen: Seen, _: records.EligibilityRestored) -> Told:
    return Told(
        ocsf=USER_ACCESS,
        activity=ASSIGN,
        message="somebody may ask again for what a review had taken from him",
        severity=MEDIUM,
        fields={"user": user(seen.header.case), "privileges": ["eligibility"]},
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.CampaignOpened: _opened,
    records.ReviewReassigned: _reassigned,
    records.ReviewEscalated: _escalated,
    records.ReviewDecided: _decided,
    records.ReviewApplied: _applied,
    records.CampaignSigned: _signed,
    records.CampaignClosed: _closed,
    records.EligibilityWithdrawn: _withdrawn,
    records.EligibilityRestored: _restored,
}
