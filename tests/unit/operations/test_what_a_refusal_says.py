"""Whoever may not do something is told why once, and what he can do about it."""

import re

import pytest

from muniment.errors import NotPermitted
from muniment.operations import permit
from muniment.testing.scenario import Scenario


async def test_where_no_rule_permits_it_one_is_told_whom_to_ask(scenario: Scenario) -> None:
    words = (
        "you may not `audit`: no rule of the policy permits it to you; ask whoever answers for "
        "the policy (`muniment whoami` shows your groups)"
    )
    with pytest.raises(NotPermitted, match=f"^{re.escape(words)}$"):
        permit.require(scenario.service, scenario.caller("ana"), "audit")


async def test_where_a_rule_forbids_it_that_rule_is_named_and_nothing_is_said_twice(
    scenario: Scenario,
) -> None:
    case = (await scenario.ask("ana")).case
    words = "you may not `review` on this case: operate.review-not-own (Nobody reviews his own"
    with pytest.raises(NotPermitted, match=f"^{re.escape(words)}"):
        permit.require(scenario.service, scenario.caller("ana"), "review", case)
