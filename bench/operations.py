"""The operations to measure. Each one makes the requests for the URLs of any server."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

THOUSAND, MILLION = 1000, 1_000_000
VARIED = 2000  # different requests, which are then repeated
BATCH = 100
WRITES_PER_SECOND = 20  # of the client that writes while others poll
MOMENT = "2027-01-31T18:00:00"
# A server that does not support a conditional request gets the same request without the header.
UNCONDITIONAL = {
    "If-Match": "no If-Match, so the server does not check for a conflict",
    "If-None-Match": "no ETag, so each response is complete",
}


class Request(NamedTuple):
    """A request. `body` is sent as JSON unless it is None."""

    method: str
    path: str
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        """Encode the request as HTTP/1.1."""
        content = b"" if self.body is None else json.dumps(self.body).encode()
        headers = [("Host", "127.0.0.1"), *self.headers]
        if content:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Rest:
    """The URLs of the service, which all peers except PocketBase share."""

    root = "/api/v1/todos"
    health = "/api/v1/health"
    # Statuses that differ from those of the service.
    statuses: Mapping[int, int] = MappingProxyType({})

    def one(self, number: int) -> str:
        """Return the URL of a todo."""
        return f"{self.root}/{number}"

    def get(self, number: int) -> Request:
        """Read a todo."""
        return Request("GET", self.one(number))

    def page(self, limit: int) -> Request:
        """Read the first todos."""
        return Request("GET", f"{self.root}?limit={limit}")

    def open_page(self, limit: int) -> Request:
        """Read the first open todos."""
        return Request("GET", f"{self.root}?completed=false&limit={limit}")

    def update(self, method: str, number: int, members: dict[str, Any]) -> Request:
        """Change these members of a todo."""
        return Request(method, self.one(number), members)

    def create(self, todo: dict[str, Any]) -> Request:
        """Create a todo."""
        return Request("POST", self.root, todo)

    def batch(self, todos: list[dict[str, Any]]) -> Request:
        """Create todos in one request."""
        operations = [{"op": "create", "todo": todo} for todo in todos]
        return Request("POST", f"{self.root}/batch", {"operations": operations})

    def todos(self, body: Any) -> Any:
        """Return the todos in a response body."""
        return body.get("results", [body]) if isinstance(body, dict) else body


class PocketBase(Rest):
    """The URLs of PocketBase. Its ids are strings of 15 characters."""

    root = "/api/collections/todos/records"
    health = "/api/health"
    statuses = MappingProxyType({201: 200})

    def one(self, number: int) -> str:
        """Return the URL of a todo."""
        return f"{self.root}/{number:015d}"

    def page(self, limit: int) -> Request:
        """Read the first todos without counting all todos."""
        return Request("GET", f"{self.root}?perPage={limit}&sort=@rowid&skipTotal=true")

    def open_page(self, limit: int) -> Request:
        """Read the first open todos."""
        condition = quote("completed=false")
        return Request("GET", f"{self.root}?perPage={limit}&sort=@rowid&skipTotal=true&filter={condition}")

    def update(self, _: str, number: int, members: dict[str, Any]) -> Request:
        """Change these members of a todo by PATCH, the only method for updates."""
        return Request("PATCH", self.one(number), members)

    def batch(self, todos: list[dict[str, Any]]) -> Request:
        """Create todos in one request."""
        requests = [{"method": "POST", "url": self.root, "body": todo} for todo in todos]
        return Request("POST", "/api/batch", {"requests": requests})

    def todos(self, body: Any) -> Any:
        """Return the todos in a response body."""
        if isinstance(body, list):
            return [result["body"] for result in body]
        return body.get("items", [body])


REST, POCKETBASE = Rest(), PocketBase()


class Operation(NamedTuple):
    """An operation. `request` returns request n to a server with this number of todos."""

    name: str
    title: str
    why: str  # for docs/performance.md
    request: Callable[[Rest, int, int], Request]
    status: int = 200
    rows: int = THOUSAND
    connections: int = 8
    varied: int = VARIED
    writes: bool = False
    # The header with the entity tag of the todo or list.
    conditional: str = ""
    # Another client sends these writes meanwhile, WRITES_PER_SECOND of them.
    meanwhile: Callable[[Rest, int, int], Request] | None = None


def _spread(n: int, rows: int) -> int:
    """Return the id for request n. Neighbouring requests have distant ids."""
    return n * 7919 % rows + 1


def _changes(n: int) -> dict[str, Any]:
    # An ORM does not write unchanged values, so each request changes something.
    return {"title": f"Buy milk, change {n}", "completed": n % 2 == 0}


def _new(n: int) -> dict[str, Any]:
    return {"title": f"Todo {n}", "description": "Made for the measurement", "deadline_at": MOMENT}


def _get(api: Rest, n: int, rows: int) -> Request:
    return api.get(_spread(n, rows))


def _put(api: Rest, n: int, rows: int) -> Request:
    return api.update("PUT", _spread(n, rows), _changes(n))


def _post(api: Rest, n: int, _: int) -> Request:
    return api.create(_new(n))


def _mix(api: Rest, n: int, rows: int) -> Request:
    """Of 20 requests, 16 read a todo, two read a list, one changes and one creates a todo."""
    writes: dict[int, Callable[[Rest, int, int], Request]] = {0: _put, 10: _post}
    if n % 20 in {5, 15}:
        return api.page(100)
    return writes.get(n % 20, _get)(api, n, rows)


def _page(size: int) -> Callable[[Rest, int, int], Request]:
    return lambda api, *_: api.page(size)


OPERATIONS = (
    Operation(
        "get_one",
        "GET one",
        "A client opens a todo. There is little to read, so this is the cost of a request.",
        _get,
    ),
    Operation(
        "get_one_304",
        "GET one, If-None-Match",
        "A client asks whether its copy of a todo is current. It is, so the response has no body.",
        _get,
        status=304,
        varied=100,
        conditional="If-None-Match",
    ),
    Operation(
        "list_100",
        "list of 100",
        "A client shows the first page. Reading rows and encoding JSON begin to matter.",
        _page(100),
        varied=1,
    ),
    Operation(
        "list_1000",
        "list of 1,000",
        "The largest page. Reading rows and encoding JSON take most of the time.",
        _page(1000),
        varied=1,
    ),
    Operation(
        "filtered_page",
        "filtered page of 100 of 1,000,000",
        "A client shows the open todos, the newest 1,000 of a million. Only an index finds them fast.",
        lambda api, *_: api.open_page(100),
        varied=1,
        rows=MILLION,
    ),
    Operation(
        "put",
        "PUT",
        "Clients change different todos at the same time. Each change is on disk before its response.",
        _put,
        writes=True,
    ),
    Operation(
        "patch",
        "PATCH, If-Match",
        "A client changes a todo only if no other client has changed it.",
        lambda api, n, rows: api.update("PATCH", _spread(n, rows), _changes(n)),
        writes=True,
        conditional="If-Match",
    ),
    Operation("post", "POST", "Clients create todos at the same time.", _post, status=201, writes=True),
    Operation(
        "batch_100",
        "batch of 100 creates",
        "A client imports a list. All todos of a request are in one transaction.",
        lambda api, n, _: api.batch([_new(n * BATCH + m) for m in range(BATCH)]),
        varied=20,
        writes=True,
    ),
    Operation(
        "mix",
        "90 % reads, 10 % writes, 32 clients",
        "A busy service. Of 20 requests, 16 read a todo, two read a list of 100, one changes and one creates "
        "a todo. Each write empties the response cache.",
        _mix,
        connections=32,
        writes=True,
    ),
    Operation(
        "polling",
        "polling by 32 clients, 20 writes a second",
        "Many open pages ask whether the list of 100 has changed, by `If-None-Match`, while another client "
        "changes a todo of that list 20 times a second.",
        _page(100),
        connections=32,
        varied=1,
        writes=True,
        conditional="If-None-Match",
        meanwhile=lambda api, n, _: api.update("PUT", n % 100 + 1, _changes(n)),
    ),
)
