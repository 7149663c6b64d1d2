"""
AuthZEN Access Request and Approval Profile, draft 1 of 2026-06-11, section by section.

`docs/reference/authzen.md` lists every demand of the text beside its test.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standard_api import (
    BASE,
    EVALUATION,
    REQUESTS,
    WELL_KNOWN,
    Api,
    decoded,
    denial,
    encoded,
    ok,
    parts,
    problem,
    question,
)

from muniment.access import records
from muniment.evidence import moment
from muniment.operations.service import Limits

URN = re.compile(r"urn:[a-z]+:.+")


async def verified(api: Api, jws: str) -> Any:
    """The claims of a JWS, checked as a stranger would: by the published keys alone."""
    keys = ok(await api.get(None, "/access/v1/jwks"))["keys"]
    header, claims, signature = parts(jws)
    [key] = [key for key in keys if key["kid"] == header["kid"]]
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public.verify(signature, jws.rpartition(".")[0].encode())
    return claims


def item(role: str, denied: Any, *, token: bool = False, **more: Any) -> Any:
    """One of several that are asked for together, with a denial of its own."""
    resource = {"type": "resource", "id": role.partition("/")[0]}
    found = denial(denied, token=token)
    return {
        "resource": resource,
        "action": {"name": role.partition("/")[2]},
        "denial": found,
        **more,
    }


async def several(api: Api, *roles: str, token: bool = False, **more: Any) -> Any:
    """The body of a request for several roles."""
    items = []
    for role in roles:
        asked = question("ana")
        asked["resource"]["id"], _, asked["action"]["name"] = role.partition("/")
        items.append(item(role, (await api.denied("ana", asked))[1], token=token))
    asked = question("ana")
    return {"subject": asked["subject"], "context": asked["context"], "items": items, **more}


PROD, PERSONAL, STAGING = (
    "orders-prod/readwrite",
    "orders-prod/personal",
    "orders-staging/readwrite",
)


# --- 4, 6, 7: discovery, and a denial that can be turned into a request ---------------------------


async def test_section_4_the_context_that_binds_is_named_in_the_token_and_no_other_binds(
    api: Api,
) -> None:
    asked, denied = await api.denied()
    claims = await verified(api, denied["context"]["access_request"]["binding_token"])
    assert set(claims["binding_context_members"]) == claims["context"].keys()
    free = {**asked["context"], "time": "2026-11-21T10:00:01Z", "business_justification": "x"}
    body = {**asked, "context": free, "denial": denial(denied, token=True)}
    assert (await api.post("ana", REQUESTS, body)).status_code == 202


async def test_section_6_the_metadata_names_the_https_endpoint_for_requests(api: Api) -> None:
    answer = ok(await api.get(None, WELL_KNOWN))
    assert answer["access_request_endpoint"] == BASE + REQUESTS
    assert answer["capabilities"] == ["urn:openid:authzen:capability:access-request"]
    assert answer["access_request_profile_draft"] == "2026-06-11"


async def test_section_6_the_keys_of_what_we_sign_are_published(api: Api) -> None:
    answer = ok(await api.get(None, WELL_KNOWN))
    assert answer["jwks_uri"].startswith("https://")
    keys = ok(await api.get(None, answer["jwks_uri"].removeprefix(BASE)))["keys"]
    assert all(key["kid"] and key["use"] == "sig" and "d" not in key for key in keys)
    _, denied = await api.denied()
    await verified(api, denied["context"]["access_request"]["binding_token"])


async def test_section_7_a_role_that_is_not_there_cannot_be_asked_for(api: Api) -> None:
    answer = await api.evaluate("ana", {**question("ana"), "action": {"name": "no-such-role"}})
    assert "access_request" not in answer["context"]


async def test_section_7_a_requestable_denial_says_where_until_when_and_is_bound_twice(
    api: Api,
) -> None:
    _, denied = await api.denied()
    context, access = denied["context"], denied["context"]["access_request"]
    assert denied["decision"] is False
    assert access["endpoint"] == BASE + REQUESTS
    assert moment.parse(access["expires_at"]) > api.scenario.clock.wall
    assert context["evaluation_id"]
    assert access["binding_token"]
    assert context["reason"] == "approval_required"


async def test_section_7_a_denial_is_good_until_it_expires_and_not_longer(api: Api) -> None:
    for token in (False, True):
        body = await api.submission(token=token)
        late = await api.submission(token=token)
        api.scenario.clock.advance(timedelta(minutes=14, seconds=59))
        assert (await api.post("ana", REQUESTS, body)).status_code == 202
        api.scenario.clock.advance(timedelta(seconds=2))
        problem(await api.post("ana", REQUESTS, late), 410, "expired_denial")


async def test_section_7_a_binding_token_is_signed_and_a_changed_one_is_none(api: Api) -> None:
    body = await api.submission(token=True)
    header, claims, signature = parts(body["denial"]["binding_token"])
    claims["action"] = {"name": "personal"}
    forged = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    body["denial"]["binding_token"] = f"{forged}.{encoded(signature)}"
    body["action"] = {"name": "personal"}
    with pytest.raises(InvalidSignature):
        await verified(api, body["denial"]["binding_token"])
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_7_properties_without_measure_are_bound_by_the_evaluation_id_alone(
    api: Api,
) -> None:
    asked = question("ana")
    asked["resource"]["properties"] = {"long": "x" * 20_000}
    _, denied = await api.denied("ana", asked)
    assert "binding_token" not in denied["context"]["access_request"]
    body = {**asked, "denial": denial(denied)}
    assert (await api.post("ana", REQUESTS, body)).status_code == 202


async def test_section_7_1_an_evaluation_id_is_unique_stable_and_no_longer_good_than_its_denial(
    api: Api,
) -> None:
    _, one = await api.denied()
    asked, other = await api.denied()
    assert one["context"]["evaluation_id"] != other["context"]["evaluation_id"]
    claims = await verified(api, one["context"]["access_request"]["binding_token"])
    assert claims["evaluation_id"] == one["context"]["evaluation_id"]
    later = denial(other)
    later["expires_at"] = moment.text(api.scenario.clock.wall + timedelta(days=1))
    api.scenario.clock.advance(timedelta(minutes=16))
    problem(await api.post("ana", REQUESTS, {**asked, "denial": later}), 410, "expired_denial")


async def test_section_7_1_the_evaluation_stays_with_the_request_that_came_of_it(api: Api) -> None:
    for token in (False, True):
        asked, denied = await api.denied()
        body = {**asked, "denial": denial(denied, token=token)}
        task = (await api.post("ana", REQUESTS, body)).json()["task"]["id"]
        recorded = api.scenario.read(task).requested.evaluation
        assert recorded == denied["context"]["evaluation_id"].partition(".")[0]


# --- 10: requests ---------------------------------------------------------------------------------


async def test_section_10_1_a_request_has_subject_resource_action_and_a_denial_with_its_expiry(
    api: Api,
) -> None:
    body = await api.submission()
    for missing in ("subject", "resource", "action"):
        less = {name: value for name, value in body.items() if name != missing}
        problem(await api.post("ana", REQUESTS, less), 400)
    body["denial"] = {"evaluation_id": body["denial"]["evaluation_id"]}
    problem(await api.post("ana", REQUESTS, body), 400)


@pytest.mark.parametrize("name", ["resource", "action"])
async def test_section_10_1_items_stand_alone(api: Api, name: str) -> None:
    body = {**await several(api, PROD), name: question("ana")[name]}
    problem(await api.post("ana", REQUESTS, body), 400)


@pytest.mark.parametrize("name", ["resource", "action"])
async def test_section_10_1_each_item_has_a_resource_and_an_action(api: Api, name: str) -> None:
    body = await several(api, PROD)
    del body["items"][0][name]
    problem(await api.post("ana", REQUESTS, body), 400)


async def test_section_10_1_the_number_of_items_is_bounded(api: Api) -> None:
    body = await several(api, PROD)
    for items in (body["items"][:0], body["items"] * 21):
        problem(await api.post("ana", REQUESTS, {**body, "items": items}), 400)


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"resource": {"type": "resource", "id": "orders-staging"}},
        {"resource": {"type": "other", "id": "orders-prod"}},
        {"resource": {"type": "resource", "id": "orders-prod", "properties": {"a": 1}}},
        {"resource": {"type": "resource", "id": "orders-prod", "properties": {}}},
        {"action": {"name": "personal"}},
        {"action": {"name": "readwrite", "properties": {"soft": True}}},
        {"subject": {"type": "user", "id": "ana"}},
        {"context": {"seconds": 1800, "ticket": "OPS-2"}},
        {"context": {"seconds": 3600, "ticket": "OPS-1"}},
        {"context": {"seconds": 1800}},
        {"context": {"seconds": 1800, "ticket": "OPS-1", "emergency": True}},
    ],
)
async def test_section_10_1_a_request_about_anything_else_than_its_denial_is_refused(
    api: Api, change: Any, *, token: bool
) -> None:
    body = {**await api.submission(token=token), **change}
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")
    assert api.scenario.service.projections.cases() == []


async def test_section_10_1_properties_are_compared_by_what_they_mean(api: Api) -> None:
    asked = question("ana")
    asked["resource"]["properties"] = {"a": 1, "b": {"c": [1.0, True, None]}}
    for token in (False, True):
        _, denied = await api.denied("ana", asked)
        for same, properties in (
            (False, {"b": {"c": [1, 1, None]}, "a": 1}),
            (False, {"b": {"c": [1, True]}, "a": 1}),
            (False, {"b": {"c": [1, True, None]}, "a": "1"}),
            (True, {"b": {"c": [1, True, None]}, "a": 1.0}),
        ):
            resource = {**asked["resource"], "properties": properties}
            body = {**asked, "resource": resource, "denial": denial(denied, token=token)}
            response = await api.post("ana", REQUESTS, body)
            assert (response.status_code == 202) is same, properties


async def test_section_10_1_the_denial_of_somebody_else_is_none(api: Api) -> None:
    for token in (False, True):
        body = await api.submission("ana", token=token)
        mine = {**body, "subject": {"type": "human", "id": "dan"}}
        problem(await api.post("dan", REQUESTS, mine), 400, "invalid_denial_binding")
        problem(await api.post("dan", REQUESTS, body), 403)


async def test_section_10_1_every_item_needs_a_denial_that_covers_it(api: Api) -> None:
    body = await several(api, PROD, STAGING)
    top = body["items"][0]["denial"]
    del body["items"][1]["denial"]
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")
    problem(await api.post("ana", REQUESTS, {**body, "denial": top}), 400, "invalid_denial_binding")
    assert api.scenario.service.projections.cases() == []


async def test_section_10_1_what_a_client_says_about_itself_is_kept_and_decides_nothing(
    api: Api,
) -> None:
    client = {"id": "app", "source": {"session_id": "s-1", "external_url": "https://a.example"}}
    one = await api.submit()
    other = await api.submit(client=client)
    assert one["task"]["status"] == other["task"]["status"] == "pending"
    entry = api.scenario.entries(other["task"]["id"])[0]
    kept = api.scenario.service.section(entry, "submission")
    assert kept is not None
    assert json.loads(kept["client"]) == client


async def test_section_10_1_a_denial_without_binding_material_is_refused(api: Api) -> None:
    body = await api.submission()
    for empty in (None, {"expires_at": body["denial"]["expires_at"]}):
        problem(
            await api.post("ana", REQUESTS, {**body, "denial": empty}),
            400,
            "invalid_denial_binding",
        )


async def test_section_10_1_the_same_key_and_body_give_the_same_task(api: Api) -> None:
    body, key = await api.submission(), {"Idempotency-Key": "k-1"}
    first = (await api.post("ana", REQUESTS, body, **key)).json()["task"]
    again = (await api.post("ana", REQUESTS, body, **key)).json()["task"]
    fresh = await api.submission()
    anew = (await api.post("ana", REQUESTS, fresh, **key)).json()["task"]
    assert first["id"] == again["id"] == anew["id"]
    assert len(api.scenario.service.projections.cases()) == 1


async def test_section_10_1_a_retry_finds_its_task_when_the_denial_is_too_old_or_used(
    api: Api,
) -> None:
    body, key = await api.submission(token=True), {"Idempotency-Key": "k-1"}
    first = (await api.post("ana", REQUESTS, body, **key)).json()["task"]["id"]
    assert (await api.post("ana", REQUESTS, body, **key)).json()["task"]["id"] == first
    await api.scenario.advance(timedelta(hours=25))
    assert (await api.post("ana", REQUESTS, body, **key)).json()["task"]["id"] == first


async def test_section_10_1_a_key_with_another_body_is_a_duplicate(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    await api.post("ana", REQUESTS, await api.submission(), **key)
    several_now = await several(api, PROD)
    for other in (
        await api.submission(context={"ticket": "OPS-2"}),
        await api.submission(context={"business_justification": "other words"}),
        await api.submission(client={"id": "app"}),
        await api.submission(requested_access={"emergency": False, "requested_until": None}),
        several_now,
    ):
        if other.get("requested_access"):
            other["requested_access"] = {"requested_until": "2026-11-21T10:20:00Z"}
        problem(await api.post("ana", REQUESTS, other, **key), 409, "duplicate_request")
    assert len(api.scenario.service.projections.cases()) == 1


async def test_section_10_1_a_key_is_its_callers_own(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    one = await api.post("ana", REQUESTS, await api.submission("ana"), **key)
    other = await api.post("dan", REQUESTS, await api.submission("dan"), **key)
    assert one.json()["task"]["id"] != other.json()["task"]["id"]


async def test_section_10_1_requested_until_bounds_the_window(api: Api) -> None:
    until = moment.text(api.scenario.clock.wall + timedelta(minutes=10))
    task = (await api.submit(requested_access={"requested_until": until}))["task"]["id"]
    assert api.scenario.read(task).requested.seconds == 600
    for wrong in ("2026-11-21T09:00:00Z", "2026-11-21T10:10:00", "tomorrow"):
        body = await api.submission(requested_access={"requested_until": wrong})
        problem(await api.post("ana", REQUESTS, body), 400)


async def test_section_10_2_a_request_that_waits_is_accepted_and_says_where_to_look(
    api: Api,
) -> None:
    response = await api.post("ana", REQUESTS, await api.submission())
    task = response.json()["task"]
    assert response.status_code == 202
    assert task["status"] == "pending"
    assert task["status_endpoint"].startswith("https://")
    assert response.headers["location"] == task["status_endpoint"]
    assert response.headers["retry-after"] == "2"


async def test_section_10_2_a_request_that_is_decided_at_once_carries_its_result(api: Api) -> None:
    asked = question("ana")
    asked["resource"]["id"] = "orders-staging"
    _, denied = await api.denied("ana", asked)
    response = await api.post("ana", REQUESTS, {**asked, "denial": denial(denied)})
    answer = response.json()
    assert (response.status_code, answer["task"]["status"]) == (201, "approved")
    assert answer["result"]["mode"] == "reevaluate"
    asked = question("ana", ticket="")
    _, denied = await api.denied("ana", asked)
    refused = await api.post("ana", REQUESTS, {**asked, "denial": denial(denied)})
    assert (refused.status_code, refused.json()["task"]["status"]) == (201, "denied")
    assert "result" not in refused.json()


async def test_section_10_2_a_task_id_is_random_and_says_nothing(api: Api) -> None:
    ids = [(await api.submit())["task"]["id"] for _ in range(2)]
    ids += [(await api.post("ana", REQUESTS, await several(api, PROD))).json()["task"]["id"]]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[a-z]+_[a-z2-7]{26}", id_) for id_ in ids)


async def test_section_10_2_items_are_answered_each_in_its_place(api: Api) -> None:
    body = await several(api, STAGING, PROD, PERSONAL)
    body["items"][0]["resource"]["properties"] = {"a": 1.5, "é": None}
    asked = question("ana")
    asked |= {name: body["items"][0][name] for name in ("resource", "action")}
    body["items"][0]["denial"] = denial((await api.denied("ana", asked))[1])
    response = await api.post("ana", REQUESTS, body)
    task = response.json()["task"]
    assert (response.status_code, task["status"]) == (202, "pending")
    assert [each["status"] for each in task["items"]] == ["approved", "pending", "pending"]
    for sent, told in zip(body["items"], task["items"], strict=True):
        assert (told["resource"], told["action"]) == (sent["resource"], sent["action"])
    assert "result" in task["items"][0]
    assert "result" not in task["items"][1]
    assert "result" not in response.json()
    assert (await api.poll("ana", task["id"]))["task"]["items"][1] == task["items"][1]


async def test_section_10_2_items_are_one_batch_of_records_or_none(api: Api) -> None:
    size = api.scenario.service.log.size
    body = await several(api, PROD, PERSONAL, STAGING)
    task = (await api.post("ana", REQUESTS, body)).json()["task"]
    cases = task["display"]["urn:muniment:case"]
    assert len(cases) == 3
    assert {api.scenario.read(each["case"]).requested.batch for each in cases} == {task["id"]}
    assert api.scenario.service.log.size == size + 6
    broken = await several(api, PROD, PERSONAL)
    broken["items"][1]["denial"]["evaluation_id"] = "eval_" + "a" * 26 + ".AAAA"
    problem(await api.post("ana", REQUESTS, broken), 400, "invalid_denial_binding")
    assert api.scenario.service.log.size == size + 6


async def test_section_10_2_the_aggregate_is_computed_from_the_items(api: Api) -> None:
    task = (await api.post("ana", REQUESTS, await several(api, PROD, PERSONAL))).json()["task"]
    first, second = (each["case"] for each in task["display"]["urn:muniment:case"])
    await api.scenario.approve("bo", first)
    assert (await api.poll("ana", task["id"]))["task"]["status"] == "pending"
    await api.scenario.refuse("bo", second)
    done = await api.poll("ana", task["id"])
    assert done["task"]["status"] == "partial"
    assert [each["status"] for each in done["task"]["items"]] == ["approved", "denied"]
    assert "result" not in done
    both = (await api.post("ana", REQUESTS, await several(api, STAGING, STAGING))).json()
    assert both["task"]["status"] == "approved"


async def test_section_10_2_several_items_are_idempotent_like_one(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    body = await several(api, PROD, PERSONAL, token=True)
    first = (await api.post("ana", REQUESTS, body, **key)).json()["task"]
    again = (await api.post("ana", REQUESTS, body, **key)).json()["task"]
    assert again["id"] == first["id"]
    assert len(api.scenario.service.projections.cases()) == 2
    other = await several(api, PERSONAL, PROD)
    problem(await api.post("ana", REQUESTS, other, **key), 409, "duplicate_request")


# --- 11: the task ---------------------------------------------------------------------------------


async def test_section_11_a_pending_task_says_when_to_look_again(api: Api) -> None:
    task = (await api.submit())["task"]["id"]
    pending = await api.get("ana", f"{REQUESTS}/{task}")
    assert pending.headers["retry-after"] == "2"
    await api.scenario.approve("bo", task)
    assert "retry-after" not in (await api.get("ana", f"{REQUESTS}/{task}")).headers


async def test_section_11_a_handle_outlives_the_process_that_gave_it(api: Api) -> None:
    one = (await api.submit())["task"]["id"]
    both = (await api.post("ana", REQUESTS, await several(api, PROD, PERSONAL))).json()["task"][
        "id"
    ]
    body = await api.submission(token=True)
    async with api.client("ana", api.another_process()) as elsewhere:
        for task in (one, both):
            assert ok(await elsewhere.get(f"{REQUESTS}/{task}"))["task"]["status"] == "pending"
        assert (await elsewhere.post(REQUESTS, json=body)).status_code == 202
        cancelled = ok(await elsewhere.post(f"{REQUESTS}/{both}/cancel"))
    assert cancelled["task"]["status"] == "cancelled"


@pytest.mark.parametrize("status", ["approved", "denied", "expired", "cancelled"])
async def test_section_11_1_1_a_task_leaves_pending_once_and_stays_where_it_went(
    api: Api, status: str
) -> None:
    task = (await api.submit())["task"]["id"]
    if status == "approved":
        await api.scenario.approve("bo", task)
        await api.scenario.withdraw("ana", task)
    if status == "denied":
        await api.scenario.refuse("bo", task)
    if status == "cancelled":
        ok(await api.post("ana", f"{REQUESTS}/{task}/cancel", {"reason": "done", "comment": "x"}))
    for _ in range(2):
        await api.scenario.advance(timedelta(hours=9))
        assert (await api.poll("ana", task))["task"]["status"] == status


async def test_section_11_1_1_an_approval_that_ended_leaves_its_task_approved(api: Api) -> None:
    task = (await api.granted())["task"]["id"]
    await api.scenario.advance(timedelta(hours=2))
    assert api.scenario.read(task).state == "expired"
    assert (await api.poll("ana", task))["task"]["status"] == "approved"


async def test_section_11_3_an_approved_task_has_a_result_and_no_other_has(api: Api) -> None:
    approved = await api.approved()
    assert approved["result"]["mode"] == "reevaluate"
    denied = (await api.submit())["task"]["id"]
    assert "result" not in await api.poll("ana", denied)
    await api.scenario.refuse("bo", denied)
    assert "result" not in await api.poll("ana", denied)


async def test_section_11_3_each_approved_item_has_a_result_of_its_own(api: Api) -> None:
    task = (await api.post("ana", REQUESTS, await several(api, STAGING, PROD))).json()["task"]
    case = task["display"]["urn:muniment:case"][1]["case"]
    await api.scenario.approve("bo", case)
    items = (await api.poll("ana", task["id"]))["task"]["items"]
    ids = [each["result"]["approval"]["id"] for each in items]
    assert ids[1] == case
    assert len(set(ids)) == 2


async def test_section_11_3_a_task_that_nobody_knows_is_unknown(api: Api) -> None:
    for task in ("mun_" + "a" * 26, "bat_" + "a" * 26, "x", "%00"):
        problem(await api.get("ana", f"{REQUESTS}/{task}"), 404, "unknown_task")


async def test_section_11_4_a_pending_task_says_where_it_is_cancelled(api: Api) -> None:
    task = (await api.submit())["task"]
    assert task["links"]["cancel"] == task["status_endpoint"] + "/cancel"
    answer = ok(await api.post("ana", f"{REQUESTS}/{task['id']}/cancel", {}))
    assert answer["task"]["status"] == "cancelled"
    assert "links" not in answer["task"]
    assert api.scenario.read(task["id"]).state == "withdrawn"


async def test_section_11_4_what_was_decided_cannot_be_cancelled(api: Api) -> None:
    approved = (await api.approved())["task"]["id"]
    cancelled = (await api.submit())["task"]["id"]
    ok(await api.post("ana", f"{REQUESTS}/{cancelled}/cancel", None))
    for task in (approved, cancelled):
        problem(await api.post("ana", f"{REQUESTS}/{task}/cancel", {}), 409, "invalid_task_state")
    assert api.scenario.read(approved).state == "approved"


async def test_section_11_4_cancelling_needs_more_than_reading(api: Api) -> None:
    task = (await api.submit())["task"]["id"]
    problem(await api.post(None, f"{REQUESTS}/{task}/cancel", {}), 401)
    problem(await api.post("dan", f"{REQUESTS}/{task}/cancel", {}), 404, "unknown_task")
    ok(await api.get("bo", f"{REQUESTS}/{task}"))
    problem(await api.post("bo", f"{REQUESTS}/{task}/cancel", {}), 403)
    assert api.scenario.read(task).state == "pending"


async def test_section_11_4_cancelling_several_items_ends_those_that_wait(api: Api) -> None:
    task = (await api.post("ana", REQUESTS, await several(api, STAGING, PROD))).json()["task"]["id"]
    answer = ok(await api.post("ana", f"{REQUESTS}/{task}/cancel", {}))["task"]
    assert answer["status"] == "partial"
    assert [each["status"] for each in answer["items"]] == ["approved", "cancelled"]
    problem(await api.post("ana", f"{REQUESTS}/{task}/cancel", {}), 409, "invalid_task_state")


# --- 12: re-evaluation ----------------------------------------------------------------------------


async def reevaluated(api: Api, approval: Any, login: str = "ana", **change: Any) -> Any:
    body = {**question(login), **change}
    body["context"] = {**body["context"], "approval": approval}
    return await api.evaluate(login, body)


async def test_section_12_a_result_names_an_approval_and_its_end(api: Api) -> None:
    approval = (await api.approved())["result"]["approval"]
    assert re.fullmatch(r"[a-z]+_[a-z2-7]{26}", approval["id"])
    assert moment.parse(approval["approved_until"]) > moment.parse(approval["approved_at"])


async def test_section_12_an_approval_is_permitted_while_its_grant_lives(api: Api) -> None:
    approval = (await api.approved())["result"]["approval"]
    pending = (await reevaluated(api, approval))["context"]
    assert (pending["reason"], pending["next_action"]) == ("grant_pending", "retry")
    assert pending["retry_after"] > 0
    await api.scenario.pick_up("ana", approval["id"])
    answer = await reevaluated(api, approval)
    assert answer["decision"] is True
    until = moment.parse(answer["context"]["approval"]["approved_until"])
    assert until == api.scenario.clock.wall + timedelta(minutes=30)


async def test_section_12_a_known_id_alone_permits_nothing(api: Api) -> None:
    approval = {"id": (await api.granted())["task"]["id"]}
    for login, change, reason in (
        ("dan", {}, "approval_unverifiable"),
        ("ana", {"action": {"name": "personal"}}, "out_of_scope"),
        ("ana", {"resource": {"type": "resource", "id": "orders-staging"}}, "out_of_scope"),
    ):
        answer = await reevaluated(api, approval, login, **change)
        assert (answer["decision"], answer["context"]["reason"]) == (False, reason)
    assert (await reevaluated(api, approval))["decision"] is True


async def test_section_12_an_approval_that_is_none_is_unverifiable(api: Api) -> None:
    pending = (await api.submit())["task"]["id"]
    review = api.scenario.service.registry.policy
    assert review is not None
    for id_ in (pending, "mun_" + "a" * 26, "x", "", review.case):
        answer = await reevaluated(api, {"id": id_})
        assert answer["decision"] is False
        assert answer["context"]["reason"] == "approval_unverifiable"
        assert answer["context"]["next_action"] == "none"


async def test_section_12_the_state_is_signed_for_us_and_checked_with_the_approval(
    api: Api,
) -> None:
    one = await api.granted()
    approval = (await api.poll("ana", one["task"]["id"]))["result"]["approval"]
    claims = await verified(api, approval["state"])
    assert (claims["iss"], claims["aud"]) == (BASE, BASE)
    assert claims["approval_id"] == approval["id"]
    assert parts(approval["state"])[0]["kid"]
    assert (await reevaluated(api, approval))["decision"] is True


async def test_section_12_a_state_that_does_not_belong_there_is_rejected(api: Api) -> None:
    other = (await api.approved())["result"]["approval"]
    theirs = (await api.approved("dan"))["result"]["approval"]
    _, denied = await api.denied()
    mine = (await api.granted())["task"]["id"]
    approval = (await api.poll("ana", mine))["result"]["approval"]
    token = denied["context"]["access_request"]["binding_token"]
    header, claims, signature = parts(approval["state"])
    foreign = Ed25519PrivateKey.generate()
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    unsigned = encoded(json.dumps({**header, "alg": "none"}).encode())
    for state in (
        other["state"],
        theirs["state"],
        token,
        f"{signed}.{encoded(foreign.sign(signed.encode()))}",
        f"{unsigned}.{approval['state'].split('.')[1]}.",
        f"{signed}.{encoded(signature)}",
        "a.b.c",
        "é",
        {"id": mine},
        7,
    ):
        answer = await reevaluated(api, {**approval, "state": state})
        assert answer["decision"] is False, state
        assert answer["context"]["reason"] == "approval_unverifiable"


async def test_section_12_a_state_for_another_decision_point_is_rejected(api: Api) -> None:
    approval = (await api.poll("ana", (await api.granted())["task"]["id"]))["result"]["approval"]
    body = question("ana", approval=approval)
    async with api.client("ana") as client:
        elsewhere = await client.post(f"https://other.example{EVALUATION}", json=body)
    assert ok(elsewhere)["context"]["reason"] == "approval_unverifiable"


async def test_section_12_whoever_is_told_to_request_is_given_what_a_request_needs(
    api: Api,
) -> None:
    approval = (await api.granted())["result"]["approval"]
    await api.scenario.end("ana", approval["id"])
    answer = await reevaluated(api, approval)
    context = answer["context"]
    assert (context["reason"], context["next_action"]) == ("approval_expired", "request")
    body = {**question("ana"), "denial": denial(answer)}
    body["context"]["approval"] = approval
    assert (await api.post("ana", REQUESTS, body)).status_code == 202


@pytest.mark.parametrize("how", ["revoked", "ended", "expired", "withdrawn"])
async def test_section_12_an_approval_that_was_taken_back_permits_nothing(
    api: Api, how: str
) -> None:
    approval = (await (api.approved if how == "withdrawn" else api.granted)())["result"]["approval"]
    if how == "revoked":
        await api.scenario.revoke("admin", approval["id"])
    if how == "ended":
        await api.scenario.end("ana", approval["id"])
    if how == "expired":
        await api.scenario.advance(timedelta(minutes=30))
    if how == "withdrawn":
        await api.scenario.withdraw("ana", approval["id"])
    answer = await reevaluated(api, approval)
    assert answer["decision"] is False
    assert answer["context"]["reason"] == "approval_expired"


async def test_section_12_todays_policy_and_directory_decide_and_not_the_approval(
    api: Api,
) -> None:
    approval = (await api.granted())["result"]["approval"]
    policies = dict(api.scenario.policy)
    stricter = b'\n@id("freeze")\n@title("Nothing goes")\nforbid (principal, action == Muniment::Action::"request", resource);\n'
    api.scenario.policy = {**policies, "policies/99-freeze.cedar": stricter}
    await api.scenario.take_in()
    denied = await reevaluated(api, approval)
    assert (denied["decision"], denied["context"]["reason"]) == (False, "policy_denied")
    assert denied["context"]["next_action"] == "none"
    assert (await api.evaluate("ana", question("ana")))["decision"] is False
    api.scenario.policy = policies
    await api.scenario.take_in()
    assert (await reevaluated(api, approval))["decision"] is True


async def test_section_12_what_the_approval_rests_on_stands_in_the_log(api: Api) -> None:
    asked, denied = await api.denied()
    client = {"id": "app"}
    body = {**asked, "denial": denial(denied), "client": client}
    task = (await api.post("ana", REQUESTS, body)).json()["task"]["id"]
    await api.scenario.approve("bo", task)
    case = api.scenario.read(task)
    assert case.requested.requester == api.scenario.ids["ana"]
    assert (case.requested.resource, case.requested.role) == ("orders-prod", "readwrite")
    assert case.requested.evaluation
    assert case.approved_at is not None
    assert "submission" in api.scenario.entries(task)[0].header.sections


async def test_section_12_the_exact_match_is_in_scope(api: Api) -> None:
    approval = (await api.granted())["result"]["approval"]
    assert (await reevaluated(api, approval))["decision"] is True
    broader = await reevaluated(api, approval, context={"seconds": 60})
    assert broader["decision"] is True, "a grant is of a role, whatever else is asked"


# --- 14, 15: errors and extensions ----------------------------------------------------------------


async def test_section_14_problems_are_problem_documents_of_the_profiles_types(api: Api) -> None:
    found = problem(await api.get("ana", f"{REQUESTS}/x"), 404, "unknown_task")
    assert found["status"] == 404
    assert found["title"]
    assert found["detail"]


async def test_section_15_1_members_of_our_own_are_urns_and_stand_where_they_may(api: Api) -> None:
    known = {"id", "status", "status_endpoint", "progress", "links", "display", "items"}
    one = await api.submit()
    both = (await api.post("ana", REQUESTS, await several(api, PROD))).json()
    polled = await api.approved()
    for answer in (one, both, polled):
        assert answer.keys() <= {"task", "result"}
        assert answer["task"].keys() <= known
        assert all(URN.match(name) for name in answer["task"]["display"])
        for each in answer["task"].get("items", ()):
            assert each.keys() <= {"resource", "action", "status", "result"}


async def test_section_15_3_unknown_members_are_ignored(api: Api) -> None:
    body = await api.submission(token=False)
    body |= {"surprise": [1], "client": {"id": "x", "surprise": 1, "source": {"x": 1}}}
    body["requested_access"] = {"https://example.com/x": {}}
    body["context"] |= {"vendor.example.com/foo": 1}
    body["denial"] |= {"surprise": 1, "template": "t", "reason": "r"}
    assert (await api.post("ana", REQUESTS, body)).status_code == 202


# --- 17, 18, 19: what a decision point and an access request service have to do -------------------


async def test_section_18_without_a_token_nothing_is_accepted(api: Api) -> None:
    problem(await api.post(None, REQUESTS, await api.submission()), 401)


async def test_section_18_a_role_that_went_away_meanwhile_is_not_requestable(api: Api) -> None:
    body = await api.submission()
    del api.scenario.roles["orders-prod", "readwrite"]
    await api.scenario.take_in()
    problem(await api.post("ana", REQUESTS, body), 400, "not_requestable")


async def test_section_18_an_evaluation_id_that_is_forged_is_refused(api: Api) -> None:
    body = await api.submission()
    id_ = body["denial"]["evaluation_id"]
    name, _, rest = id_.partition(".")
    raw = decoded(rest)
    for forged in (
        "eval_AAAA",
        "eval_.",
        f"{name}.{encoded(bytes([raw[0] ^ 1]) + raw[1:])}",
        f"{name}.{encoded(raw[:32] + bytes(8) + raw[40:])}",
        f"{name}.{encoded(raw[:40] + sha256(b'other').digest())}",
        f"eval_{'a' * 26}.{rest}",
        f"{name.upper()}.{rest}",
        id_.removeprefix("eval_"),
        id_ + "=",
        "é",
    ):
        body["denial"]["evaluation_id"] = forged
        problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_18_a_task_is_bound_to_what_was_submitted_and_who_submitted_it(
    api: Api,
) -> None:
    task = (await api.submit())["task"]["id"]
    asked = api.scenario.read(task).requested
    assert (asked.requester, asked.actor.principal) == (api.scenario.ids["ana"],) * 2
    assert (asked.resource, asked.role, asked.seconds) == ("orders-prod", "readwrite", 1800)


async def test_section_18_requests_and_approvals_expire(api: Api) -> None:
    waiting = (await api.submit())["task"]["id"]
    approved = (await api.approved())["task"]["id"]
    await api.scenario.advance(timedelta(hours=9))
    assert (await api.poll("ana", waiting))["task"]["status"] == "expired"
    assert api.scenario.read(approved).state == "lapsed"


async def test_section_18_nothing_is_approved_before_every_approval_is_there(api: Api) -> None:
    asked = question("ana")
    asked["action"]["name"] = "personal"
    _, denied = await api.denied("ana", asked)
    needed = denied["context"]["outlook"]["approvals"]
    task = (await api.post("ana", REQUESTS, {**asked, "denial": denial(denied)})).json()["task"]
    assert task["status"] == "pending"
    assert task["progress"]["total_steps"] == sum(needed.values())
    assert task["progress"]["current_step"] == 1


async def test_section_18_nobody_who_asked_can_approve(api: Api) -> None:
    task = (await api.submit("bo"))["task"]["id"]
    problem(await api.post("bo", f"/v1/cases/{task}/approval", {}), 403)
    assert (await api.poll("bo", task))["task"]["status"] == "pending"


async def test_section_18_the_records_tell_request_decision_approval_and_result(api: Api) -> None:
    task = (await api.granted())["task"]["id"]
    assert api.scenario.kinds(task) == [
        "access:requested",
        "decision:evaluated",
        "decision:evaluated",
        "approval:given",
        "decision:evaluated",
        "grant:authorized",
        "credential:issued",
    ]


async def test_section_19_a_stranger_does_not_learn_that_a_task_exists(api: Api) -> None:
    one = (await api.submit())["task"]["id"]
    both = (await api.post("ana", REQUESTS, await several(api, PROD))).json()["task"]["id"]
    for task in (one, both):
        problem(await api.get(None, f"{REQUESTS}/{task}"), 401)
        for login in ("dan", "gate"):
            problem(await api.get(login, f"{REQUESTS}/{task}"), 404, "unknown_task")


async def test_section_19_a_bearer_token_is_asked_for_by_name(api: Api) -> None:
    response = await api.get(None, f"{REQUESTS}/x")
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_section_19_only_the_subject_itself_asks_for_access(api: Api) -> None:
    asked, denied = await api.denied("gate", question("ana"))
    body = {**asked, "denial": denial(denied)}
    problem(await api.post("gate", REQUESTS, body), 403)
    assert (await api.post("ana", REQUESTS, body)).status_code == 202, "what a gate was told"


@pytest.mark.parametrize(
    "actor",
    [
        {"id": "bo"},
        {"id": "ana", "issuer": "https://elsewhere.example"},
        {"id": "ana", "act": {"sub": "bo"}},
        {"id": "ana", "act": {"sub": "ana", "act": {"sub": "ana"}}},
        {"id": "ana", "act": {}},
    ],
)
async def test_section_19_1_a_chain_that_the_credential_does_not_stand_for_is_refused(
    api: Api, actor: Any
) -> None:
    body = await api.submission(client={"actor": actor})
    problem(await api.post("ana", REQUESTS, body), 403)
    assert api.scenario.service.projections.cases() == []


async def test_section_19_1_the_whole_chain_of_an_agent_is_checked(api: Api) -> None:
    for actor, status in (
        ({"id": "robo", "type": "ai_agent", "act": {"sub": "ana", "iss": BASE}}, 201),
        ({"id": "robo", "issuer": BASE}, 201),
        ({"id": "robo", "act": {"sub": "bo"}}, 403),
        ({"id": "robo", "act": {"sub": "ana", "act": {"sub": "cy"}}}, 403),
    ):
        body = await api.submission("robo", client={"actor": actor})
        response = await api.post("robo", REQUESTS, body)
        assert response.status_code in (status, status + 1 if status == 201 else status)


# --- 21: security ---------------------------------------------------------------------------------


async def test_section_21_1_3_an_approval_of_somebody_else_helps_nobody(api: Api) -> None:
    approval = (await api.granted("ana"))["result"]["approval"]
    answer = await reevaluated(api, approval, "dan")
    assert answer["decision"] is False
    problem(await api.post("dan", EVALUATION, question("ana", approval=approval)), 403)


async def test_section_21_1_4_a_token_has_the_claims_that_bind_it(api: Api) -> None:
    asked, denied = await api.denied()
    access = denied["context"]["access_request"]
    claims = await verified(api, access["binding_token"])
    assert claims["iss"] == claims["aud"] == BASE
    assert claims["denial_expires_at"] == access["expires_at"]
    assert datetime.fromtimestamp(claims["exp"], UTC) == moment.parse(access["expires_at"])
    assert len(claims["jti"]) == 32
    for name in ("subject", "resource", "action"):
        assert claims[name] == asked[name]


async def test_section_21_1_4_a_token_for_another_service_or_kind_is_refused(api: Api) -> None:
    body = await api.submission(token=True)
    async with api.client("ana") as client:
        elsewhere = await client.post(f"https://other.example{REQUESTS}", json=body)
    problem(elsewhere, 400, "invalid_denial_binding")
    state = (await api.approved())["result"]["approval"]["state"]
    body["denial"]["binding_token"] = state
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256"])
async def test_section_21_1_4_a_token_of_another_algorithm_is_refused(api: Api, alg: str) -> None:
    body = await api.submission(token=True)
    header, claims, signature = parts(body["denial"]["binding_token"])
    head = encoded(json.dumps({**header, "alg": alg}).encode())
    payload = body["denial"]["binding_token"].split(".")[1]
    body["denial"]["binding_token"] = f"{head}.{payload}.{encoded(signature)}"
    assert claims["action"] == body["action"]
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_21_1_4_a_token_works_once(api: Api) -> None:
    body = await api.submission(token=True)
    assert (await api.post("ana", REQUESTS, body)).status_code == 202
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")
    async with api.client("ana", api.another_process()) as elsewhere:
        problem(await elsewhere.post(REQUESTS, json=body), 400, "invalid_denial_binding")
    assert len(api.scenario.service.projections.cases()) == 1


async def test_section_21_1_4_a_token_is_good_for_one_item_only(api: Api) -> None:
    body = await several(api, PROD, token=True)
    body["items"] *= 2
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_21_1_4_an_expiry_other_than_the_protected_one_is_refused(api: Api) -> None:
    for minutes in (1, 60):
        body = await api.submission(token=True)
        body["denial"]["expires_at"] = moment.text(
            api.scenario.clock.wall + timedelta(minutes=minutes)
        )
        problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_21_1_4_token_and_evaluation_id_belong_together(api: Api) -> None:
    body = await api.submission(token=True)
    body["denial"]["evaluation_id"] = (await api.submission())["denial"]["evaluation_id"]
    problem(await api.post("ana", REQUESTS, body), 400, "invalid_denial_binding")


async def test_section_21_1_4_the_actor_within_a_subject_may_move_to_the_client(api: Api) -> None:
    asked = question("ana")
    asked["subject"]["properties"] = {"act": {"sub": "ana", "iss": BASE}}
    for token in (False, True):
        _, denied = await api.denied("ana", asked)
        body = {**question("ana"), "denial": denial(denied, token=token)}
        body["client"] = {"actor": {"id": "ana"}}
        assert (await api.post("ana", REQUESTS, body)).status_code == 202


async def test_section_21_2_1_what_is_requested_is_no_policy(api: Api) -> None:
    until = moment.text(api.scenario.clock.wall + timedelta(days=2))
    body = await api.submission(requested_access={"requested_until": until})
    body["denial"]["template"] = "auto-approve"
    answer = (await api.post("ana", REQUESTS, body)).json()
    assert answer["task"]["status"] == "denied", "longer than the rules allow"


async def test_section_21_2_3_an_emergency_is_short_loud_and_reviewed(api: Api) -> None:
    body = await api.submission(
        "bo",
        context={"incident": "INC-1", "business_justification": "the shop is down"},
        requested_access={"emergency": True},
    )
    answer = (await api.post("bo", REQUESTS, body)).json()
    case = api.scenario.read(answer["task"]["id"])
    assert case.break_glass
    assert case.requested.emergency
    assert api.scenario.review_of(case)
    assert any("post-review" in each for each in case.obligations)
    together = await several(api, PROD, STAGING, requested_access={"emergency": True})
    problem(await api.post("ana", REQUESTS, together), 400)


async def test_section_21_4_4_asking_is_limited_by_a_quota(api: Api) -> None:
    api.scenario.service.limits = Limits(asks_per_minute=3)
    body = await several(api, PROD, PERSONAL, STAGING)
    assert (await api.post("ana", REQUESTS, body)).status_code == 202
    refused = await api.post("ana", REQUESTS, await api.submission())
    problem(refused, 429)
    assert refused.headers["retry-after"]


async def test_every_record_that_the_profile_writes_is_of_a_known_kind(api: Api) -> None:
    task = (await api.submit(client={"id": "app"}))["task"]["id"]
    assert [type(record) for record in api.scenario.records(task)] == [
        records.AccessRequested,
        records.DecisionEvaluated,
    ]
