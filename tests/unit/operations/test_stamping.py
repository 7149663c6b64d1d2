"""Asking a time-stamp authority: what is sent, and what is not taken for an answer."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from muniment.errors import AddressRefused, MunimentError, Unavailable
from muniment.evidence import stamp_messages
from muniment.evidence.stamp import MAX_TOKEN, verify
from muniment.operations.stamp import PROBE, Authority, ask, probe
from muniment.ports import Reply
from muniment.testing.time_stamps import Issuer, TimeStampAuthority

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
TEXT = b"muniment.example/log\n12\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n"
TSA = TimeStampAuthority()


@dataclass
class Wire:
    """The way out, with an authority at its end that answers as told."""

    answer: Callable[[bytes], bytes] = lambda request: TSA.answer(request, NOW)
    status: int = 200
    raises: MunimentError | None = None
    sent: Mapping[str, str] | None = None
    body: bytes = b""

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        raise NotImplementedError

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *,
        timeout: float,  # noqa: ASYNC109 (as the port has it)
        max_bytes: int, allow: Collection[str] = (),
    ) -> Reply:  # fmt: skip
        assert (method, url, max_bytes, timeout <= 10) == ("POST", "https://tsa/", MAX_TOKEN, True)
        self.sent, self.body = headers, body
        if self.raises is not None:
            raise self.raises
        return Reply(status=self.status, headers={}, body=self.answer(body))


AUTHORITY = Authority(
    name="example", url="https://tsa/", every=timedelta(hours=1), roots=(TSA.issuer.certificate,)
)


async def refused(wire: Wire, authority: Authority = AUTHORITY) -> str:
    with pytest.raises(Unavailable) as caught:
        await ask(wire, authority, TEXT, NOW)
    return str(caught.value)


async def test_what_comes_back_holds_for_an_auditor() -> None:
    wire = Wire()
    stamp = await ask(wire, AUTHORITY, TEXT, NOW)
    assert stamp.authority == "example"
    assert verify(stamp.token, TEXT, [TSA.issuer.certificate]).at == NOW
    assert wire.sent is not None
    assert wire.sent["Content-Type"] == "application/timestamp-query"
    assert TEXT not in wire.body, "the authority learns a digest"


async def test_no_two_requests_are_the_same() -> None:
    wires = [Wire(), Wire()]
    for wire in wires:
        await ask(wire, AUTHORITY, TEXT, NOW)
    assert wires[0].body != wires[1].body


async def test_an_answer_to_another_request_is_refused() -> None:
    earlier = Wire()
    await ask(earlier, AUTHORITY, TEXT, NOW)
    replayed = TSA.answer(earlier.body, NOW)
    assert "answers another request" in await refused(Wire(lambda _: replayed))


async def test_a_token_over_another_text_is_refused() -> None:
    assert "about another text" in await refused(Wire(lambda _: reply(TSA.token(b"x", NOW))))


def reply(token: bytes, status: int = 0) -> bytes:
    return stamp_messages.write(
        stamp_messages.Response(
            status=stamp_messages.Status(status=status, text=None, failure=None),
            token=stamp_messages.read(stamp_messages.Token, token, "the token"),
        )
    )


async def test_a_refusal_is_said_with_its_status() -> None:
    no = stamp_messages.write(
        stamp_messages.Response(
            status=stamp_messages.Status(status=2, text=["not today"], failure=None), token=None
        )
    )
    assert "refused, with status 2" in await refused(Wire(lambda _: no))
    changed = reply(TSA.token(TEXT, NOW), status=1)
    assert "refused, with status 1" in await refused(Wire(lambda _: changed))


@pytest.mark.parametrize("answer", [b"", b"<html>", bytes(MAX_TOKEN)])
async def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    assert "the reply cannot be read" in await refused(Wire(lambda _: answer))


async def test_an_error_of_its_server_is_said_with_its_status() -> None:
    assert await refused(Wire(status=503)) == "`example` answered with status 503"


async def test_an_authority_whose_root_is_another_is_refused() -> None:
    other = replace(AUTHORITY, roots=(Issuer(name="Another").certificate,))
    assert "does not lead to your root" in await refused(Wire(), other)


async def test_without_a_root_its_token_is_kept_as_far_as_it_holds() -> None:
    bare = replace(AUTHORITY, roots=())
    assert (await ask(Wire(), bare, TEXT, NOW)).token
    purposeless = TimeStampAuthority(purpose=None)
    wire = Wire(lambda request: purposeless.answer(request, NOW))
    assert "not for time stamps" in await refused(wire, bare)


@pytest.mark.parametrize("apart", [timedelta(minutes=6), -timedelta(minutes=6)])
async def test_two_clocks_far_apart_are_for_a_person_to_see(apart: timedelta) -> None:
    wire = Wire(lambda request: TSA.answer(request, NOW + apart))
    assert "the clocks of `example` and ours are 0:06:00 apart" in await refused(wire)


async def test_silence_and_a_refused_address_are_both_unavailable() -> None:
    assert await refused(Wire(raises=Unavailable("`tsa` did not answer in 10 s"))) == (
        "`tsa` did not answer in 10 s"
    )
    assert await refused(Wire(raises=AddressRefused("`tsa` is called by `https` only"))) == (
        "`example` is not asked: `tsa` is called by `https` only"
    )


async def test_a_probe_says_who_answers_and_who_stands_behind_him() -> None:
    wire = Wire()
    said = await probe(wire, AUTHORITY, NOW)
    assert said == "time stamps by `CN=Example Time Stamps`, verified by your root"
    assert PROBE not in wire.body
    assert (await probe(Wire(), replace(AUTHORITY, roots=()), NOW)).endswith(
        "not verified: no `root` is set"
    )
    with pytest.raises(Unavailable):
        await probe(Wire(status=404), AUTHORITY, NOW)
