"""
Notices as CloudEvents 1.0 in the structured JSON format, signed as Standard Webhooks have it.

The receiver checks the signature over `webhook-id`, `webhook-timestamp` and the body as it came;
`id` stays the same when a notice is sent again, so that it can leave out what it has.
"""

import json
from collections.abc import Callable, Collection
from datetime import datetime
from typing import ClassVar, Final

from muniment.errors import Unavailable
from muniment.evidence import moment
from muniment.evidence.webhook import signed_headers, signing_key
from muniment.ports import Notice, Outbound, Secret

#: how long one delivery may take, in seconds, and how much of its answer is read
SECONDS: Final = 10.0
MAX_ANSWER: Final = 16 * 1024
_TAKEN: Final = range(200, 300)


class Webhook:
    """One address of a program."""

    personal: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        url: Secret,
        key: Secret,
        outbound: Outbound,
        *,
        origin: str,
        now: Callable[[], datetime],
        allow: Collection[str] = (),
    ) -> None:
        """`origin` names the log; raises `ValueError` for what is no key."""
        self._name = name
        self._url = url
        self._key = signing_key(key.reveal())
        self._outbound = outbound
        self._origin = origin
        self._now = now
        self._allow = allow

    async def tell(self, notice: Notice, address: str = "") -> None:  # noqa: ARG002 (one receiver)
        body = json.dumps(cloud_event(notice, self._origin)).encode()
        headers = {
            # CloudEvents HTTP binding 1.0 section 3.2
            "Content-Type": "application/cloudevents+json; charset=UTF-8",
            "User-Agent": "muniment",
            **signed_headers(self._key, notice.id, self._now(), body),
        }
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


def cloud_event(notice: Notice, origin: str) -> dict[str, object]:
    """CloudEvents 1.0 section 3: the attributes, and the notice as its data."""
    return {
        "specversion": "1.0",
        "id": notice.id,
        "source": f"//{origin}",
        "type": f"muniment.notice.{notice.event}",
        "subject": notice.case,
        "time": moment.text(notice.at),
        "datacontenttype": "application/json",
        "data": {**notice.facts, "title": notice.title, "checkpoint": notice.checkpoint},
    }
