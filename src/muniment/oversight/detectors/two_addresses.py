"""The credential of one grant was used from two addresses (no. 22)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings
from muniment.oversight.detectors.examples import activity, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=7)
#: addresses of one grant that are remembered
_MOST: Final = 50


class TwoAddresses(Plain):
    """
    Of people and agents: the runners of a workload have many addresses. What comes from the target
    itself, or from no address, is no second one.
    """

    rule = Rule(
        id="two-addresses",
        title="A credential was used from two addresses",
        advice="A laptop that moved from the office to a train looks the same as a stolen "
        "credential. Ask the holder; if in doubt, end the grant.",
        severity="medium",
        kind="deterministic",
        needs=("activity",),
        horizon=_SPAN,
        expected=100,
        references=("ATT&CK T1550", "ATT&CK T1078"),
        examples=(
            Example(
                says="a second address",
                facts=(activity(on(2)), activity(on(2, "10:05"), client="203.0.113.5")),
                hits=1,
            ),
            Example(
                says="one address",
                facts=(activity(on(2)), activity(on(2, "10:05"))),
                hits=0,
            ),
            Example(
                says="of two grants",
                facts=(
                    activity(on(2)),
                    activity(on(2, "10:05"), case="mun_2", client="203.0.113.5"),
                ),
                hits=0,
            ),
            Example(
                says="the target itself",
                facts=(
                    activity(on(2)),
                    activity(on(2, "10:05"), client="[local]"),
                    activity(on(2, "10:06"), client="127.0.0.1"),
                    activity(on(2, "10:07"), client=""),
                ),
                hits=0,
            ),
            Example(
                says="whoever was turned away did not use it",
                facts=(
                    activity(on(2)),
                    activity(on(2, "10:05"), "session.refused", client="203.0.113.5", failed=True),
                ),
                hits=0,
            ),
        ),
        sigma="""
title: A credential was used from an address
name: credential_used
status: stable
logsource: {product: muniment, service: evidence}
detection:
  use:
    type: activity
    link: strong
    client|re: '.+'
  local:
    client: ['[local]', '::1']
  loopback:
    client|startswith: '127.'
  refused:
    event: session.refused
  workload:
    kind: workload
  condition: use and not local and not loopback and not refused and not workload
level: informational
---
title: A credential was used from two addresses
name: two_addresses
status: stable
correlation:
  type: value_count
  rules: [credential_used]
  group-by: [case]
  timespan: 7d
  condition: {field: client, gte: 2}
level: medium
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        #: by case: each address, and the first fact that showed it
        self._seen: dict[str, dict[str, str]] = {}
        #: when a case was last seen, by our clock: a target may be wrong about the time
        self._last: dict[str, datetime | None] = {}
        self._now: datetime | None = None

    def see(self, fact: Fact) -> Iterable[Hit]:
        client = fact.text("client")
        if not client or not fact.case or fact.text("link") != "strong":
            return
        if fact.text("event") == "session.refused" or fact.text("kind") == "workload":
            return
        known = self._seen.get(fact.case, {})
        if client in known or len(known) >= _MOST or _is_local(client):
            return
        known[client] = fact.ref
        self._seen[fact.case], self._last[fact.case] = known, self._now
        if len(known) > 1:
            yield self.hit(
                fact,
                fact.case,
                f"the credential of a grant for `{fact.text('resource')}` was used from "
                f"{len(known)} addresses",
                evidence=list(known.values()),
                detail=" ".join(known),
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._now = now
        if self.is_new_day(now):
            for case, seen in list(self._last.items()):
                last = self._last[case] = seen or now
                if last < now - _SPAN:
                    del self._last[case], self._seen[case]
        return ()


def _is_local(client: str) -> bool:
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return client == "[local]"
