"""
OpenID AuthZEN Authorization API 1.0, section by section: what it demands of a decision point.

`docs/reference/authzen.md` lists every demand of the text beside its test.
"""

import json
from datetime import timedelta
from typing import Any

import pytest
from standard_api import (
    BASE,
    EVALUATION,
    EVALUATIONS,
    WELL_KNOWN,
    Api,
    ok,
    problem,
    question,
)

SUBJECTS, RESOURCES, ACTIONS = (
    f"/access/v1/search/{kind}" for kind in ("subject", "resource", "action")
)
READWRITE = {"name": "readwrite"}
ORDERS = {"type": "resource", "id": "orders-prod"}
ANA = {"type": "human", "id": "ana"}


def without(body: Any, *path: str) -> Any:
    """The same without one of its members."""
    if len(path) == 1:
        return {k: v for k, v in body.items() if k != path[0]}
    return {**body, path[0]: without(body[path[0]], *path[1:])}


# --- 5, 6: the information model, and one evaluation --------------------------------------------


@pytest.mark.parametrize("path", [("subject",), ("subject", "type"), ("subject", "id")])
async def test_section_5_1_a_subject_has_a_type_and_an_id(api: Api, path: tuple[str, ...]) -> None:
    problem(await api.post("ana", EVALUATION, without(question("ana"), *path)), 400)


@pytest.mark.parametrize("path", [("resource",), ("resource", "type"), ("resource", "id")])
async def test_section_5_2_a_resource_has_a_type_and_an_id(api: Api, path: tuple[str, ...]) -> None:
    problem(await api.post("ana", EVALUATION, without(question("ana"), *path)), 400)


@pytest.mark.parametrize("path", [("action",), ("action", "name")])
async def test_section_5_3_an_action_has_a_name(api: Api, path: tuple[str, ...]) -> None:
    problem(await api.post("ana", EVALUATION, without(question("ana"), *path)), 400)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": {"type": 1, "id": "ana"}},
        {"subject": {"type": "human", "id": ["ana"]}},
        {"subject": "ana"},
        {"resource": {"type": "resource", "id": None}},
        {"action": {"name": {}}},
        {"subject": {"type": "human", "id": "ana", "properties": "none"}},
        {"context": []},
    ],
)
async def test_section_5_members_have_the_types_of_the_information_model(
    api: Api, wrong: Any
) -> None:
    problem(await api.post("ana", EVALUATION, {**question("ana"), **wrong}), 400)


async def test_section_5_5_a_decision_is_a_boolean_with_an_object_as_context(api: Api) -> None:
    answer = await api.evaluate("ana", question("ana"))
    assert answer["decision"] is False
    assert isinstance(answer["context"], dict)


async def test_section_5_5_access_is_denied_unless_a_live_grant_stands(api: Api) -> None:
    asked = question("ana")
    task = (await api.submit())["task"]["id"]
    assert (await api.evaluate("ana", asked))["decision"] is False
    await api.scenario.approve("bo", task)
    assert (await api.evaluate("ana", asked))["decision"] is False
    await api.scenario.pick_up("ana", task)
    assert (await api.evaluate("ana", asked))["decision"] is True
    assert (await api.evaluate("dan", question("dan")))["decision"] is False
    await api.scenario.advance(timedelta(minutes=30))
    assert (await api.evaluate("ana", asked))["decision"] is False


async def test_section_6_1_an_evaluation_needs_no_context(api: Api) -> None:
    assert (await api.evaluate("ana", without(question("ana"), "context")))["decision"] is False


async def test_section_6_2_the_answer_to_an_evaluation_is_a_decision(api: Api) -> None:
    await api.granted()
    answer = await api.evaluate("ana", question("ana"))
    assert answer.keys() == {"decision", "context"}
    assert answer["decision"] is True


async def test_section_6_2_the_same_question_gets_the_same_decision_and_leaves_no_record(
    api: Api,
) -> None:
    size = api.scenario.service.log.size
    answers = [(await api.evaluate("ana", question("ana")))["decision"] for _ in range(3)]
    assert answers == [False] * 3
    assert api.scenario.service.log.size == size


# --- 7: several evaluations ---------------------------------------------------------------------


async def test_section_7_1_without_evaluations_the_message_is_one_evaluation(api: Api) -> None:
    for body in (question("ana"), {**question("ana"), "evaluations": []}):
        answer = ok(await api.post("ana", EVALUATIONS, body))
        assert answer["decision"] is False
        assert "evaluations" not in answer


async def test_section_7_1_1_what_an_evaluation_omits_stands_at_the_top(api: Api) -> None:
    await api.granted()
    body = {
        **without(question("ana"), "action"),
        "evaluations": [{"action": READWRITE}, {"action": {"name": "personal"}}],
    }
    answer = ok(await api.post("ana", EVALUATIONS, body))
    assert [each["decision"] for each in answer["evaluations"]] == [True, False]


async def test_section_7_1_1_what_an_evaluation_says_replaces_the_default_as_a_whole(
    api: Api,
) -> None:
    body = {
        **question("ana"),
        "evaluations": [{}, {"context": {"ticket": "OPS-2"}}, {"context": {"seconds": 60}}],
    }
    answer = ok(await api.post("ana", EVALUATIONS, body))
    outlooks = [each["context"]["outlook"]["outcome"] for each in answer["evaluations"]]
    assert outlooks == ["needs_approvals", "needs_approvals", "deny"], "no ticket is inherited"


async def test_section_7_1_1_an_evaluation_that_lacks_a_member_is_denied_and_the_others_answered(
    api: Api,
) -> None:
    await api.granted()
    body = {
        "subject": ANA,
        "resource": ORDERS,
        "evaluations": [{"action": READWRITE}, {}, {"action": READWRITE}],
    }
    answer = ok(await api.post("ana", EVALUATIONS, body))["evaluations"]
    assert [each["decision"] for each in answer] == [True, False, True]
    assert answer[1]["context"]["error"]["status"] == 400


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        (None, [True, False, True, False]),
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_section_7_1_2_1_all_three_semantics(
    api: Api, semantic: str | None, decisions: list[bool]
) -> None:
    await api.granted()
    names = ("readwrite", "personal", "readwrite", "personal")
    body = {**question("ana"), "evaluations": [{"action": {"name": name}} for name in names]}
    if semantic is not None:
        body["options"] = {"evaluations_semantic": semantic, "another_option": "value"}
    answer = ok(await api.post("ana", EVALUATIONS, body))
    assert [each["decision"] for each in answer["evaluations"]] == decisions
    assert "decision" not in answer


async def test_section_7_1_2_1_permit_on_first_permit_goes_on_until_there_is_one(api: Api) -> None:
    await api.granted()
    names = ("personal", "readwrite", "personal")
    body = {
        **question("ana"),
        "evaluations": [{"action": {"name": name}} for name in names],
        "options": {"evaluations_semantic": "permit_on_first_permit"},
    }
    answer = ok(await api.post("ana", EVALUATIONS, body))
    assert [each["decision"] for each in answer["evaluations"]] == [False, True]


async def test_section_7_1_2_1_another_semantic_is_a_bad_request(api: Api) -> None:
    body = {**question("ana"), "evaluations": [{}], "options": {"evaluations_semantic": "any"}}
    problem(await api.post("ana", EVALUATIONS, body), 400)


async def test_section_7_2_decisions_come_in_the_order_of_the_evaluations(api: Api) -> None:
    items = [{"context": {}}, {}, {"action": {"name": "nothing-of-that-name"}}]
    body = {**question("ana"), "evaluations": items}
    answer = ok(await api.post("ana", EVALUATIONS, body))["evaluations"]
    assert [each["context"]["reason"] for each in answer] == [
        "policy_denied",
        "approval_required",
        "not_requestable",
    ]


async def test_section_7_2_1_asking_about_others_denies_only_the_evaluation_that_does_so(
    api: Api,
) -> None:
    body = {**question("ana"), "evaluations": [{}, {"subject": {"type": "human", "id": "bo"}}]}
    answer = ok(await api.post("ana", EVALUATIONS, body))["evaluations"]
    assert [each["decision"] for each in answer] == [False, False]
    assert answer[1]["context"]["error"]["status"] == 403


async def test_section_11_7_the_number_of_evaluations_is_bounded(api: Api) -> None:
    body = {**question("ana"), "evaluations": [{"action": {"name": "x"}}] * 101}
    problem(await api.post("ana", EVALUATIONS, body), 400)


# --- 8: search ----------------------------------------------------------------------------------


async def test_section_8_1_every_result_is_one_that_an_evaluation_permits(api: Api) -> None:
    await api.granted("ana")
    await api.granted("dan")
    body = {"subject": {"type": "human"}, "resource": ORDERS, "action": READWRITE}
    found = ok(await api.post("gate", SUBJECTS, body))["results"]
    assert {each["id"] for each in found} == {"ana", "dan"}
    for each in found:
        asked = {"subject": each, "resource": ORDERS, "action": READWRITE}
        assert (await api.evaluate("gate", asked))["decision"] is True
    await api.scenario.advance(timedelta(minutes=30))
    assert ok(await api.post("gate", SUBJECTS, body))["results"] == []


async def test_section_8_2_a_partial_result_carries_a_token_and_the_last_page_an_empty_one(
    api: Api,
) -> None:
    await api.granted("ana")
    await api.granted("dan")
    body: Any = {"subject": {"type": "human"}, "resource": ORDERS, "action": READWRITE}
    first = ok(await api.post("gate", SUBJECTS, {**body, "page": {"limit": 1}}))
    assert first["page"]["next_token"]
    assert first["page"]["count"] == len(first["results"]) == 1
    page = {"limit": 1, "token": first["page"]["next_token"]}
    second = ok(await api.post("gate", SUBJECTS, {**body, "page": page}))
    assert second["page"]["next_token"] == ""
    assert {each["id"] for each in first["results"] + second["results"]} == {"ana", "dan"}


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"type": "workload"}},
        {"action": {"name": "personal"}},
        {"resource": {"type": "resource", "id": "orders-staging"}},
        {"context": {"ticket": "OPS-2"}},
        {"page": {"limit": 2}},
    ],
)
async def test_section_8_2_1_a_token_with_another_query_is_a_bad_request(
    api: Api, change: Any
) -> None:
    await api.granted("ana")
    await api.granted("dan")
    body: Any = {
        "subject": {"type": "human"},
        "resource": ORDERS,
        "action": READWRITE,
        "page": {"limit": 1},
    }
    token = ok(await api.post("gate", SUBJECTS, body))["page"]["next_token"]
    page = {**body["page"], **change.get("page", {}), "token": token}
    problem(await api.post("gate", SUBJECTS, {**body, **change, "page": page}), 400)


async def test_section_8_2_1_a_token_that_is_made_up_or_of_somebody_else_is_a_bad_request(
    api: Api,
) -> None:
    await api.granted("ana")
    await api.granted("dan")
    body: Any = {"subject": {"type": "human"}, "resource": ORDERS, "action": READWRITE}
    first = ok(await api.post("gate", SUBJECTS, {**body, "page": {"limit": 1}}))
    stolen = {"limit": 1, "token": first["page"]["next_token"]}
    problem(await api.post("admin", SUBJECTS, {**body, "page": stolen}), 400)
    for token in ("x", "AAAA", "é", stolen["token"] + "A", "AAAAAAAAAAI" + stolen["token"][11:]):
        page = {"limit": 1, "token": token}
        problem(await api.post("gate", SUBJECTS, {**body, "page": page}), 400)


@pytest.mark.parametrize("limit", [-1, 1001, "10", 1.5])
async def test_section_8_2_1_a_limit_is_a_number_that_is_not_negative(api: Api, limit: Any) -> None:
    body = {"subject": ANA, "resource": ORDERS, "page": {"limit": limit}}
    problem(await api.post("ana", ACTIONS, body), 400)


async def test_section_8_2_1_a_limit_of_nothing_gives_no_results(api: Api) -> None:
    await api.granted()
    body = {"subject": ANA, "resource": ORDERS, "page": {"limit": 0}}
    answer = ok(await api.post("ana", ACTIONS, body))
    assert answer["results"] == []
    assert answer["page"]["next_token"]


async def test_section_8_3_results_are_of_the_type_that_was_asked_for(api: Api) -> None:
    await api.granted("ana")
    body = {"resource": ORDERS, "action": READWRITE}
    for kind, ids in (("human", ["ana"]), ("workload", []), ("starship", [])):
        answer = ok(await api.post("gate", SUBJECTS, {"subject": {"type": kind}, **body}))
        assert answer["results"] == [{"type": kind, "id": id_} for id_ in ids]
    other = {"subject": ANA, "resource": {"type": "starship"}, "action": READWRITE}
    assert ok(await api.post("ana", RESOURCES, other))["results"] == []


async def test_section_8_4_1_a_subject_search_ignores_the_id_of_its_subject(api: Api) -> None:
    await api.granted("ana")
    body = {"subject": {"type": "human", "id": "bo"}, "resource": ORDERS, "action": READWRITE}
    assert ok(await api.post("gate", SUBJECTS, body))["results"] == [ANA]


@pytest.mark.parametrize(
    "path", [("subject",), ("subject", "type"), ("action",), ("resource",), ("resource", "id")]
)
async def test_section_8_4_1_a_subject_search_names_type_action_and_resource(
    api: Api, path: tuple[str, ...]
) -> None:
    body = {"subject": {"type": "human"}, "resource": ORDERS, "action": READWRITE}
    problem(await api.post("gate", SUBJECTS, without(body, *path)), 400)


async def test_section_8_4_who_else_has_access_is_not_for_everybody(api: Api) -> None:
    body = {"subject": {"type": "human"}, "resource": ORDERS, "action": READWRITE}
    problem(await api.post("ana", SUBJECTS, body), 403)


async def test_section_8_5_a_resource_search_finds_where_access_is_there(api: Api) -> None:
    body = {"subject": ANA, "resource": {"type": "resource"}, "action": READWRITE}
    assert ok(await api.post("ana", RESOURCES, body))["results"] == []
    await api.granted()
    assert ok(await api.post("ana", RESOURCES, body))["results"] == [ORDERS]


async def test_section_8_5_1_a_resource_search_ignores_the_id_of_its_resource(api: Api) -> None:
    await api.granted()
    other = {"type": "resource", "id": "orders-staging"}
    body = {"subject": ANA, "resource": other, "action": READWRITE}
    assert ok(await api.post("ana", RESOURCES, body))["results"] == [ORDERS]


@pytest.mark.parametrize(
    "path", [("subject",), ("subject", "id"), ("action",), ("resource",), ("resource", "type")]
)
async def test_section_8_5_1_a_resource_search_names_subject_action_and_type(
    api: Api, path: tuple[str, ...]
) -> None:
    body = {"subject": ANA, "resource": {"type": "resource"}, "action": READWRITE}
    problem(await api.post("ana", RESOURCES, without(body, *path)), 400)


async def test_section_8_6_an_action_search_finds_the_roles_that_are_held(api: Api) -> None:
    body = {"subject": ANA, "resource": ORDERS}
    assert ok(await api.post("ana", ACTIONS, body))["results"] == []
    await api.granted()
    assert ok(await api.post("ana", ACTIONS, body))["results"] == [READWRITE]


@pytest.mark.parametrize(
    "path", [("subject",), ("subject", "id"), ("resource",), ("resource", "id")]
)
async def test_section_8_6_1_an_action_search_names_subject_and_resource(
    api: Api, path: tuple[str, ...]
) -> None:
    problem(
        await api.post("ana", ACTIONS, without({"subject": ANA, "resource": ORDERS}, *path)), 400
    )


async def test_section_8_a_search_for_what_nobody_knows_is_empty(api: Api) -> None:
    nobody = {"type": "human", "id": "nobody"}
    nothing = {"type": "resource", "id": "nothing"}
    for path, body in (
        (SUBJECTS, {"subject": {"type": "human"}, "resource": nothing, "action": READWRITE}),
        (RESOURCES, {"subject": nobody, "resource": {"type": "resource"}, "action": READWRITE}),
        (ACTIONS, {"subject": nobody, "resource": ORDERS}),
    ):
        assert ok(await api.post("gate", path, body))["results"] == []


# --- 9: metadata --------------------------------------------------------------------------------


async def test_section_9_1_1_the_metadata_names_the_decision_point_and_each_endpoint(
    api: Api,
) -> None:
    answer = ok(await api.get(None, WELL_KNOWN))
    assert answer["policy_decision_point"] == BASE
    assert answer["access_evaluation_endpoint"] == BASE + EVALUATION
    assert answer["access_evaluations_endpoint"] == BASE + EVALUATIONS
    for kind, path in (("subject", SUBJECTS), ("resource", RESOURCES), ("action", ACTIONS)):
        assert answer[f"search_{kind}_endpoint"] == BASE + path


async def test_section_9_2_the_metadata_lies_at_the_well_known_place_for_everybody(
    api: Api,
) -> None:
    response = await api.get(None, WELL_KNOWN)
    assert response.status_code == 200
    assert "max-age" in response.headers["cache-control"]


async def test_section_9_2_2_the_metadata_is_an_object_without_empty_parameters(api: Api) -> None:
    answer = ok(await api.get(None, WELL_KNOWN))
    assert isinstance(answer, dict)
    assert all(answer.values())


async def test_section_9_2_3_the_decision_point_is_the_one_that_the_address_was_made_from(
    api: Api,
) -> None:
    async with api.client(None) as client:
        answer = ok(await client.get(f"https://pdp.example.net{WELL_KNOWN}"))
    assert answer["policy_decision_point"] == "https://pdp.example.net"


# --- 10: transport ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS])
@pytest.mark.parametrize("content", [b"[]", b'"x"', b"1", b"null", b"", b"{", b"\xff"])
async def test_section_10_1_1_a_body_that_is_no_object_is_a_bad_request(
    api: Api, path: str, content: bytes
) -> None:
    async with api.client("ana") as client:
        headers = {"Content-Type": "application/json"}
        problem(await client.post(path, content=content, headers=headers), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_section_10_1_a_body_of_another_content_type_is_a_bad_request(
    api: Api, kind: str | None
) -> None:
    async with api.client("ana") as client:
        content = json.dumps(question("ana")).encode()
        headers = {"Content-Type": kind} if kind else {}
        problem(await client.post(EVALUATION, content=content, headers=headers), 400)


async def test_section_10_1_1_unknown_members_are_ignored_and_their_order_means_nothing(
    api: Api,
) -> None:
    await api.granted()
    body = {
        "surprise": {"deep": [1, 2.5, None]},
        **dict(reversed(question("ana").items())),
        "subject": {"id": "ana", "surprise": 1, "type": "human", "properties": {"a": {"b": 1.5}}},
    }
    assert (await api.evaluate("ana", body))["decision"] is True


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS])
async def test_section_10_1_2_without_a_valid_token_the_answer_is_401_with_a_challenge(
    api: Api, path: str
) -> None:
    response = await api.post(None, path, question("ana"))
    problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_section_10_1_2_a_denial_is_a_successful_answer_and_no_error(api: Api) -> None:
    body = {**question("ana"), "action": {"name": "nothing-of-that-name"}}
    assert (await api.evaluate("ana", body))["decision"] is False


async def test_section_10_1_2_asking_about_others_needs_a_right_of_its_own(api: Api) -> None:
    await api.granted("ana")
    problem(await api.post("dan", EVALUATION, question("ana")), 403)
    assert (await api.evaluate("gate", question("ana")))["decision"] is True


@pytest.mark.parametrize(
    "id_", ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "any string, {1} of ours", "x" * 500, "\xfcber"]
)
async def test_section_10_1_3_the_answer_carries_the_request_id_that_was_sent(
    api: Api, id_: str
) -> None:
    async with api.client("ana") as client:
        headers = [(b"X-Request-ID", id_.encode("latin-1"))]
        for sent in (
            await client.post(EVALUATION, json=question("ana"), headers=headers),
            await client.post(EVALUATION, json={}, headers=headers),
        ):
            assert sent.headers.raw[-1][1] == id_.encode("latin-1")


async def test_section_11_3_a_token_that_is_none_is_refused(api: Api) -> None:
    response = await api.post(None, EVALUATION, question("ana"), Authorization="Bearer nonsense")
    problem(response, 401)


@pytest.mark.parametrize(
    "properties",
    [
        '{"a":' * 40 + "1" + "}" * 40,
        '{"a": 1e400}',
        '{"a": NaN}',
        '{"a": ' + "9" * 400 + "}",
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        "[" * 5000 + "]" * 5000,
    ],
)
async def test_section_11_7_a_body_that_nobody_can_mean_is_a_bad_request(
    api: Api, properties: str
) -> None:
    text = json.dumps(question("ana")).replace(
        '"id": "ana"', f'"id": "ana", "properties": {properties}'
    )
    async with api.client("ana") as client:
        headers = {"Content-Type": "application/json"}
        problem(await client.post(EVALUATION, content=text.encode(), headers=headers), 400)
