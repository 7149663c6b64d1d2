"""
Tell people what waits for them, how it was decided, what was taken away, and what was found.

Being told is an optimisation: nothing waits for it, and nothing is decided by it. What came of it
is recorded in a case of its own for each record and way of telling.
"""

import asyncio
import base64
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.access.campaign import SHARES, Campaign
from muniment.access.case import LIVE, AccessCase
from muniment.access.finding import Finding
from muniment.errors import AddressRefused, Unavailable
from muniment.evidence import moment
from muniment.evidence.append import Companions, Outcome
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import campaigns, findings
from muniment.operations.digest import MOST, Item, digest
from muniment.operations.explain import who_could_approve
from muniment.operations.notice_text import line_about, notice
from muniment.operations.owed import DIGEST, NOTICE, Event, Told, Way, events, parts, work
from muniment.operations.service import Service, close, record_of
from muniment.ports import Due, Notice, Notifier

#: after this an undelivered notice is given up
GIVE_UP: Final = timedelta(hours=24)
#: one record is told to so many people at most
MOST_RECIPIENTS: Final = 200
#: hundredths of a review's time after which others learn that it waits
_FALLBACK_FROM: Final = 80
#: due work that is gone through for what else a digest takes along
_MOST_DUE: Final = 2000
#: stands for whoever reads a channel
_CHANNEL = ""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Owed:
    """One record that has to be told in one way."""

    work: str
    sink: str
    case: Told
    entry: Entry
    event: Event

    @property
    def record_case(self) -> str:
        return record_case(self.sink, self.event.about)


def record_case(sink: str, about: str) -> str:
    """The case of its own in which it is recorded what came of telling of a record."""
    digest = sha256(f"muniment-notice/v1\0{sink}\0{about}".encode()).digest()[:16]
    return f"ntc_{base64.b32encode(digest).decode().rstrip('=').lower()}"


async def deliver(service: Service, named: str) -> bool:
    """By the worker: tell whoever was not told yet, once; False if it has to be tried again."""
    owed = _read(service, named)
    if owed is None or is_settled(service, owed.sink, owed.event.about):
        # the lists know of another node's records before we do; if they are wrong, a sweep says so
        _log.info("`%s` is due, and the log does not say so", named)
        return False
    way = _way(service, owed)
    if way is None:
        return await _settle(service, owed, {"forgotten": []}, over=True)
    if _is_moot(owed):
        return await _settle(service, owed, {"moot": []}, over=True)
    late = service.now() - owed.event.at > GIVE_UP
    notifier = service.notifiers.get(owed.sink)
    if notifier is not None:
        return await _deliver(service, owed, way, notifier, late=late)
    # the log names it, and the files that this process has read do not
    return late and await _settle(service, owed, {"abandoned": []}, over=True)


async def _deliver(
    service: Service, owed: _Owed, way: Way, notifier: Notifier, *, late: bool
) -> bool:
    recipients = _recipients(service, owed, way, notifier)
    if not recipients:
        return await _settle(service, owed, {"nobody": []}, over=True)
    came, left = await _tell_all(service, owed, notifier, _left(service, owed, recipients))
    if late and left:
        came.setdefault("abandoned", []).extend(left)
    if not came and left:
        return False
    return await _settle(service, owed, came, over=late or not left)


def unsettled(service: Service, entries: Sequence[Entry]) -> tuple[Due, ...]:
    """
    What has to be due about telling of this case, as the log has it: for a sweep.

    Only of records since the ways of telling last changed, and of the last day: what is older is
    given up when its turn comes, and due work alone says that it was still owed.
    """
    configuration = service.registry.configuration
    ways = service.ways.of(service.log, configuration)
    recent = service.now() - GIVE_UP
    if not ways or entries[-1].header.at < recent:
        return ()
    since = service.ways.since(service.log, configuration)
    start = _beginning(service, entries)
    return tuple(
        Due(
            case=work(way.name, event.about),
            at=None if is_settled(service, way.name, event.about) else moment.text(event.at),
        )
        for entry, event in events(start, entries)
        if entry.index >= since and entry.header.at >= recent
        for way in ways
        if event.name in way.events
    )


def is_settled(service: Service, sink: str, about: str) -> bool:
    """Whether it stands in the log what came of telling of this record, for everybody."""
    case = record_case(sink, about)
    if service.log.head(case) is None:
        return False
    return service.log.read_case(case)[-1].header.kind == records.CaseClosed.KIND


def _read(service: Service, named: str) -> _Owed | None:
    try:
        sink, case_id, position = parts(named)
    except ValueError:
        return None
    case: Told
    if case_id.startswith(findings.FINDINGS):
        case, entries = findings.read(service, case_id)
    elif case_id.startswith(f"{campaigns.CAMPAIGNS}_"):
        replayed, entries = campaigns.read(service, case_id)
        case = replayed.campaign
    else:
        case, entries = service.read(case_id)
    for entry, event in events(_beginning(service, entries), entries):
        if entry.header.position == position:
            return _Owed(work=named, sink=sink, case=case, entry=entry, event=event)
    return None


def _beginning(service: Service, entries: Sequence[Entry]) -> Told:
    """A case, a finding or a review without a record."""
    if entries[0].header.kind == records.FindingRaised.KIND:
        return Finding()
    if entries[0].header.kind == records.CampaignOpened.KIND:
        return Campaign()
    return AccessCase(log_id=service.log.log_id)


def _way(service: Service, owed: _Owed) -> Way | None:
    """As the log has it in force now; None if nobody is told of this in that way any more."""
    ways = service.ways.of(service.log, service.registry.configuration)
    found = (way for way in ways if way.name == owed.sink and owed.event.name in way.events)
    return next(found, None)


def _is_moot(owed: _Owed) -> bool:
    """Whether there is nothing left that whoever is told could do, or has to expect."""
    case = owed.case
    if isinstance(case, Finding):
        return case.state == "closed"
    if isinstance(case, Campaign):
        return case.state != "open"
    if owed.event.name == "waiting":
        return not case.waits_for
    if owed.event.name == "ending":
        return case.state not in LIVE or case.until != getattr(record_of(owed.entry), "until", None)
    return False


# --- who is told ------------------------------------------------------------------------------


def _recipients(service: Service, owed: _Owed, way: Way, notifier: Notifier) -> list[str]:
    """Principal ids; the channel alone where there is one."""
    if not notifier.personal:
        return [_CHANNEL]
    found = _members(service, way.to)
    if isinstance(owed.case, Finding):
        found -= _concerned(service, owed.case)
    elif isinstance(owed.case, Campaign):
        found |= campaigns.awaited(service, owed.case.id)
        found |= _members(service, _besides(service, owed, owed.case.opened))
    else:
        found |= _of_case(service, owed, owed.case, way)
    if len(found) > MOST_RECIPIENTS:
        _log.warning("%s concerns %d people; not all are told", owed.event.about, len(found))
    return sorted(found)[:MOST_RECIPIENTS]


def _of_case(service: Service, owed: _Owed, case: AccessCase, way: Way) -> set[str]:
    found: set[str] = set()
    if "approvers" in way.to:
        found |= _asked(service, owed, case)
    if "requester" in way.to and owed.event.name in ("decided", "ending", "ended"):
        asked = case.requested
        human = asked.requester if asked.actor.type == "human" else asked.actor.sponsor
        found |= {human} if human else set()
    return found


def _besides(service: Service, owed: _Owed, opened: records.CampaignOpened) -> set[str]:
    """Groups that learn what those who are silent have not done, or that nobody could."""
    record, groups = record_of(owed.entry), set[str]()
    share = record.share if isinstance(record, records.ReviewEscalated) else 0
    unassigned = campaigns.has_unassigned(service, owed.entry.header.case)
    if unassigned or share >= _FALLBACK_FROM:
        groups.add(opened.fallback)
    if unassigned or share == SHARES[-1]:
        groups.add(opened.sign_off)
    return groups


def _concerned(service: Service, finding: Finding) -> set[str]:
    """Whom a finding is about: told by others, if at all, also where they are in a group."""
    return {
        principal.id
        for principal in list(service.registry.principals.values())
        if principal.person in finding.subjects
    }


def _asked(service: Service, owed: _Owed, case: AccessCase) -> set[str]:
    """Who could approve it, and whom the rules want told."""
    decision = record_of(owed.entry)
    if not isinstance(decision, records.DecisionEvaluated):
        return set()
    told = _members(service, decision.notifies)
    if owed.event.name == "waiting":
        return told | set(who_could_approve(service, case))
    return told | _members(service, decision.approvals)


def _members(service: Service, groups: Iterable[str]) -> set[str]:
    wanted = set(groups)
    return {
        principal.id
        for principal in list(service.registry.principals.values())
        if principal.type == "human" and principal.active and wanted & principal.groups
    }


def _left(service: Service, owed: _Owed, recipients: Sequence[str]) -> list[str]:
    """Those of whom it does not stand in the log yet what came of it."""
    if service.log.head(owed.record_case) is None:
        return list(recipients)
    settled = _settled(service.log.read_case(owed.record_case))
    return [each for each in recipients if each not in settled]


def _settled(entries: Sequence[Entry]) -> set[str]:
    found: set[str] = set()
    for entry in entries:
        record = record_of(entry)
        if isinstance(record, records.NoticeSettled):
            found.update(record.recipients or (_CHANNEL,))
    return found


# --- telling ----------------------------------------------------------------------------------


async def _tell_all(
    service: Service, owed: _Owed, notifier: Notifier, recipients: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """By outcome, who was told or never will be; and who is left."""
    attempts = service.pace.attempts[owed.work] = service.pace.attempts[owed.work] + 1
    # each attempt begins with another, so that one who cannot be told does not hold up the rest
    turn = attempts % len(recipients) if recipients else 0
    came: dict[str, list[str]] = {}
    left = list(recipients)
    for recipient in (*recipients[turn:], *recipients[:turn]):
        outcome = await _tell(service, owed, notifier, recipient)
        if outcome == "failed":
            break
        if outcome != "held":
            came.setdefault(outcome, []).append(recipient)
            left.remove(recipient)
    return came, left


async def _tell(service: Service, owed: _Owed, notifier: Notifier, recipient: str) -> str:
    """`delivered`, `refused`; `failed` and `held` are to be tried again."""
    pace, key, elapsed = service.pace, (owed.sink, recipient), service.log.clock.elapsed()
    if recipient in pace.told.get(owed.work, ()):
        return "delivered"
    address = _address(service, recipient)
    if notifier.personal and not address:
        return "refused"
    if owed.event.name == DIGEST:
        return await _tell_digest(service, owed, notifier, recipient, address)
    if not pace.is_free(key, elapsed):
        line = line_about(service, owed.case, owed.entry, owed.event)
        pace.hold(key, owed.work, f"{line} ({owed.case.id})")
        return "held"
    others = pace.held(key, owed.work)
    id = _notice_id(owed, recipient)
    told = notice(service, owed.case, owed.entry, owed.event, id, list(others.values()))
    outcome = await _hand_over(owed, notifier, told, address)
    if outcome == "delivered":
        pace.took(key, owed.work, others, elapsed)
    return outcome


def _notice_id(owed: _Owed, recipient: str) -> str:
    return f"{owed.record_case}.{recipient}" if recipient else owed.record_case


async def _hand_over(owed: _Owed, notifier: Notifier, told: Notice, address: str) -> str:
    try:
        await notifier.tell(told, address)
    except AddressRefused as error:
        _log.warning("%s is not told by `%s`: %s", owed.event.about, owed.sink, error)
        return "refused"
    except Unavailable as error:
        _log.warning("%s was not told by `%s`: %s", owed.event.about, owed.sink, error)
        return "failed"
    return "delivered"


async def _tell_digest(
    service: Service, owed: _Owed, notifier: Notifier, recipient: str, address: str
) -> str:
    """With all others that are due: whoever comes next finds that it was told."""
    pace, key = service.pace, (owed.sink, recipient)
    async with pace.digesting.setdefault(key, asyncio.Lock()):
        if recipient in pace.told.get(owed.work, ()):
            return "delivered"
        items = await asyncio.to_thread(_due_with, service, owed, recipient)
        told = digest(service, items, _notice_id(owed, recipient))
        outcome = await _hand_over(owed, notifier, told, address)
        if outcome == "delivered":
            others = {item.work: "" for item in items if item.work != owed.work}
            pace.took(key, owed.work, others, service.log.clock.elapsed())
        return outcome


def _due_with(service: Service, owed: _Owed, recipient: str) -> list[Item]:
    """What this recipient is to be told of in one digest with it; a bounded number."""
    begins = f"{NOTICE}{owed.sink}/{findings.FINDINGS}"
    now = moment.text(service.log.clock.due())
    due = service.projections.due(now, limit=_MOST_DUE, callbacks=True)
    named = [each for each in due if each.startswith(begins) and each != owed.work]
    found = [_item(owed)]
    for each in named:
        other = _read(service, each)
        if other is None or other.event.name != DIGEST or not isinstance(other.case, Finding):
            continue
        if recipient in service.pace.told.get(each, ()) or _is_moot(other):
            continue
        settled = is_settled(service, owed.sink, other.event.about)
        if settled or recipient in _concerned(service, other.case):
            continue
        found.append(_item(other))
        if len(found) == MOST:
            break
    return found


def _item(owed: _Owed) -> Item:
    assert isinstance(owed.case, Finding)  # noqa: S101 (nothing else is told in a digest)
    return Item(work=owed.work, finding=owed.case, entry=owed.entry, event=owed.event)


def _address(service: Service, recipient: str) -> str:
    """Sealed with the identity: whoever was erased has none."""
    return str((service.identity(recipient) or {}).get("mail", "")) if recipient else ""


# --- what came of it --------------------------------------------------------------------------


async def _settle(service: Service, owed: _Owed, came: dict[str, list[str]], *, over: bool) -> bool:
    """Record it; with the last of it nothing is due any more."""
    case, now = owed.record_case, service.now()
    attempts = service.pace.attempts[owed.work]

    def build(entries: Sequence[Entry]) -> tuple[Sequence[Draft], Companions]:
        if entries and entries[-1].header.kind == records.CaseClosed.KIND:
            return (), _nothing  # another node told them, too, and was faster
        known = _settled(entries)
        drafts = [
            records.NoticeSettled(
                actor=records.SERVICE,
                about=owed.event.about,
                event=owed.event.name,
                sink=owed.sink,
                outcome=outcome,
                recipients=tuple(each for each in recipients if each),
                attempts=attempts,
            ).draft(case, now, follows=(owed.entry.leaf,))
            for outcome, told in came.items()
            if (recipients := [each for each in told if each not in known]) or not told
        ]
        if over:
            drafts = close(drafts, case, len(entries), now)
        return drafts, _done(owed.work) if over else _nothing

    await service.append(Outcome(case=case, build=build))
    if over:
        service.pace.forget(owed.work)
    return over


def _done(named: str) -> Companions:
    def companions(_placed: Sequence[Entry]) -> Iterable[Due]:
        return (Due(case=named, at=None),)

    return companions


def _nothing(_placed: Sequence[Entry]) -> Iterable[Due]:
    return ()
