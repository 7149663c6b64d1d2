"""The product on a temporary folder, for every test of an operation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muniment.testing.scenario import Scenario


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as opened:
        yield opened
