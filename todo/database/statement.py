"""Statements that are compiled once, for their next executions.

SQLite is in this process, and answers in less time than SQLAlchemy takes to hand it a statement and
to hand back the rows: there the driver carries them out itself. A server is asked through SQLAlchemy,
whose part in a round trip is small, and which watches over connections that may be lost.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import UpdateBase

from todo.database.sqlite import wrapped

T = TypeVar("T")
Values = dict[str, Any]
Rows = Iterable[Sequence[Any]]

_DIALECT = sqlite.dialect(paramstyle="qmark")


class _Text(NamedTuple):
    """A statement of SQLite's, the names of its parameters in order, and those that have a fixed value."""

    text: str
    names: Sequence[str]
    fixed: Values


class Statement(Generic[T]):
    """A statement that returns rows, each read as a `T`; columns and parameters are filled by name."""

    def __init__(
        self,
        statement: Select[Any] | UpdateBase,
        read_sqlite: Callable[[Rows], list[T]],
        read_server: Callable[[Rows], list[T]],
    ) -> None:
        """Read rows as SQLite's driver returns them, and as SQLAlchemy does."""
        self._statement = statement
        self._read_sqlite = read_sqlite
        self._read_server = read_server
        self._texts: dict[tuple[str, ...], _Text] = {}  # by the names of the values

    def all(self, connection: Connection, values: Values) -> list[T]:
        """Carry it out and read all rows. Raises DBAPIError."""
        if connection.dialect.name == "sqlite":
            text, names, fixed = self._text(tuple(values))
            return self._read_sqlite(_execute(connection, text, _in_order(names, fixed | values)))
        return self._read_server(connection.execute(self._statement, values))

    def first(self, connection: Connection, values: Values) -> T | None:
        """Carry it out and read the first row, None where there is none. Raises DBAPIError."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def all_of_each(self, connection: Connection, values: Sequence[Values]) -> list[T]:
        """Insert a row for each of `values`, which have the same names, and read all rows.

        The rows are in the order of `values`. Raises DBAPIError.
        """
        if connection.dialect.name == "sqlite":
            return self._read_sqlite(self._insert_all(connection, values))
        return self._read_server(connection.execute(self._statement, values))

    def _insert_all(self, connection: Connection, values: Sequence[Values]) -> Rows:
        """Insert by one execution: SQLite keeps a journal of each with RETURNING, as dear as the row."""
        text, names, fixed = self._text(tuple(values[0]))
        row = f"({', '.join('?' * len(names))})"
        text = text.replace(row, ", ".join([row] * len(values)))
        parameters = [parameter for each in values for parameter in _in_order(names, fixed | each)]
        return _execute(connection, text, parameters)

    def _text(self, given: tuple[str, ...]) -> _Text:
        if given not in self._texts:
            compiled = self._statement.compile(dialect=_DIALECT, column_keys=given)
            fixed = {name: value for name, value in compiled.params.items() if name not in given}
            self._texts[given] = _Text(str(compiled), compiled.positiontup or (), fixed)
        return self._texts[given]


def _execute(connection: Connection, text: str, parameters: Sequence[Any]) -> Rows:
    driver_connection: Any = connection.connection.dbapi_connection
    try:
        rows: Rows = driver_connection.execute(text, parameters).fetchall()
    except sqlite3.Error as error:
        raise wrapped(error, text) from error
    return rows


def _in_order(names: Iterable[str], values: Values) -> list[Any]:
    """Return the values of `names`, times in the form in which SQLAlchemy keeps them too."""
    return [
        value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value
        for value in map(values.__getitem__, names)
    ]
