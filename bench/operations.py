"""What is measured: each operation as the requests that the servers' own addresses make of it."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

THOUSAND, MILLION = 1000, 1_000_000
VARIED = 2000  # requests, until they begin again
BATCH = 100
MOMENT = "2027-01-31T18:00:00"
# A server that has no entity tags is sent the same request without one.
UNCONDITIONAL = {"patch": "no If-Match, so the change is made without it"}


class Request(NamedTuple):
    """A request: `body` is sent as JSON where there is one."""

    method: str
    path: str
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        """As HTTP/1.1 has it on the wire."""
        content = b"" if self.body is None else json.dumps(self.body).encode()
        headers = [("Host", "127.0.0.1"), *self.headers]
        if content:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Rest:
    """The addresses of the service, which all peers share but PocketBase."""

    root = "/api/v1/todos"
    health = "/api/v1/health"
    # Where another status has the meaning of the service's.
    statuses: Mapping[int, int] = MappingProxyType({})

    def one(self, number: int) -> str:
        """The address of a todo."""
        return f"{self.root}/{number}"

    def get(self, number: int) -> Request:
        """GET a todo."""
        return Request("GET", self.one(number))

    def page(self, limit: int) -> Request:
        """The first todos."""
        return Request("GET", f"{self.root}?limit={limit}")

    def open_page(self, limit: int) -> Request:
        """The first todos that are not completed."""
        return Request("GET", f"{self.root}?completed=false&limit={limit}")

    def update(self, method: str, number: int, members: dict[str, Any]) -> Request:
        """Change these members."""
        return Request(method, self.one(number), members)

    def create(self, todo: dict[str, Any]) -> Request:
        """Make a todo."""
        return Request("POST", self.root, todo)

    def batch(self, todos: list[dict[str, Any]]) -> Request:
        """Make todos together."""
        operations = [{"op": "create", "todo": todo} for todo in todos]
        return Request("POST", f"{self.root}/batch", {"operations": operations})

    def todos(self, answer: Any) -> Any:
        """The todos in an answer."""
        return answer.get("results", [answer]) if isinstance(answer, dict) else answer


class PocketBase(Rest):
    """PocketBase's addresses; its ids are texts of 15 characters."""

    root = "/api/collections/todos/records"
    health = "/api/health"
    statuses = MappingProxyType({201: 200})

    def one(self, number: int) -> str:
        """The address of a todo."""
        return f"{self.root}/{number:015d}"

    def page(self, limit: int) -> Request:
        """The first todos, without a count of all of them."""
        return Request("GET", f"{self.root}?perPage={limit}&sort=@rowid&skipTotal=true")

    def open_page(self, limit: int) -> Request:
        """The first todos that are not completed."""
        chosen = quote("completed=false")
        return Request("GET", f"{self.root}?perPage={limit}&sort=@rowid&skipTotal=true&filter={chosen}")

    def update(self, _: str, number: int, members: dict[str, Any]) -> Request:
        """Change these members, by PATCH, the only method for it."""
        return Request("PATCH", self.one(number), members)

    def batch(self, todos: list[dict[str, Any]]) -> Request:
        """Make todos together."""
        requests = [{"method": "POST", "url": self.root, "body": todo} for todo in todos]
        return Request("POST", "/api/batch", {"requests": requests})

    def todos(self, answer: Any) -> Any:
        """The todos in an answer."""
        if isinstance(answer, list):
            return [result["body"] for result in answer]
        return answer.get("items", [answer])


REST, POCKETBASE = Rest(), PocketBase()


class Operation(NamedTuple):
    """An operation: request number n of a server with so many todos."""

    name: str
    title: str
    request: Callable[[Rest, int, int], Request]
    status: int = 200
    rows: int = THOUSAND
    connections: int = 8
    varied: int = VARIED
    writes: bool = False
    tags: bool = False  # each request has the entity tag of its todo


def _spread(n: int, rows: int) -> int:
    """The id of the todo that request n is for: not one after the other."""
    return n * 7919 % rows + 1


def _changes(n: int) -> dict[str, Any]:
    # What changes nothing, an ORM does not write.
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
    """Of 20 requests 16 for a todo, two for a list, a change and a new todo."""
    kinds: dict[int, Callable[[Rest, int, int], Request]] = {0: _put, 10: _post}
    if n % 20 in {5, 15}:
        return api.page(100)
    return kinds.get(n % 20, _get)(api, n, rows)


OPERATIONS = (
    Operation("get_one", "GET one", _get),
    Operation("get_one_304", "GET one, If-None-Match", _get, status=304, varied=100, tags=True),
    Operation("list_100", "list of 100", lambda api, *_: api.page(100), varied=1),
    Operation("list_1000", "list of 1,000", lambda api, *_: api.page(1000), varied=1),
    Operation(
        "filtered_page",
        "filtered page of 100 of 1,000,000",
        lambda api, *_: api.open_page(100),
        varied=1,
        rows=MILLION,
    ),
    Operation("put", "PUT", _put, writes=True),
    Operation(
        "patch",
        "PATCH, If-Match",
        lambda api, n, rows: api.update("PATCH", _spread(n, rows), _changes(n)),
        writes=True,
        tags=True,
    ),
    Operation("post", "POST", _post, status=201, writes=True),
    Operation(
        "batch_100",
        "batch of 100 creates",
        lambda api, n, _: api.batch([_new(n * BATCH + m) for m in range(BATCH)]),
        varied=20,
        writes=True,
    ),
    Operation("mix", "90 % reads, 10 % writes, 32 clients", _mix, connections=32, writes=True),
)
