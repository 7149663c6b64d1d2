"""What watches over access was changed, or was silent (rule 20)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, activity, on, stray
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import Fact

_LOST: Final = frozenset({"cursor", "count", "silence"})


def _change(what: str, *, weakens: bool = False) -> Flat:
    return {
        "type": "control.changed", "time": on(2), "what": what, "weakens": weakens,
        "changed_by": "prn_ana", "about": "",
    }  # fmt: skip


def _gap(type: str, **values: int | str) -> Flat:
    return {"type": type, "time": on(2), **values}


class ControlChanged(Plain):
    """
    Fires on each, so ordinary life has hits: as many as there are changes. What is new in the
    directory and widens nothing is no change of a control.

    A log without heartbeats is as silent as nobody is there: what is late is told from the first
    heartbeat on, and once.
    """

    rule = Rule(
        id="control-changed",
        title="What watches over access was changed",
        advice="Somebody who knows of the change says so, and not whoever made it. Of a gap, find "
        "out what happened in it by other logs.",
        severity="low",
        kind="deterministic",
        needs=("control.changed", "log.gap", "source.gap"),
        also=("log.heartbeat", "activity"),
        thresholds={
            "gap": Threshold(
                default=7200, unit="seconds", meaning="so long a log with heartbeats is silent",
                least=60,
            )
        },
        horizon=timedelta(hours=2),
        expected=10000,
        references=("ATT&CK T1562", "ATT&CK T1070", "NIST SP 800-53 AU-5", "NIST SP 800-53 AU-9"),
        examples=(
            Example(
                says="a change that weakens",
                facts=(_change("principal:enrolled", weakens=True),),
                hits=1,
            ),
            Example(says="a new policy", facts=(_change("policy:activated"),), hits=1),
            Example(
                says="somebody new changes nothing",
                facts=(_change("principal:enrolled"),),
                hits=0,
            ),
            Example(says="a gap of the log", facts=(_gap("log.gap", since=7201),), hits=1),
            Example(says="twice the heartbeat", facts=(_gap("log.gap", since=7200),), hits=0),
            Example(says="a source lost records", facts=(_gap("source.gap", how="count"),), hits=1),
            Example(says="it speaks again", facts=(_gap("source.gap", how="resumed"),), hits=0),
            Example(
                says="a target logs less",
                facts=(stray(on(2), "logging.changed"), activity(on(2, "11:00"))),
                hits=1,
            ),
            Example(
                says="heartbeats have stopped",
                facts=(_gap("log.heartbeat"),),
                until=on(2, "13:00"),
                hits=1,
            ),
            Example(
                says="heartbeats have not stopped",
                facts=(_gap("log.heartbeat"),),
                until=on(2, "12:00"),
                hits=0,
            ),
        ),
        sigma="""
title: What watches over access was changed
name: control_changed
status: stable
logsource: {product: muniment, service: evidence}
detection:
  change:
    type: control.changed
  weaker:
    weakens: true
  directory:
    what: 'principal:enrolled'
  gap:
    type: log.gap
    since|gt: 7200
  lost:
    type: source.gap
    how: [cursor, count, silence]
  logging:
    type: activity
    event: logging.changed
    failed: false
  condition: (change and (weaker or not directory)) or gap or lost or logging
level: low
""",
    )  # fmt: skip

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._gap = timedelta(seconds=thresholds["gap"])
        self._alive: datetime | None = None

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.type == "control.changed":
            return self._changed(fact)
        if fact.type == "log.gap":
            return self._silent(fact) if fact.number("since") > self.threshold["gap"] else ()
        if fact.type == "source.gap":
            return self._lost(fact) if fact.text("how") in _LOST else ()
        if fact.type == "log.heartbeat":
            self._alive = fact.at
            return ()
        is_change = fact.text("event") == "logging.changed" and not fact.flag("failed")
        return self._logs_less(fact) if is_change else ()

    def _changed(self, fact: Fact) -> Iterable[Hit]:
        what, weakens = fact.text("what"), fact.flag("weakens")
        if what == "principal:enrolled" and not weakens:
            return
        by, about = fact.text("changed_by"), fact.text("about")
        # each of those who may decide more is a finding: one who is known must not hide another
        key = ":".join(filter(None, (what, by, about, day(fact.at))))
        yield self.hit(
            fact,
            key,
            f"{'the service' if by == 'service' else by} changed a control ({what})"
            + (", which is weaker now" if weakens else ""),
            severity="high" if weakens else self.rule.severity,
            subjects=(),
        )

    def _silent(self, fact: Fact) -> Iterable[Hit]:
        yield self.hit(
            fact,
            f"log:{day(fact.at)}",
            f"nothing was recorded for {fact.number('since')} seconds",
            severity="high",
        )

    def _lost(self, fact: Fact) -> Iterable[Hit]:
        source = fact.text("source")
        yield self.hit(
            fact,
            f"source:{source}:{day(fact.at)}",
            f"the source `{source}` was silent or lost records ({fact.text('how')})",
            severity="medium",
        )

    def _logs_less(self, fact: Fact) -> Iterable[Hit]:
        where = fact.text("resource")
        yield self.hit(
            fact,
            f"logging:{where}:{day(fact.at)}",
            f"what `{where}` logs was changed",
            severity="high",
            detail=" ".join((fact.text("account"), fact.text("action"), fact.text("object"))),
        )

    def tick(self, now: datetime) -> Iterable[Hit]:
        if self._alive is None or now - self._alive <= self._gap:
            return
        last, self._alive = self._alive, None
        yield Hit(
            rule=self.rule.id,
            at=now,
            key=f"log:{day(now)}",
            summary=f"the log has had no heartbeat since {last:%Y-%m-%dT%H:%M:%SZ}",
            severity="high",
        )
