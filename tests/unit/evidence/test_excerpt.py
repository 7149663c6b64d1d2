"""An excerpt proves what it shows, and how much it does not show."""

import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import BundleInvalid, FoldInvalid, NotCanonical
from muniment.evidence import canonical, excerpt, merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.excerpt import Heading
from muniment.evidence.excerpt_proof import ProvedExcerpt, verify_excerpt
from muniment.evidence.note import SigningKey, parse_note
from muniment.evidence.record import Header
from muniment.evidence.verdict import Verdict
from muniment.testing.vouching import AT, Vouchers
from muniment.testing.written_year import WrittenYear

YEAR = WrittenYear(grants=12, days=3)
ENTRIES = tuple(YEAR.entries())
LEAVES = tuple(merkle.leaf_hash(each) for each in ENTRIES)
SIZE = len(ENTRIES)
KEY = YEAR.key.verifier


@cache
def node(level: int, index: int) -> bytes:
    return merkle.root(LEAVES[index << level : index + 1 << level])


def head(size: int, key: SigningKey = YEAR.key) -> bytes:
    return sign(Checkpoint(KEY.name, size, merkle.root(LEAVES[:size])), key)


def lines_of(shown: Iterable[int], size: int = SIZE) -> list[bytes]:
    heading = Heading(checkpoint=head(size))
    chosen = ((index, ENTRIES[index]) for index in sorted(shown))
    return list(excerpt.lines(heading, size, chosen, node))


def proved(lines: Sequence[bytes], heads: Sequence[bytes] = ()) -> ProvedExcerpt:
    return verify_excerpt(excerpt.zipped(lines), KEY, heads=heads)


def failed_step(lines: Sequence[bytes]) -> int:
    with pytest.raises(BundleInvalid) as failed:
        proved(lines)
    return failed.value.step


# --- what holds -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, SIZE - 1)), st.integers(1, SIZE))
def test_whatever_is_shown_is_proved_and_the_rest_is_counted(shown: set[int], size: int) -> None:
    chosen = {0} | {index for index in shown if index < size}
    found = proved(lines_of(chosen, size))
    assert (found.shown, found.hidden) == (len(chosen), size - len(chosen))
    assert found.verdict is Verdict.UNANCHORED
    assert found.log_id == LEAVES[0]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_what_is_hidden_is_covered_by_the_fewest_hashes(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    nodes = list(excerpt.cover(start, stop))
    covered = [each for level, index in nodes for each in (index << level, index + 1 << level)]
    assert covered == sorted(covered)
    assert sum(1 << level for level, _ in nodes) == stop - start
    parents = [(level + 1, index >> 1) for level, index in nodes]
    assert len(set(parents)) == len(parents), "two of them would be one"


def test_each_record_is_handed_on_with_its_index() -> None:
    seen: dict[int, str] = {}
    shown = [0, 5, 6, SIZE - 1]
    verify_excerpt(
        excerpt.zipped(lines_of(shown)), KEY, see=lambda i, header: seen.update({i: header.id})
    )
    assert seen == {index: Header.parse(ENTRIES[index]).id for index in shown}


def test_it_is_known_from_where_on_every_entry_is_shown() -> None:
    assert proved(lines_of({0, *range(40, SIZE)})).whole_from == 40
    assert proved(lines_of(range(SIZE))).whole_from == 0
    assert proved(lines_of({0, 1})).whole_from == SIZE


def test_the_same_lines_give_the_same_bytes_and_gzip_reads_them() -> None:
    lines = lines_of({0, 9})
    data = b"".join(excerpt.zipped(lines))
    assert data == b"".join(excerpt.zipped(lines))
    assert gzip.decompress(data) == b"".join(line + b"\n" for line in lines)


def test_pieces_may_be_cut_anywhere() -> None:
    data = b"".join(excerpt.zipped(lines_of({0, 9, 10})))
    for width in (1, 7, 100_000):
        pieces = [data[place : place + width] for place in range(0, len(data), width)]
        assert verify_excerpt(pieces, KEY).shown == 3


# --- heads and witnesses ----------------------------------------------------------------------


def test_a_head_that_the_reader_kept_is_compared_where_its_entries_are_shown() -> None:
    lines = lines_of({0, *range(40, SIZE)})
    assert proved(lines, [head(50)]).verdict is Verdict.SELF_WITNESSED
    among_hidden = proved(lines, [head(33)])
    assert [each.size for each in among_hidden.not_shown] == [33]


def test_a_head_of_another_history_is_a_fork() -> None:
    other = sign(Checkpoint(KEY.name, 50, b"\0" * 32), YEAR.key)
    found = proved(lines_of(range(SIZE)), [other])
    assert found.verdict is Verdict.DIVERGED
    assert 6 not in found.steps


def test_a_head_of_another_log_is_none() -> None:
    foreign = sign(Checkpoint("other.example", 5, b"\0" * 32), SigningKey.generate("other.example"))
    with pytest.raises(BundleInvalid, match="not of this log") as failed:
        proved(lines_of({0}), [foreign])
    assert failed.value.step == 6


def test_witnesses_of_the_reader_give_a_grade() -> None:
    vouchers = Vouchers()
    note = head(SIZE)
    text, _ = parse_note(note)
    witnesses = sorted(vouchers.witnesses, key=lambda each: each.verifier.vkey)[:2]
    lines = "".join(each.cosign(text, 1_800_000_000).line for each in witnesses)
    heading = Heading(
        checkpoint=note + lines.encode(),
        witnesses=tuple(each.verifier for each in witnesses),
        stamps=(vouchers.authority.token(text.encode(), AT),),
    )
    data = excerpt.write(heading, SIZE, [(0, ENTRIES[0])], node)
    found = verify_excerpt(data, KEY, reader=vouchers.reader)
    assert found.verdict is Verdict.WITNESSED
    assert [each.doubt for each in found.vouched.stamps] == [""]


# --- what does not ----------------------------------------------------------------------------


def changed(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new, 1)


def flipped(digit: bytes) -> bytes:
    return b"1" if digit != b"1" else b"2"


def _other_hash(lines: list[bytes]) -> None:
    place = next(i for i, line in enumerate(lines) if line.startswith(b"["))
    lines[place] = lines[place][:-3] + flipped(lines[place][-3:-2]) + lines[place][-2:]


def _other_record(lines: list[bytes]) -> None:
    lines[-1] = changed(lines[-1], b'"kind":"', b'"kind":"x')


def _left_out(lines: list[bytes]) -> None:
    del lines[-1]


def _twice(lines: list[bytes]) -> None:
    lines.append(lines[-1])


def _swapped(lines: list[bytes]) -> None:
    lines[-1], lines[-2] = lines[-2], lines[-1]


def _hidden_in_two(lines: list[bytes]) -> None:
    place = next(i for i, line in enumerate(lines) if line.startswith(b"[1,"))
    index = sum(1 << int(line[1:2]) if line[:1] == b"[" else 1 for line in lines[1:place])
    halves = (b'[0,"%s"]' % LEAVES[index + n].hex().encode() for n in (0, 1))
    lines[place : place + 1] = halves


def _shifted(lines: list[bytes]) -> None:
    place = next(i for i, line in enumerate(lines) if line.startswith(b"[1,"))
    lines.insert(place, lines.pop(place - 1))


def _no_first(lines: list[bytes]) -> None:
    lines[1] = b'[0,"%s"]' % LEAVES[0].hex().encode()


def _level_as_text(lines: list[bytes]) -> None:
    place = next(i for i, line in enumerate(lines) if line.startswith(b"["))
    lines[place] = changed(lines[place], b"[", b"[0")


def _empty_line(lines: list[bytes]) -> None:
    lines.insert(2, b"")


def _space(lines: list[bytes]) -> None:
    lines[-1] = changed(lines[-1], b",", b", ")


def _other_size(lines: list[bytes]) -> None:
    lines[0] = changed(lines[0], f"\\n{SIZE}\\n".encode(), f"\\n{SIZE + 1}\\n".encode())


def _other_format(lines: list[bytes]) -> None:
    lines[0] = changed(lines[0], b"excerpt/v1", b"excerpt/v2")


def _field_more(lines: list[bytes]) -> None:
    lines[0] = changed(lines[0], b'"stamps"', b'"extra":1,"stamps"')


def _long_line(lines: list[bytes]) -> None:
    lines[-1] = b"{" + b" " * 20_000


@pytest.mark.parametrize(
    ("attack", "step"),
    [
        (_other_hash, 4),
        (_other_record, 4),
        (_left_out, 4),
        (_twice, 4),
        (_swapped, 4),
        (_hidden_in_two, 1),
        (_shifted, 1),
        (_no_first, 3),
        (_level_as_text, 1),
        (_empty_line, 1),
        (_space, 5),
        (_other_size, 2),
        (_other_format, 1),
        (_field_more, 1),
        (_long_line, 1),
    ],
)
def test_whatever_is_changed_is_seen(attack: Callable[[list[bytes]], None], step: int) -> None:
    lines = lines_of({0, 1, 4, 7, 8, *range(SIZE - 3, SIZE)})
    assert proved(lines).shown
    attack(lines)
    found = failed_step(lines)
    # a record that is no record fails when it is read, before the root is known
    assert found in (step, 5) if step == 4 else found == step


def test_every_changed_byte_of_the_file_is_seen() -> None:
    data = b"".join(excerpt.zipped(lines_of({0, SIZE - 1})))
    content = gzip.decompress(data)
    for place in range(0, len(data), 11):
        for bit in (0x01, 0x80):
            bad = bytearray(data)
            bad[place] ^= bit
            try:
                verify_excerpt([bytes(bad)], KEY)
            except BundleInvalid:
                continue
            # what fills the last byte of a raw stream says nothing: RFC 1951 section 3.2.3
            assert zlib.decompress(bytes(bad), 31) == content


@pytest.mark.parametrize("cut", [0, 5, 10, 200, -1])
def test_a_file_that_was_cut_short_is_none(cut: int) -> None:
    data = b"".join(excerpt.zipped(lines_of({0})))
    with pytest.raises(BundleInvalid, match="step 1"):
        verify_excerpt([data[:cut]], KEY)


def test_nothing_may_come_after_the_end() -> None:
    data = b"".join(excerpt.zipped(lines_of({0})))
    with pytest.raises(BundleInvalid, match="goes on after its end"):
        verify_excerpt([data, data], KEY)


@pytest.mark.parametrize("size", [1, 1 << 10, 1 << 30])
def test_what_comes_after_the_end_of_a_long_file_is_not_read_for_ever(size: int) -> None:
    data = b"".join(excerpt.zipped([b'{"line":%d}' % each for each in range(9_000)]))
    more = data + data[: len(data) // 2]
    read = excerpt.unzipped(more[at : at + size] for at in range(0, len(more), size))
    with pytest.raises(NotCanonical, match="goes on after its end"):
        deque(islice(read, 9_001))


def test_a_file_that_grows_a_thousandfold_is_stopped_at_its_first_line() -> None:
    bomb = b"".join(excerpt.zipped([b"x" * (1 << 26)]))
    with pytest.raises(BundleInvalid, match="longer than"):
        verify_excerpt([bomb], KEY)


@given(st.binary(max_size=300), st.booleans())
def test_whatever_else_is_given_costs_nothing_but_its_own_refusal(
    junk: bytes, as_lines: bool
) -> None:
    lines = [lines_of({0})[0], *junk.split(b"\n")]
    with pytest.raises(BundleInvalid):
        verify_excerpt(excerpt.zipped(lines) if as_lines else [excerpt.GZIP, junk], KEY)


def test_another_key_than_the_readers_proves_nothing() -> None:
    other = SigningKey.generate(KEY.name).verifier
    with pytest.raises(BundleInvalid) as failed:
        verify_excerpt(excerpt.zipped(lines_of({0})), other)
    assert failed.value.step == 2


def test_a_record_that_nobody_knows_fails_where_it_is_read() -> None:
    def refuse(_index: int, _header: Header) -> None:
        raise FoldInvalid("unknown")

    with pytest.raises(BundleInvalid, match="unknown") as failed:
        verify_excerpt(excerpt.zipped(lines_of({0})), KEY, see=refuse)
    assert failed.value.step == 5


def test_a_stamp_that_is_listed_twice_is_not_canonical() -> None:
    line = canonical.encode(
        {
            "checkpoint": head(SIZE).decode(),
            "format": excerpt.FORMAT,
            "stamps": ["AAAA", "AAAA"],
            "witnesses": [],
        }
    )
    assert failed_step([line, *lines_of({0})[1:]]) == 1
