"""From `[witnesses]` in the settings to whom the service asks."""

from pathlib import Path

from muniment.errors import AddressRefused, ConfigInvalid
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations.publishing import WitnessRules
from muniment.runtime.outbound import origin
from muniment.runtime.settings import Settings


def read_witnesses(settings: Settings, folder: Path) -> WitnessRules | None:
    """None where there are none. Raises `ConfigInvalid` for a policy that nobody can meet."""
    section = settings.witnesses
    if section is None:
        return None
    text = read_policy(folder / section.policy)
    policy = WitnessPolicy.parse(text)
    allow = frozenset(section.allow)
    for witness in policy.witnesses:
        if witness.url is not None:
            _check_url(witness.name, witness.url, allow)
    asked = [each.key for each in policy.witnesses if each.url is not None]
    if policy.quorum is None or not policy.satisfied(asked):
        raise ConfigInvalid(
            f"`{section.policy}`: the witnesses that have a URL can never make its quorum"
        )
    return WitnessRules(
        policy=policy,
        text=text,
        timeout=section.timeout,
        allow=allow,
        required=frozenset(
            name
            for name, resource in settings.resources.items()
            if resource.issue == "require-witnesses"
        ),
    )


def read_policy(path: Path) -> str:
    """Raises `ConfigInvalid` if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigInvalid(f"`{path}` cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"`{path}` is not UTF-8: {error.reason}") from error


def _check_url(name: str, url: str, allow: frozenset[str]) -> None:
    try:
        there = origin(url)
    except AddressRefused as error:
        raise ConfigInvalid(f"the witness `{name}`: {error}") from error
    if not there.startswith("https:") and there not in allow:
        raise ConfigInvalid(
            f"the witness `{name}`: its URL begins with `https://`, or `witnesses.allow` names "
            f"`{there}`"
        )
