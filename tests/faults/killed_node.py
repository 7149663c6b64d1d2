"""
One node of a log in PostgreSQL, which sends itself a signal at one step of an append.

Arguments: folder (with the key), step, whether the step is done before (1) or not (0), signal,
lease. What it has a receipt for goes to `acknowledged`, line by line, before it falls.
"""

import os
import sys
import time
from pathlib import Path

from muniment.errors import LogUnavailable
from muniment.evidence.note import SigningKey
from muniment.testing.faulty import new_case
from muniment.testing.log_servers import LogDatabases
from muniment.testing.trial_log import TrialLog


def main() -> None:
    folder, step, kept, number, lease = sys.argv[1:]
    place = LogDatabases(
        log=os.environ["LOG"], heads=os.environ["HEADS"], log_admin="", heads_admin="",
        lease=float(lease),
    )  # fmt: skip
    key = SigningKey.parse((Path(folder) / "key").read_text())
    trial = TrialLog(Path(folder), key=key, place=place, shared=True)
    acknowledge(folder, trial, 3)
    trial.disk.fail(step, kept=kept == "1", error=lambda: fall(int(number)))
    for _ in range(200):  # only one that was stopped comes so far
        try:
            acknowledge(folder, trial, 1)
        except LogUnavailable:
            time.sleep(0.1)  # the server takes its sessions back; nothing tells when
        else:
            trial.close()
            return
    sys.exit("it does not go on")


def fall(number: int) -> Exception:
    os.kill(os.getpid(), number)
    time.sleep(0.2)  # the signal may reach another thread first: here nothing goes on meanwhile
    return LogUnavailable("the node was stopped here")


def acknowledge(folder: str, trial: TrialLog, count: int) -> None:
    for _ in range(count):
        (entry,) = trial.append(trial.draft(new_case()))
        with (Path(folder) / "acknowledged").open("a") as file:
            file.write(f"{entry.index}:{entry.data.hex()}\n")


if __name__ == "__main__":
    main()
