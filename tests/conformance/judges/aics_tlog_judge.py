"""
A judge made of aics-tlog: its own audit of all tiles and bundles, inclusion and consistency proofs.

usage: aics_tlog_judge.py DIRECTORY VKEY
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from court import Refused, growths, inclusions, pronounce

aics = import_module("aics_tlog")  # by name: the types check with and without the package


def judge(directory: Path, vkey: str) -> str:
    key = aics.parse_vkey(vkey)

    def opened(text: str) -> Any:
        result = aics.verify_checkpoint(aics.parse_note(text), key, expected_origin=key.name)
        if not result.ok:
            raise Refused(result.error)
        return aics.parse_checkpoint(aics.parse_note(text).text)

    files = aics.FileSystemTileReader(directory)
    head = opened((directory / "checkpoint").read_text("utf-8"))
    audit = aics.audit_tiles(files, head.size, head.root)
    included = list(inclusions(directory))
    for each in included:
        checkpoint = opened(each.checkpoint)
        entry = aics.read_entry(files, each.index, head.size)
        found = (each.index, checkpoint.size, each.hashes, checkpoint.root)
        if not aics.verify_leaf_inclusion(entry, *found):
            raise Refused(f"the proof of entry {each.index} does not hold")
    grown = [each for each in growths(directory) if each.old]
    for step in grown:
        old = opened((directory / "checkpoints" / str(step.old)).read_text("utf-8"))
        new = opened(step.checkpoint)
        if not aics.verify_consistency(old.size, new.size, old.root, new.root, step.hashes):
            raise Refused(f"the log did not grow from size {step.old}")
    return (
        f"{audit.size} entries, {len(included)} inclusion proofs, {len(grown)} consistency proofs"
    )


pronounce(judge)
