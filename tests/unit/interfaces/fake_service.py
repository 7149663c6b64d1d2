"""The HTTP API as a script: what it answers to which request, and what it was asked."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from muniment.evidence.proof import Receipt
from muniment.interfaces.cli.api import Api

ANA, BO = "prn_" + "a" * 26, "prn_" + "b" * 26
NAMES = {ANA: "ana", BO: "bo"}
CASE = "mun_" + "c" * 26
START, UNTIL, DEADLINE = (f"2026-11-21T{hour}:00:00.000Z" for hour in ("10", "11", "18"))

#: a text is answered as plain text, all else as JSON
Answer = dict[str, Any] | tuple[int, dict[str, Any]] | str | Exception


def case(**changes: Any) -> dict[str, Any]:
    """A case as `GET /v1/cases/{case}` tells it."""
    found: dict[str, Any] = {
        "case": CASE,
        "state": "pending",
        "closed": False,
        "requester": ANA,
        "resource": "orders",
        "role": "readwrite",
        "environment": "production",
        "seconds": 1800,
        "emergency": False,
        "marked": False,
        "waits_for": {"sre-leads": 1},
        "could_approve": [BO],
        "approved_by": [],
        "starts": None,
        "until": None,
        "deadline": DEADLINE,
        "removal": "",
        "account": None,
        "records": 2,
        "timeline": [],
        "review": None,
        "names": NAMES,
    }
    return {**found, **changes}


def rule(id: str, **changes: Any) -> dict[str, Any]:
    place = {"file": "policies/10.cedar", "line": 3}
    text = f'@id("{id}")\nforbid (principal, action, resource);'
    return {"id": id, "title": f"The title of {id}", **place, "text": text, **changes}


def decision(outcome: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "outcome": outcome,
        "why": [f"{ANA} may not request: forbid.x (The title of forbid.x)"],
        "rules": [rule("forbid.x")],
        "approvals": {},
        "max_seconds": None,
        "requires": [],
        "notifies": [],
    }
    return {**found, **changes}


ISSUED = case(
    state="issued",
    starts=START,
    until=UNTIL,
    waits_for={},
    could_approve=[],
    approved_by=[BO],
    decision=decision("needs_approvals"),
    receipt=Receipt(
        0, (), b"m.example\n1\n" + b64encode(bytes(32)) + b"\n\n\xe2\x80\x94 m.example AAAAAAAA\n"
    )
    .format()
    .decode(),
    credential={
        "account": CASE,
        "secret": "it's secret",
        "connection": {"host": "db", "port": "5432", "database": "or:ders", "user": CASE},
        "native_expiry": UNTIL,
        "until": UNTIL,
    },
)
ENDED = case(state="ended", closed=True, removal="verified", starts=START, until=UNTIL)


def problem(status: int, detail: str) -> tuple[int, dict[str, Any]]:
    return status, {"title": "x", "status": status, "detail": detail}


@dataclass
class FakeService:
    """Answers in the order given, the last one for ever; what was not foreseen fails the test."""

    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    #: method, path and body of every request
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    #: called with each request before it is answered
    before: Callable[[str, str], None] = lambda _method, _path: None

    def on(self, method: str, path: str, *answers: Answer) -> "FakeService":
        self.answers[method, path] = list(answers)
        return self

    def on_ask(self, *states: dict[str, Any], decision: dict[str, Any] | None = None) -> None:
        """What a request becomes, look after look."""
        self.on("GET", "/v1/whoami", {"principal": ANA, "names": NAMES})
        binding = {"expires_at": UNTIL}
        context = {"evaluation_id": "eval_x", "evaluated_at": START, "access_request": binding}
        self.on("POST", "/access/v1/evaluation", {"decision": False, "context": context})
        task = {"id": CASE, "display": {"urn:muniment:decision": decision}}
        self.on("POST", "/access/v1/requests", {"task": task})
        self.on("GET", f"/v1/cases/{CASE}", *states)
        self.on("POST", f"/v1/cases/{CASE}/withdrawal", {"case": CASE})

    def count(self, method: str, path: str) -> int:
        return sum((m, p) == (method, path) for m, p, _ in self.asked)

    def api(self) -> Api:
        return Api("http://muniment", "token", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self.asked.append((method, path, json.loads(request.content or b"null")))
        self.before(method, path)
        answers = self.answers.get((method, path))
        assert answers, f"nobody foresaw {method} {path}"
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return httpx.Response(200, text=answer)
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json=body)
