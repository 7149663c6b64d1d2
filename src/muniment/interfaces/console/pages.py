"""
Pages: templates, the headers that go with each, and errors as a reader of pages needs them.

Nothing runs in a page: no script, no style but one file of ours, nothing from elsewhere.
"""

import logging
import unicodedata
from collections.abc import Callable, Coroutine
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from muniment.access.window import text as length
from muniment.errors import EvidenceError, Malformed, MunimentError, NotFound
from muniment.interfaces.console.browser import (
    SESSION,
    NotSignedIn,
    cookie,
    form_token,
    secured,
    to_sign_in,
)
from muniment.interfaces.http.context import get_opened
from muniment.interfaces.http.problems import STATUS, of_http
from muniment.operations.service import Caller

_log = logging.getLogger(__name__)

#: `same-origin` and not `no-referrer`: with that, browsers would send `Origin: null` with our own
#: forms (Fetch standard, "append a request `Origin` header"). Other sites are told as little.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
_YEAR: Final = 365 * 86_400


# --- files ----------------------------------------------------------------------------------------

_TYPES: Final = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def _read_static() -> dict[str, tuple[bytes, str]]:
    """Content and media type by a name that holds the content's hash: it never changes."""
    found = {}
    for file in (files(__package__) / "static").iterdir():
        stem, dot, ending = file.name.rpartition(".")
        content = file.read_bytes()
        name = f"{stem}.{sha256(content).hexdigest()[:16]}{dot}{ending}"
        found[name] = (content, _TYPES[dot + ending])
    return found


STATIC: Final = _read_static()
_ADDRESSES: Final = {
    f"{name.split('.')[0]}.{name.split('.')[-1]}": f"/static/{name}" for name in STATIC
}
router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """Style and mark of the pages, under a name that changes with what is in them."""
    if name not in STATIC:
        raise NotFound("there is no such file")
    content, media_type = STATIC[name]
    caching = {"Cache-Control": f"public, max-age={_YEAR}, immutable"}
    return Response(content, media_type=media_type, headers={**_HEADERS, **caching})


# --- words ----------------------------------------------------------------------------------------


def moment(at: datetime | str) -> str:
    """`21 November 2026, 10:00 UTC`."""
    read = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{read.day} {read:%B %Y, %H:%M} UTC"


def times(count: int) -> str:
    """How often, for a sentence."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count:,} times")


def plain(typed: str) -> str:
    """Typed text without characters that control, or that change the order of what is read."""
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "�"
        for char in typed.replace("\r\n", "\n").replace("\t", " ")
    )


def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("muniment.interfaces.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"moment": moment, "length": length, "plain": plain, "times": times}
    made.globals["static"] = _ADDRESSES
    return made


_TEMPLATES: Final = _templates()


# --- answers --------------------------------------------------------------------------------------


def page(
    request: Request,
    template: str,
    *,
    person: Caller | None = None,
    status: int = 200,
    loopback: int | None = None,
    **values: Any,
) -> Response:
    """One page, for somebody who is signed in or not. Its form may lead to a `loopback` port."""
    service = get_opened(request).service
    who = service.identity(person.principal.id) if person is not None else None
    checkpoint = service.log.checkpoint.decode().split("\n")
    text = _TEMPLATES.get_template(template).render(
        person=person,
        who=who,
        form_token=form_token(request, cookie(request, SESSION)) if person is not None else "",
        origin=checkpoint[0],
        size=checkpoint[1],
        **values,
    )
    return guarded(request, HTMLResponse(text, status_code=status), loopback=loopback)


def redirect(request: Request, to: str) -> Response:
    """With GET, whatever it was."""
    return guarded(request, RedirectResponse(to, status_code=HTTPStatus.SEE_OTHER))


def guarded(request: Request, response: Response, *, loopback: int | None = None) -> Response:
    """The headers of every page and of every redirect between them."""
    also = f" http://127.0.0.1:{loopback}" if loopback is not None else ""
    response.headers.update({**_HEADERS, "Content-Security-Policy": _POLICY + also})
    if secured(request):
        response.headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    return response


# --- errors ---------------------------------------------------------------------------------------


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_with_pages(request: Request) -> Response:
            try:
                return await answer(request)
            except NotSignedIn:
                query = f"?{request.url.query}" if request.url.query else ""
                return redirect(request, to_sign_in(f"{request.url.path}{query}"))
            except Exception as error:  # noqa: BLE001 (a bug is a page too; it is logged)
                return trouble(request, *_told(error))

        return answer_with_pages


def install(app: FastAPI) -> None:
    """Where there is no route: a page for whoever reads pages, a problem for a program."""
    app.add_exception_handler(HTTPException, _nowhere)


async def _nowhere(request: Request, error: Exception) -> Response:
    missing = isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND
    # browsers name it when they are led somewhere
    if missing and "text/html" in request.headers.get("accept", ""):
        return trouble(request, HTTPStatus.NOT_FOUND, "there is no such page")
    return await of_http(request, error)


def trouble(request: Request, status: int, words: str) -> Response:
    """What went wrong, with a way back."""
    title = {403: "Not permitted", 404: "Not found", 409: "Not any more", 429: "Too fast"}
    answer = page(
        request,
        "trouble.html",
        status=status,
        title=title.get(status, "That did not work" if status < 500 else "Something is wrong"),  # noqa: PLR2004 (server errors)
        words=words,
        id=getattr(request.state, "request_id", ""),
    )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        answer.headers["Retry-After"] = "60"
    return answer


def _told(error: Exception) -> tuple[int, str]:
    """Status and words."""
    match error:
        case EvidenceError():
            _log.critical("evidence does not hold: %s", error)
            return 503, "the log cannot be relied on at the moment; nothing was done"
        case Malformed():
            return 422, str(error)
        case MunimentError():
            return next(code for cls, code in STATUS if isinstance(error, cls)), str(error)
        case RequestValidationError():
            return 422, "the form was not filled in as it has to be, or was too long"
        case HTTPException():
            return error.status_code, str(error.detail)
        case _:
            _log.error("a bug", exc_info=error)
            return 500, "something went wrong on our side; it is logged"
