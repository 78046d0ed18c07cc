"""Taskwarrior's JSON, which `task export` writes and `task import` reads."""

import uuid
from contextlib import suppress
from datetime import UTC
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from todo.formats import Entry, Format, Todos, Uids, own_uid
from todo.formats.text import basic_format
from todo.schemas import TodoOut

# Taskwarrior keeps unknown attributes. This one has the UID of an exported todo.
UID = "todouid"
# Attributes that Taskwarrior computes, or that repeat another attribute.
_SILENT = {"uuid", "id", "urgency", "status", "end", "modified", UID}
_MEMBERS = {"description": "title", "due": "deadline_at", "entry": "created_at", "modified": "updated_at"}
# A recurring task is only the template of other tasks.
_NO_TODO = {"deleted", "recurring"}
_STATUSES = {"pending": False, "waiting": False, "completed": True}


def format_for(zone: ZoneInfo) -> Format:
    """Return the format for a service in `zone`."""
    return Format(
        "application/json",
        partial(_encode, zone),
        b"[\n",
        b",\n",
        b"\n]\n",
        limitations="Taskwarrior drops fractions of a second, and moves times that a clock change skips.",
        has_uid=True,
    )


def _encode(zone: ZoneInfo, todos: Todos, uids: Uids) -> bytes:
    return b",\n".join(msgspec.json.encode(_task(zone, todo, uids)) for todo in todos)


def _task(zone: ZoneInfo, todo: TodoOut, uids: Uids) -> dict[str, Any]:
    uid = uids.get(todo.id) or own_uid(todo.id, todo.created_at)
    modified = f"{basic_format(todo.updated_at)}Z"
    task: dict[str, Any] = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, uid)),
        "description": todo.title,
        "status": "completed" if todo.completed else "pending",
        "entry": f"{basic_format(todo.created_at)}Z",
        "modified": modified,
        UID: uid,
    }
    if todo.completed:
        task["end"] = modified
    if todo.deadline_at is not None:
        with suppress(OverflowError):  # in the first and last hours of the calendar
            due = todo.deadline_at.replace(tzinfo=zone).astimezone(UTC)
            task["due"] = f"{basic_format(due.isoformat())}Z"
    if todo.description:
        task["annotations"] = [{"entry": task["entry"], "description": todo.description}]
    return task


def is_task(value: dict[str, Any]) -> bool:
    """Return True if `value` is a task, not a todo."""
    return "uuid" in value and "status" in value


def entry(line: int, task: dict[str, Any]) -> Entry:
    """Convert a task to an entry."""
    status = task.get("status", "pending")
    name = status if isinstance(status, str) else ""
    if name in _NO_TODO:
        return Entry(line, None, (f"{name} task",))
    values = {member: task[name] for name, member in _MEMBERS.items() if name in task}
    values["completed"] = _STATUSES.get(name, status)
    if UID in task or "uuid" in task:
        values["uid"] = task.get(UID) or task.get("uuid")
    ignored = [name for name in task if name not in _MEMBERS and name not in _SILENT]
    notes = task.get("annotations")
    if isinstance(notes, list):
        texts = [note.get("description") if isinstance(note, dict) else None for note in notes]
        strings = [text for text in texts if isinstance(text, str)]
        if len(strings) < len(texts):
            return Entry(line, {}, error="annotations must be a list of objects with one description each.")
        values["description"] = "\n".join(strings)
        ignored.remove("annotations")
    return Entry(line, values, tuple(ignored))
