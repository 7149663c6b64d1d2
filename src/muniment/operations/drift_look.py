"""One look at a target: what is seen there, beside all that the log says about it."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from muniment.access.case import ENDS, LIVE, AccessCase
from muniment.access.finding import Finding
from muniment.errors import NotFound, TargetUnavailable
from muniment.evidence import moment
from muniment.evidence.record import MAX_SECTION
from muniment.evidence.store import Entry
from muniment.operations import findings
from muniment.operations.service import Service, content
from muniment.oversight.difference import Difference, rule_of
from muniment.oversight.drift import SETTLING, Expected, Held, Stood, compare, remember
from muniment.oversight.inventory import Gives, Inventory
from muniment.ports import Connector, TellsRoles

#: how long a target may take to be looked at once
LOOK: Final = timedelta(seconds=60)
#: how much of its section a scan fills with accounts, and with one of them
_ROOM, _LONGEST = MAX_SECTION * 3 // 4, 8192


@dataclass(frozen=True, kw_only=True)
class Look:
    resource: str
    at: datetime
    seen: Inventory
    expected: Expected
    differences: list[Difference]
    #: what the next scan has to know, and how much of it does not fit
    memory: Mapping[str, Stood]
    forgotten: int


async def look_at(service: Service, connector: Connector, resource: str) -> Look:
    began = _grants(service, resource)
    try:
        async with asyncio.timeout(LOOK.total_seconds()):
            seen = await connector.inventory()
    except TimeoutError:
        raise TargetUnavailable(f"`{resource}` took longer than {LOOK} to be looked at") from None
    return await asyncio.to_thread(_held_against, service, connector, resource, seen, began)


async def look_again(service: Service, connector: Connector, look: Look) -> Look:
    """
    What is fleeting counts only if it is seen twice.

    Only what was true before and after a look counts in either of them, so that no wait is needed.
    """
    again = await look_at(service, connector, look.resource)
    before = {each.key for each in look.differences}
    found = [
        each for each in again.differences if each.key in before or not is_fleeting(service, each)
    ]
    return replace(again, differences=found)


def is_fleeting(service: Service, difference: Difference) -> bool:
    """Grants come and go while we look, and sessions end a moment after their account."""
    ours = difference.account.startswith(f"{service.prefix}_")
    return ours or difference.kind == "session-without-grant"


def _held_against(
    service: Service,
    connector: Connector,
    resource: str,
    seen: Inventory,
    began: Mapping[str, bytes | None],
) -> Look:
    now = service.now()
    before, first = _remembered(service, resource, seen.target)
    expected = Expected(
        resource=resource,
        grants=_all_held(service, connector, resource, seen, began, now),
        before=before,
        first=first,
        roles=_target_roles(service, connector, resource),
        emergency=_emergency(service, resource),
        is_known=lambda each: _is_known(service, each, now),
    )
    memory, forgotten = _that_fits(remember(seen, expected, now))
    return Look(
        resource=resource,
        at=now,
        seen=seen,
        expected=expected,
        differences=_of_those_remembered(compare(seen, expected, now), forgotten),
        memory=memory,
        forgotten=len(forgotten),
    )


def _is_known(service: Service, difference: Difference, now: datetime) -> bool:
    found = finding_of(service, difference)
    return found is not None and found.mutes(now)


def finding_of(service: Service, difference: Difference) -> Finding | None:
    """The newest that was raised of this difference; None where there is none."""
    rule = rule_of(difference).id
    number = findings.newest_of(service, rule, difference.key)
    if number is None:
        return None
    return findings.read(service, findings.case_of(service, rule, difference.key, number))[0]


def report_key(resource: str, target: str) -> str:
    """Key of the one finding about all that stood at a target when it was first looked at."""
    return f"{resource} {target}"


# --- what the log says of grants --------------------------------------------------------------


def _grants(service: Service, resource: str) -> dict[str, bytes | None]:
    """Every grant of the resource that was not seen gone, and where its case ends now."""
    # the log's writer may add one at any moment: look at a copy
    grants = list(service.registry.grants.values())
    return {each.case: service.log.head(each.case) for each in grants if each.resource == resource}


def _all_held(
    service: Service,
    connector: Connector,
    resource: str,
    seen: Inventory,
    began: Mapping[str, bytes | None],
    now: datetime,
) -> dict[str, Held]:
    """
    Each grant that the log has, or that something at the target names.

    A grant is authorised before the target is touched: what was seen there stands in the log now.
    """
    after = _grants(service, resource)
    named = {each.grant for each in seen.accounts} | {each.grant for each in seen.sessions}
    held: dict[str, Held] = {}
    for case_id in {*began, *after, *named} - {""}:
        try:
            case, _ = service.read(case_id)
        except NotFound:
            continue
        if case.requested.resource != resource or case.state not in (*LIVE, *ENDS):
            continue  # of our form, and yet nobody was let in here under it
        settled = began.get(case_id) == after.get(case_id)
        held[case_id] = _held(service, connector, case, now, settled=settled)
    return held


def _held(
    service: Service, connector: Connector, case: AccessCase, now: datetime, *, settled: bool
) -> Held:
    credential = case.credential
    return Held(
        case=case.id,
        role=case.requested.role,
        persons=case.requested.actor.persons,
        state=_state(case, now) if settled else "unsettled",
        until=case.until or now,
        target=credential.target if credential is not None else "",
        expires=credential is None or credential.native_expiry is not None,
        gives=_gives(connector, service.definition(case.requested.definition)),
    )


def _state(case: AccessCase, now: datetime) -> Literal["live", "unsettled", "over"]:
    if case.state in LIVE and case.until is not None and now < case.until:
        settled = case.state == "issued" and not case.order_open
        return "live" if settled else "unsettled"
    over = case.until if case.state in LIVE else case.ended_at or case.changed_at
    return "over" if over is not None and now - over > SETTLING else "unsettled"


def _gives(connector: Connector, definition: Mapping[str, Any]) -> Gives | None:
    if not isinstance(connector, TellsRoles):
        return None
    return connector.gives(definition["role"])


def _target_roles(service: Service, connector: Connector, resource: str) -> frozenset[str]:
    found: set[str] = set()
    for role in list(service.registry.roles.values()):
        if role.resource == resource and not role.withdrawn:
            gives = _gives(connector, service.definition(role.definition))
            found |= gives.member_of if gives is not None else set()
    return frozenset(found)


def _emergency(service: Service, resource: str) -> str:
    """The account that the configuration in force keeps for Muniment's own outage."""
    in_force = service.registry.configuration
    resources = service.definition(in_force.digest).get("resources", {}) if in_force else {}
    return resources.get(resource, {}).get("emergency_account") or ""


# --- what is remembered -----------------------------------------------------------------------


def _remembered(service: Service, resource: str, target: str) -> tuple[dict[str, Stood], bool]:
    """What the scan before remembered, and whether this target was never looked at."""
    scans = service.registry.scans
    same = scans.newest.get((resource, target))
    newest = same or scans.of(resource)
    told = told_by(service, newest.told) if newest is not None else None
    if told is None:
        return {}, True
    memory = {
        each["name"]: Stood(
            since=moment.parse(each["since"]),
            standing=each["standing"],
            rights=frozenset(each["rights"]),
        )
        for each in told["accounts"]
    }
    return memory, same is None


def told_by(service: Service, entry: Entry | None) -> dict[str, Any] | None:
    """What a scan says of what it saw; None where that was erased."""
    return None if entry is None else service.section(entry, "seen")


def _that_fits(memory: Mapping[str, Stood]) -> tuple[dict[str, Stood], set[str]]:
    """The longest known come first: what is forgotten is what came last."""
    order = sorted(memory.items(), key=lambda each: (each[1].since, each[0]))
    kept, forgotten, room = dict[str, Stood](), set[str](), _ROOM
    for name, stood in order:
        size = len(content(line(name, stood))) + 1
        if size > _LONGEST:
            continue  # nobody hides behind a long name, or behind many roles: it stays new
        if size > room:
            forgotten.add(name)
        else:
            kept[name], room = stood, room - size
    return kept, forgotten


def line(name: str, stood: Stood) -> dict[str, Any]:
    return {
        "name": text(name),
        "rights": sorted(text(each) for each in stood.rights),
        "since": moment.text(stood.since),
        "standing": stood.standing,
    }


def text(text: str) -> str:
    """Without halves of characters, which no reader of JSON has to take."""
    return text.encode("utf-8", "replace").decode()


def _of_those_remembered(
    found: Iterable[Difference], forgotten: Collection[str]
) -> list[Difference]:
    """Without accounts that are forgotten: whether they are new nobody can say."""
    return [each for each in found if each.what != "out-of-band" or each.account not in forgotten]
