"""A scenario with its HTTP interface, and everybody enrolled who asks something there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from standard_api import Api, gate

from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    principals = {**cast(), "gate": gate()}
    async with Scenario(tmp_path, principals=principals) as scenario:
        made = Api(scenario, tmp_path)
        await made.enrol()
        yield made
