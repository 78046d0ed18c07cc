"""PostgreSQL connections with timeouts, which also work behind a transaction pooler."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not respond in time.

    Keepalives do not detect a server that hangs, because its kernel still acknowledges packets.
    """

    response_timeout: float | None = None  # seconds
    ping_timeout: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for a response. Raises OperationalError after the timeout and closes the connection."""
        # SQLAlchemy pings the server before it uses an idle connection, and only pings are in this mode.
        own_timeout = self.ping_timeout if self.autocommit else self.response_timeout
        try:
            return super().wait(gen, interval, timeout or own_timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def configure_connections(engine: Engine, settings: Mapping[str, Any], response_timeout: float) -> None:
    """Set timeouts for the connections of `engine`: for responses, locks and statements.

    PgBouncer runs each transaction on any of its connections to the server. There each
    transaction sets the timeouts again, and no statement is prepared.
    """
    variables = {
        # 0 would turn the timeout off.
        "lock_timeout": max(1, settings["BUSY_TIMEOUT"]),
        "statement_timeout": max(1, settings["STATEMENT_TIMEOUT"]),
        "timezone": "UTC",
    }
    in_session = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in variables.items())
    in_transaction = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in variables.items())

    @event.listens_for(engine, "do_connect")
    def connect(_: object, __: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        connection = BoundedConnection.connect(*arguments, **options)
        connection.response_timeout = response_timeout
        connection.ping_timeout = settings["CONNECT_TIMEOUT"] / 1000
        return connection

    @event.listens_for(engine, "connect")
    def configure(connection: BoundedConnection, record: ConnectionPoolEntry) -> None:
        # A pooler reports an invented process ID at the start.
        own = connection.info.backend_pid
        is_direct = connection.execute(f"SELECT {in_session} WHERE pg_backend_pid() = {own}").fetchone()
        connection.commit()
        record.info["is_pooled"] = is_direct is None
        if is_direct is None:
            connection.prepare_threshold = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.info["is_pooled"]:
            connection.exec_driver_sql(in_transaction)
