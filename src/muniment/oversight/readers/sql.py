"""
What an SQL statement says on its face: its command, whom it is about, itself without passwords.

The face can lie: a `DO` block may put a command together at run time. Only pgaudit sees that one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from muniment.oversight.event import MAX_DETAIL

_WORD = r"[A-Za-z_\x80-\U0010ffff][\w$]*+"
_ESCAPED = r"'(?:[^'\\]++|\\.|'')*+(?:'|\Z)"
_LITERAL = r"'[^']*+(?:''[^']*+)*+(?:'|\Z)"
_QUOTED = r'"[^"]*+(?:""[^"]*+)*+(?:"|\Z)'
_DOLLAR = r"\$(?:[A-Za-z_\x80-\U0010ffff]\w*+)?\$"
_TOKEN = re.compile(
    rf"(?P<blank>\s++|--[^\n]*+)|(?P<comment>/\*)|(?P<literal>[eE]{_ESCAPED}|{_LITERAL})"
    rf"|(?P<quoted>{_QUOTED})|(?P<dollar>{_DOLLAR})|(?P<word>{_WORD})|(?P<end>;)|(?P<other>.)",
    re.DOTALL,
)
#: What stands in a statement before its end, as far as no dollar quote or comment begins.
_PASSED = re.compile(
    rf"(?:[^;'\"$/\-]++|(?<=[^\w$][eE]){_ESCAPED}|{_LITERAL}|{_QUOTED}|--[^\n]*+|-|/(?!\*)"
    rf"|\$(?!(?:[A-Za-z_\x80-\U0010ffff]\w*+)?\$))*+",
    re.DOTALL,
)
_NEXT = re.compile(r"[\s;]*+")
_COMMENT = re.compile(r"/\*|\*/")
_SET_CONFIG = re.compile(r"\bset_config\s*+\(\s*+'([^']*+)'", re.IGNORECASE)
#: for a text of so many statements that reading each one would cost too much
_ANYWHERE = re.compile(
    r"\b(grant|revoke|(?:create|alter|drop)\s++(?:role|user|group))\b", re.IGNORECASE
)
_MOST_STATEMENTS: Final = 2000
_MOST_TOKENS: Final = 2000
_PASSWORD = re.compile("password", re.IGNORECASE)
_HIDDEN: Final = "<REDACTED>"
_ABOUT_ROLES = ("CREATE ROLE", "ALTER ROLE", "CREATE USER", "ALTER USER")

#: their first token says which kind of thing they are about
_KINDED = ("CREATE", "ALTER", "DROP")
_MODIFIERS = frozenset((
    "OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL", "UNIQUE", "RECURSIVE",
    "TRUSTED", "PROCEDURAL",
))  # fmt: skip
#: kinds of two words
_PAIRED = frozenset(("MATERIALIZED", "FOREIGN", "EVENT", "DEFAULT", "TEXT", "ACCESS"))
_BEFORE_NAMES = frozenset(("IF", "NOT", "EXISTS", "CONCURRENTLY", "ONLY", "GROUP"))
_LISTED = frozenset((
    "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "REASSIGN", "SET", "RESET", "SECURITY",
))  # fmt: skip
_LOGGING = ("log_", "pgaudit.", "logging_collector", "syslog_", "event_source")
_LIBRARIES = ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries")
_WEIGHT: Final = {"logging.changed": 3, "access.changed": 2, "elevated": 1, "statement": 0}

#: commands that change who may do what, by the server's own names of them
ACCESS_COMMANDS: Final = frozenset((
    "CREATE ROLE", "ALTER ROLE", "DROP ROLE", "GRANT", "REVOKE", "GRANT ROLE", "REVOKE ROLE",
    "DROP OWNED", "REASSIGN OWNED", "ALTER DEFAULT PRIVILEGES",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """What one statement is, as far as its text tells."""

    action: str
    #: a type of event
    type: str = "statement"
    object: str = ""

    def is_a(self, command: str) -> bool:
        """Whether the server may have called it so: it says `GRANT ROLE` and `SET`."""
        return self.action in (command, command.removesuffix(" ROLE"), f"{command} ROLE")


@dataclass(frozen=True, slots=True)
class _Token:
    #: uppercase; empty for what is no bare word
    word: str
    #: as an identifier: folded, or without its quotes
    name: str


def said(sql: str, command: str = "") -> Said:
    """
    What matters most in a text of statements.

    `command` is the server's own word for the one that ran, where it gives one.
    """
    found = [one for one in _each(sql) if not command or one.is_a(command)]
    if not found:
        return Said(command, "access.changed" if command in ACCESS_COMMANDS else "statement")
    return max(found, key=lambda one: _WEIGHT[one.type])


def is_logging(setting: str) -> bool:
    """Whether a parameter says what the server logs, or where to."""
    setting = setting.lower()
    return setting.startswith(_LOGGING) or setting in _LIBRARIES


def without_passwords(sql: str) -> str:
    """The text as far as it is kept, with nothing in it that a password could be."""
    return _redacted(sql) if _PASSWORD.search(sql) else sql


def has_password(sql: str) -> bool:
    return _PASSWORD.search(sql) is not None


def _each(sql: str) -> Iterator[Said]:
    for setting in _SET_CONFIG.findall(sql):
        if setting.lower() in ("role", "session_authorization"):
            yield Said("SELECT", "elevated", setting)
        elif is_logging(setting):
            yield Said("SELECT", "logging.changed", setting)
    at = 0
    for _ in range(_MOST_STATEMENTS):
        at = _skipped(_NEXT, sql, at)
        if at >= len(sql):
            return
        tokens, at = _statement(sql, at)
        if tokens:
            yield _meaning(tokens)
    # Whoever sends more statements than that in one text is not believed to hide nothing in it.
    if found := _ANYWHERE.search(sql, at):
        yield Said(" ".join(found[1].upper().split()), "access.changed")


def _skipped(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _statement(sql: str, at: int) -> tuple[list[_Token], int]:
    """The tokens of one statement, as many as it takes to know what it is; and where it ends."""
    tokens: list[_Token] = []
    while at < len(sql) and len(tokens) < _MOST_TOKENS:
        found = _TOKEN.match(sql, at)
        if found is None or found.lastgroup == "end":
            break
        at = _behind(sql, found)
        if found.lastgroup not in ("blank", "comment"):
            tokens.append(_token(found))
            if len(tokens) == 1 and tokens[0].word not in _LISTED:
                break
    return tokens, _end(sql, at)


def _end(sql: str, at: int) -> int:
    """Where the statement ends that `at` lies in."""
    while at < len(sql):
        at = _skipped(_PASSED, sql, at)
        found = _TOKEN.match(sql, at)
        if found is None or found.lastgroup == "end":
            break
        at = _behind(sql, found)
    return at


def _behind(sql: str, found: re.Match[str]) -> int:
    """Where a token ends that may be the beginning of something longer."""
    if found.lastgroup == "comment":
        depth = 0
        for mark in _COMMENT.finditer(sql, found.start()):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                return mark.end()
        return len(sql)
    if found.lastgroup == "dollar":
        end = sql.find(found[0], found.end())
        return len(sql) if end < 0 else end + len(found[0])
    return found.end()


def _token(found: re.Match[str]) -> _Token:
    text = found[0]
    if found.lastgroup == "word":
        return _Token(text.upper(), text.lower())
    if found.lastgroup == "quoted":
        return _Token("", text[1:].removesuffix('"').replace('""', '"'))
    if found.lastgroup == "literal":
        return _Token("'", text.lstrip("eE")[1:].removesuffix("'"))
    return _Token(text if found.lastgroup == "other" else "'", text)


# --- what a statement is


def _meaning(tokens: list[_Token]) -> Said:
    first = tokens[0].word
    if first in _KINDED:
        return _of_kind(first, tokens[1:])
    if first in ("GRANT", "REVOKE"):
        goal = _names_after(tokens, "TO" if first == "GRANT" else "FROM")
        return Said(first, "access.changed", goal)
    if first == "REASSIGN":
        return Said("REASSIGN OWNED", "access.changed", _names_after(tokens, "BY"))
    if first in ("SET", "RESET"):
        return _setting(first, tokens[1:])
    return Said(first or tokens[0].name[:64])


def _of_kind(verb: str, rest: list[_Token]) -> Said:
    """What is made, changed or dropped."""
    while rest and rest[0].word in _MODIFIERS:
        rest = rest[1:]
    kind, rest = (rest[0].word, rest[1:]) if rest else ("", rest)
    if rest and (kind in _PAIRED or (kind == "USER" and rest[0].word == "MAPPING")):
        kind, rest = f"{kind} {rest[0].word}", rest[1:]
    if kind in ("ROLE", "USER", "GROUP"):
        return _configured("ALTER ROLE", rest) or Said(
            f"{verb} ROLE", "access.changed", _names(rest)
        )
    if kind == "OWNED":
        return Said("DROP OWNED", "access.changed", _names_after(rest, "BY"))
    if kind == "DEFAULT PRIVILEGES":
        goal = _names_after(rest, "TO") or _names_after(rest, "FROM")
        return Said("ALTER DEFAULT PRIVILEGES", "access.changed", goal)
    action = f"{verb} {kind}".strip()
    if kind == "SYSTEM":
        return _configured(action, rest) or Said(action, object=_names(rest[1:]))
    if kind == "DATABASE" and (found := _configured(action, rest)):
        return found
    return Said(action, object=_names(rest))


def _configured(action: str, tokens: list[_Token]) -> Said | None:
    """A change of logging inside an `ALTER`."""
    for number, token in enumerate(tokens):
        if token.word in ("SET", "RESET"):
            setting = _names(tokens[number + 1 :])
            if is_logging(setting) or setting == "all":
                return Said(action, "logging.changed", setting)
    return None


def _setting(verb: str, tokens: list[_Token]) -> Said:
    """`SET` and `RESET` of a session."""
    words = [token.word for token in tokens[:2]]
    if words[:2] == ["SESSION", "AUTHORIZATION"]:
        tokens = [_Token("AUTHORIZATION", "session_authorization"), *tokens[2:]]
    elif words and words[0] in ("SESSION", "LOCAL") and len(tokens) > 1:
        tokens = tokens[1:]
    setting = _names(tokens)
    if is_logging(setting):
        return Said(verb, "logging.changed", setting)
    if setting in ("role", "session_authorization") and verb == "SET":
        value = [token for token in tokens[1:] if token.word not in ("=", "TO")]
        if value and value[0].word not in ("NONE", "DEFAULT"):
            return Said("SET ROLE", "elevated", value[0].name)
    return Said(verb, object=setting)


def _names_after(tokens: list[_Token], word: str) -> str:
    for number, token in enumerate(tokens):
        if token.word == word:
            return _names(tokens[number + 1 :])
    return ""


def _names(tokens: list[_Token]) -> str:
    """The names at the beginning, between commas: `a, s.b`."""
    while tokens and tokens[0].word in _BEFORE_NAMES:
        tokens = tokens[1:]
    found, joined = "", True
    for token in tokens:
        if token.word in (",", "."):
            found += ", " if token.word == "," else "."
            joined = True
        elif joined and (not token.word or token.word[0].isalpha() or token.word[0] == "_"):
            if token.word != "GROUP":
                found += token.name
                joined = False
        else:
            break
    return found


# --- passwords


def _redacted(sql: str, depth: int = 0) -> str:
    """
    Without comments, without literals behind the word, without those that hold the word, and in a
    statement that makes or changes a role without any but the moment that it is valid until.
    """
    parts: list[str] = []
    at = length = 0
    previous, head = "", ""
    while length <= MAX_DETAIL and (found := _TOKEN.match(sql, at)):
        end, group, text = _behind(sql, found), found.lastgroup, found[0]
        about_role = head.startswith(_ABOUT_ROLES)
        if group in ("literal", "dollar"):
            hide = previous == "PASSWORD" or (about_role and previous != "UNTIL")
            shown, previous = _HIDDEN if hide else _literal(sql[at:end], depth), ""
        elif group == "comment" or text.startswith("--"):
            # It may hold what was meant to be sent.
            shown = f" /* {_HIDDEN} */ "
        elif group == "blank":
            shown = text
            previous = "" if parts and parts[-1] == _HIDDEN else previous
        else:
            # Somebody forgot the quotes: the server refused it, and logged it.
            bare = about_role and previous == "PASSWORD" and text.upper() not in ("NULL", ";")
            shown = _HIDDEN if bare else text
        if group == "word" and shown == text and text.upper() not in ("U", "N"):
            previous, head = text.upper(), f"{head} {text.upper()}".strip()[:32]
        elif group == "quoted" and shown == text:
            previous = "PASSWORD" if _PASSWORD.search(text) else ""
        elif group == "end":
            previous, head = "", ""
        parts.append(shown)
        at, length = end, length + len(shown)
    return "".join(parts)


def _literal(text: str, depth: int) -> str:
    """A literal that holds the word is hidden whole; a body of a function only where it must."""
    if not _PASSWORD.search(text):
        return text
    if not text.startswith("$") or depth > 1:
        return _HIDDEN
    mark = text[: text.index("$", 1) + 1]
    return mark + _redacted(text[len(mark) :].removesuffix(mark), depth + 1) + mark
