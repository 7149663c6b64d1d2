"""What an access case is at one of its records: a value that `lifecycle` folds, nobody stores."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from muniment.access import quorum, records
from muniment.errors import FoldInvalid

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 (others take it from here)
else:

    def replace(value: T, **changes: Any) -> T:
        """`dataclasses.replace` without its walk over every field: a fold is mostly this."""
        twin = object.__new__(type(value))
        vars(twin).update(vars(value), **changes)
        return twin


#: states in which an account may exist at the target
LIVE = ("authorized", "issued")
#: how a grant can have ended
ENDS = ("expired", "revoked", "ended", "undone")
#: seconds in a year and a day: no window is longer
LONGEST = 367 * 86_400
#: states that are closed without anything at a target
OVER = ("denied", "refused", "withdrawn", "lapsed")


@dataclass(frozen=True, kw_only=True)
class Approval:
    approver: str
    person: str
    groups: tuple[str, ...]
    at: datetime
    #: how the approver had shown who he is
    sign_in: records.SignIn | None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is being asked at the moment: the request, or an extension of its grant."""

    terms: bytes
    seconds: int
    #: what the policy demands; None until it was evaluated
    required: dict[str, int] | None = None
    max_seconds: int = 0
    #: until when approvals, or the pick-up, may come
    deadline: datetime | None = None
    pickup_seconds: int = 0
    approvals: tuple[Approval, ...] = ()

    @property
    def missing(self) -> dict[str, int]:
        """Approvals still to come, by group; empty when the requirement is met."""
        return quorum.missing(self.required or {}, [a.groups for a in self.approvals])

    @property
    def ready(self) -> bool:
        """The policy was asked, and every approval that it demands is there."""
        return self.required is not None and not self.missing

    @property
    def satisfied(self) -> dict[str, int]:
        return quorum.filled(self.required or {}, [a.groups for a in self.approvals])


@dataclass(frozen=True, kw_only=True)
class AccessCase:
    """What an access case is, at one of its records."""

    log_id: bytes = field(repr=False)
    id: str = ""
    state: str = ""
    length: int = 0
    head: bytes = b""
    opened_at: datetime | None = None
    changed_at: datetime | None = None
    #: when it was first approved: whoever asked may have been told so
    approved_at: datetime | None = None
    request: records.AccessRequested | None = None
    ask: Ask | None = None
    #: an extension that waits for approvals, beside the live grant
    extension: Ask | None = None
    break_glass: bool = False
    obligations: tuple[str, ...] = ()
    starts: datetime | None = None
    until: datetime | None = None
    #: the target rejects the last order after this, in its own clock
    deadline: datetime | None = None
    offset_ms: int = 0
    #: an order went out and its outcome is not recorded yet
    order_open: bool = False
    #: an order's outcome is unknown or failed
    failed: str = ""
    credential: records.CredentialIssued | None = None
    ended_at: datetime | None = None
    removal: str = ""
    unverified_at: datetime | None = None
    unverified_reason: str = ""
    #: whom the record just before permits to approve or refuse
    permitted: str = ""
    closed: bool = False

    @property
    def requested(self) -> records.AccessRequested:
        if self.request is None:
            raise FoldInvalid("a case without a request")
        return self.request

    @property
    def current(self) -> Ask:
        """The ask that approvals are about now."""
        ask = self.extension or self.ask
        if ask is None:
            raise FoldInvalid("a case without a request")
        return ask

    @property
    def waits_for(self) -> dict[str, int]:
        """Approvals still to come, by group."""
        if self.state == "pending" or self.extension is not None:
            return self.current.missing
        return {}

    def picked_up_anew(self, at: datetime) -> bool:
        """
        Whether a grant that was undone can be picked up once more, if it is seen gone at `at`.

        Nothing was handed out, so its approvals are not used up; its time for the pick-up may be.
        """
        deadline = self.ask.deadline if self.ask is not None else None
        return self.state == "undone" and deadline is not None and at < deadline

    @property
    def must_end_at(self) -> datetime | None:
        """When the grant ends by itself; None while there is none, or after its end."""
        return self.until if self.state in LIVE else None
