"""PostgreSQL does not respond, or another server has become the primary."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.support.api import TODOS, empty_app
from todo import database
from todo.models.todo import Todo

URL = os.environ.get("TEST_DATABASE_URL", "")

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(not URL.startswith("postgresql"), reason="run pytest with --database=postgresql"),
]


@pytest.fixture
def impatient() -> Iterator[Flask]:
    app = empty_app(STATEMENT_TIMEOUT=1000, CONNECT_TIMEOUT=1000, POOL_SIZE=1)
    yield app
    app.extensions["todo.database"].close()


@pytest.fixture
def shell() -> Iterator[Connection]:
    engine = create_engine(URL, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def backend(app: Flask) -> int:
    """Return the server process of the only connection of the app."""
    with app.app_context(), database.read() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def test_idle_connection_that_hangs_is_replaced_before_the_statement_timeout() -> None:
    app = empty_app(CONNECT_TIMEOUT=3000, POOL_SIZE=1, STATEMENT_TIMEOUT=100_000)
    client = app.test_client()
    pid = backend(app)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert client.get(f"{TODOS}/1").status_code == 404
        # The timeout of the ping, and a reserve for a busy machine. The statement timeout is 100 seconds.
        assert time.monotonic() - began < 50
        assert backend(app) != pid
    finally:
        os.kill(pid, signal.SIGCONT)
        app.extensions["todo.database"].close()


def test_statement_that_hangs_fails_in_time(impatient: Flask) -> None:
    pid = backend(impatient)
    with impatient.app_context(), database.read() as connection:
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(OperationalError):
                connection.scalars(select(Todo)).all()
            # The statement timeout, 2 seconds of grace, and a reserve for a busy machine.
            assert 1 < time.monotonic() - began < 30
        finally:
            os.kill(pid, signal.SIGCONT)


def test_connection_to_a_demoted_primary_is_dropped(
    impatient: Flask, shell: Connection, pytestconfig: pytest.Config
) -> None:
    if pytestconfig.getoption("--database") == "pgbouncer":
        pytest.skip("PgBouncer keeps its own connections to the server")
    client = impatient.test_client()
    name = shell.exec_driver_sql("SELECT current_database()").scalar_one()
    shell.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        shell.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        pid = backend(impatient)
        response = client.post(TODOS, json={"title": "x"})
        assert response.status_code == 503
        assert "read-only" in response.get_json()["detail"]
    finally:
        shell.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert client.post(TODOS, json={"title": "x"}).status_code == 201
    assert backend(impatient) != pid


def test_timeouts_apply_in_each_transaction(impatient: Flask) -> None:
    with impatient.app_context():
        for _ in range(3):
            with database.read() as connection:
                assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1s"
                assert connection.scalars(select(Todo)).all() == []
