"""
Takes one grant away: logins are blocked, sessions ended, what is left is handed over, the account
dropped; in this order, and from the beginning whenever it is called again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from muniment.connectors.postgresql import statements
from muniment.connectors.postgresql.links import Link, Links
from muniment.connectors.postgresql.settings import Endpoint
from muniment.errors import TargetUnavailable
from muniment.ports import Revoked

#: rounds in a row that must find nothing before the sessions of a grant count as ended
_QUIET_ROUNDS = 2
#: seconds between them: a login that was past its check when logins were blocked shows up by then
_BETWEEN_ROUNDS = 0.02
#: seconds that blocking logins may take before somebody is assumed to be in the way
_UNDISTURBED = 0.05
#: how often logins are blocked anew against a holder who keeps changing his own account
_TRIES = 20


class Removal:
    """The end of one grant. `patience` bounds, in seconds, each wait for sessions to end."""

    def __init__(
        self, links: Links, endpoints: Sequence[Endpoint], account: str, *, patience: float
    ) -> None:
        self._links = links
        self._primary, *self._replicas = endpoints
        self._account = account
        self._name = sql.Identifier(account)
        self._patience = patience
        #: what was ended: endpoint, process id, and its start, because process ids return
        self._ended: set[tuple[str, int, datetime]] = set()

    async def carry_out(self) -> Revoked:
        """Raises `TargetUnavailable` naming what is left to do; all that could be done is done."""
        try:
            accounts = await self._block_logins()
        except TargetUnavailable:
            # Logins stay open, but who is on a replica need not go on reading there.
            await self._on(self._replicas, self._kill)
            raise
        await self._end_sessions(self._primary)
        troubles = await self._on(self._replicas, self._end_sessions)
        if accounts:
            await self._drop()
        troubles += await self._on([self._primary, *self._replicas], self._kill)
        if troubles:
            raise TargetUnavailable("; ".join(dict.fromkeys(troubles)))
        return Revoked(accounts=accounts, sessions=len(self._ended))

    async def _on(
        self, endpoints: Sequence[Endpoint], step: Callable[[Endpoint], Awaitable[object]]
    ) -> list[str]:
        """Take one step on several endpoints at once; returns what went wrong."""
        results = await asyncio.gather(*map(step, endpoints), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, TargetUnavailable):
                raise failure
        return [str(failure) for failure in failures]

    async def _block_logins(self) -> int:
        """Commit that nobody can log in; returns how many accounts (0 or 1) there are."""
        async with self._links.kept(self._primary) as link:
            await self._end_orders(link)
            if not (await link.row(statements.EXISTS, (self._account,)))[0]:
                return 0
            # A holder may change his own password, and so hold a lock on his account's row. While
            # we wait in line for it, his sessions end, and with them his transaction.
            blocking = asyncio.ensure_future(self._block(link))
            try:
                while not (await asyncio.wait({blocking}, timeout=_UNDISTURBED))[0]:
                    # Not a kept link: we hold one, and might wait for our own turn.
                    async with self._links.fresh(self._primary) as other:
                        await self._round(self._primary, other)
                return await blocking
            finally:
                blocking.cancel()
                await asyncio.wait({blocking})

    async def _end_orders(self, link: Link) -> None:
        """An order that is still on its way would make the account anew behind our back."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience
        while True:
            (found,) = await link.row(statements.END_ORDERS, (self._account,))
            if not found:
                return
            if clock() > end:
                raise TargetUnavailable(f"an order for `{self._account}` does not end")
            await asyncio.sleep(_BETWEEN_ROUNDS)

    async def _block(self, link: Link) -> int:
        statement = sql.SQL(statements.BLOCK).format(account=self._name)
        for _ in range(_TRIES):
            try:
                await link.rows(statement)
            except psycopg.errors.UndefinedObject:
                return 0
            except psycopg.errors.InternalError_:
                # "tuple concurrently updated": the holder's change was committed first
                await self._round(self._primary, link)
            else:
                return 1
        raise TargetUnavailable(f"`{self._account}` keeps being changed while logins are blocked")

    async def _kill(self, endpoint: Endpoint) -> bool:
        """One round; returns whether it found a session."""
        async with self._links.kept(endpoint) as link:
            return await self._round(endpoint, link)

    async def _round(self, endpoint: Endpoint, link: Link) -> bool:
        found = await link.rows(statements.KILL, (self._account,))
        self._ended |= {(endpoint.name, pid, started) for pid, started, _ in found}
        return bool(found)

    async def _end_sessions(self, endpoint: Endpoint) -> None:
        """Rounds until nothing is found, at an endpoint that no longer admits the account."""
        clock = asyncio.get_running_loop().time
        end, quiet = clock() + self._patience, 0
        async with self._links.kept(endpoint) as link:
            while True:
                found = await self._round(endpoint, link)
                # A replica admits until it has replayed that logins are blocked.
                (admits,) = await link.row(statements.ADMITS, (self._account,))
                quiet = 0 if found or admits else quiet + 1
                if quiet == _QUIET_ROUNDS:
                    return
                if clock() > end:
                    what = "still admits the account" if admits else "still has sessions"
                    raise TargetUnavailable(f"`{endpoint.name}`: {what} of `{self._account}`")
                await asyncio.sleep(_BETWEEN_ROUNDS)

    async def _drop(self) -> None:
        async with self._links.kept(self._primary) as link:
            prepared = await link.rows(statements.PREPARED, (self._account,))
            footprint = await link.rows(statements.FOOTPRINT, (self._account,))
            if prepared or footprint:
                await self._clear_up(link, prepared, {database for (database,) in footprint})
            await link.rows(sql.SQL(statements.DROP).format(account=self._name))

    async def _clear_up(
        self, link: Link, prepared: Sequence[TupleRow], databases: set[str]
    ) -> None:
        """Hand over what the account has in each database."""
        await self._join(link)
        try:
            for database in sorted(databases | {place for place, _ in prepared}):
                gids = [gid for place, gid in prepared if place == database]
                await self._clear(database, gids)
        finally:
            await link.rows(sql.SQL(statements.LEAVE).format(account=self._name))

    async def _join(self, link: Link) -> None:
        """Become a member of the account, which its maker is not from 16 on."""
        modern = link.info.server_version >= 160000  # noqa: PLR2004 - libpq's number of 16
        options = sql.SQL("WITH INHERIT TRUE, SET TRUE" if modern else "")
        await link.rows(sql.SQL(statements.JOIN).format(account=self._name, options=options))

    async def _clear(self, database: str, gids: Sequence[str]) -> None:
        try:
            async with self._links.fresh(self._primary, database) as link:
                await self._hand_over(link, gids)
        except TargetUnavailable as error:
            raise TargetUnavailable(f"{error}, in the database `{database}`") from None

    async def _hand_over(self, link: Link, gids: Sequence[str]) -> None:
        heirs = await link.rows(statements.HEIR, (self._account,))
        await link.rows(sql.SQL(statements.BECOME).format(account=self._name))
        for gid in gids:
            await link.rows(sql.SQL(statements.ROLL_BACK).format(gid=sql.Literal(gid)))
        if not heirs:
            await link.rows(statements.UNBECOME)
        heir = sql.Identifier(heirs[0][0]) if heirs else sql.SQL("CURRENT_USER")
        await link.rows(sql.SQL(statements.REASSIGN).format(account=self._name, heir=heir))
        await link.rows(sql.SQL(statements.DISOWN).format(account=self._name))
