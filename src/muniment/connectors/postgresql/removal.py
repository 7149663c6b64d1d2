"""
Takes one grant away: logins are blocked, sessions ended, what is left is handed over, the account
dropped; in this order, and from the beginning whenever it is called again.

A login that was past its check when logins were blocked does not show yet whose it is, and its
holder may draw that out (`post_auth_delay`). The server's locks show that there is one: none such
counts as gone before it has shown itself or ended.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from muniment.connectors.postgresql import statements
from muniment.connectors.postgresql.links import Link, Links
from muniment.connectors.postgresql.logins import Logins
from muniment.connectors.postgresql.settings import Endpoint
from muniment.errors import TargetUnavailable
from muniment.ports import Revoked

#: seconds between two rounds, where one is not enough
_BETWEEN_ROUNDS = 0.005
#: seconds that blocking logins may take before somebody is assumed to be in the way
_UNDISTURBED = 0.05
#: how often logins are blocked anew against a holder who keeps changing his own account
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What one round at an endpoint found."""

    #: how many sessions it ended
    sessions: int
    #: whether new logins were still let in when it began
    admits: bool
    #: process ids of logins under way, each with whether it is past its check
    starting: Mapping[int, bool]
    #: database and name of each prepared transaction, which outlive sessions
    prepared: Sequence[TupleRow]
    #: databases in which the account has something
    footprint: frozenset[str]


class Removal:
    """The end of one grant. `patience` bounds, in seconds, each wait for sessions to end."""

    def __init__(
        self, links: Links, endpoints: Sequence[Endpoint], account: str, *, patience: float
    ) -> None:
        self._links = links
        self._primary, *self._replicas = endpoints
        self._account = account
        self._patience = patience
        #: the logins that were under way when an endpoint no longer admitted the account
        self._logins: dict[Endpoint, Logins] = defaultdict(Logins)
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
        last = await self._end_sessions(self._primary)
        troubles = await self._on(self._replicas, self._end_sessions)
        if accounts:
            await self._drop(last)
        troubles += await self._on([self._primary, *self._replicas], self._see_through)
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

    def _filled(self, statement: LiteralString, **more: sql.Composable) -> sql.Composed:
        name, account = sql.Literal(self._account), sql.Identifier(self._account)
        return sql.SQL(statement).format(name=name, account=account, **more)

    async def _block_logins(self) -> int:
        """Commit that nobody can log in; returns how many accounts (0 or 1) there are."""
        async with self._links.kept(self._primary) as link:
            # It is our turn. The probe that follows looks on connections of its own, and a login
            # takes as long as all that we do here.
            for endpoint in (self._primary, *self._replicas):
                self._links.open_ahead(endpoint, self._account)
            # A holder may change his own password, and so hold a lock on his account's row. While
            # we wait in line for it, his sessions end, and with them his transaction.
            blocking = asyncio.ensure_future(self._block(link))
            try:
                while not (await asyncio.wait({blocking}, timeout=_UNDISTURBED))[0]:
                    # Not a kept link: we hold one, and might wait for our own turn.
                    async with self._links.fresh(self._primary) as other:
                        await self._end_found(self._primary, other)
                return await blocking
            finally:
                blocking.cancel()
                await asyncio.wait({blocking})

    async def _block(self, link: Link) -> int:
        """
        Ends orders and blocks logins, until no order was found just before logins were blocked.

        An order that is still on its way would make the account anew behind our back.
        """
        clock = asyncio.get_running_loop().time
        end, disturbed = clock() + self._patience, 0
        while True:
            try:
                orders, accounts = await self._try_to_block(link)
            except psycopg.errors.InternalError_:
                # "tuple concurrently updated": the holder's change was committed first
                disturbed += 1
                if disturbed == _TRIES:
                    what = f"`{self._account}` keeps being changed while logins are blocked"
                    raise TargetUnavailable(what) from None
                await self._end_found(self._primary, link)
                continue
            if not orders:
                return accounts
            if clock() > end:
                raise TargetUnavailable(f"an order for `{self._account}` does not end")
            await asyncio.sleep(_BETWEEN_ROUNDS)

    async def _try_to_block(self, link: Link) -> tuple[int, int]:
        """How many orders were under way, and how many accounts are blocked now."""
        end_orders = self._filled(statements.END_ORDERS)
        try:
            ((orders,),), _ = await link.answers(end_orders, self._filled(statements.BLOCK))
        except psycopg.errors.UndefinedObject:
            exists = self._filled(statements.EXISTS)
            ((orders,),), ((accounts,),) = await link.answers(end_orders, exists)
            # One that came to be in between is not blocked: as if its order were still under way.
            return orders + accounts, 0
        return orders, 1

    async def _kill(self, endpoint: Endpoint) -> None:
        async with self._links.kept(endpoint) as link:
            await self._end_found(endpoint, link)

    async def _end_found(self, endpoint: Endpoint, link: Link) -> None:
        """End the sessions that there are."""
        (found,) = await link.answers(self._filled(statements.KILL))
        self._note(endpoint, found)

    def _note(self, endpoint: Endpoint, found: Sequence[TupleRow]) -> None:
        self._ended |= {(endpoint.name, pid, started) for pid, started, _ in found}

    async def _round(self, endpoint: Endpoint, link: Link) -> _Round:
        """End the sessions that there are, and look what else there is, in this order."""
        ((admits,),), starting, found, prepared, footprint = await link.answers(
            self._filled(statements.ADMITS),
            self._filled(statements.STARTING),
            self._filled(statements.KILL),
            self._filled(statements.PREPARED),
            self._filled(statements.FOOTPRINT),
        )
        self._note(endpoint, found)
        return _Round(
            sessions=len(found),
            admits=bool(admits),
            starting=dict(starting),
            prepared=prepared,
            footprint=frozenset(database for (database,) in footprint),
        )

    async def _end_sessions(self, endpoint: Endpoint) -> _Round:
        """Rounds until nothing is found, at an endpoint that no longer admits the account."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience
        async with self._links.kept(endpoint) as link:
            while True:
                found = await self._round(endpoint, link)
                if not found.admits:
                    self._logins[endpoint].follow(found.starting, clock())
                if not (found.sessions or found.admits):
                    return found
                if clock() > end:
                    # A replica admits until it has replayed that logins are blocked.
                    what = "still admits the account" if found.admits else "still has sessions"
                    raise TargetUnavailable(f"`{endpoint.name}`: {what} of `{self._account}`")
                await asyncio.sleep(_BETWEEN_ROUNDS)

    async def _see_through(self, endpoint: Endpoint) -> None:
        """Wait for the logins that may have got in, and end what becomes of them."""
        clock = asyncio.get_running_loop().time
        end, logins = clock() + self._patience, self._logins[endpoint]
        async with self._links.kept(endpoint) as link:
            while True:
                starting, found = await link.answers(
                    self._filled(statements.STARTING), self._filled(statements.KILL)
                )
                self._note(endpoint, found)
                if not (logins.follow(dict(starting), clock()) or found):
                    return
                if clock() > end:
                    what = f"has a login under way that may be one of `{self._account}`"
                    raise TargetUnavailable(f"`{endpoint.name}` {what}")
                await self._end_hiding(link, logins, clock())
                await asyncio.sleep(_BETWEEN_ROUNDS)

    async def _end_hiding(self, link: Link, logins: Logins, now: float) -> None:
        """End the logins that take longer than any that was not drawn out, whosever they are."""
        for pid in logins.hiding(now):
            try:
                await link.answers(self._filled(statements.END, pid=sql.Literal(pid)))
            except psycopg.errors.InsufficientPrivilege:
                logins.forget(pid)  # a superuser's, so not the grant's

    async def _drop(self, last: _Round) -> None:
        """`last` is the round that found no session: nothing was added to what is left since."""
        async with self._links.kept(self._primary) as link:
            if last.prepared or last.footprint:
                await self._clear_up(link, last.prepared, last.footprint)
            await link.rows(self._filled(statements.DROP))

    async def _clear_up(
        self, link: Link, prepared: Sequence[TupleRow], databases: frozenset[str]
    ) -> None:
        """Hand over what the account has in each database."""
        await self._join(link)
        try:
            for database in sorted(databases | {place for place, _ in prepared}):
                gids = [gid for place, gid in prepared if place == database]
                await self._clear(database, gids)
        finally:
            await link.rows(self._filled(statements.LEAVE))

    async def _join(self, link: Link) -> None:
        """Become a member of the account, which its maker is not from 16 on."""
        modern = link.info.server_version >= 160000  # noqa: PLR2004 - libpq's number of 16
        options = sql.SQL("WITH INHERIT TRUE, SET TRUE" if modern else "")
        await link.rows(self._filled(statements.JOIN, options=options))

    async def _clear(self, database: str, gids: Sequence[str]) -> None:
        try:
            async with self._links.fresh(self._primary, database) as link:
                await self._hand_over(link, gids)
        except TargetUnavailable as error:
            raise TargetUnavailable(f"{error}, in the database `{database}`") from None

    async def _hand_over(self, link: Link, gids: Sequence[str]) -> None:
        heirs = await link.rows(self._filled(statements.HEIR))
        await link.rows(self._filled(statements.BECOME))
        for gid in gids:
            await link.rows(self._filled(statements.ROLL_BACK, gid=sql.Literal(gid)))
        if not heirs:
            await link.rows(statements.UNBECOME)
        heir = sql.Identifier(heirs[0][0]) if heirs else sql.SQL("CURRENT_USER")
        await link.rows(self._filled(statements.REASSIGN, heir=heir))
        await link.rows(self._filled(statements.DISOWN))
