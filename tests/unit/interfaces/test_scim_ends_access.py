"""What a directory takes away by SCIM, its people lose at once: at the target, not only in a list."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
from scim_api import ISSUERS, ScimApi, done

from muniment.access import records
from muniment.errors import Unauthenticated
from muniment.operations import sign_in
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path):
    async with Scenario(tmp_path) as scenario:
        yield await ScimApi(scenario, tmp_path).start()


async def engineer(api) -> tuple[str, str]:
    """A person of the directory who may ask, and the group by which he may."""
    person = await api.person("nia")
    group = await api.group("engineering", person["id"])
    api.scenario.ids["nia"] = person["id"]
    return person["id"], group["id"]


async def deactivated(api, person, _group) -> None:
    done(await api.patch(f"/Users/{person}", {"op": "Replace", "path": "active", "value": "False"}))


async def deleted(api, person, _group) -> None:
    done(await api.ask("DELETE", f"/Users/{person}"), 204)


async def removed_from_the_group(api, person, group) -> None:
    remove = {"op": "remove", "path": f'members[value eq "{person}"]'}
    done(await api.patch(f"/Groups/{group}", remove), 204)


async def group_deleted(api, _person, group) -> None:
    done(await api.ask("DELETE", f"/Groups/{group}"), 204)


async def group_renamed(api, _person, group) -> None:
    rename = {"op": "replace", "value": {"displayName": "gardeners"}}
    done(await api.patch(f"/Groups/{group}", rename), 204)


TAKEN = [deactivated, deleted, removed_from_the_group, group_deleted, group_renamed]


@pytest.mark.parametrize("take_away", TAKEN)
async def test_live_access_ends_at_the_target_and_follows_the_directorys_record(api, take_away):
    person, group = await engineer(api)
    picked = await api.scenario.granted("nia")
    session = api.scenario.login(picked)
    await take_away(api, person, group)
    await api.scenario.work()
    assert not session.alive
    case = api.scenario.read(picked)
    assert case.closed
    assert case.removal == "verified"
    revoked = next(
        entry for entry in api.scenario.entries(picked) if entry.header.kind == "grant:revoked"
    )
    taken = api.scenario.service.registry.principals[person].leaf
    assert taken in revoked.header.follows


@pytest.mark.parametrize("take_away", TAKEN)
async def test_a_request_that_still_waits_is_not_approved_any_more(api, take_away):
    person, group = await engineer(api)
    asked = await api.scenario.ask("nia")
    assert asked.case.state == "pending"
    await take_away(api, person, group)
    await api.scenario.work()
    assert api.scenario.read(asked).closed


async def test_what_leaves_the_ground_of_access_as_it_was_ends_nothing(api):
    person, _ = await engineer(api)
    other = await api.group("gardeners", person)
    picked = await api.scenario.granted("nia")
    session = api.scenario.login(picked)
    done(await api.patch(f"/Users/{person}", {"op": "replace", "value": {"title": "SRE"}}))
    done(await api.ask("DELETE", f"/Groups/{other['id']}"), 204)
    await api.scenario.work()
    assert session.alive
    assert not api.scenario.read(picked).closed


async def test_a_person_of_the_directory_signs_in_by_his_account_and_keeps_its_groups(api):
    person, _ = await engineer(api)
    before = api.principal(person)
    signed_in = await sign_in.by_person(api.scenario.service, token_of("id-of-nia"))
    assert signed_in.session.opened.principal == person
    assert api.principal(person) == before, "signing in changes nobody whom a directory wrote"


@pytest.mark.parametrize("take_away", [deactivated, deleted])
async def test_whoever_was_taken_away_cannot_sign_in_and_is_not_enrolled_anew(api, take_away):
    person, _ = await engineer(api)
    api.serve(enrol=True)
    await take_away(api, person, None)
    size = api.scenario.service.log.size
    with pytest.raises(Unauthenticated, match="disabled"):
        await sign_in.by_person(api.scenario.service, token_of("id-of-nia"))
    assert api.scenario.service.log.size == size


async def test_a_session_ends_with_the_account(api):
    person, _ = await engineer(api)
    signed_in = await sign_in.by_person(api.scenario.service, token_of("id-of-nia"))
    await deactivated(api, person, None)
    await api.scenario.work()
    assert api.scenario.kinds(signed_in.session.case)[-2:] == ["session:closed", "case:closed"]


def token_of(subject: str) -> Any:
    """What a provider's token comes to, once it was verified."""
    keys = b'{"keys":[]}'
    return SimpleNamespace(
        provider="okta",
        kind="people",
        issuer=ISSUERS["okta"],
        subject=subject,
        claims={"sub": subject, "groups": ["muniment-admins"]},
        expires=None,
        token_hash=sha256(subject.encode()).digest(),
        twin_hash=None,
        keys=SimpleNamespace(document=keys, digest=sha256(keys).digest()),
    )


async def test_the_record_says_which_workload_took_it_away(api):
    person, group = await engineer(api)
    await deactivated(api, person, group)
    record = api.written()[-1]
    assert isinstance(record, records.PrincipalEnrolled)
    assert record.actor.principal == api.scenario.service.names["okta-scim"]
    assert record.actor.type == "workload"
