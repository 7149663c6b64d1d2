"""Somebody approved a request that they stand behind themselves (rule 4)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import approval, on
from muniment.oversight.detectors.plain import Plain, unique
from muniment.oversight.fact import Fact


class OwnApproval(Plain):
    rule = Rule(
        id="own-approval",
        title="Somebody approved their own request",
        advice="Policy forbids it, so this says that policy, or the person behind an account, was "
        "wrong. End the grant, and have somebody else decide.",
        severity="critical",
        kind="deterministic",
        needs=("approval.given",),
        references=("NIST SP 800-53 AC-5", "SOC 2 CC6.3"),
        examples=(
            Example(says="by the same person", facts=(approval(on(2), by="ana"),), hits=1),
            Example(
                says="by the same person with another account",
                facts=(approval(on(2), by="ana", approver="prn_ana_admin"),),
                hits=1,
            ),
            Example(
                says="by the owner of the agent that asks",
                facts=(
                    approval(
                        on(2),
                        by="ana",
                        who="robo",
                        kind="agent",
                        person="per_bo",
                        persons=" per_bo per_ana ",
                    ),
                ),
                hits=1,
            ),
            Example(says="by somebody else it does not fire", facts=(approval(on(2)),), hits=0),
        ),
        sigma="""
title: Somebody approved their own request
name: own_approval
status: stable
logsource: {product: muniment, service: evidence}
detection:
  approval:
    type: approval.given
  same_account:
    approver|fieldref: requester
  same_person:
    approver_person|fieldref: person
  in_the_chain:
    persons|fieldref|contains: approver_person
  condition: approval and (same_account or same_person or in_the_chain)
level: critical
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        approver, person = fact.text("approver"), fact.text("approver_person")
        behind = fact.persons | {fact.text("person")}
        if person not in behind and approver != fact.text("requester"):
            return
        yield self.hit(
            fact,
            fact.case,
            f"{approver} approved a request of {fact.text('requester')} and stands behind both",
            subjects=unique((person, *sorted(behind))),
        )
