"""Stories over HTTP: what was asked, decided and done, of one case or of many."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from scenario_api import ScenarioApi

from muniment.operations import observe
from muniment.operations.intake import Intake
from muniment.operations.issue import PickedUp
from muniment.operations.observing import Observing, Source
from muniment.oversight.event import Event, ReaderSettings
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario

HOUR = timedelta(hours=1)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path) as scenario:
        store, service = EventsInMemory(), scenario.service
        make = partial(PlainReader, ReaderSettings(prefix="mun"))
        source = Source(name="orders-log", resource="orders-prod", reader=make(), make_reader=make)
        service.observing = Observing(
            store=store,
            sources={"orders-log": source},
            intake=Intake(service=service, store=store),
        )
        found = ScenarioApi(scenario, tmp_path)
        await found.enrol("ana", "dan", "aud")
        yield found


async def used(scenario: Scenario, picked: PickedUp, text: str) -> None:
    account = picked.issued.account if picked.issued is not None else ""
    at = scenario.service.now()
    event = Event(type="statement", at=at, account=account, session="s1", detail=text)
    await observe.take(scenario.service, "orders-log", [plain(event)])


def done(story: Any) -> list[str]:
    """What was done in the sessions of a story."""
    return [line["detail"] for each in story["observed"]["sessions"] for line in each["lines"]]


def ids(answer: httpx.Response) -> list[str]:
    return [each["case"] for each in answer.json()["stories"]]


async def test_a_case_is_shown_with_what_was_done_under_it(api: ScenarioApi) -> None:
    picked = await api.scenario.granted()
    await used(api.scenario, picked, "SELECT 1")
    shown = (await api.get("ana", f"/v1/cases/{picked.case.id}")).json()
    assert done(shown) == ["SELECT 1"]
    (source,) = shown["observed"]["coverage"]
    assert (source["source"], source["since"], source["covers"]) == ("orders-log", None, False)
    await observe.seal(api.scenario.service)
    shown = (await api.get("ana", f"/v1/cases/{picked.case.id}")).json()
    (session,) = shown["observed"]["sessions"]
    assert session["lines"][0]["index"] is not None


async def test_the_stories_of_many_are_those_that_fit(api: ScenarioApi) -> None:
    scenario = api.scenario
    first = await scenario.granted()
    await used(scenario, first, "SELECT 1")
    await scenario.advance(2 * HOUR)
    later = scenario.service.now()
    second = await scenario.granted("dan", "orders-staging/readwrite")
    assert ids(await api.get("aud", "/v1/stories")) == [second.case.id, first.case.id]
    assert ids(await api.get("aud", "/v1/stories", who="ana")) == [first.case.id]
    assert ids(await api.get("aud", "/v1/stories", resource="orders-staging")) == [second.case.id]
    assert ids(await api.get("aud", "/v1/stories", since=later.isoformat())) == [second.case.id]
    assert ids(await api.get("aud", "/v1/stories", until=later.isoformat())) == [first.case.id]
    answer = await api.get("aud", "/v1/stories", limit=1)
    assert ids(answer) == [second.case.id]
    following = await api.get("aud", "/v1/stories", before=answer.json()["next"])
    assert (ids(following), following.json()["next"]) == ([first.case.id], None)
    assert done(following.json()["stories"][0]) == ["SELECT 1"]


async def test_whoever_may_not_read_all_cases_is_shown_his_own(api: ScenarioApi) -> None:
    picked = await api.scenario.granted()
    assert (await api.get("dan", "/v1/stories")).json()["stories"] == []
    own = (await api.get("ana", "/v1/stories", who="ana")).json()["stories"]
    assert [each["case"] for each in own] == [picked.case.id]
    assert (await api.get("dan", "/v1/stories", who="ana")).status_code == 403


async def test_who_may_not_read_them_learns_from_no_answer_who_is_known_here(
    api: ScenarioApi,
) -> None:
    await api.scenario.granted()
    later = (api.scenario.service.now() + HOUR).isoformat()
    for more in ({}, {"since": later}):
        known, unknown = [
            await api.get("dan", "/v1/stories", who=who, **more) for who in ("ana", "zoe")
        ]
        assert (known.status_code, known.json()["detail"]) == (403, unknown.json()["detail"])
        assert unknown.status_code == 403


async def test_what_nobody_can_mean_is_refused_with_words(api: ScenarioApi) -> None:
    nobody = await api.get("aud", "/v1/stories", who="zoe")
    assert (nobody.status_code, nobody.json()["detail"]) == (404, "nobody here has the login `zoe`")
    naive = await api.get("aud", "/v1/stories", since="2026-11-01T00:00:00")
    assert naive.status_code == 422
    assert "have a zone" in naive.json()["detail"]
