"""The databases that the tests run on: `pytest --database=sqlite`, `postgresql` or `mariadb`."""

import os
from contextlib import ExitStack

import pytest
from sqlalchemy import make_url

from tests.base import TodoTest
from tests.support import database_server

REFERENCE = "tests/test_todo.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--database`."""
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql", "mariadb"),
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
    """On a database server, run the reference tests and those marked `database`."""
    if config.getoption("--database") == "sqlite":
        return
    chosen = [
        item for item in items if item.get_closest_marker("database") or item.nodeid.startswith(REFERENCE)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _set_up_on_server(test: TodoTest) -> None:
    from tests.support.api import empty_app  # noqa: PLC0415 - it imports the service

    test.app = empty_app()
    test.client = test.app.test_client()
