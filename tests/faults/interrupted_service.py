"""
`muniment serve`, which is interrupted at one named point of an issue or an end.

    python interrupted_service.py POINT SIGNAL -- serve …

The point is reached once; then the process sends itself the signal. Run as a program by
`test_killed_service.py`: what happens at the target and in the log is real.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import functools
import os
import signal
import sys

from muniment.connectors.postgresql import PostgreSQL
from muniment.evidence.append import Outcome
from muniment.interfaces.cli.main import main
from muniment.operations.service import Service

#: step of an issue or an end: the method that takes it, and which of its calls is meant
STEPS = {
    "clock": (PostgreSQL, "now", None),
    "order": (PostgreSQL, "issue", None),
    "revoke": (PostgreSQL, "revoke", None),
    "probe": (PostgreSQL, "probe", None),
    "intent": (Service, "append", "grant:authorized"),
    "issued": (Service, "append", "credential:issued"),
    "declared": (Service, "append", "grant:ended"),
    "verified": (Service, "append", "removal:verified"),
}


def interrupt(point: str, number: int) -> None:
    """`before:order` or `after:order`: wrap the step's method."""
    when, _, step = point.partition(":")
    cls, name, kind = STEPS[step]
    plain = getattr(cls, name)
    reached = False

    @functools.wraps(plain)
    async def wrapped(*args, **kwargs):
        nonlocal reached
        mine = not reached and (kind is None or holds(args[0], args[1], kind))
        if mine and when == "before":
            reached = True
            os.kill(os.getpid(), number)
        result = await plain(*args, **kwargs)
        if mine and when == "after":
            reached = True
            os.kill(os.getpid(), number)
        return result

    setattr(cls, name, wrapped)


def holds(service, item, kind: str) -> bool:
    """Whether this append is the one that records the kind."""
    if isinstance(item, Outcome):
        entries = service.log.read_case(item.case) if item.case.startswith("mun_") else []
        drafts, _ = item.build(entries) if entries else ((), None)
    else:
        drafts = item.drafts
    return any(draft.kind == kind for draft in drafts)


if __name__ == "__main__":
    point, name = sys.argv[1:3]
    interrupt(point, getattr(signal, name))
    main(sys.argv[4:])
