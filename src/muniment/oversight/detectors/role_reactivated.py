"""The same role is taken again and again: standing access in small pieces (rule 8)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import issue, on
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_DAY: Final = timedelta(days=1)


class RoleReactivated(Plain):
    """Of people and agents. A workload that takes a new grant for each run does what is wanted."""

    rule = Rule(
        id="role-reactivated",
        title="The same role is taken again and again",
        advice="A script renews it, or the longest window is too short for the work. Give the work "
        "a role or a window of its own.",
        severity="low",
        kind="deterministic",
        needs=("grant.issued",),
        thresholds={
            "grants": Threshold(
                default=4, unit="count", meaning="of one role to one person in 24 hours", least=2
            )
        },
        horizon=_DAY,
        # a bad day with four short grants is ordinary
        expected=50,
        references=("Microsoft Entra PIM: roles are activated too frequently",),
        examples=(
            Example(
                says="the fourth in a day fires",
                facts=tuple(issue(on(2, f"{9 + n}:00"), case=f"mun_{n}") for n in range(1, 5)),
                hits=1,
            ),
            Example(
                says="a pipeline does it all day",
                facts=tuple(
                    issue(on(2, f"{9 + n}:00"), "ci", f"mun_{n}", kind="workload")
                    for n in range(1, 8)
                ),
                hits=0,
            ),
            Example(
                says="a credential that is picked up again is the same grant",
                facts=tuple(issue(on(2, f"{9 + n}:00"), case="mun_1") for n in range(1, 5)),
                hits=0,
            ),
            Example(
                says="four different roles are not one role",
                facts=tuple(
                    issue(on(2, f"{9 + n}:00"), case=f"mun_{n}", role=f"role-{n}")
                    for n in range(1, 5)
                ),
                hits=0,
            ),
            Example(
                says="the fourth a day after the first does not",
                facts=(
                    *(issue(on(2, f"{9 + n}:00"), case=f"mun_{n}") for n in range(1, 4)),
                    issue(on(3, "10:01"), case="mun_4"),
                ),
                hits=0,
            ),
        ),
        sigma="""
title: A role was given
name: role_given
status: stable
logsource: {product: muniment, service: evidence}
detection:
  grant:
    type: grant.issued
  workload:
    kind: workload
  condition: grant and not workload
level: informational
---
title: The same role is taken again and again
name: role_reactivated
status: stable
correlation:
  type: value_count
  rules: [role_given]
  group-by: [requester, resource, role]
  timespan: 1d
  condition: {field: case, gte: 4}
level: low
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._grants: Recent[tuple[str, str]] = Recent(_DAY, most=100)

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.text("kind") == "workload":
            return
        who, where, role = fact.text("requester"), fact.text("resource"), fact.text("role")
        kept = self._grants.add((who, where, role), fact.at, (fact.case, fact.ref))
        if len(kept) < self.threshold["grants"]:
            return
        seen = [each.value for each in kept]
        if any(case == fact.case for case, _ in seen[:-1]):
            return
        if len({case for case, _ in seen}) >= self.threshold["grants"]:
            yield self.hit(
                fact,
                f"{who}:{where}:{role}:{day(fact.at)}",
                f"{who} took `{where}/{role}` {len(seen)} times in 24 hours",
                cases=[case for case, _ in seen],
                evidence=[ref for _, ref in seen],
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._grants.forget(now)
        return ()
