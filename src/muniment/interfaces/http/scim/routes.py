"""The endpoints of SCIM (RFC 7644 section 3), for one directory each."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from scim2_models import ResponseParameters
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from muniment.identity.json_text import read_object
from muniment.interfaces.http.authzen.profile import base_url
from muniment.interfaces.http.problems import SCIM_MEDIA_TYPE, ProfileProblem
from muniment.interfaces.http.scim import discovery, translate
from muniment.interfaces.http.scim.discovery import MAX_PAGE, PAGE
from muniment.interfaces.http.scim.translate import GROUPS, PEOPLE, Kind, understood
from muniment.operations.directory import Directory, HeldGroup, HeldPerson

#: how many resources a filter that is no plain comparison may look at
MAX_LOOKED_AT: Final = 2_000
MAX_FILTER: Final = 1_000
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_PLAIN: Final = re.compile(r'\s*(\w+)\s+eq\s+"([^"\\]*)"\s*', re.IGNORECASE)


def _directory(request: Request) -> Directory:
    found: Directory = request.state.directory
    return found


def _here(request: Request) -> str:
    return f"{base_url(request)}/scim/v2"


def _answer(body: Any, status: int = 200, **headers: str) -> JSONResponse:
    return JSONResponse(body, status, headers, SCIM_MEDIA_TYPE)


async def _body(request: Request) -> dict[str, Any]:
    try:
        return read_object(await request.body())
    except ValueError as error:
        raise ProfileProblem("invalidSyntax", 400, f"the body is {error}") from error


def _asked(request: Request, kind: Kind) -> ResponseParameters[Any]:
    """Which attributes the answer is to have (RFC 7644 section 3.9)."""
    query = request.query_params
    given = {name: query[name] for name in ("attributes", "excludedAttributes") if name in query}
    asked: ResponseParameters[Any] = understood(lambda: kind.asked.model_validate(given))
    return asked


# --- people -----------------------------------------------------------------------------------


async def list_people(request: Request) -> Response:
    directory, asked = _directory(request), _asked(request, PEOPLE)
    found = _people(directory, request.query_params.get("filter"))
    return _page(request, found, lambda held: translate.show_person(held, _here(request), asked))


async def create_person(request: Request) -> Response:
    asked, body = _asked(request, PEOPLE), await _body(request)
    return _person(
        request, await _directory(request).enrol(translate.read_person(body)), asked, 201
    )


async def get_person(request: Request) -> Response:
    held = _directory(request).person(request.path_params["id"])
    return _person(request, held, _asked(request, PEOPLE))


async def put_person(request: Request) -> Response:
    asked, body = _asked(request, PEOPLE), await _body(request)
    held = await _directory(request).rewrite(
        request.path_params["id"], lambda held: translate.read_person(body, held)
    )
    return _person(request, held, asked)


async def patch_person(request: Request) -> Response:
    asked, body = _asked(request, PEOPLE), await _body(request)
    held = await _directory(request).rewrite(
        request.path_params["id"], lambda held: translate.patch_person(body, held)
    )
    return _person(request, held, asked)


async def delete_person(request: Request) -> Response:
    await _directory(request).retire(request.path_params["id"])
    return Response(status_code=204)


def _person(
    request: Request, held: HeldPerson, asked: ResponseParameters[Any], status: int = 200
) -> Response:
    location = f"{_here(request)}/Users/{held.id}"
    return _answer(translate.show_person(held, _here(request), asked), status, Location=location)


def _people(directory: Directory, text: str | None) -> list[HeldPerson]:
    people = list(directory.people())
    if text is None:
        return people
    plain = _PLAIN.fullmatch(text)
    match plain.groups() if plain is not None else None:
        case (str(name), str(value)) if name.lower() == "username":
            return [held for held in people if held.user_name.casefold() == value.casefold()]
        case (str(name), str(value)) if name.lower() == "externalid":
            return [held for held in people if held.external_id == value]
        case (str(name), str(value)) if name.lower() == "id":
            return [held for held in people if held.id == value]
        case _:
            matches = _filter(PEOPLE, text)
            return [held for held in _few(people) if matches(translate.person_model(held))]


# --- groups -----------------------------------------------------------------------------------


async def list_groups(request: Request) -> Response:
    directory, asked = _directory(request), _asked(request, GROUPS)
    found = _groups(directory, request.query_params.get("filter"))
    return _page(request, found, lambda held: _shown(request, held, asked))


async def create_group(request: Request) -> Response:
    asked, body = _asked(request, GROUPS), await _body(request)
    held = await _directory(request).define(translate.read_crowd(body, creates=True))
    return _group(request, held, asked, 201)


async def get_group(request: Request) -> Response:
    held = _directory(request).group(request.path_params["id"])
    return _group(request, held, _asked(request, GROUPS))


async def put_group(request: Request) -> Response:
    asked, body = _asked(request, GROUPS), await _body(request)
    crowd = translate.read_crowd(body, creates=False)
    held = await _directory(request).redefine(
        request.path_params["id"], lambda _held, _members: crowd
    )
    return _group(request, held, asked)


async def patch_group(request: Request) -> Response:
    asked, body = _asked(request, GROUPS), await _body(request)
    held = await _directory(request).redefine(
        request.path_params["id"],
        lambda held, members: translate.patch_crowd(body, held, members),
    )
    # RFC 7644 section 3.5.2 allows both, and a group can be large
    return _group(request, held, asked) if asked.attributes else Response(status_code=204)


async def delete_group(request: Request) -> Response:
    await _directory(request).dissolve(request.path_params["id"])
    return Response(status_code=204)


def _group(
    request: Request, held: HeldGroup, asked: ResponseParameters[Any], status: int = 200
) -> Response:
    location = f"{_here(request)}/Groups/{held.id}"
    return _answer(_shown(request, held, asked), status, Location=location)


def _shown(request: Request, held: HeldGroup, asked: ResponseParameters[Any]) -> dict[str, Any]:
    excluded = {str(path).lower() for path in asked.excluded_attributes or ()}
    members = [] if "members" in excluded else _directory(request).members(held.name)
    ids = (principal.id for principal in members)
    return translate.show_group(held, ids, _here(request), asked)


def _groups(directory: Directory, text: str | None) -> list[HeldGroup]:
    groups = list(directory.groups())
    if text is None:
        return groups
    plain = _PLAIN.fullmatch(text)
    match plain.groups() if plain is not None else None:
        case (str(name), str(value)) if name.lower() == "displayname":
            return [held for held in groups if held.display.casefold() == value.casefold()]
        case (str(name), str(value)) if name.lower() == "externalid":
            return [held for held in groups if held.external_id == value]
        case (str(name), str(value)) if name.lower() == "id":
            return [held for held in groups if held.id == value]
        case _:
            matches, full = _filter(GROUPS, text), "members" in text.lower()
            return [
                held
                for held in _few(groups)
                if matches(
                    translate.group_model(
                        held, (p.id for p in (directory.members(held.name) if full else ()))
                    )
                )
            ]


# --- both -------------------------------------------------------------------------------------


def _filter(kind: Kind, text: str) -> Callable[[Any], bool]:
    """Whether a resource matches a filter (RFC 7644 section 3.4.2.2)."""
    if len(text) > MAX_FILTER:
        raise ProfileProblem("invalidFilter", 400, f"a filter has at most {MAX_FILTER} characters")
    search = understood(lambda: kind.search.model_validate({"filter": text}))

    def matches(resource: Any) -> bool:
        return bool(understood(lambda: search.filter.match(resource)))

    return matches


def _few(resources: list[Any]) -> list[Any]:
    if len(resources) > MAX_LOOKED_AT:
        raise ProfileProblem(
            "tooMany", 400, "this directory is too large for that filter: compare one attribute"
        )
    return resources


def _page(request: Request, found: list[Any], show: Callable[[Any], dict[str, Any]]) -> Response:
    """RFC 7644 section 3.4.2.4."""
    start = max(1, _number(request, "startIndex", 1))
    count = min(MAX_PAGE, max(0, _number(request, "count", PAGE)))
    shown = [show(held) for held in found[start - 1 : start - 1 + count]]
    return _answer(
        {
            "Resources": shown,
            "itemsPerPage": len(shown),
            "schemas": [_LIST],
            "startIndex": start,
            "totalResults": len(found),
        }
    )


def _number(request: Request, name: str, otherwise: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if re.fullmatch(r"-?[0-9]{1,9}", text) is None:
        raise ProfileProblem("invalidValue", 400, f"`{name}` is no number")
    return int(text)


# --- what this is -----------------------------------------------------------------------------


async def about(request: Request) -> Response:
    return _answer(discovery.about(_here(request)))


async def list_described(request: Request) -> Response:
    if "filter" in request.query_params:  # RFC 7644 section 4
        raise ProfileProblem("", 403, "what describes this service is not filtered")
    return _page(request, list(_described(request)), lambda shown: shown)


async def get_described(request: Request) -> Response:
    for shown in _described(request):
        if shown["id"] == request.path_params["id"]:
            return _answer(shown)
    raise ProfileProblem("", 404, "nothing of that name describes this service")


def _described(request: Request) -> Iterable[dict[str, Any]]:
    kind = request.url.path.removeprefix("/scim/v2/").partition("/")[0]
    return discovery.described(_here(request))[kind]


async def unsupported(_request: Request) -> Response:
    raise ProfileProblem("", 501, "this part of SCIM is not offered: see /ServiceProviderConfig")


_ALL: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ENDPOINTS: Final = (
    (("GET",), "/ServiceProviderConfig", about),
    (("GET",), "/ResourceTypes", list_described),
    (("GET",), "/ResourceTypes/{id}", get_described),
    (("GET",), "/Schemas", list_described),
    (("GET",), "/Schemas/{id}", get_described),
    (_ALL, "/.search", unsupported),
    (_ALL, "/Users/.search", unsupported),
    (_ALL, "/Groups/.search", unsupported),
    (_ALL, "/Bulk", unsupported),
    (_ALL, "/Me", unsupported),
    (("GET",), "/Users", list_people),
    (("POST",), "/Users", create_person),
    (("GET",), "/Users/{id}", get_person),
    (("PUT",), "/Users/{id}", put_person),
    (("PATCH",), "/Users/{id}", patch_person),
    (("DELETE",), "/Users/{id}", delete_person),
    (("GET",), "/Groups", list_groups),
    (("POST",), "/Groups", create_group),
    (("GET",), "/Groups/{id}", get_group),
    (("PUT",), "/Groups/{id}", put_group),
    (("PATCH",), "/Groups/{id}", patch_group),
    (("DELETE",), "/Groups/{id}", delete_group),
)
router = Router(
    routes=[Route(path, endpoint, methods=methods) for methods, path, endpoint in _ENDPOINTS],
    redirect_slashes=False,
)
