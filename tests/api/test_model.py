"""Any sequence of writes, read with any filters, order and pages, equals a model in plain Python."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from werkzeug.http import parse_options_header

from tests.support.api import TODOS as PATH
from tests.support.api import shared_app
from todo import query
from todo.database import first_rows

pytestmark = [pytest.mark.database, pytest.mark.soak]

Todo = dict[str, Any]


# Small alphabets, so that equal values, nulls and matches are frequent.
TITLES = st.sampled_from(("a", "Ä", "ä", "ß", "ss", "%", "😀", "\uffff"))
# The text order of these times is their order in time. A test run never reaches the later ones.
PAST = ("0001-01-01T00:00:00", "2001-01-01T00:00:00", "2001-01-01T00:00:00.000001", "2001-01-01T00:00:01")
TO_COME = ("9998-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999")
DEADLINES = st.sampled_from(PAST + TO_COME)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "title": TITLES,
    "description": st.none() | st.just("") | TITLES,
    "completed": st.booleans(),
    "deadline_at": st.none() | DEADLINES,
}
MILLISECONDS = len("2023-02-27T12:00:00.000")  # the precision of a deletion on SQLite
DEFAULTS = {"description": None, "completed": False, "deadline_at": None}
CREATES = st.fixed_dictionaries({"title": TITLES}, optional={name: MEMBERS[name] for name in DEFAULTS})
CHANGES = st.fixed_dictionaries({}, optional=MEMBERS)
# The position of a todo among all created todos, or a larger number for a todo that never existed.
PLACES = st.integers(0, 14)
GUARDS = st.sampled_from((None, None, "*", "current", "first", '"other"'))
OPERATIONS = st.one_of(
    st.tuples(st.just("create"), PLACES, CREATES, st.none()),
    st.tuples(st.just("update"), PLACES, CHANGES, GUARDS),
    st.tuples(st.just("delete"), PLACES, st.none(), GUARDS),
)

SORTS = st.lists(
    st.sampled_from(
        [sign + name for sign in ("", "-") for name in ("id", *MEMBERS, "created_at", "updated_at")]
    ),
    max_size=3,
)


class Filter(NamedTuple):
    values: st.SearchStrategy[str]
    matches: Callable[[Todo, str], bool]


def is_past(todo: Todo) -> bool:
    return todo["deadline_at"] in PAST


FILTERS = {
    "completed": Filter(
        st.sampled_from(("true", "false")), lambda todo, wanted: todo["completed"] == (wanted == "true")
    ),
    "overdue": Filter(
        st.sampled_from(("true", "false")),
        lambda todo, wanted: (is_past(todo) and not todo["completed"]) == (wanted == "true"),
    ),
    "window": Filter(
        st.sampled_from(("0", "30", "3652058")),
        lambda todo, days: is_past(todo) or (days == "3652058" and todo["deadline_at"] is not None),
    ),
    "deadline_from": Filter(DEADLINES, lambda todo, time: (todo["deadline_at"] or "") >= time),
    "deadline_before": Filter(
        DEADLINES, lambda todo, time: todo["deadline_at"] is not None and todo["deadline_at"] < time
    ),
    "q": Filter(
        TITLES,
        lambda todo, text: any(
            text.casefold() in (todo[name] or "").casefold() for name in ("title", "description")
        ),
    ),
}


class Read(NamedTuple):
    """A query of the list. `since` is the position of a todo, and filters by its `updated_at`."""

    filters: dict[str, str]
    since: int | None
    sort: list[str]
    limit: int


READS = st.builds(
    Read,
    # Few filters, so that several todos match.
    st.lists(
        st.one_of([st.tuples(st.just(name), values) for name, (values, _) in FILTERS.items()]), max_size=2
    ).map(dict),
    st.none() | PLACES,
    SORTS,
    st.integers(2, 7),
)


def in_order(todos: list[Todo], sort: list[str]) -> list[Todo]:
    """Return `todos` sorted by `sort`: by a stable sort for each member, the last member first."""
    direction = "-" if sort and sort[0].startswith("-") else ""
    for term in reversed([*sort, f"{direction}id"]):
        name = term.removeprefix("-")
        known = [todo for todo in todos if todo[name] is not None]
        unknown = [todo for todo in todos if todo[name] is None]
        todos = sorted(known, key=lambda todo: todo[name], reverse=term != name) + unknown
    return todos


def expect(client: FlaskClient, todos: list[Todo], read: Read) -> None:
    """Check that the list, and all of its pages together, equal the todos that the model selects."""
    query, expected = dict(read.filters), todos
    if read.since is not None and todos:
        query["updated_since"] = todos[read.since % len(todos)]["updated_at"]
        expected = [todo for todo in expected if todo["updated_at"] >= query["updated_since"]]
    for name, value in read.filters.items():
        expected = [todo for todo in expected if FILTERS[name].matches(todo, value)]
    expected = in_order(expected, read.sort)
    if read.sort:
        query["sort"] = ",".join(read.sort)
    assert client.get(f"{PATH}?{urlencode(query)}").get_json() == expected
    url = f"{PATH}?{urlencode({**query, 'limit': str(read.limit), 'total': 'true'})}"
    for start in range(0, len(expected) or 1, read.limit):
        page = client.get(url)
        assert page.get_json() == expected[start : start + read.limit]
        assert page.headers["X-Total-Count"] == str(len(expected))
        url = parse_options_header(page.headers.get("Link"))[0][1:-1]
    assert not url


class TestReads:
    @given(rows=st.lists(CREATES, min_size=12, max_size=15), reads=st.lists(READS, min_size=6, max_size=8))
    def test_reads_equal_the_model(self, rows: list[Todo], reads: list[Read]) -> None:
        client = shared_app().test_client()
        todos = [client.post(PATH, json=row).get_json() for row in rows]
        for read in reads:
            # Small enough for a table of a few rows to be larger.
            with patch.multiple(first_rows, SEARCHED_ROWS=3, FEW_ROWS=2, COUNTED_ROWS=4):
                query._parts.cache_clear()
                expect(client, todos, read)


class Todos(RuleBasedStateMachine):
    """The API, compared with a dict from id to todo."""

    def __init__(self) -> None:
        super().__init__()
        self.client = shared_app().test_client()
        self.todos: dict[int, Todo] = {}
        self.deleted: dict[int, Todo] = {}
        self.first_tags: dict[int, str] = {}

    @initialize(rows=st.lists(CREATES, max_size=12))
    def begin(self, rows: list[Todo]) -> None:
        for row in rows:
            self.create(row)

    @rule(members=CREATES)
    def create(self, members: Todo) -> None:
        response = self.client.post(PATH, json=members)
        assert response.status_code == 201
        self.expect_created(members, response.get_json())

    @rule(method=st.sampled_from(("PUT", "PATCH")), place=PLACES, changes=CHANGES, guard=GUARDS)
    def update(self, method: str, place: int, changes: Todo, guard: str | None) -> None:
        todo_id = self.id_at(place)
        headers = {} if guard is None else {"If-Match": self.tag(todo_id, guard)}
        response = self.client.open(f"{PATH}/{todo_id}", method=method, json=changes, headers=headers)
        assert response.status_code == self.status("update", todo_id, guard)
        if response.status_code == 200:
            self.expect_updated(todo_id, changes, response.get_json())

    @rule(place=PLACES, guard=GUARDS)
    def delete(self, place: int, guard: str | None) -> None:
        todo_id = self.id_at(place)
        headers = {} if guard is None else {"If-Match": self.tag(todo_id, guard)}
        response = self.client.delete(f"{PATH}/{todo_id}", headers=headers)
        assert response.status_code == self.status("delete", todo_id, guard)
        if response.status_code == 200:
            assert response.get_json() == self.take_away(todo_id)

    @rule(place=PLACES)
    def restore(self, place: int) -> None:
        todo_id = self.id_at(place)
        response = self.client.post(f"{PATH}/{todo_id}/restore")
        if todo_id in self.deleted:
            self.todos[todo_id] = self.deleted.pop(todo_id)
            self.todos = dict(sorted(self.todos.items()))
        if todo_id in self.todos:
            assert (response.status_code, response.get_json()) == (200, self.todos[todo_id])
        else:
            assert response.status_code == 404

    @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=5))
    def batch(self, operations: list[tuple[str, int, Todo, str | None]]) -> None:
        sent: list[dict[str, Any]] = []
        refused: tuple[int, int] | None = None
        deleted, changed = set[int](), set[int]()
        for op, place, members, guard in operations:
            todo_id = self.id_at(place)
            operation: dict[str, Any] = {
                "op": op,
                "id": todo_id,
                "todo": members,
                "if_match": self.tag(todo_id, guard),
            }
            unused = {"create": {"id"}, "update": set[str](), "delete": {"todo"}}[op]
            unused |= {"if_match"} if guard is None else set()
            sent.append({name: value for name, value in operation.items() if name not in unused})
            if op != "create" and refused is None:
                status = self.status(op, todo_id, guard, deleted, changed)
                if status != 200:
                    refused = status, len(sent) - 1
                (deleted if op == "delete" else changed if members else set()).add(todo_id)
        response = self.client.post(f"{PATH}/batch", json={"operations": sent})
        if refused is not None:
            (fault,) = response.get_json()["errors"]
            assert (response.status_code, int(fault["pointer"].split("/")[2])) == refused
            return
        assert response.status_code == 200
        results = response.get_json()["results"]
        assert len(results) == len(operations)
        for (op, _, members, _), operation, result in zip(operations, sent, results, strict=True):
            if op == "create":
                self.expect_created(members, result)
            elif op == "update":
                self.expect_updated(operation["id"], members, result)
            else:
                assert result == self.take_away(operation["id"])

    @rule(read=READS)
    def read(self, read: Read) -> None:
        expect(self.client, list(self.todos.values()), read)

    @invariant()
    def the_list_is_the_same(self) -> None:
        assert self.client.get(PATH).get_json() == list(self.todos.values())

    @invariant()
    def deleted_todos_are_as_they_were_and_latest_first(self) -> None:
        listed = self.client.get(f"{PATH}/deleted").get_json()
        assert listed == sorted(listed, key=lambda todo: (todo["deleted_at"], todo["id"]), reverse=True)
        times = {todo["id"]: todo.pop("deleted_at") for todo in listed}
        assert {todo["id"]: todo for todo in listed} == self.deleted
        for todo_id, todo in self.deleted.items():
            assert times[todo_id] >= todo["updated_at"][:MILLISECONDS]

    def take_away(self, todo_id: int) -> Todo:
        """Move a todo to the deleted todos and return it. Return {} if the todo does not exist."""
        todo = self.todos.pop(todo_id, {})
        if todo:
            self.deleted[todo_id] = todo
        return todo

    def id_at(self, place: int) -> int:
        ids = list(self.first_tags)
        return ids[place] if place < len(ids) else -place

    def tag(self, todo_id: int, guard: str | None) -> str | None:
        """Return the value of If-Match for `guard`."""
        if guard == "first":
            return self.first_tags.get(todo_id, '"other"')
        if guard == "current":
            return self.client.get(f"{PATH}/{todo_id}").headers.get("ETag", '"other"')
        return guard

    def status(
        self,
        op: str,
        todo_id: int,
        guard: str | None,
        deleted: Collection[int] = (),
        changed: Collection[int] = (),
    ) -> int:
        """Return the expected status of an update or deletion.

        In a batch, earlier operations have deleted `deleted` and changed `changed`.
        """
        todo = None if todo_id in deleted else self.todos.get(todo_id)
        if todo is None:
            return 404 if op == "update" else 412 if guard else 200
        fresh = todo_id not in changed
        holds = {
            None: True,
            "*": True,
            "current": fresh,
            "first": fresh and todo["updated_at"] == todo["created_at"],
            '"other"': False,
        }
        return 200 if holds[guard] else 412

    def expect_created(self, members: Todo, answer: Todo) -> None:
        assert answer["id"] > max(self.first_tags, default=0)
        assert answer["created_at"] == answer["updated_at"]
        server_set = {name: answer[name] for name in ("id", "created_at", "updated_at")}
        assert answer == DEFAULTS | members | server_set
        self.todos[answer["id"]] = answer
        self.first_tags[answer["id"]] = self.client.get(f"{PATH}/{answer['id']}").headers.get("ETag", "none")

    def expect_updated(self, todo_id: int, changes: Todo, answer: Todo) -> None:
        before = self.todos[todo_id]
        assert (answer["updated_at"] > before["updated_at"]) == bool(changes)
        assert answer == before | changes | {"updated_at": answer["updated_at"]}
        self.todos[todo_id] = answer


TestTodos = Todos.TestCase
