"""Reports that were made, in the words of OCSF."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import EVENT_LOG, INFORMATIONAL, Seen, Told

_LOG: Final[Mapping[str, Any]] = {"log_provider": "muniment", "log_type_id": 2}
_EXPORT: Final = 3


def _issued(_: Seen, record: records.ReportIssued) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=_EXPORT,
        message=f"a report for `{record.framework}` was made",
        severity=INFORMATIONAL,
        fields=dict(_LOG),
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {records.ReportIssued: _issued}
