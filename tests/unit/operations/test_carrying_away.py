"""Evidence that leaves the house, and sections that are gone for good."""

import pytest

from muniment.access import check
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.operations import explain
from muniment.testing.scenario import Scenario


async def test_an_exported_bundle_verifies_and_names_its_export(scenario: Scenario) -> None:
    picked = await scenario.granted()
    await scenario.end("ana", picked)
    head = scenario.service.log.checkpoint
    bundle = await scenario.export("aud", picked, [head])
    checked = check.verify(bundle, scenario.key.verifier, [head])
    assert checked.completeness.startswith("COMPLETE")
    assert checked.case == scenario.read(picked)
    last = checked.proved.entries[-1]
    assert last.header.kind == "evidence:exported"
    assert scenario.kinds(last.header.case) == ["evidence:exported", "case:closed"]


async def test_an_open_case_can_be_exported_and_says_that_it_is_open(scenario: Scenario) -> None:
    picked = await scenario.granted()
    checked = check.verify(await scenario.export("ana", picked), scenario.key.verifier)
    assert checked.completeness.startswith("OPEN as of log size")


async def test_broken_glass_is_exported_with_its_review(scenario: Scenario) -> None:
    glass = await scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    await scenario.answer_review("aud", glass, note="it was")
    checked = check.verify(await scenario.export("aud", glass), scenario.key.verifier)
    kinds = {entry.header.kind for entry in checked.proved.entries}
    assert {"review:opened", "review:answered"} <= kinds


async def test_who_may_not_export_does_not(scenario: Scenario) -> None:
    picked = await scenario.granted()
    with pytest.raises(NotPermitted):
        await scenario.export("cy", picked)  # an approver reads, and carries nothing away
    with pytest.raises(NotFound):
        await scenario.export("dan", picked)


async def test_a_head_that_this_log_did_not_sign_is_refused(scenario: Scenario) -> None:
    picked = await scenario.granted()
    with pytest.raises(Malformed, match="keep it, and look why"):
        await scenario.export("aud", picked, [b"not a note"])


async def test_an_erased_section_verifies_and_answers_erased(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", text="orders are stuck")
    await scenario.withdraw("ana", asked)
    record = f"{asked.case.id}/0"
    await scenario.erase("pia", record, "reason", "retention.free-text")
    checked = check.verify(await scenario.export("aud", asked), scenario.key.verifier)
    assert (record, "reason", "ERASED under rule `retention.free-text`") in list(checked.unseen)
    assert explain.reason(scenario.service, asked.case.id) is None
    line = explain.show(scenario.service, scenario.caller("aud"), asked.case.id)["timeline"][0]
    assert line["sections"] == {"reason": {"erased": "retention.free-text"}}
    size = scenario.service.log.size
    await scenario.erase("pia", record, "reason", "retention.free-text")  # safe to repeat
    assert scenario.service.log.size == size


async def test_an_erasure_that_a_crash_interrupted_is_finished_at_the_next_start(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muniment.errors import LogUnavailable

    asked = await scenario.ask("ana", text="orders are stuck")

    def crash(*_: object) -> None:
        raise LogUnavailable("the lights went out")

    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "erase", crash)
        with pytest.raises(LogUnavailable):
            await scenario.erase("pia", f"{asked.case.id}/0", "reason")
    await scenario.restart()
    assert explain.reason(scenario.service, asked.case.id) is None


async def test_nobody_erases_records_of_his_own_access(scenario: Scenario) -> None:
    from dataclasses import replace

    pia = scenario.principals["pia"]
    scenario.principals["pia"] = replace(pia, groups=("privacy-officers", "engineering"))
    await scenario.take_in()
    asked = await scenario.ask("pia")
    with pytest.raises(NotPermitted, match="said or done himself"):
        await scenario.erase("pia", f"{asked.case.id}/0", "reason")
    await scenario.approve("cy", asked, note="go")
    (said,) = (each.header for each in scenario.entries(asked) if "note" in each.header.sections)
    with pytest.raises(NotPermitted, match="own access"):
        await scenario.erase("pia", said.id, "note")
    with pytest.raises(NotPermitted, match="own records"):
        await scenario.erase("pia", f"{scenario.ids['pia']}/0", "identity")


async def test_only_privacy_officers_erase(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    for who in ("admin", "aud", "ana"):
        with pytest.raises(NotPermitted):
            await scenario.erase(who, f"{asked.case.id}/0", "reason")


@pytest.mark.parametrize(("record", "section"), [("0", "note"), ("99", "reason"), ("x", "reason")])
async def test_what_is_not_there_is_not_erased(
    scenario: Scenario, record: str, section: str
) -> None:
    asked = await scenario.ask("ana")
    with pytest.raises(NotFound):
        await scenario.erase("pia", f"{asked.case.id}/{record}", section)


async def test_who_is_erased_is_a_number_from_then_on(scenario: Scenario) -> None:
    id_ = scenario.ids["dan"]
    await scenario.change("dan", active=False)
    assert (scenario.service.identity(id_) or {})["login"] == "dan"
    for record in (0, 1):  # enrolled, and disabled: each with an identity of its own
        await scenario.erase("pia", f"{id_}/{record}", "identity")
    assert scenario.service.identity(id_) is None
    assert "dan" not in scenario.service.names
    await scenario.restart()
    assert scenario.service.identity(id_) is None
    files = [file.read_bytes() for file in scenario.folder.iterdir() if file.is_file()]
    assert not any(b"dan@example.com" in data for data in files)


async def test_somebody_who_can_still_act_does_not_become_nameless(scenario: Scenario) -> None:
    """Else the files would enrol him a second time, as another person, who could approve him."""
    with pytest.raises(Conflict, match="disable the account first"):
        await scenario.erase("pia", f"{scenario.ids['dan']}/0", "identity")
    await scenario.change("dan", groups=("engineering", "x"))
    await scenario.erase("pia", f"{scenario.ids['dan']}/0", "identity")  # his former name may go
    assert (scenario.service.identity(scenario.ids["dan"]) or {})["login"] == "dan"


async def test_a_line_of_a_targets_log_leads_back_to_the_approval(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.login(picked).run("SELECT 1")
    line = scenario.target().log[-1]
    service, reader = scenario.service, scenario.caller("aud")
    assert explain.whois(service, reader, line)["case"] == picked.case.id
    with pytest.raises(NotFound):
        explain.whois(service, reader, "mun_" + "a" * 26)
    with pytest.raises(NotFound):
        explain.whois(service, scenario.caller("dan"), line)
    timeline = explain.show(service, reader, picked.case.id)["timeline"]
    assert [each["kind"] for each in timeline] == scenario.kinds(picked)
