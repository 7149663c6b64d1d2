"""From `[mirrors]` in the settings to places that keep a copy of the log."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import httpx

from muniment.errors import ConfigInvalid
from muniment.evidence.store import Mirror
from muniment.ports import Secret
from muniment.runtime import clock
from muniment.runtime.mirror_section import MirrorSection
from muniment.runtime.settings import read_secret
from muniment.stores.tile_directory import TileDirectory
from muniment.stores.tile_s3 import TileBucket, connect


def read_mirrors(mirrors: Mapping[str, MirrorSection], folder: Path) -> dict[str, Mirror]:
    """
    By name. Nobody is called: a mirror that is away keeps nothing from starting.

    Raises `ConfigInvalid` saying what to do.
    """
    return {name: _mirror(name, section, folder) for name, section in mirrors.items()}


def _mirror(name: str, section: MirrorSection, folder: Path) -> Mirror:
    if section.path is not None:
        return TileDirectory(folder / section.path, must_exist=True)
    if section.bucket is None or section.retention_days is None:
        raise ConfigInvalid(f"`mirrors.{name}`: a mirror in S3 has a `bucket` and `retention_days`")
    if section.endpoint is not None:
        check_endpoint(section.endpoint, f"mirrors.{name}.endpoint")
    client = connect(
        endpoint=section.endpoint,
        region=section.region,
        access_key=_secret(section.access_key, f"mirrors.{name}.access_key", folder),
        secret_key=_secret(section.secret_key, f"mirrors.{name}.secret_key", folder),
    )
    return TileBucket(
        client,
        section.bucket,
        prefix=section.prefix,
        retention=timedelta(days=section.retention_days),
        now=clock.now,
    )


def _secret(reference: str | None, where: str, folder: Path) -> Secret | None:
    return read_secret(reference, where, folder) if reference is not None else None


def check_endpoint(endpoint: str, where: str) -> None:
    """What is put is published, but the keys are not: they sign each request, unseen."""
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise ConfigInvalid(f"`{where}` is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ConfigInvalid(f"`{where}` is no address: write `https://s3.example.com`")
