"""
A judge made of tlog-scales: signatures, every tile and entry, inclusion and consistency proofs.

usage: tlog_scales_judge.py DIRECTORY VKEY
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from court import Refused, growths, inclusions, pronounce

# NOTE: by name, so that the types check with and without the package
_MODULES = ("backend", "reader", "signing", "tiles", "tlog")
backend, reader, signing, tiles, tlog = (import_module(f"tlog_scales.{name}") for name in _MODULES)


def judge(directory: Path, vkey: str) -> str:
    key = signing.Vkey.from_string(vkey)

    def opened(text: str) -> Any:
        checkpoint = tlog.Checkpoint.from_text(text)
        checkpoint.verify(key)
        return checkpoint

    log = reader.TilesReader(backend.LocalBackend(directory))
    head = opened(log.get_checkpoint().serialize())
    if log.calculate_root_hash() != head.root_hash:
        raise Refused("the tiles give another root")
    for index in range(head.size):
        entry = log.get_entry(index)
        if tiles.leaf_hash(entry) != log._get_from_tile(0, *divmod(index, 256)):
            raise Refused(f"entry {index} is not the one in its tile")
        if index % 256 == 0:  # a path from a leaf to the root passes every hash of its tile
            log.get_inclusion_proof(index, head.size).check(tiles.leaf_hash(entry), head.root_hash)
    included = list(inclusions(directory))
    for each in included:
        checkpoint = opened(each.checkpoint)
        proof = tlog.InclusionProof(each.index, checkpoint.size, each.hashes)
        proof.check(tiles.leaf_hash(log.get_entry(each.index)), checkpoint.root_hash)
    grown = [each for each in growths(directory) if each.old]
    for step in grown:
        old = opened((directory / "checkpoints" / str(step.old)).read_text("utf-8"))
        new = opened(step.checkpoint)
        proof = tlog.ConsistencyProof(step.old, new.size, step.hashes)
        proof.check(old.root_hash, new.root_hash)
    return f"{head.size} entries, {len(included)} inclusion proofs, {len(grown)} consistency proofs"


pronounce(judge)
