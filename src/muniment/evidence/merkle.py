"""
The Merkle tree of RFC 6962: roots, a frontier that grows, proofs and their verification.

A *node* `(level, index)` is the hash over the complete subtree of the entries
`index * 2**level` up to, not including, `(index + 1) * 2**level`; level 0 are the leaf hashes.
Complete subtrees never change again, so they are all that a store has to keep. Whatever else a tree
of some size needs is put together from them.

All hashes are SHA-256, 32 bytes.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.errors import LogInvalid, ProofInvalid

HASH_SIZE: Final = 32

#: RFC 6962 section 2.1: the hash of an empty list is the hash of an empty string.
EMPTY_ROOT: Final = sha256(b"").digest()

#: The hash of a complete subtree, by level and index.
Node: TypeAlias = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The leaf hash of an entry. Source: RFC 6962 section 2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a parent from the hashes of its children. Source: RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """
    The root over leaf hashes, all at once.

    NOTE: RFC 6962 splits from the top, at the largest power of two below the size. Pairing from the
    bottom and carrying an odd last hash up unchanged gives the same tree, without recursion.
    """
    row = list(leaf_hashes)
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return row[0] if row else EMPTY_ROOT


def peaks(size: int) -> Iterator[tuple[int, int]]:
    """The nodes `(level, index)` whose subtrees fill a tree of `size` entries, left to right."""
    start = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level, start >> level
            start += 1 << level


class Frontier:
    """
    The right edge of a growing tree: its size and the hashes of its `peaks`, at most 63 of them.

    This is all the state that appending needs. It changes in place; a batch that may fail works on
    a `copy`.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Take up a tree where it stood; raises LogInvalid if the peaks cannot be of that size."""
        self.size = size
        self._peaks = list(peaks)
        if size < 0 or len(self._peaks) != size.bit_count():
            raise LogInvalid(f"{len(self._peaks)} peaks do not make a tree of size {size}")
        if any(len(peak) != HASH_SIZE for peak in self._peaks):
            raise LogInvalid("a peak of the tree is not a SHA-256 hash")

    @classmethod
    def at(cls, size: int, node: Node) -> "Frontier":
        """The frontier of a tree of `size` entries, its peaks taken from a store."""
        return cls(size, (node(level, index) for level, index in peaks(size)))

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The hashes of the complete subtrees, the largest (leftmost) first."""
        return tuple(self._peaks)

    def copy(self) -> "Frontier":
        return Frontier(self.size, self._peaks)

    def push(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """
        Append one leaf hash and return the nodes that it completed, as `(level, index, hash)`.

        The first of them is the leaf itself. Every node is returned once in the life of a tree.
        """
        level, index, hashed = 0, self.size, leaf
        completed = [(level, index, hashed)]
        while index & 1:  # a right child: its left sibling is the last peak
            hashed = sha256(b"\x01" + self._peaks.pop() + hashed).digest()
            level, index = level + 1, index >> 1
            completed.append((level, index, hashed))
        self._peaks.append(hashed)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """The root of the tree as it stands: the peaks folded from the right."""
        if not self._peaks:
            return EMPTY_ROOT
        hashed = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            hashed = node_hash(peak, hashed)
        return hashed

    def __repr__(self) -> str:
        return f"Frontier(size={self.size}, root={self.root().hex()})"


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """
    The proof that entry `index` is in the tree of `size` entries: sibling hashes, the leaf's first.

    `node` is asked for complete subtrees only. Raises ProofInvalid if there is no such entry.
    Source: RFC 6962 section 2.1.1.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of size {size} has no entry {index}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:  # from the root down to the leaf, so the proof comes out reversed
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_hash(middle, end, node))
            end = middle
        else:
            proof.append(_range_hash(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """
    The proof that the tree of `new` entries begins with the tree of `old` entries.

    Empty if `old` is 0 or equal to `new`. Raises ProofInvalid if `old` is not within the new tree.
    Source: RFC 6962 section 2.1.2.
    """
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of size {new} has no earlier tree of size {old}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end = 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_hash(middle, end, node))
            end = middle
        else:
            proof.append(_range_hash(start, middle, node))
            start = middle
    if start > 0:  # a subtree that begins at 0 is the old tree itself, whose root the verifier has
        proof.append(_range_hash(start, end, node))
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """
    Check that the leaf hash `leaf` is entry `index` of the tree with this size and root.

    Raises ProofInvalid. Source: RFC 9162 section 2.1.3.2.
    """
    # RFC 9162 2.1.3.2, step 1
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of size {size} has no entry {index}")
    _require_hashes([leaf, *proof])
    # steps 2 and 3: `fn` walks up from the leaf, `sn` from the last leaf
    fn, sn, computed = index, size - 1, leaf
    for sibling in proof:  # step 4
        if sn == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            fn, sn = _skip_levels_without_sibling(fn, sn)
        else:
            computed = node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:  # step 5
        raise ProofInvalid("the inclusion proof is too short")
    if not hmac.compare_digest(computed, root):
        raise ProofInvalid(f"the inclusion proof of entry {index} leads to another root")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """
    Check that the tree (`new`, `new_root`) begins with the tree (`old`, `old_root`).

    Raises ProofInvalid. Source: RFC 9162 section 2.1.4.2, and for size 0, which that section leaves
    open, C2SP tlog-witness: from the empty tree only the empty proof is accepted, whatever the new
    tree is; its root has to be the empty root. (transparency-dev/merkle refuses any proof from size
    0. Who must not accept an unproven head asks for `old > 0` first.)
    """
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of size {new} has no earlier tree of size {old}")
    _require_hashes(proof)
    if old in (0, new):
        _verify_without_proof(old, new, proof, old_root, new_root)
    else:
        _verify_growth(old, new, proof, old_root, new_root)


def _verify_without_proof(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    if proof:
        raise ProofInvalid(f"from size {old} to size {new} the consistency proof has to be empty")
    if old == 0 and not hmac.compare_digest(old_root, EMPTY_ROOT):
        raise ProofInvalid("the root of an empty tree is not the hash of nothing")
    if old == new and not hmac.compare_digest(old_root, new_root):
        raise ProofInvalid(f"two different roots for the same size {new}")
    if old == 0:
        _require_hashes([new_root])  # nothing else here looks at it


def _verify_growth(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    # RFC 9162 2.1.4.2, step 1: the proof leaves out an old tree that is one complete subtree
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not proof:
        raise ProofInvalid("the consistency proof is empty")
    # steps 2 to 4
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_computed = new_computed = path[0]
    for sibling in path[1:]:  # step 5
        if sn == 0:
            raise ProofInvalid("the consistency proof is too long")
        if fn & 1 or fn == sn:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            fn, sn = _skip_levels_without_sibling(fn, sn)
        else:
            new_computed = node_hash(new_computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    # step 6
    if sn != 0:
        raise ProofInvalid("the consistency proof is too short")
    if not hmac.compare_digest(old_computed, old_root):
        raise ProofInvalid(f"the consistency proof leads to another root of size {old}")
    if not hmac.compare_digest(new_computed, new_root):
        raise ProofInvalid(f"the consistency proof leads to another root of size {new}")


def _skip_levels_without_sibling(fn: int, sn: int) -> tuple[int, int]:
    """RFC 9162: as long as `fn` is even and not 0, its node ends its level and has no sibling."""
    while not fn & 1 and fn:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _split(size: int) -> int:
    """RFC 6962 section 2.1: the largest power of two smaller than `size` (which is at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def _range_hash(start: int, end: int, node: Node) -> bytes:
    """MTH(D[start:end]) of a range that begins a subtree, from nodes of complete subtrees."""
    size = end - start
    if size.bit_count() == 1:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_range_hash(start, middle, node), _range_hash(middle, end, node))


def _require_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(hashed) != HASH_SIZE for hashed in hashes):
        raise ProofInvalid("a hash of the proof is not 32 bytes long")
