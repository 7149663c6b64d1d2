"""What an operator writes about a PostgreSQL: its endpoints, and a role's definition."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from muniment.errors import ConfigInvalid

#: parameters of a connection string that have an option of their own, or would hide a server
_REFUSED = {
    "user": 'write it as the option `user = "muniment_connector"`',
    "password": 'write it as the option `password = "env:NAME"` or `"file:PATH"`',
    "passfile": 'write `password = "file:PATH"` instead',
    "service": "write host, port and dbname here, so that the log knows the endpoint",
    "options": "they are Muniment's to set",
    "target_session_attrs": "write one endpoint per server, the primary first",
    "load_balance_hosts": "write one endpoint per server, the primary first",
    "application_name": "it is Muniment's to set",
}
#: what a holder of the credential gets to know of an endpoint
_PUBLIC = ("sslmode", "channel_binding", "sslsni")
_ONE_SERVER = 'write one server per endpoint, as in `"host=db.example port=5432 dbname=orders"`'
#: roles that reach the operating system, where a revocation does not
_BEYOND = ("pg_execute_server_program", "pg_write_server_files", "pg_read_server_files")


@dataclass(frozen=True, kw_only=True, eq=False)
class Endpoint:
    """One server of the target."""

    #: `host:port`, as capabilities and probes name it
    name: str
    #: parameters for libpq, without user and password
    parameters: Mapping[str, str]

    @property
    def public(self) -> dict[str, str]:
        """How a holder reaches it."""
        shown = {name: self.parameters[name] for name in _PUBLIC if name in self.parameters}
        host, _, port = self.name.rpartition(":")
        return {"host": host, "port": port, "database": self.parameters["dbname"], **shown}


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_Name = Annotated[str, Field(min_length=1, max_length=63)]


class Settings(_Written):
    """The options of a resource with `connector = "postgresql"`."""

    endpoints: list[str] = Field(
        min_length=1,
        description='write `endpoints = ["host=db.example port=5432 dbname=orders"]`, primary'
        " first",
    )
    user: _Name = Field(description='write `user = "muniment_connector"`')
    #: a reference; its text comes with the secrets of the resource
    password: str | None = Field(None, description='write `password = "env:NAME"` or `"file:PATH"`')
    #: sessions that one grant may have open at once
    connection_limit: int | None = Field(
        None, ge=1, le=10_000, description="write a number of sessions, as in `20`"
    )
    connect_timeout_ms: int = Field(
        5_000, ge=100, le=60_000, description="write milliseconds from 100 to 60000"
    )
    #: also the bound on how long after its deadline an order may still take effect
    statement_timeout_ms: int = Field(
        5_000, ge=100, le=60_000, description="write milliseconds from 100 to 60000"
    )
    #: how long a statement waits for a lock, and so holds up others that queue behind it
    lock_timeout_ms: int = Field(
        2_000, ge=50, le=60_000, description="write milliseconds from 50 to 60000"
    )
    #: how the target logs, so far as we can read it; `none` for a managed server without access
    log: Literal["jsonlog", "csvlog", "none"] = Field(
        "jsonlog", description='write `log = "jsonlog"`, `"csvlog"` or `"none"`'
    )

    @classmethod
    def parse(cls, options: Mapping[str, Any], resource: str) -> Self:
        return _parsed(cls, options, f"resource `{resource}`")

    def servers(self, resource: str) -> tuple[Endpoint, ...]:
        """The endpoints, primary first; raises `ConfigInvalid`."""
        found = tuple(_endpoint(text, f"resource `{resource}`") for text in self.endpoints)
        for name in _repeated(endpoint.name for endpoint in found):
            raise ConfigInvalid(f"resource `{resource}`: the endpoint `{name}` stands there twice")
        return found


class RoleDefinition(_Written):
    """The connector's part of a role definition."""

    #: roles of the target; sessions begin as the first, which owns what they create
    grants: list[_Name] = Field(
        min_length=1, description='write `grants = ["app_rw"]`: roles that exist at the target'
    )
    #: have the target log every statement of the grant
    log_statements: bool = Field(
        True,
        description="write `log_statements = true`, or `false` where the target does not let us",
    )

    @classmethod
    def parse(cls, role: Mapping[str, Any]) -> Self:
        parsed = _parsed(cls, role, "role definition")
        for name in _repeated(parsed.grants):
            raise ConfigInvalid(f"role definition: `grants` names `{name}` twice")
        for name in set(parsed.grants) & set(_BEYOND):
            raise ConfigInvalid(
                f"role definition: `{name}` acts outside the database, where nothing can be revoked"
            )
        return parsed


_Model = TypeVar("_Model", bound=_Written)


def _parsed(model: type[_Model], values: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        told = [_told(model, each) for each in error.errors(include_input=False, include_url=False)]
    # Outside the handler, so that pydantic's error with the values does not hang on ours.
    raise ConfigInvalid(f"{where}: {'; '.join(told)}")


def _told(model: type[_Written], error: ErrorDetails) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, model.model_fields, 1)
        known = near[0] if near else "`, `".join(model.model_fields)
        return f"unknown option `{name}`; {'did you mean' if near else 'there are'} `{known}`"
    what = "is missing" if error["type"] == "missing" else "does not fit"
    return f"`{name}` {what}: {model.model_fields[name].description}"


def _endpoint(text: str, where: str) -> Endpoint:
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except psycopg.Error:
        given = None
    if given is None:
        # The text is not repeated: it may hold a password.
        raise ConfigInvalid(f"{where}: an endpoint is no connection string; {_ONE_SERVER}")
    for name in given.keys() & _REFUSED.keys():
        raise ConfigInvalid(f"{where}: `{name}` cannot stand in an endpoint; {_REFUSED[name]}")
    host = given.get("host") or given.get("hostaddr", "")
    if not host or not given.get("dbname") or "," in host + given.get("hostaddr", ""):
        raise ConfigInvalid(f"{where}: an endpoint needs one host and a dbname; {_ONE_SERVER}")
    return Endpoint(name=f"{host}:{given.setdefault('port', '5432')}", parameters=given)


def _repeated(names: Iterable[str]) -> list[str]:
    known = list(names)
    return sorted({name for name in known if known.count(name) > 1})
