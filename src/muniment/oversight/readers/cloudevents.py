"""Reads CloudEvents 1.0 in JSON, one or a batch; what they carry by a table of ours, or as OCSF."""

import base64
import binascii
from typing import Any, ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.readers.border import DocumentReader, document, table
from muniment.oversight.readers.mapped import Projection, object_of
from muniment.oversight.readers.ocsf import OcsfEvents
from muniment.oversight.readers.options import Options

_REQUIRED: Final = ("id", "source", "type")


class CloudEvents(DocumentReader):
    """`data = "ocsf"`, or by the table of the reader `json`, which then begins at the envelope."""

    kind: ClassVar[str] = "cloudevents"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._ocsf: OcsfEvents | None = None
        self._projection: Projection | None = None
        if options.choice("data", ("fields", "ocsf"), "fields") == "ocsf":
            self._ocsf = OcsfEvents(options, settings.prefix)
        else:
            given = {"at": "time", "type": "type", "object": "subject"}
            self._projection = Projection(options, settings.prefix, given)
        options.end()

    def read(self, record: bytes) -> Event:
        envelope = table(record)
        texts = [envelope.get(name) for name in _REQUIRED]
        if envelope.get("specversion") != "1.0" or not all(
            isinstance(text, str) and text for text in texts
        ):
            raise Unreadable("it is no CloudEvent of version 1.0")
        data = _data(envelope)
        if self._ocsf is not None:
            return self._ocsf.event(object_of(data))
        if self._projection is None:
            raise Unreadable("nothing says how it is read")
        return self._projection.event({**envelope, "data": data})


def _data(envelope: dict[str, Any]) -> Any:
    encoded = envelope.get("data_base64")
    if not isinstance(encoded, str):
        return envelope.get("data")
    try:
        return document(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise Unreadable("its data is no base64") from None
