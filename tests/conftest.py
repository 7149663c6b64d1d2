"""What all tests share: contract suites that tell what failed, and signals as a terminal has them."""

import signal

import pytest

pytest.register_assert_rewrite("muniment.testing.connector_contract")

# A job in the background inherits SIGINT ignored, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
