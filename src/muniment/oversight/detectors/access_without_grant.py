"""A target has an account, a session or a privilege that no grant covers (rule 1)."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Severity
from muniment.oversight.detectors.examples import Flat, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.difference import ACCESS, WHATS
from muniment.oversight.fact import Fact

#: the other way round: a grant says that something is there, and it is not
_LACKS: Final = "grant-without-access/"


def _drift(how: str) -> Flat:
    return {
        "type": "drift", "time": on(2), "resource": "orders-prod", "account": "helper",
        "how": how, "privilege": "superuser", "since": 0,
    }  # fmt: skip


class AccessWithoutGrant(Plain):
    """
    What a scan of a target sees it has looked at twice where a grant was just beginning or ending.

    The scan raises findings of its own, so that a live watch does without this: see `SCANNED`. It
    is for the past, and for other systems.
    """

    rule = Rule(
        id=ACCESS.id,
        title="A target has access that no grant covers",
        advice="Somebody opened a second door, or a grant did not end. Find out who made it: the "
        "target's log says when. Have it removed, or adopt it: somebody then answers for it.",
        severity="high",
        kind="deterministic",
        needs=("drift",),
        horizon=timedelta(0),
        references=("ATT&CK T1136", "NIST SP 800-53 AC-2(12)", "PCI DSS 4.0.1 7.2.4"),
        examples=(
            Example(
                says="an account that nobody of ours made",
                facts=(_drift("privileged-account/out-of-band"),),
                hits=1,
            ),
            Example(
                says="more privileges than the role gives",
                facts=(_drift("privilege-beyond-role/membership"),),
                hits=1,
            ),
            Example(
                says="that a grant lacks its account is no access",
                facts=(_drift("grant-without-access/gone"),),
                hits=0,
            ),
        ),
        sigma="""
title: A target has access that no grant covers
name: access_without_grant
status: stable
logsource: {product: muniment, service: evidence}
detection:
  drift:
    type: drift
  lacking:
    how|startswith: 'grant-without-access/'
  condition: drift and not lacking
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        how, where = fact.text("how"), fact.text("resource")
        if how.startswith(_LACKS):
            return
        yield self.hit(
            fact,
            ":".join((where, how, fact.text("account"))),
            f"`{where}` has access that no grant covers ({how})",
            severity=_severity(how),
            detail=" ".join((fact.text("account"), fact.text("privilege"))),
        )


def _severity(how: str) -> Severity:
    kind, _, what = how.partition("/")
    told = WHATS.get((kind, what))
    return AccessWithoutGrant.rule.severity if told is None else told[0]
