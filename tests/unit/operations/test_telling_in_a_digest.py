"""What wakes nobody is told once a day, in one notice, and not if it was closed by then."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.access import records
from muniment.errors import Unavailable
from muniment.operations import digest, notify, sweep
from muniment.operations.answer_finding import close_finding
from muniment.operations.notify import record_case
from muniment.operations.owed import morning_after
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.ports import Notice
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
ODD = Rule(
    id="unusual", title="Odd <b>", advice="Look.", severity="high", kind="baseline", needs=()
)
SLIGHT = Rule(
    id="slight", title="Slight", advice="Look.", severity="low", kind="deterministic", needs=()
)
LOUD = Rule(id="loud", title="Loud", advice="Run.", severity="high", kind="deterministic", needs=())


@dataclass
class Told:
    """Keeps what it is given."""

    personal: ClassVar[bool] = True
    notices: list[tuple[str, Notice]] = field(default_factory=list)
    down: bool = False

    async def tell(self, notice: Notice, address: str = "") -> None:
        if self.down:
            raise Unavailable("nobody answers")
        self.notices.append((address, notice))

    def digests(self) -> list[tuple[str, Notice]]:
        return [each for each in self.notices if each[1].event == "digest"]


class Channel(Told):
    personal: ClassVar[bool] = False


@pytest.fixture
def mail() -> Told:
    return Told()


@pytest.fixture
def chat() -> Channel:
    return Channel()


@pytest.fixture
async def scenario(tmp_path: Path, mail: Told, chat: Channel) -> AsyncIterator[Scenario]:
    def way(*to: str) -> dict[str, Any]:
        return {"kind": "mail", "url": "env:X", "to": list(to), "events": ["finding", "digest"]}

    made = Scenario(
        tmp_path,
        notices={"mail": way("security"), "chat": way()},
        notifiers={"mail": mail, "chat": chat},
    )
    made.principals["sec"] = human("sec", "security")
    made.principals["eve"] = human("eve", "security")
    async with made:
        yield made


async def found(scenario: Scenario, key: str, *about: str, rule: Rule = ODD) -> str:
    hit = Hit(
        rule=rule.id,
        at=scenario.service.now(),
        key=key,
        summary=f"{scenario.ids['ana']} did {key}",
        severity=rule.severity,
        resource="orders-prod",
        subjects=tuple(scenario.caller(login).principal.person for login in about),
    )
    case = await raise_finding(scenario.service, rule, {}, hit)
    scenario.check()
    return case


async def next_morning(scenario: Scenario) -> None:
    now = scenario.service.now()
    await scenario.advance(morning_after(now) - now + MINUTE)


def outcomes(scenario: Scenario, case: str, sink: str) -> list[str]:
    settled = scenario.records(record_case(sink, f"{case}/0"))
    return [each.outcome for each in settled if isinstance(each, records.NoticeSettled)]


async def test_all_of_a_day_are_told_in_one_notice_on_the_next_morning(
    scenario: Scenario, mail: Told, chat: Channel
) -> None:
    cases = [await found(scenario, f"thing {n}") for n in range(5)]
    cases.append(await found(scenario, "little", rule=SLIGHT))
    await scenario.work()
    assert (mail.notices, chat.notices) == ([], [])
    await next_morning(scenario)
    ((_, notice),) = chat.digests()
    assert notice.title == "6 findings to look at: unusual or slight, not urgent"
    assert [row["finding"] for row in notice.facts["findings"]][-1] == cases[-1]  # the worst first
    for case in cases:
        assert case in notice.text
        assert case in notice.html
        assert outcomes(scenario, case, "chat") == ["delivered"]
        assert outcomes(scenario, case, "mail") == ["delivered"]
    assert "ana did thing 3" in notice.text.replace("Ana (ana)", "ana")
    assert "Odd &lt;b&gt;" in notice.html
    assert notice.checkpoint in notice.text
    assert sorted(address for address, _ in mail.digests()) == [
        "eve@example.com",
        "sec@example.com",
    ]
    await next_morning(scenario)
    assert len(chat.digests()) == 1  # each is told once


async def test_what_is_urgent_does_not_wait_for_the_morning(
    scenario: Scenario, chat: Channel
) -> None:
    await found(scenario, "loud", rule=LOUD)
    await scenario.work()
    assert [notice.event for _, notice in chat.notices] == ["finding"]
    await next_morning(scenario)
    assert chat.digests() == []


async def test_what_was_closed_by_then_is_left_out(scenario: Scenario, chat: Channel) -> None:
    closed, still = await found(scenario, "a"), await found(scenario, "b")
    await close_finding(scenario.service, scenario.caller("aud"), closed, "explained", "meant")
    await next_morning(scenario)
    ((_, notice),) = chat.digests()
    assert [row["finding"] for row in notice.facts["findings"]] == [still]
    assert outcomes(scenario, closed, "chat") == ["moot"]


async def test_nobody_is_told_of_what_is_about_himself(scenario: Scenario, mail: Told) -> None:
    about_eve, about_nobody = await found(scenario, "a", "eve"), await found(scenario, "b")
    await next_morning(scenario)
    told = {
        address.partition("@")[0]: {row["finding"] for row in notice.facts["findings"]}
        for address, notice in mail.digests()
    }
    assert told == {"eve": {about_nobody}, "sec": {about_eve, about_nobody}}
    assert len(mail.digests()) == 2


async def test_a_digest_that_nobody_takes_is_tried_again_and_is_still_one(
    scenario: Scenario, chat: Channel
) -> None:
    for n in range(6):
        await found(scenario, f"thing {n}")
    chat.down = True
    await next_morning(scenario)
    assert chat.notices == []
    chat.down = False
    await scenario.advance(10 * MINUTE)
    ((_, notice),) = chat.digests()
    assert notice.facts["count"] == 6


async def test_a_flood_of_them_is_counted_and_not_listed(
    scenario: Scenario, chat: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "LISTED", 3)
    for n in range(8):
        await found(scenario, f"thing {n}")
    await next_morning(scenario)
    ((_, notice),) = chat.digests()
    assert (notice.facts["count"], len(notice.facts["findings"])) == (8, 3)
    assert "and 5 more" in notice.text
    assert "and 5 more" in notice.html


async def test_more_than_one_notice_takes_along_are_told_in_the_next(
    scenario: Scenario, chat: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "MOST", 3)
    cases = {await found(scenario, f"thing {n}") for n in range(7)}
    await next_morning(scenario)
    told = [row["finding"] for _, notice in chat.digests() for row in notice.facts["findings"]]
    assert len(told) == len(set(told))
    assert set(told) == cases


async def test_what_is_owed_until_the_morning_is_put_right_from_the_log(
    scenario: Scenario, chat: Channel
) -> None:
    await found(scenario, "thing")
    await scenario.restart()
    assert sweep.wrong_rows(scenario.service) == []
    sweep.rebuild(scenario.service)
    await next_morning(scenario)
    assert len(chat.digests()) == 1


async def test_a_way_that_does_not_want_them_is_told_nothing(tmp_path: Path, chat: Channel) -> None:
    way = {"kind": "chat", "url": "env:X", "to": [], "events": ["finding"]}
    async with Scenario(tmp_path, notices={"chat": way}, notifiers={"chat": chat}) as scenario:
        await found(scenario, "thing")
        await next_morning(scenario)
    assert chat.notices == []


def test_the_morning_after_is_never_now() -> None:
    six = datetime(2026, 11, 22, 6, tzinfo=timezone.utc)
    assert morning_after(six) == six + DAY
    assert morning_after(six - MINUTE) == six
    assert morning_after(six + MINUTE) == six + DAY
