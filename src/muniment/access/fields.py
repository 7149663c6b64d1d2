"""Typed fields to the JSON of a record's body and back: one form for each type, nothing else."""

import dataclasses
import types
import typing
from datetime import datetime
from typing import Any, TypeVar

from muniment.errors import NotCanonical
from muniment.evidence import moment

T = TypeVar("T")
_KNOWN: dict[Any, tuple[tuple[str, Any], ...]] = {}


def to_json(value: Any) -> Any:
    """Moments as text, hashes as hex, tuples as lists, nested classes as objects."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return moment.text(value)
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {name: to_json(getattr(value, name)) for name, _ in _hints(type(value))}
    return value


def from_json(cls: type[T], value: Any) -> T:
    """Raises `NotCanonical` unless the object has exactly the fields of the class, well typed."""
    hints = _hints(cls)
    if not isinstance(value, dict) or value.keys() != {name for name, _ in hints}:
        raise NotCanonical(f"not the fields of `{cls.__name__}`")
    return cls(**{name: _read(hint, value[name], name) for name, hint in hints})


def _hints(cls: Any) -> tuple[tuple[str, Any], ...]:
    """Name and type of each field; worked out once for each class."""
    known = _KNOWN.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = tuple((field.name, hints[field.name]) for field in dataclasses.fields(cls))
        _KNOWN[cls] = known
    return known


def _read(hint: Any, value: Any, name: str) -> Any:  # noqa: PLR0911 (one for each type)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _read(args[0], value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(args[0], item, name) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _read(args[1], item, name) for key, item in value.items()}
    if hint is bytes and isinstance(value, str) and not value.strip("0123456789abcdef"):
        return bytes.fromhex(value)
    if hint is datetime:
        return moment.parse(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if hint in (str, int, bool) and type(value) is hint:
        return value
    raise NotCanonical(f"`{name}` is not of its type")
