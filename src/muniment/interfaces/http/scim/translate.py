"""From what a client of SCIM writes to people and groups, and back."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from scim2_models import (
    Context,
    Error,
    Meta,
    PatchOp,
    Reference,
    Resource,
    ResponseParameters,
    SCIMException,
    ScimPolicy,
    SearchRequest,
)

from muniment.evidence import moment
from muniment.interfaces.http.problems import ProfileProblem
from muniment.interfaces.http.scim.models import (
    EnterpriseUser,
    Group,
    GroupMembership,
    Member,
    User,
)
from muniment.operations.directory import Crowd, HeldGroup, HeldPerson, Person


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of resource, and the messages that speak of it."""

    model: Any
    patch: Any
    search: Any
    asked: Any


PEOPLE: Final = Kind(
    model=User[EnterpriseUser],
    patch=PatchOp[User[EnterpriseUser]],
    search=SearchRequest[User[EnterpriseUser]],
    asked=ResponseParameters[User[EnterpriseUser]],
)
GROUPS: Final = Kind(
    model=Group,
    patch=PatchOp[Group],
    search=SearchRequest[Group],
    asked=ResponseParameters[Group],
)
#: unknown attributes are ignored, and what Entra writes in its own way is understood
POLICY: Final = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
MAX_OPERATIONS: Final = 100
_MEMBER: Final = re.compile(r'members\[\s*value\s+eq\s+"([^"\\]+)"\s*\]', re.IGNORECASE)
_OWN: Final = ("active", "groups", "id", "meta", "schemas")
_CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:group:"
_T = TypeVar("_T")


def understood(read: Callable[[], _T]) -> _T:
    """What `read` makes of what a client sent. Raises `ProfileProblem`, as RFC 7644 3.12 says."""
    try:
        return read()
    except ValidationError as error:
        said = Error.from_validation_errors(error.errors(include_input=False, include_url=False))[0]
    except SCIMException as error:
        said = error.to_error()
    except RecursionError:
        said = Error(status=400, scim_type="invalidSyntax", detail="nested too deep")
    raise ProfileProblem(said.scim_type or "", said.status or 400, (said.detail or "")[:500])


# --- people -----------------------------------------------------------------------------------


def read_person(body: Mapping[str, Any], held: HeldPerson | None = None) -> Person:
    """A whole person; where it does not say whether he is active, `held` does."""
    user = _read(PEOPLE, body, creates=held is None)
    return _person(user, active=held is None or held.active)


def patch_person(body: Mapping[str, Any], held: HeldPerson) -> Person:
    """A person after a PATCH (RFC 7644 section 3.5.2)."""
    user = person_model(held)
    patch = _read_patch(PEOPLE, body)
    understood(lambda: patch.patch(user, scim_policy=POLICY))
    return _person(user, active=held.active)


def _person(user: Any, *, active: bool) -> Person:
    attributes = user.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
    kept = {key: value for key, value in attributes.items() if key not in _OWN}
    name = user.name
    parts = (name.given_name, name.family_name) if name is not None else ()
    formatted = name.formatted if name is not None else None
    emails = sorted(user.emails or (), key=lambda email: not email.primary)
    return Person(
        user_name=user.user_name or "",
        external_id=user.external_id or "",
        active=active if user.active is None else user.active,
        name=user.display_name or formatted or " ".join(filter(None, parts)),
        mail=next((email.value for email in emails if email.value), ""),
        attributes=kept,
    )


def person_model(held: HeldPerson) -> Any:
    """What stands, as the library has it."""
    return PEOPLE.model.model_validate(
        {**held.attributes, "active": held.active, "id": held.id}, scim_policy=POLICY
    )


def show_person(held: HeldPerson, here: str, asked: ResponseParameters[Any]) -> dict[str, Any]:
    """A person as a response has it, with the attributes that were asked for."""
    user = person_model(held)
    user.groups = [
        GroupMembership(
            value=group.id, display=group.display, ref=Reference(f"{here}/Groups/{group.id}")
        )
        for group in held.groups
    ] or None
    user.meta = _meta("User", f"{here}/Users/{held.id}", held.created, held.modified)
    return _dump(user, asked)


# --- groups -----------------------------------------------------------------------------------


def read_crowd(body: Mapping[str, Any], *, creates: bool) -> Crowd:
    """A whole group, with its members."""
    group = _read(GROUPS, body, creates=creates)
    return Crowd(
        display=group.display_name or "",
        external_id=group.external_id or "",
        members=frozenset(member.value or "" for member in group.members or ()),
    )


def patch_crowd(body: Mapping[str, Any], held: HeldGroup, members: frozenset[str]) -> Crowd:
    """
    A group after a PATCH.

    Members are a set here: applied one by one to a list, a thousand of them take half a minute.
    """
    patch, present = _read_patch(GROUPS, body), set(members)
    others: list[dict[str, Any]] = []
    for operation in patch.operations or ():
        op, value = operation.op.value, operation.value
        path = str(operation.path or "").lower().removeprefix(_CORE)
        if path.startswith("members"):
            _apply(op, str(operation.path or ""), value, present)
        elif not path and isinstance(value, dict):
            for key, member in value.items():
                if _is_members(key):
                    _apply(op, "members", member, present)
            rest = {key: member for key, member in value.items() if not _is_members(key)}
            if rest:
                others.append({"op": op, "value": rest})
        else:
            others.append({"op": op, "path": str(operation.path or "") or None, "value": value})
    group = group_model(held)
    if others:
        rest_of_it = _read_patch(GROUPS, {"schemas": body.get("schemas"), "Operations": others})
        understood(lambda: rest_of_it.patch(group, scim_policy=POLICY))
    return Crowd(
        display=group.display_name or "",
        external_id=group.external_id or "",
        members=frozenset(present),
    )


def _is_members(key: object) -> bool:
    return isinstance(key, str) and key.lower().removeprefix(_CORE) == "members"


def _apply(op: str, path: str, value: Any, present: set[str]) -> None:
    """One operation on the members of a group."""
    one = _MEMBER.fullmatch(path)
    if one is not None and op == "remove":
        present.discard(one.group(1))
    elif path.lower().removeprefix(_CORE) != "members":
        raise ProfileProblem("invalidPath", 400, f"members are not changed by `{path:.100}`")
    elif op == "add":
        present |= _ids(value)
    elif op == "replace":
        present.clear()
        present |= _ids(value)
    elif value is None:
        present.clear()
    else:
        present -= _ids(value)  # Entra names those to be removed in the value


def _ids(value: Any) -> set[str]:
    members = value if isinstance(value, list) else [] if value is None else [value]
    ids = [member.get("value") if isinstance(member, dict) else member for member in members]
    if not all(isinstance(id_, str) for id_ in ids):
        raise ProfileProblem("invalidValue", 400, "a member has no `value` that is a text")
    return {id_ for id_ in ids if isinstance(id_, str)}


def group_model(held: HeldGroup, members: Iterable[str] = (), here: str = "") -> Group:
    """What stands, as the library has it."""
    return Group(
        id=held.id,
        display_name=held.display,
        external_id=held.external_id or None,
        members=[Member(value=id_, ref=Reference(f"{here}/Users/{id_}")) for id_ in members]
        or None,
    )


def show_group(
    held: HeldGroup, members: Iterable[str], here: str, asked: ResponseParameters[Any]
) -> dict[str, Any]:
    """A group as a response has it, with the attributes that were asked for."""
    group = group_model(held, members, here)
    group.meta = _meta("Group", f"{here}/Groups/{held.id}", held.created, held.modified)
    return _dump(group, asked)


# --- both -------------------------------------------------------------------------------------


def _read(kind: Kind, body: Mapping[str, Any], *, creates: bool) -> Any:
    context = Context.RESOURCE_CREATION_REQUEST if creates else Context.RESOURCE_REPLACEMENT_REQUEST
    return understood(lambda: kind.model.model_validate(body, scim_ctx=context, scim_policy=POLICY))


def _read_patch(kind: Kind, body: Mapping[str, Any]) -> Any:
    operations = next((v for k, v in body.items() if k.lower() == "operations"), None)
    if isinstance(operations, list) and len(operations) > MAX_OPERATIONS:
        raise ProfileProblem("tooMany", 400, f"a PATCH has at most {MAX_OPERATIONS} operations")
    return understood(
        lambda: kind.patch.model_validate(
            body, scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
    )


def _meta(kind: str, location: str, created: str, modified: str) -> Meta:
    def at(text: str) -> datetime | None:
        return moment.parse(text) if text else None

    return Meta(
        resource_type=kind, created=at(created), last_modified=at(modified), location=location
    )


def _dump(resource: Resource[Any], asked: ResponseParameters[Any]) -> dict[str, Any]:
    dumped: dict[str, Any] = resource.model_dump(
        scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=asked
    )
    return dumped
