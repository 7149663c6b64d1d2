"""
Tell whoever asked that a request was decided: signed, at an address that was registered for him.

The notice is an optimisation: it says that there is something to see, and gives nothing. It is
repeated until it was taken, for a day, and what came of it is recorded in a case of its own.
"""

import base64
import json
import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.errors import AddressRefused, NotPermitted, Unavailable
from muniment.evidence import moment
from muniment.evidence.append import Companions, Outcome
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.evidence.webhook import signed_headers, signing_key
from muniment.operations.batch import cases_of, members, status, together
from muniment.operations.projection import CALLBACK, callback_work, decided_at
from muniment.operations.service import Callback, Caller, Service, close
from muniment.ports import Due

EVENTS = ("approved", "denied", "expired", "cancelled", "failed", "partial")
#: how long one delivery may take, in seconds, and how much of its answer is read
SECONDS, MAX_ANSWER = 10.0, 16 * 1024
GIVE_UP = timedelta(hours=24)
_TAKEN = range(200, 300)
_log = logging.getLogger(__name__)


async def check_callback(service: Service, caller: Caller, endpoint: str) -> None:
    """
    May this caller be told there? An administrator has to have registered it for him.

    Raises `NotPermitted` if nobody did, and `AddressRefused` if the name leads where we do not
    call: now. It is looked at again whenever something is delivered.
    """
    registered = service.callbacks.get(endpoint)
    login = (service.identity(caller.principal.id) or {}).get("login")
    if registered is None or login not in registered.principals or service.outbound is None:
        raise NotPermitted("this callback endpoint is not registered for you")
    await service.outbound.check(endpoint, allow=registered.allow)


def unsettled(service: Service, case: AccessCase) -> tuple[Due, ...]:
    """What has to be due about telling of this case, as the log has it: for a sweep."""
    if not case.requested.callback or decided_at(case) is None:
        return ()
    batch = case.requested.batch
    settled = service.log.head(record_case(batch or case.id)) is not None
    others = members(service, batch) if batch else []
    last = max(at for each in (case, *others) if (at := decided_at(each)) is not None)
    return (Due(case=callback_work(case), at=None if settled else moment.text(last)),)


def record_case(task: str) -> str:
    """The case of its own in which it is recorded what came of the notice."""
    digest = sha256(b"muniment-callback/v1\0" + task.encode()).digest()[:16]
    return f"cbk_{base64.b32encode(digest).decode().rstrip('=').lower()}"


async def deliver(service: Service, work: str) -> bool:
    """By the worker: tell once; False if it has to be tried again."""
    task = work.removeprefix(CALLBACK)
    if service.log.head(record_case(task)) is not None:
        return False  # settled: the line that says otherwise is wrong, and the sweep will find it
    cases = cases_of(service, task)
    event = together([status(case) for case in cases])
    if event == "pending":
        return False  # an item of a batch was decided, and others wait
    outcome, code = await _tell(service, task, cases, event)
    if outcome:
        await _settle(service, task, cases, event, outcome, code)
    return bool(outcome)


async def _tell(
    service: Service, task: str, cases: Sequence[AccessCase], event: str
) -> tuple[str, int]:
    """What came of it, and the status of the answer; an empty outcome is none yet."""
    wanted = service.section(service.read(cases[0].id)[1][0], "callback")
    registered = None if wanted is None else service.callbacks.get(wanted["endpoint"])
    if wanted is None or registered is None:
        # other nodes may have files that do name it
        return ("forgotten" if wanted is None or service.outdated is None else ""), 0
    if wanted["events"] and event not in wanted["events"]:
        return "unwanted", 0
    body = json.dumps(_notice(service, task, cases, event, wanted)).encode()
    code = 0
    try:
        code = await _send(service, registered, task, body)
    except AddressRefused as error:
        _log.warning("the callback of %s was not sent: %s", task, error)
        return "refused", 0
    except Unavailable as error:
        _log.warning("the callback of %s was not taken: %s", task, error)
    if code in _TAKEN:
        return "delivered", code
    decided = max(at for case in cases if (at := decided_at(case)) is not None)
    return ("abandoned" if service.now() - decided > GIVE_UP else ""), code


def _notice(
    service: Service, task: str, cases: Sequence[AccessCase], event: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    here = f"{wanted['task']}/{task}"
    told: dict[str, Any] = {"id": task, "status": event, "status_endpoint": here}
    if cases[0].requested.batch:
        told["items"] = [{**item(service, case), "status": status(case)} for case in cases]
    return {"state": wanted["state"], "task": told} if "state" in wanted else {"task": told}


def item(service: Service, case: AccessCase) -> dict[str, Any]:
    """The resource and the action of one item of a batch, as whoever asked had written them."""
    submission = service.section(service.read(case.id)[1][0], "submission") or {}
    if "item" in submission:
        written: dict[str, Any] = json.loads(submission["item"])
        return written
    request = case.requested
    return {
        "resource": {"type": "resource", "id": request.resource},
        "action": {"name": request.role},
    }


async def _send(service: Service, registered: Callback, task: str, body: bytes) -> int:
    """The status of the answer. Signed as Standard Webhooks have it."""
    if service.outbound is None:
        raise Unavailable("there is no way out by HTTP")
    key = signing_key(registered.secret.reveal())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "muniment",
        **signed_headers(key, record_case(task), service.now(), body),
    }
    reply = await service.outbound.fetch(
        "POST",
        registered.endpoint,
        headers,
        body,
        timeout=SECONDS,
        max_bytes=MAX_ANSWER,
        allow=registered.allow,
    )
    return reply.status


async def _settle(
    service: Service, task: str, cases: Sequence[AccessCase], event: str, outcome: str, code: int
) -> None:
    """Record what came of it, once; with that nothing is due any more."""
    case, now = record_case(task), service.now()
    record = records.CallbackSettled(
        actor=records.SERVICE, about=task, event=event, outcome=outcome, status=code
    )
    first = service.read(cases[0].id)[1][0].leaf

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        drafts = [] if entries else close([record.draft(case, now, follows=(first,))], case, 0, now)
        return drafts, _done(Due(case=callback_work(cases[0]), at=None))

    await service.append(Outcome(case=case, build=build))


def _done(due: Due) -> Companions:
    def companions(_placed: Sequence[Entry]) -> Iterable[Due]:
        return (due,)

    return companions
