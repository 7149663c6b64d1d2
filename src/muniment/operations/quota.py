"""How often one principal may ask, sign in, or take copies: what is above that is counted only."""

from collections import deque
from typing import Literal

from muniment.errors import TooMany
from muniment.operations.service import Service


def within_quota(
    service: Service, principal: str, what: Literal["requests", "sign-ins", "copies"] = "requests"
) -> None:
    """Raises `TooMany`. Each of them is counted apart; nobody is bound who breaks glass."""
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
