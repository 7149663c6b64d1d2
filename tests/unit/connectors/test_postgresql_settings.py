"""What an operator may write about a PostgreSQL, and what he is told when it does not fit."""

import base64
import hashlib
import hmac
from typing import Any

import pytest

from muniment.connectors.postgresql import PostgreSQL, scram_verifier, setup_sql
from muniment.errors import ConfigInvalid
from muniment.ports import Secret, TargetSettings

_GOOD: dict[str, Any] = {"endpoints": ["host=db.example port=5433 dbname=orders"], "user": "mc"}


def connector(**options: Any) -> PostgreSQL:
    settings = TargetSettings(
        resource="orders",
        prefix="mt",
        options={**_GOOD, **options},
        secrets={"password": Secret("hunter2")},
    )
    return PostgreSQL(settings)


def test_capabilities_say_what_postgresql_can_do() -> None:
    told = connector(
        endpoints=["host=a dbname=x", "postgresql://b:6000/x?sslmode=require"]
    ).capabilities
    assert told.endpoints == ("a:5432", "b:6000")
    assert told.expires_new_logins
    assert not told.expires_live_sessions
    assert told.kills_live_sessions
    assert told.log_names_grant
    assert told.enforces_deadline
    assert told.extends_live


def test_without_access_to_the_log_the_capabilities_say_so() -> None:
    assert not connector(log="none").capabilities.log_names_grant


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"endpoint": []}, "unknown option `endpoint`; did you mean `endpoints`"),
        ({"endpoints": []}, "`endpoints` does not fit: write `endpoints = "),
        ({"user": 7}, '`user` does not fit: write `user = "muniment_connector"`'),
        ({"connection_limit": 0}, "`connection_limit` does not fit: write a number"),
        ({"log": "syslog"}, '`log` does not fit: write `log = "jsonlog"`'),
        ({"statement_timeout_ms": 1}, "write milliseconds from 100"),
        (
            {"endpoints": ["host=a dbname=x password=hunter2"]},
            "`password` cannot stand in an endpoint; write it as",
        ),
        ({"endpoints": ["host=a dbname=x user=mc"]}, "`user` cannot stand in an endpoint"),
        ({"endpoints": ["host=a,b dbname=x"]}, "one server per endpoint"),
        ({"endpoints": ["host=a"]}, "needs one host and a dbname"),
        ({"endpoints": ["hunter2"]}, "is no connection string"),
        ({"endpoints": ["host=a dbname=x options=-cfoo=1"]}, "`options` cannot stand"),
        ({"endpoints": ["host=a dbname=x", "host=a dbname=y"]}, "`a:5432` stands there twice"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_write_instead(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        connector(**options)
    assert "resource `orders`" in str(caught.value)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigInvalid, match="`user` is missing: write `user = "):
        PostgreSQL(
            TargetSettings(
                resource="orders", prefix="mt", options={"endpoints": _GOOD["endpoints"]}
            )
        )


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ({}, "`grants` is missing"),
        ({"grants": []}, 'write `grants = ["app_rw"]`'),
        ({"grants": ["a", "a"]}, "names `a` twice"),
        ({"grants": ["a"], "log_statement": True}, "did you mean `log_statements`"),
        ({"grants": ["pg_execute_server_program"]}, "acts outside the database"),
    ],
)
def test_a_role_definition_that_does_not_fit_is_refused(role: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        connector().check_role(role)
    assert told in str(caught.value)


def test_a_verifier_is_what_rfc_5802_says() -> None:
    scheme, middle, keys = scram_verifier("pencil").split("$")
    iterations, salt = middle.split(":")
    stored, server = (base64.b64decode(each) for each in keys.split(":"))
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(iterations))
    assert scheme == "SCRAM-SHA-256"
    assert stored == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    assert server == hmac.digest(salted, b"Server Key", "sha256")


def test_setup_quotes_names_and_leaves_the_password_to_psql() -> None:
    text = setup_sql(user='m"c', grants=["it's"], databases=["Orders"], log_statements=False)
    assert 'ALTER ROLE "m""c" LOGIN CREATEROLE;' in text
    assert "EXECUTE 'GRANT \"it''s\" TO" in text
    assert 'GRANT CONNECT ON DATABASE "Orders" TO "m""c";' in text
    assert '\n\\password "m""c"\n' in text
    assert "log_statement" not in text
    with pytest.raises(ConfigInvalid):
        setup_sql(user="a$$b", grants=[])
