"""The service as its clients see it: one HTTP API, spoken by every command that asks something."""

import os
import secrets
from collections.abc import Iterator
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
from muniment.interfaces.cli import sessions

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


def service_url() -> str:
    """`MUNIMENT_URL`, or the default."""
    return os.environ.get(URL, DEFAULT_URL).rstrip("/")


def _given() -> str | None:
    """The token that the environment names; None where it names none. Raises `Malformed`."""
    if (token := os.environ.get(TOKEN)) is not None:
        return token.strip()
    if not (path := os.environ.get(TOKEN_FILE)):
        return None
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise Malformed(f"{TOKEN_FILE} names `{path}`: {error.strerror}") from error


def token_for(url: str) -> str | None:
    """
    The token for the service at this address; None where there is none. Raises `Malformed`.

    That of the environment goes nowhere but to the service that `MUNIMENT_URL` names, if it does.
    """
    token = _given() if service_url() == url or URL not in os.environ else None
    return token if token is not None else sessions.token_for(url)


class Api:
    """Answers are JSON objects; a problem document becomes the error that it stands for."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if token is not None and not (token.isascii() and token.isprintable()):
            raise Malformed("that is no token: it holds other than printable ASCII characters")
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {token}"} if token is not None else {},
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
        """
        `MUNIMENT_URL`, and the first token of these: in `MUNIMENT_TOKEN`, in the file
        `MUNIMENT_TOKEN_FILE`, of the session that `muniment login` opened at this service.
        """
        url = service_url()
        token = token_for(url)
        if not token:
            raise Unauthenticated(
                f"sign in with `muniment login`, or set {TOKEN} (or {TOKEN_FILE}) to your token; "
                "an operator makes one with `muniment token create`"
            )
        return cls(url, token)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._json(self._send("GET", path, params=query))

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        return self._json(self._send("POST", path, json=body or {}, headers=headers))

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """Token exchange (RFC 8693): this client's own token for one of whom `form` is about."""
        access_token = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a name)
        own = self._http.headers.get("Authorization", "").removeprefix("Bearer ")
        sent = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": own,
            "subject_token_type": access_token,
            "actor_token_type": access_token,
            **form,
        }
        return self._json(self._send("POST", "/v1/token", data=sent))

    def post_for_bytes(self, path: str, body: dict[str, Any]) -> bytes:
        return self._send("POST", path, json=body).content

    def file(self, path: str, **query: Any) -> httpx.Response:
        """An answer whose bytes matter, or its headers."""
        return self._send("GET", path, params=query)

    def pieces(self, path: str) -> Iterator[bytes]:
        """A long answer as it comes."""
        yield from self._streamed("GET", path)

    def lines(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """A long answer line by line; raises `Unavailable` where it ends within one."""
        rest = bytearray()
        for piece in self._streamed("POST", path, json=body):
            rest += piece
            while (end := rest.find(b"\n")) >= 0:
                yield bytes(rest[:end])
                del rest[: end + 1]
        if rest:
            raise Unavailable(f"the answer of {self.url} broke off; ask again")

    def _streamed(self, method: str, path: str, **rest: Any) -> Iterator[bytes]:
        try:
            with self._http.stream(method, path, **rest) as response:
                if not response.is_success:
                    response.read()
                    raise _error(response)
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self.url} broke off ({type(error).__name__}); ask again"
            ) from error

    def text(self, path: str) -> str:
        return self._send("GET", path).text

    def ask(
        self, resource: str, role: str, context: dict[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        """
        Evaluate, then request: the two steps of AuthZEN's access request profile.

        The task, and beside it what our own service says besides: `case`, `decision`, `names`.
        """
        body: dict[str, Any] = {
            "subject": {"type": "principal", "id": self.get("/v1/whoami")["principal"]},
            "resource": {"type": "resource", "id": resource},
            "action": {"name": role},
            "context": context,
        }
        answer = self.post("/access/v1/evaluation", body)
        if answer["decision"]:
            return self._ask_for_more(resource, role, context, key)
        denied = answer["context"]
        if "access_request" not in denied:
            raise NotFound(denied.get("detail", "this cannot be asked for"))
        body["denial"] = {
            "evaluation_id": denied["evaluation_id"],
            "evaluated_at": denied["evaluated_at"],
            "expires_at": denied["access_request"]["expires_at"],
        }
        task = self.post(
            "/access/v1/requests", body, **{"Idempotency-Key": key or secrets.token_hex(16)}
        )["task"]
        ours = {name.rpartition(":")[2]: shown for name, shown in task["display"].items()}
        return {"task": task, **ours}

    def _ask_for_more(
        self, resource: str, role: str, context: dict[str, Any], key: str | None
    ) -> dict[str, Any]:
        """Access is there, so that nothing was denied: another window beside it is our own."""
        body = {**context, "resource": resource, "role": role}
        body["reason"] = body.pop("business_justification", "")
        case = self.post("/v1/cases", body, **{"Idempotency-Key": key or secrets.token_hex(16)})
        task = {"id": case["case"], "status": case["state"]}
        return {**case, "task": task, "case": [case]}

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
        said = response.json()
        # RFC 6749 section 5.2 has a name of its own for it
        detail = str(said["detail"] if "detail" in said else said["error_description"])
    except (ValueError, KeyError, TypeError):
        detail = response.text[:300] or response.reason_phrase
    if response.status_code >= 500:  # noqa: PLR2004 (server errors)
        return Unavailable(detail)
    return _ERRORS.get(response.status_code, Refused)(detail)
