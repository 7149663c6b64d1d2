"""Who is told of everything: sinks of events, what each is told, and how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from muniment.oversight.siem import Cursors, Describer, Progress, SiemSink


@dataclass(kw_only=True)
class Stream:
    """One sink. What is known of it is known while this node is the one that tells it."""

    sink: SiemSink
    describer: Describer
    #: kinds of records that it is told of: patterns as in a shell
    kinds: tuple[str, ...] = ("*",)
    #: a sink that was never told of anything begins with the first record of the log
    from_start: bool = False
    #: None until this node has looked
    progress: Progress | None = None
    #: what of it is kept for the next to go on from, and since when, in elapsed seconds
    kept: Progress | None = None
    kept_at: float = 0.0
    #: when the oldest record that it lacks was recorded; None where it lacks none that we looked at
    lacks_since: datetime | None = None
    #: tries of this process that failed
    failures: int = 0
    #: it was said that it is far behind
    late: bool = False

    def wants(self, kind: str) -> bool:
        return any(fnmatchcase(kind, pattern) for pattern in self.kinds)

    def stand_by(self) -> None:
        """Another node tells it from now on."""
        self.progress, self.kept, self.lacks_since, self.late = None, None, None, False


@dataclass(kw_only=True)
class Forwarding:
    """One per service."""

    #: where it is kept how far sinks are; None where nobody is told of anything
    cursors: Cursors | None = None
    #: by name
    streams: Mapping[str, Stream] = field(default_factory=dict)
