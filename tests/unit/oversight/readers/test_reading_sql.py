"""What SQL says on its face, and that no password is left in it."""

import time

import pytest

from muniment.oversight.readers.sql import said, without_passwords


@pytest.mark.parametrize(
    ("sql", "type", "action", "object"),
    [
        ("select 1", "statement", "SELECT", ""),
        ("  -- a word\n /* and /* more */ */ delete from t", "statement", "DELETE", ""),
        ("create or replace view public.v as select 1", "statement", "CREATE VIEW", "public.v"),
        ('DROP TABLE IF EXISTS "a""b", c', "statement", "DROP TABLE", 'a"b, c'),
        ("create user Eve superuser", "access.changed", "CREATE ROLE", "eve"),
        ("alter group g add user u", "access.changed", "ALTER ROLE", "g"),
        ("drop role if exists a, b", "access.changed", "DROP ROLE", "a, b"),
        ("grant select on t to a, group b", "access.changed", "GRANT", "a, b"),
        ('grant "X" to "Y" with admin option', "access.changed", "GRANT", "Y"),
        ("revoke all on t from a cascade", "access.changed", "REVOKE", "a"),
        ("reassign owned by a to b", "access.changed", "REASSIGN OWNED", "a"),
        ("drop owned by a", "access.changed", "DROP OWNED", "a"),
        ("alter default privileges grant select on tables to r", "access.changed",
         "ALTER DEFAULT PRIVILEGES", "r"),
        ("set role admin", "elevated", "SET ROLE", "admin"),
        ("set local role to 'admin'", "elevated", "SET ROLE", "admin"),
        ("set session authorization eve", "elevated", "SET ROLE", "eve"),
        ("set role none", "statement", "SET", "role"),
        ("select set_config('role', 'admin', false)", "elevated", "SELECT", "role"),
        ("set log_statement = 'none'", "logging.changed", "SET", "log_statement"),
        ("set session pgaudit.log to 'none'", "logging.changed", "SET", "pgaudit.log"),
        ("reset log_statement", "logging.changed", "RESET", "log_statement"),
        ("alter system set log_destination = 'stderr'", "logging.changed", "ALTER SYSTEM",
         "log_destination"),
        ("alter system set work_mem = '1MB'", "statement", "ALTER SYSTEM", "work_mem"),
        ("alter role bo set log_statement = 'none'", "logging.changed", "ALTER ROLE",
         "log_statement"),
        ("alter database d set pgaudit.log = ''", "logging.changed", "ALTER DATABASE",
         "pgaudit.log"),
        ("set search_path = a", "statement", "SET", "search_path"),
        ("create user mapping for bo server s", "statement", "CREATE USER MAPPING", "for"),
    ],
)  # fmt: skip
def test_a_statement_is_what_its_text_says(sql: str, type: str, action: str, object: str) -> None:
    found = said(sql)
    assert (found.type, found.action, found.object) == (type, action, object)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; create role eve superuser",
        "select ';'; select $$ ; $$; select E'\\';'; create role eve superuser",
        "select $a$ $b$ ; $a$ ; create role eve",
        "/* ; */ select 1 -- ;\n; create role eve",
        'select ";" ; create role eve;',
        "select 1;" * 5000 + "create role eve",
    ],
)
def test_a_role_that_is_made_behind_another_statement_is_seen(sql: str) -> None:
    assert (said(sql).type, said(sql).action) == ("access.changed", "CREATE ROLE")


@pytest.mark.parametrize(
    "sql",
    [
        "select 'create role eve; grant x to y'",
        "select $$; create role eve; $$",
        "select 1 -- ; create role eve",
        'select "a;create role eve"',
    ],
)
def test_what_is_only_quoted_was_not_done(sql: str) -> None:
    assert said(sql).type == "statement"


def test_the_servers_own_word_chooses_among_several_statements() -> None:
    sql = "select 1; create role eve"
    assert said(sql, "SELECT").type == "statement"
    assert said(sql, "CREATE ROLE").object == "eve"
    assert said("", "GRANT ROLE").type == "access.changed"


@pytest.mark.parametrize(
    "sql",
    [
        "create role a login password 'geheim'",
        "ALTER USER a PASSWORD E'geheim\\'geheim'",
        "alter role a encrypted password $$geheim$$",
        "alter role a password $x$geheim$x$ valid until '2026-01-01'",
        "alter role a pasword 'geheim' -- password",
        "alter role a password 'geheim",
        "alter role a password geheim",
        "alter role a password /* 'geheim' */ 'geheim'",
        "alter role a password -- geheim password\n'x'",
        "create user mapping for a server s options (user 'a', password 'geheim')",
        "create subscription s connection 'host=h password=geheim' publication p",
        "do $$ begin execute 'alter role a password ''geheim'''; end $$",
        "do $a$ begin execute $b$ do $c$ begin execute $d$ alter role a password 'geheim' $d$; end $c$ $b$; end $a$",
        "select dblink('password=geheim')",
        "select 1 as password; alter role a password U&'geheim'",
        "alter role a with \"password\" 'geheim'",
        "set x = 1; /* password geheim */",
    ],
)
def test_no_password_is_left_in_a_statement(sql: str) -> None:
    assert "geheim" not in without_passwords(sql)


def test_what_is_no_password_stays() -> None:
    sql = "alter role a password 'geheim' valid until '2026-11-21 18:59:27+00' in role app_ro"
    assert without_passwords(sql) == (
        "alter role a password <REDACTED> valid until '2026-11-21 18:59:27+00' in role app_ro"
    )
    assert without_passwords("select 'x' from t") == "select 'x' from t"


@pytest.mark.parametrize(
    "piece",
    ["'", '"', ";", "$", "$a$", "/*", "*/", "--", "E'\\", "password '", "a;", "set_config( ", "''",
     'password "', "create role ", "grant ", "$$password"],
)  # fmt: skip
def test_hostile_text_costs_time_by_its_length_alone(piece: str) -> None:
    text = (piece * 600_000)[:600_000]
    began = time.perf_counter()
    said(text)
    without_passwords(text)
    said("password select 1;" + text)
    assert time.perf_counter() - began < 5
