"""What all tests share: contract suites that tell what failed, and signals as a terminal has them."""

import logging
import signal
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("muniment.testing.connector_contract")

# A job in the background inherits SIGINT ignored, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """A command run in this process may turn on logging; its standard error is gone after it."""
    root, httpx = logging.getLogger(), logging.getLogger("httpx")
    before = (root.level, list(root.handlers), httpx.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    httpx.setLevel(before[2])
