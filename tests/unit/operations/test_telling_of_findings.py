"""Who is told of a finding, and who is not: through notifiers that keep what they were given."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.access import records
from muniment.errors import Unavailable
from muniment.operations import sweep
from muniment.operations.answer_finding import close_finding
from muniment.operations.notify import record_case
from muniment.operations.raise_finding import raise_finding
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.detector import Hit, Rule
from muniment.ports import Notice
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)
BASELINE = Rule(
    id="unusual", title="Odd", advice="Look.", severity="high", kind="baseline", needs=()
)


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

    @property
    def addresses(self) -> set[str]:
        return {address.partition("@")[0] for address, _ in self.notices}


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
        return {"kind": "mail", "url": "env:X", "to": list(to), "events": ["finding"]}

    made = Scenario(
        tmp_path,
        notices={"mail": way("approvers", "requester", "security"), "chat": way()},
        notifiers={"mail": mail, "chat": chat},
    )
    made.principals["sec"] = human("sec", "security")
    made.principals["eve"] = human("eve", "security")
    made.principals["eye"] = ProposedPrincipal(
        login="eye", type="workload", groups=("detectors",), sponsor="admin"
    )
    async with made:
        yield made


async def found(scenario: Scenario, *about: str, rule: Rule = RULE, **given: Any) -> str:
    how = {name: given.pop(name) for name in ("detector", "ends") if name in given}
    hit = Hit(
        rule=rule.id,
        at=scenario.service.now(),
        key=given.pop("key", "k"),
        summary=f"{scenario.ids['ana']} did it 7 times\nclick here",
        severity=given.pop("severity", rule.severity),
        subjects=tuple(scenario.caller(login).principal.person for login in about),
        detail="DROP TABLE orders",
        **given,
    )
    return await raise_finding(scenario.service, rule, {}, hit, **how)


def outcomes(scenario: Scenario, case: str, sink: str = "mail", position: int = 0) -> list[str]:
    told = scenario.records(record_case(sink, f"{case}/{position}"))
    return [each.outcome for each in told if isinstance(each, records.NoticeSettled)]


async def test_a_group_and_a_channel_are_told_what_was_found(
    scenario: Scenario, mail: Told, chat: Channel
) -> None:
    case = await found(scenario, "ana", resource="orders-prod")
    await scenario.work()
    assert mail.addresses == {"sec", "eve"}
    [(_, notice)] = chat.notices
    assert notice.title == "finding (high): More than usual on orders-prod"
    assert (notice.event, notice.case) == ("finding", case)
    assert "Ana (ana) did it 7 times click here" in notice.text
    assert "Ask who did it." in notice.text
    assert f"https://muniment.example/findings/{case}" in notice.text
    assert "DROP" not in notice.text + notice.html + str(notice.facts)
    assert (outcomes(scenario, case), outcomes(scenario, case, "chat")) == (
        ["delivered"],
        ["delivered"],
    )


async def test_without_an_address_a_notice_names_the_command(
    scenario: Scenario, chat: Channel
) -> None:
    scenario.service.public_url = ""
    case = await found(scenario)
    await scenario.work()
    assert f"muniment findings show {case}" in chat.notices[0][1].text


async def test_nobody_is_told_of_a_finding_about_himself(scenario: Scenario, mail: Told) -> None:
    await found(scenario, "eve", "ana")
    await scenario.work()
    assert mail.addresses == {"sec"}


async def test_where_only_those_whom_it_is_about_could_be_told_it_is_recorded_that_nobody_was(
    scenario: Scenario, mail: Told
) -> None:
    case = await found(scenario, "eve", "sec")
    await scenario.work()
    assert not mail.notices
    assert outcomes(scenario, case) == ["nobody"]


@pytest.mark.parametrize(("rule", "severity"), [(RULE, "low"), (RULE, "info"), (BASELINE, "high")])
async def test_nobody_is_woken_by_what_is_slight_or_merely_unusual(
    scenario: Scenario, chat: Channel, rule: Rule, severity: str
) -> None:
    await found(scenario, rule=rule, severity=severity)
    await scenario.work()
    assert not chat.notices


async def test_whenever_access_ends_for_it_somebody_is_told(
    scenario: Scenario, chat: Channel
) -> None:
    eye = scenario.caller("eye")
    case = await found(scenario, rule=BASELINE, severity="low")
    first = await scenario.granted("ana")
    await found(scenario, rule=BASELINE, cases=(first.case.id,), detector=eye, ends=True)
    await scenario.work()
    [(_, notice)] = chat.notices
    assert notice.title.endswith("access ends for it")
    assert notice.facts["ends"] == [first.case.id]
    assert outcomes(scenario, case, "chat", position=1) == ["delivered"]


async def test_the_same_seen_again_is_not_told_again(scenario: Scenario, chat: Channel) -> None:
    await found(scenario)
    await scenario.advance(HOUR)
    await found(scenario)
    await scenario.advance(HOUR)
    assert len(chat.notices) == 1


async def test_an_alert_that_nobody_takes_is_tried_again_and_given_up_on_the_record(
    scenario: Scenario, chat: Channel
) -> None:
    chat.down = True
    case = await found(scenario)
    await scenario.advance(MINUTE)
    assert outcomes(scenario, case, "mail") == ["delivered"]
    assert scenario.service.projections.due_at(f"notice/chat/{case}/0") is not None
    await scenario.advance(timedelta(hours=25))
    assert outcomes(scenario, case, "chat") == ["abandoned"]


async def test_an_alert_that_a_crash_left_untold_is_told_after_the_start(
    scenario: Scenario, chat: Channel
) -> None:
    await found(scenario)
    await scenario.restart()
    await scenario.work()
    assert len(chat.notices) == 1


async def test_a_finding_that_was_closed_by_then_is_told_to_nobody(
    scenario: Scenario, chat: Channel
) -> None:
    case = await found(scenario)
    sec = scenario.caller("sec")
    await close_finding(scenario.service, sec, case, "false-alarm", "a test")
    await scenario.work()
    assert not chat.notices
    assert outcomes(scenario, case, "chat") == ["moot"]


async def test_what_is_owed_of_a_finding_is_put_right_from_the_log(scenario: Scenario) -> None:
    case = await found(scenario)
    due = f"notice/chat/{case}/0"
    scenario.checking = False
    with scenario.store.transaction() as transaction:
        transaction._connection.execute("DELETE FROM due WHERE case_id = ?", (due,))
    assert sweep.wrong_rows(scenario.service) == [case]
    sweep.rebuild(scenario.service)
    assert scenario.service.projections.due_at(due) is not None
    scenario.check()
