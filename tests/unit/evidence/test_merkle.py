"""The tree against the definition in RFC 6962, written down as it stands there."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import LogInvalid, ProofInvalid
from muniment.evidence import merkle
from muniment.evidence.merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash

LEAVES = [leaf_hash(b"entry %d" % number) for number in range(70)]
SIZES = st.integers(0, len(LEAVES))


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_subproof(old: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if old <= split:
        return [*naive_subproof(old, leaves[:split], whole=whole), naive_root(leaves[split:])]
    return [*naive_subproof(old - split, leaves[split:], whole=False), naive_root(leaves[:split])]


def node_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    def node(level: int, index: int) -> bytes:
        subtree = leaves[index << level : (index + 1) << level]
        assert len(subtree) == 1 << level, "asked for a subtree that is not complete"
        return naive_root(subtree)

    return node


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_root_and_frontier_agree_with_the_definition(size: int) -> None:
    leaves = LEAVES[:size]
    frontier = Frontier()
    for leaf in leaves:
        frontier.push(leaf)
    assert merkle.root(leaves) == frontier.root() == naive_root(leaves)
    again = Frontier(size, frontier.peaks)
    from_store = Frontier.at(size, node_of(leaves))
    assert again.root() == from_store.root() == frontier.root()
    assert from_store.peaks == frontier.peaks


def test_pushing_completes_every_node_of_the_tree_once() -> None:
    frontier, nodes = Frontier(), {}
    for size, leaf in enumerate(LEAVES, start=1):
        for level, index, hashed in frontier.push(leaf):
            assert (level, index) not in nodes
            nodes[level, index] = hashed
        expected = {(level, i) for level in range(8) for i in range(size >> level)}
        assert nodes.keys() == expected
    node = node_of(LEAVES)
    assert all(hashed == node(*place) for place, hashed in nodes.items())


@settings(max_examples=80, deadline=None)
@given(st.integers(1, len(LEAVES)), st.data())
def test_inclusion_proofs_are_those_of_the_definition_and_verify(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = LEAVES[:size]
    proof = merkle.inclusion_proof(index, size, node_of(leaves))
    assert proof == naive_path(index, leaves)
    merkle.verify_inclusion(leaves[index], index, size, proof, merkle.root(leaves))


@settings(max_examples=80, deadline=None)
@given(SIZES, st.data())
def test_consistency_proofs_are_those_of_the_definition_and_verify(
    new: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, new))
    leaves = LEAVES[:new]
    proof = merkle.consistency_proof(old, new, node_of(leaves))
    assert proof == (naive_subproof(old, leaves, whole=True) if old else [])
    merkle.verify_consistency(old, new, proof, merkle.root(leaves[:old]), merkle.root(leaves))


@settings(max_examples=80, deadline=None)
@given(st.integers(2, len(LEAVES)), st.data())
def test_a_changed_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves, root = LEAVES[:size], naive_root(LEAVES[:size])
    proof = naive_path(index, leaves)
    at = data.draw(st.integers(0, len(proof) - 1))
    other = bytes(32)
    for changed in (
        proof[:at] + proof[at + 1 :],
        [*proof[:at], other, *proof[at:]],
        [*proof[:at], other, *proof[at + 1 :]],
        [*proof, root],
    ):
        with pytest.raises(ProofInvalid):
            merkle.verify_inclusion(leaves[index], index, size, changed, root)
    elsewhere = data.draw(st.integers(0, size - 1).filter(lambda place: place != index))
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(leaves[index], elsewhere, size, proof, root)


@settings(max_examples=80, deadline=None)
@given(st.integers(3, len(LEAVES)), st.data())
def test_a_changed_consistency_proof_is_refused(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    old_root, new_root = naive_root(LEAVES[:old]), naive_root(LEAVES[:new])
    proof = naive_subproof(old, LEAVES[:new], whole=True)
    at = data.draw(st.integers(0, len(proof) - 1))
    other = bytes(32)
    for changed in (
        proof[:at] + proof[at + 1 :],
        [*proof[:at], other, *proof[at + 1 :]],
        [*proof, new_root],
        [],
    ):
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(old, new, changed, old_root, new_root)
    with pytest.raises(ProofInvalid, match="another root of size"):
        merkle.verify_consistency(old, new, proof, other, new_root)
    with pytest.raises(ProofInvalid, match="another root of size"):
        merkle.verify_consistency(old, new, proof, old_root, other)


def test_hashes_of_another_length_are_refused() -> None:
    # RFC 6962: 33 + 31 bytes would hash like 32 + 32, so a shifted boundary has to be seen
    left, right = LEAVES[:2]
    root = node_hash(left, right)
    with pytest.raises(ProofInvalid, match="32 bytes"):
        merkle.verify_inclusion(left + right[:1], 0, 2, [right[1:]], root)
    with pytest.raises(ProofInvalid, match="32 bytes"):
        merkle.verify_consistency(1, 2, [right[1:]], left + right[:1], root)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (7, 3)])
def test_an_entry_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid, match="no entry"):
        merkle.inclusion_proof(index, size, node_of(LEAVES[:size]))
    with pytest.raises(ProofInvalid, match="no entry"):
        merkle.verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 0)])
def test_a_tree_does_not_begin_with_a_larger_one(old: int, new: int) -> None:
    with pytest.raises(ProofInvalid, match="no earlier tree"):
        merkle.consistency_proof(old, new, node_of(LEAVES))
    with pytest.raises(ProofInvalid, match="no earlier tree"):
        merkle.verify_consistency(old, new, [], EMPTY_ROOT, EMPTY_ROOT)


def test_an_empty_tree_is_consistent_with_every_tree() -> None:
    merkle.verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    merkle.verify_consistency(0, 5, [], EMPTY_ROOT, naive_root(LEAVES[:5]))


def test_from_size_0_any_other_proof_or_root_is_refused() -> None:
    root = naive_root(LEAVES[:5])
    with pytest.raises(ProofInvalid, match="has to be empty"):
        merkle.verify_consistency(0, 5, [root], EMPTY_ROOT, root)
    with pytest.raises(ProofInvalid, match="hash of nothing"):
        merkle.verify_consistency(0, 5, [], root, root)
    with pytest.raises(ProofInvalid, match="two different roots"):
        merkle.verify_consistency(0, 0, [], EMPTY_ROOT, root)
    with pytest.raises(ProofInvalid, match="32 bytes"):
        merkle.verify_consistency(0, 5, [], EMPTY_ROOT, b"root")


def test_two_roots_of_one_size_are_inconsistent() -> None:
    merkle.verify_consistency(5, 5, [], LEAVES[0], LEAVES[0])
    with pytest.raises(ProofInvalid, match="two different roots"):
        merkle.verify_consistency(5, 5, [], LEAVES[0], LEAVES[1])
    with pytest.raises(ProofInvalid, match="has to be empty"):
        merkle.verify_consistency(5, 5, [LEAVES[0]], LEAVES[0], LEAVES[0])


@pytest.mark.parametrize(
    ("size", "peaks"),
    [(0, [LEAVES[0]]), (3, [LEAVES[0]]), (4, LEAVES[:2]), (1, [b"short"]), (-1, [LEAVES[0]])],
)
def test_peaks_that_cannot_be_of_that_size_are_refused(size: int, peaks: list[bytes]) -> None:
    with pytest.raises(LogInvalid):
        Frontier(size, peaks)


def test_a_copy_of_a_frontier_grows_alone() -> None:
    frontier = Frontier()
    frontier.push(LEAVES[0])
    copy = frontier.copy()
    copy.push(LEAVES[1])
    assert (frontier.size, frontier.root()) == (1, LEAVES[0])
    assert (copy.size, copy.root()) == (2, naive_root(LEAVES[:2]))
    assert "size=2" in repr(copy)
