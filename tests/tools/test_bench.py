import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from bench import listing, plain, report, run
from bench.operations import OPERATIONS, REST, Request
from bench.servers import OURS, PEERS
from tests.support.server import wait_until
from todo import create_app
from todo.query import FILTERS
from todo.query import TODOS as MEMBERS

TODOS = "/api/v1/todos"
ROWS = 1000
MILK = {"title": "Buy milk", "description": "Two litres", "deadline_at": "2027-01-31T18:00:00"}

CASES: tuple[tuple[str, str, Any], ...] = (
    ("POST", TODOS, MILK),
    ("POST", TODOS, {"title": "Tea", "completed": True}),
    ("GET", f"{TODOS}/1", None),
    ("PUT", f"{TODOS}/1", {"title": "Buy oat milk", "completed": True, "deadline_at": None}),
    ("GET", TODOS, None),
    ("GET", f"{TODOS}?completed=false", None),
    ("GET", f"{TODOS}?limit=1", None),
    ("PATCH", f"{TODOS}/2", {"title": "Green tea"}),
    ("POST", TODOS, {}),
    ("POST", TODOS, []),
    ("POST", TODOS, {"title": " "}),
    ("POST", TODOS, {"title": "x" * 81}),
    ("POST", TODOS, MILK | {"description": "x" * 121}),
    ("POST", TODOS, MILK | {"completed": 1}),
    ("POST", TODOS, MILK | {"deadline_at": "tomorrow"}),
    ("PUT", f"{TODOS}/1", {"id": 2}),
    ("PUT", f"{TODOS}/3", {"title": "x"}),
    ("GET", f"{TODOS}/3", None),
    ("DELETE", f"{TODOS}/1", None),
    ("DELETE", f"{TODOS}/1", None),
    ("GET", "/api/v1/health", None),
)


def summary_of(client: FlaskClient, method: str, path: str, body: Any) -> tuple[Any, ...]:
    response = client.open(path, method=method, json=body)
    if response.status_code >= 400:
        return (response.status_code,)
    todos = response.get_json() if isinstance(response.get_json(), list) else [response.get_json()]
    members = [
        [
            (name, len(value) if name in {"created_at", "updated_at"} else value)
            for name, value in todo.items()
        ]
        for todo in todos
    ]
    return response.status_code, response.headers.get("Location"), members


@pytest.fixture
def plain_app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Flask]:
    uri = f"sqlite:///{tmp_path / 'plain.sqlite'}"
    app = plain.create_app({"SQLALCHEMY_DATABASE_URI": uri, "WAL": getattr(request, "param", False)})
    app.test_cli_runner().invoke(args=["init-db"], catch_exceptions=False)
    yield app
    with app.app_context():
        plain.db.engine.dispose()


def test_plain_app_returns_the_responses_of_the_service(plain_app: Flask, subtests: pytest.Subtests) -> None:
    service = create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}).test_client()
    for method, path, body in CASES:
        with subtests.test(method=method, path=path, body=body):
            expected = summary_of(service, method, path, body)
            assert summary_of(plain_app.test_client(), method, path, body) == expected


@pytest.mark.parametrize(
    ("plain_app", "mode"), [(False, "delete"), (True, "wal")], ids=["default", "wal"], indirect=["plain_app"]
)
def test_plain_app_uses_the_journal_of_its_setting(plain_app: Flask, mode: str) -> None:
    with plain_app.app_context():
        assert plain.db.session.execute(text("PRAGMA journal_mode")).scalar() == mode
        assert plain.db.session.execute(text("PRAGMA synchronous")).scalar() == 2  # synchronous = FULL


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Flask]:
    file = tmp_path_factory.mktemp("bench") / "db.sqlite"
    return file, listing.create_filled_app(file, ROWS)


def test_each_measured_list_finds_its_todos(filled: tuple[Path, Flask]) -> None:
    client = filled[1].test_client()
    for reading in listing.readings():
        response = client.get(listing.path_of(reading, filled[1], ROWS))
        assert response.status_code == 200, reading.title
        found = len(response.get_json())
        assert reading.found in {None, found}, reading.title
        assert found or ", none" in reading.title, reading.title


def test_each_filter_is_measured_in_each_indexed_order() -> None:
    titles = {reading.title for reading in listing.readings()}
    for name, _ in FILTERS:
        for sort in listing.SORTS:
            assert any(title.startswith(name) and title.endswith(f"sort={sort}") for title in titles)
    indexed = {index.columns[0].key for index in MEMBERS.indexes}
    assert {"id", *indexed} == {sort.removeprefix("-") for sort in listing.SORTS}


def test_late_page_is_reached_by_its_link(filled: tuple[Path, Flask]) -> None:
    late = next(reading for reading in listing.readings() if reading.late)
    query = listing.path_of(late, filled[1], ROWS).partition("?")[2]
    sort = parse_qs(query)["sort"][0]
    link = filled[1].test_client().get(f"{TODOS}?limit={ROWS - listing.LATE}&sort={sort}").headers["Link"]
    assert f"cursor={parse_qs(query)['cursor'][0]}" in unquote(link)


def test_each_index_has_a_cost(filled: tuple[Path, Flask]) -> None:
    costs = listing.costs_of_indexes(filled[0], batches=1)
    assert set(costs) == {listing.ALL, *(str(index.name) for index in MEMBERS.indexes)}


def test_lists_report_names_the_slowest_combination() -> None:
    titles = [(reading.group, reading.title) for reading in listing.readings()]
    slow = next(title for group, title in titles if group == listing.OTHERS)
    measured = {
        "how": {"date": "2026-01-01", "load_before": 0},
        "readings": [
            {
                "group": group,
                "title": title,
                "milliseconds": {"1000": 1.0, "1000000": 40.0 if title == slow else 1.0},
            }
            for group, title in titles
        ],
        "costs": {listing.ALL: [500, 300], "ix_todos_title": [50, 30]},
    }
    page = "\n".join(report.lists(measured))
    assert f"**The slowest is `{slow}`: 40.0 ms.**" in page
    assert "| ix_todos_title | 50 | 10% | 30 | 10% |" in page


def peers_results(rates: dict[str, float]) -> dict[str, Any]:
    how = {"date": "2026-01-01", "rounds": 1, "seconds": 1, "workers": 2, "load_before": 0}
    return {
        "peers": {
            operation.name: {
                "how": how,
                "servers": {
                    peer.name: [
                        {"rate": rates.get(peer.name, 1000.0), "p50": 1.0, "p99": 2.0, "writes": 20.0}
                    ]
                    for peer in PEERS
                    if run.takes(peer, operation)
                },
            }
            for operation in OPERATIONS
        },
        "servers": {},
    }


def test_report_compares_each_ratio_with_its_floor() -> None:
    rates = {"todo": 9000.0, "todo_first": 1900.0, "flask_wal": 1000.0, "express": 5000.0, "fastify": 18000.0}
    lines = list(report.peers(peers_results(rates)))
    assert "| GET one, repeated | 9.00 (6) | **1.80** (2) | **0.50** (0.55) |" in lines
    assert "| GET one, first | 1.90 (1.8) | **0.38** (0.6) |  |" in lines
    assert "| PUT | 9.00 (2) | 1.80 (1.15) |  |" in lines
    assert "| polling by 32 clients, 20 writes a second | 9.00 (6) | **1.80** (2) | **0.50** (0.8) |" in lines


def test_reads_are_measured_twice_and_writes_once() -> None:
    for operation in OPERATIONS:
        names = {peer.name for peer in PEERS if run.takes(peer, operation)}
        assert "todo" in names
        assert ("todo_first" in names) != operation.writes


def test_performance_page_begins_with_the_response_cache() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert page.startswith(report.HEAD)


class InProcess:
    """The service in this process, used instead of a server on a port."""

    peer, rows = OURS, ROWS

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def ask(self, request: Request) -> tuple[int, str | None, Any]:
        response = self.client.open(
            request.path, method=request.method, json=request.body, headers=request.headers
        )
        return response.status_code, response.headers.get("ETag"), response.get_json()


@pytest.mark.parametrize(
    ("name", "threads", "header"), [("polling", 1, "If-None-Match"), ("patch", 8, "If-Match")]
)
def test_conditional_requests_follow_the_entity_tag(
    filled: tuple[Path, Flask], tmp_path: Path, name: str, threads: int, header: str
) -> None:
    server: Any = InProcess(filled[1])
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    tags = list(run.write_requests(server, operation, tmp_path / "requests"))
    assert len(tags) == threads
    request = operation.request(REST, 0, ROWS)
    assert server.ask(Request("GET", request.path, headers=(("If-None-Match", tags[0]),)))[0] == 304
    files = sorted(tmp_path.iterdir())
    assert len(files) == threads
    assert all(f"{header}: @etag@".encode() in file.read_bytes() for file in files)


def test_concurrent_writes_of_a_benchmark_are_counted(filled: tuple[Path, Flask]) -> None:
    server: Any = InProcess(filled[1])
    polling = next(operation for operation in OPERATIONS if operation.meanwhile)
    _, tag, _ = server.ask(polling.request(REST, 0, ROWS))
    finished = Event()
    with ThreadPoolExecutor() as executor:
        writer = executor.submit(run.write_meanwhile, server, polling, finished)
        wait_until(lambda: server.ask(polling.request(REST, 0, ROWS))[1] != tag)
        finished.set()
    assert writer.result() > 0


def test_missing_wrk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["bench.run"])
    with pytest.raises(SystemExit, match=r"^wrk, .+ is missing. Install it .+$"):
        run.main()
