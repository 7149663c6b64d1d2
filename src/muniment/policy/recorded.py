"""Facts as the JSON of a decision record, and back again to the same facts."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from muniment.errors import Malformed
from muniment.policy.questions import AccessFacts, ApprovalFacts, Facts, OperateFacts

_KINDS: Mapping[str, type[Facts]] = {
    "access": AccessFacts,
    "approval": ApprovalFacts,
    "operation": OperateFacts,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def kind(facts: Facts) -> str:
    """`access`, `approval` or `operation`."""
    return _NAMES[type(facts)]


def write(value: Any) -> Any:
    """Sets become sorted arrays; what is not known is left out, never null."""
    if isinstance(value, frozenset):
        return sorted(value)
    names = getattr(value, "__dataclass_fields__", None)
    if names is None:
        return value
    members = ((name, getattr(value, name)) for name in names)
    return {name: write(member) for name, member in members if member is not None}


def read(kind: str, value: object) -> Facts:
    """Raises `Malformed` naming the member that is missing, unknown or of another type."""
    if kind not in _KINDS:
        raise Malformed(f"not a kind of facts: `{kind!a:.40}`")
    facts: Facts = read_as(_KINDS[kind], value, "facts")
    return facts


def read_as(type_: Any, value: object, path: str) -> Any:
    """One value of a known type: a dataclass of `questions`, a set of strings, or a scalar."""
    members = get_args(type_)
    if get_origin(type_) is UnionType:
        return read_as(next(member for member in members if member is not NoneType), value, path)
    if get_origin(type_) is Literal:
        if value not in members:
            raise Malformed(f"`{path}` is none of {', '.join(members)}")
        return value
    if get_origin(type_) is frozenset:
        return _read_set(value, path)
    if type_ in (str, int, bool):
        # `True` is an int to Python, but not to us
        if type(value) is not type_:
            raise Malformed(f"`{path}` is no {type_.__name__}")
        return value
    return _read_object(type_, value, path)


def _read_set(value: object, path: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
        raise Malformed(f"`{path}` is no array of strings")
    return frozenset(value)


def _read_object(type_: Any, value: object, path: str) -> Any:
    if not isinstance(value, dict):
        raise Malformed(f"`{path}` is no object")
    hints = _hints(type_)
    if unknown := sorted(value.keys() - hints.keys()):
        raise Malformed(f"`{path}.{unknown[0]}` is not known")
    found: dict[str, Any] = {}
    for name, (hint, optional) in hints.items():
        if name in value:
            found[name] = read_as(hint, value[name], f"{path}.{name}")
        elif optional:
            found[name] = None
        else:
            raise Malformed(f"`{path}.{name}` is missing")
    return type_(**found)


@cache
def _hints(type_: Any) -> dict[str, tuple[Any, bool]]:
    """Member → type, and whether a record may lack it, which means that it is None."""
    hints = get_type_hints(type_)
    return {
        field.name: (hints[field.name], NoneType in get_args(hints[field.name]))
        for field in fields(type_)
    }
