"""The tests of controls: each a question over every case of a period, one function, by its name."""

from collections.abc import Mapping
from typing import Final

from muniment.oversight.controls import approving, ending, keeping, machines, reviewing, watching
from muniment.oversight.controls.control_test import ControlTest

TESTS: Final[Mapping[str, ControlTest]] = {
    each.id: each
    for module in (approving, ending, machines, reviewing, watching, keeping)
    for each in vars(module).values()
    if isinstance(each, ControlTest)
}
