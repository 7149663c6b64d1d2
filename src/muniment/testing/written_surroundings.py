"""What there is in a `written_year` beside access: the log itself, people, policy, targets."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.access.records import SERVICE, Record
from muniment.testing.written_lives import (
    BUNDLE,
    POLICY,
    RESOURCES,
    Life,
    Scene,
    Somebody,
    case_id,
    environment,
    sealed,
)

#: what figures of the evidence mean, here
MEANING: Final = b"[]"
WEAKNESSES: Final = sha256(MEANING).digest()
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


def others(scene: Scene) -> Iterator[tuple[datetime, str, Life]]:
    """All but access: in the order of their beginning."""
    at = scene.start
    yield at, case_id("log", scene.origin), _log(scene)
    policy = case_id("pol", "policy")
    yield at, policy, _policy(scene, at)
    for resource in RESOURCES:
        yield at, case_id("rol", resource), _role(scene, at, resource)
    for each in (*scene.people, *scene.machines):
        yield at, each.id, _principal(scene, at, each)
    for resource in RESOURCES:
        yield at, case_id("src", resource), _source(scene, at, resource)
    yield at, case_id("hlt", scene.origin), _measurements(scene)
    campaign = case_id("rev", "campaign")
    yield at, campaign, _campaign(scene, at + 3 * _HOUR)
    day = at
    while day < scene.stop:
        for resource in RESOURCES:
            unlooked = scene.is_wrong("no-scan", resource) or (
                resource in scene.hit.get("no-scan", ())
            )
            if not unlooked:
                yield day, case_id("drf", f"{resource} {day}"), _scan(scene, day, resource)
        day += _DAY


def _log(scene: Scene) -> Life:
    at = scene.start
    yield (
        at,
        records.LogStarted(actor=SERVICE, origin=scene.origin, key=scene.key, nonce=b"\0" * 16),
        {},
    )
    quorum = not scene.is_wrong("unwitnessed", "log")
    first = 12 * 24 if scene.is_wrong("unwitnessed-at-first", "log") else 0
    silent = scene.is_wrong("silent-log", "log")
    unindexed = _unindexed(scene)
    hour = 0
    if not first:
        yield at, records.LogWitnessed(actor=SERVICE, size=1, cosigned=(), quorum=quorum), {}
    while at < scene.stop + _DAY:
        at, hour = at + _HOUR, hour + 1
        if not (silent and scene.stop - 20 * _DAY < at < scene.stop - 19 * _DAY):
            yield at, records.LogHeartbeat(actor=SERVICE, unrecorded={}), {}
        if hour == first:
            yield at, records.LogWitnessed(actor=SERVICE, size=1, cosigned=(), quorum=quorum), {}
        if hour % 24 == 0 and hour not in unindexed:
            indexed = records.LogIndexed(actor=SERVICE, size=hour, cases=hour, root=b"\3" * 32)
            yield at, indexed, {}


def _unindexed(scene: Scene) -> range:
    """Hours in which no index is recorded."""
    if scene.is_wrong("never-indexed", "log"):
        return range(400 * 24)
    if scene.is_wrong("unindexed-at-first", "log"):
        return range(12 * 24)
    return range(10 * 24, 14 * 24) if scene.is_wrong("unindexed", "log") else range(0)


def _measurements(scene: Scene) -> Life:
    """Each night: of what counts, `written_year` says how large the log was, and what was open."""
    scene.documents[WEAKNESSES] = MEANING
    at = scene.start + 2 * _HOUR
    while at < scene.stop:
        measured = records.EvidenceMeasured(
            actor=SERVICE, definition=WEAKNESSES, size=0, grants=0, weak=0, counts={}, days=30,
            recent_grants=0, recent_weak=0, recent={}, log=(),
        )  # fmt: skip
        yield at, measured, {}
        at += _DAY


def _policy(scene: Scene, at: datetime) -> Life:
    scene.documents[BUNDLE] = POLICY
    yield (
        at,
        records.PolicyActivated(actor=SERVICE, bundle=BUNDLE, previous=None, source="file"),
        {},
    )
    later = at + timedelta(days=3)
    out_of_turn = scene.is_wrong("policy-out-of-turn", "policy")
    before = b"\4" * 32 if out_of_turn else BUNDLE
    yield (
        later,
        records.PolicyActivated(actor=SERVICE, bundle=BUNDLE, previous=before, source="file"),
        {},
    )


def _role(scene: Scene, at: datetime, resource: str) -> Life:
    yield (
        at,
        records.RoleDefined(
            actor=SERVICE, resource=resource, role="readwrite",
            definition=scene.definition(resource), tier=environment(resource),
            environment=environment(resource), data="internal", connector="postgresql",
        ),
        {},
    )  # fmt: skip


def _principal(scene: Scene, at: datetime, somebody: Somebody) -> Life:
    sponsor = None if somebody.sponsor is None else somebody.sponsor.id
    active = records.PrincipalEnrolled(
        actor=SERVICE, type=somebody.kind, person=somebody.person, active=True,
        groups=("sre-leads",), sponsor=sponsor, source="file",
    )  # fmt: skip
    yield at, active, sealed("identity", somebody.id)
    # the last of the people leaves in the middle, and had asked for nothing any more
    is_leaver = somebody == scene.people[-1]
    wrong = somebody == scene.people[0] and scene.is_wrong("leaver", somebody.id)
    if is_leaver or wrong:
        gone = records.PrincipalEnrolled(
            actor=SERVICE, type=somebody.kind, person=somebody.person, active=False, groups=(),
            sponsor=sponsor, source="file",
        )  # fmt: skip
        when = at + (scene.stop - at) / 2 if is_leaver else at + 2 * _DAY
        yield when, gone, {}


def _source(scene: Scene, at: datetime, resource: str) -> Life:
    """Events each day."""
    gap = resource == RESOURCES[0] and scene.is_wrong("source-gap", resource)
    silent = resource == RESOURCES[1] and scene.is_wrong("source-silent", resource)
    number = 0
    while at < scene.stop:
        at += _DAY
        yield (
            at,
            records.EventsReceived(
                actor=SERVICE, source=f"{resource}-log", resource=resource, start=number, count=10,
                root=b"\5" * 32, rejected=0, first=at - _DAY, last=at,
            ),
            {},
        )  # fmt: skip
        number += 10
        if gap:
            gap = False
            yield at, _missed(resource, "cursor", at - _HOUR), {}
        if silent and at >= scene.start + 6 * _DAY:
            yield at + _DAY, _missed(resource, "silence", at), {}
            return


def _missed(resource: str, why: str, since: datetime) -> Record:
    return records.EventsMissed(
        actor=SERVICE, source=f"{resource}-log", resource=resource, why=why, since=since, count=None
    )


def _campaign(scene: Scene, at: datetime) -> Life:
    """A review of many in the first days: what its items are is no matter of headers."""
    due = at + 5 * _DAY
    yield (
        at,
        records.CampaignOpened(
            actor=SERVICE, rule="half-yearly", definition=b"\x08" * 32, started="schedule",
            occasion="2026-01-01", size=1, root=b"\x09" * 32, items=12, items_root=b"\x0a" * 32,
            sheets=(b"\x0b" * 32,), completeness=b"\x0c" * 32, targets=3, unseen=0, seed=None,
            due=due, silence="none", reviewers="sre-leads", fallback="", sign_off="owners",
        ),
        {},
    )  # fmt: skip
    by = scene.people[1]
    over = due + (1 if scene.is_wrong("review-late", "campaign") else -1) * _DAY
    unreviewed = 2 if scene.is_wrong("review-not-whole", "campaign") else 0
    outstanding = 1 if scene.is_wrong("review-without-end", "campaign") else 0
    tallies = {"keep": 12 - unreviewed, "not-reviewed": unreviewed}
    closed = records.CampaignClosed(
        actor=by.actor(over), person=by.person, tallies=tallies, applied=0, outstanding=outstanding
    )
    yield over, closed, {}
    yield over, records.CaseClosed(actor=SERVICE, records=3), {}


def _scan(scene: Scene, at: datetime, resource: str) -> Life:
    wrong = at > scene.stop - 2 * _DAY and scene.is_wrong("differences", resource, most=2)
    yield (
        at,
        records.DriftScanned(
            actor=SERVICE, resource=resource, target="7301", first=False, accounts=3, sessions=1,
            privileges=9, differences={"account-without-grant": 1} if wrong else {},
        ),
        {},
    )  # fmt: skip
    yield at, records.CaseClosed(actor=SERVICE, records=2), {}
