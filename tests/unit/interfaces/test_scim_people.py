"""A directory writes people by SCIM: what it sends, what stands in the log, and what is refused."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import asyncio
import json
import sys
from datetime import timedelta

import pytest
from scim_api import ENTERPRISE, ISSUERS, PATCH, USER, ScimApi, created, done, refused, user

from muniment.access import records
from muniment.access.counters import DIRECTORY
from muniment.errors import ConfigInvalid, LogInvalid, Stale
from muniment.evidence.append import Proposal
from muniment.operations.service import content, new_id
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path) as scenario:
        yield await ScimApi(scenario, tmp_path).start()


# --- enrolling ----------------------------------------------------------------------------------


async def test_a_person_who_is_written_stands_in_the_log_with_who_wrote_him(api):
    ana = await api.person("nia@example.org", displayName="Nia")
    record = api.written()[-1]
    assert isinstance(record, records.PrincipalEnrolled)
    assert (record.type, record.active, record.groups) == ("human", True, ())
    assert record.source == "scim:okta"
    assert record.actor.principal == api.scenario.service.names["okta-scim"]
    assert record.person.startswith("per_")
    assert ana["id"].startswith("prn_")


async def test_whoever_is_written_is_known_by_what_a_token_says(api):
    person = await api.person("nia@example.org", externalId="00u1")
    known = api.scenario.service.account(ISSUERS["okta"], "00u1")
    assert known is not None
    assert known.id == person["id"]


async def test_where_the_settings_say_so_a_token_names_the_user_name(api):
    api.serve(scim_subject="userName")
    person = await api.person("nia@example.org", externalId="00u1")
    known = api.scenario.service.account(ISSUERS["okta"], "nia@example.org")
    assert known is not None
    assert known.id == person["id"]
    assert api.scenario.service.account(ISSUERS["okta"], "00u1") is None


async def test_nothing_personal_stands_in_a_header(api):
    await api.person("nia@example.org", displayName="Nia Nobody", externalId="00u1")
    log = api.scenario.service.log
    header = log.read_entry(log.size - 1).header.encode()
    assert not any(text in header for text in (b"nia", b"Nia", b"00u1", b"example.org"))


async def test_a_login_is_made_of_the_user_name_and_belongs_to_nobody_else(api):
    taken = await api.person("ana@example.org")
    odd = await api.person("Ünal Öz@example.org")
    identity = api.scenario.service.identity
    assert identity(taken["id"])["login"].startswith("ana-")
    assert identity(odd["id"])["login"] == "nal--z"
    assert api.scenario.service.names["ana"] == api.scenario.ids["ana"]


async def test_what_was_written_is_given_back_and_what_is_unknown_is_ignored(api):
    written = {
        "name": {"givenName": "Nia", "familyName": "No"},
        "title": "SRE",
        "emails": [{"value": "nia@corp.local", "type": "work", "primary": True}],
        ENTERPRISE: {"department": "R&D", "manager": {"value": "m-1"}},
        "shoeSize": 43,
        "schemas": [USER, ENTERPRISE],
    }
    made = await api.person("nia", **written)
    read = done(await api.ask("GET", f"/Users/{made['id']}"))
    assert read == made
    assert "shoeSize" not in read
    assert {key: read[key] for key in written if key != "shoeSize"} == {
        key: value for key, value in written.items() if key != "shoeSize"
    }
    identity = api.scenario.service.identity(made["id"])
    assert (identity["name"], identity["mail"]) == ("Nia No", "nia@corp.local")


async def test_a_manager_may_be_written_as_entra_writes_him(api):
    made = await api.person("nia", **{"schemas": [USER, ENTERPRISE], ENTERPRISE: {"manager": "m"}})
    assert made[ENTERPRISE]["manager"] == {"value": "m"}


async def test_a_password_is_neither_kept_nor_shown(api):
    made = await api.person("nia", password="hunter2-hunter2")
    path = f"/Users/{made['id']}"
    done(await api.patch(path, {"op": "replace", "path": "password", "value": "hunter3-hunter3"}))
    done(await api.patch(path, {"op": "replace", "value": {"password": "hunter3-hunter3"}}))
    shown = (await api.ask("GET", path, attributes="userName,password")).text
    assert "hunter" not in shown
    database = (api.folder / "muniment.db").read_bytes() + (
        api.folder / "muniment.db-wal"
    ).read_bytes()
    assert b"hunter" not in database


# --- uniqueness ---------------------------------------------------------------------------------


async def test_a_user_name_is_given_once_whatever_its_case(api):
    await api.person("nia@example.org")
    size = api.scenario.service.log.size
    again = {**user("NIA@example.org"), "externalId": "another"}
    refused(await api.ask("POST", "/Users", again), 409, "uniqueness")
    assert api.scenario.service.log.size == size


async def test_an_account_is_one_person(api):
    await api.person("nia", externalId="00u1")
    again = {**user("noe"), "externalId": "00u1"}
    refused(await api.ask("POST", "/Users", again), 409, "uniqueness")


async def test_nobody_is_renamed_to_somebody_else(api):
    await api.person("nia")
    noe = await api.person("noe")
    change = {"op": "replace", "path": "userName", "value": "Nia"}
    refused(await api.patch(f"/Users/{noe['id']}", change), 409, "uniqueness")
    change = {"op": "replace", "path": "externalId", "value": "id-of-nia"}
    refused(await api.patch(f"/Users/{noe['id']}", change), 409, "uniqueness")


async def test_of_people_written_at_once_with_one_name_only_one_stands(api):
    bodies = [{**user("nia"), "externalId": f"00u{number}"} for number in range(12)]
    answers = await asyncio.gather(*(api.ask("POST", "/Users", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11


async def test_the_account_of_a_person_in_the_files_is_not_taken(api):
    known = api.scenario.principals["ana"]
    account = {"issuer": ISSUERS["okta"], "subject": "00u1"}
    await api.scenario.change("ana", identity={**known.identity, "accounts": [account]})
    body = {**user("nia"), "externalId": "00u1"}
    refused(await api.ask("POST", "/Users", body), 409, "uniqueness")
    assert api.principal(api.scenario.ids["ana"]).source == "file"


# --- changing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "Replace", "path": "active", "value": "False"}],  # Entra
        [{"op": "replace", "value": {"active": False}}],  # Okta
        [{"op": "replace", "path": "active", "value": False}],
        [{"op": "Add", "path": f"{USER}:active", "value": "false"}],
    ],
)
async def test_however_somebody_is_deactivated_he_is_disabled_at_once(api, operations):
    person = await api.person("nia")
    answer = done(await api.patch(f"/Users/{person['id']}", *operations))
    assert answer["active"] is False
    assert not api.principal(person["id"]).active
    record = api.written()[-1]
    assert isinstance(record, records.PrincipalEnrolled)
    assert not record.active


async def test_a_put_that_does_not_say_active_leaves_a_disabled_person_disabled(api):
    person = await api.person("nia")
    path = f"/Users/{person['id']}"
    done(await api.patch(path, {"op": "replace", "path": "active", "value": False}))
    silent = {"schemas": [USER], "userName": "nia", "externalId": "id-of-nia", "title": "SRE"}
    answer = done(await api.ask("PUT", path, silent))
    assert (answer["active"], answer["title"]) == (False, "SRE")
    removed = done(await api.patch(path, {"op": "remove", "path": "active"}))
    assert removed["active"] is False


async def test_a_put_replaces_everything_that_it_does_not_name(api):
    person = await api.person("nia", title="SRE", displayName="Nia")
    path = f"/Users/{person['id']}"
    answer = done(await api.ask("PUT", path, user("nia2")))
    assert answer["userName"] == "nia2"
    assert not {"title", "displayName", "externalId"} & answer.keys()
    assert api.scenario.service.account(ISSUERS["okta"], "id-of-nia") is None
    login = api.scenario.service.identity(person["id"])["login"]
    assert login == "nia", "a login is given once"


async def test_what_changes_nothing_is_not_written(api):
    person = await api.person("nia", title="SRE")
    size, path = api.scenario.service.log.size, f"/Users/{person['id']}"
    done(await api.patch(path, {"op": "replace", "value": {"active": True, "title": "SRE"}}))
    done(await api.patch(path, {"op": "replace", "path": "shoeSize", "value": 44}))
    done(await api.ask("PUT", path, {**user("nia"), "externalId": "id-of-nia", "title": "SRE"}))
    assert api.scenario.service.log.size == size


async def test_entra_changes_an_attribute_of_the_enterprise_and_a_filtered_address(api):
    person = await api.person("nia", emails=[{"type": "work", "value": "a@example.org"}])
    answer = done(
        await api.patch(
            f"/Users/{person['id']}",
            {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "R&D"},
            {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": "m-2"},
            {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "b@example.org"},
            {"op": "Add", "path": "name.givenName", "value": "Nia"},
        )
    )
    assert answer[ENTERPRISE] == {"department": "R&D", "manager": {"value": "m-2"}}
    assert answer["emails"] == [{"type": "work", "value": "b@example.org"}]
    assert answer["name"] == {"givenName": "Nia"}


async def test_an_id_is_given_by_us_and_by_nobody_else(api):
    person = await api.person("nia", id="prn_chosen", meta={"resourceType": "Admin"})
    assert person["id"] != "prn_chosen"
    assert person["meta"]["resourceType"] == "User"
    change = {"op": "replace", "path": "id", "value": "prn_other"}
    refused(await api.patch(f"/Users/{person['id']}", change), 400, "mutability")


# --- deleting -----------------------------------------------------------------------------------


async def test_whoever_is_deleted_is_disabled_in_no_group_and_not_found(api):
    person = await api.person("nia", displayName="Nia")
    await api.group("sre-leads", person["id"])
    path = f"/Users/{person['id']}"
    done(await api.ask("DELETE", path), 204)
    assert not api.principal(person["id"]).active
    assert api.groups(person["id"]) == set()
    for method, body in (("GET", None), ("PUT", user("nia")), ("DELETE", None)):
        refused(await api.ask(method, path, body), 404)
    assert done(await api.ask("GET", "/Users"))["totalResults"] == 0
    identity = api.scenario.service.identity(person["id"])
    assert identity.keys() == {"accounts", "login"}, "name and mail are not kept"


async def test_whoever_comes_back_is_the_human_he_was(api):
    before = await api.person("nia", externalId="00u1")
    person = api.principal(before["id"]).person
    done(await api.ask("DELETE", f"/Users/{before['id']}"), 204)
    after = await api.person("nia@new.example.org", externalId="00u1")
    assert api.principal(after["id"]).person == person
    assert api.principal(after["id"]).active


async def test_another_with_the_name_of_somebody_deleted_is_another_human(api):
    before = await api.person("nia", externalId="00u1")
    done(await api.ask("DELETE", f"/Users/{before['id']}"), 204)
    after = await api.person("nia", externalId="00u2")
    assert after["id"] != before["id"]
    assert api.principal(after["id"]).person != api.principal(before["id"]).person


# --- who may ------------------------------------------------------------------------------------


async def test_a_directory_sees_and_changes_nobody_of_another(api):
    theirs = await api.person("nia", who="entra-scim")
    ours = await api.person("nia")
    path = f"/Users/{theirs['id']}"
    change = {"schemas": [PATCH], "Operations": [{"op": "remove", "path": "title"}]}
    for method, body in (
        ("GET", None),
        ("PUT", user("nia")),
        ("PATCH", change),
        ("DELETE", None),
    ):
        refused(await api.ask(method, path, body), 404)
    listed = done(await api.ask("GET", "/Users"))["Resources"]
    assert [each["id"] for each in listed] == [ours["id"]]
    found = done(await api.ask("GET", "/Users", filter='externalId eq "id-of-nia"'))["Resources"]
    assert [each["id"] for each in found] == [ours["id"]]
    filed = api.scenario.ids["ana"]
    refused(await api.ask("GET", f"/Users/{filed}"), 404)
    refused(await api.ask("DELETE", f"/Users/{filed}"), 404)
    assert api.principal(filed).active


@pytest.mark.parametrize("who", ["ana", "admin", "stranger", "powerless"])
async def test_nobody_writes_but_the_workload_that_a_provider_names(api, who):
    for method, path, body in (
        ("GET", "/Users", None),
        ("POST", "/Users", user("nia")),
        ("GET", "/ServiceProviderConfig", None),
    ):
        refused(await api.ask(method, path, body, who=who), 403)
    assert api.written() == []


async def test_the_named_workload_needs_the_policys_leave_too(api):
    api.depend_on("powerless")
    detail = refused(await api.ask("POST", "/Users", user("nia"), who="powerless"), 403)
    assert "enrol" in detail
    api.depend_on("admin")
    refused(await api.ask("POST", "/Users", user("nia"), who="admin"), 403)


async def test_a_caller_without_a_token_is_told_so_as_scim_has_it(api):
    answer = await api.ask("GET", "/Users", who=None)
    refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_second_token_works_before_the_first_is_taken_away(api):
    first = api.tokens["okta-scim"]
    api._token("okta-scim")
    await api.scenario.take_in()
    assert (await api.ask("GET", "/Users")).status_code == 200
    api.tokens["okta-scim"] = first
    assert (await api.ask("GET", "/Users")).status_code == 200


async def test_no_principal_of_a_directory_is_taken_over_by_its_groups_or_type(api):
    """It writes humans only: nobody writes himself a workload that may write more."""
    person = await api.person("nia", userType="workload")
    directory = await api.group("muniment-directory", person["id"])
    assert api.principal(person["id"]).type == "human"
    assert directory["displayName"] == "muniment-directory"


# --- looking ------------------------------------------------------------------------------------


async def test_pages_begin_at_one_and_are_bounded(api):
    made = [(await api.person(f"p{number}"))["id"] for number in range(5)]
    page = done(await api.ask("GET", "/Users", startIndex="2", count="2"))
    assert [each["id"] for each in page["Resources"]] == made[1:3]
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (5, 2, 2)
    assert done(await api.ask("GET", "/Users", startIndex="0", count="-3"))["itemsPerPage"] == 0
    assert done(await api.ask("GET", "/Users", startIndex="99"))["Resources"] == []
    assert done(await api.ask("GET", "/Users", count="100000"))["itemsPerPage"] == 5
    refused(await api.ask("GET", "/Users", count="many"), 400, "invalidValue")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('userName eq "NIA@example.org"', ["nia@example.org"]),
        ('externalId eq "id-of-noe"', ["noe"]),
        ('externalId eq "ID-OF-NOE"', []),
        ('emails[type eq "work"].value eq "nia@example.org"', ["nia@example.org"]),
        ('active eq true and userName sw "no"', ["noe"]),
        ('userName eq "nobody"', []),
    ],
)
async def test_people_are_found_by_what_providers_ask(api, text, found):
    await api.person("nia@example.org", emails=[{"type": "work", "value": "nia@example.org"}])
    await api.person("noe")
    answer = done(await api.ask("GET", "/Users", filter=text))
    assert [each["userName"] for each in answer["Resources"]] == found
    assert answer["totalResults"] == len(found)


@pytest.mark.parametrize(
    "text", ["", "userName", 'shoeSize eq "43"', "(" * 400, "not (" * 150, 'a eq "' + "x" * 2000]
)
async def test_a_filter_that_cannot_be_read_is_refused(api, text):
    await api.person("nia")
    refused(await api.ask("GET", "/Users", filter=text), 400, "invalidFilter")


async def test_an_answer_holds_the_attributes_that_were_asked_for(api):
    person = await api.person("nia", title="SRE", displayName="Nia")
    path = f"/Users/{person['id']}"
    some = done(await api.ask("GET", path, attributes="title"))
    assert some.keys() == {"schemas", "id", "title"}
    others = done(await api.ask("GET", path, excludedAttributes="title"))
    assert "title" not in others
    assert others["displayName"] == "Nia"


# --- what stands --------------------------------------------------------------------------------


async def test_after_a_restart_everything_is_read_from_the_log(api):
    person = await api.person("nia", title="SRE", externalId="00u1")
    group = await api.group("sre-leads", person["id"])
    gone = await api.person("noe")
    done(await api.ask("DELETE", f"/Users/{gone['id']}"), 204)
    paths = (f"/Users/{person['id']}", f"/Groups/{group['id']}", "/Users", "/Groups")
    before = [done(await api.ask("GET", path)) for path in paths]
    await api.scenario.restart()
    api.serve()
    assert [done(await api.ask("GET", path)) for path in paths] == before
    refused(await api.ask("GET", f"/Users/{gone['id']}"), 404)
    assert api.scenario.service.account(ISSUERS["okta"], "00u1").id == person["id"]


async def test_a_write_that_decided_on_an_older_directory_does_not_stand(api):
    """Whatever else enrols somebody at that moment: logins and accounts are given out once."""
    service = api.scenario.service
    before = service.log.head(DIRECTORY)
    await enrolled_by_sign_in(api, "okta", [])
    assert service.log.head(DIRECTORY) != before
    record = records.GroupDefined(actor=records.SERVICE, source="scim:okta", name="x", active=True)
    draft = record.draft(new_id("grp"), service.now())
    with pytest.raises(Stale):
        await service.append(Proposal(drafts=(draft,), reads={draft.case: None, DIRECTORY: before}))


async def test_whoever_was_erased_is_not_there_any_more(api):
    person = await api.person("nia")
    path = f"/Users/{person['id']}"
    done(await api.patch(path, {"op": "replace", "value": {"active": False}}))
    await api.scenario.erase("pia", f"{person['id']}/1", "identity")
    refused(await api.ask("GET", path), 404)
    assert done(await api.ask("GET", "/Users"))["totalResults"] == 0
    again = await api.person("nia")
    assert again["id"] != person["id"]


async def test_an_identity_whose_record_was_changed_in_the_database_is_not_believed(api):
    person = await api.person("nia")
    log, held = api.scenario.service.log, api.principal(person["id"])
    assert log.read_checked(held.index, held.leaf) == log.read_entry(held.index)
    with pytest.raises(LogInvalid):
        log.read_checked(held.index - 1, held.leaf)
    with pytest.raises(LogInvalid):
        log.read_checked(log.size, held.leaf)


async def test_reading_the_files_again_leaves_a_directorys_people_alone(api):
    person = await api.person("nia")
    assert await api.scenario.take_in() == []
    assert api.principal(person["id"]).active


async def test_the_files_cannot_make_somebody_of_a_directory_another_by_his_login(api):
    person = await api.person("dba")
    api.scenario.principals["dba"] = human("dba", "muniment-admins")
    with pytest.raises(ConfigInvalid, match="scim:okta"):
        await api.scenario.take_in()
    assert api.groups(person["id"]) == set()


async def test_with_the_log_down_nothing_is_written_and_the_directory_is_told_to_come_back(api):
    api.scenario.break_log()
    answer = await api.ask("POST", "/Users", user("nia"))
    refused(answer, 503)
    assert answer.headers["retry-after"]


async def test_below_the_reserve_of_disk_people_are_only_taken_away(api):
    person = await api.person("nia")
    api.scenario.space = 1
    refused(await api.ask("POST", "/Users", user("noe")), 503)
    done(await api.patch(f"/Users/{person['id']}", {"op": "replace", "value": {"active": False}}))
    assert not api.principal(person["id"]).active


async def test_while_the_clock_is_in_doubt_people_are_only_taken_away(api):
    person = await api.person("nia")
    api.scenario.clock.wall += timedelta(hours=1)
    refused(await api.ask("POST", "/Users", user("noe")), 503)
    done(await api.ask("DELETE", f"/Users/{person['id']}"), 204)
    assert not api.principal(person["id"]).active


# --- what is no SCIM ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "invalidSyntax"),
        (b"[]", "invalidSyntax"),
        (b"[" * 20_000, "invalidSyntax"),
        (b'{"userName":"a","userName":"b"}', "invalidSyntax"),
        (json.dumps({"schemas": [USER], "userName": ""}).encode(), "invalidValue"),
        (json.dumps({"schemas": [USER]}).encode(), "invalidValue"),
        (json.dumps({"schemas": [USER], "userName": 3}).encode(), "invalidValue"),
        (json.dumps({"schemas": [USER], "userName": "n" * 300}).encode(), "invalidValue"),
        (
            json.dumps({"schemas": [USER], "userName": "n", "title": "t" * 40_000}).encode(),
            "invalidValue",
        ),
    ],
)
async def test_what_cannot_be_a_person_is_refused(api, body, word):
    size = api.scenario.service.log.size
    refused(await api.ask("POST", "/Users", body), 400, word)
    assert api.scenario.service.log.size == size


async def test_a_body_that_is_too_large_is_refused_in_scims_words(api):
    refused(await api.ask("POST", "/Users", b" " * 70_000), 413)


async def test_a_method_and_a_path_that_are_not_there_are_refused_in_scims_words(api):
    refused(await api.ask("PUT", "/Users", user("nia")), 405)
    refused(await api.ask("GET", "/Devices"), 404)
    refused(await api.ask("POST", "/Users/.search", {}), 501)
    refused(await api.ask("POST", "/Bulk", {}), 501)


async def test_a_patch_has_a_bounded_number_of_operations(api):
    person = await api.person("nia")
    many = [{"op": "replace", "path": "title", "value": str(n)} for n in range(101)]
    refused(await api.patch(f"/Users/{person['id']}", *many), 400, "tooMany")


async def test_without_the_extra_it_says_what_to_install(api, monkeypatch):
    monkeypatch.setitem(sys.modules, "muniment.interfaces.http.scim.routes", None)
    detail = refused(await api.ask("GET", "/Users"), 501)
    assert "pip install 'muniment[scim]'" in detail


async def test_a_person_who_signed_in_before_is_taken_over_by_the_same_provider(api):
    """The same account of the same provider is the same human; SCIM decides from now on."""
    service = api.scenario.service
    account = [{"issuer": ISSUERS["okta"], "subject": "00u1"}]
    signed_in = await enrolled_by_sign_in(api, "okta", account)
    person = created(
        await api.ask("POST", "/Users", {**user("nia"), "externalId": "00u1", "active": False})
    )
    assert person["id"] == signed_in
    assert service.registry.principals[signed_in].source == "scim:okta"
    assert not service.registry.principals[signed_in].active
    assert service.registry.principals[signed_in].groups == frozenset()


async def enrolled_by_sign_in(api, provider, accounts) -> str:
    """A person whom signing in enrolled, with groups of his token."""
    service, id_ = api.scenario.service, new_id("prn")
    record = records.PrincipalEnrolled(
        actor=records.SERVICE,
        type="human",
        person=new_id("per"),
        active=True,
        groups=("engineering",),
        sponsor=None,
        source=f"sign-in:{provider}",
    )
    identity = content({"accounts": accounts, "login": "nia", "mail": "", "name": ""})
    draft = record.draft(id_, service.now(), sections={"identity": identity})
    await service.append(Proposal(drafts=(draft,), reads={id_: None}))
    return id_
