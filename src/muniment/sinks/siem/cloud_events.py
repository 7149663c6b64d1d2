"""
Events to a program by HTTP: CloudEvents 1.0 in batches, signed as Standard Webhooks have it.

The `id` of an event is its record's, and `source` names the log: both stay the same when it is sent
again, so that a receiver can leave out what it has. `sequence` sorts as text.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final

from muniment.errors import Unavailable
from muniment.evidence import moment
from muniment.evidence.webhook import signed_headers, signing_key
from muniment.oversight.siem import SiemEvent
from muniment.ports import Outbound, Secret
from muniment.sinks.siem.ocsf import OCSF

#: how long one delivery may take, in seconds, and how much of its answer is read
SECONDS: Final = 20.0
MAX_ANSWER: Final = 16 * 1024
_TAKEN: Final = range(200, 300)


class EventWebhook:
    """One address of a program."""

    def __init__(
        self,
        name: str,
        url: Secret,
        key: Secret,
        outbound: Outbound,
        *,
        origin: str,
        now: Callable[[], datetime],
        authorization: Secret | None = None,
        allow: Collection[str] = (),
    ) -> None:
        """`origin` names the log; raises `ValueError` for what is no key."""
        self._name = name
        self._url = url
        self._key = signing_key(key.reveal())
        self._outbound = outbound
        self._origin = origin
        self._now = now
        self._authorization = authorization
        self._allow = allow

    async def send(self, events: Sequence[SiemEvent]) -> None:
        body = batch(events, self._origin)
        # the same for the same batch; another one, of the same records too, is another message
        id = f"siem.{self._name}.{events[0].index}-{events[-1].index}"
        headers = {
            # CloudEvents HTTP binding 1.0 section 3.3
            "Content-Type": "application/cloudevents-batch+json; charset=UTF-8",
            "User-Agent": "muniment",
            **signed_headers(self._key, id, self._now(), body),
        }
        if self._authorization is not None:
            headers["Authorization"] = self._authorization.reveal()
        reply = await self._outbound.fetch(
            "POST",
            self._url.reveal(),
            headers,
            body,
            timeout=SECONDS,
            max_bytes=MAX_ANSWER,
            allow=self._allow,
        )
        if reply.status not in _TAKEN:
            raise Unavailable(f"`{self._name}` answered {reply.status}")

    async def look(self) -> str:
        await self._outbound.check(self._url.reveal(), allow=self._allow)
        return "has an address that is called"


def batch(events: Sequence[SiemEvent], origin: str) -> bytes:
    """CloudEvents JSON format 1.0 section 4: an array of events."""
    return b"[" + b",".join(cloud_event(each, origin) for each in events) + b"]"


def cloud_event(event: SiemEvent, origin: str) -> bytes:
    """The attributes, and the OCSF event as its data, byte for byte."""
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"//{origin}",
        "type": f"muniment.record.{event.kind.replace(':', '.')}",
        "subject": event.case,
        "time": moment.text(event.at),
        "datacontenttype": "application/json",
        "dataschema": f"https://schema.ocsf.io/{OCSF}/classes/{event.schema}",
        "sequence": f"{event.index:015d}",
        "correlationid": event.case,
    }
    return json.dumps(attributes).encode("ascii")[:-1] + b', "data": ' + event.body + b"}"
