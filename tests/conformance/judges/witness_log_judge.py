"""
A judge made of witness-log: a C2SP witness that is led through the growth of the log, in Rust.

It remembers one head and cosigns the next only if that continues it. It sees no tiles; inclusion
proofs are checked against the entries at their indexes, the newest checkpoint by its signature.

usage: witness_log_judge.py DIRECTORY VKEY
"""

from base64 import b64decode
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from court import Refused, entry, growths, inclusions, pronounce

core = import_module("witness_log._core")  # by name: the types check with and without the package
_NOW = 1_800_000_000
_OK = 200


def judge(directory: Path, vkey: str) -> str:
    witness = core.WitnessService.new("judge.example/witness", bytes(32))
    if not witness.add_log(vkey.partition("+")[0], vkey):
        raise Refused("the witness does not take the key")
    steps = list(growths(directory))
    for step in steps:
        show(witness, step.request, f"growth from {step.old}")
    head = (directory / "checkpoint").read_text("utf-8")
    _, size, root, *_ = head.split("\n")
    again = f"old {size}\n\n"
    show(witness, again + head, "the checkpoint")
    included = list(inclusions(directory))
    for each in included:
        show(witness, again + each.checkpoint, f"the checkpoint over entry {each.index}")
        leaf = sha256(b"\0" + entry(directory, each.index, int(size))).hexdigest()
        proof = [hashed.hex() for hashed in each.hashes]
        root_hex = b64decode(root).hex()
        if not core.verify_inclusion(leaf, each.index, int(size), proof, root_hex):
            raise Refused(f"the proof of entry {each.index} does not hold")
    grown = sum(1 for step in steps if step.old)
    return f"{len(included)} inclusion proofs, {grown} consistency proofs"


def show(witness: Any, request: str, what: str) -> None:
    status, answer = witness.handle_add_checkpoint(request, _NOW)
    if status != _OK or not answer.startswith("\N{EM DASH} judge.example/witness "):
        raise Refused(f"the witness answers {status} to {what}: {answer}")


pronounce(judge)
