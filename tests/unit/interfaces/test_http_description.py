"""`/openapi.json` says of each operation what it needs, and what it can answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muniment.interfaces.http.app import make_app

#: these need no token: probes, a scraper, and whoever looks for the endpoints
OPEN = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/.well-known/authzen-configuration",
    "/access/v1/jwks",
    "/v1/sign-in/exchange",  # the code and its verifier are what it takes
    "/v1/token",  # RFC 8693: the tokens are in the form
    "/hooks/{source}",  # the signature of what is sent says who sends it
    "/v1/signals/{provider}",  # RFC 8935: the signature of what is sent says who sends it
}
#: what probes read, what the server says before the application sees anything, and errors of which
#: an RFC says what they look like
OTHERWISE = {
    ("get /readyz", "503"),
    ("get /v1/whois", "400"),
    ("post /v1/token", "400"),
    ("post /v1/signals/{provider}", "400"),
}


@pytest.fixture(scope="module")
def document() -> Any:
    opened: Any = SimpleNamespace(service=None, settings=None)
    return make_app(opened, Path(), work=False).openapi()


def operations(document: Any) -> dict[str, Any]:
    return {
        f"{method} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_but_the_open_ones_needs_a_bearer_token(document: Any) -> None:
    schemes = document["components"]["securitySchemes"]
    needing = {
        name.partition(" ")[2]
        for name, operation in operations(document).items()
        if any(
            schemes[n]["scheme"] == "bearer" for need in operation.get("security", []) for n in need
        )
    }
    assert needing == document["paths"].keys() - OPEN
    assert all(
        "401" in operation["responses"]
        for operation in operations(document).values()
        if "security" in operation
    )


def test_every_error_is_a_problem_document_of_our_own_schema(document: Any) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for name, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            if status >= "400" and (name, status) not in OTHERWISE:
                assert answer["content"] == problem, (name, status)
    assert "HTTPValidationError" not in str(document)
    assert "ValidationError" not in document["components"]["schemas"]


def test_a_request_is_answered_with_201_or_202_and_never_with_200(document: Any) -> None:
    answers = document["paths"]["/access/v1/requests"]["post"]["responses"]
    assert {status for status in answers if status < "300"} == {"201", "202"}


def test_what_is_plain_text_is_described_as_such(document: Any) -> None:
    for path in ("/metrics", "/v1/log/key", "/v1/log/checkpoint", "/v1/log/proof/{index}"):
        answer = document["paths"][path]["get"]["responses"]["200"]
        assert list(answer["content"]) == ["text/plain"]


def test_every_operation_says_what_it_does(document: Any) -> None:
    silent = [
        n for n, operation in operations(document).items() if not operation.get("description")
    ]
    assert silent == []
