"""Cases by the beginnings of their ids: a unique one for a look, and enough of it for an act."""

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from muniment.errors import Malformed, NotFound

#: characters behind the prefix of an id that lists show
SHOWN: Final = 8


class _Case(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Case)


def one_of(cases: Iterable[T], beginning: str, what: str) -> T:
    """The only case whose id begins so. Raises `NotFound`."""
    found = [each for each in list(cases) if each.id.startswith(beginning)] if beginning else []
    if len(found) != 1:
        why = f"no {what} begins" if not found else f"more than one {what} begins"
        raise NotFound(f"{why} with `{beginning:.80}`")
    return found[0]


def check_meant(beginning: str, what: str) -> None:
    """
    Raises `Malformed` for less of an id than lists show.

    Who agrees to what cannot be taken back says to which: what is the only one today is another one
    tomorrow.
    """
    if len(beginning.partition("_")[2]) < SHOWN:
        raise Malformed(
            f"`{beginning:.80}` is too short to act on: name the {what} by its whole id, or by as "
            "much of it as lists show"
        )
