"""An auditor takes a period home from a real service, and reads and checks it with nothing of ours."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # no stubs
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from acceptance.conftest import Installation

Scheme: TypeAlias = Literal["light", "dark"]

pytestmark = [pytest.mark.target, pytest.mark.deep]


def bare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The verifier as the folder has it, isolated from everything of ours."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "muniment-verify.pyz"), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def taken(installation: Installation, tmp_path: Path) -> tuple[Path, str]:
    """The folder of today, and a grant that is in it."""
    case = installation.approved()
    installation.json("credential", case)
    installation.json("end", case)
    shown = installation.json("show", case)
    folder, today = tmp_path / "archive", shown["timeline"][0]["at"][:10]
    done = installation.muniment(
        "evidence", "export", "--period", f"{today}..{today}", "-o", str(folder), as_="admin"
    )
    assert done.returncode == 0, done.stderr
    assert "begin with index.html" in done.stdout
    return folder, case


def test_the_folder_of_a_day_is_checked_by_a_bare_python_with_the_public_key_alone(
    installation: Installation, taken: tuple[Path, str]
) -> None:
    folder, case = taken
    key = str(installation.log_key)
    done = bare(folder, "verify", ".", "--log-key", key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "THE ARCHIVE HOLDS" in done.stdout
    assert done.stdout.count("✓") == 7
    shown = bare(folder, "show", f"cases/{case}.json", "--log-key", key)
    assert "asked by     ana" in shown.stdout
    assert "seen gone" in shown.stdout
    again = installation.muniment("verify", str(folder / f"cases/{case}.json"), "--log-key", key)
    assert again.returncode == 0


def test_the_verifier_of_the_folder_is_the_one_that_the_command_prints(
    installation: Installation, taken: tuple[Path, str]
) -> None:
    folder, _ = taken
    said = installation.json("evidence", "verifier")["sha256"]
    assert f"{said}  muniment-verify.pyz" in (folder / "SHA256SUMS").read_text()
    assert said in (folder / "README.txt").read_text()


def test_who_read_what_is_listed_and_somebody_without_the_right_is_told_nothing(
    installation: Installation, taken: tuple[Path, str]
) -> None:
    _, case = taken
    installation.json("show", case, as_="ana")
    installation.json("show", case, as_="bo")
    assert installation.json("evidence", "reads", "--case", case, as_="admin")["reads"] == []
    installation.json("show", case, as_="admin")
    (read,) = installation.json("evidence", "reads", "--case", case, as_="admin")["reads"]
    assert (read["what"], read["case"]) == ("case", case)
    assert installation.muniment("evidence", "reads", as_="ana").returncode == 1
    printed = installation.muniment("evidence", "reads", "--by", "admin", as_="admin").stdout
    assert f"admin         case {case}" in printed


def test_wrong_uses_are_told_before_anything_is_asked(
    installation: Installation, tmp_path: Path
) -> None:
    for wrong in (
        ("--period", "2026-01-01"),
        (),
        ("mun_abc", "--period", "2026-01-01..2026-01-02"),
        ("mun_abc", "--resource", "orders-prod"),
    ):
        done = installation.muniment("evidence", "export", *wrong, "-o", str(tmp_path / "x"))
        assert done.returncode == 2, wrong
    assert not (tmp_path / "x").exists()


def test_the_pages_are_read_in_a_browser_on_a_phone_and_on_paper(
    taken: tuple[Path, str],
) -> None:
    folder, case = taken
    with chromium() as browser:
        schemes: tuple[Scheme, ...] = ("light", "dark")
        for scheme in schemes:
            for width in (360, 1280):
                _look(browser, Axe(), folder, case, scheme, width)
        page = browser.new_page()
        page.goto((folder / "index.html").as_uri())
        assert len(page.pdf(format="A4")) > 10_000


#: what somebody may write into a page, and what it would do
SMUGGLED = """
<script>document.title = "ran"</script><script src="style.css"></script>
<img src="style.css" onerror="document.title = 'ran'">
<img src="https://evil.example/pixel"><iframe src="index.html"></iframe>
<style>h1 { display: none }</style><p style="position: fixed">
<svg onload="document.title = 'ran'"></svg><base href="https://evil.example/">
"""


def test_whatever_is_smuggled_into_a_page_does_nothing_there(taken: tuple[Path, str]) -> None:
    folder, case = taken
    for path in ("index.html", "list-1.html", f"pages/{case}.html"):
        place = folder / path
        place.write_text(place.read_text("utf-8").replace("<h1>", f"{SMUGGLED}<h1>", 1), "utf-8")
    with chromium() as browser:
        for path in ("index.html", "list-1.html", f"pages/{case}.html"):
            page = browser.new_page()
            asked = gathered(page, "request")
            page.goto((folder / path).as_uri())
            assert page.title() != "ran"
            assert page.locator("h1").is_visible()
            assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1152px"
            assert page.evaluate("document.baseURI") == (folder / path).as_uri()
            own = {(folder / each).as_uri() for each in (path, "style.css")}
            # asked for, and stopped by the page's own rule before it went anywhere
            assert {each.failure for each in asked if each.url not in own} == {"csp"}


def gathered(page: Page, event: Literal["request", "console"]) -> list[Any]:
    """What the browser tells of the page from now on."""
    found: list[Any] = []

    def take(each: Any) -> None:
        found.append(each)

    page.on(event, take)
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        assert os.environ.get("MUNIMENT_REQUIRE_TARGETS") != "1", "no Chromium"
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=as_root)
        try:
            yield browser
        finally:
            browser.close()


def _look(browser: Browser, axe: Axe, folder: Path, case: str, scheme: Scheme, width: int) -> None:
    """Nothing beyond the edge, no serious barrier, and nothing that the browser complains of."""
    size: ViewportSize = {"width": width, "height": 900}
    plain = browser.new_context(color_scheme=scheme, viewport=size, java_script_enabled=False)
    # the axe of the test is a script, and the pages allow none
    checked = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    for path in ("index.html", "list-1.html", f"pages/{case}.html"):
        page = checked.new_page()
        complaints = gathered(page, "console")
        page.goto((folder / path).as_uri())
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) <= 0, (path, width)
        assert [said.text for said in complaints] == []
        found = axe.run(page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        still = plain.new_page()
        still.goto((folder / path).as_uri())
        assert still.locator("h1").is_visible()
    plain.close()
    checked.close()
