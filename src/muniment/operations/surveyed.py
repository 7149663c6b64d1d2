"""What evidence health remembers between two looks, so that each look reads only what is new."""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from muniment.access.records import EvidenceMeasured
from muniment.oversight.health import Survey


@dataclass(kw_only=True)
class Surveyed:
    """One per service. Whoever reads on, or judges, holds the lock."""

    survey: Survey = field(default_factory=Survey)
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: whoever reads on without being waited for stops
    stop: threading.Event = field(default_factory=threading.Event)
    #: cases whose sealed content is not there, though nobody erased it
    lost: set[str] = field(default_factory=set)
    #: by case: the newest record whose sealed content was looked for
    looked: dict[str, int] = field(default_factory=dict)
    #: leaf hash of the newest measurement of the year, when it was recorded, and what it says
    measured: tuple[bytes, datetime, EvidenceMeasured] | None = None
