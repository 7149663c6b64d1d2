"""How well the evidence would stand up is measured once a day, by one of several nodes."""

from dataclasses import dataclass, field
from typing import Final

from muniment.operations import health
from muniment.operations.service import Service

#: the duty to measure
MEASURE: Final = "measure"
#: seconds after the start before it is looked whether it is due: others have more to do then
SETTLE: Final = 60.0


@dataclass(kw_only=True)
class Measuring:
    """One per service: a piece of its upkeep."""

    service: Service
    _begins: float = field(init=False)

    def __post_init__(self) -> None:
        self._begins = self.service.log.clock.elapsed() + SETTLE

    def is_due(self) -> bool:
        settled = self.service.log.clock.elapsed() >= self._begins
        return settled and health.is_due(self.service)

    async def measure(self) -> None:
        """The newest measurement in the log says what is due: no two nodes measure one day."""
        await health.measure(self.service)
