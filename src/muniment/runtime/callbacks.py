"""From `[callbacks]` in the settings to places that may be told of decisions."""

from pathlib import Path

from muniment.errors import AddressRefused, ConfigInvalid
from muniment.evidence.webhook import signing_key
from muniment.operations.service import Callback
from muniment.ports import Secret
from muniment.runtime.callback_section import CallbackSection
from muniment.runtime.outbound import origin
from muniment.runtime.settings import Settings, read_secret


def read_callbacks(settings: Settings, folder: Path) -> dict[str, Callback]:
    """By endpoint. Raises `ConfigInvalid` for what is no URL, and for a secret that is no key."""
    found = [
        _callback(f"callbacks.{name}", section, folder)
        for name, section in settings.callbacks.items()
    ]
    known = {callback.endpoint: callback for callback in found}
    if len(known) != len(found):
        raise ConfigInvalid("`callbacks`: two of them have the same endpoint")
    return known


def _callback(where: str, section: CallbackSection, folder: Path) -> Callback:
    try:
        there = origin(section.endpoint)
    except AddressRefused as error:
        raise ConfigInvalid(f"`{where}.endpoint`: {error}") from error
    if not section.internal and not there.startswith("https:"):
        raise ConfigInvalid(f"`{where}.endpoint` begins with `https://`, or is `internal = true`")
    secret = read_secret(section.secret, f"{where}.secret", folder)
    check_key(secret, f"{where}.secret")
    return Callback(
        endpoint=section.endpoint,
        principals=frozenset(section.principals),
        secret=secret,
        allow=frozenset((there,)) if section.internal else frozenset(),
    )


def check_key(secret: Secret, where: str) -> None:
    """Raises `ConfigInvalid` for what signs no webhook."""
    try:
        signing_key(secret.reveal())
    except ValueError as error:
        raise ConfigInvalid(
            f"`{where}` is no key: write `whsec_` and the base64 of 24 to 64 random bytes"
        ) from error
