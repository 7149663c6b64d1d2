"""Signing in at providers that others wrote, over HTTP, with what a browser would do in between."""

import contextlib
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
import pytest

from muniment.errors import AddressRefused, Unauthenticated, Unavailable
from muniment.identity.keys import KeySets
from muniment.identity.oidc import SignIn
from muniment.identity.providers import Provider
from muniment.ports import Secret
from muniment.runtime.clock import elapsed, now
from muniment.runtime.outbound import CheckedOutbound

with warnings.catch_warnings():
    # of the library under the small provider, about what the provider does with it; it turns them
    # on itself when it is imported
    from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from oidc_provider_mock import User, run_server_in_thread  # type: ignore[import-untyped]

pytestmark = [
    pytest.mark.target,
    pytest.mark.alone,
    pytest.mark.filterwarnings("ignore::authlib.deprecate.AuthlibDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:get_jwt_config.* is deprecated:DeprecationWarning"),
]

HERE: Final = "https://muniment.example/callback"
SECRET: Final = "a+b c/d&e=f: every character that an encoding could lose"
SOURCE: Final = Path(__file__).parent / "oidc_provider"
OLDEST_NODE: Final = 20


def provider(issuer: str, client_id: str) -> Provider:
    """One on this machine: an administrator vouches for its origin."""
    return Provider(
        name="idp",
        kind="people",
        issuer=issuer,
        audience=client_id,
        client_id=client_id,
        allow=(issuer,),
    )


def sign_in(known: Provider, secret: str | None = None) -> SignIn:
    outbound = CheckedOutbound()
    keys = KeySets(outbound, elapsed)
    return SignIn(known, outbound, keys, client_secret=None if secret is None else Secret(secret))


def brought(response: httpx.Response) -> dict[str, str]:
    assert response.is_redirect, response.text
    assert response.headers["location"].startswith(f"{HERE}?")
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


# --- a small one, in a thread --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """The issuer; it knows ana."""
    claims = {"groups": ["sre", "owners"], "amr": ["pwd", "hwk"], "email": "ana@corp.example"}
    with run_server_in_thread(user_claims=(User(sub="ana", claims=claims),)) as server:
        yield f"http://localhost:{server.server_port}"


def answer_small(url: str, **form: str) -> dict[str, str]:
    """What a browser brings back that sends this form."""
    return brought(httpx.post(url, data=form, trust_env=False))


async def test_whoever_signs_in_at_the_provider_is_known_with_groups_and_methods(
    small: str,
) -> None:
    known = provider(small, "us")
    there = sign_in(known, SECRET)
    begun = await there.begin(HERE, now=now())
    found = await there.finish(begun, answer_small(begun.url, sub="ana"), now())
    assert (found.provider, found.issuer, found.subject) == ("idp", small, "ana")
    assert (found.claims["groups"], found.claims["amr"]) == (["sre", "owners"], ["pwd", "hwk"])
    assert found.expires is not None
    assert found.expires > now()
    assert b'"kty":"RSA"' in found.keys.document


async def test_a_code_is_exchanged_once(small: str) -> None:
    there = sign_in(provider(small, "us"), SECRET)
    begun = await there.begin(HERE, now=now())
    params = answer_small(begun.url, sub="ana")
    await there.finish(begun, params, now())
    with pytest.raises(Unauthenticated, match="refused the code: `invalid_grant`"):
        await there.finish(begun, params, now())


async def test_whoever_says_no_at_the_provider_is_not_signed_in(small: str) -> None:
    there = sign_in(provider(small, "us"), SECRET)
    begun = await there.begin(HERE, now=now())
    # this provider forgets `state` when it says no, so that a browser could not tell whose no it is
    denied = answer_small(begun.url, action="deny")
    with pytest.raises(Unauthenticated, match="`access_denied`"):
        await there.finish(begun, {**denied, "state": begun.state}, now())


async def test_an_answer_to_another_browser_is_no_answer_to_this_one(small: str) -> None:
    there = sign_in(provider(small, "us"), SECRET)
    mine, other = [await there.begin(HERE, now=now()) for _ in range(2)]
    stolen = answer_small(other.url, sub="ana")
    with pytest.raises(Unauthenticated, match="`state` is not ours"):
        await there.finish(mine, stolen, now())
    # with the right state it is `nonce` that tells, even where the provider ignores PKCE
    with pytest.raises(Unauthenticated, match="`nonce`"):
        await there.finish(mine, {**stolen, "state": mine.state}, now())


async def test_a_provider_inside_is_called_only_if_somebody_vouches_for_it(small: str) -> None:
    inside = small.replace("http:", "https:")
    with pytest.raises(AddressRefused):
        await CheckedOutbound().check(inside)
    known = replace(provider(small, "us"), issuer=inside, allow=())
    with pytest.raises(Unavailable, match="an address that is not called"):
        await sign_in(known).begin(HERE, now=now())


# --- a certified one, as a process ---------------------------------------------------------------


class Missing(Exception):
    """The provider cannot be had here; the message says why."""


def installed(place: Path) -> list[str]:
    """The command that runs the provider, beside what its lock names. Raises `Missing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("node and npm are not installed; Debian's packages are nodejs and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        raise Missing(f"node {version.stdout.strip()} is too old: the provider needs {OLDEST_NODE}")
    shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("node_modules"))
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        install, cwd=place, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise Missing(f"npm could not install the provider: {done.stderr[-500:]}")
    return [node, str(place / "provider.mjs"), HERE, SECRET]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The issuer; skips where it is missing, or fails where nothing may be."""
    place = tmp_path_factory.mktemp("certified")
    try:
        command = installed(place / "provider")
    except Missing as missing:
        required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
        (pytest.fail if required else pytest.skip)(str(missing))
    with (place / "errors.log").open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:  # leaving closes its input, which ends it
        assert process.stdout is not None
        issuer = process.stdout.readline().strip()
        assert issuer.startswith("http://127.0.0.1:"), (place / "errors.log").read_text()
        yield issuer


@dataclass
class Browser:
    """Keeps cookies and follows redirects, but not to us: what it would bring us is returned."""

    client: httpx.Client

    def visit(self, url: str, login: str) -> dict[str, str]:
        page = self._follow(self.client.get(url))
        if not page.is_redirect:
            [action] = re.findall(r'action="([^"]+)"', page.text)
            form = {"prompt": "login", "login": login, "password": "any"}
            page = self._follow(self.client.post(urljoin(str(page.url), action), data=form))
        return brought(page)

    def _follow(self, page: httpx.Response) -> httpx.Response:
        while page.is_redirect and not page.headers["location"].startswith(HERE):
            page = self.client.get(urljoin(str(page.url), page.headers["location"]))
        return page


@pytest.fixture
def browser() -> Iterator[Browser]:
    with contextlib.closing(httpx.Client(trust_env=False)) as client:
        yield Browser(client)


@pytest.mark.deep
@pytest.mark.parametrize(("client_id", "secret"), [("public", None), ("confidential", SECRET)])
async def test_a_certified_provider_signs_people_in(
    certified: str, browser: Browser, client_id: str, secret: str | None
) -> None:
    there = sign_in(provider(certified, client_id), secret)
    begun = await there.begin(HERE, now=now(), prompt="login", max_age=60)
    params = browser.visit(begun.url, "ana")
    assert params["iss"] == certified  # RFC 9207
    found = await there.finish(begun, params, now())
    assert (found.issuer, found.subject, found.claims["groups"]) == (certified, "ana", ["sre"])
    assert now().timestamp() - found.claims["auth_time"] < 60


@pytest.mark.deep
async def test_a_certified_provider_gives_nothing_for_a_stolen_code(
    certified: str, browser: Browser
) -> None:
    there = sign_in(provider(certified, "public"))
    begun = await there.begin(HERE, now=now())
    params = browser.visit(begun.url, "ana")
    with pytest.raises(Unauthenticated, match="refused the code: `invalid_grant`"):
        await there.finish(replace(begun, verifier="v" * 43), params, now())


@pytest.mark.deep
async def test_a_certified_provider_takes_a_code_once(certified: str, browser: Browser) -> None:
    there = sign_in(provider(certified, "public"))
    begun = await there.begin(HERE, now=now())
    params = browser.visit(begun.url, "ana")
    await there.finish(begun, params, now())
    with pytest.raises(Unauthenticated, match="refused the code: `invalid_grant`"):
        await there.finish(begun, params, now())


@pytest.mark.deep
async def test_a_certified_provider_knows_us_by_our_secret(
    certified: str, browser: Browser
) -> None:
    there = sign_in(provider(certified, "confidential"), "guess")
    begun = await there.begin(HERE, now=now())
    with pytest.raises(Unavailable, match="401, `invalid_client`"):
        await there.finish(begun, browser.visit(begun.url, "ana"), now())


@pytest.mark.deep
async def test_without_its_issuer_the_answer_of_a_certified_provider_is_refused(
    certified: str, browser: Browser
) -> None:
    there = sign_in(provider(certified, "public"))
    begun = await there.begin(HERE, now=now())
    params = browser.visit(begun.url, "ana")
    params.pop("iss")
    with pytest.raises(Unauthenticated, match="does not say which provider"):
        await there.finish(begun, params, now())


@pytest.mark.deep
async def test_a_code_of_one_client_is_worth_nothing_to_another(
    certified: str, browser: Browser
) -> None:
    there = sign_in(provider(certified, "public"))
    begun = await there.begin(HERE, now=now())
    params = browser.visit(begun.url, "ana")
    other = sign_in(provider(certified, "confidential"), SECRET)
    with pytest.raises(Unauthenticated, match="refused the code"):
        await other.finish(begun, params, now())
