"""
Ask a time-stamp authority for its word that a text exists now: RFC 3161, over HTTP (section 3.4).

What comes back is checked as an auditor would check it, before it is kept: a token that will not
verify later is worth nothing. The authority learns a digest, and that we asked.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509

from muniment.errors import AddressRefused, StampInvalid, Unavailable
from muniment.evidence import stamp_messages as messages
from muniment.evidence.stamp import MAX_TOKEN, SHA_256, TimeStamp, open_token
from muniment.evidence.store import Stamp
from muniment.ports import Outbound

#: how long one authority may take, in seconds, unless its settings say otherwise
SECONDS: Final = 10.0
#: further apart than this, its clock or ours is wrong, and a person has to look
MAX_SKEW: Final = timedelta(minutes=5)
#: what a probe has stamped: it is of no log
PROBE: Final = b"muniment asks whether this authority answers\n"

_OK: Final = 200
_GRANTED: Final = 0
_NONCE_BITS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A time-stamp authority, as the operator configured it."""

    #: our name for it
    name: str
    url: str
    #: how often the newest checkpoint is stamped by it
    every: timedelta
    #: whose certificates stand behind it; without one its tokens are kept unverified
    roots: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    #: origins that may lie inside our own network, or be without TLS
    allow: frozenset[str] = frozenset()


async def ask(outbound: Outbound, authority: Authority, text: bytes, now: datetime) -> Stamp:
    """
    Its token over the text of a checkpoint (with its last newline, without signature lines).

    `now` is our own time. Raises `Unavailable` for whatever else than a token comes back that
    verifies: by the authority's root too, where the operator gave it.
    """
    return (await _ask(outbound, authority, text, now))[0]


async def probe(outbound: Outbound, authority: Authority, now: datetime) -> str:
    """
    Whether it would stamp, in one line for `check`: who answers, and who stands behind him.

    Raises `Unavailable`. Some authorities answer in a form that is refused here; that shows now.
    """
    _, stamp = await _ask(outbound, authority, PROBE, now)
    verified = "verified by your root" if authority.roots else "not verified: no `root` is set"
    return f"time stamps by `{stamp.authority}`, {verified}"


async def _ask(
    outbound: Outbound, authority: Authority, text: bytes, now: datetime
) -> tuple[Stamp, TimeStamp]:
    nonce = secrets.randbits(_NONCE_BITS)
    # RFC 3161 section 2.4.1: with the certificate, as a reader has nothing but the token
    request = messages.Request(
        version=1,
        imprint=messages.Imprint(
            algorithm=messages.Algorithm(id=SHA_256, parameters=None),
            digest=sha256(text).digest(),
        ),
        nonce=nonce,
        certificate=True,
    )
    body = await _post(outbound, authority, messages.write(request))
    try:
        token = _token(body)
        stamp = open_token(token, text)
        if authority.roots:
            stamp.check_authority(authority.roots)
    except StampInvalid as error:
        raise Unavailable(f"the time stamp of `{authority.name}`: {error}") from error
    # RFC 3161 section 2.4.2: an answer to another question carries another nonce
    if stamp.nonce != nonce:
        raise Unavailable(f"the time stamp of `{authority.name}` answers another request")
    if (skew := abs(stamp.at - now)) > MAX_SKEW:
        raise Unavailable(
            f"the clocks of `{authority.name}` and ours are {skew} apart: see to both"
        )
    return Stamp(authority.name, token), stamp


async def _post(outbound: Outbound, authority: Authority, body: bytes) -> bytes:
    try:
        reply = await outbound.fetch(
            "POST",
            authority.url,
            {
                "Content-Type": "application/timestamp-query",
                "Accept": "application/timestamp-reply",
                "User-Agent": "muniment",
            },
            body,
            timeout=SECONDS,
            max_bytes=MAX_TOKEN,
            allow=authority.allow,
        )
    except AddressRefused as error:
        raise Unavailable(f"`{authority.name}` is not asked: {error}") from error
    if reply.status != _OK:
        raise Unavailable(f"`{authority.name}` answered with status {reply.status}")
    return reply.body


def _token(body: bytes) -> bytes:
    """The token in a reply. Raises `StampInvalid`."""
    answer = messages.read(messages.Response, body, "the reply")
    # RFC 3161 section 2.4.2: 0 is granted; with modifications, it is not what was asked for
    if answer.status.status != _GRANTED or answer.token is None:
        raise StampInvalid(f"it was refused, with status {answer.status.status}")
    return messages.write(answer.token)
