"""The evidence of a whole period: one record for all of it, and every bundle verifies."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from muniment.access import archive as lists
from muniment.access import check, records
from muniment.access.check import Checked
from muniment.errors import Malformed, NotFound, NotPermitted
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.operations import archive
from muniment.operations.archive import Opened, Wanted
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)


def period(scenario: Scenario, *resources: str) -> Wanted:
    now: datetime = scenario.service.now()
    return Wanted(since=now - DAY, until=now + DAY, resources=resources)


async def opened(scenario: Scenario, who: str, *resources: str) -> Opened:
    return await archive.open_archive(
        scenario.service, scenario.caller(who), period(scenario, *resources)
    )


async def carried(scenario: Scenario, who: str, case: str) -> Checked:
    data = await archive.carry(scenario.service, scenario.caller(who), case)
    return check.verify(data, scenario.key.verifier)


async def listed(scenario: Scenario, who: str, of: Opened) -> Mapping[str, lists.Listed]:
    checked = await carried(scenario, who, of.case)
    record = records.parse(checked.proved.case[0].header)
    assert record == of.record
    assert isinstance(record, records.ArchiveExported)
    return {each.case: each for each in lists.read(record, checked.proved.documents)}


async def test_an_archive_lists_every_case_of_its_period_and_carries_the_policy(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    denied = await scenario.ask("dan", ticket="")
    found = await opened(scenario, "aud")
    assert (found.record.cases, found.record.beyond) == (2, 0)
    assert set(await listed(scenario, "aud", found)) == {picked.case.id, denied.case.id}
    checked = await carried(scenario, "aud", found.case)
    kinds = [entry.header.kind for entry in checked.proved.entries]
    assert "policy:activated" in kinds
    manifest = scenario.service.registry.policy
    assert manifest is not None
    assert manifest.digest in checked.proved.documents


async def test_bundles_come_together_and_each_verifies_and_is_what_was_listed(
    scenario: Scenario,
) -> None:
    cases = [(await scenario.granted()).case.id, (await scenario.ask("dan")).case.id]
    found = await opened(scenario, "aud")
    size = scenario.service.log.size
    taken = await archive.bundles(scenario.service, scenario.caller("aud"), cases)
    assert scenario.service.log.size == size + 4  # two records for each, in one batch
    lines = list(taken.lines())
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    known = await listed(scenario, "aud", found)
    for case, line in zip(cases, lines, strict=True):
        checked = check.verify(line[:-1], scenario.key.verifier)
        assert checked.proved.case_id == case
        assert known[case].goes_on_in([entry.leaf for entry in checked.proved.case])


async def test_a_case_that_goes_on_after_the_list_is_still_the_listed_one(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    found = await opened(scenario, "aud")
    await scenario.end("ana", picked)
    taken = await archive.bundles(scenario.service, scenario.caller("aud"), [picked.case.id])
    (line,) = taken.lines()
    checked = check.verify(line[:-1], scenario.key.verifier)
    then = (await listed(scenario, "aud", found))[picked.case.id]
    assert len(checked.proved.case) > then.last + 1
    assert then.goes_on_in([entry.leaf for entry in checked.proved.case])


async def test_the_log_of_the_period_shows_every_case_that_was_opened(scenario: Scenario) -> None:
    await scenario.granted()
    await scenario.advance(3 * DAY)
    later = await scenario.ask("dan")
    found = await opened(scenario, "aud")
    await scenario.ask("ana")
    pieces = archive.log_of(scenario.service, scenario.caller("aud"), found.case)
    seen: list[tuple[str, str]] = []
    proved = verify_excerpt(
        pieces,
        scenario.key.verifier,
        see=lambda _, header: seen.append((header.kind, header.case)),
    )
    assert proved.hidden  # of the days before nothing is shown but hashes
    asked = [case for kind, case in seen if kind == "access:requested"]
    assert asked == [later.case.id]
    assert ("archive:exported", found.case) in seen


async def test_only_what_the_reader_may_take_is_listed_and_the_rest_is_counted(
    scenario: Scenario,
) -> None:
    await scenario.granted()
    await scenario.ask("dan")
    found = await opened(scenario, "dan")
    assert (found.record.cases, found.record.beyond) == (1, 1)
    with pytest.raises(NotFound, match="nothing in this period"):
        await opened(scenario, "pia")
    other = await scenario.ask("bo")
    with pytest.raises(NotFound):
        await archive.bundles(scenario.service, scenario.caller("dan"), [other.case.id])


async def test_resources_and_the_period_are_kept_to(scenario: Scenario) -> None:
    await scenario.ask("ana")
    staging = await scenario.ask("ana", "orders-staging/readwrite")
    found = await opened(scenario, "aud", "orders-staging")
    assert set(await listed(scenario, "aud", found)) == {staging.case.id}
    with pytest.raises(NotFound):
        await opened(scenario, "aud", "nowhere")
    now = scenario.service.now()
    with pytest.raises(NotFound):
        await archive.open_archive(
            scenario.service, scenario.caller("aud"), Wanted(since=now - 9 * DAY, until=now - DAY)
        )
    with pytest.raises(Malformed):
        Wanted(since=now, until=now)


async def test_an_archive_is_its_readers_own(scenario: Scenario) -> None:
    await scenario.ask("ana")
    found = await opened(scenario, "aud")
    with pytest.raises(NotFound):
        await archive.carry(scenario.service, scenario.caller("admin"), found.case)
    with pytest.raises(NotFound):
        archive.log_of(scenario.service, scenario.caller("admin"), found.case)
    own = await opened(scenario, "ana")
    with pytest.raises(NotPermitted):
        archive.log_of(scenario.service, scenario.caller("ana"), own.case)


async def test_nothing_is_recorded_of_bundles_that_may_not_be_taken(scenario: Scenario) -> None:
    own, other = await scenario.ask("dan"), await scenario.ask("ana")
    size = scenario.service.log.size
    with pytest.raises(NotFound):
        await archive.bundles(
            scenario.service, scenario.caller("dan"), [own.case.id, other.case.id]
        )
    for wrong in ([], [own.case.id] * 2, [own.case.id] * 101):
        with pytest.raises(Malformed):
            await archive.bundles(scenario.service, scenario.caller("dan"), wrong)
    assert scenario.service.log.size == size


async def test_a_bundle_shows_its_case_as_it_is_now(
    scenario: Scenario,
) -> None:
    moving = await scenario.ask("ana")
    before = scenario.service.log.read_case(moving.case.id)
    await scenario.withdraw("ana", moving)
    taken = await archive.bundles(scenario.service, scenario.caller("aud"), [moving.case.id])
    (line,) = taken.lines()
    assert len(check.verify(line[:-1], scenario.key.verifier).proved.case) > len(before)
