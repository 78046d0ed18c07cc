"""A shell cannot store rows that the API rejects, and upgrades convert or report old values."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import DDL, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support.api import empty_app
from tests.support.clients import TODOS
from todo import create_app
from todo.config import StartupError
from todo.database import schema
from todo.migrations.rows import parse
from todo.models import db

CONTROLS = [chr(code) for code in (*range(1, 32), *range(127, 160))]
SPACES = "\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
BAD: dict[str, list[Any]] = {
    "title": ["", *SPACES, f" {SPACES}", *(f"a{control}b" for control in CONTROLS), "a\n", "t" * 81],
    "description": ["d" * 121, *(control for control in CONTROLS if control not in "\t\n"), "a\rb", "a\n\r"],
    "deadline_at": ["2027-02-30 00:00:00.000000", "2027-04-31 00:00:00.000000", "0000-01-01 00:00:00.000000"],
    "created_at": [None, "0000-01-01 00:00:00.000000", "2027-02-29 00:00:00.000000"],
    "updated_at": [None, "0000-01-01 00:00:00.000000", "2027-02-29 00:00:00.000000"],
    "id": [2**63 - 1, 2**53, 2**53 - 1],
}
GOOD: dict[str, list[Any]] = {
    "title": ["x", "\N{GRINNING FACE}" * 80, "\ufffe", "\uffff", "\ufffd", f"a{SPACES}", "\u00ad"],
    "description": ["", "a\tb\nc\r\nd", "\N{GRINNING FACE}" * 120],
    "deadline_at": ["0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999", "2028-02-29 00:00:00.000000"],
    "id": [2**53 - 1 - 10**6],
}


def cases(values: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(column, value, id=f"{column}={value!r:.40}")
        for column, items in values.items()
        for value in items
    ]


@pytest.fixture(scope="module")
def app() -> Flask:
    return empty_app()


def insert(app: Flask, column: str, value: Any) -> None:
    row = {"title": "x", "created_at": "2027-01-01 00:00:00.000000"} | {column: value}
    row = {"updated_at": row["created_at"] or "2027-01-01 00:00:00.000000"} | row
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with app.app_context(), db.engine.begin() as shell:
        shell.execute(text(f"INSERT INTO todos ({names}) VALUES ({values})"), row)


@pytest.mark.database
@pytest.mark.parametrize(("column", "value"), cases(BAD))
def test_row_invalid_for_the_api_is_rejected_in_a_shell(app: Flask, column: str, value: Any) -> None:
    with app.app_context():
        if column == "id" and db.engine.dialect.name == "mariadb":
            pytest.skip("MariaDB has no constraint on an AUTO_INCREMENT column")
    with pytest.raises(DBAPIError):
        insert(app, column, value)


@pytest.mark.database
@pytest.mark.parametrize(("column", "value"), cases(GOOD))
def test_row_valid_for_the_api_is_accepted_in_a_shell(app: Flask, column: str, value: Any) -> None:
    with app.app_context(), db.engine.begin() as shell:
        shell.execute(text("DELETE FROM todos"))
    insert(app, column, value)
    (todo,) = app.test_client().get(TODOS).get_json()
    if column in {"title", "description", "id"}:
        assert todo[column] == value
    assert app.test_client().post(TODOS, json={"title": "next"}).status_code == 201


@pytest.mark.database
@pytest.mark.parametrize("todo_id", [1000, 2**53 - 1, -1])
def test_id_changed_in_a_shell_is_refused(app: Flask, todo_id: int) -> None:
    with app.app_context(), db.engine.connect() as shell:
        if shell.dialect.name == "mariadb":
            pytest.skip("few users of MariaDB have the right to create triggers")
        shell.execute(text("INSERT INTO todos (title) VALUES ('x')"))
        with pytest.raises(DBAPIError, match="id must not change"):
            shell.execute(text("UPDATE todos SET id = :id"), {"id": todo_id})
        shell.rollback()
        shell.execute(text("INSERT INTO todos (title) VALUES ('x')"))
        shell.execute(text("UPDATE todos SET id = id, title = 'y'"))
        shell.rollback()


@pytest.mark.database
@pytest.mark.parametrize("largest", [2**53 - 1, 2**53, 2**63 - 1])
def test_no_id_left_on_mariadb_is_503_and_says_what_to_do(largest: int) -> None:
    app = empty_app()
    client = app.test_client()
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as shell:
        if shell.dialect.name != "mariadb":
            pytest.skip("the other databases refuse the row")
        shell.execute(text("INSERT INTO todos (id, title) VALUES (:id, 'x')"), {"id": largest})
        create = {"op": "create", "todo": {"title": "x"}}
        for path, body in ((TODOS, {"title": "x"}), (f"{TODOS}/batch", {"operations": [create] * 2})):
            response = client.post(path, json=body)
            assert response.status_code == 503
            advice = response.get_json()["detail"]
            assert "No id is left" in advice
        assert [todo["id"] for todo in client.get(TODOS).get_json()] == [largest]
        assert client.delete(f"{TODOS}/{largest}").status_code == 200
        shell.execute(text(advice.partition("run ")[2].rstrip(".")))
    assert client.post(TODOS, json={"title": "x"}).get_json()["id"] == 1


# SQL values that only a table without constraints accepts.
UNREADABLE = {
    "sqlite": [
        *product(("title", "description", "deadline_at", "completed"), ["CAST(x'ff' AS TEXT)"]),
        *product(("title", "description", "deadline_at", "created_at", "updated_at"), ["x'ff'"]),
        *product(("deadline_at", "created_at"), ["5", "5.5", "'now'", "'2027-02-30 00:00:00.000000'"]),
        *product(("deadline_at", "updated_at"), ["'10000-01-01 00:00:00.000000'"]),
        ("created_at", "'2027-01-01 00:00:00+02:00'"),
    ],
    "postgresql": [
        *product(
            ("deadline_at", "created_at", "updated_at"),
            ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'"],
        )
    ],
    "mariadb": [
        *product(
            ("deadline_at", "created_at", "updated_at"), ["'0000-00-00'", "'0000-01-01'", "'2027-02-30'"]
        )
    ],
}


@contextmanager
def unreadable_todo(app: Flask, column: str, value: str) -> Iterator[int]:
    """Insert a todo without the constraints, yield its id, and delete it in a shell."""
    time = "'2027-01-01 00:00:00.000000'"
    row = {"title": "'bad'", "completed": "false", "created_at": time, "updated_at": time, column: value}
    with app.app_context():
        url = db.engine.url
        drop, restore, validate = list[str](), list[str](), list[str]()
        with db.engine.begin() as shell:
            if url.get_backend_name() == "sqlite":
                drop.append("PRAGMA ignore_check_constraints = ON")
                restore.append("PRAGMA ignore_check_constraints = OFF")
                triggers = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'todos_text%'"
                for name, sql in shell.exec_driver_sql(triggers).all():
                    drop.append(f"DROP TRIGGER {name}")
                    restore.append(sql)
            elif url.get_backend_name() == "postgresql":
                checks = (
                    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
                    "WHERE conrelid = 'todos'::regclass AND contype = 'c'"
                )
                for name, definition in shell.exec_driver_sql(checks).all():
                    drop.append(f"ALTER TABLE todos DROP CONSTRAINT {name}")
                    restore.append(f"ALTER TABLE todos ADD CONSTRAINT {name} {definition} NOT VALID")
                    validate.append(f"ALTER TABLE todos VALIDATE CONSTRAINT {name}")
            else:
                drop.append("SET SESSION check_constraint_checks = OFF, sql_mode = ''")
                restore.append("SET SESSION check_constraint_checks = ON, sql_mode = DEFAULT")
            for statement in (
                *drop,
                f"INSERT INTO todos ({', '.join(row)}) VALUES ({', '.join(row.values())})",
            ):
                shell.execute(DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
            todo_id = shell.scalar(text("SELECT max(id) FROM todos"))
            for statement in restore:
                shell.execute(DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
        yield todo_id
        with db.engine.begin() as shell:
            shell.execute(text("DELETE FROM todos WHERE id = :id"), {"id": todo_id})
            shell.execute(text("DELETE FROM deleted_todos"))
            for statement in validate:
                shell.execute(text(statement))


@pytest.mark.database
def test_unreadable_row_fails_only_its_own_request_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = empty_app(TESTING=False)
    client = app.test_client()
    good = [client.post(TODOS, json={"title": f"good {number}"}).get_json()["id"] for number in range(2)]
    with app.app_context():
        values = UNREADABLE[db.engine.dialect.name]
    for column, value in values:
        with unreadable_todo(app, column, value) as bad:
            case = f"{column} = {value}"
            last = client.post(TODOS, json={"title": "good, too"}).get_json()["id"]
            expected = [*good, last]
            caplog.clear()
            assert client.get(f"{TODOS}/{bad}").status_code == 500, case
            assert f"/todos/{bad}" in caplog.text, case
            caplog.clear()
            batch = {"operations": [{"op": "update", "id": bad, "todo": {}}]}
            assert client.post(f"{TODOS}/batch", json=batch).status_code == 500, case
            assert f"on todo {bad}" in caplog.text, case
            for sort in ("id", "title,-id", "-deadline_at", "created_at", "-updated_at"):
                caplog.clear()
                listed = client.get(f"{TODOS}?sort={sort}").get_json()
                assert sorted(todo["id"] for todo in listed) == expected, f"{case}, sort={sort}"
                assert f"Todo {bad} is not listed" in caplog.text
                assert walk(client, f"{TODOS}?sort={sort}&limit=1") == [todo["id"] for todo in listed]
                assert walk(client, f"{TODOS}?sort={sort}&limit=3") == [todo["id"] for todo in listed]
            assert [todo["id"] for todo in client.get(f"{TODOS}?q=GOOD").get_json()] == expected, case
            for path in (f"{TODOS}.csv", f"{TODOS}.ics"):
                assert client.get(path).text.count("good") == 3, f"{case}, {path}"
            lines = client.get(TODOS, headers={"Accept": "application/x-ndjson"}).text.splitlines()
            assert [json.loads(line)["id"] for line in lines] == expected
            with app.app_context(), db.engine.begin() as shell:
                shell.execute(text("DELETE FROM todos WHERE id > :id"), {"id": good[-1]})
                is_kept = shell.scalar(text("SELECT count(*) FROM deleted_todos")) == 2
            if is_kept:  # a trigger copied both rows
                assert [todo["id"] for todo in client.get(f"{TODOS}/deleted").get_json()] == [last], case


def walk(client: FlaskClient, url: str) -> list[int]:
    """Follow the pages from `url`, and return the ids of all todos."""
    ids = []
    while url:
        response = client.get(url)
        ids += [todo["id"] for todo in response.get_json()]
        url = response.headers.get("Link", "").partition(">")[0].removeprefix("<")
    return ids


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


INVALID_UTF8 = [
    b"\xff", b"a\x80", b"\xc3", b"\xc0\x80", b"\xe0\x82\xa9", b"\xc2\xa9\xa9", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xa9",
]  # fmt: skip


@pytest.mark.parametrize("column", ["title", "description"])
@pytest.mark.parametrize("value", INVALID_UTF8, ids=repr)
def test_text_that_is_not_utf8_is_refused(path: Path, column: str, value: bytes) -> None:
    create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("INSERT INTO todos (title, description) VALUES ('x', 'y')")
        for statement in (
            "INSERT INTO todos (title, description) SELECT iif(:column = 'title', bad, 'x'),"
            " iif(:column = 'title', NULL, bad) FROM (SELECT CAST(:value AS TEXT) AS bad)",
            f"UPDATE todos SET {column} = CAST(:value AS TEXT)",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="UTF-8"):
                shell.execute(statement, {"column": column, "value": b"a" * 3 + value})


def test_unreadable_rows_stop_neither_start_nor_transfer_nor_backup(path: Path, tmp_path: Path) -> None:
    uri = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}
    app = create_app(uri)
    for title in "abc":
        assert app.test_client().post(TODOS, json={"title": title}).status_code == 201
    exported, copied = str(tmp_path / "todos.json"), str(tmp_path / "copy.sqlite")
    assert app.test_cli_runner().invoke(args=["export", exported]).exit_code == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA ignore_check_constraints = ON")
        shell.execute("DROP TRIGGER todos_text_update")
        shell.execute("UPDATE todos SET title = CAST(x'ff' AS TEXT) WHERE id = 1")
        shell.execute("UPDATE todos SET created_at = 'now' WHERE id = 2")
    app = create_app(uri)
    assert app.test_client().get("/readyz").status_code == 200
    runner = app.test_cli_runner()
    again = runner.invoke(args=["export", str(tmp_path / "again.json")])
    assert "Todos: 1." in again.output
    assert [todo["id"] for todo in json.loads((tmp_path / "again.json").read_text())] == [3]
    imported = runner.invoke(args=["import", exported])
    assert imported.exit_code == 0, imported.output
    assert runner.invoke(args=["backup", copied]).exit_code == 0
    with closing(sqlite3.connect(copied)) as copy:
        (title,) = copy.execute("SELECT CAST(title AS BLOB) FROM todos WHERE id = 1").fetchone()
        assert title == b"\xff"


TIMES = {
    1677456000: "2023-02-27", 1677456000000: "2023-02-27", 1677456000.5: "2023-02-27T00:00:00.500000",
    2460002.5: "2023-02-27", 20230227: "2023-02-27", "27/02/2023": "2023-02-27", "02/27/2023": "2023-02-27",
    "02/02/2023": "2023-02-02", "27.02.2023 10:30": "2023-02-27T10:30", "2023-02-27": "2023-02-27",
    "2023-02-27T10:00Z": "2023-02-27T10:00", "2023-02-27 10:00:00+02:00": "2023-02-27T08:00",
    "27 Feb 2023": "2023-02-27", "2023-02-27 12:00:00.1234567": "2023-02-27T12:00:00.123456",
}  # fmt: skip
NO_TIMES = ["03/02/2023", "tomorrow", "", "2027-02-30", "0000-01-01 00:00:00.000000", 0, 5, b"x", None]


@pytest.mark.parametrize(("value", "expected"), TIMES.items(), ids=map(repr, TIMES))
def test_unambiguous_time_is_converted(value: object, expected: str) -> None:
    assert parse(value, UTC) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_invalid_or_ambiguous_time_is_not_converted(value: object) -> None:
    assert parse(value, UTC) is None


def test_number_is_converted_to_the_zone_of_the_service() -> None:
    assert parse(1677456000, ZoneInfo("Australia/Brisbane")) == datetime(2023, 2, 27, 10)


NOW = "2023-02-27 12:00:00.000000"


@pytest.fixture
def first_release(path: Path) -> Iterator[sqlite3.Connection]:
    """A table without constraints, as in the first release and before."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute(
            "CREATE TABLE todos (id INTEGER PRIMARY KEY, title VARCHAR(80), description VARCHAR(120), "
            "completed BOOLEAN, deadline_at DATETIME, created_at DATETIME, updated_at DATETIME)"
        )
        yield shell


def add(shell: sqlite3.Connection, *row: object) -> None:
    shell.execute("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def test_upgrade_converts_unambiguous_times(path: Path, first_release: sqlite3.Connection) -> None:
    for number, value in enumerate(TIMES):
        add(first_release, number + 1, "x", None, 0, value, NOW, NOW)
    client = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}).test_client()
    served = [datetime.fromisoformat(todo["deadline_at"]) for todo in client.get(TODOS).get_json()]
    assert served == [datetime.fromisoformat(time) for time in TIMES.values()]


def test_upgrade_reports_every_row_that_it_cannot_convert(
    path: Path, first_release: sqlite3.Connection
) -> None:
    add(first_release, 1, "good", None, 0, "27/02/2023", NOW, NOW)
    add(first_release, 2, "x", None, 0, "03/02/2023", NOW, NOW)
    add(first_release, 3, "x", None, None, None, NOW, NOW)
    add(first_release, 4, "x", None, 0, None, "0000-01-01 00:00:00.000000", None)
    first_release.execute(
        "INSERT INTO todos VALUES (5, CAST(x'ff' AS TEXT), x'00', 'yes', NULL, ?, ?)", (NOW, NOW)
    )
    add(first_release, 2**63 - 1, None, None, 0, None, NOW, NOW)
    before = first_release.execute("SELECT sql FROM sqlite_schema").fetchall()
    rows = first_release.execute("SELECT id, CAST(title AS BLOB), deadline_at FROM todos").fetchall()
    with pytest.raises(StartupError) as caught:
        create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    message = caught.value.message
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:-1]] == [
        "todo 2", "todo 3", "todo 4", "todo 4", "todo 5", "todo 5", "todo 5",
        "todo 9223372036854775807", "todo 9223372036854775807",
    ]  # fmt: skip
    assert "deadline_at is '03/02/2023'" in message
    assert first_release.execute("SELECT sql FROM sqlite_schema").fetchall() == before
    assert first_release.execute("SELECT id, CAST(title AS BLOB), deadline_at FROM todos").fetchall() == rows
    assert not list(path.parent.glob("*.before-upgrade-*"))
    first_release.execute("DELETE FROM todos WHERE id > 1")
    client = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}).test_client()
    assert [todo["deadline_at"] for todo in client.get(TODOS).get_json()] == ["2023-02-27T00:00:00"]


def test_upgrade_keeps_the_last_id(path: Path) -> None:
    create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("INSERT INTO todos (id, title) VALUES (41, 'x')")
        shell.execute("DELETE FROM todos")
        shell.execute("UPDATE alembic_version SET version_num = '0001'")
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        assert schema.upgrade(connection)
    client = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}).test_client()
    assert client.post(TODOS, json={"title": "next"}).get_json()["id"] == 42
