"""What is posted: signatures of three kinds, deliveries that come twice, counts that have gaps."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import (
    ConfigInvalid,
    Malformed,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unreadable,
)
from muniment.ports import Secret
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources import MAX_RECORDS
from muniment.runtime.sources.posted import MAX_WAITING, REMEMBERED, Door, Posted
from muniment.runtime.sources.signatures import (
    GitHub,
    PagerDuty,
    Signature,
    StandardWebhook,
    signature_of,
)
from muniment.testing.fake_intake import Counted, FakeIntake

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
KEY = bytes(range(32))
WHSEC = "whsec_" + base64.b64encode(KEY).decode()
BODY = b'{"action":"opened"}'


def hexed(body: bytes = BODY, key: bytes = b"a secret of ours") -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def standard(
    body: bytes = BODY, id: str = "msg_1", at: datetime = NOW, key: bytes = KEY
) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signed = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(signed).decode()}"
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature}


GITHUB, PAGER = GitHub(Secret("a secret of ours")), PagerDuty(Secret("a secret of ours"))
STANDARD = StandardWebhook(Secret(WHSEC))
SIGNED: list[tuple[Signature, dict[str, str]]] = [
    (GITHUB, {"x-hub-signature-256": f"sha256={hexed()}"}),
    (PAGER, {"x-pagerduty-signature": f"v1={hexed()}"}),
    (PAGER, {"x-pagerduty-signature": f"v1={'0' * 64}, v1={hexed()}"}),
    (STANDARD, standard()),
    (STANDARD, {**standard(), "webhook-signature": "v1,AAAA " + standard()["webhook-signature"]}),
]


# --- signatures ----------------------------------------------------------------------------------


def test_the_signature_of_github_is_the_one_of_its_own_example() -> None:
    """From "Validating webhook deliveries" in its documentation."""
    signature = GitHub(Secret("It's a Secret to Everybody"))
    given = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    signature.check({"x-hub-signature-256": given}, b"Hello, World!", NOW)


def test_the_signature_of_a_standard_webhook_is_the_one_of_its_own_example() -> None:
    """From the specification's test vector."""
    signature = StandardWebhook(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = datetime.fromtimestamp(1614265330, UTC)
    assert signature.check(headers, b'{"test": 2432232314}', at) == headers["webhook-id"]


@pytest.mark.parametrize(("signature", "headers"), SIGNED)
def test_what_is_signed_is_taken_and_the_same_again_is_known(
    signature: Signature, headers: dict[str, str]
) -> None:
    assert signature.check(headers, BODY, NOW) == signature.check(headers, BODY, NOW)


@pytest.mark.parametrize(("signature", "headers"), SIGNED)
def test_a_signature_of_another_body_or_key_is_refused(
    signature: Signature, headers: dict[str, str]
) -> None:
    with pytest.raises(Unauthenticated):
        signature.check(headers, BODY + b" ", NOW)
    others: list[Signature] = [
        GitHub(Secret("another secret!!")),
        PagerDuty(Secret("another secret!!")),
        StandardWebhook(Secret("whsec_" + base64.b64encode(b"x" * 32).decode())),
    ]
    for other in others:
        with pytest.raises(Unauthenticated):
            other.check(headers, BODY, NOW)


@given(
    text=st.text(max_size=80),
    name=st.sampled_from(
        ["x-hub-signature-256", "x-pagerduty-signature", "webhook-signature", "webhook-id"]
    ),
)
def test_nothing_but_a_signature_is_one(text: str, name: str) -> None:
    for signature in (GITHUB, PAGER, STANDARD):
        for headers in ({name: text}, {**standard(key=b"y" * 32), name: text}):
            with pytest.raises(Unauthenticated):
                signature.check(headers, BODY, NOW)


def test_a_standard_webhook_of_long_ago_or_of_tomorrow_is_refused() -> None:
    for minutes in (-5, 0, 5):
        STANDARD.check(standard(at=NOW + timedelta(minutes=minutes)), BODY, NOW)
    for minutes in (-6, 6, 60 * 24 * 365):
        with pytest.raises(Unauthenticated, match="5 minutes"):
            STANDARD.check(standard(at=NOW + timedelta(minutes=minutes)), BODY, NOW)


@pytest.mark.parametrize("stamp", ["", "-1", "1e9", "9" * 12, "99999999999", "NaN", "\u0661"])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    with pytest.raises(Unauthenticated):
        STANDARD.check({**standard(), "webhook-timestamp": stamp}, BODY, NOW)


def section(**changes: Any) -> SourceSection:
    value = {"kind": "webhook", "reader": "x", "signature": "github", "secret": "file:s", **changes}
    return SourceSection.model_validate(value)


def test_secrets_come_by_reference_and_weak_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a secret of ours\n")
    given = f"sha256={hexed()}"
    signature_of("x", section(), tmp_path).check({"x-hub-signature-256": given}, BODY, NOW)
    with pytest.raises(ConfigInvalid, match="whsec_"):
        signature_of("x", section(signature="standard"), tmp_path)
    (tmp_path / "s").write_text("guess me")
    with pytest.raises(ConfigInvalid, match="too short") as refused:
        signature_of("x", section(), tmp_path)
    assert "guess" not in str(refused.value)
    with pytest.raises(ConfigInvalid, match=r"sources\.x\.secret"):
        signature_of("x", section(secret="env:MUNIMENT_NOT_THERE"), tmp_path)


# --- deliveries ----------------------------------------------------------------------------------


def door(intake: FakeIntake, signature: Signature | None = None, most: int = 600) -> Door:
    return Door(source="x", intake=intake, posts_per_minute=most, signature=signature)


async def test_a_delivery_that_comes_again_is_kept_once_also_after_a_restart() -> None:
    intake = FakeIntake()
    for number in range(3):
        known = await door(intake, GITHUB).deliver(b"one", "delivery-1")
        assert known == (Posted(known=True) if number else Posted(kept=1))
    assert intake.kept("x") == [b"one"]


async def test_deliveries_are_remembered_for_a_while_and_no_longer() -> None:
    intake = FakeIntake()
    one = door(intake, GITHUB)
    for number in range(REMEMBERED + 1):
        await one.deliver(b"x", f"delivery-{number}")
    assert (await one.deliver(b"x", f"delivery-{REMEMBERED}")).known
    assert (await one.deliver(b"x", "delivery-1")).known
    assert not (await one.deliver(b"x", "delivery-0")).known
    assert len(intake.cursor("x") or "") < 30 * REMEMBERED


async def test_a_delivery_that_was_not_kept_may_come_again() -> None:
    intake = FakeIntake(unavailable=1)
    one = door(intake, GITHUB)
    with pytest.raises(Unavailable):
        await one.deliver(b"one", "delivery-1")
    assert (await one.deliver(b"one", "delivery-1")).kept == 1


async def test_what_is_not_signed_is_counted_and_never_kept() -> None:
    intake = FakeIntake()
    one = door(intake, GITHUB)
    with pytest.raises(Unauthenticated):
        one.look_at({})
    with pytest.raises(Unauthenticated):
        one.check({"x-hub-signature-256": "sha256=00"}, BODY, NOW)
    assert one.refused == 2
    with pytest.raises(Unauthenticated):
        door(intake).check({}, BODY, NOW)
    assert intake.takes == 0


# --- what is pushed ------------------------------------------------------------------------------


async def test_records_are_kept_and_counted_and_an_empty_body_is_a_sign_of_life() -> None:
    intake = FakeIntake()
    one = door(intake)
    assert await one.push(b"one\ntwo\nno\0ne", "prn_a") == Posted(kept=2, rejected=1)
    assert await one.push(b" \n", "prn_a") == Posted()
    assert intake.takes == 2


async def test_a_count_with_a_gap_is_a_loss_of_so_many() -> None:
    intake = FakeIntake()
    await door(intake).push(b"1\n2", "prn_a", 2)
    await door(intake).push(b"3", "prn_a", 3)
    await door(intake).push(b"9\n10", "prn_a", 10)
    assert intake.misses == [("x", "count", 5)]
    assert len(intake.kept("x")) == 5


async def test_the_same_count_again_is_the_same_body_again() -> None:
    intake = FakeIntake()
    assert (await door(intake).push(b"1\n2", "prn_a", 2)).kept == 2
    assert (await door(intake).push(b"1\n2", "prn_a", 2)).known
    assert intake.kept("x") == [b"1", b"2"]


async def test_a_sign_of_life_that_says_its_count_is_no_body_again() -> None:
    intake = FakeIntake()
    await door(intake).push(b"1", "prn_a", 1)
    assert await door(intake).push(b"", "prn_a", 1) == Posted()
    assert await door(intake).push(b"", "prn_a", 4) == Posted()
    assert intake.misses == [("x", "count", 3)]


async def test_a_sender_that_begins_to_count_anew_loses_nothing() -> None:
    intake = FakeIntake()
    await door(intake).push(b"1\n2\n3", "prn_a", 3)
    assert (await door(intake).push(b"new", "prn_a", 1)).kept == 1
    assert intake.misses == []


async def test_senders_are_counted_apart_and_a_first_count_says_nothing() -> None:
    intake = FakeIntake()
    await door(intake).push(b"1", "prn_a", 100)
    await door(intake).push(b"1", "prn_b", 7)
    await door(intake).push(b"2", "prn_c")
    await door(intake).push(b"2", "prn_a", 101)
    assert intake.misses == []
    assert len(intake.kept("x")) == 4


async def test_a_count_that_cannot_be_is_refused() -> None:
    with pytest.raises(Malformed, match="in all"):
        await door(FakeIntake()).push(b"1\n2", "prn_a", 1)


async def test_a_body_of_too_many_records_is_refused_and_one_that_is_none_too() -> None:
    intake = FakeIntake()
    with pytest.raises(Malformed, match="in parts"):
        await door(intake).push(b"x\n" * (MAX_RECORDS + 1), "prn_a")
    with pytest.raises(Unreadable):
        await door(intake).push(b"[ no JSON", "prn_a")
    assert intake.takes == 0


async def test_of_what_was_pushed_at_once_every_record_is_kept_and_no_count_lost() -> None:
    intake = FakeIntake()
    one = door(intake)
    await asyncio.gather(*(one.push(b"x", f"prn_{n % 5}", n // 5 + 1) for n in range(50)))
    assert len(intake.kept("x")) == 50
    assert json.loads(intake.cursor("x") or "")["sent"] == {f"prn_{n}": 10 for n in range(5)}


def test_no_more_than_the_settings_allow_within_a_minute() -> None:
    now = [0.0]
    one = Door(source="x", intake=FakeIntake(), posts_per_minute=2, elapsed=lambda: now[0])
    one.count()
    one.count()
    with pytest.raises(TooMany):
        one.count()
    now[0] = 60
    one.count()


def test_no_more_bodies_are_in_hand_than_there_is_room_for() -> None:
    from contextlib import ExitStack

    one = door(FakeIntake())
    with ExitStack() as held:
        for _ in range(MAX_WAITING):
            held.enter_context(one.holding())
        with pytest.raises(TooMany), one.holding():
            pass
    with one.holding():
        pass


async def test_the_cursor_of_another_kind_of_source_is_no_obstacle() -> None:
    for cursor in ('{"v":1,"floor":0,"files":[]}', "s=1;i=2", "[]", '{"v":1,"seen":3,"sent":3}'):
        intake = FakeIntake()
        await intake.take("x", [], cursor)
        assert (await door(intake).deliver(b"1", "one")).kept == 1
        intake = FakeIntake()
        await intake.take("x", [], cursor)
        assert (await door(intake).push(b"1", "prn_a", 1)).kept == 1


class Slow(FakeIntake):
    """Lets others run before it keeps anything."""

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Counted:
        await asyncio.sleep(0)
        return await super().take(source, records, cursor, after=after)


async def test_the_same_delivery_twice_at_once_is_kept_once() -> None:
    intake = Slow()
    one = door(intake, GITHUB)
    found = await asyncio.gather(*(one.deliver(b"one", "delivery-1") for _ in range(5)))
    assert sorted(each.kept for each in found) == [0, 0, 0, 0, 1]


# --- several nodes -------------------------------------------------------------------------------


@dataclass
class Overtaken(FakeIntake):
    """Others are faster: each of these is done between the look at the cursor and a take."""

    faster: list[Callable[[], Awaitable[Posted]]] = field(default_factory=list)
    is_others: bool = False

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Counted:
        if self.faster and not self.is_others:
            self.is_others = True
            await self.faster.pop()()
            self.is_others = False
        return await super().take(source, records, cursor, after=after)


async def test_a_delivery_at_another_node_is_remembered_as_well_as_ours() -> None:
    intake = Overtaken()
    here, there = door(intake, GITHUB), door(intake, GITHUB)
    intake.faster = [partial(there.deliver, b"two", "delivery-2")]
    assert await here.deliver(b"one", "delivery-1") == Posted(kept=1)
    assert intake.kept("x") == [b"two", b"one"]
    for delivery in ("delivery-1", "delivery-2"):
        assert (await there.deliver(b"again", delivery)).known


async def test_the_same_delivery_at_two_nodes_at_once_is_kept_once() -> None:
    intake = Overtaken()
    here, there = door(intake, GITHUB), door(intake, GITHUB)
    intake.faster = [partial(there.deliver, b"one", "delivery-1")]
    assert await here.deliver(b"one", "delivery-1") == Posted(known=True)
    assert intake.kept("x") == [b"one"]


async def test_counts_of_senders_at_two_nodes_lose_nothing_and_say_a_loss_once() -> None:
    intake = Overtaken()
    here, there = door(intake), door(intake)
    await here.push(b"1", "prn_a", 1)
    intake.faster = [partial(there.push, b"3", "prn_b", 1), partial(there.push, b"2", "prn_c", 1)]
    assert await here.push(b"5", "prn_a", 5) == Posted(kept=1)
    assert intake.misses == [("x", "count", 3)]
    assert json.loads(intake.cursor("x") or "")["sent"] == {"prn_a": 5, "prn_b": 1, "prn_c": 1}
    assert (await there.push(b"5", "prn_a", 5)).known
    assert intake.kept("x") == [b"1", b"2", b"3", b"5"]


async def test_whoever_is_always_overtaken_is_told_to_send_it_again() -> None:
    intake = Overtaken()
    here, there = door(intake, GITHUB), door(intake, GITHUB)
    intake.faster = [partial(there.deliver, b"x", f"delivery-{n}") for n in range(100)]
    with pytest.raises(Unavailable, match="send it again"):
        await here.deliver(b"mine", "delivery-mine")
    assert b"mine" not in intake.kept("x")
