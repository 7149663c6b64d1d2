"""
Test cases beside the rules: what `muniment policy test` runs.

A file names principals and roles once, and its cases refer to them:

    {"principals": {"ana": {"kind": "human", "groups": ["engineering"]}},
     "roles": {"orders-dev/readwrite": {"tier": "dev", "environment": "dev",
                                        "data": "internal", "kind": "postgresql"}},
     "cases": [{"name": "an engineer gets a development database",
                "ask": "request", "by": "ana", "role": "orders-dev/readwrite",
                "expect": {"outcome": "auto_approve", "max_seconds": 28800}}]}

- `ask` is `request` (with `on_behalf_of`, `seconds`, `business_hours`, `emergency`,
  `break_glass_last_30d`, `mfa`, `ticket`, `incident`), `approve` (with `requester`, `groups`,
  `approved_by`, `mfa`) or `operate` (with `operation`, `mfa`, and for a case `requester`, `groups`,
  `role`). All but `operate` need a `role`.
- A ticket or incident given as a string is one that the caller typed: `claimed`.
- An agent has a `sponsor`, a workload an `owner`; each is the name of a principal, whose person it
  shares. `person` names a person where two accounts belong to one human.
- `expect` may hold `outcome`, `approvals`, `rules`, `max_seconds`, `requires` and `notifies`; what
  it leaves out is not compared. Members that are not known are refused.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from muniment.errors import Malformed
from muniment.policy import decide
from muniment.policy.bundle import Bundle
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Facts,
    Incident,
    Mfa,
    OperateFacts,
    PrincipalFacts,
    Reference,
    RoleFacts,
)
from muniment.policy.recorded import read_as

MAX_BYTES = 1_048_576
_NOW = "2026-11-21T10:00:00.000Z"
_EXPECTED: Mapping[str, Callable[[decide.Decision], Any]] = {
    "outcome": lambda decision: decision.outcome,
    "approvals": lambda decision: decision.approvals,
    "rules": lambda decision: [rule.id for rule in decision.rules],
    "max_seconds": lambda decision: decision.max_seconds,
    "requires": lambda decision: list(decision.requires),
    "notifies": lambda decision: list(decision.notifies),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question, and what its author expects."""

    name: str
    facts: Facts
    expect: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one case came to."""

    name: str
    decision: decide.Decision
    #: one line each, ``outcome: expected `deny`, got `auto_approve` ``
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def run(bundle: Bundle, file: str, data: bytes) -> tuple[Result, ...]:
    """Raises `Malformed` naming the file and the case that cannot be understood."""
    return tuple(_result(bundle, case) for case in read(file, data))


def read(file: str, data: bytes) -> tuple[Case, ...]:
    """Raises `Malformed` naming the file and the case that cannot be understood."""
    try:
        return _File(_parsed(data)).cases()
    except Malformed as error:
        raise Malformed(f"{file}: {error}") from error


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise Malformed(f"larger than {MAX_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from error
    return _object(value, "the file", ("principals", "roles", "cases"))


def _result(bundle: Bundle, case: Case) -> Result:
    decision = decide.ask(bundle, case.facts)
    differences = []
    for name, expected in case.expect.items():
        got = _EXPECTED[name](decision)
        wanted = sorted(expected) if isinstance(expected, list) else expected
        if got != wanted:
            differences.append(f"{name}: expected `{_text(wanted)}`, got `{_text(got)}`")
    return Result(name=case.name, decision=decision, differences=tuple(differences))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


class _Fields:
    """The members of one case: what is taken is known, what is left over is refused."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._left = dict(value)

    def take(self, type_: Any, name: str, default: Any = ...) -> Any:
        if name not in self._left and default is not ...:
            return default
        if name not in self._left:
            raise Malformed(f"`{name}` is missing")
        return read_as(type_, self._left.pop(name), name)

    def take_reference(self, type_: Any, name: str, **claimed: Any) -> Any:
        value = self._left.get(name)
        if isinstance(value, str):
            del self._left[name]
            return type_(id=value, source="claimed", **claimed)
        return self.take(type_, name, None)

    def pop(self, name: str) -> Any:
        return self._left.pop(name, None)

    def finish(self) -> None:
        if self._left:
            raise Malformed(f"`{min(self._left)}` is not known here")


class _File:
    """One parsed file."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._principals = _object(value.get("principals", {}), "`principals`")
        self._roles = _object(value.get("roles", {}), "`roles`")
        self._cases = value.get("cases")

    def cases(self) -> tuple[Case, ...]:
        if not isinstance(self._cases, list):
            raise Malformed("`cases` is no array")
        return tuple(self._case(number, value) for number, value in enumerate(self._cases, 1))

    def _case(self, number: int, value: object) -> Case:
        try:
            fields = _Fields(_object(value, "it"))
            name = fields.take(str, "name")
            expect = _object(fields.pop("expect"), "`expect`", tuple(_EXPECTED))
            facts = self._facts(fields.take(str, "ask"), fields)
            fields.finish()
        except Malformed as error:
            raise Malformed(f"case {number}: {error}") from error
        if not expect:
            raise Malformed(f"case {number}: expects nothing")
        return Case(name=name, facts=facts, expect=expect)

    def _facts(self, ask: str, fields: _Fields) -> Facts:
        if ask == "request":
            return self._access(fields)
        if ask == "approve":
            return self._approval(fields)
        if ask == "operate":
            return self._operation(fields)
        raise Malformed(f"`ask` is none of request, approve, operate: `{ask}`")

    def _access(self, fields: _Fields) -> AccessFacts:
        sponsor = fields.take(str, "on_behalf_of", None)
        return AccessFacts(
            requester=self._principal(fields.take(str, "by")),
            sponsor=None if sponsor is None else self._principal(sponsor),
            role=self._role(fields.take(str, "role")),
            seconds=fields.take(int, "seconds", 1800),
            now=fields.take(str, "now", _NOW),
            business_hours=fields.take(bool, "business_hours", True),
            emergency=fields.take(bool, "emergency", False),
            break_glass_last_30d=fields.take(int, "break_glass_last_30d", 0),
            mfa=fields.take(Mfa, "mfa", None),
            ticket=fields.take_reference(Reference, "ticket", state="claimed"),
            incident=fields.take_reference(Incident, "incident", severity=0, open=False),
        )

    def _approval(self, fields: _Fields) -> ApprovalFacts:
        requester = fields.take(str, "requester")
        approved = fields.take(frozenset[str], "approved_by", frozenset())
        return ApprovalFacts(
            approver=self._principal(fields.take(str, "by")),
            requester=self._principal(requester).id,
            persons=self._persons(requester),
            approver_groups=fields.take(frozenset[str], "groups"),
            already_approved_by=frozenset(self._principal(name).person for name in approved),
            role=self._role(fields.take(str, "role")),
            now=fields.take(str, "now", _NOW),
            mfa=fields.take(Mfa, "mfa", None),
        )

    def _operation(self, fields: _Fields) -> OperateFacts:
        requester = fields.take(str, "requester", None)
        return OperateFacts(
            principal=self._principal(fields.take(str, "by")),
            operation=fields.take(str, "operation"),
            case=None if requester is None else self._access_case(requester, fields),
            now=fields.take(str, "now", _NOW),
            mfa=fields.take(Mfa, "mfa", None),
        )

    def _access_case(self, requester: str, fields: _Fields) -> CaseFacts:
        role = fields.take(str, "role", None)
        return CaseFacts(
            requester=self._principal(requester).id,
            persons=self._persons(requester),
            approver_groups=fields.take(frozenset[str], "groups", frozenset()),
            role=None if role is None else self._role(role),
            opened=fields.take(str, "opened", None),
            closed=fields.take(str, "closed", None),
        )

    def _principal(self, name: str) -> PrincipalFacts:
        fields = _Fields(self._entry(self._principals, name, "principals"))
        sponsor = fields.take(str, "sponsor", None)
        owner = fields.take(str, "owner", sponsor)
        person = f"per_{name}" if owner is None else self._principal_person(owner, name)
        facts = PrincipalFacts(
            id=f"prn_{name}",
            kind=fields.take(str, "kind"),
            person=fields.take(str, "person", person),
            active=fields.take(bool, "active", True),
            groups=fields.take(frozenset[str], "groups", frozenset()),
            attested=fields.take(bool, "attested", False),
            sponsor=None if sponsor is None else f"prn_{sponsor}",
        )
        fields.finish()
        return facts

    def _principal_person(self, owner: str, name: str) -> str:
        entry = self._entry(self._principals, owner, "principals")
        if entry.get("kind") != "human":
            raise Malformed(f"`{owner}`, who answers for `{name}`, is not a human")
        return self._principal(owner).person

    def _persons(self, requester: str) -> frozenset[str]:
        return frozenset((self._principal(requester).person,))

    def _role(self, id: str) -> RoleFacts:
        resource, _, role = id.partition("/")
        entry = self._entry(self._roles, id, "roles")
        facts: RoleFacts = read_as(
            RoleFacts, {"resource": resource, "role": role, **entry}, f"roles.{id}"
        )
        return facts

    def _entry(self, of: dict[str, Any], name: str, what: str) -> dict[str, Any]:
        if name not in of:
            raise Malformed(f"`{name}` is not among the {what} of this file")
        return _object(of[name], f"`{what}.{name}`")


def _object(value: object, what: str, known: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is no object")
    if known is not None and (unknown := sorted(value.keys() - set(known))):
        raise Malformed(f"{what} holds `{unknown[0]}`, which is not known")
    return value
