"""The HTTP interface over a `Scenario`: AuthZEN's profile, our own routes, and what they refuse."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from muniment.access import records
from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import MAX_BODY, make_app
from muniment.operations.service import Limits
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario

PROFILE = "urn:openid:authzen:access-request:error:"


class Api:
    """A client for each login of a scenario."""

    def __init__(self, scenario: Scenario, folder) -> None:
        self.scenario = scenario
        settings = Settings.model_validate(
            {"installation": {"origin": "muniment.example/scenario"}}
        )
        opened: Any = SimpleNamespace(service=scenario.service, settings=settings, overseeing=None)
        self.app = make_app(opened, folder, work=False)
        self.tokens: dict[str, str] = {}

    async def enrol(self, *logins: str) -> None:
        for login in logins:
            token = self.tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    def client(self, login: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[login]}"} if login else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://service",
            headers=headers,
        )

    async def get(self, login: str | None, path: str, **query) -> httpx.Response:
        async with self.client(login) as client:
            return await client.get(path, params=query)

    async def post(self, login: str | None, path: str, body=None, **headers) -> httpx.Response:
        async with self.client(login) as client:
            return await client.post(path, json={} if body is None else body, headers=headers)

    async def denial(self, login: str, **context) -> Any:
        """An evaluation, and the body of the request that its answer allows."""
        body = {
            "subject": {"type": "human", "id": login},
            "resource": {"type": "resource", "id": "orders-prod"},
            "action": {"name": "readwrite"},
            "context": {"seconds": 1800, **context},
        }
        answer = (await self.post(login, "/access/v1/evaluation", body)).json()["context"]
        expires = answer["access_request"]["expires_at"]
        return {**body, "denial": {"evaluation_id": answer["evaluation_id"], "expires_at": expires}}

    async def asked(self, login: str = "ana", **context) -> Any:
        body = await self.denial(login, **{"ticket": "OPS-1", **context})
        return (await self.post(login, "/access/v1/requests", body)).json()


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path) as scenario:
        made = Api(scenario, tmp_path)
        await made.enrol("ana", "bo", "cy", "dan", "admin", "aud", "pia")
        yield made


def problem(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


# --- AuthZEN ------------------------------------------------------------------------------------


async def test_the_metadata_names_the_endpoints_and_the_date_of_the_draft(api):
    answer = (await api.get(None, "/.well-known/authzen-configuration")).json()
    assert answer["access_request_endpoint"] == "http://service/access/v1/requests"
    assert answer["capabilities"] == ["urn:openid:authzen:capability:access-request"]
    assert answer["access_request_profile_draft"] == "2026-06-11"


async def test_an_evaluation_denies_says_how_to_ask_and_what_would_happen(api):
    size = api.scenario.service.log.size
    body = await api.denial("ana", ticket="OPS-1")
    answer = (await api.post("ana", "/access/v1/evaluation", body)).json()
    assert answer["decision"] is False
    assert answer["context"]["reason"] == "approval_required"
    assert answer["context"]["outlook"]["approvals"] == {"sre-leads": 1}
    assert api.scenario.service.log.size == size, "a bare evaluation is not recorded"


async def test_an_unknown_role_is_not_requestable(api):
    body = {**await api.denial("ana"), "action": {"name": "superuser"}}
    answer = (await api.post("ana", "/access/v1/evaluation", body)).json()
    assert answer["decision"] is False
    assert "access_request" not in answer["context"]
    asked = await api.post("ana", "/access/v1/requests", body)
    assert problem(asked, 400)["type"] == PROFILE + "invalid_denial_binding"


async def test_a_request_that_waits_is_accepted_with_a_task_to_poll(api):
    response = await api.post("ana", "/access/v1/requests", await api.denial("ana", ticket="OPS-1"))
    task = response.json()["task"]
    assert response.status_code == 202
    assert task["status"] == "pending"
    assert response.headers["location"] == task["status_endpoint"]
    assert task["links"]["cancel"] == task["status_endpoint"] + "/cancel"
    polled = await api.get("ana", f"/access/v1/requests/{task['id']}")
    assert polled.headers["retry-after"]
    assert polled.json()["task"]["status"] == "pending"


async def test_a_denied_request_is_answered_at_once_and_stands_in_the_log(api):
    response = await api.post("ana", "/access/v1/requests", await api.denial("ana"))
    task = response.json()["task"]
    assert response.status_code == 201
    assert task["status"] == "denied"
    assert (
        task["display"]["urn:muniment:decision"]["rules"][0]["id"] == "forbid.prod-without-ticket"
    )
    assert api.scenario.kinds(task["id"])[-1] == "case:closed"


async def test_unknown_members_of_an_access_request_are_ignored(api):
    body = {**await api.denial("ana", ticket="OPS-1"), "client": {"id": "x"}, "surprise": [1]}
    assert (await api.post("ana", "/access/v1/requests", body)).status_code == 202


async def test_a_request_needs_the_denial_of_the_very_same_question(api):
    body = await api.denial("ana", ticket="OPS-1")
    for change in (
        {"denial": None},
        {"denial": {"evaluation_id": "eval_AAAA", "expires_at": body["denial"]["expires_at"]}},
        {"context": {**body["context"], "seconds": 3600}},
        {"action": {"name": "personal"}},
    ):
        response = await api.post("ana", "/access/v1/requests", {**body, **change})
        assert problem(response, 400)["type"] == PROFILE + "invalid_denial_binding"
    other = await api.post(
        "bo", "/access/v1/requests", {**body, "subject": {"type": "human", "id": "bo"}}
    )
    assert problem(other, 400)["type"] == PROFILE + "invalid_denial_binding"


async def test_a_denial_that_is_too_old_has_expired(api):
    body = await api.denial("ana", ticket="OPS-1")
    api.scenario.clock.advance(timedelta(minutes=16))
    response = await api.post("ana", "/access/v1/requests", body)
    assert problem(response, 410)["type"] == PROFILE + "expired_denial"


async def test_the_same_key_and_body_give_the_same_task_and_another_body_a_conflict(api):
    body, key = await api.denial("ana", ticket="OPS-1"), {"Idempotency-Key": "k-1"}
    first = await api.post("ana", "/access/v1/requests", body, **key)
    again = await api.post("ana", "/access/v1/requests", body, **key)
    assert again.json()["task"]["id"] == first.json()["task"]["id"]
    other = await api.denial("ana", ticket="OPS-2")
    clash = await api.post("ana", "/access/v1/requests", other, **key)
    assert problem(clash, 409)["type"] == PROFILE + "duplicate_request"
    assert len(api.scenario.service.projections.cases()) == 1


async def test_a_pending_task_can_be_cancelled_once(api):
    task = (await api.asked())["task"]
    cancelled = await api.post("ana", f"/access/v1/requests/{task['id']}/cancel")
    assert cancelled.json()["task"]["status"] == "cancelled"
    again = await api.post("ana", f"/access/v1/requests/{task['id']}/cancel")
    assert problem(again, 409)["type"] == PROFILE + "invalid_task_state"


async def test_a_stranger_does_not_learn_that_a_task_exists(api):
    task = (await api.asked())["task"]
    response = await api.get("dan", f"/access/v1/requests/{task['id']}")
    assert problem(response, 404)["type"] == PROFILE + "unknown_task"


async def test_an_approved_task_is_evaluated_again_and_true_only_while_the_grant_lives(api):
    task = (await api.asked())["task"]
    await api.post("bo", f"/v1/cases/{task['id']}/approval")
    done = (await api.get("ana", f"/access/v1/requests/{task['id']}")).json()
    assert done["result"]["mode"] == "reevaluate"
    body = await api.denial("ana")
    body["context"]["approval"] = done["result"]["approval"]
    before = (await api.post("ana", "/access/v1/evaluation", body)).json()
    assert (before["decision"], before["context"]["reason"]) == (False, "grant_pending")
    await api.post("ana", f"/v1/cases/{task['id']}/credential")
    assert (await api.post("ana", "/access/v1/evaluation", body)).json()["decision"] is True
    swapped = {**body, "action": {"name": "personal"}}
    other = (await api.post("ana", "/access/v1/evaluation", swapped)).json()
    assert other["context"]["reason"] == "out_of_scope"
    await api.post("ana", f"/v1/cases/{task['id']}/end")
    after = (await api.post("ana", "/access/v1/evaluation", body)).json()
    assert (after["decision"], after["context"]["reason"]) == (False, "approval_expired")


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
async def test_a_token_in_the_url_is_worth_nothing_and_is_not_logged(api, caplog, name):
    caplog.set_level("INFO")
    problem(await api.get(None, "/v1/whoami", **{name: api.tokens["ana"]}), 401)
    ours = [entry.getMessage() for entry in caplog.records if entry.name == "muniment.http"]
    assert ours == ["GET /v1/whoami 401"]


async def test_nobody_asks_in_somebody_elses_name(api):
    body = {**await api.denial("ana"), "subject": {"type": "human", "id": "bo"}}
    assert problem(await api.post("ana", "/access/v1/evaluation", body), 403)


async def test_a_window_that_ends_in_the_past_is_malformed(api):
    body = await api.denial("ana", ticket="OPS-1")
    past = (api.scenario.clock.wall - timedelta(hours=1)).astimezone(UTC).isoformat()
    body["requested_access"] = {"requested_until": past}
    assert "past" in problem(await api.post("ana", "/access/v1/requests", body), 400)["detail"]


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"business_justification": "a\x00b"}, "control characters"),
        ({"seconds": 0}, "context.seconds"),
        ({"seconds": 10**12}, "context.seconds"),
        ({"ticket": "see the mail of monday"}, "ticket id"),
    ],
)
async def test_what_cannot_be_asked_for_is_named_and_nothing_is_recorded(api, context, says):
    size = api.scenario.service.log.size
    body = {**await api.denial("ana"), "context": {"seconds": 60, **context}}
    detail = problem(await api.post("ana", "/access/v1/evaluation", body), 400)["detail"]
    assert says in detail
    assert api.scenario.service.log.size == size


# --- our own routes -----------------------------------------------------------------------------


async def test_a_denied_approval_is_forbidden_and_says_where_it_is_recorded(api):
    case = (await api.asked())["task"]["id"]
    detail = problem(await api.post("ana", f"/v1/cases/{case}/approval"), 403)["detail"]
    assert "approve.not-own-not-twice" in detail
    assert f"{case}/2" in detail
    assert api.scenario.kinds(case)[-1] == "decision:evaluated"


async def test_approvals_lists_what_the_caller_could_approve_with_its_reason(api):
    case = (await api.asked(business_justification="replay orders"))["task"]["id"]
    listed = (await api.get("bo", "/v1/approvals")).json()
    assert [each["case"] for each in listed["cases"]] == [case]
    assert listed["cases"][0]["reason"]["text"] == "replay orders"
    assert (await api.get("ana", "/v1/approvals")).json()["cases"] == []


async def test_a_credential_comes_with_a_receipt_that_verifies_and_is_never_cached(api):
    from muniment.evidence.proof import Receipt

    case = (await api.asked())["task"]["id"]
    await api.post("bo", f"/v1/cases/{case}/approval")
    response = await api.post("ana", f"/v1/cases/{case}/credential")
    answer, log = response.json(), api.scenario.service.log
    assert response.headers["cache-control"] == "no-store"
    receipt = Receipt.parse(answer["receipt"].encode())
    leaf = api.scenario.entries(case)[-1].leaf
    assert receipt.verify(leaf, log.origin, [log.verifier])
    secret = answer["credential"]["secret"]
    shown = (await api.get("ana", f"/v1/cases/{case}")).text
    assert secret not in shown


async def test_a_repeated_pick_up_with_the_same_key_is_told_to_pick_up_anew(api):
    case = (await api.asked())["task"]["id"]
    await api.post("bo", f"/v1/cases/{case}/approval")
    path, key = f"/v1/cases/{case}/credential", {"Idempotency-Key": "k"}
    assert (await api.post("ana", path, **key)).status_code == 200
    assert "pick up anew" in problem(await api.post("ana", path, **key), 409)["detail"]


async def test_whose_fault_it_is_that_no_credential_was_made_shows_in_the_status(api):
    case = (await api.asked())["task"]["id"]
    await api.post("bo", f"/v1/cases/{case}/approval")
    path, target = f"/v1/cases/{case}/credential", api.scenario.target()
    target.fail("issue")
    problem(await api.post("ana", path), 502)
    await api.scenario.advance(timedelta(minutes=1))
    order = target.hold("issue")
    asking = asyncio.create_task(api.post("ana", path))
    await order.reached.wait()
    api.scenario.clock.advance(api.scenario.service.limits.order_timeout * 2)
    order.release()
    late = await asking
    assert "pick up again" in problem(late, 503)["detail"]
    assert late.headers["retry-after"]


async def test_more_access_is_asked_for_beside_a_grant_that_stands_and_once_for_each_key(api):
    case = (await api.asked())["task"]["id"]
    await api.post("bo", f"/v1/cases/{case}/approval")
    await api.post("ana", f"/v1/cases/{case}/credential")
    wish = {"resource": "orders-prod", "role": "readwrite", "seconds": 900, "ticket": "OPS-1"}
    key = {"Idempotency-Key": "k"}
    first = await api.post("ana", "/v1/cases", {**wish, "reason": "and more"}, **key)
    assert first.status_code == 201
    assert first.json()["state"] == "pending"
    again = (await api.post("ana", "/v1/cases", {**wish, "reason": "and more"}, **key)).json()
    assert again["case"] == first.json()["case"] != case
    problem(await api.post("ana", "/v1/cases", wish, **key), 409)
    problem(await api.post("ana", "/v1/cases", {**wish, "role": "nothing"}), 404)


async def test_what_was_approved_can_be_withdrawn_until_it_is_picked_up(api):
    case = (await api.asked())["task"]["id"]
    await api.post("bo", f"/v1/cases/{case}/approval")
    path = f"/v1/cases/{case}/withdrawal"
    problem(await api.post("bo", path), 403)
    assert (await api.post("ana", path)).json()["state"] == "withdrawn"
    problem(await api.post("ana", path), 409)


async def test_a_case_is_found_by_any_unique_beginning_of_its_id(api):
    case = (await api.asked())["task"]["id"]
    assert (await api.get("ana", f"/v1/cases/{case[:9]}")).json()["case"] == case
    assert problem(await api.get("ana", "/v1/cases/mun_zzzzzz"), 404)


async def test_whois_leads_from_a_line_of_a_targets_log_to_the_case(api):
    case = (await api.asked())["task"]["id"]
    line = f"2026-11-21 LOG: connection authorized: user={case} database=orders"
    assert (await api.get("ana", "/v1/whois", text=line)).json()["case"] == case
    assert problem(await api.get("dan", "/v1/whois", text=line), 404)


async def test_only_those_whom_the_policy_lets_may_see_everybodys_cases(api):
    await api.asked()
    assert problem(await api.get("ana", "/v1/cases", everyone=True), 403)
    assert len((await api.get("aud", "/v1/cases", everyone=True)).json()["cases"]) == 1
    assert (await api.get("bo", "/v1/cases")).json()["cases"] == []


@pytest.mark.parametrize(
    ("login", "method", "path"),
    [
        ("ana", "POST", "/v1/reload"),
        ("aud", "POST", "/v1/reload"),
        ("ana", "POST", "/v1/clock/acceptance"),
        ("ana", "POST", "/v1/projections/rebuild"),
        ("ana", "GET", "/v1/log/proof/0"),
        ("ana", "GET", "/v1/overdue"),
        ("ana", "GET", "/v1/reviews"),
    ],
)
async def test_what_operators_do_is_forbidden_to_others(api, login, method, path):
    async with api.client(login) as client:
        response = await client.request(method, path, json={} if method == "POST" else None)
    problem(response, 403)


async def test_an_export_is_a_bundle_that_extends_the_head_its_reader_kept(api):
    from muniment.evidence import verify
    from muniment.evidence.verdict import Verdict

    case = (await api.asked())["task"]["id"]
    kept = (await api.get("aud", "/v1/log/checkpoint")).text
    await api.post("bo", f"/v1/cases/{case}/refusal")
    response = await api.post("aud", f"/v1/cases/{case}/evidence", {"heads": [kept]})
    log = api.scenario.service.log
    proved = verify.verify(response.content, log.verifier, [kept.encode()])
    assert proved.case_id == case
    assert proved.verdict == Verdict.SELF_WITNESSED
    assert problem(await api.post("dan", f"/v1/cases/{case}/evidence"), 404)


async def test_a_head_of_another_log_is_refused_at_export(api):
    case = (await api.asked())["task"]["id"]
    response = await api.post("aud", f"/v1/cases/{case}/evidence", {"heads": ["nonsense\n"]})
    assert "did not sign" in problem(response, 422)["detail"]


async def test_an_erased_reason_is_shown_as_erased_with_its_rule(api):
    case = (await api.asked(business_justification="a secret story"))["task"]["id"]
    path = f"/v1/records/{case}/0/erasure"
    body = {"section": "reason", "rule": "gdpr-17"}
    problem(await api.post("bo", path, body), 403)
    assert (await api.post("pia", path, body)).status_code == 200
    shown = await api.get("ana", f"/v1/cases/{case}")
    assert shown.json()["timeline"][0]["sections"]["reason"] == {"erased": "gdpr-17"}
    assert "secret story" not in shown.text


# --- bad input, and nobody ----------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [None, "Basic x", "Bearer ", "Bearer muniment-nope"])
async def test_without_a_valid_token_nothing_is_answered_and_it_is_counted(api, authorization):
    async with api.client(None) as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        response = await client.get("/v1/cases", headers=headers)
    problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert api.scenario.service.unrecorded == {"unauthenticated": 1}


async def test_an_expired_token_and_a_disabled_principal_are_refused(api):
    digest = token_hash(api.tokens["dan"])
    assert digest in api.scenario.service.registry.tokens
    await api.scenario.change("dan", active=False)
    problem(await api.get("dan", "/v1/whoami"), 401)
    token = new_token()
    api.scenario.tokens[token_hash(token)] = ProposedToken(
        hash=token_hash(token), login="cy", expires=datetime(2000, 1, 1, tzinfo=UTC), label=""
    )
    await api.scenario.take_in()
    api.tokens["cy"] = token
    problem(await api.get("cy", "/v1/whoami"), 401)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[" * 10_000, 400),
        (b'{"note": "' + b"x" * MAX_BODY + b'"}', 413),
        (b'{"note": "x", "surprise": 1}', 422),
        (b'{"note": "\xff"}', 400),
        (b"null", 422),
    ],
)
async def test_a_body_that_is_no_answer_to_the_question_is_refused(api, content, status):
    case = (await api.asked())["task"]["id"]
    async with api.client("bo") as client:
        response = await client.post(
            f"/v1/cases/{case}/approval",
            content=content,
            headers={"Content-Type": "application/json"},
        )
    assert problem(response, status)["instance"] == response.headers["x-request-id"]
    assert api.scenario.read(case).state == "pending"


async def test_a_body_without_a_declared_length_is_bounded_too(api):
    async def endless():
        for _ in range(MAX_BODY // 1024 + 1):
            yield b"x" * 1024

    async with api.client("bo") as client:
        sent = {"Content-Type": "application/json"}
        for path in ("/v1/explanation", "/access/v1/requests"):
            response = await client.post(path, content=endless(), headers=sent)
            assert "65,536 bytes" in problem(response, 413)["detail"]


async def test_a_note_with_a_nul_is_refused_and_newlines_are_kept(api):
    case = (await api.asked())["task"]["id"]
    problem(await api.post("bo", f"/v1/cases/{case}/approval", {"note": "a\x00b"}), 422)
    answer = await api.post("bo", f"/v1/cases/{case}/approval", {"note": "first\nsecond"})
    assert answer.json()["state"] == "approved"
    shown = (await api.get("bo", f"/v1/cases/{case}")).json()
    assert shown["timeline"][-1]["sections"]["note"] == {"text": "first\nsecond"}


async def test_above_the_quota_requests_are_refused_and_counted_but_ends_are_not(tmp_path):
    async with Scenario(tmp_path, limits=Limits(asks_per_minute=1)) as scenario:
        api = Api(scenario, tmp_path)
        await api.enrol("ana", "bo")
        case = (await api.asked())["task"]["id"]
        body = await api.denial("ana", ticket="OPS-2")
        refused = await api.post("ana", "/access/v1/requests", body)
        problem(refused, 429)
        assert refused.headers["retry-after"]
        assert scenario.service.unrecorded["too-many"] == 1
        assert (await api.post("ana", f"/access/v1/requests/{case}/cancel")).status_code == 200


async def test_readiness_says_why_nothing_can_be_granted(api):
    assert (await api.get(None, "/readyz")).json() == {"ready": True, "troubles": []}
    api.scenario.clock.step(timedelta(hours=1))
    answer = await api.get(None, "/readyz")
    assert answer.status_code == 503
    assert "the clock moved" in answer.json()["troubles"][0]
    body = await api.denial("ana", ticket="OPS-1")
    detail = problem(await api.post("ana", "/access/v1/requests", body), 503)["detail"]
    assert "muniment clock accept" in detail


async def test_below_the_reserve_of_disk_the_service_is_not_ready_and_its_gauges_show_it(api):
    api.scenario.space = api.scenario.reserve - 1
    answer = await api.get(None, "/readyz")
    assert answer.status_code == 503
    assert "1,048,575 bytes of 1,048,576" in answer.json()["troubles"][0]
    text = (await api.get(None, "/metrics")).text
    assert "muniment_disk_free_bytes 1048575\n" in text
    assert "muniment_disk_reserve_bytes 1048576\n" in text
    body = await api.denial("ana", ticket="OPS-1")
    problem(await api.post("ana", "/access/v1/requests", body), 503)
    api.scenario.space = api.scenario.reserve
    assert (await api.get(None, "/readyz")).status_code == 200


async def test_a_disk_that_does_not_tell_its_free_space_counts_as_full(api):
    def gone() -> int:
        raise OSError(5, "Input/output error")

    api.scenario.service.space = gone
    assert (await api.get(None, "/readyz")).status_code == 503


async def test_every_answer_carries_the_callers_request_id_or_one_of_ours(api):
    async with api.client("ana") as client:
        echoed = await client.get("/v1/whoami", headers={"X-Request-ID": "abc-1"})
        odd = await client.get("/v1/whoami", headers={"X-Request-ID": "any string, {spaces} too"})
        made = await client.get("/v1/whoami")
    assert echoed.headers["x-request-id"] == "abc-1"
    assert odd.headers["x-request-id"] == "any string, {spaces} too"
    assert len(made.headers["x-request-id"]) == 16


async def test_metrics_count_and_name_nobody(api):
    await api.asked()
    text = (await api.get(None, "/metrics")).text
    assert f"muniment_log_size {api.scenario.service.log.size}" in text
    assert "prn_" not in text


async def test_who_am_i_tells_the_principal_its_groups_and_how_it_was_authenticated(api):
    answer = (await api.get("bo", "/v1/whoami")).json()
    assert answer["names"][answer["principal"]] == "bo"
    assert answer["assurance"] == "token"
    assert "sre-leads" in answer["groups"]


async def test_an_explanation_shows_who_could_approve_without_recording_anything(api):
    size = api.scenario.service.log.size
    body = {"resource": "orders-prod", "role": "readwrite", "seconds": 600, "ticket": "OPS-1"}
    answer = (await api.post("ana", "/v1/explanation", body)).json()
    assert {answer["names"][who] for who in answer["could_approve"]} == {"bo", "cy"}
    assert api.scenario.service.log.size == size


async def test_the_first_record_of_a_case_names_the_token_as_its_assurance(api):
    case = (await api.asked())["task"]["id"]
    requested = api.scenario.records(case)[0]
    assert isinstance(requested, records.AccessRequested)
    assert requested.actor.assurance == "token"
