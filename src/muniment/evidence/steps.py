"""How a numbered step of verification fails: with its number, whatever it was that did not hold."""

import contextlib
from collections.abc import Iterator

from muniment.errors import BundleInvalid, EvidenceError


@contextlib.contextmanager
def failing_as(step: int) -> Iterator[None]:
    """What does not hold inside fails this step: `BundleInvalid` for every `EvidenceError`."""
    try:
        yield
    except BundleInvalid:
        raise
    except EvidenceError as error:
        raise BundleInvalid(step, str(error)) from error


def require(step: int, holds: bool, otherwise: str) -> None:
    """Raises `BundleInvalid` with the step's number unless it holds."""
    if not holds:
        raise BundleInvalid(step, otherwise)
