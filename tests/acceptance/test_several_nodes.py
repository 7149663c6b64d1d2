"""Two API nodes and two workers on one log: whatever happens to one of them, the others go on."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from acceptance.nodes_under_load import (
    AVOIDED,
    HARMS,
    Call,
    Load,
    Outage,
    at_cut_nodes,
    harmed,
    spared,
)
from acceptance.several_nodes import LEASE, Cluster, within
from acceptance.what_must_hold import Settled, settled

#: with nothing beside them: they hold what somebody waits against a lease
pytestmark = [pytest.mark.target, pytest.mark.deep, pytest.mark.alone]

#: seconds that a harm lasts: longer than a lease, so that others have to take over
HARMED: Final = LEASE + 1.0
#: seconds until a node that was harmed is ready again, a start included
RECOVERING: Final = 15.0
#: seconds that whoever asks a sound node waits at most: a lease, half of one more where the node
#: that fell was in the middle of an exchange, and what the work itself takes on a busy machine
PATIENCE: Final = 1.5 * LEASE + 1.0
#: seconds in which a node that is cut off says so: it waits four leases for an answer to what it
#: writes, and whoever asks it may find it waiting as long for what it reads
CUT_OFF: Final = 8 * LEASE + 2.0
#: seconds besides a lease from the end of a grant until it is seen gone
LATE: Final = 2.5
_log = logging.getLogger(__name__)


def check_waits(calls: Sequence[Call], outages: Sequence[Outage]) -> None:
    sound = spared(calls, outages)
    slow = [call for call in sound if call.took > PATIENCE]
    assert not slow, f"somebody waited too long at a sound node: {slow}"
    failed = [call for call in sound if call.status == 0 or call.status >= 500]
    assert not failed, f"a sound node failed: {failed}"
    for call in at_cut_nodes(calls, outages):
        assert call.took < CUT_OFF, f"it hangs: {call}"
        assert call.status, f"no answer: {call}"
        if call.status >= 500:
            assert call.said.startswith("application/problem+json"), call
            assert call.status == 503, call


def conclude(cluster: Cluster, load: Load, outages: Sequence[Outage]) -> None:
    found = settled(cluster, load)
    report(load, outages, found)
    check_waits(load.calls, outages)
    check_ends(found)


def check_ends(found: Settled) -> None:
    assert found.lags, "nothing expired"
    assert found.deaths, "no session was left open"
    for after, most in ((found.deaths, LEASE + LATE), (found.lags, LEASE + LATE)):
        late = {
            case: f"{after[case]:.2f} s: {found.life(case)}" for case in after if after[case] > most
        }
        assert not late, f"ended too late: {late}"


def go_on(load: Load, seconds: float) -> None:
    """For so long; the others get something done in the second half of it."""
    time.sleep(seconds / 2)  # an outage lasts
    load.await_progress(PATIENCE)
    time.sleep(seconds / 2)


def report(load: Load, outages: Sequence[Outage], found: Settled) -> None:
    """For whoever runs it with `--log-cli-level=info`."""
    sound, cut = spared(load.calls, outages), at_cut_nodes(load.calls, outages)
    _log.info(
        "%d stories, %d calls, %d records; longest wait %.2f s at sound nodes (%d above 1 s), %.2f s "
        "at cut ones; %d expired, seen gone after %.2f s at most, sessions dead after %.2f s",
        *(len(load.stories), len(load.calls), found.size),
        *(longest(sound), sum(call.took > 1 for call in sound), longest(cut)),
        *(len(found.lags), max(found.lags.values()), max(found.deaths.values(), default=0.0)),
    )
    for outage in outages:
        there = [call for call in load.calls if call.during(outage)]
        elsewhere = [c for c in sound if c.began <= outage.over and c.over >= outage.began]
        _log.info(
            "%-9s %-13s ready %.2f s after; calls there %d, longest %.2f s; elsewhere %d, %.2f s",
            *(outage.node, outage.how, outage.over - outage.healed),
            *(len(there), longest(there), len(elsewhere), longest(elsewhere)),
        )


def longest(calls: Sequence[Call]) -> float:
    return max((call.took for call in calls), default=0.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster.running(tmp_path) as cluster:
        yield cluster


def test_an_api_node_and_a_worker_fall_at_once_and_nothing_is_lost(cluster: Cluster) -> None:
    outages: list[Outage] = []
    api, worker = cluster.apis[0], cluster.workers[0]
    with Load(cluster=cluster) as load:
        within(10, lambda: load.finished >= 3, "stories at all")
        with (
            harmed(cluster, worker, "silent both", outages, RECOVERING),
            harmed(cluster, api, "killed", outages, RECOVERING),
        ):
            go_on(load, HARMED)
    conclude(cluster, load, outages)


def test_whatever_happens_to_one_node_the_others_go_on(cluster: Cluster) -> None:
    outages: list[Outage] = []
    with Load(cluster=cluster) as load:
        within(10, lambda: load.finished >= 3, "stories at all")
        for number, how in enumerate(HARMS):
            for nodes in (cluster.apis, cluster.workers):
                with harmed(cluster, nodes[number % len(nodes)], how, outages, RECOVERING):
                    go_on(load, HARMED)
                time.sleep(AVOIDED)  # until everybody has come back to it
        # so long that its own patience ends
        with harmed(cluster, cluster.apis[0], "silent both", outages, RECOVERING):
            cluster.apis[0].await_troubles("", CUT_OFF)
            go_on(load, HARMED)
    conclude(cluster, load, outages)
