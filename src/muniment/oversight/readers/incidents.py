"""Reads when incidents began and were over: PagerDuty's webhooks, and a small form for others."""

from collections.abc import Mapping
from typing import ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    moment,
    prose,
    table,
    text_within,
    within,
)
from muniment.oversight.readers.deployments import resource_of
from muniment.oversight.readers.options import Options

_OF_PAGERDUTY: Final[Mapping[str, str]] = {
    "incident.triggered": "incident.opened",
    "incident.reopened": "incident.opened",
    "incident.resolved": "incident.closed",
}
_STATES: Final[Mapping[str, str]] = {"opened": "incident.opened", "closed": "incident.closed"}


class PagerDuty(DocumentReader):
    """Webhooks v3. `resources` has names, or ids, of services."""

    kind: ClassVar[str] = "pagerduty"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._resources = options.names("resources")
        options.end()

    def read(self, record: bytes) -> Event:
        event = within(table(record), "event")
        kind, incident = text_within(event, "event_type"), within(event, "data")
        if not kind:
            raise Unreadable("it is no webhook of PagerDuty")
        # What is said about an incident, such as a note, names it in another place.
        number = text_within(incident, "incident", "id") or text_within(incident, "id")
        service = [text_within(incident, "service", name) for name in ("summary", "id")]
        return Event(
            type=_OF_PAGERDUTY.get(kind, "other"),
            at=moment(within(event, "occurred_at")),
            account=text_within(event, "agent", "summary"),
            action=kind,
            object=number,
            detail=prose(text_within(incident, "title")),
            resource=resource_of(self._resources, *service),
        )


class Incidents(DocumentReader):
    """
    `{"id", "status", "at", "service", "title", "by"}`; `status` is `opened`, `closed` or anything.

    `resources` has names of services.
    """

    kind: ClassVar[str] = "incidents"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._resources = options.names("resources")
        options.end()

    def read(self, record: bytes) -> Event:
        told = table(record)
        number, status = text_within(told, "id"), text_within(told, "status")
        if not number or not status:
            raise Unreadable("an incident has an `id` and a `status`")
        return Event(
            type=_STATES.get(status, "other"),
            at=moment(told.get("at")),
            account=text_within(told, "by"),
            action=status,
            object=number,
            detail=prose(text_within(told, "title")),
            resource=resource_of(self._resources, text_within(told, "service")),
        )
