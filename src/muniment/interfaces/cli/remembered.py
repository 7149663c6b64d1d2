"""
The head that an auditor remembers: the newest checkpoint that held, and how to go on from it.

It is written only after an audit that held, whole or not at all. A history that contradicts it
never replaces it: both notes are kept beside it, since the two together prove what happened.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from muniment.errors import Conflict, EvidenceError, Malformed
from muniment.evidence.audit_tiles import Established
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.note import MAX_NOTE_BYTES, parse_note
from muniment.stores.head_file import sync_folder

#: a note of which every character is escaped, and what stands around it
_MAX = 2 * MAX_NOTE_BYTES + 65_536


def default_path(key: ReadersKeys, place: str = "") -> Path:
    """
    One file for each log and key; for a mirror, which may lag behind, one of its own.

    Of several keys, that of the first one under which something is remembered.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    names = [sha256(f"{each.vkey}\n{place}".encode()).hexdigest()[:32] for each in named(key)]
    paths = [state / "muniment" / "heads" / f"{name}.json" for name in names]
    return next((path for path in paths if path.exists()), paths[0])


class RememberedHead:
    """One file; use it as a context manager, so that two audits do not remember at once."""

    def __init__(self, path: Path, key: ReadersKeys) -> None:
        self.path = path
        self._keys = named(key)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raises `Conflict` while another audit holds it."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Malformed(f"`{lock}`: {error.strerror}; name another with --state") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Conflict(
                f"another audit goes on from `{self.path}`; name another --state"
            ) from None
        finally:
            os.close(file)

    def read(self) -> Established | None:
        """None where none was remembered. Raises `Malformed` for a file that is damaged."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Malformed(f"`{self.path}`: {error.strerror}") from error
        try:
            value = json.loads(data)
            peaks = tuple(bytes.fromhex(peak) for peak in value["peaks"])
            known = Established(value["checkpoint"].encode(), peaks)
            checkpoint = open_checkpoint(known.note, self._keys[0].name, self._keys)
            known.frontier(checkpoint)
        except (ValueError, KeyError, TypeError, AttributeError, EvidenceError) as error:
            raise Malformed(
                f"`{self.path}` is no head of this log that an audit remembered: look why, and"
                " remove it only if you have that head elsewhere"
            ) from error
        return known

    def keep(self, established: Established) -> None:
        """In the place of the one before; durable when it returns."""
        value = {
            "checkpoint": established.note.decode(),
            "peaks": [peak.hex() for peak in established.peaks],
        }
        _write(self.path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")

    def keep_evidence(self, *notes: bytes) -> list[Path]:
        """Checkpoints of histories that contradict one another, each once, beside the head."""
        folder = self.path.with_suffix(".diverged")
        kept = []
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Malformed(f"`{folder}`: {error.strerror}") from error
        for note in map(self._signed, notes):
            path = folder / f"{sha256(note).hexdigest()[:16]}.checkpoint"
            if not path.exists():
                _write(path, note)
            kept.append(path)
        return kept

    def _signed(self, note: bytes) -> bytes:
        """Without the lines of other keys: whoever serves it could add new ones each time."""
        text, signatures = parse_note(note)
        ours = {(key.name, key.key_id) for key in self._keys}
        lines = (each.line for each in signatures if (each.name, each.key_id) in ours)
        return f"{text}\n{''.join(lines)}".encode()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also after a power loss; readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(file)
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise Malformed(f"`{path}` cannot be written: {error.strerror}") from error
