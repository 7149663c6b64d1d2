"""Somebody was let in at a target under nobody's grant (rule 1, as a target's log shows it)."""

from collections.abc import Iterable
from datetime import timedelta

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import activity, on, stray
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import Fact


class UseWithoutGrant(Plain):
    """
    Only where somebody has declared which accounts need no grant: else every program's is found.

    What such an account may do, drift finds; here is that it is used.
    """

    rule = Rule(
        id="use-without-grant",
        title="Somebody was let in under nobody's grant",
        advice="Find out whose account it is. If it is meant to be there, declare it among the "
        "source's `standing_accounts`; if not, remove it: `muniment drift` names it, too.",
        severity="medium",
        kind="deterministic",
        needs=("activity",),
        horizon=timedelta(0),
        references=("ATT&CK T1078", "NIST SP 800-53 AC-2(12)"),
        examples=(
            Example(
                says="an account that nobody declared",
                facts=(stray(on(2), "session.opened", account="backdoor"),),
                hits=1,
            ),
            Example(
                says="two of them on one day",
                facts=(
                    stray(on(2), "session.opened", account="backdoor"),
                    stray(on(2, "10:05"), "session.opened", account="another"),
                ),
                hits=2,
            ),
            Example(
                says="declared ones, our own, those that were turned away, those of a grant, and "
                "any where nothing is declared",
                facts=(
                    stray(on(2), "session.opened", account="app_orders", standing="known"),
                    stray(on(2, "10:05"), "session.opened", account="muniment", own=True),
                    stray(on(2, "10:06"), "session.refused", failed=True),
                    activity(on(2, "10:07"), "session.opened"),
                    stray(on(2, "10:08"), "session.opened", standing="undeclared"),
                ),
                hits=0,
            ),
        ),
        sigma="""
title: Somebody was let in under nobody's grant
name: use_without_grant
status: stable
logsource: {product: muniment, service: evidence}
detection:
  entered:
    type: activity
    event: session.opened
    standing: nobody
    own: false
  condition: entered
level: medium
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.text("event") != "session.opened" or fact.text("standing") != "nobody":
            return
        if fact.flag("own") or fact.flag("failed"):
            return
        where, account = fact.text("resource"), fact.text("account")
        yield self.hit(
            fact,
            f"{where}:{account}:{day(fact.at)}",
            f"somebody was let in at `{where}` under nobody's grant",
            subjects=(),
            detail=" ".join(filter(None, (account, fact.text("client")))),
        )
