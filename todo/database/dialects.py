"""Connection options and requirements of PostgreSQL and MariaDB."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from todo.config import StartupError
from todo.database.errors import DEMOTED, error_code

# Seconds after the statement timeout until the client stops waiting for a server that does not respond.
GRACE = 2


def _postgresql(settings: Mapping[str, Any]) -> dict[str, Any]:
    # PgBouncer rejects `options`, so `configure_connections` sets the session variables.
    return {
        "connect_timeout": _seconds(settings["CONNECT_TIMEOUT"]),
        "client_encoding": "utf8",
        # Detect a lost server both while sending and while waiting.
        "tcp_user_timeout": settings["STATEMENT_TIMEOUT"] + GRACE * 1000,
        "keepalives_idle": _seconds(settings["STATEMENT_TIMEOUT"]),
        "keepalives_interval": GRACE,
        "keepalives_count": 2,
    }


def _configure_postgresql(engine: Engine, settings: Mapping[str, Any]) -> None:
    # This module imports the driver, which SQLite does not need.
    from todo.database import postgresql

    postgresql.configure_connections(engine, settings, _seconds(settings["STATEMENT_TIMEOUT"]) + GRACE)


def _mariadb(settings: Mapping[str, Any]) -> dict[str, Any]:
    variables = {
        # Reject values that are too long instead of truncating them. Allow 0 as an id.
        "sql_mode": "'TRADITIONAL,NO_AUTO_VALUE_ON_ZERO'",
        # Lock existing rows only, not the gaps between rows.
        "tx_isolation": "'READ-COMMITTED'",
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": ceil(settings["BUSY_TIMEOUT"] / 1000),
        "lock_wait_timeout": ceil(settings["BUSY_TIMEOUT"] / 1000),
        "max_statement_time": settings["STATEMENT_TIMEOUT"] / 1000,
    }
    timeout = _seconds(settings["STATEMENT_TIMEOUT"]) + GRACE
    return {
        "charset": "utf8mb4",
        "connect_timeout": _seconds(settings["CONNECT_TIMEOUT"]),
        "read_timeout": timeout,
        "write_timeout": timeout,
        "init_command": "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in variables.items()),
    }


def _configure_mariadb(engine: Engine, _: Mapping[str, Any]) -> None:
    @event.listens_for(engine, "connect")
    def wait_for_other_nodes(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
        if (cursor.fetchone() or ("", ""))[1] == "ON":
            # On Galera, reads, updates, deletes (1 + 2) and inserts (4) wait until the node has applied all
            # acknowledged writes.
            cursor.execute("SET SESSION wsrep_sync_wait = 7")
        cursor.close()


def _seconds(milliseconds: int) -> int:
    """Round up to whole seconds, at least 1, because 0 would mean to wait forever."""
    return max(1, ceil(milliseconds / 1000))


class Dialect(NamedTuple):
    """A database server. The statements are in the driver's SQL."""

    names: tuple[str, ...]  # schemes of the URL; the first one is also the extra that installs the driver
    driver: str
    oldest: tuple[int, int]
    connect_args: Callable[[Mapping[str, Any]], dict[str, Any]]
    configure: Callable[[Engine, Mapping[str, Any]], None]  # setup beyond `connect_args`
    begin_read: tuple[str, ...]  # begins a transaction with one snapshot
    # Queries that must return a row, and the requirement that each one checks.
    needs: tuple[tuple[str, str], ...] = ()


DIALECTS = {
    "postgresql": Dialect(
        names=("postgresql", "postgres", "postgresql+psycopg"),
        driver="postgresql+psycopg",
        oldest=(15, 0),
        connect_args=_postgresql,
        configure=_configure_postgresql,
        begin_read=("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",),
        needs=(
            (
                "SELECT 1 WHERE current_setting('server_encoding') = 'UTF8'",
                "the encoding must be UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            ),
            (
                "SELECT 1 FROM pg_collation WHERE collname IN ('und-x-icu', 'pg_unicode_fast')",
                "PostgreSQL must be built with ICU, or be version 18 or newer",
            ),
        ),
    ),
    "mariadb": Dialect(
        names=("mariadb", "mysql", "mariadb+pymysql", "mysql+pymysql"),
        driver="mariadb+pymysql",
        oldest=(10, 11),
        connect_args=_mariadb,
        configure=_configure_mariadb,
        begin_read=(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ),
    ),
}


def dialect_for(url: URL) -> Dialect | None:
    """Return the dialect of `url`, or None for SQLite. Raises StartupError for an unknown scheme."""
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return None
    for dialect in DIALECTS.values():
        if url.drivername in dialect.names:
            return dialect
    known = ", ".join(name for name in ("sqlite", *DIALECTS))
    raise StartupError(
        f"SQLALCHEMY_DATABASE_URI has the unknown scheme {url.drivername}. Use one of {known}."
    )


def engine_options(dialect: Dialect, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine options: a bounded pool, and connections with timeouts."""
    return {
        "pool_size": settings["POOL_SIZE"],
        "max_overflow": 0,
        "pool_timeout": settings["CONNECT_TIMEOUT"] / 1000,
        "pool_pre_ping": True,
        "connect_args": dialect.connect_args(settings),
    }


def configure_connections(engine: Engine, dialect: Dialect, settings: Mapping[str, Any]) -> None:
    """Configure each new connection of `engine`. Drop all of them if the server is no longer the primary."""
    dialect.configure(engine, settings)

    @event.listens_for(engine, "handle_error")
    def drop_demoted(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if isinstance(error, DBAPIError) and error_code(error) in DEMOTED:
            context.is_disconnect = True


def check(connection: Connection, dialect: Dialect) -> None:
    """Raise StartupError if the server is too old or the database does not meet a requirement."""
    version = connection.dialect.server_version_info or ()
    if version[:2] < dialect.oldest:
        oldest = ".".join(map(str, dialect.oldest))
        raise StartupError(f"The database server is too old. Use version {oldest} or newer.")
    for statement, meaning in dialect.needs:
        if connection.exec_driver_sql(statement).first() is None:
            raise StartupError(f"The database cannot be used: {meaning}.")
