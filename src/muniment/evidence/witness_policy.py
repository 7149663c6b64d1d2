"""
Which logs and witnesses a reader trusts, and how many witnesses it takes: C2SP tlog-policy.

A policy is a file of lines. `log`, `witness` and `group` define, `quorum` says what a checkpoint
needs beyond the signature of a listed log. A line refers only to lines above it, so groups cannot
contain one another in a circle.

Read here is the draft of 2026-06-22. Keys are Ed25519: 0x01 for a log, 0x04 for a witness.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from muniment.errors import ConfigInvalid, NoteInvalid
from muniment.evidence.checkpoint import from_decimal
from muniment.evidence.note import KeyType, VerifierKey

#: C2SP tlog-policy, section "Implementation limits", asks for at least 32 of each.
MAX_LINES_OF_A_KIND: Final = 256
MAX_POLICY_CHARACTERS: Final = 256 * 1024

#: The quorum that asks for no witness; no witness and no group can be called so.
NO_QUORUM: Final = "none"

_BLANKS: Final = re.compile(r"[ \t]+")
# C2SP tlog-policy, section "Character set": tab and newline are the only control characters
_REFUSED: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose signature is accepted. The name of its key is its origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, by the name that this policy alone gives it."""

    name: str
    key: VerifierKey
    #: the prefix that `add-checkpoint` is asked under, if anybody is to ask
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and groups of which `threshold` have to have cosigned."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class WitnessPolicy:
    """A policy as its file states it, in the order of the file."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    #: the name of a witness or a group; None where no cosignature is asked for
    quorum: str | None

    @classmethod
    def parse(cls, text: str) -> "WitnessPolicy":
        """
        The policy in this text; raises ConfigInvalid with the number of the line.

        NOTE: to the specification the file is a row of octets. Decode it as UTF-8 with
        `surrogateescape`, and a name in any other encoding stays what it is.
        """
        return _Reader().read(text)

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of all witnesses, for whoever opens a cosigned checkpoint."""
        return tuple(witness.key for witness in self.witnesses)

    @cached_property
    def counted(self) -> tuple[Witness, ...]:
        """
        The witnesses that the quorum reaches, through however many groups.

        Of them speaks "k of n": n is their number, whatever the thresholds on the way. A witness
        that is listed and that no group on the way names counts for nothing.
        """
        reached = {self.quorum}
        for group in reversed(self.groups):  # members stand above their group
            if group.name in reached:
                reached.update(group.members)
        return tuple(witness for witness in self.witnesses if witness.name in reached)

    def cosigners(self, verified: Collection[VerifierKey]) -> tuple[Witness, ...]:
        """Those of `counted` whose cosignatures verified: the k of "k of n"."""
        return tuple(witness for witness in self.counted if witness.key in verified)

    def satisfied(self, verified: Collection[VerifierKey]) -> bool:
        """Whether these keys, whose cosignatures on one checkpoint verified, make the quorum."""
        if self.quorum is None:
            return True
        witnessed = {witness.name for witness in self.witnesses if witness.key in verified}
        for group in self.groups:  # members stand above their group
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed


class _Reader:
    """What the lines read so far have defined."""

    def __init__(self) -> None:
        self._logs: list[Log] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        #: one namespace for witnesses and groups
        self._defined: set[str] = set()
        self._members: set[str] = set()
        self._quorum: str | None = None
        self._has_quorum = False

    def read(self, text: str) -> WitnessPolicy:
        if len(text) > MAX_POLICY_CHARACTERS:
            raise ConfigInvalid(f"a witness policy of {len(text)} characters is too long")
        if text and not text.endswith("\n"):
            # a name cut short may be the name of something weaker
            raise ConfigInvalid("the witness policy does not end in a newline: is it whole?")
        for number, line in enumerate(text.split("\n"), 1):
            try:
                self._read_line(line)
            except (ConfigInvalid, NoteInvalid) as error:
                raise ConfigInvalid(f"line {number} of the witness policy: {error}") from None
        if not self._has_quorum:
            raise ConfigInvalid(
                "the witness policy has no quorum: end it with `quorum NAME` or `quorum none`"
            )
        return WitnessPolicy(
            tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum
        )

    def _read_line(self, line: str) -> None:
        if _REFUSED.search(line):
            raise ConfigInvalid("it holds a control character; lines end in a newline alone")
        line = line.strip(" \t")
        if not line or line.startswith("#"):
            return
        match _BLANKS.split(line):
            case ["log", vkey, *url] if len(url) <= 1:
                self._log(vkey, *url)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, vkey, *url)
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                self._take_quorum(name)
            case _:
                raise ConfigInvalid(
                    "write `log VKEY [URL]`, `witness NAME VKEY [URL]`, "
                    "`group NAME all|any|K MEMBER...` or `quorum NAME|none`"
                )

    def _log(self, vkey: str, url: str | None = None) -> None:
        key = _key(vkey, KeyType.LOG, "log")
        _refuse_again(key, (log.key for log in self._logs), "log")
        self._logs.append(Log(key, url))
        _check_number(self._logs, "logs")

    def _witness(self, name: str, vkey: str, url: str | None = None) -> None:
        key = _key(vkey, KeyType.COSIGNER, "witness")
        _refuse_again(key, (witness.key for witness in self._witnesses), "witness")
        self._define(name)
        self._witnesses.append(Witness(name, key, url))
        _check_number(self._witnesses, "witnesses")

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            self._check_defined(member)
            if member in self._members:
                # else one witness could count twice
                raise ConfigInvalid(f"`{member}` is a member already: list each name once")
            self._members.add(member)
        self._define(name)
        self._groups.append(Group(name, _threshold(threshold, len(members)), tuple(members)))
        _check_number(self._groups, "groups")

    def _take_quorum(self, name: str) -> None:
        if self._has_quorum:
            raise ConfigInvalid("there is a quorum already: keep one of the two")
        self._has_quorum = True
        if name != NO_QUORUM:
            self._check_defined(name)
            self._quorum = name

    def _define(self, name: str) -> None:
        if name == NO_QUORUM:
            raise ConfigInvalid("`none` has a meaning of its own: choose another name")
        if name in self._defined:
            raise ConfigInvalid(f"`{name}` is defined already: choose another name")
        self._defined.add(name)

    def _check_defined(self, name: str) -> None:
        if name not in self._defined:
            raise ConfigInvalid(f"`{name}` is not defined above: move its line up, or add one")


def _key(vkey: str, kind: KeyType, owner: str) -> VerifierKey:
    key = VerifierKey.parse(vkey)
    if key.type is not kind:
        raise ConfigInvalid(
            f"the key of a {owner} is of type 0x{kind:02x}, this one is of type 0x{key.type:02x}"
        )
    return key


def _refuse_again(key: VerifierKey, known: Iterable[VerifierKey], owner: str) -> None:
    # C2SP tlog-policy: the public key alone decides, whatever name it goes by
    if any(key.public == other.public for other in known):
        raise ConfigInvalid(f"another {owner} has this key already: list each key once")


def _threshold(text: str, members: int) -> int:
    threshold = {"all": members, "any": 1}.get(text) or from_decimal(text)
    if threshold is None or not 1 <= threshold <= members:
        raise ConfigInvalid(f"`{text}` is not `all`, `any` or a number from 1 to {members}")
    return threshold


def _check_number(lines: Collection[object], kind: str) -> None:
    if len(lines) > MAX_LINES_OF_A_KIND:
        raise ConfigInvalid(f"more than {MAX_LINES_OF_A_KIND} {kind} are too many")
