"""The constraints and triggers of `todos` for new databases. `todo.migrations` contains their texts."""

from sqlalchemy import DDL, CheckConstraint, Table, event

from todo.migrations import strict_rows
from todo.models.deleted_todo import DeletedTodo  # noqa: F401 - a trigger writes to it
from todo.models.todo import Todo

_TODOS: Table = Todo.__table__

for _name, _dialect, _condition in strict_rows.CHECKS:
    _TODOS.append_constraint(CheckConstraint(_condition, _name).ddl_if(_dialect))
for _triggers in (strict_rows.TRIGGERS, strict_rows.todos_deleted(_TODOS.columns.keys())):
    for _dialect, _statements in _triggers.items():
        for _statement in _statements:
            _ddl = DDL(_statement.strip().replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(_TODOS, "after_create", _ddl.execute_if(dialect=_dialect))
