"""Fixtures, the option `--database`, and the sizes of the tests.

pytest -n auto -m "not browser and not server"    the quick tests
pytest -n auto --database=postgresql              those marked `database`, on PostgreSQL, mariadb, galera, or
                                                  pgbouncer, which is in front of PostgreSQL
pytest -m soak --hypothesis-profile=soak          large sizes
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from tests.base import TodoTest
from tests.support import database_server

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

    from tests.support.server import Server

REFERENCE = "tests/test_todo.py"

# Tests must not fail on a busy machine.
settings.register_profile(
    "quick",
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("quick"), max_examples=20, print_blob=True)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=100)
settings.load_profile("quick")


@pytest.fixture
def app() -> "Flask":
    """Return an app on an empty database. Tests share the app, so no test may change its settings."""
    from tests.support.api import shared_app  # imports the service, which unit tests of clients do not need

    return shared_app()


@pytest.fixture
def client(app: "Flask") -> "FlaskClient":
    """Return a client of `app`."""
    return app.test_client()


@pytest.fixture
def database() -> str:
    """Return the URL of an empty database, in memory or on the server of `--database`."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url is None:
        return "sqlite:///:memory:"
    database_server.empty(url)
    return url


@pytest.fixture(scope="module")
def server() -> Iterator["Server"]:
    """Run a server with an empty database, which the tests of a module share."""
    from tests.support.server import Server

    with Server() as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--database`."""
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql", "pgbouncer", "mariadb", "galera"),
        default="sqlite",
        help="database of the tests; on a server only those marked `database` run (default: sqlite)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the database server once, and create one database for each pytest-xdist worker."""
    kind = config.getoption("--database")
    if kind == "sqlite":
        return
    if kind == "mariadb" and "TEST_MARIADB_URL" not in os.environ:
        pytest.exit(
            "Set TEST_MARIADB_URL to a MariaDB server, such as mariadb://root@127.0.0.1. No package has one.",
            4,
        )
    stack = ExitStack()
    config.add_cleanup(stack.close)
    if "TEST_DATABASE_SERVER" not in os.environ:
        server = stack.enter_context(getattr(database_server, kind)())
        os.environ["TEST_DATABASE_SERVER"] = server.render_as_string(hide_password=False)
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        server = make_url(os.environ["TEST_DATABASE_SERVER"])
        os.environ["TEST_DATABASE_URL"] = stack.enter_context(database_server.new_database(server))
        TodoTest.setUp = _set_up_on_server  # type: ignore[assignment, method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a database server, select the reference tests and the tests marked `database`."""
    if config.getoption("--database") == "sqlite":
        return
    chosen = [
        item for item in items if item.get_closest_marker("database") or item.nodeid.startswith(REFERENCE)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _set_up_on_server(test: TodoTest) -> None:
    from tests.support.api import empty_app

    test.app = empty_app()
    test.client = test.app.test_client()
