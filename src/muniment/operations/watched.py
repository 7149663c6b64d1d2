"""What there is to count of oversight: for metrics, and for whoever watches the watcher."""

from collections import Counter
from collections.abc import Iterator

from muniment.access.finding import OPEN
from muniment.operations import health
from muniment.operations.service import Service

#: open findings that are counted; beyond them the figure stands still
MOST_COUNTED = 10_000


def metrics(service: Service) -> Iterator[str]:
    """Prometheus text. Counts only: nothing about anybody."""
    yield "# TYPE muniment_findings_open gauge"
    for severity, count in sorted(_open_findings(service).items()):
        yield f'muniment_findings_open{{severity="{severity}"}} {count}'
    yield from health.metrics(service)
    store = service.observing.store
    if store is None:
        return
    states = store.states()
    yield "# TYPE muniment_events_total counter"
    for state in states:
        yield f'muniment_events_total{{source="{state.source}"}} {state.next}'
    yield "# TYPE muniment_events_unrecorded gauge"
    for state in states:
        waiting = state.next - state.sealed
        yield f'muniment_events_unrecorded{{source="{state.source}"}} {waiting}'
    yield "# TYPE muniment_source_silent gauge"
    for name, seen in sorted(service.registry.sources.items()):
        yield f'muniment_source_silent{{source="{name}"}} {int(seen.is_silent)}'


def _open_findings(service: Service) -> Counter[str]:
    """By severity: see `findings.project` for what a line of a finding holds."""
    rows = service.projections.cases(kind="finding", states=OPEN, limit=MOST_COUNTED)
    return Counter(severity for row in rows for severity in row.groups)
