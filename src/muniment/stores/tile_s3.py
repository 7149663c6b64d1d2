"""
A mirror of the log in S3 with Object Lock: nobody shortens what is locked, not even its owner.

Every object is put in compliance mode until a day that the settings say. S3 never overwrites in a
versioned bucket: what is put over something else is another version, and is asked not to be.
"""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, TypeVar

from muniment.errors import ConfigInvalid, Conflict, Unavailable
from muniment.ports import Secret

#: seconds until a connection stands, and until the next bytes come
CONNECT: Final = 10
READ: Final = 30
_TRIES: Final = 3
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_EXISTS: Final = frozenset({"PreconditionFailed", "412"})
_NO_LOCK: Final = frozenset(
    {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}
)

_T = TypeVar("_T")


class TileBucket:
    """`evidence.store.Mirror` on a bucket, below a prefix."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        prefix: str = "",
        retention: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """`client` is that of `connect`; `retention` how long each object is locked once put."""
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._retention = retention
        self._now = now
        self._checked = False

    def check(self) -> None:
        """Raises `ConfigInvalid` for a bucket that locks nothing, `Unavailable` for none at all."""
        found = self._ask(
            "read the object lock of",
            lambda: self._client.get_object_lock_configuration(Bucket=self._bucket),
            _NO_LOCK,
        )
        if found and found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled":
            self._checked = True
            return
        raise ConfigInvalid(
            f"bucket `{self._bucket}` has no Object Lock, so that a mirror in it can be deleted:"
            f" make one with `aws s3api create-bucket --bucket {self._bucket}"
            " --object-lock-enabled-for-bucket`, or turn it on as your provider says"
        )

    def put(self, path: str, data: bytes) -> None:
        done = self._ask("put into", lambda: self._put(path, data, IfNoneMatch="*"), _EXISTS)
        if done is None and self.get(path, max(len(data), 1)) != data:
            raise Conflict(f"`{path}` is in `{self._bucket}` with other bytes; nothing was changed")

    def replace(self, path: str, data: bytes) -> None:
        """The version before stays, and stays locked."""
        self._ask("put into", lambda: self._put(path, data))

    def get(self, path: str, most: int) -> bytes | None:
        data = self._ask("get from", lambda: self._get(path, most), _MISSING)
        if data is not None and len(data) > most:
            raise Conflict(f"`{path}` in `{self._bucket}` is larger than {most} bytes")
        return data

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str, most: int) -> bytes:
        found = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
        with found["Body"] as body:
            data: bytes = body.read(most + 1)
        return data

    def _put(self, path: str, data: bytes, **condition: str) -> bool:
        if not self._checked:  # before the first, and not at start: it may be away then
            self.check()
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(path),
            Body=data,
            # S3 refuses a body that has another hash
            ChecksumSHA256=base64.b64encode(sha256(data).digest()).decode(),
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=self._now() + self._retention,
            **condition,
        )
        return True

    def _key(self, path: str) -> str:
        if not all(part and part.strip(".") for part in path.split("/")):
            raise ValueError(f"no resource of a log: `{path}`")
        return self._prefix + path

    def _ask(
        self, doing: str, call: Callable[[], _T], expected: frozenset[str] = frozenset()
    ) -> _T | None:
        """
        What the call gives; None where it is refused as `expected`. All else is `Unavailable`.

        NOTE: only the code of an error is repeated: its text may name keys.
        """
        exceptions = import_module("botocore.exceptions")
        try:
            return call()
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "?"))
            if code in expected:
                return None
            raise Unavailable(f"cannot {doing} bucket `{self._bucket}`: {code}") from None
        except (exceptions.BotoCoreError, OSError) as error:
            reason = type(error).__name__
            raise Unavailable(f"cannot {doing} bucket `{self._bucket}`: {reason}") from None


def connect(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    access_key: Secret | None = None,
    secret_key: Secret | None = None,
) -> Any:
    """
    A client of S3, or of whatever speaks it at `endpoint`.

    Without keys it looks where AWS tools look. Raises `ConfigInvalid` without boto3, or for what is
    no address.
    """
    try:
        boto3, config = import_module("boto3"), import_module("botocore.config")
    except ImportError as error:
        raise ConfigInvalid("a mirror in S3 takes `pip install 'muniment[s3]'`") from error
    try:
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key.reveal() if access_key is not None else None,
            aws_secret_access_key=secret_key.reveal() if secret_key is not None else None,
            config=config.Config(
                connect_timeout=CONNECT,
                read_timeout=READ,
                retries={"max_attempts": _TRIES, "mode": "standard"},
                # checksums are ours; what a provider does not know is not sent besides
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (ValueError, import_module("botocore.exceptions").BotoCoreError) as error:
        raise ConfigInvalid(f"no client of S3: {type(error).__name__}") from None
