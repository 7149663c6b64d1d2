"""
`muniment.toml`: every setting, documented where it is defined. Unknown keys are refused.

Paths are relative to the file. Secrets stand here by reference only: `env:NAME` or `file:PATH`.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from muniment.errors import ConfigInvalid
from muniment.ports import Secret
from muniment.runtime.callback_section import CallbackSection
from muniment.runtime.campaign_section import Campaigns
from muniment.runtime.detect_section import DetectSection
from muniment.runtime.drift_section import DriftSection
from muniment.runtime.mirror_section import MirrorSection
from muniment.runtime.notices_section import NoticesSection
from muniment.runtime.retention_section import RetentionSection
from muniment.runtime.setting_values import Length, Name, Prefix, Size, Zone
from muniment.runtime.siem_section import SiemSection
from muniment.runtime.signer_section import SignerSection
from muniment.runtime.source_section import SourceSection, check_sources
from muniment.runtime.stamp_section import StampSection
from muniment.runtime.store_section import StoreSection
from muniment.runtime.witness_section import WitnessesSection

FILE = "muniment.toml"

#: claims that nobody else can come to have, by kind of provider: each has to be matched
IMMUTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "spiffe": ("sub",),
    "kubernetes": ("kubernetes.io.serviceaccount.uid",),
    "github": ("repository_id", "repository_owner_id"),
    "workload": ("sub",),
}


#: what stands below `/sign-in/` beside the providers
PAGES: Final = ("callback", "cli")


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

    #: the database: log and projections; not used where `[store]` names one
    database: Path = Path("data/muniment.db")
    #: what remembers the newest head: best on another disk than the database; likewise
    head: Path = Path("head/head")
    #: what was erased; outside every backup of the database; likewise
    erasures: Path = Path("head/erasures")
    #: what sources of events said; not used where `[store]` names a database
    events: Path = Path("data/events.db")
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
    #: addresses or networks of that proxy, whose `X-Forwarded-For` and `-Proto` are believed
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    #: the server's certificate with its chain, as PEM; read at start, together with `tls_key`
    tls_certificate: Path | None = None
    #: the certificate's private key, as PEM and without a password
    tls_key: Path | None = None
    #: the address that clients use, where it is not the one listened on
    public_url: str | None = None

    @model_validator(mode="after")
    def _both(self) -> "Server":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` go together")
        return self

    @field_validator("proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for each in proxies:
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ValueError(f"`{each}` is no address and no network") from None
        return proxies


class Log(_Section):
    """How the log looks after itself."""

    #: below this much free disk only ends, revocations, break-glass and outcomes may append
    reserve: Size = 64 << 20
    #: how often silence is recorded
    heartbeat: Length = timedelta(hours=1)
    #: how often a new checkpoint is shown to witnesses, mirrors and whoever follows the log
    publish: Length = timedelta(seconds=10)
    #: whoever reaches the service may fetch what is below `/log/`: headers of all records, which
    #: name nobody but tell who did what by pseudonyms; without it the policy is asked (`follow`)
    public: bool = False


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
    #: requests and pick-ups of one principal within a minute, as many sign-ins, and as many copies
    #: of what is recorded about a person; ends and decisions are not counted
    asks_per_minute: int = Field(default=60, ge=1, le=1_000_000)


class Calendar(_Section):
    """When it is business hours: `context.businessHours` in the policy."""

    #: where the hours are local, as in `Europe/Berlin`
    timezone: Zone = "UTC"
    #: from and until, local time
    hours: tuple[time, time] = (time(8), time(18))
    #: 1 is Monday
    days: tuple[int, ...] = (1, 2, 3, 4, 5)

    def open_at(self, at: datetime) -> bool:
        local = at.astimezone(ZoneInfo(self.timezone))
        start, end = self.hours
        return local.isoweekday() in self.days and start <= local.time() < end


class Provider(_Section):
    """Whose signed tokens are believed. The name is yours; `kind` says whom they are about."""

    #: people who sign in; or which workload's token: `spiffe`, `kubernetes`, `github`, any other
    #: `workload`; or `signals`: who sends security events
    kind: Literal["people", "spiffe", "kubernetes", "github", "workload", "signals"]
    #: exactly as its tokens have it; of SPIFFE, the trust domain: `spiffe://example.org`
    issuer: str = Field(min_length=1, max_length=500)
    #: whom its tokens have to be meant for: us; for people, the client id
    audience: str = Field(min_length=1, max_length=500)
    #: `env:NAME` or `file:PATH`; a client without one proves itself by PKCE alone
    client_secret: str | None = None
    #: where its keys are, unless its own discovery document says so
    jwks_uri: str | None = None
    #: which signatures are accepted
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    #: origins on an internal network that may be called for it: `https://idp.internal:8443`
    allow: tuple[str, ...] = ()
    #: whose word counts for people's groups: these files, a claim of the token, or SCIM
    groups: Literal["file", "claim", "scim"] = "file"
    #: the claim that lists a person's groups, where `groups` is `claim`
    groups_claim: str = "groups"
    #: the claim that is the key of a person, with the issuer: never an address
    subject_claim: str = "sub"
    #: the claim that proposes a login for somebody who is enrolled by signing in
    login_claim: str = "preferred_username"
    #: whoever signs in and is not in the directory is enrolled
    enrol: bool = False
    #: how long a sign-in of a person holds
    session: Length = timedelta(hours=12)
    #: authentication methods (RFC 8176) and context classes that mean a second factor
    mfa: tuple[str, ...] = ("mfa", "otp", "hwk", "swk", "sms", "phr", "phrh", "fido", "pop")
    #: those of them that cannot be phished
    phishing_resistant: tuple[str, ...] = ("hwk", "phr", "phrh", "fido", "pop")
    #: the workload that writes this provider's people by SCIM
    scim: Name | None = None
    #: the SCIM attribute that holds what `subject_claim` holds in a token
    scim_subject: Literal["externalId", "userName"] = "externalId"
    #: of `signals`: the workload as which it acts; what it may bring about, the rules on it say
    workload: Name | None = None
    #: of `signals`: the providers whose people it may speak of; empty: those of its own issuer
    speaks_of: tuple[Name, ...] = ()
    #: of `signals`: where they are fetched (RFC 8936); without it they are pushed to us (RFC 8935)
    poll: str | None = None
    #: `env:NAME` or `file:PATH`: the bearer token that we show there
    poll_token: str | None = None
    #: `env:NAME` or `file:PATH`: the bearer token that whoever pushes has to show besides
    push_token: str | None = None


class Account(_Section):
    """How a provider knows a person: never an address."""

    provider: Name
    subject: str = Field(min_length=1, max_length=255)


class PlatformIdentity(_Section):
    """What a platform's token has to say to be this workload or agent."""

    provider: Name
    #: every one of these has to be in the token, word for word; a dot leads into an object
    claims: dict[str, str] = Field(min_length=1, max_length=20)


class Person(_Section):
    """A human. The key is the login; name and mail are sealed in the log."""

    #: for people to read; sealed
    name: str = ""
    #: address; sealed
    mail: str = ""
    #: groups, as the rules and `@approvals` name them
    groups: tuple[Name, ...] = ()
    #: false: may do nothing, and his tokens and approvals no longer count
    active: bool = True
    #: login of this human's main account, where this is a further one
    person: str | None = None
    #: where this human works, as in `Europe/Berlin`; sealed. What is unusual at night is said only
    #: of those who have one
    timezone: Zone | None = None
    #: how providers know this human
    accounts: tuple[Account, ...] = ()


class WorkloadSection(_Section):
    """A program. `owner` answers for it, and can never approve what it asks for."""

    #: login of the person who answers for it
    owner: str
    #: groups, as the rules name them
    groups: tuple[Name, ...] = ()
    #: false: may do nothing, and its tokens no longer count
    active: bool = True
    #: how platforms know it
    identities: tuple[PlatformIdentity, ...] = ()


class AgentSection(_Section):
    """An AI agent. It asks on behalf of `sponsor`, who must be allowed the same."""

    #: login of the person on whose behalf it asks
    sponsor: str
    #: groups, as the rules name them
    groups: tuple[Name, ...] = ()
    #: false: may do nothing, and its tokens no longer count
    active: bool = True
    #: how platforms know it
    identities: tuple[PlatformIdentity, ...] = ()


class Resource(_Section):
    """A target. What is not listed here belongs to its connector, and is checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: which connector: `postgresql`
    connector: Name
    #: how much depends on it: the starter rules ask more of `prod`
    tier: Literal["dev", "staging", "prod"]
    #: where it stands, in a word of your own: rules see it, and every record names it
    environment: Name
    #: how sensitive its data is: `public`, `internal`, `restricted`, or a word of your own
    data: Name = "internal"
    #: what can be asked for, by name; the connector says what a role is made of
    roles: dict[Name, dict[str, Any]]
    #: whether a credential waits for the quorum of `[witnesses]`: `require-witnesses`, or
    #: `best-effort`. Broken glass never waits
    issue: Literal["best-effort", "require-witnesses"] = "best-effort"
    #: login at the target kept sealed for Muniment's own outage; its use is to be looked into
    emergency_account: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Settings(_Section):
    """The whole of `muniment.toml`."""

    installation: Installation
    paths: Paths = Paths()
    store: StoreSection | None = None
    server: Server = Server()
    log: Log = Log()
    limits: LimitsSection = LimitsSection()
    calendar: Calendar = Calendar()
    providers: dict[Name, Provider] = {}
    people: dict[Name, Person] = {}
    workloads: dict[Name, WorkloadSection] = {}
    agents: dict[Name, AgentSection] = {}
    resources: dict[Name, Resource] = {}
    callbacks: dict[Name, CallbackSection] = {}
    notices: dict[Name, NoticesSection] = {}
    mirrors: dict[Name, MirrorSection] = {}
    witnesses: WitnessesSection | None = None
    signer: SignerSection | None = None
    stamps: dict[Name, StampSection] = {}
    siem: dict[Name, SiemSection] = {}
    sources: dict[Name, SourceSection] = {}
    detect: DetectSection = DetectSection()
    drift: DriftSection = DriftSection()
    retention: RetentionSection = RetentionSection()
    campaigns: Campaigns = ()

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

    @model_validator(mode="after")
    def _known_providers(self) -> "Settings":
        for login, person in self.people.items():
            for account in person.accounts:
                found = self.providers.get(account.provider)
                if found is None or found.kind != "people":
                    raise ValueError(
                        f"`people.{login}.accounts` names `{account.provider}`, which is no "
                        "provider of people"
                    )
        programs: dict[str, WorkloadSection | AgentSection] = {**self.workloads, **self.agents}
        for login, known in programs.items():
            for identity in known.identities:
                self._check_identity(login, identity)
        self._check_scim()
        self._check_signals()
        return self

    @model_validator(mode="after")
    def _linked(self) -> "Settings":
        # else whoever asks would choose, by a header, which links others are sent
        if self.callbacks and self.server.public_url is None:
            raise ValueError("`callbacks` carry links: set `server.public_url`")
        if unknown := set(self.drift.skip) - self.resources.keys():
            raise ValueError(f"`drift.skip` names `{min(unknown)}`, which is no resource")
        strict = [n for n, each in self.resources.items() if each.issue == "require-witnesses"]
        if strict and self.witnesses is None:
            raise ValueError(f"`resources.{strict[0]}.issue` asks for witnesses: set `witnesses`")
        check_sources(self.sources, self.resources)
        return self

    def _check_signals(self) -> None:
        for name, provider in self.providers.items():
            if name in PAGES:
                raise ValueError(f"`providers.{name}`: a page has that name; take another")
            given = (provider.workload, provider.poll, provider.poll_token, provider.push_token)
            if provider.kind != "signals" and given != (None,) * len(given):
                raise ValueError(
                    f"`providers.{name}`: `workload`, `poll`, `poll_token` and `push_token` are "
                    "for signals"
                )
            if unknown := set(provider.speaks_of) - self.providers.keys():
                raise ValueError(f"`providers.{name}.speaks_of`: no provider is `{min(unknown)}`")
            if provider.workload is not None and provider.workload not in self.workloads:
                raise ValueError(
                    f"`providers.{name}.workload` names no workload: `{provider.workload}`"
                )

    def _check_scim(self) -> None:
        writers: dict[str, str] = {}
        for name, provider in self.providers.items():
            if (provider.scim is not None) != (provider.groups == "scim"):
                raise ValueError(f'`providers.{name}`: `scim` and `groups = "scim"` go together')
            if provider.scim is None:
                continue
            if provider.kind != "people":
                raise ValueError(f"`providers.{name}.scim`: only people are written by SCIM")
            if provider.scim not in self.workloads:
                raise ValueError(f"`providers.{name}.scim` names no workload: `{provider.scim}`")
            if provider.scim in writers:
                raise ValueError(
                    f"`providers.{name}.scim` names the workload that writes the people of "
                    f"`{writers[provider.scim]}`: give each provider one of its own"
                )
            writers[provider.scim] = name

    def _check_identity(self, login: str, identity: PlatformIdentity) -> None:
        provider = self.providers.get(identity.provider)
        if provider is None or provider.kind not in IMMUTABLE:
            raise ValueError(
                f"`{login}.identities` names `{identity.provider}`, which is no provider of "
                "workloads"
            )
        missing = [claim for claim in IMMUTABLE[provider.kind] if claim not in identity.claims]
        if missing:
            raise ValueError(
                f"`{login}.identities`: match `{missing[0]}` too: names can be taken over, this "
                "cannot"
            )


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
