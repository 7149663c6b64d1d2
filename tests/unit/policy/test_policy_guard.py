"""Texts that kill the process, or make the answer depend on the stack, never reach the engine."""

import subprocess
import sys
from pathlib import Path

import policy_bundles as given
import pytest

from muniment.errors import PolicyInvalid
from muniment.policy import decide, source
from muniment.policy.guard import MAX_DEPTH, depth

RULE = (
    '@id("x")\npermit (principal, action == Muniment::Action::"request", resource)\nwhen {{ {} }};'
)
KILLERS = {
    "700 brackets": "(" * 700 + "true" + ")" * 700,
    "700 sets": "[" * 700 + "1" + "]" * 700 + " == 1",
    "700 records": "{a:" * 700 + "1" + "}" * 700 + " == 1",
    "an open bracket": "(" * 700,
    "5000 else-ifs": "if true then true else " * 5000 + "true",
    "a path of 7500": "context has " + ".".join(["a"] * 7500),
    "500 ifs that fit": "if true then true else " * 500 + "true",
    "a path that fits": "context" + ".a" * 2000 + " == 1",
    "an index chain": "context" + '["a"]' * 1000 + " == 1",
    "a call chain": "[1]" + ".contains(1)" * 1000,
    "a chain of ORs": "true" + "||true" * 2000,
    "a chain of ANDs": "true" + "&&true" * 2000,
    "a sum": "1" + "+1" * 5000 + " == 1",
    "a product": "1" + "*1" * 5000 + " == 1",
    "mixed": ("(true" + "||true" * 20) * 30 + ")" * 30,
    "a name": "A" + "::A" * 4000 + '::"x" == principal',
    "not not": "!" * 5000 + "true",
    "minus minus": "-" * 5000 + "1 == 1",
    "hidden by a carriage return": "true // \r && " + "(" * 700 + "true" + ")" * 700,
    "hidden by a string": '"//" == "" || ' + "(" * 700 + "true" + ")" * 700,
}
CHILD = """
import sys
from muniment.errors import PolicyInvalid
from muniment.policy import bundle
schema, text = sys.stdin.buffer.read().split(b"\\0")
try:
    bundle.load({"schema.cedarschema": schema, "a.cedar": text})
except PolicyInvalid as error:
    print(error)
"""


def load_in_child(text: str, schema: bytes = given.SCHEMA) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=schema + b"\0" + text.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
    return done.stdout.decode()


@pytest.mark.parametrize("name", KILLERS)
def test_a_text_that_could_kill_the_process_is_refused_with_file_and_line(name: str) -> None:
    said = load_in_child(RULE.format(KILLERS[name]))
    assert said.startswith(("a.cedar:1: ", "a.cedar:3: ", "a.cedar:4: "))
    assert "nested too deep" in said or "longer than" in said or "more than" in said


def test_many_clauses_are_one_deep_condition() -> None:
    said = load_in_child(f'@id("x")\npermit (principal, action, resource){"when{true}" * 500};')
    assert said == "a.cedar:2: more than 32 clauses in one rule\n"


SCHEMA_KILLERS = {
    "nested sets": b"entity A = { x: " + b"Set<" * 500 + b"Long" + b">" * 500 + b" };",
    "doubling types": b"type a0 = { x: Long };"
    + b"".join(
        b"type a%d = { x: a%d, y: a%d };" % (number, number - 1, number - 1)
        for number in range(1, 40)
    )
    + b"entity A = { x: a39 };",
    "types in a circle": b"type a = { x: b }; type b = { x: a };",
    "too many principals": b"entity A; action q appliesTo { principal: ["
    + b"A, " * 50
    + b"A ], resource: [A] };",
}


@pytest.mark.parametrize("name", SCHEMA_KILLERS)
def test_a_schema_that_grows_without_bound_is_refused(name: str) -> None:
    said = load_in_child(RULE.format("true"), schema=SCHEMA_KILLERS[name])
    assert said.startswith("schema.cedarschema:1: ")


AT_THE_BOUND = {
    "25 ORs": " || ".join(['resource.data == "a"'] * 24 + ["true"]),
    "32 brackets": "(" * 31 + "true" + ")" * 31,
    "a set of 1000": "[" + ", ".join(f'"{number}"' for number in range(1000)) + ', "internal"]'
    ".contains(resource.data)",
}
ON_A_SMALL_STACK = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import policy_bundles as given
from muniment.policy import decide
loaded = given.load_rules(sys.stdin.read())
said = []
def ask():
    said.append(decide.ask(loaded, given.an_access(given.a_human("ana"))).steps[0])
threading.stack_size(1 << 20)
thread = threading.Thread(target=ask)
thread.start()
thread.join()
print(said[0].decision, said[0].errors)
"""


@pytest.mark.parametrize("name", AT_THE_BOUND)
def test_what_passes_the_guard_is_evaluated_in_one_mebibyte_of_stack(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_STACK, str(Path(__file__).parent)],
        input=RULE.format(AT_THE_BOUND[name]).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == b"Allow ()\n", done.stderr.decode()[-500:]


def test_forty_ors_pass_the_count_and_fail_the_depth() -> None:
    with pytest.raises(PolicyInvalid, match=r"policies/a\.cedar:1: nested too deep; use a set"):
        given.load_rules(RULE.format(" || ".join(["true"] * 32)))


def test_depth_stops_counting_beyond_the_bound() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    assert depth({"a": [{"b": 1}]}) == 4
    assert depth(value) == MAX_DEPTH + 1


def test_tokens_know_their_lines() -> None:
    found = source.tokens("a", 'permit // ( " \r (\n"x\n" ;')
    assert [(token.text, token.line) for token in found] == [
        ("permit", 1),
        ("(", 1),
        ('"x\n"', 2),
        (";", 3),
    ]


def test_a_list_beside_a_list_is_not_a_chain() -> None:
    text = "[" + ", ".join(["1 + 1"] * 200) + "].contains(2)"
    loaded = given.load_rules(RULE.format(text))
    assert decide.ask(loaded, given.an_access(given.a_human("ana"))).steps[0].allows
