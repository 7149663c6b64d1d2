"""The connector port on PostgreSQL."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar

from muniment.access.records import Capabilities
from muniment.connectors.postgresql import foreign, rights, sight, statements
from muniment.connectors.postgresql.links import Links
from muniment.connectors.postgresql.log import read_log
from muniment.connectors.postgresql.passwords import random_password, scram_verifier
from muniment.connectors.postgresql.removal import Removal
from muniment.connectors.postgresql.settings import RoleDefinition, Settings
from muniment.errors import Malformed
from muniment.ports import (
    Activity,
    Gives,
    GrantOrder,
    Inventory,
    Issued,
    MissingRight,
    Probe,
    Revoked,
    Secret,
    TargetSettings,
)


class PostgreSQL:
    """One PostgreSQL with its replicas; each grant is a login role of the grant's own name."""

    kind: ClassVar[str] = "postgresql"
    secret_options: ClassVar[tuple[str, ...]] = ("password",)

    def __init__(self, settings: TargetSettings) -> None:
        self._settings = Settings.parse(settings.options, settings.resource)
        self._endpoints = self._settings.servers(settings.resource)
        self._primary = self._endpoints[0]
        self._grant_form = re.compile(rf"{re.escape(settings.prefix)}_[a-z2-7]{{26}}")
        self._links = Links(self._settings, settings.secrets.get("password"))
        self._needs = rights.Needs()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            expires_new_logins=True,
            # VALID UNTIL is looked at when a password is checked, and never again.
            expires_live_sessions=False,
            kills_live_sessions=True,
            log_names_grant=self._settings.log != "none",
            enforces_deadline=True,
            extends_live=True,
            endpoints=tuple(endpoint.name for endpoint in self._endpoints),
        )

    def check_role(self, role: Mapping[str, Any]) -> None:
        # Remembered, so that `missing_rights` knows what this resource's roles need.
        self._needs.add(RoleDefinition.parse(role))

    def gives(self, role: Mapping[str, Any]) -> Gives:
        return Gives(member_of=frozenset(RoleDefinition.parse(role).grants))

    def removal_of(self, account: str) -> tuple[str, ...]:
        return foreign.removal_of(account)

    async def now(self) -> datetime:
        async with self._links.kept(self._primary) as link:
            now: datetime = (await link.row(statements.NOW))[0]
        return now

    async def issue(self, order: GrantOrder) -> Issued:
        role = RoleDefinition.parse(order.role)
        password = random_password()
        verifier = scram_verifier(password)
        comment = {"grant": order.grant, "authorization": order.authorization}
        target = await self._carry_out(
            statements.ISSUE,
            account=self._account(order.grant),
            deadline=order.deadline.isoformat(),
            until=order.until.isoformat(),
            verifier=verifier,
            grants=role.grants,
            log_statements=role.log_statements,
            sessions=self._settings.connection_limit or -1,
            comment=json.dumps(comment, separators=(",", ":")),
        )
        return Issued(
            secret=Secret(password),
            connection={**self._primary.public, "user": order.grant},
            account=order.grant,
            # The verifier holds a random salt; a digest of the password alone stands nowhere.
            fingerprint=sha256(verifier.encode()).hexdigest(),
            native_expiry=order.until,
            target=target,
        )

    async def extend(self, grant: str, until: datetime, deadline: datetime) -> datetime | None:
        await self._carry_out(
            statements.EXTEND,
            account=self._account(grant),
            deadline=deadline.isoformat(),
            until=until.isoformat(),
        )
        return until

    async def revoke(self, grant: str) -> Revoked:
        patience = self._settings.statement_timeout_ms / 1000
        account = self._account(grant)
        return await Removal(self._links, self._endpoints, account, patience=patience).carry_out()

    async def probe(self, grant: str) -> Probe:
        return await sight.probe(self._links, self._endpoints, self._account(grant))

    async def inventory(self) -> Inventory:
        return await sight.inventory(self._links, self._endpoints, self._grant_of)

    def read_log(self, lines: Iterable[str]) -> Iterator[Activity]:
        return read_log(lines, self._settings.log, self._grant_of)

    async def missing_rights(self) -> tuple[MissingRight, ...]:
        logs = self._settings.log != "none"
        return await rights.missing(self._links, self._endpoints, self._needs, logs=logs)

    async def close(self) -> None:
        await self._links.close()

    async def _carry_out(self, statement: str, *, account: str, **order: object) -> str:
        """Send an order that the target refuses if it comes late; returns who the target is."""
        order |= {"account": account, "timeout": self._settings.statement_timeout_ms}
        async with self._links.kept(self._primary) as link:
            target, *_ = await link.row(statements.TAKE_ORDER, (account, json.dumps(order)))
            # Nothing has happened so far. The next message does all of it or nothing.
            await link.rows(statement)
            await link.rows(statements.FORGET_ORDER)
        return f"postgresql:{target}"

    def _account(self, grant: str) -> str:
        """The name of the grant's account, which is the grant's own; never another's."""
        if not self._grant_of(grant):
            raise Malformed("this is no grant id of this installation")
        return grant

    def _grant_of(self, account: str) -> str:
        return account if self._grant_form.fullmatch(account) else ""
