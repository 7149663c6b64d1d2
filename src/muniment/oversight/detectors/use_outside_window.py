"""A credential of a grant was used where or when the grant does not cover it (rule 2)."""

from collections.abc import Iterable
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Severity
from muniment.oversight.detectors.examples import activity, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact

_WORDS: Final[dict[str, tuple[Severity, str]]] = {
    "early": ("high", "before its window"),
    "late": ("high", "after it was over"),
    "elsewhere": ("critical", "on another resource"),
    "unknown": ("critical", "though the log has no such grant"),
}
#: of one that failed, the target itself said no: that is how it should be
_NO: Final = frozenset({"session.refused", "call", "error"})


class UseOutsideWindow(Plain):
    """Within 30 seconds of the window, the clocks of target and log may differ: `link.SKEW`."""

    rule = Rule(
        id="use-outside-window",
        title="A grant's credential was used outside its window",
        advice="`late`: a session outlived its grant; see that it is ended, and why it was not. "
        "`elsewhere` or `unknown`: a credential was copied or forged, or the log lost a record.",
        severity="high",
        kind="deterministic",
        needs=("activity",),
        references=("ATT&CK T1078", "NIST SP 800-53 AC-2(12)"),
        examples=(
            Example(
                says="a statement after the end fires, and the session it is in is one finding",
                facts=(
                    activity(on(2, "10:40"), standing="late"),
                    activity(on(2, "10:41"), standing="late", event="session.closed"),
                ),
                hits=2,
            ),
            Example(
                says="an id that the log does not have fires",
                facts=(activity(on(2), case="", standing="unknown"),),
                hits=1,
            ),
            Example(
                says="use in the window does not",
                facts=(activity(on(2)), activity(on(2, "10:05"), "session.closed")),
                hits=0,
            ),
            Example(
                says="whom the target turns away after the end was not let in",
                facts=(activity(on(2), "session.refused", standing="late", failed=True),),
                hits=0,
            ),
            Example(
                says="a name and a moment are no evidence of who it was",
                facts=(activity(on(2), standing="late", link="weak"),),
                hits=0,
            ),
        ),
        sigma="""
title: A grant's credential was used outside its window
name: use_outside_window
status: stable
logsource: {product: muniment, service: evidence}
detection:
  use:
    type: activity
    link: strong
    standing: [early, late, elsewhere, unknown]
  refused:
    event: session.refused
  failed:
    event: [call, error]
    failed: true
  condition: use and not refused and not failed
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        standing = fact.text("standing")
        if standing not in _WORDS or fact.text("link") != "strong" or _turned_away(fact):
            return
        severity, words = _WORDS[standing]
        where = fact.text("resource")
        yield self.hit(
            fact,
            f"{fact.case or fact.text('account')}:{standing}",
            f"a credential of a grant was used on `{where}` {words}",
            severity=severity,
            detail=" ".join((fact.text("account"), fact.text("action"), fact.text("object"))),
        )


def _turned_away(fact: Fact) -> bool:
    event = fact.text("event")
    return event in _NO and (fact.flag("failed") or event == "session.refused")
