"""The sources of events, their readers, and the store of what they say, by the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from muniment.errors import ConfigInvalid
from muniment.operations import observe
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source, Taken
from muniment.operations.remaining_events import RemainingEvents
from muniment.operations.service import Service
from muniment.oversight.event import Reader, ReaderSettings
from muniment.oversight.event_store import EventStore
from muniment.oversight.readers import reader
from muniment.runtime.log_stores import open_event_database
from muniment.runtime.settings import Settings
from muniment.runtime.source_section import SourceSection
from muniment.stores.events import SQLiteEventStore


def open_events(folder: Path, settings: Settings) -> EventStore | None:
    """
    The store; None where no source is declared and nothing was ever kept.

    Raises `ConfigInvalid` or `LogUnavailable` saying what to do.
    """
    if settings.store is not None:
        found = open_event_database(folder, settings.store)
        if found is None and settings.sources:
            raise ConfigInvalid(
                "`sources` beside `[store]` need `store.events`, a PostgreSQL database for what "
                "they say; the SQL of `muniment migrate --sql events` makes its tables"
            )
        return found
    path = folder / settings.paths.events
    if not settings.sources and not path.exists():
        return None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SQLiteEventStore(path)


def observe_with(service: Service, settings: Settings, store: EventStore | None) -> None:
    """Let a service take in what its sources say. Raises `ConfigInvalid`."""
    sources = read_sources(settings)
    if store is not None:
        store = RemainingEvents(store, service.erasures, service.document)
    intake = None if store is None else Intake(service=service, store=store)
    service.observing = Observing(store=store, sources=sources, intake=intake)


def read_sources(settings: Settings) -> dict[str, Source]:
    """Raises `ConfigInvalid` for a reader that does not exist, or not so."""
    return {name: _source(settings, name, section) for name, section in settings.sources.items()}


def _source(settings: Settings, name: str, section: SourceSection) -> Source:
    asked = ReaderSettings(prefix=settings.installation.prefix, options=section.options)
    try:
        found = reader(section.reader, asked)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"`sources.{name}`: {error}") from error
    return Source(
        name=name,
        resource=section.resource,
        reader=found,
        make_reader=partial(reader, section.reader, asked),
        heartbeat=section.heartbeat,
        standing_accounts=section.standing_accounts,
        own_accounts=_own_accounts(settings, section.resource),
        expects=section.expects,
    )


def _own_accounts(settings: Settings, resource: str) -> tuple[str, ...]:
    """With which account Muniment works at a target: as the resource's own options say."""
    found = settings.resources.get(resource)
    user = found.options.get("user") if found is not None else None
    return (user,) if isinstance(user, str) else ()


@dataclass(frozen=True, kw_only=True)
class ServiceIntake:
    """Where transports hand on what they bring: see `runtime.sources.Intake`."""

    service: Service

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Taken:
        return await observe.take(self.service, source, records, cursor, after=after)

    def cursor(self, source: str) -> str | None:
        store = self.service.observing.store
        return None if store is None else store.state(source).cursor

    async def missed(self, source: str, why: str, *, count: int | None = None) -> None:
        await observe.missed(self.service, source, why, count=count)

    def reader(self, source: str) -> Reader:
        return observe.source_of(self.service, source).make_reader()
