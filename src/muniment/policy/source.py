"""Policy text as tokens and passages, each with its file and line, before any engine sees it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from muniment.errors import PolicyInvalid

# The same lexemes as Cedar's own lexer: were a comment to end later here than there, text could
# hide from the guard. A comment ends at a carriage return too.
_LEXEME = re.compile(
    r"""(?P<blank>[ \t\r\n]+|//[^\r\n]*)
      | (?P<token>"(?:[^"\\]|\\.)*"          # string
          | [_a-zA-Z][_a-zA-Z0-9]* | [0-9]+
          | \|\| | && | == | != | <= | >= | ::
          | [@.,;(){}\[\]+\-*/%<>!:?=])""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """The text from a rule's first token to its semicolon; leading comments stay outside."""

    file: str
    text: str
    tokens: tuple[Token, ...]

    @property
    def line(self) -> int:
        return self.tokens[0].line

    def until(self, count: int) -> str:
        """The text of the first `count` tokens."""
        return self.text[: self.tokens[count - 1].end - self.tokens[0].start]


def decode(file: str, data: bytes) -> str:
    """Raises `PolicyInvalid` naming the line of the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyInvalid(f"{file}:{line}: not UTF-8") from error


def tokens(file: str, text: str) -> list[Token]:
    """Raises `PolicyInvalid` for a character that can start no token of Cedar."""
    return list(_tokens(file, text))


def passages(file: str, text: str) -> list[Passage]:
    """The rules of one file; what stands after the last semicolon is a passage as well."""
    found: list[Passage] = []
    pending: list[Token] = []
    for token in _tokens(file, text):
        pending.append(token)
        if token.text == ";":
            found.append(_passage(file, text, pending))
            pending = []
    if pending:
        found.append(_passage(file, text, pending))
    return found


def _tokens(file: str, text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        match = _LEXEME.match(text, at)
        if match is None:
            raise PolicyInvalid(f"{file}:{line}: unexpected character `{text[at]!a}`")
        if match["token"] is not None:
            yield Token(match["token"], line, at, match.end())
        line += text.count("\n", at, match.end())
        at = match.end()


def _passage(file: str, text: str, of: list[Token]) -> Passage:
    return Passage(file, text[of[0].start : of[-1].end], tuple(of))
