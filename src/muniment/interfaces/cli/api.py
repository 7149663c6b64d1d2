"""The service as its clients see it: one HTTP API, spoken by every command that asks something."""

import os
import secrets
from pathlib import Path
from typing import Any

import httpx

from muniment.errors import (
    Conflict,
    Malformed,
    MunimentError,
    NotFound,
    NotPermitted,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
)

URL, TOKEN, TOKEN_FILE = "MUNIMENT_URL", "MUNIMENT_TOKEN", "MUNIMENT_TOKEN_FILE"
DEFAULT_URL = "http://127.0.0.1:8417"
_ERRORS: dict[int, type[MunimentError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    413: Malformed,
    422: Malformed,
    429: TooMany,
}


class Api:
    """Answers are JSON objects; a problem document becomes the error that it stands for."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not token.isascii() or not token.isprintable():
            raise Malformed("that is no token: it holds other than printable ASCII characters")
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=timeout,
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise Malformed(f"{URL} is no address: `{url}`: {error}") from error

    @property
    def url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    @classmethod
    def from_environment(cls) -> "Api":
        """`MUNIMENT_URL`, and the token in `MUNIMENT_TOKEN` or the file `MUNIMENT_TOKEN_FILE`."""
        token = os.environ.get(TOKEN)
        if token is None and (path := os.environ.get(TOKEN_FILE)):
            try:
                token = Path(path).read_text("utf-8").strip()
            except OSError as error:
                raise Malformed(f"{TOKEN_FILE} names `{path}`: {error.strerror}") from error
        token = (token or "").strip()
        if not token:
            raise Unauthenticated(
                f"set {TOKEN} (or {TOKEN_FILE}) to your token; an operator makes one with "
                "`muniment token create`"
            )
        return cls(os.environ.get(URL, DEFAULT_URL), token)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._json(self._send("GET", path, params=query))

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        return self._json(self._send("POST", path, json=body or {}, headers=headers))

    def post_for_bytes(self, path: str, body: dict[str, Any]) -> bytes:
        return self._send("POST", path, json=body).content

    def text(self, path: str) -> str:
        return self._send("GET", path).text

    def ask(
        self, resource: str, role: str, context: dict[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        """Evaluate, then request: the two steps of AuthZEN's access request profile."""
        body: dict[str, Any] = {
            "subject": {"type": "principal", "id": self.get("/v1/whoami")["principal"]},
            "resource": {"type": "resource", "id": resource},
            "action": {"name": role},
            "context": context,
        }
        denied = self.post("/access/v1/evaluation", body)["context"]
        if "access_request" not in denied:
            raise NotFound(denied.get("detail", "this cannot be asked for"))
        body["denial"] = {
            "evaluation_id": denied["evaluation_id"],
            "evaluated_at": denied["evaluated_at"],
            "expires_at": denied["access_request"]["expires_at"],
        }
        return self.post(
            "/access/v1/requests", body, **{"Idempotency-Key": key or secrets.token_hex(16)}
        )

    def close(self) -> None:
        self._http.close()

    def _send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **rest)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"no answer from {self.url} ({type(error).__name__}); is it running?"
            ) from error
        if response.is_success:
            return response
        raise _error(response)

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"what answers at {self.url} is not Muniment: no JSON object came")
        return answer


def _error(response: httpx.Response) -> MunimentError:
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.text[:300] or response.reason_phrase
    if response.status_code >= 500:  # noqa: PLR2004 (server errors)
        return Unavailable(detail)
    return _ERRORS.get(response.status_code, Refused)(detail)
