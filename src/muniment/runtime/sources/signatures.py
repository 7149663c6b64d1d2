"""Who sent a webhook: its signature, over the very bytes that came."""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Final, Protocol

from muniment.errors import ConfigInvalid, Unauthenticated
from muniment.evidence.webhook import signed_headers, signing_key
from muniment.ports import Secret
from muniment.runtime.settings import read_secret
from muniment.runtime.source_section import SourceSection

#: Standard Webhooks, "Verifying the timestamp"
TOLERANCE: Final = timedelta(minutes=5)
#: signatures of one delivery: a sender that changes its secret sends one with each
_MOST: Final = 8
_SECONDS: Final = re.compile(r"[0-9]{1,11}")
#: a shorter secret is guessed
_SHORTEST: Final = 16
_WRONG: Final = "the delivery is not signed by whom it should be"


class Signature(Protocol):
    """How one sender signs."""

    #: the header with it, in lower case
    header: ClassVar[str]

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
        """
        What the same delivery has again when it is sent again. Headers are named in lower case.

        Raises `Unauthenticated`, saying the same whatever is wrong with a signature.
        """
        ...


class GitHub:
    """`X-Hub-Signature-256`: of the body alone, so that a replay is known by its body alone."""

    header: ClassVar[str] = "x-hub-signature-256"

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def check(
        self,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,  # noqa: ARG002 (it signs no time)
    ) -> str:
        given = headers.get(self.header, "")
        _check_one(self._secret.reveal().encode(), body, [given], "sha256=")
        return sha256(body).hexdigest()


class PagerDuty:
    """`X-PagerDuty-Signature`: one `v1=` for each of the secrets that are in use."""

    header: ClassVar[str] = "x-pagerduty-signature"

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def check(
        self,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,  # noqa: ARG002 (it signs no time)
    ) -> str:
        given = headers.get(self.header, "").split(",", _MOST)[:_MOST]
        _check_one(self._secret.reveal().encode(), body, [each.strip() for each in given], "v1=")
        return sha256(body).hexdigest()


class StandardWebhook:
    """Standard Webhooks 1.0: id, time and body are signed."""

    header: ClassVar[str] = "webhook-signature"

    def __init__(self, secret: Secret) -> None:
        """Raises `ValueError` for what is no key."""
        self._key = signing_key(secret.reveal())

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
        id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not id.isascii() or not _SECONDS.fullmatch(stamp):
            raise Unauthenticated(_WRONG)
        at = datetime.fromtimestamp(int(stamp), now.tzinfo)
        mine = signed_headers(self._key, id, at, body)["webhook-signature"].encode()
        given = headers.get(self.header, "").split(" ", _MOST)[:_MOST]
        found = [hmac.compare_digest(mine, each.encode("utf-8", "replace")) for each in given]
        if not any(found) or not id:
            raise Unauthenticated(_WRONG)
        if abs(now - at) > TOLERANCE:
            raise Unauthenticated("the delivery was signed more than 5 minutes ago, or ahead")
        return id


def signature_of(source: str, section: SourceSection, folder: Path) -> Signature:
    """Raises `ConfigInvalid`, which does not repeat the secret."""
    where = f"sources.{source}.secret"
    secret = read_secret(section.secret, where, folder)
    if section.signature == "standard":
        try:
            return StandardWebhook(secret)
        except ValueError as error:
            raise ConfigInvalid(
                f"`{where}` is no key: write `whsec_` and the base64 of 24 to 64 random bytes"
            ) from error
    if len(secret.reveal()) < _SHORTEST:
        raise ConfigInvalid(f"`{where}` is too short: take at least {_SHORTEST} random characters")
    return GitHub(secret) if section.signature == "github" else PagerDuty(secret)


def _check_one(key: bytes, body: bytes, given: list[str], begins: str) -> None:
    mine = f"{begins}{hmac.digest(key, body, sha256).hex()}".encode()
    # each of them is compared, so that the time does not tell which one was right
    found = [hmac.compare_digest(mine, each.encode("utf-8", "replace")) for each in given]
    if not any(found):
        raise Unauthenticated(_WRONG)
