import csv
import re
from datetime import datetime
from typing import Any

import pytest

from tests.support.cases import label
from tests.support.transfers import Stored, content, fill, run, service
from todo.formats import Entry
from todo.formats.csv import read

TODOIST = """\
TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE
section,Home,,,,,,,,
task,Buy milk @shop,"Two
litres",4,1,Ann (1),,2027-01-31 18:00,en,Europe/Berlin
note,The blue one,,,,,,,,
,,,,,,,,,
task,Water plants,,,,,,every day,en,
task,Call,,,,,,tomorrow,en,
"""
OUTLOOK = """\
"Subject";"Start Date";"Due Date";"Status";"% Complete";"Notes"
"Buy milk";"1.2.2027";"31.1.2027";"Not Started";"0";"Two litres"
"Done";"";"";"Completed";"1";""
"Odd";"";"";"Half";"";""
"""


class TestRead:
    def test_todoist_export_is_read(self) -> None:
        assert [
            Entry(2, None, ("section",)),
            Entry(
                3,
                {
                    "title": "Buy milk @shop",
                    "description": "Two\nlitres",
                    "deadline_at": "2027-01-31T17:00:00+00:00",
                },
                ("PRIORITY", "INDENT"),
            ),
            Entry(5, None, ("note",)),
            Entry(7, {"title": "Water plants"}, ("DATE",)),
            Entry(8, {"title": "Call", "deadline_at": "tomorrow"}),
        ] == list(read([TODOIST]))

    def test_outlook_export_is_read(self) -> None:
        milk = {"title": "Buy milk", "description": "Two litres", "completed": False}
        assert [
            Entry(2, milk | {"deadline_at": "2027-01-31"}, ("Start Date",)),
            Entry(3, {"title": "Done", "completed": True}),
            Entry(4, {"title": "Odd", "completed": "Half"}),
        ] == list(read([OUTLOOK]))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Title,colour\na,red\nb,\n", [Entry(2, {"title": "a"}, ("colour",)), Entry(3, {"title": "b"})]),
            ("title\tid\na\t7\n", [Entry(2, {"title": "a", "id": 7})]),
            ("title;id\na;x\n", [Entry(2, {"title": "a", "id": "x"})]),
            ("title,completed\na,TRUE\n", [Entry(2, {"title": "a", "completed": True})]),
            (
                "title\na,b\n",
                [Entry(2, {}, error="The row has 2 cells, but the header has 1.")],
            ),
            ("title\n\n\na\n", [Entry(4, {"title": "a"})]),
        ],
        ids=label,
    )
    def test_unknown_columns_and_invalid_cells_are_reported(self, text: str, expected: Any) -> None:
        assert expected == list(read([text]))

    @pytest.mark.parametrize(
        ("cell", "day_first", "expected"),
        [
            ("2027-01-31", None, "2027-01-31"),
            ("2027-01-31 9:05", None, "2027-01-31T09:05"),
            ("2027-01-31T18:00:00.5Z", None, "2027-01-31T18:00:00.5Z"),
            ("2027-01-31 18:00+01:00", None, "2027-01-31 18:00+01:00"),
            ("31.1.2027", None, "2027-01-31"),
            ("1.2.2027 18:00:30", False, "2027-02-01T18:00:30"),
            ("1/31/2027 12:00 AM", None, "2027-01-31T00:00"),
            ("31/1/2027 12:30 pm", None, "2027-01-31T12:30"),
            ("3/3/2027", None, "2027-03-03"),
            ("1/2/2027 6:00 PM", True, "2027-02-01T18:00"),
            ("1/2/2027", False, "2027-01-02"),
            ("31/31/2027", None, "31/31/2027"),
            ("next week", None, "next week"),
        ],
        ids=label,
    )
    def test_times_are_read(self, cell: str, day_first: bool | None, expected: str) -> None:
        (entry,) = read([f"title,deadline_at\na,{cell}\n"], day_first=day_first)
        assert {"title": "a", "deadline_at": expected} == entry.values


class TestFormulas:
    """Text that looks like a formula is exported as text, and is imported unchanged."""

    def test_formula_is_defused_and_read_back(self) -> None:
        titles = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''=1", "＝1", "'quoted'", "a=1"]
        here, there = service(), service()
        fill(here, [Stored(i, title, "\t=1\n") for i, title in enumerate(titles, 1)])
        exported = run(here, "export", "--format", "csv").stdout_bytes
        rows = list(csv.DictReader(exported.decode().splitlines(keepends=True)))
        assert ["'" + title for title in titles[:-2]] + titles[-2:] == [row["title"] for row in rows]
        for row in rows:
            assert not re.search("^[=+@-]", row["title"])
            assert row["description"] == "'\t'=1\n"
        run(there, "import", "--format", "csv", "-", text=exported)
        assert content(here) == content(there)

    def test_csv_layout(self) -> None:
        app = service()
        fill(app, [Stored(1, 'Say "a", b', "x\r\ny", deadline_at=datetime(2027, 1, 31))])
        assert (
            run(app, "export", "--format", "csv").stdout_bytes
            == b"id,title,description,completed,deadline_at,created_at,updated_at\r\n"
            b'1,"Say ""a"", b","x\r\ny",false,2027-01-31T00:00:00,'
            b"2027-01-31T18:00:00.123456Z,2027-01-31T18:00:00.123456Z\r\n"
        )
