"""
What a browser carries while it is at a provider: sealed in a cookie, and kept nowhere here.

So nobody who begins sign-ins and never comes back takes room from others, any process can take up
what another began, and only the browser that began it has it.
"""

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response

from muniment.errors import Unauthenticated
from muniment.evidence import moment
from muniment.identity.oidc import PATIENCE, Begun
from muniment.interfaces.console import browser
from muniment.interfaces.http.context import get_opened

#: begins the name of the cookie; one for each sign-in, as somebody may have two pages open
COOKIE: Final = "muniment-departed-"
_NONCE: Final = 12
#: characters of `state` in the cookie's name
_NAMED: Final = 16


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A sign-in under way, and the local path to go to afterwards."""

    provider: str
    begun: Begun
    onward: str


def keep(request: Request, response: Response, departure: Departure) -> None:
    """The browser takes it along."""
    begun = departure.begun
    said = {
        "provider": departure.provider,
        "onward": departure.onward,
        "state": begun.state,
        "nonce": begun.nonce,
        "verifier": begun.verifier,
        "redirect_uri": begun.redirect_uri,
        "began": moment.text(begun.began),
    }
    nonce = os.urandom(_NONCE)
    sealed = nonce + _key(request).encrypt(nonce, orjson.dumps(said), None)
    text = urlsafe_b64encode(sealed).decode()
    seconds = int(PATIENCE.total_seconds())
    browser.set_cookie(request, response, _name(begun.state), text, seconds)


def take_back(request: Request, state: str) -> Departure:
    """What this browser took along. Raises `Unauthenticated` where there is no such thing."""
    text = browser.cookie(request, _name(state))
    try:
        sealed = urlsafe_b64decode(text.encode("ascii"))
        said: Any = orjson.loads(_key(request).decrypt(sealed[:_NONCE], sealed[_NONCE:], None))
    except (ValueError, InvalidTag):
        raise Unauthenticated("this sign-in was not begun in this browser, or is too old") from None
    begun = Begun(
        url="",
        state=said["state"],
        nonce=said["nonce"],
        verifier=said["verifier"],
        redirect_uri=said["redirect_uri"],
        began=moment.parse(said["began"]),
    )
    return Departure(provider=said["provider"], begun=begun, onward=said["onward"])


def forget(request: Request, response: Response, state: str) -> None:
    """It works once: the provider takes its code once, and the browser has it no more."""
    browser.drop_cookie(request, response, _name(state))


def _name(state: str) -> str:
    # a cookie's name holds no more than these (RFC 6265 section 4.1.1, token)
    return COOKIE + "".join(char for char in state[:_NAMED] if char.isascii() and char.isalnum())


def _key(request: Request) -> AESGCM:
    secret = get_opened(request).service.sealing_key
    return AESGCM(hmac.digest(secret, b"muniment-departure/v1", sha256))
