"""`[callbacks.NAME]` in `muniment.toml`."""

from pydantic import BaseModel, ConfigDict


class CallbackSection(BaseModel):
    """A place that is told of decisions, when somebody who may name it asks for that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: exactly the URL that a client has to name; `https`, at a public address
    endpoint: str
    #: reference to the secret that signs the notices, written as Standard Webhooks have it:
    #: `whsec_<base64>`
    secret: str
    #: logins of those who may name it
    principals: tuple[str, ...]
    #: it may lie inside your own network, and be without TLS
    internal: bool = False
