"""The terms hash: it changes with everything that an approver approves, and with nothing else."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from lives import ANA, BO, CASE, LOG, Life, request

from muniment.access import records
from muniment.access.records import AccessRequested, ExtensionRequested
from muniment.access.terms import extension_terms, request_terms, short_code
from muniment.evidence.record import Header

SEALED = sha256(b"why").digest()
ASKED = request()
EXTENSION = ExtensionRequested(actor=ANA, seconds=3600)


def header(record: records.Record, **changes: Any) -> Header:
    return Life().header(record, **{"sections": {"reason": SEALED}, **changes})


def terms(log: bytes = LOG, asked: AccessRequested = ASKED, **changes: Any) -> bytes:
    return request_terms(log, header(asked, **changes), asked)


CHANGES: dict[str, Callable[[AccessRequested], AccessRequested]] = {
    "requester": lambda r: replace(r, requester="prn_bo"),
    "persons": lambda r: replace(r, actor=replace(ANA, persons=("per_ana", "per_bo"))),
    "resource": lambda r: replace(r, resource="orders-staging"),
    "role": lambda r: replace(r, role="readonly"),
    "definition": lambda r: replace(r, definition=SEALED),
    "seconds": lambda r: replace(r, seconds=1801),
    "emergency": lambda r: replace(r, emergency=True),
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_terms_change_with_what_is_asked_for(field: str) -> None:
    assert terms(asked=CHANGES[field](ASKED)) != terms()


def test_all_changes_of_terms_differ_from_one_another() -> None:
    assert len({terms(asked=change(ASKED)) for change in CHANGES.values()}) == len(CHANGES)


def test_terms_mean_nothing_in_another_log() -> None:
    assert terms(log=SEALED) != terms()


def test_terms_are_of_one_case() -> None:
    assert terms(case="mun_" + "b" * 26) != terms()


@pytest.mark.parametrize(
    "sections", [{}, {"reason": LOG}, {"note": SEALED}, {"reason": SEALED, "note": SEALED}]
)
def test_terms_change_with_what_is_sealed(sections: dict[str, bytes]) -> None:
    assert terms(sections=sections) != terms()


def test_terms_do_not_change_with_how_somebody_was_authenticated_or_when() -> None:
    later = replace(ASKED, actor=replace(ANA, assurance="signature"))
    assert terms(asked=later) == terms()
    assert request_terms(LOG, header(ASKED, prev=SEALED, follows=(SEALED,)), ASKED) == terms()


def test_terms_need_no_content_of_a_section_only_its_commitment() -> None:
    assert len(terms()) == 32


def test_terms_of_an_extension_change_with_what_it_extends_and_by_how_much() -> None:
    def of(
        log: bytes = LOG,
        before: bytes = SEALED,
        extension: ExtensionRequested = EXTENSION,
        **changes: Any,
    ) -> bytes:
        return extension_terms(log, header(extension, **changes), extension, before)

    different = {
        of(),
        of(log=SEALED),
        of(before=LOG),
        of(extension=replace(EXTENSION, seconds=3601)),
        of(case="mun_" + "b" * 26),
        of(position=7),
        of(sections={}),
    }
    assert len(different) == 7
    assert of(extension=replace(EXTENSION, actor=BO)) == of()


def test_the_fold_computes_terms_of_the_case_it_is_in() -> None:
    life = Life().requested()
    assert life.case.id == CASE
    assert life.case.current.terms == terms(sections={})


def test_the_short_code_is_the_hash_s_first_forty_bits_in_two_groups() -> None:
    assert short_code(bytes.fromhex("00443214c7" + "ff" * 27)) == "ABCD-EFGH"
    assert short_code(terms()) != short_code(terms(asked=request(seconds=61)))
