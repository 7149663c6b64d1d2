"""One process of a `Scenario`: its database, its head store, and the service on them."""

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
    folder, clock, shared = scenario.folder, scenario.clock, claims is not None
    store = ScenarioStore(folder / "muniment.db", strike, node=name, claims=claims)
    heads = ScenarioHeads(folder / "head", strike)
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
    return Node(store=store, heads=heads, service=service)
