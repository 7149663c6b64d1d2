"""The tree against the vectors of transparency-dev/merkle (see vectors/README.md)."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import ProofInvalid
from muniment.evidence import merkle

VECTORS = json.loads((Path(__file__).parent / "vectors" / "merkle.json").read_text())

# RFC 6962 trees over the first n of eight entries; testonly/constants.go of transparency-dev/merkle
ENTRIES = [
    bytes.fromhex(entry)
    for entry in [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def hashes(encoded: list[str]) -> list[bytes]:
    return [b64decode(each) for each in encoded]


@pytest.mark.parametrize("size", range(9))
def test_the_classic_tree_has_its_known_root_at_every_size(size: int) -> None:
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES[:size]]
    frontier = merkle.Frontier()
    for leaf in leaves:
        frontier.push(leaf)
    assert merkle.root(leaves).hex() == frontier.root().hex() == ROOTS[size]


@pytest.mark.parametrize(("name", "vector"), VECTORS["inclusion"].items())
def test_an_inclusion_vector_comes_out_as_it_says(name: str, vector: dict[str, Any]) -> None:
    arguments = (
        b64decode(vector["leafHash"] or ""),
        vector["leafIdx"],
        vector["treeSize"],
        hashes(vector["proof"]),
        b64decode(vector["root"] or ""),
    )
    if vector["wantErr"]:
        with pytest.raises(ProofInvalid):
            merkle.verify_inclusion(*arguments)
    else:
        merkle.verify_inclusion(*arguments)


@pytest.mark.parametrize(("name", "vector"), VECTORS["consistency"].items())
def test_a_consistency_vector_comes_out_as_it_says(name: str, vector: dict[str, Any]) -> None:
    arguments = (
        vector["size1"],
        vector["size2"],
        hashes(vector["proof"]),
        b64decode(vector["root1"]),
        b64decode(vector["root2"]),
    )
    if vector["wantErr"]:
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(*arguments)
    else:
        merkle.verify_consistency(*arguments)


def test_the_one_vector_that_differs_in_meaning_differs_only_by_its_root() -> None:
    vector = VECTORS["consistency"]["additional/size1-is-zero-and-size2-is-not-zero"]
    assert (vector["size1"], vector["proof"], vector["wantErr"]) == (0, [], True)
    assert len(b64decode(vector["root2"])) == 12
    # C2SP tlog-witness: from size 0 the empty proof is accepted
    merkle.verify_consistency(0, vector["size2"], [], b64decode(vector["root1"]), bytes(32))


def test_there_are_98_vectors_of_each_kind() -> None:
    assert (len(VECTORS["inclusion"]), len(VECTORS["consistency"])) == (98, 98)
    assert sum(not each["wantErr"] for kind in VECTORS.values() for each in kind.values()) >= 10
