"""The conformance run of another witness, litewitness, request by request against ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from muniment.evidence.note import CosigningKey, VerifierKey, open_note
from muniment.evidence.witness import Witness
from muniment.stores.witness_store import SQLiteWitnessStore

RUN: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "litewitness.json").read_text("utf-8")
)
ORIGIN: Final[str] = RUN["log"]["origin"]
LOG: Final = VerifierKey(ORIGIN, bytes.fromhex(RUN["log"]["public_key"]))
KEY: Final = CosigningKey.generate("example.com/witness")
NOW: Final = 1_800_000_000


#: where we answer otherwise, by the number of the step
OURS: Final = {
    # the forged signature there is not in canonical base64, so that here it is no signature at all
    1: 400,
    # C2SP tlog-witness v1.0.0: an unknown origin is not found; litewitness is older
    2: 404,
}


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    store = SQLiteWitnessStore.create(tmp_path / "witness.db", KEY.verifier)
    yield Witness(KEY, store, lambda: {ORIGIN: (LOG,)}, lambda: NOW)
    store.close()


def test_each_request_of_litewitness_is_answered_as_litewitness_answers_it(
    witness: Witness,
) -> None:
    for number, step in enumerate(RUN["steps"]):
        request = step["request"].encode()
        answer = witness.add_checkpoint(request)
        assert answer.status == OURS.get(number, step["status"])
        assert answer.body == step.get("body", answer.body)
        if answer.status == 200:
            note = request.partition(b"\n\n")[2] + answer.body.encode()
            assert open_note(note, [LOG, KEY.verifier]).verified == (LOG, KEY.verifier)


def test_the_forged_signature_of_litewitness_in_canonical_base64_is_forbidden(
    witness: Witness,
) -> None:
    first, second, *_ = (step["request"] for step in RUN["steps"])
    assert witness.add_checkpoint(first.encode()).status == 200
    assert second.endswith("gx=\n")
    forged = second.removesuffix("gx=\n") + "gw=\n"
    assert witness.add_checkpoint(forged.encode()).status == 403
