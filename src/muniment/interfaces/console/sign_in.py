"""Pages to sign in: by a provider, by a one-time code; and a program that waits on this machine."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request, Response

from muniment.errors import Conflict, NotFound, Unauthenticated
from muniment.interfaces.console import browser, departure
from muniment.interfaces.console.browser import NotSignedIn, PersonDep
from muniment.interfaces.console.departure import Departure
from muniment.interfaces.console.pages import PageRoute, page, redirect
from muniment.interfaces.http.context import ServiceDep, get_opened
from muniment.interfaces.http.one_time import Promised, as_typed
from muniment.interfaces.http.sign_in import CODE_SESSION, holder, under_way
from muniment.operations import sign_in
from muniment.operations.service import Caller, Service
from muniment.operations.sign_in import SignedIn
from muniment.ports import Secret

router = APIRouter(include_in_schema=False, route_class=PageRoute)

CALLBACK: Final = "/sign-in/callback"

Onward = Annotated[str, Query(alias="to", max_length=1000)]
FormToken = Annotated[str, Form(max_length=100)]
#: below 1024 are the ports of the system's own services
Port = Annotated[int, Query(ge=1024, le=65535)]
#: RFC 7636 section 4.2
Challenge = Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{43}$")]
State = Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{16,128}$")]


@router.get("/sign-in")
async def choose(request: Request, onward: Onward = "/") -> Response:
    """By a provider, or by a code."""
    return _choice(request, browser.local(onward))


def _choice(request: Request, onward: str, *, trouble: str = "", status: int = 200) -> Response:
    visit = browser.visit_of(request)
    answer = page(
        request,
        "sign_in.html",
        status=status,
        providers=sorted(get_opened(request).sign_ins),
        visit_token=browser.form_token(request, visit),
        onward=onward,
        trouble=trouble,
    )
    browser.keep_visit(request, answer, visit)
    return answer


# --- by a code ------------------------------------------------------------------------------------


@router.post("/sign-in")
async def by_code(
    request: Request,
    service: ServiceDep,
    form: FormToken,
    code: Annotated[str, Form(max_length=40)] = "",
    onward: Annotated[str, Form(alias="to", max_length=1000)] = "/",
) -> Response:
    """Whoever holds a static token had this code shown, and types it here."""
    browser.require_own_form(request, form, browser.VISIT)
    doors, now = under_way(request), service.now()
    address = request.client.host if request.client is not None else ""
    doors.guesses.check(address, now)
    token = doors.codes.take(as_typed(code), now)
    if token is None:
        doors.guesses.wrong(address, now)
        service.count("unauthenticated")
        words = "That code is wrong, used or older than two minutes."
        return _choice(request, browser.local(onward), trouble=words, status=401)
    signed_in = await sign_in.by_token(service, holder(service, token.reveal()), CODE_SESSION)
    return await _enter(request, service, signed_in, onward)


async def _enter(request: Request, service: Service, signed_in: SignedIn, onward: str) -> Response:
    """The browser has the new session, and none that it had before."""
    before = await _person(request)
    if before is not None:
        await sign_in.sign_out(service, before)
    answer = redirect(request, browser.local(onward))
    browser.let_in(request, answer, signed_in)
    return answer


async def _person(request: Request) -> Caller | None:
    try:
        return await browser.get_person(request)
    except NotSignedIn:
        return None


# --- by a provider --------------------------------------------------------------------------------


@router.get(CALLBACK)
async def come_back(request: Request, service: ServiceDep) -> Response:
    """The provider sent the browser back: to the sign-in that this same browser began."""
    params, state = dict(request.query_params), request.query_params.get("state", "")
    try:
        departed = departure.take_back(request, state)
        provider = get_opened(request).sign_ins.get(departed.provider)
        if provider is None:
            raise Conflict("this provider was taken out of the configuration meanwhile")
        verified = await provider.finish(departed.begun, params, service.now())
        signed_in = await sign_in.by_person(service, verified)
    except Unauthenticated:
        service.count("unauthenticated")
        raise
    answer = await _enter(request, service, signed_in, departed.onward)
    departure.forget(request, answer, state)
    return answer


@router.get("/sign-in/cli")
async def ask_for_program(
    request: Request,
    person: PersonDep,
    port: Port,
    challenge: Challenge,
    state: State,
) -> Response:
    """What is about to be signed in, in so many words; nothing happens without a click."""
    asked = {"port": port, "challenge": challenge, "state": state}
    return page(request, "program.html", person=person, loopback=port, asked=asked)


@router.post("/sign-in/cli")
async def promise(
    request: Request,
    service: ServiceDep,
    _person: PersonDep,
    form: FormToken,
    port: Annotated[int, Form(ge=1024, le=65535)],
    challenge: Annotated[str, Form(pattern=r"^[A-Za-z0-9_-]{43}$")],
    state: Annotated[str, Form(pattern=r"^[A-Za-z0-9_-]{16,128}$")],
) -> Response:
    """RFC 8252 section 7.3: back to the program, on loopback by its number and no name."""
    browser.require_own_form(request, form)
    token = Secret(browser.cookie(request, browser.SESSION))
    promised = Promised(token=token, challenge=challenge)
    code = under_way(request).promised.add(promised, service.now())
    query = urlencode({"code": code, "state": state})
    return redirect(request, f"http://127.0.0.1:{port}/?{query}")


@router.get("/sign-in/{provider}")
async def depart(
    request: Request,
    service: ServiceDep,
    provider: Annotated[str, Path(max_length=64)],
    onward: Onward = "/",
) -> Response:
    """To the provider. Whoever is signed in already and comes here again is asked anew there."""
    chosen = get_opened(request).sign_ins.get(provider)
    if chosen is None:
        raise NotFound("there is no provider of that name")
    again = await _person(request) is not None
    begun = await chosen.begin(
        f"{browser.here(request)}{CALLBACK}",
        now=service.now(),
        prompt="login" if again else None,
    )
    answer = redirect(request, begun.url)
    departed = Departure(provider=provider, begun=begun, onward=browser.local(onward))
    departure.keep(request, answer, departed)
    return answer


# --- out ------------------------------------------------------------------------------------------


@router.post("/sign-out")
async def leave(
    request: Request, service: ServiceDep, person: PersonDep, form: FormToken
) -> Response:
    """The session is over, and its end is recorded."""
    browser.require_own_form(request, form)
    await sign_in.sign_out(service, person)
    answer = redirect(request, "/sign-in")
    browser.drop_cookie(request, answer, browser.SESSION)
    return answer
