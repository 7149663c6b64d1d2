"""Who is told what, when: through a scenario whose notifiers keep what they were given."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.access import records
from muniment.access.terms import short_code
from muniment.errors import AddressRefused, Unavailable
from muniment.evidence.checkpoint import open_checkpoint
from muniment.operations import notify, sweep
from muniment.operations.notice_text import NOBODY, one_line
from muniment.operations.notify import record_case
from muniment.operations.pace import MOST
from muniment.ports import Notice
from muniment.testing.cast import policy_with
from muniment.testing.scenario import CaseLike, Scenario, case_id

EVERY = ["waiting", "decided", "ending", "ended", "break-glass", "announced"]


@dataclass
class Told:
    """Keeps what it is given; raises what it is told to, one after the other."""

    personal: ClassVar[bool] = True
    notices: list[tuple[str, Notice]] = field(default_factory=list)
    raises: list[Exception] = field(default_factory=list)
    down: bool = False

    async def tell(self, notice: Notice, address: str = "") -> None:
        if self.down:
            raise Unavailable("nobody answers")
        if self.raises:
            raise self.raises.pop(0)
        self.notices.append((address, notice))

    @property
    def addresses(self) -> list[str]:
        return [address.partition("@")[0] for address, _ in self.notices]

    @property
    def events(self) -> list[str]:
        return [notice.event for _, notice in self.notices]


class Channel(Told):
    personal: ClassVar[bool] = False


def way(*to: str, events: list[str] = EVERY) -> dict[str, Any]:
    return {"kind": "mail", "url": "env:X", "to": list(to), "events": events}


@pytest.fixture
def mail() -> Told:
    return Told()


@pytest.fixture
async def scenario(tmp_path: Path, mail: Told) -> AsyncIterator[Scenario]:
    made = Scenario(
        tmp_path,
        notices={"mail": way("approvers", "requester")},
        notifiers={"mail": mail},
    )
    async with made:
        yield made


def settled(scenario: Scenario, case: CaseLike, position: int, sink: str = "mail") -> list[Any]:
    """What the log says came of telling of this record, and that nothing follows."""
    found = scenario.records(record_case(sink, f"{case_id(case)}/{position}"))
    assert isinstance(found[-1], records.CaseClosed)
    return found[:-1]


def position(scenario: Scenario, case: CaseLike, kind: str) -> int:
    return scenario.kinds(case).index(kind)


def owed(scenario: Scenario) -> list[str]:
    return scenario.service.projections.due("2099", callbacks=True)


# --- when, and to whom ------------------------------------------------------------------------


async def test_whoever_could_approve_is_told_of_a_request_that_waits(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    await scenario.work()
    assert mail.events == ["waiting", "waiting"]
    assert set(mail.addresses) == {"bo", "cy"}
    [record] = settled(scenario, case, position(scenario, case, "decision:evaluated"))
    assert (record.outcome, record.event, record.sink) == ("delivered", "waiting", "mail")
    assert set(record.recipients) == {scenario.ids["bo"], scenario.ids["cy"]}
    assert owed(scenario) == []


async def test_who_asked_is_not_asked_to_approve_it_himself(scenario: Scenario, mail: Told) -> None:
    await scenario.ask("bo")
    await scenario.work()
    assert mail.addresses == ["cy"]


@pytest.mark.parametrize(("verb", "title"), [("approve", "approved: "), ("refuse", "refused: ")])
async def test_who_asked_is_told_how_it_was_decided(
    scenario: Scenario, mail: Told, verb: str, title: str
) -> None:
    case = await scenario.ask("ana")
    await scenario.work()
    mail.notices.clear()
    await getattr(scenario, verb)("cy", case)
    await scenario.work()
    assert mail.addresses == ["ana"]
    assert mail.notices[0][1].title.startswith(title)
    assert "Cy (cy)" in mail.notices[0][1].text


async def test_who_asked_is_told_that_nobody_decided_in_time(
    scenario: Scenario, mail: Told
) -> None:
    await scenario.ask("ana")
    await scenario.advance(timedelta(hours=9))
    assert mail.events[-1] == "decided"
    assert mail.notices[-1][1].title.startswith("lapsed")


async def test_the_person_behind_an_agent_is_told(tmp_path: Path) -> None:
    mail = Told()
    made = Scenario(tmp_path, notices={"mail": way("requester")}, notifiers={"mail": mail})
    async with made as scenario:
        case = await scenario.ask("robo", "orders-staging/readwrite", seconds=600)
        await scenario.pick_up("robo", case)
        await scenario.revoke("admin", case)
        await scenario.work()
        assert (mail.events, mail.addresses) == (["ended"], ["ana"])
        assert "on behalf of:      Ana (ana)" in mail.notices[0][1].text


async def test_the_holder_is_told_before_the_end_and_of_no_end_that_moved(
    scenario: Scenario, mail: Told
) -> None:
    picked = await scenario.granted(seconds=1800)
    await scenario.work()
    mail.notices.clear()
    await scenario.advance(timedelta(minutes=24, seconds=50))
    assert mail.notices == []
    await scenario.advance(timedelta(seconds=20))
    assert (mail.events, mail.addresses) == (["ending"], ["ana"])
    await scenario.end("ana", picked)


async def test_no_end_is_told_of_a_grant_that_was_given_back(
    scenario: Scenario, mail: Told
) -> None:
    picked = await scenario.granted(seconds=1800)
    await scenario.end("ana", picked)
    await scenario.work()
    mail.notices.clear()
    await scenario.advance(timedelta(minutes=30))
    assert mail.notices == []
    [record] = settled(scenario, picked, position(scenario, picked, "grant:authorized"))
    assert record.outcome == "moot"


async def test_the_holder_is_told_when_somebody_else_takes_access_away(
    scenario: Scenario, mail: Told
) -> None:
    picked = await scenario.granted()
    await scenario.work()
    mail.notices.clear()
    await scenario.revoke("admin", picked)
    await scenario.work()
    assert (mail.events, mail.addresses) == (["ended"], ["ana"])
    assert "Admin (admin)" in mail.notices[0][1].text


async def test_broken_glass_is_told_to_whom_the_rules_name(scenario: Scenario, mail: Told) -> None:
    await scenario.ask("bo", emergency=True, incident="INC-1", text="all is on fire")
    await scenario.work()
    assert set(mail.events) == {"break-glass"}
    assert set(mail.addresses) == {"bo", "cy", "admin"}


async def test_a_rule_that_wants_somebody_told_is_heard_where_nobody_has_to_approve(
    tmp_path: Path,
) -> None:
    mail = Told()
    rule = """
    @id("told") @title("Staging is told to the auditors") @notify("auditors")
    permit (principal, action == Muniment::Action::"require", resource)
    when { resource.tier == Muniment::Tier::"staging" };
    """
    made = Scenario(
        tmp_path,
        policy=policy_with(rule),
        notices={"mail": way("approvers")},
        notifiers={"mail": mail},
    )
    async with made as scenario:
        case = await scenario.ask("ana", "orders-staging/readwrite")
        assert case.case.state == "approved"
        await scenario.work()
        assert (mail.events, mail.addresses) == (["announced"], ["aud"])


async def test_a_channel_is_told_once_and_nobody_is_named_in_the_record(tmp_path: Path) -> None:
    chat = Channel()
    made = Scenario(tmp_path, notices={"chat": way()}, notifiers={"chat": chat})
    async with made as scenario:
        case = await scenario.ask("ana")
        await scenario.work()
        assert chat.notices[0][0] == ""
        assert len(chat.notices) == 1
        [record] = settled(scenario, case, 1, "chat")
        assert (record.outcome, record.recipients) == ("delivered", ())


async def test_an_event_that_a_way_does_not_have_is_not_told(tmp_path: Path) -> None:
    mail = Told()
    made = Scenario(
        tmp_path,
        notices={"mail": way("approvers", "requester", events=["ended"])},
        notifiers={"mail": mail},
    )
    async with made as scenario:
        await scenario.ask("ana")
        await scenario.work()
        assert (mail.notices, owed(scenario)) == ([], [])


async def test_a_way_that_is_new_does_not_tell_of_what_was_before(
    tmp_path: Path, mail: Told
) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.ask("ana")
        scenario.notices = {"mail": way("approvers")}
        scenario.notifiers["mail"] = mail
        await scenario.take_in()
        await scenario.work()
        await scenario.restart()
        assert sweep.wrong_rows(scenario.service) == []
        await scenario.work()
        assert mail.notices == []
        await scenario.ask("ana")
        await scenario.work()
        assert len(mail.notices) == 2


# --- what is said -----------------------------------------------------------------------------


async def test_a_notice_says_exactly_what_is_asked(scenario: Scenario, mail: Told) -> None:
    asked = await scenario.ask("ana", text="the index is broken", ticket="OPS-7")
    await scenario.work()
    said = mail.notices[0][1]
    assert said.title == "Ana (ana) asks for readwrite on orders-prod"
    for words in (
        "the index is broken", "OPS-7", "30m", "orders-prod (prod)",
        short_code(asked.case.current.terms),
        f"https://muniment.example/approve/{case_id(asked)}",
        "Opening it decides nothing",
    ):  # fmt: skip
        assert words in said.text, words
        assert words in said.html, words
    assert said.facts["rules"]
    log = scenario.service.log
    head = open_checkpoint(said.checkpoint.encode(), log.origin, [log.verifier])
    assert said.facts["head"] == {
        "origin": head.origin, "size": head.size, "root": head.root.hex()
    }  # fmt: skip
    assert said.checkpoint in said.text
    json.dumps(dict(said.facts))


async def test_words_of_others_add_neither_header_nor_line_nor_markup(
    scenario: Scenario, mail: Told
) -> None:
    evil = "<a href='//evil'>approve</a>"
    nasty = f"x\r\nBcc: all@example.com\n\nrule:   none {evil}\u202e"
    await scenario.change("ana", identity={"mail": "ana@example.com", "name": nasty})
    await scenario.ask("ana", text=evil)
    await scenario.work()
    said = mail.notices[0][1]
    assert not set("\r\n\u202e") & set(said.title)
    assert evil not in said.html
    assert not any(line.startswith(("Bcc", "rule:   none")) for line in said.text.splitlines())


def test_a_line_is_bounded_and_has_no_control_characters() -> None:
    assert one_line("a\x00\x1b[31m\u2028b\u200f" + "c" * 1000, 10) == "a [31m bc…"
    assert len(one_line("d" * 10_000, 80)) == 80


# --- what goes wrong --------------------------------------------------------------------------


async def test_what_was_not_taken_is_tried_again_until_it_is(
    scenario: Scenario, mail: Told
) -> None:
    mail.down = True
    case = await scenario.ask("ana")
    await scenario.advance(timedelta(minutes=10))
    assert (mail.notices, len(owed(scenario))) == ([], 1)
    mail.down = False
    await scenario.advance(timedelta(minutes=6))
    assert set(mail.addresses) == {"bo", "cy"}
    [record] = settled(scenario, case, 1)
    assert record.outcome == "delivered"
    assert record.attempts > 3


@pytest.mark.deep
async def test_after_a_day_it_is_given_up_and_that_is_recorded(
    scenario: Scenario, mail: Told
) -> None:
    mail.down = True
    picked = await scenario.granted(seconds=60)
    await scenario.advance(timedelta(hours=25))
    [record] = settled(scenario, picked, position(scenario, picked, "approval:given"))
    assert (record.outcome, record.recipients) == ("abandoned", (scenario.ids["ana"],))
    assert owed(scenario) == []


async def test_one_who_cannot_be_told_does_not_keep_it_from_the_others(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    mail.raises = [AddressRefused("no address")]
    await scenario.work()
    assert len(mail.notices) == 1
    assert {record.outcome for record in settled(scenario, case, 1)} == {"delivered", "refused"}


async def test_who_was_told_is_not_told_again_when_another_was_not(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    ways = sorted((scenario.ids["bo"], scenario.ids["cy"]))
    mail.raises = []
    told: list[str] = []
    tell = mail.tell

    async def once(notice: Notice, address: str = "") -> None:
        if told:
            raise Unavailable("not now")
        told.append(address)
        await tell(notice, address)

    mail.tell = once  # type: ignore[method-assign]  # a server that takes one mail
    await scenario.work()
    await scenario.restart()
    mail.tell = tell  # type: ignore[method-assign]  # and then goes on
    await scenario.advance(timedelta(minutes=1))
    assert sorted(mail.addresses) == ["bo", "cy"]
    recipients = [each for record in settled(scenario, case, 1) for each in record.recipients]
    assert sorted(recipients) == ways


async def test_a_restart_between_append_and_delivery_loses_nothing_and_doubles_nothing(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    assert len(owed(scenario)) == 1
    await scenario.restart()
    await scenario.work()
    await scenario.restart()
    await scenario.work()
    assert sorted(mail.addresses) == ["bo", "cy"]
    assert len(settled(scenario, case, 1)) == 1


async def test_due_work_that_somebody_deleted_is_found_and_built_anew(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    scenario.store._mine().connection.execute("DELETE FROM due WHERE case_id LIKE 'notice/%'")
    assert sweep.wrong_rows(scenario.service) == [case_id(case)]
    sweep.rebuild(scenario.service)
    await scenario.work()
    assert len(mail.notices) == 2


async def test_a_rebuild_keeps_what_is_owed_since_before_the_ways_changed(
    scenario: Scenario, mail: Told
) -> None:
    await scenario.ask("ana")
    scenario.notices["chat"] = way()
    scenario.notifiers["chat"] = Channel()
    await scenario.take_in()
    sweep.rebuild(scenario.service)
    await scenario.work()
    assert len(mail.notices) == 2


async def test_due_work_that_somebody_put_back_is_not_told_again(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    [named] = owed(scenario)
    await scenario.work()
    scenario.store._mine().connection.execute(
        "INSERT INTO due VALUES (?, '2026-01-01T00:00:00.000Z')", (named,)
    )
    assert not await notify.deliver(scenario.service, named)
    assert sweep.wrong_rows(scenario.service) == [case_id(case)]
    sweep.rebuild(scenario.service)
    assert (owed(scenario), len(mail.notices)) == ([], 2)


async def test_a_way_that_is_gone_is_forgotten_on_the_record(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    scenario.notices = {}
    await scenario.take_in()
    await scenario.work()
    [record] = settled(scenario, case, 1)
    assert (record.outcome, mail.notices) == ("forgotten", [])


async def test_an_erased_person_gets_nothing_and_that_is_recorded(
    scenario: Scenario, mail: Told
) -> None:
    case = await scenario.ask("ana")
    mail.down = True
    await scenario.change("ana", active=False)
    await scenario.work()
    entry = scenario.entries(scenario.ids["ana"])[-1]
    await scenario.erase("pia", entry.header.id, "identity")
    mail.down = False
    await scenario.advance(timedelta(minutes=5))
    assert mail.notices == []
    [record] = settled(scenario, case, position(scenario, case, "access:lapsed"))
    assert (record.outcome, record.recipients) == ("refused", (scenario.ids["ana"],))


async def test_a_holder_who_loses_access_by_cascade_is_told_why(
    scenario: Scenario, mail: Told
) -> None:
    await scenario.granted()
    await scenario.work()
    mail.notices.clear()
    await scenario.change("ana", active=False)
    await scenario.work()
    assert (mail.events, mail.addresses) == (["ended"], ["ana"])
    assert "principal disabled" in mail.notices[0][1].text


async def test_an_erased_requester_is_not_named(tmp_path: Path) -> None:
    chat = Channel(down=True)
    made = Scenario(tmp_path, notices={"chat": way()}, notifiers={"chat": chat})
    async with made as scenario:
        await scenario.granted()
        await scenario.change("ana", active=False)
        await scenario.work()
        for entry in scenario.entries(scenario.ids["ana"]):
            await scenario.erase("pia", entry.header.id, "identity")
        chat.down = False
        await scenario.advance(timedelta(minutes=5))
        assert chat.events[-1] == "ended"
        assert NOBODY in chat.notices[-1][1].text
        assert not any("Ana" in notice.text for _, notice in chat.notices)


async def test_no_decision_waits_for_a_notice(scenario: Scenario, mail: Told) -> None:
    mail.down = True
    picked = await scenario.granted()
    await scenario.work()
    ended = await scenario.end("ana", picked)
    assert ended.closed


async def test_a_request_that_no_longer_waits_is_not_told(scenario: Scenario, mail: Told) -> None:
    case = await scenario.ask("ana")
    await scenario.withdraw("ana", case)
    await scenario.work()
    assert mail.notices == []
    [record] = settled(scenario, case, 1)
    assert record.outcome == "moot"


# --- not too much -----------------------------------------------------------------------------


async def test_what_comes_too_fast_is_folded_into_one_notice(tmp_path: Path) -> None:
    chat = Channel()
    made = Scenario(tmp_path, notices={"chat": way()}, notifiers={"chat": chat}, checking=False)
    async with made as scenario:
        cases = [await scenario.ask("ana") for _ in range(MOST + 6)]
        await scenario.work()
        assert len(chat.notices) == MOST
        await scenario.advance(timedelta(minutes=3))
        assert len(chat.notices) == MOST + 1
        last = chat.notices[-1][1].text
        assert "5 more" in last
        assert sum(case_id(case) in last for case in cases) == 6
        assert [len(settled(scenario, case, 1, "chat")) for case in cases] == [1] * (MOST + 6)
        assert owed(scenario) == []


# --- where nobody looks -----------------------------------------------------------------------


async def test_no_address_and_no_name_is_in_the_record(scenario: Scenario) -> None:
    case = await scenario.ask("ana")
    await scenario.work()
    entry = scenario.entries(record_case("mail", f"{case_id(case)}/1"))[0]
    assert b"example.com" not in entry.data
    assert b"Cy" not in entry.data
    assert entry.header.follows == (scenario.entries(case)[1].leaf,)
