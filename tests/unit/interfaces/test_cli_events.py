"""Events are proved over HTTP and on the command line, and checked offline by their reader."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_service import CASE, FakeService, problem
from scenario_api import ScenarioApi

from muniment.errors import EvidenceError
from muniment.evidence.event_batch import SALT_SIZE, commitment
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.events import events_command
from muniment.interfaces.cli.main import run
from muniment.operations import observe
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source
from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.event_store import Arrived, Chunk
from muniment.oversight.link import NOBODY
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path) as scenario:
        store, service = EventsInMemory(), scenario.service
        make = partial(PlainReader, ReaderSettings(prefix="mun"))
        source = Source(name="orders-log", resource="orders-prod", reader=make(), make_reader=make)
        service.observing = Observing(
            store=store, sources={"orders-log": source}, intake=Intake(service=service, store=store)
        )
        made = ScenarioApi(scenario, tmp_path)
        await made.enrol("ana", "dan", "aud")
        yield made


@pytest.fixture
async def case(api: ScenarioApi) -> str:
    """A grant of ana's with two events, and one of nobody's behind them."""
    picked = await api.scenario.granted()
    account = picked.issued.account if picked.issued is not None else ""
    await take(api, account, "SELECT 1", "SELECT 2")
    await take(api, "", "x" * 5_000)
    await observe.seal(api.scenario.service)
    return picked.case.id


async def take(api: ScenarioApi, account: str, *said: str) -> None:
    at = api.scenario.service.now()
    sent = [Event(type="statement", at=at, account=account, detail=text) for text in said]
    await observe.take(api.scenario.service, "orders-log", [plain(each) for each in sent])


@pytest.fixture
async def desk(api: ScenarioApi, case: str, tmp_path: Path) -> Path:
    """A reader's files: the key, and what he was given."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "key").write_text(api.scenario.key.verifier.vkey)
    answer = await api.get("aud", "/v1/evidence/events/orders-log/0-2")
    (folder / "events").write_bytes(answer.content)
    return folder


def check(folder: Path, *arguments: str) -> Result:
    command = ["check", str(folder / "events"), "--log-key", str(folder / "key"), *arguments]
    return CliRunner().invoke(events_command, command, catch_exceptions=False)


# --- over HTTP ------------------------------------------------------------------------------------


async def test_who_may_export_a_case_gets_its_events_and_nobody_elses(
    api: ScenarioApi, case: str
) -> None:
    answer = await api.get("ana", "/v1/evidence/events", case=case[:12])
    assert (answer.status_code, answer.headers["Muniment-Waiting"]) == (200, "0")
    assert answer.headers["content-type"] == "application/json"
    assert [len(record["events"]) for record in answer.json()["records"]] == [2]
    one = await api.get("ana", "/v1/evidence/events/orders-log/1", case=case)
    assert [each["number"] for each in one.json()["records"][0]["events"]] == [1]
    path = "/v1/evidence/events/orders-log"
    assert (await api.get("ana", f"{path}/1")).status_code == 403
    assert (await api.get("ana", f"{path}/2", case=case)).status_code == 404
    assert (await api.get("dan", f"{path}/1", case=case)).status_code == 404
    assert (await api.get("dan", "/v1/evidence/events", case=case)).status_code == 404
    assert (await api.get("aud", f"{path}/0-2")).status_code == 200


async def test_what_cannot_be_proved_is_answered_with_its_reason(
    api: ScenarioApi, case: str
) -> None:
    await take(api, "", "SELECT 2")
    for number, status, said in (
        ("3", 409, "try again in a few seconds"),
        ("4", 404, "there is no event 4"),
        ("x", 422, "by number"),
        ("3-1", 422, "not a run of 1 to 1000"),
        ("0-1000", 422, "not a run of 1 to 1000"),
        ("9" * 16, 422, "by number"),
    ):
        answer = await api.get("aud", f"/v1/evidence/events/orders-log/{number}")
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), number
    assert (await api.get("aud", "/v1/evidence/events")).status_code == 422
    assert (await api.get("aud", "/v1/evidence/events", case="mun_zz")).status_code == 404


async def test_an_erased_event_is_refused_over_http_in_words(api: ScenarioApi, case: str) -> None:
    store = api.scenario.service.observing.store
    assert store is not None
    store.erase("orders-log", [1])
    answer = await api.get("aud", "/v1/evidence/events/orders-log/1")
    assert answer.status_code == 404
    assert "event 1 of `orders-log` was erased" in answer.json()["detail"]


# --- at the reader's desk -------------------------------------------------------------------------


async def test_each_event_is_shown_with_its_source_its_number_and_its_record(desk: Path) -> None:
    done = check(desk)
    assert done.exit_code == 0, done.output
    assert "`muniment.example/scenario` signed its checkpoint" in done.output
    assert "events that are under the roots of these records: 3" in done.output
    assert "orders-log 0, recorded 2026-11-21T10:00:00.000Z in entry" in done.output
    assert "SELECT 1" in done.output
    assert "more characters: see --json" in done.output
    assert "Not proved: that the source told the truth" in done.output
    assert "that no events were held back" in done.output


async def test_what_an_event_says_does_not_reach_into_the_terminal(
    api: ScenarioApi, desk: Path
) -> None:
    raw = b'"\x1b]0;gone\x07 \xe2\x80\xae evil \x00 \xff\r\nVERIFIED \xc2\x9b31m"'
    service, salt = api.scenario.service, bytes(SALT_SIZE)
    store = service.observing.store
    assert store is not None
    committed = commitment(service.log.log_id, salt, "orders-log", 3, raw)
    event = Event(type="other", at=service.now())
    arrived = Arrived(raw=raw, salt=salt, commitment=committed, event=event, link=NOBODY)
    chunk = Chunk(
        source="orders-log", resource="", start=3, arrived=[arrived], rejected=0, cursor=None,
        at=service.now(),
    )  # fmt: skip
    store.add(chunk)
    await observe.seal(service)
    answer = await api.get("aud", "/v1/evidence/events/orders-log/3")
    (desk / "events").write_bytes(answer.content)
    output = check(desk).output
    assert "evil" in output
    assert not set(output) & {"\x1b", "\x07", "\u202e", "\x00", "\x9b", "\r"}
    assert not any(line.startswith("VERIFIED") for line in output.splitlines())


async def test_a_program_gets_the_exact_bytes_as_well(api: ScenarioApi, desk: Path) -> None:
    value = json.loads(check(desk, "--json").output)
    store = api.scenario.service.observing.store
    assert store is not None
    kept = [store.raw("orders-log", number) for number in range(3)]
    assert [base64.b64decode(each["raw"]) for each in value["events"]] == [
        each.raw for each in kept if each is not None
    ]
    assert [each["number"] for each in value["events"]] == [0, 1, 2]
    assert "that an event which is called erased is gone everywhere" not in value["not_proved"]


async def test_an_erased_event_is_named_at_its_place(api: ScenarioApi, desk: Path) -> None:
    store = api.scenario.service.observing.store
    assert store is not None
    store.erase("orders-log", [1])
    answer = await api.get("aud", "/v1/evidence/events/orders-log/0-2")
    (desk / "events").write_bytes(answer.content)
    output = check(desk).output
    assert "erased ones, by their commitments alone: 1" in output
    assert output.index("orders-log 0,") < output.index("orders-log 1,")
    assert output.index("erased: what it said is gone") < output.index("orders-log 2,")
    assert "that an event which is called erased is gone everywhere" in output


async def test_a_changed_file_is_refused(desk: Path) -> None:
    path = desk / "events"
    good = path.read_bytes()
    for changed in (good.replace(b'"number":1,', b'"number":0,'), good[:-1], b"{}", b""):
        path.write_bytes(changed)
        with pytest.raises(EvidenceError):
            check(desk)
        arguments = ["events", "check", str(path), "--log-key", str(desk / "key")]
        assert run(arguments) == 1


def test_the_check_of_events_needs_no_service_and_no_database(desk: Path) -> None:
    program = (
        "import sys; from muniment.interfaces.cli.main import run; code = run(sys.argv[1:]);"
        "print({'sqlite3', 'httpx', 'fastapi', 'asyncio', 'pydantic'} & set(sys.modules) or 'none',"
        " file=sys.stderr); sys.exit(code)"
    )
    arguments = ["events", "check", str(desk / "events"), "--log-key", str(desk / "key")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (done.returncode, done.stderr.strip()) == (0, "none"), done.stdout


# --- what asks for it -----------------------------------------------------------------------------


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def test_the_events_are_written_byte_for_byte_into_a_new_file(
    service: FakeService, tmp_path: Path
) -> None:
    service.on("GET", "/v1/evidence/events/orders-log/12-40", '{"some":"events"}')
    path = tmp_path / "events"
    arguments = ["events", "prove", "orders-log", "12-40", "-o", str(path)]
    assert run(arguments) == 0
    assert path.read_bytes() == b'{"some":"events"}'
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(arguments) == 1
    service.on("GET", "/v1/evidence/events", '{"more":"events"}')
    assert run(["events", "prove", "--case", CASE, "-o", str(tmp_path / "more")]) == 0
    assert (tmp_path / "more").read_bytes() == b'{"more":"events"}'


def test_what_names_no_event_is_not_asked_for(service: FakeService, tmp_path: Path) -> None:
    for named in ((), ("orders-log",), ("orders-log", "x"), ("../log", "1"), ("a?b", "1"),
                  ("--case", "../x"), ("orders-log", "--case", CASE)):  # fmt: skip
        assert run(["events", "prove", *named, "-o", str(tmp_path / "events")]) == 2
    assert service.asked == []


def test_refused_events_leave_no_file(service: FakeService, tmp_path: Path) -> None:
    service.on("GET", "/v1/evidence/events/orders-log/3", problem(409, "try again"))
    assert run(["events", "prove", "orders-log", "3", "-o", str(tmp_path / "events")]) == 1
    assert list(tmp_path.iterdir()) == []
