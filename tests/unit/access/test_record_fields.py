"""Records to JSON and back: the same value for the same bytes, and nothing else is read."""

import dataclasses
from datetime import UTC, datetime
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lives import sample

from muniment.access import records
from muniment.access.fields import from_json, to_json
from muniment.errors import NotCanonical
from muniment.evidence import canonical, moment

KINDS = sorted(records.KINDS)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (the strategy adds it)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-(2**53) + 1, 2**53 - 1),
    bool: st.booleans(),
    bytes: st.binary(max_size=32),
    datetime: moments.map(moment.whole),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(texts, values(args[1]), max_size=3)
    if args:
        return st.none() | values(args[0])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        fields = {field.name: values(hints[field.name]) for field in dataclasses.fields(hint)}
        return st.builds(hint, **fields)
    return PLAIN[hint]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_what_is_written_is_what_is_read(kind: str, data: st.DataObject) -> None:
    cls = records.KINDS[kind]
    record = data.draw(values(cls))
    encoded = canonical.encode(to_json(record))
    assert from_json(cls, canonical.decode(encoded)) == record


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_too_few_or_too_many_is_refused(kind: str) -> None:
    cls = records.KINDS[kind]
    body = to_json(sample(cls))
    with pytest.raises(NotCanonical, match="not the fields of"):
        from_json(cls, {**body, "more": 1})
    for name in body:
        fewer = {key: value for key, value in body.items() if key != name}
        with pytest.raises(NotCanonical, match="not the fields of"):
            from_json(cls, fewer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_of_another_type_is_refused(kind: str) -> None:
    cls, wrong = records.KINDS[kind], 1.5
    body = to_json(sample(cls))
    for name in body:
        with pytest.raises(NotCanonical):
            from_json(cls, {**body, name: wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", True),
        ("seconds", "1"),
        ("seconds", None),
        ("emergency", 1),
        ("emergency", "false"),
        ("role", None),
        ("role", 7),
        ("role", ["readwrite"]),
        ("definition", "AB" * 32),
        ("definition", "abc"),
        ("definition", "xy"),
        ("definition", " ab"),
        ("definition", 12),
        ("actor", "prn_ana"),
        ("actor", {}),
        ("actor", []),
    ],
)
def test_no_value_passes_for_another(name: str, value: Any) -> None:
    body = to_json(sample(records.AccessRequested))
    with pytest.raises(NotCanonical):
        from_json(records.AccessRequested, {**body, name: value})


@pytest.mark.parametrize(
    "value",
    ["2026-11-21", "2026-11-21T10:00:00Z", "2026-11-21T10:00:00.0000Z", "2026-13-01T10:00:00.000Z",
     "2026-11-21T10:00:00.000+00:00", "", 0, None],
)  # fmt: skip
def test_a_moment_is_written_in_one_way(value: Any) -> None:
    body = to_json(sample(records.GrantExpired))
    with pytest.raises(NotCanonical):
        from_json(records.GrantExpired, {**body, "due": value})


@pytest.mark.parametrize("value", [None, "text", 1, [], ()])
def test_a_body_is_an_object(value: Any) -> None:
    with pytest.raises(NotCanonical, match="not the fields of"):
        from_json(records.AccessRequested, value)


def test_nested_values_are_read_by_their_types() -> None:
    record = sample(records.DecisionEvaluated, approvals={"a": 1}, standing=("per_a",))
    body = to_json(record)
    for wrong in ({"approvals": {"a": "1"}}, {"standing": [1]}, {"standing": {"per_a": 1}}):
        with pytest.raises(NotCanonical):
            from_json(records.DecisionEvaluated, {**body, **wrong})
    assert from_json(records.DecisionEvaluated, body) == record


def test_every_kind_has_one_class_and_a_name_in_the_past_tense() -> None:
    assert {cls.KIND: cls for cls in records.KINDS.values()} == records.KINDS
    assert all(kind.count(":") == 1 for kind in KINDS)
    assert len({cls.__name__ for cls in records.KINDS.values()}) == len(KINDS)
