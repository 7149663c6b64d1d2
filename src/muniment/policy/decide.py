"""
Ask the questions, and say what was decided and why.

A decision is a value, also when it denies. Whatever is uncertain denies: an error inside a rule, an
input that the engine does not accept, no rule, no maximum duration. Three invariants of the
product are in code and no policy can lift them; they stand in a decision like rules:

- `muniment:actor-chain`: nobody in a request's actor chain approves it;
- `muniment:sponsor`: an agent asks only on behalf of its own sponsor;
- `muniment:review`: nobody asks for what a review took from him.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from muniment.evidence import canonical
from muniment.policy import engine, obligations, recorded, snapshot
from muniment.policy.bundle import Bundle, Rule
from muniment.policy.engine import Step
from muniment.policy.obligations import NOTHING, Obligations
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    Facts,
    OperateFacts,
    PrincipalFacts,
)

#: version of this layer: what is shown to the engine and how answers become an outcome
VERSION = 1

Outcome: TypeAlias = Literal["deny", "needs_approvals", "auto_approve", "break_glass", "permit"]


def _invariant(id: str, title: str) -> Rule:
    text = f"// in code, not policy: {title}"
    return Rule(
        id=id,
        title=title,
        file="muniment",
        line=0,
        text=text,
        sha256=sha256(text.encode()).hexdigest(),
        effect="forbid",
        questions=frozenset(),
        demands=obligations.Demands(),
    )


ACTOR_CHAIN = _invariant("muniment:actor-chain", "Nobody in the actor chain approves the request")
SPONSOR = _invariant("muniment:sponsor", "An agent asks only on behalf of its own sponsor")
REVIEW = _invariant("muniment:review", "Nobody asks for what a review took from him")
_INVARIANTS = {rule.id: rule for rule in (ACTOR_CHAIN, SPONSOR, REVIEW)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """One evaluation of one bundle on one input."""

    outcome: Outcome
    #: sentences that name rule ids; they hold no personal data
    why: tuple[str, ...]
    #: every determining rule of every step, sorted by id
    rules: tuple[Rule, ...]
    obligations: Obligations
    steps: tuple[Step, ...]
    #: digest of the bundle
    bundle: str
    facts: Facts
    shown: snapshot.Snapshot = field(repr=False)

    @property
    def approvals(self) -> dict[str, int]:
        """Group → how many of its members have to approve."""
        return {group: need.value for group, need in sorted(self.obligations.approvals.items())}

    @property
    def max_seconds(self) -> int | None:
        longest = self.obligations.max_seconds
        return longest.value if longest is not None else None

    @property
    def requires(self) -> tuple[str, ...]:
        return tuple(sorted(self.obligations.require))

    @property
    def notifies(self) -> tuple[str, ...]:
        return tuple(sorted(self.obligations.notify))

    def header(self) -> dict[str, Any]:
        """Small ASCII facts for a log header. No digest of the input: that is sealed."""
        facts = {
            "outcome": self.outcome,
            "bundle": self.bundle,
            "engine": engine.BINDING,
            "rules": [rule.id for rule in self.rules],
            "approvals": self.approvals,
            "requires": list(self.requires),
            "notifies": list(self.notifies),
        }
        return facts if self.max_seconds is None else {**facts, "max_seconds": self.max_seconds}

    def content(self) -> bytes:
        """The complete decision record, canonical: what `replay` recomputes byte for byte."""
        return canonical.encode(
            {
                "v": VERSION,
                "engine": {"name": engine.NAME, "binding": engine.BINDING},
                "bundle": self.bundle,
                "questions": sorted({step.action for step in self.steps}),
                "input": {
                    "kind": recorded.kind(self.facts),
                    "facts": recorded.write(self.facts),
                    "resource": self.shown.resource,
                    "context": self.shown.context,
                    "entities": self.shown.entities,
                },
                "steps": [step.json() for step in self.steps],
                "rules": [_rule_json(rule) for rule in self.rules],
                "outcome": self.outcome,
                "why": list(self.why),
                "obligations": self.obligations.json(),
            }
        )


def ask(bundle: Bundle, facts: Facts) -> Decision:
    """Whichever question these facts are for."""
    match facts:
        case AccessFacts():
            return ask_request(bundle, facts)
        case ApprovalFacts():
            return ask_approve(bundle, facts)
        case OperateFacts():
            return ask_operate(bundle, facts)


def ask_request(bundle: Bundle, facts: AccessFacts) -> Decision:
    """May this access be, and on which obligations: `request` and `require`, or `breakGlass`."""
    shown = snapshot.of(facts)
    actions = ("breakGlass",) if facts.emergency else ("request", "require")
    # for an agent, the agent and its sponsor are both asked, and obligations are united
    asking = (facts.requester,) if facts.sponsor is None else (facts.requester, facts.sponsor)
    steps = (
        *_asked(bundle, shown, actions, asking),
        *_sponsor_step(facts, actions[0]),
        *_review_step(facts, actions[0]),
    )
    denials = tuple(_denials(bundle, steps))
    if denials:
        return _decision(bundle, facts, shown, steps, outcome="deny", why=denials)
    carrier = actions[-1]
    demanded = _demanded(bundle, steps, carrier)
    if reason := _unmet(facts, demanded):
        return _decision(bundle, facts, shown, steps, outcome="deny", why=(reason,))
    outcome = _access_outcome(facts, demanded)
    why = (*_permits(steps, actions[0]), *_terms(demanded))
    return _decision(bundle, facts, shown, steps, outcome=outcome, why=why, demanded=demanded)


def ask_approve(bundle: Bundle, facts: ApprovalFacts) -> Decision:
    """May this human approve this request."""
    shown = snapshot.of(facts)
    steps = _asked(bundle, shown, ("approve",), (facts.approver,))
    # INVARIANT: holds under every bundle, by person and by account
    if facts.approver.person in facts.persons or facts.approver.id == facts.requester:
        steps = (*steps, _forbidden("approve", facts.approver, ACTOR_CHAIN))
    return _permission(bundle, facts, shown, steps)


def ask_operate(bundle: Bundle, facts: OperateFacts) -> Decision:
    """May this principal do this to this case or this installation."""
    if facts.case is not None and not bundle.dates_cases:
        # the engine refuses facts that a schema does not know, and then all of it is denied
        facts = replace(facts, case=replace(facts.case, opened=None, closed=None))
    shown = snapshot.of(facts)
    steps = _asked(bundle, shown, ("operate",), (facts.principal,))
    return _permission(bundle, facts, shown, steps)


def who_could_approve(
    bundle: Bundle, facts: ApprovalFacts, candidates: Iterable[PrincipalFacts]
) -> tuple[tuple[PrincipalFacts, Decision], ...]:
    """
    The answer that each candidate would get in place of `facts.approver`, in the order given.

    `facts.mfa` is what each candidate is taken to show when the time comes.
    """
    return tuple(
        (candidate, ask_approve(bundle, replace(facts, approver=candidate)))
        for candidate in candidates
    )


def _asked(
    bundle: Bundle,
    shown: snapshot.Snapshot,
    actions: Sequence[str],
    principals: Sequence[PrincipalFacts],
) -> tuple[Step, ...]:
    questions = [
        (action, bundle.slices[action], snapshot.principal_uid(principal))
        for principal in principals
        for action in actions
    ]
    return engine.ask(bundle.schema, shown.entities, shown.resource, shown.context, questions)


def _sponsor_step(facts: AccessFacts, action: str) -> tuple[Step, ...]:
    requester, sponsor = facts.requester, facts.sponsor
    if requester.kind != "agent":
        return ()
    # INVARIANT: an agent without a sponsor, or with somebody else's, gets nothing
    if sponsor is not None and sponsor.id == requester.sponsor:
        return ()
    return (_forbidden(action, requester, SPONSOR),)


def _review_step(facts: AccessFacts, action: str) -> tuple[Step, ...]:
    # INVARIANT: what a review took away stays away until somebody else restores it
    return (_forbidden(action, facts.requester, REVIEW),) if facts.withdrawn else ()


def _forbidden(action: str, principal: PrincipalFacts, invariant: Rule) -> Step:
    return Step(action, snapshot.principal_uid(principal), "Deny", (invariant.id,))


def _permission(
    bundle: Bundle, facts: Facts, shown: snapshot.Snapshot, steps: tuple[Step, ...]
) -> Decision:
    denials = tuple(_denials(bundle, steps))
    if denials:
        return _decision(bundle, facts, shown, steps, outcome="deny", why=denials)
    why = tuple(_permits(steps, steps[0].action))
    return _decision(bundle, facts, shown, steps, outcome="permit", why=why)


def _decision(
    bundle: Bundle,
    facts: Facts,
    shown: snapshot.Snapshot,
    steps: tuple[Step, ...],
    *,
    outcome: Outcome,
    why: Iterable[str],
    demanded: Obligations = NOTHING,
) -> Decision:
    ids = sorted({id for step in steps for id in step.rules})
    return Decision(
        outcome=outcome,
        why=tuple(why),
        rules=tuple(_rule(bundle, id) for id in ids),
        obligations=demanded,
        steps=steps,
        bundle=bundle.digest,
        facts=facts,
        shown=shown,
    )


def _rule(bundle: Bundle, id: str) -> Rule:
    return _INVARIANTS[id] if id in _INVARIANTS else bundle.by_id[id]


def _demanded(bundle: Bundle, steps: Iterable[Step], carrier: str) -> Obligations:
    ids = {id for step in steps if step.action == carrier for id in step.rules}
    return obligations.merge((id, bundle.by_id[id].demands) for id in ids)


def _unmet(facts: AccessFacts, demanded: Obligations) -> str | None:
    """Why obligations that every rule agreed on still give no access."""
    longest = demanded.max_seconds
    if longest is None:
        return "no rule says how long access may last"
    if facts.seconds > longest.value:
        return f"{facts.seconds} s asked, {longest.value} s allowed by {longest.rule}"
    if not facts.emergency and not demanded.approvals and demanded.no_approval is None:
        return "no rule says who approves, nor that nobody has to"
    return None


def _access_outcome(facts: AccessFacts, demanded: Obligations) -> Outcome:
    if facts.emergency:
        return "break_glass"
    return "needs_approvals" if demanded.approvals else "auto_approve"


def _denials(bundle: Bundle, steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        if step.allows:
            continue
        subject = f"{step.principal['id']} may not {step.action}"
        if step.errors:
            # the rule that erred was skipped: what it would have said is not known
            yield f"{subject}: not evaluated: {'; '.join(step.errors)}"
        elif step.rules:
            yield f"{subject}: {', '.join(_named(_rule(bundle, id)) for id in step.rules)}"
        elif step.action == "require":
            yield f"no rule of `require` says what {step.principal['id']} needs"
        else:
            yield f"{subject}: no rule permits it"


def _named(rule: Rule) -> str:
    return f"{rule.id} ({rule.title})" if rule.title else rule.id


def _permits(steps: Iterable[Step], action: str) -> Iterator[str]:
    for step in steps:
        if step.action == action:
            yield f"{step.principal['id']} may {action}: {', '.join(step.rules)}"


def _terms(demanded: Obligations) -> Iterator[str]:
    for group, need in sorted(demanded.approvals.items()):
        yield f"approvals needed from {group}: {need.value} ({need.rule})"
    if not demanded.approvals and demanded.no_approval is not None:
        yield f"no approval needed ({demanded.no_approval})"
    if demanded.max_seconds is not None:
        yield f"at most {demanded.max_seconds.value} s ({demanded.max_seconds.rule})"
    for word, rule in sorted(demanded.require.items()):
        yield f"{word} is required ({rule})"
    for whom, rule in sorted(demanded.notify.items()):
        yield f"{whom} is told ({rule})"


def _rule_json(rule: Rule) -> Mapping[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "file": rule.file,
        "line": rule.line,
        "effect": rule.effect,
        "text": rule.text,
        "sha256": rule.sha256,
    }
