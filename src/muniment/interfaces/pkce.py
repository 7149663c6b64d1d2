"""Proof Key for Code Exchange between our own program and our own service (RFC 7636)."""

from base64 import urlsafe_b64encode
from hashlib import sha256


def challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
