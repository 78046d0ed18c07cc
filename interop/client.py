"""Create, read, page, patch and delete todos with a client that openapi-python-client generated."""

import re
import sys
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from todo_api import Client
from todo_api.api.todos import create_todo, delete_todo, get_todo, list_todos, patch_todo
from todo_api.models import ProblemOut, TodoCreate, TodoOut, TodoUpdate
from todo_api.types import UNSET

client = Client(base_url=sys.argv[1])


def create(title: str) -> tuple[TodoOut, str]:
    body = TodoCreate(title=title, deadline_at="2027-01-31T18:00:00")
    response = create_todo.sync_detailed(client=client, body=body, idempotency_key=f"python-{title}")
    assert response.status_code == HTTPStatus.CREATED
    return response.parsed, response.headers["ETag"]


def pages(limit: int) -> list[list[TodoOut]]:
    found = []
    cursor = UNSET
    while True:
        response = list_todos.sync_detailed(client=client, limit=limit, sort="-title", cursor=cursor)
        found.append(response.parsed)
        link = re.search("<(.*)>", response.headers.get("Link", ""))
        if link is None:
            return found
        (cursor,) = parse_qs(urlsplit(link[1]).query)["cursor"]


todo, tag = create("one")
create("two")
create("three")

assert get_todo.sync(todo.id, client=client) == todo

assert [[todo.title for todo in page] for page in pages(2)] == [["two", "three"], ["one"]]

change = TodoUpdate(completed=True, deadline_at=None)
patched = patch_todo.sync(todo.id, client=client, body=change, if_match=tag)
assert (patched.completed, patched.deadline_at) == (True, None)
late = patch_todo.sync(todo.id, client=client, body=change, if_match=tag)
assert isinstance(late, ProblemOut)
assert late.status == HTTPStatus.PRECONDITION_FAILED

for page in pages(1000):
    for one in page:
        assert delete_todo.sync_detailed(one.id, client=client).status_code == HTTPStatus.OK
assert get_todo.sync_detailed(todo.id, client=client).status_code == HTTPStatus.NOT_FOUND
