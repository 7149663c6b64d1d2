"""
Logins under way, which do not show yet whose they are.

A backend checks early whether its role may log in, and shows its user only at the end of the login.
In between its holder can draw it out (`post_auth_delay` is anybody's to set), and be seen by
nobody. But a login is one transaction, and locks its database after the check: `STARTING` finds it.
"""

from collections.abc import Mapping

#: seconds after which a login that had not locked its database yet has not been checked either
_CHECKED = 0.02
#: seconds that no login takes between its check and its end, unless it is drawn out
_DRAWN_OUT = 1.0


class Logins:
    """Those that were under way at one moment, for as long as one of them may have got in."""

    def __init__(self) -> None:
        self._first: set[int] | None = None
        self._since = 0.0
        self._checked: set[int] = set()

    def follow(self, starting: Mapping[int, bool], now: float) -> bool:
        """
        Takes what `STARTING` says, first and again; returns whether to wait and ask once more.

        Who begins later does not matter. Who is late to be checked was let in by nobody before the
        first time, and waits for his own client.
        """
        if self._first is None:
            self._first, self._since = set(starting), now
        self._first &= starting.keys()
        self._checked = {pid for pid in self._first if starting[pid]}
        return bool(self._checked or (self._first and now - self._since < _CHECKED))

    def hiding(self, now: float) -> frozenset[int]:
        """Process ids of those that are past their check for so long that it must be on purpose."""
        return frozenset(self._checked if now - self._since > _DRAWN_OUT else ())

    def forget(self, pid: int) -> None:
        """It was found not to matter."""
        if self._first is not None:
            self._first.discard(pid)
