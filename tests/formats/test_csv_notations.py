"""CSV notations of other programs, by program."""

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transfers import content, run, service
from todo.formats import Entry, ParseError
from todo.formats.csv import _defuse, _text, read


def read_one(text: str, day_first: bool | None = None) -> Entry:
    (entry,) = read([text], day_first=day_first)
    return entry


BOOLEANS = {
    "sqlite3 -csv": ("1", "0"),
    "PostgreSQL": ("t", "f"),
    "Excel, in English": ("TRUE", "FALSE"),
    "Excel, in German": ("WAHR", "FALSCH"),
    "Excel, in French": ("VRAI", "FAUX"),
    "Excel, in Spanish": ("VERDADERO", "FALSO"),
    "Excel, in Portuguese": ("VERDADEIRO", "FALSO"),
    "Excel, in Italian": ("VERO", "FALSO"),
    "Excel, in Dutch": ("WAAR", "ONWAAR"),
    "Excel, in Swedish": ("SANT", "FALSKT"),
    "Excel, in Danish": ("SAND", "FALSK"),
    "Excel, in Norwegian": ("SANN", "USANN"),
    "Excel, in Finnish": ("TOSI", "EPÄTOSI"),
    "Excel, in Polish": ("PRAWDA", "FAŁSZ"),
    "Excel, in Czech": ("PRAVDA", "NEPRAVDA"),
    "Excel, in Hungarian": ("IGAZ", "HAMIS"),
    "Excel, in Romanian": ("ADEVĂRAT", "FALS"),
    "Excel, in Russian": ("ИСТИНА", "ЛОЖЬ"),
    "Excel, in Ukrainian": ("ІСТИНА", "ХИБНІСТЬ"),
    "Excel, in Turkish": ("DOĞRU", "YANLIŞ"),
    "Python": ("True", "False"),
    "people": ("yes", "No"),
    "short": ("y", "N"),
    "spaces": (" true ", " false "),
    "Airtable": ("checked", "unchecked"),
    "check marks": ("✓", "☐"),
    "Outlook": ("Completed", "Not Started"),
}


@pytest.mark.parametrize(("true", "false"), BOOLEANS.values(), ids=BOOLEANS)
def test_boolean_is_read(true: str, false: str) -> None:
    done, open_ = read([f"title,completed\na,{true}\nb,{false}\n"])
    assert (done.values, open_.values) == (
        {"title": "a", "completed": True},
        {"title": "b", "completed": False},
    )


DATES = {
    "Windows in the Netherlands": ("31-1-2027", "2027-01-31"),
    "Windows in Denmark": ("31-01-2027 18.30", "2027-01-31T18:30"),
    "Windows in Germany": ("31.01.2027 18:30:15", "2027-01-31T18:30:15"),
    "Windows in Germany, early": ("1.2.2027", "2027-02-01"),
    "Windows in Czechia": ("31. 1. 2027", "2027-01-31"),
    "Windows in Croatia": ("31.1.2027.", "2027-01-31"),
    "Windows in Finland": ("1.2.2027 8.05", "2027-02-01T08:05"),
    "Windows in Hungary": ("2027. 01. 31.", "2027-01-31"),
    "Windows in Japan": ("2027/01/31 18:30", "2027-01-31T18:30"),
    "Windows in China": ("2027/1/31", "2027-01-31"),
    "Windows in South Africa": ("2027/02/01", "2027-02-01"),
    "Windows in the United States": ("1/31/2027 6:30 PM", "2027-01-31T18:30"),
    "macOS, with a narrow space": ("1/31/2027 6:30\u202fPM", "2027-01-31T18:30"),
    "Windows in Mexico": ("31/01/2027 06:30 p. m.", "2027-01-31T18:30"),
    "Windows in the United Kingdom": ("31/01/2027", "2027-01-31"),
    "Todoist": ("Jan 31 2027", "2027-01-31"),
    "Todoist, with a time": ("31 Jan 2027 18:30", "2027-01-31T18:30"),
    "Todoist, in words": ("31 January 2027 at 6pm", "2027-01-31T18:00"),
    "English": ("January 31st, 2027", "2027-01-31"),
    "Oracle": ("31-JAN-2027", "2027-01-31"),
    "one digit": ("2027-1-5 9:05", "2027-01-05T09:05"),
    "midnight": ("1/31/2027 12:00 AM", "2027-01-31T00:00"),
    "noon": ("1/31/2027 12:00 PM", "2027-01-31T12:00"),
    "the same day and month": ("3/3/2027", "2027-03-03"),
    "SQL Server's datetimeoffset": (
        "2027-01-31 18:30:00.1234567 +01:00",
        "2027-01-31 18:30:00.1234567 +01:00",
    ),
    "Ruby and Git": ("2027-01-31 18:30:00 +0100", "2027-01-31 18:30:00 +0100"),
    "Ruby in UTC": ("2027-01-31 18:30:00 UTC", "2027-01-31 18:30:00 UTC"),
    "Excel's long date": ("Sunday, January 31, 2027", "2027-01-31"),
    "Windows' long date in the United Kingdom": ("Sunday, 31 January 2027", "2027-01-31"),
    "a short day of the week": ("Sun 31.1.2027", "2027-01-31"),
    "Email (RFC 5322)": ("Sun, 31 Jan 2027 18:30:00 +0100", "2027-01-31T18:30:00+0100"),
    "HTTP (RFC 9110)": ("Sun, 31 Jan 2027 18:30:00 GMT", "2027-01-31T18:30:00Z"),
    "SQLite": ("2027-01-31 18:30:00.000000", "2027-01-31 18:30:00.000000"),
    "iCalendar": ("20270131T183000Z", "20270131T183000Z"),
    "spaces around": (" 2027-01-31 ", "2027-01-31"),
}


@pytest.mark.parametrize(("cell", "expected"), DATES.values(), ids=DATES)
def test_unambiguous_date_is_read(cell: str, expected: str) -> None:
    for day_first in (None, True, False):
        entry = read_one(f'title,deadline_at\na,"{cell}"\n', day_first)
        assert (entry.error, entry.values) == ("", {"title": "a", "deadline_at": expected})


@pytest.mark.parametrize("cell", ["1/2/2027", "1-2-2027", "01/02/2027 18:30"])
def test_ambiguous_date_needs_an_option(cell: str) -> None:
    table = f"title,deadline_at\na,{cell}\n"
    assert "is ambiguous. Use --day-first or --month-first." in read_one(table).error
    for day_first, day in ((True, "2027-02-01"), (False, "2027-01-02")):
        assert str((read_one(table, day_first).values or {})["deadline_at"]).startswith(day)


@pytest.mark.parametrize(
    "cell",
    [
        "31/1/27",
        "31.1.27",
        "Jan 31",
        "31/31/2027",
        "31 Foo 2027",
        "13:00 PM 1/31/2027",
        "1/31/2027 13:00 PM",
        "1/31/2027 0:30 AM",
        "29.2.2027",
        "2027-W04-7",
        "2027-031",
        "31.1.2027 24:00",
        "tomorrow",
        "31-1/2027",
        "Monday, January 31, 2027",
        "Sun 30 Feb 2027",
        "Thunday 31 Jan 2027",
    ],
)
def test_unsupported_date_is_returned_unchanged(cell: str) -> None:
    assert read_one(f'title,deadline_at\na,"{cell}"\n') == Entry(2, {"title": "a", "deadline_at": cell})


A, B = {"title": "a"}, {"title": "b"}
TABLES: dict[str, tuple[str, list[Entry]]] = {
    "Outlook leaves out cells at the end": (
        "Subject,Start Date,Due Date,Status\r\na\r\n",
        [Entry(2, A)],
    ),
    "Excel fills rows with empty cells": ("title\r\na,,\r\n", [Entry(2, A)]),
    "Excel keeps blank rows": ("title,completed\n,\n\n  ,\na,1\n", [Entry(5, A | {"completed": True})]),
    "blank rows before the header": ("\n \ntitle\na\n", [Entry(4, A)]),
    "an empty row of a spreadsheet before the header": (
        ',,\n"",""\ntitle,id\na,1\n',
        [Entry(4, A | {"id": 1})],
    ),
    "Outlook without Status": (
        "Subject,% Complete,Date Completed\na,100%,\nb,50 %,\na,,12/20/2026\nb,,\n",
        [
            Entry(2, A | {"completed": True}),
            Entry(3, B | {"completed": False}),
            Entry(4, A | {"completed": True}),
            Entry(5, B),
        ],
    ),
    "Outlook with Status": (
        "Subject,Status,% Complete\na,Completed,100%\nb,In Progress,100%\n",
        [Entry(2, A | {"completed": True}), Entry(3, B | {"completed": False})],
    ),
    "Asana, saved by Excel": (
        "Task ID,Name,Completed At\n1,a,20.12.2026 18:00\n2,b,\n",
        [Entry(2, A | {"completed": True}), Entry(3, B)],
    ),
    "a zone in a column with a space": (
        "title,deadline_at,Time Zone\na,2027-01-31 18:00,Asia/Kolkata\n",
        [Entry(2, A | {"deadline_at": "2027-01-31T12:30:00+00:00"})],
    ),
    "a column about a person": ("title,Created By\na,Ann\n", [Entry(2, A, ("Created By",))]),
    "Excel's sep=": ("sep=;\r\ntitle;id\r\na;1\r\n", [Entry(3, A | {"id": 1})]),
    "Excel's sep= with a bar": ("SEP=|\ntitle|id\na|1\n", [Entry(3, A | {"id": 1})]),
    "a delimiter within quotes": (
        '"a,b,c,d";title\n1;a\n',
        [Entry(2, A, ("a,b,c,d",))],
    ),
    "spaces around quotes": (
        '"title" , "description"\n "a" , "x, ""y"" "\n',
        [Entry(2, A | {"description": 'x, "y" '})],
    ),
    "spaces in a cell without quotes": ("title,id\n a b ,1\n", [Entry(2, {"title": " a b ", "id": 1})]),
    "tabs": ('title\tdescription\na\t"x\ty"\n', [Entry(2, A | {"description": "x\ty"})]),
    "a newline in quotes": (
        'title,id\n"a\r\nb",1\nb,2\n',
        [Entry(2, {"title": "a\r\nb", "id": 1}), Entry(4, B | {"id": 2})],
    ),
    "quotes within a cell": ('title\n5" pipe\n', [Entry(2, {"title": '5" pipe'})]),
    "no newline at the end": ('title\n"a"', [Entry(2, A)]),
    "Todoist, in another zone": (
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2027-01-31 18:00,America/New_York\n",
        [Entry(2, A | {"deadline_at": "2027-01-31T23:00:00+00:00"})],
    ),
    "Todoist, an offset for a zone": (
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2027-01-31 18:00,GMT +5:30\n",
        [Entry(2, A | {"deadline_at": "2027-01-31T12:30:00+00:00"})],
    ),
    "Todoist, a day in another zone": (
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2027-01-31,America/New_York\n",
        [Entry(2, A | {"deadline_at": "2027-01-31"})],
    ),
    "Todoist, an unknown zone": (
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2027-01-31 18:00,Mars\n",
        [
            Entry(
                2,
                A | {"deadline_at": "2027-01-31 18:00"},
                error="The time zone Mars is unknown. Use a name such as Europe/Berlin.",
            )
        ],
    ),
    "Todoist, DATE and DEADLINE": (
        "CONTENT,DEADLINE,DATE\na,2027-02-01,2027-01-31\nb,,2027-01-31\n",
        [Entry(2, A | {"deadline_at": "2027-02-01"}, ("DATE",)), Entry(3, B | {"deadline_at": "2027-01-31"})],
    ),
    "Todoist, DATE before DEADLINE": (
        "CONTENT,DATE,DEADLINE\na,2027-01-31,2027-02-01\n",
        [Entry(2, A | {"deadline_at": "2027-02-01"}, ("DATE",))],
    ),
    "Todoist, a repeated DATE and a DEADLINE": (
        "CONTENT,DATE,DEADLINE\na,every day,2027-02-01\n",
        [Entry(2, A | {"deadline_at": "2027-02-01"}, ("DATE",))],
    ),
    "Asana": (
        "Task ID,Created At,Completed At,Last Modified,Name,Assignee,Due Date,Notes\n"
        "1,2026-12-01,,2026-12-02,a,Ann,2027-01-31,Two litres\n"
        "2,2026-12-01,2026-12-03,2026-12-03,b,,,\n",
        [
            Entry(
                2,
                A
                | {"description": "Two litres", "deadline_at": "2027-01-31"}
                | {"created_at": "2026-12-01", "updated_at": "2026-12-02"},
                ("Assignee",),
            ),
            Entry(3, B | {"completed": True, "created_at": "2026-12-01", "updated_at": "2026-12-03"}),
        ],
    ),
    "Trello": (
        "Card ID,Card Name,Card Description,Due Date,Last Activity Date,List Name,Due Complete\n"
        "5f,a,,2027-01-31T18:00:00.000Z,2026-12-24T10:00:00.000Z,To do,true\n",
        [
            Entry(
                2,
                A
                | {"completed": True, "deadline_at": "2027-01-31T18:00:00.000Z"}
                | {"updated_at": "2026-12-24T10:00:00.000Z"},
                ("List Name",),
            )
        ],
    ),
    "a description of white space": (
        "title,description\na, \nb,\n",
        [Entry(2, A | {"description": " "}), Entry(3, B)],
    ),
    "names with spaces or in camel case": (
        "Title,Deadline at,createdAt\na,2027-01-31,2027-01-01\n",
        [Entry(2, A | {"deadline_at": "2027-01-31", "created_at": "2027-01-01"})],
    ),
    "PostgreSQL's and MariaDB's null": (
        "title,deadline_at\na,NULL\nb,\\N\n",
        [Entry(2, A), Entry(3, B)],
    ),
}


@pytest.mark.parametrize(("table", "expected"), TABLES.values(), ids=TABLES)
def test_table_is_read(table: str, expected: list[Entry]) -> None:
    assert list(read([table])) == expected
    assert list(read(iter(table))) == expected


def test_lines_of_excel_for_the_macintosh_are_read() -> None:
    pieces = "title,completed\ra,1\r", "b,0\r"
    assert list(read(pieces)) == [
        Entry(2, A | {"completed": True}),
        Entry(3, B | {"completed": False}),
    ]


@pytest.mark.parametrize(
    ("column", "member"),
    [
        ("due", "deadline_at"),
        ("Due Date", "deadline_at"),
        ("deadline", "deadline_at"),
        ("deadlin_at", "deadline_at"),
        ("done", "completed"),
        ("Status", "completed"),
        ("notes", "description"),
        ("desciption", "description"),
        ("created", "created_at"),
        ("last modified", "updated_at"),
    ],
)
def test_similar_column_is_rejected_with_the_correct_name(column: str, member: str) -> None:
    with pytest.raises(ParseError, match=f"Rename the column to {member}, or remove it"):
        list(read([f"title,{column}\na,b\n"]))


def test_similar_column_next_to_a_known_column_is_reported() -> None:
    assert read_one("title,completed,done\na,1,yes\n") == Entry(2, A | {"completed": True}, ("done",))


@pytest.mark.parametrize("column", ["name", "task", "titel", "Summary"])
def test_similar_title_column_is_rejected_with_the_correct_name(column: str) -> None:
    with pytest.raises(ParseError, match="Rename the column to title"):
        list(read([f"{column},completed\na,1\n"]))


QUOTES = {
    "text after quotes": 'title\n"a"b\n',
    "a quote that is not doubled": 'title,id\n"a "b" c",1\n',
    "no closing quote": 'title\n"a\nb\n',
}


@pytest.mark.parametrize("table", QUOTES.values(), ids=QUOTES)
def test_broken_quotes_are_an_error(table: str) -> None:
    with pytest.raises(ParseError):
        list(read([table]))


@pytest.mark.parametrize("options", [["-csv", "-header"], ["-json"]], ids=["csv", "json"])
def test_table_of_the_sqlite_shell_is_imported_unchanged(tmp_path: Path, options: list[str]) -> None:
    database = tmp_path / "db.sqlite"
    with sqlite3.connect(database) as connection:
        connection.executescript(
            "CREATE TABLE todos (id, title, description, completed, deadline_at, created_at, updated_at);"
            "INSERT INTO todos VALUES"
            " (7, 'a, \"b\"', NULL, 1, '2027-01-31 00:00:00.000000', '2026-01-01 12:00:00.123456',"
            "  '2026-01-02 12:00:00.000000'),"
            " (8, 'c', 'd' || char(10) || 'e', 0, NULL, '2026-01-01 12:00:00.123456',"
            "  '2026-01-02 12:00:00.000000')"
        )
    connection.close()
    shell = subprocess.run(
        ["sqlite3", *options, database, "SELECT * FROM todos"], capture_output=True, check=True
    )
    app = service()
    imported = run(app, "import", "--format", options[0][1:], "-", text=shell.stdout)
    assert imported.exit_code == 0, imported.output
    made, changed = datetime(2026, 1, 1, 12, 0, 0, 123456), datetime(2026, 1, 2, 12)
    assert content(app) == [
        (7, 'a, "b"', None, True, datetime(2027, 1, 31), made, changed, None),
        (8, "c", "d\ne", False, None, made, changed, None),
    ]


FORMULAS = {
    "after a semicolon": ("a;=1+1", "a;'=1+1"),
    "after a semicolon and a space": ("a; =1+1", "a;' =1+1"),
    "after a tab": ("a\t@SUM(A1)", "a\t'@SUM(A1)"),
    "after a newline": ("a\n-1", "a\n'-1"),
    "after a carriage return": ("a\r\n+1", "a\r\n'+1"),
    "after a comma": ("a,=1", "a,'=1"),
    "after a bar": ("a|=1", "a|'=1"),
    "in every cell": ("=1;=2;=3", "'=1;'=2;'=3"),
    "after spaces": ("  =1", "'  =1"),
    "no formula": ("a; b=c - d", "a; b=c - d"),
}


@pytest.mark.parametrize(("text", "written"), FORMULAS.values(), ids=FORMULAS)
def test_formula_is_defused_at_every_start_of_a_cell(text: str, written: str) -> None:
    assert _defuse(text) == written
    assert _text(written) == text


@given(st.text(alphabet=" '=+-@;,|\t\r\na＝"))
def test_defused_text_is_restored_on_import(text: str) -> None:
    assert _text(_defuse(text)) == text


def _seconds(make: Callable[[int], str], size: int) -> float:
    text = make(size)
    start = time.process_time()
    with contextlib.suppress(ParseError):
        list(read([text[i : i + 65536] for i in range(0, len(text), 65536)]))
    return time.process_time() - start


LARGE: dict[str, Callable[[int], str]] = {
    "columns": lambda n: "title" + ",a" * (n // 5) + "\n" + "a\n" * n,
    "cells": lambda n: "title\n" + ";" * (n * 50),
    "quoted cells": lambda n: "title\n" + '"a",' * (n * 20),
    "lines of a cell": lambda n: 'title\n"' + "a\n" * (n * 20) + '"',
    "doubled quotes": lambda n: 'title\n"' + '""' * (n * 20),
    "broken quotes": lambda n: 'title\n"' + '""' * (n * 20) + '"a',
    "spaces": lambda n: "title\n" + " " * (n * 50) + "a",
    "spaces in a date": lambda n: "title,deadline_at\na," + " " * (n * 20) + "1" + " " * (n * 20),
    "names": lambda n: ",".join(f"column{i}" * (n // 1000) for i in range(900)),
    "separators of formulas": lambda n: "title\n" + '"' + ";' " * (n * 10) + '"',
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_time_is_not_quadratic_in_the_size_of_the_file(make: Callable[[int], str]) -> None:
    pairs = [(_seconds(make, 2000), _seconds(make, 8000)) for _ in range(3)]
    small, large = map(min, zip(*pairs, strict=True))
    # For four times the input, less than ten times as long. Quadratic work would take 16 times as long.
    assert large < 10 * max(small, 0.005)
