"""The bytes of a record: frozen, one form, and sealed apart from what is personal."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import NotCanonical
from muniment.evidence import canonical
from muniment.evidence.record import (
    MAX_HEADER,
    MAX_SECTION,
    Header,
    Sealed,
    check_case_id,
    digest,
)

CASE = "mun_" + "a" * 26
AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
HEADER = Header(
    kind="access:requested", fold=1, case=CASE, position=1, at=AT, body={"seconds": 1800},
    prev=b"\x01" * 32, follows=(b"\x02" * 32, b"\x03" * 32), documents=(b"\x04" * 32,),
    sections={"reason": b"\x05" * 32},
)  # fmt: skip
#: frozen: these bytes are in logs already
GOLDEN = (
    '{"at":"2026-11-21T10:00:00.000Z","body":{"seconds":1800},"documents":["' + "04" * 32 + '"],'
    '"fold":1,"follows":["' + "02" * 32 + '","' + "03" * 32 + '"],"format":1,"id":"' + CASE + '/1",'
    '"kind":"access:requested","prev":"'
    + "01" * 32
    + '","sections":{"reason":"'
    + "05" * 32
    + '"}}'
).encode()


def test_the_bytes_of_a_header_never_change() -> None:
    assert HEADER.encode() == GOLDEN
    assert Header.parse(GOLDEN) == HEADER
    assert HEADER.id == CASE + "/1"


def test_a_late_record_says_when_it_was_observed() -> None:
    late = replace(HEADER, observed=AT - timedelta(hours=1))
    data = late.encode()
    assert data == GOLDEN.replace(b'"prev":', b'"observed":"2026-11-21T09:00:00.000Z","prev":')
    assert Header.parse(data) == late


def test_the_first_record_of_a_case_has_no_predecessor() -> None:
    first = replace(HEADER, position=0, prev=None)
    assert b'"prev":null' in first.encode()
    assert Header.parse(first.encode()).prev is None


def test_a_time_of_another_zone_is_written_as_utc_and_cut_to_the_millisecond() -> None:
    zone = timezone(timedelta(hours=2))
    there = replace(HEADER, at=datetime(2026, 11, 21, 12, 0, 0, 999, tzinfo=zone))
    assert there.encode() == GOLDEN


@given(
    position=st.integers(0, 999_999_999),
    seconds=st.integers(-(2**53) + 1, 2**53 - 1),
    text=st.text(st.characters(max_codepoint=127), max_size=50),
    moment=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_is_written_is_read_back_as_it_was(
    position: int, seconds: int, text: str, moment: datetime
) -> None:
    at = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    header = replace(HEADER, position=position, at=at, body={"n": seconds, "text": text})
    assert Header.parse(header.encode()) == header


def altered(**changes: Any) -> bytes:
    value: Any = canonical.decode(GOLDEN)
    return canonical.encode({**value, **changes})


def without(name: str) -> bytes:
    value: Any = canonical.decode(GOLDEN)
    del value[name]
    return canonical.encode(value)


HASH = "ab" * 32
NO_HEADERS = {
    "nothing": b"",
    "no object": b"[]",
    "a space": GOLDEN.replace(b",", b", ", 1),
    "a newline at the end": GOLDEN + b"\n",
    "keys in another order": GOLDEN[:1] + GOLDEN[-len(b'"sections":{}}') :] + GOLDEN[1:],
    "not ASCII": GOLDEN.replace(b"1800", '"ü"'.encode()),
    "too large": GOLDEN.replace(b"1800", b'"' + b"x" * MAX_HEADER + b'"'),
    "another format": altered(format=2),
    "no format": without("format"),
    "no body": without("body"),
    "no sections": without("sections"),
    "no prev": without("prev"),
    "a field more": altered(extra=1),
    "a float": GOLDEN.replace(b"1800", b"1.5"),
    "a kind with a capital": altered(kind="Access:requested"),
    "a kind with a newline": altered(kind="access:requested\n"),
    "a kind without an event": altered(kind="access"),
    "fold version zero": altered(fold=0),
    "fold version true": altered(fold=True),
    "fold version as text": altered(fold="1"),
    "an id without a position": altered(id=CASE),
    "an id with a leading zero": altered(id=CASE + "/01"),
    "an id with a sign": altered(id=CASE + "/-1"),
    "an id with other digits": altered(id=CASE + "/1 "),
    "an id as a number": altered(id=1),
    "an id of ten digits": altered(id=CASE + "/1000000000"),
    "a case id that is too short": altered(id="mun_" + "a" * 25 + "/1"),
    "a case id with other letters": altered(id="mun_" + "0" * 26 + "/1"),
    "a time without milliseconds": altered(at="2026-11-21T10:00:00Z"),
    "a time of another zone": altered(at="2026-11-21T10:00:00.000+00:00"),
    "a time that is none": altered(at="2026-13-21T10:00:00.000Z"),
    "a body that is a list": altered(body=[]),
    "a prev in capitals": altered(prev=HASH.upper()),
    "a prev that is too short": altered(prev=HASH[:-2]),
    "a prev that is empty": altered(prev=""),
    "follows that are no list": altered(follows=HASH),
    "follows that hold null": altered(follows=[None]),
    "documents that hold a number": altered(documents=[1]),
    "sections that are a list": altered(sections=[]),
    "a section with a capital": altered(sections={"Reason": HASH}),
    "a section without a name": altered(sections={"": HASH}),
    "a section that is no hash": altered(sections={"reason": "x"}),
}


@pytest.mark.parametrize("data", NO_HEADERS.values(), ids=NO_HEADERS)
def test_bytes_that_are_no_header_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        Header.parse(data)


def test_an_observed_that_is_null_is_refused() -> None:
    with pytest.raises(NotCanonical):
        Header.parse(altered(observed=None))


def test_a_header_that_is_too_large_is_not_written() -> None:
    with pytest.raises(NotCanonical, match="at most 16384"):
        replace(HEADER, body={"text": "x" * MAX_HEADER}).encode()


def test_a_header_that_is_not_ascii_is_not_written() -> None:
    with pytest.raises(NotCanonical, match=f"the header of `{CASE}/1` is not ASCII"):
        replace(HEADER, body={"text": "Zoë"}).encode()


def test_a_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(NotCanonical, match="without a time zone"):
        replace(HEADER, at=AT.replace(tzinfo=None)).encode()


@pytest.mark.parametrize("case", ["", "mun_", CASE + "a", CASE[:-1], CASE + "\n", "Mun" + CASE[3:]])
def test_a_case_id_has_one_form(case: str) -> None:
    assert check_case_id(CASE) == CASE
    with pytest.raises(NotCanonical, match="not a case id"):
        check_case_id(case)


# --- sections ------------------------------------------------------------------------------------

LOG_ID = b"\x0a" * 32
SEALED = Sealed(b"\x0b" * 32, b"orders are stuck")


def test_a_commitment_is_the_hash_that_the_design_says() -> None:
    """Written out once more, so that nobody changes it unseen."""
    name, record = b"reason", f"{CASE}/0".encode()
    by_hand = sha256(
        b"muniment-section/v1\0" + LOG_ID + b"\x0b" * 32
        + len(name).to_bytes(2, "big") + name
        + len(record).to_bytes(2, "big") + record
        + len(SEALED.content).to_bytes(8, "big") + SEALED.content
    ).digest()  # fmt: skip
    assert SEALED.commitment(LOG_ID, f"{CASE}/0", "reason") == by_hand
    assert by_hand.hex() == "2b74531f1235d4385fa6a27a14c6b5656f1f6b312c031d76c3432ba5c9a191bc"


def test_a_commitment_is_bound_to_log_record_name_salt_and_content() -> None:
    own = SEALED.commitment(LOG_ID, f"{CASE}/0", "reason")
    others = {
        SEALED.commitment(b"\x0c" * 32, f"{CASE}/0", "reason"),
        SEALED.commitment(LOG_ID, f"{CASE}/1", "reason"),
        SEALED.commitment(LOG_ID, f"{CASE}/0", "note"),
        Sealed(b"\x0c" * 32, SEALED.content).commitment(LOG_ID, f"{CASE}/0", "reason"),
        Sealed(SEALED.salt, b"orders are fine!").commitment(LOG_ID, f"{CASE}/0", "reason"),
    }
    assert len(others - {own}) == 5


def test_nothing_can_be_moved_from_one_part_of_a_commitment_to_the_next() -> None:
    one = Sealed(SEALED.salt, b"bc").commitment(LOG_ID, "a", "r")
    assert one != Sealed(SEALED.salt, b"c").commitment(LOG_ID, "ab", "r")
    assert one != Sealed(SEALED.salt, b"bc").commitment(LOG_ID, "r", "a")


def test_the_same_content_is_never_sealed_alike() -> None:
    seals = [Sealed.seal(b"same") for _ in range(50)]
    assert len({seal.salt for seal in seals}) == 50
    assert all(len(seal.salt) == 32 for seal in seals)


def test_a_section_that_is_too_large_is_not_sealed() -> None:
    Sealed.seal(bytes(MAX_SECTION))
    with pytest.raises(NotCanonical, match="at most 1048576"):
        Sealed.seal(bytes(MAX_SECTION + 1))


def test_sealed_content_does_not_show_in_a_repr() -> None:
    assert not re.search("orders|stuck", repr(SEALED))


def test_a_document_is_called_what_sha256sum_prints() -> None:
    assert digest(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
