"""What auditors took and read, in the words of OCSF."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import EVENT_LOG, INFORMATIONAL, MEDIUM, Seen, Told

_LOG: Final[Mapping[str, Any]] = {"log_provider": "muniment", "log_type_id": 2}
#: what is read is carried away in somebody's head: the class has no better word
_EXPORT: Final = 3


def _archive(_: Seen, record: records.ArchiveExported) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=_EXPORT,
        message=f"the evidence of {record.cases} cases is carried away",
        severity=MEDIUM,
        fields=dict(_LOG),
    )


def _read(_: Seen, record: records.EvidenceRead) -> Told:
    what = f"case {record.about}" if record.about else f"`{record.what}`"
    return Told(
        ocsf=EVENT_LOG,
        activity=_EXPORT,
        message=f"{what} was read by right of audit",
        severity=INFORMATIONAL,
        fields=dict(_LOG),
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.ArchiveExported: _archive,
    records.EvidenceRead: _read,
}
