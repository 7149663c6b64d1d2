"""
How an administrator takes an account away that we did not make.

We could not: since PostgreSQL 16 a role with CREATEROLE removes only what it made or administers,
and ours is to have no more rights than it needs.
"""

from typing import Final

#: what may stand in a quoted name as it is; whatever else could hide in a terminal is spelt out
_PLAIN: Final = range(0x20, 0x7F)


def removal_of(account: str) -> tuple[str, ...]:
    """
    Statements for psql, as a superuser: each may be run again.

    What the account owns goes to whoever runs them, so that nothing is lost.
    """
    name, text = _quoted(account, '"'), _quoted(account, "'")
    sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    return (
        f"ALTER ROLE {name} NOLOGIN;",
        f"{sessions} WHERE usename = {text};",
        "-- the next two in every database where it owns something or was granted something",
        f"REASSIGN OWNED BY {name} TO CURRENT_USER;",
        f"DROP OWNED BY {name};",
        f"DROP ROLE IF EXISTS {name};",
    )


def _quoted(text: str, quote: str) -> str:
    """As an identifier (`"`) or a string (`'`), in ASCII that shows all of it."""
    if all(ord(character) in _PLAIN and character != "\\" for character in text):
        return quote + text.replace(quote, quote * 2) + quote
    spelt = "".join(
        character.replace(quote, quote * 2)
        if ord(character) in _PLAIN and character != "\\"
        else f"\\+{ord(character):06X}"
        for character in text
    )
    return f"U&{quote}{spelt}{quote}"
