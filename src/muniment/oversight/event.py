"""
One thing that a source says happened: the shape that every reader brings its records into.

What a source says is a claim of that source, never a fact of ours. Text in it may be hostile: it is
bounded here, and shown with care elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Protocol

#: bytes of one record; a longer one is rejected, and costs nothing else
MAX_RECORD: Final = 1 << 20
#: characters of a name, and of the text of what was done
MAX_NAME, MAX_DETAIL = 256, 4096
#: how many keys one record may carry
MAX_KEYS: Final = 16

#: every type of event, with its meaning
TYPES: Final[Mapping[str, str]] = {
    "session.opened": "somebody was let in at the target",
    "session.closed": "a session ended by itself",
    "session.killed": "a session was ended by the target or an administrator",
    "session.refused": "somebody was not let in",
    "statement": "something was done in a session: an SQL statement, a command",
    "elevated": "somebody took on more rights in a session: sudo, SET ROLE",
    "access.changed": "an account, a role or a privilege was made, changed or removed",
    "credential.issued": "the target gave out a credential that later events may carry",
    "call": "a call of an API",
    "error": "what was asked for failed",
    "logging.changed": "what the target logs, or where to, was changed",
    "deployment": "something was put into service",
    "incident.opened": "an incident began",
    "incident.closed": "an incident was over",
    "other": "readable, and none of these: counted, never dropped",
}

#: every kind of key that leads from an event to a grant, the strongest first
KEYS: Final[Mapping[str, str]] = {
    "certificate": "key id of an SSH certificate that the server accepted, and its serial",
    "account": "name of the account, where it is made for one grant",
    "session-name": "name of the session that a cloud's role was taken on under",
    "token": "id of a token or a credential that was issued",
    "access-key": "an access key, which the event that gave it out carries too",
    "header": "what a gateway was handed beside the request, and logs",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One value that the holder of a credential cannot choose, and that leads to its grant."""

    #: one of `KEYS`
    kind: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What one record of a source says. Empty text means that it does not say."""

    #: one of `TYPES`
    type: str
    #: when it happened, by the source's clock: aware, UTC
    at: datetime
    #: as the target names who did it
    account: str = ""
    #: the target's own name for the session
    session: str = ""
    #: network address that it came from, without a port
    client: str = ""
    #: the target's own word for what was done: `SELECT`, `CREATE ROLE`, `iam:CreateUser`
    action: str = ""
    #: what it was done to
    object: str = ""
    failed: bool = False
    #: the text of it, cut to `MAX_DETAIL`
    detail: str = ""
    keys: tuple[Key, ...] = ()
    #: the resource, where one source speaks of several; else empty: the source's own
    resource: str = ""


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """What a reader is built from: one source of the configuration."""

    #: begins the grant ids of this installation: `<prefix>_<26 characters of base32>`
    prefix: str
    #: the source's own table in `muniment.toml`, without the parts every source has
    options: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """
    Reads the records of one kind of source. One instance reads one source, in its order.

    A reader is one file; found by entry point `muniment.readers`. It knows no clock and no network.
    """

    #: name in the configuration: `reader = "sshd"`
    kind: ClassVar[str]

    def __init__(self, settings: ReaderSettings) -> None:
        """Raises `ConfigInvalid` naming the option and what to write instead."""
        ...

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        """
        Whole records at the beginning of the buffer, and what is left of it.

        A record that cannot end any more within `MAX_RECORD` is given as it is, for `read` to
        reject: what follows it is read again as soon as a record can begin.
        """
        ...

    def unpack(self, body: bytes) -> list[bytes]:
        """
        The records of one body that was posted, or of one whole file.

        Raises `Unreadable` if it is no such body.
        """
        ...

    def read(self, record: bytes) -> Event:
        """Raises `Unreadable`, saying why in a few words of its own: never text of the record."""
        ...


def clipped(text: str, length: int = MAX_NAME) -> str:
    """Cut to so many characters, the last of which then says so."""
    return text if len(text) <= length else text[: length - 1] + "…"
