"""`login` and `logout`: a session for the command line, or a code for a browser."""

import os
import secrets
import time
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import click

from muniment.errors import Conflict, Unauthenticated, Unavailable
from muniment.interfaces.cli import screen, sessions
from muniment.interfaces.cli.screen import json_option
from muniment.interfaces.pkce import challenge

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: seconds for all that somebody does in the browser
PATIENCE: Final = 600.0
_DONE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Signed in</title>"
    "<h1>You are signed in</h1><p>Go back to the terminal; this page can be closed.</p>"
)
_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@click.command("login")
@click.option("--provider", metavar="NAME", help="Where to sign in; else the page asks.")
@click.option("--browser", is_flag=True, help="The other way round: a code to type into the page.")
@json_option
def login_command(provider: str | None, *, browser: bool, as_json: bool) -> None:
    """Sign in with a browser on this machine."""
    answer, lines = _show_code() if browser else _sign_in(provider)
    screen.show(answer, lines, as_json=as_json)


@click.command("logout")
@json_option
def logout_command(*, as_json: bool) -> None:
    """End the session that `muniment login` opened."""
    from muniment.interfaces.cli.api import Api, service_url

    url = service_url()
    token = sessions.token_for(url)
    if token is None:
        raise Conflict(f"nobody is signed in at {url}")
    api = Api(url, token)
    try:
        api.post("/v1/sign-out")
    except Unauthenticated:
        pass  # it is over already
    finally:
        api.close()
    sessions.forget(url)
    screen.show({"service": url}, [f"signed out of {url}"], as_json=as_json)


# --- a code for a browser -------------------------------------------------------------------------


def _show_code() -> tuple[dict[str, Any], Iterator[str]]:
    from muniment.interfaces.cli.client import asking

    with asking() as api:
        made = api.post("/v1/sign-in/code")

    def lines() -> Iterator[str]:
        yield f"type {screen.paint(made['code'], bold=True)} into {made['page']}"
        yield screen.faint("it works once, within two minutes")

    return made, lines()


# --- a session for this program -------------------------------------------------------------------


def _sign_in(provider: str | None) -> tuple[dict[str, Any], Iterator[str]]:
    from muniment.interfaces.cli.api import TOKEN, TOKEN_FILE, Api, service_url

    url = service_url()
    api = Api(url, None)
    try:
        made = _fetch(api, provider)
    finally:
        api.close()
    sessions.keep(url, made["token"], made["expires"])
    shadowed = next((name for name in (TOKEN, TOKEN_FILE) if os.environ.get(name)), None)

    def lines() -> Iterator[str]:
        until = screen.until(made["expires"], _now())
        yield f"signed in as {screen.who(made['names'], made['principal'])}, until {until}"
        if shadowed is not None:
            yield screen.paint(f"{shadowed} is set, and goes before it: unset {shadowed}", "yellow")

    told = {name: made[name] for name in ("principal", "expires", "names")}
    return {**told, "service": url}, lines()


def _fetch(api: "Api", provider: str | None) -> dict[str, Any]:
    """The session's token, for the code with which the browser comes back."""
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    with _Loopback(state) as loopback:
        asked = {"port": loopback.port, "challenge": challenge(verifier), "state": state}
        page = f"/sign-in/cli?{urlencode(asked)}"
        if provider is not None:
            page = f"/sign-in/{quote(provider, safe='')}?to={quote(page, safe='')}"
        click.echo(f"sign in here:\n  {api.url}{page}", err=True)
        webbrowser.open(f"{api.url}{page}")
        code = loopback.wait()
    return api.post("/v1/sign-in/exchange", {"code": code, "verifier": verifier})


def _now() -> Any:
    from muniment.interfaces.cli.client import now

    return now()


class _Loopback(TCPServer):
    """Listens on a port of its own until the browser comes back to it (RFC 8252 section 7.3)."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state, self.code = state, ""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def knows(self, state: str) -> bool:
        return secrets.compare_digest(state.encode(), self.state.encode())

    def wait(self) -> str:
        """The code. Raises `Unavailable` when nobody came."""
        ends = time.monotonic() + PATIENCE
        while not self.code:
            self.timeout = ends - time.monotonic()
            if self.timeout <= 0:
                raise Unavailable("nobody signed in within ten minutes")
            self.handle_request()
        return self.code


class _Handler(BaseHTTPRequestHandler):
    """Takes the code from whoever knows our `state`, and tells all others nothing."""

    #: seconds: browsers open connections ahead of need, and each holds up the one that counts
    timeout = 2.0

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        brought = {name: values[0] for name, values in parse_qs(address.query).items()}
        code, state = brought.get("code", ""), brought.get("state", "")
        if isinstance(self.server, _Loopback) and code and self.server.knows(state):
            self._answer(200, _DONE)
            self.server.code = code
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response_only(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        body = text.encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: what comes here holds codes."""
