"""Witnesses: asked by the rules that they keep, believed for what they sign, and what they stop."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from muniment.access import check, records
from muniment.errors import BundleInvalid, ConfigInvalid, Conflict, LogUnavailable, Unavailable
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import CosigningKey, Signature, SigningKey
from muniment.evidence.witness import Witness
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations import publish, witnesses
from muniment.operations.publishing import CopyRules, Publishing, WitnessRules
from muniment.operations.stamp import Authority
from muniment.operations.witnesses import Contradicted
from muniment.ports import Reply
from muniment.runtime.settings import Settings
from muniment.runtime.upkeep import Upkeep
from muniment.runtime.witnesses import read_witnesses
from muniment.stores.head_file import HaltFile
from muniment.stores.tile_directory import TileDirectory
from muniment.stores.witness_store import SQLiteWitnessStore
from muniment.testing.scenario import Scenario

SECOND = timedelta(seconds=1)


class Outside:
    """Three witnesses, each at an address of its own; some may be down, slow, or lie."""

    def __init__(self, scenario: Scenario, folder: Path, count: int = 3) -> None:
        key = scenario.key.verifier
        self.keys = [CosigningKey.generate(f"w{n}.example") for n in range(count)]
        self.stores = [
            SQLiteWitnessStore.create(folder / f"w{n}.db", each.verifier)
            for n, each in enumerate(self.keys)
        ]
        self.witnesses = [
            Witness(
                each, store, lambda: {key.name: [key]}, lambda: int(scenario.clock.wall.timestamp())
            )
            for each, store in zip(self.keys, self.stores, strict=True)
        ]
        #: instead of the witness's own answer to `add-checkpoint`, or to the question what it has
        self.instead: dict[int, Callable[[], Reply]] = {}
        self.asked: list[tuple[int, str, bytes]] = []
        self.origin = scenario.key.name

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None: ...

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, **_: Any
    ) -> Reply:
        await asyncio.sleep(0)
        number = int(url.removeprefix("https://w")[0])
        self.asked.append((number, method, body))
        if number in self.instead:
            return self.instead[number]()
        if method == "GET":
            assert url.endswith(f"/{sha256(self.origin.encode()).hexdigest()}/checkpoint")
            note = self.stores[number].latest(self.origin)
            return Reply(status=200 if note else 404, headers={}, body=note or b"")
        answer = self.witnesses[number].add_checkpoint(body)
        return Reply(status=answer.status, headers={}, body=answer.body.encode())

    @property
    def policy(self) -> str:
        lines = [
            f"witness w{n} {key.verifier.vkey} https://w{n}.example"
            for n, key in enumerate(self.keys)
        ]
        names = " ".join(f"w{n}" for n in range(len(self.keys)))
        return "\n".join([*lines, f"group all 2 {names}", "quorum all", ""])

    def rules(self, *required: str) -> WitnessRules:
        return WitnessRules(
            policy=WitnessPolicy.parse(self.policy),
            text=self.policy,
            timeout=timedelta(milliseconds=200),
            required=frozenset(required),
        )


@pytest.fixture
async def outside(scenario: Scenario, tmp_path: Path) -> Any:
    made = Outside(scenario, tmp_path)
    connect(scenario, made)
    yield made
    for store in made.stores:
        store.close()


def connect(scenario: Scenario, outside: Outside, *required: str) -> None:
    scenario.service.outbound = outside
    scenario.service.publishing = Publishing(rules=outside.rules(*required))


def reply(status: int, body: bytes = b"") -> Callable[[], Reply]:
    return lambda: Reply(status=status, headers={}, body=body)


def refuse() -> Reply:
    raise Unavailable("it is down")


def last(scenario: Scenario) -> records.LogWitnessed:
    found = scenario.last(scenario.service.registry.log_case, records.LogWitnessed)
    assert isinstance(found, records.LogWitnessed)
    return found


def count(scenario: Scenario) -> int:
    kinds = scenario.kinds(scenario.service.registry.log_case)
    return kinds.count(records.LogWitnessed.KIND)


# --- asking ---------------------------------------------------------------------------------------


async def test_a_published_checkpoint_carries_what_the_witnesses_signed(
    scenario: Scenario, outside: Outside
) -> None:
    published = await publish.publish(scenario.service)
    rules = scenario.service.publishing.rules
    assert rules is not None
    found = publish.cosigners(scenario.service, rules, published.note)
    assert set(found) == {key.verifier for key in outside.keys}
    assert scenario.service.log.store.published() == published
    assert published.note.startswith(scenario.service.log.store.checkpoint(published.size) or b"-")


async def test_each_witness_is_asked_once_when_it_is_known_what_it_remembers(
    scenario: Scenario, outside: Outside
) -> None:
    await publish.publish(scenario.service)
    await scenario.ask("ana")
    outside.asked.clear()
    await publish.publish(scenario.service)
    assert [number for number, _, _ in outside.asked] == [0, 1, 2]


async def test_after_a_restart_they_say_themselves_what_they_remember(
    scenario: Scenario, outside: Outside
) -> None:
    await publish.publish(scenario.service)
    await scenario.ask("ana")
    await scenario.restart()
    connect(scenario, outside)
    published = await publish.publish(scenario.service)
    assert publish.is_witnessed(scenario.service, published)


async def test_one_that_is_down_is_left_out_and_two_of_three_are_the_quorum(
    scenario: Scenario, outside: Outside
) -> None:
    outside.instead[1] = refuse
    published = await publish.publish(scenario.service)
    assert publish.is_witnessed(scenario.service, published)
    assert scenario.service.publishing.troubles == {"w1": "it is down"}


async def test_one_that_does_not_answer_is_not_waited_for(
    scenario: Scenario, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = outside.fetch

    async def slow(method: str, url: str, *rest: Any, **named: Any) -> Reply:
        if url.startswith("https://w2"):
            await asyncio.Event().wait()
        return await usual(method, url, *rest, **named)

    monkeypatch.setattr(outside, "fetch", slow)
    published = await publish.publish(scenario.service)
    assert publish.is_witnessed(scenario.service, published)
    assert scenario.service.publishing.troubles == {"w2": "it took too long"}


async def test_what_a_witness_did_not_sign_itself_is_not_kept(
    scenario: Scenario, outside: Outside
) -> None:
    text = scenario.service.log.checkpoint.decode().partition("\n\n")[0] + "\n"
    foreign = CosigningKey.generate("w0.example").cosign(text, 1)
    stolen = outside.keys[1].cosign(text, 1)
    mangled = Signature("w0.example", outside.keys[0].verifier.key_id, bytes(72))
    for line in (foreign, stolen, mangled):
        outside.instead[0] = reply(200, line.line.encode())
        published = await publish.publish(scenario.service)
        assert b"w0.example" not in published.note
    for junk in (b"", b"\n\n", b"no line\n", b"\xff", b"x" * 10_000):
        outside.instead[0] = reply(200, junk)
        await publish.publish(scenario.service)
        assert "w0" in scenario.service.publishing.troubles


async def test_whatever_a_witness_answers_nothing_but_its_trouble_comes_of_it(
    scenario: Scenario, outside: Outside
) -> None:
    for status in (204, 301, 400, 403, 404, 409, 422, 500):
        outside.instead[0] = reply(status, b"7\n")
        published = await publish.publish(scenario.service)
        assert publish.is_witnessed(scenario.service, published)
    assert scenario.service.log.trouble is None


async def test_a_number_that_no_log_can_have_is_not_believed(
    scenario: Scenario, outside: Outside
) -> None:
    """A size is only a word: what stops the log is a checkpoint that our own key signed."""
    outside.instead[0] = reply(409, b"999999999\n")
    await publish.publish(scenario.service)
    await scenario.ask("ana")
    assert scenario.service.log.trouble is None


# --- what stands in the log -----------------------------------------------------------------------


async def test_the_log_says_when_the_quorum_comes_and_goes(
    scenario: Scenario, outside: Outside
) -> None:
    await publish.publish(scenario.service)
    assert last(scenario).quorum
    assert last(scenario).cosigned == tuple(sorted(key.verifier.vkey for key in outside.keys))
    await publish.publish(scenario.service)
    assert count(scenario) == 1
    outside.instead = {0: refuse, 1: refuse}
    for _ in range(2):
        await publish.publish(scenario.service)
    assert count(scenario) == 2
    assert not last(scenario).quorum
    assert last(scenario).cosigned == (outside.keys[2].verifier.vkey,)
    outside.instead.clear()
    await publish.publish(scenario.service)
    assert last(scenario).quorum


async def test_without_witnesses_a_checkpoint_is_published_all_the_same(scenario: Scenario) -> None:
    published = await publish.publish(scenario.service)
    assert published.note == scenario.service.log.checkpoint
    assert not publish.is_witnessed(scenario.service, published)
    assert scenario.service.registry.witnessed is None


async def test_what_is_new_is_published_soon_and_what_is_not_anew_after_a_while(
    scenario: Scenario, outside: Outside
) -> None:
    service = scenario.service
    assert publish.is_due(service)
    await publish.publish(service)
    await publish.publish(service)  # the record that the quorum came is new, too
    assert not publish.is_due(service)
    scenario.clock.advance(10 * SECOND)
    assert not publish.is_due(service)
    await scenario.ask("ana")
    assert publish.is_due(service)
    await publish.publish(service)
    scenario.clock.advance(publish.REFRESH)
    assert publish.is_due(service)
    outside.asked.clear()
    newest = await publish.publish(service)
    assert [body.partition(b"\n")[0] for _, _, body in outside.asked] == [
        b"old %d" % newest.size
    ] * 3


# --- a resource that issues nothing without them --------------------------------------------------


async def test_such_a_credential_follows_the_record_of_the_quorum(
    scenario: Scenario, outside: Outside
) -> None:
    connect(scenario, outside, "orders-prod")
    picked = await scenario.granted()
    [issued] = [e for e in scenario.entries(picked) if e.header.kind == "credential:issued"]
    [leaf] = issued.header.follows
    index = scenario.service.registry.indexes[leaf]
    record = records.parse(scenario.service.log.read_entry(index).header)
    assert isinstance(record, records.LogWitnessed)
    assert record.quorum
    [intent] = [e for e in scenario.entries(picked) if e.header.kind == "grant:authorized"]
    assert record.size > intent.index


async def test_without_the_quorum_it_is_not_made_and_no_approval_is_lost(
    scenario: Scenario, outside: Outside
) -> None:
    connect(scenario, outside, "orders-prod")
    outside.instead = {0: refuse, 1: refuse}
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    with pytest.raises(Unavailable, match="issues nothing without its witnesses"):
        await scenario.pick_up("ana", asked)
    assert scenario.target().accounts == {}
    assert scenario.last(asked, records.CredentialFailed).reason == "witnesses-missing"
    await scenario.advance(timedelta(minutes=1))
    assert scenario.read(asked).state == "approved"
    outside.instead.clear()
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_access_that_is_taken_away_while_witnesses_are_asked_is_never_made(
    scenario: Scenario, outside: Outside
) -> None:
    connect(scenario, outside, "orders-prod")
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    answering, ended = asyncio.Event(), asyncio.Event()
    really = outside.fetch

    async def slowly(*arguments: Any, **options: Any) -> Reply:
        answering.set()
        await ended.wait()
        return await really(*arguments, **options)

    outside.fetch = slowly  # type: ignore[method-assign]
    picking = asyncio.create_task(scenario.pick_up("ana", asked))
    await answering.wait()
    await scenario.revoke("cy", asked)
    ended.set()
    with pytest.raises(Conflict, match="access ended while its witnesses were asked"):
        await picking
    assert scenario.target().log == []


async def test_evidence_of_a_credential_whose_intent_no_quorum_had_cosigned_is_invalid(
    scenario: Scenario, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(scenario, outside, "orders-prod")
    await publish.publish(scenario.service)
    before = scenario.service.registry.witnessed
    assert before is not None

    async def too_old(*_: Any) -> bytes:
        return before.leaf

    monkeypatch.setattr(publish, "witnessed", too_old)
    picked = await scenario.granted()
    data = await scenario.export("aud", picked)
    with pytest.raises(BundleInvalid, match="had not cosigned its intent"):
        check.verify(data, scenario.key.verifier)


async def test_best_effort_waits_for_nobody(scenario: Scenario, outside: Outside) -> None:
    outside.instead = dict.fromkeys(range(3), refuse)
    picked = await scenario.granted()
    assert scenario.read(picked).state == "issued"
    assert outside.asked == []


async def test_broken_glass_waits_for_no_witness(scenario: Scenario, outside: Outside) -> None:
    connect(scenario, outside, "orders-prod")
    outside.instead = dict.fromkeys(range(3), refuse)
    asked = await scenario.ask("bo", incident="INC-1", emergency=True)
    assert (await scenario.pick_up("bo", asked)).issued is not None


async def test_many_pick_ups_at_once_share_the_witnesses_answer(
    scenario: Scenario, outside: Outside
) -> None:
    connect(scenario, outside, "orders-prod")
    cases = []
    for _ in range(5):
        asked = await scenario.ask("ana")
        await scenario.approve("cy", asked)
        cases.append(asked)
    outside.asked.clear()
    await asyncio.gather(*(scenario.pick_up("ana", asked) for asked in cases))
    assert len(outside.asked) <= 3 * len(cases) + 3


# --- another history ------------------------------------------------------------------------------


async def test_a_witness_that_remembers_more_than_there_is_stops_the_log(
    scenario: Scenario, outside: Outside
) -> None:
    """The database was put back to an older copy, with its head store."""
    ahead = Checkpoint(scenario.key.name, scenario.service.log.size + 5, b"\1" * 32)
    text = ahead.format()
    note = sign(ahead, scenario.key) + outside.keys[0].cosign(text, 1).line.encode()
    outside.instead[0] = reply(200, note)
    with pytest.raises(Contradicted, match=r"`w0` remembers .* older copy of the database"):
        await witnesses.remember(scenario.service)
    with pytest.raises(LogUnavailable, match="older copy"):
        await scenario.ask("ana")


async def test_a_witness_that_remembers_another_history_stops_the_log(
    scenario: Scenario, outside: Outside
) -> None:
    other = Checkpoint(scenario.key.name, scenario.service.log.size - 1, b"\1" * 32)
    calls = iter(
        [
            Reply(status=422, headers={}, body=b""),
            Reply(status=200, headers={}, body=sign(other, scenario.key)),
        ]
    )
    outside.instead[0] = lambda: next(calls)
    with pytest.raises(Contradicted, match="another history of the first"):
        await publish.publish(scenario.service)
    with pytest.raises(LogUnavailable, match="another history"):
        await scenario.ask("ana")


async def test_access_ends_all_the_same_when_the_log_was_stopped_by_a_witness(
    scenario: Scenario, outside: Outside
) -> None:
    scenario.checking = False  # the lists are behind a log that nobody may write
    picked = await scenario.granted()
    session = scenario.login(picked)
    scenario.service.log.halt("a test says so")
    await scenario.advance(timedelta(minutes=31))
    assert not session.alive


async def test_what_another_key_signed_about_us_stops_nothing(
    scenario: Scenario, outside: Outside
) -> None:
    stranger = SigningKey.generate(scenario.key.name)
    ahead = Checkpoint(scenario.key.name, scenario.service.log.size + 5, b"\1" * 32)
    outside.instead[0] = reply(200, sign(ahead, stranger))
    await witnesses.remember(scenario.service)
    await scenario.ask("ana")


async def test_what_a_witness_showed_outlives_a_restart_at_which_it_is_away(
    scenario: Scenario, outside: Outside, tmp_path: Path
) -> None:
    halted = scenario.service.halted = HaltFile(tmp_path / "contradicted")
    assert halted.why() is None
    ahead = Checkpoint(scenario.key.name, scenario.service.log.size + 5, b"\1" * 32)
    outside.instead[0] = reply(200, sign(ahead, scenario.key))
    for _ in range(2):  # what is there stays
        with pytest.raises(Contradicted):
            await witnesses.remember(scenario.service)
    assert "`w0` remembers" in (halted.why() or "")
    assert ahead.format().encode() in halted.path.read_bytes()


async def test_a_mirror_whose_checkpoint_is_too_large_holds_up_no_start(
    scenario: Scenario, tmp_path: Path
) -> None:
    mirrored(scenario, tmp_path / "far")
    (tmp_path / "far" / "checkpoint").write_bytes(b"x" * (512 * 1024 + 1))
    await witnesses.remember(scenario.service)
    await scenario.ask("ana")


async def test_pick_ups_without_a_quorum_wait_for_one_exchange_together(
    scenario: Scenario, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(scenario, outside, "orders-prod")
    cases = []
    for _ in range(8):
        asked = await scenario.ask("ana")
        await scenario.approve("cy", asked)
        cases.append(asked)
    attempts: list[float] = []

    async def silent(_method: str, url: str, *_: Any, **__: Any) -> Reply:
        scenario.clock.elapsed += 0.001  # time goes on while they wait
        attempts.extend([0.0] if url.startswith("https://w0") else [])
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(outside, "fetch", silent)
    results = await asyncio.gather(
        *(scenario.pick_up("ana", case) for case in cases), return_exceptions=True
    )
    assert all(isinstance(each, Unavailable) for each in results)
    assert len(attempts) <= 3


async def test_files_that_were_refused_take_no_witness_away(
    scenario: Scenario, outside: Outside
) -> None:
    """What the log's configuration says holds, though the process has read something else."""
    connect(scenario, outside, "orders-prod")
    required = {"resources": {"orders-prod": {"issue": "require-witnesses"}}}
    scenario.service._definitions[scenario.service.registry.configuration.digest] = required  # type: ignore[union-attr]  # there is one
    scenario.service.publishing = Publishing()
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    with pytest.raises(Unavailable, match="issues nothing without its witnesses"):
        await scenario.pick_up("ana", asked)


async def test_witnesses_that_are_down_hold_up_no_start(
    scenario: Scenario, outside: Outside
) -> None:
    outside.instead = dict.fromkeys(range(3), refuse)
    await witnesses.remember(scenario.service)
    await scenario.ask("ana")


async def test_what_they_remember_of_this_very_log_is_no_contradiction(
    scenario: Scenario, outside: Outside
) -> None:
    await publish.publish(scenario.service)
    await scenario.ask("ana")
    await witnesses.remember(scenario.service)
    await publish.publish(scenario.service)
    await witnesses.remember(scenario.service)


# --- upkeep and settings --------------------------------------------------------------------------


async def test_upkeep_publishes_and_says_what_fails(scenario: Scenario, outside: Outside) -> None:
    upkeep = Upkeep(service=scenario.service)
    upkeep.start_due()
    await upkeep.settle()
    assert scenario.service.log.store.published() is not None
    gauges = publish.gauges(scenario.service)
    assert gauges["muniment_witness_quorum"] == 1
    assert gauges["muniment_upkeep_failing"] == 0


SETTINGS: dict[str, Any] = {
    "installation": {"origin": "muniment.example/log"},
    "witnesses": {"policy": "witnesses.policy"},
}


def test_settings_read_the_policy_and_who_needs_it(outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "witnesses.policy").write_text(outside.policy)
    resource = {
        "connector": "postgresql", "tier": "prod", "environment": "production", "roles": {},
        "issue": "require-witnesses",
    }  # fmt: skip
    settings = Settings.model_validate({**SETTINGS, "resources": {"orders-prod": resource}})
    rules = read_witnesses(settings, tmp_path)
    assert rules is not None
    assert rules.required == {"orders-prod"}
    assert rules.text == outside.policy


def test_a_policy_that_nobody_can_meet_is_refused(outside: Outside, tmp_path: Path) -> None:
    settings = Settings.model_validate(SETTINGS)
    place = tmp_path / "witnesses.policy"
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_witnesses(settings, tmp_path)
    place.write_text(
        outside.policy.replace(" https://w0.example", "").replace(" https://w1.example", "")
    )
    with pytest.raises(ConfigInvalid, match="can never make its quorum"):
        read_witnesses(settings, tmp_path)
    place.write_text(outside.policy.replace("https://w0", "http://w0"))
    with pytest.raises(ConfigInvalid, match=r"`witnesses\.allow` names `http://w0\.example"):
        read_witnesses(settings, tmp_path)


def test_who_requires_witnesses_has_to_have_some() -> None:
    resource = {
        "connector": "postgresql", "tier": "prod", "environment": "production", "roles": {},
        "issue": "require-witnesses",
    }  # fmt: skip
    value = {"installation": SETTINGS["installation"], "resources": {"orders-prod": resource}}
    with pytest.raises(ValueError, match="set `witnesses`"):
        Settings.model_validate(value)


# --- mirrors and time stamps ----------------------------------------------------------------------


def mirrored(scenario: Scenario, folder: Path) -> Upkeep:
    rules = CopyRules(mirror=TileDirectory(folder), every=timedelta(minutes=1))
    scenario.service.publishing.mirrors = {"far": rules}
    return Upkeep(service=scenario.service)


async def keep(upkeep: Upkeep) -> None:
    for _ in range(3):  # a copy is due once something was published
        upkeep.start_due()
        await upkeep.settle()


async def test_upkeep_brings_a_mirror_up_to_what_is_published(
    scenario: Scenario, tmp_path: Path
) -> None:
    upkeep = mirrored(scenario, tmp_path / "far")
    await keep(upkeep)
    published = scenario.service.log.store.published()
    assert published is not None
    assert (tmp_path / "far" / "checkpoint").read_bytes() == published.note
    assert publish.gauges(scenario.service)["muniment_mirrors_behind"] == 0
    await scenario.ask("ana")
    scenario.clock.advance(timedelta(minutes=2))
    await keep(upkeep)
    newest = scenario.service.log.store.published()
    assert newest is not None
    assert newest.size > published.size
    assert (tmp_path / "far" / "checkpoint").read_bytes() == newest.note


async def test_a_mirror_that_keeps_more_than_there_is_stops_the_log(
    scenario: Scenario, tmp_path: Path
) -> None:
    ahead = Checkpoint(scenario.key.name, scenario.service.log.size + 5, b"\1" * 32)
    mirrored(scenario, tmp_path / "far")
    scenario.service.publishing.mirrors["far"].mirror.replace(
        "checkpoint", sign(ahead, scenario.key)
    )
    with pytest.raises(Contradicted, match="the mirror `far` remembers"):
        await witnesses.remember(scenario.service)
    with pytest.raises(LogUnavailable):
        await scenario.ask("ana")


async def test_a_mirror_that_fails_holds_up_nothing_and_says_so(
    scenario: Scenario, tmp_path: Path
) -> None:
    upkeep = mirrored(scenario, tmp_path / "far")
    (tmp_path / "far" / "tile").write_text("in the way")
    await keep(upkeep)
    assert list(scenario.service.publishing.failing) == ["mirror/far"]
    assert scenario.service.log.store.published() is not None
    assert publish.gauges(scenario.service)["muniment_upkeep_failing"] == 1
    (tmp_path / "far" / "tile").unlink()
    scenario.clock.advance(timedelta(minutes=10))
    await keep(upkeep)
    assert scenario.service.publishing.failing == {}


async def test_an_authority_that_is_down_is_asked_again(
    scenario: Scenario, outside: Outside
) -> None:
    authority = Authority(name="tsa", url="https://w9.example/tsa", every=timedelta(hours=1))
    scenario.service.publishing.authorities = {"tsa": authority}
    outside.instead[9] = refuse
    upkeep = Upkeep(service=scenario.service)
    await keep(upkeep)
    assert scenario.service.publishing.failing == {"stamp/tsa": "it is down"}
    asked = len(outside.asked)
    await keep(upkeep)
    assert len(outside.asked) == asked, "not at once"
    scenario.clock.advance(timedelta(minutes=1))
    await keep(upkeep)
    assert len(outside.asked) > asked
