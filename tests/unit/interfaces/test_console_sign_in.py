"""Signing in with a browser: by a provider, by a code, for a program; and whoever tries to abuse it."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import re
from base64 import urlsafe_b64decode
from datetime import timedelta
from time import perf_counter

import pytest
from browsing import (
    SESSION,
    VISIT,
    Console,
    at_provider,
    cookie_line,
    fields,
    provider,
    query_of,
    quiet_provider,
    scenario_at,
    words,
)
from pydantic import ValidationError

from muniment.interfaces.console.browser import local
from muniment.interfaces.console.departure import COOKIE as DEPARTED
from muniment.interfaces.http.one_time import OneTime, as_typed, typed_code
from muniment.interfaces.pkce import challenge
from muniment.runtime.settings import Settings

pytestmark = quiet_provider

VERIFIER = "v" * 43
PROGRAM = {"port": "50123", "challenge": challenge(VERIFIER), "state": "s" * 43}
#: leads away, or could
ELSEWHERE = (
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "/%2f/evil.example",
    "/sign-in/../../evil",
    "/\t/evil.example",
    "javascript:alert(1)",
    "evil",
    "/approve/x#//evil.example",
    "/" + "a" * 600,
)


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    async with scenario_at(tmp_path, issuer) as scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "bo", "ci", "robo")
        yield made


# --- by a provider --------------------------------------------------------------------------------


async def test_who_signs_in_at_a_provider_has_a_session_in_this_browser(console):
    browser = console.browser()
    entered = await browser.sign_in("sub-bo", to="/approve/mun_abc")
    assert entered.status_code == 303
    assert entered.headers["location"] == "/approve/mun_abc"
    assert console.sessions() == ["bo"]
    assert "Bo (bo)" in words((await browser.look("/")).text)


async def test_whoami_tells_by_whom_how_and_until_when_somebody_is_signed_in(console):
    browser = console.browser()
    await browser.sign_in("sub-bo")
    me = (await console.api(browser.session, "/v1/whoami")).json()
    assert me["session"]["provider"] == "corp"
    assert me["session"]["method"] == "oidc"
    assert me["session"]["second_factor"] == "mfa"
    assert me["session"]["expires"] > me["session"]["authenticated_at"]
    assert (await console.api(console.tokens["bo"], "/v1/whoami")).json()["session"] is None


async def test_the_session_cookie_is_out_of_reach_for_scripts_other_hosts_and_other_sites(console):
    browser = console.browser()
    line = cookie_line(await browser.sign_in("sub-bo"), SESSION)
    flags = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)


async def test_on_loopback_without_tls_cookies_have_plain_names(tmp_path, issuer):
    async with scenario_at(tmp_path, issuer) as scenario:
        console = Console.over(scenario, issuer, tmp_path, listen="127.0.0.1:8417")
        await console.enrol("bo")
        browser = await console.signed_in("bo", "http://127.0.0.1:8417")
        assert browser.cookies.get("muniment")
        assert (await browser.look("/")).status_code == 200


async def test_a_sign_in_that_another_browser_began_is_refused(console):
    """Login CSRF: the attacker has the victim's browser finish what the attacker began."""
    attacker, victim = console.browser(), console.browser()
    await victim.look("/sign-in")
    back = await at_provider(await attacker.depart(), "sub-cy")
    refused = await victim.get(back)
    assert refused.status_code == 401
    assert "not begun in this browser" in words(refused.text)
    assert console.sessions() == []


async def test_a_callback_works_once(console):
    browser = console.browser()
    back = await at_provider(await browser.depart(), "sub-bo")
    assert (await browser.get(back)).status_code == 303
    assert (await browser.get(back)).status_code == 401
    assert console.sessions() == ["bo"]


async def test_a_sign_in_that_took_too_long_is_refused(console):
    browser = console.browser()
    back = await at_provider(await browser.depart(), "sub-bo")
    console.scenario.clock.advance(timedelta(minutes=11))
    assert (await browser.get(back)).status_code == 401
    assert console.sessions() == []


async def test_two_sign_ins_at_once_in_one_browser_do_not_spoil_each_other(console):
    browser = console.browser()
    first, second = [await browser.depart(to) for to in ("/", "/approve/mun_a")]
    backs = [await at_provider(address, "sub-bo") for address in (first, second)]
    assert (await browser.get(backs[1])).headers["location"] == "/approve/mun_a"


async def test_no_session_is_taken_over_that_was_there_before(console):
    """Session fixation: whatever an attacker put into the browser, the session is a new one."""
    attacker = await console.signed_in("ana")
    planted = attacker.session
    victim = console.browser()
    victim.cookies.set(SESSION, planted)
    victim.cookies.set(VISIT, "planted")
    await victim.sign_in("sub-bo")
    fresh = victim.cookies.get(SESSION, domain="muniment.example")
    assert fresh not in (None, "", planted, "planted")
    me = (await console.api(fresh, "/v1/whoami")).json()
    assert me["names"][me["principal"]] == "bo"


async def test_signing_in_again_ends_the_session_before(console):
    browser = await console.signed_in("bo")
    before = browser.session
    assert query_of(await browser.depart())["prompt"] == "login", "asked anew, not waved through"
    await browser.sign_in("sub-bo")
    assert browser.session != before
    assert (await console.api(before, "/v1/whoami")).status_code == 401
    assert console.sessions() == ["bo"]


@pytest.mark.parametrize("to", ELSEWHERE)
async def test_no_sign_in_leads_to_another_site(console, to):
    """Open redirect, at each place that takes a path."""
    page = await console.browser().look("/sign-in", to=to[:1000])
    assert fields(page.text)["to"] == "/"
    browser = console.browser()
    assert (await browser.sign_in("sub-bo", to=to[:1000])).headers["location"] == "/"
    other = console.browser()
    form = fields((await other.look("/sign-in")).text)
    typed = {**form, "to": to[:1000], "code": await console.code_of("bo")}
    assert (await other.submit("/sign-in", typed)).headers["location"] == "/"


def test_whether_a_path_is_ours_is_said_at_once_however_it_is_written():
    """A pattern that can match one text in many ways takes time that doubles with each letter."""
    began = perf_counter()
    assert [local(f"/{'a' * 490}{end}") for end in ("!", "//", "?!")] == ["/"] * 3
    assert perf_counter() - began < 1


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(console):
    browser = console.browser()
    sent = await browser.look("/approve/mun_abc")
    assert sent.status_code == 303
    assert sent.headers["location"] == "/sign-in?to=%2Fapprove%2Fmun_abc"
    page = await browser.get(sent.headers["location"])
    assert 'href="/sign-in/corp?to=/approve/mun_abc"' in page.text


async def test_a_provider_that_refuses_gives_a_page_and_no_session(console):
    browser = console.browser()
    state = query_of(await browser.depart())["state"]
    refused = await browser.look("/sign-in/callback", state=state, error="access_denied")
    assert refused.status_code == 401
    assert refused.headers["content-type"].startswith("text/html")
    assert "access_denied" in words(refused.text)
    assert console.sessions() == []


async def test_an_unknown_provider_is_not_found(console):
    assert (await console.browser().look("/sign-in/nobody")).status_code == 404


# --- by a code ------------------------------------------------------------------------------------


async def test_a_code_that_is_typed_into_the_page_opens_a_short_session(console):
    browser = await console.signed_in("bo")
    (session,) = console.scenario.service.registry.sessions.values()
    assert session.opened.method == "code"
    assert session.opened.mfa == ""
    assert session.opened.expires - session.opened.authenticated_at == timedelta(hours=1)
    assert "Bo (bo)" in words((await browser.look("/")).text)


async def test_a_code_is_read_in_any_case_with_or_without_its_dash(console):
    code = await console.code_of("bo")
    typed = code.replace("-", " ").lower()
    assert (await console.browser().type_code(typed)).status_code == 303


async def test_a_code_works_once_and_for_two_minutes(console):
    code = await console.code_of("bo")
    assert (await console.browser().type_code(code)).status_code == 303
    assert (await console.browser().type_code(code)).status_code == 401
    late = await console.code_of("bo")
    console.scenario.clock.advance(timedelta(minutes=2))
    refused = await console.browser().type_code(late)
    assert refused.status_code == 401
    assert "older than two minutes" in words(refused.text)


async def test_a_new_code_takes_the_place_of_the_one_before(console):
    first, second = await console.code_of("bo"), await console.code_of("bo")
    assert (await console.browser().type_code(first)).status_code == 401
    assert (await console.browser().type_code(second)).status_code == 303


async def test_a_code_is_worth_nothing_once_its_token_is_revoked(console):
    code = await console.code_of("bo")
    console.scenario.tokens.clear()
    await console.scenario.take_in()
    assert (await console.browser().type_code(code)).status_code == 401
    assert console.sessions() == []


async def test_codes_cannot_be_guessed(console):
    right, browser = await console.code_of("bo"), console.browser()
    for _ in range(10):
        assert (await browser.type_code(typed_code())).status_code == 401
    assert (await browser.type_code(right)).status_code == 429, "not even the right one"
    console.scenario.clock.advance(timedelta(minutes=1))
    assert (await console.browser().type_code(right)).status_code == 303


async def test_only_a_human_with_a_static_token_gets_a_code(console):
    for login in ("ci", "robo"):
        refused = await console.api(console.tokens[login], "/v1/sign-in/code", {})
        assert refused.status_code == 403
    browser = await console.signed_in("bo")
    assert (await console.api(browser.session, "/v1/sign-in/code", {})).status_code == 409
    assert (await console.api(None, "/v1/sign-in/code", {})).status_code == 401


async def test_the_code_form_of_another_site_signs_nobody_in(console):
    """Login CSRF: a page makes the victim's browser type the attacker's code."""
    code, victim = await console.code_of("ana"), console.browser()
    form = {**fields((await victim.look("/sign-in")).text), "code": code}
    foreign = fields((await console.browser().look("/sign-in")).text)["form"]
    for data, origin in (
        (form, "https://evil.example"),
        (form, "null"),
        (form, None),
        ({**form, "form": foreign}, ""),
        ({**form, "form": "x"}, ""),
    ):
        refused = await victim.submit("/sign-in", data, origin=origin)
        assert refused.status_code == 403, (data, origin)
    assert console.sessions() == []


def test_a_typed_code_has_no_letter_that_is_read_as_another():
    codes = [typed_code() for _ in range(500)]
    assert all(re.fullmatch("[A-HJKMNP-Z2-9]{8}", code) for code in codes)
    assert len(set(codes)) == 500
    assert as_typed(" abcd-ef23 ") == "ABCDEF23"


def test_what_was_begun_and_never_finished_makes_room(console):
    kept = OneTime[int](timedelta(minutes=10))
    now = console.scenario.service.now()
    first = kept.add(1, now)
    last = [kept.add(n, now) for n in range(10_000)][-1]
    assert kept.take(first, now) is None
    assert kept.take(last, now) == 9_999


async def test_a_sign_in_under_way_lies_with_the_browser_and_says_nothing(console):
    browser = console.browser()
    await browser.depart()
    [carried] = [each for each in browser.cookies.jar if DEPARTED in each.name]
    sealed = urlsafe_b64decode(carried.value)
    assert b"verifier" not in sealed
    assert b"corp" not in sealed


async def test_a_sign_in_whose_cookie_was_changed_is_refused(console):
    browser = console.browser()
    back = await at_provider(await browser.depart(), "sub-bo")
    [carried] = [each for each in browser.cookies.jar if DEPARTED in each.name]
    for spoiled in ("", "AAAA", "é", carried.value[:-8] + "AAAAAAA=", carried.value[::-1]):
        header = {"Cookie": f"{carried.name}={spoiled}".encode("latin-1")}
        assert (await console.browser().get(back, headers=header)).status_code == 401
    assert console.sessions() == []
    assert (await browser.get(back)).status_code == 303


# --- what a cookie is worth -----------------------------------------------------------------------


async def test_a_static_token_in_a_cookie_is_no_session(console):
    browser = console.browser()
    browser.cookies.set(SESSION, console.tokens["bo"])
    assert (await browser.look("/")).headers["location"].startswith("/sign-in")


async def test_the_api_takes_no_cookie(console):
    browser = await console.signed_in("bo")
    assert (await browser.look("/v1/whoami")).status_code == 401
    assert (await browser.post("/v1/sign-out", json={})).status_code == 401


async def test_signing_out_ends_the_session_and_is_recorded(console):
    browser = await console.signed_in("bo")
    token = browser.session
    (session,) = console.scenario.service.registry.sessions.values()
    out = await browser.submit("/sign-out", fields((await browser.look("/")).text))
    assert out.headers["location"] == "/sign-in"
    assert console.scenario.kinds(session.case) == [
        "session:opened",
        "session:closed",
        "case:closed",
    ]
    assert (await console.api(token, "/v1/whoami")).status_code == 401
    assert browser.session == ""


async def test_another_site_signs_nobody_out(console):
    browser = await console.signed_in("bo")
    form = fields((await browser.look("/")).text)
    refused = await browser.submit("/sign-out", form, origin="https://evil.example")
    assert refused.status_code == 403
    assert (await browser.submit("/sign-out", {"form": "x"})).status_code == 403
    assert console.sessions() == ["bo"]


async def test_a_disabled_person_is_not_signed_in_any_more(console):
    browser = await console.signed_in("bo")
    await console.scenario.change("bo", active=False)
    assert (await browser.look("/")).headers["location"].startswith("/sign-in")


# --- for a program --------------------------------------------------------------------------------


async def promised(browser) -> str:
    """The code that a program is sent, after a click."""
    form = fields((await browser.look("/sign-in/cli", **PROGRAM)).text)
    sent = await browser.submit("/sign-in/cli", form)
    assert sent.status_code == 303, sent.text
    address = sent.headers["location"]
    assert address.startswith("http://127.0.0.1:50123/?")
    assert query_of(address)["state"] == PROGRAM["state"]
    return query_of(address)["code"]


async def exchanged(console, code: str, verifier: str = VERIFIER):
    return await console.api(None, "/v1/sign-in/exchange", {"code": code, "verifier": verifier})


async def test_a_program_gets_a_session_of_its_own_that_shows_what_the_browsers_shows(console):
    browser = console.browser()
    await browser.sign_in("sub-bo")
    answer = await exchanged(console, await promised(browser))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["token"]
    assert token != browser.session
    mine = (await console.api(token, "/v1/whoami")).json()["session"]
    assert mine == (await console.api(browser.session, "/v1/whoami")).json()["session"]
    assert (await console.api(token, "/v1/sign-out", {})).status_code == 200
    assert (await browser.look("/")).status_code == 200, "each ends by itself"
    console.scenario.check()


async def test_the_page_says_who_is_about_to_sign_in_what(console):
    browser = console.browser()
    await browser.sign_in("sub-bo")
    page = await browser.look("/sign-in/cli", **PROGRAM)
    for said in ("Bo (bo)", "127.0.0.1:50123", "corp", "mfa", "muniment login", "Until"):
        assert said in words(page.text)
    policy = page.headers["content-security-policy"]
    assert policy.endswith("form-action 'self' http://127.0.0.1:50123")


async def test_nothing_is_promised_to_a_program_without_a_click(console):
    browser = await console.signed_in("bo")
    form = fields((await browser.look("/sign-in/cli", **PROGRAM)).text)
    for data, origin in (
        (form, "https://evil.example"),
        (form, None),
        ({**form, "form": "x"}, ""),
    ):
        assert (await browser.submit("/sign-in/cli", data, origin=origin)).status_code == 403


async def test_a_code_for_a_program_is_worth_nothing_without_its_verifier(console):
    browser = await console.signed_in("bo")
    code = await promised(browser)
    assert (await exchanged(console, code, "w" * 43)).status_code == 401
    assert (await exchanged(console, code)).status_code == 401, "one wrong try uses it up"


async def test_a_code_for_a_program_works_once_and_for_a_minute(console):
    browser = await console.signed_in("bo")
    code = await promised(browser)
    assert (await exchanged(console, code)).status_code == 200
    assert (await exchanged(console, code)).status_code == 401
    late = await promised(browser)
    console.scenario.clock.advance(timedelta(minutes=1))
    assert (await exchanged(console, late)).status_code == 401


async def test_what_was_promised_does_not_outlive_the_browsers_session(console):
    browser = await console.signed_in("bo")
    code = await promised(browser)
    await browser.submit("/sign-out", fields((await browser.look("/")).text))
    assert (await exchanged(console, code)).status_code == 401
    assert console.sessions() == []


@pytest.mark.parametrize(
    "change",
    [
        {"port": "80"},
        {"port": "70000"},
        {"port": "50123@evil.example"},
        {"challenge": "short"},
        {"state": "x"},
        {"state": "s" * 40 + "\r\nX: y"},
    ],
)
async def test_a_program_is_only_ever_on_a_high_port_of_this_machine(console, change):
    browser = await console.signed_in("bo")
    assert (await browser.look("/sign-in/cli", **{**PROGRAM, **change})).status_code == 422
    form = fields((await browser.look("/sign-in/cli", **PROGRAM)).text)
    assert (await browser.submit("/sign-in/cli", {**form, **change})).status_code == 422


async def test_who_is_not_signed_in_comes_back_to_the_programs_question(console):
    browser = console.browser()
    sent = await browser.look("/sign-in/cli", **PROGRAM)
    onward = query_of(sent.headers["location"])["to"]
    assert (await browser.sign_in("sub-bo", to=onward)).headers["location"] == onward
    assert (await browser.get(onward)).status_code == 200


# --- every page -----------------------------------------------------------------------------------


async def test_every_page_redirect_and_error_is_guarded(console):
    browser = await console.signed_in("bo")
    answers = [
        await browser.look("/"),
        await browser.look("/sign-in"),
        await browser.look("/approve/mun_nothing"),
        await console.browser().look("/"),
        await browser.submit("/sign-out", {}),
    ]
    assert [each.status_code for each in answers] == [200, 200, 404, 303, 422]
    for each in answers:
        policy = each.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["x-frame-options"] == "DENY"
        assert each.headers["referrer-policy"] == "same-origin"
        assert each.headers["cache-control"] == "no-store"
        assert each.headers["strict-transport-security"].startswith("max-age=")
        if each.status_code != 303:
            assert each.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_page_holds_no_script_and_no_style_and_nothing_from_elsewhere(console):
    browser = await console.signed_in("bo")
    for path in ("/", "/sign-in", "/approve/mun_nothing"):
        text = (await browser.look(path)).text
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", text)
        assert not re.search(r"(?:src|href|action)=\"(?!/|#)", text)


async def test_static_files_are_named_after_their_content_and_kept(console):
    browser = console.browser()
    page = (await browser.look("/sign-in")).text
    (style,) = re.findall(r'href="(/static/console\.[0-9a-f]{16}\.css)"', page)
    found = await browser.get(style)
    assert found.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in found.headers["cache-control"]
    assert (await browser.look("/static/../muniment.toml")).status_code == 404


def test_pages_are_no_part_of_the_api_s_description(console):
    paths = console.app.openapi()["paths"]
    assert {"/v1/sign-in/code", "/v1/sign-in/exchange", "/v1/sign-out"} <= paths.keys()
    assert not {"/", "/sign-in", "/approve/{case}", "/sign-out"} & paths.keys()


@pytest.mark.parametrize("name", ["callback", "cli"])
def test_no_provider_has_the_name_of_a_page(name):
    section = {"kind": "people", "issuer": "https://id.example", "audience": "us"}
    with pytest.raises(ValidationError, match="a page has that name"):
        Settings.model_validate(
            {"installation": {"origin": "m.example"}, "providers": {name: section}}
        )


async def test_behind_a_public_name_the_provider_is_told_that_name(tmp_path, issuer):
    async with scenario_at(tmp_path, issuer) as scenario:
        console = Console.over(
            scenario, issuer, tmp_path, behind_proxy=True, public_url="https://m.example/"
        )
        address = await console.browser("http://10.0.0.7:8417").depart()
        assert query_of(address)["redirect_uri"] == "https://m.example/sign-in/callback"


async def test_whoever_the_provider_knows_and_the_directory_does_not_is_enrolled(console):
    browser = console.browser()
    assert (await browser.sign_in("sub-new")).status_code == 303
    assert "Nora (nora)" in words((await browser.look("/")).text)


async def test_who_is_not_signed_in_learns_nothing_of_the_log(console):
    assert (
        console.scenario.service.log.verifier.name
        not in (await console.browser().look("/sign-in")).text
    )
