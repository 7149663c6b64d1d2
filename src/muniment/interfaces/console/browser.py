"""
What a browser brings: cookies of ours, and forms that came from a page of ours.

The session's cookie is the session's bearer token. Scripts cannot read it, no other host can set
it (`__Host-`, where there is TLS), and the API does not take it: what a page of somebody else's
makes a browser send is never enough. On loopback without TLS, which is for trying things, cookies
know no ports: what else listens on this machine could be sent them.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response

from muniment.errors import NotPermitted, Unauthenticated
from muniment.identity.oidc import PATIENCE
from muniment.interfaces.http.authzen.profile import base_url
from muniment.interfaces.http.context import get_opened, look_for, see_what_went_before
from muniment.interfaces.http.sign_in import holder
from muniment.operations.service import Caller
from muniment.operations.sign_in import SignedIn

SESSION: Final = "muniment"
#: a browser that is not signed in yet: what it begins is not finished by another
VISIT: Final = "muniment-visit"
#: a path of ours with its query: no second slash, no backslash, no dots that lead back up, and
#: nothing encoded to be one of them. One way only to match each text: else anybody could write one
#: over which we sit for ever
_LOCAL: Final = re.compile(
    r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)*/?)?"
    r"(?:\?[A-Za-z0-9_~.=&-]*)?"
)
#: as `visit_of` makes them
_VISIT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_PATH: Final = 500


class NotSignedIn(Unauthenticated):
    """sign in first"""


def secured(request: Request) -> bool:
    """Browsers reach us by TLS. Without it we listen on loopback only (`check_address`)."""
    server = get_opened(request).settings.server
    return server.tls_certificate is not None or server.behind_proxy


def origin(request: Request) -> str:
    """Scheme, host and port by which this browser reaches us."""
    address = urlsplit(here(request))
    return f"{address.scheme}://{address.netloc}"


def here(request: Request) -> str:
    """Where pages are, without a slash at the end."""
    if get_opened(request).settings.server.public_url is not None:
        return base_url(request)
    scheme = "https" if secured(request) else "http"
    return f"{scheme}://{request.url.netloc}"


def local(path: str) -> str:
    """A path of ours to go on to; `/` for whatever leads, or may lead, elsewhere."""
    return path if len(path) <= _LONGEST_PATH and _LOCAL.fullmatch(path) else "/"


def to_sign_in(onward: str) -> str:
    return f"/sign-in?to={quote(local(onward), safe='')}"


# --- cookies --------------------------------------------------------------------------------------


def cookie(request: Request, name: str) -> str:
    """Empty without one."""
    return request.cookies.get(_named(request, name), "")


def _named(request: Request, name: str) -> str:
    # RFC 6265bis section 4.1.3.2: no other host, and nobody without TLS, can have set this one
    return f"__Host-{name}" if secured(request) else name


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    # Lax: whoever follows the link in a notice is to be signed in; what changes anything is a POST
    response.set_cookie(
        _named(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=secured(request),
        httponly=True,
        samesite="lax",
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    set_cookie(request, response, name, "", 0)


def visit_of(request: Request) -> str:
    """A browser's own random value before anybody is signed in; a new one where there is none."""
    kept = cookie(request, VISIT)
    # it is kept here while the browser is away: no more of it than we gave
    return kept if _VISIT.fullmatch(kept) else secrets.token_urlsafe(32)


def keep_visit(request: Request, response: Response, visit: str) -> None:
    set_cookie(request, response, VISIT, visit, int(PATIENCE.total_seconds()))


def let_in(request: Request, response: Response, signed_in: SignedIn) -> None:
    """From now on this browser has this session. Its token is a new one, whatever came before."""
    left = signed_in.session.opened.expires - get_opened(request).service.now()
    set_cookie(request, response, SESSION, signed_in.token, int(left.total_seconds()))
    drop_cookie(request, response, VISIT)


# --- who it is ------------------------------------------------------------------------------------


async def get_person(request: Request) -> Caller:
    """The human whose session this browser has. Raises `NotSignedIn`."""
    token, service = cookie(request, SESSION), get_opened(request).service
    await see_what_went_before(request)
    await look_for(service, token)
    try:
        caller = holder(service, token)
    except Unauthenticated:
        raise NotSignedIn from None
    if caller.session is None or caller.principal.type != "human":
        raise NotSignedIn  # a token that was put there by hand
    return caller


PersonDep = Annotated[Caller, Depends(get_person)]


# --- forms ----------------------------------------------------------------------------------------


def form_token(request: Request, secret: str) -> str:
    """What a form of ours carries, for a browser whose cookie holds this secret."""
    key = hmac.digest(get_opened(request).service.sealing_key, b"muniment-form/v1", sha256)
    return urlsafe_b64encode(hmac.digest(key, secret.encode(), sha256)).rstrip(b"=").decode()


def require_own_form(request: Request, token: str, name: str = SESSION) -> None:
    """
    Raises `NotPermitted` unless the form came from a page that we gave to this same browser.

    Browsers say with every POST where it comes from (Fetch standard, `Origin`), and no page of
    another site can know the token.
    """
    secret = cookie(request, name)
    known = form_token(request, secret)
    if request.headers.get("origin") != origin(request):
        raise NotPermitted(f"the form was not sent from {origin(request)}")
    if not secret or not hmac.compare_digest(token.encode(), known.encode()):
        raise NotPermitted("the form is too old, or not from this browser; go back and try again")
