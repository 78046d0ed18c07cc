import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest

from tests.support.cases import label
from tests.support.transfers import MOMENT, Stored, fill, run, service
from todo.formats import Entry
from todo.formats.icalendar import read

BERLIN = ZoneInfo("Europe/Berlin")
# Outlook names zones with names that no database has, or with Windows names.
ZONES = """\
BEGIN:VTIMEZONE
TZID:Customized Time Zone
BEGIN:STANDARD
DTSTART:16010101T000000
TZOFFSETFROM:+0530
TZOFFSETTO:+0530
END:STANDARD
END:VTIMEZONE
"""


def calendar(*lines: str, before: str = "") -> list[bytes]:
    todo = "\n".join(["BEGIN:VTODO", *lines, "END:VTODO"])
    return [f"BEGIN:VCALENDAR\nVERSION:2.0\n{before}{todo}\nEND:VCALENDAR\n".encode()]


class TestRead:
    def read_one(self, *lines: str, before: str = "", zone: ZoneInfo = BERLIN) -> Entry:
        (entry,) = read(calendar(*lines, before=before), zone)
        return entry

    def test_lost_properties_are_reported(self) -> None:
        entry = self.read_one(
            "UID:a",
            "SUMMARY:Water the",
            "  plants",
            "DTSTAMP:20270131T180000Z",
            "DTSTART;TZID=Europe/Berlin:20270131T180000",
            "RRULE:FREQ=DAILY",
            "X-APPLE-SORT-ORDER:5",
            "BEGIN:VALARM",
            "SUMMARY:not the todo's",
            "TRIGGER:-PT15M",
            "END:VALARM",
            "CATEGORIES:a,b",
        )
        values = {"uid": "a", "title": "Water the plants", "completed": False}
        assert Entry(3, values, ("RRULE", "X-APPLE-SORT-ORDER", "VALARM", "CATEGORIES", "DTSTART")) == entry

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["summary;LANGUAGE=en:a\\, b\\; c\\\\n\\n\\N"], {"title": "a, b; c\\n\n\n"}),
            (['DESCRIPTION;ALTREP="http://a:1/;b":x'], {"description": "x"}),
            (["STATUS:COMPLETED", "COMPLETED:20270131T180000Z"], {"completed": True}),
            (["STATUS:needs-action"], {}),
            (["STATUS:LATER"], {"completed": "LATER"}),
            (["DUE;VALUE=DATE:20270131"], {"deadline_at": "2027-01-31"}),
            (["DUE:20270131T180000"], {"deadline_at": "2027-01-31T18:00:00"}),
            (["DUE:20270131T180000Z"], {"deadline_at": "2027-01-31T18:00:00Z"}),
            (["DUE;TZID=Europe/Berlin:20270328T023000"], {"deadline_at": "2027-03-28T02:30:00"}),
            (['DUE;TZID="America/New_York":20270131T180000'], {"deadline_at": "2027-01-31T23:00:00+00:00"}),
            (["DUE;TZID=Customized Time Zone:20270131T180000"], {"deadline_at": "2027-01-31T12:30:00+00:00"}),
            (
                ["DUE;TZID=Tokyo Standard Time:20270131T180000"],
                {"deadline_at": "2027-01-31T09:00:00+00:00"},
            ),
            (["DUE;X-MICROSECOND=5:20270131T180000Z"], {"deadline_at": "2027-01-31T18:00:00.000005Z"}),
            (["DUE:tomorrow"], {"deadline_at": "tomorrow"}),
            (["CREATED:20270131T180000Z"], {"created_at": "2027-01-31T18:00:00Z"}),
            (["UID:a", "RECURRENCE-ID:20270131"], {"uid": "a/20270131"}),
        ],
        ids=label,
    )
    def test_properties_become_members(self, lines: Any, expected: Any) -> None:
        assert {"completed": False} | expected == self.read_one(*lines, before=ZONES).values

    def test_lost_status_is_reported(self) -> None:
        for line, completed in (("STATUS:CANCELLED", True), ("STATUS:IN-PROCESS", False)):
            assert Entry(3, {"completed": completed}, (line,)) == self.read_one(line)

    @pytest.mark.parametrize(
        "zones", ["", ZONES.replace("Customized", "Other"), ZONES.replace("+0530", "?")], ids=label
    )
    def test_unknown_zone_is_reported(self, zones: Any) -> None:
        entry = self.read_one("DUE;TZID=Customized Time Zone:20270131T180000", before=zones)
        assert "Customized Time Zone of DUE is unknown" in entry.error

    def test_other_components_are_skipped(self) -> None:
        event = "BEGIN:VEVENT\nSUMMARY:b\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\n"
        (found, todo) = read(calendar("SUMMARY:a", before=event), BERLIN)
        assert Entry(3, None, ("VEVENT",)) == found
        assert Entry(8, {"title": "a", "completed": False}) == todo


class TestWrite:
    """Parse the export with the library `icalendar`."""

    def written(self, zone: str, *todos: Stored) -> tuple[bytes, list[Any]]:
        app = service(zone)
        fill(app, todos)
        data = run(app, "export", "--format", "ics").stdout_bytes
        read = icalendar.Calendar.from_ical(data)
        assert read.errors == []
        return data, read.walk("VTODO")

    @pytest.mark.parametrize(("zone", "tz"), [("UTC", UTC), ("Europe/Berlin", BERLIN)], ids=label)
    def test_members_become_properties(self, zone: str, tz: Any) -> None:
        todo = Stored(
            7,
            "Käse, Brot; \\n",
            "a\nb",
            completed=True,
            deadline_at=datetime(2027, 7, 1, 12),
            updated_at=MOMENT + timedelta(seconds=90),
        )
        data, (vtodo,) = self.written(zone, todo)
        changed = datetime(2027, 1, 31, 18, 1, 30, tzinfo=UTC)
        expected = {
            "UID": "20270131T180000.123456Z-7@todo",
            "SUMMARY": todo.title,
            "DESCRIPTION": todo.description,
            "STATUS": "COMPLETED",
            "SEQUENCE": 90,
        }
        assert expected == {name: vtodo[name] for name in expected}
        assert datetime(2027, 7, 1, 12, tzinfo=tz) == vtodo["DUE"].dt
        assert datetime(2027, 1, 31, 18, tzinfo=UTC) == vtodo["CREATED"].dt
        for name in ("DTSTAMP", "LAST-MODIFIED", "COMPLETED"):
            assert changed == vtodo[name].dt
        assert (zone != "UTC") == (b"BEGIN:VTIMEZONE" in data)

    def test_carriage_returns_are_normalized(self) -> None:
        data, (vtodo,) = self.written("UTC", Stored(description="a\r\nb\nc\r\n"))
        assert not re.search(rb"\r[^\n]", data)
        assert vtodo["DESCRIPTION"] == "a\nb\nc\n"

    def test_lines_are_folded(self) -> None:
        todo = Stored(title="ä" * 80, description="\U0001f95b" * 60 + "," * 60)
        data, (vtodo,) = self.written("UTC", todo)
        assert max(map(len, data.split(b"\r\n"))) <= 75
        assert (todo.title, todo.description) == (vtodo["SUMMARY"], vtodo["DESCRIPTION"])
