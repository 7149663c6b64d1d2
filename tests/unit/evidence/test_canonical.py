"""Canonical JSON: one sequence of bytes for a value, and no other is read."""

import contextlib
import enum
import json
import subprocess
import sys
import uuid
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import NotCanonical
from muniment.evidence import canonical
from muniment.evidence.canonical import Json, decode, encode

KEYS = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=6)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-canonical.MAX_INT, canonical.MAX_INT)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)

HEADER: dict[str, Json] = {
    "v": 1,
    "kind": "grant:authorized",
    "actor": [{"id": "prn_1", "active": True}, {"id": "prn_2", "active": None}],
    "text": 'a"\\\b\t\n\f\r\x00\x1f\x7f/é€😀\u2028',
    "limit": canonical.MAX_INT,
    "floor": -canonical.MAX_INT,
}


class Kind(enum.StrEnum):
    GRANT = "grant"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_both_writers_give_the_bytes_of_rfc_8785(value: Any) -> None:
    expected = rfc8785.dumps(value)
    assert canonical.write_stdlib(value) == expected
    assert canonical.write_orjson(value) == expected
    assert encode(value) == expected


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same_value_by_both_readers(value: Any) -> None:
    data = encode(value)
    assert decode(data) == value
    assert canonical.read_stdlib(data) == canonical.read_orjson(data) == value


@pytest.fixture(params=["orjson", "stdlib"])
def _either_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "_write", getattr(canonical, f"write_{request.param}"))
    monkeypatch.setattr(canonical, "_read", getattr(canonical, f"read_{request.param}"))


either_library = pytest.mark.usefixtures("_either_library")


@either_library
def test_a_header_has_the_bytes_of_rfc_8785() -> None:
    assert encode(HEADER) == rfc8785.dumps(HEADER)
    assert decode(encode(HEADER)) == HEADER


@either_library
def test_a_tuple_is_written_as_an_array() -> None:
    assert encode({"a": (1, (2,))}) == b'{"a":[1,[2]]}'


@either_library
@pytest.mark.parametrize(
    ("value", "path"),
    [
        (1.0, "$ "),
        (float("nan"), "$ "),
        ({"a": [0, {"b": 1.5}]}, "$.a[1].b "),
        ({"a": ({},), "b": [[float("inf")]]}, "$.b[0][0] "),
        ([2**53], "$[0] "),
        ([-(2**53)], "$[0] "),
        ({"a": {"é": 1}}, "$.a "),
        ({1: 1}, "$ "),
        ({Text("a"): 1}, "$ "),
        ({None: 1}, "$ "),
        ({"a": b"bytes"}, "$.a "),
        ({"a": Text("a")}, "$.a "),
        ({"a": Kind.GRANT}, "$.a "),
        ({"a": Number.ONE}, "$.a "),
        ({"a": uuid.UUID(int=0)}, "$.a "),
        ({"a": {1, 2}}, "$.a "),
        ({"a": ["ok", "\ud800"]}, "$.a[1] "),
        (["ok", {"b": ("x\udfffy",)}], "$[1].b[0] "),
        ({"\ud800": 1}, "$ "),
    ],
)
def test_what_the_schema_leaves_out_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(NotCanonical) as refusal:
        encode(value)
    assert str(refusal.value).startswith(path)


@either_library
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"1\n",
        b"1\x00",
        b"\xef\xbb\xbf1",
        '"a"'.encode("utf-16"),
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u00E9"',
        b'"\x01"',
        b"1.0",
        b"1.5",
        b"1e2",
        b"-0",
        b"-0.0",
        b"01",
        b"1e999",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"36893488147419103232",
        b"9" * 5000,
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,}',
        b'{"\xc3\xa9":1}',
        b"{1:1}",
        b"[1,2",
        b"[1]]",
        b"nil",
    ],
)
def test_bytes_that_are_not_the_canonical_form_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(data)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.data())
def test_a_changed_byte_gives_another_value_or_a_refusal(value: Any, data: st.DataObject) -> None:
    original = bytearray(encode(value))
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(NotCanonical):
        assert encode(decode(bytes(original))) == original


@either_library
@pytest.mark.parametrize("bomb", [b"[" * 16000, b'{"a":' * 3000, b"[" * 8000 + b"]" * 8000])
def test_a_recursion_bomb_is_not_canonical(bomb: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(bomb)


@either_library
def test_a_value_that_holds_itself_is_not_canonical() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(NotCanonical, match="nested too deep"):
        encode(value)


@either_library
def test_nesting_ends_at_the_depth_asked_for() -> None:
    nested = b"[" * 32 + b"]" * 32
    assert encode(decode(nested)) == nested
    with pytest.raises(NotCanonical, match="nested too deep"):
        decode(b"[" + nested + b"]")
    assert decode(b"[[]]", max_depth=2) == [[]]
    with pytest.raises(NotCanonical, match="nested too deep"):
        decode(b"[[]]", max_depth=1)


@either_library
def test_a_limit_beyond_the_library_still_gives_not_canonical() -> None:
    nested = b"[" * 5000 + b"]" * 5000
    with pytest.raises(NotCanonical):
        decode(nested, max_depth=10_000)


def test_more_bytes_than_allowed_are_refused_before_they_are_read() -> None:
    data = encode("a" * 100)
    assert decode(data, max_bytes=102) == "a" * 100
    with pytest.raises(NotCanonical, match="102 bytes"):
        decode(data, max_bytes=101)


def test_without_orjson_the_standard_library_gives_the_same_bytes() -> None:
    program = (
        "import json, sys\n"
        "sys.modules['orjson'] = None\n"
        "from muniment.evidence import canonical\n"
        "assert not canonical.HAVE_ORJSON\n"
        "data = canonical.encode(json.loads(sys.argv[1]))\n"
        "assert canonical.decode(data) == json.loads(sys.argv[1])\n"
        "sys.stdout.buffer.write(data)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, json.dumps(HEADER)], capture_output=True, check=True
    )
    assert run.stdout == encode(HEADER)
