"""
One file for each kind of record that a source may send: from its bytes to an `Event`.

Readers of others are found by the entry point `muniment.readers`; Muniment is not changed for them.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from muniment.errors import ConfigInvalid
from muniment.oversight.event import Reader, ReaderSettings
from muniment.oversight.readers.cloudevents import CloudEvents
from muniment.oversight.readers.cloudtrail import CloudTrail
from muniment.oversight.readers.deployments import Deployments, GitHubDeployments
from muniment.oversight.readers.incidents import Incidents, PagerDuty
from muniment.oversight.readers.kubernetes import Kubernetes
from muniment.oversight.readers.mapped import Mapped
from muniment.oversight.readers.ocsf import Ocsf
from muniment.oversight.readers.postgresql import PostgresCsv, PostgresJson
from muniment.oversight.readers.sshd import Sshd
from muniment.oversight.readers.sudo import Sudo

_READERS: tuple[type[Reader], ...] = (
    PostgresJson, PostgresCsv, Sshd, Sudo, CloudTrail, Kubernetes, Mapped, CloudEvents, Ocsf,
    GitHubDeployments, Deployments, PagerDuty, Incidents,
)  # fmt: skip
#: every reader that comes with Muniment, by its name in the configuration
BUILT_IN: Final[Mapping[str, type[Reader]]] = MappingProxyType(
    {each.kind: each for each in _READERS}
)
GROUP: Final = "muniment.readers"


def reader(kind: str, settings: ReaderSettings) -> Reader:
    """The reader of one source. Raises `ConfigInvalid` naming those there are."""
    if kind in BUILT_IN:
        return BUILT_IN[kind](settings)
    others = {point.name: point for point in entry_points(group=GROUP)}
    if kind not in others:
        known = ", ".join(sorted([*BUILT_IN, *others]))
        raise ConfigInvalid(f"there is no reader `{kind}`; there are: {known}")
    try:
        found: type[Reader] = others[kind].load()
    except (ImportError, AttributeError) as wrong:
        raise ConfigInvalid(f"the reader `{kind}` does not load: {wrong}") from wrong
    return found(settings)
