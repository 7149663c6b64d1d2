"""Reads what was put into service: GitHub's webhooks, and a small form for everything else."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    moment,
    plain,
    prose,
    table,
    text_within,
    within,
)
from muniment.oversight.readers.options import Options

#: states of a deployment that end it, and whether it failed
_ENDS: Final[Mapping[str, bool]] = {"success": False, "failure": True, "error": True}


def resource_of(resources: Mapping[str, str], *names: str) -> str:
    """The first of these names that the configuration has; empty: the source's own resource."""
    return plain(next((resources[name] for name in names if name in resources), ""))


class GitHubDeployments(DocumentReader):
    """
    Webhooks `deployment` and `deployment_status`.

    `resources` has names of repositories, or of a repository and an environment: `o/r/production`.
    """

    kind: ClassVar[str] = "github-deployments"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._resources = options.names("resources")
        options.end()

    def read(self, record: bytes) -> Event:
        hook = table(record)
        given, status = hook.get("deployment"), hook.get("deployment_status")
        number = text_within(given, "id")
        repository = text_within(hook, "repository", "full_name")
        if not number or not repository:
            raise Unreadable("it is no webhook of a deployment")
        newest = status if isinstance(status, dict) else given
        state = text_within(status, "state")
        place = text_within(newest, "environment") or text_within(given, "environment")
        return Event(
            type="deployment" if state in _ENDS else "other",
            at=_latest(newest),
            account=text_within(newest, "creator", "login"),
            action=plain(f"deployment {state or text_within(hook, 'action')}"),
            object=plain(f"{repository}#{number}"),
            failed=_ENDS.get(state, False),
            detail=prose(f"{text_within(given, 'ref')} ({text_within(given, 'sha')}) to {place}"),
            resource=resource_of(self._resources, f"{repository}/{place}", repository),
        )


def _latest(value: Any) -> Any:
    return moment(within(value, "updated_at") or within(value, "created_at"))


class Deployments(DocumentReader):
    """
    `{"id", "service", "environment", "at", "by", "url"}`, of which only `id` and `at` are needed.

    `resources` has names of services, or of a service and an environment: `orders/production`.
    """

    kind: ClassVar[str] = "deployments"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._resources = options.names("resources")
        options.end()

    def read(self, record: bytes) -> Event:
        told = table(record)
        number, service = text_within(told, "id"), text_within(told, "service")
        if not number:
            raise Unreadable("a deployment has an `id`")
        place = text_within(told, "environment")
        return Event(
            type="deployment",
            at=moment(told.get("at")),
            account=text_within(told, "by"),
            action="deployment",
            object=number,
            failed=told.get("failed") is True,
            detail=prose(" ".join(filter(None, [service, place, text_within(told, "url")]))),
            resource=resource_of(self._resources, f"{service}/{place}", service),
        )
