"""
Signals: what those who watch over accounts tell us (CAEP, RISC), and what follows from it here.

A signal is recorded whatever comes of it. Sessions and access that end by it do so in `cascade`,
after the record. Whether a source may bring that about is policy's to say: its workload needs the
right to `revoke`.
"""

import base64
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from muniment.access import records
from muniment.access.counters import signal_counter
from muniment.access.registry import Principal
from muniment.errors import NotFound, Unauthenticated, Unavailable
from muniment.evidence.append import Proposal
from muniment.operations import permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.providers import ProviderRules
from muniment.operations.service import Caller, Service, content, new_id
from muniment.ports import VerifiedToken

END, FRESH, NONE = "end", "close-sessions", "none"
_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """
    What an event means here: `END` for its person's sessions and access, `FRESH` for sessions only.

    With `claim`, only where that member of the event is one of `among`.
    """

    event: str
    action: str
    claim: str = ""
    among: tuple[str, ...] = ()


#: the first that fits counts; what is not here is recorded, and nothing follows
CONSEQUENCES: Final = (
    Consequence(event=f"{_CAEP}session-revoked", action=END),
    Consequence(event=f"{_RISC}account-disabled", action=END),
    Consequence(event=f"{_RISC}account-purged", action=END),
    Consequence(event=f"{_RISC}credential-compromise", action=END),
    Consequence(event=f"{_RISC}sessions-revoked", action=END),
    Consequence(
        event=f"{_CAEP}credential-change",
        action=END,
        claim="change_type",
        among=("revoke", "delete"),
    ),
    Consequence(
        event=f"{_CAEP}credential-change",
        action=FRESH,
        claim="change_type",
        among=("create", "update"),
    ),
    Consequence(
        event=f"{_CAEP}risk-level-change", action=END, claim="current_level", among=("HIGH",)
    ),
    Consequence(
        event=f"{_CAEP}risk-level-change", action=FRESH, claim="current_level", among=("MEDIUM",)
    ),
    Consequence(
        event=f"{_CAEP}device-compliance-change",
        action=END,
        claim="current_status",
        among=("not-compliant",),
    ),
    Consequence(
        event=f"{_CAEP}assurance-level-change",
        action=FRESH,
        claim="change_direction",
        among=("decrease",),
    ),
    Consequence(event=f"{_RISC}account-credential-change-required", action=FRESH),
    # SSF 1.0 section 8.1.4: says that the stream is alive, and nothing about anybody
    Consequence(event=f"{_SSF}verification", action=NONE),
)
_NAMES: Final = {each.event: each.event.rpartition("/")[2] for each in CONSEQUENCES}
#: of one exchange with a transmitter (RFC 8936)
_MAX_EVENTS, _MAX_ANSWER, _SECONDS, _ROUNDS = 50, 1 << 20, 20.0, 20
_MAX_JTI = 255
_log = logging.getLogger(__name__)


def consequence(event: str, said: Mapping[str, Any]) -> str:
    """What follows from an event: `end`, `close-sessions`, `none`."""
    for row in CONSEQUENCES:
        if row.event == event and (not row.claim or said.get(row.claim) in row.among):
            return row.action
    return NONE


def check_bearer(service: Service, provider: str, authorization: str | None) -> None:
    """Raises `Unauthenticated` without the token that this provider has to show beside its own."""
    expected = _rules(service, provider).push_token
    shown = (authorization or "").encode()
    if expected is not None and not hmac.compare_digest(
        shown, f"Bearer {expected.reveal()}".encode()
    ):
        raise Unauthenticated("show the bearer token that was agreed upon")


async def receive(service: Service, provider: str, token: str) -> None:
    """
    One security event token; it stands in the log when this returns, once however often it comes.

    Raises `NotFound` for a provider of no signals, `Unauthenticated`, and `Unavailable`.
    """
    rules = _rules(service, provider)
    if service.providers.tokens is None:
        raise NotFound(f"`{provider}` is no provider of signals")
    verified = await service.providers.tokens.verify(token, service.now(), kinds=("signals",))
    if verified.provider != provider:
        raise Unauthenticated("this signal is of another provider")
    await until_it_stands(lambda: _record(service, rules, verified, token))


def _rules(service: Service, provider: str) -> ProviderRules:
    rules = service.providers.rules.get(provider)
    if rules is None or rules.kind != "signals":
        raise NotFound(f"`{provider}` is no provider of signals")
    return rules


async def _record(
    service: Service, rules: ProviderRules, verified: VerifiedToken, token: str
) -> None:
    identity = _identity(service, verified)
    counter, case, now = signal_counter(identity), new_id("sig"), service.now()
    if service.log.head(counter) is not None:
        return  # RFC 8935 section 2: it may come again, and is taken as it was the first time
    [(event, said)] = verified.claims["events"].items()
    source, about = _source(service, rules), _about(service, rules, verified.claims["sub_id"])
    action, why = _action(service, source, about, consequence(event, said))
    grounds = service.rests_on(*(each for each in (source, about) if each is not None))
    received = records.SignalReceived(
        actor=service.actor(Caller(principal=source, assurance="signature"))
        if source is not None
        else records.SERVICE,
        provider=rules.name,
        event=_NAMES.get(event, "other"),
        identity=identity,
        about=about.id if about is not None else None,
        action=action,
        why=why,
        keys=verified.keys.digest,
    )
    draft = received.draft(
        case,
        now,
        follows=tuple(grounds.follows),
        sections={"set": content({"set": token})},
        documents=(verified.keys.document,),
    )
    last = records.CaseClosed(actor=records.SERVICE, records=2).draft(case, now)
    await service.append(
        Proposal(
            drafts=(draft, last),
            reads={**grounds.reads, case: None, counter: None},
            gives=False,
            urgent=True,
        )
    )


def _identity(service: Service, verified: VerifiedToken) -> bytes:
    """Of issuer and `jti`, which could be guessed from a plain hash."""
    named = content([verified.issuer, str(verified.claims["jti"])])
    key = hmac.digest(service.sealing_key, b"muniment-signal/v1", sha256)
    return hmac.digest(key, named, sha256)


def _source(service: Service, rules: ProviderRules) -> Principal | None:
    id_ = service.names.get(rules.workload or "")
    return None if id_ is None else service.registry.principals[id_]


def _about(service: Service, rules: ProviderRules, subject: Mapping[str, Any]) -> Principal | None:
    """
    RFC 9493: by issuer and subject, or the `user` of a complex subject; never by an address.

    Nobody of a provider of whom this source has nothing to say.
    """
    if subject.get("format") == "complex":
        subject = subject.get("user", {})
    if subject.get("format") != "iss_sub" or subject["iss"] not in rules.speaks_of:
        return None
    return service.account(subject["iss"], subject["sub"])


def _action(
    service: Service, source: Principal | None, about: Principal | None, wanted: str
) -> tuple[str, str]:
    """What is done, and why nothing is."""
    if wanted == NONE:
        return NONE, "no-consequence"
    if about is None:
        return NONE, "unknown-subject"
    if source is None or not source.active:
        return NONE, "not-permitted"
    caller = Caller(principal=source, assurance="signature")
    if permit.ask(service, caller, "revoke", None).outcome != "permit":
        return NONE, "not-permitted"
    return wanted, ""


def code(service: Service, provider: str, token: str) -> str:
    """Which of the codes of RFC 8935 section 2.4 a refusal has; nothing else follows from it."""
    rules = _rules(service, provider)
    segments = token.split(".")
    header, claims = (_peek(segment) for segment in (segments[0], "".join(segments[1:2])))
    if header.get("typ") != "secevent+jwt" or {"sub", "exp"} & claims.keys():
        return "invalid_request"
    if claims.get("iss") != rules.issuer:
        return "invalid_issuer"
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    return "authentication_failed" if rules.audience in listed else "invalid_audience"


def _peek(segment: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# --- where we have to ask for them (RFC 8936) -------------------------------------------------


async def poll(service: Service, provider: str) -> None:
    """
    Fetch what waits, record it, and only then acknowledge it.

    What was recorded and not acknowledged comes again, and counts once. Raises `Unavailable`.
    """
    acknowledged: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    for _ in range(_ROUNDS):
        answer = await _fetch(service, provider, acknowledged, refused)
        acknowledged, refused = [], {}
        for jti, token in answer.items():
            try:
                await receive(service, provider, token)
            except Unauthenticated as error:
                refused[jti] = {"err": code(service, provider, token), "description": str(error)}
            else:
                acknowledged.append(jti)
        if not acknowledged and not refused:
            return


async def _fetch(
    service: Service, provider: str, acknowledged: list[str], refused: Mapping[str, Any]
) -> dict[str, str]:
    """The next tokens by their `jti`; what came before is settled with the same message."""
    rules = _rules(service, provider)
    if rules.poll is None or service.outbound is None:
        raise Unavailable(f"`{provider}` is not asked for signals")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if rules.poll_token is not None:
        headers["Authorization"] = f"Bearer {rules.poll_token.reveal()}"
    body: dict[str, Any] = {"maxEvents": _MAX_EVENTS, "returnImmediately": True}
    body |= {"ack": acknowledged} if acknowledged else {}
    body |= {"setErrs": refused} if refused else {}
    reply = await service.outbound.fetch(
        "POST",
        rules.poll,
        headers,
        json.dumps(body).encode(),
        timeout=_SECONDS,
        max_bytes=_MAX_ANSWER,
        allow=rules.allow,
    )
    if reply.status != 200:  # noqa: PLR2004 (RFC 8936 section 2.4)
        raise Unavailable(f"`{provider}` answered a poll with {reply.status}")
    return _sets(provider, reply.body)


def _sets(provider: str, body: bytes) -> dict[str, str]:
    try:
        answer = json.loads(body)
        found = answer.get("sets", {})
        sets = {jti: token for jti, token in found.items() if isinstance(token, str)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise Unavailable(f"`{provider}` answered a poll with what is none") from error
    return {jti: token for jti, token in sets.items() if len(jti) <= _MAX_JTI}


def polled(service: Service) -> list[str]:
    """Providers that have to be asked."""
    return [name for name, rules in service.providers.rules.items() if rules.poll is not None]
