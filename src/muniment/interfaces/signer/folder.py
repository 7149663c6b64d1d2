"""The folder of a signing process: its key, and what it signed last."""

import os
import stat
from pathlib import Path
from typing import Final

from muniment.errors import ConfigInvalid, Conflict, EvidenceError, NoteInvalid
from muniment.evidence.note import SigningKey
from muniment.stores.head_file import sync_folder
from muniment.stores.signer_state import SignerStateFile

KEY: Final = "signer.key"
VKEY: Final = "signer.vkey"
STATE: Final = "signer.state"


class SignerFolder:
    """What `muniment signer init` makes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, origin: str) -> SigningKey:
        """
        A new key for the log of this origin, which has signed nothing.

        Raises `ConfigInvalid` for what is no origin, `Conflict` if there is a key.
        """
        try:
            key = SigningKey.generate(origin)
        except NoteInvalid as error:
            raise ConfigInvalid(f"`{origin}` cannot be the name of a key: {error}") from None
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if found := [each for each in (KEY, STATE) if (self.path / each).exists()]:
            raise Conflict(f"`{self.path / found[0]}` exists already; choose another folder")
        _write_new(self.path / KEY, f"{key.skey}\n", 0o600)
        _write_new(self.path / VKEY, f"{key.verifier.vkey}\n", 0o644)
        SignerStateFile.make(self.path / STATE).close()
        sync_folder(self.path)
        return key

    def key(self) -> SigningKey:
        """Raises `ConfigInvalid` if it is not there, or others may read it."""
        path = self.path / KEY
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(
                f"`{self.path}` is not the folder of a signer: `{KEY}` cannot be read; "
                "`muniment signer init` makes one"
            ) from error
        if mode & 0o077:
            raise ConfigInvalid(f"others may read the signing key: chmod 600 {path}")
        try:
            return SigningKey.parse(text)
        except EvidenceError as error:
            raise ConfigInvalid(f"`{path}` holds no signing key") from error

    def state(self) -> SignerStateFile:
        """Raises `LogInvalid` if it is gone, `Conflict` if another process has it."""
        return SignerStateFile(self.path / STATE)


def _write_new(path: Path, text: str, mode: int) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(file)
