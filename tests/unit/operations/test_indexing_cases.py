"""A daily index of the cases: that one went no further, and that another never was, can be shown."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import EvidenceError, NotFound, NotPermitted, ProofInvalid
from muniment.evidence import canonical, case_proof, verify
from muniment.evidence.case_proof import CaseProof, Completeness, Shown
from muniment.operations import index_cases
from muniment.operations.service import new_id
from muniment.testing.scenario import Scenario


async def proof(scenario: Scenario, case: str, who: str = "aud") -> bytes:
    return await index_cases.prove(scenario.service, scenario.caller(who), case)


async def shown(scenario: Scenario, case: str, who: str = "aud") -> Shown:
    return case_proof.verify(await proof(scenario, case, who), scenario.key.verifier)


async def ended(scenario: Scenario) -> str:
    """A whole life of a case."""
    case = await scenario.granted()
    await scenario.end("ana", case)
    await scenario.work()
    assert scenario.read(case).closed
    return case.case.id


async def test_the_first_index_is_due_at_once_and_the_next_a_day_later(scenario: Scenario) -> None:
    service = scenario.service
    assert index_cases.is_due(service, service.now())
    await index_cases.index(service)
    assert not index_cases.is_due(service, service.now() + timedelta(hours=23, minutes=59))
    assert index_cases.is_due(service, service.now() + timedelta(days=1))


async def test_a_restart_does_not_forget_when_the_last_one_was(scenario: Scenario) -> None:
    await index_cases.index(scenario.service)
    await scenario.restart()
    assert not index_cases.is_due(scenario.service, scenario.service.now())


async def test_the_index_is_over_every_case_as_it_was_when_it_was_taken(scenario: Scenario) -> None:
    await ended(scenario)
    size = scenario.service.log.size
    cases = {entry.header.case for entry in map(scenario.service.log.read_entry, range(size))}
    await index_cases.index(scenario.service)
    indexed = scenario.last(scenario.service.registry.log_case, records.LogIndexed)
    assert (indexed.size, indexed.cases) == (size, len(cases))


async def test_a_case_that_ended_is_proved_to_have_no_later_record(scenario: Scenario) -> None:
    case = await ended(scenario)
    await index_cases.index(scenario.service)
    last = scenario.entries(case)[-1]
    found = (await shown(scenario, case)).place
    assert found is not None
    assert (found.position, found.leaf) == (last.header.position, last.leaf)


async def test_a_case_that_never_was_is_proved_not_to_be_there(scenario: Scenario) -> None:
    await ended(scenario)
    await index_cases.index(scenario.service)
    for prefix in ("aa", "mun", "prn", "zz"):
        assert (await shown(scenario, new_id(prefix))).place is None


async def test_what_was_appended_since_changes_nothing_about_what_was_indexed(
    scenario: Scenario,
) -> None:
    open_case = (await scenario.ask("ana")).case.id
    await index_cases.index(scenario.service)
    before = await shown(scenario, open_case)
    await scenario.withdraw("ana", open_case)
    later = (await scenario.ask("ana")).case.id
    assert (await shown(scenario, open_case)).place == before.place
    assert (await shown(scenario, later)).place is None
    await index_cases.index(scenario.service)
    assert (await shown(scenario, open_case)).place != before.place
    assert (await shown(scenario, later)).place is not None


async def test_a_bundle_is_complete_as_of_the_index(scenario: Scenario) -> None:
    case = await ended(scenario)
    exported = await scenario.export("aud", case)
    await index_cases.index(scenario.service)
    bundle = verify.verify(exported, scenario.key.verifier)
    assert case_proof.compare(await shown(scenario, case), bundle) is Completeness.COMPLETE


async def test_a_bundle_of_an_open_case_is_cut_once_the_case_goes_on(scenario: Scenario) -> None:
    case = (await scenario.ask("ana")).case.id
    bundle = verify.verify(await scenario.export("aud", case), scenario.key.verifier)
    await index_cases.index(scenario.service)
    earlier = await shown(scenario, case)
    assert case_proof.compare(earlier, bundle) is Completeness.COMPLETE
    await scenario.withdraw("ana", case)
    newer = verify.verify(await scenario.export("aud", case), scenario.key.verifier)
    assert case_proof.compare(earlier, newer) is Completeness.NEWER
    await index_cases.index(scenario.service)
    assert case_proof.compare(await shown(scenario, case), bundle) is Completeness.CUT


async def test_a_bundle_of_a_case_that_was_not_there_contradicts_or_came_later(
    scenario: Scenario,
) -> None:
    await index_cases.index(scenario.service)
    case = (await scenario.ask("ana")).case.id
    absent = await shown(scenario, case)
    bundle = verify.verify(await scenario.export("aud", case), scenario.key.verifier)
    assert case_proof.compare(absent, bundle) is Completeness.NEWER
    await index_cases.index(scenario.service)
    wrong = Shown(
        case=case, checkpoint=absent.checkpoint, size=scenario.service.log.size, at=absent.at,
        index=scenario.service.log.size, cases=absent.cases, place=None,
    )  # fmt: skip
    with pytest.raises(ProofInvalid, match="not there"):
        case_proof.compare(wrong, bundle)
    with pytest.raises(ProofInvalid, match="the proof about"):
        case_proof.compare(await shown(scenario, new_id("mun")), bundle)


async def test_a_bundle_and_a_proof_of_two_histories_are_not_of_one_log(
    scenario: Scenario,
) -> None:
    case = (await scenario.ask("ana")).case.id
    await index_cases.index(scenario.service)
    proved = await shown(scenario, case)
    head = scenario.service.log.store.checkpoint(proved.checkpoint.size)
    assert head is not None
    exported = await scenario.export("aud", case, [head])
    bundle = verify.verify(exported, scenario.key.verifier)
    assert case_proof.compare(proved, bundle) is Completeness.COMPLETE
    forked = replace(proved, checkpoint=replace(proved.checkpoint, root=bytes(32)))
    with pytest.raises(ProofInvalid, match="different histories"):
        case_proof.compare(forked, bundle)


async def test_nothing_is_proved_before_the_first_index(scenario: Scenario) -> None:
    with pytest.raises(NotFound, match="once a day"):
        await proof(scenario, new_id("mun"))


async def test_who_may_export_a_case_may_have_it_proved_and_nothing_else(
    scenario: Scenario,
) -> None:
    case = (await scenario.ask("ana")).case.id
    await index_cases.index(scenario.service)
    assert (await shown(scenario, case, "aud")).place is not None
    with pytest.raises(NotFound):
        await proof(scenario, case, "dan")
    for other in (new_id("mun"), scenario.ids["ana"], scenario.service.registry.log_case):
        with pytest.raises(NotPermitted):
            await proof(scenario, other, "ana")
    with pytest.raises(NotFound):
        await proof(scenario, "../../etc/passwd")


# --- the file ---------------------------------------------------------------------------------


def variants(value: Any) -> Iterator[Any]:
    """The same value with one thing in it changed, added or left out."""
    match value:
        case dict():
            for key, member in value.items():
                yield {k: v for k, v in value.items() if k != key}
                yield from ({**value, key: other} for other in variants(member))
            yield {**value, "extra": 1}
        case list():
            for at, member in enumerate(value):
                yield value[:at] + value[at + 1 :]
                yield from ([*value[:at], other, *value[at + 1 :]] for other in variants(member))
            yield [*value, *value[:1]] if value else ["00" * 32]
            if len(value) > 1:
                yield value[::-1]
        case int():
            yield from (value + 1, value - 1, str(value))
        case str():
            middle = len(value) // 2
            yield value[:middle] + ("a" if value[middle] != "a" else "b") + value[middle + 1 :]
            yield value[:-1]
            yield ""
        case _:
            raise TypeError("nothing else stands in such a file")


async def test_whatever_is_changed_in_the_file_makes_it_fail(scenario: Scenario) -> None:
    case = await ended(scenario)
    await index_cases.index(scenario.service)
    for asked in (case, new_id("mun")):
        data = await proof(scenario, asked)
        assert CaseProof.parse(data).encode() == data
        changed = [canonical.encode(each) for each in variants(json.loads(data))]
        assert len(changed) > 60
        for other in changed:
            if json.loads(other).get("case") not in (None, asked) and asked != case:
                continue  # a proof that another is not there, which may be as true
            with pytest.raises(EvidenceError):
                case_proof.verify(other, scenario.key.verifier)


async def test_a_proof_out_of_another_log_is_refused(scenario: Scenario, tmp_path: Any) -> None:
    await index_cases.index(scenario.service)
    data = await proof(scenario, new_id("mun"))
    (tmp_path / "other").mkdir()
    async with Scenario(tmp_path / "other") as other:
        with pytest.raises(EvidenceError):
            case_proof.verify(data, other.key.verifier)


async def test_another_record_is_no_index(scenario: Scenario) -> None:
    await index_cases.index(scenario.service)
    case, log = (await scenario.ask("ana")).case.id, scenario.service.log
    entry = scenario.entries(case)[0]
    forged = CaseProof(
        case=case, checkpoint=log.checkpoint, index=entry.index, header=entry.data,
        proof=tuple(log.inclusion(entry.index, log.size)), places=(),
    )  # fmt: skip
    with pytest.raises(ProofInvalid, match="not a `log:indexed`"):
        case_proof.verify(forged.encode(), scenario.key.verifier)
