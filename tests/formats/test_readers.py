"""Other programs read exported files, and the service imports their files.

These programs start slowly, so only `make readers` runs these tests.
"""

import csv
import json
import os
import shutil
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support.cases import Prepared
from tests.support.server import Server
from tests.support.transfers import Stored, content, fill, run, service
from todo.client import TODOS

ZONE = "Europe/Berlin"
PATIENCE = 120  # seconds, for a spreadsheet on a busy machine
# The folder of programs that `make readers` installs. Other programs belong to the system.
READERS = os.environ.get("READERS")
KHAL = """
[calendars]
[[todos]]
path = {folder}/events
[locale]
local_timezone = Europe/Berlin
default_timezone = Europe/Berlin
timeformat = %H:%M
dateformat = %Y-%m-%d
longdateformat = %Y-%m-%d
datetimeformat = %Y-%m-%d %H:%M
longdatetimeformat = %Y-%m-%d %H:%M
[sqlite]
path = {folder}/khal.db
"""
VDIRSYNCER = """
[general]
status_path = "{folder}/status"
[pair {name}]
a = "remote_{name}"
b = "local_{name}"
collections = null
[storage remote_{name}]
type = "http"
url = "{url}"
[storage local_{name}]
type = "filesystem"
path = "{folder}/{name}"
fileext = ".ics"
"""
SENT = [
    Stored(1, "Käse, Brot; und \\ Milch", "two\nlines", deadline_at=datetime(2027, 7, 1, 12)),
    Stored(2, "=1+1", completed=True),
    Stored(3, "Zoë's \U0001f95b", deadline_at=datetime(2027, 1, 31)),
]


@pytest.mark.skipif(not READERS, reason="make readers installs what this takes")
class ReaderTest(Prepared):
    def setup_method(self) -> None:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.app = service(ZONE)
        fill(self.app, SENT)

    def find(self, name: str) -> str:
        """Return the path of a program. Fails if the program is not installed."""
        path = shutil.which(name, path=f"{READERS}{os.pathsep}{os.environ['PATH']}")
        if path is None:
            pytest.fail(f"{name} is not installed")
        return path

    def call(self, *command: str | Path, answer: str = "", **variables: str) -> str:
        """Run a program, and return its output."""
        done = subprocess.run(
            command,
            env=os.environ | {"HOME": str(self.folder), "TZ": ZONE} | variables,
            input=answer,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def take(self, *arguments: str | Path) -> list[Stored]:
        """Import into an empty service, and return the todos."""
        there = service(ZONE)
        result = run(there, "import", *arguments)
        assert result.exit_code == 0, result.output
        return content(there)


class TestCalendars(ReaderTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.server = self.stack.enter_context(Server(TODO_WORKERS="1", TODO_TIMEZONE=ZONE))
        for todo in SENT:
            body = {"title": todo.title, "description": todo.description, "completed": todo.completed}
            deadline = todo.deadline_at.isoformat() if todo.deadline_at else None
            self.server.request("POST", TODOS, body | {"deadline_at": deadline})

    def subscribe(self, name: str, query: str) -> None:
        """Download the feed with vdirsyncer into a folder."""
        config = self.folder / f"{name}.conf"
        url = f"{self.server.url}{TODOS}.ics{query}"
        config.write_text(VDIRSYNCER.format(folder=self.folder, name=name, url=url))
        (self.folder / name).mkdir()
        for command in ("discover", "sync"):
            self.call(self.find("vdirsyncer"), "-c", config, command, answer="y\n")

    def test_calendar_programs_read_tasks(self) -> None:
        self.subscribe("tasks", "")
        config = self.folder / "todoman.py"
        config.write_text(f'path = "{self.folder}/tasks"\ncache_path = "{self.folder}/cache"\n')
        listed = self.call(
            self.find("todo"), "--porcelain", "list", "--status", "ANY", TODOMAN_CONFIG=str(config)
        )
        members = ("summary", "description", "completed", "due")
        found = {tuple(task[member] for member in members) for task in json.loads(listed)}
        expected = {
            (
                todo.title,
                todo.description or "",
                todo.completed,
                todo.deadline_at and todo.deadline_at.replace(tzinfo=ZoneInfo(ZONE)).timestamp(),
            )
            for todo in SENT
        }
        assert expected == found

    def test_calendar_programs_read_events(self) -> None:
        self.subscribe("events", "?as=event&completed=false")
        config = self.folder / "khal.conf"
        config.write_text(KHAL.format(folder=self.folder))
        arguments = ("list", "--day-format", "", "--format", "{start}|{end}|{title}", "2027-01-01", "365d")
        listed = self.call(self.find("khal"), "-c", config, *arguments)
        assert [
            f"{todo.deadline_at:%Y-%m-%d %H:%M}|{todo.deadline_at:%Y-%m-%d %H:%M}|{todo.title}"
            for todo in (SENT[2], SENT[0])
        ] == [line for line in listed.splitlines() if line]


class TestTaskwarrior(ReaderTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.task = self.find("task")
        rc = self.folder / "taskrc"
        rc.write_text(f"data.location={self.folder}/task\nconfirmation=off\nverbose=nothing\n")
        self.variables = {"TASKRC": str(rc)}

    def test_taskwarrior_round_trips(self) -> None:
        path = self.folder / "todos.json"
        run(self.app, "export", "--format", "taskwarrior", path)
        self.call(self.task, "import", path, **self.variables)
        path.write_text(self.call(self.task, "export", **self.variables))
        whole = [todo._replace(updated_at=todo.updated_at.replace(microsecond=0)) for todo in SENT]
        assert whole == self.take("--format", "taskwarrior", path)
        again = run(self.app, "import", "--format", "taskwarrior", path)
        assert again.stdout == "Imported 0, skipped 3 duplicates, rejected 0.\n"

    def test_taskwarrior_tasks_are_imported(self) -> None:
        self.call(self.task, "add", "Pay rent", "due:2027-02-01T12:00", "project:Home", **self.variables)
        self.call(self.task, "1", "annotate", "to the landlord", **self.variables)
        self.call(self.task, "add", "Done", **self.variables)
        self.call(self.task, "2", "done", **self.variables)
        path = self.folder / "tasks.json"
        path.write_text(self.call(self.task, "export", **self.variables))
        assert {
            ("Pay rent", "to the landlord", False, datetime(2027, 2, 1, 12)),
            ("Done", None, True, None),
        } == {todo[1:5] for todo in self.take(path)}


class TestSpreadsheet(ReaderTest):
    def convert(self, path: Path, kind: str, *options: str) -> Path:
        profile = f"-env:UserInstallation=file://{self.folder}/profile"
        where = ("--convert-to", kind, "--outdir", self.folder / "out")
        self.call(self.find("soffice"), "--headless", profile, *options, *where, path)
        return self.folder / "out" / f"{path.stem}.{kind.partition(':')[0]}"

    def test_spreadsheet_round_trips_the_csv(self) -> None:
        path = self.folder / "todos.csv"
        run(self.app, "export", path)
        # Options of LibreOffice: commas, quotes, UTF-8, and detection of numbers and times.
        sheet = self.convert(path, "ods", "--infilter=CSV:44,34,76,1,,1033,false,true")
        table = self.convert(sheet, "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false")
        assert self.take(table) == SENT
        with table.open(newline="") as rows:
            assert [row["title"] for row in csv.DictReader(rows)][1] == "'=1+1"
