"""Every reader gets the right instants from the calendar feed, in every zone.

`make readers` runs the tests of ical.js and vobject, which it installs in separate environments.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import icalendar
import pytest
from dateutil.tz import tzical  # type: ignore[import-untyped] # the reader of vobject

from tests.support.transfers import Stored, fill, service
from todo.formats.time_zones import Definitions, definition

READERS = os.environ.get("READERS")
INTEROP = Path(__file__).parents[2] / "interop" / "calendars"
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Sydney", "Africa/Casablanca", "Asia/Kolkata"]
# Zones with rules that span months, end, or move a Saturday, with negative daylight saving time, or with half
# an hour of it.
HARD_ZONES = [
    *("Africa/Cairo", "America/Nuuk", "America/Santiago", "Asia/Gaza", "Asia/Jerusalem", "Europe/Dublin"),
    *("Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Africa/Monrovia", "Asia/Tehran", "UTC"),
]
DEADLINES = {
    f"{name} {year}": datetime(year, month, 15, 18, 30)
    for year in (2027, 2045)
    for name, month in (("winter", 1), ("summer", 7))
}


def feed(zone: str, query: str = "") -> str:
    """Return the feed of a service with a deadline in each half of both years, and a date."""
    app = service(zone)
    deadlines = DEADLINES | {"day": datetime(2027, 7, 1, 23, 59, 59)}
    fill(app, [Stored(i, name, deadline_at=time) for i, (name, time) in enumerate(deadlines.items(), 1)])
    return app.test_client().get(f"/api/v1/todos.ics{query}").text


def expected(zone: str) -> dict[str, object]:
    times = {name: time.replace(tzinfo=ZoneInfo(zone)).timestamp() for name, time in DEADLINES.items()}
    return {**times, "day": "2027-07-01"}


def read_with_icalendar(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for component in icalendar.Calendar.from_ical(text).walk():
        name = {"VTODO": "DUE", "VEVENT": "DTSTART"}.get(component.name or "")
        if name:
            time: Any = component.decoded(name)
            summary = str(component["SUMMARY"])
            found[summary] = time.timestamp() if isinstance(time, datetime) else time.isoformat()
    return found


def call(*command: str | Path, text: str = "", folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ical_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install ical.js in a new folder."""
    folder = tmp_path_factory.mktemp("ical_js")
    for name in ("package.json", "times.mjs"):
        shutil.copy(INTEROP / name, folder)
    call("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    return folder


@pytest.mark.parametrize("query", ["", "?as=event"], ids=["tasks", "events"])
@pytest.mark.parametrize("zone", ZONES)
def test_icalendar_reads_the_instant_of_deadlines(zone: str, query: str) -> None:
    assert read_with_icalendar(feed(zone, query)) == expected(zone)


@pytest.mark.skipif(not READERS, reason="make readers installs vobject")
@pytest.mark.parametrize("query", ["", "?as=event"], ids=["tasks", "events"])
@pytest.mark.parametrize("zone", ZONES)
def test_vobject_reads_the_instant_of_deadlines(zone: str, query: str) -> None:
    printed = call(f"{READERS}/python", INTEROP / "times.py", text=feed(zone, query))
    assert json.loads(printed) == expected(zone)


@pytest.mark.skipif(not READERS, reason="make readers runs Node.js")
@pytest.mark.parametrize("query", ["", "?as=event"], ids=["tasks", "events"])
@pytest.mark.parametrize("zone", ZONES)
def test_ical_js_reads_the_instant_of_deadlines(ical_js: Path, zone: str, query: str) -> None:
    printed = call("node", "times.mjs", text=feed(zone, query), folder=ical_js)
    assert json.loads(printed) == expected(zone)


def offset_of_dateutil(zone: str) -> Callable[[datetime], timedelta | None]:
    return tzical(StringIO(definition(zone).decode())).get(zone).utcoffset  # type: ignore[no-any-return]


def offset_of_import(zone: str) -> Callable[[datetime], timedelta | None]:
    definitions = Definitions()
    for line in definition(zone).decode().replace("\r\n ", "").splitlines():
        name, _, value = line.partition(":")
        definitions.add(name, value)
    defined = definitions._define(zone)
    assert defined is not None
    return defined.utcoffset


@pytest.mark.parametrize("offset_of", [offset_of_dateutil, offset_of_import], ids=["dateutil", "our import"])
@pytest.mark.parametrize("zone", ZONES + HARD_ZONES)
def test_definition_has_every_offset_since_1970(
    zone: str, offset_of: Callable[[str], Callable[[datetime], timedelta | None]]
) -> None:
    read, right = offset_of(zone), ZoneInfo(zone)
    time = datetime(1970, 1, 2, 12)
    while time.year < 2100:
        aware = time.replace(tzinfo=right)
        if (
            aware.astimezone(UTC).astimezone(right).replace(tzinfo=None) == time
        ):  # the clock does not skip this time
            assert read(time.replace(tzinfo=None)) == aware.utcoffset(), time
        time += timedelta(hours=301)


def test_every_zone_is_defined_in_rules() -> None:
    for zone in sorted(available_timezones())[::20]:
        text = definition(zone).decode()
        assert "RDATE" not in text
        assert len(text) < 20_000, zone
        assert all(len(line) <= 75 for line in text.splitlines())


def test_onset_is_local_time_before_the_change() -> None:
    text = definition("Europe/Berlin").decode().replace("\r\n", "\n")
    assert (
        "BEGIN:DAYLIGHT\nDTSTART:19810329T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\nTZNAME:CEST\n"
        "TZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:DAYLIGHT\n" in text
    )
    assert (
        "BEGIN:STANDARD\nDTSTART:19961027T030000\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nTZNAME:CET\n"
        "TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\n" in text
    )


def test_last_day_of_the_calendar_is_exported_as_a_date() -> None:
    app = service("Europe/Berlin")
    last = datetime(9999, 12, 31, 23, 59, 59)
    fill(app, [Stored(1, "last", deadline_at=last)])
    assert "DUE;VALUE=DATE:99991231" in app.test_client().get("/api/v1/todos.ics").text
