"""An account, a role or a privilege of a target was changed by nobody of ours (rule 3)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import activity, on, stray
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import Fact


class RoleWrittenByOthers(Plain):
    """
    Accounts that the configuration declares may change rights: that they may was decided there.

    Our own may do so only for a grant: whoever has its secret could do anything else with it.
    """

    rule = Rule(
        id="role-written-by-others",
        title="Rights at a target were changed by nobody's grant",
        advice="Find out who used this account, and take back what it gave. If it is meant to do "
        "so, declare it among the standing accounts of the source.",
        severity="high",
        kind="deterministic",
        needs=("activity",),
        references=("ATT&CK T1098", "ATT&CK T1136", "NIST SP 800-53 AC-6(9)"),
        examples=(
            Example(
                says="a role made by an account of nobody's grant fires",
                facts=(stray(on(2), "access.changed", action="CREATE ROLE", object="helper"),),
                hits=1,
            ),
            Example(
                says="our own account fires where it is not for a grant",
                facts=(stray(on(2), "access.changed", standing="known", own=True),),
                hits=1,
            ),
            Example(
                says="our own account, for a grant, does not",
                facts=(stray(on(2), "access.changed", standing="known", own=True, about="mun_1"),),
                hits=0,
            ),
            Example(
                says="nor does the holder of a grant, an account that is declared, or a refusal",
                facts=(
                    activity(on(2), "access.changed"),
                    stray(on(2), "access.changed", standing="known"),
                    stray(on(2), "access.changed", failed=True),
                ),
                hits=0,
            ),
            Example(
                says="a name and a moment do not make it somebody's grant",
                facts=(activity(on(2), "access.changed", link="weak"),),
                hits=1,
            ),
        ),
        sigma="""
title: Rights at a target were changed by nobody's grant
name: role_written_by_others
status: stable
logsource: {product: muniment, service: evidence}
detection:
  change:
    type: activity
    event: access.changed
    failed: false
  granted:
    link: strong
  declared:
    standing: known
  ours:
    own: true
  for_a_grant:
    about|re: '.+'
  condition: change and not granted and ((ours and not for_a_grant) or (not ours and not declared))
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.text("event") != "access.changed" or fact.flag("failed"):
            return
        if fact.text("link") == "strong":  # outside its window it is for `use-outside-window`
            return
        explained = fact.text("about") if fact.flag("own") else fact.text("standing") == "known"
        if explained:
            return
        where = fact.text("resource")
        yield self.hit(
            fact,
            f"{where}:{fact.text('account')}:{day(fact.at)}",
            f"rights on `{where}` were changed by an account of nobody's grant",
            severity="critical" if fact.flag("own") else "high",
            subjects=(),
            detail=" ".join((fact.text("account"), fact.text("action"), fact.text("object"))),
        )
