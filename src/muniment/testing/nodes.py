"""One process of a `Scenario`: its database, its head store, and the service on them."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from muniment.access.counters import counters
from muniment.access.registry import Registry
from muniment.evidence.clock import SteadyClock
from muniment.evidence.log import Log
from muniment.operations import sweep
from muniment.operations.erase import Erasures, finish
from muniment.operations.service import Service
from muniment.ports import Connector
from muniment.stores.head_file import LedgerFile
from muniment.testing.stand_ins import Claims, Hook, ScenarioHeads, ScenarioSpool, ScenarioStore

if TYPE_CHECKING:  # it opens nodes itself
    from muniment.testing.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one process has opened."""

    store: ScenarioStore
    heads: ScenarioHeads
    service: Service

    def close(self) -> None:
        self.service.log.close()
        self.store.close()
        self.heads.close()


def open_node(
    scenario: "Scenario",
    prefix: str,
    connectors: Mapping[str, Connector],
    strike: Hook,
    *,
    name: str = "",
    claims: Claims | None = None,
    ahead: timedelta = timedelta(0),
) -> Node:
    """With `claims` it is one of several, on the same database and targets, each with a name."""
    folder, shared = scenario.folder, claims is not None
    with contextlib.ExitStack() as opened:
        # a process that does not come up lets go of its files: others are put in their place
        store = ScenarioStore(folder / "muniment.db", strike, node=name, claims=claims)
        opened.callback(store.close)
        heads = ScenarioHeads(folder / "head", strike)
        opened.callback(heads.close)
        service = _served(scenario, prefix, connectors, strike, store, heads, name, ahead, shared)
        opened.pop_all()
    return Node(store=store, heads=heads, service=service)


def _served(
    scenario: "Scenario",
    prefix: str,
    connectors: Mapping[str, Connector],
    strike: Hook,
    store: ScenarioStore,
    heads: ScenarioHeads,
    name: str,
    ahead: timedelta,
    shared: bool,
) -> Service:
    folder, clock = scenario.folder, scenario.clock
    log = Log(
        store,
        heads,
        scenario.keyring,
        SteadyClock(lambda: clock.wall + ahead, lambda: clock.elapsed),
        counters=counters,
        space=lambda: scenario.space,
        reserve=scenario.reserve,
        shared=shared,
    )
    registry, erasures = Registry(), Erasures()
    log.open(registry.take, erasures.take)
    service = Service(
        log=log,
        registry=registry,
        projections=store,
        ledger=LedgerFile(folder / "erasures"),
        erasures=erasures,
        spool=ScenarioSpool(folder / f"spool{name}", strike),
        connectors=connectors,
        prefix=prefix,
        limits=scenario.limits,
        business_hours=scenario.business_hours,
        space=lambda: scenario.space,
        reserve=scenario.reserve,
        sealing_key=scenario.key.derive("sealing"),
        notifiers=scenario.notifiers,
        public_url="https://muniment.example",
        shared=shared,
    )
    finish(log, service.ledger, erasures)
    if sweep.wrong_rows(service):
        sweep.rebuild(service)
    return service
