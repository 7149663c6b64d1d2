"""Bundles that were written once are readable for ever, and say what they said on that day."""

from pathlib import Path

import pytest

from muniment.access import check
from muniment.evidence.bundle import Bundle
from muniment.evidence.note import VerifierKey
from muniment.evidence.stamp import read_roots
from muniment.evidence.verdict import Reader, headline
from muniment.evidence.witness_policy import WitnessPolicy

FOLDER = Path(__file__).parent / "golden" / "bundles"


def reader() -> Reader:
    return Reader(
        policy=WitnessPolicy.parse((FOLDER / "witnesses").read_text("utf-8")),
        roots=read_roots((FOLDER / "tsa-root.pem").read_bytes()),
    )


@pytest.mark.parametrize(
    ("version", "grade"),
    [("v1", "UNANCHORED"), ("v2", "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z")],
)
def test_a_bundle_of_every_format_verifies_as_it_did(version: str, grade: str) -> None:
    data = (FOLDER / f"{version}.json").read_bytes()
    key = VerifierKey.parse((FOLDER / "log.vkey").read_text("utf-8").strip())
    checked = check.verify(data, key, (), reader())
    assert headline(checked.verdict, checked.proved.vouched) == grade
    assert checked.state.endswith("removal verified")
    assert checked.completeness == "COMPLETE, closed at 13"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_bundle_of_every_format_is_written_as_it_was(version: str) -> None:
    data = (FOLDER / f"{version}.json").read_bytes()
    assert Bundle.parse(data).encode() == data
