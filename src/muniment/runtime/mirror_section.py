"""`[mirrors.NAME]` in `muniment.toml`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from muniment.runtime.setting_values import Length, Reference

_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
_KeyPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]*$", max_length=500)]


class MirrorSection(BaseModel):
    """A copy of all that the log publishes, kept where it outlives the log. The name is yours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `directory`, on another disk; or `s3`, a bucket with Object Lock
    kind: Literal["directory", "s3"]
    #: how often it is brought up to what is published; each time also what is not full is copied
    every: Length = timedelta(minutes=15)
    #: of a directory, where it is; make it once: nothing is copied while it is not there
    path: Path | None = None
    #: of S3, the bucket; it has to have Object Lock
    bucket: _Bucket | None = None
    #: of S3, what begins the keys in the bucket
    prefix: _KeyPrefix = ""
    #: of S3, its address, where it is not that of AWS: `https://s3.example.com`
    endpoint: str | None = None
    #: of S3, the region
    region: str | None = None
    #: of S3, for how many days nobody can delete what was put, you included
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    #: of S3, reference to the access key, together with `secret_key`; without them, it is looked
    #: for where AWS tools look
    access_key: Reference | None = None
    #: of S3, reference to the secret key
    secret_key: Reference | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.kind == "directory") != (self.path is not None):
            raise ValueError("a directory has a `path`, and nothing else has one")
        of_s3 = (self.bucket, self.retention_days)
        if self.kind == "s3" and None in of_s3:
            raise ValueError("a mirror in S3 has a `bucket` and `retention_days`")
        others = (*of_s3, self.endpoint, self.region, self.access_key, self.secret_key)
        if self.kind != "s3" and (any(each is not None for each in others) or self.prefix):
            raise ValueError('`bucket`, `prefix` and what goes with them are for `kind = "s3"`')
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("`access_key` and `secret_key` go together")
        return self
