"""
Reads what sudo says: who did what as whom, and who was not let.

The directory and the command are text of whoever ran it. Where they could be read in two ways, the
account that was taken on is left out rather than guessed.
"""

import re
from typing import ClassVar

from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.readers.border import plain, prose
from muniment.oversight.readers.envelopes import Journal, Message, envelope
from muniment.oversight.readers.options import Options, OwnAccounts

_LINE = re.compile(
    r" *(?P<who>\S{1,256}) : (?:(?P<why>[^;=]{1,200}?) ; )?(?P<rest>(?:TTY|PWD)=.*COMMAND=.*)"
)
_RUN = re.compile(r"(?:.* ; )?USER=(?P<other>\S{1,256}) ; (?:.* ; )?COMMAND=(?P<command>.*)")
_ATTEMPTS = re.compile(r"\d{1,3} incorrect password attempts?|a password is required")


class Sudo:
    kind: ClassVar[str] = "sudo"

    def __init__(self, settings: ReaderSettings) -> None:
        options = Options(self.kind, settings)
        self._envelope = envelope(options)
        options.end()
        self._own = OwnAccounts(settings.prefix)

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._envelope.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        return self._envelope.unpack(body)

    def read(self, record: bytes) -> Event:
        message = self._envelope.message(record)
        found = _LINE.fullmatch(message.text) if self._genuine(message) else None
        if found is None:
            return Event(
                type="other",
                at=message.at,
                action=plain(message.program),
                detail=prose(message.text),
            )
        account, why = plain(found["who"]), found["why"] or ""
        other, command = _run(found["rest"])
        return Event(
            type=_type(why),
            at=message.at,
            account=account,
            action=plain(why or "sudo"),
            object=plain(other),
            failed=bool(why),
            detail=prose(command),
            keys=self._own.keys(account),
        )

    def _genuine(self, message: Message) -> bool:
        journal = isinstance(self._envelope, Journal)
        return message.program == "sudo" and (message.trusted or not journal)


def _run(rest: str) -> tuple[str, str]:
    """As whom, and what; all of the text where it is not clear which part is which."""
    clear = rest.count("USER=") == 1 == rest.count("COMMAND=")
    found = _RUN.fullmatch(rest) if clear else None
    return (found["other"], found["command"]) if found else ("", rest)


def _type(why: str) -> str:
    if not why:
        return "elevated"
    return "session.refused" if _ATTEMPTS.fullmatch(why) else "error"
