"""`[notices.NAME]` in `muniment.toml`."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from muniment.runtime.setting_values import Name, Reference


class NoticesSection(BaseModel):
    """A way of telling people what waits, what was decided and what ended. The name is yours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `mail`, one for each person; `chat`, for whoever reads a channel; `webhook`, for a program
    kind: Literal["mail", "chat", "webhook"]
    #: reference to the URL, as it may hold a password: `env:NAME` or `file:PATH`. Of mail and chat
    #: as Apprise writes them: `mailtos://user:password@smtp.example.com?from=muniment@example.com`
    url: Reference
    #: of a webhook, reference to the secret that signs, as Standard Webhooks write it:
    #: `whsec_<base64>`
    secret: Reference | None = None
    #: of mail, who is told: `approvers` (who could approve it, and whom the rules name),
    #: `requester` (or the person behind an agent or workload), and groups, which are told of all
    to: tuple[Name, ...] = ("approvers", "requester")
    #: `waiting` for approval; `decided`; `ending` in five minutes; `ended` by somebody else;
    #: `break-glass`; `announced`, as a rule's `@notify` asks for it; `finding`, where it is of
    #: medium severity or more and no mere baseline, or ends access; `digest`, at 06:00 UTC what
    #: other findings came since the day before, in one notice: both by mail to groups alone;
    #: `review` of access, to whoever still has items to look at, too: when it is opened, and at
    #: 50, 80 and 100 % of its time
    events: tuple[
        Literal[
            "waiting",
            "decided",
            "ending",
            "ended",
            "break-glass",
            "announced",
            "finding",
            "digest",
            "review",
        ],
        ...,
    ] = ("waiting", "decided", "ended", "break-glass", "announced", "finding", "digest", "review")
    #: the webhook may lie inside your own network, and be without TLS
    internal: bool = False

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.kind == "webhook") != (self.secret is not None):
            raise ValueError("a webhook has a `secret` that signs it, and nothing else has one")
        if self.internal and self.kind != "webhook":
            raise ValueError("`internal` is for a webhook; mail and chat go where their URL says")
        return self
