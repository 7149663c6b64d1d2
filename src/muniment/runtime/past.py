"""A service that only looks back: no target, nobody who is told, and not one of their secrets."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from muniment.access.counters import counters
from muniment.access.registry import Registry
from muniment.evidence.clock import SteadyClock
from muniment.evidence.log import Log
from muniment.operations.erase import Erasures, check_explained, erased_by
from muniment.operations.service import Service
from muniment.runtime import clock
from muniment.runtime.key_files import KeyFolder
from muniment.runtime.log_stores import open_stores
from muniment.runtime.observing import observe_with, open_events
from muniment.runtime.settings import Settings
from muniment.runtime.wiring import read_keyring, read_remote
from muniment.stores.spool_file import SpoolFile


@contextlib.contextmanager
def looking_back(folder: Path, settings: Settings) -> Iterator[Service]:
    """
    The log and the events of an installation, beside its running service; nothing is appended.

    What the log says was erased is shown to nobody, also where a restored copy still has it. A copy
    that is older than what the erasure ledger knows of is not looked at.

    Raises `ConfigInvalid`, `LogInvalid` or `LogUnavailable` saying what to do.
    """
    with contextlib.ExitStack() as held:
        stores = open_stores(folder, settings)
        held.callback(stores.close)
        keys = KeyFolder(folder / settings.paths.key, settings.installation.origin)
        log = Log(
            stores.database,
            stores.heads,
            read_keyring(keys, read_remote(settings, folder)),
            SteadyClock(clock.now, clock.elapsed),
            counters=counters,
            shared=stores.shared is not None,
        )
        registry, erasures = Registry(), Erasures()
        known = erased_by(stores.ledger)
        log.open(registry.take, erasures.take)
        held.callback(log.close)
        check_explained(known, erasures)
        service = Service(
            log=log,
            registry=registry,
            projections=stores.database,
            ledger=stores.ledger,
            erasures=erasures,
            spool=SpoolFile(folder / settings.paths.spool),
            connectors={},
            prefix=settings.installation.prefix,
            shared=stores.shared is not None,
        )
        observe_with(service, settings, open_events(folder, settings))
        held.callback(service.observing.close)
        yield service
