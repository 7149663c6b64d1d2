"""A log that came back without its sections: nobody is known any more, and nothing stays given."""

from pathlib import Path

import pytest

from muniment.access import check
from muniment.stores.extend import Missing, extend
from muniment.testing.scenario import Scenario


async def lose_sections(scenario: Scenario) -> None:
    """The database goes, and comes back from a mirror of all that it had."""
    log = scenario.service.log
    store, note, size = scenario.store, log.checkpoint, log.size
    entries = [data for _, data in store.entries(0, size)]
    wanted = {name for index in range(size) for name in log.read_entry(index).header.documents}
    documents = [store.document(name) or b"" for name in wanted]
    await scenario._close()
    for file in scenario.folder.glob("muniment.db*"):
        file.unlink()
    missing = Missing(
        note=note,
        signed=log._signed.checkpoint,
        remembered=log._signed.checkpoint,
        entries=entries,
        documents=lambda _: documents,
    )
    assert extend(scenario.folder / "muniment.db", 0, missing) == size
    scenario._open()
    await scenario.take_in()


@pytest.fixture
def opened(tmp_path: Path) -> Scenario:
    return Scenario(tmp_path)


async def test_live_access_ends_and_is_seen_gone(opened: Scenario) -> None:
    """Whoever held it is no longer known: he cannot be asked whether he still may."""
    async with opened as scenario:
        picked = await scenario.granted()
        session = scenario.login(picked)
        await lose_sections(scenario)
        await scenario.work()
        assert not session.alive
        case = scenario.read(picked)
        assert (case.closed, case.state) == (True, "revoked")


async def test_what_waits_lapses_so_that_nobody_approves_his_own(opened: Scenario) -> None:
    """The same human is enrolled anew as somebody else: four eyes must not become two."""
    async with opened as scenario:
        waiting = await scenario.ask("cy")
        assert waiting.case.state == "pending"
        await lose_sections(scenario)
        await scenario.work()
        assert scenario.read(waiting).state == "lapsed"


async def test_everybody_in_the_files_can_ask_again(opened: Scenario) -> None:
    async with opened as scenario:
        before = dict(scenario.ids)
        await lose_sections(scenario)
        await scenario.work()
        assert scenario.ids["ana"] != before["ana"]
        assert not scenario.service.registry.principals[before["ana"]].active
        picked = await scenario.granted()
        await scenario.end("ana", picked)


async def test_old_cases_can_be_shown_and_exported_and_say_what_is_withheld(
    opened: Scenario,
) -> None:
    async with opened as scenario:
        case = await scenario.ask("ana", text="because")
        await scenario.withdraw("ana", case)
        await lose_sections(scenario)
        checked = check.verify(await scenario.export("aud", case), scenario.key.verifier)
        answers = {name: answer for _, name, answer in checked.unseen}
        assert answers["reason"].startswith("WITHHELD")
        assert checked.completeness.startswith("COMPLETE")
