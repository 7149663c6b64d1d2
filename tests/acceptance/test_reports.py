"""A report of a real service: made over HTTP, recorded there, checked offline, read in a browser."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # no stubs
from playwright.sync_api import Browser, sync_playwright

from acceptance.conftest import PROGRAM, Installation
from muniment.runtime import clock
from muniment.testing.written_year import WrittenYear

pytestmark = pytest.mark.deep

#: the service of these tests runs by the clock of the machine
YEAR = f"{clock.now():%Y}"
#: shown of any shade and width
_WINDOWS = [(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]


def report(installation: Installation, name: str, *more: str) -> Any:
    return installation.json(
        "report", "--framework", "pci", "--period", YEAR, "-o", name, *more, as_="admin"
    )


def checked(folder: Path, key: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "report", "--check", str(folder), "--log-key", str(key), "--json"],
        # nothing of a service is at hand
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_report_is_made_over_http_recorded_and_checked_offline(
    installation: Installation,
) -> None:
    case = installation.approved()
    installation.json("credential", case)
    installation.json("end", case)
    made = report(installation, "report-one")
    assert made["population"]["grants"] >= 1
    assert made["recorded"].startswith("rpt_")
    assert not made["refused"]
    folder = installation.desk / "report-one"
    done = checked(folder, installation.log_key)
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads((folder / "report.json").read_bytes())
    # they asked with static tokens: that is an exception, and its evidence lies beside the report
    assert f"bundles/{case}.json" in value["attached"]
    steps = {each["step"]: each["detail"] for each in json.loads(done.stdout)["steps"]}
    assert steps[9] != "0 bundles"
    assert value["documents_missing"] == 0


def test_who_may_not_audit_makes_no_report(installation: Installation) -> None:
    done = installation.muniment(
        "report", "--framework", "pci", "--period", "2026", "-o", "report-two", as_="ana"
    )
    assert done.returncode == 1
    assert "may" in done.stderr


def test_where_the_files_are_a_report_needs_no_service(installation: Installation) -> None:
    done = installation.muniment(
        "report", "--framework", "soc2", "--period", YEAR,
        "-o", "report-three", "--log", str(installation.folder),
        "--log-key", str(installation.log_key),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no service was asked" in done.stdout
    value = json.loads((installation.desk / "report-three" / "report.json").read_bytes())
    assert value["documents_missing"] == 0
    assert checked(installation.desk / "report-three", installation.log_key).returncode == 0


# --- in a browser -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no Chromium on this machine")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=as_root)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_of_a_year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("year")
    mirror, key, out = folder / "mirror", folder / "log.vkey", folder / "report"
    faults = frozenset(("not-ended", "self-approved", "source-gap", "no-scan", "differences"))
    year = WrittenYear(grants=300, days=365, faults=faults)
    mirror.mkdir()
    year.tiles(mirror)
    key.write_text(year.key.verifier.vkey)
    subprocess.run(
        [
            PROGRAM, "report", "--framework", "iso27001", "--period", "2026", "-o", str(out),
            "--log", str(mirror), "--log-key", str(key),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return out / "report.html"


@pytest.mark.parametrize(("width", "scheme"), _WINDOWS)
def test_the_page_fits_and_nothing_keeps_anybody_from_reading_it(
    chromium: Browser, page_of_a_year: Path, width: int, scheme: Any
) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_of_a_year.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('table,dl,h3')]"
        ".filter(each => each.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    narrow = page.evaluate(
        "[...document.querySelectorAll('.tests td.id')]"
        ".filter(each => each.getBoundingClientRect().width < innerWidth * 0.4).length"
    )
    assert narrow == 0, "what a test is called takes most of its line"
    assert asked == [page_of_a_year.as_uri()], "it needs nothing else"
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    for link in page.locator("main a[href^='#']").all():
        assert page.locator(f"[id='{(link.get_attribute('href') or '')[1:]}']").count() == 1
    context.close()


def test_the_page_lets_nothing_run_and_fetches_nothing_even_where_somebody_put_it_there(
    chromium: Browser, page_of_a_year: Path, tmp_path: Path
) -> None:
    hostile = (
        "<script>document.title='ran'</script><img src='https://example.com/a.png'>"
        "<style>body{display:none}</style><iframe src='https://example.com/'></iframe>"
        "<p onclick=\"document.title='ran'\" style='color:red' id='planted'>x</p>"
    )
    changed = tmp_path / "report.html"
    text = page_of_a_year.read_text()
    changed.write_text(text.replace("<main>", f"<main>{hostile}"))
    context = chromium.new_context()
    page = context.new_page()
    stopped: list[tuple[str, str]] = []
    page.on("requestfailed", lambda each: stopped.append((each.url, each.failure or "")))
    page.on("requestfinished", lambda each: stopped.append((each.url, "was fetched")))
    page.goto(changed.as_uri())
    page.locator("#planted").click()
    assert page.title() != "ran"
    remote = [each for each in stopped if each[0].startswith("http")]
    assert {why for _, why in remote} <= {"csp"}, remote
    seen = page.evaluate(
        "[getComputedStyle(document.body).display, getComputedStyle(planted).color,"
        " getComputedStyle(document.querySelector('.tally')).display]"
    )
    assert seen[0] == "block", "no style but its own"
    assert seen[1] != "rgb(255, 0, 0)"
    assert seen[2] == "flex", "its own"
    context.close()


def test_on_paper_no_row_is_torn_and_all_of_it_is_light(
    chromium: Browser, page_of_a_year: Path, tmp_path: Path
) -> None:
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(page_of_a_year.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    rows = page.evaluate(
        "[...document.querySelectorAll('tr')].map(each => getComputedStyle(each).breakInside)"
    )
    assert set(rows) == {"avoid"}
    heads = page.evaluate(
        "[...document.querySelectorAll('table:not(.bars) thead')]"
        ".map(each => getComputedStyle(each).display)"
    )
    assert set(heads) == {"table-header-group"}
    first = page.evaluate(
        "[...document.querySelectorAll('thead + tbody tr:first-child')]"
        ".map(each => getComputedStyle(each).breakBefore)"
    )
    assert set(first) == {"avoid"}, "a head stands at the end of no page alone"
    told = page.evaluate(
        "[...document.querySelectorAll('article > dl')]"
        ".map(each => getComputedStyle(each).breakInside)"
    )
    assert set(told) == {"avoid"}
    path = tmp_path / "report.pdf"
    page.pdf(path=path, prefer_css_page_size=True)
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    assert 3 <= data.count(b"/Type /Page\n") <= 15
    context.close()
