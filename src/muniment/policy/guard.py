"""
Bounds on policy text, checked before the engine sees it: some texts kill the process that parses
them, and some make the answer depend on how much stack is left.

- What the engine parses at once (one rule, one schema) is bounded in bytes; so is a file and the
  bundle.
- Brackets, `else if`s, paths, clauses and chained operators are bounded by counting tokens.
- `depth` bounds the parsed rule, so that evaluation stays far from the end of a small stack.

NOTE: evaluate only on threads with at least 1 MiB of stack (glibc's default is 8 MiB; musl's
128 KiB is too small). Nothing here can see the stack, so `runtime` must not shrink it. An uploaded
bundle is loaded in a child process first, in case the engine has a weakness nobody measured.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from muniment.policy.source import Token

MAX_RULE = 16_384
MAX_FILE = 131_072
MAX_BUNDLE = 1_048_576
MAX_SCHEMA = 32_768
MAX_RULES = 2_000
MAX_BRACKETS = 32
MAX_IFS = 32
MAX_CLAUSES = 32
MAX_PATH = 16
#: operators in one chain, and along one way down through the brackets
MAX_CHAIN = 32
MAX_OPERATORS = 64
#: levels of the parsed rule's JSON; about 25 chained ORs (use a set instead)
MAX_DEPTH = 60
#: members of one list in a schema: the validator tries every principal with every resource
MAX_LIST = 32
#: how often a schema's common types may be written out in full, as they double when nested
MAX_EXPANSION = 1_000

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_OPERATORS = frozenset(("&&", "||", "+", "-", "*", "!", "if"))
_PATH = frozenset((".", "::"))
# words that end a path, so that `a.b has c.d` is two paths
_WORDS = frozenset(("has", "in", "is", "like", "then", "else", "when", "unless"))


def rule_trouble(tokens: Sequence[Token]) -> tuple[int, str] | None:
    """Line and reason why this rule must not reach the engine, or None."""
    if tokens[-1].end - tokens[0].start > MAX_RULE:
        return tokens[0].line, f"a rule longer than {MAX_RULE} characters"
    return _count_trouble(tokens) or _nesting_trouble(tokens)


def schema_trouble(tokens: Sequence[Token]) -> tuple[int, str] | None:
    """Line and reason why this schema must not reach the engine, or None."""
    open_lists: list[int] = []
    for token in tokens:
        if token.text in "([{<":
            open_lists.append(0)
        elif token.text in ")]}>" and open_lists:
            open_lists.pop()
        elif token.text == "," and open_lists:
            open_lists[-1] += 1
            if open_lists[-1] >= MAX_LIST:
                return token.line, f"a list of more than {MAX_LIST}"
        if len(open_lists) > MAX_BRACKETS:
            return token.line, f"nested too deep: more than {MAX_BRACKETS} brackets"
    return _expansion_trouble(tokens)


def depth(value: object) -> int:
    """Levels of a JSON value; stops counting beyond the bound."""
    level, front = 0, [value]
    while front and level <= MAX_DEPTH:
        level += 1
        front = [child for parent in front for child in _children(parent)]
    return level


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _count_trouble(tokens: Sequence[Token]) -> tuple[int, str] | None:
    ifs = clauses = 0
    for token in tokens:
        ifs += token.text == "if"
        clauses += token.text in ("when", "unless")
        if ifs > MAX_IFS:
            return token.line, f"more than {MAX_IFS} `if`s in one rule"
        if clauses > MAX_CLAUSES:
            return token.line, f"more than {MAX_CLAUSES} clauses in one rule"
    return None


class _Level:
    """What was counted inside one pair of brackets."""

    __slots__ = ("operators", "path")

    def __init__(self) -> None:
        self.operators = 0
        self.path = 0


def _nesting_trouble(tokens: Sequence[Token]) -> tuple[int, str] | None:
    levels = [_Level()]
    for token in tokens:
        here, word = levels[-1], token.text
        if word in _OPENING:
            here.path += word == "["
            levels.append(_Level())
        elif word in _CLOSING:
            if len(levels) == 1:
                return token.line, f"unexpected `{word}`"
            levels.pop()
        elif word in _OPERATORS:
            here.operators += 1
            here.path = 0
        elif word in ",;":
            here.operators = here.path = 0
        elif word in _PATH:
            here.path += 1
        elif word in _WORDS or not (word[0].isalnum() or word[0] in '_"'):
            here.path = 0
        if reason := _level_trouble(levels, here):
            return token.line, reason
    return None


def _level_trouble(levels: Sequence[_Level], here: _Level) -> str | None:
    if len(levels) > MAX_BRACKETS + 1:
        return f"nested too deep: more than {MAX_BRACKETS} brackets"
    if here.path > MAX_PATH:
        return f"nested too deep: a path of more than {MAX_PATH} steps"
    if here.operators > MAX_CHAIN or sum(level.operators for level in levels) > MAX_OPERATORS:
        return f"nested too deep: more than {MAX_CHAIN} chained operators; use a set"
    return None


def _expansion_trouble(tokens: Sequence[Token]) -> tuple[int, str] | None:
    """A common type that holds two others that hold two others is written out 2ⁿ times."""
    names = {after.text: after.line for before, after in pairwise(tokens) if before.text == "type"}
    uses: dict[str, list[str]] = {name: [] for name in names}
    current: str | None = None
    total: list[str] = []
    for before, token in pairwise(tokens):
        if before.text == "type":
            current = token.text
        elif token.text == ";":
            current = None
        elif token.text in names:
            (total if current is None else uses[current]).append(token.text)
    weights = _weights(uses)
    if sum(weights[name] for name in (*total, *names)) > MAX_EXPANSION:
        return min(names.values()), "its common types hold one another too many times"
    return None


def _weights(uses: Mapping[str, Sequence[str]]) -> dict[str, int]:
    # as many rounds as names settle every chain; a cycle grows past the bound, and is refused
    weights = dict.fromkeys(uses, 1)
    for _ in uses:
        settled = weights
        weights = {
            name: min(1 + sum(settled[used] for used in held), MAX_EXPANSION + 1)
            for name, held in uses.items()
        }
        if weights == settled:
            break
    return weights
