"""People look at what is held and erased with a real browser, and let go of it by two."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from acceptance import test_pages
from acceptance.conftest import LOGINS, RESOURCE, Installation, _operate, _serving, _token
from acceptance.test_pages import DESKTOP, PHONE, fits, sign_in, window
from acceptance.test_review_pages import serious

pytestmark = [pytest.mark.deep, pytest.mark.target]

chromium = test_pages.chromium
REASON = "look at order 4711, which a customer has been waiting for since Friday"
_PEOPLE = """
[people.pia]
groups = ["privacy-officers"]
[people.dan]
groups = ["privacy-officers", "auditors"]
[people.sec]
groups = ["compliance", "auditors"]
[retention]
two_people_above = 0
[retention.classes.free-text]
sections = ["reason"]
ceiling = "1s"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A service of which no target is reached."""
    base = tmp_path_factory.mktemp("holds")
    folder, desk = base / "conf", base / "desk"
    desk.mkdir()
    _operate("init", str(folder), "--postgres", "postgresql://127.0.0.1:1/orders")
    path: Path = folder / "muniment.toml"
    path.write_text(path.read_text() + _PEOPLE)
    tokens = {login: _token(folder, login) for login in (*LOGINS, "pia", "dan", "sec")}
    environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": "none"}
    none: Any = None
    with _serving(folder, environment, base / "serve.log") as url:
        yield Installation(folder=folder, url=url, tokens=tokens, server=none, desk=desk)


def placed(stage: Installation) -> str:
    asked = ("holds", "place", "--person", "bo", "--matter", "Doe v. Example", "--reason", "letter")
    hold: str = stage.json(*asked, as_="admin")["hold"]
    return hold


@pytest.fixture(scope="module")
def run(stage: Installation) -> str:
    """One that waits for another person."""
    # a weak reason would be found, and keep the case open
    asked = ("request", RESOURCE, "readwrite", "--ticket", "OPS-1", "--reason", REASON)
    stage.json("withdraw", stage.json(*asked)["case"])
    for _ in range(20):
        found = stage.json("retention", "run", as_="pia")
        if found["run"] is not None:
            return str(found["run"]["run"])
    raise AssertionError(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_everybody_can_read_what_is_held_and_erased(
    stage: Installation, chromium: Browser, run: str, size: Any, scheme: Any
) -> None:
    hold = placed(stage)
    # axe is a script of the test, and the pages allow none
    with window(chromium, viewport=size, color_scheme=scheme, bypass_csp=True) as page:
        sign_in(stage, page, "dan")
        for path in ("/holds", f"/holds/{hold}", f"/erasures/{run}"):
            page.goto(stage.url + path)
            assert fits(page), path
            assert serious(page) == [], path


def test_two_let_go_of_a_hold_without_javascript(stage: Installation, chromium: Browser) -> None:
    hold = placed(stage)
    with window(chromium, viewport=PHONE, java_script_enabled=False) as page:
        sign_in(stage, page, "admin", "/holds")
        page.locator(f'a[href="/holds/{hold}"]').click()
        page.get_by_label("Why it is needed no more").fill("settled")
        page.get_by_role("button", name="Ask for its release").click()
        expect(page.get_by_text("Somebody else has to confirm")).to_be_visible()
    with window(chromium, viewport=PHONE, java_script_enabled=False) as page:
        sign_in(stage, page, "sec", f"/holds/{hold}")
        page.get_by_role("button", name="Release it").click()
        expect(page.get_by_text("It was released.")).to_be_visible()
    held = stage.json("holds", "list", "--all", as_="sec")["holds"]
    assert {each["hold"]: each["state"] for each in held}[hold] == "released"
