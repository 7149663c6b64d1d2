"""
What may be used once, and soon: codes that stand for a session.

All of it lies in this process and is gone with it: whoever was about to use one asks for another.
Nothing here grows without bound, however many begin and never come back.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Generic, TypeVar

from muniment.errors import TooMany
from muniment.ports import Secret

T = TypeVar("T")

#: how long a code may be carried from one screen to another
CODE_HOLDS: Final = timedelta(minutes=2)
#: without those that are read as another: 0 and O, 1 and I and L
_LETTERS: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_LENGTH: Final = 8
_MOST: Final = 10_000
_MINUTE: Final = timedelta(minutes=1)


def typed_code() -> str:
    """Eight letters and digits, which is more than 39 random bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def as_typed(text: str) -> str:
    """A code as somebody typed it: in any case, with whatever stands between its halves."""
    return "".join(char for char in text.upper() if char.isascii() and char.isalnum())


def _unguessable() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class OneTime(Generic[T]):
    """Values by a key that works once, and for so long. The oldest make room for new ones."""

    holds: timedelta
    new_key: Callable[[], str] = _unguessable
    _kept: dict[bytes, tuple[datetime, str, T]] = field(default_factory=dict)

    def add(self, value: T, now: datetime, *, owner: str = "") -> str:
        """The key. What the same `owner` had before works no more."""
        if owner:
            self._kept = {hash_: kept for hash_, kept in self._kept.items() if kept[1] != owner}
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > now and len(self._kept) < _MOST:
                break
            del self._kept[oldest]
        made = self.new_key()
        self._kept[_hash(made)] = (now + self.holds, owner, value)
        return made

    def take(self, key: str, now: datetime) -> T | None:
        """Looked up by hash: how long that takes says nothing about a key."""
        until, _, value = self._kept.pop(_hash(key), (now, "", None))
        return value if until > now else None


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()


@dataclass
class Guesses:
    """How often somebody may be wrong within a minute: from one address, and from all of them."""

    from_one: int = 10
    from_all: int = 300
    _wrong: deque[tuple[datetime, str]] = field(default_factory=deque)

    def check(self, address: str, now: datetime) -> None:
        """Raises `TooMany`, for a right guess too."""
        while self._wrong and self._wrong[0][0] + _MINUTE <= now:
            self._wrong.popleft()
        from_one = sum(wrong == address for _, wrong in self._wrong)
        if from_one >= self.from_one or len(self._wrong) >= self.from_all:
            raise TooMany("too many wrong codes; wait a minute")

    def wrong(self, address: str, now: datetime) -> None:
        self._wrong.append((now, address))


@dataclass(frozen=True, kw_only=True)
class Promised:
    """A session that a program on the same machine may fetch, if it is the one that asked."""

    #: the browser's own token: what is promised holds only while that does
    token: Secret
    #: RFC 7636 section 4.2, S256
    challenge: str


@dataclass
class UnderWay:
    """Every code that was given out here."""

    #: static tokens, by a code that their holder types into the page
    codes: OneTime[Secret] = field(default_factory=lambda: OneTime(CODE_HOLDS, typed_code))
    promised: OneTime[Promised] = field(default_factory=lambda: OneTime(_MINUTE))
    guesses: Guesses = field(default_factory=Guesses)
