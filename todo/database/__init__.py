"""The database under the models: how it is opened, made ready, and used one transaction at a time."""

import random
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from flask import Flask, current_app
from sqlalchemy import Connection, Engine, Update, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from todo.config import StartupError
from todo.database import dialects, schema, sqlite
from todo.database.dialects import SERVERS
from todo.database.group_commit import Writer
from todo.database.schema import State
from todo.database.statement import Statement
from todo.http.problem import Unavailable, database_code
from todo.models import db

# What a transaction is broken off with for the sake of another one, so that it may be tried again:
# a serialization failure and a deadlock on PostgreSQL; a deadlock and a change meanwhile on MariaDB.
CONFLICTS = {"40001", "40P01", 1213, 1020}
ATTEMPTS = 5
# Seconds after which a connection that was not used is asked whether it still is one.
REST = 1
# Milliseconds that a change of the schema may take, since a table may be large: as many as a system takes
# for the keep-alive of a connection.
PATIENCE = 32767 * 1000

T = TypeVar("T")


def prepare(app: Flask, *, check_schema: bool = True) -> None:
    """Open the database of `app`, and make the schema; one from before it had versions is upgraded.

    Raises StartupError where the database can't be opened or written, or where its schema is of
    another release; without `check_schema` that is left to the caller.
    """
    kind = None
    try:
        url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
        kind = dialects.of(url)
        # What a request sends must not come into the log with an error.
        options: dict[str, Any] = {"hide_parameters": True}
        if kind:
            app.config["SQLALCHEMY_DATABASE_URI"] = url.set(drivername=kind.driver)
            options |= dialects.engine_options(kind, app.config)
        elif sqlite.file_of(url):
            options["max_overflow"] = -1  # POOL_SIZE is counted here, and the writer has one more
        options |= app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        db.init_app(app)
    except (ArgumentError, ImportError, OSError) as error:
        advice = f"Install the category {kind.category} of the Pipfile" if kind else "Correct it"
        raise StartupError(
            f"SQLALCHEMY_DATABASE_URI can't be used: {error}. {advice}, "
            "or set it to a URL such as sqlite:////folder/file."
        ) from None
    with app.app_context():
        engine = db.engine
        path = sqlite.file_of(engine.url)
        file = None if path is None else sqlite.File(path)
        if path is not None:
            sqlite.check_place(path, writable="mode" not in engine.url.query)
        if kind is None:
            sqlite.tune(engine, file, app.config["BUSY_TIMEOUT"])
        connections = app.extensions["todo.connections"] = _Connections(engine, file, app.config)
        weakref.finalize(app, connections.close)
        writer = app.extensions["todo.writer"] = file and Writer(engine, file, app.config["BUSY_TIMEOUT"])
        if writer:
            weakref.finalize(app, writer.close)
        with _passing_connection(engine) as connection:
            if kind:
                dialects.check(connection, kind)
            found = schema.state(connection)
        if found in {State.EMPTY, State.UNVERSIONED}:
            upgrade_schema()
        elif check_schema:
            schema.check(found)


class Transaction:
    """One transaction: committed (on SQLite that means: on disk) or, on an error, as if never begun.

    With `writing` it may act on what it reads: on SQLite others can't write from its beginning on, on
    a server they can't write the rows that it reads for update. With `snapshot`, all it reads is of
    one moment. Without them it is for a single statement. `with Transaction() as connection`.

    Raises Unavailable where the database file is not as it should be, and PoolTimeoutError
    where other transactions have all connections.
    """

    def __init__(self, *, writing: bool = False, snapshot: bool = False) -> None:
        self._is_long = writing or snapshot
        self._is_snapshot = not writing
        self._connections: _Connections = current_app.extensions["todo.connections"]

    def __enter__(self) -> Connection:
        connection = self._connection = self._connections.take()
        if self._is_long:
            try:
                _begin(connection, snapshot=self._is_snapshot)
            except BaseException:
                self._roll_back()
                raise
        return connection

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self._roll_back()
            return
        connection = self._connection
        try:
            if self._connections.is_server:
                connection.commit()
            else:
                # It may have been begun behind SQLAlchemy's back, or not at all.
                driver_connection: Any = connection.connection.dbapi_connection
                if driver_connection.in_transaction:
                    sqlite.commit(connection)
        except BaseException:
            self._roll_back()
            raise
        self._connections.give_back(connection)

    def _roll_back(self) -> None:
        connection = self._connection
        try:
            connection.rollback()
            # SQLAlchemy takes a commit that failed for an end, SQLite not always: it may be tried again.
            if not connection.invalidated:
                connection.connection.rollback()
        finally:
            self._connections.give_back(connection)


def run(work: Callable[[Connection], T], *, writing: bool = False) -> T:
    """Do `work` in a transaction (see there), again where another one made the database break it off."""
    writer: Writer | None = current_app.extensions["todo.writer"]
    if writer is not None:
        return writer.run(work)
    for _ in range(1, ATTEMPTS):
        began = time.monotonic()
        try:
            with Transaction(writing=writing) as connection:
                return work(connection)
        except DBAPIError as error:
            if database_code(error) not in CONFLICTS:
                raise
        # Those that broke each other off must not meet again.
        time.sleep(random.uniform(0, 2) * (time.monotonic() - began))  # noqa: S311 - no secret
    with Transaction(writing=writing) as connection:
        return work(connection)


def change(
    connection: Connection,
    returning: Statement[T],
    update: Update,
    select: Statement[T],
    values: dict[str, Any],
) -> T | None:
    """Change one row and return it, by `returning`; by `update` and `select` where there is no such thing."""
    if connection.dialect.update_returning:
        return returning.first(connection, values)
    _begin(connection)
    connection.execute(update, values)
    return select.first(connection, values)


def _begin(connection: Connection, *, snapshot: bool = False) -> None:
    """Begin now, rather than with the first write, unless a transaction is under way already."""
    driver_connection: Any = connection.connection.dbapi_connection
    kind = SERVERS.get(connection.dialect.name)
    if kind:
        under_way = kind.in_transaction(driver_connection)
        statements = kind.begin_snapshot if snapshot else kind.begin
    else:
        under_way = driver_connection.in_transaction
        statements = (f"BEGIN {'DEFERRED' if snapshot else 'IMMEDIATE'}",)
    if not under_way:
        for statement in statements:
            connection.exec_driver_sql(statement)


class _Connections:
    """The connections that no transaction has at the moment, the one used last on top.

    To take one from here costs a tenth of what SQLAlchemy's pool asks for one that was given back.
    """

    def __init__(self, engine: Engine, file: sqlite.File | None, settings: Mapping[str, Any]) -> None:
        self.is_server = engine.dialect.name in SERVERS
        # A single statement is a transaction without being told so, which saves asking a server twice.
        self.engine = engine.execution_options(isolation_level="AUTOCOMMIT") if self.is_server else engine
        self.file = file
        self.patience = settings["CONNECT_TIMEOUT"] / 1000
        self.places: SimpleQueue[None] = SimpleQueue()  # a semaphore that costs a ninth of Python's
        for _ in range(settings["POOL_SIZE"]):
            self.places.put(None)
        self.free: list[tuple[Connection, float]] = []  # and when it was used

    def take(self) -> Connection:
        """Take a connection that leads to the database which is there, or raise PoolTimeoutError."""
        try:
            self.places.get(timeout=self.patience)
        except Empty:
            raise PoolTimeoutError("Other requests have all connections: set POOL_SIZE higher.") from None
        try:
            while self.free:
                connection, used = self.free.pop()
                if self._is_usable(connection, used):
                    return connection
                connection.invalidate()
                connection.close()
            return self.engine.connect()
        except BaseException:
            self.places.put(None)
            raise

    def give_back(self, connection: Connection) -> None:
        self.free.append((connection, time.monotonic()))
        self.places.put(None)

    def _is_usable(self, connection: Connection, used: float) -> bool:
        if self.file is not None:
            return bool(connection.info["file"] == self.file.identify())
        if not self.is_server:
            return True
        if connection.invalidated or connection.in_transaction():  # it was lost
            return False
        if time.monotonic() - used > REST:
            try:
                connection.dialect.do_ping(connection.connection.dbapi_connection)  # type: ignore[arg-type]
            except connection.dialect.loaded_dbapi.Error:
                return False
        return True

    def close(self) -> None:
        """Close the connections that are free."""
        while self.free:
            connection, _ = self.free.pop()
            connection.invalidate()
            connection.close()
        self.engine.dispose()


def upgrade_schema() -> bool:
    """Bring the schema to that of this release and return whether that was to be done.

    Raises StartupError where it can't be done.
    """
    engine = db.engine
    kind = SERVERS.get(engine.dialect.name)
    if kind:
        settings = {**current_app.config, "STATEMENT_TIMEOUT": PATIENCE}
        engine = create_engine(engine.url, poolclass=NullPool, connect_args=kind.connect_args(settings))
    with _passing_connection(engine) as connection:
        return schema.upgrade(connection)


def check_schema() -> None:
    """Raise StartupError where the schema is not that of this release, or the database can't be used."""
    with _passing_connection(db.engine) as connection:
        found = schema.state(connection)
    schema.check(found)


@contextmanager
def _passing_connection(engine: Engine) -> Iterator[Connection]:
    """A connection of which nothing is left, since none may cross the fork into a server's workers."""
    try:
        with _plain_errors(), engine.connect() as connection:
            yield connection
    finally:
        if not in_memory(engine):  # there the connection is the database
            engine.dispose()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise StartupError, in a sentence for people, where the database can't be used."""
    try:
        yield
    except DBAPIError as error:
        raise StartupError(
            f"The database {db.engine.url.render_as_string()} can't be used: {error.orig}. "
            "Check that it is a database, that this user may write to it and its folder, "
            "and that no other program holds it locked."
        ) from None


def in_memory(engine: Engine) -> bool:
    """Tell whether the database is in the memory of this process, so that no other one shares it."""
    return engine.dialect.name == "sqlite" and sqlite.file_of(engine.url) is None


def checkpoint() -> None:
    """Bring all commits into the database file, where no other connection holds them back.

    After that the file alone, without the log beside it, is the database; SQLite removes the log
    with the last connection.
    """
    if sqlite.file_of(db.engine.url) is None:
        return
    with suppress(DBAPIError, Unavailable), db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint")
    db.engine.dispose()
