"""Accepted, rejected and reported content of `import`, in all formats."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.support.transfers import Stored, content, fill, run, service

UUID = "0c1a2d6e-1111-4222-8333-123456789abc"
LARGEST_ID = 2**53 - 1 - 10**6


@pytest.fixture
def app() -> Flask:
    return service("Europe/Berlin")


def load(app: Flask, chosen: str, data: str | bytes, *options: str) -> Result:
    text = data.encode() if isinstance(data, str) else data
    return run(app, "import", "--format", chosen, "-", *options, text=text)


def test_largest_id_is_imported_and_leaves_room_for_others(app: Flask) -> None:
    assert load(app, "json", f'[{{"title": "a", "id": {LARGEST_ID}}}]').exit_code == 0
    created = app.test_client().post("/api/v1/todos", json={"title": "b"})
    assert created.get_json()["id"] == LARGEST_ID + 1


def test_lone_surrogate_in_a_uid_is_rejected(app: Flask) -> None:
    result = load(app, "json", '[{"title": "a", "uid": "\\ud800"}]')
    assert (result.exit_code, "-:1: The text must not contain lone surrogates" in result.stderr) == (1, True)


@pytest.mark.parametrize("todo_id", [LARGEST_ID + 1, 2**53 - 1, 2**63 - 1, 0, -1])
@pytest.mark.parametrize("chosen", ["json", "csv", "ics", "todotxt", "taskwarrior"])
def test_id_out_of_range_is_rejected(app: Flask, chosen: str, todo_id: int) -> None:
    uid = f"20270131T180000.000000Z-{todo_id}@todo"
    data = {
        "json": json.dumps([{"title": "a", "id": todo_id}]),
        "csv": f"title,id\na,{todo_id}\n",
        "ics": f"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\nUID:{uid}\nEND:VTODO\nEND:VCALENDAR\n",
        "todotxt": f"a uid:{uid}\n",
        "taskwarrior": json.dumps([{"description": "a", "todouid": uid}]),
    }[chosen]
    result = load(app, chosen, data)
    assert result.exit_code == 1
    assert f"id must be a whole number from 1 to {LARGEST_ID} (it is {todo_id})." in result.stderr
    assert content(app) == []


TWICE = {
    "ics": (
        "BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:u\nSUMMARY:a\nEND:VTODO\n"
        "BEGIN:VTODO\nUID:u\nSUMMARY:{}\nEND:VTODO\nEND:VCALENDAR\n",
        2,
        6,
    ),
    "json": ('[{{"title": "a", "uid": "u"}},\n{{"title": "{}", "uid": "u"}}]', 1, 2),
    "todotxt": ("a uid:u\n{} uid:u\n", 1, 2),
    "csv": ("title,id,created_at\na,1,2027-01-31\n{},1,2027-01-31\n", 2, 3),
    "taskwarrior": (
        f'[{{{{"description": "a", "uuid": "{UUID}"}}}},\n{{{{"description": "{{}}", "uuid": "{UUID}"}}}}]',
        1,
        2,
    ),
}


@pytest.mark.parametrize(("chosen", "file"), TWICE.items(), ids=TWICE)
def test_todos_with_the_same_uid_are_reported(app: Flask, chosen: str, file: tuple[str, int, int]) -> None:
    text, first, second = file
    result = load(app, chosen, text.format("b"))
    assert result.exit_code == 1
    assert f"-:{second}: The todo has the same UID as the todo at line {first} (" in result.stderr
    assert content(app) == []
    assert load(app, chosen, text.format("b"), "--skip-invalid").stdout == (
        "Imported 1, skipped 0 duplicates, rejected 1.\n"
    )
    fill(app, [])
    assert load(app, chosen, text.format("a")).stdout == "Imported 1, skipped 1 duplicates, rejected 0.\n"


DAYS = {
    "json": '[{"title": "a", "deadline_at": "2027-01-31"}]',
    "csv": "title,deadline_at\na,31.1.2027\n",
    "ics": "BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\nDUE;VALUE=DATE:20270131\nEND:VTODO\nEND:VCALENDAR\n",
    "todotxt": "a due:2027-01-31\n",
    "taskwarrior": '[{"description": "a", "due": "20270131"}]',
}
MIDNIGHTS = {
    "json": '[{"title": "a", "deadline_at": "2027-01-31T00:00"}]',
    "csv": "title,deadline_at\na,31.1.2027 00:00\n",
    "ics": "BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\nDUE:20270131T000000\nEND:VTODO\nEND:VCALENDAR\n",
    "todotxt": "a due:2027-01-31T00:00\n",
    "taskwarrior": '[{"description": "a", "due": "20270130T230000Z"}]',
}


@pytest.mark.parametrize(("chosen", "data"), DAYS.items(), ids=DAYS)
def test_date_without_a_time_is_imported_as_the_end_of_the_day(app: Flask, chosen: str, data: str) -> None:
    assert load(app, chosen, data).exit_code == 0
    assert [todo.deadline_at for todo in content(app)] == [datetime(2027, 1, 31, 23, 59, 59)]


@pytest.mark.parametrize(("chosen", "data"), MIDNIGHTS.items(), ids=MIDNIGHTS)
def test_midnight_with_a_time_stays_midnight(app: Flask, chosen: str, data: str) -> None:
    assert load(app, chosen, data).exit_code == 0
    assert [todo.deadline_at for todo in content(app)] == [datetime(2027, 1, 31)]


def test_end_of_day_is_exported_as_a_day(app: Flask) -> None:
    fill(
        app,
        [
            Stored(1, "day", deadline_at=datetime(2027, 1, 31, 23, 59, 59)),
            Stored(2, "midnight", deadline_at=datetime(2027, 1, 31)),
            Stored(3, "fraction", deadline_at=datetime(2027, 1, 31, 23, 59, 59, 1)),
        ],
    )
    tasks, events = (
        [
            line
            for line in app.test_client().get(f"/api/v1/todos.ics{query}").text.splitlines()
            if line.startswith(("DUE", "DTSTART;", "DURATION"))
        ]
        for query in ("", "?as=event")
    )
    assert tasks == [
        "DUE;VALUE=DATE:20270131",
        "DUE;TZID=Europe/Berlin:20270131T000000",
        "DUE;TZID=Europe/Berlin;X-MICROSECOND=000001:20270131T235959",
    ]
    assert events[:3] == [
        "DTSTART;VALUE=DATE:20270131",
        "DTSTART;TZID=Europe/Berlin:20270131T000000",
        "DURATION:PT0S",
    ]
    assert " due:2027-01-31 uid:" in run(app, "export", "--format", "todotxt").stdout


@pytest.mark.parametrize("status", ['"status": "pending"', '"status": "waiting"', '"x": 1'])
def test_taskwarrior_format_reads_tasks_without_uuid(app: Flask, status: str) -> None:
    data = f'[{{"description": "Buy milk", "due": "20270131T180000Z", {status}}}]'
    assert load(app, "taskwarrior", data).stdout == "Imported 1, skipped 0 duplicates, rejected 0.\n"
    assert load(app, "taskwarrior", data).stdout == "Imported 0, skipped 1 duplicates, rejected 0.\n"
    (todo,) = content(app)
    assert (todo.title, todo.deadline_at) == ("Buy milk", datetime(2027, 1, 31, 19))


def test_json_format_rejects_tasks(app: Flask, tmp_path: Path) -> None:
    data = f'[{{"description": "a", "uuid": "{UUID}", "status": "pending"}}]'
    assert "uuid is not a known member" in load(app, "json", data).stderr
    path = tmp_path / "tasks.json"
    path.write_text(data)
    assert run(app, "import", path).stdout == "Imported 1, skipped 0 duplicates, rejected 0.\n"


@pytest.mark.parametrize("status", ['"paused"', '["pending"]', "{}", "null", "1"])
def test_unknown_task_status_is_rejected(app: Flask, status: str) -> None:
    result = load(app, "taskwarrior", f'[{{"description": "a", "uuid": "{UUID}", "status": {status}}}]')
    assert (result.exit_code, "completed must be true or false" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "notes", ['[{"entry": "20270131T180000Z"}]', '["a note"]', "[null]", '[{"description": 1}]']
)
def test_annotation_without_a_description_is_rejected(app: Flask, notes: str) -> None:
    task = f'{{"description": "a", "uuid": "{UUID}", "status": "pending", "annotations": {notes}}}'
    result = load(app, "taskwarrior", f"[{task}]")
    assert (result.exit_code, "annotations must be a list" in result.stderr) == (1, True)


FILES = {
    "todos.jsonl": '{"title": "a"}\n{"title": "b"}\n',
    "todos.ndjson": '{"title": "a"}\n{"title": "b"}\n',
    "todos.JSONL": '{"title": "a"}\n{"title": "b"}\n',
    "todos.vcs": "BEGIN:VCALENDAR\nVERSION:1.0\n"
    + "".join(f"BEGIN:VTODO\nSUMMARY:{title}\nEND:VTODO\n" for title in "ab")
    + "END:VCALENDAR\n",
    "todos.tsv": "title\tid\na\t1\nb\t2\n",
}


@pytest.mark.parametrize(("name", "data"), FILES.items(), ids=FILES)
def test_file_extension_selects_the_format(app: Flask, tmp_path: Path, name: str, data: str) -> None:
    (tmp_path / name).write_text(data)
    assert run(app, "import", tmp_path / name).exit_code == 0
    assert [todo.title for todo in content(app)] == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    ["true", "false", "1", "0", '"true"', '"0"', '" TRUE "', '"f"'],
    ids=lambda value: f"json {value}",
)
def test_boolean_of_a_json_file_is_read(app: Flask, value: str) -> None:
    assert load(app, "json", f'[{{"title": "a", "completed": {value}}}]').exit_code == 0
    assert content(app)[0].completed == (json.loads(value) in {True, "true", " TRUE "})


@pytest.mark.parametrize("value", ["2", "1.5", '""', '"maybe"', "null", "[]"])
def test_other_boolean_of_a_json_file_is_rejected(app: Flask, value: str) -> None:
    assert load(app, "json", f'[{{"title": "a", "completed": {value}}}]').exit_code == 1


ESCAPE = "\x1b[31m\u202e"
PRINTED = {
    "a column": ("csv", f"title,{ESCAPE}\na,b\n"),
    "columns without a title": ("csv", f"x,{ESCAPE}\na,b\n"),
    "a cell": ("csv", f"title,completed\na,{ESCAPE}\n"),
    "a date": ("csv", f"title,deadline_at\na,{ESCAPE}\n"),
    "a zone": ("csv", f"title,deadline_at,timezone\na,2027-01-31 18:00,{ESCAPE}\n"),
    "a member": ("json", json.dumps([{"title": "a", ESCAPE: 1}])),
    "half of a surrogate pair": ("json", '[{"title": "a", "\\ud800": 1}]'),
    "an attribute": ("taskwarrior", json.dumps([{"description": "a", ESCAPE: 1}])),
    "a status": ("taskwarrior", json.dumps([{"description": "a", "status": ESCAPE}])),
    "a property": (
        "ics",
        f"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\n{ESCAPE}:b\nEND:VTODO\nEND:VCALENDAR\n",
    ),
    "a component": ("ics", f"BEGIN:VCALENDAR\nBEGIN:{ESCAPE}\nEND:{ESCAPE}\nEND:VCALENDAR\n"),
    "a TZID": (
        "ics",
        f"BEGIN:VCALENDAR\nBEGIN:VTODO\nDUE;TZID={ESCAPE}:20270131T180000\nEND:VTODO\nEND:VCALENDAR\n",
    ),
    "an encoding": (
        "ics",
        f"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY;ENCODING={ESCAPE}:a\nEND:VTODO\nEND:VCALENDAR\n",
    ),
    "a UID": ("json", f'[{{"title": "a", "uid": "{ESCAPE[-1]}"}}, {{"title": "b", "uid": "{ESCAPE[-1]}"}}]'),
}


@pytest.mark.parametrize(("chosen", "data"), PRINTED.values(), ids=PRINTED)
def test_report_is_printable(app: Flask, chosen: str, data: str) -> None:
    result = load(app, chosen, data)
    assert result.stderr
    assert all(c.isprintable() or c == "\n" for c in result.stderr)


def test_file_name_in_messages_is_printable(app: Flask, tmp_path: Path) -> None:
    for name in (f"{ESCAPE}.csv", f"{ESCAPE}.odt"):
        (tmp_path / name).write_text("title,x\na,b\n")
        assert all(c.isprintable() or c == "\n" for c in run(app, "import", tmp_path / name).stderr)


def test_report_is_bounded(app: Flask) -> None:
    result = load(app, "json", "\n".join(['{"title": ""}'] * 3000), "--skip-invalid")
    assert result.stdout == "Imported 0, skipped 0 duplicates, rejected 3000.\n"
    assert "Only the first 1000 problems are shown." in result.stderr
    assert len(result.stderr.splitlines()) == 1001
    result = load(app, "json", json.dumps([{"title": "a", **dict.fromkeys(map(str, range(9999)))}]))
    assert len(result.stderr.splitlines()) == 21
    result = load(
        app, "taskwarrior", json.dumps([{"description": "a", **dict.fromkeys(map(str, range(9999)))}])
    )
    assert len(result.stderr.splitlines()) == 101
