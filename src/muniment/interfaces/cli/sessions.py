"""Sessions that `muniment login` opened, one for each service; only their owner can read them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from muniment.errors import Malformed

_OWNER_ONLY = 0o600
_OTHERS = 0o077


def path() -> Path:
    """Below `XDG_STATE_HOME`, or where that is when it is not set."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state or Path.home() / ".local/state") / "muniment" / "sessions.json"


def token_for(url: str) -> str | None:
    """The token of the session at exactly this service. Raises `Malformed`."""
    found = _read().get(url)
    token = found.get("token") if isinstance(found, dict) else None
    return token if isinstance(token, str) else None


def keep(url: str, token: str, expires: str) -> None:
    """In the place of the one before."""
    _write({**_read(), url: {"token": token, "expires": expires}})


def forget(url: str) -> None:
    _write({known: held for known, held in _read().items() if known != url})


def _read() -> dict[str, Any]:
    file = path()
    try:
        if stat.S_IMODE(file.stat().st_mode) & _OTHERS:
            raise Malformed(f"others may read your sessions: chmod 600 {file}")
        kept = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Malformed(f"`{file}`: {error.strerror}") from error
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise Malformed(f"`{file}` is no file of sessions; remove it, and sign in again")
    return kept


def _write(kept: dict[str, Any]) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    file = path()
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(opened, "w", encoding="utf-8") as written:
            json.dump(kept, written, indent=1)
        new.replace(file)
    except OSError as error:
        raise Malformed(f"`{file}`: {error.strerror}") from error
