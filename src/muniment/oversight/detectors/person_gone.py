"""Somebody who has left was given access (no. 23)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import issue, on, request
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact


class PersonGone(Plain):
    rule = Rule(
        id="person-gone",
        title="Somebody who has left asks for access",
        advice="Their account still works: end what was given, revoke their tokens and sessions, "
        "and find out why the directory knew and the door did not.",
        severity="high",
        kind="deterministic",
        needs=("request.made", "grant.issued"),
        references=("NIST SP 800-53 AC-2(3)", "NIST SP 800-53 PS-4", "ATT&CK T1078"),
        examples=(
            Example(says="a grant", facts=(issue(on(2), terminated=True),), hits=1),
            Example(says="a request", facts=(request(on(2), terminated=True),), hits=1),
            Example(
                says="somebody who is there",
                facts=(request(on(2), terminated=False), issue(on(2))),
                hits=0,
            ),
        ),
        sigma="""
title: Somebody who has left asks for access
name: person_gone
status: stable
logsource: {product: muniment, service: evidence}
detection:
  access:
    type: [request.made, grant.issued]
    terminated: true
  condition: access
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if not fact.flag("terminated"):
            return
        issued = fact.type == "grant.issued"
        words = "was given" if issued else "asked for"
        yield self.hit(
            fact,
            fact.case,
            f"{fact.text('requester')} has left, and {words} `{fact.text('resource')}`",
            severity="critical" if issued else self.rule.severity,
        )
