"""Bundles, heads and whole logs of a time when the keys changed, to readers of either key."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from muniment.access import check
from muniment.errors import BundleInvalid, NoteInvalid
from muniment.evidence import case_proof
from muniment.evidence.audit import audit, graded
from muniment.evidence.audit_tiles import audit_tiles
from muniment.evidence.bundle import FORMAT, Bundle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.keys import only
from muniment.evidence.note import SigningKey, VerifierKey, parse_note
from muniment.evidence.publishing import read_published
from muniment.evidence.store import Published
from muniment.evidence.tile_log import TileLog
from muniment.evidence.verdict import NOBODY, Verdict
from muniment.operations import index_cases
from muniment.operations.heartbeat import beat
from muniment.operations.mirror import copy
from muniment.operations.take_in import ProposedRetirement
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.scenario import ORIGIN, Scenario


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """What was carried away before, during and after the overlap."""

    scenario: Scenario
    case: str
    old: SigningKey
    new: SigningKey
    before: bytes
    overlap: bytes
    after: bytes
    #: heads of the three times, as they were signed
    heads: tuple[bytes, bytes, bytes]

    @property
    def old_key(self) -> VerifierKey:
        return self.old.verifier

    @property
    def new_key(self) -> VerifierKey:
        return self.new.verifier

    @property
    def both(self) -> tuple[VerifierKey, VerifierKey]:
        return self.old_key, self.new_key


@pytest.fixture(params=["rotated", "compromised"])
async def rotated(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rotated]:
    async with Scenario(tmp_path) as scenario:
        case = (await scenario.granted()).case.id
        bundles = [await scenario.export("ana", case)]
        heads = [scenario.service.log.checkpoint]
        scenario.keys.append(SigningKey.generate(ORIGIN))
        await scenario.take_in()
        bundles.append(await scenario.export("ana", case))
        heads.append(scenario.service.log.checkpoint)
        gone = ProposedRetirement(key=scenario.key.verifier, reason=request.param)
        scenario.retired.append(gone)
        await scenario.take_in()
        await beat(scenario.service)
        bundles.append(await scenario.export("ana", case, heads))
        heads.append(scenario.service.log.checkpoint)
        yield Rotated(
            scenario=scenario,
            case=case,
            old=scenario.key,
            new=scenario.keys[1],
            before=bundles[0],
            overlap=bundles[1],
            after=bundles[2],
            heads=(heads[0], heads[1], heads[2]),
        )


# --- bundles --------------------------------------------------------------------------------------


def test_a_bundle_has_one_line_of_the_log_at_every_stage(rotated: Rotated) -> None:
    ids = []
    for data in (rotated.before, rotated.overlap, rotated.after):
        bundle = Bundle.parse(data)
        (line,) = parse_note(bundle.checkpoint)[1]
        ids.append(line.key_id)
        assert f'"format":"{FORMAT}"'.encode() in data
    assert ids == [rotated.old_key.key_id, rotated.old_key.key_id, rotated.new_key.key_id]


def test_each_bundle_verifies_with_the_key_that_its_reader_has_and_with_both(
    rotated: Rotated,
) -> None:
    for data, key in [
        (rotated.before, rotated.old_key),
        (rotated.overlap, rotated.old_key),
        (rotated.after, rotated.new_key),
    ]:
        assert check.verify(data, key).proved.key == key
        assert check.verify(data, rotated.both).proved.key == key
        assert check.verify(data, rotated.both[::-1]).verdict is Verdict.UNANCHORED


def test_a_reader_without_the_key_is_told_which_one_signed(rotated: Rotated) -> None:
    old, new = rotated.old_key, rotated.new_key
    for data, has, lacks in [
        (rotated.before, new, old),
        (rotated.overlap, new, old),
        (rotated.after, old, new),
    ]:
        match = f"the log's key {lacks.key_id.hex()}, and you named {has.key_id.hex()}"
        with pytest.raises(BundleInvalid, match=match) as told:
            check.verify(data, has)
        assert told.value.step == 2


def test_heads_that_were_kept_have_their_power_whoever_signs_now(rotated: Rotated) -> None:
    checked = check.verify(rotated.after, rotated.both, rotated.heads[:2])
    assert checked.verdict is Verdict.SELF_WITNESSED
    one_line = [only(note, [rotated.old_key]) for note in rotated.heads[:2]]
    assert check.verify(rotated.after, rotated.both, one_line).verdict is Verdict.SELF_WITNESSED
    with pytest.raises(BundleInvalid, match="a head that you kept is not of this log"):
        check.verify(rotated.after, rotated.new_key, rotated.heads[:1])
    size = Checkpoint.parse(parse_note(rotated.heads[0])[0]).size
    other = sign(Checkpoint(ORIGIN, size, b"x" * 32), rotated.old)
    assert check.verify(rotated.after, rotated.both, [other]).verdict is Verdict.DIVERGED


def test_what_a_retired_key_signs_afterwards_is_refused_with_the_log_s_own_words(
    rotated: Rotated,
) -> None:
    bundle = Bundle.parse(rotated.after)
    text = Checkpoint.parse(parse_note(bundle.checkpoint)[0])
    stolen = replace(bundle, checkpoint=sign(text, rotated.old)).encode()
    for named in (rotated.old_key, rotated.both):
        with pytest.raises(BundleInvalid, match="the log has it as retired") as told:
            check.verify(stolen, named)
        assert told.value.step == 3


def test_a_key_that_no_record_adds_is_not_believed_for_having_signed(rotated: Rotated) -> None:
    bundle = Bundle.parse(rotated.before)
    text = Checkpoint.parse(parse_note(bundle.checkpoint)[0])
    foreign = replace(bundle, checkpoint=sign(text, rotated.new)).encode()
    for named in (rotated.new_key, rotated.both):
        with pytest.raises(BundleInvalid, match="no record here adds yours") as told:
            check.verify(foreign, named)
        assert told.value.step == 3


def test_two_lines_of_the_log_are_one_too_many_in_a_bundle(rotated: Rotated) -> None:
    bundle = Bundle.parse(rotated.overlap)
    text = parse_note(bundle.checkpoint)[0]
    both = bundle.checkpoint + rotated.new.sign(text).rpartition(b"\n\n")[2]
    with pytest.raises(BundleInvalid, match="are not those of the log"):
        check.verify(replace(bundle, checkpoint=both).encode(), rotated.both)


def test_keys_of_two_logs_are_not_named_at_once(rotated: Rotated) -> None:
    other = SigningKey.generate("other.example/log").verifier
    with pytest.raises(NoteInvalid, match="not of one log"):
        check.verify(rotated.before, [rotated.old_key, other])


# --- whole logs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["quick", "full"])
def test_a_whole_log_is_held_against_the_new_key_or_both_and_not_the_old_alone(
    rotated: Rotated, full: bool
) -> None:
    store = rotated.scenario.store
    for named in (rotated.new_key, rotated.both, rotated.both[::-1]):
        assert audit(store, named, full=full).verdict is Verdict.UNANCHORED
    kept = audit(store, rotated.both, rotated.heads, full=full)
    assert kept.verdict is Verdict.SELF_WITNESSED
    alone = audit(store, rotated.old_key, full=full)
    assert "no known key signed" in str(alone.bad)
    other = SigningKey.generate(ORIGIN).verifier
    assert not audit(store, other, full=full).holds


def test_an_auditor_of_the_new_key_passes_over_what_was_published_under_the_old(
    rotated: Rotated,
) -> None:
    store, note = rotated.scenario.store, rotated.heads[0]
    store.publish(Published(Checkpoint.parse(parse_note(note)[0]).size, note))
    for named in (rotated.new_key, rotated.both):
        found = graded(audit(store, named), named, NOBODY)
        assert found.verdict is Verdict.UNANCHORED, found.bad


def test_a_second_line_of_the_log_is_counted_as_no_witness(rotated: Rotated) -> None:
    store, note = rotated.scenario.store, rotated.heads[1]
    store.publish(Published(Checkpoint.parse(parse_note(note)[0]).size, note))
    found = graded(audit(store, rotated.new_key), rotated.new_key, NOBODY)
    assert found.vouched is not None
    assert found.vouched.unknown == 0


def test_a_kept_checkpoint_that_lacks_a_line_is_found_by_a_full_audit(rotated: Rotated) -> None:
    store, note = rotated.scenario.store, rotated.heads[1]
    size = Checkpoint.parse(parse_note(note)[0]).size
    connection = store._mine().connection
    connection.execute(
        "UPDATE checkpoints SET note = ? WHERE size = ?", (only(note, [rotated.old_key]), size)
    )
    found = audit(store, rotated.both, full=True)
    connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size))
    assert f"the checkpoint kept for size {size}" in str(found.bad)
    assert f"the key {rotated.new_key.key_id.hex()} of the log did not sign it" in str(found.bad)


def test_tiles_need_the_first_key_named_or_the_records_read(rotated: Rotated) -> None:
    store, note = rotated.scenario.store, rotated.heads[2]
    published = Published(Checkpoint.parse(parse_note(note)[0]).size, note)
    tiles = TileLog(read_published(store, published))
    assert audit_tiles(tiles, rotated.both).holds
    assert audit_tiles(tiles, rotated.new_key, full=True).holds
    quick = audit_tiles(tiles, rotated.new_key)
    assert "name that one, too" in str(quick.bad)
    since = audit_tiles(tiles, rotated.both).established
    assert audit_tiles(tiles, rotated.new_key, since=since).holds
    other = SigningKey.generate(ORIGIN).verifier
    assert not audit_tiles(tiles, other, full=True).holds


async def test_a_mirror_goes_on_over_a_rotation(rotated: Rotated, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    mirror, log = TileDirectory(tmp_path / "mirror"), rotated.scenario.service.log
    sizes = []
    for note in rotated.heads:
        size = Checkpoint.parse(parse_note(note)[0]).size
        sizes.append((await copy(log, mirror, Published(size, note))).size)
    assert sizes == sorted(sizes)
    kept = (tmp_path / "mirror" / "checkpoint").read_bytes()
    assert kept == rotated.heads[2]


async def test_the_proof_of_a_case_has_the_one_line_that_its_reader_needs(
    rotated: Rotated,
) -> None:
    scenario = rotated.scenario
    await index_cases.index(scenario.service)
    proof = await index_cases.prove(scenario.service, scenario.caller("aud"), rotated.case)
    for named in (rotated.new_key, rotated.both):
        assert case_proof.verify(proof, named).place is not None
    with pytest.raises(NoteInvalid, match="no known key"):
        case_proof.verify(proof, rotated.old_key)


async def test_the_proof_of_a_case_during_an_overlap_is_for_readers_of_the_old_key(
    tmp_path: Path,
) -> None:
    async with Scenario(tmp_path) as scenario:
        case = (await scenario.granted()).case.id
        scenario.keys.append(SigningKey.generate(ORIGIN))
        await scenario.take_in()
        await index_cases.index(scenario.service)
        proof = await index_cases.prove(scenario.service, scenario.caller("aud"), case)
        assert case_proof.verify(proof, scenario.key.verifier).place is not None
