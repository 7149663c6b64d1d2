"""
An evaluation over HTTP among many people, resources and rules, beside HTTP and the engine alone.

50 rules, 500 people, 200 resources: each client asks about all the resources in turn. The engine
alone asks the same questions on the same facts. Processor time is the whole process's.
"""

import json
import time
from itertools import cycle

from bench import load
from bench.context import Bench
from bench.figures import Figure, at_most, median
from bench.http import bearer, plain_served
from bench.installation import Installation, Served, install
from bench.plain_server import TOKEN
from bench.requests import ASK, caller, opened
from muniment.operations.facts import access_facts
from muniment.policy.decide import ask_request

CLIENTS = 64
RULES, PEOPLE, RESOURCES = 50, 500, 200
_US = 1e6
_PERSON = '\n[people.p{number}]\ngroups = ["engineering", "team-{team}"]\n'
_RESOURCE = """
[resources.r{number}]
connector = "postgresql"
tier = "{tier}"
environment = "production"
endpoints = ["host=127.0.0.1 port=1 dbname=postgres"]
user = "muniment_connector"
password = "env:MUNIMENT_POSTGRES_PASSWORD"

[resources.r{number}.roles.readwrite]
grants = ["app_rw"]
"""
_RULE = """
@id("bench.team-{number}")
@title("A team may ask for its own resource")
permit (
  principal is Muniment::Human in Muniment::Group::"team-{number}",
  action == Muniment::Action::"request",
  resource in Muniment::Resource::"r{number}"
)
when {{ !resource.data.contains("restricted") }};
""".replace('!resource.data.contains("restricted")', 'resource.data != "restricted"')


async def run(bench: Bench) -> list[Figure]:
    large, scratch = bench.folder("evaluation"), bench.folder("evaluation-load")
    installation = _grown(install(large / "muniment"))
    rates: list[load.Loaded] = []
    ours: list[float] = []
    route: list[float] = []
    engine: list[float] = []
    seconds = bench.sizes.seconds
    engine_folder = bench.folder("evaluation-engine")
    async with opened(_grown(install(engine_folder / "muniment"))) as requests:
        service = requests.service
        who = service.registry.principals[service.names["p7"]]
        asked = [
            access_facts(
                service, who, service.role(f"r{number}", "readwrite"), seconds=ASK.seconds,
                emergency=False, reason=ASK.reason, now=service.now(), signed_in=None,
            )
            for number in range(RESOURCES)
        ]  # fmt: skip
        bundle = service.policy()
        caller(service)
    with installation.served() as served, plain_served() as plain:
        post = _post(installation, served)
        there = load.Post(port=plain.port, path="/route", body=post.body, headers=bearer(TOKEN))
        for each in (post, there):
            load.run(each, 16, 1, scratch)
        for _ in range(bench.sizes.rounds):
            engine.append(_engine(bundle, asked, seconds / 4))
            before = served.cpu()
            rates.append(load.run(post, CLIENTS, seconds, scratch))
            ours.append((served.cpu() - before) / rates[-1].requests * _US)
            before = plain.cpu()
            alone = load.run(there, CLIENTS, seconds / 2, scratch)
            route.append((plain.cpu() - before) / alone.requests * _US)
    return _figures(rates, median(ours), median(route), median(engine))


def _figures(rates: list[load.Loaded], ours: float, route: float, engine: float) -> list[Figure]:
    name = f"{CLIENTS} clients, {RULES} rules, {PEOPLE} people, {RESOURCES} resources"
    return [
        Figure(what=f"evaluations, {name}", value=median([one.rate for one in rates]), unit="/s"),
        Figure(
            what=f"p99 of an evaluation, {CLIENTS} clients", unit="ms",
            value=median([one.p99 for one in rates]), goal=at_most(25, "value"),
        ),
        Figure(
            what="processor time per evaluation", value=ours, unit="µs",
            beside="HTTP alone + engine alone", yardstick=route + engine, goal=at_most(2.5),
        ),
        Figure(
            what="the engine alone: ask, explain", value=engine, unit="µs",
            beside="HTTP alone", yardstick=route,
        ),
    ]  # fmt: skip


def _grown(installation: Installation) -> Installation:
    """The starter configuration with many people, resources and rules."""
    settings = installation.folder / "muniment.toml"
    tiers = ("dev", "staging", "prod")
    more = [_PERSON.format(number=n, team=n % RESOURCES) for n in range(PEOPLE)]
    more += [_RESOURCE.format(number=n, tier=tiers[n % 3]) for n in range(RESOURCES)]
    settings.write_text(settings.read_text("utf-8") + "".join(more), "utf-8")
    policies = installation.folder / "policy" / "policies"
    before = sum(file.read_text("utf-8").count("@id(") for file in policies.iterdir())
    rules = "".join(_RULE.format(number=n) for n in range(RULES - before))
    (policies / "15-teams.cedar").write_text(rules, "utf-8")
    return installation


def _post(installation: Installation, served: Served) -> load.Post:
    bodies = [
        json.dumps(
            {
                "subject": {"type": "human", "id": "ana"},
                "resource": {"type": "postgresql", "id": f"r{number}"},
                "action": {"name": "readwrite"},
                "context": {"seconds": ASK.seconds, "ticket": ASK.reason.ticket},
            }
        ).encode()
        for number in range(RESOURCES)
    ]
    return load.Post(
        port=served.port, path="/access/v1/evaluation", body=bodies[0],
        headers=bearer(installation.tokens["ana"]), others=tuple(bodies[1:]),
    )  # fmt: skip


def _engine(bundle: object, asked: list[object], seconds: float) -> float:
    """Processor time of one decision, in microseconds."""
    count, cpu, began = 0, time.process_time(), time.perf_counter()
    for facts in cycle(asked):
        ask_request(bundle, facts)  # type: ignore[arg-type]  # as `opened` gave them
        count += 1
        if time.perf_counter() >= began + seconds:
            break
    return (time.process_time() - cpu) / count * _US
