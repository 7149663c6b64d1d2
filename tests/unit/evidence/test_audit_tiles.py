"""Audits of a log from its tiles: what they find, and that a database would have shown the same."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.access import records
from muniment.errors import LogInvalid
from muniment.evidence import merkle
from muniment.evidence.append import Proposal
from muniment.evidence.audit import audit
from muniment.evidence.audit_tiles import AuditedTiles, Established, audit_tiles, stretch
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.publishing import read_published, tile_bytes
from muniment.evidence.store import Published
from muniment.evidence.tile_log import TileLog, leaves_of
from muniment.evidence.tiles import WIDTH, Tile, decode_bundle, encode_bundle, tiles_for
from muniment.evidence.verdict import Verdict
from muniment.testing.cases import WrittenCase, WrittenLog, new_case

Resources = dict[str, bytes]


def fill(written: WrittenLog, size: int) -> None:
    """Heartbeats, in batches of a few hundred, until the log has this size."""
    futures = []
    for _ in range(size - written.log.size):
        case = new_case("hbt")
        draft = records.LogHeartbeat(actor=records.SERVICE, unrecorded={}).draft(case, written.now)
        futures.append(written.log.append(Proposal(drafts=(draft,), reads={case: None})))
    for future in futures:
        future.result(timeout=30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path_factory.mktemp("log"))
    WrittenCase(log).whole()
    for size in (255, 256, 257, 600, 777):
        fill(log, size)
    yield log
    log.close()


def note_at(written: WrittenLog, size: int) -> bytes:
    """The log's own note of any size, as if it had been asked then."""
    leaves = [merkle.leaf_hash(data) for _, data in written.store.entries(0, size)]
    return sign(Checkpoint(written.key.name, size, merkle.root(leaves)), written.key)


def resources(written: WrittenLog, size: int) -> Resources:
    found = {tile.path: tile_bytes(written.store, tile) for tile in tiles_for(size)}
    return {**found, "checkpoint": note_at(written, size)}


def run(written: WrittenLog, shown: Resources, *heads: bytes, **options: Any) -> AuditedTiles:
    return audit_tiles(TileLog(shown.get), written.key.verifier, heads, **options)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, 777])
@pytest.mark.parametrize("full", [False, True])
def test_a_whole_log_holds(written: WrittenLog, size: int, full: bool) -> None:
    found = run(written, resources(written, size), full=full)
    assert (found.verdict, found.bad, found.holds) == (Verdict.UNANCHORED, None, True)
    assert found.checkpoint == open_checkpoint(found.note, written.key.name, [written.key.verifier])
    assert bool(found.cases) == full


def test_what_a_store_publishes_is_what_was_exported(written: WrittenLog) -> None:
    read = read_published(written.store, Published(600, note_at(written, 600)))
    assert {path: read(path) for path in resources(written, 600)} == resources(written, 600)
    for beyond in ("tile/0/002.p/89", "tile/0/002", "tile/2/000.p/1", "tile/entries/003", "tile/x"):
        assert read(beyond) is None


def test_every_earlier_head_is_a_beginning_of_it(written: WrittenLog) -> None:
    heads = [note_at(written, size) for size in (1, 3, 255, 256, 257, 512, 700, 777)]
    found = run(written, resources(written, 777), *heads)
    assert found.verdict is Verdict.SELF_WITNESSED
    assert all(one.agrees for one in found.compared)


def test_ranges_may_be_hashed_elsewhere(written: WrittenLog) -> None:
    log = TileLog(resources(written, 777).get)
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        found = audit_tiles(
            log,
            written.key.verifier,
            spread=lambda ranges: pool.map(lambda each: stretch(log, *each), ranges),
            step=256,
            progress=lambda done, _: seen.append(done),
        )
    assert (found.holds, seen) == (True, [256, 512, 768, 777])


@given(
    entries=st.lists(st.binary(max_size=300), max_size=6),
    width=st.integers(0, 7),
    cut=st.integers(-3, 3),
)
def test_leaves_are_taken_from_a_whole_bundle_or_not_at_all(
    entries: list[bytes], width: int, cut: int
) -> None:
    bundle = encode_bundle(entries)
    bundle = bundle[:cut] if cut < 0 else bundle + bytes(cut)
    try:
        expected = [merkle.leaf_hash(each) for each in decode_bundle(bundle, width)]
    except LogInvalid:
        with pytest.raises(LogInvalid):
            leaves_of(bundle, width)
    else:
        assert leaves_of(bundle, width) == expected


# --- going on from an earlier audit --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 255, 256, 300, 512, 770, 777])
def test_an_audit_goes_on_where_an_earlier_one_ended(written: WrittenLog, size: int) -> None:
    before = run(written, resources(written, size)).established
    read: list[str] = []
    shown = resources(written, 777)

    def reading(path: str) -> bytes | None:
        read.append(path)
        return shown.get(path)

    found = audit_tiles(TileLog(reading), written.key.verifier, since=before)
    assert (found.verdict, found.bad) == (Verdict.SELF_WITNESSED, None)
    assert found.since == size - size % 256
    entries = [path for path in read if "entries" in path]
    assert len(set(entries)) == (777 + 255) // 256 - size // 256
    assert found.established == run(written, shown).established


def test_a_full_audit_reads_everything_again(written: WrittenLog) -> None:
    shown = resources(written, 777)
    found = run(written, shown, since=run(written, shown).established, full=True)
    assert (found.since, found.cases > 500) == (0, True)


def test_another_history_is_diverged_although_every_byte_of_it_holds(
    written: WrittenLog, tmp_path: Path
) -> None:
    other = WrittenLog(tmp_path, key=written.key)
    fill(other, 600)
    shown = resources(other, 600)
    other.close()
    for size in (300, 600):
        known = run(written, resources(written, size)).established
        found = run(written, shown, since=known)
        assert found.verdict is Verdict.DIVERGED
        assert found.compared[0].shown is not None
        assert not found.compared[0].agrees
    assert run(written, shown, note_at(written, 2)).verdict is Verdict.DIVERGED


def test_a_log_that_became_smaller_is_diverged(written: WrittenLog) -> None:
    known = run(written, resources(written, 600)).established
    found = run(written, resources(written, 599), since=known)
    assert (found.verdict, found.compared[0].shown) == (Verdict.DIVERGED, None)


def test_remembered_subtrees_that_are_not_of_the_head_are_not_gone_on_from(
    written: WrittenLog,
) -> None:
    known = run(written, resources(written, 600)).established
    assert known is not None
    damaged = Established(known.note, (bytes(32), *known.peaks[1:]))
    assert run(written, resources(written, 777), since=damaged).since == 0


def test_a_changed_entry_that_was_hashed_before_is_not_taken_for_new(written: WrittenLog) -> None:
    """What lies below the remembered head is not read; but in its last, partial bundle it is."""
    known = run(written, resources(written, 600)).established
    shown = resources(written, 777)
    shown["tile/entries/002"] = flipped(shown["tile/entries/002"], 40)
    found = run(written, shown, since=known)
    assert found.bad is not None
    assert found.bad.index == 512


def test_a_tile_that_was_changed_below_the_remembered_head_is_found(written: WrittenLog) -> None:
    known = run(written, resources(written, 600)).established
    shown = resources(written, 777)
    shown["tile/1/000.p/3"] = flipped(shown["tile/1/000.p/3"], 3)
    found = run(written, shown, since=known)
    assert (found.verdict, found.compared[0].shown) == (Verdict.INVALID, None)


# --- whoever serves it lies ----------------------------------------------------------------------


def test_two_answers_to_one_question_do_not_help(written: WrittenLog, tmp_path: Path) -> None:
    """Entry 0 is asked for twice: once of another log, whose key it names."""
    other = WrittenLog(tmp_path)
    fill(other, 777)
    shown = resources(written, 777)
    foreign = decode_bundle(tile_bytes(other.store, Tile(-1, 0)), WIDTH)
    other.close()
    own = decode_bundle(shown["tile/entries/000"], WIDTH)
    answers = iter([shown["tile/entries/000"], encode_bundle([foreign[0], *own[1:]])])

    def lying(path: str) -> bytes | None:
        return next(answers) if path == "tile/entries/000" else shown.get(path)

    found = audit_tiles(TileLog(lying), written.key.verifier)
    assert found.bad is not None
    assert (found.verdict, found.bad.index) == (Verdict.INVALID, 0)


def test_another_key_and_no_checkpoint_are_refused(written: WrittenLog) -> None:
    other = written.key.generate(written.key.name).verifier
    assert audit_tiles(TileLog(resources(written, 3).get), other).verdict is Verdict.INVALID
    assert run(written, {}).verdict is Verdict.INVALID


def an_entry(shown: Resources, path: str, entry: int) -> None:
    tile = Tile.parse(path)
    entries = decode_bundle(shown[path], tile.width)
    entries[entry] = flipped(entries[entry], 40)
    shown[path] = encode_bundle(entries)


def test_an_altered_entry_is_named_with_its_record(written: WrittenLog) -> None:
    shown = resources(written, 777)
    an_entry(shown, "tile/entries/002", 7)
    bad = run(written, shown).bad
    assert bad is not None
    assert (bad.index, "is not what was written" in bad.what) == (519, True)


def test_an_entry_altered_with_its_hash_is_narrowed_down(written: WrittenLog) -> None:
    shown = resources(written, 777)
    an_entry(shown, "tile/entries/002", 7)
    leaves = [merkle.leaf_hash(data) for data in decode_bundle(shown["tile/entries/002"], WIDTH)]
    shown["tile/0/002"] = b"".join(leaves)
    bad = run(written, shown).bad
    assert bad is not None
    assert str(bad) == "entry 512: this one, or one up to entry 767, is not what was written"
    shown["tile/1/000.p/3"] = shown["tile/1/000.p/3"][:64] + merkle.root(leaves)
    bad = run(written, shown).bad
    assert bad is not None
    assert bad.index is None


# --- as a database would show it -----------------------------------------------------------------


class Altered:
    """A store of which one thing is another, or gone."""

    def __init__(self, written: WrittenLog, **changed: Callable[..., Any]) -> None:
        self._store = written.store
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        if name in self._changed:
            return partial(self._changed[name], getattr(self._store, name))
        return getattr(self._store, name)


SIZE = 777
PATHS = [tile.path for tile in tiles_for(SIZE)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_entry_of_tiles_is_blamed_like_one_of_a_database(
    written: WrittenLog, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, SIZE - 1), "entry")
    whole = [entry for _, entry in written.store.entries(0, SIZE)]
    at = data.draw(st.integers(0, len(whole[index]) - 1), "byte")
    bit = data.draw(st.integers(0, 7), "bit")
    gone = data.draw(st.booleans(), "gone")
    changed = whole[index][:at] + bytes([whole[index][at] ^ 1 << bit]) + whole[index][at + 1 :]

    def entries(real: Any, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for place, entry in real(start, stop):
            if place != index:
                yield place, entry
            elif not gone:
                yield place, changed

    stored: Any = Altered(written, entries=entries)
    of_database = audit(stored, written.key.verifier)
    shown = resources(written, SIZE)
    tile = Tile(-1, index // WIDTH, min(WIDTH, SIZE - index // WIDTH * WIDTH))
    kept = decode_bundle(shown[tile.path], tile.width)
    kept[index % WIDTH : index % WIDTH + 1] = [] if gone else [changed]
    shown[tile.path] = encode_bundle(kept)
    of_tiles = run(written, shown)
    assert of_tiles.verdict is of_database.verdict is Verdict.INVALID
    assert of_tiles.bad is not None
    assert of_database.bad is not None
    if not gone:
        assert of_tiles.bad.index == of_database.bad.index == index
    assert (of_tiles.bad.index or 0) // WIDTH == index // WIDTH


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from([*PATHS, "checkpoint"]),
    place=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(["flip", "cut", "longer", "gone", "swapped"]),
    resumed=st.booleans(),
)
def test_no_byte_of_any_resource_may_be_another(
    written: WrittenLog, path: str, place: float, how: str, resumed: bool
) -> None:
    shown, known = resources(written, SIZE), None
    if resumed:
        # of what an earlier audit hashed, only the edge is read again
        known = run(written, resources(written, 600)).established
        before = [tile.path for tile in tiles_for(600) if tile.width == WIDTH]
        if path in before:
            return
    data = shown[path]
    match how:
        case "flip":
            shown[path] = flipped(data, int(place * len(data)))
        case "cut":
            shown[path] = data[: int(place * len(data))]
        case "longer":
            shown[path] = data + b"\0"
        case "gone":
            del shown[path]
        case "swapped":
            other = shown["tile/0/001"]
            if data == other:
                return
            shown[path] = other
        case _:
            raise AssertionError(how)
    found = run(written, shown, since=known)
    assert not found.holds
    assert found.verdict is Verdict.INVALID
    assert found.established is None
