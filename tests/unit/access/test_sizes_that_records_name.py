"""A record that says of which size of the log it is cannot say more than there was."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.access import records
from muniment.access.check import verify
from muniment.errors import BundleInvalid
from muniment.testing.cases import START, WrittenLog, new_case

REPORT = records.ReportIssued(
    actor=records.SERVICE, framework="soc2", since=START, until=START, resources=(), size=1,
    report=bytes(32),
)  # fmt: skip
ARCHIVE = records.ArchiveExported(
    actor=records.SERVICE, since=START, until=START, resources=(), size=1, cases=0, beyond=0,
    listed=bytes(32),
)  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    log = WrittenLog(tmp_path)
    yield log
    log.close()


@pytest.mark.parametrize("record", [REPORT, ARCHIVE])
@pytest.mark.parametrize(("more", "holds"), [(0, True), (-1, True), (1, False), (-100, False)])
def test_a_log_larger_than_there_was_fails_step_11(
    written: WrittenLog, record: records.ReportIssued, more: int, *, holds: bool
) -> None:
    for _ in range(3):
        written.append(new_case("log"), records.LogHeartbeat(actor=records.SERVICE, unrecorded={}))
    case = new_case("rpt")
    written.append(case, replace(record, size=written.log.size + more))
    data = written.export(case)
    if holds:
        verify(data, written.key.verifier)
        return
    with pytest.raises(BundleInvalid, match="is of a log that was not there") as failed:
        verify(data, written.key.verifier)
    assert failed.value.step == 11
