"""From `[stamps]` in the settings to time-stamp authorities that are asked."""

from pathlib import Path
from typing import Final

from cryptography import x509

from muniment.errors import AddressRefused, ConfigInvalid, StampInvalid
from muniment.evidence.stamp import read_roots
from muniment.operations.stamp import Authority
from muniment.runtime.outbound import origin
from muniment.runtime.settings import Settings
from muniment.runtime.stamp_section import StampSection

_MAX_PEM: Final = 256 * 1024


def read_authorities(settings: Settings, folder: Path) -> tuple[Authority, ...]:
    """In the order of the file. Raises `ConfigInvalid` for a URL or a root that is none."""
    return tuple(_authority(name, section, folder) for name, section in settings.stamps.items())


def _authority(name: str, section: StampSection, folder: Path) -> Authority:
    where = f"stamps.{name}"
    try:
        there = origin(section.url)
    except AddressRefused as error:
        raise ConfigInvalid(f"`{where}.url`: {error}") from error
    if not section.internal and not there.startswith("https:"):
        raise ConfigInvalid(f"`{where}.url` begins with `https://`, or is `internal = true`")
    return Authority(
        name=name,
        url=section.url,
        every=section.every,
        roots=() if section.root is None else _roots(folder / section.root, f"{where}.root"),
        allow=frozenset((there,)) if section.internal else frozenset(),
    )


def _roots(path: Path, where: str) -> tuple[x509.Certificate, ...]:
    try:
        with path.open("rb") as file:
            return read_roots(file.read(_MAX_PEM))
    except OSError as error:
        raise ConfigInvalid(f"`{where}`: `{path}`: {error.strerror}") from error
    except StampInvalid as error:
        raise ConfigInvalid(f"`{where}`: `{path}`: {error}") from error
