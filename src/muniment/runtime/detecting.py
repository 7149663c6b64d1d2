"""The detectors of this installation: which ones, with which thresholds, and what they know."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from muniment.errors import ConfigInvalid
from muniment.operations import past
from muniment.operations.around import Around
from muniment.operations.detect import Detection, RuleSet
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.service import Service
from muniment.oversight import watch
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import Detector, thresholds
from muniment.oversight.detectors import SCANNED, all_detectors
from muniment.oversight.event import Key
from muniment.oversight.link import Correlator, Grants, GrantWindow
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import FAILED, Backtest, Watch
from muniment.runtime.settings import Settings

#: whether this login is on call then
Rota = Callable[[str, datetime], bool]


def chosen(settings: Settings) -> tuple[type[Detector], ...]:
    """The detectors that are not switched off. Raises `ConfigInvalid` for a rule that is none."""
    every = all_detectors()
    known = {each.rule.id for each in every}
    for id_ in settings.detect.rules:
        if id_ not in known:
            raise ConfigInvalid(
                f"`detect.rules.{id_}` is no rule: `muniment detect --list` names those there are"
            )
    off = {id_ for id_, section in settings.detect.rules.items() if not section.enabled}
    return tuple(each for each in every if each.rule.id not in off)


def given(settings: Settings) -> Mapping[str, dict[str, int]]:
    """The thresholds that were set, by the id of their rule."""
    return {id_: section.thresholds for id_, section in settings.detect.rules.items()}


def surroundings(settings: Settings) -> WorkingDays:
    calendar = settings.calendar
    return WorkingDays(
        zone=calendar.timezone,
        days=calendar.days,
        holidays=frozenset(settings.detect.holidays),
    )


def rule_sets(settings: Settings) -> dict[str, RuleSet]:
    """By rule id, also of the rule about detectors themselves. Raises `ConfigInvalid`."""
    sections, found = settings.detect.rules, {FAILED.id: RuleSet(rule=FAILED, thresholds={})}
    for each in chosen(settings):
        section = sections.get(each.rule.id)
        found[each.rule.id] = RuleSet(
            rule=each.rule,
            thresholds=thresholds(each.rule, section.thresholds if section else {}),
            ends=section is not None and section.ends_access,
        )
    ending = sorted(id_ for id_, each in found.items() if each.ends)
    if ending and settings.detect.workload is None:
        raise ConfigInvalid(
            f"`detect.rules.{ending[0]}.ends_access` needs a workload that the policy lets revoke: "
            "set `detect.workload`"
        )
    return found


def read_detection(service: Service, settings: Settings, rota: Rota) -> Detection:
    """What watches over this service. Raises `ConfigInvalid`, saying which setting is wrong."""
    rules = rule_sets(settings)
    live = [each for each in chosen(settings) if each.rule.id not in SCANNED]
    set_here = {each.rule.id: given(settings).get(each.rule.id, {}) for each in live}
    around = Around(service=service, correlator=correlator(service), rota=rota)
    return Detection(
        service=service,
        watch=Watch(live, set_here, surroundings(settings)),
        rules=rules,
        around=around,
        recorded=Recorded(world=around, heartbeat=settings.log.heartbeat),
        workload=settings.detect.workload or "",
    )


def correlator(service: Service) -> Correlator:
    store = service.observing.store
    grants: Grants = _None() if store is None else GrantWindows(service=service, store=store)
    return Correlator(service.prefix, grants)


class _None:
    """No grants: nothing is observed."""

    def by_id(self, case: str) -> GrantWindow | None:  # noqa: ARG002 (there are none)
        return None

    def by_key(self, key: Key) -> GrantWindow | None:  # noqa: ARG002 (there are none)
        return None

    def of_account(self, resource: str, account: str, at: datetime) -> Any:  # noqa: ARG002 (there are none)
        return ()


def backtest(
    service: Service, settings: Settings, progress: Callable[[int, int], object], rota: Rota
) -> Backtest:
    """What the rules, as they are set here, would have found in all that ever happened."""
    around = Around(service=service, correlator=correlator(service), rota=rota)
    recorded = Recorded(world=around, heartbeat=settings.log.heartbeat)
    kinds = chosen(settings)
    return watch.backtest(
        past.facts(service, around, recorded, progress),
        kinds,
        {each.rule.id: given(settings).get(each.rule.id, {}) for each in kinds},
        surroundings(settings),
        until=service.now(),
    )


def read_rota(settings: Settings, _folder: Path) -> Rota:
    """Who is on call, by the calendars. Raises `ConfigInvalid` for one that cannot be read."""
    if not settings.detect.on_call:
        return lambda _login, _at: False
    raise ConfigInvalid("`detect.on_call`: calendars are not read yet")
