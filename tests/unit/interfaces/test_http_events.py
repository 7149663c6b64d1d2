"""Events over HTTP: who may post them, how large they may be, and which webhooks are believed."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import base64
import gzip
import hashlib
import hmac
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import MAX_BODY, make_app
from muniment.interfaces.http.events import MOST
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources.supervision import Sources
from muniment.testing.fake_intake import FakeIntake, bomb
from muniment.testing.scenario import Scenario

SECRET = "a secret of ours"
SECTIONS = {
    "k8s": {"kind": "push", "reader": "lines", "posts_per_minute": 5},
    "repo": {
        "kind": "webhook",
        "reader": "lines",
        "signature": "github",
        "secret": "file:s",
        "posts_per_minute": 3,
    },
}


class Api:
    """A client for each login, and whatever was kept."""

    def __init__(self, scenario: Scenario, folder) -> None:
        self.scenario, self.intake, self.tokens = scenario, FakeIntake(), dict[str, str]()
        (folder / "s").write_text(SECRET)
        settings = Settings.model_validate(
            {"installation": {"origin": "muniment.example/scenario"}}
        )
        sections = {name: SourceSection.model_validate(each) for name, each in SECTIONS.items()}
        self.sources = Sources(sections, self.intake, lambda _: True, folder)
        opened: Any = SimpleNamespace(
            service=scenario.service,
            settings=settings,
            overseeing=SimpleNamespace(sources=self.sources),
        )
        self.opened = opened
        self.app = make_app(opened, folder, work=False)

    async def enrol(self, *logins: str) -> None:
        for login in logins:
            token = self.tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    async def post(
        self, path: str, body: Any = b"", login: str | None = None, **headers: str
    ) -> httpx.Response:
        shown = [(b"Authorization", f"Bearer {self.tokens[login]}".encode())] if login else []
        named = [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post(path, content=body, headers=[*shown, *named])

    async def hook(self, body: bytes, secret: str = SECRET, **headers: str) -> httpx.Response:
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return await self.post("/hooks/repo", body, X_Hub_Signature_256=signature, **headers)


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path) as scenario:
        found = Api(scenario, tmp_path)
        await found.enrol("ana", "admin")
        yield found


async def test_whoever_may_observe_posts_events_and_is_told_what_became_of_them(api: Api) -> None:
    answer = await api.post("/v1/events/k8s", b"one\ntwo\nno\0ne", "admin")
    assert (answer.status_code, answer.json()) == (202, {"kept": 2, "rejected": 1, "known": False})
    assert api.intake.kept("k8s") == [b"one", b"two"]


async def test_whoever_may_not_is_refused_before_the_body_is_read(api: Api) -> None:
    read = False

    async def body():
        nonlocal read
        read = True
        yield b"one"

    assert (await api.post("/v1/events/k8s", body(), "ana")).status_code == 403
    assert (await api.post("/v1/events/k8s", body())).status_code == 401
    assert (await api.post("/hooks/repo", body())).status_code == 401
    assert not read
    assert api.intake.takes == 0


async def test_a_source_that_is_not_there_or_is_of_another_kind_is_not_found(api: Api) -> None:
    for path in ("/v1/events/nothing", "/v1/events/repo", "/hooks/k8s", "/hooks/nothing"):
        assert (await api.post(path, b"one", "admin")).status_code == 404
    api.opened.overseeing = None
    assert (await api.post("/v1/events/k8s", b"one", "admin")).status_code == 404


async def test_bodies_of_events_are_bounded_and_all_others_as_before(api: Api) -> None:
    line = b"x" * 1000 + b"\n"
    assert (await api.post("/v1/events/k8s", line * 1000, "admin")).status_code == 202
    assert (await api.post("/v1/events/k8s", b"x" * (MOST + 1), "admin")).status_code == 413
    assert (await api.hook(b"x" * (MOST + 1))).status_code == 413
    assert (await api.post("/v1/cases", b"x" * (MAX_BODY + 1), "admin")).status_code == 413

    async def undeclared():
        for _ in range(MOST // len(line) + 2):
            yield line

    assert (await api.post("/v1/events/k8s", undeclared(), "admin")).status_code == 413
    assert len(api.intake.kept("k8s")) == 1000


async def test_a_packed_body_is_opened_and_a_bomb_is_not(api: Api) -> None:
    packed = {"login": "admin", "Content_Encoding": "gzip"}
    answer = await api.post("/v1/events/k8s", gzip.compress(b"one\ntwo"), **packed)
    assert answer.json()["kept"] == 2
    for body in (bomb(MOST + 1), gzip.compress(b"one")[:-3], b"not packed"):
        assert (await api.post("/v1/events/k8s", body, **packed)).status_code == 422
    other = await api.post("/v1/events/k8s", b"x", "admin", Content_Encoding="br")
    assert other.status_code == 422
    assert len(api.intake.kept("k8s")) == 2


async def test_a_gap_in_what_a_sender_counts_is_a_loss(api: Api) -> None:
    for total, body in ((2, b"1\n2"), (5, b"5"), (5, b"5")):
        await api.post("/v1/events/k8s", body, "admin", Muniment_Sent_Total=str(total))
    assert api.intake.misses == [("k8s", "count", 2)]
    assert len(api.intake.kept("k8s")) == 3
    for wrong in ("-1", "1.5", "many", "9" * 16, "\u0661"):
        answer = await api.post("/v1/events/k8s", b"x", "admin", Muniment_Sent_Total=wrong)
        assert answer.status_code == 422


async def test_an_event_in_binary_mode_is_read_like_one_in_structured_mode(api: Api) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "dev.example",
        "ce-source": "//example",
    }
    for kind, body, data in (
        ("application/json; charset=utf-8", b'{"a": 1}', {"data": {"a": 1}}),
        ("text/plain", b"hello", {"data_base64": base64.b64encode(b"hello").decode()}),
    ):
        await api.post("/v1/events/k8s", body, "admin", **headers, Content_Type=kind)
        event = json.loads(api.intake.kept("k8s")[-1])
        attributes = {name.removeprefix("ce-"): value for name, value in headers.items()}
        assert event == {**attributes, "datacontenttype": kind.partition(";")[0], **data}
    json_ = {**headers, "Content_Type": "application/json"}
    assert (await api.post("/v1/events/k8s", b"{", "admin", **json_)).status_code == 422


async def test_more_than_the_settings_allow_is_put_off(api: Api) -> None:
    for _ in range(5):
        await api.post("/v1/events/k8s", b"x", "admin")
    answer = await api.post("/v1/events/k8s", b"x", "admin")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")


async def test_what_cannot_be_kept_now_is_to_be_sent_again(api: Api) -> None:
    api.intake.unavailable = 1
    answer = await api.post("/v1/events/k8s", b"x", "admin")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert (await api.post("/v1/events/k8s", b"x", "admin")).json()["kept"] == 1


async def test_a_signed_delivery_is_kept_once(api: Api) -> None:
    assert (await api.hook(b"one")).json() == {"kept": 1, "rejected": 0, "known": False}
    # a replay may say another id of its own
    replayed = await api.hook(b"one", X_GitHub_Delivery="another")
    assert replayed.json() == {"kept": 0, "rejected": 0, "known": True}
    assert api.intake.kept("repo") == [b"one"]


async def test_what_is_not_signed_by_whom_it_should_be_is_counted_and_not_kept(api: Api) -> None:
    service = api.scenario.service
    before = service.unrecorded.get("unauthenticated", 0)
    assert (await api.hook(b"one", "a guess of others")).status_code == 401
    assert (await api.post("/hooks/repo", b"one")).status_code == 401
    forged = await api.post("/hooks/repo", b"one", X_Hub_Signature_256="sha256=é")
    assert forged.status_code == 401
    assert api.intake.takes == 0
    assert service.unrecorded["unauthenticated"] == before + 3
    assert 'muniment_source_refused_total{source="repo"} 3' in list(api.sources.metrics())


async def test_forged_deliveries_use_up_nobodys_quota(api: Api) -> None:
    for _ in range(10):
        assert (await api.hook(b"forged", "a guess of others")).status_code == 401
    assert (await api.hook(b"one")).status_code == 202
    for _ in range(2):
        await api.hook(b"two")
    assert (await api.hook(b"three")).status_code == 429


async def test_the_signature_of_a_packed_delivery_is_over_what_came(api: Api) -> None:
    body = gzip.compress(b"one")
    assert (await api.hook(body, Content_Encoding="gzip")).json()["kept"] == 1
