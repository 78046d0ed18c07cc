"""Statements that are compiled once, for their next executions.

SQLite is in this process, and answers in less time than SQLAlchemy takes to hand it a statement and
to hand back the rows: there the driver carries them out itself. A server is asked through SQLAlchemy,
whose part in a round trip is small, and which watches over connections that may be lost.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import UpdateBase

from todo.models.sqlite import wrapped

T = TypeVar("T")
Values = dict[str, Any]
Rows = Iterable[Sequence[Any]]

_DIALECT = sqlite.dialect(paramstyle="named")


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
        # The text, and the values that stand in the statement, by the names of the other values.
        self._texts: dict[tuple[str, ...], tuple[str, Values]] = {}

    def all(self, connection: Connection, values: Values) -> list[T]:
        """Carry it out and read all rows. Raises DBAPIError."""
        if connection.dialect.name == "sqlite":
            return self._read_sqlite(self._carry_out(connection, [values]))
        return self._read_server(connection.execute(self._statement, values))

    def first(self, connection: Connection, values: Values) -> T | None:
        """Carry it out and read the first row, None where there is none. Raises DBAPIError."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def all_of_each(self, connection: Connection, values: Sequence[Values]) -> list[T]:
        """Carry it out with each of `values`, which have the same names, and read all rows.

        The rows are in the order of `values`. Raises DBAPIError.
        """
        if connection.dialect.name == "sqlite":
            return self._read_sqlite(self._carry_out(connection, values))
        return self._read_server(connection.execute(self._statement, values))

    def _carry_out(self, connection: Connection, values: Sequence[Values]) -> Iterator[Any]:
        names = tuple(values[0])
        if names not in self._texts:
            self._texts[names] = self._compile(names)
        text, fixed = self._texts[names]
        driver_connection: Any = connection.connection.driver_connection
        try:
            for each in values:
                parameters = {name: _to_sqlite(value) for name, value in each.items()}
                yield from driver_connection.execute(text, parameters | fixed).fetchall()
        except sqlite3.Error as error:
            raise wrapped(error, text) from error

    def _compile(self, names: Sequence[str]) -> tuple[str, Values]:
        compiled = self._statement.compile(dialect=_DIALECT, column_keys=names)
        fixed = {name: _to_sqlite(value) for name, value in compiled.params.items() if name not in names}
        return str(compiled), fixed


def _to_sqlite(value: Any) -> Any:
    """Give a time the form in which SQLAlchemy keeps it too."""
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value
