"""Times: how `deadline_at` is stored and returned in each zone, and the stored instants."""

import os
import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from tests.support.api import TODOS, ApiTest, shared_app
from tests.support.cases import label
from todo.clock import timestamp
from todo.models import db
from todo.models.todo import Todo

pytestmark = pytest.mark.database

BRISBANE = "Australia/Brisbane"  # UTC+10, without daylight saving time
NEW_YORK = "America/New_York"  # UTC-5, with daylight saving time UTC-4
KATHMANDU = "Asia/Kathmandu"  # UTC+5:45
APIA = "Pacific/Apia"  # skipped 30 December 2011
LAGOS = "Africa/Lagos"  # UTC+0:13:35 until 1905

# In every zone, a time without an offset is stored unchanged.
AS_SENT = {
    "2023-02-27T00:00:00": "2023-02-27T00:00:00",
    "2023-02-27": "2023-02-27T00:00:00",
    "2023-02-27T18:30": "2023-02-27T18:30:00",
    "2023-02-27T23:59:59": "2023-02-27T23:59:59",
    "2023-02-27T00:00:00.123456": "2023-02-27T00:00:00.123456",
    "2023-02-27T00:00:00.000001": "2023-02-27T00:00:00.000001",
    "2024-02-29": "2024-02-29T00:00:00",
    "2000-02-29T12:00:00": "2000-02-29T12:00:00",
    "0001-01-01T00:00:00": "0001-01-01T00:00:00",
    "0099-12-31": "0099-12-31T00:00:00",
    "9999-12-31T23:59:59.999999": "9999-12-31T23:59:59.999999",
    # On these days, New York skipped 02:30 and repeated 01:30, and Apia skipped the whole day.
    "2023-03-12T02:30:00": "2023-03-12T02:30:00",
    "2023-11-05T01:30:00": "2023-11-05T01:30:00",
    "2011-12-30T12:00:00": "2011-12-30T12:00:00",
}

CONVERTED = (
    ("UTC", "2023-02-27T00:00:00Z", "2023-02-27T00:00:00"),
    ("UTC", "2023-02-27T00:00:00+00:00", "2023-02-27T00:00:00"),
    ("UTC", "2023-02-27T00:00:00-00:00", "2023-02-27T00:00:00"),
    ("UTC", "2023-02-27T00:00:00+10:00", "2023-02-26T14:00:00"),
    ("UTC", "2023-02-27T18:00:00-05:30", "2023-02-27T23:30:00"),
    ("UTC", "2023-12-31T23:59:59.999999-00:01", "2024-01-01T00:00:59.999999"),
    ("UTC", "2023-02-27T18:00Z", "2023-02-27T18:00:00"),
    ("UTC", "2023-02-27T12:00:00+23:59", "2023-02-26T12:01:00"),
    ("UTC", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
    ("UTC", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999"),
    (BRISBANE, "2023-02-27T00:00:00Z", "2023-02-27T10:00:00"),
    (BRISBANE, "2023-02-27T00:00:00+10:00", "2023-02-27T00:00:00"),
    (BRISBANE, "2023-07-01T15:00:00Z", "2023-07-02T01:00:00"),
    (BRISBANE, "0001-01-01T00:00:00Z", "0001-01-01T10:12:08"),
    (NEW_YORK, "2023-01-01T12:00:00Z", "2023-01-01T07:00:00"),
    (NEW_YORK, "2023-07-01T12:00:00Z", "2023-07-01T08:00:00"),
    (NEW_YORK, "2023-03-12T06:59:59Z", "2023-03-12T01:59:59"),
    (NEW_YORK, "2023-03-12T07:00:00Z", "2023-03-12T03:00:00"),
    (NEW_YORK, "2023-11-05T05:30:00Z", "2023-11-05T01:30:00"),
    (NEW_YORK, "2023-11-05T06:30:00Z", "2023-11-05T01:30:00"),
    (NEW_YORK, "2023-11-05T07:00:00Z", "2023-11-05T02:00:00"),
    (NEW_YORK, "9999-12-31T23:59:59Z", "9999-12-31T18:59:59"),
    ("UTC", "9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59"),
    ("UTC", "0001-01-01T00:00:00-00:01", "0001-01-01T00:01:00"),
    (KATHMANDU, "2023-02-27T00:00:00.5Z", "2023-02-27T05:45:00.500000"),
    (APIA, "2011-12-30T09:59:59Z", "2011-12-29T23:59:59"),
    (APIA, "2011-12-30T10:00:00Z", "2011-12-31T00:00:00"),
    (LAGOS, "1904-01-01T00:00:00Z", "1904-01-01T00:13:35"),
)

# In these zones, the times would be in the year 0 or 10000.
OUT_OF_THE_CALENDAR = (
    ("UTC", "0001-01-01T00:00:00+00:01"),
    ("UTC", "9999-12-31T23:59:59-00:01"),
    (NEW_YORK, "0001-01-01T00:00:00Z"),
    (BRISBANE, "9999-12-31T14:00:00Z"),
    (BRISBANE, "9999-12-31T23:59:59.999999Z"),
)


class TestTimestamp:
    @pytest.mark.parametrize(
        ("now", "text"),
        [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_999_999_999, "1970-01-01T00:00:01.999Z"),
            (1_803_837_600_012_345_678, "2027-02-28T18:00:00.012Z"),
            pytest.param(0, "1970-01-01T00:00:00.000Z", id="the clock was set"),
        ],
    )
    def test_timestamp_is_utc_with_milliseconds(self, now: int, text: str) -> None:
        with patch("time.time_ns", return_value=now):
            assert text == timestamp()


class TestDeadline(ApiTest):
    def use(self, zone: str) -> None:
        if self.client.application.config["TIMEZONE"] != zone:
            self.client = shared_app(TIMEZONE=zone).test_client()

    @pytest.mark.parametrize("zone", ["UTC", BRISBANE, NEW_YORK, APIA])
    @pytest.mark.parametrize(("sent", "answered"), AS_SENT.items(), ids=label)
    def test_deadline_without_offset_is_kept(self, zone: str, sent: str, answered: str) -> None:
        self.use(zone)
        todo = self.create(deadline_at=sent)
        assert todo["deadline_at"] == answered
        assert self.client.get(f"{TODOS}/{todo['id']}").json == todo

    @pytest.mark.parametrize(("zone", "sent", "answered"), CONVERTED, ids=label)
    def test_deadline_with_offset_is_converted_to_the_zone(self, zone: Any, sent: Any, answered: Any) -> None:
        self.use(zone)
        todo = self.create(deadline_at=sent)
        assert answered == todo["deadline_at"]
        response = self.client.put(f"{TODOS}/{todo['id']}", json={"deadline_at": sent})
        assert answered == response.get_json()["deadline_at"]

    @pytest.mark.parametrize(("zone", "sent"), OUT_OF_THE_CALENDAR, ids=label)
    def test_deadline_outside_years_1_to_9999_is_400(self, zone: Any, sent: Any) -> None:
        self.use(zone)
        response = self.client.post(TODOS, json={"title": "x", "deadline_at": sent})
        self.assertFaults("pointer", ["#/deadline_at"], response)


class TestWindow(ApiTest):
    @pytest.mark.parametrize("zone", [*(f"Etc/GMT{offset:+d}" for offset in range(-14, 13, 3)), KATHMANDU])
    def test_window_uses_now_in_the_zone(self, zone: Any) -> None:
        """Use zones three hours apart, so that one of them is near midnight at any time."""
        minute, day = timedelta(minutes=1), timedelta(days=1)
        self.client = shared_app(TIMEZONE=zone).test_client()
        now = datetime.now(ZoneInfo(zone)).replace(tzinfo=None)
        for after in (-day, -minute, minute, day - minute, day + minute, 2 * day - minute):
            self.create(title=str(after), deadline_at=(now + after).isoformat())
        for days, expected in ((0, 2), (1, 4), (2, 6)):
            assert expected == len(self.read_all(f"window={days}")), f"window={days}"

    def test_window_covers_the_whole_calendar(self) -> None:
        self.create(deadline_at="0001-01-01")
        self.create(deadline_at="9999-12-31T23:59:59.999999")
        self.create()
        days_left = (date.max - datetime.now(UTC).date()).days
        for days, expected in ((0, 1), (days_left - 2, 1), (days_left + 2, 2), (3_652_058, 2)):
            assert expected == len(self.read_all(f"window={days}"))


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can't be changed here")
class TestInstants(ApiTest):
    @pytest.mark.parametrize("zone", ["UTC", BRISBANE, NEW_YORK], ids=label)
    def test_timestamps_are_utc_in_any_zone(self, zone: Any) -> None:
        self.stack.callback(time.tzset)
        with patch.dict(os.environ, {"TZ": zone}):
            time.tzset()
            self.client = shared_app(TIMEZONE=zone).test_client()
            before = datetime.now(UTC)
            todo = self.create()
            after = datetime.now(UTC)
            for member in ("created_at", "updated_at"):
                assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", todo[member])
                assert before <= datetime.fromisoformat(todo[member])
                assert after >= datetime.fromisoformat(todo[member])

    def test_timestamps_have_six_fraction_digits(self) -> None:
        on_the_second = datetime(2023, 2, 27, 12)
        with self.app.app_context():
            db.session.add(Todo(id=1, title="x", created_at=on_the_second, updated_at=on_the_second))
            db.session.commit()
        todo = self.client.get(f"{TODOS}/1").get_json()
        for member in ("created_at", "updated_at"):
            assert todo[member] == "2023-02-27T12:00:00.000000Z"

    def test_process_zone_does_not_change_the_service_zone(self) -> None:
        self.stack.callback(time.tzset)
        with patch.dict(os.environ, {"TZ": BRISBANE}):
            time.tzset()
            assert self.create(deadline_at="2023-02-27T12:00:00Z")["deadline_at"] == "2023-02-27T12:00:00"
            in_an_hour = datetime.now(UTC) + timedelta(hours=1)
            self.create(deadline_at=in_an_hour.replace(tzinfo=None).isoformat())
            assert len(self.read_all("window=0")) == 1
