"""Where there is no page, a person is told so on a page, and a program as programs are."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import httpx
import pytest
from browsing import HERE
from scenario_api import ScenarioApi

from muniment.testing.scenario import Scenario

_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path, checking=False) as scenario:
        yield ScenarioApi(scenario, tmp_path)


async def asked(api, method: str, path: str, accept: str) -> httpx.Response:
    transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as http:
        return await http.request(method, path, headers={"Accept": accept})


@pytest.mark.parametrize("path", ["/cases/nope", "/nope", "/reviews/x/y"])
async def test_a_browser_that_is_led_to_no_page_gets_one_that_says_so(api, path):
    answer = await asked(api, "GET", path, _BROWSER)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "there is no such page" in answer.text
    assert 'href="/"' in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_a_program_gets_a_problem(api, accept):
    answer = await asked(api, "GET", "/cases/nope", accept)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_there_for_another_method_is_not_missing(api):
    answer = await asked(api, "DELETE", "/v1/cases", _BROWSER)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
