"""From `[notices]` in the settings to what tells people."""

from pathlib import Path

from muniment.errors import AddressRefused, ConfigInvalid
from muniment.ports import Notifier, Outbound, Secret
from muniment.runtime import clock
from muniment.runtime.callbacks import check_key
from muniment.runtime.notices_section import NoticesSection
from muniment.runtime.outbound import origin
from muniment.runtime.settings import Settings, read_secret
from muniment.sinks.webhook import Webhook


def read_notifiers(settings: Settings, folder: Path, outbound: Outbound) -> dict[str, Notifier]:
    """By name. Raises `ConfigInvalid` naming the setting, never what its secret holds."""
    return {
        name: _notifier(settings, name, section, folder, outbound)
        for name, section in settings.notices.items()
    }


def _notifier(
    settings: Settings, name: str, section: NoticesSection, folder: Path, outbound: Outbound
) -> Notifier:
    where = f"notices.{name}"
    url = read_secret(section.url, f"{where}.url", folder)
    if section.secret is None:
        return _by_apprise(name, section.kind, url)
    secret = read_secret(section.secret, f"{where}.secret", folder)
    check_key(secret, f"{where}.secret")
    try:
        there = origin(url.reveal())
    except AddressRefused as error:
        raise ConfigInvalid(f"`{where}.url`: {error}") from error
    if not section.internal and not there.startswith("https:"):
        raise ConfigInvalid(f"`{where}.url` begins with `https://`, or is `internal = true`")
    return Webhook(
        name,
        url,
        secret,
        outbound,
        origin=settings.installation.origin,
        now=clock.now,
        allow=frozenset((there,)) if section.internal else frozenset(),
    )


def _by_apprise(name: str, kind: str, url: Secret) -> Notifier:
    """Imported only where something is told so: it costs a tenth of a second and some memory."""
    try:
        from muniment.sinks import apprise_sink  # noqa: PLC0415 (see above)
    except ImportError as error:
        raise ConfigInvalid(
            f"`notices.{name}` needs `{error.name}`: pip install 'muniment[notices]'"
        ) from error
    return apprise_sink.Mail(name, url) if kind == "mail" else apprise_sink.Chat(name, url)
