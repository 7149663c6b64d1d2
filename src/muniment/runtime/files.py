"""From the files of a configuration folder to what they propose."""

import getpass
import json
import os
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from muniment.errors import ConfigInvalid, NotCanonical
from muniment.evidence import canonical
from muniment.operations.take_in import (
    Proposed,
    ProposedPrincipal,
    ProposedRole,
    ProposedToken,
)
from muniment.ports import Connector, Secret, TargetSettings
from muniment.runtime import witnesses
from muniment.runtime.settings import (
    PlatformIdentity,
    Resource,
    Settings,
    read_secret,
    read_settings,
)

MAX_POLICY_FILES = 200


def read_proposed(folder: Path) -> tuple[Settings, Proposed]:
    """Read and validate every file; nothing is connected to. Raises `ConfigInvalid`."""
    settings = read_settings(folder)
    connectors = {
        name: _connector(settings, name, resource, folder)
        for name, resource in settings.resources.items()
    }
    roles = [
        _role(name, resource, role, connectors[name])
        for name, resource in settings.resources.items()
        for role in resource.roles
    ]
    return settings, Proposed(
        configuration=_configuration(settings, folder),
        policy=read_policy(folder / settings.paths.policy),
        roles=tuple(roles),
        principals=tuple(_principals(settings)),
        tokens=tuple(_tokens(folder / settings.paths.tokens)),
        connectors=connectors,
        source=_source(folder),
        author=_author(),
    )


def read_policy(folder: Path) -> dict[str, bytes]:
    """The bundle: every `*.cedar` and `*.cedarschema` file below the folder."""
    paths = sorted(path for path in _files(folder) if path.suffix in (".cedar", ".cedarschema"))
    if not paths:
        raise ConfigInvalid(f"there is no policy in `{folder}`: no `*.cedar` file")
    if len(paths) > MAX_POLICY_FILES:
        raise ConfigInvalid(f"`{folder}` holds more than {MAX_POLICY_FILES} policy files")
    try:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        raise _unreadable(error) from error


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; a part that cannot be read is not passed over: it may forbid."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from error

    if folder.exists():
        for place, _, names in os.walk(folder, onerror=refuse):
            yield from (Path(place, name) for name in names)


def _unreadable(error: OSError) -> ConfigInvalid:
    return ConfigInvalid(f"`{error.filename}` cannot be read: {error.strerror}")


def _connector(settings: Settings, name: str, resource: Resource, folder: Path) -> Connector:
    found = {point.name: point for point in entry_points(group="muniment.connectors")}
    if resource.connector not in found:
        raise ConfigInvalid(
            f"resources.{name}: there is no connector `{resource.connector}`; installed are: "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    try:
        kind: type[Connector] = found[resource.connector].load()
    except ImportError as error:
        raise ConfigInvalid(
            f"resources.{name}: the connector `{resource.connector}` lacks `{error.name}`; "
            f"pip install 'muniment[{resource.connector}]'"
        ) from error
    options = resource.options
    secrets: dict[str, Secret] = {
        option: read_secret(options.pop(option), f"resources.{name}.{option}", folder)
        for option in kind.secret_options
        if option in options
    }
    target = TargetSettings(
        resource=name,
        prefix=settings.installation.prefix,
        options=options,
        secrets=secrets,
    )
    return kind(target)


def _role(name: str, resource: Resource, role: str, connector: Connector) -> ProposedRole:
    connector.check_role(resource.roles[role])
    definition = {
        "connector": resource.connector,
        "data": resource.data,
        "endpoints": list(connector.capabilities.endpoints),
        "environment": resource.environment,
        "name": role,
        "resource": name,
        "role": resource.roles[role],
        "tier": resource.tier,
    }
    try:
        document = canonical.encode(definition)
    except NotCanonical as error:
        raise ConfigInvalid(f"resources.{name}.roles.{role}: {error}") from error
    return ProposedRole(
        resource=name,
        role=role,
        definition=document,
        tier=resource.tier,
        environment=resource.environment,
        data=resource.data,
        connector=resource.connector,
    )


def _configuration(settings: Settings, folder: Path) -> bytes:
    """The settings without people: what is personal is never an unsealed document."""
    public = settings.model_dump(mode="json", exclude={"people", "workloads", "agents"})
    for name, resource in settings.resources.items():
        public["resources"][name] = json.loads(resource.model_dump_json())
    if settings.witnesses is not None:  # what the file says counts, and not its name
        public["witnesses"]["policy"] = witnesses.read_policy(folder / settings.witnesses.policy)
    return canonical.encode(public)


def _principals(settings: Settings) -> list[ProposedPrincipal]:
    people = [
        ProposedPrincipal(
            login=login,
            type="human",
            groups=person.groups,
            active=person.active,
            person_of=person.person,
            identity={
                "accounts": [
                    {"issuer": settings.providers[a.provider].issuer, "subject": a.subject}
                    for a in person.accounts
                ],
                "mail": person.mail,
                "name": person.name,
                **({"timezone": person.timezone} if person.timezone is not None else {}),
            },
        )
        for login, person in settings.people.items()
    ]
    workloads = [
        ProposedPrincipal(
            login=login,
            type="workload",
            groups=workload.groups,
            active=workload.active,
            sponsor=workload.owner,
            identity=_identities(settings, workload.identities),
        )
        for login, workload in settings.workloads.items()
    ]
    agents = [
        ProposedPrincipal(
            login=login,
            type="agent",
            groups=agent.groups,
            active=agent.active,
            sponsor=agent.sponsor,
            identity=_identities(settings, agent.identities),
        )
        for login, agent in settings.agents.items()
    ]
    return [*people, *workloads, *agents]


def _identities(settings: Settings, identities: Iterable[PlatformIdentity]) -> dict[str, Any]:
    """How platforms know a program: by issuer, so that another provider of that name is another."""
    known = [(settings.providers[each.provider], each.claims) for each in identities]
    return {
        "identities": [
            {"claims": claims, "issuer": provider.issuer, "kind": provider.kind}
            for provider, claims in known
        ]
    }


def _tokens(path: Path) -> list[ProposedToken]:
    if not path.exists():
        return []
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        return [_token(hash_, table) for hash_, table in tables.items()]
    except OSError as error:
        raise _unreadable(error) from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(
            f"`{path.name}` is damaged ({error}); `muniment token create` writes it"
        ) from error


def _token(hash_: str, table: Any) -> ProposedToken:
    if not isinstance(table, dict):
        raise TypeError(f"`{hash_:.70}` is no table")
    expires = table.get("expires")
    if expires is not None and not isinstance(expires, datetime):
        raise ValueError("`expires` is no moment")
    digest = bytes.fromhex(hash_)
    if len(digest) != 32:  # noqa: PLR2004 (SHA-256)
        raise ValueError("a token's hash is a SHA-256")
    return ProposedToken(
        hash=digest,
        login=str(table["for"]),
        expires=expires.astimezone(UTC) if expires is not None else None,
        label=str(table.get("label", "")),
    )


def _source(folder: Path) -> str:
    """`git:<sha>` where the folder is a clean checkout, else `file`."""
    try:
        status = _git(folder, "status", "--porcelain", "--", ".")
        return "file" if status else f"git:{_git(folder, 'rev-parse', 'HEAD')}"
    except (OSError, subprocess.SubprocessError):
        return "file"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=5)  # noqa: S603 (fixed arguments)
    return done.stdout.strip()


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
