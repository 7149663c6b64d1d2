"""`[sources.NAME]` in `muniment.toml`."""

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from muniment.errors import NotCanonical
from muniment.evidence import canonical
from muniment.oversight.event import TYPES
from muniment.runtime.setting_values import Length, Name, Reference

Kind: TypeAlias = Literal["file", "journald", "directory", "s3", "syslog", "push", "webhook"]

_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
_KeyPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]*$", max_length=500)]
#: a unit as systemd writes it, or a pattern of several; never what could be read as an option
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.*?@\\][A-Za-z0-9:_.*?@\\-]{0,250}")

#: which kinds have a setting, where not all of them do
_OF_KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "path": ("file", "directory"),
    "begin": ("file", "journald", "directory", "s3"),
    "units": ("journald",),
    "journal": ("journald",),
    "every": ("directory", "s3"),
    "bucket": ("s3",),
    "prefix": ("s3",),
    "endpoint": ("s3",),
    "region": ("s3",),
    "access_key": ("s3",),
    "secret_key": ("s3",),
    "listen": ("syslog",),
    "plain": ("syslog",),
    "tls_certificate": ("syslog",),
    "tls_key": ("syslog",),
    "client_ca": ("syslog",),
    "signature": ("webhook",),
    "secret": ("webhook",),
    "posts_per_minute": ("push", "webhook"),
}
#: what a kind cannot do without
_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "file": ("path",),
    "directory": ("path",),
    "s3": ("bucket",),
    "syslog": ("listen",),
    "webhook": ("signature", "secret"),
}
#: a directory or bucket is not looked into more often, and not less
OFTEN, SELDOM = timedelta(seconds=1), timedelta(hours=1)


class SourceSection(BaseModel):
    """Where something tells what happened at a target: its log, or events sent to us."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: how it comes: `file` (which grows at its end), `journald`, `directory` and `s3` (whole files
    #: that appear), `syslog` (sent by TCP), `push` (posted to `/v1/events/NAME` by whoever may
    #: `observe`), `webhook` (posted to `/hooks/NAME` with the sender's signature)
    kind: Literal["file", "journald", "directory", "s3", "syslog", "push", "webhook"]
    #: what reads its records: `postgresql`, `sshd`, `cloudtrail`
    reader: Name
    #: the resource that it speaks of; empty where its events say so themselves
    resource: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]{0,62})?$")
    #: that it was silent for longer than this is recorded; without it, it may be silent for ever
    heartbeat: Length | None = None
    #: types of events that have to come from it: the coverage says which of them never came
    expects: tuple[str, ...] = ()
    #: accounts that are meant to be there without a grant; `*` stands for any characters
    standing_accounts: tuple[str, ...] = ()
    #: what the reader wants to know besides, as its own page says
    options: dict[str, Any] = {}
    #: of a file, its path, or one with `*` for several; of a directory, where it is, or with `*`
    #: which files in it count: `/var/trail/**/*.json.gz`
    path: str | None = Field(default=None, min_length=1, max_length=1000)
    #: where to begin the first time: at the `end`, with what comes from now on, or at the `start`
    begin: Literal["start", "end"] = "end"
    #: of journald, the units whose messages count; empty: all
    units: tuple[str, ...] = ()
    #: of journald, the folder of the journal, where it is not that of this machine
    journal: Path | None = None
    #: of a directory or bucket, how often to look for new files
    every: Length = timedelta(seconds=30)
    #: of S3, the bucket
    bucket: _Bucket | None = None
    #: of S3, what begins the keys of its files: of CloudTrail, a source for each account and region
    prefix: _KeyPrefix = ""
    #: of S3, its address, where it is not that of AWS: `https://s3.example.com`
    endpoint: str | None = None
    #: of S3, the region
    region: str | None = None
    #: of S3, reference to the access key, together with `secret_key`; without them, it is looked
    #: for where AWS tools look
    access_key: Reference | None = None
    #: of S3, reference to the secret key
    secret_key: Reference | None = None
    #: of syslog, address and port: `127.0.0.1:6514`
    listen: str | None = Field(default=None, max_length=300)
    #: of syslog, others may reach it without TLS: what they send is then nobody's word
    plain: bool = False
    #: of syslog, the certificate with its chain, as PEM
    tls_certificate: Path | None = None
    #: of syslog, the certificate's private key, as PEM and without a password
    tls_key: Path | None = None
    #: of syslog, who has to have issued the senders' certificates, as PEM; without it, anybody may
    #: send
    client_ca: Path | None = None
    #: of a webhook, how it is signed: as `github` does, as `pagerduty` does, or as
    #: `standard` webhooks are
    signature: Literal["github", "pagerduty", "standard"] | None = None
    #: of a webhook, reference to the secret that signs; of a `standard` one it is written
    #: `whsec_<base64>`
    secret: Reference | None = None
    #: of what is posted, how many bodies within a minute
    posts_per_minute: int = Field(default=600, ge=1, le=100_000)

    @field_validator("expects")
    @classmethod
    def _types(cls, expects: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [each for each in expects if each not in TYPES]
        if unknown:
            raise ValueError(f"`{unknown[0]}` is no type of event; there are: {', '.join(TYPES)}")
        return expects

    @field_validator("units")
    @classmethod
    def _of_systemd(cls, units: tuple[str, ...]) -> tuple[str, ...]:
        if odd := [each for each in units if not _UNIT.fullmatch(each)]:
            raise ValueError(f"`{odd[0][:100]}` is no unit; write for example `ssh.service`")
        return units

    @field_validator("options")
    @classmethod
    def _recordable(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:  # the log has the configuration in this form
            canonical.encode(options, max_depth=8)
        except NotCanonical as error:
            raise ValueError(f"{error}; write a text, a whole number, true, or a list") from error
        return options

    @field_validator("every")
    @classmethod
    def _within_reason(cls, every: timedelta) -> timedelta:
        if not OFTEN <= every <= SELDOM:
            raise ValueError("look between every 1s and every 1h")
        return every

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        for name, kinds in _OF_KINDS.items():
            if name in self.model_fields_set and self.kind not in kinds:
                raise ValueError(f'`{name}` is for `kind = "{kinds[0]}"`, not `{self.kind}`')
        missing = [name for name in _NEEDED.get(self.kind, ()) if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a source of kind `{self.kind}` has a `{missing[0]}`")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("`access_key` and `secret_key` go together")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` go together")
        if self.client_ca is not None and self.tls_certificate is None:
            raise ValueError("`client_ca` goes with `tls_certificate` and `tls_key`")
        if self.plain and self.tls_certificate is not None:
            raise ValueError("`plain` is for a source without TLS")
        return self


def check_sources(sources: Mapping[str, SourceSection], resources: Collection[str]) -> None:
    """Raises `ValueError` for one that speaks of a resource that is not there."""
    for name, source in sources.items():
        if source.resource and source.resource not in resources:
            known = f"; there are: {', '.join(sorted(resources))}" if resources else ""
            raise ValueError(
                f"`sources.{name}.resource`: no resource is `{source.resource}`{known}"
            )
    listening = [source.listen for source in sources.values() if source.listen]
    twice = [each for each in listening if listening.count(each) > 1 and not each.endswith(":0")]
    if twice:
        raise ValueError(f"`sources`: two of them listen on `{twice[0]}`")
