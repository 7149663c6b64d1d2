"""The service's own description of itself: what FastAPI reads from the code, and what it cannot."""

from typing import Any

from fastapi import FastAPI

from muniment.interfaces.http.problems import MEDIA_TYPE

#: RFC 9457, section 3.1; whatever else a document holds is an extension of its type (3.2)
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "An RFC 9457 problem document; some types have members of their own besides.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "`urn:muniment:error:<name>`, or `about:blank`"},
        "title": {"type": "string", "description": "what the status code is called"},
        "status": {"type": "integer", "description": "the status code of the answer"},
        "detail": {"type": "string", "description": "what went wrong, and what to do about it"},
        "instance": {"type": ["string", "null"], "description": "the request's `X-Request-ID`"},
    },
}
#: where the status code of success is not always the same
SUCCESS: dict[tuple[str, str], dict[str, str]] = {
    ("post", "/access/v1/requests"): {
        "201": "decided already: denied, or approved without anybody's approval",
        "202": "recorded, and waiting for approvals: poll `task.status_endpoint`",
    },
}
_UNAUTHENTICATED = "no valid token"
_NOT_PERMITTED = "the policy does not permit it; where a decision was recorded, it says where"
_NOT_FOUND = "nothing of that name that the caller may see"
_CONFLICT = "the state does not allow it, or the key was used before"
_TOO_MANY = "above the quota of this principal; ask again after `Retry-After`"
_MALFORMED = "what was sent cannot be understood"
_UNAVAILABLE = "the log, the clock or the disk does not allow it; ask again after `Retry-After`"
_WITH_BODY = {
    "400": "the body is not JSON, or asks for what cannot be given",
    "413": "the body is too large",
    "422": _MALFORMED,
}
#: whoever has a token may ask these
_FOR_EVERYBODY = ("/v1/whoami", "/v1/roles", "/v1/approvals", "/v1/log/key", "/v1/log/checkpoint")
#: how paths begin on which a POST changes nothing
_QUESTIONS = ("/access/v1/evaluation", "/access/v1/search", "/v1/explanation")
#: what the rules in `_problems` do not know
_OF_ROUTE: dict[str, dict[str, str]] = {
    "/access/v1/requests": {
        "410": "the denial is too old: evaluate again",
        "429": _TOO_MANY,
    },
    "/hooks/{source}": {
        "401": "not signed, or not by whom it should be",
        "429": _TOO_MANY,
        "503": _UNAVAILABLE,
    },
    "/v1/cases": {"404": _NOT_FOUND, "429": _TOO_MANY},
    "/v1/cases/{case}/credential": {"429": _TOO_MANY, "502": "the target did not do it"},
    "/v1/cases/{case}/extension": {"502": "the target does not tell its time"},
    "/v1/events/{source}": {"429": _TOO_MANY},
    "/v1/people/{person}/evidence": {"429": _TOO_MANY},
    "/v1/explanation": {"404": _NOT_FOUND},
    "/v1/token": {"429": _TOO_MANY, "503": _UNAVAILABLE},
    "/v1/signals/{provider}": {"503": _UNAVAILABLE},
    "/v1/sign-in/exchange": {"401": "the code is unknown, used, too old or another program's"},
    "/v1/whois": {"404": _NOT_FOUND},
    "/v1/drift": {"404": _NOT_FOUND},
    "/v1/findings": {"404": _NOT_FOUND},
    "/v1/holds": {"404": _NOT_FOUND},
    "/v1/stories": {"404": _NOT_FOUND},
    "/v1/evidence/events": {"404": _NOT_FOUND},
    "/v1/archives": {"404": _NOT_FOUND},
    "/v1/campaigns": {"404": _NOT_FOUND},
    "/v1/eligibility/restoration": {"404": _NOT_FOUND},
    "/v1/evidence/bundles": {"404": _NOT_FOUND},
    "/v1/evidence/reads": {"404": _NOT_FOUND},
    "/log/checkpoint": {"404": "nothing has been published yet"},
    "/v1/reload": {"422": "the files do not hold, and nothing was taken in"},
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}


class DescribedAPI(FastAPI):
    """An application whose OpenAPI document says what its errors look like."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = described(super().openapi())
        return self.openapi_schema


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The document with our problem documents in the place of FastAPI's validation errors."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _describe((method, path), operation)
    return document


def _describe(route: tuple[str, str], operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    if route in SUCCESS:
        usual = answers.pop("200")
        answers.update({code: {**usual, "description": x} for code, x in SUCCESS[route].items()})
    for code, text in _problems(route, operation).items():
        content = {MEDIA_TYPE: {"schema": _REFERENCE}}
        answers.setdefault(code, {"description": text, "content": content})
    operation["responses"] = dict(sorted(answers.items()))


def _problems(route: tuple[str, str], operation: dict[str, Any]) -> dict[str, str]:
    """Status codes that an operation can answer besides success, with what each means."""
    method, path = route
    found: dict[str, str] = {}
    if "security" in operation:
        found |= {"401": _UNAUTHENTICATED, "503": _UNAVAILABLE}
        if path not in _FOR_EVERYBODY:
            found["403"] = _NOT_PERMITTED
    if "{" in path:
        found["404"] = _NOT_FOUND
    if "parameters" in operation:
        found["422"] = _MALFORMED
    if "requestBody" in operation:
        found |= _WITH_BODY
    if method == "post" and not path.startswith(_QUESTIONS):
        found["409"] = _CONFLICT
    found |= _OF_ROUTE.get(path, {})
    if path.startswith("/access/v1") and (malformed := found.pop("422", "")):
        found.setdefault("400", malformed)  # AuthZEN 1.0 section 10.1.2
    return found
