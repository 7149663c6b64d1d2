"""What can differ between a target and the log, and the rules by which a difference is raised."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from muniment.oversight.detector import Rule, Severity
from muniment.oversight.fact import Fact

#: every kind of difference, with its meaning
KINDS: Final[Mapping[str, str]] = {
    "account-without-grant": "an account that lets somebody in, and that no live grant explains",
    "privileged-account": "the same, and it may change what others may do",
    "session-without-grant": "a session of nobody who may be there",
    "session-beyond-grant": "a session that lives longer than its grant",
    "grant-without-access": "a live grant whose account is not there, or lets nobody in",
    "privilege-beyond-role": "an account, or a role, that has more than it was given",
}

#: what exactly it is, by kind: each with its severity, a sentence, and what can be done
_Told = tuple[Severity, str]
WHATS: Final[Mapping[tuple[str, str], _Told]] = {
    ("account-without-grant", "standing"): (
        "info", "an account stood at the target before it was first looked at",
    ),
    ("account-without-grant", "out-of-band"): (
        "high", "an account was made at the target, and not by us",
    ),
    ("account-without-grant", "left-over"): (
        "high", "the account of a grant that is over is still there",
    ),
    ("account-without-grant", "unknown-grant"): (
        "critical", "an account has a name of our form, and the log has no such grant",
    ),
    ("privileged-account", "standing"): (
        "low", "a powerful account stood at the target before it was first looked at",
    ),
    ("privileged-account", "out-of-band"): (
        "critical", "a powerful account was made at the target, and not by us",
    ),
    ("session-without-grant", "unknown-grant"): (
        "critical", "a session has an account of our form, and the log has no such grant",
    ),
    ("session-without-grant", "no-account"): (
        "high", "a session lives on though its account was removed",
    ),
    ("session-without-grant", "blocked"): (
        "medium", "a session lives on though its account lets nobody in any more",
    ),
    ("session-without-grant", "emergency"): (
        "high", "the account that is sealed for emergencies is in use",
    ),
    ("session-beyond-grant", "over"): (
        "high", "a session lives on though its grant is over",
    ),
    ("grant-without-access", "gone"): (
        "medium", "the account of a live grant is not at the target",
    ),
    ("grant-without-access", "blocked"): (
        "low", "the account of a live grant lets nobody in any more",
    ),
    ("grant-without-access", "less"): (
        "low", "the account of a live grant has less than its role gives",
    ),
    ("grant-without-access", "other-target"): (
        "medium", "another target answers than the one on which the grant was issued",
    ),
    ("privilege-beyond-role", "powers"): (
        "critical", "the account of a live grant may change what others may do",
    ),
    ("privilege-beyond-role", "membership"): (
        "high", "the account of a live grant is in more than its role gives",
    ),
    ("privilege-beyond-role", "privilege"): (
        "high", "the account of a live grant was given privileges by hand",
    ),
    ("privilege-beyond-role", "window"): (
        "high", "the account of a live grant lets somebody in for longer than the grant",
    ),
    ("privilege-beyond-role", "gained"): (
        "high", "an account or role that was there before has more rights than it had",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing at a target that the log does not say, or the other way round."""

    #: the same difference has the same key in each scan
    key: str
    #: one of `KINDS`, and which of its `WHATS`
    kind: str
    what: str
    resource: str
    #: as the target names it
    account: str
    severity: Severity
    #: rights, privileges or sessions that it is about, and how many there are
    objects: tuple[str, ...] = ()
    count: int = 0
    #: case id of the grant that it is about
    grant: str = ""
    #: person ids behind that grant
    persons: tuple[str, ...] = ()
    #: since when it is known; None: from now on
    since: datetime | None = None

    @property
    def summary(self) -> str:
        """One sentence, without a word of the target's own."""
        said = WHATS[self.kind, self.what][1]
        return f"{self.resource}: {said}" + (f" ({self.grant})" if self.grant else "")

    @property
    def is_standing(self) -> bool:
        """It was there before anybody looked: reported once, and no alarm."""
        return self.what == "standing"


# --- rules --------------------------------------------------------------------------------------

_REFERENCE: Final = "https://attack.mitre.org/techniques/T1078/"
_WAYS_OUT: Final = (
    "Find out who did it. Then adopt it (somebody answers for it, until a date), explain it (with "
    "a date on which it is looked at again), or have it removed: `muniment drift`."
)

ACCESS: Final = Rule(
    id="access-without-grant",
    title="Access at a target that no grant explains",
    advice=f"An account or a session is there of which the log knows nothing. {_WAYS_OUT}",
    severity="high",
    kind="deterministic",
    needs=("drift",),
    references=(_REFERENCE, "https://attack.mitre.org/techniques/T1136/"),
)
MISSING: Final = Rule(
    id="grant-without-access",
    title="A grant whose access is not there",
    advice="Its holder was let in, and somebody changed that at the target, beside the record: find"
    " out who. The grant ends at its time; its holder can pick it up anew.",
    severity="medium",
    kind="deterministic",
    needs=("drift",),
    references=("https://attack.mitre.org/techniques/T1531/",),
)
BEYOND: Final = Rule(
    id="privilege-beyond-role",
    title="More privileges than were approved",
    advice=f"What was approved is less than what the account can do now. {_WAYS_OUT} Of a live"
    " grant: `muniment revoke` takes the account away, whatever it was given.",
    severity="high",
    kind="deterministic",
    needs=("drift",),
    references=("https://attack.mitre.org/techniques/T1098/",),
)
OUTLIVING: Final = Rule(
    id="session-beyond-grant",
    title="A session that lives longer than its grant",
    advice="Somebody works at the target whose access is over. End the session there; then see why"
    " its removal was not verified: `muniment drift --unproven`.",
    severity="high",
    kind="deterministic",
    needs=("drift",),
    references=(_REFERENCE,),
)
STANDING: Final = Rule(
    id="standing-access",
    title="Access that stood before anybody looked",
    advice="The first scan of a target found accounts that nobody was asked about. Go through them"
    " in your own time: adopt, explain or remove each one. `muniment drift` lists them.",
    severity="info",
    kind="deterministic",
    needs=("drift",),
)

#: every rule by which a difference is raised
RULES: Final = (ACCESS, MISSING, BEYOND, OUTLIVING, STANDING)
_RULES: Final[Mapping[str, Rule]] = {
    "account-without-grant": ACCESS,
    "privileged-account": ACCESS,
    "session-without-grant": ACCESS,
    "session-beyond-grant": OUTLIVING,
    "grant-without-access": MISSING,
    "privilege-beyond-role": BEYOND,
}


def rule_of(difference: Difference) -> Rule:
    return _RULES[difference.kind]


def facts(found: Iterable[Difference], at: datetime, ref: str) -> list[Fact]:
    """What other detectors see of a scan; `ref` is its record. What is standing is no news."""
    return [
        Fact(
            type="drift",
            at=at,
            case=each.grant,
            ref=ref,
            values={
                "resource": each.resource,
                "account": each.account,
                "how": f"{each.kind}/{each.what}",
                "privilege": ", ".join(each.objects),
                "since": 0 if each.since is None else int((at - each.since).total_seconds()),
            },
        )
        for each in found
        if not each.is_standing
    ]
