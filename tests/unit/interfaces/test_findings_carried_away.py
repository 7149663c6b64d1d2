"""A finding that was carried away names people as its reader knows them: by their logins."""

from pathlib import Path

from muniment.access.check import verify
from muniment.interfaces.verifier.told import tell
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.testing.scenario import Scenario

RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


async def test_the_sentence_of_a_finding_has_logins_offline(tmp_path: Path) -> None:
    nobody = "prn_" + "z" * 26
    async with Scenario(tmp_path) as scenario:
        hit = Hit(
            rule=RULE.id,
            at=scenario.service.now(),
            key="k",
            summary=f"{scenario.ids['ana']} asked 7 times, {scenario.ids['bo']} and {nobody} once",
            severity="high",
            subjects=(scenario.caller("ana").principal.person,),
        )
        case = await raise_finding(scenario.service, RULE, {}, hit)
        checked = verify(await scenario.export("aud", case), scenario.service.log.keys.known)
        assert tell(checked).reason == f"ana asked 7 times, bo and {nobody} once"
        scenario.check()
