"""A recorded decision is recomputed from its input alone; every edit shows."""

from collections.abc import Iterator
from typing import Any

import policy_bundles as given
import pytest

from muniment.evidence import canonical
from muniment.policy import bundle, decide, engine
from muniment.policy.replay import replay


@pytest.fixture(scope="module")
def rules() -> bundle.Bundle:
    return given.fifteen_bundle()


@pytest.fixture(scope="module")
def content(rules: bundle.Bundle) -> bytes:
    return decide.ask(rules, given.fifteen_cases()[10].facts).content()


def decoded(content: bytes) -> Any:
    return canonical.decode(content, max_bytes=1 << 20)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        if isinstance(member, dict | list) and member:
            yield from leaves(member, (*path, key))
        else:
            yield (*path, key)


def edited(content: bytes, path: tuple[Any, ...]) -> bytes:
    record = decoded(content)
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    value = parent[path[-1]]
    changes: dict[type, Any] = {bool: not value, int: 7, str: f"{value}x", list: ["x"], dict: {}}
    parent[path[-1]] = {"x": 1} if value == {} else changes[type(value)]
    return canonical.encode(record)


def test_changing_any_one_value_of_a_record_shows(rules: bundle.Bundle, content: bytes) -> None:
    paths = list(leaves(decoded(content)))
    assert len(paths) > 100
    unnoticed = [path for path in paths if replay(rules, edited(content, path)).identical]
    assert unnoticed == []


def test_an_edited_outcome_is_named_with_both_values(rules: bundle.Bundle) -> None:
    record = decoded(decide.ask(rules, given.fifteen_cases()[2].facts).content())
    record["outcome"] = "auto_approve"
    result = replay(rules, canonical.encode(record))
    assert result.result == "differs"
    assert result.differences == ("/outcome: recorded `auto_approve`, recomputed `deny`",)


def test_a_removed_determining_rule_is_named(rules: bundle.Bundle, content: bytes) -> None:
    record = decoded(content)
    del record["steps"][1]["rules"][0]
    assert replay(rules, canonical.encode(record)).differences == (
        "/steps/1/rules/0: recorded `require.prod`, recomputed `require.agent`",
        "/steps/1/rules/1: recorded nothing, recomputed `require.prod`",
    )


def test_another_bundle_is_said_and_nothing_is_recomputed(content: bytes) -> None:
    other = given.load_rules(given.MINIMAL)
    result = replay(other, content)
    assert result.result == "other-bundle"
    assert result.decision is None
    assert result.differences[0].startswith("/bundle: recorded `")
    assert other.digest in result.differences[0]


def test_another_engine_is_said_first(rules: bundle.Bundle, content: bytes) -> None:
    record = decoded(content)
    record["engine"]["binding"] = "cedarpy 4.12.1"
    record["outcome"] = "deny"
    result = replay(rules, canonical.encode(record))
    assert result.result == "other-engine"
    assert result.differences == (
        f"/engine/binding: recorded `cedarpy 4.12.1`, recomputed `{engine.BINDING}`",
        "/outcome: recorded `deny`, recomputed `needs_approvals`",
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a decision record: "),
        (b"{ }", "not a decision record: "),
        (b"[]", "not a decision record of version 1"),
        (b'{"v":2}', "not a decision record of version 1"),
    ],
)
def test_what_cannot_be_read_is_a_result(rules: bundle.Bundle, data: bytes, reason: str) -> None:
    result = replay(rules, data)
    assert result.result == "unreadable"
    assert result.differences[0].startswith(reason)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("input",), 1, "`/input` is no object"),
        (("input", "kind"), "x", "/input: not a kind of facts"),
        (("input", "facts", "seconds"), True, "/input: `facts.seconds` is no int"),
        (("input", "facts", "role"), [], "/input: `facts.role` is no object"),
        (("input", "facts", "requester", "kind"), "x", "/input: `facts.requester.kind` is none of"),
        (("input", "facts", "requester", "groups"), [1], "/input: `facts.requester.groups` is no"),
        (("input", "facts", "more"), 1, "/input: `facts.more` is not known"),
        (("input", "facts", "requester", "id"), "x", "/input: not a principal id"),
    ],
)
def test_facts_that_cannot_be_read_are_named(
    rules: bundle.Bundle, content: bytes, path: tuple[str, ...], value: Any, reason: str
) -> None:
    record = decoded(content)
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    result = replay(rules, canonical.encode(record))
    assert result.result == "unreadable"
    assert result.differences[0].startswith(reason)


def test_a_missing_fact_is_named(rules: bundle.Bundle, content: bytes) -> None:
    record = decoded(content)
    del record["input"]["facts"]["seconds"]
    assert replay(rules, canonical.encode(record)).differences == (
        "/input: `facts.seconds` is missing",
    )


def test_approvals_and_operations_replay_too(rules: bundle.Bundle) -> None:
    approver = given.a_human("cy", "sre-leads")
    for facts in (
        given.an_approval(approver, "ana", "sre-leads"),
        given.an_approval(approver, "cy", "sre-leads"),
        given.an_operation(approver, "read", "ana"),
        given.an_operation(approver, "configure"),
    ):
        assert replay(rules, decide.ask(rules, facts).content()).identical
