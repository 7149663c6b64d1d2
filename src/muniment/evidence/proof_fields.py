"""The parts of a proof's file, each in its one form: whatever else it is raises `NotCanonical`."""

from typing import Any, Final

from muniment.errors import NotCanonical

#: hashes of one path, and digits of a hash
_MAX_PATH: Final = 64
_HASH: Final = 64


def fields_of(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise NotCanonical(f"not exactly the fields {', '.join(names)}")
    return value


def list_of(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise NotCanonical(f"no list of at most {most}")
    return value


def path_of(value: object) -> tuple[bytes, ...]:
    return tuple(hash_of(each) for each in list_of(value, _MAX_PATH))


def text_of(value: object) -> str:
    if not isinstance(value, str):
        raise NotCanonical(f"no text: `{value!r:.40}`")
    return value


def count_of(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise NotCanonical(f"no count: `{value!r:.40}`")
    return value


def hash_of(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != _HASH or value.strip("0123456789abcdef"):
        raise NotCanonical(f"not 32 bytes in lower-case hex: `{value!r:.70}`")
    return bytes.fromhex(value)
