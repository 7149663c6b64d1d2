"""A process that is killed while it adds events leaves whole chunks, each with its cursor."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from muniment.stores.events import SQLiteEventStore
from muniment.testing.trial_events import arrived, numbers

pytestmark = pytest.mark.deep

ADDING = """
import sys
from pathlib import Path
from muniment.stores.events import SQLiteEventStore
from muniment.testing.trial_events import chunk

store = SQLiteEventStore(Path(sys.argv[1]))
while True:
    start = store.state("orders-log").next
    store.add(chunk(start, 7 + start % 90))
    print(store.state("orders-log").next, flush=True)
"""


def killed_after(path: Path, lines: int) -> int:
    """What the process said last that was durable."""
    command = [sys.executable, "-c", ADDING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(lines)]
        process.kill()
        rest = [
            int(line) for line in process.stdout.read().splitlines(keepends=True) if "\n" in line
        ]
    return [*said, *rest][-1]


def test_a_process_that_is_killed_again_and_again_leaves_whole_chunks(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    for lines in (1, 3, 2, 9, 5):
        durable = killed_after(path, lines)
        with closing(SQLiteEventStore(path)) as store:
            state = store.state("orders-log")
            assert state.next >= durable
            assert state.cursor == f"at {state.next}"
            assert state.types == {"statement": state.next}
            assert numbers(store.walk()) == list(range(state.next))
            expected = [arrived("orders-log", n).commitment for n in range(state.next)]
            assert store.commitments("orders-log", 0, state.next) == expected
