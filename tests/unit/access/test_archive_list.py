"""The list of an archive: one order, one form, and nothing can be put in or taken out."""

from datetime import UTC, datetime

import pytest

from muniment.access import archive, records
from muniment.access.archive import Listed
from muniment.errors import NotCanonical
from muniment.evidence.record import MAX_DOCUMENT, digest

AT = datetime(2026, 11, 21, tzinfo=UTC)


def case(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "mun_" + "".join(letters[number >> 5 * place & 31] for place in range(26))


def listed(count: int) -> list[Listed]:
    return [Listed.of(case(number), [digest(b"%d" % number)]) for number in range(count)]


def record_of(parts: tuple[bytes, ...], cases: int) -> records.ArchiveExported:
    return records.ArchiveExported(
        actor=records.SERVICE, since=AT, until=AT, resources=(), size=1, cases=cases, beyond=0,
        listed=archive.digest_of(parts),
    )  # fmt: skip


def given(*parts: bytes) -> dict[bytes, bytes]:
    return {digest(part): part for part in parts}


def test_a_list_reads_back_from_all_of_its_parts_in_order() -> None:
    parts = archive.documents(listed(9_000))
    assert len(parts) == 2
    assert max(map(len, parts)) <= MAX_DOCUMENT
    found = archive.read(record_of(parts, 9_000), given(b"other", *reversed(parts)))
    assert [each.case for each in found] == sorted(each.case for each in listed(9_000))


def test_an_empty_list_is_a_list() -> None:
    assert archive.documents([]) == ()
    assert archive.read(record_of((), 0), {}) == ()


def test_a_list_that_is_not_the_recorded_one_is_refused() -> None:
    (part,) = archive.documents(listed(3))
    shorter = b"".join(part.splitlines(keepends=True)[1:])
    for record, parts in (
        (record_of((part,), 3), given(shorter)),
        (record_of((part,), 3), {}),
        (record_of((part,), 4), given(part)),
    ):
        with pytest.raises(NotCanonical):
            archive.read(record, parts)


def test_a_list_in_another_form_is_refused_though_it_is_the_recorded_one() -> None:
    (part,) = archive.documents(listed(3))
    lines = part.splitlines(keepends=True)
    for other in (
        b"".join(reversed(lines)),
        part + lines[-1],
        part.replace(b'"last":0', b'"last":0.5'),
        part.replace(b'"last":0', b'"last":true'),
        part.replace(b'"last":0', b'"last":-1'),
        part.replace(b"mun_", b"Mun-"),
        part.replace(b'"records":"', b'"records":"g'),
        part[:-1],
    ):
        record = record_of((other,), len(other.splitlines()))
        with pytest.raises(NotCanonical):
            archive.read(record, given(other))


def test_a_case_may_have_gone_on_and_may_not_have_become_shorter_or_another() -> None:
    leaves = [digest(b"%d" % number) for number in range(4)]
    then = Listed.of(case(1), leaves[:3])
    assert then.goes_on_in(leaves[:3])
    assert then.goes_on_in(leaves)
    assert not then.goes_on_in(leaves[:2])
    assert not then.goes_on_in([*leaves[:2], leaves[3]])
