"""From `[siem]` in the settings to places that are told of every record."""

import ssl
from dataclasses import replace
from pathlib import Path

from muniment.errors import AddressRefused, ConfigInvalid
from muniment.operations.forwarding import Forwarding, Stream
from muniment.oversight.siem import Cursors, SiemSink
from muniment.ports import Outbound, Secret
from muniment.runtime import clock
from muniment.runtime.callbacks import check_key
from muniment.runtime.outbound import CheckedOutbound, origin
from muniment.runtime.settings import Settings, read_secret
from muniment.runtime.siem_section import SiemSection
from muniment.sinks.siem.cloud_events import EventWebhook
from muniment.sinks.siem.ndjson import EventFile
from muniment.sinks.siem.ocsf import OcsfDescriber
from muniment.sinks.siem.syslog import Syslog


def read_forwarding(
    settings: Settings,
    folder: Path,
    cursors: Cursors | None,
    before: Forwarding | None = None,
) -> Forwarding:
    """
    Counts of failures are kept from `before`; how far each sink is, `cursors` know.

    Raises `ConfigInvalid` naming the setting, never what its secret holds. Nobody is called.
    """
    known = before.streams if before is not None else {}
    streams = {
        name: _stream(settings, name, section, folder) for name, section in settings.siem.items()
    }
    return Forwarding(
        cursors=cursors,
        streams={
            name: replace(stream, failures=known[name].failures) if name in known else stream
            for name, stream in streams.items()
        },
    )


def _stream(settings: Settings, name: str, section: SiemSection, folder: Path) -> Stream:
    return Stream(
        sink=_sink(settings, name, section, folder, CheckedOutbound()),
        describer=OcsfDescriber(settings.installation.origin),
        kinds=section.records,
        from_start=section.since == "start",
    )


def _sink(
    settings: Settings, name: str, section: SiemSection, folder: Path, outbound: Outbound
) -> SiemSink:
    if section.path is not None:
        return EventFile(name, folder / section.path)
    if section.address is not None:
        host, port = section.place
        return Syslog(
            name,
            host,
            port,
            origin=settings.installation.origin,
            context=_context(f"siem.{name}", section, folder) if section.tls else None,
            confirmed=section.confirmed,
        )
    return _webhook(settings, name, section, folder, outbound)


def _webhook(
    settings: Settings, name: str, section: SiemSection, folder: Path, outbound: Outbound
) -> EventWebhook:
    where = f"siem.{name}"
    url = read_secret(section.url, f"{where}.url", folder)
    secret = read_secret(section.secret, f"{where}.secret", folder)
    check_key(secret, f"{where}.secret")
    try:
        there = origin(url.reveal())
    except AddressRefused as error:
        raise ConfigInvalid(f"`{where}.url`: {error}") from error
    if not section.internal and not there.startswith("https:"):
        raise ConfigInvalid(f"`{where}.url` begins with `https://`, or is `internal = true`")
    return EventWebhook(
        name,
        url,
        secret,
        outbound,
        origin=settings.installation.origin,
        now=clock.now,
        authorization=_authorization(where, section, folder),
        allow=frozenset((there,)) if section.internal else frozenset(),
    )


def _authorization(where: str, section: SiemSection, folder: Path) -> Secret | None:
    if section.authorization is None:
        return None
    found = read_secret(section.authorization, f"{where}.authorization", folder)
    text = found.reveal()
    if not text or not text.isascii() or not text.isprintable():
        raise ConfigInvalid(f"`{where}.authorization` is not one line of ASCII: `Bearer …`")
    return found


def _context(where: str, section: SiemSection, folder: Path) -> ssl.SSLContext:
    """Names are checked, and nothing older than TLS 1.2 is spoken."""
    ca = folder / section.ca if section.ca is not None else None
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    except (OSError, ssl.SSLError) as error:
        raise ConfigInvalid(f"`{where}.ca`: `{ca}` holds no certificates: {_why(error)}") from error
    if section.tls_certificate is not None and section.tls_key is not None:
        certificate, key = folder / section.tls_certificate, folder / section.tls_key
        try:
            # a password that is asked for would be asked at a terminal that nobody sits at
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigInvalid(
                f"`{where}.tls_certificate` and `tls_key` do not go together: {_why(error)}"
            ) from error
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return error.strerror or type(error).__name__
