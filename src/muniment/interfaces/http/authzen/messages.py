"""What clients send: parsed once, here. Required members and bounds; the rest is ignored."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from muniment.operations.batch import MAX_ITEMS

#: most evaluations in one message, and most results on one page
MAX_EVALUATIONS, MAX_PAGE = 100, 1000

Properties = dict[str, Any]
Word = Annotated[str, Field(max_length=200)]


class Lenient(BaseModel):
    """AuthZEN section 10.1.1: unknown members are ignored."""

    model_config = ConfigDict(extra="ignore")

    def sent(self) -> dict[str, Any]:
        """What was sent of what is known: absent members stay absent."""
        return self.model_dump(exclude_unset=True)


class SubjectType(Lenient):
    """A subject that is looked for."""

    type: str = Field(max_length=64)


class Subject(SubjectType):
    id: str = Field(max_length=128)
    properties: Properties = {}


class ResourceType(Lenient):
    """A resource that is looked for."""

    type: str = Field(max_length=64)


class Resource(ResourceType):
    id: str = Field(max_length=64)
    properties: Properties = {}


class Action(Lenient):
    name: str = Field(max_length=64)
    properties: Properties = {}


class Approval(Lenient):
    """The result of a request, carried back to us unchanged."""

    id: str = Field(max_length=128)
    state: Any = None


class Context(Lenient):
    """What authorisation depends on, and what only people read."""

    seconds: StrictInt = Field(default=1800, gt=0, le=366 * 86_400)
    ticket: str = Field(default="", max_length=64)
    incident: str = Field(default="", max_length=64)
    emergency: StrictBool = False
    business_justification: str = Field(default="", max_length=4000)
    approval: Approval | None = None


class Evaluation(Lenient):
    subject: Subject
    resource: Resource
    action: Action
    context: Context = Context()


class Options(Lenient):
    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = (
        "execute_all"
    )


class Evaluations(Lenient):
    """Defaults for what an item leaves out. Each item is an evaluation; one that is none denies."""

    subject: Properties | None = None
    resource: Properties | None = None
    action: Properties | None = None
    context: Properties | None = None
    evaluations: list[Properties] = Field(default=[], max_length=MAX_EVALUATIONS)
    options: Options = Options()


class Page(Lenient):
    token: str = Field(default="", max_length=500)
    limit: StrictInt = Field(default=100, ge=0, le=MAX_PAGE)


class SubjectSearch(Lenient):
    subject: SubjectType
    resource: Resource
    action: Action
    context: Context = Context()
    page: Page = Page()


class ResourceSearch(Lenient):
    subject: Subject
    resource: ResourceType
    action: Action
    context: Context = Context()
    page: Page = Page()


class ActionSearch(Lenient):
    subject: Subject
    resource: Resource
    context: Context = Context()
    page: Page = Page()


class RequestedAccess(Lenient):
    requested_until: datetime | None = None
    emergency: StrictBool = False


class Denial(Lenient):
    evaluation_id: str = Field(default="", max_length=500)
    binding_token: str = Field(default="", max_length=16_000)
    expires_at: datetime


class Callback(Lenient):
    endpoint: str = Field(max_length=2000)
    state: str | None = Field(default=None, max_length=2000)
    events: list[Word] = Field(default=[], max_length=20)


class Actor(Lenient):
    """Somebody in a chain of delegation: `sub` and `iss` further out, `id` and `issuer` first."""

    id: Word
    issuer: Word | None = None
    type: Word | None = None
    act: Properties | None = None


class Source(Lenient):
    session_id: Word | None = None
    external_url: Annotated[str, Field(max_length=2000)] | None = None
    integration_id: Word | None = None


class Client(Lenient):
    id: Word | None = None
    name: Word | None = None
    actor: Actor | None = None
    source: Source | None = None


class Item(Lenient):
    resource: Resource
    action: Action
    requested_access: RequestedAccess | None = None
    denial: Denial | None = None


class AccessRequest(Lenient):
    """One resource and action, or several items."""

    subject: Subject
    resource: Resource | None = None
    action: Action | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    context: Context = Context()
    requested_access: RequestedAccess = RequestedAccess()
    denial: Denial | None = None
    callback: Callback | None = None
    client: Client | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> "AccessRequest":
        one = (self.resource is not None, self.action is not None)
        if self.items is None and not all(one):
            raise ValueError("`resource` and `action` are required where there are no `items`")
        if self.items is not None and any(one):
            raise ValueError("`resource` and `action` stand in each of the `items`, or alone")
        return self


class Cancellation(Lenient):
    reason: str = Field(default="", max_length=64)
    comment: str = Field(default="", max_length=4000)
