"""The story in five acts: asked and denied, approved, used, run out, and proved afterwards."""

import time
from typing import Any

import psycopg

from muniment.errors import Conflict, NotPermitted
from muniment.evidence import moment
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.demo.stage import PATIENCE, RESOURCE, ROLE, Answer, Stage
from muniment.interfaces.cli.demo.telling import Telling, must

TICKET = "OPS-4711"
RECEIPT = "ended-early.receipt"
_FILES = "ended-early.bundle.json --log-key log.vkey"
_HALF_HOUR, _SHORT = 1800, 3
_STATEMENT = "UPDATE orders SET state = 'sent' WHERE id = 42"
_Session = psycopg.Connection[Any]


def play(stage: Stage, telling: Telling) -> None:
    """Each act is a numbered section; the attacks are the sixth."""
    _introduce(stage, telling)
    denied_without_a_ticket(stage, telling)
    approved_by_somebody_else(stage, telling)
    used_and_traced(stage, telling)
    run_out_while_in_use(stage, telling)
    proved_afterwards(stage, telling)


def _introduce(stage: Stage, telling: Telling) -> None:
    server, service = stage.postgres, stage.live
    telling.say(
        f"PostgreSQL {server.binaries.major} on {server.host}:{server.port}; the service, process"
        f" {service.process.pid}, on {service.url}. Nothing is simulated."
    )


# --- 1 and 2: asking ------------------------------------------------------------------------------


def denied_without_a_ticket(stage: Stage, telling: Telling) -> None:
    telling.section(f"Ana asks for {RESOURCE} / {ROLE} for 30 minutes, and names no ticket")
    ana = stage.live.api("ana")
    with telling.step("denied-without-ticket") as step:
        task = _ask(ana, seconds=_HALF_HOUR, business_justification="order 42 is stuck")
        must(task["status"] == "denied", f"the request is {task['status']}")
        rule = task["decision"]["rules"][0]
        must(rule["id"] == "forbid.prod-without-ticket", f"it was `{rule['id']}` that denied")
        place = f"{rule['file']}:{rule['line']}"
        step.held(f"denied by {place}, and recorded with the rule:", case=task["id"], rule=rule)
    telling.quote(rule["text"].strip().splitlines())


def approved_by_somebody_else(stage: Stage, telling: Telling) -> None:
    telling.section(f"She asks again, with ticket {TICKET}")
    ana, bo = stage.live.api("ana"), stage.live.api("bo")
    with telling.step("pending-with-ticket") as step:
        task = _ask(
            ana, seconds=_HALF_HOUR, ticket=TICKET, business_justification="order 42 is stuck"
        )
        case = stage.cases["ended-early"] = task["id"]
        must(task["status"] == "pending", f"the request is {task['status']}")
        able = _could_approve(task)
        must(able == ["bo"], f"{able} could approve")
        needed = task["case"]["waits_for"]
        step.held(
            f"pending: {_quorum(needed)} has to approve, and {' or '.join(able)} could",
            case=case,
            waits_for=needed,
            could_approve=able,
        )
    stage.put_aside()  # an older copy of the database, for those who cheat in section 6
    with telling.step("self-approval-refused") as step:
        why = _refusal(ana, case)
        last = ana.get(f"/v1/cases/{case}")["timeline"][-1]
        must("approve.not-own-not-twice" in why, why)
        must(last["record"]["outcome"] == "deny", "the denied approval was not recorded")
        must(last["id"] in why, f"`{why}` does not name the record {last['id']}")
        text = f"ana approves herself: refused, and recorded (entry {last['index']} of the log)"
        step.held(text, why=why, record=last["id"], index=last["index"])
    telling.quote(['"Nobody approves for himself, for his agent or workload, or twice"'])
    with telling.step("approved") as step:
        answer = bo.post(f"/v1/cases/{case}/approval", {"note": "half an hour is enough"})
        must(answer["state"] == "approved", f"the case is {answer['state']}")
        step.held("bo approves", case=case, rules=answer["decision"]["rules"])


def _refusal(api: Api, case: str) -> str:
    try:
        api.post(f"/v1/cases/{case}/approval")
    except NotPermitted as error:
        return str(error)
    return "it was accepted"


def _ask(api: Api, **context: Any) -> dict[str, Any]:
    asked = api.ask(RESOURCE, ROLE, context)
    return {**asked, **asked["task"], "case": asked["case"][0]}


def _could_approve(task: dict[str, Any]) -> list[str]:
    return [task["names"][who] for who in task["progress"]["awaiting"]]


def _quorum(needed: dict[str, int]) -> str:
    return " and ".join(f"{count} of {group}" for group, count in needed.items())


# --- 3: the credential ----------------------------------------------------------------------------


def used_and_traced(stage: Stage, telling: Telling) -> None:
    telling.section("She picks up the credential and uses it")
    case = stage.cases["ended-early"]
    with telling.step("credential-used") as step:
        session, credential = _pick_up(stage, "ended-early")
        changed = session.execute(_STATEMENT.encode()).rowcount
        who = session.execute("SELECT session_user, current_user").fetchone()
        session.close()
        must(changed == 1, f"{changed} rows changed")
        must(who is not None and who[0] == case, f"logged in as {who}, not as {case}")
        acting = who[1] if who is not None else ""
        step.held(
            f"logged in as {case}, acting as {acting}: 1 order updated",
            account=who,
            until=credential["until"],
            native_expiry=credential["native_expiry"],
        )
    telling.say(
        "The secret was in that one answer. With it came a receipt (place in the log, proof, signed"
        " head), which ana keeps."
    )
    with telling.step("whois") as step:
        line = _target_log_line(stage, case)
        found = stage.live.api("admin").get("/v1/whois", text=line)
        must(found["case"] == case, f"the line leads to {found['case']}")
        given = next(r for r in found["timeline"] if r["kind"] == "approval:given")
        asked, approver = (found["names"][p] for p in (found["requester"], *found["approved_by"]))
        must((asked, approver) == ("ana", "bo"), f"asked by {asked}, approved by {approver}")
        step.held(
            "a line of PostgreSQL's own log leads back to the approval:",
            line=line,
            case=case,
            asked=asked,
            approved_by=approver,
            approval=given["id"],
        )
    telling.quote([f"{case} … {line[line.index('statement:') :]}"])
    at = f"{moment.parse(given['at']):%H:%M:%S} UTC"
    telling.quote([f"whois: asked by {asked} for {TICKET}, approved by {approver} at {at}"])


def _pick_up(stage: Stage, name: str) -> "tuple[_Session, dict[str, Any]]":
    """Ana's session with a fresh credential; her receipt is kept beside the evidence."""
    answer = stage.live.api("ana").post(f"/v1/cases/{stage.cases[name]}/credential")
    credential: dict[str, Any] = answer["credential"]
    stage.handed_out.append(credential["secret"])
    (stage.work / f"{name}.receipt").write_text(answer["receipt"], "utf-8")
    where = {{"database": "dbname"}.get(k, k): v for k, v in credential["connection"].items()}
    stage.logins[name] = psycopg.conninfo.make_conninfo(password=credential["secret"], **where)
    return psycopg.connect(stage.logins[name], autocommit=True), credential


def _target_log_line(stage: Stage, account: str) -> str:
    """What the target itself wrote about the statement; its log is written a moment later."""
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        for path in stage.postgres.log_files(".log"):
            for line in path.read_text("utf-8", "replace").splitlines():
                if account in line and "UPDATE orders" in line:
                    return line
        time.sleep(0.05)
    raise TimeoutError("PostgreSQL's log does not name the statement")


# --- 4: the end of a window -----------------------------------------------------------------------


def run_out_while_in_use(stage: Stage, telling: Telling) -> None:
    telling.section(f"A second grant, of {_SHORT} seconds, runs out while its session is open")
    ana = stage.live.api("ana")
    with telling.step("expired-session-killed") as step:
        task = _ask(ana, seconds=_SHORT, ticket=TICKET, business_justification="a quick look")
        case = stage.cases["expired"] = task["id"]
        stage.live.api("bo").post(f"/v1/cases/{case}/approval")
        session, _ = _pick_up(stage, "expired")
        open_for, said = _until_killed(session)
        must(open_for < _SHORT + 5, f"the session lived for {open_for:.1f} s")
        text = f'killed in mid-session after {open_for:.2f} s: "{said}"'
        step.held(text, case=case, open_for=round(open_for, 3), said=said)
    with telling.step("removal-verified") as step:
        shown = _closed(ana, case)
        must((shown["state"], shown["removal"]) == ("expired", "verified"), f"it is {shown}")
        record = next(r for r in shown["timeline"] if r["kind"] == "removal:verified")["record"]
        _must_show_nothing(record)
        must(record["sessions_killed"] == 1, "the record does not tell of the session")
        must(case not in stage.roles_of_grants(), "the role is still there")
        lag = record["lag_ms"]
        step.held(f"role dropped, and seen gone {lag} ms after the end of its window", **record)
    telling.say(
        "A separate look at the target found 0 accounts and 0 sessions of this grant (and itself,"
        " so it was not blind). Only with that on record a case is closed."
    )


def _until_killed(session: "_Session") -> tuple[float, str]:
    """How long the session lived, and what the server said to it."""
    started = time.monotonic()
    try:
        while time.monotonic() - started < PATIENCE:
            session.execute("SELECT pg_sleep(0.05)")
    except psycopg.OperationalError as error:
        return time.monotonic() - started, str(error).splitlines()[0]
    finally:
        session.close()
    raise TimeoutError("the session outlived its grant")


def _closed(api: Api, case: str) -> dict[str, Any]:
    """The case once its removal is on record."""
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        shown = api.get(f"/v1/cases/{case}")
        if shown["closed"]:
            return shown
        time.sleep(0.05)
    raise TimeoutError("the removal was not verified in time")


def _must_show_nothing(record: dict[str, Any]) -> None:
    for view in record["endpoints"]:
        left = (view["accounts"], view["sessions"], view["trouble"])
        must(left == (0, 0, "") and view["saw_itself"], f"the probe saw {view}")


# --- 5: evidence ----------------------------------------------------------------------------------


def proved_afterwards(stage: Stage, telling: Telling) -> None:
    telling.section("The access is gone; the evidence stays")
    _end_early(stage, telling)
    _export(stage, telling)
    with telling.step("service-stopped") as step:
        code = stage.stop_service()
        must(code == 0, f"it exited with {code}")
        _search_for_secrets(stage)
        text = (
            "the service is stopped; no secret is in its database or its log. From here on: files"
        )
        step.held(text, exit_code=code, secrets=len(stage.handed_out))
    _verify(stage, telling)
    _replay(stage, telling)


def _end_early(stage: Stage, telling: Telling) -> None:
    case, ana = stage.cases["ended-early"], stage.live.api("ana")
    with telling.step("ended-early") as step:
        shown = ana.post(f"/v1/cases/{case}/end")
        must((shown["state"], shown["removal"]) == ("ended", "verified"), f"it is {shown}")
        must(shown["closed"], "the case is still open")
        early = moment.parse(shown["until"]) - moment.parse(_ended_at(ana, case))
        must(not stage.roles_of_grants(), "a role is still there")
        said = _login_refused(stage.logins["ended-early"])
        minutes = int(early.total_seconds() // 60)
        text = f"ana gives the first grant back {minutes} minutes early: role gone, login refused"
        step.held(text, case=case, minutes_early=minutes, login=said)


def _ended_at(api: Api, case: str) -> str:
    timeline = api.get(f"/v1/cases/{case}")["timeline"]
    return str(next(line["at"] for line in timeline if line["kind"] == "grant:ended"))


def _login_refused(login: str) -> str:
    try:
        psycopg.connect(login, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        return str(error).splitlines()[0]
    raise Conflict("the credential still opens a session")


def _export(stage: Stage, telling: Telling) -> None:
    """Both grants, and a third request that waits for approval: what cheaters would like."""
    ana = stage.live.api("ana")
    with telling.step("evidence-exported") as step:
        task = _ask(ana, seconds=_HALF_HOUR, ticket=TICKET, business_justification="tomorrow")
        stage.cases["waiting"] = task["id"]
        sizes = {name: _export_one(ana, stage, name) for name in stage.cases}
        text = "the evidence of both grants is exported, a file each; a third request waits"
        step.held(text, bytes=sizes)


def _export_one(ana: Api, stage: Stage, name: str) -> int:
    data = ana.post_for_bytes(f"/v1/cases/{stage.cases[name]}/evidence", {})
    return stage.bundle(name).write_bytes(data)


def _search_for_secrets(stage: Stage) -> None:
    files = [path for path in (*stage.folder.rglob("*"), stage.log) if path.is_file()]
    for path in files:
        data = path.read_bytes()
        for secret in (stage.password, *stage.handed_out, *stage.tokens.values()):
            must(secret.encode() not in data, f"a secret stands in {path.name}")


def _verify(stage: Stage, telling: Telling) -> None:
    telling.quote([f"$ muniment verify {_FILES}"])
    with telling.step("verify-offline") as step:
        found = {name: stage.verify(stage.bundle(name)) for name in ("ended-early", "expired")}
        for name, answer in found.items():
            _must_verify(name, answer, "UNANCHORED", "removal verified")
        closed = [answer.json["closed_at"] for answer in found.values()]
        text = (
            f"all 12 steps hold, for both grants: COMPLETE, closed at {closed[0]} and {closed[1]}"
        )
        step.held(text, **{name: answer.json for name, answer in found.items()})
    telling.quote([f"$ muniment verify {_FILES} --head {RECEIPT}"])
    with telling.step("verify-against-receipt") as step:
        receipt = stage.work / RECEIPT
        answer = stage.verify(stage.bundle("ended-early"), "--head", receipt)
        _must_verify("ended-early", answer, "SELF-WITNESSED", "removal verified")
        text = "UNANCHORED before; held against the receipt that ana kept: SELF-WITNESSED"
        step.held(text, heads=answer.json["heads"])


def _must_verify(name: str, answer: Answer, verdict: str, state: str) -> None:
    must(answer.code == 0, f"{name}: `verify` exits with {answer.code}: {answer.last_words}")
    found = answer.json
    must(found["verdict"] == verdict and found["complete"], f"{name}: {found['verdict']}")
    must(state in found["state"], f"{name}: {found['state']}")


def _replay(stage: Stage, telling: Telling) -> None:
    telling.quote([f"$ muniment replay {_FILES}"])
    with telling.step("replay-offline") as step:
        done: list[str] = []
        for name in ("ended-early", "expired"):
            answer = stage.check("replay", stage.bundle(name), "--require", "replay")
            must(
                answer.code == 0, f"{name}: `replay` exits with {answer.code}: {answer.last_words}"
            )
            done += [decision["answer"] for decision in answer.json["decisions"]]
        must(done and set(done) == {"REPLAYED"}, f"decisions: {done}")
        text = (
            f"all {len(done)} decisions of both recomputed byte for byte, by the policy in the file"
        )
        step.held(text, decisions=len(done))
