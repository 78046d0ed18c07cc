"""Unreadable rows: invalid values that the constraints of the database did not prevent."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import Connection, Select
from sqlalchemy.exc import DBAPIError

from todo.database.errors import error_code

ERRORS = (TypeError, ValueError, DBAPIError)

T = TypeVar("T")


def read_readable(
    connection: Connection, statement: Select[Any], ids: Sequence[int], represent: Callable[[Any], T]
) -> list[T]:
    """Represent the rows of `statement` in the order of `ids`. Skip and log unreadable rows."""
    try:
        # All rows, because an open cursor would keep the transaction open after an error.
        rows = connection.execute(statement, {"ids": list(ids)}).all()
        todos = {row.id: represent(row) for row in rows}
    except ERRORS as error:
        check(error)
        if len(ids) > 1:
            middle = len(ids) // 2
            parts = ids[:middle], ids[middle:]
            return [todo for part in parts for todo in read_readable(connection, statement, part, represent)]
        reason = getattr(error, "orig", error)
        current_app.logger.error(
            "Todo %d is not listed: %s. Correct the todo in the database.", ids[0], reason
        )
        return []
    return [todos[todo_id] for todo_id in ids if todo_id in todos]


def check(error: Exception) -> None:
    """Raise `error` again if the database raised it. The driver raises errors without a code."""
    if isinstance(error, DBAPIError) and error_code(error) is not None:
        raise error
