"""A bucket in which whole files appear: names behind the last one are asked for, page by page."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeVar

from muniment.errors import Unavailable

_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_PAGE: Final = 1000

_T = TypeVar("_T")


class Bucket:
    """Implements `whole_files.Shelf`. It takes the right to list and to get, and no other."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        """`client` is that of `stores.tile_s3.connect`."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def names(self, after: str) -> Iterator[str]:
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix, "MaxKeys": _PAGE}
        if after:
            asked["StartAfter"] = after
        while True:
            page = self._ask("list", partial(self._client.list_objects_v2, **asked))
            for each in (page or {}).get("Contents", ()):
                # what stands for a folder has nothing in it
                if each["Size"] and not each["Key"].endswith("/"):
                    yield str(each["Key"])
            if not page or not page.get("IsTruncated") or not page.get("NextContinuationToken"):
                return
            asked = {**asked, "ContinuationToken": page["NextContinuationToken"]}

    def read(self, name: str, most: int) -> bytes | None:
        return self._ask("get from", lambda: self._get(name, most))

    def _get(self, name: str, most: int) -> bytes:
        found = self._client.get_object(Bucket=self._bucket, Key=name)
        with found["Body"] as body:
            data: bytes = body.read(most)
        return data

    def _ask(self, doing: str, call: Callable[[], _T]) -> _T | None:
        """
        What the call gives; None where there is no such object.

        NOTE: only the code of an error is repeated: its text may name keys.
        """
        exceptions = import_module("botocore.exceptions")
        try:
            return call()
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "?"))
            if code in _MISSING:
                return None
            raise Unavailable(f"cannot {doing} bucket `{self._bucket}`: {code}") from None
        except (exceptions.BotoCoreError, OSError) as error:
            reason = type(error).__name__
            raise Unavailable(f"cannot {doing} bucket `{self._bucket}`: {reason}") from None
