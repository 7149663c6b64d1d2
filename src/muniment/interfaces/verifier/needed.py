"""
Which `cryptography` a verifier needs, for where another one is found, or none.

It is asked before anything that needs the package is imported, and so imports nothing itself.
"""

from importlib import import_module
from typing import Final

#: time stamps are read by a part that is not in older ones, and that newer ones may change
SERIES: Final = 50
NEEDED: Final = f"the package `cryptography`, version {SERIES}"
HOW: Final = f"python3 -m venv v && v/bin/pip install 'cryptography=={SERIES}.*'"
_THEN: Final = f"`{HOW}` makes a Python that has it, v/bin/python"


def lacking() -> str | None:
    """One sentence on what is wrong with the package here, or nothing."""
    try:
        found = str(import_module("cryptography").__version__)
    except (ImportError, AttributeError):
        return f"it needs {NEEDED}, and there is none here: {_THEN}"
    series = found.partition(".")[0]
    if not series.isascii() or not series.isdigit() or int(series) < SERIES:
        return f"it needs {NEEDED}, and here is {found}: {_THEN}"
    try:
        import_module("muniment.evidence.stamp")
    except ImportError:
        return f"it needs {NEEDED}, and does not work with {found}: {_THEN}"
    return None
