"""Media types that schemathesis does not know how to send: text, as it was generated."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/secevent+jwt")
def as_text(_ctx: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")
