"""What an export takes along of what others put to its checkpoint, and what it leaves out."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from muniment.access import check
from muniment.errors import LogInvalid, Unavailable
from muniment.evidence.bundle import FORMAT, FORMAT_2, Bundle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import parse_note
from muniment.evidence.store import Published, Stamp
from muniment.evidence.verdict import headline
from muniment.evidence.verify import verify
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations import export
from muniment.operations.publishing import WitnessRules
from muniment.ports import Reply
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.scenario import Scenario
from muniment.testing.vouching import AT, Vouchers, void


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.fixture
def case(written: WrittenLog) -> WrittenCase:
    return WrittenCase(written).whole()


def form(data: bytes) -> str:
    found: str = json.loads(data)["format"]
    return found


def test_with_cosignatures_or_stamps_it_is_of_the_second_format(case: WrittenCase) -> None:
    written, vouchers = case.written, Vouchers()
    for by, stamped in (((0, 1), True), ((2,), False), ((), True)):
        data = vouchers.export(written, case.id, by, stamped=stamped)
        proved = verify(data, written.key.verifier)
        assert form(data) == FORMAT_2
        assert len(proved.vouched.cosigned) == len(by)
        assert len(proved.vouched.stamps) == stamped


def test_with_nothing_of_others_it_is_of_the_first_format(case: WrittenCase) -> None:
    written, vouchers = case.written, Vouchers()
    data = vouchers.export(written, case.id, (), stamped=False)
    assert form(data) == FORMAT
    assert vouchers.policy.encode() in Bundle.parse(data).documents.values()
    verify(data, written.key.verifier)


def test_a_published_checkpoint_that_does_not_cover_the_export_is_not_shown(
    case: WrittenCase,
) -> None:
    vouchers = Vouchers()
    vouchers.publish(case.written)
    data = case.written.export(case.id, witness_policy=vouchers.policy.encode())
    assert form(data) == FORMAT


def test_the_log_may_have_grown_before_the_checkpoint_was_published(case: WrittenCase) -> None:
    written, vouchers = case.written, Vouchers()

    def later(_size: int) -> None:
        written.enrol("late")
        vouchers.publish(written)

    data = written.export(case.id, witness_policy=vouchers.policy.encode(), publish=later)
    proved = verify(data, written.key.verifier, reader=vouchers.reader)
    assert proved.checkpoint.size > proved.as_of + 1
    assert proved.vouched.quorum


def test_cosignatures_go_along_only_of_witnesses_that_the_policy_names(case: WrittenCase) -> None:
    vouchers, written = Vouchers(), case.written
    fewer = Vouchers(witnesses=vouchers.witnesses[:2])
    data = written.export(
        case.id,
        witness_policy=fewer.policy.encode(),
        publish=lambda _size: void(vouchers.publish(written, (1, 2))),
    )
    assert [each.name for each in Bundle.parse(data).witnesses] == ["witness.example/two"]
    without = written.export(case.id, publish=lambda _size: void(vouchers.publish(written, (1, 2))))
    assert Bundle.parse(without).witnesses == ()
    assert len(Bundle.parse(without).stamps) == 1


# --- the database is believed nothing -------------------------------------------------------------


def tampered(
    case: WrittenCase, vouchers: Vouchers, change: Callable[[Published], Published]
) -> bytes:
    written = case.written

    def publish(_size: int) -> None:
        published = vouchers.publish(written)
        written.store.publish(change(published))

    return written.export(case.id, witness_policy=vouchers.policy.encode(), publish=publish)


def test_a_cosignature_that_does_not_hold_is_left_out(case: WrittenCase) -> None:
    vouchers = Vouchers()

    def spoil(published: Published) -> Published:
        head, first, second = published.note.rsplit(b"\n", 3)[:3]
        broken = first[:-8] + (b"AAAA" if first[-8:-4] != b"AAAA" else b"BBBB") + first[-4:]
        return replace(published, note=b"\n".join([head, broken, second, b""]))

    data = tampered(case, vouchers, spoil)
    proved = verify(data, case.written.key.verifier)
    assert [each.key.name for each in proved.vouched.cosigned] == ["witness.example/two"]


def test_a_time_stamp_that_does_not_hold_is_left_out(case: WrittenCase) -> None:
    vouchers = Vouchers()
    other = Stamp("example", vouchers.authority.token(b"another text", AT))
    data = tampered(case, vouchers, lambda p: replace(p, stamps=(other, Stamp("x", b""))))
    assert Bundle.parse(data).stamps == ()
    verify(data, case.written.key.verifier)


def test_a_published_checkpoint_of_another_history_stops_the_export(case: WrittenCase) -> None:
    key = case.written.key

    def forged(published: Published) -> Published:
        other = Checkpoint(key.name, published.size, bytes(32))
        return replace(published, note=sign(other, key))

    with pytest.raises(LogInvalid, match="is not of this log"):
        tampered(case, Vouchers(), forged)
    with pytest.raises(LogInvalid, match="published at size"):
        tampered(case, Vouchers(), lambda p: replace(p, note=b"nonsense"))


# --- waiting for others ---------------------------------------------------------------------------


async def test_an_export_never_fails_because_nobody_could_be_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def down(size: int) -> None:
        raise Unavailable(f"nobody answers about {size}")

    await export.cover(down, 7)
    assert "nobody answers about 7" in caplog.text


async def test_an_export_never_waits_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(_size: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(export, "COVER_SECONDS", 0.01)
    await export.cover(slow, 7)
    assert "without waiting longer" in caplog.text


# --- the operation --------------------------------------------------------------------------------


@dataclass
class Witnesses:
    """The way out, with witnesses at its end that cosign whatever they are shown, or do not."""

    vouchers: Vouchers
    #: the numbers of those that answer
    up: tuple[int, ...]

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        raise NotImplementedError

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *,
        timeout: float,  # noqa: ASYNC109 (as the port has it)
        max_bytes: int, allow: Collection[str] = (),
    ) -> Reply:  # fmt: skip
        number = int(url.removeprefix("https://w")[0])
        if number not in self.up:
            raise Unavailable("it sleeps")
        text, _ = parse_note(body.partition(b"\n\n")[2])
        line = self.vouchers.witnesses[number].cosign(text, int(AT.timestamp())).line
        return Reply(status=200, headers={}, body=line.encode())

    @property
    def rules(self) -> WitnessRules:
        lines = [
            f"{line} https://w{line.split()[1][1:]}" if line.startswith("witness") else line
            for line in self.vouchers.policy.splitlines()
        ]
        text = "\n".join(lines) + "\n"
        return WitnessRules(policy=WitnessPolicy.parse(text), text=text)


@pytest.mark.parametrize(
    ("up", "grade"), [((0, 1), "WITNESSED 2/3"), ((2,), "UNANCHORED"), ((), "UNANCHORED")]
)
async def test_evidence_is_handed_out_under_what_witnesses_say_when_they_are_asked(
    scenario: Scenario, up: tuple[int, ...], grade: str
) -> None:
    witnesses = Witnesses(Vouchers(), up)
    scenario.service.outbound = witnesses
    scenario.service.publishing.rules = witnesses.rules
    picked = await scenario.granted()
    data = await scenario.export("aud", picked)
    reader = witnesses.vouchers.reader
    proved = check.verify(data, scenario.key.verifier, reader=reader).proved
    assert headline(proved.verdict, proved.vouched) == grade
    assert form(data) == (FORMAT_2 if up else FORMAT)
    assert witnesses.rules.text.encode() in proved.documents.values()
