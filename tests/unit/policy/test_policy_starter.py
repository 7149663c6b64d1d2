"""The rules that `init` writes work as their own test cases say."""

from importlib.resources import files

import policy_bundles as given
import pytest

from muniment.errors import Malformed
from muniment.policy import bundle, cases, starter
from muniment.policy.replay import replay

FILES = starter.files()
LOADED = bundle.load(FILES, groups={"sre-leads"})
RESULTS = [
    (file, result)
    for file, data in FILES.items()
    if file.startswith("cases/")
    for result in cases.run(LOADED, file, data)
]


@pytest.mark.parametrize(("file", "result"), RESULTS, ids=[result.name for _, result in RESULTS])
def test_each_starter_case_passes_and_replays(file: str, result: cases.Result) -> None:
    assert result.passed, f"{file}: {result.differences} {result.decision.why}"
    assert replay(LOADED, result.decision.content()).identical


def test_the_starter_has_cases_for_every_question_and_every_rule() -> None:
    used = {rule.id for _, result in RESULTS for rule in result.decision.rules}
    # no case can reach a day: each requirement ends access earlier
    assert {rule.id for rule in LOADED.rules} - used == {"forbid.over-a-day"}


def test_production_without_a_ticket_names_the_forbid_and_its_place() -> None:
    result = next(result for _, result in RESULTS if "without a ticket" in result.name)
    assert result.decision.why == (
        (
            "prn_ana may not request: "
            "forbid.prod-without-ticket (People who ask for production name a ticket)"
        ),
    )
    rule = result.decision.rules[0]
    assert rule.file == "policies/20-forbid.cedar"
    assert rule.line > 0


def test_the_rule_on_second_factors_loads_once_its_comment_marks_are_gone() -> None:
    text = FILES["policies/20-forbid.cedar"].decode()
    start = text.index('// @id("forbid.stale-mfa")')
    opened = text[:start] + text[start:].replace("// ", "")
    loaded = bundle.load({**FILES, "policies/20-forbid.cedar": opened.encode()})
    assert "forbid.stale-mfa" in loaded.by_id


def test_the_starter_is_package_data_with_no_file_left_out() -> None:
    folder = files("muniment.policy.starter")
    names = {f"cases/{entry.name}" for entry in folder.joinpath("cases").iterdir()}
    assert names <= FILES.keys()
    assert "schema.cedarschema" in FILES


CASE = b"""{"principals": {"ana": {"kind": "human", "groups": ["engineering"]}},
 "roles": {"d/rw": {"tier": "dev", "environment": "d", "data": "internal", "kind": "postgresql"}},
 "cases": [{"name": "n", "ask": "request", "by": "ana", "role": "d/rw", %s"expect": %s}]}"""


def test_a_case_that_fails_says_what_was_expected_and_what_came() -> None:
    expect = b'{"outcome": "deny", "rules": ["x"], "approvals": {}}'
    (result,) = cases.run(LOADED, "c.json", CASE % (b"", expect))
    assert not result.passed
    assert result.differences == (
        "outcome: expected `deny`, got `auto_approve`",
        'rules: expected `["x"]`, got `["request.engineering", "require.below-prod"]`',
    )


@pytest.mark.parametrize(
    ("members", "expect", "message"),
    [
        (b"", b"{}", "c.json: case 1: expects nothing"),
        (b"", b'{"outcom": "deny"}', "c.json: case 1: `expect` holds `outcom`"),
        (b'"second": 3, ', b'{"outcome": "deny"}', "c.json: case 1: `second` is not known here"),
        (b'"seconds": true, ', b'{"outcome": "deny"}', "c.json: case 1: `seconds` is no int"),
        (b'"on_behalf_of": "bo", ', b'{"outcome": "deny"}', "c.json: case 1: `bo` is not among"),
        (b"", b"", "c.json: not JSON: "),
    ],
)
def test_a_case_that_cannot_be_understood_is_refused(
    members: bytes, expect: bytes, message: str
) -> None:
    with pytest.raises(Malformed) as caught:
        cases.run(LOADED, "c.json", CASE % (members, expect))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[]", b"{}", b'{"x": 1}', b"\xff"])
def test_a_file_that_holds_no_cases_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed, match=r"^c\.json: "):
        cases.read("c.json", data)


def test_the_minimal_bundle_of_these_tests_needs_no_groups() -> None:
    assert given.load_rules(given.MINIMAL, groups=()).groups == frozenset()
