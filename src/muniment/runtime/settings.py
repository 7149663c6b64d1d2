"""
`muniment.toml`: every setting, documented where it is defined. Unknown keys are refused.

Paths are relative to the file. Secrets stand here by reference only: `env:NAME` or `file:PATH`.
"""

import difflib
import os
import tomllib
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from muniment.access.window import seconds
from muniment.errors import ConfigInvalid, Malformed
from muniment.ports import Secret

FILE = "muniment.toml"


def _length(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=seconds(str(value)))
    except Malformed as error:
        raise ValueError(str(error)) from error


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"there is no time zone `{value}`") from error
    return value


def _size(value: object) -> int:
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    text = str(value)
    for unit, factor in units.items():
        if text.endswith(unit) and text.removesuffix(unit).strip().isdecimal():
            return int(text.removesuffix(unit)) * factor
    raise ValueError(f"not a size: `{text}`; write for example `64MiB`")


Length = Annotated[timedelta, BeforeValidator(_length)]
Size = Annotated[int, BeforeValidator(_size)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,7}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Installation(_Section):
    """Who this Muniment is. Fixed by `init`: the log's first record holds it."""

    #: name of the log, and of its key: a URL without its scheme
    origin: str = Field(min_length=1, max_length=200)
    #: begins every grant id, and every account at a target: tells this installation's from others
    prefix: Prefix = "mun"


class Paths(_Section):
    """Where things lie."""

    #: the database: log and projections
    database: Path = Path("data/muniment.db")
    #: what remembers the newest head: best on another disk than the database
    head: Path = Path("head/head")
    #: what was erased; outside every backup of the database
    erasures: Path = Path("head/erasures")
    #: ends that were done while the log could not be written
    spool: Path = Path("data/spool")
    #: the log's signing key
    key: Path = Path("keys/log.key")
    #: the policy bundle: a schema and its rules
    policy: Path = Path("policy")
    #: hashes of the API tokens, written by `muniment token create`
    tokens: Path = Path("tokens.toml")


class Server(_Section):
    """Where the service listens."""

    #: address and port; a port of 0 takes a free one
    listen: str = "127.0.0.1:8417"
    #: a proxy in front speaks TLS; without it, and without a certificate, only loopback is allowed
    behind_proxy: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: the address that clients use, where it is not the one listened on
    public_url: str | None = None

    @model_validator(mode="after")
    def _both(self) -> "Server":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` go together")
        return self


class Log(_Section):
    """How the log looks after itself."""

    #: below this much free disk only ends, revocations, break-glass and outcomes may append
    reserve: Size = 64 << 20
    #: how often silence is recorded
    heartbeat: Length = timedelta(hours=1)


class LimitsSection(_Section):
    """How long things wait, and how much one principal may ask."""

    #: how long a request waits for its approvals
    approval_window: Length = timedelta(hours=8)
    #: how long an approved request waits for its pick-up
    pickup_window: Length = timedelta(hours=1)
    #: how long a target may take over one order
    order_timeout: Length = timedelta(seconds=10)
    #: how long a review of broken glass may take where the rule does not say
    review_window: Length = timedelta(hours=24)
    #: requests of one principal within a minute; ends and decisions are not counted
    asks_per_minute: int = Field(default=60, ge=1, le=1_000_000)


class Calendar(_Section):
    """When it is business hours: `context.businessHours` in the policy."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    #: from and until, local time
    hours: tuple[time, time] = (time(8), time(18))
    #: 1 is Monday
    days: tuple[int, ...] = (1, 2, 3, 4, 5)

    def open_at(self, at: datetime) -> bool:
        local = at.astimezone(ZoneInfo(self.timezone))
        start, end = self.hours
        return local.isoweekday() in self.days and start <= local.time() < end


class Person(_Section):
    """A human. The key is the login; name and mail are sealed in the log."""

    name: str = ""
    mail: str = ""
    groups: tuple[Name, ...] = ()
    active: bool = True
    #: login of this human's main account, where this is a further one
    person: str | None = None


class WorkloadSection(_Section):
    """A program. `owner` answers for it, and can never approve what it asks for."""

    owner: str
    groups: tuple[Name, ...] = ()
    active: bool = True


class AgentSection(_Section):
    """An AI agent. It asks on behalf of `sponsor`, who must be allowed the same."""

    sponsor: str
    groups: tuple[Name, ...] = ()
    active: bool = True


class Resource(_Section):
    """A target. What is not listed here belongs to its connector, and is checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: which connector: `postgresql`
    connector: Name
    tier: Literal["dev", "staging", "prod"]
    environment: Name
    #: how sensitive its data is: `public`, `internal`, `restricted`, or a word of your own
    data: Name = "internal"
    #: what can be asked for, by name; the connector says what a role is made of
    roles: dict[Name, dict[str, Any]]
    #: login at the target kept sealed for Muniment's own outage; its use is to be looked into
    emergency_account: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Settings(_Section):
    """The whole of `muniment.toml`."""

    installation: Installation
    paths: Paths = Paths()
    server: Server = Server()
    log: Log = Log()
    limits: LimitsSection = LimitsSection()
    calendar: Calendar = Calendar()
    people: dict[Name, Person] = {}
    workloads: dict[Name, WorkloadSection] = {}
    agents: dict[Name, AgentSection] = {}
    resources: dict[Name, Resource] = {}

    @model_validator(mode="after")
    def _known_people(self) -> "Settings":
        logins = [*self.people, *self.workloads, *self.agents]
        if len(set(logins)) != len(logins):
            raise ValueError("people, workloads and agents share one set of names")
        behind = [
            *((f"people.{k}.person", p.person) for k, p in self.people.items() if p.person),
            *((f"workloads.{k}.owner", w.owner) for k, w in self.workloads.items()),
            *((f"agents.{k}.sponsor", a.sponsor) for k, a in self.agents.items()),
        ]
        for where, login in behind:
            if login not in self.people:
                raise ValueError(f"`{where}` names `{login}`, who is not among the people")
        return self


def read_settings(folder: Path) -> Settings:
    """Raises `ConfigInvalid`, each trouble on a line of its own with what to write instead."""
    path = folder / FILE
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigInvalid(f"`{path}`: {error.strerror}; `muniment init` makes one") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"`{path}` is not UTF-8: {error.reason}") from error
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"`{path}` is not TOML: {error}") from error
    except ValidationError as error:
        lines = [_in_words(trouble) for trouble in error.errors()]
        raise ConfigInvalid("\n".join(f"{path.name}: {line}" for line in lines)) from error


def read_secret(reference: object, where: str, folder: Path) -> Secret:
    """`env:NAME` or `file:PATH`; anything else may be the secret itself, and is not repeated."""
    kind, _, name = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    if kind == "env" and name:
        if name not in os.environ:
            raise ConfigInvalid(f"{where}: the environment has no variable `{name}`")
        return Secret(os.environ[name])
    if kind == "file" and name:
        try:
            return Secret((folder / name).read_text("utf-8").strip())
        except OSError as error:
            raise ConfigInvalid(f"{where}: `{name}`: {error.strerror}") from error
    raise ConfigInvalid(f"{where}: write a reference, `env:NAME` or `file:PATH`, not the secret")


def _in_words(trouble: Any) -> str:
    where = ".".join(str(part) for part in trouble["loc"]) or "file"
    if trouble["type"] != "extra_forbidden":
        return f"`{where}`: {trouble['msg'].removeprefix('Value error, ')}"
    return f"`{where}` is no setting{_hint(trouble['loc'])}"


def _hint(location: tuple[Any, ...]) -> str:
    model: Any = Settings
    for part in location[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            continue  # a name of the user's own, such as a person's
        model = _model_in(field.annotation)
    known = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(location[-1]), known, 1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are: {', '.join(known)}" if known else ""


def _model_in(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    args = getattr(annotation, "__args__", ())
    return next((found for arg in args if (found := _model_in(arg)) is not None), None)
