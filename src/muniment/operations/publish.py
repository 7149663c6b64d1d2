"""
Publish: show others the newest checkpoint, with what witnesses put to it.

Between two publications the log signs as often as it likes, and no append waits for anybody.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from muniment.access import records
from muniment.errors import Unavailable
from muniment.evidence.append import Outcome
from muniment.evidence.checkpoint import open_cosigned
from muniment.evidence.note import VerifierKey, parse_note
from muniment.evidence.store import Published
from muniment.operations import mirror, witnesses
from muniment.operations import stamp as stamps
from muniment.operations.publishing import Publishing, WitnessRules
from muniment.operations.service import Service

#: what did not change is cosigned anew after so long: a cosignature also says "still the newest"
REFRESH: Final = timedelta(minutes=10)
_log = logging.getLogger(__name__)


async def publish(service: Service, size: int = 0) -> Published:
    """
    Publish the newest checkpoint, which covers at least `size` entries.

    With a `size`, one that was published already and has its quorum will do. Each witness is asked
    once, and those that do not answer in time are left out.
    """
    publishing, came = service.publishing, service.log.clock.elapsed()
    async with publishing.lock:
        if size:
            known = await asyncio.to_thread(service.log.store.published_at_or_after, size)
            # also without the quorum, if the witnesses were asked while we waited for our turn
            fresh = publishing.tried is not None and publishing.tried > came
            if known is not None and (fresh or is_witnessed(service, known)):
                return known
        return await _publish(service)


async def _publish(service: Service) -> Published:
    await service.catch_up()  # others show what they signed: a witness takes nothing older
    note, store, publishing = service.log.checkpoint, service.log.store, service.publishing
    publishing.tried = service.log.clock.elapsed()
    signed = service.log.keys.recognise(note)
    lines = await witnesses.cosign(service, note, signed)
    before = await asyncio.to_thread(store.published_at_or_after, signed.size)
    stamps = before.stamps if before is not None and before.size == signed.size else ()
    published = Published(signed.size, note + b"".join(lines), stamps)
    await asyncio.to_thread(store.publish, published)
    publishing.at = service.log.clock.elapsed()
    if publishing.rules is None:
        return published
    newest = await asyncio.to_thread(store.published)
    if newest is not None and newest.size > signed.size and is_witnessed(service, newest):
        return newest  # another node was faster, and witnesses cosign nothing older than that
    await _note_quorum(service, publishing.rules, published)
    return published


def is_due(service: Service) -> bool:
    """Whether there is something new to show, or the last time is long ago."""
    publishing, elapsed = service.publishing, service.log.clock.elapsed()
    if service.log.trouble is not None:
        return False
    if publishing.tried is None:
        return True
    newest = service.log.store.published()
    new = newest is None or newest.size < service.log.size or publishing.troubles
    wait = publishing.every if new else REFRESH
    return elapsed - publishing.tried >= wait.total_seconds()


def stand_by(publishing: Publishing, piece: str) -> None:
    """Another node does this piece of upkeep: what this one knew of it is no news any more."""
    publishing.failing.pop(piece, None)
    kind, _, name = piece.partition("/")
    if kind == "publish":
        publishing.at = None
        publishing.troubles.clear()
    if kind == "mirror":
        publishing.mirrored.pop(name, None)
        publishing.copied.pop(name, None)


def is_stamp_due(service: Service, name: str) -> bool:
    """Whether this authority has not stamped for as long as was asked."""
    publishing, elapsed = service.publishing, service.log.clock.elapsed()
    last, every = publishing.stamped.get(name), publishing.authorities[name].every
    return last is None or elapsed - last >= every.total_seconds()


async def stamp(service: Service, name: str) -> None:
    """Have the newest published checkpoint stamped. Raises `Unavailable`."""
    published = await asyncio.to_thread(service.log.store.published)
    await _stamp(service, name, published or await publish(service))


async def publish_with_stamps(service: Service, size: int) -> Published:
    """For evidence that is carried away: published, and stamped by every authority that answers."""
    published = await publish(service, size)
    names = list(service.publishing.authorities)
    results = await asyncio.gather(
        *(_stamp(service, name, published) for name in names), return_exceptions=True
    )
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Exception):
            _log.warning("evidence goes without a time stamp of `%s`: %s", name, result)
    return published


async def _stamp(service: Service, name: str, published: Published) -> None:
    if service.outbound is None:
        raise Unavailable("there is no way out by HTTP")
    publishing, store = service.publishing, service.log.store
    if name not in {each.authority for each in published.stamps}:
        text, _ = parse_note(published.note)
        authority = publishing.authorities[name]
        made = await stamps.ask(service.outbound, authority, text.encode(), service.now())
        async with publishing.lock:
            kept = await asyncio.to_thread(store.published_at_or_after, published.size)
            if kept is not None and kept.size == published.size:
                with_it = replace(kept, stamps=(*kept.stamps, made))
                await asyncio.to_thread(store.publish, with_it)
    publishing.stamped[name] = service.log.clock.elapsed()


def is_mirror_due(service: Service, name: str) -> bool:
    """Whether more was published than this mirror has, and its time has come."""
    publishing, elapsed = service.publishing, service.log.clock.elapsed()
    last, every = publishing.copied.get(name), publishing.mirrors[name].every
    if last is not None and elapsed - last < every.total_seconds():
        return False
    newest = service.log.store.published()
    return newest is not None and newest.size > publishing.mirrored.get(name, 0)


async def copy(service: Service, name: str) -> None:
    """Bring one mirror up to what is published. Raises as `mirror.copy` does."""
    publishing = service.publishing
    published = await asyncio.to_thread(service.log.store.published)
    if published is not None:
        copied = await mirror.copy(service.log, publishing.mirrors[name].mirror, published)
        publishing.mirrored[name] = copied.size
        publishing.copied[name] = service.log.clock.elapsed()


def is_witnessed(service: Service, published: Published) -> bool:
    """Whether the quorum stands behind it; where there are no witnesses, none does."""
    rules = service.publishing.rules
    if rules is None:
        return False
    return rules.policy.satisfied(cosigners(service, rules, published.note))


def cosigners(service: Service, rules: WitnessRules, note: bytes) -> tuple[VerifierKey, ...]:
    """Keys of the witnesses whose cosignatures stand on a published checkpoint, and hold."""
    log, keys = service.log, rules.policy.witness_keys
    _, opened = open_cosigned(note, log.origin, [*log.keys.known, *keys])
    return tuple(key for key in opened.verified if key in keys)


# --- what stands in the log about it --------------------------------------------------------------


async def witnessed(service: Service, size: int) -> bytes | None:
    """
    The record that says that the quorum cosigned at least `size` entries; made where there is none.

    None where the quorum cannot be had in the time that witnesses are given.
    """
    rules = service.publishing.rules
    if rules is None:
        return None
    published = await publish(service, size)
    if not is_witnessed(service, published):
        return None
    known = service.registry.witnessed
    if known is not None and known.record.quorum and known.record.size >= size:
        return known.leaf
    return await _record(service, rules, published)


async def _note_quorum(service: Service, rules: WitnessRules, published: Published) -> None:
    """`log:witnessed` whenever the quorum came or went."""
    met, known = is_witnessed(service, published), service.registry.witnessed
    if known is not None and known.record.quorum == met:
        return
    if not met:
        _log.error("the quorum of witnesses is missing: %s", service.publishing.troubles)
    await _record(service, rules, published)


async def _record(service: Service, rules: WitnessRules, published: Published) -> bytes:
    keys = cosigners(service, rules, published.note)
    record = records.LogWitnessed(
        actor=records.SERVICE,
        size=published.size,
        cosigned=tuple(sorted(key.vkey for key in keys)),
        quorum=rules.policy.satisfied(keys),
    )
    draft = record.draft(service.registry.log_case, service.now())
    outcome = Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ()))
    appended = await service.append(outcome)
    return appended.entries[-1].leaf


def gauges(service: Service) -> Mapping[str, float]:
    """For `/metrics`: what is published, how old that is, and whether its quorum stands."""
    newest, publishing = service.log.store.published(), service.publishing
    found: dict[str, float] = {"muniment_published_size": newest.size if newest else 0}
    if publishing.at is not None:
        age = service.log.clock.elapsed() - publishing.at
        found["muniment_published_age_seconds"] = round(age, 3)
    if publishing.rules is not None:
        met = newest is not None and is_witnessed(service, newest)
        found["muniment_witness_quorum"] = int(met)
        found["muniment_witnesses_in_trouble"] = len(publishing.troubles)
    if publishing.mirrors and newest is not None:
        # of what other nodes copy, those say it
        known = publishing.mirrored if service.shared else publishing.mirrors
        behind = min((publishing.mirrored.get(name, 0) for name in known), default=newest.size)
        found["muniment_mirrors_behind"] = max(0, newest.size - behind)
    found["muniment_upkeep_failing"] = len(publishing.failing)
    return found
