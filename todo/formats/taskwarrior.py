"""Taskwarrior's JSON, which `task export` writes and `task import` reads."""

import re
import uuid
from contextlib import suppress
from datetime import UTC
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import structs

from todo.formats import Entry, Format, Todos, Uids, own_uid
from todo.schemas import TodoOut

# Taskwarrior keeps attributes that it does not know: this one has the UID of a todo from here.
UID = "todouid"
# What it works out itself, or what says the same as another attribute.
_SILENT = {"uuid", "id", "urgency", "status", "end", "modified", UID}
_MEMBERS = {"description": "title", "due": "deadline_at", "entry": "created_at", "modified": "updated_at"}
# A recurring task is only the model of those that come of it.
_NO_TODO = {"deleted", "recurring"}
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)


def format_for(zone: ZoneInfo) -> Format:
    """The form for a service in `zone`."""
    return Format(
        "application/json",
        partial(_encode, zone),
        b"[\n",
        b",\n",
        b"\n]\n",
        limitations="Taskwarrior has no fractions of a second, and no wall time that clocks skip.",
        has_uid=True,
    )


def _encode(zone: ZoneInfo, todos: Todos, uids: Uids) -> bytes:
    return b",\n".join(msgspec.json.encode(_task(zone, todo, uids)) for todo in todos)


def _task(zone: ZoneInfo, todo: TodoOut, uids: Uids) -> dict[str, Any]:
    todo_id, title, description, completed, deadline_at, created_at, updated_at = structs.astuple(todo)
    uid = uids.get(todo_id) or own_uid(todo_id, created_at)
    modified = _basic(updated_at)
    task = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, uid)),
        "description": title,
        "status": "completed" if completed else "pending",
        "entry": _basic(created_at),
        "modified": modified,
        UID: uid,
    }
    if completed:
        task["end"] = modified
    if deadline_at is not None:
        with suppress(OverflowError):  # in the first and the last hours of the calendar
            task["due"] = _basic(deadline_at.replace(tzinfo=zone).astimezone(UTC).isoformat())
    if description:
        task["annotations"] = [{"entry": task["entry"], "description": description}]
    return task


def _basic(instant: str) -> str:
    """ISO 8601 without punctuation, and without fractions of a second."""
    return instant[:19].replace("-", "").replace(":", "") + "Z"


def is_task(value: dict[str, Any]) -> bool:
    """Whether `value` is a task, not a todo."""
    return "uuid" in value and "status" in value


def entry(line: int, task: dict[str, Any]) -> Entry:
    """Read a task."""
    if task["status"] in _NO_TODO:
        return Entry(line, None, (f"{task['status']} task",))
    values = {member: _parse(task[name]) for name, member in _MEMBERS.items() if name in task}
    values["completed"] = task["status"] == "completed"
    values["uid"] = task.get(UID) or task["uuid"]
    lost = [name for name in task if name not in _MEMBERS and name not in _SILENT]
    notes = task.get("annotations")
    if isinstance(notes, list):
        texts = [note.get("description") if isinstance(note, dict) else None for note in notes]
        values["description"] = "\n".join(map(str, texts))
        lost.remove("annotations")
    return Entry(line, values, tuple(lost))


def _parse(value: Any) -> Any:
    """A time as ISO 8601; anything else as it is."""
    return _TIME.sub(r"\1-\2-\3T\4:\5:\6Z", value) if isinstance(value, str) else value
