"""Who principals are, and how groups are shown: from the sealed identities that are still there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from muniment.access.registry import Registry
from muniment.evidence.log import Log
from muniment.evidence.store import Entry
from muniment.operations.erase import Erasures

#: the section that says it
IDENTITY: Final = "identity"


@dataclass(frozen=True, slots=True)
class _Read:
    """What the section of one record says of somebody."""

    #: of the record in the log, and its id
    index: int
    record: str
    said: Mapping[str, Any]


class Identities:
    """Read when somebody asks, and again when somebody was enrolled or erased: on whatever node."""

    def __init__(self, log: Log, registry: Registry, erasures: Erasures) -> None:
        self._log = log
        self._registry = registry
        self._erasures = erasures
        self._found: dict[str, _Read] = {}
        self._names: dict[str, str] = {}
        self._accounts: dict[tuple[str, str], str] = {}
        #: enrolments and erasures that all this is as of
        self._as_of = (-1, -1)

    @property
    def names(self) -> Mapping[str, str]:
        """Principal ids by login."""
        self._read()
        return self._names

    def of(self, case: str) -> Mapping[str, Any] | None:
        """Of a principal or a group; None where it was erased."""
        self._read()
        found = self._found.get(case)
        return None if found is None else found.said

    def account(self, issuer: str, subject: str) -> str | None:
        """Principal id of the human whom a provider knows so."""
        self._read()
        return self._accounts.get((issuer, subject))

    def forget(self, case: str) -> None:
        """Its section was erased: what was read of it goes too."""
        self._found.pop(case, None)
        self._as_of = (-1, -1)
        self._names = {login: id_ for login, id_ in self._names.items() if id_ != case}
        self._accounts = {key: id_ for key, id_ in self._accounts.items() if id_ != case}

    def _read(self) -> None:
        as_of = (self._registry.enrolments, len(self._erasures))
        if self._as_of == as_of:
            return
        if self._as_of[1] != as_of[1]:
            self._forget_erased()
        self._as_of = as_of
        # the log's writer may enrol somebody at any moment: look at a copy
        for id_, principal in list(self._registry.principals.items()):
            before = self._found.get(id_)
            found = self._read_record(before, principal.index, principal.leaf)
            if found is None or found is before:
                continue
            for key in _accounts(before.said) if before is not None else ():
                if self._accounts.get(key) == id_:
                    del self._accounts[key]
            self._found[id_] = found
            self._names[found.said["login"]] = id_
            self._accounts.update(dict.fromkeys(_accounts(found.said), id_))
        for id_, group in list(self._registry.groups.items()):
            shown = self._read_record(self._found.get(id_), group.index, group.head)
            if shown is not None:
                self._found[id_] = shown

    def _read_record(self, known: _Read | None, index: int, leaf: bytes) -> _Read | None:
        """What is `known` already, if it is of this record; None for what was erased."""
        if known is not None and known.index == index:
            return known
        entry = self._log.read_checked(index, leaf)
        # another node may have recorded it, and be about to do it
        if self._erasures.of(entry.header.id, IDENTITY) is not None:
            return None
        said = self._said(entry)
        return None if said is None else _Read(index, entry.header.id, said)

    def _said(self, entry: Entry) -> Mapping[str, Any] | None:
        content = self._log.read_sections(entry).get(IDENTITY)
        return None if content is None else json.loads(content)

    def _forget_erased(self) -> None:
        for case, known in list(self._found.items()):
            if self._erasures.of(known.record, IDENTITY) is not None:
                self.forget(case)


def _accounts(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """By which issuers and subjects providers know somebody."""
    return [(known["issuer"], known["subject"]) for known in identity.get("accounts", ())]
