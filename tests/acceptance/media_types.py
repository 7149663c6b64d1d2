"""Media types that schemathesis does not know how to send: text, as it was generated."""

from typing import Any

import schemathesis  # type: ignore[import-not-found, unused-ignore]  # only `make test-deep` has it


@schemathesis.serializer("application/secevent+jwt")  # type: ignore[untyped-decorator, unused-ignore]  # as above
def as_text(_ctx: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")
