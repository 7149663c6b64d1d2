"""A decision that lost against another is evaluated again."""

import asyncio
from collections.abc import Callable
from typing import Any

from muniment.errors import LogUnavailable, Stale
from muniment.operations.service import Service

#: seconds before each further attempt at a decision that lost against another. The clocks of nodes
#: differ: what one of them decides may have to wait until it is later than what another recorded
PAUSES = (0.0, *(2**n / 1000 for n in range(9)))


async def until_it_stands(attempt: Callable[[], Any]) -> Any:
    """Evaluate a decision again for as long as it loses against others: half a second at most."""
    for pause in PAUSES:
        try:
            return await attempt()
        except Stale:
            await asyncio.sleep(pause)
    try:
        return await attempt()
    except Stale as error:
        raise LogUnavailable(f"others keep being faster: {error}; try again") from error


async def until_known(service: Service) -> None:
    """
    Know every record that the database has by now.

    What the lists show was committed, and nobody may know it yet: who wrote it, on this node or
    another, has still to tell the head store. Raises `LogUnavailable` where that takes longer than
    half a second, as it does when its writer died there: whoever writes next takes it in.
    """
    tail = service.log.store.tail()
    for pause in PAUSES:
        known = await service.catch_up()
        if tail is None or service.log.size >= tail.size:
            return
        if not known:
            break
        await asyncio.sleep(pause)
    raise LogUnavailable("what was answered is being recorded; ask again shortly")
