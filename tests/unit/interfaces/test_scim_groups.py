"""A directory writes groups by SCIM: who is in them stands at the principals, all at once."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scim_api import (
    ENTERPRISE,
    GROUP,
    MEDIA_TYPE,
    PATCH,
    USER,
    ScimApi,
    done,
    group,
    refused,
)

from muniment.access import records
from muniment.operations import directory
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path) as scenario:
        yield await ScimApi(scenario, tmp_path).start()


async def people(api, *names: str) -> list[str]:
    return [(await api.person(name))["id"] for name in names]


def members(body) -> set[str]:
    return {member["value"] for member in body.get("members", ())}


# --- defining -----------------------------------------------------------------------------------


async def test_a_group_and_its_members_stand_in_the_log_in_one_append(api):
    nia, noe = await people(api, "nia", "noe")
    before = api.scenario.service.log.checkpoint
    made = await api.group("sre-leads", nia, noe, externalId="00g1")
    assert api.scenario.service.log.checkpoint != before
    assert api.groups(nia) == api.groups(noe) == {"sre-leads"}
    defined, *moved = api.written()[-3:]
    assert isinstance(defined, records.GroupDefined)
    assert (defined.name, defined.source, defined.active) == ("sre-leads", "scim:okta", True)
    assert {record.KIND for record in moved} == {"principal:enrolled"}
    assert members(made) == {nia, noe}
    shown = done(await api.ask("GET", f"/Users/{nia}"))["groups"]
    assert [each["value"] for each in shown] == [made["id"]]


async def test_a_group_counts_in_the_policy_like_any_other(api):
    """`sre-leads` of the directory approves, as the starter rules have it."""
    lead = (await people(api, "nia"))[0]
    asked = await api.scenario.ask("ana")
    await api.group("sre-leads", lead)
    api.scenario.ids["nia"] = lead
    await api.scenario.approve("nia", asked)
    assert api.scenario.read(asked).state == "approved"


async def test_a_name_that_no_rule_could_say_is_replaced_by_the_groups_id(api):
    nia = (await people(api, "nia"))[0]
    made = await api.group("Leitung für Störfälle", nia)
    assert api.groups(nia) == {made["id"]}
    assert made["displayName"] == "Leitung für Störfälle"
    log = api.scenario.service.log
    headers = b"".join(log.read_entry(index).header.encode() for index in range(log.size))
    assert b"Leitung" not in headers


async def test_a_name_is_one_group_whatever_its_case(api):
    await api.group("sre-leads")
    refused(await api.ask("POST", "/Groups", group("SRE-Leads")), 409, "uniqueness")
    other = await api.group("engineering")
    change = {"op": "replace", "path": "displayName", "value": "sre-leads"}
    refused(await api.patch(f"/Groups/{other['id']}", change), 409, "uniqueness")
    await api.group("sre-leads", who="entra-scim")


@pytest.mark.parametrize("stranger", ["prn_nobody", "", "of-another", "of-the-files", "a-group"])
async def test_a_group_holds_people_of_its_own_directory_and_nobody_else(api, stranger):
    other = await api.person("noe", who="entra-scim")
    nested = await api.group("nested")
    known = {
        "of-another": other["id"],
        "of-the-files": api.scenario.ids["ana"],
        "a-group": nested["id"],
    }
    size = api.scenario.service.log.size
    answer = await api.ask("POST", "/Groups", group("sre-leads", known.get(stranger, stranger)))
    refused(answer, 400, "invalidValue")
    add = {"op": "add", "path": "members", "value": [{"value": known.get(stranger, stranger)}]}
    refused(await api.patch(f"/Groups/{nested['id']}", add), 400, "invalidValue")
    assert api.scenario.service.log.size == size
    assert "sre-leads" not in api.groups(api.scenario.ids["ana"])


# --- changing -----------------------------------------------------------------------------------


async def test_entra_adds_and_removes_members(api):
    nia, noe = await people(api, "nia", "noe")
    path = f"/Groups/{(await api.group('sre-leads'))['id']}"
    for id_ in (nia, noe):
        add = {"op": "Add", "path": "members", "value": [{"value": id_}]}
        done(await api.patch(path, add), 204)
    assert members(done(await api.ask("GET", path))) == {nia, noe}
    remove = {"op": "Remove", "path": "members", "value": [{"value": nia}]}
    done(await api.patch(path, remove), 204)
    done(await api.patch(path, {"op": "Remove", "path": f'members[value eq "{noe}"]'}), 204)
    assert members(done(await api.ask("GET", path))) == set()
    assert api.groups(nia) == api.groups(noe) == set()


async def test_okta_replaces_members_and_renames_without_a_path(api):
    nia, noe = await people(api, "nia", "noe")
    made = await api.group("leads", nia)
    path = f"/Groups/{made['id']}"
    done(
        await api.patch(path, {"op": "replace", "path": "members", "value": [{"value": noe}]}), 204
    )
    assert (api.groups(nia), api.groups(noe)) == (set(), {"leads"})
    renamed = {"op": "replace", "value": {"id": made["id"], "displayName": "sre-leads"}}
    done(await api.patch(path, renamed), 204)
    assert api.groups(noe) == {"sre-leads"}
    only = {"op": "add", "value": {f"{GROUP}:members": [{"value": nia}]}}
    done(await api.patch(path, only), 204)
    assert members(done(await api.ask("GET", path))) == {nia, noe}
    done(await api.patch(path, {"op": "remove", "path": f'members[value eq "{noe}"]'}), 204)
    both = {"op": "replace", "value": {"displayName": "leads", "members": [{"value": nia}]}}
    done(await api.patch(path, both), 204)
    assert (api.groups(nia), api.groups(noe)) == ({"leads"}, set())


async def test_a_rename_moves_every_member_in_one_append(api):
    ids = await people(api, "nia", "noe", "nat")
    made = await api.group("leads", *ids)
    await api.group("others", ids[0])
    before = len(api.written())
    body = {**group("sre-leads", *ids), "externalId": "00g1"}
    answer = done(await api.ask("PUT", f"/Groups/{made['id']}", body))
    assert answer["externalId"] == "00g1"
    assert [api.groups(id_) for id_ in ids] == [{"others", "sre-leads"}, *[{"sre-leads"}] * 2]
    assert len(api.written()) == before + 4


async def test_a_group_that_is_deleted_is_nobodys_any_more(api):
    nia, noe = await people(api, "nia", "noe")
    made = await api.group("sre-leads", nia, noe)
    kept = await api.group("engineering", nia)
    path = f"/Groups/{made['id']}"
    done(await api.ask("DELETE", path), 204)
    assert (api.groups(nia), api.groups(noe)) == ({"engineering"}, set())
    for method in ("GET", "DELETE"):
        refused(await api.ask(method, path), 404)
    listed = done(await api.ask("GET", "/Groups"))["Resources"]
    assert [each["id"] for each in listed] == [kept["id"]]
    again = await api.group("sre-leads")
    assert again["id"] != made["id"]


async def test_what_changes_nothing_is_not_written(api):
    nia = (await people(api, "nia"))[0]
    made = await api.group("sre-leads", nia)
    size, path = api.scenario.service.log.size, f"/Groups/{made['id']}"
    done(await api.patch(path, {"op": "add", "path": "members", "value": [{"value": nia}]}), 204)
    done(await api.patch(path, {"op": "remove", "path": 'members[value eq "prn_x"]'}), 204)
    done(await api.patch(path, {"op": "replace", "value": {"displayName": "sre-leads"}}), 204)
    done(await api.ask("PUT", path, group("sre-leads", nia)))
    assert api.scenario.service.log.size == size


async def test_one_bad_member_and_nothing_of_the_patch_stands(api):
    nia = (await people(api, "nia"))[0]
    made = await api.group("sre-leads")
    size = api.scenario.service.log.size
    add = {"op": "add", "path": "members", "value": [{"value": nia}, {"value": "prn_nobody"}]}
    refused(await api.patch(f"/Groups/{made['id']}", add), 400, "invalidValue")
    assert api.scenario.service.log.size == size
    assert api.groups(nia) == set()


async def test_a_directory_sees_and_changes_no_group_of_another(api):
    theirs = await api.group("sre-leads", who="entra-scim")
    path = f"/Groups/{theirs['id']}"
    change = {"schemas": [PATCH], "Operations": [{"op": "remove", "path": "members"}]}
    for method, body in (
        ("GET", None),
        ("PUT", group("x")),
        ("PATCH", change),
        ("DELETE", None),
    ):
        refused(await api.ask(method, path, body), 404)
    assert done(await api.ask("GET", "/Groups"))["totalResults"] == 0


async def test_the_same_name_at_two_providers_moves_only_ones_own_people(api):
    ours = await api.person("nia")
    theirs = await api.person("nia", who="entra-scim")
    mine = await api.group("sre-leads", ours["id"])
    await api.group("sre-leads", theirs["id"], who="entra-scim")
    done(await api.ask("DELETE", f"/Groups/{mine['id']}"), 204)
    assert (api.groups(ours["id"]), api.groups(theirs["id"])) == (set(), {"sre-leads"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('displayName eq "SRE-leads"', ["sre-leads"]),
        ('externalId eq "00g1"', ["sre-leads"]),
        ('members eq "{nia}"', ["sre-leads"]),
        ('members.value eq "{nia}"', ["sre-leads"]),
        ('members[value eq "{nia}"]', ["sre-leads"]),
        ('id eq "{group}" and members eq "{nia}"', ["sre-leads"]),
        ('members.value eq "prn_nobody"', []),
    ],
)
async def test_groups_are_found_by_what_providers_ask(api, text, found):
    nia = (await people(api, "nia"))[0]
    made = await api.group("sre-leads", nia, externalId="00g1")
    await api.group("engineering")
    asked = text.replace("{nia}", nia).replace("{group}", made["id"])
    answer = done(await api.ask("GET", "/Groups", filter=asked, excludedAttributes="members"))
    assert [each["displayName"] for each in answer["Resources"]] == found
    assert not any("members" in each for each in answer["Resources"])


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.deep
async def test_a_thousand_members_in_one_patch_stand_at_once(tmp_path):
    async with Scenario(tmp_path, checking=False) as scenario:
        api = await ScimApi(scenario, tmp_path).start()
        ids = [(await api.person(f"p{number:04}"))["id"] for number in range(1000)]
        path = f"/Groups/{(await api.group('everybody'))['id']}"
        took = []
        for op in ("Add", "Remove"):
            before, started = len(api.written()), time.perf_counter()
            value = [{"value": id_} for id_ in ids]
            done(await api.patch(path, {"op": op, "path": "members", "value": value}), 204)
            took.append(time.perf_counter() - started)
            assert len(api.written()) == before + 1001
            assert all(api.groups(id_) == ({"everybody"} if op == "Add" else set()) for id_ in ids)
        scenario.check()
    # what it must not be is the square of the number of members, which is half a minute
    assert max(took) < 10, took


async def test_a_group_and_the_groups_of_a_person_are_bounded(api, monkeypatch):
    ids = await people(api, "nia", "noe", "nat")
    monkeypatch.setattr(directory, "MOST_MEMBERS", 2)
    refused(await api.ask("POST", "/Groups", group("leads", *ids)), 400, "invalidValue")
    monkeypatch.setattr(directory, "MOST_GROUPS", 2)
    for name in ("a", "b"):
        await api.group(name, ids[0])
    refused(await api.ask("POST", "/Groups", group("c", ids[0])), 400, "invalidValue")


# --- what is no SCIM ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("userName", "externalId", "active", "name", "emails", "groups", "id", "meta", "schemas"),
        *(
            "displayName",
            "members",
            "name.givenName",
            "password",
            ENTERPRISE,
            f"{ENTERPRISE}:manager",
        ),
        *('emails[type eq "work"].value', 'members[value eq "x"]', 'members[value eq "x"].display'),
        *("", "[", "emails[", "members.value", "members[type pr]", "urn:x:y", "$ref", "é"),
    ]
)
BODY = st.dictionaries(NAMES, JSON, max_size=5)
OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "Replace", "remove", "move", 3, None]),
        "path": NAMES | JSON,
        "value": JSON | BODY | st.lists(BODY, max_size=2),
    },
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=BODY, operations=st.lists(OPERATION, max_size=3) | JSON, text=NAMES | st.text(max_size=20)
)
def test_whatever_is_sent_the_service_does_not_fail(running, body, operations, text):
    loop, api, nia, leads = running

    async def ask() -> None:
        person = {"schemas": [USER], "userName": "x", **body}
        crowd = {"schemas": [GROUP], "displayName": "x", **body}
        patch = {"schemas": [PATCH], "Operations": operations}
        for method, path, sent in (
            ("POST", "/Users", person),
            ("PUT", f"/Users/{nia}", person),
            ("PATCH", f"/Users/{nia}", patch),
            ("POST", "/Groups", crowd),
            ("PUT", f"/Groups/{leads}", crowd),
            ("PATCH", f"/Groups/{leads}", patch),
        ):
            answer = await api.ask(method, path, sent)
            assert answer.status_code < 500, (method, path, sent, answer.text)
        for path in ("/Users", "/Groups"):
            query = {"filter": text, "attributes": text, "startIndex": text}
            for name, value in query.items():
                answer = await api.ask("GET", path, **{name: value})
                assert answer.status_code < 500, (path, name, value)
                assert answer.headers["content-type"] == MEDIA_TYPE

    loop.run_until_complete(ask())


@pytest.fixture
def running(tmp_path):
    """A service that many examples ask, one after the other."""
    loop = asyncio.new_event_loop()
    scenario = Scenario(tmp_path, checking=False)

    async def start():
        await scenario.__aenter__()
        api = await ScimApi(scenario, tmp_path).start()
        nia = (await people(api, "nia"))[0]
        return loop, api, nia, (await api.group("leads", nia))["id"]

    try:
        yield loop.run_until_complete(start())
        scenario.check()
    finally:
        loop.run_until_complete(scenario.__aexit__(None, None, None))
        loop.close()
