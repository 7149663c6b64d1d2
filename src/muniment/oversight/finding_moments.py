"""
When findings were seen, at which resource: raw events of those days may be all that shows them.

Of a grant's events its case says for how long they are kept; of access without any nothing does.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from muniment.access import records
from muniment.access.holding import Concern
from muniment.evidence import moment
from muniment.evidence.record import Header

#: on either side of a moment
_AROUND: Final = timedelta(days=1)


@dataclass
class FindingMoments:
    """Of each finding the first and the last; advanced by one header after the other."""

    #: by resource and finding
    _seen: dict[str, dict[str, tuple[datetime, datetime]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _resources: dict[str, str] = field(default_factory=dict)

    def take(self, header: Header) -> None:
        case, body = header.case, header.body
        if header.kind == records.FindingRaised.KIND:
            at = moment.parse(body["seen"])
            self._resources[case] = body["resource"]
            self._seen[body["resource"]][case] = (at, at)
        elif header.kind == records.FindingSeen.KIND and case in self._resources:
            of_resource = self._seen[self._resources[case]]
            of_resource[case] = (of_resource[case][0], moment.parse(body["seen"]))

    def near(self, concern: Concern) -> Iterator[str]:
        """Findings that events of these resources and this time may show."""
        begins, ends = concern.begins - _AROUND, (concern.ends or concern.begins) + _AROUND
        for resource in sorted(concern.resources):
            for case, moments in self._seen.get(resource, {}).items():
                if any(begins <= each <= ends for each in moments):
                    yield case
