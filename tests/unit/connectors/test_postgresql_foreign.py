"""How an account that we did not make is taken away, whatever it is called."""

import pytest

from muniment.connectors.postgresql.foreign import removal_of


def test_a_plain_name_is_quoted_as_it_is() -> None:
    statements = removal_of("backdoor")
    assert statements[0] == 'ALTER ROLE "backdoor" NOLOGIN;'
    assert "usename = 'backdoor'" in statements[1]
    assert statements[-1] == 'DROP ROLE IF EXISTS "backdoor";'


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ('a"; DROP ROLE x; --', '"a""; DROP ROLE x; --"'),
        ("a\nb", 'U&"a\\+00000Ab"'),
        ("a\\b", 'U&"a\\+00005Cb"'),
        ("\u202ea", 'U&"\\+00202Ea"'),
        ("é\"'", 'U&"\\+0000E9""\'"'),
    ],
)
def test_a_hostile_name_reaches_neither_the_statement_nor_the_terminal(
    name: str, identifier: str
) -> None:
    statements = removal_of(name)
    assert statements[-1] == f"DROP ROLE IF EXISTS {identifier};"
    assert all(line.isascii() and line.isprintable() for line in statements)
