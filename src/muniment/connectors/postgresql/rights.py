"""What the connector's own account needs at a target, and the SQL that gives it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import LiteralString

from muniment.connectors.postgresql.links import Link, Links
from muniment.connectors.postgresql.settings import Endpoint, RoleDefinition
from muniment.errors import ConfigInvalid
from muniment.ports import MissingRight

#: the first version that lets a role without superuser set log_statement for another
_OLDEST = 150000
#: the first version in which CREATEROLE alone grants nothing
_ADMIN_NEEDED = 160000

_IDENTITY_FUNCTIONS = "pg_control_system(), pg_control_checkpoint(), pg_control_recovery()"

#: what only evidence in the target's own log gains by: a managed server may not let us have it
_LOGINS = "find logins in the target's log"
#: What our account may do, one column per right; a superuser may do everything.
_OWN: LiteralString = """
    SELECT quote_ident(rolname), rolcreaterole OR rolsuper,
           pg_has_role('pg_signal_backend', 'USAGE'), pg_has_role('pg_read_all_stats', 'USAGE'),
           has_parameter_privilege('log_statement', 'SET'),
           has_function_privilege('pg_control_system()', 'EXECUTE')
             AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
             AND has_function_privilege('pg_control_recovery()', 'EXECUTE'),
           current_setting('log_connections') ~* '^(on|true|yes|1)$|all|authorization'
      FROM pg_roles WHERE rolname = current_user
"""

#: Of a role to be granted: whether it exists, and whether we may grant it.
_ROLE: LiteralString = """
    SELECT pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') FROM pg_roles WHERE rolname = %s
"""

#: Databases that a role may enter and we may not, though it may leave something there.
_CLOSED: LiteralString = """
    SELECT DISTINCT d.datname FROM pg_database d, pg_roles r
     WHERE d.datallowconn AND r.rolname = ANY (%s)
       AND has_database_privilege(r.oid, d.oid, 'CONNECT')
       AND NOT has_database_privilege(d.oid, 'CONNECT') ORDER BY d.datname
"""


class Needs:
    """What the role definitions of one resource ask of the target."""

    def __init__(self) -> None:
        self.grants: set[str] = set()
        self.log_statements = False

    def add(self, role: RoleDefinition) -> None:
        self.grants.update(role.grants)
        self.log_statements |= role.log_statements


async def missing(
    links: Links, endpoints: Sequence[Endpoint], needs: Needs, *, logs: bool
) -> tuple[MissingRight, ...]:
    """Rights are the same in the whole cluster; a replica that does not let us in raises."""
    primary, *replicas = endpoints
    async with links.fresh(primary) as link:
        if link.info.server_version < _OLDEST:
            found = [("be used: it is older than PostgreSQL 15", "-- upgrade the server")]
        else:
            found = await _missing(link, needs, logs=logs)
    for replica in replicas:
        async with links.fresh(replica):
            pass
    return tuple(
        MissingRight(endpoint=primary.name, right=right, remedy=remedy, needed=right != _LOGINS)
        for right, remedy in found
    )


async def _missing(link: Link, needs: Needs, *, logs: bool) -> list[tuple[str, str]]:
    user, creates, signals, sees, sets_log, knows, logins_logged = await link.row(_OWN)
    held = [
        (creates, "create roles", f"ALTER ROLE {user} CREATEROLE;"),
        (signals, "end sessions", f"GRANT pg_signal_backend TO {user};"),
        (sees, "see all sessions", f"GRANT pg_read_all_stats TO {user};"),
        (
            sets_log or not needs.log_statements,
            "have the statements of a grant logged",
            f"GRANT SET ON PARAMETER log_statement TO {user};",
        ),
        (
            knows,
            "tell this server from another",
            f"GRANT EXECUTE ON FUNCTION {_IDENTITY_FUNCTIONS} TO {user};",
        ),
        (
            logins_logged or not logs,
            _LOGINS,
            "ALTER SYSTEM SET log_connections = on; SELECT pg_reload_conf();",
        ),
    ]
    found = [(right, remedy) for holds, right, remedy in held if not holds]
    for name in sorted(needs.grants):
        found += await _missing_for_role(link, name, user)
    for (database,) in await link.rows(_CLOSED, (sorted(needs.grants),)):
        remedy = f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {user};"
        found.append((f"clear up in the database `{database}`", remedy))
    return found


async def _missing_for_role(link: Link, name: str, user: str) -> list[tuple[str, str]]:
    answer = await link.rows(_ROLE, (name,))
    if not answer:
        return [(f"find the role `{name}`", f"CREATE ROLE {_quoted(name)} NOLOGIN;")]
    if answer[0][0] or link.info.server_version < _ADMIN_NEEDED:
        return []
    options = "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    return [(f"grant the role `{name}`", f"GRANT {_quoted(name)} TO {user} {options};")]


def setup_sql(
    *,
    user: str,
    grants: Iterable[str],
    databases: Iterable[str] = (),
    log_statements: bool = True,
    verifier: str | None = None,
) -> str:
    r"""
    SQL that makes the connector's account and gives it what it needs, and nothing more.

    For a superuser, or on a managed server its administrator, to run in psql; a second run changes
    nothing. `verifier` comes from `scram_verifier`; without it the account gets its password from
    `\password`. `databases` are those that not everybody may enter.
    """
    account = _account(user, verifier)
    given = _given(_quoted(user), grants, databases, log_statements=log_statements)
    ending = [] if verifier is not None else [f"\\password {_quoted(user)}"]
    return "\n".join([*_BEGIN, *account, *given, "COMMIT;", *ending, *_END, ""])


_BEGIN = (
    "-- The account of Muniment's connector: it makes one role per grant, and removes it.",
    "BEGIN;",
)
_END = (
    "-- So that the target's own log names each grant, the server needs `log_connections = on`,",
    "-- `logging_collector = on` and `log_destination = 'jsonlog'`.",
)


def _account(user: str, verifier: str | None) -> Iterator[str]:
    password = "" if verifier is None else f" PASSWORD {_literal(verifier)}"
    yield "DO $$ BEGIN"
    yield f"  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {_literal(user)})"
    yield f"  THEN CREATE ROLE {_quoted(user)};"
    yield "  END IF;"
    yield "END $$;"
    yield f"ALTER ROLE {_quoted(user)} LOGIN CREATEROLE{password};"


def _given(
    user: str, grants: Iterable[str], databases: Iterable[str], *, log_statements: bool
) -> Iterator[str]:
    yield "-- to end sessions, and to see all of them"
    yield f"GRANT pg_signal_backend, pg_read_all_stats TO {user};"
    if log_statements:
        yield "-- to have the statements of a grant logged, and of nobody else"
        yield f"GRANT SET ON PARAMETER log_statement TO {user};"
    yield "-- to grant these, without having them (before 16 the two go together)"
    for name in grants:
        yield from _admin(_quoted(name), user)
    for database in databases:
        yield f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {user};"


def _admin(role: str, user: str) -> Iterator[str]:
    newer = f"GRANT {role} TO {user} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    yield "DO $$ BEGIN"
    yield "  IF current_setting('server_version_num')::int >= 160000 THEN"
    yield f"    EXECUTE {_literal(newer)};"
    yield "  ELSE"
    yield f"    GRANT {role} TO {user} WITH ADMIN OPTION;"
    yield "  END IF;"
    yield "END $$;"


def _quoted(name: str) -> str:
    """An identifier of SQL."""
    if "\0" in name or "$$" in name:
        raise ConfigInvalid("a name of PostgreSQL holds neither a zero byte nor, here, `$$`")
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
