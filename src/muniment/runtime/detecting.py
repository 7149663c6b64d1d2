"""The detectors of this installation: which ones, with which thresholds, and what they know."""

from collections import Counter
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
from muniment.oversight.detectors.control_changed import ControlChanged
from muniment.oversight.event import Key
from muniment.oversight.link import Correlator, Grants, GrantWindow
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import FAILED, Backtest, Watch
from muniment.runtime.on_call import OnCall
from muniment.runtime.settings import Settings
from muniment.runtime.sigma_rules import read_sigma_rules

#: whether this login is on call then
Rota = Callable[[str, datetime], bool]


def known(settings: Settings, folder: Path) -> tuple[type[Detector], ...]:
    """Ours, those of installed packages, and Sigma rules. Raises `ConfigInvalid`."""
    sigma = settings.detect.sigma
    if sigma is None:
        return all_detectors()
    every = (*all_detectors(), *read_sigma_rules(folder / sigma))
    count = Counter(each.rule.id for each in every)
    if twice := [id_ for id_, times in count.items() if times > 1]:
        raise ConfigInvalid(f"`detect.sigma`: two rules have the id `{twice[0]}`")
    return every


def chosen(settings: Settings, folder: Path) -> tuple[type[Detector], ...]:
    """The detectors that are not switched off. Raises `ConfigInvalid` for a rule that is none."""
    every = known(settings, folder)
    ids = {each.rule.id for each in every}
    for id_ in settings.detect.rules:
        if id_ not in ids:
            raise ConfigInvalid(
                f"`detect.rules.{id_}` is no rule: `muniment detect --list` names those there are"
            )
    off = {id_ for id_, section in settings.detect.rules.items() if not section.enabled}
    return tuple(each for each in every if each.rule.id not in off)


def given(settings: Settings) -> Mapping[str, dict[str, int]]:
    """The thresholds that were set, by the id of their rule, or follow from other settings."""
    found = {id_: section.thresholds for id_, section in settings.detect.rules.items()}
    # a heart that beats more slowly than every hour has not stopped
    slow = 2 * int(settings.log.heartbeat.total_seconds())
    if slow > ControlChanged.rule.thresholds["gap"].default:
        id_ = ControlChanged.rule.id
        found[id_] = {"gap": slow, **found.get(id_, {})}
    return found


def surroundings(settings: Settings) -> WorkingDays:
    calendar = settings.calendar
    return WorkingDays(
        zone=calendar.timezone,
        days=calendar.days,
        holidays=frozenset(settings.detect.holidays),
    )


def rule_sets(settings: Settings, folder: Path) -> dict[str, RuleSet]:
    """By rule id, also of the rule about detectors themselves. Raises `ConfigInvalid`."""
    sections, found = settings.detect.rules, {FAILED.id: RuleSet(rule=FAILED, thresholds={})}
    here = given(settings)
    for each in chosen(settings, folder):
        section = sections.get(each.rule.id)
        found[each.rule.id] = RuleSet(
            rule=each.rule,
            thresholds=thresholds(each.rule, here.get(each.rule.id, {})),
            ends=section is not None and section.ends_access,
        )
    ending = sorted(id_ for id_, each in found.items() if each.ends)
    if ending and settings.detect.workload is None:
        raise ConfigInvalid(
            f"`detect.rules.{ending[0]}.ends_access` needs a workload that the policy lets revoke: "
            "set `detect.workload`"
        )
    return found


def read_detection(service: Service, settings: Settings, folder: Path) -> Detection:
    """What watches over this service. Raises `ConfigInvalid`, saying which setting is wrong."""
    rules, rota = rule_sets(settings, folder), read_rota(settings, folder)
    live = [each for each in chosen(settings, folder) if each.rule.id not in SCANNED]
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
    service: Service, settings: Settings, folder: Path, progress: Callable[[int, int], object]
) -> Backtest:
    """What the rules, as they are set here, would have found in all that ever happened."""
    rota = read_rota(settings, folder)
    around = Around(service=service, correlator=correlator(service), rota=rota)
    recorded = Recorded(world=around, heartbeat=settings.log.heartbeat)
    kinds = chosen(settings, folder)
    return watch.backtest(
        past.facts(service, around, recorded, progress),
        kinds,
        {each.rule.id: given(settings).get(each.rule.id, {}) for each in kinds},
        surroundings(settings),
        until=service.now(),
    )


def read_rota(settings: Settings, folder: Path) -> Rota:
    """Who is on call, by the calendars. Raises `ConfigInvalid` for one that cannot be read."""
    if not settings.detect.on_call:
        return lambda _login, _at: False
    mails = {person.mail: login for login, person in settings.people.items() if person.mail}
    files = [folder / path for path in settings.detect.on_call]
    return OnCall(files, mails, settings.calendar.timezone)
