"""To whom the log is shown: witnesses, time-stamp authorities, mirrors; and what came of it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from muniment.evidence.note import VerifierKey
from muniment.evidence.store import Mirror
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations.forwarding import Forwarding
from muniment.operations.stamp import Authority


@dataclass(frozen=True, kw_only=True)
class WitnessRules:
    """See the settings of the same names."""

    policy: WitnessPolicy
    #: the file that says so, word for word
    text: str
    #: for one exchange with one witness
    timeout: timedelta = timedelta(seconds=2)
    #: origins that may lie inside our own network, or be without TLS
    allow: frozenset[str] = frozenset()
    #: resources that get no credential without the quorum
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class CopyRules:
    """A place that keeps a copy, and how often it is brought up to what is published."""

    mirror: Mirror
    every: timedelta


@dataclass(kw_only=True)
class Publishing:
    """One per service."""

    #: None where there are no witnesses
    rules: WitnessRules | None = None
    #: by name: who stamps checkpoints, and where the log is copied
    authorities: Mapping[str, Authority] = field(default_factory=dict)
    mirrors: Mapping[str, CopyRules] = field(default_factory=dict)
    #: how often what is new is shown to others
    every: timedelta = timedelta(seconds=10)
    #: by key: the size that a witness cosigned last, as far as we know
    sizes: dict[VerifierKey, int] = field(default_factory=dict)
    #: by name: why a witness did not cosign the last time; it is not in here if it did
    troubles: dict[str, str] = field(default_factory=dict)
    #: when each authority last stamped, and each mirror was last brought up, in elapsed seconds
    stamped: dict[str, float] = field(default_factory=dict)
    copied: dict[str, float] = field(default_factory=dict)
    #: how far each mirror is
    mirrored: dict[str, int] = field(default_factory=dict)
    #: who is told of every record
    forwarding: Forwarding = field(default_factory=Forwarding)
    #: by piece of upkeep: why it fails at the moment
    failing: dict[str, str] = field(default_factory=dict)
    #: one publication at a time
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: when it was last tried, and when something was published, in elapsed seconds
    tried: float | None = None
    at: float | None = None
