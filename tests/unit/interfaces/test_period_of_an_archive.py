"""Which cases of a period an archive has: what its list leaves out is told, or found."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from little_history import Desk, History, cast_with_security, live
from scenario_api import ScenarioApi

from muniment.errors import EvidenceError
from muniment.evidence.verdict import NOBODY
from muniment.interfaces.verifier import folder_check
from muniment.interfaces.verifier.folder_check import Checked
from muniment.operations import archive
from muniment.operations.archive import Wanted
from muniment.operations.open_campaign import open_campaign
from muniment.operations.service import Caller, Service
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)
REVIEW: dict[str, Any] = {
    "name": "prod", "what": "grants", "reviewers": "sre-leads", "fallback": "security",
    "sign_off": "managers", "days": 10, "silence": "none", "resources": ["orders-prod"],
}  # fmt: skip


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "service").mkdir()
    async with cast_with_security(Scenario(tmp_path / "service", checking=False)) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("ana", "aud")
        yield Desk(scenario, api, tmp_path)


@pytest.fixture
async def history(desk: Desk) -> History:
    return await live(desk.scenario)


def check(desk: Desk) -> Checked:
    return folder_check.check(desk.folder / "archive", [desk.scenario.key.verifier], NOBODY)


Listing = tuple[archive._Found, int]


async def test_a_list_of_an_old_size_of_the_log_is_found_out(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service could leave out all that came later, if it said that the log ended before that."""
    log = desk.scenario.service.log
    size = log.read_case(history.glass)[0].index

    def lying(service: Service, caller: Caller, wanted: Wanted) -> Listing:
        found, _ = real(service, caller, wanted)
        found.listed = [each for each in found.listed if log.read_case(each.case)[0].index < size]
        return found, size

    real = archive._list_all
    monkeypatch.setattr(archive, "_list_all", lying)
    _, opened = await desk.take("aud")
    assert opened.record.cases == 3
    checked = check(desk)
    assert not checked.holds
    (wrong,) = checked.wrong[5]
    old = "which was more than 10 minutes old when it was recorded"
    assert wrong == f"the list is of the log at size {size}, {old}"


async def test_what_was_opened_while_the_list_was_made_is_told(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def slow(*asked: Any) -> Listing:
        found = real(*asked)
        asyncio.run_coroutine_threadsafe(desk.scenario.ask("ana"), loop).result(20)
        return found

    real = archive._list_all
    monkeypatch.setattr(archive, "_list_all", slow)
    _, opened = await desk.take("aud")
    checked = check(desk)
    assert checked.holds
    assert opened.record.cases == 8
    assert checked.details[5].endswith("8 cases opened in them, 1 after the list was made")
    told = "anything of the 1 cases that were opened after it was listed"
    assert told in checked.json()["not_proved"]


async def test_a_list_that_takes_long_has_what_was_opened_meanwhile(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, asked = asyncio.get_running_loop(), list[str]()

    async def meanwhile() -> None:
        asked.append((await desk.scenario.ask("ana")).case.id)
        await desk.scenario.advance(30 * MINUTE)

    def slow(*given: Any) -> None:
        real(*given)
        if not asked:
            asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(20)

    real = archive._list
    monkeypatch.setattr(archive, "_list", slow)
    _, opened = await desk.take("aud")
    assert opened.record.cases == 9
    assert asked[0] in {each.case for each in opened.listed}
    checked = check(desk)
    assert checked.holds, checked.wrong
    assert checked.left_out == []


async def test_a_long_list_of_a_time_long_ago_is_of_the_log_as_it_is_now(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def slow(*given: Any) -> None:
        real(*given)
        asyncio.run_coroutine_threadsafe(desk.scenario.advance(30 * MINUTE), loop).result(20)

    real = archive._list
    monkeypatch.setattr(archive, "_list", slow)
    until = desk.scenario.service.now()
    await desk.scenario.advance(15 * MINUTE)
    await desk.take("aud", until=until)
    checked = check(desk)
    assert checked.holds, checked.wrong


async def test_a_list_of_a_log_that_was_not_there_is_found_out(
    desk: Desk, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(*asked: Any) -> Listing:
        found, size = real(*asked)
        return found, size + 1000

    real = archive._list_all
    monkeypatch.setattr(archive, "_list_all", lying)
    # whoever takes it checks it as well, and would say so himself
    with pytest.raises(EvidenceError, match="is of a log that was not there"):
        await desk.take("aud")


async def test_reviews_and_findings_of_no_resource_are_said_to_be_left_out(
    desk: Desk, history: History
) -> None:
    scenario = desk.scenario
    scenario.principals["boss"] = human("boss", "managers")
    everywhere = {**REVIEW, "name": "all", "resources": []}
    both = {**REVIEW, "name": "both", "resources": ["orders-prod", "orders-staging"]}
    scenario.campaigns = [REVIEW, everywhere, both]
    await scenario.take_in()
    reviews = {
        name: await open_campaign(scenario.service, scenario.caller("sec"), name)
        for name in ("prod", "all", "both")
    }
    _, opened = await desk.take("aud", resources=["orders-prod"])
    cases = {each.case for each in opened.listed}
    assert {name for name, case in reviews.items() if case in cases} == {"prod"}
    checked = check(desk)
    assert checked.holds, checked.wrong
    aside = "anything of the 3 reviews and findings that are not of its resources alone"
    assert checked.left_out == [aside], "two reviews, and a finding of nothing in particular"
    index = (desk.folder / "archive" / "index.html").read_text("utf-8")
    readme = (desk.folder / "archive" / "README.txt").read_text("utf-8")
    for text in (index, readme):
        assert "reviews of many that are of these resources alone" in " ".join(text.split())
