"""The database of the log fails over: to a synchronous standby, and to one that lags."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from acceptance.nodes_under_load import Load
from acceptance.several_nodes import LEASE, OPEN, ROLE, Cluster, Node, operate, within
from acceptance.what_must_hold import settled
from muniment.testing.cut_wire import Wire
from muniment.testing.log_servers import DURABLE, make_database
from muniment.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.deep, pytest.mark.target, pytest.mark.alone]

#: seconds until a node goes on by itself once there is a primary again
RECOVERING: Final = 15.0
#: seconds that a grant holds which nobody gives back
SHORT: Final = 6
#: seconds after its end in which a node takes away by what it remembers: it leaves two leases to
#: others first
UNREAD: Final = 3 * LEASE + 2.0
#: what is published is copied at once, so that the mirror has all of the log a moment later
MIRRORED: Final = """
[log]
publish = "1s"

[mirrors.beside]
kind = "directory"
path = "{path}"
every = "1s"
"""
_log = logging.getLogger(__name__)


# --- servers -----------------------------------------------------------------------------------


@contextlib.contextmanager
def standby_of(primary: PostgresServer, folder: Path) -> Iterator[tuple[PostgresServer, Wire]]:
    """It follows over a wire of its own, so that it can be made to lag."""
    with Wire.to(primary.port) as wire:
        feed = make_conninfo(primary.superuser_dsn, port=wire.port, application_name="standby")
        settings = {"primary_conninfo": feed, "wal_retrieve_retry_interval": "100ms"}
        with primary.start_replica(folder, settings=settings) as standby:
            yield standby, wire


def told(server: PostgresServer, statement: str) -> Any:
    """As its superuser."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        return admin.execute(statement.encode()).fetchall()


def wait_for_every_commit(primary: PostgresServer) -> None:
    with psycopg.connect(primary.superuser_dsn, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        admin.execute("SELECT pg_reload_conf()")
    state = "SELECT sync_state FROM pg_stat_replication"
    within(10, lambda: told(primary, state) == [("sync",)], "a synchronous standby")


def lag(primary: PostgresServer, feed: Wire) -> None:
    """From now on the standby gets nothing, and the primary knows."""
    feed.cut()
    within(10, lambda: told(primary, "SELECT pid FROM pg_stat_replication") == [], "it follows")


def promote(standby: PostgresServer) -> None:
    assert told(standby, "SELECT pg_promote(true, 20)") == [(True,)]


def lead_to(cluster: Cluster, server: PostgresServer) -> None:
    """As an address that fails over, or a name that is changed: all nodes come to this server."""
    for node in cluster.nodes:
        node.wires.log.lead_to(server.port)
    place = cluster.databases
    cluster.databases = replace(
        place,
        log=make_conninfo(place.log, port=server.port),
        log_admin=make_conninfo(place.log_admin, port=server.port),
    )


# --- a synchronous one ---------------------------------------------------------------------------


def test_nodes_go_on_by_themselves_on_a_synchronous_standby(tmp_path: Path) -> None:
    with (
        Cluster.running(tmp_path, roles=("api", "api", "worker")) as cluster,
        standby_of(cluster.servers.log, tmp_path / "standby") as (standby, _),
    ):
        primary = cluster.servers.log
        wait_for_every_commit(primary)
        with Load(cluster=cluster) as load:
            within(15, lambda: load.finished >= 12, "stories at all")
            primary.stop(immediate=True)
            fallen = time.monotonic()
            promote(standby)
            lead_to(cluster, standby)
            promoted, done = time.monotonic(), load.finished
            for node in cluster.nodes:
                node.await_ready(RECOVERING)
            ready = time.monotonic()
            within(RECOVERING, lambda: load.finished > done + 6, "they go on")
        found = settled(cluster, load)
        gap = max(call.took for call in load.calls)
        _log.info(
            "promoted after %.2f s, all nodes ready %.2f s later; longest call %.2f s; %d stories",
            *(promoted - fallen, ready - promoted, gap, len(load.stories)),
        )
        assert found.size


# --- an asynchronous one that lags -----------------------------------------------------------------


def test_nodes_refuse_a_standby_that_lags_and_go_on_with_the_true_primary(tmp_path: Path) -> None:
    with (
        Cluster.running(tmp_path, roles=("api", "api", "worker")) as cluster,
        standby_of(cluster.servers.log, tmp_path / "standby") as (standby, feed),
    ):
        primary = cluster.servers.log
        with Load(cluster=cluster) as load:
            within(15, lambda: load.finished >= 6, "stories at all")
            lag(primary, feed)
            within(15, lambda: load.finished >= 12, "stories that the standby does not know")
        session, case = given(cluster, cluster.apis[0], SHORT)
        primary.stop(immediate=True)
        promote(standby)
        lead_to(cluster, standby)
        for node in cluster.nodes:
            node.await_troubles("this is an older copy of the database", RECOVERING)
        for node in cluster.apis:
            refuses(cluster, node)
        within(SHORT + UNREAD, lambda: cluster.accounts() == set(), "access ends all the same")
        assert is_dead(session)
        for node in cluster.nodes:
            node.stop()
            assert "this is an older copy of the database" in refusal(node)

        standby.stop()
        primary.resume_service()
        lead_to(cluster, primary)
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.await_ready(RECOVERING)
        after = Load(cluster=cluster, stories=load.stories)
        with after:
            within(15, lambda: after.finished >= 6, "they go on")
        late = settled(cluster, after).cases[case]
        [expired] = [entry.header for entry in late if entry.header.kind == "grant:expired"]
        assert expired.observed is not None, "it was recorded late, and says when it happened"


def given(cluster: Cluster, node: Node, seconds: int) -> tuple[psycopg.Connection[Any], str]:
    """A grant, and a session of its holder's at the target."""
    wish = {"resource": OPEN, "role": ROLE, "seconds": seconds, "ticket": "OPS-1"}
    case = cluster.ask(node, "engineer-0", "POST", "/v1/cases", wish).json()["case"]
    picked = cluster.ask(node, "engineer-0", "POST", f"/v1/cases/{case}/credential")
    credential = picked.json()["credential"]
    session = psycopg.connect(
        host=cluster.target.host,
        port=cluster.target.port,
        dbname="postgres",
        user=credential["account"],
        password=credential["secret"],
        autocommit=True,
    )
    return session, case


def is_dead(session: psycopg.Connection[Any]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    finally:
        session.close()
    return False


def refuses(cluster: Cluster, node: Node) -> None:
    """Nothing is granted, and it says so."""
    wish = {"resource": OPEN, "role": ROLE, "seconds": 60, "ticket": "OPS-1"}
    answer = cluster.ask(node, "engineer-1", "POST", "/v1/cases", wish)
    assert answer.status_code == 503, answer.text
    assert "older copy of the database" in answer.json()["detail"]


def refusal(node: Node) -> str:
    """Last words of a node that does not start."""
    node.launch()
    assert node.process is not None
    code = node.process.wait(30)
    node.stop()
    assert code == 1, node.last_words()
    return node.last_words()


# --- a primary that never comes back ---------------------------------------------------------------


def test_a_mirror_and_a_backup_lead_on_where_the_primary_never_comes_back(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    settings = MIRRORED.format(path=mirror)
    with (
        Cluster.running(tmp_path, roles=("api", "worker"), settings=settings) as cluster,
        PostgresServer.start(tmp_path / "new", settings=DURABLE) as server,
    ):
        with Load(cluster=cluster) as load:
            within(15, lambda: load.finished >= 6, "stories at all")
            backup = tmp_path / "backup"
            environment = cluster.environment()
            operate("backup", str(cluster.folder), "-o", str(backup), environment=environment)
            within(15, lambda: load.finished >= 12, "stories that the backup does not have")
        before = settled(cluster, load)
        within(30, lambda: mirrored(mirror) == before.size, "the mirror has all of it")
        for node in cluster.nodes:
            node.kill()
        cluster.servers.log.stop(immediate=True)

        folder = tmp_path / "restored"
        shutil.copytree(cluster.folder / "keys", folder / "keys")
        operate("restore", str(folder), "--from", str(backup), "--from-mirror", str(mirror))
        move_to(cluster, server)
        said = operate("migrate", "--dir", str(folder), environment=cluster.environment())
        assert f"remembers size {before.size:,}" in said
        cluster.folder = folder
        cluster.nodes = [cluster.new_node(f"new-{node.name}", node.role) for node in cluster.nodes]
        for node in cluster.nodes:
            node.start()
        after = Load(cluster=cluster, stories=load.stories)
        with after:
            within(15, lambda: after.finished >= 6, "they go on")
        assert settled(cluster, after).size > before.size


def mirrored(mirror: Path) -> int:
    """Size of what is in it."""
    newest = mirror / "checkpoint"
    return int(newest.read_text("utf-8").split("\n")[1]) if newest.is_file() else 0


def move_to(cluster: Cluster, server: PostgresServer) -> None:
    """An empty database for the log, on another server; the head store stays."""
    log, admin = make_database(server, "anew", "log")
    cluster.databases = replace(cluster.databases, log=log, log_admin=admin)
