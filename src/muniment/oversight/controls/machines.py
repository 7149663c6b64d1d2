"""Whether workloads and agents are held to what people are held to."""

from muniment.oversight.controls.control_test import (
    SKIP,
    ByLine,
    Examined,
    Fault,
    Result,
    control_test,
    over,
)
from muniment.oversight.population import Line

_NO_MACHINE = "no workload or agent was granted anything in this period"


@control_test(
    "machines-have-sponsors",
    "Behind every workload and agent that got access stands a person who answers for it",
    "grants to workloads and agents",
)
def machines_have_sponsors(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.kind == "human":
            return SKIP
        return None if line.sponsor is not None else "nobody answers for it"

    return over("granted", judge, _NO_MACHINE)


@control_test(
    "machines-attested",
    "Workloads and agents got nothing by a static token alone",
    "grants to workloads and agents",
)
def machines_attested(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.kind == "human":
            return SKIP
        return "asked by a static token" if line.assurance == "token" else None

    return over("granted", judge, _NO_MACHINE)


@control_test(
    "agents-approved-by-people",
    "What an agent got, a person had approved",
    "grants to agents",
)
def agents_approved_by_people(_examined: Examined) -> ByLine:
    def judge(line: Line) -> str | None:
        if line.kind != "agent":
            return SKIP
        return None if line.approved else "granted by a rule alone"

    return over("granted", judge, "no agent was granted anything in this period")


@control_test(
    "machines-in-one-environment",
    "No workload or agent got access in more than one environment",
    "workloads and agents that got access",
)
def machines_in_one_environment(_examined: Examined) -> ByLine:
    seen: dict[str, dict[str, str]] = {}

    def see(line: Line) -> None:
        if line.kind != "human":
            seen.setdefault(line.requester, {}).setdefault(line.environment, line.case)

    def answer() -> Result:
        faults = tuple(
            Fault(list(found.values())[-1], f"the same identity in {' and '.join(sorted(found))}")
            for found in seen.values()
            if len(found) > 1
        )
        return Result(tested=len(seen), faults=faults, because="" if seen else _NO_MACHINE)

    return ByLine(of="granted", see=see, answer=answer)
