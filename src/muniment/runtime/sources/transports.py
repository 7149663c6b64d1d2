"""From `[sources]` in the settings to transports. Nobody is called yet."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from muniment.errors import ConfigInvalid
from muniment.runtime.mirrors import check_endpoint
from muniment.runtime.settings import read_secret
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources import Transport
from muniment.runtime.sources.directory import Directory
from muniment.runtime.sources.file import File
from muniment.runtime.sources.journald import Journald
from muniment.runtime.sources.s3 import Bucket
from muniment.runtime.sources.syslog import Syslog
from muniment.runtime.sources.whole_files import WholeFiles
from muniment.stores.tile_s3 import connect

#: what comes to each node by itself; of all else one node fetches it
LISTENING = frozenset({"syslog"})


def transport_of(source: str, section: SourceSection, folder: Path) -> Transport | None:
    """None for what is posted. Raises `ConfigInvalid` saying what to do."""
    from_start = section.begin == "start"
    match section.kind:
        case "file":
            return File(source, str(section.path), folder, from_start=from_start)
        case "journald":
            journal = None if section.journal is None else folder / section.journal
            return Journald(source, section.units, journal, from_start=from_start)
        case "directory":
            shelf = Directory(str(section.path), folder)
        case "s3":
            bucket = Bucket(_client(source, section, folder), str(section.bucket), section.prefix)
            return WholeFiles(
                source, bucket, from_start=from_start, every=section.every.total_seconds()
            )
        case "syslog":
            return Syslog(source, section, folder)
        case "push" | "webhook":
            return None
    return WholeFiles(source, shelf, from_start=from_start, every=section.every.total_seconds())


def _client(source: str, section: SourceSection, folder: Path) -> Any:
    where = f"sources.{source}"
    if find_spec("boto3") is None:
        raise ConfigInvalid(f"`{where}`: a source in S3 takes `pip install 'muniment[s3]'`")
    if section.endpoint is not None:
        check_endpoint(section.endpoint, f"{where}.endpoint")
    access, secret = (
        None if reference is None else read_secret(reference, f"{where}.{name}", folder)
        for name, reference in (
            ("access_key", section.access_key),
            ("secret_key", section.secret_key),
        )
    )
    return connect(
        endpoint=section.endpoint, region=section.region, access_key=access, secret_key=secret
    )
