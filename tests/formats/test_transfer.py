import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest
from click.testing import Result
from hypothesis import example, given
from sqlalchemy import delete

from tests.support.api import shared_app
from tests.support.cases import Prepared, label
from tests.support.server import PATIENCE, ROOT, environment
from tests.support.transfers import MOMENT, Stored, content, fill, run, service, todos
from todo import create_app
from todo.clock import utc_now
from todo.models import db
from todo.query import TODOS

# Values for which each format has a special rule.
HARD = [
    Stored(3, "x 2027-01-31 (A) due:2027-01-01", "\r\n a\nb\r\n", deadline_at=None),
    Stored(7, "  =1+1 uid:a  ", "", completed=True, deadline_at=datetime(2027, 1, 31)),
    Stored(8, "ä;,\\n" * 16, "'=1", deadline_at=datetime(1, 1, 1, 0, 0, 0, 1), uid="a b;%20"),
    Stored(
        2**53 - 1 - 10**6,
        "2027-01-31 due: ",
        uid="20270131T180000.000000Z-3@todo",
        updated_at=datetime(1, 1, 1),
    ),
]
ICS = "BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nSUMMARY:a\r\nEND:VTODO\r\n"
DAY_BEFORE = MOMENT - timedelta(days=1)


class TransferTest(Prepared):
    """A test with a folder for files."""

    def setup_method(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.stack.callback(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, data: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path


def keep(todo: Stored) -> Stored:
    return todo


def lose_in_csv(todo: Stored) -> Stored:
    return todo._replace(description=todo.description or None, uid=None)


def lose_in_todotxt(todo: Stored) -> Stored:
    """Return the todo after a round trip. The id and the time of creation survive only in the UID."""
    todo = todo._replace(description=None, updated_at=MOMENT)
    if todo.uid is None:
        return todo
    return todo._replace(id=0, created_at=datetime.combine(todo.created_at, time.min))


@pytest.mark.database
@pytest.mark.soak
class TestRoundTrip:
    @pytest.mark.parametrize(
        ("chosen", "zone", "lose"),
        [
            ("json", "UTC", keep),
            ("ics", "UTC", keep),
            ("ics", "Europe/Berlin", keep),
            ("csv", "UTC", lose_in_csv),
            ("todotxt", "UTC", lose_in_todotxt),
        ],
        ids=label,
    )
    def test_export_and_import_round_trip(self, chosen: str, zone: str, lose: Any) -> None:
        self.check(chosen, zone, lose)

    def check(self, chosen: str, zone: str, lose: Callable[[Stored], Stored]) -> None:
        here, there = service(zone), service(zone)

        @given(todos)
        @example(HARD)
        def go_round(sent: list[Stored]) -> None:
            fill(here, sent)
            exported = run(here, "export", "--format", chosen)
            fill(there, [])
            imported = run(there, "import", "--format", chosen, "-", text=exported.stdout_bytes)
            assert imported.exit_code == 0, imported.output
            received = content(there)
            assert sorted(map(lose, sent), key=repr) == sorted(map(lose, received), key=repr)
            again = run(there, "import", "--format", chosen, "-", text=exported.stdout_bytes)
            assert again.stdout.startswith("Imported 0, "), again.output
            assert received == content(there)

        go_round()

    @pytest.mark.parametrize("chosen", ["json", "ics", "csv", "todotxt"])
    def test_deadline_skipped_by_clocks_round_trips(self, chosen: str) -> None:
        skipped = Stored(deadline_at=datetime(2027, 3, 28, 2, 30), updated_at=MOMENT)
        here, there = service("Europe/Berlin"), service("Europe/Berlin")
        fill(here, [skipped])
        text = run(here, "export", "--format", chosen).stdout_bytes
        fill(there, [])
        run(there, "import", "--format", chosen, "-", text=text)
        assert [skipped] == content(there)

    def test_taskwarrior_round_trips(self) -> None:
        here, there = service("Europe/Berlin"), service("Europe/Berlin")
        sent = [
            Stored(1, "Buy milk", "Two litres", deadline_at=datetime(2027, 2, 1)),
            Stored(2, "Done", completed=True, updated_at=MOMENT.replace(microsecond=0)),
            Stored(3, "First day", deadline_at=datetime(1, 1, 1)),
        ]
        fill(here, sent)
        text = run(here, "export", "--format", "taskwarrior").stdout_bytes
        fill(there, [])
        result = run(there, "import", "--format", "taskwarrior", "-", text=text)
        assert result.exit_code == 0, result.output
        sent[2] = sent[2]._replace(deadline_at=None)  # before the first day in UTC
        expected = [todo._replace(updated_at=todo.updated_at.replace(microsecond=0)) for todo in sent]
        assert expected == content(there)


FULL = b"""[{"title": "a"}, {"title": "b", "completed": 2}, {"titel": "c"},
  {"title": "", "deadline_at": "soon"}, 5, null, {"title": "a"}, {"title": "d\\ud800"}]"""
REPORT = """\
-:1: completed must be true or false (it is 2).
-:1: titel is not a known member: send only title, description, completed, deadline_at, id, \
created_at, updated_at, uid (it is 'c').
-:1: title is required: a string of 1 to 80 characters, not all white space, no control characters.
-:2: title must be a string of 1 to 80 characters, not all white space, no control characters (it is '').
-:2: deadline_at must be null or a time such as 2027-01-31T18:00:00, 2027-01-31 or \
2027-01-31T18:00:00+10:00, with at most nine fraction digits, in the years 1 to 9999 (it is 'soon').
-:2: A todo must be a JSON object.
-:2: A todo must be a JSON object.
-:2: The text must not contain lone surrogates (\\ud800 to \\udfff alone).
"""


class TestImport(TransferTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.app = shared_app()

    def take(self, name: str, data: str | bytes, *options: str, status: int = 0) -> Result:
        """Import a file. With status 1, nothing may change."""
        before = content(self.app)
        result = run(self.app, "import", self.file(name, data), *options)
        assert status == result.exit_code, result.output
        if status:
            assert before == content(self.app)
            assert isinstance(result.exception, SystemExit)
        return result

    def titles(self) -> list[str]:
        return [todo.title for todo in content(self.app)]

    def test_invalid_file_reports_every_error_and_imports_nothing(self) -> None:
        result = run(self.app, "import", "-", "--format", "json", text=FULL)
        assert result.exit_code == 1
        refusal = (
            "Error: Nothing was imported, because 6 todos are invalid. "
            "Use --skip-invalid to import the others.\n"
        )
        assert REPORT + refusal == result.stderr
        assert content(self.app) == []

    def test_skip_invalid_imports_the_rest(self) -> None:
        result = run(self.app, "import", "-", "--format", "json", "--skip-invalid", text=FULL)
        assert (result.exit_code, result.stderr) == (0, REPORT)
        assert result.stdout == "Imported 2, skipped 0 duplicates, rejected 6.\n"
        assert self.titles() == ["a", "a"]

    def test_dry_run_reports_the_same_and_changes_nothing(self) -> None:
        result = self.take("a.json", '[{"title": "a"}]', "--dry-run")
        assert result.stdout == "Would import 1, skip 0 duplicates, reject 0.\n"
        assert content(self.app) == []

    def test_equal_todos_are_all_imported_and_not_again(self) -> None:
        for text, taken, here in (("a\na\nb\n", 3, 0), ("a\na\nb\n", 0, 3), ("b\nx a\na\na\n", 1, 3)):
            result = self.take("a.txt", text)
            assert f"Imported {taken}, skipped {here} duplicates, rejected 0.\n" == result.stdout
        assert self.titles() == ["a", "a", "b", "a"]

    def test_deleted_todo_can_be_imported_again(self) -> None:
        self.take("a.txt", "a\n")
        client = self.app.test_client()
        client.delete("/api/v1/todos/1")
        self.take("a.txt", "a\n")
        assert self.titles() == ["a"]
        # Another program may delete a todo and leave its UID.
        fill(self.app, [Stored(uid="u")])
        with self.app.app_context(), db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.execute(delete(TODOS))
            connection.commit()
        self.take("u.json", '{"title": "again", "uid": "u"}')
        assert [(todo.title, todo.uid) for todo in content(self.app)] == [("again", "u")]

    @pytest.mark.parametrize("chosen", ["json", "ics"])
    def test_import_into_another_service_creates_new_todos(self, chosen: str) -> None:
        own = Stored(5, "own")
        other = service()
        fill(other, [Stored(5, "other", created_at=DAY_BEFORE), Stored(7, "kept", uid="kept")])
        fill(self.app, [own])
        exported = run(other, "export", "--format", chosen).stdout_bytes
        for taken in (2, 0):
            result = run(self.app, "import", "--format", chosen, "-", text=exported)
            assert result.stdout.startswith(f"Imported {taken}, "), result.output
        here, *new = content(self.app)
        assert own == here
        for todo, (title, created_at, uid) in zip(
            new,
            (("other", DAY_BEFORE, "20270130T180000.123456Z-5@todo"), ("kept", MOMENT, "kept")),
            strict=True,
        ):
            assert (title, created_at, uid) == (todo.title, todo.created_at, todo.uid)
            assert todo.id > 5
            # Clients that filter by updated_since must find the todos.
            assert abs(utc_now() - todo.updated_at) < timedelta(minutes=5)

    @pytest.mark.parametrize("chosen", ["json", "csv", "ics", "todotxt", "taskwarrior"])
    def test_import_of_own_export_creates_nothing(self, chosen: str) -> None:
        fill(self.app, [Stored(1, "a"), Stored(2, "b", uid="kept")])
        before = content(self.app)
        exported = run(self.app, "export", "--format", chosen).stdout_bytes
        result = run(self.app, "import", "--format", chosen, "-", text=exported)
        assert result.stdout.startswith("Imported 0, skipped 2 "), result.output
        assert before == content(self.app)

    def test_todos_with_the_same_id_are_reported(self) -> None:
        text = "".join(
            f'{{"id": {number}, "title": "{title}", "created_at": "2027-01-{day}"}}\n'
            for number, title, day in ((3, "a", "01"), (3, "b", "02"), (4, "c", "03"))
        )
        self.take("a.json", text)
        assert [(todo.id, todo.title) for todo in content(self.app)] == [(3, "a"), (4, "c"), (5, "b")]

    @pytest.mark.parametrize(
        ("name", "data", "line"),
        [
            ("half.json", '[{"title": "a"},\n{"title": "b', 2),
            ("half.json", '[{"title": "a"},\n{"title": "b"}', 2),
            ("half.json", '[{"title": "a"},\n', 2),
            ("more.json", '[{"title": "a"}]\n[]', 2),
            ("empty.json", "", 1),
            ("text.json", '{"title": "a"}\nBuy milk', 2),
            ("nan.json", '[{"title": "a"}, NaN]', 1),
            ("deep.json", '[{"title": "a"}, ' + "[" * 100_000, 1),
            ("digits.json", '[{"title": "a"},\n' + "9" * 5000 + "]", 2),
            ("long.json", '[{"title": "' + "a" * 3_000_000, 1),
            ("utf-16.json", '[{"title": "a"}]'.encode("utf-16"), 1),
            ("latin-1.csv", "title\na\nKäse\n".encode("latin-1"), 3),
            ("character.txt", b"a\nK\xc3", 2),
            ("half.csv", 'title,description\na,b\nc,"d', 3),
            ("quotes.csv", 'title\n"a"b\n', 2),
            ("other.csv", "name,colour\na,red\n", 1),
            ("twice.csv", "title,deadline_at,deadline_at\na,,\n", 1),
            ("empty.csv", "", 1),
            ("long.csv", "title\n" + "a" * 3_000_000, 2),
            ("quoted.csv", 'title\n"' + "a\n" * 600_000, 2),
            ("columns.csv", "title" + ",a" * 1000, 1),
            ("due.csv", "title,due\na,2027-01-31\n", 1),
            ("long.txt", "a\n" + "a" * 3_000_000, 2),
            ("half.ics", ICS, 4),
            ("half.ics", ICS + "END:VCALENDAR\r\nBEGIN:VCALENDAR\r\nBEGIN:VTODO\r\n", 7),
            ("deep.ics", ICS + "BEGIN:A\r\n" * 300_000, 36),
            ("text.ics", ICS + "Buy milk\r\n", 5),
            ("text.ics", "Buy milk\r\n", 1),
            ("empty.ics", "", 1),
            ("folded.ics", ICS + "X-A:a" + "\r\n aaaaaaaaa" * 200_000, 5),
        ],
        ids=label,
    )
    def test_unreadable_file_imports_nothing(self, name: str, data: str | bytes, line: int) -> None:
        path = self.folder / name
        result = self.take(name, data, "--skip-invalid", status=1)
        assert f"Error: {path}:{line}: " in result.stderr
        assert result.stderr.endswith(" Nothing was imported.\n"), result.stderr

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            (("todos.doc",), 2, "The format of"),
            (("absent.json",), 1, "absent.json: No such file or directory."),
            ((".", "--format", "json"), 1, "Is a directory."),
        ],
        ids=label,
    )
    def test_file_of_another_format_is_rejected(self, arguments: Any, status: int, message: str) -> None:
        result = run(self.app, "import", *arguments)
        assert status == result.exit_code, result.output
        assert message in result.output

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("bom.csv", b"\xef\xbb\xbftitle\r\na\r\n"),
            ("lf.csv", b"title\na"),
            ("bom.json", b'\xef\xbb\xbf[{"title": "a"}]'),
            (
                "bom.ics",
                "\ufeffBEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\nEND:VTODO\n\nEND:VCALENDAR\n\n",
            ),
            ("bom.txt", b"\xef\xbb\xbfa\r\n\r\n"),
        ],
        ids=label,
    )
    def test_byte_order_marks_and_line_ends_are_accepted(self, name: str, data: bytes | str) -> None:
        fill(self.app, [])
        self.take(name, data)
        assert self.titles() == ["a"]

    def test_locked_database_is_reported(self) -> None:
        database = self.folder / "db.sqlite"
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}", "BUSY_TIMEOUT": 1})
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            result = run(app, "import", "--format", "todotxt", "-", text=b"a\n")
            assert (result.exit_code, result.stderr) == (
                1,
                "Error: The database cannot be used: database is locked.\n",
            )
            other.execute("ROLLBACK")
        assert run(app, "import", "--format", "todotxt", "-", text=b"a\n").exit_code == 0


class TestOnATerminal(TransferTest):
    """Commands in new processes, unlike the other tests."""

    def test_terminal_shows_progress_and_report(self) -> None:
        lines = "".join(f"{'x' * (80 if i else 81)} due:2027-01-31\n" for i in range(300))
        place = f"sqlite:///{self.folder}/db.sqlite"
        child = pexpect.spawn(
            sys.executable,
            ["-m", "flask", "--app", "todo", "import", "--skip-invalid", str(self.file("todos.txt", lines))],
            env=environment(TODO_SQLALCHEMY_DATABASE_URI=place, TERM="xterm"),
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        child.expect(pexpect.EOF)
        child.close()
        shown = str(child.before)
        assert child.exitstatus == 0, shown
        assert "Read" in shown
        assert "100%" in shown
        assert re.search(r"todos\.txt:1: title must be a string of 1 to 80 characters", shown)
        assert "Imported 299, skipped 0 duplicates, rejected 1." in shown


class TestExport(TransferTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.app = shared_app()
        fill(self.app, [Stored(id=number, title=f"Todo {number}") for number in range(1, 2502)])

    def test_export_of_many_chunks_is_complete(self) -> None:
        path = self.folder / "todos.json"
        result = run(self.app, "export", path)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Todos: 2501.\n")
        todos = self.app.test_client().get("/api/v1/todos").json
        assert todos == json.loads(path.read_bytes())
        assert path.read_bytes() == run(self.app, "export").stdout_bytes
        assert [path] == list(self.folder.iterdir())

    @pytest.mark.parametrize(
        ("name", "lacks"),
        [("a.csv", "CSV stores an empty description as null"), ("a.txt", "todo.txt has no description")],
    )
    def test_lost_members_are_reported(self, name: str, lacks: str) -> None:
        assert lacks in run(self.app, "export", self.folder / name).stderr

    def test_unwritable_file_is_reported(self) -> None:
        for path in (self.folder / "absent" / "todos.json", Path("/dev/full")):
            result = run(self.app, "export", "--format", "json", path)
            assert result.exit_code == 1
            assert re.search(r"Error: .+: (No such file|No space left).*\.\n", result.stderr)
