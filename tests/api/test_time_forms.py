"""Accepted and rejected notations of times in bodies and query parameters, by their source."""

import re

import pytest
from flask.testing import FlaskClient

from tests.support.api import TODOS, shared_app
from todo.clock import Instant, WallTime

# The source of the notation, the time as sent, and the time in UTC.
ACCEPTED = {
    "RFC 3339 in lower case": ("2026-12-24t10:00:00z", "2026-12-24T10:00:00"),
    "RFC 3339 with a space": ("2026-12-24 10:00:00Z", "2026-12-24T10:00:00"),
    "RFC 3339, unknown local offset": ("2026-12-24T10:00:00-00:00", "2026-12-24T10:00:00"),
    "RFC 3339 with an offset": ("2026-12-24T10:00:00.5+05:30", "2026-12-24T04:30:00.500000"),
    "the web client of the course": ("2026-12-24 00:00:00.000", "2026-12-24T00:00:00"),
    "Python's str(datetime)": ("2026-12-24 10:00:00+00:00", "2026-12-24T10:00:00"),
    "JavaScript's toISOString": ("2026-12-24T10:00:00.000Z", "2026-12-24T10:00:00"),
    "HTML's datetime-local": ("2026-12-24T10:00", "2026-12-24T10:00:00"),
    "Taskwarrior and iCalendar": ("20261224T100000Z", "2026-12-24T10:00:00"),
    ".NET's round-trip format": ("2026-12-24T10:00:00.1234567Z", "2026-12-24T10:00:00.123456"),
    ".NET, local time": ("2026-12-24T10:00:00.9999999+01:00", "2026-12-24T09:00:00.999999"),
    "Go's RFC3339Nano": ("2026-12-24T10:00:00.123456789Z", "2026-12-24T10:00:00.123456"),
    "Java's Instant": ("2026-12-24T10:00:00.000000001Z", "2026-12-24T10:00:00"),
    "Java's OffsetDateTime without seconds": ("2026-12-24T10:00+02:00", "2026-12-24T08:00:00"),
    "strftime's %z, PHP's DATE_ISO8601, Jira": ("2026-12-24T10:00:00.000+0000", "2026-12-24T10:00:00"),
    "PostgreSQL's timestamptz": ("2026-12-24 10:00:00.5+01", "2026-12-24T09:00:00.500000"),
    "Ruby's Time#to_s, and Git": ("2026-12-24 10:00:00 +0100", "2026-12-24T09:00:00"),
    "Ruby's Time#to_s in UTC": ("2026-12-24 10:00:00 UTC", "2026-12-24T10:00:00"),
    "SQL Server's datetimeoffset": ("2026-12-24 10:00:00.1234567 +01:00", "2026-12-24T09:00:00.123456"),
    "Python's isoformat() of local mean time": ("1890-01-01T00:53:28+00:53:28", "1890-01-01T00:00:00"),
    "ISO 8601 basic with seconds of the offset": ("18900101T005328+005328", "1890-01-01T00:00:00"),
    "the hour alone and a space": ("20261224 10 +01", "2026-12-24T09:00:00"),
    "SQLite's datetime()": ("2026-12-24 10:00:00", "2026-12-24T10:00:00"),
    "ISO 8601 basic date": ("20261224", "2026-12-24T00:00:00"),
    "ISO 8601 basic, local": ("20261224T1000", "2026-12-24T10:00:00"),
    "ISO 8601 basic with a fraction": ("20261224T100000.25-0330", "2026-12-24T13:30:00.250000"),
    "ISO 8601 with a comma": ("2026-12-24T10:00:00,123Z", "2026-12-24T10:00:00.123000"),
    "ISO 8601, the hour alone": ("2026-12-24T10Z", "2026-12-24T10:00:00"),
    "ISO 8601, a date of basic and a time of extended format": ("20261224T10:00:00", "2026-12-24T10:00:00"),
    "a leap day": ("20240229", "2024-02-29T00:00:00"),
    "the first moment": ("00010101T000000", "0001-01-01T00:00:00"),
    "the last moment": ("9999-12-31T23:59:59.999999999", "9999-12-31T23:59:59.999999"),
}
REFUSED = {
    "ISO 8601 week date": "2026-W52-4",
    "ISO 8601 basic week date": "2026W524",
    "ISO 8601 week": "2026-W52",
    "ISO 8601 ordinal date": "2026-358",
    "ISO 8601 basic ordinal date": "2026358",
    "the end of a day as 24:00": "2026-12-24T24:00:00",
    "the end of a day as 2400": "20261224T2400",
    "a leap second": "2016-12-31T23:59:60Z",
    "a leap second, basic": "20161231T235960Z",
    "30 February": "2027-02-30",
    "30 February, basic": "20270230",
    "29 February of a common year": "1900-02-29T00:00:00",
    "year 0": "0000-01-01",
    "year 0, basic": "00000229",
    "year 10000": "10000-01-01",
    "month alone": "2026-12",
    "ten fraction digits": "2026-12-24T10:00:00.1234567890",
    "no fraction digit": "2026-12-24T10:00:00.",
    "fraction of a minute": "2026-12-24T10:00.5",
    "offset of 24 hours": "2026-12-24T10:00:00+24:00",
    "offset of a date": "2026-12-24Z",
    "one digit of an offset": "2026-12-24T10:00:00+1",
    "mixed separators in a date": "2026-1224",
    "mixed separators in a time": "2026-12-24T10:0000",
    "another separator": "2026-12-24_10:00:00",
    "two spaces": "2026-12-24  10:00:00",
    "two spaces before the offset": "2026-12-24 10:00:00  +0100",
    "mixed separators in an offset": "2026-12-24T10:00:00+01:0000",
    "offset after a date": "2026-12-24 +0100",
    "name of another zone": "2026-12-24 10:00:00 CET",
    "zone name beside an offset (RFC 9557)": "2026-12-24T10:00:00+01:00[Europe/Berlin]",
    "Go's Time.String": "2026-12-24 10:00:00 +0000 UTC",
    "surrounding space": " 2026-12-24",
    "final newline": "2026-12-24\n",
    "digits of another script": "२०२६-12-24",
    "zone name": "2026-12-24T10:00:00[Europe/Berlin]",
    "HTTP date": "Thu, 24 Dec 2026 10:00:00 GMT",
    "Unix time": "1798106400",
    "ambiguous date": "1/2/2027",
}


@pytest.fixture
def client() -> FlaskClient:
    return shared_app().test_client()


@pytest.mark.parametrize(("sent", "stored"), ACCEPTED.values(), ids=ACCEPTED)
def test_time_form_is_accepted_in_bodies_and_parameters(client: FlaskClient, sent: str, stored: str) -> None:
    response = client.post(TODOS, json={"title": "x", "deadline_at": sent})
    assert (response.status_code, response.get_json().get("deadline_at")) == (201, stored)
    for parameter, found in (("deadline_from", 1), ("deadline_before", 0), ("updated_since", None)):
        response = client.get(TODOS, query_string={parameter: sent})
        assert response.status_code == 200
        assert found in {None, len(response.get_json())}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_invalid_time_form_is_rejected_with_an_example(client: FlaskClient, sent: str) -> None:
    for response in (
        client.post(TODOS, json={"title": "x", "deadline_at": sent}),
        client.get(TODOS, query_string={"deadline_from": sent}),
        client.get(TODOS, query_string={"updated_since": sent}),
    ):
        assert response.status_code == 400
        assert "2027-01-31T18:00:00" in response.get_json()["detail"]


@pytest.mark.parametrize("time_type", [WallTime, Instant])
def test_pattern_describes_the_accepted_forms_without_look_ahead(time_type: type[WallTime | Instant]) -> None:
    pattern = time_type.json_schema()["pattern"]
    assert not re.search(r"\(\?[^:]", pattern)
    # In ECMAScript, `$` matches only at the end of the string, unlike in Python.
    matches = re.compile(pattern.removesuffix("$") + r"\Z").search
    assert all(matches(sent) for sent, _ in ACCEPTED.values())
    assert not any(matches(sent) for sent in REFUSED.values())
