"""
Sign what a webhook carries, as Standard Webhooks 1.0 have it.

Both sides hold the key, so a signature proves its sender to its receiver, and to nobody else.
"""

import base64
import hmac
from datetime import datetime
from hashlib import sha256

_SECRET = "whsec_"  # noqa: S105 (how every such key begins)
#: Standard Webhooks, "Signature scheme": between 24 and 64 bytes
_KEY_BYTES = range(24, 65)


def signing_key(secret: str) -> bytes:
    """What is written `whsec_<base64>`. Raises `ValueError`, which does not repeat it."""
    if not secret.startswith(_SECRET):
        raise ValueError(f"not a key: it does not begin with `{_SECRET}`")
    key = base64.b64decode(secret.removeprefix(_SECRET), validate=True)
    if len(key) not in _KEY_BYTES:
        raise ValueError("not a key: it has fewer than 24 or more than 64 bytes")
    return key


def signed_headers(key: bytes, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """`id` stays the same when a message is sent again; `at` is the moment of this attempt."""
    stamp = str(int(at.timestamp()))
    signature = hmac.digest(key, b".".join((id.encode(), stamp.encode(), body)), sha256)
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
