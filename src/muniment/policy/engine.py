"""
The one place that speaks to Cedar, with what was found the hard way:

- entities are always parsed with the schema: without it, rules with `action in …` stop matching;
- the order of determining rules is random, so they are sorted; timings are left out;
- a rule that errs is skipped by Cedar, so errors are part of the answer and the caller must deny;
- rule ids are ours, set through JSON: otherwise they are positions.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

import cedarpy
import orjson

from muniment.policy.snapshot import Json

#: engine and version, as recorded with each decision
NAME: Final = "cedar"
BINDING: Final = f"cedarpy {version('cedarpy')}"

Slice = cedarpy.PolicySet
Schema = cedarpy.Schema
Entities = cedarpy.Entities


@dataclass(frozen=True, slots=True)
class Step:
    """One question to the engine, or to one of our own invariants, and its answer."""

    action: str
    principal: Json
    #: `Allow`, `Deny`, or `NoDecision` if the input was not accepted
    decision: str
    rules: tuple[str, ...]
    errors: tuple[str, ...] = ()

    @property
    def allows(self) -> bool:
        return self.decision == "Allow" and not self.errors

    def json(self) -> Json:
        return {
            "action": self.action,
            "principal": self.principal,
            "decision": self.decision,
            "rules": list(self.rules),
            "errors": list(self.errors),
        }


def schema(text: str) -> Schema:
    """Raises ValueError with the engine's reason."""
    return Schema.from_str(text)


def rule_json(text: str) -> dict[str, Any]:
    """One rule as Cedar's JSON. Raises ValueError if it does not parse or is a template."""
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        raise ValueError("a template, which this product never links")
    rule: dict[str, Any] = next(iter(parsed["staticPolicies"].values()))
    return rule


def type_errors(text: str, schema: Schema) -> list[str]:
    """What the validator has against one rule; sorted, as its own order varies."""
    result = cedarpy.validate_policies(text, schema)
    found = {error.error.removeprefix("for policy `policy0`")[2:] for error in result.errors}
    if not result.validation_passed and not found:
        found = {"does not fit the schema"}
    return sorted(found)


def slice_of(rules: Mapping[str, Mapping[str, Any]]) -> Slice:
    """A handle on these rules under these ids."""
    text = json.dumps({"staticPolicies": rules, "templates": {}, "templateLinks": []})
    return Slice.from_json_str(text)


@lru_cache(maxsize=4096)
def _entities(text: bytes, schema: Schema) -> Entities:
    """The same people ask for the same roles all day: what was parsed once is kept."""
    return Entities.from_json_str(text.decode(), schema)


def ask(
    schema: Schema,
    entities: list[Json],
    resource: Json,
    context: Json,
    questions: Iterable[tuple[str, Slice, Json]],
) -> tuple[Step, ...]:
    """Put questions (action, rules, principal) about one resource on one set of entities."""
    text = orjson.dumps(context).decode()
    try:
        known = _entities(orjson.dumps(entities), schema)
    except ValueError as error:
        reason = (f"entities: {error}",)
        return tuple(
            Step(action, principal, "NoDecision", (), reason) for action, _, principal in questions
        )
    return tuple(_step(question, resource, text, known, schema) for question in questions)


def _step(
    question: tuple[str, Slice, Json],
    resource: Json,
    context: str,
    entities: Entities,
    schema: Schema,
) -> Step:
    action, rules, principal = question
    request = {
        "principal": principal,
        "action": {"type": "Muniment::Action", "id": action},
        "resource": resource,
        "context": context,
    }
    answer = cedarpy.is_authorized(request, rules, entities, schema)
    return Step(
        action,
        principal,
        answer.decision.value,
        tuple(sorted(answer.diagnostics.reasons)),
        tuple(sorted(answer.diagnostics.errors)),
    )
