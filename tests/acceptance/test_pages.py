"""People approve with a real browser: by code, by keyboard, on a phone, and without JavaScript."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from acceptance import conftest
from acceptance.conftest import RESOURCE, Installation

pytestmark = [pytest.mark.deep, pytest.mark.target]

#: one of its own: others count cases
installation = conftest.installation

PHONE: Final = {"width": 360, "height": 740}
DESKTOP: Final = {"width": 1280, "height": 900}
_ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
REASON: Final = "a reason <b>with</b> markup"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no Chromium on this machine")
    as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *as_root])
        yield browser
        browser.close()


@contextlib.contextmanager
def window(chromium: Browser, **options: Any) -> Iterator[Page]:
    """A browser of somebody's own, in which nothing may go wrong unseen."""
    context: BrowserContext = chromium.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    here = {url.split("/")[2] for url in asked}
    context.close()
    assert complaints == [], "the console stays empty: the policy on content was never offended"
    assert len(here) <= 1, f"nothing is asked of others: {here}"


def sign_in(installation: Installation, page: Page, login: str, path: str = "/") -> None:
    """From the page that asked for it to that page, by a code that the command line shows."""
    page.goto(installation.url + path)
    code = installation.json("login", "--browser", as_=login)["code"]
    page.get_by_role("textbox", name="Code").fill(code)
    page.get_by_role("textbox", name="Code").press("Enter")
    page.wait_for_url(installation.url + path)


def fits(page: Page) -> bool:
    """Nothing is wider than the window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth")
    shown: int = page.evaluate("document.documentElement.clientWidth")
    return wide <= shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_lead_signs_in_by_code_and_approves(
    installation: Installation, chromium: Browser, size: Any, scheme: Any
) -> None:
    case = installation.request("--reason", REASON)
    with window(chromium, viewport=size, color_scheme=scheme) as page:
        sign_in(installation, page, "bo", f"/approve/{case}")
        assert fits(page)
        expect(page.get_by_role("heading", level=1)).to_have_text(
            f"Ana asks for readwrite on {RESOURCE}"
        )
        expect(page.get_by_text(REASON)).to_be_visible()
        page.get_by_label("Comment").fill("two lines\nof comment")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("heading", name="Approved by Bo")).to_be_visible()
        expect(page.get_by_text("two lines")).to_be_visible()
        assert fits(page)
        page.get_by_text("Receipt, to be kept").click()
        expect(page.get_by_label("Receipt")).to_contain_text("c2sp.org/tlog-proof@v1")
        assert fits(page)
    shown = installation.json("show", case)
    assert shown["state"] == "approved"
    given = shown["timeline"][-1]
    assert given["kind"] == "approval:given"
    assert given["record"]["actor"]["assurance"] == "session"


def test_everything_works_without_javascript(installation: Installation, chromium: Browser) -> None:
    case = installation.request()
    with window(chromium, viewport=PHONE, java_script_enabled=False) as page:
        sign_in(installation, page, "bo")
        page.locator(f'a[href="/approve/{case}"]').click()
        page.get_by_label("Comment").fill("not today")
        page.get_by_role("button", name="Refuse").click()
        expect(page.get_by_role("heading", name="Refused by Bo")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert installation.json("show", case)["state"] == "refused"


def test_everything_can_be_done_with_the_keyboard_and_shows_where_one_is(
    installation: Installation, chromium: Browser
) -> None:
    case = installation.request()
    with window(chromium, viewport=DESKTOP) as page:
        sign_in(installation, page, "bo", f"/approve/{case}")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        for _ in range(30):
            page.keyboard.press("Tab")
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring == "solid", page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("document.activeElement.id") == "comment":
                break
        page.keyboard.type("by keyboard")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Approve")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Approved by Bo")).to_be_visible()
    assert installation.json("show", case)["state"] == "approved"


def test_an_engineer_sees_what_she_asked_for_and_cannot_approve_it(
    installation: Installation, chromium: Browser
) -> None:
    case = installation.request()
    with window(chromium, viewport=PHONE) as page:
        sign_in(installation, page, "ana")
        assert fits(page)
        page.get_by_role("region", name="What you asked for").locator(
            f'a[href="/approve/{case}"]'
        ).click()
        expect(page.get_by_text("Your approval would not count")).to_be_visible()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        assert fits(page)


def test_no_script_runs_even_where_one_gets_into_the_page(
    installation: Installation, chromium: Browser
) -> None:
    """The policy on content holds by itself, whatever the templates let through."""
    context = chromium.new_context()
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"{installation.url}/sign-in")
    with page.expect_event("console"):
        page.evaluate(
            "() => { const s = document.createElement('script'); s.text = 'window.ran = 1';"
            " document.body.append(s); document.body.insertAdjacentHTML('beforeend',"
            " '<img src=x onerror=\"window.ran = 2\">'); }"
        )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in words for words in refused)
    context.close()
