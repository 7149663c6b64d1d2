"""What can be seen at a target: a probe of one grant, and everything there is."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from psycopg import sql
from psycopg.rows import TupleRow

from muniment.access.records import EndpointView
from muniment.connectors.postgresql import statements
from muniment.connectors.postgresql.links import Link, Links
from muniment.connectors.postgresql.settings import Endpoint
from muniment.errors import TargetUnavailable
from muniment.ports import Account, Inventory, Privilege, Probe, Session

#: which grant an account's name stands for; empty if it is none of ours
GrantOf = Callable[[str], str]

#: seconds that a replica has to replay what the primary had written when the probe began, and that
#: a login under way has to show whose it is
_CATCH_UP = 1.0
_BETWEEN_LOOKS = 0.01
#: what VALID UNTIL '-infinity' reads as: expired, whenever one looks
_ALWAYS_EXPIRED = datetime.min.replace(tzinfo=timezone.utc)


async def probe(links: Links, endpoints: Sequence[Endpoint], account: str) -> Probe:
    """Look at the primary, then at every replica as of that moment, each on a fresh connection."""
    primary, *replicas = endpoints
    view, position = await _look(links, primary, account, first=True)
    others = await asyncio.gather(
        *(_look(links, replica, account, after=position) for replica in replicas)
    )
    return Probe(endpoints=(view, *(other for other, _ in others)))


async def _look(
    links: Links,
    endpoint: Endpoint,
    account: str,
    *,
    first: bool = False,
    after: str | None = None,
) -> tuple[EndpointView, str | None]:
    """One endpoint, and how far its history went; `after` is where a replica must have come."""
    try:
        async with links.fresh(endpoint, use=account) as link:
            behind = after is not None and not await _caught_up(link, after)
            answer, unclear = await _settled(link, account)
    except TargetUnavailable as error:
        return _unseen(endpoint, str(error)), None
    identity, replica, position, sees, accounts, sessions, orders, prepared = answer
    troubles = {
        "has not yet replayed what the primary had written": behind,
        "is a replica, and stands first among the endpoints": replica and first,
        "holds an order for this grant that has not ended": orders,
        "holds a prepared transaction of the account": prepared,
        "has a login under way that may be one of the account": unclear,
        "does not show us our own session or those of others": not sees,
    }
    trouble = "; ".join(text for text, holds in troubles.items() if holds)
    view = EndpointView(
        endpoint=endpoint.name,
        target=f"postgresql:{identity}",
        saw_itself=sees,
        accounts=accounts,
        sessions=sessions,
        trouble=f"`{endpoint.name}` {trouble}" if trouble else "",
    )
    return view, position


def _unseen(endpoint: Endpoint, trouble: str) -> EndpointView:
    return EndpointView(
        endpoint=endpoint.name, target="", saw_itself=False, accounts=0, sessions=0, trouble=trouble
    )


async def _settled(link: Link, account: str) -> tuple[TupleRow, bool]:
    """
    What there is once every login that was under way shows whose it is; whether one does not.

    One that is not past its check yet is not waited for: what is gone lets nobody in.
    """
    clock = asyncio.get_running_loop().time
    end, waits = clock() + _CATCH_UP, None
    name = sql.Literal(account)
    look = [sql.SQL(text).format(name=name) for text in (statements.STARTING, statements.LOOK)]
    while True:
        starting, (answer,) = await link.answers(*look)
        checked = {pid for pid, is_checked in starting if is_checked}
        waits = checked if waits is None else waits & checked
        if not waits or clock() > end:
            return answer, bool(waits)
        await asyncio.sleep(_BETWEEN_LOOKS)


async def _caught_up(link: Link, position: str) -> bool:
    """
    Wait a moment until a replica has replayed up to `position`.

    A replica that lags may not even have heard of an account that is gone at the primary, and
    would admit it while it replays both.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + _CATCH_UP
    while not (await link.row(statements.CAUGHT_UP, (position,)))[0]:
        if clock() > end:
            return False
        await asyncio.sleep(_BETWEEN_LOOKS)
    return True


async def inventory(links: Links, endpoints: Sequence[Endpoint], grant_of: GrantOf) -> Inventory:
    """Accounts and privileges of the primary, and the sessions of every endpoint."""
    primary = endpoints[0]
    async with links.fresh(primary) as link:
        identity, own = await link.row(f"SELECT {statements.IDENTITY}, current_user")
        accounts = await link.rows(statements.ACCOUNTS)
        databases = [name for (name,) in await link.rows(statements.DATABASES)]
    sessions = [await _sessions(links, endpoint, grant_of) for endpoint in endpoints]
    privileges = [await _privileges(links, primary, database) for database in databases]
    return Inventory(
        target=f"postgresql:{identity}",
        accounts=tuple(_account(row, grant_of) for row in accounts),
        sessions=tuple(session for found in sessions for session in found),
        privileges=tuple(privilege for found in privileges for privilege in found),
        own=(own,),
    )


def _account(row: TupleRow, grant_of: GrantOf) -> Account:
    name, can_login, superuser, member_of, expires, expired, attributes = row
    return Account(
        name=name,
        grant=grant_of(name),
        can_login=can_login,
        is_superuser=superuser,
        member_of=tuple(member_of),
        expires=_ALWAYS_EXPIRED if expired else expires,
        attributes=tuple(attributes),
    )


async def _sessions(links: Links, endpoint: Endpoint, grant_of: GrantOf) -> list[Session]:
    async with links.fresh(endpoint) as link:
        rows = await link.rows(statements.SESSIONS)
    return [
        Session(
            account=account,
            grant=grant_of(account),
            started=started,
            client=client,
            id=id,
            endpoint=endpoint.name,
        )
        for account, started, client, id in rows
    ]


async def _privileges(links: Links, primary: Endpoint, database: str) -> list[Privilege]:
    async with links.fresh(primary, database) as link:
        rows = await link.rows(statements.PRIVILEGES)
    return [
        Privilege(account=account, object=f"{database}/{name}", privilege=privilege)
        for account, name, privilege in rows
    ]
