"""Old records stay readable: one golden header for each kind and fold version, never edited."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from muniment.access import records
from muniment.access.fields import to_json
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.*.v1.json"))
LIVES = sorted(GOLDEN.glob("life-*.v1.json"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


RECORDS = {record.KIND: record for record in load("golden_records").RECORDS}
golden = load("golden_lives")


def test_every_kind_has_a_golden_record() -> None:
    assert {file.name for file in FILES} == {
        f"{k.replace(':', '.')}.v1.json" for k in records.KINDS
    }
    assert RECORDS.keys() == records.KINDS.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_golden_record_is_read_and_written_byte_for_byte(file: Path) -> None:
    data = file.read_bytes()
    header = Header.parse(data)
    assert header.encode() == data
    assert header.fold == 1
    assert file.name == f"{header.kind.replace(':', '.')}.v1.json"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_golden_record_means_what_it_meant(file: Path) -> None:
    header = Header.parse(file.read_bytes())
    record = records.parse(header)
    assert record == RECORDS[header.kind]
    assert record.body() == header.body
    assert header.sections.keys() == set(record.SECTIONS)


@pytest.mark.parametrize("file", LIVES, ids=lambda file: file.name)
def test_a_golden_life_folds_to_the_states_it_folded_to(file: Path) -> None:
    life = json.loads(file.read_bytes())
    first = Header.parse(life["headers"][0].encode())
    case = golden.start(bytes.fromhex(life["log_id"]), first)
    for line, expected in zip(life["headers"], life["states"], strict=True):
        data = line.encode()
        case = golden.advance(case, Header.parse(data), leaf_hash(data))
        assert to_json(case) == expected
    assert case.closed


def test_a_golden_life_was_approved_again_after_its_first_order_failed() -> None:
    life = json.loads((GOLDEN / "life-of-an-undone-grant.v1.json").read_bytes())
    kinds = [json.loads(line)["kind"] for line in life["headers"]]
    states = [state["state"] for state in life["states"]]
    undone = kinds.index("grant:undone")
    assert (states[undone], kinds[undone + 1]) == ("undone", "removal:verified")
    assert states[undone + 1] == "approved"
    assert kinds.count("approval:given") == 1
    assert kinds.count("grant:authorized") == 2
