"""
Reads what sshd says: who was let in, by which certificate, and when the session was over.

A name that somebody tries to log in with is text of theirs, and has forged whole lines. So every
line is matched whole; a login by key needs the key's own end of the line; and what leads to a grant
is the certificate that sshd checked, in its full form. In the journal only lines of the real
program count. In syslog any account of the machine can write such a line.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers.border import plain, prose
from muniment.oversight.readers.envelopes import Journal, Message, envelope
from muniment.oversight.readers.options import Options, OwnAccounts

_PROGRAMS: Final = ("sshd", "sshd-session", "sshd-auth")
_PRINT = r"(?:SHA256:[A-Za-z0-9+/]{43}=?|MD5(?::[0-9a-f]{2}){16})"
_WAY = r"from (?P<client>\S{1,255}) port (?P<port>\d{1,5})"
_METHOD = r"(?P<method>[a-z-]{1,40}(?:/[a-z-]{1,40})?)"
_ACCEPTED = re.compile(
    rf"Accepted {_METHOD} for (?P<user>\S{{1,256}}) {_WAY} ssh2(?:: (?P<proof>.*))?"
)
_KEY = re.compile(rf"[A-Z0-9-]{{2,20}} {_PRINT}")
_CERTIFICATE = re.compile(
    rf"[A-Z0-9-]{{2,20}}-CERT {_PRINT} ID (?P<id>.+) \(serial (?P<serial>\d{{1,20}})\)"
    rf" CA [A-Z0-9-]{{2,20}} (?P<authority>{_PRINT})"
)
#: A name without blanks first: with them, it may hold what looks like the rest of the line.
_REFUSED = tuple(
    re.compile(rf"Failed {_METHOD} for (?:invalid user )?(?P<user>{name}) {_WAY} ssh2"
               r"(?:: (?P<proof>.*))?")
    for name in (r"\S{1,256}", ".*")
)  # fmt: skip
_NOT_LET_IN = tuple(
    (action, re.compile(pattern))
    for action, pattern in {
        "Invalid user": rf"Invalid user (?P<user>.*) {_WAY}",
        "not allowed": r"User (?P<user>\S{1,256})(?: from (?P<client>\S{1,255}))? not allowed"
        r" because .*",
        "too many attempts": r"maximum authentication attempts exceeded for (?:invalid user )?"
        rf"(?P<user>.*) {_WAY} ssh2",
        "Certificate invalid": r"Certificate invalid: .*",
        "revoked": rf"Authentication key [A-Z0-9-]{{2,20}} {_PRINT} revoked by file .*",
    }.items()
)
_STARTED = re.compile(
    r"Starting session: (?P<what>shell|command|forced-command|subsystem '[^']{1,64}')"
    r"(?: \((?:config|key-option)\) '.*')?(?: on \S{1,64})?"
    rf" for (?P<user>\S{{1,256}}) {_WAY}"
    r" id \d{1,10}"
)
_LEFT = re.compile(
    r"(?:Disconnected from user (?P<user>\S{1,256})|Connection (?:closed|reset) by"
    r"|Timeout, client not responding from user (?P<idle>\S{1,256}))"
    r" (?P<client>\S{1,255}) port (?P<port>\d{1,5})"
)
_PAM = re.compile(
    r"pam_unix\(sshd:session\): session (?P<what>opened|closed) for user"
    r" (?P<user>[^\s(]{1,256})(?:\(uid=\d{1,10}\))?(?: by .*)?"
)
_WORDS = re.compile(r"[A-Za-z]+(?: [a-z]+)?")
#: several times what sshd itself ever writes
_LONGEST: Final = 8192
_MOST_SESSIONS: Final = 4096


@dataclass(frozen=True, slots=True)
class _Session:
    """What is known of a session that was let in, for the lines that follow."""

    name: str
    account: str
    client: str
    port: str
    keys: tuple[Key, ...]


class Sshd:
    """`authorities` are the fingerprints of the CAs whose certificates lead to grants."""

    kind: ClassVar[str] = "sshd"

    def __init__(self, settings: ReaderSettings) -> None:
        options = Options(self.kind, settings)
        self._envelope = envelope(options)
        self._authorities = options.texts("authorities")
        options.end()
        self._own = OwnAccounts(settings.prefix)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ways: dict[tuple[str, str, str], str] = {}

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._envelope.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        return self._envelope.unpack(body)

    def read(self, record: bytes) -> Event:
        message = self._envelope.message(record)
        text = message.text.removesuffix(" [preauth]").removeprefix("error: ")
        own = message.program in _PROGRAMS and len(text) <= _LONGEST
        if own and (message.trusted or not isinstance(self._envelope, Journal)):
            found = self._of_session(message, text)
            if found is None and (message.root or not isinstance(self._envelope, Journal)):
                found = self._of_login(message, text)
            if found is not None:
                return replace(found, detail=prose(text))
        words = _WORDS.match(text) if own else None
        return Event(
            type="other",
            at=message.at,
            session=self._name(message) if own else "",
            action=plain(words[0]) if words else plain(message.program),
            detail=prose(message.text),
        )

    @staticmethod
    def _name(message: Message) -> str:
        return plain(f"{message.host}/{message.pid}")

    # --- the way in: only root's process speaks of it

    def _of_login(self, message: Message, text: str) -> Event | None:
        if found := _ACCEPTED.fullmatch(text):
            return self._accepted(message, found)
        for pattern in _REFUSED:
            if found := pattern.fullmatch(text):
                keys = self._certificate(found["proof"] or "")
                return self._refused(message, found, found["method"], keys)
        for action, pattern in _NOT_LET_IN:
            if found := pattern.fullmatch(text):
                return self._refused(message, found, action)
        if found := _PAM.fullmatch(text):
            return self._pam(message, found)
        return None

    def _accepted(self, message: Message, found: re.Match[str]) -> Event | None:
        proof = found["proof"] or ""
        keys = self._certificate(proof)
        if found["method"] == "publickey" and not keys and not self._is_key(proof):
            return None
        session = _Session(
            name=self._name(message),
            account=plain(found["user"]),
            client=plain(found["client"]),
            port=found["port"],
            keys=(*keys, *self._own.keys(found["user"])),
        )
        self._remember(message.host, session)
        return self._event(message, session, "session.opened", found["method"])

    @staticmethod
    def _is_key(proof: str) -> bool:
        return bool(_KEY.fullmatch(proof) or _CERTIFICATE.fullmatch(proof))

    def _certificate(self, proof: str) -> tuple[Key, ...]:
        found = _CERTIFICATE.fullmatch(proof)
        if found is None or (self._authorities and found["authority"] not in self._authorities):
            return ()
        return (Key("certificate", plain(f"{found['id']} serial {found['serial']}")),)

    def _refused(
        self, message: Message, found: re.Match[str], action: str, keys: tuple[Key, ...] = ()
    ) -> Event:
        said = found.groupdict()
        return Event(
            type="session.refused",
            at=message.at,
            account=plain(said.get("user")),
            session=self._name(message),
            client=plain(said.get("client")),
            action=plain(action),
            failed=True,
            keys=keys,
        )

    def _pam(self, message: Message, found: re.Match[str]) -> Event:
        known = self._sessions.get(self._name(message))
        opened = found["what"] == "opened"
        session = known or _Session(self._name(message), plain(found["user"]), "", "", ())
        type = "other" if opened and known else f"session.{found['what']}"
        if not opened:
            self._forget(message.host, session)
        return self._event(message, session, type, f"session {found['what']}")

    # --- the rest of a session: also its own process, with the rights of who is in it

    def _of_session(self, message: Message, text: str) -> Event | None:
        if found := _STARTED.fullmatch(text):
            session = self._of_way(message, found)
            return self._event(message, session, "statement", found["what"]) if session else None
        if found := _LEFT.fullmatch(text):
            session = self._of_way(message, found)
            if session is not None:
                return self._event(message, session, "session.closed", "disconnected")
        return None

    def _of_way(self, message: Message, found: re.Match[str]) -> _Session | None:
        """
        By address and port, for the process of a session is another than the one that let it in.

        Who was not seen to come in is believed only from root's process, or where nobody vouches.
        """
        name = self._ways.get((message.host, found["client"], found["port"]))
        if name is not None:
            return self._sessions[name]
        user = found.groupdict().get("user") or found.groupdict().get("idle")
        if not user or (isinstance(self._envelope, Journal) and not message.root):
            return None
        return _Session(self._name(message), plain(user), plain(found["client"]), "", ())

    def _remember(self, host: str, session: _Session) -> None:
        if session.name in self._sessions:
            self._forget(host, self._sessions[session.name])
        while len(self._sessions) >= _MOST_SESSIONS:
            oldest = next(iter(self._sessions.values()))
            self._forget(oldest.name.rpartition("/")[0], oldest)
        self._sessions[session.name] = session
        self._ways[(host, session.client, session.port)] = session.name

    def _forget(self, host: str, session: _Session) -> None:
        self._sessions.pop(session.name, None)
        way = (host, session.client, session.port)
        if self._ways.get(way) == session.name:
            del self._ways[way]

    @staticmethod
    def _event(message: Message, session: _Session, type: str, action: str) -> Event:
        return Event(
            type=type,
            at=message.at,
            account=session.account,
            session=session.name,
            client=session.client,
            action=plain(action),
            keys=session.keys,
        )
