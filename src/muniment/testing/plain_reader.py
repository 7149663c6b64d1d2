"""A reader whose records are events themselves: for tests that are about something else."""

import dataclasses
import json
from datetime import datetime
from typing import ClassVar

from muniment.errors import Unreadable
from muniment.oversight.event import Event, Key, ReaderSettings


class PlainReader:
    """Reads one JSON object with the fields of an event; an account is a key, too."""

    kind: ClassVar[str] = "plain"

    def __init__(self, settings: ReaderSettings) -> None:
        self.settings = settings

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        *lines, rest = buffer.split(b"\n")
        return lines, rest

    def unpack(self, body: bytes) -> list[bytes]:
        return body.splitlines()

    def read(self, record: bytes) -> Event:
        try:
            said = json.loads(record)
            keys = tuple(Key(*each) for each in said.pop("keys", ()))
            event = Event(at=datetime.fromisoformat(said.pop("at")), **said)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Unreadable("it is no event") from None
        own = (Key("account", event.account),) if event.account else ()
        return dataclasses.replace(event, keys=(*keys, *own))


def plain(event: Event) -> bytes:
    """The record that reads as this event."""
    said = {
        field.name: getattr(event, field.name)
        for field in dataclasses.fields(event)
        if field.name not in ("at", "keys")
    }
    keys = [[key.kind, key.value] for key in event.keys]
    return json.dumps({**said, "at": event.at.isoformat(), "keys": keys}).encode()
