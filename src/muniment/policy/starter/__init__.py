"""The rules that `init` writes: a working bundle for static tokens, meant to be edited."""

from importlib.resources import files as package_files
from importlib.resources.abc import Traversable

_SUFFIXES = (".cedar", ".cedarschema", ".json")


def files() -> dict[str, bytes]:
    """Path → bytes: the schema, the rules and their test cases."""
    return dict(sorted(_walk(package_files(__name__), "")))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIXES):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
