"""Denials that can be turned into requests: sealed by a key of this process, and not stored."""

import base64
import binascii
import hmac
import json
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Any

from muniment.evidence import canonical, moment

_MAC = 32


class Binding:
    """Opaque, unguessable evaluation ids that carry what was evaluated."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def seal(self, bound: dict[str, Any], expires: datetime) -> str:
        data = canonical.encode({"bound": bound, "expires": moment.text(expires)})
        mac = hmac.digest(self._key, data, sha256)
        return "eval_" + base64.urlsafe_b64encode(mac + data).decode().rstrip("=")

    def open(self, token: str) -> tuple[dict[str, Any], datetime] | None:
        """What was evaluated and until when it may be used; None for what we did not make."""
        text = token.removeprefix("eval_")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            mac, data = raw[:_MAC], raw[_MAC:]
            if not hmac.compare_digest(mac, hmac.digest(self._key, data, sha256)):
                return None
            value: Any = json.loads(data)  # our own bytes: the MAC says so
        except (binascii.Error, ValueError):
            return None
        return value["bound"], moment.parse(value["expires"])
