"""From the records that a source sends to events that are kept: read, linked, committed."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.errors import Unreadable
from muniment.evidence import event_batch
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.observing import Source, Taken
from muniment.operations.service import Service
from muniment.oversight.event import MAX_RECORD, Event, Reader
from muniment.oversight.event_store import Arrived, Chunk, EventStore
from muniment.oversight.link import Correlator, Link

#: kinds of keys that an event may give out, for later events to show
_JOINING: Final = ("access-key", "token")
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Intake:
    """Numbers the events of each source: only one thread at a time may work with it."""

    service: Service
    store: EventStore
    _correlator: Correlator = field(init=False)

    def __post_init__(self) -> None:
        windows = GrantWindows(service=self.service, store=self.store)
        self._correlator = Correlator(self.service.prefix, windows)

    def take(self, source: Source, sent: Sequence[bytes], cursor: str | None) -> Taken:
        """Durable, with the cursor, when it returns. Raises `Unavailable`: then nothing is kept."""
        start = self.store.state(source.name).next
        arrived: list[Arrived] = []
        for raw in sent:
            try:
                event = _read(source.reader, raw)
            except Unreadable as error:
                _log.debug("a record of `%s` is rejected: %s", source.name, error)
                continue
            arrived.append(self._arrive(source, start + len(arrived), raw, event))
        rejected = len(sent) - len(arrived)
        self.store.add(
            Chunk(
                source=source.name,
                resource=source.resource,
                start=start,
                arrived=arrived,
                rejected=rejected,
                cursor=cursor,
                at=self.service.now(),
            )
        )
        return Taken(kept=len(arrived), rejected=rejected)

    def _arrive(self, source: Source, number: int, raw: bytes, event: Event) -> Arrived:
        salt = secrets.token_bytes(event_batch.SALT_SIZE)
        log_id = self.service.log.log_id
        link = self._correlator.link(event, source.resource)
        if event.type == "credential.issued" and link.strength == "strong" and link.grant:
            self._join(event, link)
        return Arrived(
            raw=raw,
            salt=salt,
            commitment=event_batch.commitment(log_id, salt, source.name, number, raw),
            event=event,
            link=link,
        )

    def _join(self, event: Event, gave: Link) -> None:
        """What a grant was given leads on to it; also what showed it before we were told."""
        for key in event.keys:
            if key.kind not in _JOINING:
                continue
            self.store.join(key, gave.grant)
            for kept in self.store.unlinked(key):
                if kept.event is not None:
                    link = self._correlator.link(kept.event, kept.resource)
                    self.store.relink(kept.source, kept.number, link)


def _read(reader: Reader, raw: bytes) -> Event:
    if len(raw) > MAX_RECORD:
        raise Unreadable("it is too long")
    return reader.read(raw)
