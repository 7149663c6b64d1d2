"""Whether access was decided, approved and issued as it should be."""

from typing import Final

from muniment.oversight.controls.control_test import (
    SKIP,
    ByLine,
    Examined,
    Fault,
    Result,
    control_test,
    over,
)
from muniment.oversight.population import Line

NO_GRANT: Final = "nothing was granted in this period"
NOBODY_ASKED: Final = "nobody asked for anything in this period"
#: beside these a sign-in with a second factor counts, too
STRONG: Final = ("signature", "step-up")


@control_test(
    "approved-by-others",
    "Whatever had to be approved was, before it was issued, by enough people it was not for",
    "grants that policy made depend on approvals",
)
def approved_by_others(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("approved-by-others", {})
    return over(
        "granted",
        lambda line: wrong.get(line.case) if line.required or line.case in wrong else SKIP,
        NO_GRANT,
    )


@control_test(
    "issued-as-approved",
    "What was asked for, what was approved and what was issued are the same",
    "grants",
)
def issued_as_approved(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("issued-as-approved", {})
    return over("granted", lambda line: wrong.get(line.case), NO_GRANT)


@control_test(
    "decided-by-policy",
    "Every request was decided by a rule of a policy that the log had activated before",
    "requests",
)
def decided_by_policy(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("decided-by-policy", {})

    def judge(line: Line) -> str | None:
        if not line.outcome:
            return "no decision was recorded"
        return wrong.get(line.case)

    return over("asked", judge, NOBODY_ASKED)


@control_test(
    "denied-got-nothing",
    "Nobody got what was denied, refused, withdrawn or too old",
    "requests that came to nothing",
)
def denied_got_nothing(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("denied-got-nothing", {})

    def judge(line: Line) -> str | None:
        if (why := wrong.get(line.case)) is not None:
            return why
        over = line.outcome == "deny" or line.state in ("refused", "withdrawn", "lapsed")
        return None if over else SKIP

    return over("asked", judge, "no request came to nothing in this period")


@control_test(
    "requests-say-why",
    "Every request has a reason, sealed with it",
    "requests",
)
def requests_say_why(examined: Examined) -> ByLine:
    wrong = examined.history.wrong.get("requests-say-why", {})
    return over("asked", lambda line: wrong.get(line.case), NOBODY_ASKED)


@control_test(
    "requests-strong",
    "Whoever got access had shown who he is by more than one factor",
    "grants to people",
)
def requests_strong(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.kind != "human":
            return SKIP
        return None if _is_strong(line.assurance, line.mfa) else f"asked by {line.assurance} alone"

    return over("granted", judge, "nothing was granted to a person in this period")


@control_test(
    "approvals-strong",
    "Whoever approved had shown who he is by more than one factor, or signed",
    "grants that somebody approved",
)
def approvals_strong(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if not line.approved:
            return SKIP
        weak = [each for each in line.approved if not _is_strong(each.assurance, each.mfa)]
        return f"approved by {weak[0].assurance} alone" if weak else None

    return over("granted", judge, "nothing was approved in this period")


@control_test(
    "policy-changes-linked",
    "Every change of the policy is recorded, and follows the one before",
    "activations of a policy",
)
def policy_changes_linked(examined: Examined) -> Result:
    inside = [each for each in examined.history.activations if examined.is_inside(each[0])]
    faults = [
        Fault(record.partition("/")[0], "it does not name the policy that was in force")
        for _, record in inside
        if record
    ]
    because = "" if inside else "the policy was not changed in this period"
    return Result(tested=len(inside), faults=tuple(faults), because=because)


def _is_strong(assurance: str, mfa: str) -> bool:
    return assurance in STRONG or bool(mfa)
