"""
`muniment replay`: recompute every decision of a bundle from its own policy, byte for byte.

The bundle is verified first. Then, for each decision of the case:

1. its sealed input is there; else it is not replayed, and the answer says why;
2. the policy that it followed loads from the bundle's documents, and has the recorded digest;
3. the same question on the same input gives the same bytes;
4. the record's header says what these bytes say;
5. the input is about this case, and its people and role are as the records that it follows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muniment.access import records
from muniment.access.check import Checked
from muniment.access.records import PHISHING_RESISTANT, SignIn
from muniment.errors import PolicyInvalid
from muniment.evidence.bundle import Erased, Section
from muniment.evidence.record import Sealed
from muniment.evidence.store import Entry
from muniment.interfaces.verifier.outcome import Outcome, mark
from muniment.policy import bundle as policy_bundle
from muniment.policy.bundle import Bundle as Policy
from muniment.policy.decide import Decision
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    OperateFacts,
    PrincipalFacts,
    RoleFacts,
)
from muniment.policy.replay import Replay
from muniment.policy.replay import replay as replay_one

_OTHER_ENGINE = "REPLAYED (same decision by another version of the engine)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What came of one decision."""

    record: str
    question: str
    outcome: str
    #: `REPLAYED…`, `DIFFERS`, `NOT REPLAYED (…)`
    answer: str
    differences: tuple[str, ...] = ()

    @property
    def replayed(self) -> bool:
        return self.answer.startswith("REPLAYED")

    @property
    def contradicts(self) -> bool:
        return self.answer == "DIFFERS"


def replay_all(checked: Checked) -> list[Replayed]:
    """Every decision of the case, in order."""
    desk = _Desk(checked)
    return [
        desk.replay(entry, record)
        for entry in checked.proved.case
        if isinstance(record := records.parse(entry.header), records.DecisionEvaluated)
    ]


class _Desk:
    """One verified bundle, and the policies that were loaded from it."""

    def __init__(self, checked: Checked) -> None:
        self._proved = checked.proved
        self._policies: dict[bytes, Policy] = {}
        first = records.parse(self._proved.case[0].header)
        self._request = first if isinstance(first, records.AccessRequested) else None

    def replay(self, entry: Entry, record: records.DecisionEvaluated) -> Replayed:
        def came(answer: str, *differences: str) -> Replayed:
            return Replayed(
                record=entry.header.id,
                question=record.question,
                outcome=record.outcome,
                answer=answer,
                differences=differences,
            )

        # step 1
        sealed = self._proved.sections.get((entry.header.id, "decision"))
        if not isinstance(sealed, Sealed):
            return came(f"NOT REPLAYED ({_absence(sealed)})")
        # step 2
        try:
            policy = self._policy(record.bundle)
        except PolicyInvalid as error:
            return came("DIFFERS", f"the recorded policy does not load: {error}")
        # step 3
        result = replay_one(policy, sealed.content)
        answer = _answer(result)
        if result.decision is None or answer == "DIFFERS":
            return came("DIFFERS", *result.differences)
        # steps 4 and 5
        differences = (
            *_header_differences(record, result.decision),
            *self._fact_differences(entry, result.decision),
        )
        return came("DIFFERS", *differences) if differences else came(answer, *result.differences)

    def _policy(self, name: bytes) -> Policy:
        if name not in self._policies:
            self._policies[name] = _load(self._proved.documents, name)
        return self._policies[name]

    def _fact_differences(self, entry: Entry, decision: Decision) -> Iterator[str]:
        followed = {
            each.header.case: records.parse(each.header) for each in self._proved.followed_by(entry)
        }
        facts = decision.facts
        if self._request is not None:
            yield from _case_differences(self._request, facts)
        yield from _sign_in_differences(facts, self._signed_in(entry))
        for principal in _principals(facts):
            yield from _principal_differences(principal, followed.get(principal.id))
        if not isinstance(facts, OperateFacts):
            yield from _role_differences(facts.role, followed.values())

    def _signed_in(self, entry: Entry) -> SignIn | None:
        """How whom the decision is about had shown who he is when he acted."""
        decision = records.parse(entry.header)
        asked_again = isinstance(decision, records.DecisionEvaluated) and (
            decision.question == "issue" and self._request is not None
        )
        acted = self._request if asked_again and self._request is not None else decision
        return acted.actor.sign_in


def _sign_in_differences(
    facts: AccessFacts | ApprovalFacts | OperateFacts, signed_in: SignIn | None
) -> Iterator[str]:
    factor = signed_in.mfa if signed_in is not None else ""
    asked = "" if facts.mfa is None else "mfa"
    if facts.mfa is not None and facts.mfa.phishing_resistant:
        asked = PHISHING_RESISTANT
    if asked != factor:
        yield f"the second factor was decided on as `{asked}`, and shown as `{factor}`"
    attested = signed_in is not None and signed_in.attested
    if next(_principals(facts)).attested != attested:
        yield "whether the principal proved what it runs on was decided on otherwise than shown"


def _load(documents: Mapping[bytes, bytes], name: bytes) -> Policy:
    """The bundle whose manifest has this digest: what `sha256sum` prints over its files."""
    try:
        lines = documents[name].decode("ascii").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        files = {path: documents[bytes.fromhex(digest)] for digest, path in pairs}
    except (KeyError, ValueError) as error:
        raise PolicyInvalid("its manifest names files that are not in the bundle") from error
    policy = policy_bundle.load(files)
    if policy.digest != name.hex():
        raise PolicyInvalid("its manifest is not the one of its files")
    return policy


def _absence(section: Section | None) -> str:
    return f"ERASED under rule `{section.rule}`" if isinstance(section, Erased) else "WITHHELD"


def _answer(result: Replay) -> str:
    if result.identical:
        return "REPLAYED"
    only_engine = all(line.startswith("/engine/") for line in result.differences)
    return _OTHER_ENGINE if result.result == "other-engine" and only_engine else "DIFFERS"


def _header_differences(record: records.DecisionEvaluated, decision: Decision) -> Iterator[str]:
    """Step 4. The fold reads headers only: none may say more than its evaluation."""
    said: dict[str, Any] = {
        "outcome": record.outcome,
        "bundle": record.bundle.hex(),
        "rules": list(record.rules),
        "approvals": record.approvals,
        "max_seconds": record.max_seconds,
        "requires": list(record.requires),
        "notifies": list(record.notifies),
    }
    again = {"max_seconds": 0, **decision.header()}
    for name, value in said.items():
        if again[name] != value:
            yield f"header `{name}`: recorded {value}, recomputed {again[name]}"


def _case_differences(
    request: records.AccessRequested, facts: AccessFacts | ApprovalFacts | OperateFacts
) -> Iterator[str]:
    if isinstance(facts, OperateFacts):
        yield "the input is about an operation, not about this case"
        return
    role = f"{request.resource}/{request.role}"
    if facts.role.id != role:
        yield f"the input is about `{facts.role.id}`, the case about `{role}`"
    requester = facts.requester if isinstance(facts, ApprovalFacts) else facts.requester.id
    if requester != request.requester:
        yield f"the input is about a request of `{requester}`, not of `{request.requester}`"


def _principals(
    facts: AccessFacts | ApprovalFacts | OperateFacts,
) -> Iterator[PrincipalFacts]:
    match facts:
        case AccessFacts():
            yield facts.requester
            if facts.sponsor is not None:
                yield facts.sponsor
        case ApprovalFacts():
            yield facts.approver
        case OperateFacts():
            yield facts.principal


def _principal_differences(facts: PrincipalFacts, enrolled: records.Record | None) -> Iterator[str]:
    if not isinstance(enrolled, records.PrincipalEnrolled):
        yield f"the decision does not follow the enrolment of `{facts.id}`"
        return
    pairs = {
        "person": (facts.person, enrolled.person),
        "type": (facts.kind, enrolled.type),
        "groups": (sorted(facts.groups), sorted(enrolled.groups)),
    }
    for name, (asked, recorded) in pairs.items():
        if asked != recorded:
            yield f"`{name}` of `{facts.id}`: decided on {asked}, enrolled {recorded}"
    if facts.active and not enrolled.active:
        yield f"`{facts.id}`: decided on as active, enrolled as inactive"


def _role_differences(facts: RoleFacts, followed: Iterable[records.Record]) -> Iterator[str]:
    asked = (facts.resource, facts.role, facts.tier, facts.environment, facts.data, facts.kind)
    for role in followed:
        if isinstance(role, records.RoleDefined):
            defined = (role.resource, role.role, role.tier, role.environment, role.data)
            if (*defined, role.connector) != asked:
                yield f"the role was decided on as {asked}, and defined as {defined}"


# --- how it looks -----------------------------------------------------------------------------


def lines(outcome: Outcome, decisions: Sequence[Replayed]) -> Iterator[str]:
    if outcome.checked is None:
        yield from outcome.lines()
        return
    yield f"{outcome.file}"
    yield ""
    for decision in decisions:
        sign = "✗" if decision.contradicts else "✓" if decision.replayed else "·"
        asked = f"{decision.question}: {decision.outcome}"
        yield f"  {mark(sign)} {decision.record:<38}  {asked:<26}  {decision.answer}"
        for line in decision.differences:
            yield f"        {line}"
    done = sum(decision.replayed for decision in decisions)
    yield f"    {done} of {len(decisions)} decisions recomputed from the policy in the file"
    yield ""
    yield from outcome.closing_lines(())


def as_json(outcome: Outcome, decisions: Sequence[Replayed]) -> dict[str, Any]:
    return {
        **outcome.json(),
        "decisions": [
            {
                "record": decision.record,
                "question": decision.question,
                "outcome": decision.outcome,
                "answer": decision.answer,
                "differences": list(decision.differences),
            }
            for decision in decisions
        ],
    }
