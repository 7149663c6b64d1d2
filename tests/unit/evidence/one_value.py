"""Other values in the place of one, everywhere in a JSON value: none of them may pass for it."""

import copy
from collections.abc import Iterator
from typing import Any


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from paths(member, (*path, index))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    twin = copy.deepcopy(value)
    at(twin, path[:-1])[path[-1]] = new
    return twin


def alternatives(old: Any) -> list[Any]:
    """Other values in the place of this one."""
    by_type: dict[type, Any] = {
        str: other_strings, int: other_numbers, list: other_lists, dict: other_objects
    }  # fmt: skip
    return [None, *by_type[type(old)](old)]


def other_strings(old: str) -> Iterator[Any]:
    yield from ("", old + "0", old[:-1], "withheld", {"erased": "retention.people"})
    places = {0, 1, len(old) // 3, len(old) // 2, len(old) - 2, len(old) - 1}
    for place in places & set(range(len(old))):
        for other in ("0", "1", "B", "\n"):
            yield old[:place] + other + old[place + 1 :]


def other_numbers(old: int) -> Iterator[Any]:
    yield from (old + 1, old - 1, 0, -old, bool(old))


def other_lists(old: list[Any]) -> Iterator[Any]:
    for index, member in enumerate(old):
        yield old[:index] + old[index + 1 :]
        yield [*old[: index + 1], member, *old[index + 1 :]]
        if index:
            yield [*old[: index - 1], member, old[index - 1], *old[index + 1 :]]
    yield [*old, "00" * 32]
    yield [*old, {}]


def other_objects(old: dict[str, Any]) -> Iterator[Any]:
    yield "withheld"
    yield {"erased": "retention.people"}
    yield {**old, "extra": "00"}
    yield {**old, "00" * 32: ""}
    for key, value in old.items():
        rest = {name: member for name, member in old.items() if name != key}
        yield rest
        yield {**rest, key + "x": value}
