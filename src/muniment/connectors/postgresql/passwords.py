"""The password of an account, and the form of it that PostgreSQL keeps."""

import base64
import hashlib
import hmac
import secrets

#: PostgreSQL's own default; the password is random, so that more would protect nothing
_ITERATIONS = 4096


def random_password() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def scram_verifier(password: str) -> str:
    """
    What PostgreSQL stores for an ASCII password, so that the password itself is never sent to it.

    The salt is fresh each time, so no verifier equals another.
    """
    # RFC 5802 with the names of its section 3; SASLprep changes nothing in ASCII.
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return (
        f"SCRAM-SHA-256${_ITERATIONS}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
