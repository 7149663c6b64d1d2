"""`scim2-tester`, which others wrote, asks of the whole of `/scim/v2` what the RFCs ask."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_tester import Status, check_server
from scim_api import ScimApi

from muniment.testing.scenario import Scenario

#: what the service says that it does not offer
NOT_OFFERED = {"search_with_attributes"}
#: nobody comes to be active, or disabled, because a directory says nothing of it
KEPT = {("User", "PATCH modify() did not remove attribute 'active'")}


def bridged(api: ScimApi, loop: asyncio.AbstractEventLoop) -> Any:
    """The application as the tester's client can call it, from a thread beside the event loop."""

    def application(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(
                    environ["REQUEST_METHOD"],
                    f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}",
                    content=environ["wsgi.input"].read(),
                    headers={"Authorization": environ["HTTP_AUTHORIZATION"]},
                )

        answer = asyncio.run_coroutine_threadsafe(ask(), loop).result(30)
        start(f"{answer.status_code} {answer.reason_phrase}", list(answer.headers.items()))
        return [answer.content]

    return application


async def test_the_tester_of_others_finds_nothing_wrong(tmp_path: Path) -> None:
    async with Scenario(tmp_path, checking=False) as scenario:
        api = await ScimApi(scenario, tmp_path).start()
        client = WSGISCIMClient(
            bridged(api, asyncio.get_running_loop()),
            base_url="http://service/scim/v2",
            headers={"Authorization": f"Bearer {api.tokens['okta-scim']}"},
        )
        results = await asyncio.to_thread(check_server, client)
        scenario.check()
    wrong = {
        (result.resource_type, result.reason)
        for result in results
        if result.status not in (Status.SUCCESS, Status.SKIPPED)
    }
    assert wrong == KEPT
    skipped = {result.title for result in results if result.status == Status.SKIPPED}
    assert skipped <= NOT_OFFERED
    tested = {result.title for result in results if result.status == Status.SUCCESS}
    assert {"object_creation", "object_replacement", "object_deletion", "random_url"} <= tested


def test_the_application_loads_without_the_extra() -> None:
    program = (
        "import sys; sys.modules['scim2_models'] = None\n"
        "from muniment.interfaces.http import app, scim\n"
        "from muniment.interfaces.http.problems import ProfileProblem\n"
        "try:\n    scim._routes()\nexcept ProfileProblem as problem:\n"
        "    print(problem.status, problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("501 ")
    assert "pip install 'muniment[scim]'" in done.stdout
