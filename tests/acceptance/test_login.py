"""`muniment login` as a person uses it: a real service, a real provider, and a browser by hand."""

import json
import os
import stat
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from acceptance.conftest import PROGRAM, _operate, _serving, _token

with warnings.catch_warnings(record=True):
    # it has not followed its own library's advice yet, which says so whatever the filters are
    warnings.simplefilter("ignore")
    import oidc_provider_mock  # type: ignore[import-untyped]  # it brings no types

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

ANA: dict[str, object] = {"name": "Ana at the provider", "amr": ["pwd", "hwk"]}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """One engineer's machine."""

    url: str
    state: Path
    token: str

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MUNIMENT_")}
        # a browser that does nothing: the test is the browser
        ours = {"MUNIMENT_URL": self.url, "XDG_STATE_HOME": str(self.state), "BROWSER": "true"}
        return {**inherited, **ours, **more}

    def muniment(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *args],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def login(self, *args: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, "login", *args],
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its address, and a static token of ana."""
    base = tmp_path_factory.mktemp("service")
    folder = base / "conf"
    _operate("init", str(folder))
    ana = oidc_provider_mock.User(sub="sub-ana", claims=ANA)
    with oidc_provider_mock.run_server_in_thread(user_claims=(ana,)) as server:
        issuer = f"http://localhost:{server.server_port}"
        (folder / "client.secret").write_text("the provider takes any")
        toml = folder / "muniment.toml"
        known = '[[people.ana.accounts]]\nprovider = "corp"\nsubject = "sub-ana"\n'
        section = (
            f'\n[providers.corp]\nkind = "people"\nissuer = "{issuer}"\naudience = "muniment"\n'
            f'client_secret = "file:client.secret"\nallow = ["{issuer}"]\n'
        )
        toml.write_text(f"{toml.read_text()}\n{known}{section}")
        token = _token(folder, "ana")
        with _serving(folder, dict(os.environ), base / "serve.log") as url:
            yield url, token
        said = (base / "serve.log").read_text()
        assert "/sign-in/callback 303" in said
        assert not any(secret in said for secret in ("code=", "state=", "muniment-", token))


@pytest.fixture
def desk(service: tuple[str, str], tmp_path: Path) -> Desk:
    url, token = service
    return Desk(url=url, state=tmp_path / "state", token=token)


def address_of(process: subprocess.Popen[str]) -> str:
    """Where the command says to sign in."""
    assert process.stderr is not None
    assert process.stderr.readline() == "sign in here:\n"
    return process.stderr.readline().strip()


def browse(address: str, subject: str = "sub-ana") -> httpx.Response:
    """What somebody does in a browser, click by click: the last page that he sees."""
    with httpx.Client() as browser:
        answer = browser.get(address)
        for _ in range(10):
            while answer.status_code in (302, 303):
                answer = browser.get(urljoin(str(answer.url), answer.headers["location"]))
            if "/sign-in/corp?" in answer.text:
                link = answer.text.partition('href="/sign-in/corp?')[2].partition('"')[0]
                answer = browser.get(urljoin(address, f"/sign-in/corp?{unescape(link)}"))
            elif "/oauth2/authorize" in str(answer.url):
                answer = browser.post(str(answer.url), data={"sub": subject})
            elif answer.url.path == "/sign-in/cli":
                here = "{0.scheme}://{0.netloc}".format(urlsplit(address))
                form = hidden(answer.text)
                answer = browser.post(
                    str(answer.url.copy_with(query=None)), data=form, headers={"Origin": here}
                )
            else:
                return answer
    raise AssertionError(answer.text)


def hidden(page: str) -> dict[str, str]:
    form = page.partition('action="/sign-in/cli"')[2]
    inputs = [each.partition(">")[0] for each in form.split('<input type="hidden" ')[1:]]
    pairs = [each.split('"') for each in inputs]
    return {parts[1]: unescape(parts[3]) for parts in pairs}


def finished(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return out


def whoami(desk: Desk, **more: str) -> Any:
    done = desk.muniment("whoami", "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_login_signs_the_command_line_in_and_logout_out_again(desk: Desk) -> None:
    process = desk.login()
    last = browse(address_of(process))
    assert "You are signed in" in last.text
    assert last.headers["content-security-policy"].startswith("default-src 'none'")
    assert "signed in as ana" in finished(process)
    kept = desk.state / "muniment/sessions.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    me = whoami(desk)
    assert me["session"]["provider"] == "corp"
    assert me["session"]["second_factor"] == "phishing-resistant"
    assert "second factor" in desk.muniment("whoami").stdout
    held = json.loads(kept.read_text())[desk.url]["token"]
    assert desk.muniment("logout").returncode == 0
    assert desk.url not in json.loads(kept.read_text())
    assert desk.muniment("whoami").returncode == 1
    bearer = {"Authorization": f"Bearer {held}"}
    assert httpx.get(f"{desk.url}/v1/whoami", headers=bearer).status_code == 401
    assert desk.muniment("logout").returncode == 1


def test_login_at_a_named_provider_goes_straight_there(desk: Desk) -> None:
    process = desk.login("--provider", "corp", "--json")
    address = address_of(process)
    assert urlsplit(address).path == "/sign-in/corp"
    browse(address)
    told = json.loads(finished(process))
    assert told["service"] == desk.url
    assert "token" not in told


def test_login_listens_to_nobody_who_does_not_know_its_state(desk: Desk) -> None:
    process = desk.login()
    address = address_of(process)
    port = parse_qs(urlsplit(address).query)["port"][0]
    for query in ("?code=stolen&state=guessed", "?code=stolen", ""):
        assert httpx.get(f"http://127.0.0.1:{port}/{query}").status_code == 404
    browse(address)
    finished(process)


def test_a_token_in_the_environment_goes_before_what_login_left(desk: Desk) -> None:
    process = desk.login(MUNIMENT_TOKEN=desk.token)
    browse(address_of(process))
    assert "MUNIMENT_TOKEN is set, and goes before it" in finished(process)
    assert whoami(desk, MUNIMENT_TOKEN=desk.token)["session"] is None
    assert whoami(desk)["session"]["provider"] == "corp"


def test_what_others_may_read_is_not_used(desk: Desk) -> None:
    process = desk.login()
    browse(address_of(process))
    finished(process)
    (desk.state / "muniment/sessions.json").chmod(0o644)
    refused = desk.muniment("whoami")
    assert refused.returncode == 2
    assert "others may read your sessions: chmod 600" in refused.stderr


def test_login_browser_shows_a_code_and_the_page_to_type_it_into(desk: Desk) -> None:
    shown = desk.muniment("login", "--browser", MUNIMENT_TOKEN=desk.token)
    assert shown.returncode == 0, shown.stderr
    assert f"into {desk.url}/sign-in" in shown.stdout
    told = desk.muniment("login", "--browser")
    assert told.returncode == 1
    assert "muniment login" in told.stderr
