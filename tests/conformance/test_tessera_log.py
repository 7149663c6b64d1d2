"""Tessera's own test log, reproduced byte for byte from its key and its words."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from muniment.evidence import merkle, tiles
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint, sign
from muniment.evidence.note import SigningKey, VerifierKey

LOG = json.loads((Path(__file__).parent / "vectors" / "tessera.json").read_text())
ORIGIN = "example.com/log/testdata"
KEY = SigningKey.parse(LOG["key"]["skey"])
ENTRIES = (
    b"one two three four five six seven eit nain ten ileven twelf threeten fourten fivten"
).split()
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


@pytest.mark.parametrize("size", range(16))
def test_a_checkpoint_is_the_same_to_the_byte(size: int) -> None:
    ours = sign(Checkpoint(ORIGIN, size, merkle.root(LEAVES[:size])), KEY)
    assert ours == LOG["checkpoints"][str(size)].encode()
    opened = open_checkpoint(ours, ORIGIN, [VerifierKey.parse(LOG["key"]["vkey"])])
    assert opened == Checkpoint(ORIGIN, size, merkle.root(LEAVES[:size]))


@pytest.mark.parametrize("size", range(1, 16))
def test_tile_and_entry_bundle_are_the_same_to_the_byte(size: int) -> None:
    bundle, tile = tiles.tiles_for(size)
    assert b"".join(LEAVES[:size]) == b64decode(LOG["tiles"][tile.path])
    theirs = b64decode(LOG["bundles"][bundle.path])
    assert tiles.encode_bundle(ENTRIES[:size]) == theirs
    assert tiles.decode_bundle(theirs, size) == ENTRIES[:size]


def test_the_tiles_of_tessera_prove_every_entry_and_every_growth() -> None:
    def tile(level: int, index: int, width: int) -> bytes:
        return b64decode(LOG["tiles"][tiles.Tile(level, index, width).path])

    for size in range(1, 16):
        node = tiles.TileReader(size, tile).node
        root = merkle.root(LEAVES[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, node)
            merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
            proof = merkle.consistency_proof(index, size, node)
            merkle.verify_consistency(index, size, proof, merkle.root(LEAVES[:index]), root)
