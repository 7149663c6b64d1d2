"""Loading: what holds is digested as coreutils would, and what does not says file and line."""

import subprocess
from dataclasses import replace
from pathlib import Path

import policy_bundles as given
import pytest

from muniment.errors import PolicyInvalid
from muniment.policy import bundle, guard, starter
from muniment.policy.decide import ask_operate

REQUEST = 'permit (principal, action == Muniment::Action::"request", resource)'


def trouble(text: str, groups: frozenset[str] = given.APPROVERS) -> list[str]:
    with pytest.raises(PolicyInvalid) as caught:
        bundle.load(
            {**given.fifteen_files(), "policies/99.cedar": text.encode()},
            groups=groups,
        )
    return str(caught.value).splitlines()


def test_a_misspelt_annotation_is_no_new_feature() -> None:
    assert trouble(f'@id("x") @aprovals("sre-leads:2") {REQUEST};') == [
        (
            "policies/99.cedar:1: unknown annotation @aprovals "
            "(known: approvals, id, max_duration, notify, require, title)"
        )
    ]


def test_a_misspelt_attribute_is_found_by_its_type() -> None:
    assert trouble(f'@id("x") {REQUEST} when {{ resource.teir == "prod" }};') == [
        "policies/99.cedar:1: x: attribute `teir` on entity type `Muniment::Role` not found"
    ]


def test_an_optional_attribute_wants_its_guard() -> None:
    assert trouble(f'@id("x") {REQUEST} when {{ context.ticket.state == "open" }};') == [
        (
            "policies/99.cedar:1: x: unable to guarantee safety of access to optional attribute "
            '`ticket` in context for Muniment::Action::"request"'
        )
    ]


def test_a_tier_that_does_not_exist_is_refused() -> None:
    text = f'@id("x") {REQUEST} when {{ resource.tier == Muniment::Tier::"prd" }};'
    assert trouble(text) == [
        (
            'policies/99.cedar:1: x: entity `Muniment::Tier::"prd"` is of an enumerated entity type, '
            'but `"prd"` is not declared as a valid eid'
        )
    ]


def test_an_operation_that_does_not_exist_is_refused() -> None:
    text = """@id("x")
permit (principal, action == Muniment::Action::"operate", resource)
when { context.operation == Muniment::Operation::"reed" };"""
    assert 'policies/99.cedar:1: x: entity `Muniment::Operation::"reed"`' in trouble(text)[0]


def test_a_syntax_error_names_its_own_line() -> None:
    text = '@id("x")\npermit (principal\n  action == Muniment::Action::"request", resource);'
    assert trouble(text) == ["policies/99.cedar:3: unexpected token `action`"]


def test_an_error_of_meaning_names_the_line_of_its_rule() -> None:
    text = f'\n@id("x")\n{REQUEST}\nwhen {{ soon(1) }};'
    assert trouble(text) == ["policies/99.cedar:2: `soon` is not a valid function"]


def test_an_id_is_used_once() -> None:
    (line,) = trouble(f'@id("forbid.inactive") {REQUEST};')
    place = "policies/20-forbid.cedar:3"
    assert line == f"policies/99.cedar:1: @id 'forbid.inactive' already used at {place}"


def test_every_rule_has_an_id() -> None:
    assert trouble(f"{REQUEST};") == ["policies/99.cedar:1: a rule without @id"]


@pytest.mark.parametrize("id", ["muniment:actor-chain", "1x", "ä", "x" * 65, "a b"])
def test_an_id_cannot_pass_for_one_of_our_invariants(id: str) -> None:
    (line,) = trouble(f'@id("{id}") {REQUEST};')
    assert line.startswith("policies/99.cedar:1: @id takes")


REQUIRE = 'permit (principal, action == Muniment::Action::"require", resource);'


def test_an_approver_group_has_to_exist() -> None:
    assert trouble(f'@id("x") @approvals("sre-leeds:1") {REQUIRE}') == [
        "policies/99.cedar:1: @approvals names unknown group 'sre-leeds'"
    ]


def test_offline_nobody_knows_the_groups_and_nobody_asks() -> None:
    loaded = given.load_rules(f'@id("x") @approvals("sre-leeds:1") @max_duration("PT1H") {REQUIRE}')
    assert [rule.id for rule in loaded.rules] == ["x"]


def test_three_hundred_chained_ors_are_too_deep() -> None:
    condition = " || ".join(["resource.data == context.ticket.id"] * 300)
    (line,) = trouble(f'@id("x") {REQUEST} when {{ {condition} }};')
    assert line.startswith("policies/99.cedar:1: nested too deep")


@pytest.mark.parametrize(
    "annotation",
    [
        '@approvals("sre-leads")',
        '@approvals("sre-leads:0")',
        '@approvals("sre-leads:10")',
        '@approvals("sre-leads:1, sre-leads:2")',
        '@approvals("")',
        '@approvals("none, sre-leads:1")',
        "@approvals",
        '@max_duration("1h")',
        '@max_duration("PT")',
        '@max_duration("PT0M")',
        '@max_duration("P1D")',
        '@max_duration("PT30S")',
        '@require("Session Recording")',
        '@notify("")',
        '@title("two\\nlines")',
    ],
)
def test_an_annotation_that_cannot_be_read_is_refused(annotation: str) -> None:
    (line,) = trouble(f'@id("x") {annotation} {REQUIRE}')
    assert line.startswith(f"policies/99.cedar:1: {annotation.partition('(')[0]} takes")


@pytest.mark.parametrize("annotation", ['@approvals("none")', '@max_duration("PT1H")'])
@pytest.mark.parametrize(
    "rule",
    [
        f"{REQUEST};",
        "permit (principal, action, resource);",
        'forbid (principal, action == Muniment::Action::"require", resource);',
    ],
)
def test_an_obligation_where_it_has_no_effect_is_refused(annotation: str, rule: str) -> None:
    (line,) = trouble(f'@id("x") {annotation} {rule}')
    assert "has an effect only on permits for" in line


def test_break_glass_takes_no_approvals() -> None:
    rule = 'permit (principal, action == Muniment::Action::"breakGlass", resource);'
    (line,) = trouble(f'@id("x") @approvals("none") {rule}')
    assert line.endswith("@approvals has an effect only on permits for `require`")


def test_a_template_is_refused() -> None:
    (line,) = trouble('@id("x") permit (principal == ?principal, action, resource);')
    assert line == "policies/99.cedar:1: a template, which this product never links"


def test_all_that_is_wrong_is_said_at_once() -> None:
    lines = trouble(f'@id("x") @who("me") {REQUEST};\n{REQUEST};\n@id("y") permit (;\n')
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3"]


def test_a_rule_without_an_end_is_refused() -> None:
    assert trouble(f'@id("x")\n{REQUEST}') == ["policies/99.cedar:1: unexpected end of input"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\n\n\xff", "policies/a.cedar:3: not UTF-8"),
        (b"\n\xef\xbb\xbf", "policies/a.cedar:2: unexpected character `'\\ufeff'`"),
        (b'@id("x', "policies/a.cedar:1: unexpected character `'\"'`"),
        (b"@id('x')", 'policies/a.cedar:1: unexpected character `"\'"`'),
    ],
)
def test_what_is_no_policy_text_is_refused(data: bytes, line: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        given.load_rules(data)
    assert str(caught.value) == line


def test_a_schema_is_part_of_every_bundle() -> None:
    with pytest.raises(PolicyInvalid, match=r"schema\.cedarschema:1: missing"):
        bundle.load({"a.cedar": given.MINIMAL})


def test_a_bundle_without_rules_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match="without rules"):
        bundle.load({"schema.cedarschema": given.SCHEMA})


def test_a_schema_that_does_not_parse_says_so_and_rules_are_still_read() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        given.load_rules(f'@who("me") {REQUEST};', schema=b"namespace Muniment {")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("schema.cedarschema:1: ")
    assert lines[1].startswith("policies/a.cedar:1: ")


def test_a_schema_with_a_fact_that_we_do_not_state_is_refused_at_load() -> None:
    schema = given.SCHEMA.replace(
        b'"businessHours": Bool,', b'"businessHours": Bool, "moon": String,'
    )
    with pytest.raises(PolicyInvalid) as caught:
        given.load_rules(given.MINIMAL, schema=schema)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(
        "schema.cedarschema:1: does not accept the facts of `request` by a human: "
    )
    assert "moon" in first


def test_a_schema_with_an_optional_fact_more_is_taken() -> None:
    schema = given.SCHEMA.replace(
        b'"businessHours": Bool,', b'"businessHours": Bool, "moon"?: String,'
    )
    given.load_rules(given.MINIMAL, schema=schema)


def test_a_schema_without_one_of_our_operations_is_refused() -> None:
    schema = given.SCHEMA.replace(b'"erase", ', b"")
    with pytest.raises(PolicyInvalid, match="does not accept the facts of `operate`"):
        given.load_rules(given.MINIMAL, schema=schema)


def test_a_bundle_from_before_an_operation_was_known_is_taken_and_denies_it() -> None:
    """Else an upgrade would leave a log without the policy that it has in force."""
    files = {name: data for name, data in starter.files().items() if name.endswith(".cedar")}
    older = {name: data.replace(b'"follow"', b'"audit"') for name, data in files.items()}
    schema = given.SCHEMA.replace(b'"follow", ', b"").replace(b', "follow"', b"")
    assert b'"follow"' not in schema
    loaded = bundle.load({"schema.cedarschema": schema, **older})
    asked = given.an_operation(given.a_human("ana", "muniment-admins"), "configure")
    assert ask_operate(loaded, asked).outcome == "permit"
    assert ask_operate(loaded, replace(asked, operation="follow")).outcome == "deny"


@pytest.mark.parametrize("path", ["../a.cedar", "/a.cedar", "a b.cedar", "a\nb.cedar", ".x.cedar"])
def test_a_path_that_sha256sum_would_escape_is_refused(path: str) -> None:
    with pytest.raises(PolicyInvalid, match="a path may hold"):
        bundle.load({"schema.cedarschema": given.SCHEMA, path: given.MINIMAL})


def test_a_second_schema_is_refused() -> None:
    files = {
        "schema.cedarschema": given.SCHEMA,
        "b/x.cedarschema": given.SCHEMA,
        "a.cedar": given.MINIMAL,
    }
    with pytest.raises(PolicyInvalid, match="the one schema of a bundle"):
        bundle.load(files)


def test_the_digest_is_what_coreutils_compute(tmp_path: Path) -> None:
    files = {**given.fifteen_files(), "B.cedar": b"// nothing\n", "a-b.cedar": b"// nothing\n"}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    script = r"find * -name '*.cedar*' | LC_ALL=C sort | xargs sha256sum"
    printed = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["sha256sum"], input=printed, capture_output=True, check=True).stdout
    loaded = bundle.load(files)
    assert loaded.manifest == printed
    assert loaded.digest == digest.decode().split()[0]


def test_other_files_are_no_part_of_the_bundle() -> None:
    files = given.fifteen_files()
    with_more = bundle.load({**files, "cases/a.json": b"{}", "README.md": b"#"})
    assert with_more.digest == bundle.load(files).digest
    assert set(with_more.files) == set(files)


def test_a_rule_knows_its_place_its_text_and_its_questions() -> None:
    rule = given.fifteen_bundle().by_id["forbid.inactive"]
    assert rule.place == "policies/20-forbid.cedar:3"
    assert rule.effect == "forbid"
    assert rule.text.startswith('@id("forbid.inactive")')
    assert rule.text.endswith("unless { principal.active };")
    assert rule.questions == {"request", "breakGlass"}
    assert rule.title == "A disabled account gets nothing"


def test_a_rule_that_names_no_action_takes_part_in_every_question() -> None:
    loaded = given.load_rules('@id("x") permit (principal, action, resource);')
    assert loaded.by_id["x"].questions == {
        "request",
        "require",
        "breakGlass",
        "approve",
        "operate",
    }


def test_a_semicolon_in_a_string_or_comment_ends_no_rule() -> None:
    text = f'// a; b\n@id("x") @title("a; \\"b\\"") // c;\n{REQUEST} /* */;'
    assert trouble(text)[0].startswith("policies/99.cedar:3")
    loaded = given.load_rules(text.replace("/* */", "// d;\r\n"))
    assert loaded.by_id["x"].title == 'a; "b"'


def test_the_groups_that_rules_name_are_known_for_comparing_with_the_directory() -> None:
    assert given.fifteen_bundle().groups == {"engineering", "sre", "sre-oncall", "ci-runners"}


def test_sizes_are_bounded_before_anything_is_parsed() -> None:
    with pytest.raises(PolicyInvalid, match=f"larger than {guard.MAX_FILE} bytes"):
        given.load_rules(b"/" * (guard.MAX_FILE + 1))
    many = {f"{number}.cedar": b"/" * guard.MAX_FILE for number in range(9)}
    with pytest.raises(PolicyInvalid, match="the bundle is larger"):
        bundle.load({"schema.cedarschema": given.SCHEMA, **many})


def test_a_bundle_that_was_loaded_before_still_asks_which_groups_there_are() -> None:
    files = given.fifteen_files()
    loaded = bundle.load(files, groups=given.APPROVERS)
    assert bundle.load(dict(files)) is loaded
    with pytest.raises(PolicyInvalid, match="@approvals names unknown group"):
        bundle.load(files, groups=frozenset(("sre-leads",)))
    assert bundle.load(files, groups=given.APPROVERS) is loaded
    assert bundle.load({**files, "policies/99.cedar": b"// nothing\n"}).digest != loaded.digest
