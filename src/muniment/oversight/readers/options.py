"""The options of a reader: what an administrator wrote, checked and named when it is wrong."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from muniment.errors import ConfigInvalid
from muniment.oversight.event import Key, ReaderSettings

_ID_LETTERS: Final = 26


class Options:
    """The table of one source. Whatever was not asked for by the end is a mistake."""

    def __init__(self, kind: str, settings: ReaderSettings) -> None:
        self._kind = kind
        self._given = dict(settings.options)
        self._asked: list[str] = []

    def _take(self, name: str) -> Any:
        self._asked.append(name)
        return self._given.pop(name, None)

    def choice(self, name: str, choices: Iterable[str], default: str) -> str:
        value = self._take(name)
        value = default if value is None else value
        known = list(choices)
        if value in known:
            return str(value)
        ways = ", ".join(f'`{name} = "{each}"`' for each in known)
        raise self.wrong(f"`{name}` of a reader `{self._kind}` is one of: {ways}")

    def text(self, name: str, default: str = "") -> str:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(f'`{name}` of a reader `{self._kind}` is text: write `{name} = "…"`')
        return value

    def number(self, name: str) -> int | None:
        value = self._take(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self.wrong(f"`{name}` of a reader `{self._kind}` is a number without quotes")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._take(name)
        if value is None:
            return ()
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise self.wrong(f'`{name}` of a reader `{self._kind}` is a list: `{name} = ["…"]`')

    def table(self, name: str) -> Mapping[str, Any]:
        value = self._take(name)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        raise self.wrong(f"`{name}` of a reader `{self._kind}` is a table")

    def names(self, name: str) -> Mapping[str, str]:
        """A table of text to text."""
        value = self.table(name)
        if all(isinstance(each, str) for each in value.values()):
            return dict(value)
        raise self.wrong(
            f'`{name}` of a reader `{self._kind}` maps names to names: `"theirs" = "ours"`'
        )

    def end(self) -> None:
        """Raises `ConfigInvalid` for an option that nobody asked for."""
        for name in self._given:
            raise self.wrong(
                f"a reader `{self._kind}` has no option `{name}`;"
                f" it has: {', '.join(self._asked) or 'none'}"
            )

    @staticmethod
    def wrong(message: str) -> ConfigInvalid:
        return ConfigInvalid(message)


class OwnAccounts:
    """
    Knows an account that was made for one grant by its name, which is the grant's id.

    A name that merely contains an id is somebody else's: whoever may name accounts could write it.
    """

    def __init__(self, prefix: str) -> None:
        self._id = re.compile(rf"{re.escape(prefix)}_[a-z2-7]{{{_ID_LETTERS}}}")

    def keys(self, account: str) -> tuple[Key, ...]:
        return (Key("account", account),) if self._id.fullmatch(account) else ()
