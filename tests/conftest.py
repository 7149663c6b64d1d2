"""Contract suites that ship with the product tell what failed as tests do."""

import pytest

pytest.register_assert_rewrite("muniment.testing.connector_contract")
