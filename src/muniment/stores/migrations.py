"""Numbered SQL files, each applied once and remembered by its digest."""

import sqlite3
from hashlib import sha256
from importlib.resources import files

from muniment.errors import LogInvalid, LogUnavailable

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, digest TEXT NOT NULL) STRICT
"""


def migrate(connection: sqlite3.Connection, dialect: str) -> None:
    """
    Bring the schema up to date, under the write lock.

    Raises `LogInvalid` if the store is newer than this program, or another program's, and
    `LogUnavailable` if a step cannot be carried out; each says what to do.
    """
    steps = _steps(dialect)
    if _applied(connection) == steps:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        refuse_foreign(connection)
        connection.execute(_TABLE)
        applied = _applied(connection)
        _check(applied, steps)
        for name, digest in steps.items():
            if name not in applied:
                _step(connection, dialect, name)
                connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, digest))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _steps(dialect: str) -> dict[str, str]:
    folder = files("muniment.stores") / "schema" / dialect
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return {name: sha256(_text(dialect, name).encode()).hexdigest() for name in names}


def _text(dialect: str, name: str) -> str:
    return (files("muniment.stores") / "schema" / dialect / name).read_text("utf-8")


def _applied(connection: sqlite3.Connection) -> dict[str, str]:
    if not _tables(connection) >= {"migrations"}:
        return {}
    return dict(connection.execute("SELECT name, digest FROM migrations ORDER BY name"))


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises `LogInvalid` for another program's database; reads only."""
    tables = _tables(connection)
    if tables and "migrations" not in tables:
        raise LogInvalid(
            "this database belongs to another program: let `[paths] database` name the one that "
            "`muniment init` made"
        )


def _check(applied: dict[str, str], steps: dict[str, str]) -> None:
    for name, digest in applied.items():
        if name not in steps:
            raise LogInvalid(
                f"this database was written by a newer muniment (it knows `{name}`): install that "
                "version or a later one; the older program cannot read it"
            )
        if steps[name] != digest:
            raise LogInvalid(
                f"the schema step `{name}` is not the one that made this database: install the "
                "muniment that wrote it; where that was a development version, export the cases "
                "with it and begin anew with `muniment init`"
            )


def _step(connection: sqlite3.Connection, dialect: str, name: str) -> None:
    try:
        _run(connection, _text(dialect, name))
    except sqlite3.Error as error:
        raise LogUnavailable(
            f"the schema step `{name}` failed ({error}) and nothing was changed: look whether the "
            "disk has room and the folder may be written, then start again; the muniment that "
            "ran before goes on with this database as it is"
        ) from error


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Statement by statement: `executescript` would commit on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
