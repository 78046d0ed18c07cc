"""A command line for people, against the service at any address: `python -m todo.client --help`.

It needs click and the standard library, so that it starts at once. Its exit status:

0  done
1  the service refused the request, and says why
2  the command line is wrong
3  there is no such todo
4  the todo was changed by someone else meanwhile
5  the service can't be reached, or can't answer now
"""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

import click
from click.shell_completion import CompletionItem

Json = dict[str, Any]

TODOS = "/api/v1/todos"
PAGE = 1000  # todos
TIMEOUT = 30  # seconds
ATTEMPTS = 4
MAX_DELAY = 10  # seconds between them

REFUSED, ABSENT, CHANGED, UNREACHABLE = 1, 3, 4, 5
_EXIT_STATUS = {404: ABSENT, 412: CHANGED}
_BUSY = {409, 429, 502, 503, 504}
# What is answered before anything is done; behind a proxy's 502 and 504 it may have been.
_NOTHING_DONE = {409, 429, 503}


class Failure(click.ClickException):
    """What could not be done; its exit status says whose fault that is."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


class Answer(NamedTuple):
    """An answer of the service, whatever its status."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Its body; raises Failure where the status is that of an error, or the body no JSON."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if value is None or self.status >= 300:  # noqa: PLR2004
            detail = value.get("detail") if isinstance(value, dict) else None
            exit_code = UNREACHABLE if self.status in _BUSY else _EXIT_STATUS.get(self.status, REFUSED)
            raise Failure(
                _plain(detail or f"The service answers {self.status}, without saying why."), exit_code
            )
        return value


class _EveryAnswer(HTTPErrorProcessor):
    """An error is an answer too; nor is one followed that leads elsewhere, where the token would go."""

    def http_response(self, request: Request, response: HTTPResponse) -> Any:  # noqa: ARG002
        """Return it as it is."""
        return response

    https_response = http_response


class Service:
    """The service at an address."""

    def __init__(self, url: str, token: str | None) -> None:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise click.UsageError(f"The address must be like http://127.0.0.1:6400, and is {url}.")
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = build_opener(_EveryAnswer)

    def create(self, todo: Json) -> Json:
        """Make a todo, once, even where the answer to the first attempt is lost."""
        created: Json = self._send("POST", TODOS, todo, {"Idempotency-Key": str(uuid.uuid4())}).json()
        return created

    def pages(self, parameters: Json, limit: int | None = None) -> Iterator[list[Json]]:
        """Read the todos that match, a page at a time."""
        query: str | None = urlencode(parameters | {"limit": min(limit or PAGE, PAGE)})
        while query is not None:
            answer = self._send("GET", f"{TODOS}?{query}")
            page: list[Json] = answer.json()
            yield page if limit is None else page[:limit]
            limit = None if limit is None else limit - len(page)
            link = re.search(r'<([^>]*)>; *rel="?next', answer.headers.get("Link") or "")
            query = urlsplit(link[1]).query if link and (limit is None or limit > 0) else None

    def change(self, todo_id: int, members: Json) -> Json:
        """Change a todo as it is now, and not another version of it."""
        return self._write("PATCH", todo_id, members)

    def delete(self, todo_id: int) -> Json:
        """Delete a todo as it is now; what it was."""
        return self._write("DELETE", todo_id, None)

    def _write(self, method: str, todo_id: int, body: Json | None) -> Json:
        path = f"{TODOS}/{todo_id}"
        current = self._send("GET", path)
        current.json()
        todo: Json = self._send(method, path, body, {"If-Match": current.headers["ETag"] or "*"}).json()
        return todo

    def _send(self, method: str, path: str, body: Json | None = None, headers: Json | None = None) -> Answer:
        """Send a request, again where that can't do it twice."""
        sent = self._headers | (headers or {})
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        repeatable = method == "GET" or "Idempotency-Key" in sent
        request = Request(self._url + path, data, sent, method=method)  # noqa: S310 - only http and https
        for attempt in range(1, ATTEMPTS):
            try:
                answer = self._receive(request)
                if answer.status not in (_BUSY if repeatable else _NOTHING_DONE):
                    return answer
                asked = answer.headers.get("Retry-After") or ""
            except (OSError, HTTPException) as error:
                if not repeatable or _is_unsent(error):
                    raise self._unreachable(error, repeatable) from None
                asked = ""
            time.sleep(min(float(asked) if asked.isdecimal() else 0.1 * 2**attempt, MAX_DELAY))
        try:
            return self._receive(request)
        except (OSError, HTTPException) as error:
            raise self._unreachable(error, repeatable) from None

    def _receive(self, request: Request) -> Answer:
        with self._opener.open(request, timeout=TIMEOUT) as response:
            return Answer(response.status, response.headers, response.read())

    def _unreachable(self, error: Exception, repeatable: bool) -> Failure:
        reason = getattr(error, "reason", error)
        if _is_unsent(error):
            return Failure(f"Nothing answers at {self._url}: {reason}.", UNREACHABLE)
        unknown = "" if repeatable else " It may have been done or not: look before you try again."
        return Failure(f"The answer of {self._url} was lost: {reason}.{unknown}", UNREACHABLE)


def _is_unsent(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", error), ConnectionRefusedError | socket.gaierror)


# What a terminal would take for a command to it.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")


def _plain(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _show(todos: list[Json]) -> None:
    """Print todos as a table."""
    width = max((len(str(todo["id"])) for todo in todos), default=0)
    for todo in todos:
        done = click.style("✓", fg="green") if todo["completed"] else " "
        due = _plain(todo["deadline_at"] or "").replace("T", " ").removesuffix(":00")
        title = click.style(_plain(todo["title"]), dim=True if todo["completed"] else None)
        description = f" {click.style(_plain(todo['description']), dim=True)}" if todo["description"] else ""
        click.echo(f"{todo['id']:>{width}} {done} {click.style(f'{due:16}', fg='cyan')} {title}{description}")


def _print(todo: Json, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(todo, ensure_ascii=False))
    else:
        _show([todo])


def _ids(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete an id, with the titles of open todos for help."""
    try:
        (todos,) = _service(context).pages({"completed": "false"}, limit=100)
    except click.ClickException:
        return []
    return [
        CompletionItem(todo["id"], help=_plain(todo["title"]))
        for todo in todos
        if str(todo["id"]).startswith(begun)
    ]


def _service(context: click.Context) -> Service:
    options = context.find_root().params
    return Service(options["url"], options["token"])


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_an_id = click.argument("todo_id", metavar="ID", type=int, shell_complete=_ids)
_some_ids = click.argument(
    "todo_ids", metavar="ID...", type=int, nargs=-1, required=True, shell_complete=_ids
)
_TIME = "2027-01-31T18:00"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar="TODOS_URL",
    default="http://127.0.0.1:6400",
    show_default=True,
    show_envvar=True,
    help="The service's address.",
)
@click.option("--token", envvar="TODOS_TOKEN", show_envvar=True, help="A token, where the service wants one.")
@click.pass_context
def todo(context: click.Context, /, **_: str) -> None:
    """Your todos, on the command line.

    The exit status is 0 where it is done, 1 where the service refuses, 2 for a wrong command line, 3 where
    there is no such todo, 4 where it was changed meanwhile, and 5 where the service can't be reached.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


@todo.command()
@click.argument("title")
@click.option("--description", help="More about it.")
@click.option("--due", "deadline_at", metavar=_TIME, help="The deadline: an ISO date, or date and time.")
@click.option("--done", "completed", is_flag=True, help="It is done already.")
@_as_json
@click.pass_context
def add(context: click.Context, /, as_json: bool, **members: Any) -> None:
    """Add a todo."""
    _print(_service(context).create(members), as_json)


@todo.command("list")
@click.option("--window", type=int, metavar="DAYS", help="Those due within so many days, or overdue.")
@click.option("--overdue", flag_value="true", help="Those that are late.")
@click.option("--done/--open", "completed", default=None, help="Those that are done, or open.")
@click.option("--find", "q", metavar="TEXT", help="Those with this text in the title or the description.")
@click.option("--sort", metavar="MEMBERS", help="Such as -deadline_at,title.")
@click.option("--limit", type=click.IntRange(min=1), help="So many of them at most.")
@_as_json
@click.pass_context
def list_todos(context: click.Context, /, limit: int | None, as_json: bool, **parameters: Any) -> None:
    """List todos."""
    sent = {
        name: json.dumps(value) if isinstance(value, bool) else value for name, value in parameters.items()
    }
    pages = _service(context).pages({name: value for name, value in sent.items() if value is not None}, limit)
    if as_json:
        click.echo(json.dumps([todo for page in pages for todo in page], ensure_ascii=False))
    else:
        for page in pages:
            _show(page)


@todo.command()
@_some_ids
@_as_json
@click.pass_context
def done(context: click.Context, todo_ids: tuple[int, ...], as_json: bool) -> None:
    """Mark todos as done."""
    service = _service(context)
    for todo_id in todo_ids:
        _print(service.change(todo_id, {"completed": True}), as_json)


@todo.command()
@_an_id
@click.option("--title")
@click.option("--description", help="More about it; empty for nothing.")
@click.option("--due", "deadline_at", metavar=_TIME, help="The deadline, an ISO time; empty for none.")
@click.option("--done/--open", "completed", default=None, help="Whether it is done, or still to be done.")
@_as_json
@click.pass_context
def edit(context: click.Context, /, todo_id: int, as_json: bool, **members: Any) -> None:
    """Change a todo; what is not named stays as it is."""
    changes = {name: value for name, value in members.items() if value is not None}
    if not changes:
        raise click.UsageError("Say what to change: todo edit --help.")
    empty = {name: None for name in ("description", "deadline_at") if changes.get(name) == ""}
    _print(_service(context).change(todo_id, changes | empty), as_json)


@todo.command("rm")
@_some_ids
@_as_json
@click.pass_context
def remove(context: click.Context, todo_ids: tuple[int, ...], as_json: bool) -> None:
    """Delete todos."""
    service = _service(context)
    for todo_id in todo_ids:
        _print(service.delete(todo_id), as_json)


if __name__ == "__main__":
    todo(prog_name="todo")
