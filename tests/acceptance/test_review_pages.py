"""People review access with a real browser, on a phone and without JavaScript; anybody can read."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # no stubs
from playwright.sync_api import Browser, Page, expect

from acceptance import test_access_reviews, test_pages
from acceptance.conftest import Installation
from acceptance.test_pages import DESKTOP, PHONE, fits, sign_in, window

pytestmark = [pytest.mark.deep, pytest.mark.target]

#: a service of its own, and the browser of the other pages
stage = test_access_reviews.stage
chromium = test_pages.chromium


@pytest.fixture(scope="module")
def reviews(stage: Installation) -> Iterator[dict[str, str]]:
    """By rule: an open review of each kind, over one grant that is live."""
    case = stage.approved()
    stage.json("credential", case)
    yield {
        name: stage.json("reviews", "open", name, as_="sec")["campaign"]
        for name in ("grants", "eligible")
    }
    stage.json("end", case)


def serious(page: Page) -> list[str]:
    """What axe finds that keeps people from reading a page, or from answering on it."""
    found = Axe().run(page).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_everybody_can_read_what_is_reviewed_and_how_the_evidence_stands(
    stage: Installation, chromium: Browser, reviews: dict[str, str], size: Any, scheme: Any
) -> None:
    mine = [f"/reviews/{case}" for case in reviews.values()]
    looking = {"viewport": size, "color_scheme": scheme}
    parts = {"cy": ["/reviews", f"/reviews/{reviews['eligible']}"], "boss": mine}
    for who, paths in {**parts, "aud": ["/health"]}.items():
        # axe is a script of the test, and the pages allow none
        with window(chromium, **looking, bypass_csp=True) as page:
            sign_in(stage, page, who)
            for path in paths:
                page.goto(stage.url + path)
                assert fits(page), (path, who)
                assert serious(page) == [], (path, who)


def test_a_reviewer_decides_without_javascript_and_sees_what_is_left(
    stage: Installation, chromium: Browser, reviews: dict[str, str]
) -> None:
    case = reviews["eligible"]
    before = len(waiting(stage, case))
    with window(chromium, viewport=PHONE, java_script_enabled=False) as page:
        sign_in(stage, page, "cy", "/reviews")
        page.locator(f'a[href="/reviews/{case}"]').click()
        first, second = page.locator("fieldset.item").all()[:2]
        first.get_by_role("radio", name="Keep").check()
        second.get_by_role("radio", name="Cannot say").check()
        second.get_by_label("Why").fill("never heard of it")
        page.get_by_role("button", name="Save these").click()
        expect(page.locator("#items-title")).to_have_text(f"Yours to decide {before - 2}")
    assert len(waiting(stage, case)) == before - 2
    decided = [each for each in of_cy(stage, case) if each["outcome"] != "not-reviewed"]
    assert sorted(each["outcome"] for each in decided) == ["abstain", "keep"]


def test_a_reviewer_finds_what_he_filled_in_and_what_is_wrong_with_it(
    stage: Installation, chromium: Browser, reviews: dict[str, str]
) -> None:
    case = reviews["eligible"]
    before = len(waiting(stage, case))
    # a browser complains of whatever was refused, which a `window` may not
    looking: Any = {"viewport": PHONE, "bypass_csp": True}
    with closing(chromium.new_context(**looking)) as context:
        page = context.new_page()
        sign_in(stage, page, "cy", f"/reviews/{case}")
        first, second = page.locator("fieldset.item").all()[:2]
        first.get_by_role("radio", name="Keep").check()
        second.get_by_role("radio", name="Cannot say").check()
        page.get_by_role("button", name="Save these").click()
        expect(page.get_by_role("alert")).to_contain_text("takes a reason")
        assert first.get_by_role("radio", name="Keep").is_checked()
        assert second.get_by_role("radio", name="Cannot say").is_checked()
        expect(second.get_by_label("Why")).to_be_focused()
        expect(second).to_contain_text("takes a reason")
        assert fits(page)
        assert serious(page) == []
    assert len(waiting(stage, case)) == before


def test_a_reviewer_decides_by_keyboard_alone(
    stage: Installation, chromium: Browser, reviews: dict[str, str]
) -> None:
    case = reviews["eligible"]
    before = len(waiting(stage, case))
    with window(chromium, viewport=DESKTOP) as page:
        sign_in(stage, page, "cy", f"/reviews/{case}")
        for _ in range(60):
            page.keyboard.press("Tab")
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring == "solid", page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("document.activeElement.type") == "radio":
                break
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        expect(page.locator("#items-title")).to_have_text(f"Yours to decide {before - 1}")
    assert len(waiting(stage, case)) == before - 1


def of_cy(stage: Installation, case: str) -> list[dict[str, Any]]:
    items = stage.json("reviews", "show", case, "--mine", as_="cy")["items"]
    return list(items)


def waiting(stage: Installation, case: str) -> list[dict[str, Any]]:
    return [each for each in of_cy(stage, case) if each["outcome"] == "not-reviewed"]
