"""The command line for people: `todo --help`.

It uses only the standard library, and not click, so that it starts quickly and runs on any machine without
an installation. Exit status:

0  success
1  the service refused the request, or the output cannot be written
2  the command line or the configuration file is invalid
3  the todo does not exist
4  another client changed the todo first
5  the service is unreachable or busy
"""

import json
import os
import re
import shutil
import sys
import unicodedata
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from socket import gaierror
from time import sleep
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from email.message import Message

Json = dict[str, Any]
T = TypeVar("T")

VERSION = "1.0.0"
TODOS = "/api/v1/todos"
DEFAULT_URL = "http://127.0.0.1:6400"
PAGE = 1000  # todos
TIMEOUT = 30  # seconds
ATTEMPTS = 4
MAX_DELAY = 10.0  # seconds between two attempts

REFUSED, USAGE, ABSENT, CHANGED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130
_EXIT_STATUS = {404: ABSENT, 412: CHANGED}
_BUSY = {409, 429, 502, 503, 504}
# Usually nothing was changed. If the change was stored, `If-Match` prevents a second one.
_NOTHING_DONE = {409, 429, 503}

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
END_OF_DAY = "T23:59:59"
_DAY = re.compile(
    rf"(?:(?P<word>today|tomorrow)|\+(?P<count>\d+)(?P<unit>[dw])|(?P<weekday>{'|'.join(WEEKDAYS)}"
    r"|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)|(?P<date>\d{4}-\d\d-\d\d|\d{8}))",
    re.IGNORECASE | re.ASCII,
)
_TIME = re.compile(
    "(?P<hour>1?[0-9]|0[0-9]|2[0-3])(?:(?P<minute>:[0-5][0-9])(?P<second>:[0-5][0-9])?|(?= ?[ap]m))"
    " ?(?P<half>[ap]m)?",
    re.IGNORECASE,
)
_DUE_FORMS = "today, tomorrow, fri, +3d, 18:00, 2027-01-31 or '2027-01-31 18:00'"


class Failure(Exception):  # not every failure is an error
    """A message for people and the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Response(NamedTuple):
    """A response of the service, with any status."""

    status: int
    headers: "Message"
    body: bytes

    def json(self, expected: type[T], subject: str = "") -> T:
        """Return the body. Raises Failure, about `subject`, for an error status or a body of another type."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if isinstance(value, expected) and 200 <= self.status < 300:
            return value
        detail = _explain(value) if isinstance(value, dict) and self.status >= 400 else None
        refused = _EXIT_STATUS.get(self.status, REFUSED) if subject else REFUSED
        status = UNREACHABLE if self.status in _BUSY else refused
        message = detail or f"Unexpected response {self.status}. Check that a todo service runs at the URL."
        raise Failure(subject + message, status)


# The options that set a member or a parameter of the API.
_OPTIONS = {"deadline_at": "--due", "q": "--find"} | {
    name: f"--{name}" for name in ("description", "window", "sort", "limit")
}


def _explain(problem: Json) -> str:
    """Return the details of a problem, with the names of options instead of parameters and members."""
    details = []
    for error in [error for error in problem.get("errors") or [] if isinstance(error, dict)] or [problem]:
        name = error.get("parameter") or str(error.get("pointer", "")).removeprefix("#/")
        detail = str(error.get("detail") or "")
        if name in _OPTIONS and detail.startswith(name):
            detail = _OPTIONS[name] + detail.removeprefix(name)
        details.append(detail)
    return _plain("; ".join(details))


class Service:
    """The service at a URL."""

    def __init__(self, url: str, token: str | None) -> None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if valid and parts.username is not None:
            raise Failure("The URL must not contain a user or a password. Use --token.", USAGE)
        if not valid or not re.fullmatch("[!-~]+", url):
            raise Failure(f"Invalid URL {_plain(url)}. Use a URL such as {DEFAULT_URL}.", USAGE)
        if token and not re.fullmatch("[!-~]+", token):
            raise Failure("Invalid token. Use visible ASCII characters without spaces.", USAGE)
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def create(self, todo: Json) -> Json:
        """Create a todo, once, even if the response to the first attempt is lost."""
        import uuid

        return self.send("POST", TODOS, todo, {"Idempotency-Key": str(uuid.uuid4())}).json(dict)

    def pages(self, parameters: Json, limit: int | None = None, path: str = TODOS) -> Iterator[list[Json]]:
        """Yield the matching todos, one page at a time."""
        query: str | None = urlencode(parameters | {"limit": min(limit or PAGE, PAGE)})
        seen = set()
        while query is not None:
            seen.add(query)
            response = self.send("GET", f"{path}?{query}")
            page = response.json(list)
            yield page if limit is None else page[:limit]
            limit = None if limit is None else limit - len(page)
            link = re.search(r'<([^>]*)>; *rel="?next', response.headers.get("Link") or "")
            query = urlsplit(link[1]).query if link and (limit is None or limit > 0) else None
            if query in seen:
                raise Failure("The service links from a page back to an earlier page.", REFUSED)

    def read(self, todo_id: int) -> tuple[Json, str]:
        """Return a todo and its strong entity tag."""
        response = self.send("GET", f"{TODOS}/{todo_id}")
        if response.status == 404:
            raise Failure(f"Todo {todo_id} does not exist.", ABSENT)
        return response.json(dict, f"Todo {todo_id}: "), strong_tag(response.headers["ETag"])

    def change(self, method: str, todo_id: int, members: Json | None = None) -> Json:
        """Change or delete a todo, unless another client changes it at the same time."""
        _, tag = self.read(todo_id)
        response = self.send(method, f"{TODOS}/{todo_id}", members, {"If-Match": tag})
        return response.json(dict, f"Todo {todo_id}: ")

    def restore(self, todo_id: int) -> Json:
        """Restore a deleted todo. The request is safe to repeat."""
        response = self.send("POST", f"{TODOS}/{todo_id}/restore", repeatable=True)
        return response.json(dict, f"Todo {todo_id}: ")

    def now(self) -> datetime:
        """Return the current local time in the zone of the service, which the calendar feed names."""
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        response = self.send("GET", f"{TODOS}.ics?limit=1")
        if response.status != 200:
            response.json(dict)
        name = re.search(rb"^TZID:(.*?)\r?$", response.body, re.MULTILINE)
        try:
            return datetime.now(ZoneInfo(name[1].decode()) if name else UTC).replace(tzinfo=None)
        except (ZoneInfoNotFoundError, ValueError):  # this machine does not know the zone
            return datetime.now()  # noqa: DTZ005 - the local time of this machine is the best guess

    def send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        *,
        repeatable: bool = False,
    ) -> Response:
        """Send a request. Retry with growing pauses if the request is safe to repeat."""
        from http.client import HTTPException
        from ssl import SSLCertVerificationError
        from urllib.request import Request

        sent = self._headers | (headers or {})
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        repeatable = repeatable or method == "GET" or "Idempotency-Key" in sent
        request = Request(self._url + path, data, sent, method=method)  # noqa: S310 - only http and https
        attempt = 1
        while True:
            asked = ""
            try:
                response = _receive(request)
                if response.status not in (_BUSY if repeatable else _NOTHING_DONE) or attempt == ATTEMPTS:
                    return response
                asked = response.headers.get("Retry-After") or ""
            except (OSError, HTTPException) as error:
                reason = getattr(error, "reason", error)
                is_unsent = isinstance(reason, ConnectionRefusedError | gaierror | SSLCertVerificationError)
                if not repeatable or is_unsent or attempt == ATTEMPTS:
                    problem = "Cannot reach" if is_unsent else "No response from"
                    message = f"{problem} {self._url}: {getattr(reason, 'strerror', None) or reason}."
                    if not repeatable and not is_unsent:
                        message += " The change may have been stored. Check before you try again."
                    raise Failure(message, UNREACHABLE) from None
            sleep(min(max(float(asked) if asked.isdecimal() else 0, 0.1 * 2**attempt), MAX_DELAY))
            attempt += 1


def _receive(request: Any) -> Response:
    from http.client import HTTPResponse
    from urllib.request import HTTPErrorProcessor, build_opener

    class EveryResponse(HTTPErrorProcessor):
        """Return error responses as they are. Do not follow redirects, which would leak the token."""

        def http_response(self, request: Any, response: HTTPResponse) -> Any:
            return response

        https_response = http_response

    with build_opener(EveryResponse).open(request, timeout=TIMEOUT) as response:
        return Response(response.status, response.headers, response.read())


def strong_tag(tag: str | None) -> str:
    """Return the strong form of an entity tag of the service, or `*` if the tag is missing.

    Proxies that compress change the tag: nginx writes W/"1f", Apache "1f-gzip". The service expects "1f".
    """
    ours = re.match('(?:W/)?"([0-9a-f]+)', tag or "")
    return f'"{ours[1]}"' if ours else tag or "*"


def parse_due(text: str, now: Callable[[], datetime]) -> str:
    """Parse `tomorrow`, `fri 9:00`, `+3d`, `18:00` or an ISO time into a deadline for the service.

    A day without a time means the end of that day. `now` returns the service's local time.
    """
    words = " ".join(text.split())
    if at := _TIME.fullmatch(words):  # today or tomorrow
        current = now()
        due = datetime.fromisoformat(f"{current.date()}T{_clock(at)}")
        return (due if due > current else due + timedelta(days=1)).isoformat()
    day, _, rest = words.partition(" ")
    at = _TIME.fullmatch(rest)
    found = _DAY.fullmatch(day)
    if found and (at or not rest):
        return (found["date"] or _day(found, now())) + (f"T{_clock(at)}" if at else END_OF_DAY)
    if re.match("[0-9]{4}", words):  # another form of ISO 8601, which the service parses
        return words
    raise Failure(f"--due cannot be {_plain(text)!r}. Use {_DUE_FORMS}.", USAGE)


def _day(found: re.Match[str], now: datetime) -> str:
    if found["weekday"]:
        wanted = next(i for i, day in enumerate(WEEKDAYS) if day.startswith(found["weekday"][:3].lower()))
        days = (wanted - now.weekday() + 6) % 7 + 1  # after today
    elif found["count"]:
        days = int(found["count"]) * (7 if found["unit"].lower() == "w" else 1)
    else:
        days = int(found["word"].lower() == "tomorrow")
    try:
        return (now + timedelta(days=days)).date().isoformat()
    except OverflowError:
        raise Failure(f"--due {found[0]} is after the year 9999. Use an earlier day.", USAGE) from None


def _clock(at: re.Match[str]) -> str:
    hour = int(at["hour"])
    if half := (at["half"] or "").lower():
        if not 1 <= hour <= 12:
            raise Failure(f"--due has the invalid time {at[0]!r}. Use a time such as 18:00 or 6pm.", USAGE)
        hour = hour % 12 + (12 if half == "pm" else 0)
    return f"{hour:02}{at['minute'] or ':00'}{at['second'] or ':00'}"


# A terminal executes control characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")


def _plain(text: str) -> str:
    return _CONTROL.sub(" ", text)


def format_due(deadline_at: str | None) -> str:
    """Format a deadline as `--due` accepts it. Omit the time at the end of a day."""
    text = (deadline_at or "").removesuffix(END_OF_DAY)
    return _plain(text).replace("T", " ").removesuffix(":00")


def _is_terminal() -> bool:
    return bool(sys.stdout and sys.stdout.isatty())


def _has_colors() -> bool:
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _style(text: str, code: int | None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code is not None and text and _has_colors() else text


BOLD, DIM, RED, GREEN, CYAN = 1, 2, 31, 32, 36


def count_columns(text: str) -> int:
    """Return the number of columns that a terminal uses for `text`."""
    return sum(
        0 if unicodedata.category(c) in {"Mn", "Me", "Cf"} else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def wrap(text: str, width: int) -> list[str]:
    """Break `text` into lines of at most `width` columns."""
    lines = []
    for paragraph in text.splitlines():
        lines.append("")
        for word in _plain(paragraph).split():
            if lines[-1] and count_columns(f"{lines[-1]} {word}") <= width:
                lines[-1] += " "
            elif lines[-1]:
                lines.append("")
            for character in word:
                if lines[-1] and count_columns(lines[-1] + character) > width:
                    lines.append("")
                lines[-1] += character
    return lines


def _width_after(columns: int) -> int:
    """Return the width of a text after other columns. Only terminals limit the width."""
    return max(10, shutil.get_terminal_size().columns - columns) if _is_terminal() else 10**6


class Table:
    """Todos as a table: a header, then pages with columns as wide as those of the first page.

    On a terminal, long texts wrap within their column. Elsewhere each todo has one line.
    """

    def __init__(self, first_page: Sequence[Json], overdue_until: str) -> None:
        self._overdue_until = overdue_until
        self._id_width = max(2, *(len(str(todo["id"])) for todo in first_page))
        self._due_width = max(10, *(len(format_due(todo["deadline_at"])) for todo in first_page))
        print(_style(f"{'ID':>{self._id_width}}    {'Due':{self._due_width}}  Title", BOLD))

    def print(self, todo: Json) -> None:
        """Print a row."""
        done, due = todo["completed"], format_due(todo["deadline_at"])
        is_overdue = not done and due and todo["deadline_at"] <= self._overdue_until
        mark = _style("✓", GREEN) if done else " "
        styled_due = _style(f"{due:{self._due_width}}", RED if is_overdue else CYAN)
        indent = self._id_width + 4 + self._due_width + 2
        title = [_style(line, DIM if done else None) for line in wrap(todo["title"], _width_after(indent))]
        description = wrap(todo["description"] or "", _width_after(indent))
        lines = title + [_style(line, DIM) for line in description]
        separator = f"\n{' ' * indent}" if _is_terminal() else "  "
        print(f"{todo['id']:>{self._id_width}}  {mark} {styled_due}  {separator.join(lines)}")


def _print_json(value: Any) -> None:
    """Print JSON, escaped if the output cannot encode every character."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=encoding != "utf8"))


def _print_done(verb: str, todo: Json, as_json: bool, note: str = "") -> None:
    if as_json:
        _print_json(todo)
    else:
        print(f"{verb} {todo['id']}: {_plain(todo['title'])}{note}")


def add(service: Service, options: Namespace) -> None:
    """Add a todo."""
    todo = {"title": " ".join(options.words), "description": options.description, "completed": options.done}
    if options.due:
        todo["deadline_at"] = parse_due(options.due, service.now)
    created = service.create(todo)
    due = format_due(created["deadline_at"])
    _print_done("Added", created, options.json, f" (due {due})" if due else "")


def list_todos(service: Service, options: Namespace) -> None:
    """List open todos by deadline."""
    given = {name: getattr(options, name) for name in ("completed", "window", "overdue", "q", "sort")}
    sent = {name: value for name, value in given.items() if value is not None}
    overdue_until = ""
    if _has_colors() and not options.json and options.completed != "true":
        latest = next(service.pages({"overdue": "true", "sort": "-deadline_at"}, limit=1))
        overdue_until = latest[0]["deadline_at"] if latest else ""
    state = {"false": "open ", "true": "completed ", None: ""}[options.completed]
    if_empty = f"No {state}todos{' match' if sent.keys() & {'window', 'overdue', 'q'} else ''}."
    _print_pages(service.pages(sent, options.limit), options.json, overdue_until, if_empty)


def list_deleted(service: Service, options: Namespace) -> None:
    """List deleted todos, latest deletion first. `todo restore` restores them."""
    pages = service.pages({}, options.limit or PAGE, f"{TODOS}/deleted")
    _print_pages(pages, options.json, "", "No deleted todos.")


def _print_pages(pages: Iterator[list[Json]], as_json: bool, overdue_until: str, if_empty: str) -> None:
    if as_json:
        _print_json([todo for page in pages for todo in page])
        return
    table = None
    for page in filter(None, pages):
        table = table or Table(page, overdue_until)
        for todo in page:
            table.print(todo)
    if table is None:
        print(if_empty)


def show(service: Service, options: Namespace) -> None:
    """Show all members of a todo."""
    todo, _ = service.read(options.id)
    if options.json:
        _print_json(todo)
        return
    todo["status"] = "completed" if todo.pop("completed") else "open"
    todo["due"] = format_due(todo.pop("deadline_at"))
    for name, value in todo.items():
        for i, line in enumerate(wrap(str(value or ""), _width_after(13))):
            print(f"{'' if i else name:11}  {line}")


def edit(service: Service, options: Namespace) -> None:
    """Change a todo. Members without an option keep their values."""
    given = {
        "title": options.title,
        "description": options.description,
        "completed": options.completed,
        "deadline_at": options.due and parse_due(options.due, service.now),
    }
    changes = {
        name: None if value == "" and name != "title" else value
        for name, value in given.items()
        if value is not None
    }
    if not changes:
        raise Failure("Nothing to change. See todo edit --help for the options.", USAGE)
    todo = service.change("PATCH", options.id, changes)
    said = {
        "title": "title",
        "description": "description" if todo["description"] else "no description",
        "completed": "completed" if todo["completed"] else "open",
        "deadline_at": f"due {format_due(todo['deadline_at'])}" if todo["deadline_at"] else "no deadline",
    }
    _print_done("Changed", todo, options.json, f" ({', '.join(said[name] for name in changes)})")


def _for_each(options: Namespace, verb: str, work: Callable[[int], Json], note: str = "") -> int:
    """Call `work` for each id. Report a failure and continue, unless the service is unreachable."""
    status = 0
    for todo_id in options.ids:
        try:
            todo = work(todo_id)
        except Failure as failure:
            if failure.status == UNREACHABLE:
                raise
            status = status or failure.status
            _print_error(failure)
        else:
            _print_done(verb, todo, options.json, note.format(todo_id))
    return status


def complete_todos(service: Service, options: Namespace) -> int:
    """Mark todos as completed."""
    completed = {"completed": True}
    return _for_each(options, "Completed", lambda key: service.change("PATCH", key, completed))


def remove(service: Service, options: Namespace) -> int:
    """Delete todos."""
    delete = lambda key: service.change("DELETE", key)
    return _for_each(options, "Deleted", delete, ". Undo: todo restore {}")


def restore(service: Service, options: Namespace) -> int:
    """Restore deleted todos with their ids and times."""
    return _for_each(options, "Restored", service.restore)


class _Parser(ArgumentParser):
    with_value: ClassVar[set[str]] = set()  # the options of all commands that have a value

    def __init__(self, prog: str | None = None, **options: Any) -> None:
        form = RawDescriptionHelpFormatter
        super().__init__(prog, allow_abbrev=False, formatter_class=form, **options)

    def add_argument(self, *names: str, **options: Any) -> Action:
        if "action" not in options:
            self.with_value.update(name for name in names if name.startswith("-"))
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        raise Failure(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.", USAGE)


def _positive(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise ValueError
    return int(text)


_positive.__name__ = "positive number"  # appears in the parser's messages


def _parser() -> ArgumentParser:
    """Return the parser of the command line."""
    common = _Parser(add_help=False)
    common.add_argument("--version", action="version", version=f"todo {VERSION}")
    common.add_argument("--json", action="store_true", help="print JSON, for scripts")
    common.add_argument(
        "--url", help=f"URL of the service (default: TODOS_URL, the configuration file, or {DEFAULT_URL})"
    )
    common.add_argument(
        "--token", help="token, if the service requires one (default: TODOS_TOKEN, or the configuration file)"
    )

    parser = _Parser(
        "todo",
        parents=[common],
        description="List and change todos on the command line. Without a command: todo list.",
        epilog=f"The configuration file {_configuration_file()} can set url and token.\n\n"
        f"Exit status:\n{_EXIT_STATUSES}",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    def command(name: str, work: Callable[[Service, Namespace], int | None]) -> ArgumentParser:
        summary = (work.__doc__ or "").partition("\n")[0]
        parser = commands.add_parser(name, parents=[common], help=summary, description=work.__doc__)
        parser.set_defaults(work=work)
        return parser

    listing = command("list", list_todos)
    state: Json = {"dest": "completed", "action": "store_const"}
    listing.add_argument("--open", **state, const="false", default="false", help="open todos only (default)")
    listing.add_argument("--all", **state, const=None, help="open and completed todos")
    listing.add_argument("--done", **state, const="true", help="completed todos only")
    listing.add_argument("--overdue", action="store_const", const="true", help="overdue todos only")
    listing.add_argument("--window", metavar="DAYS", help="todos due within this many days, or overdue")
    found = "todos with this text in the title or the description"
    listing.add_argument("--find", dest="q", metavar="TEXT", help=found)
    order = "members to sort by, such as -updated_at,title (default: %(default)s)"
    listing.add_argument("--sort", default="deadline_at", help=order)
    listing.add_argument("--limit", type=_positive, metavar="N", help="maximum number of todos")

    due = f"deadline: {_DUE_FORMS}; a day alone means the end of the day"
    adding = command("add", add)
    adding.add_argument("words", nargs="+", metavar="TITLE", help="title of the todo; quotes are not needed")
    adding.add_argument("--description", metavar="TEXT", help="description of the todo")
    adding.add_argument("--due", metavar="WHEN", help=due)
    adding.add_argument("--done", action="store_true", help="add the todo as completed")

    for name, work in {"done": complete_todos, "rm": remove, "restore": restore}.items():
        command(name, work).add_argument("ids", type=_positive, nargs="+", metavar="ID", help="ids of todos")

    editing = command("edit", edit)
    editing.add_argument("id", type=_positive, metavar="ID", help="id of the todo")
    editing.add_argument("--title", metavar="TEXT", help="new title of the todo")
    editing.add_argument("--description", metavar="TEXT", help='description of the todo; "" removes it')
    editing.add_argument("--due", metavar="WHEN", help=f'{due}; "" removes it')
    editing.add_argument("--done", **state, const=True, help="mark the todo as completed")
    editing.add_argument("--open", **state, const=False, help="mark the todo as open")

    command("show", show).add_argument("id", type=_positive, metavar="ID", help="id of the todo")
    deleted = command("deleted", list_deleted)
    deleted.add_argument("--limit", type=_positive, metavar="N", help="maximum number of todos")
    return parser


_EXIT_STATUSES = (__doc__ or "").partition("Exit status:\n\n")[2]


def _configuration_file() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME", "")  # the specification ignores relative paths
    return (Path(folder) if Path(folder).is_absolute() else Path.home() / ".config") / "todo" / "config.toml"


def _configuration() -> dict[str, str]:
    """Return the settings of the configuration file, or no settings if the file does not exist."""
    path = _configuration_file()
    try:
        if not path.exists():
            return {}
        import tomllib

        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Failure(f"Cannot read {path}: {error}.", USAGE) from None
    except ValueError as error:
        raise Failure(f"{path} is not valid TOML: {error}.", USAGE) from None
    for name, value in values.items():
        if name not in {"url", "token"} or not isinstance(value, str):
            raise Failure(f'{path}: invalid setting {name}. Use url = "..." and token = "...".', USAGE)
    return values


def _service(options: Namespace) -> Service:
    """Return the service of the options, the environment or the file, in this order.

    The token of the file is sent only to the URL of the file.
    """
    file = _configuration()
    own = file.get("url") or DEFAULT_URL
    url = options.url or os.environ.get("TODOS_URL") or own
    token = options.token or os.environ.get("TODOS_TOKEN")
    return Service(url, token or (file.get("token") if url.rstrip("/") == own.rstrip("/") else None))


_OPTION = re.compile(r"--?[a-z][^\s=]*(?:=.*)?", re.IGNORECASE | re.DOTALL)


def _parse(arguments: Sequence[str]) -> Namespace:
    """Return the options of a command line. Without a command it is `todo list`.

    argparse rejects `--sort -title`, and words between options. So each option is joined with its value, and
    the words follow the options.
    """
    parser = _parser()
    options: list[str] = []
    words: list[str] = []
    rest = iter(arguments)
    is_after_due = False
    for argument in rest:
        if is_after_due and _TIME.fullmatch(argument):  # the second word of `--due fri 18:00`
            options[-1] += f" {argument}"
        elif argument == "--":
            words += rest
        elif argument in _Parser.with_value:
            options.append("=".join([argument, *islice(rest, 1)]))
        else:
            (options if _OPTION.fullmatch(argument) else words).append(argument)
        is_after_due = argument.startswith("--due")
    if not words and not {"-h", "--help", "--version"} & {*options}:
        words = ["list"]
    return parser.parse_args([*words[:1], *options, *(["--"] if words[1:] else []), *words[1:]])


def _print_error(error: object) -> None:
    try:
        print(f"Error: {error}", file=sys.stderr)
    except OSError:  # the exit status still reports the failure
        _discard(sys.stderr)


def _discard(stream: Any) -> None:
    """Discard further output to a broken stream. Otherwise Python reports an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            options = _parse(sys.argv[1:] if arguments is None else arguments)
            status: int = options.work(_service(options), options) or 0
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except Failure as failure:
        _print_error(failure)
        return failure.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # errors of the network and of the configuration file are Failures
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            _print_error(f"Cannot write the output: {error.strerror}.")
        return REFUSED
    return status


if __name__ == "__main__":
    sys.exit(main())
