"""What only one of several nodes has to do at a time, and whether it is this one."""

from dataclasses import dataclass, field
from typing import Final

from muniment.operations.service import Service

#: seconds within which an answer is not asked for again
ANSWER_HOLDS: Final = 0.5


@dataclass(kw_only=True)
class Duties:
    """Whoever leads keeps leading by asking again in time; whoever stops asking gives way."""

    service: Service
    #: when it was asked, in elapsed seconds, and the answer
    _asked: dict[str, tuple[float, bool]] = field(default_factory=dict)

    def has(self, duty: str) -> bool:
        """Raises `LogUnavailable`: then this node has none."""
        elapsed = self.service.log.clock.elapsed()
        known = self._asked.get(duty)
        if known is None or elapsed - known[0] >= ANSWER_HOLDS:
            known = self._asked[duty] = elapsed, self.service.projections.lead(duty)
        return known[1]
