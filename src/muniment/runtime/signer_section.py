"""`[signer]` in `muniment.toml`."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from muniment.errors import NoteInvalid
from muniment.evidence.note import KeyType, VerifierKey
from muniment.runtime.setting_values import Length


class SignerSection(BaseModel):
    """A signing key in another process, `muniment signer serve`, beside those in files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the Unix socket where it listens
    socket: Path
    #: its public key, as `muniment signer init` prints it: what it has to sign with
    key: str
    #: how long it may take over one checkpoint
    timeout: Length = timedelta(seconds=2)

    @field_validator("key")
    @classmethod
    def _of_a_log(cls, key: str) -> str:
        try:
            parsed = VerifierKey.parse(key)
        except NoteInvalid as error:
            raise ValueError(f"this is no public key: {error}") from None
        if parsed.type is not KeyType.LOG:
            raise ValueError("this is not a key that a log signs with")
        return key

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey.parse(self.key)
