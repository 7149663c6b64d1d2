"""How often one principal may ask, or sign in: what is above that is counted, not recorded."""

from collections import deque
from typing import Literal

from muniment.errors import TooMany
from muniment.operations.service import Service


def within_quota(
    service: Service, principal: str, what: Literal["requests", "sign-ins"] = "requests"
) -> None:
    """Raises `TooMany`. Each of the two is counted apart; nobody is bound who breaks glass."""
    now = service.log.clock.elapsed()
    recent = service.asks.setdefault((principal, what), deque())
    while recent and recent[0] <= now - 60:
        recent.popleft()
    if len(recent) >= service.limits.asks_per_minute:
        service.count("too-many")
        raise TooMany(
            f"at most {service.limits.asks_per_minute} {what} a minute; try again in a minute"
        )
    recent.append(now)
