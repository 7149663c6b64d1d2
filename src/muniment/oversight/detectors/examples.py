"""Facts for the examples beside the rules: in March 2026, whose second is a Monday."""

from datetime import datetime, timedelta, timezone
from typing import Any, Final

_FEBRUARY_28: Final = datetime(2026, 2, 28, tzinfo=timezone.utc)

Flat = dict[str, Any]


def on(day: int, clock: str = "10:00") -> str:
    """A moment of the day, in UTC; the 32nd of March is the first of April."""
    at = _FEBRUARY_28 + timedelta(days=day)
    return f"{at:%Y-%m-%d}T{clock}{':00' if clock.count(':') == 1 else ''}Z"


def about(who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    """What every fact says of the case that it belongs to."""
    return {
        "case": case,
        "requester": f"prn_{who}",
        "person": f"per_{who}",
        "persons": f" per_{who} ",
        "kind": "human",
        "resource": "orders-prod",
        "role": "readwrite",
        "tier": "prod",
        "emergency": False,
        **more,
    }


def request(time: str, who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    given = {"seconds": 3600, "cap": 28800, "letters": 30, "zone": "Europe/Berlin", **more}
    return {"type": "request.made", "time": time, **about(who, case, **given)}


def approval(time: str, by: str = "bo", who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    given = {"latency": 600, "zone": "Europe/Berlin", "on_call": False, "incident": False, **more}
    approver = {"approver": f"prn_{by}", "approver_person": f"per_{by}"}
    return {"type": "approval.given", "time": time, **about(who, case, **{**approver, **given})}


def refusal(time: str, by: str = "bo", who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    approver = {"approver": f"prn_{by}", "approver_person": f"per_{by}", "latency": 600}
    return {"type": "approval.refused", "time": time, **about(who, case, **{**approver, **more})}


def issue(time: str, who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    return {"type": "grant.issued", "time": time, **about(who, case, **{"seconds": 3600, **more})}


def over(time: str, who: str = "ana", case: str = "mun_1", **more: Any) -> Flat:
    given = {"how": "expired", "seconds": 3600, "sessions": 1, "used": 1800, **more}
    return {"type": "grant.over", "time": time, **about(who, case, **given)}


def activity(time: str, event: str = "statement", who: str = "ana", **more: Any) -> Flat:
    """Something that was done with the account of a grant, in its window."""
    given = {
        "source": "orders-log", "event": event, "account": "mun_1", "client": "192.0.2.7",
        "failed": False, "link": "strong", "reason_of_link": "account", "standing": "within",
        "own": False, **more,
    }  # fmt: skip
    return {"type": "activity", "time": time, **about(who, given.pop("case", "mun_1"), **given)}


def stray(time: str, event: str = "statement", **more: Any) -> Flat:
    """Something that was done with an account of nobody's grant."""
    return {
        "type": "activity", "time": time, "source": "orders-log", "resource": "orders-prod",
        "event": event, "account": "postgres", "client": "192.0.2.9", "failed": False,
        "link": "", "standing": "nobody", "own": False, **more,
    }  # fmt: skip
