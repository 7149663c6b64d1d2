"""
Reads JSON of any form by a table of the configuration: which of its values is which of ours.

    fields = { at = "time", account = "user.name", type = "event", client = "request.ip" }
    types = { login = "session.opened", logout = "session.closed" }
    keys = { token = "credential.id" }
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import KEYS, MAX_KEYS, TYPES, Event, Key, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    moment,
    moment_since_epoch,
    plain,
    prose,
    table,
)
from muniment.oversight.readers.options import Options, OwnAccounts

_NAMES = ("account", "session", "client", "action", "object", "resource")
_FIELDS: Final = ("at", "type", *_NAMES, "failed", "detail")
_CONSTANTS: Final = ("type", *_NAMES)
_TIMES: Final = {"iso": 0, "s": 1, "ms": 1000}
#: what says that something failed, where the configuration does not
_FAILURES: Final = ("true", "failure", "failed", "error", "denied")

_Path = tuple[str, ...]


class Projection:
    """From a JSON object to an event, as the options say."""

    def __init__(
        self, options: Options, prefix: str, given: Mapping[str, str] | None = None
    ) -> None:
        """`given` are the fields that need not be written."""
        fields = {**(given or {}), **options.table("fields")}
        self._paths = {_known(options, "fields", name, _FIELDS): _path(options, "fields", path)
                       for name, path in fields.items()}  # fmt: skip
        self._constants = dict(options.names("constants"))
        self._types = dict(options.names("types"))
        self._keys = [
            (_known(options, "keys", kind, KEYS), _path(options, "keys", path))
            for kind, path in options.table("keys").items()
        ]
        self._resources = options.names("resources")
        self._per_second = _TIMES[options.choice("time", _TIMES, "iso")]
        self._failures = options.texts("failures") or _FAILURES
        self._own = OwnAccounts(prefix)
        self._check(options)

    def _check(self, options: Options) -> None:
        for name in self._constants:
            _known(options, "constants", name, _CONSTANTS)
        for type in (*self._types.values(), *filter(None, [self._constants.get("type")])):
            _known(options, "types", type, TYPES)
        if "at" not in self._paths:
            raise options.wrong('`fields` has to say where the time is: `fields = { at = "…" }`')
        if "type" not in self._constants and not ("type" in self._paths and self._types):
            raise options.wrong(
                'say what the records are: `constants = { type = "call" }`, or `fields.type` and'
                ' `types = { "their word" = "session.opened" }`'
            )

    def event(self, value: object) -> Event:
        texts = {name: self._text(value, name) for name in _NAMES}
        type = self._types.get(plain(_at(value, self._paths.get("type"))), "")
        resource = texts.pop("resource")
        return Event(
            type=type or self._constants.get("type", "other"),
            at=self._moment(_at(value, self._paths["at"])),
            failed=self._failed(value),
            detail=prose(_written(_at(value, self._paths.get("detail")))),
            keys=self._found_keys(value, texts["account"]),
            resource=plain(self._resources.get(resource, resource)),
            **texts,
        )

    def _text(self, value: object, name: str) -> str:
        return plain(_at(value, self._paths.get(name))) or plain(self._constants.get(name))

    def _moment(self, value: object) -> datetime:
        return moment_since_epoch(value, self._per_second) if self._per_second else moment(value)

    def _failed(self, value: object) -> bool:
        found = _at(value, self._paths.get("failed"))
        return _written(found).lower() in (each.lower() for each in self._failures)

    def _found_keys(self, value: object, account: str) -> tuple[Key, ...]:
        found = [Key(kind, text) for kind, path in self._keys if (text := plain(_at(value, path)))]
        if not any(key.kind == "account" for key in found):
            found += self._own.keys(account)
        return tuple(found[:MAX_KEYS])


def _known(
    options: Options, where: str, name: str, names: Sequence[str] | Mapping[str, str]
) -> str:
    if name in names:
        return name
    raise options.wrong(
        f"`{where}` has `{name}`, which there is not; there are: {', '.join(names)}"
    )


def _path(options: Options, where: str, written: object) -> _Path:
    """`a.b.0.c`, or a list of names where one of them has a dot in it."""
    parts = written.split(".") if isinstance(written, str) else written
    if isinstance(parts, list | tuple) and parts and all(isinstance(p, str) and p for p in parts):
        return tuple(parts)
    raise options.wrong(
        f'a place in `{where}` is written as `"user.name"`, or as `["user", "na.me"]`'
    )


def _at(value: object, path: _Path | None) -> object:
    """What lies there; a number stands for a place in a list."""
    if path is None:
        return None
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and len(name) < 6:  # noqa: PLR2004 - digits of a place in a list
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else plain(value)


class Mapped(DocumentReader):
    """`list` names the list that a posted body holds its records in."""

    kind: ClassVar[str] = "json"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._list = options.text("list")
        self._projection = Projection(options, settings.prefix)
        options.end()

    def unpack(self, body: bytes) -> list[bytes]:
        return self.documents(body, (self._list,) if self._list else ())

    def read(self, record: bytes) -> Event:
        return self._projection.event(table(record))


def object_of(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Unreadable("its data is no JSON object")
