"""The detectors, one a file, and where those of others are found."""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from muniment.errors import ConfigInvalid
from muniment.oversight.detector import Detector, Rule
from muniment.oversight.detectors.access_without_grant import AccessWithoutGrant
from muniment.oversight.detectors.alert_failed import AlertFailed
from muniment.oversight.detectors.approval_ring import ApprovalRing
from muniment.oversight.detectors.approved_too_fast import ApprovedTooFast
from muniment.oversight.detectors.break_glass_repeated import BreakGlassRepeated
from muniment.oversight.detectors.break_glass_unreviewed import BreakGlassUnreviewed
from muniment.oversight.detectors.break_glass_used import BreakGlassUsed
from muniment.oversight.detectors.burst import Burst
from muniment.oversight.detectors.control_changed import ControlChanged
from muniment.oversight.detectors.evidence_weaker import EvidenceWeaker
from muniment.oversight.detectors.longer_than_used import LongerThanUsed
from muniment.oversight.detectors.never_used import NeverUsed
from muniment.oversight.detectors.new_resource import NewResource
from muniment.oversight.detectors.off_hours_approval import OffHoursApproval
from muniment.oversight.detectors.own_approval import OwnApproval
from muniment.oversight.detectors.person_gone import PersonGone
from muniment.oversight.detectors.refused_then_approved import RefusedThenApproved
from muniment.oversight.detectors.removal_unverified import RemovalUnverified
from muniment.oversight.detectors.role_reactivated import RoleReactivated
from muniment.oversight.detectors.role_written_by_others import RoleWrittenByOthers
from muniment.oversight.detectors.rubber_stamp import RubberStamp
from muniment.oversight.detectors.two_addresses import TwoAddresses
from muniment.oversight.detectors.unusual_duration import UnusualDuration
from muniment.oversight.detectors.unusual_hour import UnusualHour
from muniment.oversight.detectors.use_outside_window import UseOutsideWindow
from muniment.oversight.detectors.use_without_grant import UseWithoutGrant
from muniment.oversight.detectors.weak_reason import WeakReason

#: where packages of others name theirs
GROUP: Final = "muniment.detectors"

#: in the order in which they see a fact, and in which they are listed
BUILT_IN: Final[tuple[type[Detector], ...]] = (
    AccessWithoutGrant,
    UseOutsideWindow,
    UseWithoutGrant,
    RoleWrittenByOthers,
    OwnApproval,
    BreakGlassUsed,
    BreakGlassRepeated,
    BreakGlassUnreviewed,
    RoleReactivated,
    UnusualDuration,
    LongerThanUsed,
    NeverUsed,
    UnusualHour,
    OffHoursApproval,
    ApprovedTooFast,
    Burst,
    NewResource,
    RubberStamp,
    ApprovalRing,
    WeakReason,
    ControlChanged,
    RefusedThenApproved,
    TwoAddresses,
    PersonGone,
    AlertFailed,
    RemovalUnverified,
    EvidenceWeaker,
)

#: rules whose findings the scan of a target raises by itself: a live watch leaves them out
SCANNED: Final = frozenset({AccessWithoutGrant.rule.id})


def all_detectors() -> tuple[type[Detector], ...]:
    """
    The built-in ones, and those that installed packages name, by name.

    Raises `ConfigInvalid` for one that cannot be loaded, is none, or takes the id of another.
    """
    found = list(BUILT_IN)
    taken = {each.rule.id for each in found}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        detector = _load(point)
        if detector.rule.id in taken:
            raise ConfigInvalid(
                f"the detector `{point.name}` has the id of another: `{detector.rule.id}`"
            )
        taken.add(detector.rule.id)
        found.append(detector)
    return tuple(found)


def _load(point: EntryPoint) -> type[Detector]:
    try:
        detector: type[Detector] = point.load()
    except Exception as error:  # a module of others may raise anything
        raise ConfigInvalid(
            f"the detector `{point.name}` cannot be loaded: {type(error).__name__}"
        ) from error
    if not isinstance(getattr(detector, "rule", None), Rule):
        raise ConfigInvalid(f"the detector `{point.name}` is no class with a `rule`")
    return detector
