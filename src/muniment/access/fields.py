"""Typed fields to the JSON of a record's body and back: one form for each type, nothing else."""

import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from muniment.errors import NotCanonical
from muniment.evidence import moment

T = TypeVar("T")


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
        return {name: to_json(getattr(value, name)) for name in _readers(type(value))}
    return value


def from_json(cls: type[T], value: Any) -> T:
    """Raises `NotCanonical` unless the object has exactly the fields of the class, well typed."""
    readers = _readers(cls)
    if not isinstance(value, dict) or value.keys() != readers.keys():
        raise NotCanonical(f"not the fields of `{cls.__name__}`")
    return cls(**{name: read(value[name], name) for name, read in readers.items()})


_Read = Callable[[Any, str], Any]
_READERS: dict[Any, dict[str, _Read]] = {}


def _readers(cls: Any) -> dict[str, _Read]:
    """How to read each field; worked out once for each class."""
    known = _READERS.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(cls)}
        _READERS[cls] = known
    return known


def _reader(hint: Any) -> _Read:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        inner = _reader(args[0])
        return lambda value, name: None if value is None else inner(value, name)
    if origin is tuple:
        return _tuple_reader(_reader(args[0]))
    if origin is dict:
        return _dict_reader(_reader(args[1]))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return lambda value, _name: from_json(hint, value)
    return {bytes: _read_bytes, datetime: _read_moment}.get(hint) or _plain_reader(hint)


def _tuple_reader(inner: _Read) -> _Read:
    def read(value: Any, name: str) -> Any:
        if not isinstance(value, list):
            raise NotCanonical(f"`{name}` is no list")
        return tuple(inner(item, name) for item in value)

    return read


def _dict_reader(inner: _Read) -> _Read:
    def read(value: Any, name: str) -> Any:
        if not isinstance(value, dict):
            raise NotCanonical(f"`{name}` is no object")
        return {key: inner(item, name) for key, item in value.items()}

    return read


def _plain_reader(hint: Any) -> _Read:
    def read(value: Any, name: str) -> Any:
        if type(value) is not hint:
            raise NotCanonical(f"`{name}` is not of its type")
        return value

    return read


def _read_bytes(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or len(value) % 2 or value.strip("0123456789abcdef"):
        raise NotCanonical(f"`{name}` is no lower-case hex")
    return bytes.fromhex(value)


def _read_moment(value: Any, _name: str) -> datetime:
    return moment.parse(value)
