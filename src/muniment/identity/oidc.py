"""
People sign in at their own provider: OpenID Connect, authorization code with PKCE.

We are a client that keeps no session with the provider: the code is exchanged once, the ID token is
verified, and what else came with it is dropped. What a sign-in has to remember meanwhile (`Begun`)
is the caller's to keep where only the same browser finds it again.
"""

import hmac
import re
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlencode, urlsplit

from muniment.errors import AddressRefused, ConfigInvalid, Unauthenticated, Unavailable
from muniment.identity.claims import Asked
from muniment.identity.json_text import read_object
from muniment.identity.keys import KeySets
from muniment.identity.providers import Provider, may_be_called
from muniment.identity.signed import Tokens, Verified
from muniment.ports import Outbound, Reply, Secret

#: how long somebody may take at the provider
PATIENCE: Final = timedelta(minutes=10)
#: seconds for the exchange of the code
TIMEOUT: Final = 10.0
MAX_BYTES: Final = 64 * 1024
#: longest code, state or issuer that comes back
MAX_PARAMETER: Final = 4096

#: RFC 6749 section 5.2: the code was wrong, old or used; the verifier or redirect did not match
_OF_THE_CODE: Final = ("invalid_grant", "invalid_request")
#: RFC 6749 section 4.1.2.1 has the characters; ours are those that are in use
_ERROR = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A sign-in under way: what has to be known again when the browser comes back."""

    #: where the browser is sent
    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    #: of PKCE (RFC 7636 section 4.1): shows that whoever brings the code is who asked for it
    verifier: str = field(repr=False)
    redirect_uri: str
    began: datetime
    max_age: int | None = None
    acr_values: tuple[str, ...] = ()


class SignIn:
    """
    Sign-in at one provider of people. Raises `ConfigInvalid` for another kind of provider.

    Without `client_secret` we are a public client, and PKCE alone binds code and client.
    """

    def __init__(
        self,
        provider: Provider,
        outbound: Outbound,
        keys: KeySets,
        *,
        client_secret: Secret | None = None,
        scope: str = "openid profile email",
    ) -> None:
        if provider.kind != "people" or "openid" not in scope.split():
            raise ConfigInvalid(f"`{provider.name}`: people sign in with the scope `openid`")
        self._provider = provider
        self._outbound = outbound
        self._keys = keys
        self._client_secret = client_secret
        self._scope = scope
        self._tokens = Tokens([provider], keys)

    async def begin(
        self,
        redirect_uri: str,
        *,
        now: datetime,
        prompt: str | None = None,
        max_age: int | None = None,
        acr_values: tuple[str, ...] = (),
    ) -> Begun:
        """
        Where to send the browser, and what to keep until it comes back to `redirect_uri`.

        With `max_age` (seconds) or `acr_values`, an answer that falls short is refused. Raises
        `Unavailable` when the provider's metadata cannot be had.
        """
        endpoint = await self._endpoint("authorization_endpoint")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._provider.audience,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            "prompt": prompt,
            "max_age": max_age,
            "acr_values": " ".join(acr_values) or None,
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return Begun(
            url=endpoint + ("&" if urlsplit(endpoint).query else "?") + query,
            state=state,
            nonce=nonce,
            verifier=verifier,
            redirect_uri=redirect_uri,
            began=now,
            max_age=max_age,
            acr_values=acr_values,
        )

    async def finish(self, begun: Begun, params: Mapping[str, str], now: datetime) -> Verified:
        """
        Who has signed in, by the parameters with which the browser came back.

        Raises `Unauthenticated` for an answer that is not to this sign-in, or is no; and
        `Unavailable` when the provider cannot be asked.
        """
        if not timedelta(0) <= now - begun.began <= PATIENCE:
            raise Unauthenticated("the sign-in took too long; begin again")
        for name in ("state", "iss", "error", "code"):
            # RFC 6749 appendix A: visible ASCII
            if not params.get(name, "").isascii() or len(params.get(name, "")) > MAX_PARAMETER:
                raise Unauthenticated(f"`{name}` in the provider's answer is malformed")
        if not hmac.compare_digest(params.get("state", "").encode(), begun.state.encode()):
            raise Unauthenticated("this answers another sign-in: `state` is not ours")
        await self._check_issuer(params.get("iss"))
        if "error" in params:
            raise Unauthenticated(f"the provider answered {_error(params['error'])}")
        if not params.get("code"):
            raise Unauthenticated("the provider's answer has no `code`")
        answer = await self._exchange(params["code"], begun)
        asked = Asked(
            nonce=begun.nonce,
            max_age=begun.max_age,
            acr_values=begun.acr_values,
            access_token=answer["access_token"],
        )
        return await self._tokens.verify(answer["id_token"], now, kinds={"people"}, asked=asked)

    async def _endpoint(self, name: str) -> str:
        url = (await self._keys.metadata(self._provider)).get(name)
        if not isinstance(url, str) or not may_be_called(url, self._provider.allow):
            raise Unavailable(f"the metadata of `{self._provider.name}` has no usable `{name}`")
        return url

    async def _check_issuer(self, issuer: str | None) -> None:
        """RFC 9207 section 2.4: an answer from another provider is told by its `iss`."""
        metadata = await self._keys.metadata(self._provider)
        promised = metadata.get("authorization_response_iss_parameter_supported") is True
        if issuer is None and promised:
            raise Unauthenticated("the answer does not say which provider it is from")
        if issuer is not None and issuer != self._provider.issuer:
            raise Unauthenticated("the answer is from another provider: `iss` is not the one asked")

    async def _exchange(self, code: str, begun: Begun) -> dict[str, str]:
        """The ID token and the access token for this code (RFC 6749 section 4.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if self._client_secret is None:
            form["client_id"] = self._provider.audience
        else:
            headers["Authorization"] = self._basic(self._client_secret)
        try:
            reply = await self._outbound.fetch(
                "POST",
                await self._endpoint("token_endpoint"),
                headers,
                urlencode(form).encode(),
                timeout=TIMEOUT,
                max_bytes=MAX_BYTES,
                allow=self._provider.allow,
            )
        except AddressRefused as error:
            raise Unavailable(f"`{self._provider.name}` cannot be asked: {error}") from error
        return self._read_answer(reply)

    def _basic(self, secret: Secret) -> str:
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined
        pair = f"{quote_plus(self._provider.audience)}:{quote_plus(secret.reveal())}"
        return "Basic " + b64encode(pair.encode()).decode()

    def _read_answer(self, reply: Reply) -> dict[str, str]:
        body = _read_body(reply)
        if reply.status != 200:  # noqa: PLR2004 (RFC 6749 section 5.1)
            self._raise_refusal(reply.status, body.get("error"))
        kind = body.get("token_type")
        # RFC 6749 section 7.1: in any case
        bearer = isinstance(kind, str) and kind.lower() == "bearer"
        answer = {name: body.get(name) for name in ("id_token", "access_token")}
        if not bearer or not all(isinstance(value, str) for value in answer.values()):
            raise Unauthenticated("the provider gave no ID token for the code")
        return {name: str(value) for name, value in answer.items()}

    def _raise_refusal(self, status: int, error: object) -> NoReturn:
        if status == 400 and error in _OF_THE_CODE:  # noqa: PLR2004 (RFC 6749 section 5.2)
            raise Unauthenticated(f"the provider refused the code: {_error(error)}")
        # `invalid_client` and the like: nothing that whoever signs in could do differently
        said = "" if error is None else f", {_error(error)}"
        raise Unavailable(f"`{self._provider.name}` exchanged no code: status {status}{said}")


def _challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _error(code: object) -> str:
    """An error code of OAuth in backticks; what looks like none is not repeated."""
    known = isinstance(code, str) and _ERROR.fullmatch(code)
    return f"`{code}`" if known else "an error that is none of OAuth's"


def _read_body(reply: Reply) -> dict[str, Any]:
    try:
        return read_object(reply.body)
    except ValueError:
        return {}
