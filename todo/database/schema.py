"""The schema version: read it, create the tables, and run the migrations of `todo.migrations`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from todo.config import StartupError
from todo.database import (
    constraints,  # noqa: F401 - the tables get them
    sqlite,
)
from todo.database.errors import NO_TABLE, DatabaseUnavailable, error_code
from todo.models import db

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic's table of one row. Only migrations import Alembic, which takes as long as importing Flask.
VERSIONS = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
SCRIPTS = Path(__file__).parent.parent / "migrations" / "versions"


class State(Enum):
    """The schema of a database, compared with the schema of this release."""

    EMPTY = auto()  # no tables
    UNVERSIONED = auto()  # tables created before the schema had versions
    BEHIND = auto()
    HEAD = auto()
    AHEAD = auto()  # created by a later release


def state(connection: Connection) -> State:
    """Compare the schema with this release. Only reads."""
    tables = inspect(connection).get_table_names()
    found = None
    if VERSIONS.name in tables:
        found = connection.scalar(select(VERSIONS.c.version_num))
    # MariaDB commits each table separately, so another process may not have written its version yet.
    under_way = found is None and connection.dialect.name == "mariadb"
    if VERSIONS.name not in tables or under_way:
        return State.UNVERSIONED if "todos" in tables else State.EMPTY
    known = _known()
    if found == known[0]:
        return State.HEAD
    return State.BEHIND if found is None or found in known else State.AHEAD


OTHER_RELEASE = (
    "The schema of the database belongs to another release. Run flask --app todo db upgrade, or install that "
    "release."
)


def check_version(connection: Connection) -> None:
    """Raise DatabaseUnavailable unless the schema belongs to this release. It takes one lookup."""
    found = None
    try:
        if connection.dialect.name == "sqlite":  # SQLAlchemy would take ten times as long
            driver_connection: Any = connection.connection.dbapi_connection
            row = driver_connection.execute(f"SELECT version_num FROM {VERSIONS.name}").fetchone()  # noqa: S608
            found = row and row[0]
        else:
            found = connection.scalar(select(VERSIONS.c.version_num))
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # no such table
            raise sqlite.wrap(error, "SELECT") from error
    except DBAPIError as error:
        if error_code(error) not in NO_TABLE:
            raise
    if found != _known()[0]:
        raise DatabaseUnavailable(OTHER_RELEASE)


def check(found: State) -> None:
    """Raise StartupError unless the schema is the one of this release."""
    if found is State.AHEAD:
        raise StartupError(
            "The database was upgraded by a later release. Install that release, or restore a backup of this "
            "release: flask --app todo restore FILE --overwrite."
        )
    if found is not State.HEAD:
        raise StartupError("The database belongs to an earlier release. Run flask --app todo db upgrade.")


def upgrade(connection: Connection) -> bool:
    """Create or upgrade the schema. Return False if the schema was current.

    Concurrent processes wait for the first one. A SQLite file with todos is copied first. Raises
    StartupError for the schema of a later release.
    """
    with _alone(connection):
        found = state(connection)
        if found is State.HEAD:
            return False
        if found is State.EMPTY:
            db.metadata.create_all(connection)
            VERSIONS.create(connection, checkfirst=True)
            connection.execute(insert(VERSIONS), {"version_num": _known()[0]})
        elif found is State.AHEAD:
            check(found)
        else:
            copy = _keep_copy(connection)
            try:
                migrate(connection)
            except StartupError:  # nothing was changed
                if copy:
                    copy.unlink()
                raise
        connection.commit()
        return True


def migrate(connection: Connection) -> None:
    """Run the pending migrations."""
    from alembic import command

    command.upgrade(_config(connection), "head")


def write_revision(message: str) -> None:
    """Write a migration draft for the changes of the models since the last migration."""
    from alembic import command

    with create_engine("sqlite://", poolclass=StaticPool).connect() as connection:
        migrate(connection)
        command.revision(_config(connection), message, autogenerate=True, rev_id=f"{int(_known()[0]) + 1:04}")


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "todo:migrations")
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    return config


@cache
def _known() -> tuple[str, ...]:
    """Return the known versions, the latest one first."""
    return tuple(sorted((file.name[1:5] for file in SCRIPTS.glob("v*.py")), reverse=True))


@cache
def released_ddl() -> str:
    """Return the triggers of all releases with normalized white space, for the lookup of triggers."""
    texts: list[str] = []
    for file in sorted(SCRIPTS.glob("v*.py")):
        triggers = getattr(import_module(f"todo.migrations.versions.{file.stem}"), "TRIGGERS", {})
        for statements in triggers.values():
            texts += statements
    return " ".join(" ".join(texts).split())


def free_name(path: Path, reason: str) -> Path:
    """Return the first of `path.reason-1`, `path.reason-2`, … that does not exist."""
    return next(copy for number in count(1) if not (copy := Path(f"{path}.{reason}-{number}")).exists())


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Lock the schema. On SQLite and PostgreSQL the `with` block is one transaction."""
    name = connection.dialect.name
    connection.rollback()
    if name == "sqlite":
        # This must precede BEGIN. Otherwise a migration that recreates a table would delete dependent rows.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif name == "postgresql":
        lock_timeout = connection.exec_driver_sql("SHOW lock_timeout").scalar()
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('todo schema'))")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{lock_timeout}'")
    else:
        connection.exec_driver_sql("SELECT get_lock(concat('todo schema ', md5(database())), 3600)")
    try:
        yield
    finally:
        connection.rollback()
        if name == "sqlite":
            connection.connection.rollback()
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        elif name == "mariadb":
            connection.exec_driver_sql("SELECT release_all_locks()")


def _keep_copy(connection: Connection) -> Path | None:
    """Copy the database file without the current transaction, and return the path of the copy."""
    path = sqlite.file_of(connection.engine.url)
    if path is None:
        return None
    copy = free_name(path, "before-upgrade")
    try:
        sqlite.copy(path, copy)
    except (OSError, sqlite3.Error) as error:
        raise StartupError(
            f"{path} cannot be copied to {copy} before the upgrade: {error}. Free some space, or allow this "
            "user to write to the folder."
        ) from None
    return copy
