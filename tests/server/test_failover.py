"""A database cluster repeatedly loses a machine under load."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from tests.support import galera, nginx, patroni
from tests.support.failover import TODOS, Load, load
from tests.support.programs import running, wait_for
from tests.support.server import Server, request, wait_until

ROUNDS = 5
WRITES_BACK = 30  # seconds
ORDINARY_LOAD = 2  # seconds between two rounds

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not nginx.PROGRAM, reason="install nginx to run it"),
]


@pytest.fixture(autouse=True)
def _only_in_soak(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--hypothesis-profile") != "soak":
        pytest.skip("takes minutes: make soak runs it")


@pytest.mark.skipif(bool(patroni.MISSING), reason=patroni.MISSING)
@pytest.mark.parametrize(
    ("end", "bring_back"),
    [
        (patroni.Node.kill, patroni.Node.start),
        # Connections stay open without responses, as on a network that hangs.
        (lambda node: node.send(signal.SIGSTOP), lambda node: node.send(signal.SIGCONT)),
    ],
    ids=["kill", "stop"],
)
def test_lost_primary_loses_no_acknowledged_todo(
    end: Callable[[patroni.Node], None],
    bring_back: Callable[[patroni.Node], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = []
    deposed = []
    with (
        running(patroni.Cluster) as cluster,
        _instances(cluster.url, cluster.url) as port,
        load(port) as clients,
    ):
        for _ in range(ROUNDS):
            time.sleep(ORDINARY_LOAD)
            primary = cluster.primary()
            lost = time.monotonic()
            end(primary)
            back = clients.recovery(time.monotonic(), WRITES_BACK)
            resumed = time.monotonic()
            bring_back(primary)
            # Without a watchdog that resets the machine, a resumed primary serves requests until Patroni
            # acts.
            wait_for(primary.is_demoted, "the old primary is demoted")
            deposed.append((resumed, time.monotonic()))
            cluster.wait_until_safe()
            figures.append(f"writes back after {back:.1f} s, standby after {time.monotonic() - lost:.1f} s")
            assert back < WRITES_BACK
            assert cluster.primary() is not primary
        time.sleep(ORDINARY_LOAD)
        clients.stop()
        clients.check(_stored(port), deposed)
    _report(capsys, clients, figures)


@pytest.mark.skipif(bool(galera.MISSING), reason=galera.MISSING)
def test_lost_galera_node_loses_no_acknowledged_todo(capsys: pytest.CaptureFixture[str]) -> None:
    figures = []
    with running(galera.Cluster) as cluster:
        _create_database(cluster.nodes[0].server)
        # One instance per node, and one instance that HAProxy connects to any node.
        servers = [*(node.server for node in cluster.nodes), cluster.server]
        urls = [server.set(database="todo").render_as_string(hide_password=False) for server in servers]
        with _instances(*urls) as port, load(port, clients=6) as clients:
            for number in range(ROUNDS):
                time.sleep(ORDINARY_LOAD)
                node = cluster.nodes[number % len(cluster.nodes)]
                lost = time.monotonic()
                node.kill()
                back = clients.recovery(time.monotonic(), WRITES_BACK)
                node.start()
                cluster.wait_until_complete()
                figures.append(f"writes back after {back:.1f} s, node after {time.monotonic() - lost:.1f} s")
            time.sleep(ORDINARY_LOAD)
            clients.stop()
            clients.check(_stored(port))
        first, *others = ([*_rows(server)] for server in servers[:-1])
        assert first
        assert all(other == first for other in others)
        commits = [int(node.status("wsrep_local_commits")) for node in cluster.nodes]
        assert all(commits), "each node took writes"
    _report(capsys, clients, figures)


@contextmanager
def _instances(*urls: str) -> Iterator[int]:
    """Run an instance of two workers for each database URL.

    Yield the port of nginx in front of the instances.
    """
    with ExitStack() as stack:
        settings = {"TODO_PROXIES": "1", "TODO_WORKERS": "2"}
        instances = [
            stack.enter_context(Server(TODO_SQLALCHEMY_DATABASE_URI=url, **settings)) for url in urls
        ]
        yield stack.enter_context(nginx.nginx(*(instance.port for instance in instances)))


def _create_database(server: URL) -> None:
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE todo")


def _stored(port: int) -> list[dict[str, Any]]:
    """Return all todos when the service responds."""
    wait_until(lambda: request(port, "GET", f"{TODOS}?limit=1").status == 200)
    todos: list[dict[str, Any]] = request(port, "GET", TODOS).json
    return todos


def _rows(server: URL) -> list[Any]:
    engine = create_engine(server.set(database="todo"), poolclass=NullPool)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM todos ORDER BY id").all()
        return [*rows, *connection.exec_driver_sql("SELECT * FROM idempotency_keys ORDER BY `key`").all()]


def _report(capsys: pytest.CaptureFixture[str], clients: Load, figures: list[str]) -> None:
    """Print the figures of each round, which the release notes quote."""
    with capsys.disabled():
        for number, text in enumerate(figures, 1):
            print(f"\nround {number}: {text}", end="")  # noqa: T201
        print(f"\n{clients.summary}")  # noqa: T201
