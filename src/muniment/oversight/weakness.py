"""
Every way in which evidence may not stand up: what it means, how bad it is, and what to do about it.

The advice is for the person who has to act. Whether a grant has a weakness, `health` finds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from muniment.oversight.detector import Severity

#: of one grant's evidence, or of the log itself
About = Literal["grant", "log"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of weakness."""

    #: short, stable, in kebab case: records, metrics and settings name it
    id: str
    #: what is so, in a few words
    title: str
    #: what somebody who doubts the grant will say
    meaning: str
    #: what to do about it
    advice: str
    severity: Severity
    about: About = "grant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """One weakness of one grant, or of the log, where `case` is empty."""

    kind: str
    case: str
    #: what shows it, in a sentence with pseudonyms and names of resources
    says: str


_KINDS: Final = (
    Kind(
        id="removal-unverified",
        title="nobody has seen that access is gone",
        meaning="The access may still be there: that it ended is only what was meant to happen.",
        advice="Look at the target by hand, and make it reachable for Muniment: it keeps looking, "
        "and closes the case by itself once it has seen that everything is gone.",
        severity="high",
    ),
    Kind(
        id="section-lost",
        title="sealed content is gone, and nobody erased it",
        meaning="Who asked, why, or how it was decided can be neither shown nor replayed.",
        advice="This log was restored without its sealed content. Look for a backup that has it: "
        "its commitments still say whether what you find is the right one.",
        severity="high",
    ),
    Kind(
        id="key-compromised-since",
        title="recorded while somebody else may have had the log's key",
        meaning="A checkpoint over these records could have been signed by somebody else.",
        advice="Hold these records against what witnesses, mirrors and the target's own log have "
        "from that time, and write down what you found where the key's retirement is explained.",
        severity="high",
    ),
    Kind(
        id="policy-text-missing",
        title="the text of the policy that decided is gone",
        meaning="Which rule gave the access can be named, but not read or replayed.",
        advice="Put the bundle back from version control: its digest stands in the decision, so "
        "that anybody can check that it is the same. `muniment policy activate` keeps its files.",
        severity="high",
    ),
    Kind(
        id="overdue-review",
        title="glass was broken, and the review of it is overdue",
        meaning="Nobody else has said that the emergency was one.",
        advice="Have somebody who was not part of it answer the review: `muniment reviews`.",
        severity="high",
    ),
    Kind(
        id="section-erased-early",
        title="sealed content was erased while it was still needed",
        meaning="Part of the story was taken away by hand before its time was over.",
        advice="Find out who erased it, and under which rule: the record of the erasure says both. "
        "It cannot be brought back; write down why it had to go.",
        severity="medium",
    ),
    Kind(
        id="definition-missing",
        title="the definition of the role is gone",
        meaning="What the role allowed at the target can no longer be shown.",
        advice="Put the definition back from version control; its digest stands in the request.",
        severity="medium",
    ),
    Kind(
        id="token-approval",
        title="approved with a static token",
        meaning="Whoever had the approver's token could have approved in his place.",
        advice="Have approvers sign in (`muniment login`), and let the policy demand it of them: "
        "rules of the question `approve` know how somebody has signed in.",
        severity="medium",
    ),
    Kind(
        id="uncovered-source",
        title="nothing, or not everything, says what was done there",
        meaning="No log of the target was read while the access was live, or part of it is missing."
        " That nothing is known to have been done does not mean that nothing was.",
        advice="Add a source that speaks of this target under `[sources]`, and see in `muniment "
        "show CASE` since when it covers it. What was missed may still lie in the target's own "
        "log: keep that.",
        severity="medium",
    ),
    Kind(
        id="weak-link",
        title="what was done is linked to the grant weakly only",
        meaning="Sessions were matched by account and time alone: others could have been there.",
        advice="Have the target's log name the grant: see what the connector says about it, and "
        "what the source has to log.",
        severity="medium",
    ),
    Kind(
        id="clock-stepped-within",
        title="the clock was set while the grant was open",
        meaning="Moments before and after cannot be compared without knowing by how much.",
        advice="The record of the step says who vouched for the clock, and by how much it moved. "
        "See to the time source of the machine if it comes again.",
        severity="medium",
    ),
    Kind(
        id="retention-conflict",
        title="something keeps what a rule wants gone",
        meaning="A rule wants it gone, another or a hold wants it kept: one of them is broken "
        "either way.",
        advice="Decide which one holds. Change the classes under `[retention]` (`muniment "
        "retention list` shows both); let two release a hold that is needed no more.",
        severity="medium",
    ),
    Kind(
        id="unwitnessed",
        title="no quorum of witnesses has cosigned it",
        meaning="Whoever runs the log could still show another history to somebody else.",
        advice="See why witnesses do not answer: `muniment check`, and the metric "
        "`muniment_witnesses_in_trouble`. The next quorum covers everything before it.",
        severity="medium",
    ),
    Kind(
        id="removal-late",
        title="access was seen gone late",
        meaning="Between the end that was planned and the look that saw it, it may have been used.",
        advice="Look in the target's own log for that time. See why it took so long: the target "
        "was down, or the worker had too much to do.",
        severity="low",
    ),
    Kind(
        id="review-late",
        title="glass was broken, and the review of it came late",
        meaning="The review was answered after its time was over.",
        advice="It cannot be undone. See that reviewers are told: `[notices]`.",
        severity="low",
    ),
    Kind(
        id="review-unanswered",
        title="glass was broken, and nobody has answered the review yet",
        meaning="Until somebody else has looked, the emergency is the word of whoever broke it.",
        advice="Have somebody who was not part of it answer it in time: `muniment reviews`.",
        severity="low",
    ),
    Kind(
        id="unsigned-approval",
        title="approved from a session, without a signature of the approver",
        meaning="That the approver himself agreed is what this service says of his session.",
        advice="Nothing to mend case by case: have approvers sign in with something that cannot be "
        "phished, and let the policy demand it. It then rests on whoever signed them in.",
        severity="low",
    ),
    Kind(
        id="static-token-request",
        title="asked for with a static token",
        meaning="Whoever had the token could have asked in its holder's place.",
        advice="Have people sign in (`muniment login`), and give workloads tokens of a provider.",
        severity="low",
    ),
    Kind(
        id="late-outcome",
        title="an outcome was recorded long after it happened",
        meaning="For a while only a file beside the log knew of it.",
        advice="See why the log could not be written then: its database, its disk, its head store.",
        severity="low",
    ),
    Kind(
        id="unstamped",
        title="no time stamp covers it",
        meaning="Nobody else says that it existed at that time.",
        advice="See why the authority does not answer: `muniment check`. The next stamp covers "
        "everything before it.",
        severity="low",
    ),
    Kind(
        id="not-indexed",
        title="the daily index of cases does not cover it",
        meaning="That the case went no further cannot be proved without showing the whole log.",
        advice="See why the daily index is late: the metric `muniment_upkeep_failing`.",
        severity="low",
    ),
    Kind(
        id="campaign-overdue",
        title="a review of many is not closed, and its time is over",
        meaning="What was to be looked at by then was not, or what was decided is not done yet.",
        advice="`muniment reviews` says what is left of it, and whose it is: have it decided, "
        "signed and closed.",
        severity="medium",
        about="log",
    ),
    Kind(
        id="no-witnesses",
        title="the log has no witnesses",
        meaning="Nobody else remembers it: only its own key vouches for its history.",
        advice="Name witnesses under `[witnesses]`: people who do not run this service.",
        severity="medium",
        about="log",
    ),
    Kind(
        id="no-time-stamps",
        title="the log has no time stamps",
        meaning="When something was recorded is the word of this service alone.",
        advice="Name a time-stamp authority under `[stamps]`.",
        severity="low",
        about="log",
    ),
)

KINDS: Final[Mapping[str, Kind]] = {each.id: each for each in _KINDS}
#: kinds that an old grant gets only when something happens to its evidence: age brings none of them
WORSENS: Final = frozenset(
    each.id for each in _KINDS if each.about == "grant" and each.severity == "high"
) | {"section-erased-early", "definition-missing"}


def table() -> list[dict[str, Any]]:
    """All kinds, as the document has them that figures name."""
    return [
        {
            "id": each.id,
            "title": each.title,
            "meaning": each.meaning,
            "advice": each.advice,
            "severity": each.severity,
            "about": each.about,
        }
        for each in _KINDS
    ]
