"""Schemathesis asks the real service whatever its own OpenAPI document allows, and what it forbids."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from acceptance import conftest
from acceptance.conftest import RESOURCE, Installation

pytestmark = [pytest.mark.deep, pytest.mark.target]

#: one of its own: what is asked here leaves nothing as it was
installation = conftest.installation

#: for each operation and phase; with the time below, a bound on each share of the operations
EXAMPLES: Final = 20
SHARES: Final = 4
SECONDS: Final = 90
HALF: Final = "\ud800"
#: it does not fail, and answers only what its document says that it answers
CHECKS: Final = "not_a_server_error,status_code_conformance,content_type_conformance"


@pytest.fixture(scope="module")
def cases(installation: Installation) -> list[str]:
    """Cases in the states that operations tell apart, so that not all of them answer 404."""
    pending = [installation.request() for _ in range(3)]
    approved = [installation.approved() for _ in range(3)]
    issued = [installation.approved() for _ in range(3)]
    ended = installation.approved()
    for case in (*issued, ended):
        installation.json("credential", case)
    installation.json("end", ended)
    return [*pending, *approved, *issued, ended, pending[0][:12]]


@pytest.fixture(scope="module")
def document(installation: Installation) -> Any:
    return httpx.get(f"{installation.url}/openapi.json").raise_for_status().json()


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize(
    ("login", "shown"),
    [("ana", True), ("admin", True), ("ana", False)],
    ids=["ana", "admin", "without a token"],
)
def test_no_request_makes_the_service_fail_or_answer_what_it_does_not_document(
    installation: Installation,
    cases: list[str],
    document: Any,
    login: str,
    shown: bool,
    share: int,
    tmp_path: Path,
) -> None:
    bearer = ("--header", f"Authorization: Bearer {installation.tokens[login]}") if shown else ()
    settings = tmp_path / "schemathesis.toml"
    lines = ['hooks = "media_types"', *real_values(installation, cases, login)]
    settings.write_text("\n".join(lines), "utf-8")
    # every operation of the document is asked, here or by a sibling of this test
    paths = sorted(document["paths"].items())
    operations = [f"{verb.upper()} {path}" for path, of in paths for verb in of]
    # neighbours together: what one of them gives, another is asked about
    start, stop = (len(operations) * each // SHARES for each in (share, share + 1))
    asked = operations[start:stop]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)),
            *("--no-color", "run", f"{installation.url}/openapi.json"),
            *bearer,
            *(each for operation in asked for each in ("--include-name", operation)),
            *("--checks", CHECKS, "--max-examples", str(EXAMPLES)),
            *("--generation-deterministic", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = "\n".join(line[:200] for line in done.stdout.splitlines())
    assert done.returncode == 0, said[-6000:] + done.stderr[-2000:]
    assert f"Selected: {len(asked)}/{len(operations)}" in done.stdout
    assert f"Tested: {len(asked)}" in done.stdout
    assert list(failures(installation)) == []


def real_values(installation: Installation, cases: list[str], login: str) -> Iterator[str]:
    """Values that are there, mixed with whatever the schema allows; as TOML."""
    # what came of asking the question that `body…` below most often asks
    question = {
        "subject": {"type": "human", "id": login},
        "resource": {"type": "resource", "id": RESOURCE},
        "action": {"name": "readwrite"},
        "context": {"ticket": "OPS-1"},
    }
    answer = httpx.post(
        f"{installation.url}/access/v1/evaluation",
        json=question,
        headers={"Authorization": f"Bearer {installation.tokens[login]}"},
    ).json()
    values = {
        "cases": cases,
        "logins": [login],
        "resources": [RESOURCE],
        "roles": ["readwrite"],
        # whoever has access now is not denied it
        "evaluations": [answer["context"].get("evaluation_id", "eval_of_another")],
        "tickets": ["OPS-1"],
    }
    for name, known in values.items():
        yield f"[dictionaries.{name}]\nvalues = {json.dumps(known)}"
    yield "[parameters]"
    for parameter, name in (
        ("path.case", "cases"),
        ("path.case_id", "cases"),
        ("path.review_id", "cases"),
        ("body.subject.id", "logins"),
        ("body.resource.id", "resources"),
        ("body.action.name", "roles"),
        ("body.denial.evaluation_id", "evaluations"),
        ("body.resource", "resources"),
        ("body.role", "roles"),
        ("body.ticket", "tickets"),
        ("body.context.ticket", "tickets"),
    ):
        yield f'"{parameter}" = {{ dictionary = "{name}", probability = 0.8 }}'


def failures(installation: Installation) -> Iterator[str]:
    """What the service itself says went wrong."""
    # a newline ends a line, and nothing else that Unicode takes for an end
    for line in (installation.folder.parent / "serve.log").read_text("utf-8").split("\n")[:-1]:
        said = json.loads(line)
        status = said["message"].rsplit(" ", 1)[-1]
        if said["level"] in ("error", "critical") or ("ms" in said and status >= "500"):
            yield line


def test_half_of_a_surrogate_pair_in_any_text_is_refused_and_no_failure(
    installation: Installation, cases: list[str], document: Any
) -> None:
    """JSON can escape what is no text; Schemathesis does not try it."""
    admin = {"Authorization": f"Bearer {installation.tokens['admin']}"}
    asked = 0
    with httpx.Client(base_url=installation.url, headers=admin) as client:
        for path, methods in document["paths"].items():
            here = path.format(
                case=cases[0], case_id=cases[0], position=0, review_id=cases[0], index=0,
                provider="idp", source="logs", task="OPS-1", tile="0/000", resource=RESOURCE,
                finding="fnd_" + "a" * 26, hold_id="hld_" + "a" * 26, run_id="ers_" + "a" * 26,
                person="ana", number=0, campaign="rev_" + "a" * 26, archive_id="arc_" + "a" * 26,
                digest="0" * 64,
            )  # fmt: skip
            for body in halves(methods.get("post", {}).get("requestBody", {}), document):
                answer = client.post(
                    here, content=json.dumps(body), headers={"Content-Type": "application/json"}
                )
                assert answer.status_code in (400, 422), (path, body, answer.text)
                asked += 1
    assert asked > 20


def halves(schema: Any, document: Any) -> Iterator[Any]:
    """Values of this schema, each with what is no text in another of its texts."""
    match schema:
        case {"$ref": ref}:
            yield from halves(document["components"]["schemas"][ref.split("/")[-1]], document)
        case {"content": {"application/json": {"schema": inner}}}:
            yield from halves(inner, document)
        case {"anyOf": choices}:
            for choice in choices:
                yield from halves(choice, document)
        case {"type": "string"}:
            yield HALF
        case {"type": "array", "items": items}:
            yield from ([value] for value in halves(items, document))
        case {"properties": properties}:
            plain = {name: some(properties[name], document) for name in schema.get("required", ())}
            for name, inner in properties.items():
                yield from ({**plain, name: value} for value in halves(inner, document))
        case _:
            pass  # no text in it


def some(schema: Any, document: Any) -> Any:
    """A value of this schema, with required members only."""
    match schema:
        case {"$ref": ref}:
            return some(document["components"]["schemas"][ref.split("/")[-1]], document)
        case {"type": "integer" | "number"}:
            return 1
        case {"format": "date-time"}:
            return "2026-11-21T12:00:00Z"
        case {"properties": properties}:
            return {name: some(properties[name], document) for name in schema.get("required", ())}
        case _:
            return "x"
