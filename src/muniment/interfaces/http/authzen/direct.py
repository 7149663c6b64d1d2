"""The two hot routes as plain Starlette routes, past the framework's dependency injection."""

from typing import TypeVar

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from muniment.errors import Malformed
from muniment.interfaces.http.authzen.evaluation import decide
from muniment.interfaces.http.authzen.messages import AccessRequest, Evaluation
from muniment.interfaces.http.authzen.requests import MAX_KEY, submit
from muniment.interfaces.http.context import get_caller, get_service

M = TypeVar("M", bound=BaseModel)


async def evaluate_directly(http: Request) -> Response:
    """`evaluate_one`, which stays registered for the OpenAPI document."""
    caller = await get_caller(http)
    body = await _body(http, Evaluation)
    answer = decide(await get_service(http), caller, http, body)
    return Response(orjson.dumps(answer), media_type="application/json")


async def submit_directly(http: Request) -> Response:
    """`submit`, which stays registered for the OpenAPI document."""
    caller = await get_caller(http)
    key = http.headers.get("idempotency-key")
    if key is not None and len(key) > MAX_KEY:
        raise Malformed(f"an Idempotency-Key has at most {MAX_KEY} characters")
    body = await _body(http, AccessRequest)
    return await submit(await get_service(http), caller, http, body, key)


async def _body(http: Request, model: type[M]) -> M:
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Malformed("the body has to be `application/json`")
    try:
        return model.model_validate_json(await http.body())
    except ValidationError as error:
        lines = [{**trouble, "loc": ("body", *trouble["loc"])} for trouble in error.errors()]
        raise RequestValidationError(lines) from error
