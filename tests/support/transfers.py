"""Todos that are stored, exported to a file and imported into another service, without HTTP."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from click.testing import Result
from flask import Flask
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from tests.support.api import empty_app
from todo.models import db
from todo.models.imported_uid import IMPORTS
from todo.query import TODOS
from todo.schemas import _SPACE

MOMENT = datetime(2027, 1, 31, 18, 0, 0, 123456)


class Stored(NamedTuple):
    """A row of the table `todos`, and its stored UID."""

    id: int = 1
    title: str = "Buy milk"
    description: str | None = None
    completed: bool = False
    deadline_at: datetime | None = None
    created_at: datetime = MOMENT
    updated_at: datetime = MOMENT
    uid: str | None = None


def service(zone: str = "UTC") -> Flask:
    return empty_app(TIMEZONE=zone)


def fill(app: Flask, todos: Sequence[Stored]) -> None:
    """Replace the todos of the service with exactly these todos."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(delete(IMPORTS))
        connection.execute(delete(TODOS))
        rows = [todo._asdict() for todo in todos]
        uids = [{"uid": row.pop("uid"), "todo_id": row["id"]} for row in rows]
        for table, values in ((TODOS, rows), (IMPORTS, [row for row in uids if row["uid"] is not None])):
            if values:
                connection.execute(insert(table), values)


def content(app: Flask) -> list[Stored]:
    """Return all todos, in the order of their ids."""
    columns = [TODOS.c[name] for name in Stored._fields if name != "uid"]
    statement = (
        select(*columns, IMPORTS.c.uid)
        .outerjoin_from(TODOS, IMPORTS, IMPORTS.c.todo_id == TODOS.c.id)
        .order_by(TODOS.c.id)
    )
    with app.app_context(), db.engine.connect() as connection:
        return [Stored(**row) for row in connection.execute(statement).mappings()]


def run(app: Flask, *arguments: str | Path, text: bytes | None = None) -> Result:
    """Run a command of `flask --app todo`, with `text` as its standard input."""
    return app.test_cli_runner().invoke(args=[str(argument) for argument in arguments], input=text)


def _text(alphabet: st.SearchStrategy[str], longest: int) -> st.SearchStrategy[str]:
    return st.lists(alphabet, max_size=longest).map("".join).filter(lambda text: len(text) <= longest)


_CHARACTERS = st.one_of(
    st.characters(exclude_categories=("Cc", "Cs")),
    st.sampled_from([*" ,;:\\\"'=+-@x%", "due:2027-01-01", "uid:a", "\u2028", "\ufeff", "＝"]),
)
_TIMES = st.one_of(st.datetimes(), st.datetimes().map(lambda time: time.replace(microsecond=0)))
_UIDS = st.none() | _text(_CHARACTERS, 60).filter(lambda uid: re.search(f"[^{_SPACE}]", uid) is not None)
todos = st.lists(
    st.builds(
        Stored,
        id=st.integers(1, 2**53 - 1 - 10**6),
        title=_text(_CHARACTERS, 80).filter(lambda title: re.search(f"[^{_SPACE}]", title) is not None),
        description=st.none() | _text(_CHARACTERS | st.sampled_from(["\n", "\r\n", "\t"]), 120),
        completed=st.booleans(),
        deadline_at=st.none() | _TIMES,
        created_at=_TIMES,
        updated_at=_TIMES,
        uid=_UIDS,
    ),
    max_size=4,
    unique_by=(lambda todo: todo.id, lambda todo: todo.uid or f"own-{todo.id}"),
).map(lambda found: sorted(found, key=lambda todo: todo.id))
