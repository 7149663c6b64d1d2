"""
How much stands behind a checkpoint: the grades, and the one place with the words for them.

A grade says who vouches *beside the log's own key*, and only as far as the reader trusts him: the
reader names heads that he kept, witnesses, and roots of time-stamp authorities. What a file says of
its own witnesses gives no grade, because whoever wrote the file could have made them, too.

A time stamp is no grade but an addition: it bounds the time, and says nothing of other histories.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cryptography import x509

from muniment.errors import StampInvalid
from muniment.evidence.checkpoint import Checkpoint, open_cosigned
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import Note, VerifierKey, parse_note
from muniment.evidence.stamp import TimeStamp, open_token, printable
from muniment.evidence.witness_policy import WitnessPolicy


class Verdict(StrEnum):
    """How much stands behind evidence."""

    INVALID = "INVALID"
    #: contradicts a head that the reader gave: the log shows different histories
    DIVERGED = "DIVERGED"
    #: nothing but the log's own key vouches
    UNANCHORED = "UNANCHORED"
    #: agrees with a head that the reader gave, or a witness of the log's operator cosigned it
    SELF_WITNESSED = "SELF-WITNESSED"
    #: cosigned by a quorum of the witnesses that the reader named
    WITNESSED = "WITNESSED"


TIME_STAMPED: Final = "TIME-STAMPED"

#: What each grade proves: one sentence that can stand in a report. Braces are filled in.
PROVES: Final[Mapping[str, str]] = {
    Verdict.INVALID: (
        "A step of the verification failed, so nothing here is evidence of anything."
    ),
    Verdict.DIVERGED: (
        "What is shown here contradicts a head that the reader kept, and the log's key signed both:"
        " neither is evidence until that is explained."
    ),
    Verdict.UNANCHORED: (
        "The records are whole and unaltered as the holder of the log's key signed them, at a time"
        " that nobody else vouches for."
    ),
    Verdict.SELF_WITNESSED: (
        "The records stand in the same history as a head that was kept outside the log, by the"
        " reader or by a witness of the log's operator: nothing under it was rewritten since."
    ),
    Verdict.WITNESSED: (
        "{k} of the {n} witnesses that the reader's quorum counts cosigned this log at size {size},"
        " each bound to cosign only what continues all that it cosigned before: another history"
        " would have to pass a quorum of them, too."
    ),
    TIME_STAMPED: (
        "The time-stamp authority {authority} states that this checkpoint existed before {before},"
        " so no record under it was written later."
    ),
}

#: What each does not prove, in the same way.
LIMITS: Final[Mapping[str, str]] = {
    Verdict.INVALID: "anything",
    Verdict.DIVERGED: "anything",
    Verdict.UNANCHORED: (
        "that the log shows everybody this history (give a head that you kept with --head, or your"
        " witnesses with --witnesses)"
    ),
    Verdict.SELF_WITNESSED: (
        "that the log shows everybody this history: it was compared only with what you, or the"
        " operator, kept"
    ),
    Verdict.WITNESSED: (
        "that the witnesses are independent of the operator and of one another, for which you vouch"
        " by naming them"
    ),
    TIME_STAMPED: (
        "that the records are no older than they say, and that the authority's certificate was not"
        " revoked (a time stamp bounds from one side, and no list of revoked ones was asked)"
    ),
}
NOT_STAMPED: Final = "that the times are right (no time-stamp from outside)"

#: What a reader can demand of a grade, beyond consistency.
REQUIRABLE: Final = ("self-witnessed", "witnessed", "time-stamped")


@dataclass(frozen=True, slots=True)
class Compared:
    """A head that the reader kept, held against what is shown."""

    #: the reader's own head, as signed
    kept: Checkpoint
    #: the root that is shown at this size; None if there is none
    shown: bytes | None

    @property
    def agrees(self) -> bool:
        return self.shown == self.kept.root


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Whom the reader trusts beside the log's key. He says so himself; no file says it for him."""

    #: his witnesses, and how many of them it takes
    policy: WitnessPolicy | None = None
    #: witnesses of whoever runs the log: worth no more than a head that he kept, and no quorum
    own: tuple[VerifierKey, ...] = ()
    #: who stands behind time-stamp authorities
    roots: tuple[x509.Certificate, ...] = field(default=(), repr=False)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        named = self.policy.witness_keys if self.policy is not None else ()
        return tuple(dict.fromkeys((*named, *self.own)))


NOBODY: Final = Reader()


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness whose cosignature verified."""

    key: VerifierKey
    #: seconds since 1970, by its own clock
    at: int
    #: what it is to the reader: `yours`, `the operator's`, `not one that you named`
    standing: str

    @property
    def time(self) -> str:
        try:
            return f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        except (ValueError, OverflowError, OSError):
            return f"{self.at} s after 1970"


@dataclass(frozen=True, slots=True)
class Stamped:
    """A time stamp, and why it counts for nothing; an empty doubt is none."""

    stamp: TimeStamp | None
    doubt: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vouched:
    """Who else stands behind a checkpoint."""

    size: int
    cosigned: tuple[Cosigned, ...] = ()
    #: lines of witnesses whose keys are not known here
    unknown: int = 0
    stamps: tuple[Stamped, ...] = ()
    #: of `n` witnesses that the reader's quorum counts, `k` cosigned
    k: int = 0
    n: int = 0
    #: they are as many as the reader's policy asks for
    quorum: bool = False

    @property
    def by_operator(self) -> bool:
        return any(each.standing == _OPERATORS for each in self.cosigned)

    @property
    def anybody(self) -> bool:
        """Whether somebody whom the reader trusts stands behind it."""
        return self.quorum or self.by_operator or self.stamp is not None

    @property
    def stamp(self) -> TimeStamp | None:
        """The earliest that leads to a root of the reader."""
        sound = [each.stamp for each in self.stamps if each.stamp is not None and not each.doubt]
        return min(sound, key=lambda stamp: stamp.before, default=None)


_YOURS: Final = "yours"
_OPERATORS: Final = "the operator's"
_STRANGER: Final = "not one that you named"


def vouch(
    note: Note, size: int, stamps: Iterable[Stamped] = (), reader: Reader = NOBODY, unknown: int = 0
) -> Vouched:
    """
    What the cosignatures and time stamps of a checkpoint are worth to this reader.

    `note` was opened with the keys of its witnesses; `unknown` is how many lines of others it has.
    """
    # by the key itself: under another name it is the same witness
    policy, own = reader.policy, {key.public for key in reader.own}
    # whoever is named as the operator's own is not counted, whatever the policy says
    verified = [key for key in note.verified if key in note.cosigned_at]
    counted = [key for key in verified if key.public not in own]
    theirs = () if policy is None else tuple(w for w in policy.counted if w.key.public not in own)
    k = sum(witness.key in counted for witness in theirs)
    return Vouched(
        size=size,
        cosigned=tuple(
            Cosigned(key, note.cosigned_at[key], _standing(key, reader)) for key in verified
        ),
        unknown=unknown,
        stamps=tuple(_held(each, reader) for each in stamps),
        k=k,
        n=len(theirs),
        # `quorum none` asks nobody: what nobody says is no grade
        quorum=policy is not None and policy.satisfied(counted) and k > 0,
    )


def graded(note: bytes, log: ReadersKeys, tokens: Sequence[bytes], reader: Reader) -> Vouched:
    """
    The same for a checkpoint as it was published, with its RFC 3161 tokens.

    Lines of witnesses that the reader did not name are counted, and cannot be checked. Raises
    `NoteInvalid` if it is not of this log, or a signature of the log or of a named witness fails.
    """
    keys = named(log)
    checkpoint, opened = open_cosigned(note, keys[0].name, [*keys, *reader.keys])
    text, signatures = parse_note(note)
    known = {(key.name, key.key_id) for key in opened.verified}
    # further lines of the log itself are of keys that this reader was not given, and no witnesses
    others = {(line.name, line.key_id) for line in signatures if line.name != keys[0].name}
    return vouch(
        opened,
        checkpoint.size,
        [_opened(token, text.encode()) for token in tokens],
        reader,
        unknown=len(others - known),
    )


def grade(vouched: Vouched, *, agrees: bool, diverged: bool = False) -> Verdict:
    """The grade. `agrees` and `diverged` are about the heads that the reader kept."""
    if diverged:
        return Verdict.DIVERGED
    if vouched.quorum:
        return Verdict.WITNESSED
    return Verdict.SELF_WITNESSED if agrees or vouched.by_operator else Verdict.UNANCHORED


def _standing(key: VerifierKey, reader: Reader) -> str:
    if key in reader.own:
        return _OPERATORS
    return _YOURS if key in reader.keys else _STRANGER


def _opened(token: bytes, text: bytes) -> Stamped:
    try:
        return Stamped(open_token(token, text))
    except StampInvalid as error:
        return Stamped(None, str(error))


def _held(stamped: Stamped, reader: Reader) -> Stamped:
    if stamped.stamp is None:
        return stamped
    if not reader.roots:
        return Stamped(stamped.stamp, "you gave no root for it (--tsa-root)")
    try:
        stamped.stamp.check_authority(reader.roots)
    except StampInvalid as error:
        return Stamped(stamped.stamp, str(error))
    return stamped


# --- the words --------------------------------------------------------------------------------


def headline(verdict: Verdict, vouched: Vouched | None) -> str:
    """`WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:00Z`."""
    text = verdict.value
    if verdict is Verdict.WITNESSED and vouched is not None:
        text += f" {vouched.k}/{vouched.n}"
    if (stamp := _stamp(verdict, vouched)) is not None:
        text += f", {TIME_STAMPED} {_seconds(stamp)}"
    return text


def proves(verdict: Verdict, vouched: Vouched | None) -> Iterator[str]:
    """One sentence for the grade, and one for a time stamp."""
    size, k, n = (0, 0, 0) if vouched is None else (vouched.size, vouched.k, vouched.n)
    yield PROVES[verdict].format(k=k, n=n, size=f"{size:,}")
    if (stamp := _stamp(verdict, vouched)) is not None:
        yield PROVES[TIME_STAMPED].format(authority=f"`{stamp.authority}`", before=_seconds(stamp))


def not_proved(verdict: Verdict, vouched: Vouched | None) -> Iterator[str]:
    """One phrase for the grade, and one about the times."""
    yield LIMITS[verdict]
    if verdict not in (Verdict.INVALID, Verdict.DIVERGED):
        yield NOT_STAMPED if _stamp(verdict, vouched) is None else LIMITS[TIME_STAMPED]


def seen(vouched: Vouched) -> Iterator[str]:
    """One line for each witness and time stamp, and for what they do not come to."""
    for each in vouched.cosigned:
        yield f"cosigned by `{printable(each.key.name)}` at {each.time} ({each.standing})"
    if vouched.unknown:
        yield f"cosigned by {vouched.unknown} more, not checked: give their keys (--witnesses)"
    if vouched.n and not vouched.quorum:
        yield f"{vouched.k} of your {vouched.n} witnesses cosigned: that is not your quorum"
    elif vouched.cosigned and all(each.standing == _STRANGER for each in vouched.cosigned):
        yield "you named no witness that you trust (--witnesses)"
    for stamped in vouched.stamps:
        if stamped.stamp is None:
            yield f"a time stamp that does not hold: {stamped.doubt}"
        else:
            doubt = f", which is not verified: {stamped.doubt}" if stamped.doubt else ""
            yield (f"time stamp {_seconds(stamped.stamp)} by `{stamped.stamp.authority}`{doubt}")


def meets(requirement: str, verdict: Verdict, vouched: Vouched | None) -> bool:
    """Whether a grade is at least what one of `REQUIRABLE` asks for."""
    match requirement:
        case "self-witnessed":
            return verdict in (Verdict.SELF_WITNESSED, Verdict.WITNESSED)
        case "witnessed":
            return verdict is Verdict.WITNESSED
        case _:
            return _stamp(verdict, vouched) is not None


def _stamp(verdict: Verdict, vouched: Vouched | None) -> TimeStamp | None:
    """A time stamp on what proves nothing is not spoken of."""
    if vouched is None or verdict in (Verdict.INVALID, Verdict.DIVERGED):
        return None
    return vouched.stamp


def _seconds(stamp: TimeStamp) -> str:
    return f"{stamp.before:%Y-%m-%dT%H:%M:%SZ}"
