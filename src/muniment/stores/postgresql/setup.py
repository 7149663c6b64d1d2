"""The SQL that makes and upgrades a schema, and the checks that it was run and gives no more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final, Literal, LiteralString

from psycopg import errors

from muniment.errors import ConfigInvalid
from muniment.stores.postgresql.connections import Connections, Session

Kind = Literal["log", "heads", "events"]


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What one kind of database consists of."""

    #: where its steps lie, below `stores/schema`
    folder: str
    #: what the program's role is given, by table
    grants: Mapping[str, str]
    #: tables behind triggers that refuse a change, and what the role must never have on them
    fenced: Mapping[str, str]
    #: the table in shelves, which an erasure rewrites
    shelves: str = ""


_SHAPES: Final[Mapping[Kind, _Shape]] = {
    "log": _Shape(
        folder="postgresql",
        grants={
            "migrations": "SELECT",
            "entries": "SELECT, INSERT",
            "case_entries": "SELECT, INSERT",
            "sections": "SELECT, INSERT, DELETE",
            "tombstones": "SELECT, INSERT, UPDATE (gone)",
            "documents": "SELECT, INSERT",
            "tiles": "SELECT, INSERT, UPDATE",
            "checkpoints": "SELECT, INSERT",
            "log_state": "SELECT, UPDATE",
            "cases": "SELECT, INSERT, UPDATE, DELETE",
            "due": "SELECT, INSERT, UPDATE, DELETE",
            "duties": "SELECT, INSERT, UPDATE",
            "answers": "SELECT, INSERT",
            "published": "SELECT, INSERT, UPDATE",
            "stamps": "SELECT, INSERT, DELETE",
            "forwarded": "SELECT, INSERT, UPDATE",
        },
        fenced={"entries": "UPDATE, DELETE, TRUNCATE, TRIGGER"},
        shelves="sections",
    ),
    "events": _Shape(
        folder="postgresql_events",
        grants={
            "migrations": "SELECT",
            "sources": "SELECT, INSERT, UPDATE",
            "counts": "SELECT, INSERT, UPDATE",
            "seals": "SELECT, INSERT",
            "arrival": "SELECT, UPDATE",
            "places": "SELECT, INSERT",
            "contents": "SELECT, INSERT, UPDATE",
            "unfinished": "SELECT, INSERT, UPDATE, DELETE",
            "events": "SELECT, INSERT, UPDATE, DELETE",
            "links": "SELECT, INSERT",
            "waiting": "SELECT, INSERT, DELETE",
            "joined": "SELECT, INSERT, UPDATE",
        },
        fenced={
            "places": "UPDATE, DELETE, TRUNCATE, TRIGGER",
            "seals": "UPDATE, DELETE, TRUNCATE, TRIGGER",
        },
        shelves="contents",
    ),
    "heads": _Shape(
        folder="postgresql_heads",
        grants={
            "migrations": "SELECT",
            "head": "SELECT, UPDATE (size, checkpoint)",
            "erasures": "SELECT, INSERT",
            "contradictions": "SELECT, INSERT",
        },
        fenced={
            "head": "DELETE, TRUNCATE, TRIGGER",
            "erasures": "UPDATE, DELETE, TRUNCATE, TRIGGER",
        },
    ),
}

#: Whoever is let into the database can take the lock that the nodes take turns by, and keep it.
_ONLY_OURS: Final = """\
DO $muniment$ BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END $muniment$;"""

#: Steps that were carried out, with their digests.
_READ_APPLIED: LiteralString = "SELECT name, digest FROM muniment.migrations ORDER BY name"

#: What the session's role, or one that it may take on, could do to a fenced table; and whether its
#: triggers are on.
_READ_FENCE: LiteralString = """
    SELECT bool_or(role.rolsuper),
           bool_or(role.oid IN (relowner, nspowner)),
           bool_or(has_table_privilege(role.oid, pg_class.oid, %(forbidden)s)
             OR %(forbidden)s LIKE '%%UPDATE%%'
                AND has_any_column_privilege(role.oid, pg_class.oid, 'UPDATE')),
           (SELECT count(*) > 0 AND bool_and(tgenabled = 'A')
              FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
      FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace,
           pg_roles AS role
     WHERE pg_class.oid = %(table)s::regclass AND pg_has_role(session_user, role.oid, 'MEMBER')
     GROUP BY pg_class.oid
"""


def setup_sql(kind: Kind, app_role: str) -> str:
    r"""
    SQL that makes the database's tables, or brings them up to date, and gives the role its rights.

    For a superuser or the tables' owner, who is not `app_role`: to be run in the database itself,
    with psql or over a connection. A second run changes nothing. The role is made where it is
    missing, without a password: `\password` or a certificate lets it in.
    """
    if "\0" in app_role or "$" in app_role or not app_role:
        raise ConfigInvalid("the name of a role holds neither a zero byte nor, here, a `$`")
    shape = _SHAPES[kind]
    parts = [_begin(app_role), *_schema(shape), *_grants(shape, app_role)]
    parts.append(_erasing(app_role, shape.shelves) if shape.shelves else _ONLY_OURS)
    return "\n".join([*parts, "COMMIT;", ""])


def check_schema(connections: Connections, kind: Kind) -> None:
    """Raises `ConfigInvalid` unless the steps that we know were run here, and no others."""
    steps, place = _steps(_SHAPES[kind]), connections.place
    run = f"run the SQL of `muniment migrate --sql {kind}` there, as its owner"
    with connections.lent() as session:
        try:
            applied: dict[str, str] = dict(session.rows(_READ_APPLIED))
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            raise ConfigInvalid(f"{place} has no tables of ours for this role: {run}") from None
    for name, digest in applied.items():
        if name not in steps:
            raise ConfigInvalid(
                f"{place} was made for something else or by a newer muniment (it knows `{name}`): "
                "install that version or a later one; the older program cannot use it"
            )
        if digest != steps[name]:
            raise ConfigInvalid(
                f"the schema step `{name}` is not the one that made {place}: install the muniment "
                "that wrote it"
            )
    if missing := [name for name in steps if name not in applied]:
        raise ConfigInvalid(f"{place} lacks the step `{missing[0]}` of this muniment: {run}")


def check_fences(connections: Connections, kind: Kind) -> None:
    """Raises `ConfigInvalid` where our own role could take away what is never taken away."""
    with connections.lent() as session:
        for table, forbidden in _SHAPES[kind].fenced.items():
            if (why := _gap(session, table, forbidden)) is not None:
                raise ConfigInvalid(
                    f"{connections.place}: {why}; let the program use a role of its own, with the "
                    f"rights that `muniment migrate --sql {kind}` gives, and no more"
                )


def _gap(session: Session, table: str, forbidden: str) -> str | None:
    asked = {"forbidden": forbidden, "table": f"muniment.{table}"}
    superuser, owner, may, fenced = session.rows(_READ_FENCE, asked)[0]
    if superuser:
        return "our role is a superuser or can become one"
    if owner:
        return f"our role owns the table `{table}` or its schema, or is a member of its owner"
    if may:
        return f"our role has one of {forbidden} on the table `{table}`"
    if not fenced:
        return f"a trigger of the table `{table}` is missing or not `ENABLE ALWAYS`"
    return None


def _steps(shape: _Shape) -> dict[str, str]:
    folder = files("muniment.stores") / "schema" / shape.folder
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return {name: sha256(_text(shape, name).encode()).hexdigest() for name in names}


def _text(shape: _Shape, name: str) -> str:
    return (files("muniment.stores") / "schema" / shape.folder / name).read_text("utf-8")


# --- the parts of the script ---------------------------------------------------------------------


def _begin(app_role: str) -> str:
    return f"""\
-- For a superuser, or for the owner of the schema `muniment`; a second run changes nothing.
BEGIN;
DO $muniment$ BEGIN
  PERFORM pg_advisory_xact_lock({int.from_bytes(b"setup")});
  IF {_literal(app_role)} = current_user THEN
    RAISE EXCEPTION 'the program''s own role must not own its tables: run this as another role';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {_literal(app_role)}) THEN
    CREATE ROLE {_quoted(app_role)} LOGIN;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {_literal(app_role)});
END $muniment$;
CREATE SCHEMA IF NOT EXISTS muniment;
REVOKE ALL ON SCHEMA muniment FROM PUBLIC;
CREATE TABLE IF NOT EXISTS muniment.migrations (name text PRIMARY KEY, digest text NOT NULL);"""  # noqa: S608 (the role is quoted)


def _schema(shape: _Shape) -> Iterator[str]:
    steps = _steps(shape)
    known = ", ".join(_literal(name) for name in steps)
    yield f"""\
DO $muniment$ BEGIN
  IF EXISTS (SELECT FROM muniment.migrations WHERE name NOT IN ({known})) THEN
    RAISE EXCEPTION 'this database was made by a newer muniment, or for something else';
  END IF;
END $muniment$;"""
    for name, digest in steps.items():
        yield _step(name, digest, _text(shape, name))


def _step(name: str, digest: str, text: str) -> str:
    return f"""\
DO $muniment$
DECLARE
  applied text := (SELECT digest FROM muniment.migrations WHERE name = {_literal(name)});
BEGIN
  IF applied <> {_literal(digest)} THEN
    RAISE EXCEPTION 'the schema step {name} is not the one that made this database';
  END IF;
  IF applied IS NULL THEN
    EXECUTE $step$
{text.rstrip()}
$step$;
    INSERT INTO muniment.migrations VALUES ({_literal(name)}, {_literal(digest)});
  END IF;
END $muniment$;"""  # noqa: S608 (files of ours)


def _grants(shape: _Shape, app_role: str) -> Iterator[str]:
    role = _quoted(app_role)
    yield f"GRANT USAGE ON SCHEMA muniment TO {role};"
    for table, rights in shape.grants.items():
        yield f"REVOKE ALL ON muniment.{table} FROM PUBLIC, {role};"
        yield f"GRANT {rights} ON muniment.{table} TO {role};"
    yield f"""\
DO $muniment$ BEGIN
  -- tells this cluster and its standbys from any other; everybody's right, where nobody took it
  IF NOT has_function_privilege({_literal(app_role)}, 'pg_control_system()', 'EXECUTE') THEN
    GRANT EXECUTE ON FUNCTION pg_control_system() TO {role};
  END IF;
END $muniment$;"""


def _erasing(app_role: str, shelves: str) -> str:
    role = _quoted(app_role)
    return f"""\
-- What an erasure needs, so that no byte stays in the database's files: to rewrite a shelf, and to
-- have the write-ahead log before it removed.
DO $muniment$
DECLARE
  shelf regclass;
BEGIN
  IF current_setting('server_version_num')::int < 170000 THEN
    GRANT CREATE ON SCHEMA muniment TO {role};  -- only an owner may rewrite a table
  END IF;
  FOR shelf IN
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'muniment.{shelves}'::regclass
  LOOP
    IF current_setting('server_version_num')::int < 170000 THEN
      EXECUTE format('ALTER TABLE %s OWNER TO %I', shelf, {_literal(app_role)});
    ELSE
      EXECUTE format('GRANT MAINTAIN ON %s TO %I', shelf, {_literal(app_role)});
    END IF;
  END LOOP;
  IF current_setting('server_version_num')::int < 170000 THEN
    REVOKE CREATE ON SCHEMA muniment FROM {role};
  END IF;
END $muniment$;
DO $muniment$ BEGIN
  GRANT pg_checkpoint TO {role};
  GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_ls_waldir() TO {role};
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'no erasure can be finished here: a superuser has to grant pg_checkpoint, and '
    'EXECUTE on pg_switch_wal() and pg_ls_waldir(), to {role.replace("'", "''")}';
END $muniment$;
DO $muniment$ BEGIN
  -- or the values of a slow statement, sections among them, would stand in the server's own log
  ALTER ROLE {role} SET log_parameter_max_length = 0;
  ALTER ROLE {role} SET log_parameter_max_length_on_error = 0;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'keep the values of statements out of the server''s log: a superuser has to set '
    'log_parameter_max_length = 0 for the role {role.replace("'", "''")}';
END $muniment$;
-- And the server needs `wal_recycle = off`, which cannot be set in a transaction:
-- ALTER SYSTEM SET wal_recycle = off; SELECT pg_reload_conf();"""  # noqa: S608 (as above)


def _quoted(name: str) -> str:
    """An identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
