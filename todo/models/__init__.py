"""The Flask-SQLAlchemy extension `db`, the base of every model."""

from datetime import datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ColumnElement, DateTime, LargeBinary, MetaData, String
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

# With microseconds on each database.
MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
# MariaDB's BLOB holds only 64 KiB.
BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")
# Compare text by code points. Trailing spaces are significant.
COLLATION = "utf8mb4_nopad_bin"  # on MariaDB
TABLE_OPTIONS: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": COLLATION,
}


def text_of(length: int) -> TypeEngine[str]:
    """Return the type of text of at most `length` characters, compared by code points."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class _UtcNow(ColumnElement[datetime]):
    """The current time of the database in UTC, with microseconds."""

    inherit_cache = True


SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
UTC_NOW = _UtcNow()


@compiles(_UtcNow, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return f"({SQLITE_NOW})"


@compiles(_UtcNow, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiles(_UtcNow, "mariadb")
def _mariadb_now(*_: Any, **__: Any) -> str:
    return "(utc_timestamp(6))"


class Base(DeclarativeBase):
    """The declarative base. Constraints and indexes have the same names on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
