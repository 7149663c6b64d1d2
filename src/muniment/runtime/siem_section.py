"""`[siem.NAME]` in `muniment.toml`."""

import ipaddress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

from muniment.access.records import KINDS
from muniment.runtime.setting_values import Reference


def _of_known_kinds(pattern: str) -> str:
    if not any(fnmatchcase(kind, pattern) for kind in KINDS):
        raise ValueError(f"`{pattern}` is no kind of record: write for example `grant:*`")
    return pattern


_Kinds = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z*?:-]+$", max_length=60),
    AfterValidator(_of_known_kinds),
]
_Address = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$")
]


class SiemSection(BaseModel):
    """A place that is told of every record of the log, as OCSF events. The name is yours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `file`, one event a line; `webhook`, batches of CloudEvents to a program; `syslog`, over TLS
    kind: Literal["file", "webhook", "syslog"]
    #: which kinds of records: `grant:*`; each event says which one was sent before it
    records: tuple[_Kinds, ...] = ("*",)
    #: where a place that was never told of anything begins: with what is recorded from `now` on,
    #: or at the `start` of the log
    since: Literal["now", "start"] = "now"
    #: of a file, where it is; its folder has to be there
    path: Path | None = None
    #: of a webhook, reference to its URL, as that may hold a password: `env:NAME` or `file:PATH`
    url: Reference | None = None
    #: of a webhook, reference to the secret that signs, as Standard Webhooks write it:
    #: `whsec_<base64>`
    secret: Reference | None = None
    #: of a webhook, reference to what the header `Authorization` is to hold
    authorization: Reference | None = None
    #: the webhook may lie inside your own network, and be without TLS
    internal: bool = False
    #: of syslog, host and port: `siem.example.com:6514`
    address: _Address | None = None
    #: of syslog, whether TLS is spoken; without it only a relay on this machine is talked to
    tls: bool = True
    #: of syslog, the certificates as PEM that vouch for the receiver, where the system's do not
    ca: Path | None = None
    #: of syslog, our own certificate with its chain, as PEM, where the receiver asks for one
    tls_certificate: Path | None = None
    #: of syslog, the private key of that, as PEM and without a password
    tls_key: Path | None = None
    #: of syslog over TLS, whether the receiver answers the end of a connection as RFC 5425 has it,
    #: by which it is known that it has read everything; without it, what was under way when the
    #: receiver went down is lost
    confirmed: bool = True

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of `address`."""
        host, _, port = (self.address or "").rpartition(":")
        return host.strip("[]"), int(port)

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("a file has a `path`, and nothing else has one")
        if (self.kind == "webhook") != (self.url is not None and self.secret is not None):
            raise ValueError("a webhook has a `url` and a `secret`, and nothing else has them")
        if (self.kind == "syslog") != (self.address is not None):
            raise ValueError("syslog has an `address`, and nothing else has one")
        if self.kind != "webhook" and (self.url or self.secret or self.authorization):
            raise ValueError("`url`, `secret` and `authorization` are for a webhook")
        if self.internal and self.kind != "webhook":
            raise ValueError("`internal` is for a webhook; a file and syslog go where they say")
        files = (self.ca, self.tls_certificate, self.tls_key)
        if any(files) and not (self.kind == "syslog" and self.tls):
            raise ValueError("`ca`, `tls_certificate` and `tls_key` are for syslog over TLS")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` go together")
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.kind != "syslog":
            if not (self.tls and self.confirmed):
                raise ValueError("`tls` and `confirmed` are for syslog")
            return self
        host, port = self.place
        if not 0 < port <= 65_535:  # noqa: PLR2004 (the last port)
            raise ValueError("`address` is host and port, as in `siem.example.com:6514`")
        if not self.tls and not _is_this_machine(host):
            raise ValueError(
                "without `tls` only a relay on this machine is talked to: `127.0.0.1` or `[::1]`"
            )
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
